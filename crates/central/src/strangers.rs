//! Messages that wait until somebody vouched for who wrote them (`held_messages`), and who was turned away
//! (`denied_senders`).

use crate::{Central, Result, at_ms, one};
use nanoclaw_contract::ids::{AgentId, ApprovalId, ChatId, UserId};
use nanoclaw_contract::time::Timestamp;
use rusqlite::params;

/// Most messages that wait for one request, and most bytes of them.
pub const HELD_MAX: i64 = 20;
/// Most bytes of their text in all.
const HELD_BYTES_MAX: i64 = 8 << 20;

/// What became of a message that should wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// It waits, now or already.
    Held,
    /// Too many wait.
    Full,
    /// The request is not open any more.
    Closed,
}

impl Central {
    /// Lets a message wait for a request.
    pub fn hold_message(&self, id: &ApprovalId, message_id: &str, message: &str) -> Result<Hold> {
        self.tx("hold the message", |tx| {
            let open =
                "SELECT 1 FROM pending_approvals WHERE approval_id = ?1 AND status = 'pending'";
            if one(tx, open, [id], |_| Ok(()))?.is_none() {
                return Ok(Hold::Closed);
            }
            let held = "SELECT COUNT(*), COALESCE(SUM(message_id = ?2), 0),
                          COALESCE(SUM(LENGTH(CAST(message AS BLOB))), 0) + ?3
                        FROM held_messages WHERE approval_id = ?1";
            let read = |r: &rusqlite::Row<'_>| Ok((r.get(0)?, r.get(1)?, r.get(2)?));
            let new = i64::try_from(message.len()).unwrap_or(i64::MAX);
            match one(tx, held, params![id, message_id, new], read)? {
                Some((_, 1.., _)) => return Ok(Hold::Held),
                Some((HELD_MAX.., _, _)) | Some((_, _, HELD_BYTES_MAX..)) => return Ok(Hold::Full),
                _ => {}
            }
            tx.execute(
                "INSERT INTO held_messages (approval_id, message_id, message) VALUES (?1, ?2, ?3)",
                params![id, message_id, message],
            )?;
            Ok(Hold::Held)
        })
    }

    /// The messages that wait for a request, in order.
    pub fn held_messages(&self, id: &ApprovalId) -> Result<Vec<String>> {
        let sql = "SELECT message FROM held_messages WHERE approval_id = ?1 ORDER BY n";
        self.list("held_messages", sql, [id], |r| r.get(0))
    }

    /// What waits under this id of a platform's, whatever platform it is of; each with its number.
    pub fn held_like(&self, message_id: &str) -> Result<Vec<(i64, String)>> {
        let sql = "SELECT n, message FROM held_messages WHERE message_id = ?1";
        self.list("held_messages", sql, [message_id], |r| Ok((r.get(0)?, r.get(1)?)))
    }

    /// Changes a message that waits, or forgets it.
    pub fn change_held(&self, n: i64, message: Option<&str>) -> Result<()> {
        let what = "change what waits";
        match message {
            Some(new) => self.run(
                what,
                "UPDATE held_messages SET message = ?2 WHERE n = ?1",
                params![n, new],
            ),
            None => self.run(what, "DELETE FROM held_messages WHERE n = ?1", [n]),
        }
        .map(drop)
    }

    /// Forgets the messages that waited for a request.
    pub fn drop_held(&self, id: &ApprovalId) -> Result<usize> {
        self.run("forget the messages", "DELETE FROM held_messages WHERE approval_id = ?1", [id])
    }

    /// Remembers that a person was turned away.
    pub fn deny_sender(
        &self,
        chat: &ChatId,
        agent: &AgentId,
        user: &UserId,
        until: Timestamp,
    ) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO denied_senders (messaging_group_id, agent_group_id, user_id, until)
                   VALUES (?1, ?2, ?3, ?4)";
        self.run("deny the person", sql, params![chat, agent, user, until.as_millisecond()])
            .map(drop)
    }

    /// Until when nobody is asked about this person again.
    pub fn denied_until(
        &self,
        chat: &ChatId,
        agent: &AgentId,
        user: &UserId,
        now: Timestamp,
    ) -> Result<Option<Timestamp>> {
        let sql = "SELECT until FROM denied_senders WHERE messaging_group_id = ?1
                   AND agent_group_id = ?2 AND user_id = ?3 AND until > ?4";
        let params = params![chat, agent, user, now.as_millisecond()];
        Ok(self.one("look for the denial", sql, params, |r| r.get(0))?.map(at_ms))
    }

    /// Forgets who was turned away until before this time.
    pub fn prune_denials(&self, now: Timestamp) -> Result<usize> {
        let sql = "DELETE FROM denied_senders WHERE until < ?1";
        self.run("prune the denials", sql, [now.as_millisecond()])
    }

    /// Everybody who was turned away: chat, agent, person, until when.
    pub fn denied_senders(&self) -> Result<Vec<(ChatId, AgentId, UserId, Timestamp)>> {
        let sql = "SELECT messaging_group_id, agent_group_id, user_id, until FROM denied_senders
                   ORDER BY until DESC";
        self.list("denied_senders", sql, [], |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?, at_ms(r.get(3)?)))
        })
    }

    /// Lets people be asked about a person again; says for how many chats and agents.
    pub fn undo_denial(&self, user: &UserId) -> Result<usize> {
        self.run("undo the denial", "DELETE FROM denied_senders WHERE user_id = ?1", [user])
    }
}
