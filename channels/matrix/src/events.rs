//! What an event of a room means. Nothing in it is trusted: a field of the wrong type counts as absent.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

#[cfg(test)]
mod tests;

/// An event that means something to us.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its id.
    pub id: String,
    /// Who sent it.
    pub sender: String,
    /// When the sender's server says that it was, in milliseconds.
    pub at_ms: i64,
    /// What it is.
    pub what: What,
}

/// What an event is.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// Somebody said something.
    Said(Said),
    /// Somebody changed what they said.
    Edited {
        /// Which message.
        message: String,
        /// The new text.
        text: String,
    },
    /// Something was taken back: a message or a reaction.
    Redacted {
        /// Which event.
        target: String,
    },
    /// Somebody reacted.
    Reacted {
        /// To which message.
        message: String,
        /// With what.
        emoji: String,
    },
    /// Somebody's membership changed.
    Member {
        /// Whose.
        user: String,
        /// To what.
        now: String,
        /// From what.
        before: Option<String>,
    },
}

/// Something that was said.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Said {
    /// The words.
    pub text: String,
    /// The file.
    pub file: Option<File>,
    /// The first message of the thread.
    pub thread: Option<String>,
    /// The message that it answers.
    pub reply_to: Option<String>,
    /// Whom it names, by their ids.
    pub names: Vec<String>,
    /// Whether it calls everybody in the room.
    pub calls_all: bool,
}

/// A file.
#[derive(Debug, Clone, PartialEq)]
pub struct File {
    /// Its name.
    pub name: String,
    /// `image`, `audio`, `video`, `file`.
    pub kind: &'static str,
    /// Its media type.
    pub mime: Option<String>,
    /// How large it is said to be.
    pub size: Option<u64>,
    /// Where it is: `{"url": …}`, or `{"file": …}` when it is encrypted.
    pub source: Value,
}

/// Reads an event, decrypted if it was encrypted. `None`: it means nothing to us.
pub fn read(json: &str) -> Option<Event> {
    let raw: Raw = serde_json::from_str(json).ok()?;
    let what = match raw.kind.as_str() {
        "m.room.message" => message(raw.content)?,
        "m.sticker" => message(Content { msgtype: Some("m.image".into()), ..raw.content })?,
        "m.reaction" => {
            let relation = raw.content.relates_to.filter(|r| r.is("m.annotation"))?;
            What::Reacted { message: relation.event_id?, emoji: relation.key? }
        }
        "m.room.redaction" => What::Redacted { target: raw.redacts.or(raw.content.redacts)? },
        "m.room.member" => What::Member {
            user: raw.state_key?,
            now: raw.content.membership?,
            before: raw.unsigned.and_then(|u| u.prev_content?.membership),
        },
        _ => return None,
    };
    Some(Event { id: raw.event_id?, sender: raw.sender?, at_ms: raw.at_ms.unwrap_or(0), what })
}

fn message(content: Content) -> Option<What> {
    if let Some(relation) = &content.relates_to
        && relation.is("m.replace")
    {
        let (message, new) = (relation.event_id.clone()?, content.new_content?);
        return match message_of(*new)? {
            What::Said(said) => Some(What::Edited { message, text: said.text }),
            _ => None,
        };
    }
    message_of(content)
}

fn message_of(content: Content) -> Option<What> {
    let relation = content.relates_to.unwrap_or_default();
    let thread = relation.event_id.clone().filter(|_| relation.is("m.thread"));
    // In a thread, apps without threads are told an answer that is none.
    let real = thread.is_none() || relation.falling_back != Some(true);
    let reply_to = relation.reply.and_then(|r| r.event_id).filter(|_| real);
    let body = content.body.unwrap_or_default();
    let msgtype = content.msgtype.as_deref()?;
    let (text, file) = match msgtype {
        // What programs say to people, by convention: nobody answers it, or two programs would never stop.
        "m.notice" => return None,
        "m.image" | "m.audio" | "m.video" | "m.file" => {
            let source = match (content.file, content.url) {
                (Some(file), _) => serde_json::json!({ "file": file }),
                (None, url) => serde_json::json!({ "url": url? }),
            };
            let (name, text) = match content.filename {
                Some(name) if name != body => (name, body),
                _ => (body, String::new()),
            };
            let info = content.info.unwrap_or_default();
            let kind = match msgtype {
                "m.image" => "image",
                "m.audio" => "audio",
                "m.video" => "video",
                _ => "file",
            };
            (text, Some(File { name, kind, mime: info.mimetype, size: info.size, source }))
        }
        "m.emote" => (format!("* {body}"), None),
        _ => (body, None),
    };
    let text = if reply_to.is_some() { without_quote(&text).to_owned() } else { text };
    let html = content.formatted_body.unwrap_or_default();
    let (names, calls_all) = match content.mentions {
        Some(mentions) => (mentions.user_ids.unwrap_or_default(), mentions.room == Some(true)),
        // Older apps name people by a link only.
        None => (linked(&html), false),
    };
    Some(What::Said(Said { text, file, thread, reply_to, names, calls_all }))
}

