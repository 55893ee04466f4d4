//! Which tasks there are, over all sessions (`tasks`): an index of what lies in the inboxes.

use crate::{Central, Result, TEXT_BYTES_MAX, at_ms, clip};
use nanoclaw_contract::content::Missed;
use nanoclaw_contract::ids::{AgentId, MessageId, SessionId};
use nanoclaw_contract::message::InStatus;
use nanoclaw_contract::time::Timestamp;
use rusqlite::{Row, params};

/// A live task.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TaskEntry {
    /// What it is called by.
    pub id: MessageId,
    /// Where it runs.
    #[serde(rename = "session_id")]
    pub session: SessionId,
    /// Whose it is.
    #[serde(rename = "agent_group_id")]
    pub agent: AgentId,
    /// The session that scheduled it, if it runs in one of its own.
    pub origin: Option<SessionId>,
    /// Pending or paused.
    pub status: InStatus,
    /// When it runs next.
    pub next_at: Option<Timestamp>,
    /// Its cron expression.
    pub recurrence: Option<String>,
    /// The zone of that, if it is not the install's.
    pub timezone: Option<String>,
    /// What becomes of missed runs.
    pub missed: Option<Missed>,
    /// Whether a program decides.
    pub script: bool,
    /// Failures in a row.
    pub fails: u32,
    /// Why it paused itself.
    pub why: Option<String>,
    /// The beginning of what to do.
    pub prompt: String,
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

fn entry(r: &Row<'_>) -> rusqlite::Result<TaskEntry> {
    Ok(TaskEntry {
        session: r.get(0)?,
        id: r.get(1)?,
        agent: r.get(2)?,
        origin: r.get(3)?,
        status: r.get(4)?,
        next_at: r.get::<_, Option<i64>>(5)?.map(at_ms),
        recurrence: r.get(6)?,
        timezone: r.get(7)?,
        missed: r.get(8)?,
        script: r.get(9)?,
        fails: r.get(10)?,
        why: r.get(11)?,
        prompt: r.get(12)?,
    })
}

/// Holds only what is asked for, so that an index is used: this is read at the end of every run.
pub(crate) fn sql_for(which: &TaskFilter<'_>) -> String {
    let asked = [
        which.id.map(|_| "series_id = ?1"),
        which.agent.map(|_| "agent_group_id = ?2"),
        which.session.map(|_| "(session_id = ?3 OR origin_session_id = ?3)"),
    ];
    let asked: Vec<_> = asked.into_iter().flatten().collect();
    let filter = if asked.is_empty() { "1".to_owned() } else { asked.join(" AND ") };
    format!(
        "SELECT session_id, series_id, agent_group_id, origin_session_id, status, next_at, recurrence, timezone,
           missed, script, fails, why, prompt
         FROM tasks WHERE {filter} ORDER BY next_at IS NULL, next_at, series_id LIMIT ?4 OFFSET ?5"
    )
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
        self.list("tasks", &sql_for(which), params, entry)
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
