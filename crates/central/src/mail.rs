//! What the host itself says, on its way to a chat (`mail`): in order per address, once per key.

use crate::stored::{address, at, lenient};
use crate::{Central, DeliveryState, Ended, Error, Result, at_ms, one};
use nanoclaw_contract::ids::{Address, ChannelType, PlatformMessageId};
use nanoclaw_contract::time::Timestamp;
use rusqlite::{Connection, Row, params};

/// Most lines that wait for one address.
const WAITING_MAX: i64 = 1000;

stored! {
    /// A line of the host.
    Mail = "mail" {
        /// Its key; the platform knows it by the same.
        key: String,
        /// What it says, as its writer wrote it down.
        body: String,
        /// Where it stands.
        state: DeliveryState,
        /// How often it was tried.
        attempts: u32,
        /// The first attempt.
        first_at: Timestamp => at,
        /// The last attempt.
        last_at: Timestamp => at,
        /// Not before this time.
        next_at: Timestamp => at,
        /// What the platform calls it.
        platform_message_id: Option<PlatformMessageId> => lenient,
        /// Why the last attempt failed.
        last_error: Option<String>,
        /// Where it goes.
        to: Address = "channel_type, platform_id, thread_id" => address,
    }
}

/// A line to be written.
#[derive(Debug, Clone)]
pub struct NewMail {
    /// Its key.
    pub key: String,
    /// Where it goes.
    pub to: Address,
    /// What it says.
    pub body: String,
}

/// Writes a line; false if its key was used before.
pub(crate) fn insert(conn: &Connection, m: &NewMail, now: Timestamp) -> Result<bool> {
    let (channel, platform, thread) = (&m.to.channel_type, &m.to.platform_id, &m.to.thread_id);
    let waiting = "SELECT COUNT(*) FROM mail WHERE state = 'pending' AND channel_type = ?1
                   AND platform_id = ?2 AND thread_id IS ?3";
    let waiting = one(conn, waiting, params![channel, platform, thread], |r| r.get(0))?;
    if waiting.unwrap_or(0) >= WAITING_MAX {
        return Err(Error::Refused(format!("{WAITING_MAX} lines wait for {platform} already")));
    }
    let sql = "INSERT INTO mail (key, channel_type, platform_id, thread_id, body, first_at, last_at, next_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?6) ON CONFLICT (key) DO NOTHING";
    let params = params![m.key, channel, platform, thread, m.body, now.as_millisecond()];
    Ok(conn.prepare_cached(sql)?.execute(params)? > 0)
}

impl Central {
    /// Writes a line; false if its key was used before.
    pub fn put_mail(&self, m: &NewMail, now: Timestamp) -> Result<bool> {
        self.tx("write the line", |tx| insert(tx, m, now))
    }

    /// The line with this key.
    pub fn mail(&self, key: &str) -> Result<Option<Mail>> {
        self.get("WHERE key = ?1", [key])
    }

    /// The first waiting line of each address, as far as it is due.
    pub fn due_mail(&self, now: Timestamp, limit: u32) -> Result<Vec<Mail>> {
        let rest = "WHERE state = 'pending' AND next_at <= ?1 AND NOT EXISTS (SELECT 1 FROM mail e
                      WHERE e.state = 'pending' AND e.channel_type = mail.channel_type
                        AND e.platform_id = mail.platform_id AND e.thread_id IS mail.thread_id AND e.n < mail.n)
                    ORDER BY n LIMIT ?2";
        self.all(rest, params![now.as_millisecond(), limit])
    }

    /// The first waiting line of this address.
    pub fn mail_for(&self, to: &Address) -> Result<Option<Mail>> {
        let rest =
            "WHERE state = 'pending' AND channel_type = ?1 AND platform_id = ?2 AND thread_id IS ?3
                    ORDER BY n LIMIT 1";
        self.get(rest, params![to.channel_type, to.platform_id, to.thread_id])
    }

    /// When a line that was put off is due. Lines behind another were due when they were written.
    pub fn next_mail(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let sql = "SELECT MIN(next_at) FROM mail WHERE state = 'pending' AND next_at > ?1";
        let ms =
            self.one("read the next line's time", sql, [now.as_millisecond()], |r| r.get(0))?;
        Ok(ms.flatten().map(at_ms))
    }

    /// Records an attempt that is about to be made; says which one it is, and when the first was.
    pub fn begin_mail(&self, key: &str, now: Timestamp) -> Result<(u32, Timestamp)> {
        let sql = "UPDATE mail SET attempts = attempts + 1, last_at = ?2,
                     first_at = CASE attempts WHEN 0 THEN ?2 ELSE first_at END
                   WHERE key = ?1 AND state = 'pending' RETURNING attempts, first_at";
        let read = |r: &Row<'_>| Ok((r.get(0)?, at_ms(r.get(1)?)));
        // Read to its end, so that the change is committed.
        let mut done = self.list("mail", sql, params![key, now.as_millisecond()], read)?;
        done.pop().ok_or_else(|| Error::Refused(format!("the line {key} is not waiting")))
    }

    /// Records how an attempt ended.
    pub fn finish_mail(&self, key: &str, end: &Ended, now: Timestamp) -> Result<()> {
        let (state, next_at, id, error) = end.columns();
        self.run(
            "record the attempt",
            "UPDATE mail SET state = ?2, next_at = COALESCE(?3, next_at), last_at = ?6, last_error = ?5,
               platform_message_id = COALESCE(?4, platform_message_id),
               first_at = CASE WHEN ?7 THEN ?6 ELSE first_at END
             WHERE key = ?1 AND state = 'pending'",
            params![key, state, next_at, id, error, now.as_millisecond(), end.is_wait()],
        )
        .map(drop)
    }

    /// Makes what waits for this channel due now.
    pub fn retry_mail_now(&self, channel: &ChannelType, now: Timestamp) -> Result<usize> {
        let sql = "UPDATE mail SET next_at = MIN(next_at, ?2)
                   WHERE state = 'pending' AND channel_type = ?1";
        self.run("hurry the lines", sql, params![channel, now.as_millisecond()])
    }

    /// Lines that were given up, the oldest first.
    pub fn dead_mail(&self) -> Result<Vec<Mail>> {
        self.all("WHERE state = 'dead' ORDER BY last_at, n", [])
    }

    /// Tries the line with this key again, or every one, as if for the first time.
    pub fn revive_mail(&self, key: Option<&str>, now: Timestamp) -> Result<usize> {
        let sql = "UPDATE mail SET state = 'pending', attempts = 0, next_at = ?2
                   WHERE state = 'dead' AND (?1 IS NULL OR key = ?1)";
        self.run("revive the lines", sql, params![key, now.as_millisecond()])
    }

    /// Forgets lines that arrived or were rejected before this time.
    pub fn prune_mail(&self, before: Timestamp) -> Result<usize> {
        let sql = "DELETE FROM mail WHERE state IN ('sent', 'rejected') AND last_at < ?1";
        self.run("prune the lines", sql, [before.as_millisecond()])
    }
}
