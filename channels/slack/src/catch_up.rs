//! What was said while nobody listened.
//!
//! Slack repeats an event for a few minutes and then never again. So the time of the newest message that was
//! taken is kept (Slack's time, not ours), and after an outage every conversation is read from there, a little
//! overlapping: what was taken before is known. Each conversation is read in its own line, before what is said
//! there from now on.

use crate::api::Failed;
use crate::ids::{Spot, is_id, is_ts, time_of, ts_at};
use crate::receive::{Files, is_said};
use crate::wire::{Conversations, Message};
use crate::{Hub, NAME};
use nanoclaw_channel::time::Timestamp;
use nanoclaw_channel::{Inbound, IngressError, Mention, SendError};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

/// What events may overtake each other by.
const OVERLAP: Duration = Duration::from_secs(600);
/// How far back a thread may have begun in which something new was said.
const THREADS: Duration = Duration::from_secs(3 * 24 * 3600);
/// Direct chats of which the last message is known.
const LAST_MAX: usize = 10_000;
/// Pages of conversations, and of one conversation.
const PAGES_MAX: usize = 25;
/// How often a busy Slack is asked again.
const TRIES_MAX: u32 = 30;
/// Pages of a thread that are read for what was said before.
const HISTORY_PAGES: usize = 5;

impl Hub {
    /// Notes that a message was taken. Kept on disk by [`Hub::keep_mark`].
    pub(crate) fn reached(&self, ts: &str) {
        let Some(at) = time_of(ts) else { return };
        self.newest.fetch_max(at.as_microsecond(), Ordering::Relaxed);
    }

