//! What the host itself says: a note to an agent, a line in a chat, a word to the owner.

use crate::session::Files;
use crate::{Host, HostError, blocking};
use nanoclaw_central::Session;
use nanoclaw_channel::Body;
use nanoclaw_contract::content::Chat;
use nanoclaw_contract::ids::{Address, ChannelType, MessageId, PlatformId, SessionId};
use nanoclaw_contract::message::{AGENT_CHANNEL, InKind, NewIn, Trigger};
use std::sync::Arc;

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
        let (host, its, key, text) =
            (self.clone(), session.clone(), key.to_owned(), text.to_owned());
        let said = blocking(move || match host.home(&its)? {
            Some(to) => host.say(&format!("notice:{}:{key}", its.id), &to, text),
            None => Ok(()),
        });
        if let Err(e) = said.await {
            tracing::error!(error = %e, "no notice could be sent");
        }
    }

    /// Tells the owner, wherever an owner can be reached; the same thing once a day.
    pub(crate) fn notify_owner(self: &Arc<Self>, key: &str, text: &str) {
        let day = self.clock.now().as_second() / 86_400;
        let (host, key, text) = (self.clone(), format!("owner:{key}:{day}"), text.to_owned());
        tokio::spawn(async move {
            let told = blocking(move || {
                for owner in host.central.owners()? {
                    if let Some(to) = host.known_dm(&owner)? {
                        return host.say(&key, &to, text);
                    }
                }
                tracing::warn!(text, "there is no owner to tell");
                Ok(())
            });
            if let Err(e) = told.await {
                tracing::error!(error = %e, "the owner was not told");
            }
        });
    }

    /// A line of text to a chat. Blocks.
    pub(crate) fn say(
        self: &Arc<Self>,
        key: &str,
        to: &Address,
        text: String,
    ) -> Result<(), HostError> {
        self.mail(key, to, Body::Text { markdown: text, files: Vec::new() })
    }
}
