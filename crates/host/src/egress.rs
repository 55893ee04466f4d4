//! The way out of a box, and what it has to ask of people or tell them.
//!
//! A request that a person must see is one action of [`crate::approvals`]. The way out keeps it and tells it anew
//! after every break, and hears of the decision until it has it.

use crate::approvals::{Action, Ask};
use crate::{Host, HostError, blocking};
use async_trait::async_trait;
use nanoclaw_central::Approval;
use nanoclaw_channel::Choice;
use nanoclaw_contract::ids::{AgentId, SessionId};
use nanoclaw_contract::time::Timestamp;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long to wait before the way out, or the database, is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// The only way out of a box.
#[async_trait]
pub trait Egress: Send + Sync + 'static {
    /// Opens the way out for a session of an agent with this folder; again is the same.
    async fn open(
        &self,
        session: &SessionId,
        agent: &AgentId,
        folder: &str,
    ) -> Result<EgressGrant, String>;

    /// Closes it.
    async fn close(&self, session: &SessionId);

    /// What it has to tell next. What is open comes again after a break.
    async fn next(&self) -> EgressEvent {
        std::future::pending().await
    }

    /// Tells it what became of a request; true if the box still waits for that. Again is the same.
    async fn decide(&self, _: &EgressDecision) -> Result<bool, String> {
        Ok(false)
    }
}

/// What a box gets to reach the way out.
#[derive(Debug, Clone, Default)]
pub struct EgressGrant {
    /// Folder with the socket, mounted read-only at `/run/vault`.
    pub dir: Option<PathBuf>,
    /// Variables for the harness; never a secret.
    pub env: BTreeMap<String, String>,
    /// Files of the host that lie read-only in the box, each with its place there.
    pub files: Vec<(PathBuf, PathBuf)>,
}

/// What the way out has to tell.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EgressEvent {
    /// A person must allow a request.
    Asked {
        /// Its id.
        id: String,
        /// Who wants to send it.
        session: SessionId,
        /// Whose session that is.
        agent: AgentId,
        /// A short heading.
        title: String,
        /// All of it, one fact per line.
        lines: Vec<String>,
        /// Until when it can be decided, in milliseconds since 1970.
        until: i64,
        /// What can be answered.
        options: Vec<Choice>,
    },
    /// A session does what only an attack or a mistake explains.
    Alarm {
        /// Which kind.
        code: String,
        /// Who.
        session: SessionId,
        /// Whose session that is.
        agent: AgentId,
        /// For the owner.
        text: String,
    },
    /// Something that the owner has to do.
    Owner {
        /// The same key is the same thing.
        key: String,
        /// What.
        text: String,
    },
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressDecision {
    /// Which.
    pub id: String,
    /// The value of one of its options.
    pub answer: String,
    /// Who decided, for people.
    pub by: String,
    /// Why nobody could, for the agent.
    pub why: Option<String>,
}

/// Hears what the way out tells.
pub(crate) async fn run(host: Arc<Host>) {
    while !host.stopping() {
        // Each on its own: a direct chat that does not open holds up no other.
        tokio::spawn(heard(host.clone(), host.egress.next().await));
    }
}

async fn heard(host: Arc<Host>, event: EgressEvent) {
    let (id, session, until, action) = match event {
        EgressEvent::Asked { id, session, agent, title, lines, until, options } => {
            let action = Action::Request { agent, id: id.clone(), title, lines, until, options };
            (id, session, until, action)
        }
        EgressEvent::Alarm { code, session, agent, text } => {
            host.trace("alarm", None, Some(&session), None, &format!("{code}: {text}"));
            return host.notify_owner(&format!("{code}:{agent}"), &format!("🚨 {text}"));
        }
        EgressEvent::Owner { key, text } => return host.notify_owner(&key, &text),
    };
    while !host.stopping() {
        let (h, action, session, key) =
            (host.clone(), action.clone(), session.clone(), format!("request:{id}"));
        let asked = blocking(move || h.ask_approval(Ask { action, session: Some(session), key }));
        match asked.await {
            Ok(Ok(_)) => return,
            Ok(Err(why)) => {
                tracing::warn!(id, why, "nobody is asked about a request");
                let (answer, by) = ("reject".into(), String::new());
                let decision = EgressDecision { id, answer, by, why: Some(why) };
                // While the host stops, the next one is asked anew.
                return drop(tell(&host, &decision, until).await);
            }
            Err(e) => tracing::error!(id, error = %e, "nobody was asked about a request yet"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Tells the way out until it has heard; `None`: until that did not matter any more.
async fn tell(
    host: &Arc<Host>,
    decision: &EgressDecision,
    until: i64,
) -> Result<Option<bool>, HostError> {
    loop {
        match host.egress.decide(decision).await {
            Ok(waits) => return Ok(Some(waits)),
            Err(why) => tracing::warn!(id = decision.id, why, "a decision waits for the way out"),
        }
        if host.clock.now().as_millisecond() > until {
            return Ok(None);
        }
        // Then the next host tells it.
        if host.stopping() {
            return Err(HostError::Stopping);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// ● A request was decided. What is told to who asked, if it waits no more; inner error: why nothing came of it.
pub(crate) async fn decided(
    host: &Arc<Host>,
    a: &Approval,
    id: String,
    until: i64,
) -> Result<Result<String, String>, HostError> {
    let chosen = a.chosen.clone().filter(|c| !a.is_over() || c.starts_with("reject"));
    let decision = EgressDecision {
        id,
        answer: chosen.unwrap_or_else(|| "reject".into()),
        by: a.decided_by.clone().unwrap_or_default(),
        why: a.outcome.clone().filter(|_| a.decided_by.is_none()),
    };
    Ok(match tell(host, &decision, until).await? {
        Some(true) => Ok(String::new()),
        Some(false) => Ok("Send the same request again: it passes once.".into()),
        None => Err("the vault could not be told in time; nothing was sent".into()),
    })
}

/// Until when a request can be decided, as a time.
pub(crate) fn until(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MIN)
}
