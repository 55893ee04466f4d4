//! What the host itself says, on its way to a chat (`mail`): in order per address, once per key.

use crate::{Central, DeliveryState, Error, Result, TEXT_BYTES_MAX, at_ms, clip, lenient, one};
use nanoclaw_contract::ids::{Address, ChannelType, PlatformMessageId, ThreadId};
use nanoclaw_contract::time::Timestamp;
use rusqlite::{Connection, Row, params};

/// Most lines that wait for one address.
const WAITING_MAX: i64 = 1000;

/// A line of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Its key; the platform knows it by the same.
    pub key: String,
    /// Where it goes.
    pub to: Address,
    /// What it says, as its writer wrote it down.
    pub body: String,
    /// Where it stands.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// The first attempt.
    pub first_at: Timestamp,
    /// The last attempt.
    pub last_at: Timestamp,
    /// Not before this time.
    pub next_at: Timestamp,
    /// What the platform calls it.
    pub platform_message_id: Option<PlatformMessageId>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
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

/// How an attempt at a line ended.
#[derive(Debug, Clone, Copy)]
pub enum MailEnd<'a> {
    /// The platform has it, under this id.
    Sent(Option<&'a PlatformMessageId>),
    /// It is tried again.
    Retry {
        /// Not before this time.
        at: Timestamp,
        /// What happened.
        why: &'a str,
    },
    /// Its channel takes nothing for now: it is tried again as if for the first time.
    Wait {
        /// Not before this time.
        at: Timestamp,
        /// What happened.
        why: &'a str,
    },
    /// The platform will never take it.
    Rejected {
        /// What it said.
        why: &'a str,
    },
    /// It is given up.
    Dead {
        /// What happened last.
        why: &'a str,
    },
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT key, channel_type, platform_id, thread_id, body, state, attempts, first_at, last_at,
               next_at, platform_message_id, last_error
             FROM mail m ",
            $rest
        )
    };
}

fn mail(r: &Row<'_>) -> rusqlite::Result<Mail> {
    Ok(Mail {
        key: r.get(0)?,
        to: Address {
            channel_type: r.get(1)?,
            platform_id: r.get(2)?,
            thread_id: lenient(r, "thread_id", ThreadId::parse)?,
        },
        body: r.get(4)?,
        state: r.get(5)?,
        attempts: r.get(6)?,
        first_at: at_ms(r.get(7)?),
        last_at: at_ms(r.get(8)?),
        next_at: at_ms(r.get(9)?),
        platform_message_id: lenient(r, "platform_message_id", PlatformMessageId::parse)?,
        last_error: r.get(11)?,
    })
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
        self.one("read the line", select!("WHERE key = ?1"), [key], mail)
    }

    /// The first waiting line of each address, as far as it is due.
    pub fn due_mail(&self, now: Timestamp, limit: u32) -> Result<Vec<Mail>> {
        let sql = select!(
            "WHERE state = 'pending' AND next_at <= ?1 AND NOT EXISTS (SELECT 1 FROM mail e
               WHERE e.state = 'pending' AND e.channel_type = m.channel_type
                 AND e.platform_id = m.platform_id AND e.thread_id IS m.thread_id AND e.n < m.n)
             ORDER BY n LIMIT ?2"
        );
        self.list("mail", sql, params![now.as_millisecond(), limit], mail)
    }

    /// The first waiting line of this address.
    pub fn mail_for(&self, to: &Address) -> Result<Option<Mail>> {
        let sql = select!(
            "WHERE state = 'pending' AND channel_type = ?1 AND platform_id = ?2 AND thread_id IS ?3
             ORDER BY n LIMIT 1"
        );
        let params = params![to.channel_type, to.platform_id, to.thread_id];
        self.one("read the next line", sql, params, mail)
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
    pub fn finish_mail(&self, key: &str, end: &MailEnd<'_>, now: Timestamp) -> Result<()> {
        let (state, next_at, id, error) = match end {
            MailEnd::Sent(id) => (DeliveryState::Sent, None, *id, None),
            MailEnd::Retry { at, why } | MailEnd::Wait { at, why } => {
                (DeliveryState::Pending, Some(*at), None, Some(*why))
            }
            MailEnd::Rejected { why } => (DeliveryState::Rejected, None, None, Some(*why)),
            MailEnd::Dead { why } => (DeliveryState::Dead, None, None, Some(*why)),
        };
        self.run(
            "record the attempt",
            "UPDATE mail SET state = ?2, next_at = COALESCE(?3, next_at), last_at = ?6, last_error = ?5,
               platform_message_id = COALESCE(?4, platform_message_id),
               first_at = CASE WHEN ?7 THEN ?6 ELSE first_at END
             WHERE key = ?1 AND state = 'pending'",
            params![
                key,
                state,
                next_at.map(Timestamp::as_millisecond),
                id,
                error.map(|e| clip(e, TEXT_BYTES_MAX)),
                now.as_millisecond(),
                matches!(end, MailEnd::Wait { .. })
            ],
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
        self.list("mail", select!("WHERE state = 'dead' ORDER BY last_at, n"), [], mail)
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
