//! What somebody must allow before it happens.

use crate::{Host, HostError};
use nanoclaw_contract::ids::{AgentId, ApprovalId, ChatId, SessionId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What will happen, to the last argument. Its canonical JSON is what is hashed and shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub(crate) enum Action {
    /// Packages go into the agent's box.
    InstallPackages { agent: AgentId, apt: Vec<String>, npm: Vec<String>, reason: String },
    /// A tool server starts in the agent's box.
    AddMcpServer {
        agent: AgentId,
        name: String,
        command: String,
        args: Vec<String>,
        env: BTreeMap<String, String>,
        reason: String,
    },
    /// A new agent, made by another one.
    CreateAgent { by: AgentId, name: String, instructions: Option<String> },
    /// A command of the agent's own `ncl`, with canonical arguments.
    Command { agent: AgentId, command: String, args: BTreeMap<String, Value> },
    /// A stranger may talk to the agent.
    LetIn { chat: ChatId, agent: AgentId, user: UserId, name: Option<String> },
    /// An agent listens in a chat where nobody did.
    ConnectChat { chat: ChatId, user: UserId, name: Option<String> },
}

/// A request for approval.
pub(crate) struct Ask {
    pub(crate) action: Action,
    /// Who asks, and is told what became of it.
    pub(crate) session: Option<SessionId>,
    /// The same key again is the same request.
    pub(crate) key: String,
}

/// Who decides.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Voter<'a> {
    /// Whoever runs the machine: counts as an owner.
    Operator,
    /// A person on a platform.
    Person(&'a UserId),
}

/// What became of a vote; the text is for the voter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decided {
    /// It counts.
    Taken(String),
    /// It was decided, or expired, before.
    Late(String),
    /// This person may not, or not this.
    Refused(String),
}

impl Host {
    /// Asks everybody who may decide. Blocks. Inner error: why nobody can, for who asks.
    pub(crate) fn ask_approval(
        self: &Arc<Self>,
        ask: Ask,
    ) -> Result<Result<ApprovalId, String>, HostError> {
        drop((ask.action, ask.session, ask.key));
        Ok(Err("nobody can be asked yet".into()))
    }

    /// Counts a vote: `approve`, `reject`, or the value of another option of the card. Blocks.
    pub(crate) fn decide(
        self: &Arc<Self>,
        approval: &ApprovalId,
        _voter: Voter<'_>,
        _value: &str,
    ) -> Result<Decided, HostError> {
        Ok(Decided::Refused(format!("there is no request {approval}")))
    }
}
