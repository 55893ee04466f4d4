//! From Slack's events to what an agent reads. Whether an event came over a socket, a webhook or was asked for
//! after an outage makes no difference here, and an event that comes twice is taken once.

use crate::api::Failed;
use crate::ids::{Spot, is_direct, is_id, is_ts, time_of};
use crate::send::part_of;
use crate::wire::{Event, File, Interaction, Message, OneFile, Reaction};
use crate::{Asked, Hub, text};
use nanoclaw_channel::{
    Answer, AnswerOutcome, Change, ChatKind, InFile, Inbound, IngressError, Mention,
    PlatformMessageId, QuestionId, Sender, What,
};
use nanoclaw_kit::store::StoreError;
use nanoclaw_kit::{files, sign};
use std::sync::Arc;
use std::time::Duration;

/// Largest file that is fetched, and all files of one message.
pub(crate) const FILE_IN_MAX: u64 = 50 << 20;
const FILES_IN_MAX: u64 = 100 << 20;
/// How long it is known that a message was taken, and in which thread it is.
const SEEN: Duration = Duration::from_secs(30 * 24 * 3600);

/// Whether files are worth their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Files {
    Fetch,
    Name,
}

impl Hub {
    /// Puts an event into the line of its conversation, and tells `done` whether it is on disk.
    pub(crate) fn enqueue(
        self: &Arc<Self>,
        event: Event,
        bytes: usize,
        done: impl FnOnce(bool) + Send + 'static,
    ) {
        let line = match &event {
            Event::Message(m) | Event::AppMention(m) => m.channel.clone(),
            Event::ReactionAdded(r) | Event::ReactionRemoved(r) => r.item.channel.clone(),
            Event::Other => None,
        };
        let Some(line) = line else { return done(true) };
        let (hub, on_its_way) = (Arc::clone(self), Arc::clone(&self.on_its_way));
        let chat = line.clone();
        let entered = self.lanes.enter(&line, bytes, async move {
            let _on_its_way = on_its_way;
            // What comes behind a message that was not taken waits for it, so that the order stays.
            if hub.is_stalled(&chat) {
                return done(false);
            }
            let taken = hub.take(event).await;
            if let Err(error) = &taken {
                tracing::warn!(channel = crate::NAME, %error, "an event was not taken; it is asked for again");
                hub.fell_behind(&chat);
            }
            done(taken.is_ok());
        });
        if !entered {
            self.fell_behind(&line);
        }
    }

    async fn take(&self, event: Event) -> Result<(), IngressError> {
        match event {
            Event::AppMention(m) => self.said(&m, Mention::Yes).await,
            Event::Message(m) if is_said(&m) => self.said(&m, Mention::No).await,
            Event::Message(m) => match m.subtype.as_deref() {
                Some("message_changed") => self.changed(&m).await,
                Some("message_deleted") => self.deleted(&m, m.previous_message.as_deref()).await,
                _ => Ok(()),
            },
            Event::ReactionAdded(r) => self.reacted(&r, false).await,
            Event::ReactionRemoved(r) => self.reacted(&r, true).await,
            Event::Other => Ok(()),
        }
    }

    /// Takes a message. Durable when this returns: it is in the host's inbox, and known here as taken. Killed
    /// between the two, it comes again and the host knows it.
    pub(crate) async fn said(&self, m: &Message, mention: Mention) -> Result<(), IngressError> {
        let Some(channel) = m.channel.as_deref().filter(|c| is_id(c)) else { return Ok(()) };
        if self.is_not_from_people(m) || self.is_known(channel, &m.ts).await? {
            return Ok(());
        }
        let spot = Spot::of(channel, &m.ts, m.thread_ts.as_deref());
        let Some(mut inbound) = self.read(m, &spot, Files::Fetch).await else { return Ok(()) };
        if mention == Mention::Yes {
            inbound.mention = mention;
        }
        if is_direct(channel) {
            self.heard(channel, &m.ts);
        }
        self.ingress.push(inbound).await?;
        let known = seen(channel, &m.ts);
        self.store.put_for(&known, spot.thread.as_deref().unwrap_or_default(), SEEN).await?;
        self.reached(&m.ts);
        Ok(())
    }

