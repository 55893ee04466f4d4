//! Both directions agree.

use super::*;
use proptest::prelude::*;

fn address(platform: &str, thread: Option<&str>) -> Address {
    Address {
        channel_type: ChannelType::parse(NAME).unwrap(),
        platform_id: PlatformId::parse(platform).unwrap(),
        thread_id: thread.map(|t| ThreadId::parse(t).unwrap()),
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        channel in "[CGD][A-Z0-9]{1,20}",
        ts in "[0-9]{1,12}\\.[0-9]{1,8}",
        threaded: bool,
    ) {
        let spot = Spot { channel, thread: threaded.then_some(ts) };
        prop_assert_eq!(Spot::parse(&spot.address().unwrap()), Ok(spot));
    }

    #[test]
    fn a_moment_is_read_as_it_was_written(micros in 0..4_000_000_000_000_000_i64) {
        let at = Timestamp::from_microsecond(micros).unwrap();
        prop_assert_eq!(time_of(&ts_at(at)), Some(at));
        prop_assert!(is_ts(&ts_at(at)));
    }

    #[test]
    fn what_is_read_is_written(platform in ".{1,40}", thread in proptest::option::of(".{1,40}")) {
        let (Ok(platform), thread) = (PlatformId::parse(platform), thread.map(ThreadId::parse)) else {
            return Ok(());
        };
        let Ok(thread) = thread.transpose() else { return Ok(()) };
        let at = Address {
            channel_type: ChannelType::parse(NAME).unwrap(),
            platform_id: platform,
            thread_id: thread,
        };
        if let Ok(spot) = Spot::parse(&at) {
            prop_assert_eq!(&spot.address().unwrap().platform_id, &at.platform_id);
        }
    }
}

#[test]
fn a_message_in_a_channel_begins_a_thread_and_one_to_the_agent_does_not() {
    let thread = |channel, thread_ts| Spot::of(channel, "5.1", thread_ts).thread;
    assert_eq!(thread("C1", None).as_deref(), Some("5.1"));
    assert_eq!(thread("C1", Some("4.1")).as_deref(), Some("4.1"));
    assert_eq!(thread("D1", None), None);
    assert_eq!(thread("D1", Some("4.1")).as_deref(), Some("4.1"));
}

#[test]
fn an_older_install_s_empty_threads_are_none() {
    for thread in ["slack:D1", "slack:D1:"] {
        assert_eq!(
            Spot::parse(&address("slack:D1", Some(thread))),
            Ok(Spot { channel: "D1".into(), thread: None })
        );
    }
}

#[test]
fn what_is_not_ours_is_refused() {
    for (platform, thread) in [
        ("C1", None),
        ("slack:", None),
        ("slack:c1", None),
        ("slack:C1/../D1", None),
        ("slack:C1", Some("slack:C2:1.1")),
        ("slack:C1", Some("slack:C1:now")),
        ("slack:C1", Some("slack:C1:1.1&x=1")),
    ] {
        assert!(Spot::parse(&address(platform, thread)).is_err(), "{platform} {thread:?}");
    }
}
