//! Agents that work together: a message from one to another.
//!
//! To the sender it is a delivery like any other: recorded, attempted, settled. It ends as a row in an inbox
//! of the other agent, whose id follows from the sender's, so that a second attempt changes nothing. It goes
//! back to the session that last spoke, and carries how many agents passed it on without a person. Read
//! next: [`traffic`] for how much they may say to each other, [`create`] for agents that agents make.

mod create;
mod traffic;

pub(crate) use create::{asked, create_agent};
pub(crate) use traffic::{Traffic, Verdict};

use crate::attach::stage;
use crate::dispatch::Outcome;
use crate::session::Files;
use crate::{Host, HostError, blocking, fault, lock, plan};
use nanoclaw_central::{Agent, ContainerStatus, Session};
use nanoclaw_channel::{InFile, OutFile};
use nanoclaw_contract::content::{Chat, Out};
use nanoclaw_contract::ids::{
    self, Address, AgentId, ChannelType, MessageId, OutId, PlatformId, PlatformMessageId, SessionId,
};
use nanoclaw_contract::inbox::HOPS;
use nanoclaw_contract::message::{AGENT_CHANNEL, InKind, NewIn, Trigger};
use nanoclaw_contract::time::iso;
use serde_json::{Map, Value};
use std::sync::Arc;
use traffic::BRAKE_FOR;

/// How many agents may pass a message on, one after the other, without a person.
const HOPS_MAX: u64 = 12;

/// A message to another agent.
pub(crate) struct Letter {
    pub(crate) id: OutId,
    pub(crate) to: AgentId,
    pub(crate) in_reply_to: Option<MessageId>,
    pub(crate) text: String,
    pub(crate) files: Vec<OutFile>,
}

/// What another agent is told by what an agent wrote; the inner error is the reason of a refusal.
pub(crate) fn readable(out: Out) -> Result<(String, Vec<String>), String> {
    match out {
        Out::Say { text, files } => Ok((text, files)),
        Out::Card { title: Some(title), text } => {
            Ok((format!("**{title}**\n\n{text}"), Vec::new()))
        }
        Out::Card { title: None, text } => Ok((text, Vec::new())),
        Out::Ask(_) => Err("an agent has no buttons: ask it in an ordinary message".into()),
        Out::Edit { .. } | Out::React { .. } => {
            Err("a message to an agent cannot be changed: write another one".into())
        }
        Out::Action { .. } => Err("it is a request to the host".into()),
    }
}

impl Host {
    /// Gives a message to another agent and wakes it.
    pub(crate) async fn hand_over(
        self: &Arc<Self>,
        from: &Session,
        letter: Letter,
    ) -> Result<Outcome, HostError> {
        let (host, session) = (self.clone(), from.clone());
        let (outcome, brake) = blocking(move || {
            let post = Post { host: &host, from: &session, files: host.files(&session)?, letter };
            match post.decide()? {
                Decided::No(outcome) => Ok((outcome, None)),
                Decided::Go { target, hops, brake } => {
                    let outcome = post.put(&target, hops)?;
                    Ok((outcome, brake.then_some((target, post.letter.id))))
                }
            }
        })
        .await?;
        if let Some((target, id)) = brake {
            self.tell_both(from, &target, &id).await?;
        }
        Ok(outcome)
    }

    /// Says to both agents, and to people where they talk, that they are stopped; if they talk nowhere, to the
    /// owner.
    async fn tell_both(
        self: &Arc<Self>,
        one: &Session,
        other: &Session,
        id: &OutId,
    ) -> Result<(), HostError> {
        let (host, a, b) = (self.clone(), one.agent.clone(), other.agent.clone());
        let [a, b] = blocking(move || Ok([name(&host, &a)?, name(&host, &b)?])).await?;
        let (n, minutes) = (traffic::EXCHANGED_MAX, BRAKE_FOR.as_secs() / 60);
        let key = format!("brake-{id}");
        let line = format!(
            "⚠️ {a} and {b} have written each other {n} messages without a person and were stopped for \
             {minutes} minutes. Write to one of them if they shall go on."
        );
        if one.chat.is_none() && other.chat.is_none() {
            self.notify_owner(&key, &line);
        }
        for (session, peer) in [(one, &b), (other, &a)] {
            let note = format!(
                "You and {peer:?} have exchanged {n} messages without a person. Stop, or ask a person: more \
                 between you is refused until a person writes to one of you, or for {minutes} minutes."
            );
            let (host, its) = (self.clone(), session.clone());
            let files = blocking(move || host.files(&its)).await?;
            self.note_to_agent(session, &files, &key, &note).await?;
            self.notify_chat(session, &key, &line).await;
        }
        Ok(())
    }

    /// Tells every session of an agent that has a task whom it may write to now; the others are told when
    /// they wake. Blocks.
    pub(crate) fn reproject(&self, agent: &AgentId) -> Result<(), HostError> {
        let live: Vec<SessionId> = lock(&self.live).keys().cloned().collect();
        for id in live {
            if let Some(session) = self.central.session(&id)?.filter(|s| s.agent == *agent) {
                let files = self.files(&session)?;
                plan::project(self, &session, &files)?;
            }
        }
        Ok(())
    }
}

fn name(host: &Host, agent: &AgentId) -> Result<String, HostError> {
    Ok(host.central.agent(agent)?.map_or_else(|| agent.to_string(), |a| a.name))
}

