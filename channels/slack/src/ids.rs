//! Where something is on Slack: `slack:<channel>`, and in a thread `slack:<channel>:<ts>`.

use crate::NAME;
use nanoclaw_channel::ids::BadId;
use nanoclaw_channel::time::Timestamp;
use nanoclaw_channel::{Address, ChannelType, PlatformId, ThreadId};

/// A conversation, and the thread in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spot {
    /// `C…`, `G…` or `D…`.
    pub(crate) channel: String,
    /// The `ts` of the thread's first message.
    pub(crate) thread: Option<String>,
}

impl Spot {
    /// The place of a message. In a channel every message begins a thread of its own; a direct chat has
    /// threads only where somebody opened one.
    pub(crate) fn of(channel: &str, ts: &str, thread_ts: Option<&str>) -> Self {
        let reply = thread_ts.filter(|root| *root != ts);
        let thread = reply.or_else(|| (!is_direct(channel)).then_some(ts));
        Self { channel: channel.to_owned(), thread: thread.map(str::to_owned) }
    }

    /// As the host writes it.
    pub(crate) fn address(&self) -> Result<Address, BadId> {
        let thread = self.thread.as_ref().map(|ts| format!("{NAME}:{}:{ts}", self.channel));
        Ok(Address {
            channel_type: ChannelType::parse(NAME)?,
            platform_id: PlatformId::parse(format!("{NAME}:{}", self.channel))?,
            thread_id: thread.map(ThreadId::parse).transpose()?,
        })
    }

    /// Reads it back; the error is for people.
    pub(crate) fn parse(at: &Address) -> Result<Self, String> {
        let bad =
            |what: &str| format!("{what:?} is no Slack address; it looks like slack:C0123ABCD");
        let channel = channel_of(at.platform_id.as_str());
        let channel = channel.ok_or_else(|| bad(at.platform_id.as_str()))?.to_owned();
        let Some(thread) = &at.thread_id else { return Ok(Self { channel, thread: None }) };
        // An older install writes the chat itself, or an empty `ts`, where there is no thread.
        let ts = thread
            .as_str()
            .strip_prefix(at.platform_id.as_str())
            .map(|ts| ts.trim_start_matches(':'));
        match ts {
            Some("") => Ok(Self { channel, thread: None }),
            Some(ts) if is_ts(ts) => Ok(Self { channel, thread: Some(ts.to_owned()) }),
            _ => Err(bad(thread.as_str())),
        }
    }
}

/// The conversation that a platform id names.
pub(crate) fn channel_of(platform_id: &str) -> Option<&str> {
    let channel = platform_id.strip_prefix(NAME)?.strip_prefix(':')?;
    is_id(channel).then_some(channel)
}

/// Whether a conversation is one person and the agent.
pub(crate) fn is_direct(channel: &str) -> bool {
    channel.starts_with('D')
}

/// Whether Slack writes ids so.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

/// Whether Slack names messages so: seconds, a dot, and a number that makes it unique.
pub(crate) fn is_ts(text: &str) -> bool {
    let digits =
        |part: &str| (1..=20).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    text.split_once('.').is_some_and(|(seconds, rest)| digits(seconds) && digits(rest))
}

/// When a message was said.
pub(crate) fn time_of(ts: &str) -> Option<Timestamp> {
    let (seconds, rest) = ts.split_once('.').unwrap_or((ts, "0"));
    let micros: String = rest.chars().chain("000000".chars()).take(6).collect();
    let micros = micros.parse::<i64>().ok()?;
    let all = seconds.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(micros)?;
    Timestamp::from_microsecond(all).ok()
}

/// A moment as Slack writes it.
pub(crate) fn ts_at(at: Timestamp) -> String {
    let micros = at.as_microsecond();
    format!("{}.{:06}", micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000))
}

#[cfg(test)]
mod tests;