    /// Whether a message was taken.
    pub(crate) async fn is_known(&self, channel: &str, ts: &str) -> Result<bool, StoreError> {
        Ok(self.store.get(&seen(channel, ts)).await?.is_some())
    }

    /// A message as the host takes it; nothing if there is nothing in it.
    pub(crate) async fn read(&self, m: &Message, spot: &Spot, fetch: Files) -> Option<Inbound> {
        let user = m.user.as_deref().filter(|u| is_id(u))?;
        let mut text = text::read(self, &m.text).await;
        for shared in m.attachments.iter().filter(|a| a.is_share) {
            let author = shared.author_name.as_deref().unwrap_or("somebody");
            let said = text::read(self, shared.text.as_deref().unwrap_or_default()).await;
            text.push_str(&format!("\n\n> {author}: {}", said.replace('\n', "\n> ")));
        }
        let direct = is_direct(&spot.channel) || m.channel_type.as_deref() == Some("im");
        let addressed = direct
            || text::names(&m.text, &self.me.user_id)
            || m.parent_user_id.as_ref() == Some(&self.me.user_id);
        let files = self.files(&m.files, fetch).await;
        if text.trim().is_empty() && files.is_empty() {
            return None;
        }
        Some(Inbound {
            at: spot.address().ok()?,
            reply: None,
            id: PlatformMessageId::parse(m.ts.as_str()).ok().filter(|_| is_ts(&m.ts))?,
            timestamp: time_of(&m.ts)?,
            sender: self.sender(user).await,
            person: None,
            text: text.trim().to_owned(),
            mention: if addressed { Mention::Yes } else { Mention::No },
            chat: if direct { ChatKind::Direct } else { ChatKind::Group },
            files,
            reply_to: None,
            only_for: None,
        })
    }

    /// Our own messages, and those of programs: whoever answers those ends in a loop.
    fn is_not_from_people(&self, m: &Message) -> bool {
        m.bot_id.is_some()
            || m.user.as_ref().is_none_or(|u| *u == self.me.user_id || u == "USLACKBOT")
    }

    async fn sender(&self, user: &str) -> Sender {
        Sender { handle: user.to_owned(), name: self.names.of(&self.api, user).await }
    }

    async fn files(&self, all: &[File], fetch: Files) -> Vec<InFile> {
        let mut room = FILES_IN_MAX;
        let mut files = Vec::new();
        for file in all {
            let file = self.file_info(file).await;
            let name = file.name.or(file.title).unwrap_or_default();
            let mime = file.mimetype.as_deref().filter(|m| !m.is_empty());
            let kind = files::kind_of(mime, &name).to_owned();
            let name = files::safe_name(&name, &kind, mime);
            let max = room.min(FILE_IN_MAX);
            let url = file.url_private_download.or(file.url_private);
            let fetched = match (file.mode.as_deref(), url) {
                _ if fetch == Files::Name => Err("it was said before the agent was asked".into()),
                (Some("hidden_by_limit"), _) => {
                    Err("Slack hides it: the workspace is over its limit".into())
                }
                (Some("tombstone"), _) => Err("it was deleted".into()),
                (Some("external"), url) => {
                    Err(format!("it lies outside of Slack: {}", url.unwrap_or_default()))
                }
                (_, None) => Err("Slack does not say where it is".into()),
                _ if file.size.is_some_and(|size| size > max) => {
                    Err(format!("it is larger than {}", files::size(max)))
                }
                (_, Some(url)) => self.api.file(&url, max).await,
            };
            let fetched = fetched.and_then(|bytes| {
                let page = bytes.trim_ascii_start().starts_with(b"<!DOCTYPE html");
                match file.mimetype.as_deref() {
                    Some("text/html") => Ok(bytes),
                    _ if page => {
                        Err("Slack wants a login for it: the app lacks the scope files:read".into())
                    }
                    _ => Ok(bytes),
                }
            });
            let (bytes, missing) =
                fetched.map_or_else(|why| (Vec::new(), Some(why)), |b| (b, None));
            room -= bytes.len() as u64;
            files.push(InFile { kind, name, mime: file.mimetype, bytes, missing });
        }
        files
    }

