//! What people say and do, handed to the host in order, each at least once.
//!
//! A round is: ask the homeserver for what is new, hand over all of it, then write down how far we are. Killed in
//! between, the same comes again, and the host knows it by its id. A gap that the homeserver left, because much
//! was said while we were away, is read back first.

use crate::files::earlier;
use crate::session::SIGNED_OUT;
use crate::{Matrix, send};
use matrix_sdk::config::{SyncSettings, SyncToken};
use matrix_sdk::deserialized_responses::TimelineEvent;
use matrix_sdk::room::{IncludeRelations, MessagesOptions, RelationsOptions};
use matrix_sdk::ruma::api::client::filter::{FilterDefinition, LazyLoadOptions, RoomEventFilter};
use matrix_sdk::ruma::api::client::sync::sync_events::v3::Filter;
use matrix_sdk::ruma::events::relation::RelationType;
use matrix_sdk::ruma::{EventId, UInt, UserId};
use matrix_sdk::sync::Timeline;
use matrix_sdk::{Room, RoomState};
use nanoclaw_channel::time::Timestamp;
use nanoclaw_channel::{
    Address, Change, ChannelType, ChatKind, Health, Inbound, Mention, PlatformMessageId, Quote,
    SendError, Sender, What as Done,
};
use nanoclaw_channel_matrix::events::{self, Event, Said, What};
use nanoclaw_channel_matrix::ids::{Chat, parse_thread, thread_id};
use nanoclaw_channel_matrix::{NAME, events::File};
use nanoclaw_kit::backoff::Backoff;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long the homeserver may wait for something to happen.
const WAIT: Duration = Duration::from_secs(30);

/// Events per room that a round asks for; what is more is read back.
const ROUND: u32 = 50;

/// Events that are read back at once, and at most.
const GAP: (u32, usize) = (100, 10_000);

/// Invitations that are accepted in one round.
const JOINS_MAX: usize = 20;

/// Reactions that are remembered, so that it is known what is taken back.
const REACTIONS_MAX: usize = 500;

/// Messages of a thread that are looked through for what was said before.
const HISTORY_MAX: u32 = 100;

/// How often a failed delivery to the host, or a failed round, is tried again.
fn pauses() -> Backoff {
    Backoff::new(Duration::from_millis(500), Duration::from_secs(60))
}

/// Something for the host.
enum News {
    Said(Inbound),
    Changed(Change),
}

impl Matrix {
    /// Reads until the login is no longer good.
    pub(crate) async fn read(self: Arc<Self>) {
        let (mut pauses, mut wait) = (pauses(), Duration::ZERO);
        let mut refused = BTreeMap::new();
        loop {
            match self.round(wait, &mut refused).await {
                Ok(()) => {
                    (self.start.report)(Health::Up);
                    self.synced.store(true, Ordering::Relaxed);
                    wait = WAIT;
                    pauses.reset();
                }
                Err(SendError::Broken { .. }) => {
                    (self.start.report)(Health::Broken { why: SIGNED_OUT.to_owned() });
                    return;
                }
                Err(SendError::Retry { why, .. } | SendError::Reject { why }) => {
                    (self.start.report)(Health::Reconnecting { why });
                    wait = Duration::ZERO;
                    tokio::time::sleep(pauses.next()).await;
                }
            }
        }
    }

    async fn round(
        &self,
        wait: Duration,
        refused: &mut BTreeMap<String, u32>,
    ) -> Result<(), SendError> {
        let retry = |why| SendError::Retry { after: None, why };
        let since: Option<String> = self.state.get("since").await;
        let token = since.clone().map_or(SyncToken::NoToken, SyncToken::Specific);
        let settings = SyncSettings::new().token(token).timeout(wait).filter(filter());
        let news = self.client.sync_once(settings).await.map_err(|e| send::sort(&e))?;
        for (id, update) in news.rooms.joined {
            // What was said before the agent came is not for it.
            if let (Some(since), Some(room)) = (&since, self.client.get_room(&id)) {
                self.hear(&room, update.timeline, since).await?;
            }
        }
        self.hear_late().await;
        if since.as_deref() != Some(news.next_batch.as_str()) {
            self.state.put("since", &news.next_batch).await.map_err(retry)?;
        }
        self.accept_invitations(refused).await;
        Ok(())
    }

