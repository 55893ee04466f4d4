use super::*;
use expect_test::{Expect, expect};

fn check(line: &str, expected: &Expect) {
    let shown = match Request::parse(line.as_bytes()) {
        Ok(request) => serde_json::to_string(&request).unwrap(),
        Err(why) => why,
    };
    expected.assert_eq(&shown);
}

#[test]
fn a_line_is_what_it_says_or_refused() {
    check(
        r#"{"hello":1,"agent":"andy","later":true}"#,
        &expect![[r#"{"hello":1,"agent":"andy"}"#]],
    );
    check(r#"{"text":"hi","id":"m"}"#, &expect![[r#"{"id":"m","text":"hi"}"#]]);
    check(r#"{"seen":"m"}"#, &expect![[r#"{"seen":"m"}"#]]);
    check(
        r#"{"answer":{"question":"q","value":"v"}}"#,
        &expect![[r#"{"answer":{"question":"q","value":"v"}}"#]],
    );
    check(
        r#"{"text":"hi","to":{"channelType":"x","platformId":"y","threadId":"z"}}"#,
        &expect![[r#"{"text":"hi","to":{"channelType":"x","platformId":"y","threadId":"z"}}"#]],
    );
    check(r#"{"text":""}"#, &expect![[r#"it says nothing: no "text" and no "files""#]]);
    check(
        r#"{"text":"hi","to":{"channelType":"","platformId":"y"}}"#,
        &expect!["not understood: not a usable channel type: it is empty at line 1 column 35"],
    );
}

#[test]
fn what_we_write_we_read() {
    let events = [
        Event::Hello { hello: 1, chat: "local".into() },
        Event::Ack { ack: "m".into() },
        Event::Nack { nack: "m".into(), why: "no".into() },
        Event::Message { message: Box::new(Message { id: "a".into(), ..Message::default() }) },
        Event::Said { said: Said { id: "m".into(), text: "t".into(), files: Vec::new() } },
        Event::Typing { typing: true },
        Event::Answered { answered: Answered { question: "q".into(), label: None } },
        Event::Error { error: "e".into() },
    ];
    for event in events {
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event, "{line}");
    }
}

#[tokio::test]
async fn lines_are_read_up_to_a_limit() {
    let mut from: &[u8] = b"one\nthree\nno end";
    let mut seen = Vec::new();
    loop {
        match read_line(&mut from, 5).await.unwrap() {
            Read::Line(line) => seen.push(String::from_utf8(line).unwrap()),
            Read::TooLong => seen.push("too long".into()),
            Read::End => break,
        }
    }
    assert_eq!(seen, ["one\n", "three\n", "too long"]);
}
