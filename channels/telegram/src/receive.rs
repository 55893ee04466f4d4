//! What people do: updates become messages, changes and answers.
//!
//! An update is confirmed by asking for the next one, which happens only after the host took it. When the host
//! cannot take it, it is asked for again.

use crate::Bot;
use crate::api::{FILE_IN_MAX, Failure, POLL};
use crate::entities;
use crate::ids::{At, Place};
use crate::send;
use crate::wire::{self, Callback, Chat, Media, Message, Reactions, Update, User};
use nanoclaw_channel::time::{Clock as _, SystemClock, Timestamp};
use nanoclaw_channel::{
    Address, Answer, AnswerOutcome, Change, ChannelType, ChatKind, Health, InFile, Inbound,
    Ingress, IngressError, Mention, PlatformMessageId, Quote, SendError, Sender, What,
};
use nanoclaw_kit::backoff::Backoff;
use nanoclaw_kit::files::{kind_of, safe_name};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

const WANTED: &[&str] = &[
    "message",
    "edited_message",
    "channel_post",
    "edited_channel_post",
    "callback_query",
    "message_reaction",
];

/// As many updates come at most at once.
const BATCH: usize = 100;
/// After a week of silence Telegram numbers updates anew: an older offset would hide them.
const OFFSET_HOURS: i64 = 6 * 24;
/// An answer without updates that comes sooner did not wait for any.
const EMPTY_WAIT: Duration = Duration::from_secs(1);
/// How long the rest of an album may take.
const ALBUM_WAIT: Duration = Duration::from_millis(700);
/// How often a file is fetched before it is told to be missing.
const FETCHES: u32 = 5;
/// Pause after a token that is not good.
const BROKEN_WAIT: Duration = Duration::from_secs(600);
/// Conflicts in a row that are no leftover of a restart.
const CONFLICTS: u32 = 3;

type Updates = Vec<(i64, Result<Update, serde_json::Error>)>;

pub(crate) struct Receiver {
    bot: Arc<Bot>,
    ingress: Arc<dyn Ingress>,
    /// The next update, and when the last one came.
    offset: Option<(i64, Timestamp)>,
    conflicts: u32,
    fetches: u32,
    /// Cards that are being closed.
    cards: JoinSet<()>,
}

impl Receiver {
    pub(crate) fn new(bot: Arc<Bot>, ingress: Arc<dyn Ingress>) -> Self {
        Self { bot, ingress, offset: None, conflicts: 0, fetches: 0, cards: JoinSet::new() }
    }

