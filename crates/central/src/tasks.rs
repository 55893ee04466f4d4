//! Which tasks there are, over all sessions (`tasks`): an index of what lies in the inboxes.

use crate::stored::maybe_at;
use crate::{Central, Result, TEXT_BYTES_MAX, clip};
use nanoclaw_contract::content::Missed;
use nanoclaw_contract::ids::{AgentId, MessageId, SessionId};
use nanoclaw_contract::message::InStatus;
use nanoclaw_contract::time::Timestamp;
use rusqlite::params;

stored! {
    /// A live task.
    #[derive(serde::Serialize)]
    TaskEntry = "tasks" {
        /// What it is called by.
        id: MessageId = "series_id",
        /// Where it runs.
        #[serde(rename = "session_id")]
        session: SessionId = "session_id",
        /// Whose it is.
        #[serde(rename = "agent_group_id")]
        agent: AgentId = "agent_group_id",
        /// The session that scheduled it, if it runs in one of its own.
        origin: Option<SessionId> = "origin_session_id",
        /// Pending or paused.
        status: InStatus,
        /// When it runs next.
        next_at: Option<Timestamp> => maybe_at,
        /// Its cron expression.
        recurrence: Option<String>,
        /// The zone of that, if it is not the install's.
        timezone: Option<String>,
        /// What becomes of missed runs.
        missed: Option<Missed>,
        /// Whether a program decides.
        script: bool,
        /// Failures in a row.
        fails: u32,
        /// Why it paused itself.
        why: Option<String>,
        /// The beginning of what to do.
        prompt: String,
    }
}

/// Which tasks are meant; what is absent does not matter.
#[derive(Debug, Clone, Copy, Default)]
pub struct TaskFilter<'a> {
    /// Those called so.
    pub id: Option<&'a str>,
    /// Those of this agent.
    pub agent: Option<&'a AgentId>,
    /// Those that run in this session or were scheduled there.
    pub session: Option<&'a SessionId>,
}

/// Holds only what is asked for, so that an index is used: this is read at the end of every run.
pub(crate) fn rest_for(which: &TaskFilter<'_>) -> String {
    let asked = [
        which.id.map(|_| "series_id = ?1"),
        which.agent.map(|_| "agent_group_id = ?2"),
        which.session.map(|_| "(session_id = ?3 OR origin_session_id = ?3)"),
    ];
    let asked: Vec<_> = asked.into_iter().flatten().collect();
    let filter = if asked.is_empty() { "1".to_owned() } else { asked.join(" AND ") };
    format!("WHERE {filter} ORDER BY next_at IS NULL, next_at, series_id LIMIT ?4 OFFSET ?5")
}

impl Central {
    /// Some of the tasks, the next one first.
    pub fn tasks(
        &self,
        which: &TaskFilter<'_>,
        limit: usize,
        offset: usize,
    ) -> Result<Vec<TaskEntry>> {
        let sized = |n| i64::try_from(n).unwrap_or(i64::MAX);
        let params = params![which.id, which.agent, which.session, sized(limit), sized(offset)];
        self.all(&rest_for(which), params)
    }

    /// The tasks of one session called `series`, or all of them, are now these.
    pub fn put_tasks(
        &self,
        session: &SessionId,
        series: Option<&MessageId>,
        now: &[TaskEntry],
    ) -> Result<()> {
        self.tx("note the tasks", |tx| {
            tx.prepare_cached("DELETE FROM tasks WHERE session_id = ?1 AND (?2 IS NULL OR series_id = ?2)")?
                .execute(params![session, series])?;
            let mut insert = tx.prepare_cached(
                "INSERT OR REPLACE INTO tasks (session_id, series_id, agent_group_id, origin_session_id, status, next_at,
                   recurrence, timezone, missed, script, fails, why, prompt)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?;
            for t in now {
                insert.execute(params![
                    t.session,
                    t.id,
                    t.agent,
                    t.origin,
                    t.status,
                    t.next_at.map(Timestamp::as_millisecond),
                    t.recurrence,
                    t.timezone,
                    t.missed,
                    t.script,
                    t.fails,
                    t.why,
                    clip(&t.prompt, TEXT_BYTES_MAX),
                ])?;
            }
            Ok(())
        })
    }
}
