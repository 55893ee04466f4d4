//! What the agent says: text as Telegram's HTML, files, questions with buttons, edits, reactions.
//!
//! Telegram knows no key by which it would see that a message came twice. What can be counted is counted: each
//! part of a message that Telegram confirmed is written down and never sent again.

use crate::api::{FILE_OUT_MAX, Failure};
use crate::ids::{At, Place};
use crate::wire::Sent;
use crate::{Bot, CAPTION_MAX, TEXT_MAX};
use nanoclaw_channel::ids::stable;
use nanoclaw_channel::markdown::printable_line;
use nanoclaw_channel::split::Unit;
use nanoclaw_channel::{
    AnswerOutcome, Body, OutFile, Outgoing, PlatformMessageId, Question, Receipt, SendError,
};
use nanoclaw_kit::backoff::Backoff;
use nanoclaw_kit::dialect::{Dialect, pieces};
use nanoclaw_kit::emoji;
use nanoclaw_kit::files::{mime_of, safe_name, size};
use nanoclaw_kit::store::{Store, StoreError};
use reqwest::multipart;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// How long it is known what was sent: longer than anything is retried, and than people wait with an answer.
const KEPT: Duration = Duration::from_secs(60 * 86_400);
/// The most files that are shown together, and the largest picture that is shown as one.
const ALBUM_MAX: usize = 10;
const PHOTO_MAX: usize = 10 << 20;
/// How often a card is closed before it is left open.
const CLOSE_TRIES: u32 = 8;

/// The only reactions that a bot may use.
const REACTIONS: &str = "👍 👎 ❤ 🔥 🥰 👏 😁 🤔 🤯 😱 🤬 😢 🎉 🤩 🤮 💩 🙏 👌 🕊 🤡 🥱 🥴 😍 🐳 ❤‍🔥 🌚 🌭 💯 🤣 ⚡ 🍌 🏆 💔 \
    🤨 😐 🍓 🍾 💋 🖕 😈 😴 😭 🤓 👻 👨‍💻 👀 🎃 🙈 😇 😨 🤝 ✍ 🤗 🫡 🎅 🎄 ☃ 💅 🤪 🗿 🆒 💘 🙉 🦄 😘 💊 🙊 😎 👾 🤷‍♂ 🤷 🤷‍♀ 😡";

/// One call's worth of a message.
enum Part<'a> {
    Text(String),
    Files { kind: Kind, files: Vec<&'a OutFile>, caption: Option<String> },
}

/// How a file is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Photo,
    Video,
    Animation,
    Audio,
    Voice,
    Document,
}

pub(crate) async fn send(bot: &Bot, message: &Outgoing) -> Result<Receipt, SendError> {
    let mut place = Place::parse(&message.to)?;
    place.chat = bot.current(place.chat);
    match &message.body {
        Body::Text { markdown, files } => {
            all(bot, place, message, parts(markdown, files), Value::Null).await
        }
        Body::Card { title, markdown } => {
            let text = headed(title.as_deref().unwrap_or_default(), markdown);
            all(bot, place, message, texts(&text), Value::Null).await
        }
        Body::Ask(question) => {
            let token = token(question);
            let text = serde_json::to_string(question).unwrap_or_default();
            bot.store.put_for(&format!("ask:{token}"), &text, KEPT).await?;
            let button = |(n, label): (usize, &str)| json!([{ "text": printable_line(label), "callback_data": format!("{token}:{n}") }]);
            let labels = question.options.iter().map(|option| option.label.as_str());
            let rows: Vec<Value> = labels.enumerate().map(button).collect();
            let keyboard = json!({ "inline_keyboard": rows });
            all(bot, place, message, texts(&headed(&question.title, &question.question)), keyboard)
                .await
        }
        Body::Edit { message, markdown } => {
            let at = At::parse(message)?;
            revise(bot, at, place.topic, html(markdown)).await?;
            Ok(Receipt { id: Some(message.clone()) })
        }
        Body::React { message, emoji } => react(bot, message, emoji).await,
    }
}

