//! Chats on platforms (`messaging_groups`).
//!
//! What an older install left unclear is read closed: an unknown policy is the strictest, and a chat
//! whose kind is not said to be direct is a group.

use crate::{BrokenRow, Central, Result};
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

/// A chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chat {
    /// Its id.
    pub id: ChatId,
    /// The platform.
    pub channel_type: ChannelType,
    /// What the platform calls it.
    pub platform_id: PlatformId,
    /// What people call it.
    pub name: Option<String>,
    /// What kind it is.
    pub kind: ChatKind,
    /// What happens to strangers.
    pub policy: UnknownSenderPolicy,
    /// When an owner said that no agent shall answer here.
    pub denied_at: Option<String>,
    /// When it was first seen.
    pub created_at: String,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, channel_type, platform_id, name, COALESCE(is_group, 0), unknown_sender_policy,
               denied_at, created_at
             FROM messaging_groups ",
            $rest
        )
    };
}

fn chat(r: &Row<'_>) -> rusqlite::Result<Chat> {
    Ok(Chat {
        id: r.get(0)?,
        channel_type: r.get(1)?,
        platform_id: r.get(2)?,
        name: r.get(3)?,
        kind: if r.get::<_, i64>(4)? == 0 { ChatKind::Direct } else { ChatKind::Group },
        policy: UnknownSenderPolicy::parse(&r.get::<_, String>(5)?)
            .unwrap_or(UnknownSenderPolicy::Strict),
        denied_at: r.get(6)?,
        created_at: r.get(7)?,
    })
}

impl Central {
    /// The chat with this id.
    pub fn chat(&self, id: &ChatId) -> Result<Option<Chat>> {
        self.one("read the chat", select!("WHERE id = ?1"), [id], chat)
    }

    /// The chat at this address.
    pub fn chat_by_address(
        &self,
        channel: &ChannelType,
        platform: &PlatformId,
    ) -> Result<Option<Chat>> {
        let sql = select!("WHERE channel_type = ?1 AND platform_id = ?2");
        self.one("read the chat", sql, params![channel, platform], chat)
    }

    /// Every chat, oldest first.
    pub fn chats(&self) -> Result<Vec<Chat>> {
        Ok(self.chat_rows()?.into_iter().flatten().collect())
    }

    pub(crate) fn chat_rows(&self) -> Result<Vec<Result<Chat, BrokenRow>>> {
        self.rows("messaging_groups", select!("ORDER BY created_at, id"), [], chat)
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
