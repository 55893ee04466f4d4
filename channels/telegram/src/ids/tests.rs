use super::{At, Place};
use nanoclaw_channel::{PlatformId, PlatformMessageId, ThreadId};
use proptest::prelude::{Just, any, prop_oneof, proptest};

proptest! {
    #[test]
    fn a_place_comes_back(chat: i64, topic: Option<i64>) {
        let place = Place { chat, topic };
        assert_eq!(Place::parse(&place.address().unwrap()), Ok(place));
    }

    #[test]
    fn a_message_comes_back(chat: i64, message: i64) {
        let at = At { chat, message };
        assert_eq!(At::parse(&at.id().unwrap()), Ok(at));
    }

    #[test]
    fn anything_else_is_refused(text in prop_oneof![any::<String>(), Just("telegram:".to_owned())]) {
        let mut address = Place { chat: 7, topic: None }.address().unwrap();
        if let Ok(id) = PlatformId::parse(text.clone()) {
            address.platform_id = id;
            assert!(Place::parse(&address).is_err() || text.starts_with("telegram:"));
        }
        if let Ok(id) = PlatformMessageId::parse(text) {
            assert!(At::parse(&id).is_err() || id.as_str().contains(':'));
        }
    }
}

#[test]
fn a_topic_of_another_chat_is_refused() {
    let mut address = Place { chat: 7, topic: Some(3) }.address().unwrap();
    address.thread_id = Some(ThreadId::parse("telegram:8:3").unwrap());
    assert!(Place::parse(&address).is_err());
}
