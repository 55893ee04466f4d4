//! One outbound row to where it goes: a channel, or the host itself.

use crate::session::Files;
use crate::team::{self, Letter};
use crate::{Host, HostError, actions, blocking};
use nanoclaw_central::{DeliveryState, Previewed, Session};
use nanoclaw_channel::{Body, OutFile, Outgoing, SendError};
use nanoclaw_contract::content::{Chat, Out};
use nanoclaw_contract::dir::FILE_BYTES_MAX;
use nanoclaw_contract::ids::{Address, AgentId, MessageId, OutId, PlatformMessageId, SessionId};
use nanoclaw_contract::message::{AGENT_CHANNEL, OutRow};
use serde_json::{Map, Value};
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

/// A row that was read, allowed and loaded.
pub(crate) enum Ready {
    /// For a channel, and what is shown of it already.
    Send(Outgoing, Option<Box<Previewed>>),
    /// For another agent.
    Letter(Letter),
    /// For the host.
    Action { id: OutId, action: String, fields: Map<String, Value> },
}

/// How an attempt ended.
pub(crate) enum Outcome {
    Sent(Option<PlatformMessageId>),
    Retry {
        after: Option<Duration>,
        why: String,
    },
    /// The channel takes nothing for now. However long that lasts, it is sent afterwards.
    Wait {
        why: String,
    },
    Rejected {
        why: String,
    },
    /// Rejected too, and all who are to know of it know it already.
    Refused {
        why: String,
    },
}

impl Ready {
    /// Loads files and ids. Blocks. The inner error is the reason of a refusal.
    pub(crate) fn load(
        host: &Host,
        session: &Session,
        files: &Files,
        row: OutRow,
        out: Out,
    ) -> Result<Result<Self, String>, HostError> {
        let Some(to) = row.to else {
            return Ok(match out {
                Out::Action { action, fields } => Ok(Self::Action { id: row.id, action, fields }),
                _ => Err("it has no address".to_owned()),
            });
        };
        if to.channel_type.as_str() == AGENT_CHANNEL && !matches!(out, Out::Action { .. }) {
            return Self::letter(files, row.id, &to, row.in_reply_to, out);
        }
        let body = match out {
            Out::Say { text, files: names } => match load_files(files, &row.id, &names) {
                Ok(loaded) => Body::Text { markdown: text, files: loaded },
                Err(why) => return Ok(Err(why)),
            },
            Out::Edit { message_id, text } => {
                let message = platform_id(host, files, &session.id, &message_id)?;
                // To the platform every message of ours has one author: cards of the host, other agents.
                if !host.central.said(&session.id, &to, &message)? {
                    return Ok(Err("only what this session said there can be changed".into()));
                }
                Body::Edit { message, markdown: text }
            }
            Out::React { message_id, emoji } => {
                Body::React { message: platform_id(host, files, &session.id, &message_id)?, emoji }
            }
            Out::Ask(mut question) => {
                let now = host.clock.now();
                match host.central.put_question(&question, &session.id, &row.id, &to, now) {
                    Ok(id) => question.question_id = id,
                    Err(nanoclaw_central::Error::Refused(why)) => return Ok(Err(why)),
                    Err(e) => return Err(e.into()),
                }
                Body::Ask(question)
            }
            Out::Card { title, text } => Body::Card { title, markdown: text },
            Out::Action { action, fields } => {
                return Ok(Ok(Self::Action { id: row.id, action, fields }));
            }
        };
        let reply_to = match &row.in_reply_to {
            Some(id) => inbound_platform_id(files, id)?,
            None => None,
        };
        // The same for every attempt; a session's ids are its own, so the session is part of it.
        let key = format!("{}:{}", session.id, row.id);
        let mut open = host.central.previews(&session.id)?.into_iter();
        let shown = open.find(|p| p.out == row.id && p.to == to).map(Box::new);
        Ok(Ok(Self::Send(Outgoing { to, body, key, reply_to }, shown)))
    }

