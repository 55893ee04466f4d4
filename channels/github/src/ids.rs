//! Where something is on GitHub, and what it is called.
//!
//! | address | what it is |
//! |---|---|
//! | `github:<owner>/<repo>` | a repository |
//! | `github:<owner>/<repo>:issue:<n>` | an issue |
//! | `github:<owner>/<repo>:<n>` | a pull request |
//! | `github:<owner>/<repo>:<n>:rc:<id>` | a discussion of lines in it, by its first comment |

use crate::NAME;
use nanoclaw_channel::ids::BadId;
use nanoclaw_channel::{Address, ChannelType, PlatformId, PlatformMessageId, ThreadId};
use serde::{Deserialize, Serialize};

/// A conversation in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Thread {
    Issue(u64),
    Pull(u64),
    Review { pull: u64, root: u64 },
}

impl Thread {
    /// The number of the issue or pull request.
    pub(crate) fn number(self) -> u64 {
        match self {
            Self::Issue(n) | Self::Pull(n) | Self::Review { pull: n, .. } => n,
        }
    }

    /// Whether it can be: GitHub counts from one.
    pub(crate) fn is_counted(self) -> bool {
        self.number() > 0 && !matches!(self, Self::Review { root: 0, .. })
    }
}

/// A place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spot {
    /// `owner/name`.
    pub(crate) repo: String,
    pub(crate) thread: Option<Thread>,
}

impl Spot {
    pub(crate) fn address(&self) -> Result<Address, BadId> {
        let chat = format!("{NAME}:{}", self.repo);
        let thread = self.thread.map(|thread| match thread {
            Thread::Issue(n) => format!("{chat}:issue:{n}"),
            Thread::Pull(n) => format!("{chat}:{n}"),
            Thread::Review { pull, root } => format!("{chat}:{pull}:rc:{root}"),
        });
        Ok(Address {
            channel_type: ChannelType::parse(NAME)?,
            platform_id: PlatformId::parse(chat)?,
            thread_id: thread.map(ThreadId::parse).transpose()?,
        })
    }

    /// Reads it back; the error is for people.
    pub(crate) fn parse(at: &Address) -> Result<Self, String> {
        let chat = at.platform_id.as_str();
        let bad =
            |what: &str| format!("{what:?} is no GitHub address; it looks like github:owner/repo");
        let repo = repo_of(chat).ok_or_else(|| bad(chat))?.to_owned();
        let Some(thread) = &at.thread_id else { return Ok(Self { repo, thread: None }) };
        let rest = thread.as_str().strip_prefix(chat).and_then(|rest| rest.strip_prefix(':'));
        let parts: Vec<&str> = rest.unwrap_or_default().split(':').collect();
        let thread = match parts[..] {
            ["issue", n] => number(n).map(Thread::Issue),
            [n] => number(n).map(Thread::Pull),
            [n, "rc", id] => {
                number(n).zip(number(id)).map(|(pull, root)| Thread::Review { pull, root })
            }
            _ => None,
        };
        Ok(Self {
            repo,
            thread: Some(
                thread.ok_or_else(|| bad(at.thread_id.as_ref().map_or("", AsRef::as_ref)))?,
            ),
        })
    }
}

/// The repository that a platform id names.
pub(crate) fn repo_of(platform_id: &str) -> Option<&str> {
    let repo = platform_id.strip_prefix(NAME)?.strip_prefix(':')?;
    is_repo(repo).then_some(repo)
}

/// Whether GitHub would take this as `owner/name`.
pub(crate) fn is_repo(text: &str) -> bool {
    let part = |part: &str| {
        (1..=100).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            && !part.bytes().all(|b| b == b'.')
    };
    text.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name))
}

/// A number as GitHub writes it, in one way only.
fn number(text: &str) -> Option<u64> {
    let n = text.parse::<u64>().ok().filter(|n| *n > 0)?;
    (n.to_string() == text).then_some(n)
}

/// What GitHub calls something that was said: numbers of comments mean nothing without their kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Post {
    /// The text of an issue or a pull request.
    Opening(u64),
    /// A comment on one.
    Comment(u64),
    /// A comment on lines.
    Review(u64),
}

impl Post {
    pub(crate) fn id(self) -> Result<PlatformMessageId, BadId> {
        PlatformMessageId::parse(self.to_string())
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (kind, n) = text.split_once(':')?;
        let n = number(n)?;
        match kind {
            "i" => Some(Self::Opening(n)),
            "c" => Some(Self::Comment(n)),
            "r" => Some(Self::Review(n)),
            _ => None,
        }
    }

    /// Whether it can be: GitHub counts from one.
    pub(crate) fn is_counted(self) -> bool {
        !matches!(self, Self::Opening(0) | Self::Comment(0) | Self::Review(0))
    }

    /// Its path in the REST API.
    pub(crate) fn path(self, repo: &str) -> String {
        match self {
            Self::Opening(n) => format!("repos/{repo}/issues/{n}"),
            Self::Comment(id) => format!("repos/{repo}/issues/comments/{id}"),
            Self::Review(id) => format!("repos/{repo}/pulls/comments/{id}"),
        }
    }
}

impl std::fmt::Display for Post {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, n) = match self {
            Self::Opening(n) => ('i', n),
            Self::Comment(id) => ('c', id),
            Self::Review(id) => ('r', id),
        };
        write!(f, "{kind}:{n}")
    }
}

#[cfg(test)]
mod tests;
