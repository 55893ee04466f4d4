//! What the host calls chats, topics and messages of Telegram, and back.
//!
//! A chat is `telegram:<chat>`, a forum topic `telegram:<chat>:<topic>`, a message `<chat>:<message>`.

use nanoclaw_channel::{Address, ChannelType, PlatformId, PlatformMessageId, SendError, ThreadId};

#[cfg(test)]
mod tests;

/// A chat and, in a forum, a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) chat: i64,
    pub(crate) topic: Option<i64>,
}

/// A message in a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) chat: i64,
    pub(crate) message: i64,
}

impl Place {
    /// As the host knows it; numbers always make a usable id.
    pub(crate) fn address(self) -> Option<Address> {
        let Self { chat, topic } = self;
        Some(Address {
            channel_type: ChannelType::parse(crate::NAME).ok()?,
            platform_id: platform_id(chat)?,
            thread_id: match topic {
                Some(topic) => Some(ThreadId::parse(format!("telegram:{chat}:{topic}")).ok()?),
                None => None,
            },
        })
    }

    /// As Telegram knows it.
    pub(crate) fn parse(to: &Address) -> Result<Self, SendError> {
        let wrong = || SendError::Reject {
            why: format!(
                "{} is no chat of Telegram; one looks like telegram:-100123 or, with a topic, \
                 telegram:-100123:7",
                to.thread_id.as_ref().map_or(to.platform_id.as_str(), ThreadId::as_str)
            ),
        };
        let chat = to.platform_id.as_str().strip_prefix("telegram:").and_then(|n| n.parse().ok());
        let chat = chat.ok_or_else(wrong)?;
        let topic = match to.thread_id.as_ref().map(ThreadId::as_str) {
            None => None,
            Some(thread) => {
                let parts = thread.strip_prefix("telegram:").and_then(|t| t.split_once(':'));
                let topic = parts.filter(|(in_chat, _)| in_chat.parse() == Ok(chat));
                Some(topic.and_then(|(_, topic)| topic.parse().ok()).ok_or_else(wrong)?)
            }
        };
        Ok(Self { chat, topic })
    }
}

/// A chat as the host knows it.
pub(crate) fn platform_id(chat: i64) -> Option<PlatformId> {
    PlatformId::parse(format!("telegram:{chat}")).ok()
}

impl At {
    pub(crate) fn id(self) -> Option<PlatformMessageId> {
        PlatformMessageId::parse(format!("{}:{}", self.chat, self.message)).ok()
    }

    pub(crate) fn parse(id: &PlatformMessageId) -> Result<Self, SendError> {
        let parts = id.as_str().split_once(':');
        parts
            .and_then(|(chat, message)| {
                Some(Self { chat: chat.parse().ok()?, message: message.parse().ok()? })
            })
            .ok_or_else(|| SendError::Reject { why: format!("{id} is no message of Telegram") })
    }
}
