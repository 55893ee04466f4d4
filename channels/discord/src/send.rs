//! The way out: text in pieces, files, questions with buttons, edits, reactions.
//!
//! Each piece has a nonce made of the message's key, which Discord itself knows for some minutes and the
//! store for days: a piece that was shown is not shown again, whenever the rest is tried again.

use crate::ids::{Id, Place};
use crate::rest::{CallError, Rest};
use crate::wire::Message;
use nanoclaw_channel::markdown::printable_line;
use nanoclaw_channel::split::Unit;
use nanoclaw_channel::{
    Body, OutFile, Outgoing, PlatformMessageId, Question, Receipt, SendError, ask, markdown,
};
use nanoclaw_kit::dialect::{Dialect, pieces};
use nanoclaw_kit::emoji;
use nanoclaw_kit::store::Store;
use reqwest::multipart::{Form, Part};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::time::Duration;

/// Longest text of one message; counted in UTF-16 it is never longer than Discord counts it.
pub(crate) const TEXT_MAX: usize = 2000;
/// Largest file where nobody pays for more.
pub(crate) const FILE_MAX: u64 = 10 << 20;
const FILES_MAX: usize = 10;
const BUTTONS_PER_ROW: usize = 5;
const BUTTONS_MAX: usize = 25;
const LABEL_CHARS_MAX: usize = 80;
/// How long it is remembered what was shown, and what was asked: longer than a channel is out of order.
const KEPT: Duration = Duration::from_secs(30 * 86_400);
const ASKED: Duration = Duration::from_secs(30 * 86_400);
/// For how long Discord is trusted to know a nonce.
const NONCE_KNOWN_S: i64 = 120;
/// Where a message was not found is no thread yet.
const UNKNOWN_CHANNEL: u64 = 10_003;
const THREAD_EXISTS: u64 = 160_004;

pub(crate) struct Sender {
    pub(crate) rest: Arc<Rest>,
    pub(crate) store: Store,
    pub(crate) me: Id,
}

/// A question that can be answered.
#[derive(Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) question: String,
    pub(crate) text: String,
    pub(crate) values: Vec<String>,
}

/// One message to be shown.
#[derive(Default)]
struct Piece<'a> {
    content: String,
    files: &'a [OutFile],
    components: Option<Value>,
    reply_to: Option<Id>,
}

impl Sender {
    pub(crate) async fn send(&self, message: &Outgoing) -> Result<Receipt, SendError> {
        let place = Place::parse(&message.to)
            .ok_or_else(|| reject(format!("{} is no chat of Discord", message.to.platform_id)))?;
        match &message.body {
            Body::Text { markdown, files } => {
                let (markdown, files) = without_oversized(markdown, files);
                self.text(message, place, &markdown, &files).await
            }
            Body::Edit { message: of, markdown } => self.edit(message, place, of, markdown).await,
            Body::React { message: to, emoji } => self.react(place, to, emoji).await,
            Body::Ask(question) => self.ask(message, place, question).await,
            Body::Card { title, markdown } => {
                let title = title.as_deref().map(|t| format!("**{}**\n\n", printable_line(t)));
                let whole = format!("{}{markdown}", title.unwrap_or_default());
                self.text(message, place, &whole, &[]).await
            }
        }
    }

    async fn text(
        &self,
        message: &Outgoing,
        place: Place,
        markdown: &str,
        files: &[OutFile],
    ) -> Result<Receipt, SendError> {
        let texts = pieces(markdown, Dialect::Discord, TEXT_MAX, Unit::Utf16);
        let mut all: Vec<Piece<'_>> =
            texts.into_iter().map(|content| Piece { content, ..Piece::default() }).collect();
        for (n, files) in files.chunks(FILES_MAX).enumerate() {
            match all.last_mut() {
                Some(last) if n == 0 => last.files = files,
                _ => all.push(Piece { files, ..Piece::default() }),
            }
        }
        self.all(message, place, all).await
    }

