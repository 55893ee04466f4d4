//! What GitHub sends, as far as it is used.

use nanoclaw_channel::time::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) id: u64,
    pub(crate) login: String,
    /// `User`, `Bot`, `Organization`.
    #[serde(rename = "type", default)]
    pub(crate) kind: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Repository {
    pub(crate) full_name: String,
}

/// A webhook.
#[derive(Debug, Deserialize)]
pub(crate) struct Delivery {
    #[serde(default)]
    pub(crate) action: String,
    pub(crate) repository: Option<Repository>,
    pub(crate) sender: Option<Account>,
    #[serde(alias = "pull_request")]
    pub(crate) issue: Option<Issue>,
    pub(crate) comment: Option<Comment>,
}

/// An issue or a pull request.
#[derive(Debug, Deserialize)]
pub(crate) struct Issue {
    pub(crate) number: u64,
    #[serde(default)]
    pub(crate) title: String,
    #[serde(default)]
    pub(crate) body: Option<String>,
    /// Nobody, if the account was deleted.
    pub(crate) user: Option<Account>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    /// There if it is a pull request.
    #[serde(default)]
    pub(crate) pull_request: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Comment {
    pub(crate) id: u64,
    #[serde(default)]
    pub(crate) body: Option<String>,
    pub(crate) user: Option<Account>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    /// Of a comment on an issue: tells what it is on.
    #[serde(default)]
    pub(crate) html_url: String,
    #[serde(default)]
    pub(crate) issue_url: Option<String>,
    /// Of a comment on lines: which pull request, which comment it answers, which lines.
    #[serde(default)]
    pub(crate) pull_request_url: Option<String>,
    #[serde(default)]
    pub(crate) in_reply_to_id: Option<u64>,
    #[serde(default)]
    pub(crate) path: Option<String>,
    #[serde(default)]
    pub(crate) diff_hunk: Option<String>,
}

/// What was made.
#[derive(Debug, Deserialize)]
pub(crate) struct Made {
    pub(crate) id: u64,
    #[serde(default)]
    pub(crate) number: u64,
    #[serde(default)]
    pub(crate) body: Option<String>,
}

/// Why not.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Refusal {
    pub(crate) message: String,
}
