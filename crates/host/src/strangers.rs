//! People and chats that nobody vouched for yet: their messages wait, somebody is asked, and what waited
//! takes its ordinary way in once there is a yes.

use crate::approvals::{Action, Ask, card::visible};
use crate::{Host, HostError, blocking, fault, inbound};
use nanoclaw_central::{
    Agent, Approval, ApprovalStatus, Chat, ChatKind, EngageMode, Hold, IgnoredPolicy, SenderScope,
    SessionMode, Wiring, destination_name, is_folder_name,
};
use nanoclaw_channel::{Choice, Inbound, Mention};
use nanoclaw_contract::ids::{self, AgentId, ApprovalId, MessageId, UserId, WiringId};
use nanoclaw_contract::time::iso;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long nobody is asked again about somebody who was turned away.
const DENIED_FOR: Duration = Duration::from_secs(7 * 86_400);
/// Agents that a card offers.
const AGENTS_MAX: usize = 20;
/// Files that wait for one request, and for all of them, in bytes.
const HELD_BYTES_MAX: u64 = 64 << 20;
const ALL_HELD_BYTES_MAX: u64 = 1 << 30;
/// What is shown of a message.
const SAYS_CHARS_MAX: usize = 500;
/// The option that asks for a name.
pub(crate) const NEW_AGENT: &str = "new_agent";
/// Chosen where a code connected the chat; no card offers it, and it vouches for nobody who waits.
pub(crate) const BY_CODE: &str = "by_code";

/// The name in the value of an option that makes a new agent.
pub(crate) fn new_name(value: &str) -> Option<&str> {
    value.strip_prefix("new:").map(str::trim).filter(|name| !name.is_empty())
}

/// Whether the value of an option names an agent: one that is there, or one to be made.
pub(crate) fn is_agent(host: &Host, value: &str) -> Result<bool, HostError> {
    Ok(match value.strip_prefix("connect:").map(AgentId::parse) {
        Some(Ok(id)) => host.central.agent(&id)?.is_some(),
        Some(Err(_)) => false,
        None => new_name(value).is_some(),
    })
}

/// What can be done with a chat where no agent listens.
pub(crate) fn options(host: &Host) -> Result<Vec<Choice>, HostError> {
    let agents = host.central.agents()?;
    let option = |a: &Agent| {
        let mut name = visible(&a.name);
        if agents.iter().filter(|other| other.name == a.name).count() > 1 {
            name = format!("{name} ({})", a.folder);
        }
        Choice {
            label: format!("Connect to {name}"),
            selected_label: format!("✅ Connected to {name}"),
            value: format!("connect:{}", a.id),
        }
    };
    let mut options: Vec<_> = agents.iter().take(AGENTS_MAX).map(option).collect();
    for (label, selected, value) in
        [("New agent", "🆕 Waiting for a name…", NEW_AGENT), ("Reject", "🙅 Rejected", "reject")]
    {
        options.push(Choice {
            label: label.into(),
            selected_label: selected.into(),
            value: value.into(),
        });
    }
    Ok(options)
}

/// Somebody whom the chat does not know addressed an agent: asks for them, once, and keeps the message.
/// Says what was done. Blocks.
pub(crate) fn at_the_door(
    host: &Arc<Host>,
    message: &Inbound,
    chat: &Chat,
    agent: &AgentId,
    user: &UserId,
) -> Result<String, HostError> {
    let now = host.clock.now();
    if let Some(until) = host.central.denied_until(&chat.id, agent, user, now)? {
        return Ok(format!("they were turned away; nobody is asked again before {}", iso(until)));
    }
    let action = Action::LetIn {
        chat: chat.id.clone(),
        agent: agent.clone(),
        user: user.clone(),
        name: called(message),
        says: says(message),
    };
    ask(host, message, action, &format!("let-in:{}:{agent}:{user}:", chat.id))
}

