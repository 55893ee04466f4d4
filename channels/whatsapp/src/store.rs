//! What a linked device must not forget: its keys, its sessions with every other device, and which message
//! was whose.
//!
//! One table of rows named by a space and a key. What WhatsApp's client hands over in one call is written in
//! one transaction and is on the disk before the call returns: a session that falls back to an older state
//! can read nothing any more.

mod backend;
#[cfg(test)]
mod tests;

use nanoclaw_channel::StartError;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use whatsapp_rust::wacore::store::error::{Result, StoreError};
use whatsapp_rust::wacore::time::now_secs;

/// How long it is known whose a message was.
const SAID_FOR_S: i64 = 90 * 24 * 3600;
/// Not swept.
const FOREVER: i64 = i64::MAX;
/// Stands between the parts of a key; no address has it.
const GAP: char = '\u{1f}';

/// The device's memory.
#[derive(Clone)]
pub(crate) struct Store(Arc<Mutex<Connection>>);

/// A message that was seen, so that it can be quoted, reacted to and edited.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Said {
    /// Whether this device sent it.
    pub(crate) me: bool,
    /// The address of who said it, as that chat knows them.
    pub(crate) by: String,
    /// The handle of who said it.
    pub(crate) who: String,
    /// What was said.
    pub(crate) text: String,
}

/// A row to be written.
struct Row {
    space: &'static str,
    key: String,
    value: Vec<u8>,
    /// When it was written or when it expires, as its space sees it.
    at: i64,
}

impl Row {
    fn new(space: &'static str, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self { space, key: key.into(), value: value.into(), at: FOREVER }
    }
}

