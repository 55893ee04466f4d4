//! The audit log: what went through the vault, what did not and why, in order and tied together.
//!
//! ```text
//! request ─▶ Audit::begin ─▶ Record, filled in on the way ─ dropped at the end, however it ends ─▶ queue ─▶ audit.db
//! ```
//!
//! A place in the queue is taken before a request goes on, so a record is never lost for want of room; when the
//! file cannot be written for [`PATIENCE`], requests that need a secret are refused. A row holds no value of a
//! secret and no body. Lost when the vault is killed: the rows of requests
//! that were running or ended in the last [`GATHER`].
//!
//! Read next: `log` for the file and its chain, [`crate::meter`] for tokens and money, which live in the same file.

mod log;
mod mask;

pub(crate) use log::day;
pub use log::{Anchor, Checked, Reader, Row};
pub use log::{Log, Spent};
pub(crate) use mask::looks_secret;
pub use mask::masked;

use crate::VaultError;
use jiff::Timestamp;
use serde::Serialize;
use std::fmt::Display;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Name of the file in the vault's folder.
pub const FILE: &str = "audit.db";
const QUEUE: usize = 10_000;
/// Rows in one transaction.
const BATCH: usize = 512;
const GATHER: Duration = Duration::from_millis(10);
const RETRY: Duration = Duration::from_secs(1);
/// How long the file may fail before secrets are no longer used.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How often the chain's head is noted elsewhere and old rows go.
const UPKEEP: Duration = Duration::from_secs(3600);

/// Nothing can be noted, so nothing that must be noted may happen.
#[derive(Debug, thiserror::Error)]
#[error(
    "the vault cannot write its audit log, so no secret is used now. Ask the owner of this install to make room on \
     its disk; then try again"
)]
pub struct Unavailable;

/// Where the key of the chain and its anchor are kept, among the sealed records.
pub(crate) const KEY: (&str, &str) = ("keys", "audit");
pub(crate) const ANCHOR: (&str, &str) = ("audit", "anchor");

/// Checks the log in this folder against the key and the anchor that are sealed in the store.
pub fn verify(dir: &Path, store: &nanoclaw_secrets::Store) -> Result<Checked, VaultError> {
    let refused = |e: &dyn Display| VaultError::Refused(e.to_string());
    let record = |(table, id)| store.record(table, id).map_err(|e| refused(&e));
    let key = record(KEY)?.and_then(|key| <[u8; 32]>::try_from(key.as_slice()).ok());
    let key =
        key.ok_or_else(|| refused(&"there is no log yet; the vault makes it when it runs"))?;
    let anchor = record(ANCHOR)?.map(|anchor| serde_json::from_slice(&anchor)).transpose();
    let anchor: Option<Anchor> = anchor.map_err(|e| refused(&e))?;
    let log = Reader::open(&dir.join(FILE)).map_err(|e| refused(&e))?;
    log.verify(&key, anchor.as_ref()).map_err(|e| refused(&e))
}

/// One thing that happened.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Entry {
    /// "exchange", "tunnel", "websocket", "dns", "auth_failed", "alarm", "secret", "grant" …
    pub kind: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub session: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub agent: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub method: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<std::net::IpAddr>,
    /// As the box sent it, through [`masked`].
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub status: u16,
    /// "allowed", or the code of the refusal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub decision: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// Names of the secrets that were used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub up: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub down: u64,
    /// To the head of the answer, and to the end.
    #[serde(skip_serializing_if = "is_zero")]
    pub first_us: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub total_us: u64,
    /// How often a secret was taken out of the answer.
    #[serde(skip_serializing_if = "is_zero")]
    pub scrubbed: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub tokens: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

fn is_zero<N: Default + PartialEq>(n: &N) -> bool {
    *n == N::default()
}

/// What the writer is given.
#[derive(Debug)]
pub enum Note {
    Entry(Box<Entry>),
    Spent(Spent),
}

type Stamped = (Timestamp, Note);
type Failing = Arc<Mutex<Option<Instant>>>;

/// The way into the log.
#[derive(Clone)]
pub struct Audit {
    queue: mpsc::Sender<Stamped>,
    failing: Failing,
    now: fn() -> Timestamp,
}

impl Audit {
    /// Opens the file and starts its writer, a thread that ends when the last of these is gone. `anchor` notes the
    /// chain's head outside of the file.
    pub fn start(
        file: &Path,
        key: [u8; 32],
        now: fn() -> Timestamp,
        anchor: impl Fn(&Anchor) + Send + 'static,
    ) -> Result<Self, VaultError> {
        let failed = |e: rusqlite::Error| VaultError::Refused(format!("{file:?}: {e}"));
        let log = Log::open(file, key).map_err(failed)?;
        Self::over(log, now, anchor)
    }