/// Somebody addressed the bot where no agent listens. Blocks.
pub(crate) fn nobody_home(
    host: &Arc<Host>,
    message: &Inbound,
    chat: &Chat,
    user: &UserId,
) -> Result<Option<String>, HostError> {
    if message.mention == Mention::No {
        return Ok(None);
    }
    if chat.denied_at.is_some() {
        return Ok(Some("somebody decided that no agent answers in this chat".into()));
    }
    // A wiring that is broken is mended, not doubled.
    if !host.central.wirings_of_chat(&chat.id)?.is_empty() || host.central.agents()?.is_empty() {
        return Ok(None);
    }
    let action = Action::ConnectChat {
        chat: chat.id.clone(),
        user: user.clone(),
        name: called(message),
        says: says(message),
    };
    ask(host, message, action, &format!("connect:{}:", chat.id)).map(Some)
}

fn called(message: &Inbound) -> String {
    message.sender.name.as_ref().unwrap_or(&message.sender.handle).chars().take(100).collect()
}

fn says(message: &Inbound) -> String {
    let mut says: String = message.text.chars().take(SAYS_CHARS_MAX).collect();
    if says.len() < message.text.len() {
        says.push('…');
    }
    says
}

/// ● One open request for what begins like this, and the message kept for it.
fn ask(
    host: &Arc<Host>,
    message: &Inbound,
    action: Action,
    key: &str,
) -> Result<String, HostError> {
    let id = match host.central.open_approval_like(key)? {
        Some(id) => id,
        None => {
            let (action, key) = (action.clone(), format!("{key}{}", message.id));
            match host.ask_approval(Ask { action, session: None, key })? {
                Ok(id) => id,
                Err(why) => return Ok(format!("nobody was asked: {why}")),
            }
        }
    };
    match hold(host, &id, message)? {
        Hold::Held => Ok(format!("it waits for the request {id}")),
        Hold::Full => Ok(format!("too much waits for the request {id} already")),
        // There was a yes in this very moment: delivered again, it finds the door open.
        Hold::Closed if is_welcome(host, &id, &action)? => {
            Err(HostError::Inbox(format!("the request {id} was decided just now")))
        }
        Hold::Closed => Ok(format!("the request {id} is decided")),
    }
}

fn is_welcome(host: &Host, id: &ApprovalId, action: &Action) -> Result<bool, HostError> {
    let status = host.central.approval(id)?.map(|a| a.status);
    Ok(match (status, action) {
        (Some(ApprovalStatus::Approved | ApprovalStatus::Applying), _) => true,
        (Some(ApprovalStatus::Done), Action::LetIn { user, agent, .. }) => {
            host.central.is_member(user, agent)?
        }
        (Some(ApprovalStatus::Done), Action::ConnectChat { chat, .. }) => {
            !host.central.wirings_of_chat(chat)?.is_empty()
        }
        _ => false,
    })
}

fn all_folders(host: &Host) -> PathBuf {
    host.config.data.join("held")
}

fn folder(host: &Host, id: &ApprovalId) -> PathBuf {
    all_folders(host).join(id.as_str())
}

