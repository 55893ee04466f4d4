//! Every outbound message's way to its platform (`deliveries`).
//!
//! ```text
//! begin_attempt ─▶ pending ─▶ sent
//!                  │  ▲  └──▶ rejected   the platform will never take it
//!    finish_attempt   │ └───▶ dead       given up; revive brings it back
//!                  └──┘
//! ```
//!
//! An attempt is on disk before it is made. A pending row without `next_at` is an attempt under way; found
//! after a crash, nobody knows whether it arrived, so it is made again under the same key.

use crate::stored::{at, lenient, maybe_address, maybe_at};
use crate::{Central, Error, Result, TEXT_BYTES_MAX, clip, one};
use nanoclaw_contract::ids::{Address, ChannelType, OutId, PlatformMessageId, SessionId};
use nanoclaw_contract::time::Timestamp;
use nanoclaw_contract::words;
use rusqlite::params;

words! {
    /// Where a delivery stands.
    DeliveryState {
        /// It is being tried.
        Pending = "pending",
        /// The platform has it.
        Sent = "sent",
        /// The platform will never take it.
        Rejected = "rejected",
        /// It was given up.
        Dead = "dead",
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The platform has it, under this id.
    Sent(Option<PlatformMessageId>),
    /// It failed, for this reason, and is tried again, not before this time.
    Retry(Timestamp, String),
    /// Its channel takes nothing for now: it is tried again as if for the first time.
    Wait(Timestamp, String),
    /// The platform will never take it.
    Rejected(String),
    /// It is given up.
    Dead(String),
}

impl Ended {
    /// The state, the next time, the platform's id, the error.
    pub(crate) fn columns(
        &self,
    ) -> (DeliveryState, Option<i64>, Option<&PlatformMessageId>, Option<String>) {
        let because = |why: &String| Some(clip(why, TEXT_BYTES_MAX));
        match self {
            Self::Sent(id) => (DeliveryState::Sent, None, id.as_ref(), None),
            Self::Retry(at, why) | Self::Wait(at, why) => {
                (DeliveryState::Pending, Some(at.as_millisecond()), None, because(why))
            }
            Self::Rejected(why) => (DeliveryState::Rejected, None, None, because(why)),
            Self::Dead(why) => (DeliveryState::Dead, None, None, because(why)),
        }
    }

    pub(crate) fn is_wait(&self) -> bool {
        matches!(self, Self::Wait(..))
    }
}

stored! {
    /// What became of an outbound message so far.
    Delivery = "deliveries" {
        /// The session that wrote it.
        session_id: SessionId,
        /// The outbound row.
        out_id: OutId,
        /// Its place in the session.
        seq: i64,
        /// Where it stands.
        state: DeliveryState,
        /// How often it was tried.
        attempts: u32,
        /// The first attempt.
        first_at: Timestamp => at,
        /// The last attempt.
        last_at: Timestamp => at,
        /// Not before this time.
        next_at: Option<Timestamp> => maybe_at,
        /// What the platform calls it.
        platform_message_id: Option<PlatformMessageId> => lenient,
        /// Why the last attempt failed.
        last_error: Option<String>,
        /// Where it goes; none for a request to the host.
        to: Option<Address> = "channel_type, platform_id, thread_id" => maybe_address,
    }
}

impl Central {
    /// Records an attempt that is about to be made; says which one it is, beginning with 1.
    ///
    /// Refused for a message that is not pending any more: it must not be sent again.
    pub fn begin_attempt<'a>(
        &self,
        session: &SessionId,
        out: &OutId,
        seq: i64,
        to: impl Into<Option<&'a Address>>,
        now: Timestamp,
    ) -> Result<u32> {
        let to = to.into();
        self.tx("record the attempt", |tx| {
            let sql =
                "INSERT INTO deliveries (session_id, out_id, seq, state, attempts, channel_type,
                         platform_id, thread_id, first_at, last_at)
                       VALUES (?1, ?2, ?3, 'pending', 1, ?4, ?5, ?6, ?7, ?7)
                       ON CONFLICT (session_id, out_id) DO UPDATE
                         SET attempts = attempts + 1, last_at = ?7, next_at = NULL,
                           first_at = CASE attempts WHEN 0 THEN ?7 ELSE first_at END
                         WHERE state = 'pending'
                       RETURNING attempts";
            let params = params![
                session,
                out,
                seq,
                to.map(|a| &a.channel_type),
                to.map(|a| &a.platform_id),
                to.and_then(|a| a.thread_id.as_ref()),
                now.as_millisecond()
            ];
            one(tx, sql, params, |r| r.get(0))?.ok_or_else(|| {
                Error::Refused(format!(
                    "message {out} of {session} is settled; it is not sent again"
                ))
            })
        })
    }

    /// Records how the attempt ended.
    pub fn finish_attempt(
        &self,
        session: &SessionId,
        out: &OutId,
        end: &Ended,
        now: Timestamp,
    ) -> Result<()> {
        let (state, next_at, id, error) = end.columns();
        let changed = self.run(
            "record the delivery",
            "UPDATE deliveries SET state = ?3, next_at = ?4, last_error = ?6, last_at = ?7,
               platform_message_id = COALESCE(?5, platform_message_id),
               first_at = CASE WHEN ?8 THEN ?7 ELSE first_at END
             WHERE session_id = ?1 AND out_id = ?2 AND (state = 'pending' OR ?3 = 'sent')",
            params![session, out, state, next_at, id, error, now.as_millisecond(), end.is_wait()],
        )?;
        if changed == 1 {
            return Ok(());
        }
        Err(Error::Refused(format!("no attempt at message {out} of {session} is under way")))
    }

    /// What became of this message, if it was ever tried.
    pub fn delivery(&self, session: &SessionId, out: &OutId) -> Result<Option<Delivery>> {
        self.get("WHERE session_id = ?1 AND out_id = ?2", params![session, out])
    }

    /// Whether the session itself said this message in this chat.
    pub fn said(&self, s: &SessionId, at: &Address, message: &PlatformMessageId) -> Result<bool> {
        let sql = "SELECT 1 FROM deliveries WHERE session_id = ?1 AND channel_type = ?2
                   AND platform_id = ?3 AND platform_message_id = ?4 AND state = 'sent'";
        let params = params![s, at.channel_type, at.platform_id, message];
        self.any("look for the message", sql, params)
    }

    /// Who said this message in this chat, whatever the thread: the session, and the message's number there.
    pub fn sessions_that_said(
        &self,
        at: &Address,
        message: &PlatformMessageId,
    ) -> Result<Vec<(SessionId, i64)>> {
        let sql = "SELECT session_id, seq FROM deliveries WHERE platform_message_id = ?3
                   AND channel_type = ?1 AND platform_id = ?2 AND state = 'sent'";
        let params = params![at.channel_type, at.platform_id, message];
        self.list("deliveries", sql, params, |r| Ok((r.get(0)?, r.get(1)?)))
    }

    /// The session's messages that did not arrive yet, in order.
    pub fn pending_deliveries(&self, session: &SessionId) -> Result<Vec<Delivery>> {
        self.all("WHERE session_id = ?1 AND state = 'pending' ORDER BY seq, out_id", [session])
    }

    /// Makes what waits for this channel due now; names the sessions.
    pub fn retry_now(&self, channel: &ChannelType, now: Timestamp) -> Result<Vec<SessionId>> {
        let sql = "UPDATE deliveries SET next_at = MIN(next_at, ?2)
                   WHERE state = 'pending' AND channel_type = ?1 RETURNING session_id";
        self.sessions_changed(sql, params![channel, now.as_millisecond()])
    }

    fn sessions_changed(&self, sql: &str, params: impl rusqlite::Params) -> Result<Vec<SessionId>> {
        let mut all: Vec<SessionId> = self.list("deliveries", sql, params, |r| r.get(0))?;
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    /// Messages that were given up, the oldest first.
    pub fn dead_letters(&self) -> Result<Vec<Delivery>> {
        self.all("WHERE state = 'dead' ORDER BY last_at, session_id, seq", [])
    }

    /// Tries a message again that was given up, as if for the first time. False if it was not.
    pub fn revive(&self, session: &SessionId, out: &OutId) -> Result<bool> {
        let sql = "UPDATE deliveries SET state = 'pending', attempts = 0, next_at = NULL
                   WHERE session_id = ?1 AND out_id = ?2 AND state = 'dead'";
        Ok(self.run("revive the message", sql, params![session, out])? > 0)
    }

    /// Tries every message again that was given up; names their sessions.
    pub fn revive_all(&self) -> Result<Vec<SessionId>> {
        let sql = "UPDATE deliveries SET state = 'pending', attempts = 0, next_at = NULL
                   WHERE state = 'dead' RETURNING session_id";
        self.sessions_changed(sql, [])
    }

    /// Forgets messages that arrived or were rejected before this time.
    pub fn prune_deliveries(&self, before: Timestamp) -> Result<usize> {
        // Rows come in the order of their first attempt: nothing behind the first recent one is looked at.
        let sql = "DELETE FROM deliveries WHERE +state IN ('sent', 'rejected') AND last_at < ?1
                   AND rowid < COALESCE((SELECT rowid FROM deliveries WHERE last_at >= ?1
                     ORDER BY rowid LIMIT 1), (SELECT MAX(rowid) + 1 FROM deliveries))";
        self.run("prune the deliveries", sql, [before.as_millisecond()])
    }
}
