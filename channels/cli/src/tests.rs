//! The protocol, over a real socket, with a host that only remembers what it was told.

use super::*;
use nanoclaw_channel::{
    Answer, AnswerOutcome, Body, ChannelType, Choice, Inbound, Ingress, IngressError, Mention,
    OutFile, PlatformMessageId, Question, QuestionId,
};
use serde_json::{Value, json};
use std::sync::Mutex;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

/// Nothing here takes long; this only ends a test that would hang.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Host {
    pushed: mpsc::UnboundedSender<Inbound>,
    answers: mpsc::UnboundedSender<Answer>,
    pub(crate) refuses: Mutex<Option<String>>,
    outcome: Mutex<AnswerOutcome>,
}

#[async_trait]
impl Ingress for Host {
    async fn push(&self, message: Inbound) -> Result<(), IngressError> {
        if let Some(why) = self.refuses.lock().unwrap().clone() {
            return Err(IngressError(why));
        }
        self.pushed.send(message).unwrap();
        Ok(())
    }

    async fn change(&self, _: nanoclaw_channel::Change) -> Result<(), IngressError> {
        unreachable!("a terminal changes nothing")
    }

    async fn answer(&self, answer: Answer) -> Result<AnswerOutcome, IngressError> {
        self.answers.send(answer).unwrap();
        Ok(self.outcome.lock().unwrap().clone())
    }
}

/// An install with this channel alone.
pub(crate) struct Home {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) channel: Arc<dyn Channel>,
    pub(crate) host: Arc<Host>,
    pub(crate) pushed: mpsc::UnboundedReceiver<Inbound>,
    answers: mpsc::UnboundedReceiver<Answer>,
}

async fn open(data: &Path, host: &Arc<Host>) -> nanoclaw_channel::Started {
    let ingress: Arc<dyn Ingress> = Arc::clone(host) as Arc<dyn Ingress>;
    (CHANNEL.start)(Start {
        ingress,
        data: data.to_owned(),
        setting: Arc::new(|_| None),
        report: Arc::new(|_| {}),
    })
    .await
}

impl Home {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (pushed_to, pushed) = mpsc::unbounded_channel();
        let (answers_to, answers) = mpsc::unbounded_channel();
        let host = Arc::new(Host {
            pushed: pushed_to,
            answers: answers_to,
            refuses: Mutex::new(None),
            outcome: Mutex::new(AnswerOutcome::Taken { label: "Yes!".into() }),
        });
        let channel = open(dir.path(), &host).await.unwrap();
        Self { dir, channel, host, pushed, answers }
    }

    async fn restart(&mut self) {
        self.channel.stop().await;
        self.channel = open(self.dir.path(), &self.host).await.unwrap();
    }

    async fn client(&self) -> Client {
        let stream = UnixStream::connect(socket(self.dir.path())).await.unwrap();
        let (read, write) = stream.into_split();
        Client { read: BufReader::new(read), write }
    }

    async fn greeted(&self, hello: Value) -> Client {
        let mut client = self.client().await;
        client.say(&hello).await;
        assert_eq!(client.next().await["hello"], 1);
        client
    }

    async fn heard(&mut self) -> Inbound {
        tokio::time::timeout(PATIENCE, self.pushed.recv()).await.unwrap().unwrap()
    }

    pub(crate) async fn send(&self, key: &str, markdown: &str) -> String {
        let body = Body::Text { markdown: markdown.into(), files: Vec::new() };
        self.send_body(key, body, None).await
    }

    pub(crate) async fn send_body(&self, key: &str, body: Body, to: Option<&str>) -> String {
        let reply_to = to.map(|id| PlatformMessageId::parse(id).unwrap());
        let message = Outgoing { to: local(), body, key: key.into(), reply_to };
        self.channel.send(&message).await.unwrap().id.unwrap().to_string()
    }
}

pub(crate) fn local() -> Address {
    Address {
        channel_type: ChannelType::parse("cli").unwrap(),
        platform_id: PlatformId::parse("local").unwrap(),
        thread_id: None,
    }
}

