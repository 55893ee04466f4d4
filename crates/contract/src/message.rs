//! The rows of both databases, as types.

use crate::ids::{
    Address, AgentId, ChannelType, MessageId, OutId, PlatformId, SessionId, ThreadId,
};
use crate::time::Timestamp;

/// Makes enums that are words in a database: read in one place, written in one place.
#[macro_export]
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant,)* }

        impl $name {
            /// Every value, in order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word in the database.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// Reads the word; anything else is `None`.
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        $crate::sql_text!($name, |word: &str| {
            $name::parse(word)
                .ok_or_else(|| $crate::message::UnknownWord(stringify!($name), word.to_owned()))
        });
    )*};
}

/// A word that the schema does not have.
#[derive(Debug, thiserror::Error)]
#[error("{1:?} is no {0}")]
pub struct UnknownWord(pub &'static str, pub String);

words! {
    /// What an inbound row is.
    InKind {
        /// A chat message.
        Chat = "chat",
        /// A chat message in the Chat SDK's shape.
        ChatSdk = "chat-sdk",
        /// A scheduled job.
        Task = "task",
        /// An event from outside.
        Webhook = "webhook",
        /// An answer for the runner, never for the model.
        System = "system",
    }
    /// What an outbound row is.
    OutKind {
        /// A message, edit or reaction.
        Chat = "chat",
        /// A card.
        ChatSdk = "chat-sdk",
        /// A request to the host.
        System = "system",
    }
    /// Where an inbound row stands.
    InStatus {
        /// Waiting, or being worked on.
        Pending = "pending",
        /// Consumed by a turn that ended.
        Completed = "completed",
        /// Given up.
        Failed = "failed",
        /// A task on hold.
        Paused = "paused",
    }
    /// The runner's word on an inbound row.
    AckStatus {
        /// Claimed.
        Processing = "processing",
        /// The turn that consumed it ended.
        Completed = "completed",
        /// It can never be consumed.
        Failed = "failed",
    }
    /// What became of an outbound row.
    DeliveredStatus {
        /// The platform took it.
        Delivered = "delivered",
        /// It will never arrive; somebody was told.
        Failed = "failed",
    }
}

/// Whether a row wakes the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// The agent must look at it.
    Wake,
    /// It is kept as context for the next turn.
    Context,
}

/// An inbound row to be written.
#[derive(Debug, Clone)]
pub struct NewIn {
    /// Its id; the same id twice is one row.
    pub id: MessageId,
    /// What it is.
    pub kind: InKind,
    /// When it was said.
    pub timestamp: Timestamp,
    /// Not before this time.
    pub process_after: Option<Timestamp>,
    /// Cron expression of a recurring task.
    pub recurrence: Option<String>,
    /// Whether it wakes the agent.
    pub trigger: Trigger,
    /// Where an answer goes.
    pub reply: Option<Address>,
    /// The JSON content.
    pub content: String,
    /// The session that sent it, for agent-to-agent messages.
    pub source: Option<SessionId>,
    /// Only for the first look of a fresh container.
    pub on_wake: bool,
}

/// An inbound row as read back.
#[derive(Debug, Clone)]
pub struct InRow {
    /// Its id.
    pub id: MessageId,
    /// The number the agent sees.
    pub seq: i64,
    /// What it is.
    pub kind: InKind,
    /// When it was said, as written.
    pub timestamp: String,
    /// Whether it wakes the agent.
    pub trigger: Trigger,
    /// How often it was tried.
    pub tries: i64,
    /// Reply address, column by column: any of them may be missing.
    pub channel_type: Option<ChannelType>,
    /// See `channel_type`.
    pub platform_id: Option<PlatformId>,
    /// See `channel_type`.
    pub thread_id: Option<ThreadId>,
    /// The JSON content.
    pub content: String,
    /// Whether only a fresh container may see it.
    pub on_wake: bool,
}

impl InRow {
    /// The reply address, if the row has a whole one.
    pub fn reply(&self) -> Option<Address> {
        Some(Address {
            channel_type: self.channel_type.clone()?,
            platform_id: self.platform_id.clone()?,
            thread_id: self.thread_id.clone(),
        })
    }
}

/// An outbound row to be written by the runner.
#[derive(Debug, Clone)]
pub struct NewOut {
    /// Its id; the same id twice is one row.
    pub id: OutId,
    /// The inbound row it answers.
    pub in_reply_to: Option<MessageId>,
    /// What it is.
    pub kind: OutKind,
    /// Where it goes; none for requests to the host.
    pub to: Option<Address>,
    /// The JSON content.
    pub content: String,
}

/// An outbound row as the host reads it, everything still unproven.
#[derive(Debug, Clone)]
pub struct OutRow {
    /// Its id.
    pub id: OutId,
    /// The number the agent sees.
    pub seq: i64,
    /// The inbound row it answers.
    pub in_reply_to: Option<MessageId>,
    /// What it is.
    pub kind: OutKind,
    /// Where it goes.
    pub to: Option<Address>,
    /// The JSON content.
    pub content: String,
}

/// A name the agent may write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The name in `<message to="…">`.
    pub name: String,
    /// What people call it.
    pub display_name: Option<String>,
    /// What it stands for.
    pub target: Target,
}

/// What a destination stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A chat.
    Channel {
        /// The platform.
        channel_type: ChannelType,
        /// The chat there.
        platform_id: PlatformId,
    },
    /// Another agent.
    Agent(AgentId),
}

/// The channel type of agent-to-agent messages.
pub const AGENT_CHANNEL: &str = "agent";
