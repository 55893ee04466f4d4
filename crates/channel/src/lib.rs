//! The port that a channel crate implements, and the kit every adapter shares.
//!
//! An adapter turns a platform's messages into [`Inbound`] and pushes them into its [`Ingress`]; it tells
//! the platform "received" only after [`Ingress::push`] returned. It sends what the host hands to
//! [`Channel::send`] and sorts every failure by what happens next ([`SendError`]). It decides nothing.

pub mod ask;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod markdown;
pub mod split;

use async_trait::async_trait;
pub use nanoclaw_contract::content::{Choice, Question, Quote};
pub use nanoclaw_contract::ids::{
    Address, ChannelType, PlatformId, PlatformMessageId, QuestionId, ThreadId,
};
use nanoclaw_contract::time::Timestamp;
pub use nanoclaw_contract::{ids, time};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A channel that an install can have.
pub struct ChannelDef {
    /// Its name and channel type.
    pub name: &'static str,
    /// What must and may be set, for people who set it up.
    pub settings: &'static [SettingSpec],
    /// Connects it. Called again, with backoff, when it fails.
    pub start: fn(Start) -> StartFuture,
}

/// A setting that a channel reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettingSpec {
    /// Its name in the environment file.
    pub name: &'static str,
    /// What it is and where to get it, in one line.
    pub what: &'static str,
    /// Whether the channel cannot start without it.
    pub required: bool,
    /// Whether it must never be shown.
    pub secret: bool,
}

/// A channel that was connected, or why not.
pub type Started = Result<Arc<dyn Channel>, StartError>;

/// A channel being connected.
pub type StartFuture = std::pin::Pin<Box<dyn Future<Output = Started> + Send>>;

/// What a channel gets when it starts.
#[derive(Clone)]
pub struct Start {
    /// Where its messages go.
    pub ingress: Arc<dyn Ingress>,
    /// The data folder of the install; a channel keeps its files below `data/channels/<name>`.
    pub data: PathBuf,
    /// Reads a setting, such as a token.
    pub setting: Setting,
    /// Tells how the channel is, from now until it is stopped, also while it still starts.
    pub report: Report,
}

/// Tells the host how a channel is. Telling the same twice is telling it once.
pub type Report = Arc<dyn Fn(Health) + Send + Sync>;

/// How a channel is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// It hears and can send.
    Up,
    /// It lost its connection and is getting it back; what is to be sent waits.
    Reconnecting {
        /// What happened.
        why: String,
    },
    /// Somebody must do something that only a person can, such as scan a code. The owner is told.
    Needs {
        /// What to do, as the owner reads it; several lines if need be.
        what: String,
    },
    /// It cannot go on as it is set up. The owner is told.
    Broken {
        /// What is wrong and what to change.
        why: String,
    },
}

/// Reads a setting by its name.
pub type Setting = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Why a channel did not start.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub enum StartError {
    /// It is not set up; the text says what is missing. It is not tried again.
    #[error("not configured: {0}")]
    NotConfigured(String),
    /// The platform was not reached; it is tried again.
    #[error("{0}")]
    Unreachable(String),
    /// It cannot work as it is set up; the text says what to change. It is not tried again.
    #[error("{0}")]
    Broken(String),
}

/// What a platform offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Whether a thread is a conversation of its own.
    pub threads: bool,
    /// Whether a sent message can be changed.
    pub edits: bool,
    /// Whether the agent can react to a message.
    pub reactions: bool,
    /// Whether a question can have buttons; otherwise it is asked as numbered text.
    pub buttons: bool,
    /// Whether files can be sent.
    pub files: bool,
    /// Whether sending the same key twice shows one message.
    pub idempotent: bool,
    /// Whether people see that the agent types.
    pub typing: bool,
    /// Whether what was said in a thread before can be read.
    pub history: bool,
    /// Largest file that comes in, in bytes; larger ones arrive as [`InFile::missing`].
    pub file_in_max: u64,
    /// Largest file that goes out, in bytes.
    pub file_out_max: u64,
    /// Longest text of one message; longer ones are split.
    pub text_max: Option<(usize, split::Unit)>,
}

