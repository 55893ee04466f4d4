//! Events as servers send them, and as nobody should.

use super::{File, Said, What, read};
use proptest::prelude::*;
use serde_json::{Value, json};

fn what(kind: &str, content: Value) -> Option<What> {
    let event = json!({ "type": kind, "event_id": "$1", "sender": "@ann:x", "origin_server_ts": 5,
        "content": content });
    read(&event.to_string()).map(|event| event.what)
}

fn said(content: Value) -> Said {
    match what("m.room.message", content) {
        Some(What::Said(said)) => said,
        other => panic!("{other:?}"),
    }
}

#[test]
fn words() {
    let plain = said(json!({ "msgtype": "m.text", "body": "hello" }));
    assert_eq!(plain, Said { text: "hello".into(), ..Said::default() });
    let named = said(json!({ "msgtype": "m.text", "body": "Agent: hi",
        "m.mentions": { "user_ids": ["@agent:x"] } }));
    assert_eq!(named.names, ["@agent:x"]);
    let linked =
        said(json!({ "msgtype": "m.text", "body": "Agent: hi", "format": "org.matrix.custom.html",
        "formatted_body": "<a href=\"https://matrix.to/#/%40agent%3Ax\">Agent</a>: hi" }));
    assert_eq!(linked.names, ["@agent:x"]);
    // Where an app states whom it names, a link alone names nobody.
    let quoted = said(json!({ "msgtype": "m.text", "body": "he said Agent", "m.mentions": {},
        "formatted_body": "<a href=\"https://matrix.to/#/@agent:x\">Agent</a>" }));
    assert!(quoted.names.is_empty());
    assert!(
        said(json!({ "msgtype": "m.text", "body": "", "m.mentions": { "room": true } })).calls_all
    );
    assert_eq!(what("m.room.message", json!({ "msgtype": "m.notice", "body": "beep" })), None);
}

#[test]
fn answers_and_threads() {
    let answer =
        said(json!({ "msgtype": "m.text", "body": "> <@bob:x> at noon\n> or not\n\ntoo early",
        "m.relates_to": { "m.in_reply_to": { "event_id": "$0" } } }));
    assert_eq!((answer.text.as_str(), answer.reply_to.as_deref()), ("too early", Some("$0")));
    let threaded = |falling_back| {
        said(json!({ "msgtype": "m.text", "body": "more", "m.relates_to": { "rel_type": "m.thread",
            "event_id": "$root", "is_falling_back": falling_back, "m.in_reply_to": { "event_id": "$0" } } }))
    };
    assert_eq!((threaded(true).thread.as_deref(), threaded(true).reply_to), (Some("$root"), None));
    assert_eq!(threaded(false).reply_to.as_deref(), Some("$0"));
}

#[test]
fn files() {
    let file = said(
        json!({ "msgtype": "m.image", "body": "look", "filename": "dot.png", "url": "mxc://x/1",
        "info": { "mimetype": "image/png", "size": 9 } }),
    );
    assert_eq!(file.text, "look");
    let plain = File {
        name: "dot.png".into(),
        kind: "image",
        mime: Some("image/png".into()),
        size: Some(9),
        source: json!({ "url": "mxc://x/1" }),
    };
    assert_eq!(file.file, Some(plain));
    let secret =
        said(json!({ "msgtype": "m.file", "body": "a.pdf", "file": { "url": "mxc://x/2" } }));
    let source = secret.file.map(|f| (f.name, f.source));
    assert_eq!(source, Some(("a.pdf".into(), json!({ "file": { "url": "mxc://x/2" } }))));
    assert_eq!(what("m.room.message", json!({ "msgtype": "m.file", "body": "a.pdf" })), None);
}

#[test]
fn changes() {
    let edit = json!({ "msgtype": "m.text", "body": "* new", "m.new_content": { "msgtype": "m.text",
        "body": "new" }, "m.relates_to": { "rel_type": "m.replace", "event_id": "$0" } });
    let edited = What::Edited { message: "$0".into(), text: "new".into() };
    assert_eq!(what("m.room.message", edit), Some(edited));
    let react =
        json!({ "m.relates_to": { "rel_type": "m.annotation", "event_id": "$0", "key": "👍" } });
    let reacted = What::Reacted { message: "$0".into(), emoji: "👍".into() };
    assert_eq!(what("m.reaction", react), Some(reacted));
    let redacted = What::Redacted { target: "$0".into() };
    assert_eq!(what("m.room.redaction", json!({ "redacts": "$0" })), Some(redacted.clone()));
    let old = r#"{"type":"m.room.redaction","event_id":"$1","sender":"@a:x","redacts":"$0","content":{}}"#;
    assert_eq!(read(old).unwrap().what, redacted);
}

#[test]
fn what_was_taken_back_or_is_broken_means_nothing() {
    assert_eq!(what("m.room.message", json!({})), None);
    assert_eq!(what("m.room.message", json!({ "msgtype": 7, "body": [] })), None);
    assert_eq!(what("m.reaction", json!({ "m.relates_to": { "rel_type": "m.annotation" } })), None);
    assert_eq!(read("[]"), None);
    let odd =
        said(json!({ "msgtype": "m.text", "body": "x", "m.relates_to": 3, "m.mentions": "all",
        "info": [], "url": {} }));
    assert_eq!(odd.text, "x");
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[$@!m.a-z]{0,12}".prop_map(Value::from),
    ];
    let keys = prop::sample::select(vec![
        "msgtype",
        "body",
        "url",
        "file",
        "info",
        "size",
        "m.relates_to",
        "rel_type",
        "event_id",
        "m.new_content",
        "m.mentions",
        "user_ids",
        "m.in_reply_to",
        "redacts",
        "membership",
        "key",
    ]);
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(keys.clone().prop_map(str::to_owned), inner, 0..8)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_panics(content in value(), kind in prop::sample::select(vec!["m.room.message",
        "m.reaction", "m.sticker", "m.room.redaction", "m.room.member"])) {
        let event = json!({ "type": kind, "event_id": "$1", "sender": "@a:x", "content": content });
        drop(read(&event.to_string()));
    }

    #[test]
    fn nor_does_any_text(text: String) {
        drop(read(&text));
    }
}
