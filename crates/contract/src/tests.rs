//! The contract, held against both of its sides and against those who break it.

mod content;
mod dir;
mod inbox;
mod outbox;
mod tasks;
mod time;

use crate::ids::{Address, ChannelType, MessageId, OutId, PlatformId};
use crate::message::{InKind, NewIn, NewOut, OutKind, Trigger};
use crate::time::Timestamp;

/// A point in time: `seconds` after some midnight.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_795_305_600 + seconds).unwrap()
}

fn address() -> Address {
    Address {
        channel_type: ChannelType::parse("somewhere").unwrap(),
        platform_id: PlatformId::parse("room 1").unwrap(),
        thread_id: None,
    }
}

fn message(id: &str) -> NewIn {
    NewIn {
        id: MessageId::parse(id).unwrap(),
        kind: InKind::Chat,
        timestamp: at(0),
        process_after: None,
        recurrence: None,
        trigger: Trigger::Wake,
        reply: Some(address()),
        content: r#"{"text":"hello","sender":"Ann"}"#.into(),
        source: None,
        on_wake: false,
    }
}

fn answer(id: &str) -> NewOut {
    NewOut {
        id: OutId::parse(id).unwrap(),
        in_reply_to: None,
        kind: OutKind::Chat,
        to: Some(address()),
        content: r#"{"text":"hi"}"#.into(),
    }
}

fn ids(of: &[&str]) -> Vec<MessageId> {
    of.iter().map(|id| MessageId::parse(*id).unwrap()).collect()
}
