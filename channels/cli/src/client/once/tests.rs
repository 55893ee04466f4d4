use super::super::show::Json;
use super::*;
use crate::tests::{Home, local};
use expect_test::{Expect, expect};
use nanoclaw_channel::{Body, Typing};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

fn say(id: &str) -> Say {
    Say { id: Some(id.into()), text: "hi".into(), files: Vec::new() }
}

/// Runs the client on this folder; the lines that it printed, without ids that change.
async fn run(data: &Path, timeout: Duration) -> (Ended, String) {
    let mut show = Json(Vec::new());
    let ended = Once { data, agent: None, timeout }.run(say("m-1"), &mut show).await;
    let mut lines = String::from_utf8(show.0).unwrap();
    for line in lines.clone().lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        if let Some(id) = value["id"].as_str().filter(|id| id.starts_with("cli-")) {
            lines = lines.replace(id, "ID");
        }
    }
    (ended, lines.replace(&data.display().to_string(), "DATA"))
}

fn check((ended, lines): (Ended, String), code: Ended, expected: &Expect) {
    expected.assert_eq(&lines);
    assert_eq!(ended, code);
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn exactly_the_answers_are_printed_and_the_rest_waits() {
    let mut home = Home::new().await;
    let data = home.dir.path().to_owned();
    home.send("k0", "yesterday's news").await;
    let agent = async {
        let heard = home.pushed.recv().await.unwrap();
        let to = Some(heard.id.as_str());
        let text = |t: &str| Body::Text { markdown: t.into(), files: Vec::new() };
        home.channel.typing(&local(), Typing::On).await;
        home.send_body("k1", text("let me **see**"), to).await;
        home.send_body("k2", text("something else"), Some("another message")).await;
        home.send_body("k3", text("done"), to).await;
        home.channel.typing(&local(), Typing::Off).await;
    };
    let (ran, ()) = tokio::join!(run(&data, LONG), agent);
    check(
        ran,
        Ended::Well,
        &expect![[r#"
        {"type":"received","id":"m-1"}
        {"type":"typing","typing":true}
        {"type":"message","id":"ID","markdown":"let me **see**","in_reply_to":"m-1","text":"let me see"}
        {"type":"message","id":"ID","markdown":"done","in_reply_to":"m-1","text":"done"}
        {"type":"typing","typing":false}
        {"type":"typing","typing":false}
        {"type":"end","status":"answered","code":0}
    "#]],
    );
    let mut link = Link::open(&data, None).await.unwrap();
    let mut waiting = Vec::new();
    while waiting.len() < 2 {
        if let Event::Message { message } = link.next().await.unwrap() {
            waiting.push(message.markdown);
        }
    }
    assert_eq!(waiting, ["yesterday's news", "something else"]);
}

#[tokio::test]
async fn a_refused_message_is_a_failure() {
    let home = Home::new().await;
    *home.host.refuses.lock().unwrap() = Some("the disk is full".into());
    check(
        run(home.dir.path(), LONG).await,
        Ended::Refused,
        &expect![[r#"
        {"type":"end","status":"refused","code":4,"why":"not taken: the disk is full"}
    "#]],
    );
}

#[tokio::test]
async fn silence_ends_in_time() {
    let home = Home::new().await;
    let (ended, lines) = run(home.dir.path(), Duration::from_millis(200)).await;
    assert_eq!(ended, Ended::TimedOut);
    assert!(lines.contains(r#""status":"timeout""#), "{lines}");
}

#[tokio::test]
async fn a_host_that_is_not_there_is_named_with_the_next_step() {
    let dir = tempfile::tempdir().unwrap();
    check(
        run(dir.path(), LONG).await,
        Ended::Unreachable,
        &expect![[r#"
        {"type":"end","status":"unreachable","code":2,"why":"NanoClaw does not answer on DATA/cli.sock: No such file or directory (os error 2)\nStart it: nanoclaw start"}
    "#]],
    );
}

/// A host that is played by hand.
struct Played(BufReader<UnixStream>);

impl Played {
    async fn accept(listener: &UnixListener) -> Self {
        Self(BufReader::new(listener.accept().await.unwrap().0))
    }

    async fn hears(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap()
    }

    async fn says(&mut self, line: Value) {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn a_lost_connection_is_taken_up_with_the_same_message() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(crate::socket(dir.path())).unwrap();
    let answer = json!({ "message": { "id": "a-1", "markdown": "hello", "in_reply_to": "m-1" } });
    let host = async {
        let mut first = Played::accept(&listener).await;
        assert_eq!(first.hears().await["hello"], 1);
        assert_eq!(first.hears().await["id"], "m-1");
        first.says(json!({ "ack": "m-1" })).await;
        first.says(json!({ "typing": true })).await;
        drop(first);
        let mut second = Played::accept(&listener).await;
        assert_eq!(second.hears().await["hello"], 1);
        second.says(answer.clone()).await;
        second.says(answer.clone()).await;
        assert_eq!(second.hears().await["id"], "m-1", "the host knows that it has this");
        second.says(json!({ "typing": false })).await;
        assert_eq!(second.hears().await, json!({ "seen": "a-1" }));
        second
    };
    let ((ended, lines), _host) = tokio::join!(run(dir.path(), LONG), host);
    assert_eq!(ended, Ended::Well);
    assert_eq!(lines.matches("hello").count(), 2, "once as Markdown and once as text: {lines}");
}

#[test]
fn the_turn_is_over_when_an_answer_came_and_typing_ended() {
    let answer = |id: &str| Event::Message {
        message: Box::new(Message {
            id: id.into(),
            in_reply_to: Some("m-1".into()),
            ..Message::default()
        }),
    };
    let typing = |typing| Event::Typing { typing };
    let after = |events: Vec<Event>| {
        let mut turn = Turn { id: "m-1".into(), ..Turn::default() };
        for event in events {
            turn.take(event);
        }
        turn.linger()
    };
    assert_eq!(after(vec![]), None);
    assert_eq!(after(vec![typing(true), typing(false)]), None, "no answer yet");
    assert_eq!(after(vec![answer("a")]), Some(SILENCE));
    assert_eq!(after(vec![typing(true), answer("a")]), None, "more may come");
    assert_eq!(after(vec![typing(true), answer("a"), typing(false)]), Some(LAST_WORDS));
    assert_eq!(after(vec![typing(true), typing(false), answer("a")]), Some(SILENCE));
}

#[test]
fn reactions_and_changes_belong_to_the_answer() {
    let mut turn = Turn { id: "m-1".into(), ..Turn::default() };
    let message = |message: Value| Event::Message {
        message: Box::new(serde_json::from_value(message).unwrap()),
    };
    let shown = |step| matches!(step, Step::Show(_));
    assert!(!shown(turn.take(message(json!({ "id": "x", "edit_of": "a" })))));
    assert!(shown(
        turn.take(message(json!({ "id": "a", "reaction": { "to": "m-1", "emoji": "+" } })))
    ));
    assert!(shown(turn.take(message(json!({ "id": "b", "edit_of": "a" })))));
    assert!(!shown(turn.take(message(json!({ "id": "b", "edit_of": "a" })))), "once is enough");
}
