//! The whole life of one message in: gather facts, decide, act.
//!
//! [`Door::push`] returns after the message is on disk in every inbox that it is for, or was decided to be
//! ignored. A redelivery has the same ids and is a no-op.

use crate::access::UserFacts;
use crate::engage::Said;
use crate::route::{self, Decision, Facts, Filtered, Listener, Routed, Threads};
use crate::session::Files;
use crate::{
    Host, HostError, approvals, attach, blocking, changed, fault, history, lock, pairing,
    questions, strangers,
};
use async_trait::async_trait;
use nanoclaw_central::{
    Agent, Chat, Dropped, EngageMode, IgnoredPolicy, SenderScope, Session, SessionMode,
    UnknownSenderPolicy, Wiring,
};
use nanoclaw_channel::{
    Answer, AnswerOutcome, Change, ChatKind, Inbound, Ingress, IngressError, Mention,
    PlatformMessageId, Sender,
};
use nanoclaw_contract::content;
use nanoclaw_contract::ids::{
    self, Address, AgentId, ChannelType, ChatId, MessageId, UserId, WiringId,
};
use nanoclaw_contract::inbox::Pushed;
use nanoclaw_contract::message::{InKind, NewIn, Trigger};
use nanoclaw_contract::time::iso;
use std::sync::Arc;
use std::time::Duration;

/// How long a platform may take to follow a thread.
const SUBSCRIBE_MAX: Duration = Duration::from_secs(30);

/// What adapters push into.
pub(crate) struct Door(pub(crate) Arc<Host>);

#[async_trait]
impl Ingress for Door {
    async fn push(&self, message: Inbound) -> Result<(), IngressError> {
        if self.0.stopping() {
            return Err(IngressError("the host is stopping".into()));
        }
        push(&self.0, message).await.map_err(|e| IngressError(e.to_string()))
    }

    async fn change(&self, change: Change) -> Result<(), IngressError> {
        if self.0.stopping() {
            return Err(IngressError("the host is stopping".into()));
        }
        let host = self.0.clone();
        let taken = blocking(move || changed::take(&host, &change)).await;
        taken.map_err(|e| IngressError(e.to_string()))
    }

    async fn answer(&self, answer: Answer) -> Result<AnswerOutcome, IngressError> {
        let host = self.0.clone();
        let (outcome, session) = blocking(move || questions::take(&host, &answer))
            .await
            .map_err(|e| IngressError(e.to_string()))?;
        if let Some(session) = session {
            self.0.wake(&session.id);
        }
        Ok(outcome)
    }
}

/// Writes a message wherever it belongs, and wakes who is meant.
pub(crate) async fn push(host: &Arc<Host>, mut message: Inbound) -> Result<(), HostError> {
    attach::fit(&mut message);
    let message = Arc::new(message);
    let (h, m) = (host.clone(), message.clone());
    let mut written = blocking(move || accept(&h, &m, None)).await?;
    if written.is_none() {
        let before = history::before(host, &message).await;
        let h = host.clone();
        written = blocking(move || accept(&h, &message, Some(&before))).await?;
    }
    for w in written.iter().flatten() {
        if w.trigger != Trigger::Wake {
            continue;
        }
        let handle = host.wake(&w.session.id);
        if let (Some(at), Some(channel)) =
            (w.follow.clone(), host.channels.get(&w.reply.channel_type))
        {
            tokio::spawn(async move {
                if tokio::time::timeout(SUBSCRIBE_MAX, channel.subscribe(&at)).await.is_err() {
                    tracing::warn!(?at, "the platform did not say whether the thread is followed");
                }
            });
        }
        if w.pushed == Pushed::New {
            handle.awaited_at(w.reply.clone());
            let (host, to) = (host.clone(), w.reply.clone());
            tokio::spawn(async move {
                if handle.is_awaited_at(&to) {
                    host.typing(&to, nanoclaw_channel::Typing::On).await;
                }
            });
        }
    }
    Ok(())
}

/// A message in one inbox.
pub(crate) struct Written {
    pub(crate) session: Session,
    // Keeps the files open until the session's task has them.
    pub(crate) _files: Arc<Files>,
    pub(crate) trigger: Trigger,
    pub(crate) pushed: Pushed,
    pub(crate) reply: Address,
    /// The agent stays in this thread: the platform is asked to pass it on.
    pub(crate) follow: Option<Address>,
}