    /// Hands over what happened in a room.
    async fn hear(&self, room: &Room, news: Timeline, since: &str) -> Result<(), SendError> {
        let mut all = Vec::new();
        if news.limited
            && let Some(from) = news.prev_batch
            && self.came_at(&news.events).is_none()
        {
            all = self.gap(room, from, since).await?;
        }
        all.extend(news.events);
        let from = self.came_at(&all).unwrap_or(0);
        for event in all.drain(from..) {
            if event.kind.is_utd() {
                self.keep_unread(room, &event).await;
            } else {
                self.happened(room, &event).await;
            }
        }
        Ok(())
    }

    /// Where the agent was invited, or else came in by itself: what is before that is not for it.
    fn came_at(&self, all: &[TimelineEvent]) -> Option<usize> {
        let ours = |event: &TimelineEvent, wanted: &str| {
            matches!(events::read(event.raw().json().get()), Some(Event {
                what: What::Member { user, now, before }, ..
            }) if user == self.me && now == wanted && before.as_deref() != Some(wanted))
        };
        let invited = all.iter().rposition(|event| ours(event, "invite"));
        invited.or_else(|| all.iter().rposition(|event| ours(event, "join")))
    }

    /// What the homeserver left out between `since` and `from`.
    async fn gap(
        &self,
        room: &Room,
        from: String,
        since: &str,
    ) -> Result<Vec<TimelineEvent>, SendError> {
        let (mut from, mut all) = (Some(from), Vec::new());
        while let Some(token) = from.take() {
            let mut options = MessagesOptions::backward().from(token.as_str());
            options.to = Some(since.to_owned());
            options.limit = UInt::from(GAP.0);
            let page = room.messages(options).await.map_err(|e| send::sort(&e))?;
            let end = page.chunk.is_empty() || self.came_at(&page.chunk).is_some();
            all.extend(page.chunk);
            if all.len() >= GAP.1 {
                tracing::warn!("{}: more than {} events were missed", room.room_id(), GAP.1);
            } else if !end {
                from = page.end;
            }
        }
        all.reverse();
        Ok(all)
    }

    /// Hands over one event, decrypted.
    pub(crate) async fn happened(&self, room: &Room, event: &TimelineEvent) {
        let Some(event) = events::read(event.raw().json().get()) else { return };
        if event.sender == self.me.as_str() {
            return;
        }
        if let What::Said(said) = &event.what {
            let mut files = Vec::new();
            if let Some(file) = &said.file {
                files.push(self.fetch(file).await);
            }
            if let Some(mut message) = self.inbound(room, &event, said).await {
                message.files = files;
                self.hand_over(&News::Said(message)).await;
            }
        } else if let Some(change) = self.change(room, &event).await {
            self.hand_over(&News::Changed(change)).await;
        }
    }

    /// Nothing behind it is handed over before it was taken: order is kept.
    async fn hand_over(&self, news: &News) {
        let (mut pauses, ingress) = (pauses(), &self.start.ingress);
        loop {
            let taken = match news {
                News::Said(message) => ingress.push(message.clone()).await,
                News::Changed(change) => ingress.change(change.clone()).await,
            };
            let Err(e) = taken else { return };
            tracing::warn!("not taken: {e}");
            tokio::time::sleep(pauses.next()).await;
        }
    }

