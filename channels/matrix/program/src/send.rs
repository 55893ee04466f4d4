//! What the agent says. Each event has a transaction id made of the message's key, so that the homeserver shows
//! it once however often it is sent.

use crate::Matrix;
use matrix_sdk::attachment::AttachmentConfig;
use matrix_sdk::room::reply::{EnforceThread, Reply};
use matrix_sdk::ruma::api::error::{ErrorKind, RetryAfter};
use matrix_sdk::ruma::events::room::message::{AddMentions, ReplyWithinThread};
use matrix_sdk::ruma::{EventId, OwnedEventId, OwnedTransactionId};
use matrix_sdk::{Error, HttpError, Room};
use mime::Mime;
use nanoclaw_channel::{Body, OutFile, Outgoing, PlatformMessageId, Receipt, SendError};
use nanoclaw_channel_matrix::compose;
use nanoclaw_channel_matrix::ids::parse_thread;
use nanoclaw_kit::files::safe_name;
use serde_json::Value;
use std::time::Duration;

/// Longest wait that a homeserver may ask for.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// A message on its way.
struct Way<'a> {
    room: &'a Room,
    key: &'a str,
    thread: Option<String>,
    reply_to: Option<&'a str>,
}

impl Matrix {
    pub(crate) async fn send(&self, message: &Outgoing) -> Result<Receipt, SendError> {
        let room = self.room_of(&message.to.platform_id).await?;
        let way = Way {
            room: &room,
            key: &message.key,
            thread: message.to.thread_id.as_ref().and_then(parse_thread).map(|(_, root)| root),
            reply_to: message.reply_to.as_ref().map(PlatformMessageId::as_str),
        };
        let id = match &message.body {
            Body::Text { markdown, files } => self.say(&way, markdown, files).await?,
            Body::Ask(question) => self.put_all(&way, compose::question(question)).await?,
            Body::Card { title, markdown } => {
                let text = compose::card(title.as_deref(), markdown);
                self.put_all(&way, compose::text(&text)).await?
            }
            Body::Edit { message, markdown } => self.edit(&way, message.as_str(), markdown).await?,
            Body::React { message, emoji } => {
                let Some(emoji) = compose::emoji(emoji) else {
                    let why =
                        format!("{emoji:?} is no emoji; reactions here are characters like 👍");
                    return Err(SendError::Reject { why });
                };
                let content = compose::reaction(message.as_str(), emoji);
                Some(self.put(&room, "m.reaction", content, way.key).await?)
            }
        };
        Ok(Receipt { id: id.and_then(|id| PlatformMessageId::parse(id).ok()) })
    }

    /// Text, then files; what cannot be sent is told in the text.
    async fn say(
        &self,
        way: &Way<'_>,
        markdown: &str,
        files: &[OutFile],
    ) -> Result<Option<String>, SendError> {
        let (sent, large): (Vec<_>, Vec<_>) =
            files.iter().partition(|file| file.bytes.len() as u64 <= self.upload_max);
        let mut text = markdown.to_owned();
        for file in large {
            let (have, max) = (file.bytes.len() >> 20, self.upload_max >> 20);
            let name = safe_name(&file.name, "file", None).replace('`', "'");
            text.push_str(&format!(
                "\n\n(The file `{name}` was not sent: it has {have} MB, more than the {max} MB that \
                 this homeserver takes.)"
            ));
        }
        let contents = if text.trim().is_empty() { Vec::new() } else { compose::text(&text) };
        let mut first = self.put_all(way, contents).await?;
        for (n, file) in sent.into_iter().enumerate() {
            let id = self.attach(way, file, &format!("{}-f{n}", way.key)).await?;
            first.get_or_insert(id);
        }
        Ok(first)
    }

    /// Sends contents one after the other; returns the id of the first.
    async fn put_all(
        &self,
        way: &Way<'_>,
        contents: Vec<Value>,
    ) -> Result<Option<String>, SendError> {
        let mut ids = Vec::new();
        for (n, mut content) in contents.into_iter().enumerate() {
            let reply_to = way.reply_to.filter(|_| n == 0);
            compose::relate(&mut content, way.thread.as_deref(), reply_to);
            let txn = format!("{}-{n}", way.key);
            ids.push(self.put(way.room, "m.room.message", content, &txn).await?);
        }
        let first = (!ids.is_empty()).then(|| ids.remove(0));
        if let Some(first) = &first {
            self.keep_parts(first, ids).await?;
        }
        Ok(first)
    }

    /// Remembers what else belongs to a message, for when it is changed.
    async fn keep_parts(&self, first: &str, more: Vec<String>) -> Result<(), SendError> {
        let key = format!("parts:{first}");
        if more.is_empty() && self.state.get::<Vec<String>>(&key).await.is_none() {
            return Ok(());
        }
        let kept = self.state.put(&key, &more).await;
        kept.map_err(|why| SendError::Retry { after: None, why })
    }

