//! Takes an agent or a chat out of every table, in an order that no reference stands in the way of.
//!
//! Twofold, so that nothing is lost on the way: [`Central::retire`] first makes sure that nothing new
//! begins (no wiring, no name, every session off), then the host ends the boxes and puts the files aside,
//! and [`Central::remove`] forgets the rows. Cut short in between, the same call does the rest.

use crate::{Central, Result};
use nanoclaw_contract::ids::{AgentId, ChatId, SessionId};
use nanoclaw_contract::time::{Timestamp, iso};
use rusqlite::{Transaction, params};

/// What goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// An agent with its sessions.
    Agent(AgentId),
    /// A chat with its sessions.
    Chat(ChatId),
}

const WHY: &str = "it is being removed";

impl Removed {
    fn id(&self) -> &str {
        match self {
            Self::Agent(id) => id.as_str(),
            Self::Chat(id) => id.as_str(),
        }
    }

    /// Makes nothing begin any more.
    fn ways_in(&self) -> &'static [&'static str] {
        match self {
            Self::Agent(_) => &[
                "DELETE FROM messaging_group_agents WHERE agent_group_id = ?1",
                "DELETE FROM agent_destinations
                 WHERE agent_group_id = ?1 OR (target_type = 'agent' AND target_id = ?1)",
            ],
            Self::Chat(_) => &[
                "DELETE FROM messaging_group_agents WHERE messaging_group_id = ?1",
                "DELETE FROM agent_destinations WHERE target_type = 'channel' AND target_id = ?1",
            ],
        }
    }

    /// What refers to it, those that are referred to last.
    fn rows(&self) -> &'static [&'static str] {
        match self {
            Self::Agent(_) => &[
                "DELETE FROM pending_questions WHERE session_id IN
                   (SELECT id FROM sessions WHERE agent_group_id = ?1)",
                "DELETE FROM pending_approvals WHERE agent_group_id = ?1
                   OR session_id IN (SELECT id FROM sessions WHERE agent_group_id = ?1)",
                "DELETE FROM pending_sender_approvals WHERE agent_group_id = ?1",
                "DELETE FROM pending_channel_approvals WHERE agent_group_id = ?1",
                "DELETE FROM user_roles WHERE agent_group_id = ?1",
                "DELETE FROM agent_group_members WHERE agent_group_id = ?1",
                "DELETE FROM sessions WHERE agent_group_id = ?1",
                "DELETE FROM agent_groups WHERE id = ?1",
            ],
            Self::Chat(_) => &[
                "DELETE FROM pending_questions WHERE session_id IN
                   (SELECT id FROM sessions WHERE messaging_group_id = ?1)",
                "DELETE FROM pending_approvals WHERE session_id IN
                   (SELECT id FROM sessions WHERE messaging_group_id = ?1)",
                "DELETE FROM pending_sender_approvals WHERE messaging_group_id = ?1",
                "DELETE FROM pending_channel_approvals WHERE messaging_group_id = ?1",
                "DELETE FROM user_dms WHERE messaging_group_id = ?1",
                "DELETE FROM sessions WHERE messaging_group_id = ?1",
                "DELETE FROM messaging_groups WHERE id = ?1",
            ],
        }
    }
}

impl Central {
    /// Nothing begins any more: no wiring, no name, every session closed and in quarantine. Says which
    /// sessions there are.
    pub fn retire(&self, what: &Removed, now: Timestamp) -> Result<Vec<SessionId>> {
        self.tx("retire it", |tx| {
            run(tx, what.ways_in(), what.id())?;
            let sql = match what {
                Removed::Agent(_) => "SELECT id FROM sessions WHERE agent_group_id = ?1",
                Removed::Chat(_) => "SELECT id FROM sessions WHERE messaging_group_id = ?1",
            };
            let mut query = tx.prepare_cached(sql)?;
            let ids = query.query_map([what.id()], |r| r.get(0))?;
            let ids = ids.collect::<rusqlite::Result<Vec<SessionId>>>()?;
            for id in &ids {
                tx.execute("UPDATE sessions SET status = 'closed' WHERE id = ?1", [id])?;
                tx.execute(
                    "INSERT INTO quarantine (session_id, reason, since) VALUES (?1, ?2, ?3)
                     ON CONFLICT (session_id) DO UPDATE SET reason = ?2",
                    params![id, WHY, iso(now)],
                )?;
            }
            Ok(ids)
        })
    }

    /// Forgets it and everything of it; false if it was not there.
    pub fn remove(&self, what: &Removed) -> Result<bool> {
        self.tx("remove it", |tx| {
            run(tx, what.ways_in(), what.id())?;
            Ok(run(tx, what.rows(), what.id())? > 0)
        })
    }
}

/// How many rows the last statement took away.
fn run(tx: &Transaction<'_>, all: &[&str], id: &str) -> Result<usize> {
    let mut last = 0;
    for sql in all {
        last = tx.execute(sql, [id])?;
    }
    Ok(last)
}
