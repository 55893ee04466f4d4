//! Ids come back as they went.

use super::{Email, Place, Thread, message};
use proptest::prelude::*;

#[test]
fn addresses_have_one_form_and_nonsense_is_refused() {
    assert_eq!(Email::parse(" Ann@X.Example ").unwrap().as_str(), "ann@x.example");
    let long = format!("{}@x.example", "a".repeat(250));
    for bad in ["", "ann", "@x", "ann@", "a b@x", "a@b@c", "a\n@x", "a:b@x", "<a@x>", &long] {
        assert!(Email::parse(bad).is_none(), "{bad}");
    }
}

#[test]
fn ids_of_messages_are_always_usable() {
    assert_eq!(message(" <a@b> "), "a@b");
    for odd in ["", "<a b@c>", "a\u{1}b", &"x".repeat(9000)] {
        assert!(message(odd).ends_with("@hashed"), "{odd}");
    }
}

proptest! {
    #[test]
    fn places_come_back(user in "[a-z0-9.+_-]{1,30}", domain in "[a-z0-9.-]{1,30}", root in proptest::option::of(".*")) {
        let email = Email::parse(&format!("{user}@{domain}")).unwrap();
        let place = Place { email, thread: root.as_deref().map(Thread::of) };
        for channel in ["email", "resend"] {
            let address = place.address(channel).unwrap();
            prop_assert_eq!(Place::parse(channel, &address), Some(place.clone()));
            prop_assert_eq!(Place::parse("emai", &address), None);
        }
    }

    #[test]
    fn no_id_of_a_message_panics(id in ".*") {
        prop_assert!(nanoclaw_channel::PlatformMessageId::parse(message(&id)).is_ok());
    }
}
