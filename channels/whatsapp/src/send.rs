//! From the host to WhatsApp.
//!
//! Every part of a message has an id of its own, made of the message's key: WhatsApp shows what comes twice
//! with one id once, so an attempt that is repeated doubles nothing. A part counts as sent when WhatsApp's
//! server has acknowledged it.

#[cfg(test)]
mod tests;

use crate::ids;
use crate::line::Line;
use crate::store::Said;
use nanoclaw_channel::markdown::PLAIN;
use nanoclaw_channel::split::Unit;
use nanoclaw_channel::{
    Body, OutFile, Outgoing, PlatformMessageId, Receipt, SendError, ask, markdown,
};
use nanoclaw_kit::dialect::{Dialect, pieces};
use nanoclaw_kit::files::{mime_of, safe_name, size};
use sha2::{Digest as _, Sha256};
use std::time::Duration;
use tokio::time::timeout;
use whatsapp_rust::client::ClientError;
use whatsapp_rust::media::{self, AudioOptions, DocumentOptions, ImageOptions, VideoOptions};
use whatsapp_rust::prelude::{MessageBuilderExt as _, MessageField, SendOptions, wa};
use whatsapp_rust::wacore::download::MediaType;
use whatsapp_rust::wacore::proto_helpers::build_reaction_message;
use whatsapp_rust::wacore::time::now_millis;
use whatsapp_rust::waproto::whatsapp::message::ProtocolMessage;
use whatsapp_rust::waproto::whatsapp::message::protocol_message::Type;
use whatsapp_rust::{IqError, Jid, UploadOptions};

/// Longest text: WhatsApp takes some more.
pub(crate) const TEXT_MAX: usize = 60_000;
/// Longest text below a picture or beside a document.
const CAPTION_MAX: usize = 1_000;
/// Largest file that goes out; it is held in memory.
pub(crate) const FILE_OUT_MAX: u64 = 64 * 1024 * 1024;
/// Largest file that is shown rather than offered as a document.
const SHOWN_MAX: usize = 16 * 1024 * 1024;
/// How long WhatsApp may take to acknowledge a part.
const ACK_WAIT: Duration = Duration::from_secs(20);
/// How long a file may take.
const UPLOAD_WAIT: Duration = Duration::from_secs(300);

/// Where the parts of one message go.
struct Errand<'a> {
    line: &'a Line,
    chat: &'a str,
    to: Jid,
    key: &'a str,
    part: usize,
    /// The ids of the parts that people see, the first first.
    sent: Vec<String>,
}

impl Line {
    pub(crate) async fn send(&self, message: &Outgoing) -> Result<Receipt, SendError> {
        let chat = message.to.platform_id.as_str();
        let to = ids::parse(chat).map_err(reject)?;
        let mut errand =
            Errand { line: self, chat, to, key: &message.key, part: 0, sent: Vec::new() };
        let quote = match &message.reply_to {
            Some(id) => self.quote(chat, id.as_str()).await,
            None => None,
        };
        match &message.body {
            Body::Text { markdown, files } => errand.say(markdown, files, quote).await?,
            Body::Ask(question) => errand.texts(&[ask::text(question, &STRONG)], quote).await?,
            Body::Card { title, markdown } => {
                let title = title.as_ref().map(|title| format!("**{title}**\n\n"));
                errand.say(&(title.unwrap_or_default() + markdown), &[], quote).await?;
            }
            Body::Edit { message, markdown } => errand.edit(message.as_str(), markdown).await?,
            Body::React { message, emoji } => errand.react(message.as_str(), emoji).await?,
        }
        let shown = errand.sent;
        if shown.len() > 1 && !matches!(message.body, Body::Edit { .. }) {
            self.keep_parts(chat, &shown).await?;
        }
        Ok(Receipt { id: shown.first().and_then(|id| PlatformMessageId::parse(id.as_str()).ok()) })
    }

    /// Remembers what belongs together, for a later edit of the first.
    async fn keep_parts(&self, chat: &str, parts: &[String]) -> Result<(), SendError> {
        let Some(head) = parts.first() else { return Ok(()) };
        let kept = self.store.set_parts(chat, head, parts).await;
        kept.map_err(|e| retry(format!("the parts were not written down: {e}")))
    }

