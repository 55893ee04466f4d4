//! Both directions agree.

use super::*;
use proptest::prelude::*;

fn id() -> impl Strategy<Value = Id> {
    (1..=u64::MAX).prop_map(Id)
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        guild in proptest::option::of(id()), channel in id(), thread in proptest::option::of(id()),
    ) {
        let place = Place { guild, channel, thread };
        prop_assert_eq!(Place::parse(&place.address().unwrap()), Some(place));
    }

    #[test]
    fn anything_else_is_refused_and_does_not_panic(chat in "(discord:)?[0-9@me:]{0,40}", thread in "[discord0-9:]{1,40}") {
        let at = Address {
            channel_type: ChannelType::parse("discord").unwrap(),
            platform_id: match PlatformId::parse(chat) { Ok(id) => id, Err(_) => return Ok(()) },
            thread_id: ThreadId::parse(thread).ok(),
        };
        if let Some(place) = Place::parse(&at) {
            let again = place.address().unwrap();
            prop_assert_eq!(again.platform_id, at.platform_id);
        }
    }
}

#[test]
fn a_thread_of_another_channel_is_none() {
    let mut at =
        Place { guild: Some(Id(1)), channel: Id(2), thread: Some(Id(3)) }.address().unwrap();
    at.thread_id = ThreadId::parse("discord:1:9:3").ok();
    assert_eq!(Place::parse(&at), None);
    assert_eq!(Id::parse("+5"), None);
    assert_eq!(Id::parse("05"), None);
}