    /// All about a file: in conversations with other workspaces an event only names it.
    async fn file_info(&self, file: &File) -> File {
        if file.file_access.as_deref() != Some("check_file_info") {
            return file.clone();
        }
        let asked = self.api.call::<OneFile>("files.info", &[("file", &file.id)]).await;
        asked.map_or_else(|_| file.clone(), |answer| answer.file)
    }

    async fn changed(&self, m: &Message) -> Result<(), IngressError> {
        let (Some(now), before) = (m.message.as_deref(), m.previous_message.as_deref()) else {
            return Ok(());
        };
        if now.subtype.as_deref() == Some("tombstone") {
            return self.deleted(m, before).await;
        }
        // A preview of a link changes a message too.
        if before.is_some_and(|before| before.text == now.text) {
            return Ok(());
        }
        self.edited(m, now).await
    }

    /// A message has a new text, as an event or a list says.
    pub(crate) async fn edited(&self, told: &Message, now: &Message) -> Result<(), IngressError> {
        let at = now.edited.as_ref().map_or(when(told), |edited| edited.ts.as_str());
        // It is in whole seconds; the text tells two changes in one of them apart.
        let text = sign::hex(&sign::hmac_sha256(b"text", &[now.text.as_bytes()])[..6]);
        let id = format!("edit:{}:{at}:{text}", now.ts);
        let what = What::Edited(text::read(self, &now.text).await);
        self.change(told, now, (&id, at), what).await
    }

    async fn deleted(&self, m: &Message, gone: Option<&Message>) -> Result<(), IngressError> {
        let Some(gone) = gone else { return Ok(()) };
        self.change(m, gone, (&format!("delete:{}", when(m)), when(m)), What::Deleted).await
    }

    async fn change(
        &self,
        event: &Message,
        of: &Message,
        (id, at): (&str, &str),
        what: What,
    ) -> Result<(), IngressError> {
        let (Some(channel), Some(user), false) =
            (&event.channel, &of.user, self.is_not_from_people(of))
        else {
            return Ok(());
        };
        let spot = Spot::of(channel, &of.ts, of.thread_ts.as_deref());
        // Slack does not say who deleted it.
        let sender = match &what {
            What::Deleted | What::Undelivered(_) => None,
            What::Edited(_) | What::Reacted { .. } => Some(self.sender(user).await),
        };
        self.pass_on(&spot, (id, at), &of.ts, sender, what).await
    }

    async fn reacted(&self, r: &Reaction, removed: bool) -> Result<(), IngressError> {
        let (Some(channel), Some(ts)) = (&r.item.channel, &r.item.ts) else { return Ok(()) };
        if r.user == self.me.user_id {
            return Ok(());
        }
        // The event does not say in which thread the message is.
        let thread = self.store.get(&seen(channel, ts)).await?.filter(|t| !t.is_empty());
        let spot = Spot::of(channel, ts, thread.as_deref());
        // The host knows an answer of several posts by its first.
        let first = self.store.get(&part_of(channel, ts)).await?;
        let ts = first.as_deref().unwrap_or(ts);
        let (id, emoji) = (format!("react:{}", r.event_ts), text::emoji(&r.reaction));
        let sender = Some(self.sender(&r.user).await);
        let what = What::Reacted { emoji, removed };
        self.pass_on(&spot, (&id, &r.event_ts), ts, sender, what).await
    }

