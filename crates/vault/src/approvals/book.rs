//! Rows of requests that wait (`held.db`), of yeses for a while, and of what the owner said of hosts.
//!
//! ```text
//! pending ─▶ approved ─▶ consumed
//!     │ └──▶ denied         ▲ at most once, before the request is sent
//!     └────▶ expired
//! ```

use super::Decision;
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

/// One that nobody decided about yet.
pub(super) struct OpenRow {
    pub(super) id: String,
    pub(super) event: Vec<u8>,
    pub(super) until_ms: i64,
}

/// How a request stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Waits,
    Passes,
    Denied(Option<String>),
    Expired,
    Used,
}

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

fn failed(e: rusqlite::Error) -> VaultError {
    VaultError::Refused(format!("held.db cannot be used: {e}"))
}

impl Remembered {
    /// Everything that was said, from the vault's directory.
    pub fn list(dir: &Path) -> Result<Vec<Self>, VaultError> {
        let Some(book) = Book::of(dir)? else { return Ok(Vec::new()) };
        let sql =
            "SELECT agent, place, allowed, decided_by, at_ms FROM hosts ORDER BY agent, place";
        book.all(sql, [], |r| {
            let (agent, place, allowed) = (r.get(0)?, r.get(1)?, r.get(2)?);
            Ok(Self { agent, place, allowed, by: r.get(3)?, at_ms: r.get(4)? })
        })
    }

    /// Forgets what was said of an agent and `host:port`, or of all its hosts: somebody is asked again. Says of
    /// how many.
    pub fn forget(dir: &Path, agent: &str, place: Option<&str>) -> Result<usize, VaultError> {
        let Some(book) = Book::of(dir)? else { return Ok(0) };
        let sql = "DELETE FROM hosts WHERE agent = ?1 AND (?2 IS NULL OR place = ?2)";
        book.run(sql, params![agent, place])
    }
}

impl Book {
    fn of(dir: &Path) -> Result<Option<Self>, VaultError> {
        let path = dir.join("held.db");
        if !path.exists() {
            return Ok(None);
        }
        Self::prepare(&path).map(Some)
    }

    fn prepare(path: &Path) -> Result<Self, VaultError> {
        let open = || {
            let conn = Connection::open(path)?;
            conn.busy_timeout(BUSY)?;
            conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
            conn.execute_batch("PRAGMA synchronous = FULL")?;
            conn.execute_batch(SCHEMA)?;
            Ok(Self(conn))
        };
        open().map_err(failed)
    }

    pub(super) fn open(path: &Path, now: i64) -> Result<Self, VaultError> {
        let book = Self::prepare(path)?;
        book.run(
            "DELETE FROM held WHERE until_ms < ?1 AND state <> 'pending'",
            [now.saturating_sub(KEPT_MS)],
        )?;
        book.run("DELETE FROM granted WHERE until_ms <= ?1", [now])?;
        book.run(
            "UPDATE held SET state = 'expired' WHERE state = 'pending' AND until_ms <= ?1",
            [now],
        )?;
        Ok(book)
    }

    fn run(&self, sql: &str, params: impl rusqlite::Params) -> Result<usize, VaultError> {
        self.0.prepare_cached(sql).and_then(|mut s| s.execute(params)).map_err(failed)
    }

