//! Agents that work together: where a message between them goes, and who made whom.

use crate::agents::insert_agent;
use crate::destinations::insert_for_wiring;
use crate::sessions::{find_for_letters, insert};
use crate::{Agent, Central, DestinationTarget, Error, Result, Session, destination_name, one};
use nanoclaw_contract::ids::{AgentId, OutId, SessionId};
use rusqlite::params;

impl Central {
    /// The session that this message was given to, if that was decided.
    pub fn letter_target(&self, session: &SessionId, out: &OutId) -> Result<Option<SessionId>> {
        let sql = "SELECT target_session FROM deliveries WHERE session_id = ?1 AND out_id = ?2";
        let found = self.one("read the target", sql, params![session, out], |r| r.get(0))?;
        Ok(found.flatten())
    }

    /// Decides which session the message is given to. Its attempt is on record.
    pub fn set_letter_target(
        &self,
        session: &SessionId,
        out: &OutId,
        target: &SessionId,
    ) -> Result<()> {
        let sql = "UPDATE deliveries SET target_session = ?3 WHERE session_id = ?1 AND out_id = ?2";
        self.run("record the target", sql, params![session, out, target]).map(drop)
    }

    /// The session of an agent that other agents write to unless one of its sessions wrote to them: the
    /// one that its chats share, or else the newest, or else `new`, made in the same transaction.
    pub fn session_for_letters(&self, new: &Session) -> Result<Session> {
        self.tx("find the session", |tx| match find_for_letters(tx, &new.agent)? {
            Some(found) => Ok(found),
            None => Ok(insert(tx, new).map(|()| new.clone())?),
        })
    }

    /// Makes an agent for another one, names them to each other, and remembers who made it: all of it or
    /// nothing.
    pub fn create_agent_for(&self, by: &AgentId, agent: &Agent) -> Result<()> {
        self.tx("create the agent", |tx| {
            insert_agent(tx, agent)?;
            let made = "INSERT INTO agent_creators (agent_group_id, created_by) VALUES (?1, ?2)";
            tx.execute(made, params![agent.id, by])?;
            let local = destination_name(&agent.name);
            let taken =
                "SELECT 1 FROM agent_destinations WHERE agent_group_id = ?1 AND local_name = ?2";
            if one(tx, taken, params![by, local], |_| Ok(()))?.is_some() {
                return Err(Error::Refused(format!(
                    "you already have a destination named \"{local}\""
                )));
            }
            let (child, parent) =
                (DestinationTarget::Agent(agent.id.clone()), DestinationTarget::Agent(by.clone()));
            insert_for_wiring(tx, by, &agent.name, &child, &agent.created_at)?;
            insert_for_wiring(tx, &agent.id, "parent", &parent, &agent.created_at)
        })
    }

    /// The agent that this one made and calls by this name.
    pub fn creation(&self, by: &AgentId, name: &str) -> Result<Option<AgentId>> {
        let sql = "SELECT c.agent_group_id FROM agent_creators c
                   JOIN agent_destinations d ON d.target_type = 'agent' AND d.target_id = c.agent_group_id
                     AND d.agent_group_id = c.created_by
                   WHERE c.created_by = ?1 AND d.local_name = ?2";
        self.one("look for the agent", sql, params![by, name], |r| r.get(0))
    }

    /// How many agents this one made that are still there.
    pub fn creations(&self, by: &AgentId) -> Result<u32> {
        let sql = "SELECT COUNT(*) FROM agent_creators WHERE created_by = ?1";
        Ok(self.one("count the agents", sql, [by], |r| r.get(0))?.unwrap_or(0))
    }
}
