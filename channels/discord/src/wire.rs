//! What Discord says, as far as it is read here; unknown fields and events are passed over.
//!
//! <https://discord.com/developers/docs/events/gateway-events> and the resources pages beside it.

use crate::ids::Id;
use serde::Deserialize;
use serde_json::value::RawValue;

/// One line of the gateway.
#[derive(Deserialize)]
pub(crate) struct Frame<'a> {
    /// The number of the event in the session.
    pub(crate) s: Option<u64>,
    /// Its name.
    pub(crate) t: Option<&'a str>,
    /// Its content.
    #[serde(borrow)]
    pub(crate) d: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(crate) struct Ready {
    pub(crate) session_id: String,
    pub(crate) resume_gateway_url: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct User {
    pub(crate) id: Id,
    pub(crate) username: String,
    pub(crate) global_name: Option<String>,
    #[serde(default)]
    pub(crate) bot: bool,
}

impl User {
    pub(crate) fn name(&self) -> &str {
        self.global_name.as_deref().unwrap_or(&self.username)
    }
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Member {
    pub(crate) nick: Option<String>,
    pub(crate) user: Option<User>,
}

/// A message, from the gateway or asked for.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Message {
    pub(crate) id: Id,
    pub(crate) channel_id: Id,
    pub(crate) guild_id: Option<Id>,
    pub(crate) author: User,
    pub(crate) member: Option<Member>,
    #[serde(default)]
    pub(crate) content: String,
    pub(crate) timestamp: String,
    #[serde(default)]
    pub(crate) mentions: Vec<User>,
    #[serde(default)]
    pub(crate) mention_roles: Vec<Id>,
    #[serde(default)]
    pub(crate) attachments: Vec<Attachment>,
    #[serde(default)]
    pub(crate) sticker_items: Vec<Named>,
    pub(crate) poll: Option<Poll>,
    /// What was passed on; then there is no content of its own.
    #[serde(default)]
    pub(crate) message_snapshots: Vec<Snapshot>,
    pub(crate) referenced_message: Option<Box<Self>>,
    pub(crate) webhook_id: Option<Id>,
    #[serde(rename = "type", default)]
    pub(crate) kind: u8,
}

impl Message {
    /// Whether a person wrote it: joins, pins, boosts and the like are not said by anybody.
    pub(crate) fn is_said(&self) -> bool {
        matches!(self.kind, 0 | 19) && self.webhook_id.is_none() && !self.author.bot
    }
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Attachment {
    pub(crate) filename: String,
    pub(crate) content_type: Option<String>,
    pub(crate) size: u64,
    pub(crate) url: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) message: Forwarded,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Forwarded {
    pub(crate) content: String,
    pub(crate) attachments: Vec<Attachment>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Named {
    pub(crate) name: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Poll {
    pub(crate) question: PollText,
    pub(crate) answers: Vec<PollAnswer>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct PollAnswer {
    pub(crate) poll_media: PollText,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct PollText {
    pub(crate) text: Option<String>,
}

/// A message was changed; fields that did not change may be missing.
#[derive(Deserialize)]
pub(crate) struct Update {
    pub(crate) id: Id,
    pub(crate) channel_id: Id,
    pub(crate) guild_id: Option<Id>,
    pub(crate) author: Option<User>,
    pub(crate) content: Option<String>,
    pub(crate) edited_timestamp: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Deleted {
    #[serde(default)]
    pub(crate) id: Option<Id>,
    /// Of several.
    #[serde(default)]
    pub(crate) ids: Vec<Id>,
    pub(crate) channel_id: Id,
    pub(crate) guild_id: Option<Id>,
}

#[derive(Deserialize)]
pub(crate) struct Reaction {
    pub(crate) user_id: Id,
    pub(crate) channel_id: Id,
    pub(crate) message_id: Id,
    pub(crate) guild_id: Option<Id>,
    pub(crate) member: Option<Member>,
    pub(crate) emoji: Emoji,
}

#[derive(Deserialize)]
pub(crate) struct Emoji {
    pub(crate) name: Option<String>,
}

/// A channel or a thread.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Channel {
    pub(crate) id: Id,
    #[serde(rename = "type")]
    pub(crate) kind: u8,
    pub(crate) guild_id: Option<Id>,
    pub(crate) parent_id: Option<Id>,
    pub(crate) name: Option<String>,
    pub(crate) last_message_id: Option<Id>,
    #[serde(default)]
    pub(crate) recipients: Vec<User>,
}

impl Channel {
    /// The channel that a thread belongs to; a channel's own parent is a category.
    pub(crate) fn thread_of(&self) -> Option<Id> {
        matches!(self.kind, 10..=12).then_some(self.parent_id).flatten()
    }

    pub(crate) fn has_messages(&self) -> bool {
        matches!(self.kind, 0 | 1 | 2 | 3 | 5 | 10..=13)
    }
}

#[derive(Deserialize)]
pub(crate) struct Guild {
    pub(crate) id: Id,
    #[serde(default)]
    pub(crate) channels: Vec<Channel>,
    #[serde(default)]
    pub(crate) threads: Vec<Channel>,
    #[serde(default)]
    pub(crate) roles: Vec<Role>,
}

#[derive(Deserialize)]
pub(crate) struct Threads {
    pub(crate) guild_id: Id,
    pub(crate) threads: Vec<Channel>,
}

#[derive(Deserialize)]
pub(crate) struct Role {
    pub(crate) id: Id,
    pub(crate) tags: Option<Tags>,
}

#[derive(Deserialize)]
pub(crate) struct Tags {
    pub(crate) bot_id: Option<Id>,
}

/// A pressed button or a slash command.
#[derive(Deserialize)]
pub(crate) struct Interaction {
    pub(crate) id: Id,
    pub(crate) token: String,
    #[serde(rename = "type")]
    pub(crate) kind: u8,
    pub(crate) channel_id: Option<Id>,
    pub(crate) guild_id: Option<Id>,
    /// Who, in a server; in a direct chat it is `user`.
    pub(crate) member: Option<Member>,
    pub(crate) user: Option<User>,
    pub(crate) data: Option<InteractionData>,
    pub(crate) message: Option<Box<Message>>,
}

#[derive(Deserialize)]
pub(crate) struct InteractionData {
    pub(crate) custom_id: Option<String>,
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) options: Vec<CommandOption>,
}

#[derive(Deserialize)]
pub(crate) struct CommandOption {
    pub(crate) value: serde_json::Value,
}

#[derive(Deserialize)]
pub(crate) struct Failure {
    #[serde(default)]
    pub(crate) code: u64,
    #[serde(default)]
    pub(crate) message: String,
    pub(crate) retry_after: Option<f64>,
}
