//! `inbound.db`: the host pushes, the runner looks.
//!
//! Durable point: a message is received when [`Inbox::push`] returns.

mod letters;
mod tasks;

pub use letters::{HOPS, Letter};
pub use tasks::{Change, FAILS_MAX, Live, Order, TASK_BYTES_MAX, check_size};

use crate::ids::{
    Address, AgentId, ChannelType, MessageId, OutId, PlatformId, PlatformMessageId, ThreadId,
};
use crate::message::{
    AckStatus, DeliveredStatus, Destination, InRow, InStatus, NewIn, Target, Trigger,
};
use crate::time::{self, Timestamp};
use crate::{Error, INBOUND_SQL, Step as _};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

const BUSY: Duration = Duration::from_secs(5);
/// How long an answer to the runner itself wakes it. One that no runner took by then would wake for ever.
const ANSWER_WAKES: Duration = Duration::from_secs(600);
/// How a reader waits for a commit that is under way: it was woken by it, so the end is near.
const SOON: (i32, Duration) = (200, Duration::from_micros(500));
const LATER: (i32, Duration) = (490, Duration::from_millis(10));

/// The host's hand on the inbox: the only writer.
#[derive(Debug)]
pub struct Inbox {
    conn: Connection,
}

/// What became of one pushed row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It is new.
    New,
    /// A row of this id is there already; nothing was changed.
    Duplicate,
}

/// When a session has work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// There is something to do now.
    Now,
    /// There will be at this time.
    At(Timestamp),
    /// Nothing is waiting.
    Never,
}

/// What ended in one [`Inbox::settle`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// Rows that were waiting and now are not.
    pub rows: Vec<MessageId>,
    /// The tasks among them, by series.
    pub tasks: Vec<MessageId>,
}

/// What became of one outbound message.
#[derive(Debug, Clone)]
pub struct Settled {
    /// The outbound message.
    pub id: OutId,
    /// How it ended.
    pub status: DeliveredStatus,
    /// What the platform calls it.
    pub platform_id: Option<PlatformMessageId>,
}