/// What is done with a message.
enum Decided {
    No(Outcome),
    /// It goes to this session; `brake`: it is the last one for a while.
    Go {
        target: Session,
        hops: u64,
        brake: bool,
    },
}

/// A message on its way. Everything here blocks.
struct Post<'a> {
    host: &'a Arc<Host>,
    from: &'a Session,
    files: Arc<Files>,
    letter: Letter,
}

impl Post<'_> {
    /// ● Decides once where it goes: an attempt that was cut short goes on as it was decided.
    fn decide(&self) -> Result<Decided, HostError> {
        let Letter { id, to, in_reply_to, .. } = &self.letter;
        let rejected = |why| Ok(Decided::No(Outcome::Rejected { why }));
        let answers = match in_reply_to {
            Some(id) => self.files.with(|inbox| inbox.letter(id))?,
            None => None,
        };
        let (hops, source) = answers.map_or((0, None), |l| (l.hops, l.source));
        let hops = hops.saturating_add(1);
        if let Some(decided) = self.host.central.letter_target(&self.from.id, id)? {
            return match self.host.central.session(&decided)? {
                Some(target) => Ok(Decided::Go { target, hops, brake: false }),
                None => rejected("its session is gone".into()),
            };
        }
        let Some(peer) = self.host.central.agent(to)? else {
            return rejected(format!("there is no agent {to}"));
        };
        if hops > HOPS_MAX {
            return rejected(format!(
                "{HOPS_MAX} messages between agents in a row came of one cause; ask a person before you go on"
            ));
        }
        let target = self.target(&peer, source)?;
        if let Some((why, _)) = self.host.central.quarantined(&target.id)? {
            return rejected(format!("{} is off for safety: {why}", peer.name));
        }
        let verdict = lock(&self.host.traffic).admit(&self.from.agent, to, self.host.clock.now());
        let brake = match verdict {
            Verdict::Pass => false,
            Verdict::Last => true,
            Verdict::Wait(wait) => {
                let why = format!("too many messages to {} at once", peer.name);
                return Ok(Decided::No(Outcome::Retry { after: Some(wait), why }));
            }
            Verdict::Braked => {
                let why = format!(
                    "too many messages between {} and this agent without a person",
                    peer.name
                );
                return Ok(Decided::No(Outcome::Refused { why }));
            }
        };
        self.host.central.set_letter_target(&self.from.id, id, &target.id)?;
        fault::point("host.letter.decided");
        Ok(Decided::Go { target, hops, brake })
    }

    /// The session that it answers, or else the one of the other agent that last wrote here, or else the one
    /// where that agent is met.
    fn target(&self, peer: &Agent, source: Option<SessionId>) -> Result<Session, HostError> {
        let last = self.files.with(|inbox| inbox.latest_letter(&peer.id))?.and_then(|l| l.source);
        for id in [source, last].into_iter().flatten() {
            let found = self.host.central.session(&id)?;
            if let Some(found) = found.filter(|s| s.agent == peer.id && s.active) {
                return Ok(found);
            }
        }
        let now = self.host.clock.now();
        Ok(self.host.central.session_for_letters(&Session {
            id: SessionId::parse(ids::mint("sess", now))?,
            agent: peer.id.clone(),
            chat: None,
            thread: None,
            provider: None,
            active: true,
            container: ContainerStatus::Stopped,
            last_active: None,
            created_at: iso(now),
        })?)
    }

    /// ● Writes it into the inbox of the session, its files first, and wakes it.
    fn put(&self, target: &Session, hops: u64) -> Result<Outcome, HostError> {
        let Letter { id, text, files, .. } = &self.letter;
        let theirs = self.host.files(target)?;
        let row = ids::stable(&format!("letter\n{}\n{id}", self.from.id));
        let row = MessageId::parse(format!("a2a-{row}"))?;
        let files: Vec<_> = files
            .iter()
            .map(|f| InFile {
                kind: "file".into(),
                name: f.name.clone(),
                mime: None,
                bytes: f.bytes.clone(),
                missing: None,
            })
            .collect();
        let chat = Chat {
            text: text.clone(),
            sender: name(self.host, &self.from.agent)?,
            sender_id: Some(format!("{AGENT_CHANNEL}:{}", self.from.agent)),
            attachments: stage(&theirs, &row, &files)?,
            ..Chat::default()
        };
        let mut content: Map<String, Value> =
            serde_json::from_str(&chat.to_json()).map_err(|e| HostError::Inbox(e.to_string()))?;
        content.insert(HOPS.into(), hops.into());
        theirs.push(NewIn {
            id: row.clone(),
            kind: InKind::Chat,
            timestamp: self.host.clock.now(),
            process_after: None,
            recurrence: None,
            trigger: Trigger::Wake,
            reply: Some(Address {
                channel_type: ChannelType::parse(AGENT_CHANNEL)?,
                platform_id: PlatformId::parse(self.from.agent.as_str())?,
                thread_id: None,
            }),
            content: Value::Object(content).to_string(),
            source: Some(self.from.id.clone()),
            on_wake: false,
        })?;
        fault::point("host.letter.written");
        self.host.trace("handed over", Some(&row), Some(&target.id), Some(id), &chat.sender);
        self.host.wake(&target.id);
        Ok(Outcome::Sent(Some(PlatformMessageId::parse(row.as_str())?)))
    }
}