    /// The message that is answered, as far as it is known.
    async fn quote(&self, chat: &str, id: &str) -> Option<Box<wa::ContextInfo>> {
        let said = self.store.said(chat, id).await?;
        Some(Box::new(wa::ContextInfo {
            stanza_id: Some(id.to_owned()),
            participant: Some(said.by),
            quoted_message: MessageField::some(wa::Message::text(said.text)),
            ..Default::default()
        }))
    }
}

/// Bold headings of questions.
const STRONG: markdown::Dialect = markdown::Dialect { strong: ("*", "*"), ..PLAIN };

impl Errand<'_> {
    async fn say(
        &mut self,
        markdown: &str,
        files: &[OutFile],
        quote: Option<Box<wa::ContextInfo>>,
    ) -> Result<(), SendError> {
        let (files, large): (Vec<_>, Vec<_>) =
            files.iter().partition(|file| file.bytes.len() as u64 <= FILE_OUT_MAX);
        let mut markdown = markdown.to_owned();
        for file in large {
            let (has, max) = (size(file.bytes.len() as u64), size(FILE_OUT_MAX));
            markdown +=
                &format!("\n\n(`{}` was not sent: it has {has}, and {max} is the most)", file.name);
        }
        let texts = pieces(&markdown, Dialect::WhatsApp, TEXT_MAX, Unit::Chars);
        let captioned = files.first().is_some_and(|file| !matches!(Kind::of(file), Kind::Audio))
            && texts.len() == 1
            && texts.iter().all(|text| text.chars().count() <= CAPTION_MAX);
        if captioned {
            let mut caption = texts.first().map(|text| self.line.signed(text));
            let mut quote = quote;
            for file in files {
                self.file(file, caption.take(), quote.take()).await?;
            }
            return Ok(());
        }
        self.texts(&texts, quote).await?;
        for file in files {
            self.file(file, None, None).await?;
        }
        Ok(())
    }

    async fn texts(
        &mut self,
        texts: &[String],
        quote: Option<Box<wa::ContextInfo>>,
    ) -> Result<(), SendError> {
        let mut quote = quote;
        for (n, text) in texts.iter().enumerate() {
            let text = if n == 0 { self.line.signed(text) } else { text.clone() };
            let message = match quote.take() {
                Some(context) => wa::Message::text_with_context(text.clone(), *context),
                None => wa::Message::text(text.clone()),
            };
            let id = self.part(message, &text).await?;
            self.sent.push(id);
        }
        Ok(())
    }

    async fn file(
        &mut self,
        file: &OutFile,
        caption: Option<String>,
        quote: Option<Box<wa::ContextInfo>>,
    ) -> Result<(), SendError> {
        let client = self.line.client()?;
        let kind = Kind::of(file);
        // Uploaded again on a new attempt; people see it once, by the id of its message.
        let upload = client.upload(file.bytes.clone(), kind.media(), UploadOptions::default());
        let upload = timeout(UPLOAD_WAIT, upload)
            .await
            .map_err(|_| retry("WhatsApp's server for files took too long"))?
            .map_err(|e| {
                retry(format!("{} was not taken by WhatsApp's server for files: {e}", file.name))
            })?;
        let mimetype = mime_of(&file.name).map(str::to_owned);
        let name = safe_name(&file.name, "file", mimetype.as_deref());
        let text = caption.clone().unwrap_or_else(|| name.clone());
        let message = match kind {
            Kind::Image => media::image_message(
                upload,
                ImageOptions { caption, mimetype, context_info: quote, ..ImageOptions::default() },
            ),
            Kind::Video => media::video_message(
                upload,
                VideoOptions { caption, mimetype, context_info: quote, ..VideoOptions::default() },
            ),
            Kind::Audio | Kind::Voice => media::audio_message(
                upload,
                AudioOptions {
                    mimetype: if kind == Kind::Voice { Some(VOICE.into()) } else { mimetype },
                    ptt: Some(kind == Kind::Voice),
                    context_info: quote,
                    ..AudioOptions::default()
                },
            ),
            Kind::Document => media::document_message(
                upload,
                DocumentOptions {
                    caption,
                    mimetype,
                    file_name: Some(name.clone()),
                    context_info: quote,
                    ..DocumentOptions::default()
                },
            ),
        };
        let id = self.part(message, &text).await?;
        if self.sent.is_empty() {
            self.sent.push(id);
        }
        Ok(())
    }

    async fn edit(&mut self, id: &str, markdown: &str) -> Result<(), SendError> {
        if !self.line.store.said(self.chat, id).await.is_some_and(|said| said.me) {
            return Err(reject("only a message that the agent sent can be changed"));
        }
        let texts = pieces(markdown, Dialect::WhatsApp, TEXT_MAX, Unit::Chars);
        if texts.is_empty() {
            return Err(reject("the new text is empty"));
        }
        let before = self.line.store.parts(self.chat, id).await;
        let mut parts = Vec::new();
        for (n, text) in texts.iter().enumerate() {
            let text = if n == 0 { self.line.signed(text) } else { text.clone() };
            let message = wa::Message::text(text.clone());
            match before.get(n) {
                Some(old) => {
                    self.about(old, Type::MESSAGE_EDIT, MessageField::some(message), &text).await?;
                    parts.push(old.clone());
                }
                None => parts.push(self.part(message, &text).await?),
            }
        }
        for old in before.iter().skip(texts.len()) {
            self.about(old, Type::REVOKE, MessageField::none(), "").await?;
        }
        self.line.keep_parts(self.chat, &parts).await?;
        self.sent = vec![id.to_owned()];
        Ok(())
    }

    /// Changes or takes back a part that was sent.
    async fn about(
        &mut self,
        id: &str,
        what: Type,
        new: MessageField<wa::Message>,
        text: &str,
    ) -> Result<(), SendError> {
        let change = ProtocolMessage {
            key: MessageField::some(wa::MessageKey {
                remote_jid: Some(self.to.to_string()),
                from_me: Some(true),
                id: Some(id.to_owned()),
                participant: None,
            }),
            r#type: Some(what),
            edited_message: new,
            timestamp_ms: Some(now_millis()),
            ..Default::default()
        };
        let change =
            wa::Message { protocol_message: MessageField::some(change), ..Default::default() };
        self.part(change, text).await.map(drop)
    }

    async fn react(&mut self, id: &str, emoji: &str) -> Result<(), SendError> {
        let said = self.line.store.said(self.chat, id).await;
        let said = said.ok_or_else(|| reject("the message to react to is not known here"))?;
        let emoji = character(emoji)
            .ok_or_else(|| reject(format!("{emoji:?} is no emoji that WhatsApp has")))?;
        let group =
            ids::parse(self.chat).is_ok_and(|jid| jid.server == whatsapp_rust::Server::Group);
        let key = wa::MessageKey {
            remote_jid: Some(self.to.to_string()),
            from_me: Some(said.me),
            id: Some(id.to_owned()),
            participant: (group && !said.me).then_some(said.by),
        };
        self.part(build_reaction_message(key, emoji, now_millis()), emoji).await?;
        self.sent.clear();
        Ok(())
    }

    /// Sends one part, and returns its id when WhatsApp's server has it.
    async fn part(&mut self, message: wa::Message, text: &str) -> Result<String, SendError> {
        let client = self.line.client()?;
        let id = part_id(self.key, self.part);
        let me = client.pn().map(|me| me.to_non_ad_string()).unwrap_or_default();
        // Before it is sent: what it is answered by may come in before the acknowledgement.
        let said = Said { me: true, by: me.clone(), who: me, text: text.to_owned() };
        let kept = self.line.store.remember(self.chat, &id, &said).await;
        kept.map_err(|e| retry(format!("the message was not written down: {e}")))?;
        let ack = self.line.await_ack(&id);
        let sent = async {
            let options = SendOptions::default().with_message_id(id.as_str());
            client.send_message_with_options(&self.to, message, options).await.map_err(sort)?;
            match ack.await {
                Ok(None) => Ok(()),
                Ok(Some(code)) => Err(refused(&code)),
                Err(_) => Err(retry("the connection to WhatsApp was lost")),
            }
        };
        let sent = timeout(ACK_WAIT, sent).await;
        self.line.forget_ack(&id);
        sent.map_err(|_| retry("WhatsApp did not acknowledge the message"))??;
        self.part += 1;
        Ok(id)
    }
}

