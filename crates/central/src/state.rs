//! What the host must not forget about a session between two lives: when it has work (`session_due`), how
//! far its outbox was read (`session_cursors`), boxes that would not start (`wake_failures`), boxes that
//! run (`boxes`), files not to be touched (`quarantine`). And the install's `settings`.

use crate::stored::{Stored as _, at};
use crate::{Central, Result, TEXT_BYTES_MAX, at_ms, clip, one};
use nanoclaw_contract::ids::SessionId;
use nanoclaw_contract::time::{Timestamp, iso, parse};
use rusqlite::params;
use std::time::Duration;

/// Once may be an accident.
const BACKOFF_ONCE: Duration = Duration::from_millis(250);
const BACKOFF_FIRST: Duration = Duration::from_secs(5);
const BACKOFF_MAX: Duration = Duration::from_secs(600);

/// How long to wait after so many failures in a row: 250 ms, 5 s, 10 s, 20 s … 10 min.
pub fn wake_backoff(count: u32) -> Duration {
    if count < 2 {
        return BACKOFF_ONCE;
    }
    BACKOFF_FIRST.saturating_mul(2u32.saturating_pow(count - 2)).min(BACKOFF_MAX)
}

stored! {
    /// A box that would not start.
    WakeFailure = "wake_failures" {
        /// How often in a row.
        count: u32,
        /// Not again before this time.
        next_at: Timestamp => at,
        /// Why.
        last_error: String,
    }
}

stored! {
    /// A box that runs, or ran when we last knew.
    BoxRow = "boxes" {
        /// Whose.
        session: SessionId = "session_id",
        /// What its driver calls it.
        name: String,
        /// Which driver.
        driver: String,
        /// Since when.
        started_at: String,
    }
}

impl Central {
    /// Says when the session has work next; none: never.
    pub fn set_due(&self, session: &SessionId, at: Option<Timestamp>) -> Result<()> {
        let what = "schedule the session";
        match at.map(Timestamp::as_millisecond) {
            None => self.run(what, "DELETE FROM session_due WHERE session_id = ?1", [session]),
            Some(ms) => self.run(
                what,
                "INSERT INTO session_due (session_id, due_at) VALUES (?1, ?2)
                 ON CONFLICT (session_id) DO UPDATE SET due_at = ?2",
                params![session, ms],
            ),
        }
        .map(drop)
    }

    /// When any session has work next.
    pub fn next_due(&self) -> Result<Option<Timestamp>> {
        let sql = "SELECT MIN(due_at) FROM session_due";
        let ms = self.one("read what is due", sql, [], |r| r.get::<_, Option<i64>>(0))?;
        Ok(ms.flatten().map(at_ms))
    }