    /// Changes a message, all its parts; parts too few are added, parts too many are taken back.
    async fn edit(
        &self,
        way: &Way<'_>,
        message: &str,
        markdown: &str,
    ) -> Result<Option<String>, SendError> {
        let before: Vec<String> =
            self.state.get(&format!("parts:{message}")).await.unwrap_or_default();
        let (mut more, mut contents) = (Vec::new(), compose::text(markdown));
        if contents.is_empty() {
            contents = compose::plain("…");
        }
        let mut old = std::iter::once(message.to_owned()).chain(before);
        for (n, mut content) in contents.into_iter().enumerate() {
            let txn = format!("{}-{n}", way.key);
            let id = match old.next() {
                Some(part) => {
                    let content = compose::edit(&part, content);
                    self.put(way.room, "m.room.message", content, &txn).await?;
                    part
                }
                None => {
                    compose::relate(&mut content, way.thread.as_deref(), None);
                    self.put(way.room, "m.room.message", content, &txn).await?
                }
            };
            if n > 0 {
                more.push(id);
            }
        }
        for (n, part) in old.enumerate() {
            let part = event_id(&part)?;
            let txn = OwnedTransactionId::from(format!("{}-r{n}", way.key));
            let gone = way.room.redact(&part, None, Some(txn)).await;
            gone.map_err(|e| sort(&Error::from(e)))?;
        }
        self.keep_parts(message, more).await?;
        Ok(Some(message.to_owned()))
    }

    /// Sends one event; returns its id.
    pub(crate) async fn put(
        &self,
        room: &Room,
        kind: &str,
        content: Value,
        txn: &str,
    ) -> Result<String, SendError> {
        let sending =
            room.send_raw(kind, content).with_transaction_id(&OwnedTransactionId::from(txn));
        let sent = sending.await.map_err(|e| sort(&e))?;
        Ok(sent.response.event_id.to_string())
    }

    async fn attach(&self, way: &Way<'_>, file: &OutFile, txn: &str) -> Result<String, SendError> {
        let name = safe_name(&file.name, "file", None);
        let mime = mime_of(&name);
        let to = way.reply_to.or(way.thread.as_deref());
        let mut config = AttachmentConfig::new().txn_id(OwnedTransactionId::from(txn));
        if let Some(to) = to {
            config = config.reply(Some(Reply {
                event_id: event_id(to)?,
                enforce_thread: match (&way.thread, way.reply_to) {
                    (None, _) => EnforceThread::MaybeThreaded,
                    (Some(_), None) => EnforceThread::Threaded(ReplyWithinThread::No),
                    (Some(_), Some(_)) => EnforceThread::Threaded(ReplyWithinThread::Yes),
                },
                add_mentions: AddMentions::No,
            }));
        }
        let sending = way.room.send_attachment(name, &mime, file.bytes.clone(), config);
        let sent = sending.await.map_err(|e| sort(&e))?;
        Ok(sent.event_id.to_string())
    }
}

fn event_id(id: &str) -> Result<OwnedEventId, SendError> {
    EventId::parse(id).map_err(|e| SendError::Reject { why: format!("{id} is no message: {e}") })
}

/// The media type that an ending stands for; apps show pictures and play sounds by it.
fn mime_of(name: &str) -> Mime {
    let known = nanoclaw_kit::files::mime_of(name).and_then(|mime| mime.parse().ok());
    known.unwrap_or(mime::APPLICATION_OCTET_STREAM)
}

/// What happens next after an error.
pub(crate) fn sort(error: &Error) -> SendError {
    let retry = |after, why| SendError::Retry { after, why };
    let Some(api) = error.as_client_api_error() else {
        return match error {
            // The address is left out: it says nothing new.
            Error::Http(http) if matches!(**http, HttpError::Reqwest(_)) => {
                retry(None, "the homeserver was not reached".to_owned())
            }
            other => retry(None, format!("not sent: {other}")),
        };
    };
    let why = format!("the homeserver answered: {api}");
    match (api.error_kind(), api.status_code.as_u16()) {
        (Some(ErrorKind::UnknownToken { .. } | ErrorKind::MissingToken), _) | (_, 401) => {
            SendError::Broken { why: crate::session::SIGNED_OUT.to_owned() }
        }
        (Some(ErrorKind::LimitExceeded(limit)), _) => {
            let after = match &limit.retry_after {
                Some(RetryAfter::Delay(after)) => Some((*after).min(WAIT_MAX)),
                _ => None,
            };
            retry(after, why)
        }
        (_, 408 | 425 | 429 | 500..) => retry(None, why),
        _ => SendError::Reject { why },
    }
}