impl Line {
    /// Text that says that it is the agent's, where the account is a person's.
    fn signed(&self, text: &str) -> String {
        if self.own_number { text.to_owned() } else { format!("{}: {text}", self.name) }
    }
}

/// The id of a part: WhatsApp's own form, made of the message's key.
fn part_id(key: &str, part: usize) -> String {
    let hash = Sha256::digest(format!("{key}\u{1f}{part}"));
    format!("3EB0{}", nanoclaw_kit::sign::hex(&hash[..9]).to_uppercase())
}

const VOICE: &str = "audio/ogg; codecs=opus";

/// How WhatsApp shows a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Image,
    Video,
    Audio,
    Voice,
    Document,
}

impl Kind {
    fn of(file: &OutFile) -> Self {
        if file.bytes.len() > SHOWN_MAX {
            return Self::Document;
        }
        match mime_of(&file.name).unwrap_or_default() {
            "image/jpeg" | "image/png" | "image/webp" => Self::Image,
            "video/mp4" | "video/3gpp" => Self::Video,
            "audio/ogg" | "audio/opus" => Self::Voice,
            mime if mime.starts_with("audio/") => Self::Audio,
            _ => Self::Document,
        }
    }

    fn media(self) -> MediaType {
        match self {
            Self::Image => MediaType::Image,
            Self::Video => MediaType::Video,
            Self::Audio | Self::Voice => MediaType::Audio,
            Self::Document => MediaType::Document,
        }
    }
}