fn question(id: &str) -> Question {
    let option = |label: &str, value: &str| Choice {
        label: label.into(),
        selected_label: format!("{label}!"),
        value: value.into(),
    };
    Question {
        question_id: QuestionId::parse(id).unwrap(),
        title: "Send it?".into(),
        question: "To everybody".into(),
        options: vec![option("Yes", "approve"), option("No", "reject")],
    }
}

struct Client {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl Client {
    async fn say(&mut self, line: &Value) {
        self.raw(format!("{line}\n").as_bytes()).await;
    }

    async fn raw(&mut self, bytes: &[u8]) {
        self.write.write_all(bytes).await.unwrap();
    }

    async fn next(&mut self) -> Value {
        let mut line = String::new();
        let read = self.read.read_line(&mut line);
        let read = tokio::time::timeout(PATIENCE, read).await.expect("a line in time").unwrap();
        assert_ne!(read, 0, "the connection was closed");
        serde_json::from_str(&line).unwrap()
    }

    /// Proves that nothing else came: the answer to nonsense is the next line.
    async fn nothing(&mut self) {
        self.raw(b"nonsense\n").await;
        let next = self.next().await;
        assert!(next["error"].is_string(), "{next} was not expected");
    }

    async fn end(&mut self) {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.read.read_line(&mut line)).await.unwrap();
        assert!(matches!(read, Ok(0) | Err(_)), "{line} instead of the end");
    }
}

#[tokio::test]
async fn a_client_of_the_original_says_text_and_gets_text() {
    let mut home = Home::new().await;
    let mut client = home.client().await;
    client.say(&json!({ "text": "hi" })).await;
    let heard = home.heard().await;
    assert_eq!((heard.at, heard.text.as_str()), (local(), "hi"));
    assert_eq!(heard.sender.handle, "local");
    assert_eq!((heard.mention, heard.only_for), (Mention::Yes, None));
    home.send("k1", "hello **you**").await;
    assert_eq!(client.next().await, json!({ "text": "hello **you**" }));
    home.send_body("k2", Body::Ask(question("q-1")), None).await;
    let asked = "Send it?\nTo everybody\n  1) Yes\n  2) No";
    assert_eq!(client.next().await, json!({ "text": asked }));
}

#[tokio::test]
async fn what_a_client_of_the_original_was_told_counts_as_seen() {
    let mut home = Home::new().await;
    home.send("k0", "before anybody was there").await;
    let mut client = home.client().await;
    client.say(&json!({ "text": "hi" })).await;
    home.heard().await;
    home.send("k1", "live").await;
    assert_eq!(client.next().await, json!({ "text": "live" }), "the backlog is not for it");
    drop(client);
    let mut ours = home.greeted(json!({ "hello": 1 })).await;
    assert_eq!(ours.next().await["message"]["markdown"], "before anybody was there");
    ours.nothing().await;
}

#[tokio::test]
async fn the_operator_can_speak_in_any_chat() {
    let mut home = Home::new().await;
    let mut client = home.client().await;
    client
        .say(&json!({
            "text": "/welcome",
            "to": { "channelType": "telegram", "platformId": "telegram:6", "threadId": 5 },
            "reply_to": { "channelType": "cli", "platformId": "local", "threadId": null },
            "sender": "Ada", "senderId": "telegram:77",
        }))
        .await;
    let heard = home.heard().await;
    assert_eq!(heard.at.channel_type.as_str(), "telegram");
    assert_eq!(heard.at.platform_id.as_str(), "telegram:6");
    assert_eq!(heard.at.thread_id, None, "a thread that is no text is none");
    assert_eq!(heard.reply, Some(local()));
    assert_eq!(heard.sender.handle, "77");
    assert_eq!(heard.sender.name.as_deref(), Some("Ada"));
    client.nothing().await;
    home.send("k", "not for somebody who only spoke elsewhere").await;
    client.nothing().await;
}

#[tokio::test]
async fn a_half_address_is_refused_rather_than_sent_elsewhere() {
    let mut home = Home::new().await;
    let mut client = home.client().await;
    client.say(&json!({ "text": "secret", "to": { "channelType": "telegram" } })).await;
    assert!(client.next().await["error"].as_str().unwrap().contains("platformId"));
    assert!(home.pushed.try_recv().is_err());
}

