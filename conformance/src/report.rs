//! What became of the cases, as a file that the documentation is made from.

use crate::cases::Case;
use crate::peer::Profile;
use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// What became of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It works.
    Works,
    /// The platform does not offer it.
    NotOffered(String),
    /// It does not work.
    Failed(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Works => f.write_str("works"),
            Self::NotOffered(why) => write!(f, "not offered: {why}"),
            Self::Failed(why) => write!(f, "FAILED: {why}"),
        }
    }
}

/// One line of the results.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Result {
    /// The case.
    pub case: String,
    /// Under which heading it stands.
    pub group: String,
    /// What it shows, in words.
    pub what: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// The results of one channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Results {
    /// Its name.
    pub channel: String,
    /// What people call the platform.
    pub title: String,
    /// What the peer was.
    pub verified: String,
    /// One per case, in the order of the cases.
    pub results: Vec<Result>,
}

impl Results {
    pub(crate) fn new(channel: &str, profile: &Profile) -> Self {
        Self {
            channel: channel.to_owned(),
            title: profile.title.to_owned(),
            verified: profile.verified.to_owned(),
            results: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, case: &Case, outcome: Outcome) {
        self.results.push(Result {
            case: case.name.to_owned(),
            group: case.group.to_owned(),
            what: case.what.to_owned(),
            outcome,
        });
    }

    pub(crate) fn write(&self) -> anyhow::Result<()> {
        let folder = target().join("channels");
        std::fs::create_dir_all(&folder).context("make the folder for results")?;
        let file = folder.join(format!("{}.json", self.channel));
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))
    }

    pub(crate) fn verdict(&self) -> anyhow::Result<()> {
        let failed = self.results.iter().filter(|r| matches!(r.outcome, Outcome::Failed(_)));
        let failed: Vec<String> = failed.map(|r| format!("{}: {}", r.case, r.outcome)).collect();
        if failed.is_empty() {
            return Ok(());
        }
        bail!("{} of {} cases failed\n\n{}", failed.len(), self.results.len(), failed.join("\n\n"))
    }
}

/// The folder that things are built in, and that tools for tests are below.
pub fn target() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(beside, Into::into)
}
