//! What Emacs calls.

use crate::FILE_IN_MAX;
use crate::backlog::Backlog;
use crate::wire::{Answered, Entry, Kind, Said, SaidFile};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nanoclaw_channel::time::{Clock as _, SystemClock};
use nanoclaw_channel::{
    Address, Answer, AnswerOutcome, ChannelType, ChatKind, InFile, Inbound, Ingress, Mention,
    PlatformId, PlatformMessageId, QuestionId, Quote, Sender,
};
use nanoclaw_kit::Method;
use nanoclaw_kit::dialect::plain;
use nanoclaw_kit::files::{kind_of, safe_name, size};
use nanoclaw_kit::sign::same;
use nanoclaw_kit::webhook::{Handler, Hook, Reply};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

pub(crate) const MESSAGE: &str = "/api/message";
pub(crate) const MESSAGES: &str = "/api/messages";
pub(crate) const ANSWER: &str = "/api/answer";

/// Longest time that a call waits for something to read.
const WAIT_MAX: Duration = Duration::from_secs(50);
/// Most files in one call.
const FILES_MAX: usize = 20;

/// Serves one chat.
pub(crate) struct Serve {
    ingress: Arc<dyn Ingress>,
    backlog: Arc<Backlog>,
    chat: PlatformId,
    token: String,
}

fn no(status: u16, error: &str) -> Reply {
    Reply { status, ..Reply::json(&json!({ "error": error })) }
}

#[async_trait]
impl Handler for Serve {
    async fn call(&self, call: Hook) -> Reply {
        let token = call.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        if !token.is_some_and(|token| same(token.trim().as_bytes(), self.token.as_bytes())) {
            return no(
                401,
                "the token is wrong; it is in data/channels/emacs/token of the install",
            );
        }
        match (&call.method, call.path.as_str()) {
            (&Method::POST, MESSAGE) => self.said(&call).await,
            (&Method::GET, MESSAGES) => self.read(&call).await,
            (&Method::POST, ANSWER) => self.answered(&call).await,
            _ => no(404, "there is no such thing"),
        }
    }
}

impl Serve {
    pub(crate) fn new(
        ingress: Arc<dyn Ingress>,
        backlog: Arc<Backlog>,
        chat: PlatformId,
        token: String,
    ) -> Self {
        Self { ingress, backlog, chat, token }
    }

    /// Who is at the keyboard.
    fn sender(&self) -> Sender {
        Sender { handle: self.chat.to_string(), name: Some("Emacs".into()) }
    }

    async fn said(&self, call: &Hook) -> Reply {
        let said: Said = match serde_json::from_slice(&call.body) {
            Ok(said) => said,
            Err(_) => return no(400, "this is not JSON with a text"),
        };
        if said.text.trim().is_empty() && said.files.is_empty() {
            return no(400, "text is required");
        }
        if said.files.len() > FILES_MAX {
            return no(400, "too many files for one message");
        }
        let now = SystemClock.now();
        let id = said.id.unwrap_or_else(|| format!("emacs-{}", now.as_nanosecond()));
        let (Ok(id), Some(at)) = (PlatformMessageId::parse(id), self.address()) else {
            return no(400, "the id is none");
        };
        let message = Inbound {
            at,
            reply: None,
            id: id.clone(),
            timestamp: now,
            sender: self.sender(),
            person: None,
            text: said.text,
            mention: Mention::Yes,
            chat: ChatKind::Direct,
            files: said.files.into_iter().map(file).collect(),
            reply_to: said.reply_to.map(|id| Quote { id: Some(id), ..Quote::default() }),
            only_for: None,
        };
        match self.ingress.push(message).await {
            Ok(()) => Reply::json(&json!({ "messageId": id, "timestamp": now.as_millisecond() })),
            Err(e) => no(503, &format!("not taken yet: {e}")),
        }
    }