    fn one<T: rusqlite::types::FromSql>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
    ) -> Result<Option<T>, VaultError> {
        let found = self
            .0
            .prepare_cached(sql)
            .and_then(|mut s| s.query_row(params, |r| r.get(0)).optional());
        found.map_err(failed)
    }

    /// Reads every row, so that what it changes is committed.
    fn all<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, VaultError> {
        let mut query = self.0.prepare_cached(sql).map_err(failed)?;
        let rows = query.query_map(params, read).map_err(failed)?;
        rows.collect::<Result<_, _>>().map_err(failed)
    }

    pub(super) fn open_rows(&self) -> Result<Vec<OpenRow>, VaultError> {
        let sql =
            "SELECT id, event, until_ms FROM held WHERE state = 'pending' ORDER BY created_ms, id";
        self.all(sql, [], |r| Ok(OpenRow { id: r.get(0)?, event: r.get(1)?, until_ms: r.get(2)? }))
    }

    pub(super) fn forget(&self, id: &str) -> Result<(), VaultError> {
        self.run("DELETE FROM held WHERE id = ?1", [id]).map(drop)
    }

    /// Ends what nobody decided in time, or used in time; says which.
    pub(super) fn expire(&self, now: i64) -> Result<Vec<String>, VaultError> {
        let sql = "UPDATE held SET state = 'expired' WHERE state = 'pending' AND until_ms <= ?1
                   RETURNING id";
        self.all(sql, [now], |r| r.get(0))
    }

    /// How many of an agent's wait for a decision.
    pub(super) fn open_of(&self, agent: &str) -> Result<i64, VaultError> {
        let sql = "SELECT COUNT(*) FROM held WHERE agent = ?1 AND state = 'pending'";
        Ok(self.one(sql, [agent])?.unwrap_or(0))
    }

    pub(super) fn is_granted(&self, endpoint: &[u8; 32], now: i64) -> Result<bool, VaultError> {
        let sql = "SELECT 1 FROM granted WHERE endpoint = ?1 AND until_ms > ?2";
        Ok(self.one::<i64>(sql, params![endpoint, now])?.is_some())
    }

    /// The latest row with this fingerprint that still counts, and whether nobody decided about it yet.
    pub(super) fn find(
        &self,
        print: &[u8; 32],
        now: i64,
    ) -> Result<Option<(String, bool)>, VaultError> {
        let sql = "SELECT id, state = 'pending' FROM held WHERE print = ?1 AND until_ms > ?2
                     AND state IN ('pending', 'approved', 'denied')
                   ORDER BY created_ms DESC, rowid DESC LIMIT 1";
        let mut query = self.0.prepare_cached(sql).map_err(failed)?;
        let found = query.query_row(params![print, now], |r| Ok((r.get(0)?, r.get(1)?)));
        found.optional().map_err(failed)
    }

    /// One more request is the same.
    pub(super) fn count(&self, id: &str) -> Result<(), VaultError> {
        self.run("UPDATE held SET count = count + 1 WHERE id = ?1", [id]).map(drop)
    }

    pub(super) fn insert(&self, r: &Row) -> Result<(), VaultError> {
        let sql = "INSERT INTO held (id, print, endpoint, agent, place, first_use, event, created_ms, until_ms)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        let values = params![
            r.id,
            r.print,
            r.endpoint,
            r.agent,
            r.place,
            r.first_use,
            r.event,
            r.created_ms,
            r.until_ms
        ];
        self.run(sql, values).map(drop)
    }

    /// ● How a row stands. A yes to a request is used up by this; one to a host stays.
    pub(super) fn take(&mut self, id: &str, now: i64) -> Result<Found, VaultError> {
        let mut act = || {
            let tx = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let sql = "SELECT state, first_use, endpoint, until_ms, why FROM held WHERE id = ?1";
            let row = tx
                .query_row(sql, [id], |r| {
                    let endpoint: Option<Vec<u8>> = r.get(2)?;
                    Ok((
                        r.get::<_, String>(0)?,
                        r.get::<_, bool>(1)?,
                        endpoint,
                        r.get::<_, i64>(3)?,
                        r.get(4)?,
                    ))
                })
                .optional()?;
            let Some((state, first_use, endpoint, until_ms, why)) = row else {
                return Ok(Found::Expired);
            };
            let found = match state.as_str() {
                "pending" | "approved" if until_ms <= now => Found::Expired,
                "pending" => Found::Waits,
                "approved" if first_use => Found::Passes,
                "approved" => {
                    tx.execute("UPDATE held SET state = 'consumed' WHERE id = ?1", [id])?;
                    Found::Passes
                }
                "denied" => Found::Denied(why),
                "consumed" => {
                    let sql = "SELECT 1 FROM granted WHERE endpoint = ?1 AND until_ms > ?2";
                    let granted =
                        tx.query_row(sql, params![endpoint, now], |_| Ok(())).optional()?;
                    if granted.is_some() { Found::Passes } else { Found::Used }
                }
                _ => Found::Expired,
            };
            tx.commit()?;
            Ok(found)
        };
        act().map_err(failed)
    }

    /// ● Writes a decision down; false if there was one before, or it came too late.
    pub(super) fn decide(
        &mut self,
        d: &Decision,
        now: i64,
        until_ms: i64,
    ) -> Result<bool, VaultError> {
        let allowed = d.answer != "reject";
        let mut act = || {
            let tx = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let changed = tx.execute(
                "UPDATE held SET state = ?2, decided_by = ?3, why = ?4, until_ms = ?5
                 WHERE id = ?1 AND state = 'pending' AND until_ms > ?6",
                params![
                    d.id,
                    if allowed { "approved" } else { "denied" },
                    d.by,
                    d.why,
                    until_ms,
                    now
                ],
            )?;
            if changed == 0 {
                return Ok(false);
            }
            // A reason means that nobody was asked: that is not what the owner said of the host.
            if d.why.is_none() {
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
        };
        act().map_err(failed)
    }

    pub(super) fn remembered(&self, agent: &str, place: &str) -> Result<Option<bool>, VaultError> {
        self.one("SELECT allowed FROM hosts WHERE agent = ?1 AND place = ?2", [agent, place])
    }
}
