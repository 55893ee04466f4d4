//! Memory and numbers; what the demo answers is tested through the runner's loop.

use super::*;

fn said(id: i64, text: &str) -> Said {
    Said { id: Some(id), text: text.into(), kind: "message", ..Said::default() }
}

#[test]
fn memory_survives_as_a_continuation_and_keeps_each_message_once() {
    let mut memory = Memory::default();
    for n in 0..60 {
        memory.keep(&said(n, &format!("m{n}")));
        memory.keep(&said(n, &format!("m{n}")));
    }
    let again = Memory::read(Some(&memory.write()));
    assert_eq!(again, memory);
    assert_eq!(again.recall().lines().count(), 51);
    assert!(again.recall().ends_with("- m59"));
    assert_eq!(Memory::read(Some("of another provider")), Memory::default());
}

#[test]
fn numbers_are_read_leniently() {
    assert_eq!(number("2 minutes"), Some(2.0));
    assert_eq!(number("0.5s"), Some(0.5));
    assert_eq!(number("some"), None);
}

#[test]
fn errands_name_another_agent() {
    for (text, wanted) in [
        ("Tell sam: hello: you", Some(("sam", "hello: you"))),
        ("ask sam what is new?", Some(("sam", "what is new?"))),
        ("send sam a file", Some(("sam", "a file"))),
        ("send me a file", None),
        ("ask me something", None),
        ("tell everybody at once: hi", None),
        ("telling", None),
        ("té", None),
    ] {
        assert_eq!(errand(text), wanted, "{text}");
    }
}
