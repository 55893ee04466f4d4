//! The way in: the gateway's events, in order, each taken before the next is asked for.
//!
//! ```text
//! gateway ── event n ──▶ push ──▶ stored: "n was taken" ──▶ event n+1
//!                         └ not taken: the session is resumed at n, so that it comes again
//! ```
//!
//! A session that Discord no longer knows is begun anew, and what was said meanwhile is read from each
//! channel whose last message is not the one that was seen last.

use crate::ids::{Id, Place};
use crate::rest::{CallError, Rest};
use crate::send::part_of;
use crate::wire::{
    Attachment, Channel, Deleted, Frame, Guild, Interaction, Message, Reaction, Ready, Snapshot,
    Threads, Update,
};
use futures_util::StreamExt as _;
use nanoclaw_channel::time::Timestamp;
use nanoclaw_channel::{
    Change, ChatKind, Health, InFile, Inbound, Ingress, IngressError, Mention, PlatformMessageId,
    Quote, Report, SendError, Sender, What,
};
use nanoclaw_kit::backoff::Backoff;
use nanoclaw_kit::files::{kind_of, safe_name};
use nanoclaw_kit::store::Store;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use twilight_gateway::{
    ConfigBuilder, Intents, Message as Line, Session, Shard, ShardId, ShardState,
};

/// Largest file that comes in.
pub(crate) const FILE_MAX: u64 = 25 << 20;
/// Pages of 100 messages that are read per channel after an absence.
const PAGES_MAX: usize = 50;
/// Channels that are remembered; those beyond are looked up when they are needed.
const ROOMS_MAX: usize = 50_000;
const AGAIN_FIRST: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(300);
/// The token is wrong; an intent was not granted.
const AUTHENTICATION_FAILED: u16 = 4004;
const DISALLOWED_INTENTS: u16 = 4014;

/// Everything that the way in needs.
pub(crate) struct Receiver {
    pub(crate) rest: Arc<Rest>,
    pub(crate) store: Store,
    pub(crate) ingress: Arc<dyn Ingress>,
    pub(crate) report: Report,
    pub(crate) me: Id,
    pub(crate) application: Id,
    /// Where the gateway is, if not at Discord.
    pub(crate) gateway: Option<String>,
    pub(crate) rooms: Mutex<Rooms>,
    /// It was connected, or never will be.
    pub(crate) up: Notify,
    /// Why it never will be.
    pub(crate) ended: OnceLock<String>,
}

/// Whether files are worth their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Files {
    Fetch,
    Name,
}

/// What is known of channels and roles.
#[derive(Default)]
pub(crate) struct Rooms {
    all: BTreeMap<Id, Room>,
    /// The roles that are the bot itself.
    own_roles: Vec<Id>,
}

#[derive(Debug, Clone)]
struct Room {
    guild: Option<Id>,
    thread_of: Option<Id>,
    name: Option<String>,
}

/// Where a session stands, to be resumed there.
#[derive(Default, Clone)]
struct Mark {
    session: String,
    url: String,
    taken: u64,
}

/// Why the reading of one session ended.
enum Ended {
    /// It cannot go on; the health was told.
    ForGood,
    /// An event was not taken.
    NotTaken(IngressError),
}