impl Capabilities {
    /// A platform that shows text and nothing else.
    pub const TEXT: Self = Self {
        threads: false,
        edits: false,
        reactions: false,
        buttons: false,
        files: false,
        idempotent: false,
        typing: false,
        history: false,
        file_in_max: 0,
        file_out_max: 0,
        text_max: None,
    };
}

/// A live channel.
#[async_trait]
pub trait Channel: Send + Sync + 'static {
    /// What the platform offers.
    fn capabilities(&self) -> Capabilities;

    /// Sends one message. Returns when the platform has it.
    async fn send(&self, message: &Outgoing) -> Result<Receipt, SendError>;

    /// Shows that the agent is typing, or that it no longer is. Best effort.
    async fn typing(&self, to: &Address, typing: Typing) {
        let _ = (to, typing);
    }

    /// Follows a thread in which the agent was mentioned. Must not mind being told twice.
    async fn subscribe(&self, to: &Address) {
        let _ = to;
    }

    /// The direct chat with a person, opened if need be.
    async fn open_dm(&self, handle: &str) -> Result<PlatformId, SendError> {
        PlatformId::parse(handle).map_err(|e| SendError::Reject { why: e.to_string() })
    }

    /// What was said in a thread before `before`, the oldest first, at most `max` messages: what an agent
    /// needs to know that is asked into a conversation which began without it. Best effort.
    async fn history(&self, at: &Address, before: &PlatformMessageId, max: usize) -> Vec<Inbound> {
        let _ = (at, before, max);
        Vec::new()
    }

    /// What people call a chat.
    async fn chat_name(&self, chat: &PlatformId) -> Option<String> {
        let _ = chat;
        None
    }

    /// Disconnects.
    async fn stop(&self) {}
}

/// Whether the agent is typing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Typing {
    /// It is.
    On,
    /// It no longer is.
    Off,
}

/// Something to be sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outgoing {
    /// Where to.
    pub to: Address,
    /// What.
    pub body: Body,
    /// The same for every attempt at the same message; platforms that know such keys show it once.
    pub key: String,
    /// What the message answers, as the platform calls it.
    pub reply_to: Option<PlatformMessageId>,
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// Markdown and files.
    Text {
        /// Markdown.
        markdown: String,
        /// Files, already on host-owned storage.
        files: Vec<OutFile>,
    },
    /// A new text for a sent message.
    Edit {
        /// Which.
        message: PlatformMessageId,
        /// Markdown.
        markdown: String,
    },
    /// A reaction.
    React {
        /// To which message.
        message: PlatformMessageId,
        /// Shortcode or character.
        emoji: String,
    },
    /// A question.
    Ask(Question),
    /// A card without a question.
    Card {
        /// Heading.
        title: Option<String>,
        /// Markdown.
        markdown: String,
    },
}

/// A file to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutFile {
    /// Its name.
    pub name: String,
    /// Its bytes; never written into JSON.
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

/// The platform has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// What the platform calls the message, if it says.
    pub id: Option<PlatformMessageId>,
}

/// Why a message was not sent, by what happens next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum SendError {
    /// Try again, not before `after`.
    #[error("{why}")]
    Retry {
        /// What the platform asked for.
        after: Option<Duration>,
        /// What happened.
        why: String,
    },
    /// This message will never be taken; others will.
    #[error("{why}")]
    Reject {
        /// What the platform said.
        why: String,
    },
    /// Nothing can be sent until somebody mends the channel.
    #[error("{why}")]
    Broken {
        /// What is wrong and what to do.
        why: String,
    },
}

