//! Tasks: inbound rows with a time. One that repeats is a series of rows, of which one is alive at a time.
//!
//! Durable point: the end of a run and the next one are one transaction. A kill finds either the old row
//! alive or the new one.

use super::Inbox;
use crate::content::{Chat, Missed, Task};
use crate::ids::{Address, ChannelType, ID_BYTES_MAX, MessageId, PlatformId, ThreadId, stable};
use crate::message::InStatus;
use crate::recur::Schedule;
use crate::time::{self, Timestamp};
use crate::{Error, Step as _, fault};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};
use std::time::Duration;

/// Failures in a row after which a series pauses itself.
pub const FAILS_MAX: u32 = 5;
/// How long it is left alone after the first failure, and how many times longer after each more.
const PAUSE_FIRST: Duration = Duration::from_secs(300);
const PAUSE_FACTOR: u32 = 4;
/// Missed runs that are made up for one by one.
const CATCH_UP_MAX: u32 = 24;
/// What is later than this was missed.
const MISSED_AFTER: Duration = Duration::from_secs(300);
/// A longer run that ended keeps only the beginning of its prompt.
const ENDED_BYTES_MAX: usize = 1 << 11;
/// Most bytes of prompt and script.
pub const TASK_BYTES_MAX: usize = 256 << 10;

/// The live row of a task.
#[derive(Debug, Clone)]
pub struct Live {
    /// The row.
    pub id: MessageId,
    /// What the task is called by, whichever row is alive.
    pub series: MessageId,
    /// Pending or paused.
    pub status: InStatus,
    /// When it runs.
    pub at: Option<Timestamp>,
    /// Its cron expression.
    pub recurrence: Option<String>,
    /// Where its answers go.
    pub reply: Option<Address>,
    /// What it is; the default if it cannot be read.
    pub task: Task,
    content: String,
    tries: i64,
}

/// What to do with a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// End it.
    Cancel,
    /// Put it on hold.
    Pause,
    /// Let it go on; what it missed follows its policy.
    Resume,
    /// Run it now, beside its schedule.
    Run,
    /// Change it.
    Update(Change),
}

/// What changes about a task; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// What to do.
    pub prompt: Option<String>,
    /// The program that decides; `None` inside takes it away.
    pub script: Option<Option<String>>,
    /// When it runs next.
    pub at: Option<Timestamp>,
    /// The cron expression; `None` inside: it runs once more.
    pub recurrence: Option<Option<String>>,
    /// The zone of the schedule; `None` inside: the install's.
    pub timezone: Option<Option<String>>,
    /// What becomes of missed runs.
    pub missed: Option<Missed>,
}

const COLUMNS: &str = "id, COALESCE(series_id, id) AS series, status, process_after, recurrence, channel_type, platform_id, thread_id, content, COALESCE(tries, 0) AS tries";
/// As in the index, word by word, or it is not used.
const LIVE: &str = "kind = 'task' AND status IN ('pending', 'paused')";

fn live(r: &Row<'_>) -> rusqlite::Result<Live> {
    let at: Option<String> = r.get("process_after")?;
    let address = || -> rusqlite::Result<Option<Address>> {
        let channel_type = super::parsed(r, "channel_type", ChannelType::parse)?;
        let platform_id = super::parsed(r, "platform_id", PlatformId::parse)?;
        let thread_id = super::parsed(r, "thread_id", ThreadId::parse)?;
        let both = channel_type.zip(platform_id);
        Ok(both.map(|(channel_type, platform_id)| Address { channel_type, platform_id, thread_id }))
    };
    let content: String = r.get("content")?;
    Ok(Live {
        id: r.get("id")?,
        series: r.get("series")?,
        status: r.get("status")?,
        at: at.as_deref().and_then(time::parse),
        recurrence: r.get("recurrence")?,
        reply: address()?,
        task: serde_json::from_str(&content).unwrap_or_default(),
        content,
        tries: r.get("tries")?,
    })
}

impl Live {
    /// The time that this run stands for. Tries that failed put the row off, but not the schedule.
    fn slot(&self, now: Timestamp) -> Timestamp {
        let named = self.id.as_str().strip_prefix(self.series.as_str());
        let named = named.and_then(|t| t.strip_prefix('.')?.split('.').next()?.parse().ok());
        match named.and_then(|s| Timestamp::from_second(s).ok()) {
            Some(slot) if self.tries > 0 => slot,
            _ => self.at.unwrap_or(now),
        }
    }