impl Store {
    /// Opens it at `data/channels/whatsapp/device.db`, for this user's eyes only.
    pub(crate) async fn open(data: &Path) -> std::result::Result<Self, StartError> {
        let folder = data.join("channels/whatsapp");
        let open =
            move || -> std::result::Result<Connection, Box<dyn std::error::Error + Send + Sync>> {
                DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
                let file = folder.join("device.db");
                OpenOptions::new().create(true).append(true).mode(0o600).open(&file)?;
                let db = Connection::open(&file)?;
                db.execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;
                 CREATE TABLE IF NOT EXISTS device (
                   space TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, at INTEGER NOT NULL,
                   PRIMARY KEY (space, key)) WITHOUT ROWID;
                 CREATE INDEX IF NOT EXISTS device_at ON device (space, at);",
            )?;
                Ok(db)
            };
        let broken = |e: String| {
            StartError::Broken(format!(
                "the keys of the WhatsApp device could not be opened: {e}; look at data/channels/whatsapp"
            ))
        };
        let db = tokio::task::spawn_blocking(open).await.map_err(|e| broken(e.to_string()))?;
        Ok(Self(Arc::new(Mutex::new(db.map_err(|e| broken(e.to_string()))?))))
    }

    /// Forgets the device: it was logged out, and its keys open nothing any more.
    pub(crate) async fn forget_device(&self) -> Result<()> {
        self.run(|db| {
            db.execute(
                "DELETE FROM device WHERE space NOT IN ('said', 'name', 'reaction', 'parts')",
                [],
            )
        })
        .await
        .map(drop)
    }

    /// Whether an account is linked.
    pub(crate) async fn is_linked(&self) -> bool {
        use whatsapp_rust::wacore::store::traits::DeviceStore as _;
        matches!(self.load().await, Ok(Some(device)) if device.pn.is_some())
    }

    /// Remembers whose a message was.
    pub(crate) async fn remember(&self, chat: &str, id: &str, said: &Said) -> Result<()> {
        let (key, now) = (key(&[chat, id]), now_secs());
        self.put(vec![Row { space: "said", key, value: json(said)?, at: now }]).await?;
        self.older("said", now - SAID_FOR_S).await.map(drop)
    }

    /// Whose a message was.
    pub(crate) async fn said(&self, chat: &str, id: &str) -> Option<Said> {
        let found = self.get("said", key(&[chat, id])).await.ok()??;
        serde_json::from_slice(&found).ok()
    }

    /// Remembers which messages one long text became.
    pub(crate) async fn set_parts(&self, chat: &str, head: &str, parts: &[String]) -> Result<()> {
        let row =
            Row { space: "parts", key: key(&[chat, head]), value: json(&parts)?, at: now_secs() };
        self.put(vec![row]).await?;
        self.older("parts", now_secs() - SAID_FOR_S).await.map(drop)
    }

    /// Which messages one text became: itself, if nothing else is known.
    pub(crate) async fn parts(&self, chat: &str, head: &str) -> Vec<String> {
        let found = self.get("parts", key(&[chat, head])).await.ok().flatten();
        let found = found.and_then(|parts| serde_json::from_slice(&parts).ok());
        found.unwrap_or_else(|| vec![head.to_owned()])
    }

    /// Keeps the reaction of somebody to a message; returns the one before. An empty one takes it back.
    pub(crate) async fn reaction(&self, id: &str, who: &str, emoji: &str) -> Option<String> {
        let (of, at) = (key(&[id, who]), now_secs());
        let was = self.get("reaction", of.clone()).await.ok().flatten();
        let row = Row { space: "reaction", key: of, value: emoji.into(), at };
        // Without it, only the name of a reaction that is taken back is missing.
        if self.put(vec![row]).await.is_ok() {
            self.older("reaction", at - SAID_FOR_S).await.ok();
        }
        String::from_utf8(was?).ok()
    }

    /// Keeps the name that a person goes by, or reads the one that was kept.
    pub(crate) async fn name(&self, of: &str, is: Option<&str>) -> Option<String> {
        let kept = self.get("name", of.to_owned()).await.ok().flatten();
        let kept = kept.and_then(|name| String::from_utf8(name).ok());
        match is {
            Some(name) if kept.as_deref() != Some(name) => {
                self.put(vec![Row::new("name", of, name)]).await.ok();
                Some(name.to_owned())
            }
            _ => kept,
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let db = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || {
            work(&mut db.lock().unwrap_or_else(PoisonError::into_inner))
        });
        done.await
            .map_err(|e| StoreError::Database(Box::new(e)))?
            .map_err(|e| StoreError::Database(Box::new(e)))
    }

    async fn get(&self, space: &'static str, key: String) -> Result<Option<Vec<u8>>> {
        self.run(move |db| read(db, space, &key)).await
    }

    async fn put(&self, rows: Vec<Row>) -> Result<()> {
        self.run(move |db| {
            let all = db.transaction()?;
            rows.iter().try_for_each(|row| write(&all, row))?;
            all.commit()
        })
        .await
    }

    async fn delete(&self, space: &'static str, keys: Vec<String>) -> Result<()> {
        self.run(move |db| {
            let all = db.transaction()?;
            for key in keys {
                all.prepare_cached("DELETE FROM device WHERE space = ? AND key = ?")?
                    .execute(params![space, key])?;
            }
            all.commit()
        })
        .await
    }

    /// The rows whose keys begin so.
    async fn scan(&self, space: &'static str, begin: String) -> Result<Vec<(String, Vec<u8>)>> {
        self.run(move |db| {
            let mut all = db.prepare_cached(
                "SELECT key, value FROM device WHERE space = ?1 AND key >= ?2 AND key < ?2 || char(1114111)",
            )?;
            all.query_map(params![space, begin], |r| Ok((r.get(0)?, r.get(1)?)))?.collect()
        })
        .await
    }

    /// Deletes the rows of a space that are older; tells how many.
    async fn older(&self, space: &'static str, than: i64) -> Result<u32> {
        let gone = self.run(move |db| {
            db.prepare_cached("DELETE FROM device WHERE space = ? AND at < ?")?
                .execute(params![space, than])
        });
        Ok(u32::try_from(gone.await?).unwrap_or(u32::MAX))
    }

    /// Reads and writes one row in one transaction.
    async fn update(
        &self,
        space: &'static str,
        key: String,
        change: impl FnOnce(Option<Vec<u8>>) -> Option<(Vec<u8>, i64)> + Send + 'static,
    ) -> Result<()> {
        self.run(move |db| {
            let both = db.transaction()?;
            if let Some((value, at)) = change(read(&both, space, &key)?) {
                write(&both, &Row { space, key, value, at })?;
            }
            both.commit()
        })
        .await
    }
}

fn read(db: &Connection, space: &str, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    db.prepare_cached("SELECT value FROM device WHERE space = ? AND key = ?")?
        .query_row(params![space, key], |r| r.get(0))
        .optional()
}

fn write(db: &Connection, row: &Row) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO device (space, key, value, at) VALUES (?, ?, ?, ?)
         ON CONFLICT (space, key) DO UPDATE SET value = excluded.value, at = excluded.at",
    )?
    .execute(params![row.space, row.key, row.value, row.at])
    .map(drop)
}

fn key(parts: &[&str]) -> String {
    parts.join(&GAP.to_string())
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| StoreError::Serialization(Box::new(e)))
}

fn unjson<T: serde::de::DeserializeOwned>(bytes: Option<Vec<u8>>) -> Result<Option<T>> {
    bytes
        .map(|b| serde_json::from_slice(&b).map_err(|e| StoreError::Serialization(Box::new(e))))
        .transpose()
}