    pub(crate) async fn run(mut self) {
        if let Ok(Some(kept)) = self.bot.store.get("offset").await {
            self.offset = kept
                .split_once(' ')
                .and_then(|(next, at)| Some((next.parse().ok()?, at.parse().ok()?)));
        }
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        loop {
            let wait = match self.round().await {
                Ok(()) => {
                    backoff.reset();
                    continue;
                }
                Err(Some(wait)) => wait,
                Err(None) => backoff.next(),
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Asks once and hands over what came; an error says how long to wait, if anybody said so.
    async fn round(&mut self) -> Result<(), Option<Duration>> {
        while self.cards.try_join_next().is_some() {}
        let asked = Instant::now();
        let mut updates = match self.get(POLL).await {
            Ok(updates) => updates,
            Err(failure) => return Err(self.failed(failure).await),
        };
        self.conflicts = 0;
        self.bot.broken.store(false, Ordering::Relaxed);
        (self.bot.report)(Health::Up);
        if updates.is_empty() && asked.elapsed() < EMPTY_WAIT {
            return Err(Some(EMPTY_WAIT)); // A server that does not wait must not be asked all the time.
        }
        if updates.last().and_then(album).is_some() {
            // The rest of the album may be on its way: asking for the same again confirms nothing.
            tokio::time::sleep(ALBUM_WAIT).await;
            updates = self.get(Duration::ZERO).await.map_err(|_| None)?;
            let last = updates.last().and_then(album).map(str::to_owned);
            if last.is_some() && updates.len() >= BATCH {
                while updates.last().and_then(album) == last.as_deref() {
                    updates.pop();
                }
            }
        }
        let taken = self.take_all(updates).await;
        if let (Some((next, at)), true) = (self.offset, taken.is_ok()) {
            // Only saves repetition: what was not kept comes again, and the host knows it.
            drop(self.bot.store.put("offset", &format!("{next} {at}")).await);
        }
        taken.map_err(|e| {
            tracing::warn!(error = %e, "the host did not take an update; it comes again");
            None
        })
    }

    async fn get(&self, wait: Duration) -> Result<Updates, Failure> {
        let old = |at: Timestamp| SystemClock.now().duration_since(at).as_hours() > OFFSET_HOURS;
        let fields = json!({
            "offset": self.offset.filter(|(_, at)| !old(*at)).map(|(next, _)| next),
            "timeout": wait.as_secs(),
            "allowed_updates": WANTED,
        });
        Ok(wire::updates(self.bot.call("getUpdates", fields).await?))
    }

    async fn failed(&mut self, failure: Failure) -> Option<Duration> {
        tracing::debug!(?failure, "getUpdates failed");
        let (code, why, after) = match failure {
            Failure::Lost(why) => (0, why, None),
            Failure::Refused { code, why, after, .. } => (code, why, after),
        };
        match code {
            // Told by the call itself.
            401 | 404 => return Some(BROKEN_WAIT),
            409 if why.contains("webhook") => {
                drop(self.bot.call::<bool>("deleteWebhook", json!({})).await);
            }
            409 => {
                self.conflicts += 1;
                if self.conflicts >= CONFLICTS {
                    let what = "Another program reads the messages of this Telegram bot with the same \
                        token. Stop it, or give one of the two a bot of its own (@BotFather, /newbot).";
                    (self.bot.report)(Health::Needs { what: what.into() });
                }
            }
            _ => (self.bot.report)(Health::Reconnecting { why }),
        }
        after
    }

    async fn take_all(&mut self, updates: Updates) -> Result<(), IngressError> {
        let mut updates = updates.into_iter().peekable();
        while let Some((mut id, update)) = updates.next() {
            let first = id;
            match update {
                Ok(update) => {
                    let group = update.message.as_ref().and_then(|m| m.media_group_id.clone());
                    let mut rest = Vec::new();
                    while group.is_some() && updates.peek().and_then(album) == group.as_deref() {
                        let Some((next, Ok(Update { message: Some(item), .. }))) = updates.next()
                        else {
                            break;
                        };
                        id = next;
                        rest.push(*item);
                    }
                    self.take(first, update, rest).await?;
                }
                Err(e) => {
                    tracing::warn!(update = id, error = %e, "an update cannot be read; it is skipped");
                }
            }
            self.fetches = 0;
            self.offset = Some((id.saturating_add(1), SystemClock.now()));
        }
        Ok(())
    }

    async fn take(
        &mut self,
        id: i64,
        update: Update,
        rest: Vec<Message>,
    ) -> Result<(), IngressError> {
        if let Some(message) = update.message.or(update.channel_post) {
            self.said(*message, rest).await
        } else if let Some(message) = update.edited_message.or(update.edited_channel_post) {
            self.edited(id, *message).await
        } else if let Some(reactions) = update.message_reaction {
            self.reacted(id, *reactions).await
        } else if let Some(callback) = update.callback_query {
            self.pressed(*callback).await
        } else {
            Ok(())
        }
    }

    async fn said(&mut self, message: Message, rest: Vec<Message>) -> Result<(), IngressError> {
        if let Some(to) = message.migrate_to_chat_id {
            return Ok(self.bot.moves(message.chat.id, to).await?);
        }
        let (Some(sender), Some(at)) = (self.sender(&message), self.at(&message)) else {
            return Ok(());
        };
        let Some(id) = At { chat: message.chat.id, message: message.message_id }.id() else {
            return Ok(());
        };
        let mut text = self.text(&message);
        let mut files = Vec::new();
        for item in std::iter::once(&message).chain(&rest) {
            for (kind, mime, media) in media(item) {
                files.push(self.file(kind, mime, media).await?);
            }
        }
        for more in rest.iter().map(|item| self.text(item)).filter(|more| !more.is_empty()) {
            text = if text.is_empty() { more } else { format!("{text}\n{more}") };
        }
        if text.is_empty() && files.is_empty() {
            return Ok(()); // Somebody joined, a title changed: nothing that was said.
        }
        let direct = message.chat.kind == "private";
        let quoted = replied(&message);
        let addressed = direct
            || quoted.and_then(|m| m.from.as_ref()).is_some_and(|from| from.id == self.bot.me.id)
            || std::iter::once(&message).chain(&rest).any(|item| self.names_me(item));
        let inbound = Inbound {
            at,
            reply: None,
            id,
            timestamp: wire::time(message.date),
            sender,
            person: None,
            text,
            mention: if addressed { Mention::Yes } else { Mention::No },
            chat: if direct { ChatKind::Direct } else { ChatKind::Group },
            files,
            reply_to: quoted.map(|quoted| self.quote(&message, quoted)),
            only_for: None,
        };
        self.ingress.push(inbound).await
    }

    async fn edited(&self, id: i64, message: Message) -> Result<(), IngressError> {
        if message.text.is_none() && message.caption.is_none() {
            return Ok(()); // A location that moves, a poll that goes on.
        }
        let (Some(sender), Some(at)) = (self.sender(&message), self.at(&message)) else {
            return Ok(());
        };
        let told = At { chat: message.chat.id, message: message.message_id }.id();
        let date = message.edit_date.unwrap_or(message.date);
        self.change(id, at, told, (sender, date), What::Edited(self.text(&message))).await
    }

    async fn reacted(&self, id: i64, reactions: Reactions) -> Result<(), IngressError> {
        let sender = match (&reactions.user, &reactions.actor_chat) {
            (Some(user), _) if !user.is_bot => of_user(user),
            (None, Some(chat)) => of_chat(chat),
            _ => return Ok(()),
        };
        let (old, new) = (&reactions.old_reaction, &reactions.new_reaction);
        let gone = old.iter().filter(|r| !new.contains(r)).map(|r| (r, true));
        let come = new.iter().filter(|r| !old.contains(r)).map(|r| (r, false));
        let at = At { chat: reactions.chat.id, message: reactions.message_id };
        // Telegram does not say in which topic it is.
        let (topic, told) = send::sent_at(&self.bot.store, at).await?;
        let place = Place { chat: self.bot.known(reactions.chat.id), topic };
        for (n, (reaction, removed)) in (0..).zip(gone.chain(come)) {
            let emoji = reaction.emoji.clone().unwrap_or_else(|| reaction.kind.clone());
            let Some(at) = place.address() else { continue };
            let by = (sender.clone(), reactions.date);
            // Several of one update are told apart.
            let id = id.saturating_mul(64).saturating_add(n);
            self.change(id, at, told.id(), by, What::Reacted { emoji, removed }).await?;
        }
        Ok(())
    }

    async fn change(
        &self,
        id: i64,
        at: Address,
        message: Option<PlatformMessageId>,
        (sender, date): (Sender, i64),
        what: What,
    ) -> Result<(), IngressError> {
        let (Ok(id), Some(message)) = (PlatformMessageId::parse(format!("update:{id}")), message)
        else {
            return Ok(());
        };
        let (timestamp, sender) = (wire::time(date), Some(sender));
        self.ingress.change(Change { at, id, message, timestamp, sender, what }).await
    }

    async fn pressed(&mut self, callback: Callback) -> Result<(), IngressError> {
        let Some(message) = callback.message else { return Ok(()) };
        let at = At { chat: message.chat.id, message: message.message_id };
        let data = callback.data.unwrap_or_default();
        // What the data says is looked up: people can send any.
        let question = send::question(&self.bot.store, &data).await?;
        let choice = question
            .as_ref()
            .and_then(|q| q.options.get(data.rsplit_once(':')?.1.parse::<usize>().ok()?));
        let outcome = match (&question, choice, ChannelType::parse(crate::NAME)) {
            (Some(question), Some(choice), Ok(channel)) => {
                let answer = Answer {
                    question: question.question_id.clone(),
                    value: choice.value.clone(),
                    channel,
                    sender: of_user(&callback.from),
                };
                self.ingress.answer(answer).await?
            }
            _ => AnswerOutcome::Late,
        };
        let bot = Arc::clone(&self.bot);
        self.cards
            .spawn(async move { send::close(&bot, at, question, callback.id, outcome).await });
        Ok(())
    }

    fn at(&self, message: &Message) -> Option<Address> {
        let topic = message.message_thread_id.filter(|_| message.is_topic_message);
        Place { chat: self.bot.known(message.chat.id), topic }.address()
    }

    /// Who said it; nobody when it was a bot, such as this one.
    fn sender(&self, message: &Message) -> Option<Sender> {
        match (&message.sender_chat, &message.from) {
            // An administrator who stays anonymous, a channel.
            (Some(chat), _) => Some(of_chat(chat)),
            (None, Some(user)) => {
                (!user.is_bot && user.id != self.bot.me.id).then(|| of_user(user))
            }
            (None, None) => Some(of_chat(&message.chat)),
        }
    }

    fn names_me(&self, message: &Message) -> bool {
        let me = self.bot.me.username.as_deref().map(|name| format!("@{name}").to_lowercase());
        let named = |text: &Option<String>, entities: &[wire::Entity]| {
            let units: Vec<u16> = text.as_deref().unwrap_or_default().encode_utf16().collect();
            entities.iter().any(|entity| {
                let end = entity.offset.saturating_add(entity.length);
                let words = units.get(entity.offset..end).map(String::from_utf16_lossy);
                let words = words.unwrap_or_default().to_lowercase();
                match (entity.kind.as_str(), &me) {
                    ("text_mention", _) => {
                        entity.user.as_ref().is_some_and(|u| u.id == self.bot.me.id)
                    }
                    ("mention", Some(me)) => words == *me,
                    ("bot_command", Some(me)) => words.ends_with(me.as_str()),
                    _ => false,
                }
            })
        };
        named(&message.text, &message.entities)
            || named(&message.caption, &message.caption_entities)
    }

    fn text(&self, message: &Message) -> String {
        let mut text = match (&message.text, &message.caption) {
            (Some(text), _) => entities::markdown(text, &message.entities),
            (None, Some(caption)) => entities::markdown(caption, &message.caption_entities),
            (None, None) => described(message).unwrap_or_default(),
        };
        // `/status@nano_bot now` is what a client writes for `/status now`.
        if let (Some(name), true) = (&self.bot.me.username, text.starts_with('/')) {
            let end = text.find(char::is_whitespace).unwrap_or(text.len());
            if let Some((command, bot)) = text[..end].split_once('@')
                && bot.eq_ignore_ascii_case(name)
            {
                text = format!("{command}{}", &text[end..]);
            }
        }
        match &message.forward_origin {
            Some(origin) if !text.is_empty() => {
                format!("[forwarded from {}]\n{text}", origin.name())
            }
            _ => text,
        }
    }

    fn quote(&self, message: &Message, quoted: &Message) -> Quote {
        let part = message.quote.as_ref().map(|quote| quote.text.clone());
        let text = part.unwrap_or_else(|| self.text(quoted));
        let from = quoted.from.as_ref().map(User::name);
        Quote {
            id: At { chat: quoted.chat.id, message: quoted.message_id }
                .id()
                .map(|id| id.to_string()),
            sender: quoted.sender_chat.as_ref().and_then(Chat::name).or(from),
            text: Some(text).filter(|text| !text.is_empty()),
        }
    }

    async fn file(
        &mut self,
        kind: &'static str,
        mime: Option<&str>,
        media: &Media,
    ) -> Result<InFile, IngressError> {
        let mime = media.mime_type.as_deref().or(mime);
        let name = media.file_name.as_deref().unwrap_or_default();
        let mut file = InFile {
            kind: if kind.is_empty() { kind_of(mime, name) } else { kind }.into(),
            name: safe_name(name, kind, mime),
            mime: mime.map(str::to_owned),
            bytes: Vec::new(),
            missing: None,
        };
        if media.file_size > FILE_IN_MAX {
            file.missing =
                Some("it is larger than 20 MB, the most that Telegram gives to bots".into());
            return Ok(file);
        }
        let fetched = self.bot.told(self.bot.api.file(&media.file_id).await);
        match fetched.map_err(SendError::from) {
            Ok(bytes) => file.bytes = bytes,
            Err(SendError::Broken { why }) => return Err(IngressError(why)),
            Err(SendError::Retry { why, .. }) if self.fetches + 1 < FETCHES => {
                self.fetches += 1;
                return Err(IngressError(format!("a file was not fetched: {why}")));
            }
            Err(e) => file.missing = Some(e.to_string()),
        }
        Ok(file)
    }
}

/// The album that an update is part of.
fn album((_, update): &(i64, Result<Update, serde_json::Error>)) -> Option<&str> {
    update.as_ref().ok()?.message.as_ref()?.media_group_id.as_deref()
}

fn of_user(user: &User) -> Sender {
    Sender { handle: user.id.to_string(), name: Some(user.name()).filter(|name| !name.is_empty()) }
}

fn of_chat(chat: &Chat) -> Sender {
    Sender { handle: chat.id.to_string(), name: chat.name() }
}

/// The message that it answers. In a topic, everything "answers" the message that opened the topic.
fn replied(message: &Message) -> Option<&Message> {
    let quoted = message.reply_to_message.as_deref()?;
    (!message.is_topic_message || Some(quoted.message_id) != message.message_thread_id)
        .then_some(quoted)
}

/// Kind, media type if none is stated, and file.
pub(crate) fn media(
    message: &Message,
) -> impl Iterator<Item = (&'static str, Option<&'static str>, &Media)> {
    let Message { photo, animation, document, video, video_note, audio, voice, .. } = message;
    // An animation is there as a document too, for old clients.
    let document = document.as_ref().filter(|_| animation.is_none());
    let all = [
        ("image", Some("image/jpeg"), photo.last()),
        ("video", Some("video/mp4"), animation.as_ref()),
        ("", None, document),
        ("video", Some("video/mp4"), video.as_ref()),
        ("video", Some("video/mp4"), video_note.as_ref()),
        ("audio", Some("audio/mpeg"), audio.as_ref()),
        ("audio", Some("audio/ogg"), voice.as_ref()),
    ];
    all.into_iter().filter_map(|(kind, mime, media)| Some((kind, mime, media?)))
}

/// What is no text and no file, in words.
pub(crate) fn described(message: &Message) -> Option<String> {
    let Message { sticker, venue, location, contact, poll, dice, .. } = message;
    if let Some(sticker) = sticker {
        return Some(format!(
            "[sticker {}]",
            sticker.emoji.as_deref().unwrap_or("without a meaning")
        ));
    }
    if let Some(place) = location {
        let name =
            venue.as_ref().map(|v| format!("{}, {}, ", v.title, v.address)).unwrap_or_default();
        return Some(format!("[location: {name}{}, {}]", place.latitude, place.longitude));
    }
    if let Some(contact) = contact {
        return Some(format!("[contact: {}, {}]", contact.name(), contact.phone_number));
    }
    if let Some(poll) = poll {
        let options: Vec<&str> = poll.options.iter().map(|o| o.text.as_str()).collect();
        return Some(format!("[poll: {} {}]", poll.question, options.join(" / ")));
    }
    dice.as_ref().map(|dice| format!("[{} shows {}]", dice.emoji, dice.value))
}