    fn schedule(&self, zone: &str) -> Option<Result<Schedule, String>> {
        let zone = self.task.timezone.as_deref().unwrap_or(zone);
        self.recurrence.as_deref().map(|text| Schedule::parse(text, zone))
    }

    /// The content with what changed; what could not be read stays as it is.
    fn text(&self) -> String {
        match serde_json::from_str::<Task>(&self.content) {
            Ok(_) => serde_json::to_string(&self.task).unwrap_or_else(|_| self.content.clone()),
            Err(_) => self.content.clone(),
        }
    }

    /// Makes this row, which ended as `ended`, the next of its series.
    fn follow(mut self, ended: InStatus, now: Timestamp, zone: &str) -> Self {
        let slot = self.slot(now);
        if std::mem::take(&mut self.task.hold) {
            (self.status, self.task.why) = (InStatus::Paused, None);
        }
        let schedule = match self.schedule(zone) {
            Some(Ok(schedule)) => schedule,
            Some(Err(why)) => return self.give_up(None, &why),
            None => return self.give_up(None, "it has no schedule"),
        };
        self.task.fails = if ended == InStatus::Failed { self.task.fails + 1 } else { 0 };
        let next = schedule.next(slot).filter(|next| *next <= now);
        let from = match (self.task.fails, next) {
            (1.., _) => now + PAUSE_FIRST * PAUSE_FACTOR.saturating_pow(self.task.fails.min(6) - 1),
            (0, Some(_))
                if self.task.missed == Some(Missed::All) && self.task.behind < CATCH_UP_MAX =>
            {
                self.task.behind += 1;
                slot
            }
            (0, Some(_)) => now,
            (0, None) => {
                self.task.behind = 0;
                slot
            }
        };
        let at = schedule.next(from);
        match (self.task.fails, at) {
            (FAILS_MAX.., at) => self.give_up(at, &format!("it failed {FAILS_MAX} times in a row")),
            (_, None) => self.give_up(None, "there is no next time"),
            (_, at) => Self { at, ..self },
        }
    }

    fn give_up(mut self, at: Option<Timestamp>, why: &str) -> Self {
        self.task.why = Some(why.to_owned());
        Self { status: InStatus::Paused, at, ..self }
    }

    /// Carries an order out on this row.
    fn obey(&mut self, order: &Order, now: Timestamp, zone: &str) -> Result<(), String> {
        match order {
            Order::Cancel => (self.status, self.recurrence) = (InStatus::Completed, None),
            Order::Pause => (self.status, self.task.hold) = (InStatus::Paused, false),
            Order::Resume => {
                let schedule = self.schedule(zone).transpose()?;
                (self.task.hold, self.task.why, self.task.fails) = (false, None, 0);
                self.status = InStatus::Pending;
                let skip = self.task.missed == Some(Missed::Skip) && self.at < Some(now);
                if let Some(schedule) = schedule.filter(|_| skip || self.at.is_none()) {
                    self.at = schedule.next(now);
                }
            }
            Order::Run => {
                self.task.hold |= self.status == InStatus::Paused;
                (self.status, self.at) = (InStatus::Pending, Some(now));
            }
            Order::Update(change) => self.change(change, now, zone)?,
        }
        Ok(())
    }

    fn change(&mut self, change: &Change, now: Timestamp, zone: &str) -> Result<(), String> {
        let task = &mut self.task;
        if let Some(prompt) = &change.prompt {
            task.prompt.clone_from(prompt);
        }
        if let Some(script) = &change.script {
            task.script.clone_from(script);
        }
        task.missed = change.missed.or(task.missed);
        if let Some(timezone) = &change.timezone {
            timezone.as_deref().map(crate::recur::zone_of).transpose()?;
            task.timezone.clone_from(timezone);
        }
        check_size(task)?;
        if let Some(recurrence) = &change.recurrence {
            self.recurrence.clone_from(recurrence);
        }
        if change.recurrence.is_some() || change.timezone.is_some() {
            let next = self.schedule(zone).transpose()?.and_then(|s| s.next(now));
            self.at = next.or(self.at);
        }
        self.at = change.at.or(self.at);
        Ok(())
    }
}

