//! The parts of the Bot API that are used, as it writes them. What is unknown is ignored.

use nanoclaw_channel::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// Every answer.
#[derive(Deserialize)]
pub(crate) struct Answered<T> {
    #[serde(default)]
    pub(crate) ok: bool,
    pub(crate) result: Option<T>,
    pub(crate) error_code: Option<u16>,
    pub(crate) description: Option<String>,
    #[serde(default)]
    pub(crate) parameters: Parameters,
}

#[derive(Deserialize, Default)]
pub(crate) struct Parameters {
    pub(crate) retry_after: Option<u64>,
    pub(crate) migrate_to_chat_id: Option<i64>,
}

/// Updates, each read on its own: one that cannot be read must not hold up the others.
pub(crate) fn updates(batch: Vec<Value>) -> Vec<(i64, Result<Update, serde_json::Error>)> {
    let number = |update: &Value| update.get("update_id").and_then(Value::as_i64);
    let numbered = batch.into_iter().filter_map(|u| Some((number(&u)?, u)));
    numbered.map(|(id, update)| (id, serde_json::from_value(update))).collect()
}

#[derive(Deserialize)]
pub(crate) struct Update {
    pub(crate) message: Option<Box<Message>>,
    pub(crate) channel_post: Option<Box<Message>>,
    pub(crate) edited_message: Option<Box<Message>>,
    pub(crate) edited_channel_post: Option<Box<Message>>,
    pub(crate) callback_query: Option<Box<Callback>>,
    pub(crate) message_reaction: Option<Box<Reactions>>,
}

#[derive(Deserialize)]
pub(crate) struct Message {
    pub(crate) message_id: i64,
    #[serde(default)]
    pub(crate) date: i64,
    pub(crate) edit_date: Option<i64>,
    pub(crate) chat: Chat,
    pub(crate) from: Option<User>,
    pub(crate) sender_chat: Option<Chat>,
    pub(crate) message_thread_id: Option<i64>,
    #[serde(default)]
    pub(crate) is_topic_message: bool,
    pub(crate) media_group_id: Option<String>,
    pub(crate) reply_to_message: Option<Box<Self>>,
    pub(crate) quote: Option<Quoted>,
    pub(crate) forward_origin: Option<Origin>,
    pub(crate) text: Option<String>,
    #[serde(default)]
    pub(crate) entities: Vec<Entity>,
    pub(crate) caption: Option<String>,
    #[serde(default)]
    pub(crate) caption_entities: Vec<Entity>,
    #[serde(default)]
    pub(crate) photo: Vec<Media>,
    pub(crate) animation: Option<Media>,
    pub(crate) document: Option<Media>,
    pub(crate) video: Option<Media>,
    pub(crate) video_note: Option<Media>,
    pub(crate) audio: Option<Media>,
    pub(crate) voice: Option<Media>,
    pub(crate) sticker: Option<Sticker>,
    pub(crate) location: Option<Location>,
    pub(crate) venue: Option<Venue>,
    pub(crate) contact: Option<Contact>,
    pub(crate) poll: Option<Poll>,
    pub(crate) dice: Option<Dice>,
    pub(crate) migrate_to_chat_id: Option<i64>,
}

#[derive(Deserialize)]
pub(crate) struct Chat {
    pub(crate) id: i64,
    #[serde(default, rename = "type")]
    pub(crate) kind: String,
    pub(crate) title: Option<String>,
    pub(crate) first_name: Option<String>,
    pub(crate) last_name: Option<String>,
}

impl Chat {
    /// What people call it.
    pub(crate) fn name(&self) -> Option<String> {
        let person = self.first_name.as_ref().map(|first| full(first, self.last_name.as_deref()));
        self.title.clone().or(person)
    }
}

fn full(first: &str, last: Option<&str>) -> String {
    last.map_or_else(|| first.to_owned(), |last| format!("{first} {last}"))
}