/// Sends all parts that were not sent yet.
async fn all(
    bot: &Bot,
    mut place: Place,
    message: &Outgoing,
    parts: Vec<Part<'_>>,
    keyboard: Value,
) -> Result<Receipt, SendError> {
    let key = format!("out:{}", message.key);
    let mut sent = numbers(&bot.store, &key).await?;
    let reply = message.reply_to.as_ref().and_then(|id| At::parse(id).ok());
    for (n, part) in parts.iter().enumerate().skip(sent.len()) {
        let mut fields = json!({ "message_thread_id": place.topic });
        if let (0, Some(at)) = (n, reply) {
            fields["reply_parameters"] =
                json!({ "message_id": at.message, "allow_sending_without_reply": true });
        }
        if n + 1 == parts.len() {
            fields["reply_markup"] = keyboard.clone();
        }
        sent.push(deliver(bot, &mut place, fields, part).await?);
        keep(&bot.store, &key, &sent).await?;
    }
    let Some(first) = sent.first() else {
        return Err(SendError::Reject { why: "there is nothing to send".into() });
    };
    for message in &sent {
        let at = At { chat: place.chat, message: *message };
        // An edit changes all of them; of a question, the last part has the buttons; people react to any.
        if sent.len() > 1 {
            keep(&bot.store, &parts_of(at), &sent).await?;
        }
        if let Some(topic) = place.topic {
            bot.store.put_for(&topic_of(at), &topic.to_string(), KEPT).await?;
        }
    }
    Ok(Receipt { id: At { chat: place.chat, message: *first }.id() })
}

/// Under which keys it is kept which parts a message has, and in which topic it is.
fn parts_of(at: At) -> String {
    format!("parts:{}:{}", at.chat, at.message)
}

fn topic_of(at: At) -> String {
    format!("topic:{}:{}", at.chat, at.message)
}

/// Where a message is that the agent sent: its topic, and its first part, by which the host knows it.
pub(crate) async fn sent_at(store: &Store, at: At) -> Result<(Option<i64>, At), StoreError> {
    let topic = store.get(&topic_of(at)).await?.and_then(|topic| topic.parse().ok());
    let first = numbers(store, &parts_of(at)).await?.first().copied();
    Ok((topic, At { message: first.unwrap_or(at.message), ..at }))
}