/// The story of one message. `None`: nothing was done yet; what was said `before` it is wanted first. Blocks.
fn accept(
    host: &Arc<Host>,
    message: &Inbound,
    before: Option<&[Inbound]>,
) -> Result<Option<Vec<Written>>, HostError> {
    let user = match &message.person {
        Some(person) => known(host, person, &message.sender)?,
        None => person(host, &message.at.channel_type, &message.sender)?,
    };
    if pairing::take(host, message, &user)? || approvals::typed::take(host, message, &user)? {
        return Ok(Some(Vec::new()));
    }
    if let Some(session) = questions::typed(host, message, &user)? {
        return Ok(Some(session.into_iter().collect()));
    }
    let Some(chat) = chat_of(host, message, &user)? else { return Ok(Some(Vec::new())) };
    let listening = gather(host, message, &chat, &user)?;
    let written = act(host, (message, before), &chat, &user, &listening)?;
    if written.iter().flatten().any(|w| w.trigger == Trigger::Wake) {
        attach::tell_missing(host, message)?;
    }
    Ok(written)
}

/// The person behind a message: `<channel>:<handle>`, whatever the handle contains.
pub(crate) fn person(
    host: &Host,
    channel: &ChannelType,
    sender: &Sender,
) -> Result<UserId, HostError> {
    known(host, &user_id(channel, sender)?, sender)
}

/// Their id.
pub(crate) fn user_id(channel: &ChannelType, sender: &Sender) -> Result<UserId, HostError> {
    let own = format!("{channel}:");
    // Channels may hand out ids that carry their own prefix already; no handle reaches another's.
    let id =
        if sender.handle.starts_with(&own) { sender.handle.clone() } else { own + &sender.handle };
    Ok(UserId::parse(id)?)
}

/// What the agent reads as their name.
pub(crate) fn shown_name(channel: &ChannelType, sender: &Sender) -> String {
    let name = sender.name.as_ref().unwrap_or(&sender.handle);
    // Only the host's own notes are from "system".
    if name.trim().eq_ignore_ascii_case("system") {
        return format!("{channel}:{}", sender.handle);
    }
    name.clone()
}

/// The person, on record from now on.
fn known(host: &Host, id: &UserId, sender: &Sender) -> Result<UserId, HostError> {
    let kind = id.as_str().split(':').next().unwrap_or_default();
    host.central.upsert_user(id, kind, sender.name.as_deref(), host.clock.now())?;
    Ok(id.clone())
}

/// The chat, made if the agent was addressed in one that is new. `None`: nobody here listens.
fn chat_of(host: &Host, message: &Inbound, user: &UserId) -> Result<Option<Chat>, HostError> {
    let at = &message.at;
    if let Some(chat) = host.central.chat_by_address(&at.channel_type, &at.platform_id)? {
        return Ok(Some(chat));
    }
    if message.mention == Mention::No {
        return Ok(None);
    }
    let now = host.clock.now();
    let chat = Chat {
        id: ChatId::parse(ids::mint("mg", now))?,
        channel_type: at.channel_type.clone(),
        platform_id: at.platform_id.clone(),
        name: message.only_for.clone().or_else(|| host.called(&at.channel_type, &at.platform_id)),
        kind: match message.chat {
            ChatKind::Direct => nanoclaw_central::ChatKind::Direct,
            ChatKind::Group => nanoclaw_central::ChatKind::Group,
        },
        policy: UnknownSenderPolicy::RequestApproval,
        denied_at: None,
        created_at: iso(now),
    };
    host.central.create_chat(&chat)?;
    wire_for_owner(host, message, &chat, user)?;
    Ok(Some(chat))
}

/// An owner who addresses an agent by name in a direct chat of their own need not ask anybody.
fn wire_for_owner(
    host: &Host,
    message: &Inbound,
    chat: &Chat,
    user: &UserId,
) -> Result<(), HostError> {
    let Some(name) = &message.only_for else { return Ok(()) };
    let owner =
        host.central.roles_of(user)?.iter().any(|(role, _)| *role == nanoclaw_central::Role::Owner);
    let Some(agent) =
        host.central.agent_by_name(name)?.filter(|_| owner && message.chat == ChatKind::Direct)
    else {
        return Ok(());
    };
    let now = host.clock.now();
    host.central.create_wiring(&Wiring {
        id: WiringId::parse(ids::mint("mga", now))?,
        chat: chat.id.clone(),
        agent: agent.id,
        session_mode: SessionMode::Shared,
        priority: 0,
        engage_mode: Some(EngageMode::Pattern),
        engage_pattern: Some(".".into()),
        sender_scope: SenderScope::Known,
        ignored: IgnoredPolicy::Drop,
        previews: false,
        created_at: iso(now),
    })?;
    Ok(())
}

