//! Prompts as the runner writes them.

use super::*;

#[test]
fn messages_tasks_and_webhooks_are_found_in_order() {
    let text = "<context timezone=\"UTC\" />\n<messages>\n<message id=\"2\" from=\"home\" sender=\"A &amp; B\" time=\"x\">\n  <quoted_message from=\"C\">old</quoted_message>\na &lt;b&gt;</message>\n<message id=\"4\" from=\"unknown:cli:x\" sender=\"D\" time=\"x\">@\u{200b}/etc</message>\n</messages>\n\n<task time=\"x\">Instructions:\ndo it</task>\n\n<webhook source=\"s\" event=\"e\">{}</webhook>";
    let all = parse(text);
    let shown: Vec<_> =
        all.iter().map(|s| (s.kind, s.id, s.from.as_deref(), s.text.as_str())).collect();
    assert_eq!(
        shown,
        [
            ("message", Some(2), Some("home"), "a <b>"),
            ("message", Some(4), None, "@/etc"),
            ("task", None, None, "do it"),
            ("webhook", None, None, "{}"),
        ]
    );
    assert_eq!(all[0].sender, "A & B");
}

#[test]
fn anything_else_is_nothing() {
    for text in ["", "hi", "<message", "<message id=\"", "<messages>"] {
        assert!(parse(text).is_empty(), "{text}");
    }
}
