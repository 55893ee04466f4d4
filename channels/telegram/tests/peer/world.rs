//! The chats, and what was said there.

use anyhow::{Context as _, Result};
use nanoclaw_channel::time::{Clock as _, SystemClock};
use nanoclaw_conformance::{Fault, Place, Reacted, Say, Seen};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use tokio::time::Instant;

/// A forum.
pub(crate) const GROUP: i64 = -1_001_234_567_890;

/// A message of the bot.
pub(crate) struct Shown {
    pub(crate) seen: Seen,
    /// Label and data.
    pub(crate) buttons: Vec<(String, String)>,
    /// Whether its text is the caption of a file.
    pub(crate) caption: bool,
}

#[derive(Default)]
pub(crate) struct World {
    last: i64,
    pub(crate) updates: VecDeque<(i64, Value)>,
    /// Which `getUpdates` is the youngest.
    pub(crate) poll: u64,
    pub(crate) said: BTreeMap<String, Value>,
    pub(crate) shown: Vec<Shown>,
    pub(crate) reactions: Vec<Reacted>,
    pub(crate) typing: usize,
    pub(crate) calls: usize,
    pub(crate) fault: Option<(Fault, u32)>,
    pub(crate) revoked: bool,
    pub(crate) skew: i64,
    /// Bytes and size, by id.
    pub(crate) files: BTreeMap<String, (Vec<u8>, u64)>,
    /// When messages were sent, by chat, for the limits.
    pub(crate) sent: Vec<(i64, Instant)>,
    /// Where the group went, if it became a supergroup.
    pub(crate) moved: Option<i64>,
}

pub(crate) fn now() -> i64 {
    SystemClock.now().as_second()
}

pub(crate) fn me() -> Value {
    json!({ "id": 4711, "is_bot": true, "first_name": "Nano", "username": "Nano_bot" })
}

pub(crate) fn person(who: &str) -> Value {
    let (id, last) = match who {
        "ann" => (1001, "Archer"),
        "bob" => (1002, "Baker"),
        _ => (1003, "Carter"),
    };
    let first: String = who[..1].to_uppercase() + &who[1..];
    json!({ "id": id, "is_bot": false, "first_name": first, "last_name": last, "username": who })
}

pub(crate) fn name(person: &Value) -> String {
    let part = |key: &str| person[key].as_str().unwrap_or_default();
    format!("{} {}", part("first_name"), part("last_name"))
}

pub(crate) fn chat(id: i64) -> Value {
    let private = ["ann", "bob", "cleo"].into_iter().map(person).find(|p| p["id"] == id);
    match private {
        Some(mut person) => {
            person["type"] = "private".into();
            person
        }
        None => json!({ "id": id, "type": "supergroup", "title": "The Team", "is_forum": true }),
    }
}

pub(crate) fn split_id(id: &str) -> Result<(i64, i64)> {
    let (chat, message) = id.split_once(':').context("an id of a message has a colon")?;
    Ok((chat.parse()?, message.parse()?))
}

impl World {
    pub(crate) fn next(&mut self) -> i64 {
        self.last += 1;
        self.last + 100
    }

    pub(crate) fn tell(&mut self, mut update: Value) {
        let id = self.next();
        update["update_id"] = id.into();
        self.updates.push_back((id, update));
    }

    pub(crate) fn message(&mut self, place: Place, who: &str, from: Value) -> Value {
        let id = match place {
            Place::Direct => person(who)["id"].as_i64().unwrap_or_default(),
            Place::Group | Place::Thread(_) => GROUP,
        };
        let date = now() + self.skew;
        let mut message = json!({
            "message_id": self.next(), "from": from, "chat": chat(id), "date": date, "text": "…",
        });
        if let Place::Thread(n) = place {
            let topic = 10 + i64::from(n);
            message["message_thread_id"] = topic.into();
            message["is_topic_message"] = true.into();
            // As Telegram does it: what answers nothing answers the topic, which a bot may have opened.
            message["reply_to_message"] = json!({
                "message_id": topic, "from": me(), "chat": chat(id), "date": date,
                "forum_topic_created": { "name": "A topic", "icon_color": 1 },
            });
        }
        message
    }

    pub(crate) fn say(&mut self, say: &Say) -> Result<String> {
        let album = (say.files.len() > 1).then(|| self.next().to_string());
        let mut first = None;
        for n in 0..say.files.len().max(1) {
            let mut message = self.message(say.place, say.who, person(say.who));
            message.as_object_mut().context("a message is an object")?.remove("text");
            let mut text = if n == 0 { say.text.clone() } else { String::new() };
            let key = if say.files.is_empty() { "text" } else { "caption" };
            if say.mention && n == 0 && say.place != Place::Direct {
                text = format!("@nano_bot {text}");
                let entities = if key == "text" { "entities" } else { "caption_entities" };
                message[entities] = json!([{ "type": "mention", "offset": 0, "length": 9 }]);
            }
            if !text.is_empty() {
                message[key] = text.into();
            }
            if let Some(album) = &album {
                message["media_group_id"] = album.as_str().into();
            }
            if let Some(reply) = &say.reply_to {
                message["reply_to_message"] = self.quoted(reply)?;
            }
            if let Some(file) = say.files.get(n) {
                let size = file.size.unwrap_or(file.bytes.len() as u64);
                let id = format!("file-{}", self.next());
                let mime = file.mime.as_deref().unwrap_or("application/octet-stream");
                let mut media = json!({ "file_id": id, "file_unique_id": id, "file_size": size });
                if mime.starts_with("image/") {
                    let mut small = media.clone();
                    small["file_id"] = "thumbnail".into();
                    message["photo"] = json!([small, media]);
                } else {
                    media["mime_type"] = mime.into();
                    media["file_name"] = file.name.as_str().into();
                    message["document"] = media;
                }
                self.files.insert(id, (file.bytes.clone(), size));
            }
            let (chat, number) = (&message["chat"]["id"], &message["message_id"]);
            let id = format!("{chat}:{number}");
            self.said.insert(id.clone(), message.clone());
            self.tell(json!({ "message": message }));
            first.get_or_insert(id);
        }
        first.context("something was said")
    }

    /// A message as it stands in an answer to it.
    fn quoted(&self, id: &str) -> Result<Value> {
        if let Some(said) = self.said.get(id) {
            return Ok(said.clone());
        }
        let shown = self.shown.iter().find(|s| s.seen.id == id).context("nothing to answer")?;
        let (chat_id, number) = split_id(id)?;
        let text = &shown.seen.text;
        Ok(json!({
            "message_id": number, "from": me(), "chat": chat(chat_id), "date": now(), "text": text,
        }))
    }
}