    fn address(&self) -> Option<Address> {
        let channel_type = ChannelType::parse(crate::CHANNEL.name).ok()?;
        Some(Address { channel_type, platform_id: self.chat.clone(), thread_id: None })
    }

    /// What there is to read, at once or as soon as there is something.
    async fn read(&self, call: &Hook) -> Reply {
        let query = call.query.as_deref().unwrap_or_default();
        let number = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse::<i64>().ok())
        };
        let since = number("since").unwrap_or(0);
        let wait =
            Duration::from_secs(number("wait").unwrap_or(0).max(0).unsigned_abs()).min(WAIT_MAX);
        self.backlog.has_read(since).await;
        let typed = self.backlog.is_typing();
        let something = async {
            loop {
                let rung = self.backlog.bell.notified();
                let entries = self.backlog.after(since);
                if !entries.is_empty()
                    || self.backlog.is_typing() != typed
                    || self.backlog.has_ended()
                {
                    return entries;
                }
                rung.await;
            }
        };
        let entries = match tokio::time::timeout(wait, something).await {
            Ok(entries) => entries,
            Err(_) => self.backlog.after(since),
        };
        let entries: Vec<Value> =
            entries.iter().filter_map(|e| serde_json::from_str(e).ok()).collect();
        Reply::json(&json!({ "messages": entries, "typing": self.backlog.is_typing() }))
    }

    async fn answered(&self, call: &Hook) -> Reply {
        let Ok(answered) = serde_json::from_slice::<Answered>(&call.body) else {
            return no(400, "this is not JSON with a question and an option");
        };
        let offered = self.backlog.offered(&answered.question).await;
        let value = |values: &[String]| values.get(answered.option.checked_sub(1)?).cloned();
        let (Some(offered), Ok(question), Ok(channel)) = (
            offered,
            QuestionId::parse(answered.question.as_str()),
            ChannelType::parse(crate::CHANNEL.name),
        ) else {
            // Not 404, which is what Emacs hears while the channel starts, and tries again.
            return no(410, "there is no such question");
        };
        let Some(value) = value(&offered.values) else { return no(410, "there is no such option") };
        let answer = Answer { question, value, channel, sender: self.sender() };
        let (word, markdown) = match self.ingress.answer(answer).await {
            Ok(AnswerOutcome::Taken { label }) => {
                (label.clone(), format!("{}\n\n**{label}**", offered.markdown))
            }
            Ok(AnswerOutcome::Late) => {
                let over = "This question is over.".to_owned();
                (over.clone(), format!("{}\n\n{over}", offered.markdown))
            }
            Ok(AnswerOutcome::Refused { why }) => return Reply::json(&json!({ "refused": why })),
            Err(e) => return no(503, &format!("not taken yet: {e}")),
        };
        // The buttons go: there is nothing to choose any more.
        let text = plain(&markdown);
        let entry =
            Entry { kind: Kind::Edit, id: offered.message, text, markdown, ..Entry::default() };
        let key = format!("answered {} {word}", answered.question);
        if let Err(e) = self.backlog.add(&key, entry).await {
            tracing::warn!("an answered question still shows its buttons: {e}");
        }
        Reply::json(&json!({ "answer": word }))
    }
}

pub(crate) fn file(file: SaidFile) -> InFile {
    let kind = kind_of(file.mime.as_deref(), &file.name);
    let name = safe_name(&file.name, kind, file.mime.as_deref());
    let bytes = match file.data.map(|data| STANDARD.decode(data.trim())) {
        Some(Ok(bytes)) if bytes.len() as u64 <= FILE_IN_MAX => Ok(bytes),
        Some(Err(_)) => Err("its bytes were broken on the way".to_owned()),
        Some(Ok(_)) | None => Err(format!("it is larger than {}", size(FILE_IN_MAX))),
    };
    let (bytes, missing) = match bytes {
        Ok(bytes) => (bytes, None),
        Err(why) => (Vec::new(), Some(why)),
    };
    InFile { kind: kind.to_owned(), name, mime: file.mime, bytes, missing }
}