/// One agent that listens in the chat, and what it needs to know of the sender.
struct Listening {
    wiring: Wiring,
    agent: Agent,
    sender: UserFacts,
    addressed_before: bool,
}

/// Every agent that listens. Reads only.
fn gather(
    host: &Host,
    message: &Inbound,
    chat: &Chat,
    user: &UserId,
) -> Result<Vec<Listening>, HostError> {
    let central = &host.central;
    let roles = central.roles_of(user)?;
    let mut all = Vec::new();
    for wiring in central.wirings_of_chat(&chat.id)? {
        let wiring = match wiring {
            Ok(wiring) => wiring,
            Err(broken) => {
                tracing::error!(error = %broken, "a wiring is skipped");
                continue;
            }
        };
        let Some(agent) = central.agent(&wiring.agent)? else { continue };
        let addressed_before = match &message.at.thread_id {
            Some(thread) => central.is_thread_engaged(&wiring.agent, &chat.id, thread)?,
            None => false,
        };
        let sender =
            UserFacts { roles: roles.clone(), member: central.is_member(user, &wiring.agent)? };
        all.push(Listening { wiring, agent, sender, addressed_before });
    }
    Ok(all)
}

/// Decides for every listener and carries it out, each for itself: one that fails does not keep the others
/// from theirs.
fn act(
    host: &Arc<Host>,
    (message, before): (&Inbound, Option<&[Inbound]>),
    chat: &Chat,
    user: &UserId,
    all: &[Listening],
) -> Result<Option<Vec<Written>>, HostError> {
    if all.is_empty() {
        if let Some(done) = strangers::nobody_home(host, message, chat, user)? {
            strangers::note(host, message, &done);
        }
        drop_(host, message, chat, user, None, "no_agent_wired")?;
        return Ok(Some(Vec::new()));
    }
    let listeners: Vec<_> = all
        .iter()
        .map(|l| Listener {
            wiring: &l.wiring,
            agent: &l.agent,
            sender: Some(l.sender.clone()),
            addressed_before: l.addressed_before,
        })
        .collect();
    let threads =
        host.channels.get(&message.at.channel_type).is_some_and(|c| c.capabilities().threads);
    let facts = Facts {
        chat,
        said: Said {
            text: &message.text,
            mention: message.mention,
            thread: message.at.thread_id.as_ref(),
        },
        threads: if threads { Threads::Yes } else { Threads::No },
        only_for: message.only_for.as_deref(),
        listeners: &listeners,
    };
    let (mut written, mut failed, mut dropped) = (Vec::new(), None, None);
    let decided = route::decide(&facts);
    if before.is_none() && history::is_wanted(host, message, chat, &decided)? {
        return Ok(None);
    }
    for routed in decided {
        if let Some(complaint) = &routed.complaint {
            host.notify_owner(&format!("wiring-{}", routed.wiring.id), &format!("⚠️ {complaint}"));
        }
        let trigger = match &routed.decision {
            Decision::Engage(_) => Trigger::Wake,
            Decision::Keep(_) => Trigger::Context,
            Decision::Ignore(_) | Decision::Refuse(_) | Decision::Filtered(_) => {
                decline(host, message, chat, &routed)?;
                if matches!(&routed.decision, Decision::Refuse(refusal) if refusal.ask) {
                    let agent = &routed.wiring.agent;
                    let done = strangers::at_the_door(host, message, chat, agent, user)?;
                    let id = row_of(message, chat, agent)?;
                    host.trace("nobody vouched for it", Some(&id), None, None, &done);
                }
                let record = match &routed.decision {
                    Decision::Refuse(refusal) => refusal.record,
                    _ => "no_agent_engaged",
                };
                dropped = Some((routed.wiring, record));
                continue;
            }
        };
        let told = match before {
            Some(before) if trigger == Trigger::Wake => {
                history::write(host, message, chat, &routed, before)
            }
            _ => Ok(()),
        };
        match told.and_then(|()| write(host, message, chat, &routed, trigger)) {
            Ok(w) => written.push(w),
            Err(e) => failed = Some(e),
        }
    }
    if let Some(e) = failed {
        // Not received: the platform delivers it again, and what was written is found there.
        return Err(e);
    }
    if let (true, Some((wiring, record))) = (written.is_empty(), dropped) {
        drop_(host, message, chat, user, Some(wiring), record)?;
    }
    Ok(Some(written))
}

