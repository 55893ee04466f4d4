//! Rows of requests that wait (`held.db`), of yeses for a while, and of what the owner said of hosts.
//!
//! ```text
//! pending ─▶ approved ─▶ consumed
//!     │ └──▶ denied         ▲ at most once, before the request is sent
//!     └────▶ expired
//! ```

use super::{Decision, No};
use crate::VaultError;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use std::path::Path;
use std::time::Duration;

const BUSY: Duration = Duration::from_secs(5);
/// How long rows stay that are over.
const KEPT_MS: i64 = 24 * 3_600_000;
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS held (
        id TEXT PRIMARY KEY, print BLOB NOT NULL, endpoint BLOB, state TEXT NOT NULL DEFAULT 'pending',
        agent TEXT NOT NULL, place TEXT NOT NULL, first_use INTEGER NOT NULL, event BLOB NOT NULL,
        count INTEGER NOT NULL DEFAULT 1, created_ms INTEGER NOT NULL, until_ms INTEGER NOT NULL,
        decided_by TEXT, why TEXT) STRICT;
    CREATE INDEX IF NOT EXISTS held_print ON held (print);
    CREATE TABLE IF NOT EXISTS granted (endpoint BLOB PRIMARY KEY, until_ms INTEGER NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS hosts (
        agent TEXT NOT NULL, place TEXT NOT NULL, allowed INTEGER NOT NULL, decided_by TEXT NOT NULL,
        at_ms INTEGER NOT NULL, PRIMARY KEY (agent, place)) STRICT;";

/// The open file.
pub(super) struct Book(Connection);

/// A request that somebody is asked about.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) print: [u8; 32],
    pub(super) endpoint: Option<[u8; 32]>,
    pub(super) agent: String,
    pub(super) place: String,
    pub(super) first_use: bool,
    /// Sealed.
    pub(super) event: Vec<u8>,
    pub(super) created_ms: i64,
    pub(super) until_ms: i64,
}

/// One that nobody decided about yet: id, sealed event, until when.
type OpenRow = (String, Vec<u8>, i64);

/// What the owner said of an agent and a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Id of the agent.
    pub agent: String,
    /// `host:port`.
    pub place: String,
    /// Whether it may be used.
    pub allowed: bool,
    /// Who said so.
    pub by: String,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
}

pub(super) fn failed(e: rusqlite::Error) -> VaultError {
    VaultError::Refused(format!("held.db cannot be used: {e}"))
}

impl Remembered {
    /// Everything that was said, from the vault's directory.
    pub fn list(dir: &Path) -> Result<Vec<Self>, VaultError> {
        let sql =
            "SELECT agent, place, allowed, decided_by, at_ms FROM hosts ORDER BY agent, place";
        let read = |r: &rusqlite::Row<'_>| {
            let (agent, place, allowed) = (r.get(0)?, r.get(1)?, r.get(2)?);
            Ok(Self { agent, place, allowed, by: r.get(3)?, at_ms: r.get(4)? })
        };
        let Some(book) = Book::of(dir).map_err(failed)? else { return Ok(Vec::new()) };
        book.all(sql, [], read).map_err(failed)
    }

    /// Forgets what was said of an agent and `host:port`, or of all its hosts: somebody is asked again. Says of
    /// how many.
    pub fn forget(dir: &Path, agent: &str, place: Option<&str>) -> Result<usize, VaultError> {
        let Some(book) = Book::of(dir).map_err(failed)? else { return Ok(0) };
        let sql = "DELETE FROM hosts WHERE agent = ?1 AND (?2 IS NULL OR place = ?2)";
        book.run(sql, params![agent, place]).map_err(failed)
    }
}

impl Book {
    fn of(dir: &Path) -> rusqlite::Result<Option<Self>> {
        let path = dir.join("held.db");
        path.exists().then(|| Self::prepare(&path)).transpose()
    }

    fn prepare(path: &Path) -> rusqlite::Result<Self> {
        let conn = Connection::open(path)?;
        conn.busy_timeout(BUSY)?;
        conn.pragma_update(None, "journal_mode", "wal")?;
        conn.pragma_update(None, "synchronous", "full")?;
        conn.execute_batch(SCHEMA)?;
        Ok(Self(conn))
    }

    pub(super) fn open(path: &Path, now: i64) -> Result<Self, VaultError> {
        let open = || {
            let book = Self::prepare(path)?;
            let old = now.saturating_sub(KEPT_MS);
            book.run("DELETE FROM held WHERE until_ms < ?1 AND state <> 'pending'", [old])?;
            book.run("DELETE FROM granted WHERE until_ms <= ?1", [now])?;
            book.expire(now)?;
            Ok(book)
        };
        open().map_err(failed)
    }

    fn run(&self, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<usize> {
        self.0.prepare_cached(sql)?.execute(params)
    }

    /// The first row.
    fn one<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        self.0.prepare_cached(sql)?.query_row(params, read).optional()
    }