/// Refuses a task that is too long.
pub fn check_size(task: &Task) -> Result<(), String> {
    if task.prompt.len() + task.script.as_ref().map_or(0, String::len) > TASK_BYTES_MAX {
        return Err(format!("prompt and script have more than {TASK_BYTES_MAX} bytes"));
    }
    Ok(())
}

impl Inbox {
    /// The live tasks: all, or those that go by `id`.
    pub fn live_tasks(&self, id: Option<&str>) -> Result<Vec<Live>, Error> {
        rows(&self.conn, id)
    }

    /// Carries out an order on every live row that goes by `id`, and returns them as they are now; those that
    /// were cancelled, too. The inner error is why it is refused.
    pub fn order_task(
        &mut self,
        id: &str,
        order: &Order,
        now: Timestamp,
        zone: &str,
    ) -> Result<Result<Vec<Live>, String>, Error> {
        let tx = self.begin()?;
        let mut rows = rows(&tx, Some(id))?;
        for row in &mut rows {
            if let Err(why) = row.obey(order, now, zone) {
                return Ok(Err(why));
            }
            write(&tx, row)?;
        }
        tx.commit().step("commit order")?;
        Ok(Ok(rows))
    }

    /// Moves on what was missed while nothing ran and is not to be made up for. Only while no box runs.
    pub fn skip_missed(&mut self, now: Timestamp, zone: &str) -> Result<Vec<MessageId>, Error> {
        let late = |row: &Live| {
            row.status == InStatus::Pending
                && row.task.missed == Some(Missed::Skip)
                && row.at.is_some_and(|at| at + MISSED_AFTER < now)
        };
        let mut moved = Vec::new();
        for mut row in rows(&self.conn, None)?.into_iter().filter(late) {
            let next = row.schedule(zone).and_then(Result::ok).and_then(|s| s.next(now));
            if next.is_some() {
                row.at = next;
                write(&self.conn, &row)?;
                moved.push(row.series);
            }
        }
        Ok(moved)
    }

    /// Goes on with series that v2 ended a run of and did not continue. Reads all there is.
    pub fn adopt_tasks(&mut self, now: Timestamp, zone: &str) -> Result<(), Error> {
        let tx = self.begin()?;
        let sql = format!(
            "SELECT {COLUMNS} FROM messages_in WHERE kind = 'task' AND status = 'completed' AND recurrence IS NOT NULL"
        );
        let ended: Vec<Live> = {
            let mut query = tx.prepare(&sql).step("look for tasks")?;
            let found = query.query_map([], live).step("look for tasks")?;
            found.flatten().collect()
        };
        for row in ended {
            next(&tx, Live { status: InStatus::Pending, ..row }, InStatus::Completed, now, zone)?;
        }
        tx.commit().step("commit tasks")
    }

    fn begin(&mut self) -> Result<Transaction<'_>, Error> {
        self.conn.transaction_with_behavior(TransactionBehavior::Immediate).step("begin tasks")
    }
}

fn rows(conn: &Connection, id: Option<&str>) -> Result<Vec<Live>, Error> {
    let which = if id.is_some() { "AND (id = ?1 OR series_id = ?1)" } else { "AND ?1 IS NULL" };
    let mut query = conn
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM messages_in WHERE {LIVE} {which} ORDER BY seq"
        ))
        .step("look for tasks")?;
    let found = query.query_map([id], live).step("look for tasks")?;
    Ok(found.flatten().collect())
}

fn write(conn: &Connection, row: &Live) -> Result<(), Error> {
    conn.prepare_cached(
        "UPDATE messages_in SET status = ?2, process_after = ?3, recurrence = ?4, content = ?5 WHERE id = ?1",
    )
    .step("change task")?
    .execute(params![row.id, row.status, row.at.map(time::iso), row.recurrence, row.text()])
    .step("change task")
    .map(|_| ())
}

