//! Discord's ids, and the addresses made of them.

use nanoclaw_channel::ids::BadId;
use nanoclaw_channel::{Address, ChannelType, PlatformId, ThreadId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

#[cfg(test)]
mod tests;

/// What Discord calls anything: a number that grows with time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id(pub(crate) u64);

impl Id {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
        plain.then(|| text.parse().ok().map(Self)).flatten()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no id")))
    }
}

/// Where something is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The server; `None` is a direct chat.
    pub(crate) guild: Option<Id>,
    /// The channel, or the one that the thread belongs to.
    pub(crate) channel: Id,
    /// The thread. One that began with a message has that message's id.
    pub(crate) thread: Option<Id>,
}

impl Place {
    /// The channel that Discord is asked to post in.
    pub(crate) fn posts_in(&self) -> Id {
        self.thread.unwrap_or(self.channel)
    }

    /// Where a message of this place lies: the first of a thread lies in the channel.
    pub(crate) fn channel_of(&self, message: Id) -> Id {
        if self.thread == Some(message) { self.channel } else { self.posts_in() }
    }

    pub(crate) fn address(&self) -> Result<Address, BadId> {
        let guild = self.guild.map_or_else(|| "@me".to_owned(), |g| g.to_string());
        let chat = format!("{}:{guild}:{}", crate::NAME, self.channel);
        let thread = self.thread.map(|t| ThreadId::parse(format!("{chat}:{t}"))).transpose()?;
        Ok(Address {
            channel_type: ChannelType::parse(crate::NAME)?,
            platform_id: PlatformId::parse(chat)?,
            thread_id: thread,
        })
    }

    /// Reads an address. A thread of another channel is refused.
    pub(crate) fn parse(at: &Address) -> Option<Self> {
        let chat = at.platform_id.as_str();
        let (guild, channel) =
            chat.strip_prefix(crate::NAME)?.strip_prefix(':')?.split_once(':')?;
        let guild = if guild == "@me" { None } else { Some(Id::parse(guild)?) };
        let thread = match &at.thread_id {
            // The original names the channel itself where there is no thread.
            Some(thread) if thread.as_str() != chat => {
                Some(Id::parse(thread.as_str().strip_prefix(chat)?.strip_prefix(':')?)?)
            }
            _ => None,
        };
        Some(Self { guild, channel: Id::parse(channel)?, thread })
    }
}
