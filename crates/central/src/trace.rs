//! What happened to each message, step by step (`trace`), so that `ncl why` can tell.
//!
//! It is told to people only: nothing decides by it, and it is pruned by count.

use crate::{Central, Error, Result, TEXT_BYTES_MAX, clip};
use nanoclaw_contract::ids::{MessageId, OutId, SessionId};
use nanoclaw_contract::time::{Timestamp, iso};
use rusqlite::{Connection, params};

/// Most steps that are told of one message.
const STEPS_MAX: i64 = 1000;

/// What a step is about.
#[derive(Debug, Clone, Copy, Default)]
pub struct TraceIds<'a> {
    /// The inbound message.
    pub message: Option<&'a MessageId>,
    /// The session.
    pub session: Option<&'a SessionId>,
    /// The outbound message.
    pub out: Option<&'a OutId>,
}

stored! {
    /// One step.
    #[derive(serde::Serialize)]
    TraceRow = "trace" {
        /// Its number; later steps have higher ones.
        id: i64,
        /// When.
        at: String,
        /// The inbound message.
        message: Option<String> = "message_id",
        /// The session.
        session: Option<String> = "session_id",
        /// The outbound message.
        out: Option<String> = "out_id",
        /// Which step.
        step: String,
        /// What happened, for people.
        detail: String,
    }
}

fn insert(
    conn: &Connection,
    now: Timestamp,
    step: &str,
    ids: &TraceIds<'_>,
    detail: &str,
) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO trace (at, message_id, session_id, out_id, step, detail)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        iso(now),
        ids.message,
        ids.session,
        ids.out,
        step,
        clip(detail, TEXT_BYTES_MAX)
    ])
    .map(drop)
}

impl Central {
    /// Records a step.
    pub fn trace(
        &self,
        now: Timestamp,
        step: &str,
        ids: &TraceIds<'_>,
        detail: &str,
    ) -> Result<()> {
        insert(&self.lock(), now, step, ids, detail).map_err(|e| Error::of("record the step", e))
    }

    /// Records that a message was written to a session, which is its last activity.
    pub fn trace_inbound(
        &self,
        now: Timestamp,
        step: &str,
        (message, session): (&MessageId, &SessionId),
        detail: &str,
    ) -> Result<()> {
        self.tx("record the message", |tx| {
            tx.prepare_cached("UPDATE sessions SET last_active = ?2 WHERE id = ?1")?
                .execute(params![session, iso(now)])?;
            let ids = TraceIds { message: Some(message), session: Some(session), out: None };
            Ok(insert(tx, now, step, &ids, detail)?)
        })
    }

    /// The steps of a message, in order: of an inbound id with its copies for each agent
    /// (`<id>:<agent>`), of an outbound id, or else of every inbound id that begins like this.
    pub fn trace_of_message(&self, id: &str) -> Result<Vec<TraceRow>> {
        if id.is_empty() {
            return Ok(Vec::new());
        }
        // Ranges rather than LIKE: they use the index, and % in an id is a plain character. ';' is the
        // character after ':'.
        let exact = "WHERE message_id = ?1 OR out_id = ?1
                       OR (message_id > ?1 || ':' AND message_id < ?1 || ';')
                     ORDER BY id LIMIT ?2";
        let found = self.all(exact, params![id, STEPS_MAX])?;
        if !found.is_empty() {
            return Ok(found);
        }
        let prefix = "WHERE message_id >= ?1 AND message_id < ?1 || char(1114111)
                      ORDER BY id LIMIT ?2";
        self.all(prefix, params![id, STEPS_MAX])
    }

    /// Forgets the oldest steps beyond this many; says how many.
    pub fn prune_trace(&self, max_rows: u32) -> Result<usize> {
        let sql = "DELETE FROM trace WHERE id <= (SELECT MAX(id) FROM trace) - ?1";
        self.run("prune the trace", sql, [max_rows])
    }
}
