//! What goes over the loopback.

use serde::{Deserialize, Serialize};

/// Something that Emacs is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// What it is.
    #[serde(default)]
    pub(crate) kind: Kind,
    /// The message, or for an edit or a reaction the message that it is about.
    pub(crate) id: String,
    /// What people read, or a reaction.
    pub(crate) text: String,
    /// The same as the agent wrote it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) markdown: String,
    /// When: milliseconds, each entry later than the one before.
    #[serde(default)]
    pub(crate) timestamp: i64,
    /// The question, while it can be answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) question: Option<String>,
    /// What can be answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) options: Vec<Option_>,
    /// Files, as paths on this machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) files: Vec<ShownFile>,
    /// The message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reply_to: Option<String>,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// A message.
    #[default]
    Text,
    /// A new text for one.
    Edit,
    /// A reaction to one.
    React,
}

/// An answer that can be given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Option_ {
    pub(crate) label: String,
}

/// A file of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShownFile {
    pub(crate) name: String,
    pub(crate) path: String,
}

/// A question that was asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Offered {
    pub(crate) message: String,
    pub(crate) markdown: String,
    pub(crate) values: Vec<String>,
}

/// What Emacs says.
#[derive(Debug, Deserialize)]
pub(crate) struct Said {
    #[serde(default)]
    pub(crate) text: String,
    /// Chosen by Emacs, so that saying it again is saying it once.
    pub(crate) id: Option<String>,
    pub(crate) reply_to: Option<String>,
    #[serde(default)]
    pub(crate) files: Vec<SaidFile>,
}

/// A file from Emacs.
#[derive(Debug, Deserialize)]
pub(crate) struct SaidFile {
    pub(crate) name: String,
    pub(crate) mime: Option<String>,
    /// Its bytes in base64; nothing for a file over the limit.
    pub(crate) data: Option<String>,
}

/// An answer.
#[derive(Debug, Deserialize)]
pub(crate) struct Answered {
    pub(crate) question: String,
    /// The number of the option, from 1.
    pub(crate) option: usize,
}
