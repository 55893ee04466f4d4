//! What becomes of one message, for every agent that listens in its chat.
//!
//! Pure: facts in, decisions with reasons out; every agent is judged for itself. What a gate refused is
//! never kept as context, so that nothing of a refused sender reaches the agent by a detour. Read next:
//! [`crate::engage`], [`crate::access`], [`crate::gate`], in the order in which they are asked.

use crate::access::{Access, UserFacts, access, may_admin, scope};
use crate::engage::{Engages, Said, engages};
use crate::gate::{Gate, denial, gate};
use nanoclaw_central::{
    Agent, Chat, ChatKind, EngageMode, IgnoredPolicy, SessionMode, UnknownSenderPolicy, Wiring,
};
use nanoclaw_channel::Mention;
use nanoclaw_contract::ids::ThreadId;

/// Whether a channel's threads are conversations of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// They are.
    Yes,
    /// They are not: a thread id of such a channel is ignored.
    No,
}

/// Everything that the decision rests on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) chat: &'a Chat,
    pub(crate) said: Said<'a>,
    pub(crate) threads: Threads,
    /// The name or folder of the one agent that the channel says it is for.
    pub(crate) only_for: Option<&'a str>,
    /// In the order in which they are asked.
    pub(crate) listeners: &'a [Listener<'a>],
}

/// One agent that listens.
#[derive(Debug, Clone)]
pub(crate) struct Listener<'a> {
    pub(crate) wiring: &'a Wiring,
    pub(crate) agent: &'a Agent,
    /// The sender, as this agent knows them; none if the platform did not say who it is.
    pub(crate) sender: Option<UserFacts>,
    /// Whether the agent was addressed in this thread before.
    pub(crate) addressed_before: bool,
}

/// What becomes of the message for one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Routed<'a> {
    pub(crate) wiring: &'a Wiring,
    pub(crate) decision: Decision,
    /// Which session it belongs to, if it is written at all.
    pub(crate) place: Placement,
    /// Remember that the agent was addressed in this thread, and follow the thread.
    pub(crate) stay: bool,
    /// What the owner should mend.
    pub(crate) complaint: Option<String>,
}

/// What becomes of a message, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is written and wakes the agent.
    Engage(String),
    /// It is written as context and wakes nobody.
    Keep(String),
    /// It was not said to this agent.
    Ignore(String),
    /// The sender may not talk to this agent.
    Refuse(Refusal),
    /// It is a command that must not reach the agent.
    Filtered(Filtered),
}

impl Decision {
    /// The reason, for people.
    pub(crate) fn why(&self) -> &str {
        match self {
            Self::Engage(why) | Self::Keep(why) | Self::Ignore(why) => why,
            Self::Refuse(refusal) => &refusal.why,
            Self::Filtered(filtered) => &filtered.why,
        }
    }
}

/// Why a sender was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The word in the list of dropped messages.
    pub(crate) record: &'static str,
    /// The reason, for people.
    pub(crate) why: String,
    /// Whether an owner is asked to let the sender in.
    pub(crate) ask: bool,
}

/// Why a command was filtered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filtered {
    /// The reason, for people.
    pub(crate) why: String,
    /// What the sender is told; none: nothing.
    pub(crate) reply: Option<String>,
}

/// Which session a message belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Placement {
    /// The one that all chats of the agent share.
    AgentShared,
    /// The chat's.
    Chat,
    /// The thread's.
    Thread(ThreadId),
}

/// Decides for every listener, in their order.
pub(crate) fn decide<'a>(facts: &Facts<'a>) -> Vec<Routed<'a>> {
    let thread = match facts.threads {
        Threads::Yes => facts.said.thread,
        Threads::No => None,
    };
    let facts = Facts { said: Said { thread, ..facts.said }, ..*facts };
    facts
        .listeners
        .iter()
        .map(|listener| {
            let (decision, complaint) = judge(&facts, listener);
            let stay = listener.wiring.engage_mode == Some(EngageMode::MentionSticky)
                && matches!(decision, Decision::Engage(_))
                && facts.said.mention == Mention::Yes
                && facts.chat.kind == ChatKind::Group
                && thread.is_some();
            let place = place(&facts, listener.wiring.session_mode);
            Routed { wiring: listener.wiring, decision, place, stay, complaint }
        })
        .collect()
}

