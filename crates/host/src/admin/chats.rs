//! `ncl messaging-groups` and `ncl wirings`.

use super::given::{self, Answer, No, change, maybe, number, on, page, parse, text};
use crate::{Host, HostError, engage};
use nanoclaw_admin::args::Args;
use nanoclaw_admin::table::Verb;
use nanoclaw_central::{
    BrokenRow, Chat, ChatKind, EngageMode, IgnoredPolicy, SenderScope, SessionMode,
    UnknownSenderPolicy, Wiring,
};
use nanoclaw_contract::ids::{self, ChatId, WiringId};
use nanoclaw_contract::time::iso;
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) fn act(host: &Arc<Host>, verb: &Verb, args: &Args) -> Answer {
    match (verb.resource, verb.verb) {
        ("messaging-groups", "list") => {
            Ok(page(verb, args, host.central.chats()?.iter().map(chat_row).collect()))
        }
        ("messaging-groups", "create") => create_chat(host, args),
        ("messaging-groups", "update") => update_chat(host, args),
        ("messaging-groups", _) => Ok(chat_row(&find(host, args)?)),
        (_, "list") => {
            Ok(page(verb, args, host.central.wirings()?.iter().map(any_wiring).collect()))
        }
        (_, "create") => create_wiring(host, args),
        (_, "update") => update_wiring(host, args),
        (_, "delete") => {
            let id: WiringId = parse(args, "id")?;
            match host.central.remove_wiring(&id)? {
                true => Ok(json!({"deleted": id})),
                false => Err(No::missing("wiring", id.as_str(), "wirings")),
            }
        }
        _ => Ok(wiring_row(&wiring(host, args)?)),
    }
}

pub(crate) fn find(host: &Host, args: &Args) -> Result<Chat, No> {
    let id: ChatId = parse(args, "id")?;
    let missing = || No::missing("messaging group", id.as_str(), "messaging-groups");
    host.central.chat(&id)?.ok_or_else(missing)
}

fn chat_row(c: &Chat) -> Value {
    json!({
        "id": c.id,
        "channel_type": c.channel_type,
        "platform_id": c.platform_id,
        "name": c.name,
        "is_group": i64::from(c.kind == ChatKind::Group),
        "unknown_sender_policy": c.policy.as_str(),
        "denied_at": c.denied_at,
        "created_at": c.created_at,
    })
}

fn kind(args: &Args) -> ChatKind {
    if on(args, "is_group") { ChatKind::Group } else { ChatKind::Direct }
}

fn policy(args: &Args) -> Option<UnknownSenderPolicy> {
    text(args, "unknown_sender_policy").and_then(UnknownSenderPolicy::parse)
}

fn chat_name(args: &Args) -> Result<Option<String>, No> {
    text(args, "name").map(|_| given::name(args, "name")).transpose()
}

fn create_chat(host: &Arc<Host>, args: &Args) -> Answer {
    let now = host.clock.now();
    let chat = Chat {
        id: match maybe(args, "id")? {
            Some(id) => id,
            None => ChatId::parse(ids::mint("mg", now)).map_err(HostError::from)?,
        },
        channel_type: parse(args, "channel_type")?,
        platform_id: parse(args, "platform_id")?,
        name: chat_name(args)?,
        kind: kind(args),
        policy: policy(args).unwrap_or(UnknownSenderPolicy::Strict),
        denied_at: None,
        created_at: iso(now),
    };
    let there = host.central.chat_by_address(&chat.channel_type, &chat.platform_id)?;
    if let Some(there) = there.or(host.central.chat(&chat.id)?) {
        return Err(No::failed(format!("this chat is known already: {}", there.id)));
    }
    host.central.create_chat(&chat)?;
    Ok(chat_row(&chat))
}

fn update_chat(host: &Arc<Host>, args: &Args) -> Answer {
    let mut chat = find(host, args)?;
    if args.len() == 1 {
        return Err(No::bad("nothing to update; see `ncl messaging-groups --help`"));
    }
    if args.contains_key("name") {
        chat.name = chat_name(args)?;
    }
    if args.contains_key("is_group") {
        chat.kind = kind(args);
    }
    chat.policy = policy(args).unwrap_or(chat.policy);
    if let Some(at) = change(args, "denied_at") {
        let parsed = at.as_deref().map(|t| {
            nanoclaw_contract::time::parse(t)
                .map(iso)
                .ok_or_else(|| No::bad("--denied-at takes a time, such as 2026-02-04T13:30:00Z"))
        });
        chat.denied_at = parsed.transpose()?;
    }
    host.central.update_chat(&chat)?;
    Ok(chat_row(&chat))
}

