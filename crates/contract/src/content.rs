//! The JSON in `content`, parsed once.
//!
//! Inbound content is read leniently, because any adapter or an older install may have written it: a
//! field of the wrong type counts as absent, and text that is no JSON is the message itself. Outbound
//! content comes from the box and is read strictly: what does not fit is refused with a reason.

use crate::ids::{QuestionId, SessionId, is_safe_name};
use crate::words;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A chat message to the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chat {
    /// What the platform calls the message.
    pub id: Option<String>,
    /// What was said.
    pub text: String,
    /// The sender's name, or `Unknown`.
    pub sender: String,
    /// The sender's handle on the platform.
    pub sender_id: Option<String>,
    /// Files that came along.
    pub attachments: Vec<Attachment>,
    /// The message it answers.
    pub reply_to: Option<Quote>,
}

/// A file that came with a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// `image`, `file`, `audio` …
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its media type.
    #[serde(rename = "mimeType", skip_serializing_if = "Option::is_none")]
    pub mime: Option<String>,
    /// Its size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Where it lies, relative to `/workspace`.
    #[serde(rename = "localPath", skip_serializing_if = "Option::is_none")]
    pub local_path: Option<String>,
    /// Where it can be fetched, if it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Why it is not there. v2 does not know this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// A message that is answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// The platform's id of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Who said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// What was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

words! {
    /// What becomes of runs that were due while nothing ran.
    Missed {
        /// They are left out.
        Skip = "skip",
        /// One run stands for all of them.
        Once = "once",
        /// Each is made up for, within reason.
        All = "all",
    }
}

/// A scheduled job. v2 knows the first two fields only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// What to do.
    #[serde(default)]
    pub prompt: String,
    /// A program that decides whether to wake the agent.
    #[serde(default)]
    pub script: Option<String>,
    /// The IANA zone of its schedule, if it is not the install's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// What becomes of missed runs; one run for all if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<Missed>,
    /// Runs in a row that failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fails: u32,
    /// Missed runs in a row that were made up for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub behind: u32,
    /// It is paused and runs once all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hold: bool,
    /// Why it paused itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The session that scheduled it, if it runs in one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<SessionId>,
    /// Whatever else somebody wrote there.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// A message for the runner itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum System {
    /// The answer to a question.
    #[serde(rename_all = "camelCase")]
    QuestionResponse {
        /// Which question.
        question_id: String,
        /// The value of the chosen option.
        selected_option: String,
        /// Who chose.
        #[serde(default)]
        user_id: String,
        /// What people call them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user_name: Option<String>,
        /// The heading of the question.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
    },
    /// The answer to an `ncl` call.
    #[serde(rename_all = "camelCase")]
    CliResponse {
        /// Which call.
        request_id: String,
        /// The answer.
        frame: Value,
    },
}

impl Chat {
    /// Reads any inbound content as a chat message.
    pub fn parse(content: &str) -> Self {
        let Ok(Value::Object(map)) = serde_json::from_str::<Value>(content) else {
            return Self { text: content.to_owned(), sender: "Unknown".into(), ..Self::default() };
        };
        let author = map.get("author").and_then(Value::as_object);
        let of_author = |key| author.and_then(|a| text(a, key));
        let quote = map.get("replyTo").and_then(Value::as_object).map(|q| Quote {
            id: q.get("id").and_then(scalar),
            sender: text(q, "sender"),
            text: text(q, "text"),
        });
        Self {
            id: map.get("id").and_then(scalar),
            text: map.get("text").and_then(scalar).unwrap_or_default(),
            sender: text(&map, "sender")
                .or_else(|| of_author("fullName"))
                .or_else(|| of_author("userName"))
                .unwrap_or_else(|| "Unknown".into()),
            sender_id: text(&map, "senderId").or_else(|| of_author("userId")),
            attachments: map
                .get("attachments")
                .and_then(Value::as_array)
                .map(|all| all.iter().filter_map(Value::as_object).map(attachment).collect())
                .unwrap_or_default(),
            reply_to: quote,
        }
    }

    /// The content as the original writes it.
    pub fn to_json(&self) -> String {
        let mut map = Map::new();
        if let Some(id) = &self.id {
            map.insert("id".into(), id.clone().into());
        }
        map.insert("text".into(), self.text.clone().into());
        map.insert("sender".into(), self.sender.clone().into());
        if let Some(id) = &self.sender_id {
            map.insert("senderId".into(), id.clone().into());
        }
        map.insert("senderName".into(), self.sender.clone().into());
        if !self.attachments.is_empty() {
            map.insert(
                "attachments".into(),
                serde_json::to_value(&self.attachments).unwrap_or_default(),
            );
        }
        if let Some(quote) = &self.reply_to {
            map.insert("replyTo".into(), serde_json::to_value(quote).unwrap_or_default());
        }
        Value::Object(map).to_string()
    }
}