#[tokio::test]
async fn a_message_is_acknowledged_after_the_host_took_it() {
    let mut home = Home::new().await;
    let mut client = home.greeted(json!({ "hello": 1, "agent": "andy" })).await;
    for _ in 0..2 {
        // A resend has the same id, by which the host knows it.
        client.say(&json!({ "id": "m-1", "text": "hi" })).await;
        assert_eq!(client.next().await, json!({ "ack": "m-1" }));
        let heard = home.heard().await;
        assert_eq!((heard.id.as_str(), heard.text.as_str()), ("m-1", "hi"));
        assert_eq!(heard.at.platform_id.as_str(), "agent:andy");
        assert_eq!(heard.only_for.as_deref(), Some("andy"));
    }
    *home.host.refuses.lock().unwrap() = Some("the disk is full".into());
    client.say(&json!({ "id": "m-2", "text": "hi" })).await;
    assert_eq!(client.next().await, json!({ "nack": "m-2", "why": "the disk is full" }));
}

#[tokio::test]
async fn everybody_in_a_chat_sees_the_conversation() {
    let mut home = Home::new().await;
    let mut one = home.greeted(json!({ "hello": 1 })).await;
    let mut two = home.greeted(json!({ "hello": 1 })).await;
    let mut elsewhere = home.greeted(json!({ "hello": 1, "agent": "bo" })).await;
    one.say(&json!({ "id": "m-1", "text": "hi" })).await;
    assert_eq!(one.next().await, json!({ "ack": "m-1" }));
    home.heard().await;
    assert_eq!(two.next().await, json!({ "said": { "id": "m-1", "text": "hi" } }));
    home.channel.typing(&local(), Typing::On).await;
    let body = Body::Text { markdown: "hello".into(), files: Vec::new() };
    let id = home.send_body("k", body, Some("m-1")).await;
    home.channel.typing(&local(), Typing::Off).await;
    for client in [&mut one, &mut two] {
        assert_eq!(client.next().await, json!({ "typing": true }));
        let message = json!({ "id": id, "markdown": "hello", "in_reply_to": "m-1" });
        assert_eq!(client.next().await, json!({ "message": message }));
        assert_eq!(client.next().await, json!({ "typing": false }));
    }
    elsewhere.nothing().await;
}

#[tokio::test]
async fn a_message_waits_for_a_reader_and_is_shown_until_somebody_saw_it() {
    let mut home = Home::new().await;
    let id = home.send("k1", "one").await;
    assert_eq!(home.send("k1", "one").await, id, "the same key is the same message");
    home.send("k2", "two").await;
    home.restart().await;
    assert_eq!(home.send("k1", "one").await, id, "also after a restart");

    let mut client = home.greeted(json!({ "hello": 1 })).await;
    assert_eq!(client.next().await["message"]["markdown"], "one");
    assert_eq!(client.next().await["message"]["markdown"], "two");
    client.say(&json!({ "seen": id })).await;
    client.nothing().await;
    drop(client);

    home.restart().await;
    let mut client = home.greeted(json!({ "hello": 1 })).await;
    assert_eq!(client.next().await["message"]["markdown"], "two");
    client.nothing().await;
}

#[tokio::test]
async fn a_question_stays_until_it_is_answered() {
    let mut home = Home::new().await;
    let id = home.send_body("k1", Body::Ask(question("q-1")), None).await;
    let mut client = home.greeted(json!({ "hello": 1 })).await;
    let asked = client.next().await["message"].clone();
    assert_eq!(asked["question"]["questionId"], "q-1");
    client.say(&json!({ "seen": id })).await;
    client.nothing().await;

    let mut later = home.greeted(json!({ "hello": 1 })).await;
    assert_eq!(later.next().await["message"], asked, "seen is not answered");

    *home.host.outcome.lock().unwrap() = AnswerOutcome::Refused { why: "not yours".into() };
    let answer = json!({ "answer": { "question": "q-1", "value": "approve" } });
    later.say(&answer).await;
    assert_eq!(later.next().await, json!({ "nack": "q-1", "why": "not yours" }));
    *home.host.outcome.lock().unwrap() = AnswerOutcome::Taken { label: "Yes!".into() };
    later.say(&answer).await;
    let settled = json!({ "answered": { "question": "q-1", "label": "Yes!" } });
    assert_eq!(later.next().await, settled);
    assert_eq!(client.next().await, settled);
    let taken = home.answers.recv().await.unwrap();
    assert_eq!((taken.value.as_str(), taken.sender.handle.as_str()), ("approve", "local"));

    home.greeted(json!({ "hello": 1 })).await.nothing().await;
}