async fn numbers(store: &Store, key: &str) -> Result<Vec<i64>, StoreError> {
    let kept = store.get(key).await?;
    Ok(kept.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}

async fn keep(store: &Store, key: &str, numbers: &[i64]) -> Result<(), StoreError> {
    let text = serde_json::to_string(numbers).unwrap_or_default();
    store.put_for(key, &text, KEPT).await
}

/// Sends one part, to where the group moved if it did.
async fn deliver(
    bot: &Bot,
    place: &mut Place,
    mut fields: Value,
    part: &Part<'_>,
) -> Result<i64, SendError> {
    let mut old = None;
    loop {
        bot.turn(place.chat).await;
        fields["chat_id"] = place.chat.into();
        let result = match part {
            Part::Text(html) => {
                fields["text"] = html.as_str().into();
                let sent = marked::<Sent>(bot, "sendMessage", fields.clone()).await;
                sent.map(|sent| sent.message_id)
            }
            Part::Files { kind, files, caption } => {
                upload(bot, &fields, *kind, files, caption.as_deref()).await
            }
        };
        match result {
            Err(Failure::Refused { moved: Some(to), .. }) if old.is_none() => {
                bot.moves(place.chat, to).await?;
                old = Some(place.chat);
                place.chat = to;
            }
            Err(failure) => {
                if let Failure::Refused { after: Some(after), .. } = &failure {
                    bot.pace(place.chat).pause(&place.chat, *after);
                }
                return Err(failure.into());
            }
            Ok(id) => return Ok(id),
        }
    }
}

/// A call with HTML; once more with plain text when Telegram cannot read it.
async fn marked<T: DeserializeOwned>(
    bot: &Bot,
    method: &str,
    mut fields: Value,
) -> Result<T, Failure> {
    fields["parse_mode"] = "HTML".into();
    match bot.call(method, fields.clone()).await {
        Err(failure) if failure.says("can't parse entities") => {
            tracing::warn!(?failure, "Telegram refused the markup; the text goes out plain");
            fields["parse_mode"] = Value::Null;
            for key in ["text", "caption"] {
                if let Some(html) = fields[key].as_str() {
                    fields[key] = plain(html).into();
                }
            }
            bot.call(method, fields).await
        }
        result => result,
    }
}

/// Files of one kind; as documents and plain when Telegram does not like them as what they are.
async fn upload(
    bot: &Bot,
    fields: &Value,
    kind: Kind,
    files: &[&OutFile],
    caption: Option<&str>,
) -> Result<i64, Failure> {
    let marked = json!({ "caption": caption, "parse_mode": caption.map(|_| "HTML") });
    let bare = json!({ "caption": caption.map(plain) });
    let bytes = files.iter().map(|file| file.bytes.len()).sum();
    let mut refused = None;
    for (kind, words) in [(kind, marked), (Kind::Document, bare)] {
        let (method, form) = form(fields, kind, files, &words);
        let result = if files.len() > 1 {
            let sent: Result<Vec<Sent>, _> = bot.told(bot.api.upload(method, form, bytes).await);
            sent.map(|sent| sent.first().map_or(0, |sent| sent.message_id))
        } else {
            bot.told(bot.api.upload::<Sent>(method, form, bytes).await).map(|sent| sent.message_id)
        };
        match result {
            Err(failure @ Failure::Refused { code: 400, moved: None, .. }) => {
                refused = Some(failure);
            }
            result => return result,
        }
    }
    Err(refused.unwrap_or_else(|| Failure::Lost("nothing was sent".into())))
}

/// The method and the form for one file or for an album.
fn form(
    fields: &Value,
    kind: Kind,
    files: &[&OutFile],
    words: &Value,
) -> (&'static str, multipart::Form) {
    let (mut method, field) = kind.names();
    let part = |file: &OutFile| {
        multipart::Part::bytes(file.bytes.clone()).file_name(safe_name(&file.name, "file", None))
    };
    let mut form = with(multipart::Form::new(), fields);
    if let [file] = files {
        form = with(form, words).part(field, part(file));
    } else {
        let mut items = Vec::new();
        for (n, file) in files.iter().enumerate() {
            let mut item = if n == 0 { words.clone() } else { json!({}) };
            let kind = if kind == Kind::Document { kind } else { Kind::of(file) };
            item["type"] = kind.names().1.into();
            item["media"] = format!("attach://f{n}").into();
            if let Some(item) = item.as_object_mut() {
                item.retain(|_, value| !value.is_null());
            }
            items.push(item);
            form = form.part(format!("f{n}"), part(file));
        }
        (method, form) = ("sendMediaGroup", form.text("media", json!(items).to_string()));
    }
    (method, form)
}

/// Every field that is not null, as text.
fn with(mut form: multipart::Form, fields: &Value) -> multipart::Form {
    for (key, value) in fields.as_object().into_iter().flatten() {
        form = match value {
            Value::Null => form,
            Value::String(text) => form.text(key.clone(), text.clone()),
            value => form.text(key.clone(), value.to_string()),
        };
    }
    form
}

impl Kind {
    fn of(file: &OutFile) -> Self {
        match mime_of(&file.name) {
            Some("image/jpeg" | "image/png" | "image/webp") if file.bytes.len() <= PHOTO_MAX => {
                Self::Photo
            }
            Some("image/gif") => Self::Animation,
            Some("video/mp4") => Self::Video,
            Some("audio/mpeg" | "audio/mp4") => Self::Audio,
            Some("audio/ogg") => Self::Voice,
            _ => Self::Document,
        }
    }

    /// The method, and the field of the file.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Photo => ("sendPhoto", "photo"),
            Self::Video => ("sendVideo", "video"),
            Self::Animation => ("sendAnimation", "animation"),
            Self::Audio => ("sendAudio", "audio"),
            Self::Voice => ("sendVoice", "voice"),
            Self::Document => ("sendDocument", "document"),
        }
    }

    /// Whether both can be shown in one album.
    const fn joins(self, other: Self) -> bool {
        matches!(
            (self, other),
            (Self::Photo | Self::Video, Self::Photo | Self::Video)
                | (Self::Audio, Self::Audio)
                | (Self::Document, Self::Document)
        )
    }
}