/// Where an adapter's messages go.
#[async_trait]
pub trait Ingress: Send + Sync + 'static {
    /// Takes one message. When this returns `Ok`, it is on disk or was decided to be ignored, and the
    /// platform may be told "received". An error means: not received, deliver it again.
    async fn push(&self, message: Inbound) -> Result<(), IngressError>;

    /// Takes a change to a message that was said before. Returns as [`Ingress::push`] does. A change of what
    /// no agent ever saw is taken and ignored.
    async fn change(&self, change: Change) -> Result<(), IngressError>;

    /// Takes the answer to a question.
    async fn answer(&self, answer: Answer) -> Result<AnswerOutcome, IngressError>;
}

/// The message was not taken.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct IngressError(pub String);

/// A message from a platform, every fact stated.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Inbound {
    /// Where it was said.
    pub at: Address,
    /// Where answers go, if elsewhere.
    pub reply: Option<Address>,
    /// The platform's id of it; a redelivery has the same.
    pub id: PlatformMessageId,
    /// When it was said.
    pub timestamp: Timestamp,
    /// Who said it.
    pub sender: Sender,
    /// The person behind the sender, whole, on whatever platform: only from a channel that knows the
    /// operator's own hand, such as by its user id. Everybody else is who their platform says.
    pub person: Option<ids::UserId>,
    /// What was said.
    pub text: String,
    /// Whether the agent was addressed.
    pub mention: Mention,
    /// What kind of chat it was said in.
    pub chat: ChatKind,
    /// Files that came along.
    pub files: Vec<InFile>,
    /// The message it answers.
    pub reply_to: Option<Quote>,
    /// The one agent it is for, where the channel knows; others are not asked.
    pub only_for: Option<String>,
}

/// What happened to a message that was said before, by a person or by an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Where the message is.
    pub at: Address,
    /// What the platform calls this event, or something made of it; a redelivery has the same.
    pub id: PlatformMessageId,
    /// The message.
    pub message: PlatformMessageId,
    /// When.
    pub timestamp: Timestamp,
    /// Who did it, where the platform says. It does not say who deleted a message, as a rule.
    pub sender: Option<Sender>,
    /// What was done.
    pub what: What,
}

/// What was done to a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// It has a new text, whole.
    Edited(String),
    /// It was taken back.
    Deleted,
    /// The platform found later that a message of the agent did not arrive, and why; nobody's own words.
    Undelivered(String),
    /// Somebody reacted to it.
    Reacted {
        /// The character, or the platform's shortcode without colons.
        emoji: String,
        /// Whether the reaction was taken back.
        removed: bool,
    },
}

/// What the handle begins with of somebody who does not prove who they are: anybody could write so.
pub const UNVERIFIED: &str = "unverified:";

/// Who said it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// The platform's stable id of the person; never a name that people choose. It begins with
    /// [`UNVERIFIED`] where the platform does not vouch for it.
    pub handle: String,
    /// What people call them.
    pub name: Option<String>,
}

/// Whether the agent was addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mention {
    /// By name, by reply, or in a direct chat.
    Yes,
    /// Not at all.
    No,
}

/// What kind of chat it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChatKind {
    /// One person and the agent.
    Direct,
    /// Several people.
    Group,
}

/// A file that came along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFile {
    /// `image`, `audio`, `file` …
    pub kind: String,
    /// Its name; never trusted.
    pub name: String,
    /// Its media type.
    pub mime: Option<String>,
    /// Its bytes; never written into JSON.
    #[serde(skip)]
    pub bytes: Vec<u8>,
    /// Why the bytes are not here, such as a file over the limit: the agent and the sender are told this.
    pub missing: Option<String>,
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Which question.
    pub question: QuestionId,
    /// The value of the chosen option.
    pub value: String,
    /// Where it was answered.
    pub channel: ChannelType,
    /// Who answered.
    pub sender: Sender,
}

/// What became of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnswerOutcome {
    /// It was taken; the card may say this.
    Taken {
        /// The chosen option's `selected_label`.
        label: String,
    },
    /// Nobody is waiting for it any more.
    Late,
    /// This person may not answer it.
    Refused {
        /// Why.
        why: String,
    },
}