/// The words without the quotation that older apps put before an answer.
fn without_quote(text: &str) -> &str {
    if !text.starts_with("> <") {
        return text;
    }
    let mut rest = text;
    while rest.starts_with("> ") || rest.starts_with(">\n") {
        rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
    }
    rest.strip_prefix('\n').unwrap_or(rest)
}

/// People that are linked in HTML.
fn linked(html: &str) -> Vec<String> {
    let links = html.split("https://matrix.to/#/").skip(1);
    let user = |link: &str| {
        let end = link.find(['"', '\'', '?', '<']).unwrap_or(link.len());
        link.get(..end).map(|user| user.replace("%40", "@").replace("%3A", ":"))
    };
    links.filter_map(user).filter(|user| user.starts_with('@')).collect()
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "lenient")]
    event_id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    sender: Option<String>,
    #[serde(default, rename = "origin_server_ts", deserialize_with = "lenient")]
    at_ms: Option<i64>,
    #[serde(default, deserialize_with = "lenient")]
    state_key: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    redacts: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    unsigned: Option<Unsigned>,
    #[serde(default)]
    content: Content,
}

#[derive(Deserialize)]
struct Unsigned {
    #[serde(default, deserialize_with = "lenient")]
    prev_content: Option<Content>,
}

#[derive(Default, Deserialize)]
struct Content {
    #[serde(default, deserialize_with = "lenient")]
    msgtype: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    body: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    formatted_body: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    filename: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    url: Option<String>,
    #[serde(default)]
    file: Option<Value>,
    #[serde(default, deserialize_with = "lenient")]
    info: Option<Info>,
    #[serde(default, rename = "m.mentions", deserialize_with = "lenient")]
    mentions: Option<Mentions>,
    #[serde(default, rename = "m.relates_to", deserialize_with = "lenient")]
    relates_to: Option<Relation>,
    #[serde(default, rename = "m.new_content", deserialize_with = "lenient")]
    new_content: Option<Box<Self>>,
    #[serde(default, deserialize_with = "lenient")]
    membership: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    redacts: Option<String>,
}

#[derive(Default, Deserialize)]
struct Info {
    #[serde(default, deserialize_with = "lenient")]
    mimetype: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    size: Option<u64>,
}

#[derive(Deserialize)]
struct Mentions {
    #[serde(default, deserialize_with = "lenient")]
    user_ids: Option<Vec<String>>,
    #[serde(default, deserialize_with = "lenient")]
    room: Option<bool>,
}

#[derive(Default, Deserialize)]
struct Relation {
    #[serde(default, deserialize_with = "lenient")]
    rel_type: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    event_id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    key: Option<String>,
    #[serde(default, rename = "is_falling_back", deserialize_with = "lenient")]
    falling_back: Option<bool>,
    #[serde(default, rename = "m.in_reply_to", deserialize_with = "lenient")]
    reply: Option<Reply>,
}

impl Relation {
    fn is(&self, kind: &str) -> bool {
        self.rel_type.as_deref() == Some(kind)
    }
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default, deserialize_with = "lenient")]
    event_id: Option<String>,
}

/// What does not fit is not there.
fn lenient<'de, D: Deserializer<'de>, T: serde::de::DeserializeOwned>(
    from: D,
) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(from)?).ok())
}