impl Receiver {
    /// Reads until it cannot go on.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut backoff = Backoff::new(AGAIN_FIRST, AGAIN_MAX);
        let mut mark = self.stored_mark().await;
        loop {
            let taken = mark.taken;
            match self.read(&mut mark).await {
                Ended::ForGood => return,
                Ended::NotTaken(e) => tracing::warn!(error = %e, "an event comes again"),
            }
            if mark.taken > taken {
                backoff.reset();
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    /// One shard: it reconnects and resumes by itself.
    async fn read(&self, mark: &mut Mark) -> Ended {
        let intents = Intents::GUILDS
            | Intents::GUILD_MESSAGES
            | Intents::GUILD_MESSAGE_REACTIONS
            | Intents::DIRECT_MESSAGES
            | Intents::DIRECT_MESSAGE_REACTIONS
            | Intents::MESSAGE_CONTENT;
        let mut config = ConfigBuilder::new(self.rest.token().to_owned(), intents);
        if let Some(url) = &self.gateway {
            config = config.proxy_url(url.clone());
        }
        if !mark.session.is_empty() {
            config = config.session(Session::new(mark.taken, mark.session.clone()));
            config = config.resume_url(mark.url.clone());
        }
        let mut shard = Shard::with_config(ShardId::ONE, config.build());
        while let Some(line) = shard.next().await {
            match line {
                Ok(Line::Text(text)) => {
                    if let Err(e) = self.take(mark, &text).await {
                        return Ended::NotTaken(e);
                    }
                }
                Ok(Line::Close(frame)) => {
                    let code = frame.as_ref().map_or(1006, |f| f.code);
                    if shard.state() == ShardState::FatallyClosed {
                        self.closed_for_good(code);
                    } else {
                        let why = format!("Discord closed the connection ({code})");
                        (self.report)(Health::Reconnecting { why });
                    }
                }
                Err(e) => {
                    tracing::debug!(error = %e, "gateway");
                    let why = "Discord's gateway is not reached".to_owned();
                    (self.report)(Health::Reconnecting { why });
                }
            }
        }
        Ended::ForGood
    }

    fn closed_for_good(&self, code: u16) {
        let why = match code {
            AUTHENTICATION_FAILED => {
                "Discord refuses the bot's token; make a new one at discord.com/developers and set \
                 DISCORD_BOT_TOKEN"
                    .to_owned()
            }
            DISALLOWED_INTENTS => "the bot may not read messages; at discord.com/developers, Bot, \
                                   turn on MESSAGE CONTENT INTENT"
                .to_owned(),
            code => format!("Discord closed the connection for good ({code})"),
        };
        (self.report)(Health::Broken { why: why.clone() });
        drop(self.ended.set(why));
        self.up.notify_waiters();
    }

    /// Takes one event. What cannot be read is noted and passed over: it would not be readable the next time.
    async fn take(&self, mark: &mut Mark, line: &str) -> Result<(), IngressError> {
        let Ok(frame) = serde_json::from_str::<Frame<'_>>(line) else {
            tracing::warn!("a line of the gateway was not understood");
            return Ok(());
        };
        let (Some(number), Some(name), Some(content)) = (frame.s, frame.t, frame.d) else {
            return Ok(());
        };
        if name == "READY"
            && let Some(ready) = read::<Ready>(name, content)
        {
            *mark =
                Mark { session: ready.session_id, url: ready.resume_gateway_url, taken: number };
        }
        let lasting = match self.event(name, number, content).await {
            Err(e) if name == "READY" => {
                // Resumed, the session would go on behind it: what it begins with is done in a new one.
                *mark = Mark::default();
                return Err(e);
            }
            taken => taken?,
        };
        mark.taken = number;
        if lasting {
            let line = format!("{}\n{}\n{number}", mark.session, mark.url);
            self.store.put("session", &line).await?;
        }
        Ok(())
    }

    async fn stored_mark(&self) -> Mark {
        let stored = self.store.get("session").await.ok().flatten().unwrap_or_default();
        let mut lines = stored.lines();
        match (lines.next(), lines.next(), lines.next().and_then(|n| n.parse().ok())) {
            (Some(session), Some(url), Some(taken)) => {
                Mark { session: session.into(), url: url.into(), taken }
            }
            _ => Mark::default(),
        }
    }

    /// Carries out one event; says whether a restart must go on behind it.
    async fn event(&self, name: &str, n: u64, of: &RawValue) -> Result<bool, IngressError> {
        match name {
            "READY" => {
                self.is_up();
                self.catch_up_direct().await?;
            }
            "RESUMED" => self.is_up(),
            "GUILD_CREATE" => {
                if let Some(guild) = read::<Guild>(name, of) {
                    self.guild(guild).await?;
                }
            }
            "CHANNEL_CREATE" | "CHANNEL_UPDATE" | "THREAD_CREATE" | "THREAD_UPDATE" => {
                if let Some(channel) = read::<Channel>(name, of) {
                    self.rooms().learn(&channel, channel.guild_id);
                }
                return Ok(false);
            }
            "THREAD_LIST_SYNC" => {
                let Some(list) = read::<Threads>(name, of) else { return Ok(false) };
                for thread in &list.threads {
                    self.rooms().learn(thread, Some(list.guild_id));
                }
            }
            "MESSAGE_CREATE" => {
                let Some(message) = read::<Message>(name, of) else { return Ok(true) };
                let guild = message.guild_id;
                self.message(message, guild).await?;
            }
            "MESSAGE_UPDATE" => self.updated(read(name, of)).await?,
            "MESSAGE_DELETE" | "MESSAGE_DELETE_BULK" => self.deleted(read(name, of)).await?,
            "MESSAGE_REACTION_ADD" => self.reacted(read(name, of), n, false).await?,
            "MESSAGE_REACTION_REMOVE" => self.reacted(read(name, of), n, true).await?,
            "INTERACTION_CREATE" => {
                if let Some(interaction) = read::<Interaction>(name, of) {
                    crate::interact::take(self, interaction).await?;
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn is_up(&self) {
        (self.report)(Health::Up);
        self.up.notify_waiters();
    }

    fn rooms(&self) -> std::sync::MutexGuard<'_, Rooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a channel id is, asked for if it is not known.
    pub(crate) async fn place(&self, id: Id, guild: Option<Id>) -> Result<Place, IngressError> {
        let known = self.rooms().all.get(&id).cloned();
        let room = match (known, guild) {
            (Some(room), _) => room,
            (None, None) => Room { guild: None, thread_of: None, name: None },
            (None, Some(_)) => {
                let channel: Channel = match self.rest.get(&format!("/channels/{id}")).await {
                    Ok(channel) => channel,
                    // It is gone: what was said there has a place nevertheless.
                    Err(e) if matches!(e.status, 403 | 404) => {
                        return Ok(Place { guild, channel: id, thread: None });
                    }
                    Err(e) => return Err(IngressError(e.next.to_string())),
                };
                self.rooms().learn(&channel, guild)
            }
        };
        let guild = room.guild.or(guild);
        Ok(match room.thread_of {
            Some(parent) => Place { guild, channel: parent, thread: Some(id) },
            None => Place { guild, channel: id, thread: None },
        })
    }

    async fn message(&self, message: Message, guild: Option<Id>) -> Result<(), IngressError> {
        let (channel, id) = (message.channel_id, message.id);
        if message.is_said() && message.author.id != self.me {
            let inbound = self.inbound(message, guild, Files::Fetch).await?;
            self.ingress.push(inbound).await?;
        }
        let guild = guild.map(|g| g.to_string()).unwrap_or_default();
        self.store.put(&format!("last:{channel}"), &format!("{guild}:{id}")).await?;
        Ok(())
    }

    /// Everything about a message, stated.
    pub(crate) async fn inbound(
        &self,
        message: Message,
        guild: Option<Id>,
        fetch: Files,
    ) -> Result<Inbound, IngressError> {
        let mut place = self.place(message.channel_id, guild).await?;
        let mention = self.mention(&message, place);
        // Who is asked in a channel answers in a thread of that message; it is made with the first answer.
        if place.guild.is_some() && place.thread.is_none() && mention == Mention::Yes {
            place.thread = Some(message.id);
        }
        let text = readable(&message, |id| self.room_name(id));
        let mut files = Vec::new();
        let forwarded = message.message_snapshots.iter().flat_map(|s| &s.message.attachments);
        for attachment in message.attachments.iter().chain(forwarded) {
            files.push(self.file(attachment, fetch).await);
        }
        let nick = message.member.as_ref().and_then(|m| m.nick.clone());
        let name = nick.unwrap_or_else(|| message.author.name().to_owned());
        let quote = message.referenced_message.as_ref().map(|to| Quote {
            id: Some(to.id.to_string()),
            sender: Some(to.author.name().to_owned()),
            text: Some(readable(to, |id| self.room_name(id))),
        });
        Ok(Inbound {
            at: place.address().map_err(bad)?,
            reply: None,
            id: PlatformMessageId::parse(message.id.to_string()).map_err(bad)?,
            timestamp: when(&message.timestamp),
            sender: Sender { handle: message.author.id.to_string(), name: Some(name) },
            person: None,
            text,
            mention,
            chat: if place.guild.is_some() { ChatKind::Group } else { ChatKind::Direct },
            files,
            reply_to: quote,
            only_for: None,
        })
    }

    /// Addressed in a direct chat, by name, by its own role, or by an answer to what it said.
    fn mention(&self, message: &Message, place: Place) -> Mention {
        let by_name = message.mentions.iter().any(|u| u.id == self.me);
        let by_role = {
            let rooms = self.rooms();
            message.mention_roles.iter().any(|role| rooms.own_roles.contains(role))
        };
        let by_reply = message.referenced_message.as_ref().is_some_and(|m| m.author.id == self.me);
        if place.guild.is_none() || by_name || by_role || by_reply {
            Mention::Yes
        } else {
            Mention::No
        }
    }

    fn room_name(&self, id: Id) -> Option<String> {
        self.rooms().all.get(&id).and_then(|r| r.name.clone())
    }

    async fn file(&self, given: &Attachment, fetch: Files) -> InFile {
        let mime = given.content_type.as_deref();
        let kind = kind_of(mime, &given.filename);
        let fetched = if fetch == Files::Name {
            Err("it was said before the agent was asked".into())
        } else if given.size > FILE_MAX {
            Err(format!("it has {} MB, over {} MB", given.size >> 20, FILE_MAX >> 20))
        } else {
            self.rest.file(&given.url, FILE_MAX).await
        };
        let (bytes, missing) = match fetched {
            Ok(bytes) => (bytes, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        InFile {
            kind: kind.to_owned(),
            name: safe_name(&given.filename, kind, mime),
            mime: given.content_type.clone(),
            bytes,
            missing,
        }
    }

    async fn updated(&self, update: Option<Update>) -> Result<(), IngressError> {
        // Discord also "updates" a message when it shows a preview of a link.
        let Some(Update {
            id,
            channel_id,
            guild_id,
            author: Some(author),
            content: Some(content),
            edited_timestamp: Some(edited),
        }) = update
        else {
            return Ok(());
        };
        if author.bot || author.id == self.me {
            return Ok(());
        }
        let place = self.place(channel_id, guild_id).await?;
        let sender = Sender { handle: author.id.to_string(), name: Some(author.name().to_owned()) };
        let event = format!("{id}-edited-{edited}");
        let change = change(place, id, &event, when(&edited), Some(sender), What::Edited(content))?;
        self.ingress.change(change).await
    }

    async fn deleted(&self, deleted: Option<Deleted>) -> Result<(), IngressError> {
        let Some(deleted) = deleted else { return Ok(()) };
        let place = self.place(deleted.channel_id, deleted.guild_id).await?;
        for id in deleted.id.into_iter().chain(deleted.ids) {
            let event = format!("{id}-deleted");
            let change = change(place, id, &event, crate::now(), None, What::Deleted)?;
            self.ingress.change(change).await?;
        }
        Ok(())
    }

    async fn reacted(
        &self,
        reaction: Option<Reaction>,
        n: u64,
        removed: bool,
    ) -> Result<(), IngressError> {
        let Some(reaction) = reaction else { return Ok(()) };
        let user = reaction.member.and_then(|m| m.user);
        if reaction.user_id == self.me || user.as_ref().is_some_and(|u| u.bot) {
            return Ok(());
        }
        let Some(emoji) = reaction.emoji.name else { return Ok(()) };
        let place = self.place(reaction.channel_id, reaction.guild_id).await?;
        let sender = Sender {
            handle: reaction.user_id.to_string(),
            name: user.map(|u| u.name().to_owned()),
        };
        let (id, handle) = (reaction.message_id, &sender.handle);
        let event = format!("{id}-{handle}-{n}");
        // The host knows an answer of several parts by its first.
        let first = self.store.get(&part_of(id)).await?.and_then(|first| Id::parse(&first));
        let id = first.unwrap_or(id);
        let what = What::Reacted { emoji, removed };
        let change = change(place, id, &event, crate::now(), Some(sender), what)?;
        self.ingress.change(change).await
    }

    /// A server and its channels: learned, and read from where it was left.
    async fn guild(&self, guild: Guild) -> Result<(), IngressError> {
        {
            let mut rooms = self.rooms();
            for channel in guild.channels.iter().chain(&guild.threads) {
                rooms.learn(channel, Some(guild.id));
            }
            let own = guild.roles.iter().filter(|r| {
                r.tags.as_ref().and_then(|t| t.bot_id).is_some_and(|bot| bot == self.me)
            });
            rooms.own_roles.extend(own.map(|r| r.id));
            rooms.own_roles.sort_unstable();
            rooms.own_roles.dedup();
        }
        let seen: BTreeMap<String, String> = self.store.list("last:").await?.into_iter().collect();
        for channel in guild.channels.iter().chain(&guild.threads).filter(|c| c.has_messages()) {
            let Some(newest) = channel.last_message_id else { continue };
            let key = format!("last:{}", channel.id);
            match seen.get(&key).and_then(|v| Id::parse(v.rsplit(':').next()?)) {
                Some(last) if last < newest => {
                    self.catch_up(channel.id, Some(guild.id), last).await?;
                }
                Some(_) => {}
                // From here on nothing is missed; what was said before the bot came is not its business.
                None => self.store.put(&key, &format!("{}:{newest}", guild.id)).await?,
            }
        }
        Ok(())
    }

    async fn catch_up_direct(&self) -> Result<(), IngressError> {
        for (key, value) in self.store.list("last:").await? {
            let channel = key.strip_prefix("last:").and_then(Id::parse);
            if let (Some(channel), Some(last)) =
                (channel, value.strip_prefix(':').and_then(Id::parse))
            {
                self.catch_up(channel, None, last).await?;
            }
        }
        Ok(())
    }

    /// Reads what was said in a channel after a message.
    async fn catch_up(
        &self,
        channel: Id,
        guild: Option<Id>,
        mut last: Id,
    ) -> Result<(), IngressError> {
        for _ in 0..PAGES_MAX {
            let path = format!("/channels/{channel}/messages?after={last}&limit=100");
            let mut page: Vec<Message> = match self.rest.get(&path).await {
                Ok(page) => page,
                Err(CallError { next: SendError::Reject { why }, .. }) => {
                    tracing::warn!(%channel, why, "what was said while the bot was away is not read");
                    return Ok(());
                }
                Err(e) => return Err(IngressError(e.next.to_string())),
            };
            page.sort_unstable_by_key(|m| m.id);
            let Some(newest) = page.last().map(|m| m.id) else { return Ok(()) };
            let whole = page.len() == 100;
            for message in page {
                self.message(message, guild).await?;
            }
            if !whole {
                return Ok(());
            }
            last = newest;
        }
        tracing::warn!(%channel, "more was said while the bot was away than is read");
        Ok(())
    }
}

impl Rooms {
    fn learn(&mut self, channel: &Channel, guild: Option<Id>) -> Room {
        let room = Room {
            guild: channel.guild_id.or(guild),
            thread_of: channel.thread_of(),
            name: channel.name.clone(),
        };
        if self.all.len() < ROOMS_MAX || self.all.contains_key(&channel.id) {
            self.all.insert(channel.id, room.clone());
        }
        room
    }
}

fn change(
    place: Place,
    message: Id,
    event: &str,
    timestamp: Timestamp,
    sender: Option<Sender>,
    what: What,
) -> Result<Change, IngressError> {
    Ok(Change {
        at: place.address().map_err(bad)?,
        id: PlatformMessageId::parse(event).map_err(bad)?,
        message: PlatformMessageId::parse(message.to_string()).map_err(bad)?,
        timestamp,
        sender,
        what,
    })
}

fn bad(e: nanoclaw_channel::ids::BadId) -> IngressError {
    IngressError(e.to_string())
}

/// The content of an event, or a note that it has another shape than it should.
fn read<T: DeserializeOwned>(name: &str, content: &RawValue) -> Option<T> {
    serde_json::from_str(content.get())
        .inspect_err(|e| tracing::warn!(event = name, error = %e, "an event was not understood"))
        .ok()
}

/// The text as people read it: names instead of numbers, and a line for what is no text.
pub(crate) fn readable(message: &Message, room: impl Fn(Id) -> Option<String>) -> String {
    let mut out = named(&message.content, message, &room);
    for Snapshot { message: forwarded } in &message.message_snapshots {
        out.push_str(&format!("\n[forwarded]\n{}", named(&forwarded.content, message, &room)));
    }
    for sticker in &message.sticker_items {
        out.push_str(&format!("\n[sticker: {}]", sticker.name));
    }
    if let Some(poll) = &message.poll {
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        let answers: Vec<_> = poll.answers.iter().map(|a| text(&a.poll_media.text)).collect();
        out.push_str(&format!("\n[poll: {} ({})]", text(&poll.question.text), answers.join(", ")));
    }
    out.trim_start_matches('\n').to_owned()
}

fn named(content: &str, message: &Message, room: impl Fn(Id) -> Option<String>) -> String {
    let mut out = String::with_capacity(content.len());
    let mut rest = content;
    while let Some(at) = rest.find('<') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        match from.find('>').and_then(|end| Some((tag(&from[1..end], message, &room)?, end))) {
            Some((shown, end)) => {
                out.push_str(&shown);
                rest = &from[end + 1..];
            }
            None => {
                out.push('<');
                rest = &from[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// `@id`, `@!id`, `#id`, `:name:id`, `a:name:id`.
fn tag(inner: &str, message: &Message, room: impl Fn(Id) -> Option<String>) -> Option<String> {
    if let Some(id) = inner.strip_prefix('@') {
        let id = Id::parse(id.trim_start_matches('!'))?;
        let user = message.mentions.iter().find(|u| u.id == id)?;
        return Some(format!("@{}", user.name()));
    }
    if let Some(id) = inner.strip_prefix('#') {
        return Some(format!("#{}", room(Id::parse(id)?)?));
    }
    let (name, id) = inner.strip_prefix('a').unwrap_or(inner).strip_prefix(':')?.split_once(':')?;
    let word = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (word && Id::parse(id).is_some()).then(|| format!(":{name}:"))
}

/// A time that cannot be read is now.
pub(crate) fn when(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|_| crate::now())
}