    fn over(
        log: Log,
        now: fn() -> Timestamp,
        anchor: impl Fn(&Anchor) + Send + 'static,
    ) -> Result<Self, VaultError> {
        let (queue, notes) = mpsc::channel(QUEUE);
        let failing = Failing::default();
        let writer = Writer { log, notes, failing: Arc::clone(&failing), now, anchor };
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(|| writer.run())
            .map_err(|e| VaultError::io("starting the audit log's writer", e))?;
        Ok(Self { queue, failing, now })
    }

    /// Whether a secret may be used: what happens with it can be noted.
    pub fn writable(&self) -> Result<(), Unavailable> {
        let since = *self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        if since.is_some_and(|since| since.elapsed() >= PATIENCE) {
            Err(Unavailable)
        } else {
            Ok(())
        }
    }

    /// Takes a place for what begins now, and waits for one if it must.
    pub async fn begin(&self, entry: Entry) -> Result<Record, Unavailable> {
        let place = tokio::time::timeout(PATIENCE, self.queue.clone().reserve_owned()).await;
        let place = place.map_err(|_| Unavailable)?.map_err(|_| Unavailable)?;
        let entry = Box::new(entry);
        Ok(Record { entry, began: Instant::now(), at: (self.now)(), place: Some(place) })
    }

    /// Notes what is over at once.
    pub async fn write(&self, entry: Entry) -> Result<(), Unavailable> {
        self.begin(entry).await.map(drop)
    }

    /// Notes what an answer took. It is over already, so it waits for its place on its own.
    pub(crate) fn spent(&self, spent: Spent) {
        let (queue, note) = (self.queue.clone(), ((self.now)(), Note::Spent(spent)));
        if let Err(mpsc::error::TrySendError::Full(note)) = queue.try_send(note) {
            tokio::spawn(async move { queue.send(note).await });
        }
    }

    pub fn now(&self) -> Timestamp {
        (self.now)()
    }
}

/// A row that is being filled in; it is written when this is dropped.
pub struct Record {
    pub entry: Box<Entry>,
    began: Instant,
    at: Timestamp,
    place: Option<mpsc::OwnedPermit<Stamped>>,
}

impl Record {
    /// The head of the answer is there.
    pub fn answered(&mut self, status: u16) {
        self.entry.status = status;
        self.entry.first_us = micros(self.began);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.entry.total_us = micros(self.began);
        if let Some(place) = self.place.take() {
            drop(place.send((self.at, Note::Entry(std::mem::take(&mut self.entry)))));
        }
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// The thread that owns the file.
struct Writer<A> {
    log: Log,
    notes: mpsc::Receiver<Stamped>,
    failing: Failing,
    now: fn() -> Timestamp,
    anchor: A,
}

impl<A: Fn(&Anchor)> Writer<A> {
    fn run(mut self) {
        let mut batch = Vec::new();
        let mut upkeep: Option<Instant> = None;
        while self.notes.blocking_recv_many(&mut batch, BATCH) > 0 {
            // To write many costs what it costs to write one, so those of the next moment go along. Nobody waits for
            // this thread, and it sleeps only when there is something to write.
            std::thread::sleep(GATHER);
            while batch.len() < BATCH
                && let Ok(more) = self.notes.try_recv()
            {
                batch.push(more);
            }
            self.keep(&batch);
            batch.clear();
            if upkeep.is_none_or(|last| last.elapsed() >= UPKEEP) {
                upkeep = Some(Instant::now());
                if let Err(e) = self.log.trim((self.now)()) {
                    tracing::warn!("audit log: old rows stay: {e}");
                }
                (self.anchor)(&self.log.head());
            }
        }
        (self.anchor)(&self.log.head());
    }

    /// Tries until the file takes it: what waits behind is not lost, it only waits.
    fn keep(&mut self, batch: &[Stamped]) {
        while let Err(e) = self.log.append(batch) {
            let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
            if failing.is_none() {
                tracing::error!("the audit log cannot be written: {e}; free space on the disk");
                *failing = Some(Instant::now());
            }
            drop(failing);
            std::thread::sleep(RETRY);
        }
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        if failing.take().is_some() {
            tracing::info!("the audit log is written again");
        }
    }
}

#[cfg(test)]
mod tests;
