//! Codes that connect a chat when somebody types them there (`pairings`).

use crate::stored::{Stored as _, at};
use crate::{Central, Result};
use nanoclaw_contract::ids::{AgentId, ChannelType};
use nanoclaw_contract::time::Timestamp;
use rusqlite::params;

stored! {
    /// A code that was handed out. The code itself is not kept.
    Pairing = "pairings" {
        /// Its id.
        id: String,
        /// Where it counts.
        channel: ChannelType = "channel_type",
        /// Who will listen in the chat.
        agent: AgentId = "agent_group_id",
        /// Whether whoever types it is the operator.
        owner: bool,
        /// Not after this time.
        expires_at: Timestamp = "expires_ms" => at,
        /// What came of it.
        outcome: Option<String>,
    }
}

impl Central {
    /// Keeps the hash of a new code.
    pub fn put_pairing(&self, p: &Pairing, hash: &str) -> Result<()> {
        let sql = "INSERT INTO pairings (id, channel_type, hash, agent_group_id, owner, expires_ms)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let expires = p.expires_at.as_millisecond();
        self.run("keep the code", sql, params![p.id, p.channel, hash, p.agent, p.owner, expires])
            .map(drop)
    }

    /// Takes a code for a message; nobody else can then, but the same message can again.
    pub fn take_pairing(
        &self,
        channel: &ChannelType,
        hash: &str,
        message: &str,
        now: Timestamp,
    ) -> Result<Option<Pairing>> {
        let sql = format!(
            "UPDATE pairings SET used_by = ?3 WHERE channel_type = ?1 AND hash = ?2
               AND (used_by = ?3 OR used_by IS NULL AND expires_ms > ?4) RETURNING {}",
            Pairing::COLUMNS
        );
        // Read to its end, so that the change is committed.
        let params = params![channel, hash, message, now.as_millisecond()];
        Ok(self.list("pairings", &sql, params, Pairing::read)?.pop())
    }

    /// Whether a code may be typed on this channel now, or this one was good once.
    pub fn expects_pairing(
        &self,
        channel: &ChannelType,
        hash: &str,
        now: Timestamp,
    ) -> Result<bool> {
        let sql = "SELECT 1 FROM pairings WHERE channel_type = ?1
                   AND (hash = ?2 OR used_by IS NULL AND expires_ms > ?3)";
        self.any("look for a code", sql, params![channel, hash, now.as_millisecond()])
    }

    /// What came of a code.
    pub fn pairing(&self, id: &str) -> Result<Option<Pairing>> {
        self.get("WHERE id = ?1", [id])
    }

    /// Notes what came of a code.
    pub fn finish_pairing(&self, id: &str, outcome: &str) -> Result<()> {
        let sql = "UPDATE pairings SET outcome = ?2 WHERE id = ?1";
        self.run("note what came of the code", sql, params![id, outcome]).map(drop)
    }

    /// Forgets codes that expired before this time.
    pub fn prune_pairings(&self, before: Timestamp) -> Result<usize> {
        self.run(
            "prune the codes",
            "DELETE FROM pairings WHERE expires_ms < ?1",
            [before.as_millisecond()],
        )
    }
}
