//! The lines on the socket: one JSON object each, both ways. `docs/chat.md` describes them for people.
//!
//! A line is read into a [`Request`] or refused with a reason. The first line decides what a client is: a
//! `hello` makes it one of ours, anything else one that speaks the original's protocol.

#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nanoclaw_channel::ask;
use nanoclaw_channel::markdown::{PLAIN, printable_line};
use nanoclaw_channel::{
    Address, Body, ChannelType, InFile, Outgoing, PlatformId, Question, ThreadId,
};
use serde::{Deserialize, Serialize};
use std::io;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

/// The version of the protocol.
pub const HELLO: u32 = 1;

/// Most bytes of the files of one message.
pub const FILES_BYTES_MAX: usize = 64 << 20;

/// Most files of one message.
pub const FILES_MAX: usize = 20;

/// Longest line of a client that said hello: its files in base64, and some text.
pub const LINE_MAX: usize = FILES_BYTES_MAX / 3 * 4 + TEXT_LINE_MAX;

/// Longest line before the hello, and of the original's clients.
pub const TEXT_LINE_MAX: usize = 1 << 20;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Request {
    /// The first line of one of our clients.
    Hello(Hello),
    /// A message to the agent.
    Say(Say),
    /// A message to any chat, by the operator.
    Inject(Inject),
    /// An answer to a question.
    Answer {
        /// The answer.
        answer: Choose,
    },
    /// A message was shown to somebody.
    Seen {
        /// Its id.
        seen: String,
    },
}

/// Which chat a client wants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Hello {
    /// The version, [`HELLO`].
    pub hello: u32,
    /// The agent; absent for the default one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The chat, where it is not the agent's usual one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat: Option<String>,
    /// What the client calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

/// A message to the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Say {
    /// Its id; a resend has the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What is said.
    pub text: String,
    /// Files that come along.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Upload>,
}

/// A file on its way to the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub base64: String,
}

/// A message to any chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inject {
    /// What is said.
    pub text: String,
    /// Where.
    pub to: Place,
    /// Where the answers go, if elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<Place>,
    /// What the speaker is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// Who speaks.
    #[serde(rename = "senderId", skip_serializing_if = "Option::is_none")]
    pub sender_id: Option<String>,
}

/// An address as the original writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The platform.
    pub channel_type: ChannelType,
    /// The chat.
    pub platform_id: PlatformId,
    /// The thread; what is no text is none.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<ThreadId>,
}

fn lenient<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<ThreadId>, D::Error> {
    let value = serde_json::Value::deserialize(from)?;
    Ok(value.as_str().and_then(|text| ThreadId::parse(text).ok()))
}

impl From<Place> for Address {
    fn from(place: Place) -> Self {
        Self {
            channel_type: place.channel_type,
            platform_id: place.platform_id,
            thread_id: place.thread_id,
        }
    }
}

/// An answer to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choose {
    /// The question's id.
    pub question: String,
    /// The chosen option's value.
    pub value: String,
}

/// All that a line may say; which of it is there decides what it is.
#[derive(Deserialize)]
struct Line {
    hello: Option<u32>,
    agent: Option<String>,
    chat: Option<String>,
    client: Option<String>,
    id: Option<String>,
    text: Option<String>,
    #[serde(default)]
    files: Vec<Upload>,
    to: Option<Place>,
    reply_to: Option<Place>,
    sender: Option<String>,
    #[serde(rename = "senderId")]
    sender_id: Option<String>,
    answer: Option<Choose>,
    seen: Option<String>,
}

impl Request {
    /// Reads a line.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        let line: Line =
            serde_json::from_slice(line).map_err(|e| format!("not understood: {e}"))?;
        if let Some(hello) = line.hello {
            let Line { agent, chat, client, .. } = line;
            return Ok(Self::Hello(Hello { hello, agent, chat, client }));
        }
        if let Some(answer) = line.answer {
            return Ok(Self::Answer { answer });
        }
        if let Some(seen) = line.seen {
            return Ok(Self::Seen { seen });
        }
        let text = line.text.unwrap_or_default();
        if text.is_empty() && line.files.is_empty() {
            return Err("it says nothing: no \"text\" and no \"files\"".into());
        }
        let Line { to, reply_to, sender, sender_id, id, files, .. } = line;
        Ok(match to {
            Some(to) => Self::Inject(Inject { text, to, reply_to, sender, sender_id }),
            None => Self::Say(Say { id, text, files }),
        })
    }
}

/// What the host tells a client that said hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Event {
    /// The answer to the hello.
    Hello {
        /// The version.
        hello: u32,
        /// The chat that the client is in.
        chat: String,
    },
    /// A message was received and is on disk.
    Ack {
        /// Its id.
        ack: String,
    },
    /// A message or an answer was not taken.
    Nack {
        /// Its id, or the question's.
        nack: String,
        /// Why.
        why: String,
    },
    /// The agent says something.
    Message {
        /// What.
        message: Box<Message>,
    },
    /// Another client said something.
    Said {
        /// What.
        said: Said,
    },
    /// Whether the agent is typing.
    Typing {
        /// Whether it is.
        typing: bool,
    },
    /// A question is settled.
    Answered {
        /// How.
        answered: Answered,
    },
    /// A line was not understood, or the client is being closed.
    Error {
        /// Why.
        error: String,
    },
}

