//! Where an agent may write: into its session's own chat, to itself, and wherever it was given a name for.
//!
//! [`authorize`] is pure; [`Destinations::of`] collects its facts. Asked again for every message at the
//! moment of sending, because the box's own list is only a copy.

use nanoclaw_central::{Central, Session};
use nanoclaw_contract::ids::{Address, AgentId};
use nanoclaw_contract::message::AGENT_CHANNEL;

/// What is known of the place that a message is addressed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destinations {
    /// There is no such chat, or no such agent.
    Unknown,
    /// A chat or an agent.
    Known {
        /// Whether it is the session's own chat, or the agent itself.
        own: bool,
        /// Whether the agent has a name for it.
        named: bool,
    },
}

/// Whether a message may go where it is addressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may, because.
    Allowed(&'static str),
    /// It may not, because.
    Refused(String),
}

impl Destinations {
    /// Looks the place up. Blocks.
    pub(crate) fn of(
        central: &Central,
        session: &Session,
        to: Option<&Address>,
    ) -> Result<Self, nanoclaw_central::Error> {
        let Some(to) = to else { return Ok(Self::Unknown) };
        if to.channel_type.as_str() == AGENT_CHANNEL {
            let Ok(id) = AgentId::parse(to.platform_id.as_str()) else { return Ok(Self::Unknown) };
            return Ok(match central.agent(&id)? {
                None => Self::Unknown,
                Some(agent) => Self::Known {
                    own: agent.id == session.agent,
                    named: central.may_send_to_agent(&session.agent, &agent.id)?,
                },
            });
        }
        Ok(match central.chat_by_address(&to.channel_type, &to.platform_id)? {
            None => Self::Unknown,
            Some(chat) => Self::Known {
                own: session.chat.as_ref() == Some(&chat.id),
                named: central.may_send_to_chat(&session.agent, &chat.id)?,
            },
        })
    }
}

/// Judges one message.
pub(crate) fn authorize(to: Option<&Address>, place: &Destinations) -> Verdict {
    let Some(to) = to else { return Verdict::Refused("it has no address".into()) };
    let agent = to.channel_type.as_str() == AGENT_CHANNEL;
    match (place, agent) {
        (Destinations::Known { own: true, .. }, true) => Verdict::Allowed("it is the agent itself"),
        (Destinations::Known { own: true, .. }, false) => {
            Verdict::Allowed("it is the session's own chat")
        }
        (Destinations::Known { named: true, .. }, _) => {
            Verdict::Allowed("it is one of the agent's destinations")
        }
        (Destinations::Known { .. }, true) => Verdict::Refused(format!(
            "the agent {} is not one of your destinations",
            to.platform_id
        )),
        (Destinations::Known { .. }, false) => Verdict::Refused(format!(
            "the chat {} on {} is not one of your destinations",
            to.platform_id, to.channel_type
        )),
        (Destinations::Unknown, true) => {
            Verdict::Refused(format!("there is no agent {}", to.platform_id))
        }
        (Destinations::Unknown, false) => {
            Verdict::Refused(format!("there is no chat {} on {}", to.platform_id, to.channel_type))
        }
    }
}

#[cfg(test)]
mod tests;