    /// Reads every row, so that what it changes is committed.
    fn all<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        self.0.prepare_cached(sql)?.query_map(params, read)?.collect()
    }

    pub(super) fn open_rows(&self) -> rusqlite::Result<Vec<OpenRow>> {
        let sql =
            "SELECT id, event, until_ms FROM held WHERE state = 'pending' ORDER BY created_ms, id";
        self.all(sql, [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
    }

    pub(super) fn forget(&self, id: &str) -> rusqlite::Result<()> {
        self.run("DELETE FROM held WHERE id = ?1", [id]).map(drop)
    }

    /// Ends what nobody decided in time; says which.
    pub(super) fn expire(&self, now: i64) -> rusqlite::Result<Vec<String>> {
        let sql = "UPDATE held SET state = 'expired' WHERE state = 'pending' AND until_ms <= ?1
                   RETURNING id";
        self.all(sql, [now], |r| r.get(0))
    }

    /// How many of an agent's wait for a decision.
    pub(super) fn open_of(&self, agent: &str) -> rusqlite::Result<i64> {
        let sql = "SELECT COUNT(*) FROM held WHERE agent = ?1 AND state = 'pending'";
        Ok(self.one(sql, [agent], |r| r.get(0))?.unwrap_or(0))
    }

    pub(super) fn is_granted(&self, endpoint: &[u8], now: i64) -> rusqlite::Result<bool> {
        let sql = "SELECT 1 FROM granted WHERE endpoint = ?1 AND until_ms > ?2";
        Ok(self.one(sql, params![endpoint, now], |_| Ok(()))?.is_some())
    }

    /// The latest row with this fingerprint that still counts, and whether nobody decided about it yet.
    pub(super) fn find(
        &self,
        print: &[u8; 32],
        now: i64,
    ) -> rusqlite::Result<Option<(String, bool)>> {
        let sql = "SELECT id, state = 'pending' FROM held WHERE print = ?1 AND until_ms > ?2
                     AND state IN ('pending', 'approved', 'denied')
                   ORDER BY created_ms DESC, rowid DESC LIMIT 1";
        self.one(sql, params![print, now], |r| Ok((r.get(0)?, r.get(1)?)))
    }

    /// One more request is the same.
    pub(super) fn count(&self, id: &str) -> rusqlite::Result<()> {
        self.run("UPDATE held SET count = count + 1 WHERE id = ?1", [id]).map(drop)
    }

    pub(super) fn insert(&self, r: &Row) -> rusqlite::Result<()> {
        let sql = "INSERT INTO held (id, print, endpoint, agent, place, first_use, event, created_ms, until_ms)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        let Row { id, print, endpoint, agent, place, first_use, event, created_ms, until_ms } = r;
        let values =
            params![id, print, endpoint, agent, place, first_use, event, created_ms, until_ms];
        self.run(sql, values).map(drop)
    }

    /// How an agent's row stands, until when, and how many requests it is for.
    pub(super) fn state(
        &self,
        id: &str,
        agent: &str,
    ) -> rusqlite::Result<Option<(String, i64, i64)>> {
        let sql = "SELECT state, until_ms, count FROM held WHERE id = ?1 AND agent = ?2";
        self.one(sql, [id, agent], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
    }

    /// ● Whether a row lets its request pass, or nobody decided yet. A yes to a request is used up by this; one to
    /// a host stays.
    pub(super) fn take(&mut self, id: &str, now: i64) -> Result<bool, No> {
        let sql = "SELECT state, first_use, endpoint, until_ms, why FROM held WHERE id = ?1";
        let read = |r: &rusqlite::Row<'_>| {
            let (state, first_use): (String, bool) = (r.get(0)?, r.get(1)?);
            Ok((state, first_use, r.get::<_, Option<Vec<u8>>>(2)?, r.get::<_, i64>(3)?, r.get(4)?))
        };
        let Some((state, first_use, endpoint, until_ms, why)) = self.one(sql, [id], read)? else {
            return Err(No::Expired);
        };
        match state.as_str() {
            "pending" | "approved" if until_ms <= now => Err(No::Expired),
            "pending" => Ok(false),
            "approved" if first_use => Ok(true),
            "denied" => Err(No::Denied(why)),
            "approved" => {
                let sql = "UPDATE held SET state = 'consumed' WHERE id = ?1 AND state = 'approved'";
                if self.run(sql, [id])? == 1 { Ok(true) } else { Err(No::Used) }
            }
            "consumed" if self.is_granted(&endpoint.unwrap_or_default(), now)? => Ok(true),
            "consumed" => Err(No::Used),
            _ => Err(No::Expired),
        }
    }

    /// ● Writes a decision down; false if there was one before, or it came too late.
    pub(super) fn decide(
        &mut self,
        d: &Decision,
        now: i64,
        until_ms: i64,
    ) -> rusqlite::Result<bool> {
        let allowed = !matches!(d.answer.as_str(), "reject" | "reject:block");
        let tx = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let state = if allowed { "approved" } else { "denied" };
        let changed = tx.execute(
            "UPDATE held SET state = ?2, decided_by = ?3, why = ?4, until_ms = ?5
             WHERE id = ?1 AND state = 'pending' AND until_ms > ?6",
            params![d.id, state, d.by, d.why, until_ms, now],
        )?;
        if changed == 0 {
            return Ok(false);
        }
        if allowed || d.answer == "reject:block" {
            tx.execute(
                "INSERT OR REPLACE INTO hosts (agent, place, allowed, decided_by, at_ms)
                 SELECT agent, place, ?2, ?3, ?4 FROM held WHERE id = ?1 AND first_use",
                params![d.id, allowed, d.by, now],
            )?;
        }
        if d.answer == "endpoint" {
            tx.execute(
                "INSERT OR REPLACE INTO granted (endpoint, until_ms)
                 SELECT endpoint, ?2 FROM held WHERE id = ?1 AND endpoint IS NOT NULL",
                params![d.id, until_ms],
            )?;
        }
        tx.commit()?;
        Ok(true)
    }

    pub(super) fn remembered(&self, agent: &str, place: &str) -> rusqlite::Result<Option<bool>> {
        let sql = "SELECT allowed FROM hosts WHERE agent = ?1 AND place = ?2";
        self.one(sql, [agent, place], |r| r.get(0))
    }
}
