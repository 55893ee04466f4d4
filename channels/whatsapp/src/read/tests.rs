use super::{Event, read};
use proptest::prelude::*;
use whatsapp_rust::prelude::{MessageBuilderExt as _, MessageField, wa};
use whatsapp_rust::waproto::codec::message_decode;

fn text(message: &wa::Message) -> String {
    match read(message) {
        Some(Event::Said(words)) => words.text,
        _ => "nothing".into(),
    }
}

#[test]
fn what_is_neither_words_nor_a_file_is_put_into_words() {
    let contact = |name: &str, card: &str| wa::message::ContactMessage {
        display_name: Some(name.into()),
        vcard: Some(card.into()),
        ..Default::default()
    };
    let place = wa::Message {
        location_message: MessageField::some(wa::message::LocationMessage {
            degrees_latitude: Some(52.5),
            degrees_longitude: Some(13.4),
            name: Some("Tor".into()),
            ..Default::default()
        }),
        ..Default::default()
    };
    assert_eq!(text(&place), "[location: Tor, 52.5, 13.4]");
    let one = contact("Ann", "BEGIN:VCARD\nTEL;waid=491:+49 1\nEND:VCARD");
    let one = wa::Message { contact_message: MessageField::some(one), ..Default::default() };
    assert_eq!(text(&one), "[contact: Ann, +49 1]");
    let option = |name: &str| wa::message::poll_creation_message::Option {
        option_name: Some(name.into()),
        ..Default::default()
    };
    let poll = wa::Message {
        poll_creation_message_v3: MessageField::some(wa::message::PollCreationMessage {
            name: Some("When?".into()),
            options: vec![option("now"), option("later")],
            ..Default::default()
        }),
        ..Default::default()
    };
    assert_eq!(text(&poll), "[poll: When?]\n  1) now\n  2) later");
}

#[test]
fn what_is_wrapped_is_read_and_what_says_nothing_is_not() {
    let inner = MessageField::some(wa::Message::text("soon gone"));
    let wrapped = wa::Message {
        ephemeral_message: MessageField::some(wa::message::FutureProofMessage { message: inner }),
        ..Default::default()
    };
    assert_eq!(text(&wrapped), "soon gone");
    assert_eq!(text(&wa::Message::default()), "nothing");
}

proptest! {
    /// Whatever a phone sends, reading it ends.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(message) = message_decode(&bytes) {
            drop(read(&message));
        }
    }
}