impl Inbox {
    /// Opens the file, making it or adding what an older version lacks.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let conn = Connection::open(path).step("open inbound.db")?;
        conn.busy_timeout(BUSY).step("set busy timeout")?;
        crate::keep_journal(&conn)?;
        add_missing_columns(&conn)?;
        conn.execute_batch(INBOUND_SQL).step("create inbound.db")?;
        Ok(Self { conn })
    }

    /// Writes rows in one transaction, in order. A known id is left alone.
    pub fn push(&mut self, rows: &[NewIn]) -> Result<Vec<Pushed>, Error> {
        let tx = self
            .conn
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .step("begin push")?;
        let mut out = Vec::with_capacity(rows.len());
        {
            let mut seq = next_seq(&tx)?;
            let mut insert = tx
                .prepare_cached(
                    "INSERT INTO messages_in (id, seq, kind, timestamp, status, process_after, recurrence, series_id, trigger,
                        platform_id, channel_type, thread_id, content, source_session_id, on_wake)
                     VALUES (?1, ?2, ?3, ?4, 'pending', ?5, ?6, ?1, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
                     ON CONFLICT (id) DO NOTHING",
                )
                .step("push")?;
            for row in rows {
                let reply = row.reply.as_ref();
                let fresh = insert
                    .execute(params![
                        row.id,
                        seq,
                        row.kind,
                        time::iso(row.timestamp),
                        row.process_after.map(time::iso),
                        row.recurrence,
                        i64::from(row.trigger == Trigger::Wake),
                        reply.map(|a| &a.platform_id),
                        reply.map(|a| &a.channel_type),
                        reply.and_then(|a| a.thread_id.as_ref()),
                        row.content,
                        row.source,
                        row.on_wake,
                    ])
                    .step("push")?;
                if fresh == 1 {
                    seq += 2;
                    out.push(Pushed::New);
                } else {
                    out.push(Pushed::Duplicate);
                }
            }
        }
        tx.commit().step("commit push")?;
        Ok(out)
    }

    /// Records in one transaction how outbound messages ended and what the runner finished, and goes on with
    /// tasks that repeat. A runner may also finish what never was. `zone` is that of tasks that name none.
    pub fn settle(
        &mut self,
        done: &[Settled],
        acks: &[(MessageId, AckStatus)],
        now: Timestamp,
        zone: &str,
    ) -> Result<Ended, Error> {
        let tx = self
            .conn
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .step("begin settle")?;
        for s in done {
            tx.prepare_cached(
                "INSERT INTO delivered (message_out_id, platform_message_id, status, delivered_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (message_out_id) DO NOTHING",
            )
            .step("settle")?
            .execute(params![s.id, s.platform_id, s.status, time::sqlite(now)])
            .step("settle")?;
        }
        let mut ended = Ended::default();
        for (id, status) in acks {
            let new = match status {
                AckStatus::Processing => continue,
                AckStatus::Completed => InStatus::Completed,
                AckStatus::Failed => InStatus::Failed,
            };
            if let Some(task) = tasks::end(&tx, id, new, now, zone)? {
                ended.rows.push(id.clone());
                ended.tasks.extend(task);
            }
        }
        tx.commit().step("commit settle")?;
        if !ended.tasks.is_empty() {
            crate::fault::point("host.task.settled");
        }
        Ok(ended)
    }

    /// Takes back that an outbound message ended, so that it can be tried again.
    pub fn unsettle(&self, id: &OutId) -> Result<(), Error> {
        self.conn
            .execute("DELETE FROM delivered WHERE message_out_id = ?1 AND status = 'failed'", [id])
            .step("take back")
            .map(|_| ())
    }

    /// Whether the outbound message has ended, and how.
    pub fn settled(&self, id: &OutId) -> Result<Option<Settled>, Error> {
        self.conn
            .prepare_cached(
                "SELECT status, platform_message_id FROM delivered WHERE message_out_id = ?1",
            )
            .step("look up delivered")?
            .query_row([id], |r| {
                Ok(Settled { id: id.clone(), status: r.get(0)?, platform_id: r.get(1)? })
            })
            .optional()
            .step("look up delivered")
    }

    /// When the agent has something to do, `lead` before its time: it is to be ready then. What failed is put
    /// off for its whole time. A message that is put off after a failed try holds up those
    /// behind it: they are not to overtake it. A task does not.
    pub fn due(&self, now: Timestamp, lead: Duration) -> Result<Due, Error> {
        let mut query = self
            .conn
            .prepare_cached(
                "SELECT process_after, COALESCE(tries, 0) > 0, kind <> 'task' FROM messages_in
                 WHERE status = 'pending' AND trigger = 1 AND NOT (kind = 'system' AND timestamp < ?1)
                 ORDER BY seq",
            )
            .step("look for due rows")?;
        let mut due = Due::Never;
        let stale = time::iso(now.checked_sub(ANSWER_WAKES).unwrap_or(now));
        let rows = query
            .query_map([stale], |r| {
                Ok((r.get::<_, Option<String>>(0)?, r.get::<_, bool>(1)?, r.get::<_, bool>(2)?))
            })
            .step("look for due rows")?;
        for row in rows {
            let (text, tried, line) = row.step("look for due rows")?;
            let Some(text) = text else { return Ok(Due::Now) };
            // An unreadable time must not hide the row for ever.
            let Some(at) = time::parse(&text) else { return Ok(Due::Now) };
            let at = if tried { at } else { at.checked_sub(lead).unwrap_or(at) };
            if at <= now {
                return Ok(Due::Now);
            }
            due = match due {
                Due::At(earlier) if earlier <= at => due,
                Due::Now | Due::At(_) | Due::Never => Due::At(at),
            };
            if tried && line {
                break;
            }
        }
        Ok(due)
    }

    /// Puts a row off after a failed try.
    pub fn retry(&self, id: &MessageId, next: Timestamp) -> Result<(), Error> {
        self.conn
            .prepare_cached("UPDATE messages_in SET tries = tries + 1, process_after = ?2 WHERE id = ?1 AND status = 'pending'")
            .step("retry")?
            .execute(params![id, time::iso(next)])
            .step("retry")
            .map(|_| ())
    }

    /// One row, with its status.
    pub fn get(&self, id: &MessageId) -> Result<Option<(InRow, InStatus)>, Error> {
        self.conn
            .prepare_cached(&format!("SELECT {COLUMNS}, status FROM messages_in WHERE id = ?1"))
            .step("read message")?
            .query_row([id], |r| Ok((in_row(r)?, r.get("status")?)))
            .optional()
            .step("read message")
    }

    /// Replaces the names the agent may write to.
    pub fn set_destinations(&mut self, all: &[Destination]) -> Result<(), Error> {
        if destinations(&self.conn)? == all {
            return Ok(());
        }
        let tx = self.conn.transaction().step("begin destinations")?;
        tx.execute("DELETE FROM destinations", []).step("replace destinations")?;
        for d in all {
            let (kind, channel, platform, agent) = match &d.target {
                Target::Channel { channel_type, platform_id } => {
                    ("channel", Some(channel_type), Some(platform_id), None)
                }
                Target::Agent(agent) => ("agent", None, None, Some(agent)),
            };
            tx.execute(
                "INSERT OR REPLACE INTO destinations (name, display_name, type, channel_type, platform_id, agent_group_id)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![d.name, d.display_name, kind, channel, platform, agent],
            )
            .step("replace destinations")?;
        }
        tx.commit().step("commit destinations")
    }

    /// Says which conversation this session belongs to.
    pub fn set_routing(&self, to: Option<&Address>) -> Result<(), Error> {
        if routing(&self.conn)?.as_ref() == to {
            return Ok(());
        }
        self.conn
            .execute(
                "INSERT INTO session_routing (id, channel_type, platform_id, thread_id) VALUES (1, ?1, ?2, ?3)
                 ON CONFLICT (id) DO UPDATE SET channel_type = ?1, platform_id = ?2, thread_id = ?3",
                params![
                    to.map(|a| &a.channel_type),
                    to.map(|a| &a.platform_id),
                    to.and_then(|a| a.thread_id.as_ref())
                ],
            )
            .step("set routing")
            .map(|_| ())
    }

    /// Says which tasks of this session run in sessions of their own, for its agent to see.
    pub fn set_tasks_elsewhere(&mut self, all: &[TaskRow]) -> Result<(), Error> {
        let tx = self.conn.transaction().step("begin tasks")?;
        tx.execute("DELETE FROM tasks_elsewhere", []).step("replace tasks")?;
        for t in all {
            tx.execute(
                "INSERT OR REPLACE INTO tasks_elsewhere (series_id, status, process_after, recurrence, content)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![t.series, t.status, t.process_after, t.recurrence, t.content],
            )
            .step("replace tasks")?;
        }
        tx.commit().step("commit tasks")
    }

    /// How many rows there are, and how many wait.
    pub fn counts(&self) -> Result<(i64, i64), Error> {
        let count = |sql| self.conn.query_row(sql, [], |r| r.get(0)).step("count messages");
        Ok((
            count("SELECT COUNT(*) FROM messages_in")?,
            count("SELECT COUNT(*) FROM messages_in WHERE status = 'pending'")?,
        ))
    }
}

