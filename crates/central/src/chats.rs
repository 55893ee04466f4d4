//! Chats on platforms (`messaging_groups`).
//!
//! What an older install left unclear is read closed: an unknown policy is the strictest, and a chat
//! whose kind is not said to be direct is a group.

use crate::{Central, Result};
use nanoclaw_contract::ids::{ChannelType, ChatId, PlatformId};
use nanoclaw_contract::words;
use rusqlite::{Row, params};

/// What kind of chat it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChatKind {
    /// One person and the agent.
    Direct,
    /// Several people.
    Group,
}

words! {
    /// What happens to people whom nobody vouched for.
    UnknownSenderPolicy {
        /// They are refused.
        Strict = "strict",
        /// They are refused, and an owner is asked.
        RequestApproval = "request_approval",
        /// Everybody may talk.
        Public = "public",
    }
}

stored! {
    /// A chat.
    Chat = "messaging_groups" {
        /// Its id.
        id: ChatId,
        /// The platform.
        channel_type: ChannelType,
        /// What the platform calls it.
        platform_id: PlatformId,
        /// What people call it.
        name: Option<String>,
        /// What kind it is.
        kind: ChatKind = "COALESCE(is_group, 0)" => kind,
        /// What happens to strangers.
        policy: UnknownSenderPolicy = "unknown_sender_policy" => policy,
        /// When an owner said that no agent shall answer here.
        denied_at: Option<String>,
        /// When it was first seen.
        created_at: String,
    }
}

fn kind(row: &Row<'_>, n: usize) -> rusqlite::Result<ChatKind> {
    Ok(if row.get::<_, i64>(n)? == 0 { ChatKind::Direct } else { ChatKind::Group })
}

fn policy(row: &Row<'_>, n: usize) -> rusqlite::Result<UnknownSenderPolicy> {
    let word: String = row.get(n)?;
    Ok(UnknownSenderPolicy::parse(&word).unwrap_or(UnknownSenderPolicy::Strict))
}

impl Central {
    /// The chat with this id.
    pub fn chat(&self, id: &ChatId) -> Result<Option<Chat>> {
        self.get("WHERE id = ?1", [id])
    }

    /// The chat at this address.
    pub fn chat_by_address(
        &self,
        channel: &ChannelType,
        platform: &PlatformId,
    ) -> Result<Option<Chat>> {
        self.get("WHERE channel_type = ?1 AND platform_id = ?2", params![channel, platform])
    }

    /// Every chat, oldest first.
    pub fn chats(&self) -> Result<Vec<Chat>> {
        self.all("ORDER BY created_at, id", [])
    }

    /// Makes a chat. There is one per address.
    pub fn create_chat(&self, chat: &Chat) -> Result<()> {
        self.run(
            "create the chat",
            "INSERT INTO messaging_groups
               (id, channel_type, platform_id, name, is_group, unknown_sender_policy, denied_at, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                chat.id,
                chat.channel_type,
                chat.platform_id,
                chat.name,
                chat.kind == ChatKind::Group,
                chat.policy,
                chat.denied_at,
                chat.created_at
            ],
        )
        .map(drop)
    }

    /// Changes its name, kind, policy and rejection; false if there is no such chat.
    pub fn update_chat(&self, chat: &Chat) -> Result<bool> {
        let sql =
            "UPDATE messaging_groups SET name = ?2, is_group = ?3, unknown_sender_policy = ?4,
                     denied_at = ?5 WHERE id = ?1";
        let group = chat.kind == ChatKind::Group;
        let values = params![chat.id, chat.name, group, chat.policy, chat.denied_at];
        Ok(self.run("change the chat", sql, values)? > 0)
    }

    /// Says that no agent shall answer here, or that one may be asked for again.
    pub fn set_chat_denied(&self, id: &ChatId, at: Option<&str>) -> Result<bool> {
        let sql = "UPDATE messaging_groups SET denied_at = ?2 WHERE id = ?1";
        Ok(self.run("deny the chat", sql, params![id, at])? > 0)
    }
}