/// Says why a message went nowhere, to those who ask and, for a command, to who gave it.
fn decline(
    host: &Arc<Host>,
    message: &Inbound,
    chat: &Chat,
    routed: &Routed<'_>,
) -> Result<(), HostError> {
    let id = row_of(message, chat, &routed.wiring.agent)?;
    host.trace("not for this agent", Some(&id), None, None, routed.decision.why());
    if let Decision::Filtered(Filtered { reply: Some(reply), .. }) = &routed.decision {
        let to = message.reply.clone().unwrap_or_else(|| message.at.clone());
        host.say(&format!("denied:{id}"), &to, reply.clone())?;
    }
    Ok(())
}

fn drop_(
    host: &Host,
    message: &Inbound,
    chat: &Chat,
    user: &UserId,
    wiring: Option<&Wiring>,
    reason: &str,
) -> Result<(), HostError> {
    let dropped = Dropped {
        channel_type: &message.at.channel_type,
        platform_id: &message.at.platform_id,
        user: Some(user),
        sender_name: message.sender.name.as_deref(),
        reason,
        chat: Some(&chat.id),
        agent: wiring.map(|w| &w.agent),
    };
    Ok(host.central.record_drop(&dropped, host.clock.now())?)
}

/// The id of a message in an inbox: readable, and one per message, chat and agent.
pub(crate) fn row_id(
    channel: &ChannelType,
    message: &PlatformMessageId,
    chat: &Chat,
    agent: &AgentId,
) -> Result<MessageId, HostError> {
    let id = format!("{message}:{}:{agent}", chat.id);
    if ids::is_safe_name(&id) {
        return Ok(MessageId::parse(id)?);
    }
    let hash = ids::stable(&format!("{channel}\n{id}"));
    Ok(MessageId::parse(format!("msg-{hash}"))?)
}

fn row_of(message: &Inbound, chat: &Chat, agent: &AgentId) -> Result<MessageId, HostError> {
    row_id(&message.at.channel_type, &message.id, chat, agent)
}

/// ● Writes the message into one inbox.
pub(crate) fn write(
    host: &Arc<Host>,
    message: &Inbound,
    chat: &Chat,
    routed: &Routed<'_>,
    trigger: Trigger,
) -> Result<Written, HostError> {
    let wiring = routed.wiring;
    let session = host.resolve(&wiring.agent, &chat.id, &routed.place)?;
    fault::point("host.session.made");
    let files = host.files(&session)?;
    let id = row_of(message, chat, &wiring.agent)?;
    let reply = message.reply.clone().unwrap_or_else(|| message.at.clone());
    let content = content::Chat {
        id: Some(message.id.to_string()),
        text: message.text.clone(),
        sender: shown_name(&message.at.channel_type, &message.sender),
        sender_id: Some(message.sender.handle.clone()),
        attachments: attach::stage(&files, &id, &message.files)?,
        reply_to: message.reply_to.clone(),
    };
    let row = NewIn {
        id: id.clone(),
        kind: InKind::Chat,
        timestamp: message.timestamp,
        process_after: None,
        recurrence: None,
        trigger,
        reply: Some(reply.clone()),
        content: content.to_json(),
        source: None,
        on_wake: false,
    };
    fault::point("host.inbound.decided");
    let pushed = files.push(row)?;
    fault::point("host.inbound.written");
    if pushed == Pushed::New {
        if let (true, Some(thread)) = (routed.stay, &message.at.thread_id) {
            host.central.engage_thread(&wiring.agent, &chat.id, thread, host.clock.now())?;
        }
        if trigger == Trigger::Wake {
            lock(&host.traffic).person_wrote(&wiring.agent);
        }
        let step = if trigger == Trigger::Wake { "received" } else { "kept as context" };
        let (now, why) = (host.clock.now(), routed.decision.why());
        host.central.trace_inbound(now, step, (&id, &session.id), why)?;
    }
    Ok(Written {
        session,
        _files: files,
        trigger,
        pushed,
        reply,
        follow: routed.stay.then(|| message.at.clone()),
    })
}