/// The character that a shortcode stands for; a character stands for itself.
pub(crate) fn character(emoji: &str) -> Option<&str> {
    Some(match emoji.trim_matches(':') {
        "thumbs_up" | "thumbsup" | "+1" => "👍",
        "thumbs_down" | "thumbsdown" | "-1" => "👎",
        "heart" | "red_heart" => "❤️",
        "joy" | "laughing" => "😂",
        "smile" => "😄",
        "open_mouth" | "astonished" => "😮",
        "cry" => "😢",
        "pray" | "folded_hands" => "🙏",
        "clap" => "👏",
        "fire" => "🔥",
        "tada" | "party" => "🎉",
        "eyes" => "👀",
        "rocket" => "🚀",
        "100" => "💯",
        "thinking" | "thinking_face" => "🤔",
        "wave" => "👋",
        "ok_hand" => "👌",
        "check" | "white_check_mark" | "heavy_check_mark" => "✅",
        "x" | "cross_mark" => "❌",
        "warning" => "⚠️",
        "hourglass" | "hourglass_flowing_sand" => "⏳",
        other
            if !other.is_empty()
                && !other.chars().any(|c| c.is_ascii_alphanumeric() || c.is_whitespace()) =>
        {
            other
        }
        _ => return None,
    })
}

fn reject(why: impl Into<String>) -> SendError {
    SendError::Reject { why: why.into() }
}

fn retry(why: impl Into<String>) -> SendError {
    SendError::Retry { after: None, why: why.into() }
}

/// Sorts what the client says.
fn sort(error: whatsapp_rust::SendError) -> SendError {
    use whatsapp_rust::SendError as E;
    match error {
        E::InvalidRequest(why) => reject(why),
        E::Iq(IqError::ServerError { code, text, backoff, .. }) if code == 429 || code >= 500 => {
            let after = backoff.map(|s| Duration::from_secs(s.into()));
            SendError::Retry { after, why: format!("WhatsApp answered {code} {text}") }
        }
        E::Iq(IqError::ServerError { code, text, .. }) => {
            reject(format!("WhatsApp answered {code} {text}: is the account in that chat?"))
        }
        E::Client(ClientError::NotConnected) => retry("WhatsApp is not connected"),
        other => retry(other.to_string()),
    }
}

/// Sorts a refusal by its code.
fn refused(code: &str) -> SendError {
    match code {
        "429" => {
            // WhatsApp does not say for how long.
            let why = "WhatsApp wants fewer messages".into();
            SendError::Retry { after: Some(Duration::from_secs(5)), why }
        }
        "500" | "503" | "408" => retry(format!("WhatsApp answered {code}")),
        "463" => {
            reject("WhatsApp does not let this account write to people who have not written to it")
        }
        "404" => reject("WhatsApp knows no such chat"),
        code => reject(format!("WhatsApp refused the message ({code})")),
    }
}