    async fn inbound(&self, room: &Room, event: &Event, said: &Said) -> Option<Inbound> {
        let quote = match &said.reply_to {
            Some(id) => Some(self.quote(room, id).await),
            None => None,
        };
        let chat = self.chat_of(room).await;
        let named = said.calls_all || said.names.iter().any(|name| name == self.me.as_str());
        let answered = quote.as_ref().is_some_and(|(_, ours)| *ours);
        let direct = matches!(chat, Chat::Person(_));
        Some(Inbound {
            at: self.address(room, &chat, said.thread.as_deref())?,
            reply: None,
            id: PlatformMessageId::parse(event.id.clone()).ok()?,
            timestamp: when(event),
            sender: self.sender(room, event).await,
            person: None,
            text: said.text.clone(),
            mention: if direct || named || answered { Mention::Yes } else { Mention::No },
            chat: if direct { ChatKind::Direct } else { ChatKind::Group },
            files: Vec::new(),
            reply_to: quote.map(|(quote, _)| quote),
            only_for: None,
        })
    }

    fn address(&self, room: &Room, chat: &Chat, thread: Option<&str>) -> Option<Address> {
        Some(Address {
            channel_type: ChannelType::parse(NAME).ok()?,
            platform_id: chat.platform_id()?,
            thread_id: match thread {
                Some(root) => Some(thread_id(room.room_id().as_str(), root)?),
                None => None,
            },
        })
    }

    async fn sender(&self, room: &Room, event: &Event) -> Sender {
        let member = match UserId::parse(&event.sender) {
            Ok(user) => room.get_member_no_sync(&user).await.ok().flatten(),
            Err(_) => None,
        };
        let name = member.and_then(|member| member.display_name().map(str::to_owned));
        Sender { handle: event.sender.clone(), name }
    }

    /// What a message says, and whether it is ours.
    async fn quote(&self, room: &Room, id: &str) -> (Quote, bool) {
        let known = self.look_up(room, id).await;
        let ours = known.as_ref().is_some_and(|event| event.sender == self.me.as_str());
        let sender = known.as_ref().map(|event| event.sender.clone());
        let text = known.and_then(|event| match event.what {
            What::Said(said) => Some(said.text),
            _ => None,
        });
        (Quote { id: Some(id.to_owned()), sender, text }, ours)
    }

    async fn look_up(&self, room: &Room, id: &str) -> Option<Event> {
        let id = EventId::parse(id).ok()?;
        let event = room.event(&id, None).await.ok()?;
        events::read(event.raw().json().get())
    }

    async fn change(&self, room: &Room, event: &Event) -> Option<Change> {
        let (message, what) = match &event.what {
            What::Edited { message, text } => {
                // Only who said it may change it; servers do not see to that.
                let first = self.look_up(room, message).await?;
                if first.sender != event.sender {
                    return None;
                }
                (message.clone(), Done::Edited(text.clone()))
            }
            What::Reacted { message, emoji } => {
                let seen = (event.id.clone(), message.clone(), emoji.clone());
                self.remember(seen).await;
                let plain = emoji.trim_end_matches('\u{fe0f}').to_owned();
                (message.clone(), Done::Reacted { emoji: plain, removed: false })
            }
            What::Redacted { target } => match self.reaction(target).await {
                Some((message, emoji)) => {
                    let emoji = emoji.trim_end_matches('\u{fe0f}').to_owned();
                    (message, Done::Reacted { emoji, removed: true })
                }
                None => (target.clone(), Done::Deleted),
            },
            What::Said(_) | What::Member { .. } => return None,
        };
        let chat = self.chat_of(room).await;
        Some(Change {
            at: self.address(room, &chat, None)?,
            id: PlatformMessageId::parse(event.id.clone()).ok()?,
            message: PlatformMessageId::parse(message).ok()?,
            timestamp: when(event),
            sender: Some(self.sender(room, event).await),
            what,
        })
    }

    async fn remember(&self, reaction: (String, String, String)) {
        let mut all: Vec<(String, String, String)> =
            self.state.get("reactions").await.unwrap_or_default();
        if all.iter().any(|(id, ..)| *id == reaction.0) {
            return;
        }
        if all.len() >= REACTIONS_MAX {
            all.remove(0);
        }
        all.push(reaction);
        self.state.put("reactions", &all).await.inspect_err(|e| tracing::warn!("{e}")).ok();
    }

