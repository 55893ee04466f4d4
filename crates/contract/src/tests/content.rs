//! Content from anywhere: the good shapes, and everything else.

use crate::content::{Attachment, Chat, OPTIONS_MAX, Out, Quote};
use crate::message::OutKind;
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn a_chat_message_survives_its_own_json() {
    let chat = Chat {
        id: Some("77".into()),
        text: "look \"here\"\n@bot".into(),
        sender: "Ann".into(),
        sender_id: Some("somewhere:1".into()),
        attachments: vec![Attachment {
            kind: "image".into(),
            name: "a.png".into(),
            mime: Some("image/png".into()),
            size: Some(3),
            local_path: Some("inbox/m/a.png".into()),
            url: None,
            missing: None,
        }],
        reply_to: Some(Quote { id: Some("76".into()), sender: None, text: Some("what".into()) }),
    };
    assert_eq!(Chat::parse(&chat.to_json()), chat);
}

#[test]
fn every_sender_shape_of_v2_is_understood() {
    for (content, sender, id) in [
        (
            json!({"sender": "Ann", "senderId": "t:1", "author": {"fullName": "B"}}),
            "Ann",
            Some("t:1"),
        ),
        (
            json!({"author": {"fullName": "Bea", "userName": "b", "userId": "t:2"}}),
            "Bea",
            Some("t:2"),
        ),
        (json!({"author": {"userName": "b"}}), "b", None),
        (json!({"sender": "", "author": 3}), "Unknown", None),
    ] {
        let chat = Chat::parse(&content.to_string());
        assert_eq!((chat.sender.as_str(), chat.sender_id.as_deref()), (sender, id), "{content}");
    }
}

#[test]
fn what_is_no_object_is_the_message_itself() {
    for text in ["plain", "", "[1]", "\"quoted\"", "{broken"] {
        let chat = Chat::parse(text);
        assert_eq!((chat.text.as_str(), chat.sender.as_str()), (text, "Unknown"));
    }
}

#[test]
fn outbound_shapes_are_read() {
    let parse = |kind, v: Value| Out::parse(kind, &v.to_string());
    assert_eq!(
        parse(OutKind::Chat, json!({"text": "hi", "files": ["a.txt"]})),
        Ok(Out::Say { text: "hi".into(), files: vec!["a.txt".into()] })
    );
    assert_eq!(
        parse(OutKind::Chat, json!({"operation": "edit", "messageId": 7, "text": "new"})),
        Ok(Out::Edit { message_id: "7".into(), text: "new".into() })
    );
    assert_eq!(
        parse(OutKind::Chat, json!({"operation": "reaction", "messageId": "7", "emoji": "eyes"})),
        Ok(Out::React { message_id: "7".into(), emoji: "eyes".into() })
    );
    let card = json!({"type": "card", "card": {"title": "T", "description": "D",
        "children": ["one", {"text": "two"}, 3], "actions": [{"label": "go", "url": "https://x"}]}});
    assert_eq!(
        parse(OutKind::ChatSdk, card),
        Ok(Out::Card {
            title: Some("T".into()),
            text: "D\n\none\n\ntwo\n\n[go](https://x)".into()
        })
    );
    let ask = json!({"type": "ask_question", "questionId": "q1", "title": "T", "question": "?",
        "options": ["Yes", {"label": "No", "value": "n"}]});
    let Ok(Out::Ask(question)) = parse(OutKind::ChatSdk, ask) else { panic!("not a question") };
    let values: Vec<_> = question.options.iter().map(|o| o.value.as_str()).collect();
    assert_eq!(values, ["Yes", "n"]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let many: Vec<String> = (0..=crate::dir::FILES_MAX).map(|n| format!("f{n}")).collect();
    let options: Vec<String> = (0..=OPTIONS_MAX).map(|n| n.to_string()).collect();
    let ask = |options: Value| json!({"type": "ask_question", "questionId": "q", "title": "", "question": "", "options": options});
    for (kind, content, why) in [
        (OutKind::Chat, json!({}), "says nothing"),
        (OutKind::Chat, json!([]), "no JSON object"),
        (OutKind::Chat, json!({"text": "x", "files": ["../secret"]}), "no plain file name"),
        (OutKind::Chat, json!({"text": "x", "files": [7]}), "no plain file name"),
        (OutKind::Chat, json!({"files": many}), "more than 32"),
        (OutKind::Chat, json!({"operation": "edit", "text": "x"}), "without a \"messageId\""),
        (OutKind::Chat, json!({"operation": "edit", "messageId": "1"}), "edit without text"),
        (OutKind::Chat, json!({"operation": "reaction", "messageId": "1"}), "without an emoji"),
        (OutKind::Chat, json!({"operation": "shout", "messageId": "1"}), "unknown operation"),
        (OutKind::ChatSdk, ask(json!([])), "1 to 25 options"),
        (OutKind::ChatSdk, ask(json!(options)), "1 to 25 options"),
        (OutKind::ChatSdk, ask(json!([1])), "not a question"),
        (OutKind::ChatSdk, json!({"type": "card", "card": {}}), "the card is empty"),
        (
            OutKind::ChatSdk,
            json!({"type": "card", "card": {"actions": [{"label": "no link"}]}}),
            "empty",
        ),
        (OutKind::System, json!({"text": "x"}), "no \"action\""),
    ] {
        let refused = Out::parse(kind, &content.to_string()).unwrap_err();
        assert!(refused.contains(why), "{content}: {refused}");
    }
    assert!(Out::parse(OutKind::Chat, "{").unwrap_err().contains("no JSON"));
}

/// JSON that often has the keys and words that the parsers look for.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        any::<String>(),
        prop::sample::select(vec!["edit", "reaction", "ask_question", "card", "../x", "a", ""])
            .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        let key = prop_oneof![
            prop::sample::select(vec![
                "text",
                "markdown",
                "files",
                "operation",
                "messageId",
                "emoji",
                "type",
                "card",
                "children",
                "actions",
                "label",
                "url",
                "title",
                "options",
                "questionId",
                "value",
                "question",
                "action",
                "author",
                "sender",
                "senderId",
                "attachments",
                "replyTo",
                "id",
                "size",
                "name",
                "fallbackText",
                "description",
            ])
            .prop_map(str::to_owned),
            any::<String>(),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_makes_them_panic(value in any_json()) {
        let content = value.to_string();
        // A message that was read once is written in a form that reads the same.
        let chat = Chat::parse(&content);
        prop_assert_eq!(Chat::parse(&chat.to_json()).text, chat.text);
        for kind in OutKind::ALL {
            if let Ok(Out::Say { files, .. }) = Out::parse(*kind, &content) {
                prop_assert!(files.iter().all(|name| crate::ids::is_safe_name(name)));
            }
        }
    }

    #[test]
    fn no_text_makes_them_panic(content in any::<String>()) {
        prop_assert!(!Chat::parse(&content).sender.is_empty());
        for kind in OutKind::ALL {
            let parsed = Out::parse(*kind, &content);
            let object = content.trim_start().starts_with('{');
            prop_assert!(parsed.is_err() || object);
        }
    }
}
