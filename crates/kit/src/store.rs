//! A channel's durable state: texts under keys, in one SQLite file at `data/channels/<name>/state.db`.
//!
//! What is put here survives a kill at any moment after the call returned. An adapter keeps here how far it has
//! read, which events it has seen, and which parts of a message were sent.

use crate::lock;
use nanoclaw_channel::time::{Clock as _, SystemClock};
use nanoclaw_channel::{IngressError, SendError, StartError};
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[cfg(test)]
mod tests;

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS state (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL,
        forget_at INTEGER
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS state_forget ON state (forget_at) WHERE forget_at IS NOT NULL;";

/// What was to be forgotten is swept once in so many writes that are to be forgotten themselves.
const SWEEP_EVERY: u32 = 256;

/// The state was not read or written.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the channel's state file: {0}")]
pub struct StoreError(String);

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<StoreError> for SendError {
    fn from(error: StoreError) -> Self {
        Self::Retry { after: None, why: error.to_string() }
    }
}

impl From<StoreError> for IngressError {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Unreachable(error.to_string())
    }
}

/// A channel's state.
#[derive(Clone)]
pub struct Store(Arc<Mutex<Open>>);

struct Open {
    db: Connection,
    /// Writes since the last sweep.
    written: u32,
}

impl Store {
    /// Opens the state of a channel; makes it if there is none.
    pub async fn open(data: &Path, channel: &str) -> Result<Self, StartError> {
        let folder = data.join("channels").join(channel);
        let opened = tokio::task::spawn_blocking(move || open(&folder)).await;
        opened.map_err(|_| StartError::Unreachable("the host is stopping".to_owned()))?
    }

    /// What is under a key.
    pub async fn get(&self, key: &str) -> Result<Option<String>, StoreError> {
        let key = key.to_owned();
        self.run(move |open| {
            let sql = "SELECT value FROM state WHERE key = ?1
                AND (forget_at IS NULL OR forget_at > ?2)";
            let mut statement = open.db.prepare_cached(sql)?;
            Ok(statement.query_row(params![key, now()], |row| row.get(0)).optional()?)
        })
        .await
    }

    /// Keeps a value under a key.
    pub async fn put(&self, key: &str, value: &str) -> Result<(), StoreError> {
        self.write(key, value, None, Old::Replace).await.map(|_| ())
    }

    /// Keeps a value under a key for a time.
    pub async fn put_for(&self, key: &str, value: &str, ttl: Duration) -> Result<(), StoreError> {
        self.write(key, value, Some(ttl), Old::Replace).await.map(|_| ())
    }

    /// Keeps a value for a time unless there is one already; says whether it was new.
    pub async fn put_new(&self, key: &str, value: &str, ttl: Duration) -> Result<bool, StoreError> {
        self.write(key, value, Some(ttl), Old::Keep).await
    }

    /// Forgets what is under a key.
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let key = key.to_owned();
        self.run(move |open| {
            open.db.prepare_cached("DELETE FROM state WHERE key = ?1")?.execute([key])?;
            Ok(())
        })
        .await
    }

    /// Every key that begins with `prefix`, with its value, in the order of keys.
    pub async fn list(&self, prefix: &str) -> Result<Vec<(String, String)>, StoreError> {
        let prefix = prefix.to_owned();
        self.run(move |open| {
            let sql = "SELECT key, value FROM state WHERE key >= ?1
                AND (forget_at IS NULL OR forget_at > ?2) ORDER BY key";
            let mut statement = open.db.prepare_cached(sql)?;
            let mut rows = statement.query(params![prefix, now()])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let key: String = row.get(0)?;
                if !key.starts_with(&prefix) {
                    break;
                }
                found.push((key, row.get(1)?));
            }
            Ok(found)
        })
        .await
    }

    async fn write(
        &self,
        key: &str,
        value: &str,
        ttl: Option<Duration>,
        old: Old,
    ) -> Result<bool, StoreError> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.run(move |open| {
            let now = now();
            let until = ttl
                .map(|ttl| now.saturating_add(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX)));
            if ttl.is_some() {
                open.written += 1;
                if open.written >= SWEEP_EVERY {
                    sweep(&open.db)?;
                    open.written = 0;
                }
            }
            let sql = match old {
                Old::Replace => {
                    "INSERT INTO state (key, value, forget_at) VALUES (?1, ?2, ?3)
                     ON CONFLICT (key) DO UPDATE SET value = ?2, forget_at = ?3"
                }
                Old::Keep => {
                    "INSERT INTO state (key, value, forget_at) VALUES (?1, ?2, ?3)
                     ON CONFLICT (key) DO UPDATE SET value = ?2, forget_at = ?3
                     WHERE forget_at <= ?4"
                }
            };
            let mut statement = open.db.prepare_cached(sql)?;
            Ok(match old {
                Old::Replace => statement.execute(params![key, value, until])?,
                Old::Keep => statement.execute(params![key, value, until, now])?,
            } == 1)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Open) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let open = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&mut lock(&open))).await;
        done.unwrap_or_else(|_| Err(StoreError("the host is stopping".to_owned())))
    }
}

/// What becomes of an old value.
#[derive(Debug, Clone, Copy)]
enum Old {
    Replace,
    Keep,
}

fn now() -> i64 {
    SystemClock.now().as_millisecond()
}

fn sweep(db: &Connection) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM state WHERE forget_at <= ?1")?.execute([now()])?;
    Ok(())
}

fn open(folder: &Path) -> Result<Store, StartError> {
    let file = folder.join("state.db");
    let cannot = |e: &dyn std::fmt::Display| format!("cannot open {}: {e}", file.display());
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|e| StartError::Unreachable(cannot(&e)))?;
    let ready = || -> Result<Connection, rusqlite::Error> {
        let db = Connection::open(&file)?;
        db.busy_timeout(Duration::from_secs(5))?;
        db.execute_batch(SCHEMA)?;
        Ok(db)
    };
    let db = ready().map_err(|e| match e.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            StartError::Broken(format!("{}; move it away and start again", cannot(&e)))
        }
        _ => StartError::Unreachable(cannot(&e)),
    })?;
    sweep(&db)?;
    Ok(Store(Arc::new(Mutex::new(Open { db, written: 0 }))))
}