/// A message of the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// What it says.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub markdown: String,
    /// Files that come with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Saved>,
    /// The message whose text this replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edit_of: Option<String>,
    /// A reaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reaction: Option<Reaction>,
    /// A question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<Question>,
    /// The client's message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_reply_to: Option<String>,
}

/// A file of the agent, on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// What the agent calls it.
    pub name: String,
    /// Where it is.
    pub path: String,
}

/// A reaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reaction {
    /// To which message.
    pub to: String,
    /// Shortcode or character.
    pub emoji: String,
}

/// What another client said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Its id.
    pub id: String,
    /// The text.
    pub text: String,
    /// The names of its files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}

/// How a question was settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// Which.
    pub question: String,
    /// What was chosen; absent when nobody waits for an answer any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

impl Message {
    /// The host's message as the clients get it, without its files.
    pub fn new(id: String, out: &Outgoing) -> Self {
        let in_reply_to = out.reply_to.as_ref().map(|id| id.as_str().to_owned());
        let mut message = Self { id, in_reply_to, ..Self::default() };
        match &out.body {
            Body::Text { markdown, files: _ } => message.markdown.clone_from(markdown),
            Body::Edit { message: edited, markdown } => {
                message.edit_of = Some(edited.as_str().to_owned());
                message.markdown.clone_from(markdown);
            }
            Body::React { message: to, emoji } => {
                message.reaction =
                    Some(Reaction { to: to.as_str().to_owned(), emoji: emoji.clone() });
            }
            Body::Ask(question) => message.question = Some(question.clone()),
            Body::Card { title: Some(title), markdown } => {
                message.markdown = format!("**{}**\n\n{markdown}", printable_line(title));
            }
            Body::Card { title: None, markdown } => message.markdown.clone_from(markdown),
        }
        message
    }

    /// The line for a client of the original, if it can be said there.
    pub fn plain_line(&self) -> Option<String> {
        let mut parts = Vec::new();
        if !self.markdown.is_empty() {
            parts.push(self.markdown.clone());
        }
        parts.extend(self.question.as_ref().map(|q| ask::text(q, &PLAIN)));
        parts.extend(self.files.iter().map(|f| format!("[file] {}", f.path)));
        let text = parts.join("\n\n");
        (!text.is_empty()).then(|| serde_json::json!({ "text": text }).to_string())
    }
}

impl Upload {
    /// Packs a file.
    pub fn new(name: String, bytes: &[u8]) -> Self {
        Self { name, base64: STANDARD.encode(bytes) }
    }
}

/// Unpacks the files of a message.
pub fn unpack(files: Vec<Upload>) -> Result<Vec<InFile>, String> {
    if files.len() > FILES_MAX {
        return Err(format!("{} files are more than {FILES_MAX}; send fewer at once", files.len()));
    }
    let mut unpacked = Vec::new();
    for file in files {
        let bytes = STANDARD
            .decode(&file.base64)
            .map_err(|e| format!("{} is no base64: {e}", printable_line(&file.name)))?;
        let mime = mime(&file.name);
        let kind = mime.and_then(|m| m.split_once('/')).map_or("file", |(kind, _)| match kind {
            "image" | "audio" | "video" => kind,
            _ => "file",
        });
        unpacked.push(InFile {
            kind: kind.to_owned(),
            name: file.name,
            mime: mime.map(str::to_owned),
            bytes,
            missing: None,
        });
    }
    if unpacked.iter().map(|f| f.bytes.len()).sum::<usize>() > FILES_BYTES_MAX {
        return Err(format!("files may have {} MB together", FILES_BYTES_MAX >> 20));
    }
    Ok(unpacked)
}

fn mime(name: &str) -> Option<&'static str> {
    let (_, extension) = name.rsplit_once('.')?;
    Some(match extension.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        "mp3" => "audio/mpeg",
        "ogg" | "oga" | "opus" => "audio/ogg",
        "wav" => "audio/wav",
        "m4a" => "audio/mp4",
        "mp4" => "video/mp4",
        "mov" => "video/quicktime",
        "webm" => "video/webm",
        "pdf" => "application/pdf",
        "json" => "application/json",
        "zip" => "application/zip",
        "csv" => "text/csv",
        "html" | "htm" => "text/html",
        "md" => "text/markdown",
        "txt" | "log" => "text/plain",
        _ => return None,
    })
}

/// A line from the socket.
pub enum Read {
    /// A line.
    Line(Vec<u8>),
    /// A longer one than allowed; nothing that follows can be understood.
    TooLong,
    /// The other side is gone.
    End,
}

/// Reads the next line.
pub async fn read_line<R: AsyncBufRead + Unpin>(from: &mut R, max: usize) -> io::Result<Read> {
    let mut line = Vec::new();
    from.take(max as u64 + 1).read_until(b'\n', &mut line).await?;
    Ok(match line.last() {
        None => Read::End,
        Some(b'\n') => Read::Line(line),
        Some(_) if line.len() > max => Read::TooLong,
        // The other side ended without a last end of line.
        Some(_) => Read::Line(line),
    })
}
