//! Whom an agent listens to: the chat's policy for strangers, then the wiring's scope.
//!
//! Pure, and closed when unsure: without a known sender only a public chat lets a message in.

use nanoclaw_central::{Role, SenderScope, UnknownSenderPolicy};
use nanoclaw_contract::ids::AgentId;

/// What is known of a sender who has an id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UserFacts {
    /// Their roles; one without an agent counts for all.
    pub(crate) roles: Vec<(Role, Option<AgentId>)>,
    /// Whether they are a member of the agent in question.
    pub(crate) member: bool,
}

/// Whether a message may reach the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// It may, because.
    Allowed(&'static str),
    /// It may not; the word under which that is recorded.
    Refused(&'static str),
}

/// What a person is to an agent, or why they are nobody, in v2's words.
pub(crate) fn standing(
    user: Option<&UserFacts>,
    agent: &AgentId,
) -> Result<&'static str, &'static str> {
    let Some(user) = user else { return Err("unknown_user") };
    let has =
        |role, of: Option<&AgentId>| user.roles.iter().any(|(r, a)| *r == role && a.as_ref() == of);
    if has(Role::Owner, None) {
        Ok("owner")
    } else if has(Role::Admin, None) {
        Ok("global_admin")
    } else if has(Role::Admin, Some(agent)) {
        Ok("admin_of_group")
    } else if user.member {
        Ok("member")
    } else {
        Err("not_member")
    }
}

/// Whether a person may give the agent admin commands.
pub(crate) fn may_admin(user: Option<&UserFacts>, agent: &AgentId) -> bool {
    matches!(standing(user, agent), Ok("owner" | "global_admin" | "admin_of_group"))
}

/// The chat's own gate.
pub(crate) fn access(
    policy: UnknownSenderPolicy,
    user: Option<&UserFacts>,
    agent: &AgentId,
) -> Access {
    match (policy, standing(user, agent)) {
        (UnknownSenderPolicy::Public, _) => Access::Allowed("public"),
        (_, Ok(standing)) => Access::Allowed(standing),
        (UnknownSenderPolicy::Strict, Err(_)) => Access::Refused("unknown_sender_strict"),
        (UnknownSenderPolicy::RequestApproval, Err(_)) => {
            Access::Refused("unknown_sender_request_approval")
        }
    }
}

/// The wiring's gate. It holds in public chats too.
pub(crate) fn scope(scope: SenderScope, user: Option<&UserFacts>, agent: &AgentId) -> Access {
    match (scope, standing(user, agent)) {
        (SenderScope::All, _) => Access::Allowed("all"),
        (SenderScope::Known, Ok(standing)) => Access::Allowed(standing),
        (SenderScope::Known, Err("unknown_user")) => Access::Refused("unknown_user_scope"),
        (SenderScope::Known, Err(_)) => Access::Refused("sender_scope_not_member"),
    }
}

#[cfg(test)]
mod tests;