fn html(markdown: &str) -> Vec<String> {
    pieces(markdown, Dialect::TelegramHtml, TEXT_MAX, Unit::Utf16)
}

fn texts(markdown: &str) -> Vec<Part<'static>> {
    html(markdown).into_iter().map(Part::Text).collect()
}

/// The text, then the files; a short text stands below the first file.
fn parts<'a>(markdown: &str, files: &'a [OutFile]) -> Vec<Part<'a>> {
    let mut markdown = markdown.to_owned();
    let mut albums: Vec<Part<'a>> = Vec::new();
    for file in files {
        let long = file.bytes.len() as u64 > FILE_OUT_MAX;
        if long || file.bytes.is_empty() {
            let why = if long { "larger than 50 MB" } else { "empty" };
            let name = safe_name(&file.name, "file", None).replace('`', "'");
            let bytes = size(file.bytes.len() as u64);
            markdown.push_str(&format!(
                "\n\nNot sent: `{name}` ({bytes}), because Telegram takes no file that is {why}."
            ));
            continue;
        }
        let kind = Kind::of(file);
        match albums.last_mut() {
            Some(Part::Files { kind: first, files, .. })
                if first.joins(kind) && files.len() < ALBUM_MAX =>
            {
                files.push(file);
            }
            _ => albums.push(Part::Files { kind, files: vec![file], caption: None }),
        }
    }
    let mut text = html(&markdown);
    if let ([one], Some(Part::Files { caption, .. })) = (text.as_slice(), albums.first_mut())
        && Unit::Utf16.len(one) <= CAPTION_MAX
    {
        *caption = text.pop();
    }
    text.into_iter().map(Part::Text).chain(albums).collect()
}

fn headed(title: &str, markdown: &str) -> String {
    let title = printable_line(title);
    let title = title.trim();
    if title.is_empty() || title == markdown.trim() {
        return markdown.to_owned();
    }
    format!("# {title}\n\n{markdown}")
}

/// What stands for a question in a button, which has room for 64 bytes.
fn token(question: &Question) -> String {
    stable(question.question_id.as_str()).simple().to_string()
}