    /// Notes the last message of a direct chat.
    pub(crate) fn heard(&self, channel: &str, ts: &str) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= LAST_MAX {
            last.clear();
        }
        last.insert(channel.to_owned(), ts.to_owned());
    }

    /// Something of a conversation was not taken: it is asked for again, from where it was certain.
    pub(crate) fn fell_behind(&self, chat: &str) {
        self.stalled().insert(chat.to_owned());
        self.is_behind.store(true, Ordering::SeqCst);
        self.behind.notify_one();
    }

    /// Whether something is missing that comes before what is said in a conversation now.
    pub(crate) fn is_stalled(&self, chat: &str) -> bool {
        if self.adrift.load(Ordering::SeqCst) {
            self.fell_behind(chat);
        }
        self.stalled().contains(chat)
    }

    /// Conversations of which something is missing.
    pub(crate) fn stalled(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.stalled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down how far it is certain that nothing is missing.
    pub(crate) async fn keep_mark(&self) {
        // Whatever is older than the newest message must be there too, in every conversation.
        if self.is_behind.load(Ordering::SeqCst) || Arc::strong_count(&self.on_its_way) > 1 {
            return;
        }
        let newest = Timestamp::from_microsecond(self.newest.load(Ordering::Relaxed));
        let Some(newest) = newest.ok().filter(|at| *at > Timestamp::UNIX_EPOCH) else { return };
        if let Err(error) = self.store.put("mark", &ts_at(newest)).await {
            tracing::warn!(channel = NAME, %error, "it is not kept how far messages were taken");
        }
    }

    /// Begins where the last run ended; on the very first start, now.
    pub(crate) async fn find_mark(&self) -> Result<(), nanoclaw_channel::StartError> {
        let kept = self.store.get("mark").await?.and_then(|ts| time_of(&ts));
        // By Slack's clock. Nothing older than the first start is anybody's business.
        let overlap = OVERLAP.saturating_sub(Duration::from_secs(1));
        let first = || self.api.heard().and_then(|now| now.checked_add(overlap).ok());
        if let Some(mark) = kept.or_else(first) {
            self.newest.store(mark.as_microsecond(), Ordering::Relaxed);
            self.store.put("mark", &ts_at(mark)).await?;
        }
        Ok(())
    }

    /// Reads every conversation from the mark on, each in its line.
    pub(crate) async fn catch_up(self: &Arc<Self>) -> Result<(), SendError> {
        self.is_behind.store(false, Ordering::SeqCst);
        let done = self.begin_catching_up().await;
        if done.is_err() {
            self.is_behind.store(true, Ordering::SeqCst);
        }
        // What will never be told keeps nobody waiting.
        let adrift = matches!(done, Err(SendError::Retry { .. }));
        self.adrift.store(adrift, Ordering::SeqCst);
        done
    }

    async fn begin_catching_up(self: &Arc<Self>) -> Result<(), SendError> {
        let Some(mark) = self.store.get("mark").await?.and_then(|ts| time_of(&ts)) else {
            return Ok(());
        };
        let since = mark.checked_sub(OVERLAP).unwrap_or(mark);
        let mut chats: BTreeSet<String> = self.conversations().await?.into_iter().collect();
        chats.extend(self.stalled().iter().cloned());
        for chat in chats {
            let (hub, line) = (Arc::clone(self), chat.clone());
            let on_its_way = Arc::clone(&self.on_its_way);
            let entered = self.lanes.enter(&line, 1024, async move {
                // What is turned away while it is read may not be in what is read.
                hub.stalled().remove(&chat);
                match hub.read_from(&chat, since).await {
                    // It will not be readable the next time; what is said from now on must not wait for it.
                    Err(error @ SendError::Reject { .. }) => {
                        tracing::warn!(channel = NAME, %chat, %error, "what was missed there cannot be read");
                    }
                    Err(error) => {
                        tracing::warn!(channel = NAME, %chat, %error, "what was missed was not read; it is tried again");
                        hub.fell_behind(&chat);
                    }
                    Ok(()) => {}
                }
                drop(on_its_way);
            });
            if !entered {
                self.fell_behind(&line);
            }
        }
        Ok(())
    }

    async fn conversations(&self) -> Result<Vec<String>, SendError> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        for _ in 0..PAGES_MAX {
            let types = "public_channel,private_channel,mpim,im";
            let arguments = [
                ("types", types),
                ("limit", "200"),
                ("exclude_archived", "true"),
                ("cursor", &cursor),
            ];
            let asked = patient(|| self.api.call("users.conversations", &arguments)).await;
            if let Err(SendError::Reject { why }) = &asked {
                tracing::warn!(channel = NAME, why, "what was missed cannot be read");
                break;
            }
            let page: Conversations = asked?;
            all.extend(page.channels.into_iter().map(|c| c.id).filter(|id| is_id(id)));
            cursor = page.response_metadata.unwrap_or_default().next_cursor;
            if cursor.is_empty() {
                break;
            }
        }
        Ok(all)
    }

    async fn read_from(&self, chat: &str, since: Timestamp) -> Result<(), SendError> {
        let spot = Spot { channel: chat.to_owned(), thread: None };
        let oldest = ts_at(since.checked_sub(THREADS).unwrap_or(since));
        let which = [("oldest", oldest.as_str())];
        let mut all = patient(|| self.messages(&spot, &which, PAGES_MAX)).await?;
        let is_new = |ts: &str| time_of(ts).is_some_and(|at| at > since);
        let threads: Vec<String> = all
            .iter()
            .filter(|m| m.latest_reply.as_deref().is_some_and(is_new))
            .map(|m| m.ts.clone())
            .collect();
        let oldest = ts_at(since);
        let which = [("oldest", oldest.as_str())];
        for thread in threads {
            let spot = Spot { channel: chat.to_owned(), thread: Some(thread) };
            all.extend(patient(|| self.messages(&spot, &which, PAGES_MAX)).await?);
        }
        let edited_at = |m: &Message| m.edited.as_ref().map(|edited| edited.ts.clone());
        all.retain(|m| is_new(&m.ts) || edited_at(m).is_some_and(|at| is_new(&at)));
        all.sort_by_key(|m| time_of(&m.ts));
        all.dedup_by(|a, b| a.ts == b.ts);
        let not_taken = |e: IngressError| SendError::Retry { after: None, why: e.to_string() };
        for mut message in all.into_iter().filter(is_said) {
            message.channel = Some(chat.to_owned());
            // What is told for the first time is told as it is now.
            if edited_at(&message).is_some() && self.is_known(chat, &message.ts).await? {
                self.edited(&message, &message).await.map_err(not_taken)?;
            } else if is_new(&message.ts) {
                self.said(&message, Mention::No).await.map_err(not_taken)?;
            }
        }
        Ok(())
    }

    /// What was said in a thread before a message.
    pub(crate) async fn before(&self, spot: &Spot, before: &str, max: usize) -> Vec<Inbound> {
        let Some(thread) = spot.thread.as_deref().filter(|t| *t != before && is_ts(before)) else {
            return Vec::new();
        };
        let which = [("latest", before), ("inclusive", "false")];
        let read = self.messages(spot, &which, HISTORY_PAGES).await;
        let all = read.unwrap_or_else(|failed| {
            tracing::warn!(channel = NAME, thread, error = %failed.error, "what was said before is not known");
            Vec::new()
        });
        let mut told = Vec::new();
        for m in all.iter().filter(|m| time_of(&m.ts) < time_of(before)).rev().take(max) {
            if let Some(said) = self.read(m, spot, Files::Name).await {
                told.push(said);
            }
        }
        told.reverse();
        told
    }
}

/// Asks again as often as Slack says that it is busy.
async fn patient<T, F>(mut ask: impl FnMut() -> F) -> Result<T, SendError>
where
    F: Future<Output = Result<T, Failed>>,
{
    let mut tries = 0;
    loop {
        match ask().await {
            Err(Failed { error: SendError::Retry { after: Some(after), .. }, .. })
                if tries < TRIES_MAX =>
            {
                tries += 1;
                tokio::time::sleep(after).await;
            }
            answer => return Ok(answer?),
        }
    }
}