/// Removes the files of requests that are gone, for instance with their agent. Blocks.
pub(crate) fn sweep(host: &Host) -> Result<(), HostError> {
    for entry in std::fs::read_dir(all_folders(host)).into_iter().flatten().flatten() {
        let id = entry.file_name().to_str().and_then(|name| ApprovalId::parse(name).ok());
        if id.map(|id| host.central.approval(&id)).transpose()?.flatten().is_none() {
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
    Ok(())
}

fn files(host: &Host, id: &ApprovalId, message: &Inbound) -> PathBuf {
    folder(host, id).join(ids::stable(message.id.as_str()).simple().to_string())
}

/// ● Keeps a message, its files first.
fn hold(host: &Host, id: &ApprovalId, message: &Inbound) -> Result<Hold, HostError> {
    let dir = files(host, id, message);
    let io = |e| HostError::Io(format!("keep a message's files in {}", dir.display()), e);
    let is_new = !dir.exists();
    if !message.files.is_empty() {
        let new: u64 = message.files.iter().map(|f| f.bytes.len() as u64).sum();
        let over = |dir: &std::path::Path, max: u64| new + bytes_below(dir) > max;
        if is_new
            && (over(&folder(host, id), HELD_BYTES_MAX)
                || over(&all_folders(host), ALL_HELD_BYTES_MAX))
        {
            return Ok(Hold::Full);
        }
        std::fs::create_dir_all(&dir).map_err(io)?;
        for (n, file) in message.files.iter().enumerate() {
            let mut out = std::fs::File::create(dir.join(n.to_string())).map_err(io)?;
            out.write_all(&file.bytes).and_then(|()| out.sync_all()).map_err(io)?;
        }
    }
    let json = serde_json::to_string(message)
        .map_err(|e| HostError::Inbox(format!("it cannot be kept: {e}")))?;
    let held = host.central.hold_message(id, message.id.as_str(), &json)?;
    fault::point("host.held.written");
    // What was there before may be on its way just now.
    if held != Hold::Held && is_new {
        drop(std::fs::remove_dir_all(&dir));
    }
    Ok(held)
}

fn bytes_below(dir: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|e| match e.metadata() {
            Ok(meta) if meta.is_dir() => bytes_below(&e.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

/// What waited for a request that ended is forgotten; who was turned away is remembered. Blocks.
pub(crate) fn closed(host: &Host, a: &Approval, action: &Action) -> Result<(), HostError> {
    let (rejected, now) = (a.status == ApprovalStatus::Rejected, host.clock.now());
    match action {
        Action::LetIn { chat, agent, user, .. } if rejected => {
            host.central.deny_sender(chat, agent, user, now + DENIED_FOR)?;
        }
        Action::ConnectChat { chat, .. } if rejected => {
            host.central.set_chat_denied(chat, Some(&iso(now)))?;
        }
        Action::LetIn { .. } | Action::ConnectChat { .. } => {}
        _ => return Ok(()),
    }
    host.central.drop_held(&a.id)?;
    match std::fs::remove_dir_all(folder(host, &a.id)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(id = %a.id, error = %e, "kept files were not removed");
        }
        _ => {}
    }
    Ok(())
}

/// Lets the person in, or connects the chat; then what waited goes its way. Doing it twice is doing it once.
pub(crate) async fn apply(
    host: &Arc<Host>,
    a: &Approval,
    action: &Action,
) -> Result<String, HostError> {
    let (h, its, what) = (host.clone(), a.clone(), action.clone());
    let (said, waiting) = blocking(move || {
        let by = h.central.approved_by(&its.id)?;
        let said = match &what {
            Action::LetIn { agent, user, .. } => {
                h.central.add_member(user, agent, by.as_ref(), h.clock.now())?;
                String::new()
            }
            Action::ConnectChat { .. } if its.chosen.as_deref() == Some(BY_CODE) => {
                "It was connected by a code.".into()
            }
            Action::ConnectChat { chat, user, .. } => {
                let agent = chosen(&h, &its)?;
                let chat = h.central.chat(chat)?;
                let chat = chat.ok_or_else(|| HostError::Unknown("chat any more".into()))?;
                wire(&h, &chat, &agent)?;
                h.central.add_member(user, &agent.id, by.as_ref(), h.clock.now())?;
                format!("{} listens there now.", agent.name)
            }
            _ => return Err(HostError::Unknown("kind of stranger".into())),
        };
        fault::point("host.stranger.known");
        Ok((said, waiting(&h, &its.id)?))
    })
    .await?;
    for message in waiting {
        inbound::push(host, message).await?;
    }
    fault::point("host.stranger.replayed");
    Ok(said)
}

/// The messages that wait for a request, whole again. One that is damaged does not keep the others.
fn waiting(host: &Host, id: &ApprovalId) -> Result<Vec<Inbound>, HostError> {
    let mut all = Vec::new();
    for json in host.central.held_messages(id)? {
        let mut message: Inbound = match serde_json::from_str(&json) {
            Ok(message) => message,
            Err(e) => {
                tracing::error!(%id, error = %e, "a message that waited cannot be read");
                continue;
            }
        };
        let dir = files(host, id, &message);
        let mut numbers = 0..;
        for file in &mut message.files {
            let path = dir.join(numbers.next().unwrap_or(0).to_string());
            match std::fs::read(&path) {
                Ok(bytes) => file.bytes = bytes,
                Err(e) => {
                    tracing::error!(path = %path.display(), error = %e, "a file that waited is gone");
                    file.missing = Some("it was lost while it waited for the permission".into());
                }
            }
        }
        all.push(message);
    }
    Ok(all)
}

/// The agent that was chosen, made if it is a new one.
fn chosen(host: &Host, a: &Approval) -> Result<Agent, HostError> {
    let value = a.chosen.as_deref().unwrap_or_default();
    if let Some(id) = value.strip_prefix("connect:") {
        let agent = host.central.agent(&AgentId::parse(id)?)?;
        return agent.ok_or_else(|| HostError::Unknown(format!("agent {id}: it was removed")));
    }
    let name = new_name(value).ok_or_else(|| HostError::Unknown(format!("choice {value:?}")))?;
    // The same request makes the same agent, however often it is carried out.
    let id = AgentId::parse(format!("ag-{}", ids::stable(a.id.as_str()).simple()))?;
    if let Some(made) = host.central.agent(&id)? {
        return Ok(made);
    }
    let mut base = destination_name(name);
    base.truncate(40);
    if !is_folder_name(&base) {
        base = "agent".into();
    }
    let taken: Vec<_> =
        host.central.agents()?.into_iter().map(|a| a.folder.to_lowercase()).collect();
    let (mut folder, mut n) = (base.clone(), 1);
    while taken.contains(&folder) || host.config.groups.join(&folder).exists() {
        n += 1;
        folder = format!("{base}-{n}");
    }
    let created_at = iso(host.clock.now());
    let agent = Agent { id, name: name.to_owned(), folder, provider: None, created_at };
    host.central.create_agent(&agent)?;
    Ok(agent)
}

/// The wiring of a chat that was just connected: in a group the agent answers only when it is addressed.
pub(crate) fn wire(host: &Host, chat: &Chat, agent: &Agent) -> Result<(), HostError> {
    let known = host.central.wirings_of_chat(&chat.id)?;
    if known.iter().flatten().any(|w| w.agent == agent.id) {
        return Ok(());
    }
    let threads = host.channels.get(&chat.channel_type).is_some_and(|c| c.capabilities().threads);
    let (mode, ignored) = match (chat.kind, threads) {
        (ChatKind::Direct, _) => (EngageMode::Pattern, IgnoredPolicy::Drop),
        (ChatKind::Group, true) => (EngageMode::MentionSticky, IgnoredPolicy::Accumulate),
        (ChatKind::Group, false) => (EngageMode::Mention, IgnoredPolicy::Drop),
    };
    let now = host.clock.now();
    Ok(host.central.create_wiring(&Wiring {
        id: WiringId::parse(ids::mint("mga", now))?,
        chat: chat.id.clone(),
        agent: agent.id.clone(),
        session_mode: SessionMode::Shared,
        priority: 0,
        engage_mode: Some(mode),
        engage_pattern: (mode == EngageMode::Pattern).then(|| ".".into()),
        sender_scope: SenderScope::Known,
        ignored,
        previews: false,
        created_at: iso(now),
    })?)
}

/// Notes for `why` what became of a message that waits.
pub(crate) fn note(host: &Host, message: &Inbound, done: &str) {
    if let Ok(id) = MessageId::parse(message.id.as_str()) {
        host.trace("nobody vouched for it", Some(&id), None, None, done);
    }
}