    async fn reaction(&self, id: &str) -> Option<(String, String)> {
        let all: Vec<(String, String, String)> = self.state.get("reactions").await?;
        all.into_iter().find(|(event, ..)| event == id).map(|(_, message, emoji)| (message, emoji))
    }

    /// Comes into the rooms that the agent was invited to. One that cannot be entered is left alone after three
    /// attempts.
    async fn accept_invitations(&self, refused: &mut BTreeMap<String, u32>) {
        let get = |name: &str| (self.start.setting)(name);
        if get("MATRIX_INVITE_AUTOJOIN").is_some_and(|v| ["false", "0", "no"].contains(&v.trim())) {
            return;
        }
        let allowed =
            get("MATRIX_INVITE_AUTOJOIN_ALLOWLIST").filter(|list| !list.trim().is_empty());
        let mut joins = 0..JOINS_MAX;
        for room in self.client.invited_rooms() {
            let inviter = room.invite_details().await.map(|invite| invite.inviter_id.to_string());
            let good = match (&allowed, inviter) {
                (Some(list), Ok(inviter)) => list.split(',').any(|one| one.trim() == inviter),
                (Some(_), Err(_)) => false,
                (None, _) => true,
            };
            if !good || room.state() != RoomState::Invited {
                continue;
            }
            let tries = refused.entry(room.room_id().to_string()).or_default();
            // Invitations that lead nowhere do not stand before others.
            if *tries >= 3 {
                continue;
            }
            if joins.next().is_none() {
                return;
            }
            if let Err(e) = room.join().await {
                *tries += 1;
                tracing::warn!("the invitation to {} failed: {e}", room.room_id());
            }
        }
    }

    /// What was said in a thread before a message, the oldest first.
    pub(crate) async fn history(
        &self,
        at: &Address,
        before: &PlatformMessageId,
        max: usize,
    ) -> Vec<Inbound> {
        let Some((_, root)) = at.thread_id.as_ref().and_then(parse_thread) else {
            return Vec::new();
        };
        let (Ok(room), Ok(first)) = (self.room_of(&at.platform_id).await, EventId::parse(root))
        else {
            return Vec::new();
        };
        let options = RelationsOptions {
            limit: Some(UInt::from(HISTORY_MAX)),
            include_relations: IncludeRelations::RelationsOfType(RelationType::Thread),
            ..RelationsOptions::default()
        };
        let mut newest_first = match room.relations(first.clone(), options).await {
            Ok(related) => related.chunk,
            Err(_) => Vec::new(),
        };
        newest_first.extend(room.event(&first, None).await);
        let id = |event: &TimelineEvent| event.event_id().map(|id| id.to_string());
        let asked = newest_first.iter().position(|e| id(e).as_deref() == Some(before.as_str()));
        let mut said = Vec::new();
        for event in newest_first.iter().skip(asked.map_or(0, |at| at + 1)) {
            if said.len() == max {
                break;
            }
            said.extend(self.told(&room, event).await);
        }
        said.reverse();
        said
    }

    async fn told(&self, room: &Room, event: &TimelineEvent) -> Option<Inbound> {
        let event = events::read(event.raw().json().get())?;
        let What::Said(said) = &event.what else { return None };
        let mut message = self.inbound(room, &event, said).await?;
        message.files = said.file.iter().map(|file: &File| earlier(file)).collect();
        Some(message)
    }
}

fn when(event: &Event) -> Timestamp {
    Timestamp::from_millisecond(event.at_ms).unwrap_or_default()
}

fn filter() -> Filter {
    let mut filter = FilterDefinition::default();
    filter.room.state.lazy_load_options =
        LazyLoadOptions::Enabled { include_redundant_members: false };
    let mut timeline = RoomEventFilter::default();
    timeline.limit = Some(UInt::from(ROUND));
    timeline.lazy_load_options = LazyLoadOptions::Enabled { include_redundant_members: false };
    filter.room.timeline = timeline;
    filter.room.ephemeral = RoomEventFilter::ignore_all();
    filter.into()
}