    async fn pass_on(
        &self,
        spot: &Spot,
        (id, when): (&str, &str),
        message: &str,
        sender: Option<Sender>,
        what: What,
    ) -> Result<(), IngressError> {
        let ids = (spot.address(), PlatformMessageId::parse(id), PlatformMessageId::parse(message));
        let ((Ok(at), Ok(id), Ok(message)), Some(timestamp)) = (ids, time_of(when)) else {
            tracing::warn!(channel = crate::NAME, "a change that cannot be read is left out");
            return Ok(());
        };
        self.ingress.change(Change { at, id, message, timestamp, sender, what }).await
    }

    /// Takes a press of a button. What it stands for is looked up; Slack only tells which one.
    pub(crate) async fn clicked(&self, click: Interaction) -> Result<(), IngressError> {
        let pressed = click.actions.first().and_then(|a| a.action_id.strip_prefix("ncq:"));
        let Some((number, question)) = pressed.and_then(|id| id.split_once(':')) else {
            return Ok(());
        };
        let asked = self.store.get(&format!("ask:{question}")).await?;
        let asked = asked.and_then(|text| serde_json::from_str::<Asked>(&text).ok());
        let channel = click.channel.map(|c| c.id).unwrap_or_default();
        let chosen = number.parse::<usize>().ok().and_then(|n| asked.as_ref()?.values.get(n));
        let outcome = match (chosen, QuestionId::parse(question), self.channel_type.clone()) {
            (Some(value), Ok(question), channel) => {
                let (value, sender) = (value.clone(), self.sender(&click.user.id).await);
                self.ingress.answer(Answer { question, value, channel, sender }).await?
            }
            _ => AnswerOutcome::Late,
        };
        let shown = asked.map(|a| a.text).or(click.message.as_ref().map(|m| m.text.clone()));
        let shown = shown.unwrap_or_default();
        let ts = click.message.map(|m| m.ts).unwrap_or_default();
        let told = match outcome {
            AnswerOutcome::Taken { label } => {
                self.close_card(&channel, &ts, &format!("{shown}\n\n*{}*", text::escape(&label)))
                    .await
            }
            AnswerOutcome::Late => {
                self.close_card(
                    &channel,
                    &ts,
                    &format!("{shown}\n\n_This question is no longer open._"),
                )
                .await
            }
            AnswerOutcome::Refused { why } => {
                let why = text::escape(&why);
                let told =
                    [("channel", channel.as_str()), ("user", &click.user.id), ("text", &why)];
                self.api.tell_slack("chat.postEphemeral", &told).await
            }
        };
        if let Err(failed) = told {
            tracing::warn!(channel = crate::NAME, error = %failed.error, "who pressed a button does not see what came of it");
        }
        Ok(())
    }

    async fn close_card(&self, channel: &str, ts: &str, text: &str) -> Result<(), Failed> {
        let update = [("channel", channel), ("ts", ts), ("text", text), ("blocks", "[]")];
        self.api.tell_slack("chat.update", &update).await
    }
}

/// Whether it is something that was said, and not something that happened.
pub(crate) fn is_said(m: &Message) -> bool {
    let subtypes = ["file_share", "thread_broadcast", "me_message"];
    m.subtype.as_deref().is_none_or(|subtype| subtypes.contains(&subtype))
}

/// When an event happened.
fn when(event: &Message) -> &str {
    event.event_ts.as_deref().unwrap_or(&event.ts)
}

/// Under which key it is known that a message was taken, with its thread.
pub(crate) fn seen(channel: &str, ts: &str) -> String {
    format!("m:{channel}:{ts}")
}

/// Whether Slack signed this just now.
pub(crate) fn is_signed(
    secret: &str,
    stamp: &str,
    body: &[u8],
    signature: &str,
    now: nanoclaw_channel::time::Timestamp,
) -> bool {
    let Some(given) = signature.strip_prefix("v0=").and_then(sign::unhex) else { return false };
    let Ok(seconds) = stamp.parse::<i64>() else { return false };
    let ours = sign::hmac_sha256(secret.as_bytes(), &[b"v0:", stamp.as_bytes(), b":", body]);
    sign::same(&ours, &given) && sign::fresh(seconds, now, Duration::from_secs(300))
}

#[cfg(test)]
mod tests;