/// The number of the next row: even, and higher than any.
fn next_seq(conn: &Connection) -> Result<i64, Error> {
    let max: i64 = conn
        .prepare_cached("SELECT COALESCE(MAX(seq), 0) FROM messages_in")
        .step("read seq")?
        .query_row([], |r| r.get(0))
        .step("read seq")?;
    Ok(max - max.rem_euclid(2) + 2)
}

/// v2 files may lack columns that later versions added.
fn add_missing_columns(conn: &Connection) -> Result<(), Error> {
    let have = columns(conn, "messages_in")?;
    if have.is_empty() {
        return Ok(());
    }
    for (name, sql) in [
        (
            "series_id",
            "ALTER TABLE messages_in ADD COLUMN series_id TEXT; UPDATE messages_in SET series_id = id",
        ),
        ("trigger", "ALTER TABLE messages_in ADD COLUMN trigger INTEGER NOT NULL DEFAULT 1"),
        ("source_session_id", "ALTER TABLE messages_in ADD COLUMN source_session_id TEXT"),
        ("on_wake", "ALTER TABLE messages_in ADD COLUMN on_wake INTEGER NOT NULL DEFAULT 0"),
    ] {
        if !have.contains(name) {
            conn.execute_batch(sql).step("upgrade messages_in")?;
        }
    }
    let have = columns(conn, "delivered")?;
    for (name, sql) in [
        ("platform_message_id", "ALTER TABLE delivered ADD COLUMN platform_message_id TEXT"),
        ("status", "ALTER TABLE delivered ADD COLUMN status TEXT NOT NULL DEFAULT 'delivered'"),
    ] {
        if !have.is_empty() && !have.contains(name) {
            conn.execute_batch(sql).step("upgrade delivered")?;
        }
    }
    Ok(())
}