#[derive(Deserialize)]
pub(crate) struct User {
    pub(crate) id: i64,
    #[serde(default)]
    pub(crate) is_bot: bool,
    #[serde(default)]
    pub(crate) first_name: String,
    pub(crate) last_name: Option<String>,
    pub(crate) username: Option<String>,
}

impl User {
    pub(crate) fn name(&self) -> String {
        full(&self.first_name, self.last_name.as_deref())
    }
}

/// Formatting, at offsets that count UTF-16.
#[derive(Deserialize)]
pub(crate) struct Entity {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) offset: usize,
    pub(crate) length: usize,
    pub(crate) url: Option<String>,
    pub(crate) language: Option<String>,
    pub(crate) user: Option<User>,
}

#[derive(Deserialize)]
pub(crate) struct Quoted {
    pub(crate) text: String,
}

/// Who said first what was passed on.
#[derive(Deserialize)]
pub(crate) struct Origin {
    sender_user: Option<User>,
    sender_user_name: Option<String>,
    #[serde(alias = "chat")]
    sender_chat: Option<Chat>,
}

impl Origin {
    pub(crate) fn name(&self) -> String {
        let user = self.sender_user.as_ref().map(User::name);
        let chat = self.sender_chat.as_ref().and_then(Chat::name);
        user.or_else(|| self.sender_user_name.clone()).or(chat).unwrap_or_else(|| "somebody".into())
    }
}

#[derive(Deserialize)]
pub(crate) struct Media {
    pub(crate) file_id: String,
    pub(crate) file_name: Option<String>,
    pub(crate) mime_type: Option<String>,
    #[serde(default)]
    pub(crate) file_size: u64,
}

#[derive(Deserialize)]
pub(crate) struct Sticker {
    pub(crate) emoji: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Location {
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
}

#[derive(Deserialize)]
pub(crate) struct Venue {
    pub(crate) title: String,
    pub(crate) address: String,
}

#[derive(Deserialize)]
pub(crate) struct Contact {
    pub(crate) phone_number: String,
    pub(crate) first_name: String,
    pub(crate) last_name: Option<String>,
}

impl Contact {
    pub(crate) fn name(&self) -> String {
        full(&self.first_name, self.last_name.as_deref())
    }
}

#[derive(Deserialize)]
pub(crate) struct Poll {
    pub(crate) question: String,
    #[serde(default)]
    pub(crate) options: Vec<Quoted>,
}

#[derive(Deserialize)]
pub(crate) struct Dice {
    pub(crate) emoji: String,
    pub(crate) value: i64,
}

/// A pressed button.
#[derive(Deserialize)]
pub(crate) struct Callback {
    pub(crate) id: String,
    pub(crate) from: User,
    pub(crate) message: Option<Pressed>,
    pub(crate) data: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Pressed {
    pub(crate) message_id: i64,
    pub(crate) chat: Chat,
}

#[derive(Deserialize)]
pub(crate) struct Reactions {
    pub(crate) chat: Chat,
    pub(crate) message_id: i64,
    pub(crate) user: Option<User>,
    pub(crate) actor_chat: Option<Chat>,
    #[serde(default)]
    pub(crate) date: i64,
    pub(crate) old_reaction: Vec<Reaction>,
    pub(crate) new_reaction: Vec<Reaction>,
}

#[derive(Deserialize, PartialEq)]
pub(crate) struct Reaction {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) emoji: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct File {
    pub(crate) file_path: Option<String>,
}

/// Seconds; some servers of third parties write milliseconds.
pub(crate) fn time(date: i64) -> Timestamp {
    let at = if date.unsigned_abs() < 100_000_000_000 {
        Timestamp::from_second(date)
    } else {
        Timestamp::from_millisecond(date)
    };
    at.unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A message that was sent, or something else that is of no interest.
#[derive(Deserialize)]
pub(crate) struct Sent {
    pub(crate) message_id: i64,
}
