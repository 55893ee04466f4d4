//! Where an agent may write (`agent_destinations`): a name and a permission in one row.

use crate::{BrokenRow, Central, Error, Result, one};
use nanoclaw_contract::ids::{AgentId, ChatId};
use nanoclaw_contract::message::{Destination, Target};
use nanoclaw_contract::time::{Timestamp, iso};
use rusqlite::{Row, Transaction, params};

const NAME_BYTES_MAX: usize = 100;

/// What a destination stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DestinationTarget {
    /// A chat.
    Chat(ChatId),
    /// Another agent.
    Agent(AgentId),
}

impl DestinationTarget {
    fn columns(&self) -> (&'static str, &str) {
        match self {
            Self::Chat(id) => ("channel", id.as_str()),
            Self::Agent(id) => ("agent", id.as_str()),
        }
    }
}

stored! {
    /// A destination as stored; its target may be gone.
    DestinationRow = "agent_destinations" {
        /// Whose.
        agent: AgentId = "agent_group_id",
        /// The name it uses.
        name: String = "local_name",
        /// `channel` or `agent`.
        target_type: String,
        /// A chat's id or an agent's.
        target_id: String,
        /// When it was made.
        created_at: String,
    }
}

/// The name that v2 makes of what people call a chat: `PR Reviews!` is `pr-reviews`.
pub fn destination_name(text: &str) -> String {
    let lower = text.to_lowercase();
    let words: Vec<_> = lower
        .split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit())
        .filter(|w| !w.is_empty())
        .collect();
    if words.is_empty() { "unnamed".into() } else { words.join("-") }
}

const INSERT: &str =
    "INSERT INTO agent_destinations (agent_group_id, local_name, target_type, target_id, created_at)
     VALUES (?1, ?2, ?3, ?4, ?5)";

/// Names the target for the agent, unless it has a name already; `-2`, `-3` … when the name is taken.
pub(crate) fn insert_for_wiring(
    tx: &Transaction<'_>,
    agent: &AgentId,
    base: &str,
    target: &DestinationTarget,
    created_at: &str,
) -> Result<()> {
    let (kind, id) = target.columns();
    let named = "SELECT 1 FROM agent_destinations
                 WHERE agent_group_id = ?1 AND target_type = ?2 AND target_id = ?3";
    if one(tx, named, params![agent, kind, id], |_| Ok(()))?.is_some() {
        return Ok(());
    }
    let base = crate::clip(&destination_name(base), NAME_BYTES_MAX - 10);
    let (mut name, mut n) = (base.clone(), 1);
    let taken = "SELECT 1 FROM agent_destinations WHERE agent_group_id = ?1 AND local_name = ?2";
    while one(tx, taken, params![agent, name], |_| Ok(()))?.is_some() {
        n += 1;
        name = format!("{base}-{n}");
    }
    tx.execute(INSERT, params![agent, name, kind, id, created_at])?;
    Ok(())
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT d.local_name, d.target_type, COALESCE(c.name, a.name, d.local_name),
               c.channel_type, c.platform_id, a.id
             FROM agent_destinations d
             LEFT JOIN messaging_groups c ON d.target_type = 'channel' AND c.id = d.target_id
             LEFT JOIN agent_groups a ON d.target_type = 'agent' AND a.id = d.target_id ",
            $rest
        )
    };
}

/// None when the target is gone.
fn destination(r: &Row<'_>) -> rusqlite::Result<Option<Destination>> {
    let target = match (r.get(3)?, r.get(4)?, r.get(5)?) {
        (Some(channel_type), Some(platform_id), None) => {
            Target::Channel { channel_type, platform_id }
        }
        (None, None, Some(agent)) => Target::Agent(agent),
        _ => return Ok(None),
    };
    Ok(Some(Destination { name: r.get(0)?, display_name: r.get(2)?, target }))
}

impl Central {
    /// The names an agent may write to, as its session is told. What no longer exists is left out.
    pub fn destinations_of(&self, agent: &AgentId) -> Result<Vec<Destination>> {
        let sql = select!("WHERE d.agent_group_id = ?1 ORDER BY d.local_name");
        let all = self.list("agent_destinations", sql, [agent], destination)?;
        Ok(all.into_iter().flatten().collect())
    }

    /// Every destination as stored.
    pub fn stored_destinations(&self) -> Result<Vec<DestinationRow>> {
        self.all("ORDER BY agent_group_id, local_name", [])
    }

    pub(crate) fn destination_rows(&self) -> Result<Vec<Result<Option<Destination>, BrokenRow>>> {
        self.rows("agent_destinations", select!("ORDER BY d.local_name"), [], destination)
    }

    /// Whether the agent has a name for this chat.
    pub fn may_send_to_chat(&self, agent: &AgentId, chat: &ChatId) -> Result<bool> {
        self.may_send_to(agent, &DestinationTarget::Chat(chat.clone()))
    }

    /// Whether the agent has a name for that agent.
    pub fn may_send_to_agent(&self, agent: &AgentId, other: &AgentId) -> Result<bool> {
        self.may_send_to(agent, &DestinationTarget::Agent(other.clone()))
    }

    fn may_send_to(&self, agent: &AgentId, target: &DestinationTarget) -> Result<bool> {
        let (kind, id) = target.columns();
        let sql = "SELECT 1 FROM agent_destinations
                   WHERE target_type = ?2 AND target_id = ?3 AND agent_group_id = ?1";
        self.any("look for the destination", sql, params![agent, kind, id])
    }

    /// Lets the agent write to a target by this name.
    pub fn add_destination(
        &self,
        agent: &AgentId,
        name: &str,
        target: &DestinationTarget,
        now: Timestamp,
    ) -> Result<()> {
        // The name stands in `<message to="…">`.
        let odd = |c: char| c.is_control() || matches!(c, '"' | '\'' | '<' | '>' | '&');
        if name.trim().is_empty() || name.len() > NAME_BYTES_MAX || name.contains(odd) {
            return Err(Error::Refused(format!(
                "{name:?} cannot name a destination: use up to {NAME_BYTES_MAX} letters, digits and -"
            )));
        }
        let (kind, id) = target.columns();
        self.tx("add the destination", |tx| {
            let found = match target {
                DestinationTarget::Chat(_) => "SELECT 1 FROM messaging_groups WHERE id = ?1",
                DestinationTarget::Agent(_) => "SELECT 1 FROM agent_groups WHERE id = ?1",
            };
            if one(tx, found, [id], |_| Ok(()))?.is_none() {
                return Err(Error::Refused(format!("there is no {kind} {id}")));
            }
            let taken =
                "SELECT 1 FROM agent_destinations WHERE agent_group_id = ?1 AND local_name = ?2";
            if one(tx, taken, params![agent, name], |_| Ok(()))?.is_some() {
                return Err(Error::Refused(format!(
                    "the agent already has a destination named {name:?}; remove it first or choose another name"
                )));
            }
            tx.execute(INSERT, params![agent, name, kind, id, iso(now)])?;
            Ok(())
        })
    }

    /// Takes a name away; false if there was none.
    pub fn remove_destination(&self, agent: &AgentId, name: &str) -> Result<bool> {
        let sql = "DELETE FROM agent_destinations WHERE agent_group_id = ?1 AND local_name = ?2";
        Ok(self.run("remove the destination", sql, params![agent, name])? > 0)
    }
}