/// The question that a button belongs to.
pub(crate) async fn question(store: &Store, data: &str) -> Result<Option<Question>, StoreError> {
    let Some((token, _)) = data.split_once(':') else { return Ok(None) };
    let kept = store.get(&format!("ask:{token}")).await?;
    Ok(kept.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Tells who pressed a button what came of it, and shows it on the card.
pub(crate) async fn close(
    bot: &Bot,
    at: At,
    question: Option<Question>,
    callback: String,
    outcome: AnswerOutcome,
) {
    let (note, alert) = match outcome {
        AnswerOutcome::Taken { label } => (Some(label), None),
        AnswerOutcome::Late => (Some("This question is closed.".into()), None),
        AnswerOutcome::Refused { why } => (None, Some(why)),
    };
    // Telegram shows no more than 200 characters.
    let text: Option<String> =
        note.as_ref().or(alert.as_ref()).map(|text| text.chars().take(200).collect());
    let fields =
        json!({ "callback_query_id": callback, "text": text, "show_alert": alert.is_some() });
    if let Err(e) = bot.call::<bool>("answerCallbackQuery", fields).await {
        tracing::debug!(error = ?e, "who pressed a button was not told");
    }
    let Some(note) = note else { return };
    let mut text = question.map(|q| html(&headed(&q.title, &q.question))).unwrap_or_default();
    let note = format!("<b>{}</b>", escape(&printable_line(&note)));
    match text.last_mut() {
        Some(last) if Unit::Utf16.len(last) + Unit::Utf16.len(&note) + 2 <= TEXT_MAX => {
            last.push_str(&format!("\n\n{note}"));
        }
        _ => text.push(note),
    }
    // What does not fit comes behind it.
    let topic = sent_at(&bot.store, at).await.ok().and_then(|(topic, _)| topic);
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    for _ in 0..CLOSE_TRIES {
        match revise(bot, at, topic, text.clone()).await {
            Err(SendError::Retry { after, .. }) => {
                tokio::time::sleep(after.unwrap_or_else(|| backoff.next())).await;
            }
            Ok(()) => return,
            Err(e) => return tracing::warn!(error = %e, "a card was not closed"),
        }
    }
}

/// Gives a message a new text, which may have more parts than the old one, or fewer.
async fn revise(bot: &Bot, at: At, topic: Option<i64>, text: Vec<String>) -> Result<(), SendError> {
    let key = parts_of(at);
    let mut parts = numbers(&bot.store, &key).await?;
    if parts.is_empty() {
        parts.push(at.message);
    }
    let mut place = Place { chat: at.chat, topic };
    for (n, html) in text.iter().enumerate() {
        match parts.get(n) {
            Some(message) => change(bot, At { message: *message, ..at }, html).await?,
            None => {
                let fields = json!({ "message_thread_id": topic });
                let part = Part::Text(html.clone());
                parts.push(deliver(bot, &mut place, fields, &part).await?);
                keep(&bot.store, &key, &parts).await?;
            }
        }
    }
    while parts.len() > text.len().max(1) {
        let Some(message_id) = parts.pop() else { break };
        let fields = json!({ "chat_id": at.chat, "message_id": message_id });
        bot.all.wait(&()).await;
        match bot.call::<bool>("deleteMessage", fields).await {
            Ok(_) | Err(Failure::Refused { code: 400, .. }) => {}
            Err(e) => return Err(e.into()),
        }
        keep(&bot.store, &key, &parts).await?;
    }
    Ok(())
}

async fn change(bot: &Bot, at: At, html: &str) -> Result<(), SendError> {
    bot.turn(at.chat).await;
    let fields = |key: &str| json!({ "chat_id": at.chat, "message_id": at.message, key: html });
    let result = match marked::<Value>(bot, "editMessageText", fields("text")).await {
        Err(failure) if failure.says("no text in the message") => {
            marked(bot, "editMessageCaption", fields("caption")).await
        }
        result => result,
    };
    match result {
        Ok(_) => Ok(()),
        Err(failure) if failure.says("message is not modified") => Ok(()),
        Err(failure) => Err(failure.into()),
    }
}

async fn react(bot: &Bot, message: &PlatformMessageId, emoji: &str) -> Result<Receipt, SendError> {
    let at = At::parse(message)?;
    // Telegram writes them without the sign that asks for a coloured picture.
    let emoji = emoji::find(emoji).map_or(emoji.trim(), |e| e.as_str()).replace('\u{fe0f}', "");
    if !REACTIONS.split_whitespace().any(|known| known == emoji) {
        let why = format!("Telegram has no reaction {emoji:?}; it has only these: {REACTIONS}");
        return Err(SendError::Reject { why });
    }
    let fields = json!({
        "chat_id": at.chat,
        "message_id": at.message,
        "reaction": [{ "type": "emoji", "emoji": emoji }],
    });
    bot.all.wait(&()).await;
    bot.call::<bool>("setMessageReaction", fields).await?;
    Ok(Receipt::default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The text of our own HTML.
fn plain(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut rest = html;
    while let Some((before, tag)) = rest.split_once('<') {
        text.push_str(before);
        rest = tag.split_once('>').map_or("", |(_, rest)| rest);
    }
    text.push_str(rest);
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}
