//! The tests of the central database, by noun.

mod approvals;
mod changes;
mod deliveries;
mod install;
mod pairings;
mod people;
mod previews;
mod questions;
mod removal;
mod sessions;
mod state;
mod team;
mod wirings;

use crate::*;
use nanoclaw_contract::ids::{Address, AgentId, ChatId, SessionId, WiringId};
use nanoclaw_contract::time::iso;

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

/// Some milliseconds after a fixed time.
fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(1_800_000_000_000 + ms).unwrap()
}

fn central() -> Central {
    Central::open_in_memory(at(0)).unwrap()
}

fn agent(name: &str) -> Agent {
    Agent {
        id: id(&format!("ag-{name}")),
        name: name.to_uppercase(),
        folder: name.into(),
        provider: None,
        created_at: iso(at(0)),
    }
}

fn chat(name: &str) -> Chat {
    Chat {
        id: id(&format!("mg-{name}")),
        channel_type: id("cli"),
        platform_id: id(name),
        name: Some(name.to_uppercase()),
        kind: ChatKind::Group,
        policy: UnknownSenderPolicy::Strict,
        denied_at: None,
        created_at: iso(at(0)),
    }
}

fn wiring(chat: &str, agent: &str) -> Wiring {
    Wiring {
        id: id(&format!("mga-{chat}-{agent}")),
        chat: id(&format!("mg-{chat}")),
        agent: id(&format!("ag-{agent}")),
        session_mode: SessionMode::Shared,
        priority: 0,
        engage_mode: Some(EngageMode::Pattern),
        engage_pattern: Some(".".into()),
        sender_scope: SenderScope::All,
        ignored: IgnoredPolicy::Drop,
        previews: false,
        created_at: iso(at(0)),
    }
}

fn session(name: &str, agent: &str, chat: Option<&str>, thread: Option<&str>, ms: i64) -> Session {
    Session {
        id: id(name),
        agent: id(&format!("ag-{agent}")),
        chat: chat.map(|c| id(&format!("mg-{c}"))),
        thread: thread.map(id),
        provider: None,
        active: true,
        container: ContainerStatus::Stopped,
        last_active: None,
        created_at: iso(at(ms)),
    }
}

/// Agents a and b, chats one and two, and a session `s` of a in one.
fn home() -> Central {
    let c = central();
    for name in ["a", "b"] {
        c.create_agent(&agent(name)).unwrap();
    }
    for name in ["one", "two"] {
        c.create_chat(&chat(name)).unwrap();
    }
    c.create_session(&session("s", "a", Some("one"), None, 0)).unwrap();
    c
}

fn sql(c: &Central, sql: &str) {
    c.lock().execute_batch(sql).unwrap();
}

fn refusal<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Err(Error::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

fn address(thread: Option<&str>) -> Address {
    Address { channel_type: id("cli"), platform_id: id("one"), thread_id: thread.map(id) }
}