    /// The sessions that have work now, the longest waiting first.
    pub fn due_sessions(&self, now: Timestamp, limit: usize) -> Result<Vec<SessionId>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = "SELECT session_id FROM session_due WHERE due_at <= ?1
                   ORDER BY due_at, session_id LIMIT ?2";
        self.list("session_due", sql, params![now.as_millisecond(), limit], |r| r.get(0))
    }

    /// How far the session's outbox was settled.
    pub fn out_cursor(&self, session: &SessionId) -> Result<i64> {
        let sql = "SELECT out_rowid FROM session_cursors WHERE session_id = ?1";
        Ok(self.one("read the cursor", sql, [session], |r| r.get(0))?.unwrap_or(0))
    }

    /// Says how far it was settled.
    pub fn set_out_cursor(&self, session: &SessionId, out: i64) -> Result<()> {
        self.run(
            "save the cursor",
            "INSERT INTO session_cursors (session_id, out_rowid) VALUES (?1, ?2)
             ON CONFLICT (session_id) DO UPDATE SET out_rowid = ?2",
            params![session, out],
        )
        .map(drop)
    }

    /// Counts a box that would not start; says how often in a row, and until when it is left alone is in
    /// [`Central::wake_failure`].
    pub fn wake_failed(&self, session: &SessionId, error: &str, now: Timestamp) -> Result<u32> {
        self.tx("record the failed start", |tx| {
            let sql = "SELECT count FROM wake_failures WHERE session_id = ?1";
            let count = one(tx, sql, [session], |r| r.get::<_, u32>(0))?.unwrap_or(0);
            let count = count.saturating_add(1);
            let next = now.checked_add(wake_backoff(count)).unwrap_or(Timestamp::MAX);
            tx.execute(
                "INSERT INTO wake_failures (session_id, count, next_at, last_error) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (session_id) DO UPDATE SET count = ?2, next_at = ?3, last_error = ?4",
                params![session, count, next.as_millisecond(), clip(error, TEXT_BYTES_MAX)],
            )?;
            Ok(count)
        })
    }

    /// Forgets the failures: the box runs.
    pub fn wake_succeeded(&self, session: &SessionId) -> Result<()> {
        let sql = "DELETE FROM wake_failures WHERE session_id = ?1";
        self.run("forget the failed starts", sql, [session]).map(drop)
    }

    /// The failures in a row, if the box would not start.
    pub fn wake_failure(&self, session: &SessionId) -> Result<Option<WakeFailure>> {
        self.get("WHERE session_id = ?1", [session])
    }

    /// Every session whose box would not start.
    pub fn wake_failures(&self) -> Result<Vec<(SessionId, WakeFailure)>> {
        let sql = format!(
            "SELECT {}, session_id FROM wake_failures ORDER BY next_at, session_id",
            WakeFailure::COLUMNS
        );
        self.list("wake_failures", &sql, [], |r| Ok((r.get("session_id")?, WakeFailure::read(r)?)))
    }

    /// Stops touching the session's files until somebody looked at them.
    pub fn quarantine(&self, session: &SessionId, reason: &str, now: Timestamp) -> Result<()> {
        self.run(
            "quarantine the session",
            "INSERT INTO quarantine (session_id, reason, since) VALUES (?1, ?2, ?3)
             ON CONFLICT (session_id) DO UPDATE SET reason = ?2",
            params![session, clip(reason, TEXT_BYTES_MAX), iso(now)],
        )
        .map(drop)
    }

    /// Lets the session work again; false if it was not quarantined.
    pub fn release(&self, session: &SessionId) -> Result<bool> {
        let sql = "DELETE FROM quarantine WHERE session_id = ?1";
        Ok(self.run("release the session", sql, [session])? > 0)
    }

    /// Why and since when the session is quarantined, if it is.
    pub fn quarantined(&self, session: &SessionId) -> Result<Option<(String, String)>> {
        let sql = "SELECT reason, since FROM quarantine WHERE session_id = ?1";
        self.one("read the quarantine", sql, [session], |r| Ok((r.get(0)?, r.get(1)?)))
    }

    /// Every quarantined session with its reason and time.
    pub fn all_quarantined(&self) -> Result<Vec<(SessionId, String, String)>> {
        let sql = "SELECT session_id, reason, since FROM quarantine ORDER BY since, session_id";
        self.list("quarantine", sql, [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
    }

    /// Remembers a box that was started.
    pub fn put_box(
        &self,
        session: &SessionId,
        name: &str,
        driver: &str,
        now: Timestamp,
    ) -> Result<()> {
        self.run(
            "remember the box",
            "INSERT INTO boxes (session_id, name, driver, started_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (session_id) DO UPDATE SET name = ?2, driver = ?3, started_at = ?4",
            params![session, name, driver, iso(now)],
        )
        .map(drop)
    }

    /// Forgets a box that is gone.
    pub fn remove_box(&self, session: &SessionId) -> Result<()> {
        self.run("forget the box", "DELETE FROM boxes WHERE session_id = ?1", [session]).map(drop)
    }

    /// The boxes that run, or ran when we last knew.
    pub fn boxes(&self) -> Result<Vec<BoxRow>> {
        self.all("ORDER BY started_at, session_id", [])
    }

    /// When the session's box was started, if one runs.
    pub fn box_started(&self, session: &SessionId) -> Result<Option<Timestamp>> {
        let sql = "SELECT started_at FROM boxes WHERE session_id = ?1";
        let at = self.one("read the box", sql, [session], |r| r.get::<_, String>(0))?;
        Ok(at.and_then(|at| parse(&at)))
    }

    /// A setting of the install.
    pub fn setting(&self, key: &str) -> Result<Option<String>> {
        let sql = "SELECT value FROM settings WHERE key = ?1";
        self.one("read the setting", sql, [key], |r| r.get(0))
    }

    /// Changes a setting; none removes it.
    pub fn put_setting(&self, key: &str, value: Option<&str>) -> Result<()> {
        let what = "save the setting";
        match value {
            None => self.run(what, "DELETE FROM settings WHERE key = ?1", [key]),
            Some(value) => self.run(
                what,
                "INSERT INTO settings (key, value) VALUES (?1, ?2)
                 ON CONFLICT (key) DO UPDATE SET value = ?2",
                params![key, value],
            ),
        }
        .map(drop)
    }
}
