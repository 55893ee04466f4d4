//! What the host itself says: a note to an agent, a line in a chat, a word to the owner.

use crate::session::Files;
use crate::{Host, HostError, blocking, lock};
use nanoclaw_central::Session;
use nanoclaw_channel::{Body, Outgoing};
use nanoclaw_contract::content::Chat;
use nanoclaw_contract::ids::{Address, ChannelType, MessageId, PlatformId, SessionId};
use nanoclaw_contract::message::{AGENT_CHANNEL, InKind, NewIn, Trigger};
use std::sync::Arc;
use std::time::Duration;

/// How often a line from the host is tried.
const TRIES: u32 = 5;

impl Host {
    /// Tells the agent something. It reads it with its next message; a note never wakes it, so that a
    /// failing answer to a note cannot go round in circles. The same key again is the same note.
    pub(crate) async fn note_to_agent(
        self: &Arc<Self>,
        session: &Session,
        files: &Arc<Files>,
        key: &str,
        text: &str,
    ) -> Result<(), HostError> {
        let row = self.note(session, key, text)?;
        let files = files.clone();
        blocking(move || files.push(row).map(|_| ())).await
    }

    /// A note into a session's inbox; `wake` starts a turn. The same key again is the same note. Blocks.
    pub(crate) fn tell_agent(
        self: &Arc<Self>,
        session: &SessionId,
        key: &str,
        text: &str,
        wake: bool,
    ) -> Result<(), HostError> {
        let its = self.central.session(session)?;
        let its = its.ok_or_else(|| HostError::Unknown(format!("session {session}")))?;
        let mut row = self.note(&its, key, text)?;
        if wake {
            row.trigger = Trigger::Wake;
        }
        self.files(&its)?.push(row)?;
        if wake {
            self.wake(session);
        }
        Ok(())
    }

    fn note(&self, session: &Session, key: &str, text: &str) -> Result<NewIn, HostError> {
        Ok(NewIn {
            id: MessageId::parse(format!("note-{key}"))?,
            kind: InKind::Chat,
            timestamp: self.clock.now(),
            process_after: None,
            recurrence: None,
            trigger: Trigger::Context,
            reply: Some(Address {
                channel_type: ChannelType::parse(AGENT_CHANNEL)?,
                platform_id: PlatformId::parse(session.agent.as_str())?,
                thread_id: None,
            }),
            content: Chat {
                text: text.to_owned(),
                sender: "system".into(),
                sender_id: Some("system".into()),
                ..Chat::default()
            }
            .to_json(),
            source: None,
            on_wake: false,
        })
    }

    /// The chat and thread of a session. Blocks.
    pub(crate) fn home(&self, session: &Session) -> Result<Option<Address>, HostError> {
        let Some(chat) = &session.chat else { return Ok(None) };
        Ok(self.central.chat(chat)?.map(|c| Address {
            channel_type: c.channel_type,
            platform_id: c.platform_id,
            thread_id: session.thread.clone().filter(|t| !crate::tasks::is_own(t)),
        }))
    }

    /// Says something in the chat of a session. The same key again is the same line.
    pub(crate) async fn notify_chat(self: &Arc<Self>, session: &Session, key: &str, text: &str) {
        let (host, its) = (self.clone(), session.clone());
        match blocking(move || host.home(&its)).await {
            Ok(Some(to)) => {
                self.notify(to, format!("notice:{}:{key}", session.id), text.to_owned());
            }
            Ok(None) => {}
            Err(e) => tracing::error!(error = %e, "no notice could be sent"),
        }
    }

    /// Tells the owner, wherever an owner can be reached.
    pub(crate) fn notify_owner(self: &Arc<Self>, key: &str, text: &str) {
        let (host, key, text) = (self.clone(), key.to_owned(), text.to_owned());
        tokio::spawn(async move {
            let h = host.clone();
            let to = blocking(move || h.owner_chat()).await;
            match to {
                Ok(Some(to)) => host.notify(to, format!("owner:{key}"), text),
                Ok(None) => tracing::warn!(text, "there is no owner to tell"),
                Err(e) => tracing::error!(error = %e, "the owner was not told"),
            }
        });
    }

    /// The first direct chat of an owner: where they were last reached, or the channel they are from.
    fn owner_chat(&self) -> Result<Option<Address>, HostError> {
        for owner in self.central.owners()? {
            let Some((channel, handle)) = owner.as_str().split_once(':') else { continue };
            let (channel, handle) = (ChannelType::parse(channel)?, PlatformId::parse(handle)?);
            let known = match self.central.user_dm(&owner, &channel)? {
                Some(chat) => self.central.chat(&chat)?,
                None => self.central.chat_by_address(&channel, &handle)?,
            };
            if let Some(chat) = known {
                return Ok(Some(Address {
                    channel_type: chat.channel_type,
                    platform_id: chat.platform_id,
                    thread_id: None,
                }));
            }
        }
        Ok(None)
    }

    pub(crate) fn notify(self: &Arc<Self>, to: Address, key: String, markdown: String) {
        if !lock(&self.said).insert(key.clone()) {
            return;
        }
        let host = self.clone();
        tokio::spawn(async move {
            let message = Outgoing {
                to,
                body: Body::Text { markdown, files: Vec::new() },
                key: key.clone(),
                reply_to: None,
            };
            for attempt in 1..=TRIES {
                match host.send(&message).await {
                    crate::dispatch::Outcome::Sent(_) => break,
                    crate::dispatch::Outcome::Rejected { why } => {
                        tracing::warn!(why, "a notice was rejected");
                        break;
                    }
                    crate::dispatch::Outcome::Retry { after, why } => {
                        tracing::debug!(why, "a notice waits");
                        let wait = after.unwrap_or_else(|| crate::outbound::backoff(attempt));
                        tokio::time::sleep(wait.min(Duration::from_secs(60))).await;
                    }
                }
            }
            if key.starts_with("notice:") && key.ends_with(":wake") {
                // The next outage is worth a line of its own.
                lock(&host.said).remove(&key);
            }
        });
    }
}