#[tokio::test]
async fn a_late_answer_and_a_changed_question_settle_it() {
    let home = Home::new().await;
    home.send_body("k1", Body::Ask(question("q-1")), None).await;
    let two = home.send_body("k2", Body::Ask(question("q-2")), None).await;
    let mut client = home.greeted(json!({ "hello": 1 })).await;
    client.next().await;
    client.next().await;
    *home.host.outcome.lock().unwrap() = AnswerOutcome::Late;
    client.say(&json!({ "answer": { "question": "q-1", "value": "approve" } })).await;
    assert_eq!(client.next().await, json!({ "answered": { "question": "q-1" } }));
    let message = PlatformMessageId::parse(two.as_str()).unwrap();
    home.send_body("k3", Body::Edit { message, markdown: "expired".into() }, None).await;
    let edit = client.next().await["message"].clone();
    assert_eq!((&edit["edit_of"], &edit["markdown"]), (&json!(two), &json!("expired")));
    client.say(&json!({ "seen": edit["id"] })).await;
    client.nothing().await;
    home.greeted(json!({ "hello": 1 })).await.nothing().await;
}

#[tokio::test]
async fn files_come_and_go() {
    let mut home = Home::new().await;
    let mut client = home.greeted(json!({ "hello": 1 })).await;
    let upload = wire::Upload::new("../cat.PNG".into(), b"meow");
    client.say(&json!({ "id": "m-1", "text": "", "files": [upload] })).await;
    assert_eq!(client.next().await, json!({ "ack": "m-1" }));
    let file = home.heard().await.files.remove(0);
    assert_eq!((file.kind.as_str(), file.mime.as_deref()), ("image", Some("image/png")));
    assert_eq!((file.name.as_str(), file.bytes.as_slice()), ("../cat.PNG", b"meow".as_slice()));
    let bad = json!({ "name": "x", "base64": "not base64!" });
    client.say(&json!({ "id": "m-2", "text": "", "files": [bad] })).await;
    assert_eq!(client.next().await["nack"], "m-2");

    let file = |name: &str, bytes: &[u8]| OutFile { name: name.into(), bytes: bytes.into() };
    let files = vec![file("a.txt", b"1"), file("a.txt", b"2"), file("../../etc/x", b"3")];
    home.send_body("k", Body::Text { markdown: String::new(), files }, None).await;
    let message = client.next().await["message"].clone();
    let names: Vec<&str> =
        message["files"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a.txt", "2-a.txt", "file-3"]);
    for (n, saved) in message["files"].as_array().unwrap().iter().enumerate() {
        let path = Path::new(saved["path"].as_str().unwrap());
        assert!(path.starts_with(folder(home.dir.path()).join("files")));
        assert_eq!(std::fs::read_to_string(path).unwrap(), (n + 1).to_string());
    }
}

#[tokio::test]
async fn reactions_and_cards_are_told() {
    let home = Home::new().await;
    let mut client = home.greeted(json!({ "hello": 1 })).await;
    let message = PlatformMessageId::parse("m-1").unwrap();
    home.send_body("k1", Body::React { message, emoji: "👍".into() }, None).await;
    let reaction = client.next().await["message"]["reaction"].clone();
    assert_eq!(reaction, json!({ "to": "m-1", "emoji": "👍" }));
    let card = Body::Card { title: Some("Plan".into()), markdown: "do it".into() };
    home.send_body("k2", card, None).await;
    assert_eq!(client.next().await["message"]["markdown"], "**Plan**\n\ndo it");
}

#[tokio::test]
async fn nonsense_is_answered_with_a_reason_and_hurts_nobody() {
    let mut home = Home::new().await;
    let mut client = home.client().await;
    for line in ["{", "[]", "{}", r#"{"text":5}"#, r#"{"hello":2}"#, r#"{"hello":1,"chat":""}"#] {
        client.raw(format!("{line}\n").as_bytes()).await;
        assert!(client.next().await["error"].is_string(), "{line}");
    }
    client.raw(b"\xff\xfe\n").await;
    assert!(client.next().await["error"].is_string());
    client.say(&json!({ "hello": 1 })).await;
    assert_eq!(client.next().await, json!({ "hello": 1, "chat": "local" }));
    client.say(&json!({ "hello": 1 })).await;
    assert!(client.next().await["error"].is_string(), "hello comes once");

    let mut endless = home.client().await;
    endless.raw(&vec![b'x'; wire::TEXT_LINE_MAX + 1]).await;
    assert!(endless.next().await["error"].as_str().unwrap().contains("longer"));
    endless.end().await;

    client.say(&json!({ "id": "m-1", "text": "still here" })).await;
    assert_eq!(home.heard().await.text, "still here");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_and_delays_nobody() {
    let home = Home::new().await;
    let mut slow = home.greeted(json!({ "hello": 1 })).await;
    let mut quick = home.greeted(json!({ "hello": 1 })).await;
    for _ in 0..40_000 {
        home.channel.typing(&local(), Typing::Off).await;
        assert_eq!(quick.next().await, json!({ "typing": false }));
    }
    home.send("k", "for both").await;
    assert_eq!(quick.next().await["message"]["markdown"], "for both");
    // What was in the socket is still there, but then it ends, without the message.
    let mut line = String::new();
    while slow.read.read_line(&mut line).await.is_ok_and(|read| read > 0) {
        assert_eq!(line.trim(), r#"{"typing":false}"#);
        line.clear();
    }
    let mut back = home.greeted(json!({ "hello": 1 })).await;
    assert_eq!(back.next().await["message"]["markdown"], "for both");
}

#[tokio::test]
async fn too_many_clients_are_turned_away() {
    let home = Home::new().await;
    let mut clients = Vec::new();
    for _ in 0..hub::CLIENTS_MAX {
        clients.push(home.greeted(json!({ "hello": 1 })).await);
    }
    home.client().await.end().await;
    clients.pop().unwrap();
    // The place is free as soon as the host noticed; a new client gets it.
    loop {
        let mut client = home.client().await;
        if client.write.write_all(b"{\"hello\":1}\n").await.is_err() {
            continue;
        }
        let mut line = String::new();
        if client.read.read_line(&mut line).await.is_ok_and(|read| read > 0) {
            assert!(line.contains("hello"));
            return;
        }
    }
}

#[tokio::test]
async fn a_chat_that_nobody_reads_holds_the_rest_back() {
    let home = Home::new().await;
    for n in 0..log::UNSEEN_MAX {
        home.send(&format!("k{n}"), "x").await;
    }
    let body = Body::Text { markdown: "one more".into(), files: Vec::new() };
    let message = Outgoing { to: local(), body, key: "more".into(), reply_to: None };
    let refused = home.channel.send(&message).await.unwrap_err();
    assert!(matches!(refused, SendError::Retry { after: Some(_), .. }), "{refused}");
    let mut client = home.greeted(json!({ "hello": 1 })).await;
    for _ in 0..log::UNSEEN_MAX {
        let id = client.next().await["message"]["id"].clone();
        client.say(&json!({ "seen": id })).await;
    }
    client.nothing().await;
    home.channel.send(&message).await.unwrap();
    assert_eq!(client.next().await["message"]["markdown"], "one more");
}

#[tokio::test]
async fn the_socket_is_the_operators() {
    let mut home = Home::new().await;
    let path = socket(home.dir.path());
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(hub::may_speak(1000, 1000) && hub::may_speak(0, 1000));
    assert!(!hub::may_speak(1001, 1000) && !hub::may_speak(1000, 0));

    let second = open(home.dir.path(), &home.host).await.err().unwrap();
    assert!(second.to_string().contains("another NanoClaw"), "{second}");
    home.channel.stop().await;
    assert!(!path.exists());
    // What a killed host leaves behind is replaced, anything else is not.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    home.restart().await;
    home.channel.stop().await;
    std::fs::write(&path, "precious").unwrap();
    let error = open(home.dir.path(), &home.host).await.err().unwrap();
    assert!(matches!(error, StartError::Broken(_)), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}
