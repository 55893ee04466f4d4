//! Every id as its own type, so that two of them cannot be swapped.
//!
//! An id that comes from a file, a row or a box is parsed here or refused. Ids that name folders
//! (`AgentId`, `SessionId`) and ids that name attachment folders (`MessageId`, `OutId`) have
//! [`is_safe_name`] to decide whether they may touch the file system.
//!
//! ```compile_fail
//! use nanoclaw_contract::ids::{AgentId, SessionId};
//! fn wants(_: &SessionId) {}
//! wants(&AgentId::parse("ag-1").unwrap());
//! ```

use std::fmt;

/// Longest id that is accepted from anywhere.
pub const ID_BYTES_MAX: usize = 512;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a usable {what}: {why}")]
pub struct BadId {
    what: &'static str,
    why: &'static str,
}

/// Whether `name` is one plain path component that no file system reads as anything else.
pub fn is_safe_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name != "."
        && name != ".."
        && !name.contains(['/', '\\', '\0'])
        && !name.chars().any(char::is_control)
}

fn check(what: &'static str, text: &str) -> Result<(), BadId> {
    let why = if text.is_empty() {
        "it is empty"
    } else if text.len() > ID_BYTES_MAX {
        "it is longer than 512 bytes"
    } else if text.chars().any(char::is_control) {
        "it contains a control character"
    } else {
        return Ok(());
    };
    Err(BadId { what, why })
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Parses an id from outside; refuses empty, overlong and unprintable text.
            pub fn parse(text: impl Into<String>) -> Result<Self, BadId> {
                let text = text.into();
                check($what, &text).map(|()| Self(text))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether this id may be used as one path component.
            pub fn is_safe_name(&self) -> bool {
                is_safe_name(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                Self::parse(text)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Self::parse(String::deserialize(from)?).map_err(serde::de::Error::custom)
            }
        }

        crate::sql_text!($name, |text: &str| $name::parse(text));
    )*};
}

ids! {
    /// An agent (`agent_groups.id`).
    AgentId = "agent id";
    /// A chat on a platform (`messaging_groups.id`).
    ChatId = "chat id";
    /// A wiring of a chat to an agent (`messaging_group_agents.id`).
    WiringId = "wiring id";
    /// A session (`sessions.id`).
    SessionId = "session id";
    /// A row of `messages_in`.
    MessageId = "message id";
    /// A row of `messages_out`.
    OutId = "outbound message id";
    /// A person, `<channel type>:<handle>` (`users.id`).
    UserId = "user id";
    /// A question waiting for its answer (`pending_questions.question_id`).
    QuestionId = "question id";
    /// A request that people decide (`pending_approvals.approval_id`); minted by the host only.
    ApprovalId = "approval id";
    /// A platform, such as `cli` (`channel_type`).
    ChannelType = "channel type";
    /// What the platform calls a chat (`platform_id`).
    PlatformId = "platform id";
    /// What the platform calls a thread (`thread_id`).
    ThreadId = "thread id";
    /// What the platform calls a message.
    PlatformMessageId = "platform message id";
}

/// A text that nobody can guess: so many of these characters, each as likely as any other.
pub fn secret(alphabet: &[u8], length: usize) -> String {
    let even = 256 - 256 % alphabet.len();
    let random = std::iter::repeat_with(|| usize::from(uuid::Uuid::new_v4().as_bytes()[0]));
    random
        .filter(|n| *n < even)
        .take(length)
        .filter_map(|n| alphabet.get(n % alphabet.len()).copied().map(char::from))
        .collect()
}

/// Makes ids like the original's, `<prefix>-<epoch ms>-<six letters or digits>`.
pub fn mint(prefix: &str, now: crate::time::Timestamp) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut n = uuid::Uuid::new_v4().as_u128();
    let mut tail = String::with_capacity(6);
    for _ in 0..6 {
        tail.push(char::from(DIGITS[(n % 36) as usize]));
        n /= 36;
    }
    format!("{prefix}-{}-{tail}", now.as_millisecond())
}

/// Makes an id that nobody can guess.
pub fn unguessable(prefix: &str) -> String {
    format!("{prefix}-{}", uuid::Uuid::new_v4().simple())
}

/// Where a message comes from or goes to.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Address {
    /// The platform.
    pub channel_type: ChannelType,
    /// The chat there.
    pub platform_id: PlatformId,
    /// The thread in that chat, if the message is in one.
    pub thread_id: Option<ThreadId>,
}

/// A name-based id: the same text gives the same id, different texts different ones.
pub fn stable(text: &str) -> uuid::Uuid {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, text.as_bytes())
}