    async fn ask(
        &self,
        message: &Outgoing,
        place: Place,
        question: &Question,
    ) -> Result<Receipt, SendError> {
        if !(1..=BUTTONS_MAX).contains(&question.options.len()) {
            let text = ask::text(question, &markdown::PLAIN);
            return self.text(message, place, &text, &[]).await;
        }
        let id = ask_id(question);
        let (components, whole) = buttons(question, &id);
        let title = printable_line(&question.title);
        let text = if !whole {
            // Labels that do not fit on buttons are read beside their numbers.
            ask::text(question, &markdown::PLAIN)
        } else if title.trim().is_empty() || question.title == question.question {
            question.question.clone()
        } else {
            format!("**{title}**\n\n{}", question.question)
        };
        let texts = pieces(&text, Dialect::Discord, TEXT_MAX, Unit::Utf16);
        let asked = Asked {
            question: question.question_id.to_string(),
            text: texts.last().cloned().unwrap_or_default(),
            values: question.options.iter().map(|o| o.value.clone()).collect(),
        };
        // Before the buttons are there, so that a click is never unknown.
        let asked = serde_json::to_string(&asked).map_err(|e| reject(e.to_string()))?;
        self.store.put_for(&format!("ask:{id}"), &asked, ASKED).await?;
        let mut all: Vec<Piece<'_>> =
            texts.into_iter().map(|content| Piece { content, ..Piece::default() }).collect();
        match all.last_mut() {
            Some(last) => last.components = Some(components),
            None => all.push(Piece { components: Some(components), ..Piece::default() }),
        }
        self.all(message, place, all).await
    }

    /// Shows every piece that was not shown yet, in order.
    async fn all(
        &self,
        message: &Outgoing,
        place: Place,
        mut all: Vec<Piece<'_>>,
    ) -> Result<Receipt, SendError> {
        if let (Some(first), Some(to)) = (all.first_mut(), &message.reply_to) {
            first.reply_to = Id::parse(to.as_str()).filter(|id| place.thread != Some(*id));
        }
        let mut ids = Vec::new();
        for (n, piece) in all.iter().enumerate() {
            let nonce = nonce(&message.key, n);
            let id = match self.store.get(&format!("sent:{nonce}")).await? {
                Some(id) => id,
                None => {
                    let id = self.post(place, piece, &nonce, &ids).await?;
                    self.store.put_for(&format!("sent:{nonce}"), &id, KEPT).await?;
                    id
                }
            };
            ids.push(id);
        }
        if ids.len() > 1 {
            self.keep_parts(&ids).await?;
        }
        let Some(first) = ids.into_iter().next() else { return Ok(Receipt::default()) };
        Ok(Receipt { id: PlatformMessageId::parse(first).ok() })
    }

    /// Keeps which parts a message has: an edit is for all of them, a reaction to one is to the message.
    async fn keep_parts(&self, ids: &[String]) -> Result<(), SendError> {
        let [first, rest @ ..] = ids else { return Ok(()) };
        let key = format!("parts:{first}");
        if rest.is_empty() {
            return Ok(self.store.delete(&key).await?);
        }
        self.store.put_for(&key, &ids.join(","), ASKED).await?;
        for part in rest {
            self.store.put_for(&format!("part:{part}"), first, ASKED).await?;
        }
        Ok(())
    }

    async fn post(
        &self,
        place: Place,
        piece: &Piece<'_>,
        nonce: &str,
        others: &[String],
    ) -> Result<String, SendError> {
        if let Some(id) = self.shown_before(place, piece, nonce, others).await? {
            return Ok(id);
        }
        self.rest.turn(place.posts_in()).await;
        let mut posted = self.try_post(place, piece, nonce).await;
        if let (Some(thread), Err(e)) = (place.thread, &posted)
            && e.code == UNKNOWN_CHANNEL
        {
            self.begin_thread(place.channel, thread).await?;
            posted = self.try_post(place, piece, nonce).await;
        }
        let posted = posted.inspect_err(|e| self.rest.slow_down(place.posts_in(), e))?;
        posted["id"].as_str().map(str::to_owned).ok_or_else(|| SendError::Retry {
            after: None,
            why: "Discord did not say what it calls the message".into(),
        })
    }