/// Ends a row that was waiting; true if it was. A task on hold may end as well: it was running when it was
/// put there. A series goes on in the same transaction.
pub(super) fn end(
    tx: &Transaction<'_>,
    id: &MessageId,
    status: InStatus,
    now: Timestamp,
    zone: &str,
) -> Result<Option<Option<MessageId>>, Error> {
    let task = tx
        .prepare_cached(&format!("SELECT {COLUMNS} FROM messages_in WHERE id = ?1 AND {LIVE}"))
        .step("settle")?
        .query_row([id], live)
        .optional()
        .step("settle")?;
    let changed = tx
        .prepare_cached(
            "UPDATE messages_in SET status = ?2 WHERE id = ?1 AND (status = 'pending' OR (status = 'paused' AND kind = 'task'))",
        )
        .step("settle")?
        .execute(params![id, status])
        .step("settle")?;
    if changed == 0 {
        return Ok(None);
    }
    let Some(task) = task else { return Ok(Some(None)) };
    fault::point("host.task.ended");
    let series = task.series.clone();
    if task.recurrence.is_some() {
        next(tx, task, status, now, zone)?;
        fault::point("host.task.followed");
    }
    Ok(Some(Some(series)))
}

/// Writes the next row of a series, unless it has a live one already.
fn next(
    tx: &Transaction<'_>,
    old: Live,
    ended: InStatus,
    now: Timestamp,
    zone: &str,
) -> Result<(), Error> {
    let (before, series) = (old.id.clone(), old.series.clone());
    let short = (old.content.len() > ENDED_BYTES_MAX).then(|| {
        let prompt: String = old.task.prompt.chars().take(ENDED_BYTES_MAX / 8).collect();
        serde_json::json!({ "prompt": prompt }).to_string()
    });
    if rows(tx, Some(series.as_str()))?.iter().all(|row| row.id == before) {
        let next = old.follow(ended, now, zone);
        let seq = super::next_seq(tx)?;
        // Named after what it stands for; a task that was moved may come by the same time again.
        let name = next.at.map_or_else(|| "none".to_owned(), |at| at.as_second().to_string());
        let mut id = format!("{series}.{name}");
        if id.len() > ID_BYTES_MAX - 32 {
            id = format!("task-{}", stable(&id));
        }
        let taken = tx
            .prepare_cached("SELECT 1 FROM messages_in WHERE id = ?1")
            .step("follow")?
            .exists([&id]);
        if taken.step("follow")? {
            id = format!("{id}.{seq}");
        }
        tx.prepare_cached(
            "INSERT INTO messages_in (id, seq, kind, timestamp, status, process_after, recurrence, series_id, trigger,
                platform_id, channel_type, thread_id, content, source_session_id, on_wake)
             SELECT ?2, ?3, kind, ?4, ?5, ?6, recurrence, ?7, 1,
                platform_id, channel_type, thread_id, ?8, source_session_id, 0
             FROM messages_in WHERE id = ?1",
        )
        .step("follow")?
        .execute(params![before, id, seq, time::iso(now), next.status, next.at.map(time::iso), series, next.text()])
        .step("follow")?;
        if let Some(why) = &next.task.why {
            note(tx, &id, seq + 2, &next, why, now)?;
        }
    }
    // Whoever looks for ended runs that nobody continued, as v2 does, finds none. Prompt and script live on
    // in the next row.
    tx.prepare_cached(
        "UPDATE messages_in SET recurrence = NULL, content = COALESCE(?2, content) WHERE id = ?1",
    )
    .step("follow")?
    .execute(params![before, short])
    .step("follow")
    .map(|_| ())
}

/// Tells the agent, with its next message.
fn note(
    tx: &Transaction<'_>,
    id: &str,
    seq: i64,
    row: &Live,
    why: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let said = Chat {
        text: format!(
            "The scheduled task {} ({:?}) is paused: {why}. Look into it, then use resume_task, update_task or cancel_task.",
            row.series,
            row.task.prompt.chars().take(80).collect::<String>()
        ),
        sender: "system".into(),
        sender_id: Some("system".into()),
        ..Chat::default()
    };
    tx.execute(
        "INSERT INTO messages_in (id, seq, kind, timestamp, status, series_id, trigger, content)
         VALUES (?1, ?2, 'chat', ?3, 'pending', ?1, 0, ?4) ON CONFLICT (id) DO NOTHING",
        params![format!("note-paused-{id}"), seq, time::iso(now), said.to_json()],
    )
    .step("note")
    .map(|_| ())
}