fn wiring(host: &Host, args: &Args) -> Result<Wiring, No> {
    let id: WiringId = parse(args, "id")?;
    host.central.wiring(&id)?.ok_or_else(|| No::missing("wiring", id.as_str(), "wirings"))
}

fn wiring_row(w: &Wiring) -> Value {
    json!({
        "id": w.id,
        "messaging_group_id": w.chat,
        "agent_group_id": w.agent,
        "engage_mode": w.engage_mode.map(EngageMode::as_str),
        "engage_pattern": w.engage_pattern,
        "sender_scope": w.sender_scope.as_str(),
        "ignored_message_policy": w.ignored.as_str(),
        "stream_previews": i64::from(w.previews),
        "session_mode": w.session_mode.as_str(),
        "priority": w.priority,
        "created_at": w.created_at,
    })
}

fn any_wiring(w: &Result<Wiring, BrokenRow>) -> Value {
    match w {
        Ok(w) => wiring_row(w),
        Err(broken) => json!({"id": broken.id, "broken": broken.why}),
    }
}

/// Puts what was said into a wiring, and checks that it can be meant.
fn apply(w: &mut Wiring, args: &Args) -> Result<(), No> {
    if let Some(mode) = text(args, "engage_mode").and_then(EngageMode::parse) {
        w.engage_mode = Some(mode);
    }
    if let Some(pattern) = change(args, "engage_pattern") {
        w.engage_pattern = pattern;
    }
    let word = |name| text(args, name);
    w.sender_scope = word("sender_scope").and_then(SenderScope::parse).unwrap_or(w.sender_scope);
    w.ignored = word("ignored_message_policy").and_then(IgnoredPolicy::parse).unwrap_or(w.ignored);
    w.session_mode = word("session_mode").and_then(SessionMode::parse).unwrap_or(w.session_mode);
    w.priority = number(args, "priority").unwrap_or(w.priority);
    if args.contains_key("stream_previews") {
        w.previews = on(args, "stream_previews");
    }
    match (w.engage_mode, w.engage_pattern.as_deref()) {
        // Nothing answers every message because somebody left something out.
        (Some(EngageMode::Pattern), None) => {
            Err(No::bad("mode pattern needs an --engage-pattern; a single . answers every message"))
        }
        (_, Some(pattern)) => engage::compile(pattern).map(drop).map_err(No::bad),
        (_, None) => Ok(()),
    }
}

/// The wiring and the name by which the agent writes there, in sessions that run as well.
fn create_wiring(host: &Arc<Host>, args: &Args) -> Answer {
    let now = host.clock.now();
    let mut w = Wiring {
        id: match maybe(args, "id")? {
            Some(id) => id,
            None => WiringId::parse(ids::mint("mga", now)).map_err(HostError::from)?,
        },
        chat: parse(args, "messaging_group_id")?,
        agent: parse(args, "agent_group_id")?,
        session_mode: SessionMode::Shared,
        priority: 0,
        engage_mode: Some(EngageMode::Mention),
        engage_pattern: None,
        sender_scope: SenderScope::All,
        ignored: IgnoredPolicy::Drop,
        previews: false,
        created_at: iso(now),
    };
    if host.central.chat(&w.chat)?.is_none() {
        return Err(No::missing("messaging group", w.chat.as_str(), "messaging-groups"));
    }
    if host.central.agent(&w.agent)?.is_none() {
        return Err(No::missing("group", w.agent.as_str(), "groups"));
    }
    apply(&mut w, args)?;
    let there = host.central.wirings_of_chat(&w.chat)?;
    if let Some(there) = there.into_iter().flatten().find(|t| t.agent == w.agent) {
        return Err(No::failed(format!("this agent listens there already: wiring {}", there.id)));
    }
    host.central.create_wiring(&w)?;
    host.reproject(&w.agent)?;
    Ok(wiring_row(&w))
}

fn update_wiring(host: &Arc<Host>, args: &Args) -> Answer {
    let mut w = wiring(host, args)?;
    if args.len() == 1 {
        return Err(No::bad("nothing to update; see `ncl wirings --help`"));
    }
    apply(&mut w, args)?;
    host.central.update_wiring(&w)?;
    Ok(wiring_row(&w))
}