    async fn try_post(
        &self,
        place: Place,
        piece: &Piece<'_>,
        nonce: &str,
    ) -> Result<Value, CallError> {
        let mut payload = json!({
            "content": piece.content,
            "nonce": nonce,
            "enforce_nonce": true,
            "allowed_mentions": { "parse": ["users"], "replied_user": true },
        });
        if let Some(components) = &piece.components {
            payload["components"] = components.clone();
        }
        if let Some(to) = piece.reply_to {
            payload["message_reference"] = json!({ "message_id": to, "fail_if_not_exists": false });
        }
        let path = format!("/channels/{}/messages", place.posts_in());
        if piece.files.is_empty() {
            return self.rest.post(&path, &payload).await;
        }
        let mut form = Form::new().text("payload_json", payload.to_string());
        for (n, file) in piece.files.iter().enumerate() {
            let part = Part::bytes(file.bytes.clone()).file_name(file.name.clone());
            form = form.part(format!("files[{n}]"), part);
        }
        let bytes = piece.files.iter().map(|file| file.bytes.len()).sum();
        self.rest.post_form(&path, form, bytes).await
    }

    /// Whether an attempt whose answer was never heard was shown after all: Discord forgets a nonce after
    /// some minutes, what it shows it does not forget.
    async fn shown_before(
        &self,
        place: Place,
        piece: &Piece<'_>,
        nonce: &str,
        others: &[String],
    ) -> Result<Option<String>, SendError> {
        let now = crate::now().as_second();
        let key = format!("tried:{nonce}");
        let Some(tried) = self.store.get(&key).await? else {
            self.store.put_for(&key, &now.to_string(), KEPT).await?;
            return Ok(None);
        };
        let tried: i64 = tried.parse().unwrap_or(now);
        if now - tried < NONCE_KNOWN_S {
            return Ok(None);
        }
        let path = format!("/channels/{}/messages?limit=50", place.posts_in());
        let recent: Vec<Message> = match self.rest.get(&path).await {
            Ok(recent) => recent,
            Err(e) if e.code == UNKNOWN_CHANNEL || e.status == 403 => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let same = recent.iter().rev().find(|m| {
            m.author.id == self.me
                && !others.contains(&m.id.to_string())
                && m.content.trim() == piece.content.trim()
                && m.attachments.len() == piece.files.len()
                && crate::receive::when(&m.timestamp).as_second() >= tried - 5
        });
        Ok(same.map(|m| m.id.to_string()))
    }

    /// A conversation that a message in a channel began becomes a thread of that message, which then has the
    /// message's id.
    async fn begin_thread(&self, channel: Id, message: Id) -> Result<(), SendError> {
        let begun: Result<Message, _> =
            self.rest.get(&format!("/channels/{channel}/messages/{message}")).await;
        let begun = begun.map_err(|e| match e.status {
            404 => reject("the thread and the message that it began with are gone".into()),
            _ => e.next,
        })?;
        let text = crate::receive::readable(&begun, |_| None);
        let name: String = printable_line(&text).trim().chars().take(80).collect();
        let name = if name.is_empty() { "Conversation".to_owned() } else { name };
        let path = format!("/channels/{channel}/messages/{message}/threads");
        match self.rest.post(&path, &json!({ "name": name, "auto_archive_duration": 1440 })).await {
            Ok(_) => Ok(()),
            Err(e) if e.code == THREAD_EXISTS => Ok(()),
            Err(e) => Err(e.next),
        }
    }

    async fn edit(
        &self,
        message: &Outgoing,
        place: Place,
        of: &PlatformMessageId,
        markdown: &str,
    ) -> Result<Receipt, SendError> {
        let first = message_id(of)?;
        let channel = place.channel_of(first);
        let key = format!("parts:{first}");
        let old = self.store.get(&key).await?.unwrap_or_else(|| first.to_string());
        let old: Vec<Id> = old.split(',').filter_map(Id::parse).collect();
        let texts = pieces(markdown, Dialect::Discord, TEXT_MAX, Unit::Utf16);
        let mut ids: Vec<String> = Vec::new();
        for (n, text) in texts.iter().enumerate() {
            let content = json!({ "content": text, "allowed_mentions": { "parse": ["users"] } });
            if let Some(id) = old.get(n) {
                self.rest.turn(channel).await;
                let path = format!("/channels/{channel}/messages/{id}");
                let edited = self.rest.patch(&path, &content).await;
                edited.inspect_err(|e| self.rest.slow_down(channel, e))?;
                ids.push(id.to_string());
            } else {
                // An edit that is tried again adds nothing twice.
                let piece = Piece { content: text.clone(), ..Piece::default() };
                let id = self.post(place, &piece, &nonce(&message.key, n), &ids).await?;
                ids.push(id);
                self.keep_parts(&ids).await?;
            }
        }
        for gone in old.iter().skip(texts.len().max(1)) {
            match self.rest.delete(&format!("/channels/{channel}/messages/{gone}")).await {
                Err(e) if e.status != 404 => return Err(e.into()),
                _ => {}
            }
        }
        if ids.len() != old.len() {
            self.keep_parts(&ids).await?;
        }
        Ok(Receipt { id: Some(of.clone()) })
    }

    async fn react(
        &self,
        place: Place,
        to: &PlatformMessageId,
        emoji: &str,
    ) -> Result<Receipt, SendError> {
        let message = message_id(to)?;
        let found = emoji::find(emoji);
        let emoji =
            found.ok_or_else(|| reject(format!("{emoji:?} is no emoji that Discord knows")))?;
        let mut coded = String::new();
        for byte in emoji.as_str().bytes() {
            coded.push_str(&format!("%{byte:02X}"));
        }
        let channel = place.channel_of(message);
        self.rest.turn(channel).await;
        let path = format!("/channels/{channel}/messages/{message}/reactions/{coded}/@me");
        let put = self.rest.put(&path, None).await;
        put.inspect_err(|e| self.rest.slow_down(channel, e))?;
        Ok(Receipt::default())
    }
}

/// A button for every option, and whether all labels stand on them whole.
fn buttons(question: &Question, id: &str) -> (Value, bool) {
    let mut whole = true;
    let mut all = Vec::new();
    for (n, option) in question.options.iter().enumerate() {
        let mut label = printable_line(&option.label);
        if label.trim().is_empty() || label.chars().count() > LABEL_CHARS_MAX {
            whole = false;
            let begin: String = label.chars().take(LABEL_CHARS_MAX - 8).collect();
            label = format!("{}) {}…", n + 1, begin.trim());
        }
        let custom = format!("ask:{n}:{id}");
        all.push(json!({ "type": 2, "style": 2, "label": label, "custom_id": custom }));
    }
    let rows: Vec<Value> =
        all.chunks(BUTTONS_PER_ROW).map(|row| json!({ "type": 1, "components": row })).collect();
    (Value::Array(rows), whole)
}

/// Under which key the first part of a message is kept that this is a later part of.
pub(crate) fn part_of(id: Id) -> String {
    format!("part:{id}")
}

/// What a button says of its question: short, whatever the question is called.
fn ask_id(question: &Question) -> String {
    nonce(question.question_id.as_str(), 0)
}

/// Files that Discord takes, and the text with a line for each that it does not.
fn without_oversized(markdown: &str, files: &[OutFile]) -> (String, Vec<OutFile>) {
    let (fit, large): (Vec<_>, Vec<_>) =
        files.iter().cloned().partition(|f| f.bytes.len() as u64 <= FILE_MAX);
    let mut text = markdown.to_owned();
    for file in large {
        let (name, size) = (printable_line(&file.name), file.bytes.len() >> 20);
        text.push_str(&format!(
            "\n\n(The file `{name}` was not sent: it has {size} MB, Discord takes {} MB.)",
            FILE_MAX >> 20
        ));
    }
    (text, fit)
}

fn message_id(id: &PlatformMessageId) -> Result<Id, SendError> {
    Id::parse(id.as_str()).ok_or_else(|| reject(format!("{id} is no message of Discord")))
}

/// At most 25 characters, as Discord wants it.
fn nonce(key: &str, n: usize) -> String {
    let hash = Sha256::digest(format!("{key}\n{n}"));
    hash.iter().take(12).map(|b| format!("{b:02x}")).collect()
}

fn reject(why: String) -> SendError {
    SendError::Reject { why }
}
