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

/// What is remembered of a chat's dropped messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropRow {
    /// The platform.
    pub channel_type: ChannelType,
    /// The chat there.
    pub platform_id: PlatformId,
    /// Who wrote last.
    pub user: Option<String>,
    /// What they call themselves.
    pub sender_name: Option<String>,
    /// The last reason.
    pub reason: String,
    /// The chat, if we know it.
    pub chat: Option<String>,
    /// The agent that refused first.
    pub agent: Option<String>,
    /// How many messages.
    pub count: i64,
    /// When it began.
    pub first_seen: String,
    /// When it last happened.
    pub last_seen: String,
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
        let sql =
            "SELECT channel_type, platform_id, user_id, sender_name, reason, messaging_group_id,
                     agent_group_id, message_count, first_seen, last_seen
                   FROM unregistered_senders ORDER BY last_seen DESC, channel_type, platform_id";
        self.list("unregistered_senders", sql, [], |r| {
            Ok(DropRow {
                channel_type: r.get(0)?,
                platform_id: r.get(1)?,
                user: r.get(2)?,
                sender_name: r.get(3)?,
                reason: r.get(4)?,
                chat: r.get(5)?,
                agent: r.get(6)?,
                count: r.get(7)?,
                first_seen: r.get(8)?,
                last_seen: r.get(9)?,
            })
        })
    }
}
