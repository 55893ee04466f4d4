//! What the agent said and Emacs has not read yet, and a little of what it has.

#[cfg(test)]
mod tests;

use crate::wire::{Entry, Offered};
use nanoclaw_channel::time::{Clock as _, SystemClock};
use nanoclaw_channel::{SendError, StartError};
use nanoclaw_kit::store::Store;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// What is kept of what was read, for an Emacs that starts anew.
const READ_MAX: usize = 200;
/// The most that waits for an Emacs that does not come.
const UNREAD_MAX: usize = 5_000;
/// And in bytes: it is in memory.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Largest answer to one call; the rest comes with the next.
const ANSWER_MAX: usize = 8 * 1024 * 1024;
/// How long a key and a question are remembered.
const KEPT: Duration = Duration::from_secs(60 * 24 * 3600);

/// The backlog.
pub(crate) struct Backlog {
    store: Store,
    files: PathBuf,
    rows: Mutex<BTreeMap<i64, String>>,
    /// One at a time writes.
    writes: tokio::sync::Mutex<()>,
    /// Up to where Emacs has read.
    read: Mutex<i64>,
    typing: AtomicBool,
    ended: AtomicBool,
    /// Rings when there is something to read.
    pub(crate) bell: Notify,
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

fn row(timestamp: i64) -> String {
    format!("out/{timestamp:020}")
}

fn retry(why: impl std::fmt::Display) -> SendError {
    SendError::Retry { after: None, why: why.to_string() }
}

impl Backlog {
    pub(crate) async fn load(store: Store, files: PathBuf) -> Result<Self, StartError> {
        let broken = |e: &dyn std::fmt::Display| {
            StartError::Broken(format!("the backlog was not read: {e}"))
        };
        let rows = store.list("out/").await.map_err(|e| broken(&e))?;
        let at = |key: &str| key.trim_start_matches("out/").parse().ok();
        let rows = rows.into_iter().filter_map(|(key, value)| Some((at(&key)?, value))).collect();
        let read = store.get("read").await.map_err(|e| broken(&e))?;
        Ok(Self {
            store,
            files,
            rows: Mutex::new(rows),
            writes: tokio::sync::Mutex::default(),
            read: Mutex::new(read.and_then(|read| read.parse().ok()).unwrap_or(0)),
            typing: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            bell: Notify::new(),
        })
    }

    /// Adds an entry, once per key. It is on the disk when this returns.
    pub(crate) async fn add(&self, key: &str, mut entry: Entry) -> Result<(), SendError> {
        let _one = self.writes.lock().await;
        let known = format!("key/{key}");
        if self.store.get(&known).await.map_err(retry)?.is_some() {
            return Ok(());
        }
        self.has_room()?;
        let last = lock(&self.rows).last_key_value().map_or(0, |(at, _)| *at);
        entry.timestamp =
            SystemClock.now().as_millisecond().max(last + 1).max(*lock(&self.read) + 1);
        let text = serde_json::to_string(&entry).map_err(retry)?;
        // Killed between the two, the same key adds it again: twice is better than never.
        self.store.put(&row(entry.timestamp), &text).await.map_err(retry)?;
        self.store.put_for(&known, "", KEPT).await.map_err(retry)?;
        lock(&self.rows).insert(entry.timestamp, text);
        self.typing.store(false, Ordering::SeqCst);
        self.bell.notify_waiters();
        Ok(())
    }

    fn has_room(&self) -> Result<(), SendError> {
        let rows = lock(&self.rows);
        let bytes: usize = rows.values().map(String::len).sum();
        if rows.len() >= UNREAD_MAX || bytes >= BYTES_MAX {
            return Err(retry("nobody reads in Emacs: start nanoclaw-chat there"));
        }
        Ok(())
    }

    /// What came after, the oldest first.
    pub(crate) fn after(&self, since: i64) -> Vec<String> {
        let mut bytes = 0;
        let rows = lock(&self.rows);
        let later = rows.range((Excluded(since), Unbounded)).map(|(_, text)| text);
        let fits = |text: &&String| {
            bytes += text.len();
            bytes <= ANSWER_MAX || bytes == text.len()
        };
        later.take_while(fits).cloned().collect()
    }

    /// Emacs has read up to here; old entries go.
    pub(crate) async fn has_read(&self, since: i64) {
        let gone: Vec<(i64, String)> = {
            let mut read = lock(&self.read);
            let rows = lock(&self.rows);
            // A time that is not ours says nothing.
            let last = rows.last_key_value().map_or(0, |(at, _)| *at);
            *read = (*read).max(since.min(last));
            let old = rows.range(..=*read).count().saturating_sub(READ_MAX);
            rows.iter().take(old).map(|(at, text)| (*at, text.clone())).collect()
        };
        if gone.is_empty() {
            return;
        }
        let _one = self.writes.lock().await;
        for (at, text) in gone {
            if self.store.delete(&row(at)).await.is_err() {
                return;
            }
            lock(&self.rows).remove(&at);
            if let Ok(entry) = serde_json::from_str::<Entry>(&text)
                && !entry.files.is_empty()
            {
                // What stays behind is read by nobody and hurts nobody.
                tokio::fs::remove_dir_all(self.files.join(&entry.id)).await.ok();
            }
        }
        let read = *lock(&self.read);
        self.store.put("read", &read.to_string()).await.ok();
    }

    /// Whether the agent types; from now on.
    pub(crate) fn types(&self, on: bool) {
        self.typing.store(on, Ordering::SeqCst);
        self.bell.notify_waiters();
    }

    /// Whether the agent types.
    pub(crate) fn is_typing(&self) -> bool {
        self.typing.load(Ordering::SeqCst)
    }

    /// Whoever waits goes away: the channel ends.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.bell.notify_waiters();
    }

    /// Whether the channel has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Remembers a question, so that its answer is looked up and not believed.
    pub(crate) async fn offer(&self, question: &str, offered: &Offered) -> Result<(), SendError> {
        let text = serde_json::to_string(offered).map_err(retry)?;
        self.store.put_for(&format!("ask/{question}"), &text, KEPT).await.map_err(retry)
    }

    /// A question that was asked.
    pub(crate) async fn offered(&self, question: &str) -> Option<Offered> {
        serde_json::from_str(&self.store.get(&format!("ask/{question}")).await.ok()??).ok()
    }

    /// Writes a file of a message.
    pub(crate) async fn file(
        &self,
        id: &str,
        number: usize,
        name: &str,
        bytes: Vec<u8>,
    ) -> Result<PathBuf, SendError> {
        // Two files of one name stay two.
        let folder = self.files.join(id).join(number.to_string());
        let file = folder.join(name);
        let path = file.clone();
        let write =
            move || std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, bytes));
        tokio::task::spawn_blocking(write).await.map_err(retry)?.map_err(retry)?;
        Ok(path)
    }
}