fn text(map: &Map<String, Value>, key: &str) -> Option<String> {
    map.get(key).and_then(Value::as_str).filter(|t| !t.is_empty()).map(str::to_owned)
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(s) => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn attachment(map: &Map<String, Value>) -> Attachment {
    Attachment {
        kind: text(map, "type").unwrap_or_else(|| "file".into()),
        name: text(map, "name")
            .or_else(|| text(map, "filename"))
            .unwrap_or_else(|| "attachment".into()),
        mime: text(map, "mimeType"),
        size: map.get("size").and_then(Value::as_u64),
        local_path: text(map, "localPath"),
        url: text(map, "url"),
        missing: text(map, "missing"),
    }
}

/// What an outbound row asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Out {
    /// Say something, with files or without.
    Say {
        /// Markdown.
        text: String,
        /// Files in the row's outbox folder.
        files: Vec<String>,
    },
    /// Change a message that was sent.
    Edit {
        /// What the platform calls it, or an outbound row id.
        message_id: String,
        /// The new Markdown.
        text: String,
    },
    /// React to a message.
    React {
        /// What the platform calls it.
        message_id: String,
        /// Shortcode or character.
        emoji: String,
    },
    /// Ask with options.
    Ask(Question),
    /// Show a card.
    Card {
        /// Title, if any.
        title: Option<String>,
        /// The text of it, as Markdown.
        text: String,
    },
    /// Ask the host to do something: the row's JSON, still to be read by who does it.
    Action {
        /// Which action.
        action: String,
        /// Its fields.
        fields: Map<String, Value>,
    },
}

/// A question with options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    /// Its id, chosen by the runner.
    pub question_id: QuestionId,
    /// A short heading.
    pub title: String,
    /// The question.
    pub question: String,
    /// What can be answered.
    pub options: Vec<Choice>,
}

/// One possible answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Choice {
    /// What the button says.
    pub label: String,
    /// What the card says after the choice.
    pub selected_label: String,
    /// What the agent is told.
    pub value: String,
}

impl<'de> Deserialize<'de> for Choice {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Text(String),
            #[serde(rename_all = "camelCase")]
            Parts {
                label: String,
                selected_label: Option<String>,
                value: Option<String>,
            },
        }
        Ok(match Either::deserialize(from)? {
            Either::Text(t) => Self { label: t.clone(), selected_label: t.clone(), value: t },
            Either::Parts { label, selected_label, value } => Self {
                selected_label: selected_label.unwrap_or_else(|| label.clone()),
                value: value.unwrap_or_else(|| label.clone()),
                label,
            },
        })
    }
}

/// Most options of a question.
pub const OPTIONS_MAX: usize = 25;

impl Out {
    /// Reads the content of an outbound row of this kind.
    pub fn parse(kind: crate::message::OutKind, content: &str) -> Result<Self, String> {
        let value: Value =
            serde_json::from_str(content).map_err(|e| format!("its content is no JSON: {e}"))?;
        let Value::Object(map) = value else { return Err("its content is no JSON object".into()) };
        if kind == crate::message::OutKind::System {
            let action =
                text(&map, "action").ok_or("it asks the host for nothing: no \"action\"")?;
            return Ok(Self::Action { action, fields: map });
        }
        if let Some(op) = text(&map, "operation") {
            let message_id = map
                .get("messageId")
                .and_then(scalar)
                .ok_or_else(|| format!("{op} without a \"messageId\""))?;
            return match op.as_str() {
                "edit" => {
                    Ok(Self::Edit { message_id, text: body(&map).ok_or("edit without text")? })
                }
                "reaction" => Ok(Self::React {
                    message_id,
                    emoji: text(&map, "emoji").ok_or("reaction without an emoji")?,
                }),
                _ => Err(format!("unknown operation {op:?}")),
            };
        }
        match text(&map, "type").as_deref() {
            Some("ask_question") => {
                let q: Question = serde_json::from_value(Value::Object(map))
                    .map_err(|e| format!("not a question: {e}"))?;
                if q.options.is_empty() || q.options.len() > OPTIONS_MAX {
                    return Err(format!(
                        "a question needs 1 to {OPTIONS_MAX} options, this has {}",
                        q.options.len()
                    ));
                }
                Ok(Self::Ask(q))
            }
            Some("card") => match card(&map) {
                Self::Card { title: None, text } if text.is_empty() => {
                    Err("the card is empty: no title, no text, no link".into())
                }
                card => Ok(card),
            },
            _ => say(&map),
        }
    }
}

fn body(map: &Map<String, Value>) -> Option<String> {
    text(map, "markdown").or_else(|| text(map, "text"))
}

fn say(map: &Map<String, Value>) -> Result<Out, String> {
    let mut files = Vec::new();
    for file in map.get("files").and_then(Value::as_array).into_iter().flatten() {
        match file.as_str() {
            Some(name) if is_safe_name(name) => files.push(name.to_owned()),
            _ => return Err(format!("{file} is no plain file name")),
        }
    }
    if files.len() > crate::dir::FILES_MAX {
        return Err(format!("{} files, more than {}", files.len(), crate::dir::FILES_MAX));
    }
    match body(map) {
        None if files.is_empty() => Err("it says nothing: no text and no files".into()),
        text => Ok(Out::Say { text: text.unwrap_or_default(), files }),
    }
}

fn card(map: &Map<String, Value>) -> Out {
    let empty = Map::new();
    let card = map.get("card").and_then(Value::as_object).unwrap_or(&empty);
    let mut lines: Vec<String> = text(card, "description").into_iter().collect();
    for child in card.get("children").and_then(Value::as_array).into_iter().flatten() {
        lines.extend(
            child
                .as_str()
                .map(str::to_owned)
                .or_else(|| child.as_object().and_then(|c| text(c, "text"))),
        );
    }
    for action in card
        .get("actions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
    {
        if let (Some(label), Some(url)) = (text(action, "label"), text(action, "url")) {
            lines.push(format!("[{label}]({url})"));
        }
    }
    if lines.is_empty() {
        lines.extend(text(map, "fallbackText"));
    }
    Out::Card { title: text(card, "title"), text: lines.join("\n\n") }
}