    fn letter(
        files: &Files,
        id: OutId,
        to: &Address,
        in_reply_to: Option<MessageId>,
        out: Out,
    ) -> Result<Result<Self, String>, HostError> {
        let to = AgentId::parse(to.platform_id.as_str())?;
        let read = || {
            let (text, names) = team::readable(out)?;
            Ok((text, load_files(files, &id, &names)?))
        };
        Ok(read().map(|(text, files)| Self::Letter(Letter { id, to, in_reply_to, text, files })))
    }
}

fn load_files(files: &Files, id: &OutId, names: &[String]) -> Result<Vec<OutFile>, String> {
    let mut loaded = Vec::with_capacity(names.len());
    let mut left = FILE_BYTES_MAX;
    for name in names {
        let file = files.dir.open_outbox_file(id, name).map_err(|e| e.to_string())?;
        let mut bytes = Vec::new();
        file.take(left + 1).read_to_end(&mut bytes).map_err(|e| format!("read {name}: {e}"))?;
        left = left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| format!("its files have more than {FILE_BYTES_MAX} bytes"))?;
        loaded.push(OutFile { name: name.clone(), bytes });
    }
    Ok(loaded)
}

/// What the platform calls the message that an edit or a reaction names: by its own id, by the row that
/// said it, or by the row that brought it in.
fn platform_id(
    host: &Host,
    files: &Files,
    session: &SessionId,
    named: &str,
) -> Result<PlatformMessageId, HostError> {
    if let Ok(out) = OutId::parse(named)
        && let Some(d) = host.central.delivery(session, &out)?
        && d.state == DeliveryState::Sent
        && let Some(id) = d.platform_message_id
    {
        return Ok(id);
    }
    if let Ok(id) = MessageId::parse(named)
        && let Some(id) = inbound_platform_id(files, &id)?
    {
        return Ok(id);
    }
    Ok(PlatformMessageId::parse(named)?)
}

pub(crate) fn inbound_platform_id(
    files: &Files,
    id: &MessageId,
) -> Result<Option<PlatformMessageId>, HostError> {
    let row = files.with(|inbox| inbox.get(id))?;
    Ok(row
        .and_then(|(row, _)| Chat::parse(&row.content).id)
        .and_then(|id| PlatformMessageId::parse(id).ok()))
}

impl Host {
    /// Hands a row to its channel, or does what it asks for.
    pub(crate) async fn dispatch(
        self: &Arc<Self>,
        session: &Session,
        ready: Ready,
    ) -> Result<Outcome, HostError> {
        match ready {
            Ready::Send(message, None) => Ok(self.send(&message).await),
            Ready::Send(message, Some(shown)) => Ok(self.complete(&message, *shown).await),
            Ready::Letter(letter) => self.hand_over(session, letter).await,
            Ready::Action { id, action, fields } if action == "cli_request" => {
                crate::admin::from_box(self, session, &id, &fields).await
            }
            Ready::Action { id, action, fields } => {
                let (host, session) = (self.clone(), session.clone());
                blocking(move || actions::run(&host, &session, &id, &action, &fields)).await
            }
        }
    }

    /// Sends one message and sorts the result.
    pub(crate) async fn send(self: &Arc<Self>, message: &Outgoing) -> Outcome {
        let name = &message.to.channel_type;
        let Some(channel) = self.channels.get(name) else {
            return Outcome::Wait { why: format!("the channel {name} is not connected") };
        };
        match channel.send(message).await {
            Ok(receipt) => {
                self.found_well(name);
                Outcome::Sent(receipt.id)
            }
            Err(SendError::Retry { why, .. }) if !self.channels.is_up(name) => {
                Outcome::Wait { why }
            }
            Err(SendError::Retry { after, why }) => Outcome::Retry { after, why },
            Err(SendError::Reject { why }) => Outcome::Rejected { why },
            Err(SendError::Broken { why }) => {
                self.found_broken(name, &why);
                Outcome::Wait { why }
            }
        }
    }

    /// Shows or hides typing, best effort.
    pub(crate) async fn typing(&self, to: &Address, typing: nanoclaw_channel::Typing) {
        if let Some(channel) = self.channels.get(&to.channel_type) {
            // A channel that hangs here must not hold up the session.
            drop(tokio::time::timeout(Duration::from_secs(2), channel.typing(to, typing)).await);
        }
    }
}
