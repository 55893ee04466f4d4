//! Ids: `<channel>:<address>` is a chat, `<channel>:<address>:<16 digits>` a thread in it.

use nanoclaw_channel::{Address, ChannelType, PlatformId, PlatformMessageId, SendError, ThreadId};
use sha2::{Digest as _, Sha256};

#[cfg(test)]
mod tests;

/// Longest address that is taken (RFC 5321 has 254).
const ADDRESS_MAX: usize = 254;

pub(crate) use nanoclaw_channel::UNVERIFIED;

/// An e-mail address in its one form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Email(String);

impl Email {
    /// Reads an address; refuses what no mail server would take.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_lowercase();
        let (user, domain) = text.rsplit_once('@')?;
        let bad = |c: char| c.is_whitespace() || c.is_control() || "<>()[],;:\\\"".contains(c);
        let fine = !user.is_empty()
            && !domain.is_empty()
            && text.len() <= ADDRESS_MAX
            && !text.contains(bad)
            && !domain.contains('@')
            && !user.contains('@');
        fine.then_some(Self(text))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

/// A chat, and a conversation in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) email: Email,
    pub(crate) thread: Option<Thread>,
}

/// A conversation: the first digits of the hash of the id of its first mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Thread(String);

impl Thread {
    pub(crate) fn of(root: &str) -> Self {
        Self(digest(root.as_bytes()).chars().take(16).collect())
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digit = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        (text.len() == 16 && text.chars().all(digit)).then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Place {
    /// What the host calls it. `None` only if the port refused it, which it does not for what was parsed.
    pub(crate) fn address(&self, channel: &str) -> Option<Address> {
        let chat = format!("{channel}:{}", self.email.as_str());
        let thread = self.thread.as_ref().map(|t| format!("{chat}:{}", t.as_str()));
        Some(Address {
            channel_type: ChannelType::parse(channel).ok()?,
            platform_id: PlatformId::parse(chat).ok()?,
            thread_id: thread.map(ThreadId::parse).transpose().ok()?,
        })
    }

    /// Reads what the host calls it.
    pub(crate) fn parse(channel: &str, address: &Address) -> Option<Self> {
        let inner = |text: &str| Some(text.strip_prefix(channel)?.strip_prefix(':')?.to_owned());
        let email = Email::parse(&inner(address.platform_id.as_str())?)?;
        let thread = match &address.thread_id {
            None => None,
            Some(thread) => {
                let thread = inner(thread.as_str())?;
                let (of, thread) = thread.rsplit_once(':')?;
                (Email::parse(of)? == email).then_some(())?;
                Some(Thread::parse(thread)?)
            }
        };
        Some(Self { email, thread })
    }
}

/// The chat with the person of a handle.
pub(crate) fn dm(channel: &str, handle: &str) -> Result<PlatformId, SendError> {
    let email = Email::parse(handle.strip_prefix(UNVERIFIED).unwrap_or(handle));
    let chat =
        email.and_then(|email| PlatformId::parse(format!("{channel}:{}", email.as_str())).ok());
    chat.ok_or_else(|| SendError::Reject { why: format!("{handle} is no e-mail address") })
}

/// What people call a chat: the address in it.
pub(crate) fn name(channel: &str, chat: &PlatformId) -> Option<String> {
    chat.as_str().strip_prefix(channel)?.strip_prefix(':').map(str::to_owned)
}

/// The id of a mail as the host takes it: without brackets, and hashed where it is no usable id.
pub(crate) fn message(id: &str) -> String {
    let id = id.trim().trim_start_matches('<').trim_end_matches('>');
    match PlatformMessageId::parse(id) {
        Ok(id) if !id.as_str().contains(char::is_whitespace) => id.to_string(),
        _ => format!("{}@hashed", digest(id.as_bytes())),
    }
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    nanoclaw_kit::sign::hex(&Sha256::digest(bytes))
}