/// A group on a platform with threads has one session per thread, whatever its wiring says, unless the
/// agent has one for all. In direct chats the wiring is taken at its word.
fn place(facts: &Facts<'_>, mode: SessionMode) -> Placement {
    match (mode, facts.said.thread) {
        (SessionMode::AgentShared, _) => Placement::AgentShared,
        (SessionMode::PerThread, Some(thread)) => Placement::Thread(thread.clone()),
        (SessionMode::Shared, Some(thread)) if facts.chat.kind == ChatKind::Group => {
            Placement::Thread(thread.clone())
        }
        (SessionMode::PerThread | SessionMode::Shared, _) => Placement::Chat,
    }
}

fn judge(facts: &Facts<'_>, l: &Listener<'_>) -> (Decision, Option<String>) {
    if let Some(name) = facts.only_for
        && name != l.agent.folder
        && name != l.agent.name
        && name != l.agent.id.as_str()
    {
        return (Decision::Ignore(format!("the channel says that it is for {name}")), None);
    }
    match engages(l.wiring, &facts.said, facts.chat.kind, l.addressed_before) {
        Engages::Yes(why) => (admit(facts, l, why), None),
        Engages::No(why) => (pass_over(facts, l, why), None),
        Engages::BadPattern(why) => {
            let decision = pass_over(facts, l, "its pattern cannot be used");
            (decision, Some(format!("{} cannot answer in this chat: {why}", l.agent.name)))
        }
    }
}

/// The agent is meant: may the sender talk to it, and is it something to be said?
fn admit(facts: &Facts<'_>, l: &Listener<'_>, engaged: &str) -> Decision {
    let (sender, agent) = (l.sender.as_ref(), &l.wiring.agent);
    let let_in = match access(facts.chat.policy, sender, agent) {
        Access::Allowed(why) => why,
        Access::Refused(record) => {
            return Decision::Refuse(Refusal {
                record,
                why: format!("{engaged}, but the chat lets in only people it knows ({record})"),
                ask: facts.chat.policy == UnknownSenderPolicy::RequestApproval && sender.is_some(),
            });
        }
    };
    if let Access::Refused(record) = scope(l.wiring.sender_scope, sender, agent) {
        return Decision::Refuse(Refusal {
            record,
            why: format!("{engaged}, but it answers only people it knows ({record})"),
            ask: false,
        });
    }
    match gate(facts.said.text, may_admin(sender, agent)) {
        Gate::Pass | Gate::Admin { .. } => {
            Decision::Engage(format!("{engaged}; the sender may talk to it ({let_in})"))
        }
        Gate::Swallow { command } => Decision::Filtered(Filtered {
            why: format!("{command} is no command for a chat"),
            reply: None,
        }),
        Gate::Deny { command } => Decision::Filtered(Filtered {
            why: format!("{command} is for admins, and the sender is none"),
            reply: Some(denial(&command)),
        }),
    }
}

/// The agent is not meant: it may keep the text as context, but never a command, which its runner would
/// obey, and never the words and files of somebody who may not talk to it: whoever is not let in would only have
/// to leave its name out.
fn pass_over(facts: &Facts<'_>, l: &Listener<'_>, why: &str) -> Decision {
    let (sender, agent) = (l.sender.as_ref(), &l.wiring.agent);
    let gates =
        [access(facts.chat.policy, sender, agent), scope(l.wiring.sender_scope, sender, agent)];
    let welcome = gates.iter().all(|gate| matches!(gate, Access::Allowed(_)));
    match (l.wiring.ignored, gate(facts.said.text, true)) {
        (IgnoredPolicy::Accumulate, Gate::Pass) if welcome => {
            Decision::Keep(format!("{why}; kept as context"))
        }
        (IgnoredPolicy::Accumulate | IgnoredPolicy::Drop, _) => Decision::Ignore(why.to_owned()),
    }
}

#[cfg(test)]
mod tests;