fn columns(conn: &Connection, table: &str) -> Result<BTreeSet<String>, Error> {
    let mut query = conn.prepare("SELECT name FROM pragma_table_info(?1)").step("read columns")?;
    let names = query.query_map([table], |r| r.get(0)).step("read columns")?;
    names.collect::<rusqlite::Result<_>>().step("read columns")
}

const COLUMNS: &str = "id, seq, kind, timestamp, trigger, tries, channel_type, platform_id, thread_id, content, on_wake";

fn in_row(r: &Row<'_>) -> rusqlite::Result<InRow> {
    Ok(InRow {
        id: r.get("id")?,
        seq: r.get::<_, Option<i64>>("seq")?.unwrap_or(0),
        kind: r.get("kind")?,
        timestamp: r.get("timestamp")?,
        trigger: if r.get::<_, i64>("trigger")? == 0 { Trigger::Context } else { Trigger::Wake },
        tries: r.get::<_, Option<i64>>("tries")?.unwrap_or(0),
        channel_type: parsed(r, "channel_type", ChannelType::parse)?,
        platform_id: parsed(r, "platform_id", PlatformId::parse)?,
        thread_id: parsed(r, "thread_id", ThreadId::parse)?,
        content: r.get("content")?,
        on_wake: r.get::<_, i64>("on_wake")? != 0,
    })
}

/// An empty or unusable address part counts as absent.
fn parsed<T, E>(
    r: &Row<'_>,
    column: &str,
    parse: impl Fn(String) -> Result<T, E>,
) -> rusqlite::Result<Option<T>> {
    Ok(r.get::<_, Option<String>>(column)?.and_then(|text| parse(text).ok()))
}

fn destinations(conn: &Connection) -> Result<Vec<Destination>, Error> {
    let mut query = conn
        .prepare_cached(
            "SELECT name, display_name, type, channel_type, platform_id, agent_group_id FROM destinations ORDER BY name",
        )
        .step("read destinations")?;
    let mut out = Vec::new();
    let mut rows = query.query([]).step("read destinations")?;
    while let Some(r) = rows.next().step("read destinations")? {
        let read = || -> rusqlite::Result<Option<Destination>> {
            let target = match r.get::<_, String>(2)?.as_str() {
                "agent" => parsed(r, "agent_group_id", AgentId::parse)?.map(Target::Agent),
                _ => match (
                    parsed(r, "channel_type", ChannelType::parse)?,
                    parsed(r, "platform_id", PlatformId::parse)?,
                ) {
                    (Some(channel_type), Some(platform_id)) => {
                        Some(Target::Channel { channel_type, platform_id })
                    }
                    _ => None,
                },
            };
            let (name, display_name) = (r.get(0)?, r.get(1)?);
            Ok(target.map(|target| Destination { name, display_name, target }))
        };
        out.extend(read().step("read destinations")?);
    }
    Ok(out)
}

fn routing(conn: &Connection) -> Result<Option<Address>, Error> {
    let found = conn
        .prepare_cached(
            "SELECT channel_type, platform_id, thread_id FROM session_routing WHERE id = 1",
        )
        .step("read routing")?
        .query_row([], |r| {
            Ok((
                parsed(r, "channel_type", ChannelType::parse)?,
                parsed(r, "platform_id", PlatformId::parse)?,
                parsed(r, "thread_id", ThreadId::parse)?,
            ))
        })
        .optional()
        .step("read routing")?;
    Ok(match found {
        Some((Some(channel_type), Some(platform_id), thread_id)) => {
            Some(Address { channel_type, platform_id, thread_id })
        }
        _ => None,
    })
}

