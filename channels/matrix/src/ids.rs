//! What Matrix calls things, and what the host calls them.
//!
//! | | Matrix | host |
//! |---|---|---|
//! | room | `!id:server` | `matrix:!id%3Aserver` |
//! | direct chat | the room with `@user:server` | `matrix:@user:server` |
//! | thread | `$root` in `!id:server` | `matrix:!id%3Aserver:%24root` |

use nanoclaw_channel::{PlatformId, ThreadId};

#[cfg(test)]
mod tests;

/// A chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chat {
    /// The direct chat with somebody.
    Person(String),
    /// A room.
    Room(String),
}

impl Chat {
    /// As the host calls it.
    pub fn encode(&self) -> String {
        match self {
            Self::Person(user) => format!("matrix:{user}"),
            Self::Room(room) => format!("matrix:{}", escape(room)),
        }
    }

    /// As an id; `None` when it is longer than ids may be.
    pub fn platform_id(&self) -> Option<PlatformId> {
        PlatformId::parse(self.encode()).ok()
    }

    /// Reads what the host says. People also write the id of a room as Matrix shows it.
    pub fn parse(id: &PlatformId) -> Option<Self> {
        let rest = id.as_str().strip_prefix("matrix:").unwrap_or(id.as_str());
        match rest.as_bytes().first()? {
            b'@' if rest.contains(':') => Some(Self::Person(rest.to_owned())),
            b'!' => unescape(rest).map(Self::Room),
            _ => None,
        }
    }
}

/// A thread as the host calls it.
pub fn thread_id(room: &str, root: &str) -> Option<ThreadId> {
    ThreadId::parse(format!("matrix:{}:{}", escape(room), escape(root))).ok()
}

/// The room and the first message of a thread.
pub fn parse_thread(id: &ThreadId) -> Option<(String, String)> {
    let (room, root) = id.as_str().strip_prefix("matrix:")?.split_once(':')?;
    let (room, root) = (unescape(room)?, unescape(root)?);
    (room.starts_with('!') && root.starts_with('$')).then_some((room, root))
}

/// Percent-encodes as `encodeURIComponent` does.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let (high, low) = (char::from(bytes.next()?), char::from(bytes.next()?));
        out.push(u8::try_from(high.to_digit(16)? * 16 + low.to_digit(16)?).ok()?);
    }
    String::from_utf8(out).ok()
}
