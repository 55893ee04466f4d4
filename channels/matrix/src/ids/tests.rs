//! Both directions agree.

use super::{Chat, parse_thread, thread_id};
use nanoclaw_channel::PlatformId;
use proptest::prelude::*;

fn parse(id: &str) -> Option<Chat> {
    Chat::parse(&PlatformId::parse(id).unwrap())
}

proptest! {
    #[test]
    fn what_was_encoded_is_read(id in "[!-~ü]{1,100}", event in "[!-~ü]{1,40}") {
        let (person, room) = (Chat::Person(format!("@{id}:x")), Chat::Room(format!("!{id}")));
        prop_assert_eq!(parse(&person.encode()), Some(person));
        prop_assert_eq!(parse(&room.encode()), Some(room));
        let (room, root) = (format!("!{id}"), format!("${event}"));
        prop_assert_eq!(parse_thread(&thread_id(&room, &root).unwrap()), Some((room, root)));
    }

    #[test]
    fn anything_is_read_or_refused(id in "\\PC{1,60}") {
        prop_assume!(PlatformId::parse(id.clone()).is_ok());
        if let Some(chat) = parse(&id) {
            prop_assert_eq!(parse(&chat.encode()), Some(chat));
        }
    }
}

#[test]
fn the_ids_are_the_original_s() {
    assert_eq!(Chat::Room("!abc:example.org".into()).encode(), "matrix:!abc%3Aexample.org");
    assert_eq!(Chat::Person("@ann:example.org".into()).encode(), "matrix:@ann:example.org");
    // What people copy from their app.
    assert_eq!(parse("matrix:!abc:example.org"), Some(Chat::Room("!abc:example.org".into())));
    assert_eq!(parse("!abc:example.org"), Some(Chat::Room("!abc:example.org".into())));
    for none in
        ["matrix:", "matrix:#alias:x", "matrix:@ann", "telegram:1", "matrix:!a%", "matrix:!%ff"]
    {
        assert_eq!(parse(none), None, "{none}");
    }
}