/// Sleeps for the given try; `false` ends the waiting.
fn wait_for_commit(tries: i32) -> bool {
    std::thread::sleep(if tries < SOON.0 { SOON.1 } else { LATER.1 });
    tries < SOON.0 + LATER.0
}

/// The runner's eye on the inbox: read-only, also through a read-only mount.
#[derive(Debug)]
pub struct InboxReader {
    conn: Connection,
    has_on_wake: bool,
}

impl InboxReader {
    /// Opens the file for reading.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let conn = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )
        .step("open inbound.db")?;
        conn.busy_handler(Some(wait_for_commit)).step("set busy handler")?;
        conn.pragma_update(None, "mmap_size", 0).step("set mmap size")?;
        let has_on_wake = columns(&conn, "messages_in")?.contains("on_wake");
        Ok(Self { conn, has_on_wake })
    }

    /// Rows that wait and are due, oldest first, at most `limit`, except those in `skip` and, unless
    /// this is the first look of a fresh container, those for it alone. Never system rows, and nothing
    /// behind a message that is put off after a failed try.
    pub fn pending(
        &self,
        look: Look,
        skip: &BTreeSet<MessageId>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<InRow>, Error> {
        self.select("kind <> 'system'", look, skip, limit, now)
    }

    /// Answers for the runner itself that wait.
    pub fn system(
        &self,
        skip: &BTreeSet<MessageId>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<InRow>, Error> {
        self.select("kind = 'system'", Look::Later, skip, limit, now)
    }

    fn select(
        &self,
        kind: &str,
        look: Look,
        skip: &BTreeSet<MessageId>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<InRow>, Error> {
        let columns = if self.has_on_wake {
            COLUMNS.to_owned()
        } else {
            COLUMNS.replace("on_wake", "0 AS on_wake")
        };
        let mut query = self
            .conn
            .prepare_cached(&format!(
                "SELECT {columns}, process_after, COALESCE(tries, 0) > 0 AND kind <> 'task' AS holds
                 FROM messages_in WHERE status = 'pending' AND {kind} ORDER BY seq"
            ))
            .step("look for messages")?;
        let mut out = Vec::new();
        let mut rows = query.query([]).step("look for messages")?;
        while out.len() < limit {
            let Some(r) = rows.next().step("look for messages")? else { break };
            let after: Option<String> = r.get("process_after").step("look for messages")?;
            if after.as_deref().and_then(time::parse).is_some_and(|at| at > now) {
                if r.get("holds").step("look for messages")? {
                    break;
                }
                continue;
            }
            // One row that breaks the contract must not hide the others.
            let Ok(row) = in_row(r) else { continue };
            if !skip.contains(&row.id) && (look == Look::First || !row.on_wake) {
                out.push(row);
            }
        }
        Ok(out)
    }

    /// What was answered to the question with this id, whether or not anybody heard it.
    pub fn answer(&self, question: &str) -> Result<Option<String>, Error> {
        self.conn
            .prepare_cached("SELECT content FROM messages_in WHERE id = ?1 AND kind = 'system'")
            .step("read answer")?
            .query_row([format!("qr-{question}")], |r| r.get(0))
            .optional()
            .step("read answer")
    }

    /// When the earliest row becomes due that is not due yet.
    pub fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let mut query = self
            .conn
            .prepare_cached("SELECT process_after FROM messages_in WHERE status = 'pending' AND process_after IS NOT NULL")
            .step("look for due rows")?;
        let rows = query.query_map([], |r| r.get::<_, String>(0)).step("look for due rows")?;
        Ok(rows.flatten().filter_map(|t| time::parse(&t)).filter(|at| *at > now).min())
    }

    /// Which of these rows the host still holds as pending.
    pub fn still_pending(&self, ids: &BTreeSet<MessageId>) -> Result<BTreeSet<MessageId>, Error> {
        let mut query = self
            .conn
            .prepare_cached("SELECT 1 FROM messages_in WHERE id = ?1 AND status = 'pending'")
            .step("read status")?;
        let mut out = BTreeSet::new();
        for id in ids {
            if query.exists([id]).step("read status")? {
                out.insert(id.clone());
            }
        }
        Ok(out)
    }

    /// The names the agent may write to, by name.
    pub fn destinations(&self) -> Result<Vec<Destination>, Error> {
        destinations(&self.conn)
    }

    /// The conversation this session belongs to.
    pub fn routing(&self) -> Result<Option<Address>, Error> {
        routing(&self.conn)
    }

    /// The newest row from a chat: its thread, and the row to answer.
    pub fn latest_from(
        &self,
        channel: &ChannelType,
        platform: &PlatformId,
    ) -> Result<Option<(MessageId, Option<ThreadId>)>, Error> {
        self.conn
            .prepare_cached("SELECT id, thread_id FROM messages_in WHERE channel_type = ?1 AND platform_id = ?2 ORDER BY seq DESC LIMIT 1")
            .step("read latest")?
            .query_row(params![channel, platform], |r| Ok((r.get(0)?, parsed(r, "thread_id", ThreadId::parse)?)))
            .optional()
            .step("read latest")
    }

    /// The row with this number.
    pub fn by_seq(&self, seq: i64) -> Result<Option<InRow>, Error> {
        let columns = if self.has_on_wake {
            COLUMNS.to_owned()
        } else {
            COLUMNS.replace("on_wake", "0 AS on_wake")
        };
        self.conn
            .prepare_cached(&format!("SELECT {columns} FROM messages_in WHERE seq = ?1"))
            .step("read message")?
            .query_row([seq], in_row)
            .optional()
            .step("read message")
    }

    /// The newest row of each series of tasks, live ones or those with `status`.
    pub fn tasks(&self, status: Option<InStatus>) -> Result<Vec<TaskRow>, Error> {
        const IS: &str = "(status = ?1 OR (?1 IS NULL AND status IN ('pending', 'paused')))";
        let mut sql = format!(
            "SELECT COALESCE(series_id, id), status, process_after, recurrence, content FROM messages_in
             WHERE seq IN (SELECT MAX(seq) FROM messages_in WHERE kind = 'task' AND {IS}
                GROUP BY COALESCE(series_id, id))"
        );
        // A v2 host does not make it.
        if !columns(&self.conn, "tasks_elsewhere")?.is_empty() {
            sql += &format!(
                " UNION ALL SELECT series_id, status, process_after, recurrence, content FROM tasks_elsewhere WHERE {IS}"
            );
        }
        let mut query = self
            .conn
            .prepare_cached(&format!("SELECT * FROM ({sql}) ORDER BY 3 LIMIT 500"))
            .step("list tasks")?;
        let rows = query
            .query_map([status], |r| {
                Ok(TaskRow {
                    series: r.get(0)?,
                    status: r.get(1)?,
                    process_after: r.get(2)?,
                    recurrence: r.get(3)?,
                    content: r.get(4)?,
                })
            })
            .step("list tasks")?;
        Ok(rows.flatten().collect())
    }

    /// What the platform calls an outbound message that was delivered.
    pub fn platform_message_id(&self, id: &OutId) -> Result<Option<PlatformMessageId>, Error> {
        self.conn
            .prepare_cached("SELECT platform_message_id FROM delivered WHERE message_out_id = ?1")
            .step("read delivered")?
            .query_row([id], |r| r.get(0))
            .optional()
            .step("read delivered")
            .map(Option::flatten)
    }
}

/// A scheduled job, as the agent may see it.
#[derive(Debug, Clone)]
pub struct TaskRow {
    /// The id that it is changed by.
    pub series: MessageId,
    /// Where it stands.
    pub status: InStatus,
    /// When it runs next, as written.
    pub process_after: Option<String>,
    /// Its cron expression.
    pub recurrence: Option<String>,
    /// The JSON content.
    pub content: String,
}

/// Whether this is the first look of a fresh container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// It is.
    First,
    /// It is not.
    Later,
}
