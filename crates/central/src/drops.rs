//! Messages that no agent got (`unregistered_senders`): one row per chat, the last reason, a count.

use crate::{Central, Result, clip};
use nanoclaw_contract::ids::{AgentId, ChannelType, ChatId, PlatformId, UserId};
use nanoclaw_contract::time::{Timestamp, iso};
use rusqlite::params;

/// A message that no agent got.
#[derive(Debug, Clone, Copy)]
pub struct Dropped<'a> {
    /// The platform.
    pub channel_type: &'a ChannelType,
    /// The chat there.
    pub platform_id: &'a PlatformId,
    /// Who wrote it.
    pub user: Option<&'a UserId>,
    /// What they call themselves.
    pub sender_name: Option<&'a str>,
    /// Why nobody got it.
    pub reason: &'a str,
    /// The chat, if we know it.
    pub chat: Option<&'a ChatId>,
    /// The agent that refused.
    pub agent: Option<&'a AgentId>,
}

stored! {
    /// What is remembered of a chat's dropped messages.
    DropRow = "unregistered_senders" {
        /// The platform.
        channel_type: ChannelType,
        /// The chat there.
        platform_id: PlatformId,
        /// Who wrote last.
        user: Option<String> = "user_id",
        /// What they call themselves.
        sender_name: Option<String>,
        /// The last reason.
        reason: String,
        /// The chat, if we know it.
        chat: Option<String> = "messaging_group_id",
        /// The agent that refused first.
        agent: Option<String> = "agent_group_id",
        /// How many messages.
        count: i64 = "message_count",
        /// When it began.
        first_seen: String,
        /// When it last happened.
        last_seen: String,
    }
}

impl Central {
    /// Counts a message that no agent got.
    pub fn record_drop(&self, d: &Dropped<'_>, now: Timestamp) -> Result<()> {
        self.run(
            "record the dropped message",
            "INSERT INTO unregistered_senders (channel_type, platform_id, user_id, sender_name, reason,
               messaging_group_id, agent_group_id, first_seen, last_seen)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)
             ON CONFLICT (channel_type, platform_id) DO UPDATE SET
               user_id = COALESCE(?3, user_id), sender_name = COALESCE(?4, sender_name), reason = ?5,
               message_count = message_count + 1, last_seen = ?8",
            params![
                d.channel_type,
                d.platform_id,
                d.user,
                d.sender_name.map(|n| clip(n, 200)),
                d.reason,
                d.chat,
                d.agent,
                iso(now)
            ],
        )
        .map(drop)
    }

    /// Every chat with dropped messages, the latest first.
    pub fn drops(&self) -> Result<Vec<DropRow>> {
        self.all("ORDER BY last_seen DESC, channel_type, platform_id", [])
    }
}
