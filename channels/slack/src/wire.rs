//! What Slack sends, as far as it is used. What is not known is ignored.

use serde::Deserialize;
use std::collections::BTreeMap;

/// A frame of a Socket Mode connection.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Frame {
    /// The connection stands.
    Hello,
    /// It will end soon, or for good.
    Disconnect,
    /// An event, to be acknowledged.
    EventsApi { envelope_id: String, payload: Callback },
    /// A button, to be acknowledged.
    Interactive { envelope_id: String, payload: Interaction },
    /// Nothing that was asked for.
    #[serde(other)]
    Other,
}

/// The body of an event, on both transports.
#[derive(Debug, Deserialize)]
pub(crate) struct Callback {
    /// Slack asks whether we are there.
    #[serde(default)]
    pub(crate) challenge: Option<String>,
    #[serde(default)]
    pub(crate) event: Option<Event>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Event {
    Message(Box<Message>),
    /// The same post comes as `message` too, if the app hears those; which comes first does not matter.
    AppMention(Box<Message>),
    ReactionAdded(Reaction),
    ReactionRemoved(Reaction),
    #[serde(other)]
    Other,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Message {
    pub(crate) subtype: Option<String>,
    pub(crate) channel: Option<String>,
    pub(crate) channel_type: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) bot_id: Option<String>,
    pub(crate) text: String,
    pub(crate) ts: String,
    pub(crate) thread_ts: Option<String>,
    /// Who began the thread.
    pub(crate) parent_user_id: Option<String>,
    pub(crate) latest_reply: Option<String>,
    pub(crate) files: Vec<File>,
    pub(crate) attachments: Vec<Attachment>,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) event_ts: Option<String>,
    pub(crate) edited: Option<Posted>,
    /// Of a change: the message now, and as it was.
    pub(crate) message: Option<Box<Self>>,
    pub(crate) previous_message: Option<Box<Self>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct File {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) mimetype: Option<String>,
    pub(crate) size: Option<u64>,
    pub(crate) url_private: Option<String>,
    pub(crate) url_private_download: Option<String>,
    pub(crate) mode: Option<String>,
    /// `check_file_info`: the rest has to be asked for.
    pub(crate) file_access: Option<String>,
    /// Where it is shown, by conversation.
    pub(crate) shares: Option<Shares>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Shares {
    pub(crate) public: BTreeMap<String, Vec<Posted>>,
    pub(crate) private: BTreeMap<String, Vec<Posted>>,
}

/// A message that was forwarded, or a preview of a link.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Attachment {
    pub(crate) is_share: bool,
    pub(crate) author_name: Option<String>,
    pub(crate) text: Option<String>,
}

/// What we write on our own messages, to find them again.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Metadata {
    #[serde(default)]
    pub(crate) event_payload: Mark,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Mark {
    pub(crate) nanoclaw: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Reaction {
    pub(crate) user: String,
    pub(crate) reaction: String,
    pub(crate) item: Item,
    pub(crate) event_ts: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Item {
    #[serde(default)]
    pub(crate) channel: Option<String>,
    #[serde(default)]
    pub(crate) ts: Option<String>,
}

/// Somebody pressed a button.
#[derive(Debug, Deserialize)]
pub(crate) struct Interaction {
    pub(crate) user: Clicker,
    #[serde(default)]
    pub(crate) channel: Option<Id>,
    #[serde(default)]
    pub(crate) message: Option<Box<Message>>,
    #[serde(default)]
    pub(crate) actions: Vec<Action>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Clicker {
    pub(crate) id: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Id {
    pub(crate) id: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Action {
    #[serde(default)]
    pub(crate) action_id: String,
}

/// What every answer of the Web API has.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Verdict {
    pub(crate) ok: bool,
    pub(crate) error: Option<String>,
    /// The scope that is missing.
    pub(crate) needed: Option<String>,
}

/// An answer of which nothing is used.
#[derive(Debug, Deserialize)]
pub(crate) struct Nothing {}

#[derive(Debug, Deserialize)]
pub(crate) struct Me {
    pub(crate) user_id: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Connection {
    pub(crate) url: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Posted {
    pub(crate) ts: String,
}

/// A page of messages.
#[derive(Debug, Deserialize)]
pub(crate) struct Messages {
    #[serde(default)]
    pub(crate) messages: Vec<Message>,
    #[serde(default)]
    pub(crate) response_metadata: Option<More>,
}

/// A page of conversations.
#[derive(Debug, Deserialize)]
pub(crate) struct Conversations {
    #[serde(default)]
    pub(crate) channels: Vec<Id>,
    #[serde(default)]
    pub(crate) response_metadata: Option<More>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct More {
    #[serde(default)]
    pub(crate) next_cursor: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct OneConversation {
    pub(crate) channel: Conversation,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Conversation {
    #[serde(default)]
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// The other one, in a direct chat.
    #[serde(default)]
    pub(crate) user: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct OneUser {
    pub(crate) user: User,
}

#[derive(Debug, Deserialize)]
pub(crate) struct User {
    #[serde(default)]
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) real_name: Option<String>,
    #[serde(default)]
    pub(crate) profile: Names,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Names {
    pub(crate) display_name: Option<String>,
    pub(crate) real_name: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct OneFile {
    pub(crate) file: File,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Upload {
    pub(crate) upload_url: String,
    pub(crate) file_id: String,
}
