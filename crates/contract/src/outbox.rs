//! `outbound.db`: the runner writes, the host reads and believes nothing.
//!
//! Durable points: a row is claimed when [`Outbox::claim`] returned, a reply is said and its question
//! done when [`Outbox::commit`] returned; both are one transaction.

mod lock;

use crate::ids::{Address, ChannelType, MessageId, OutId, PlatformId, ThreadId};
use crate::message::{AckStatus, NewOut, OutKind, OutRow};
use crate::pulse::Tool;
use crate::time::{self, Timestamp};
use crate::{Error, OUTBOUND_SQL, Step as _};
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

const BUSY: Duration = Duration::from_secs(5);
/// Longest content of one outbound message.
pub const CONTENT_BYTES_MAX: usize = 4 << 20;
/// Most content that one look takes in.
const LOOK_BYTES_MAX: usize = 16 << 20;
/// Most tables and indexes in the schema.
const SCHEMA_MAX: usize = 100;
/// Most finished claims that one look reads.
pub const ACKS_MAX: i64 = 10_000;
/// Longest time one look at a box's database may take.
pub const LOOK_MAX: Duration = Duration::from_secs(2);

/// Creates the file with its schema: whole, or not at all.
pub fn create(path: &Path) -> Result<(), Error> {
    let draft = path.with_extension("draft");
    for old in [path.with_extension("draft-journal"), draft.clone()] {
        match std::fs::remove_file(&old) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(format!("remove {}", old.display()), e));
            }
            _ => {}
        }
    }
    let conn = Connection::open(&draft).step("create outbound.db")?;
    conn.execute_batch(&format!("BEGIN;\n{OUTBOUND_SQL}\nCOMMIT;")).step("create outbound.db")?;
    drop(conn);
    std::fs::rename(&draft, path).map_err(|e| Error::io("create outbound.db", e))
}

/// The runner's hand on the outbox: the only writer.
#[derive(Debug)]
pub struct Outbox {
    conn: Connection,
}

/// What one commit does, all or nothing.
#[derive(Debug, Default)]
pub struct Commit<'a> {
    /// Messages to say. A known id is left alone.
    pub say: &'a [NewOut],
    /// Inbound rows whose turn ended.
    pub ack: &'a [(MessageId, AckStatus)],
    /// The highest number seen in the inbox; new numbers go above it.
    pub seq_floor: i64,
    /// What to remember under which key, or to forget.
    pub state: &'a [(&'a str, Option<String>)],
}

impl Outbox {
    /// Opens the file, repairing what a killed runner left, and drops its claims.
    pub fn open(path: &Path, now: Timestamp) -> Result<Self, Error> {
        let conn = Connection::open(path).step("open outbound.db")?;
        conn.busy_timeout(BUSY).step("set busy timeout")?;
        crate::keep_journal(&conn)?;
        conn.execute_batch(OUTBOUND_SQL).step("create outbound.db")?;
        if !columns(&conn, "session_state")?.contains("updated_at") {
            conn.execute_batch(
                "ALTER TABLE session_state ADD COLUMN updated_at TEXT NOT NULL DEFAULT ''",
            )
            .step("upgrade session_state")?;
        }
        conn.execute("DELETE FROM processing_ack WHERE status = 'processing'", [])
            .step("drop old claims")?;
        conn.execute(
            "UPDATE container_state SET current_tool = NULL, tool_declared_timeout_ms = NULL, tool_started_at = NULL, updated_at = ?1",
            [time::iso(now)],
        )
        .step("clear tool state")?;
        Ok(Self { conn })
    }

    /// Marks rows as being worked on.
    pub fn claim(&mut self, ids: &[MessageId], now: Timestamp) -> Result<(), Error> {
        let acks: Vec<_> = ids.iter().map(|id| (id.clone(), AckStatus::Processing)).collect();
        self.commit(&Commit { ack: &acks, ..Commit::default() }, now).map(|_| ())
    }

    /// Says messages and ends claims in one transaction; returns the number of each message.
    pub fn commit(&mut self, commit: &Commit<'_>, now: Timestamp) -> Result<Vec<i64>, Error> {
        let tx = self
            .conn
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .step("begin commit")?;
        let mut seqs = Vec::with_capacity(commit.say.len());
        for out in commit.say {
            let known = tx
                .prepare_cached("SELECT seq FROM messages_out WHERE id = ?1")
                .step("look up message")?
                .query_row([&out.id], |r| r.get::<_, Option<i64>>(0))
                .optional()
                .step("look up message")?;
            if let Some(seq) = known {
                seqs.push(seq.unwrap_or(0));
                continue;
            }
            let max: i64 = tx
                .prepare_cached("SELECT COALESCE(MAX(seq), 0) FROM messages_out")
                .step("read seq")?
                .query_row([], |r| r.get(0))
                .step("read seq")?;
            let max = max.max(commit.seq_floor);
            let seq = if max % 2 == 0 { max + 1 } else { max + 2 };
            let to = out.to.as_ref();
            tx.prepare_cached(
                "INSERT INTO messages_out (id, seq, in_reply_to, timestamp, kind, platform_id, channel_type, thread_id, content)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )
            .step("say")?
            .execute(params![
                out.id,
                seq,
                out.in_reply_to,
                time::sqlite(now),
                out.kind,
                to.map(|a| &a.platform_id),
                to.map(|a| &a.channel_type),
                to.and_then(|a| a.thread_id.as_ref()),
                out.content,
            ])
            .step("say")?;
            seqs.push(seq);
        }
        for (id, status) in commit.ack {
            tx.prepare_cached("INSERT OR REPLACE INTO processing_ack (message_id, status, status_changed) VALUES (?1, ?2, ?3)")
                .step("acknowledge")?
                .execute(params![id, status, time::sqlite(now)])
                .step("acknowledge")?;
        }
        for (key, value) in commit.state {
            remember(&tx, key, value.as_deref(), now)?;
        }
        tx.commit().step("commit")?;
        Ok(seqs)
    }

    /// Every row this session ever claimed or finished and did not forget yet.
    pub fn acks(&self) -> Result<BTreeSet<MessageId>, Error> {
        let mut query =
            self.conn.prepare("SELECT message_id FROM processing_ack").step("read acks")?;
        let ids = query.query_map([], |r| r.get(0)).step("read acks")?;
        ids.collect::<rusqlite::Result<_>>().step("read acks")
    }

    /// Forgets finished rows that the host has settled.
    pub fn forget(&mut self, ids: &BTreeSet<MessageId>) -> Result<(), Error> {
        if ids.is_empty() {
            return Ok(());
        }
        let tx = self.conn.transaction().step("begin forget")?;
        for id in ids {
            tx.prepare_cached(
                "DELETE FROM processing_ack WHERE message_id = ?1 AND status <> 'processing'",
            )
            .step("forget")?
            .execute([id])
            .step("forget")?;
        }
        tx.commit().step("commit forget")
    }

    /// Gives claims back: their turn never consumed them.
    pub fn release(&mut self, ids: &[MessageId]) -> Result<(), Error> {
        for id in ids {
            self.conn
                .execute(
                    "DELETE FROM processing_ack WHERE message_id = ?1 AND status = 'processing'",
                    [id],
                )
                .step("release")?;
        }
        Ok(())
    }

    /// What was remembered under this key.
    pub fn state(&self, key: &str) -> Result<Option<String>, Error> {
        self.conn
            .query_row("SELECT value FROM session_state WHERE key = ?1", [key], |r| r.get(0))
            .optional()
            .step("read state")
    }

    /// Remembers a value, or forgets it with `None`.
    pub fn set_state(&self, key: &str, value: Option<&str>, now: Timestamp) -> Result<(), Error> {
        remember(&self.conn, key, value, now)
    }

    /// Tells a v2 host which tool is running.
    pub fn set_tool(&self, tool: Option<(&str, Option<i64>)>, now: Timestamp) -> Result<(), Error> {
        let (name, timeout) = tool.unzip();
        self.conn
            .execute(
                "INSERT INTO container_state (id, current_tool, tool_declared_timeout_ms, tool_started_at, updated_at)
                 VALUES (1, ?1, ?2, CASE WHEN ?1 IS NULL THEN NULL ELSE ?3 END, ?3)
                 ON CONFLICT (id) DO UPDATE SET current_tool = excluded.current_tool,
                   tool_declared_timeout_ms = excluded.tool_declared_timeout_ms,
                   tool_started_at = excluded.tool_started_at, updated_at = excluded.updated_at",
                params![name, timeout.flatten(), time::iso(now)],
            )
            .step("write tool state")
            .map(|_| ())
    }

    /// The outbound message with this number, for edits and reactions.
    pub fn by_seq(&self, seq: i64) -> Result<Option<OutRow>, Error> {
        self.conn
            .prepare_cached(&format!("{SELECT_OUT} WHERE seq = ?1"))
            .step("read message")?
            .query_row([seq], |r| out_row(r).map(|(_, row)| row))
            .optional()
            .step("read message")
    }
}

fn remember(
    conn: &Connection,
    key: &str,
    value: Option<&str>,
    now: Timestamp,
) -> Result<(), Error> {
    match value {
        Some(value) => conn.execute(
            "INSERT OR REPLACE INTO session_state (key, value, updated_at) VALUES (?1, ?2, ?3)",
            params![key, value, time::iso(now)],
        ),
        None => conn.execute("DELETE FROM session_state WHERE key = ?1", [key]),
    }
    .step("write state")
    .map(|_| ())
}

const SELECT_OUT: &str = "SELECT rowid, id, COALESCE(seq, 0), in_reply_to, kind, channel_type, platform_id, thread_id, content, deliver_after FROM messages_out";

fn out_row(r: &rusqlite::Row<'_>) -> rusqlite::Result<(i64, OutRow)> {
    let text = |i: usize| r.get::<_, Option<String>>(i);
    let to = match (
        text(5)?.and_then(|t| ChannelType::parse(t).ok()),
        text(6)?.and_then(|t| PlatformId::parse(t).ok()),
    ) {
        (Some(channel_type), Some(platform_id)) => {
            let thread_id = text(7)?.and_then(|t| ThreadId::parse(t).ok());
            Some(Address { channel_type, platform_id, thread_id })
        }
        _ => None,
    };
    Ok((
        r.get(0)?,
        OutRow {
            id: r.get(1)?,
            seq: r.get(2)?,
            in_reply_to: text(3)?.and_then(|t| MessageId::parse(t).ok()),
            kind: r.get::<_, OutKind>(4)?,
            to,
            content: r.get(8)?,
        },
    ))
}

/// The host's eye on a box's outbox. Read-only, limited, and suspicious.
///
/// SQLite gets to see the one file and nothing beside it: no journal, no WAL, no shared memory, all of
/// which a box could have planted. That is its mode for files that do not change, made true by taking
/// SQLite's own lock against writers here ([`lock`]) and by opening the file anew when it changed.
#[derive(Debug)]
pub struct OutboxReader {
    file: lock::BoxFile,
    view: RefCell<Option<View>>,
}

/// The database as it was at one moment.
#[derive(Debug)]
struct View {
    conn: Connection,
    as_of: lock::Stamp,
}

/// One outbound row and where it stands in the file.
#[derive(Debug, Clone)]
pub struct Found {
    /// Grows with every row; the cursor to go on from.
    pub rowid: i64,
    /// The row, or why it is no message of ours.
    pub row: Result<OutRow, BadRow>,
    /// Not before this time.
    pub deliver_after: Option<Timestamp>,
}

/// A row that breaks the contract.
#[derive(Debug, Clone)]
pub struct BadRow {
    /// Its id, if it has one.
    pub id: Option<OutId>,
    /// What is wrong.
    pub why: String,
}

impl OutboxReader {
    /// Opens the file of a box. Refuses anything that is not exactly our schema.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let reader = Self { file: lock::BoxFile::open(path)?, view: RefCell::new(None) };
        reader.guarded(|_| Ok(()))?;
        Ok(reader)
    }

    /// Fails when the file at the path is no longer the one that was opened.
    pub fn check_in_place(&self) -> Result<(), Error> {
        self.file.check_in_place()
    }

    /// Rows behind `cursor`, oldest first.
    pub fn rows_after(&self, cursor: i64, limit: usize) -> Result<Vec<Found>, Error> {
        self.guarded(|conn| {
            let mut query = conn
                .prepare_cached(&format!("{SELECT_OUT} WHERE rowid > ?1 ORDER BY rowid LIMIT ?2"))
                .step("read outbound rows")?;
            let mut rows = query
                .query(params![cursor, i64::try_from(limit).unwrap_or(i64::MAX)])
                .step("read outbound rows")?;
            let (mut out, mut bytes) = (Vec::new(), 0);
            while let Some(r) = rows.next().step("read outbound rows")? {
                let rowid = r.get(0).step("read outbound rows")?;
                let bad = |why: String| BadRow { id: r.get(1).ok(), why };
                let length = content_bytes(r);
                let row = match length {
                    0..=CONTENT_BYTES_MAX => {
                        out_row(r).map(|(_, row)| row).map_err(|e| bad(e.to_string()))
                    }
                    more => Err(bad(format!(
                        "its content has {more} bytes, more than {CONTENT_BYTES_MAX}"
                    ))),
                };
                let deliver_after =
                    r.get::<_, Option<String>>(9).ok().flatten().and_then(|t| time::parse(&t));
                out.push(Found { rowid, row, deliver_after });
                bytes += length.min(CONTENT_BYTES_MAX);
                if bytes > LOOK_BYTES_MAX {
                    break;
                }
            }
            Ok(out)
        })
    }

    /// Claims that ended, the newest [`ACKS_MAX`] of them. There is no cursor: a row that is replaced can get
    /// the number of one that was deleted. A v2 runner has a word of its own for a task whose script failed.
    pub fn finished(&self) -> Result<Vec<(MessageId, AckStatus)>, Error> {
        self.guarded(|conn| {
            let mut query = conn
                .prepare_cached(
                    "SELECT message_id, iif(status = 'script-skip:error', 'failed', status) FROM processing_ack
                     WHERE status IN ('completed', 'failed', 'script-skip:error') ORDER BY rowid DESC LIMIT ?1",
                )
                .step("read acks")?;
            let mut rows = query.query([ACKS_MAX]).step("read acks")?;
            let mut done = Vec::new();
            while let Some(r) = rows.next().step("read acks")? {
                if let (Ok(id), Ok(status)) = (r.get(0), r.get(1)) {
                    done.push((id, status));
                }
            }
            Ok(done)
        })
    }

    /// Rows that are being worked on, and since when.
    pub fn claims(&self) -> Result<BTreeMap<MessageId, Option<Timestamp>>, Error> {
        self.guarded(|conn| {
            let mut query = conn
                .prepare_cached("SELECT message_id, status_changed FROM processing_ack WHERE status = 'processing' LIMIT 10000")
                .step("read claims")?;
            let mut rows = query.query([]).step("read claims")?;
            let mut out = BTreeMap::new();
            while let Some(r) = rows.next().step("read claims")? {
                if let (Ok(id), Ok(at)) = (r.get(0), r.get::<_, String>(1)) {
                    out.insert(id, time::parse(&at));
                }
            }
            Ok(out)
        })
    }

    /// The tool that a v2 runner says is running; our own says it in its pulse.
    pub fn tool(&self) -> Result<Option<Tool>, Error> {
        self.guarded(|conn| {
            if columns(conn, "container_state")?.is_empty() {
                return Ok(None);
            }
            conn.prepare_cached("SELECT current_tool, tool_declared_timeout_ms, tool_started_at FROM container_state WHERE id = 1")
                .step("read the tool")?
                .query_row([], |r| {
                    // What a box writes is taken as it is or not at all.
                    let (Ok(name), Ok(started)) = (r.get::<_, String>(0), r.get::<_, String>(2)) else { return Ok(None) };
                    let started = time::parse(&started);
                    let timeout_ms = r.get(1).unwrap_or(None);
                    Ok(started.map(|at| Tool { id: String::new(), name, started_ms: at.as_millisecond(), timeout_ms }))
                })
                .optional()
                .step("read the tool")
                .map(Option::flatten)
        })
    }

    /// The largest row number, which is how many rows there were.
    pub fn last_row(&self) -> Result<i64, Error> {
        self.guarded(|conn| {
            conn.query_row("SELECT COALESCE(MAX(rowid), 0) FROM messages_out", [], |r| r.get(0))
                .step("read the last row")
        })
    }

    /// Runs a read while nobody writes, with a deadline; a box cannot make the host compute without end.
    fn guarded<T>(&self, read: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        let (_held, as_of) = self.file.hold()?;
        let mut view = self.view.borrow_mut();
        if view.as_ref().is_none_or(|v| v.as_of != as_of) {
            *view = None;
            let conn = connect(self.file.path()).map_err(explain)?;
            timed(&conn, check_schema)?;
            *view = Some(View { conn, as_of });
        }
        match &*view {
            Some(view) => timed(&view.conn, read),
            None => Err(Error::Busy("outbound.db")),
        }
    }
}

fn timed<T>(
    conn: &Connection,
    read: impl FnOnce(&Connection) -> Result<T, Error>,
) -> Result<T, Error> {
    let started = Instant::now();
    conn.progress_handler(1000, Some(move || started.elapsed() > LOOK_MAX)).step("set deadline")?;
    let result = read(conn);
    conn.progress_handler(0, None::<fn() -> bool>).step("clear deadline")?;
    result.map_err(explain)
}

/// Length of a row's content, without copying it.
fn content_bytes(r: &rusqlite::Row<'_>) -> usize {
    match r.get_ref(8) {
        Ok(rusqlite::types::ValueRef::Text(b) | rusqlite::types::ValueRef::Blob(b)) => b.len(),
        _ => 0,
    }
}

/// Opens the database as a file that does not change while it is looked at, with nothing beside it.
fn connect(path: &Path) -> Result<Connection, Error> {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' => uri.push(char::from(*byte)),
            b if b.is_ascii_alphanumeric() => uri.push(char::from(*b)),
            b => uri.push_str(&format!("%{b:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let conn = Connection::open_with_flags(uri, flags).step("open outbound.db")?;
    for (config, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
    ] {
        conn.set_db_config(config, on).step("harden outbound.db")?;
    }
    let length = i32::try_from(CONTENT_BYTES_MAX * 2).unwrap_or(i32::MAX);
    for (limit, value) in [
        (Limit::SQLITE_LIMIT_LENGTH, length),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, 64 << 10),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
    ] {
        conn.set_limit(limit, value).step("limit outbound.db")?;
    }
    conn.pragma_update(None, "mmap_size", 0).step("set mmap size")?;
    conn.pragma_update(None, "cell_size_check", true).step("set cell check")?;
    Ok(conn)
}

/// Sorts SQLite's word by what the host does next: try again, or quarantine. What the system could not do
/// is worth another try; everything else that fails is the fault of the file.
fn explain(e: Error) -> Error {
    use rusqlite::ErrorCode as Code;
    let Error::Sqlite { what, source } = e else { return e };
    match source.sqlite_error_code() {
        Some(Code::NotADatabase | Code::DatabaseCorrupt) => {
            Error::Refused(format!("outbound.db is damaged: {source}"))
        }
        Some(Code::OperationInterrupted) => {
            Error::Refused("outbound.db took too long to read".into())
        }
        Some(Code::TooBig) => Error::Refused("outbound.db holds a value beyond every limit".into()),
        Some(Code::OutOfMemory | Code::SystemIoFailure | Code::CannotOpen) => {
            Error::Sqlite { what, source }
        }
        _ => Error::Refused(format!("outbound.db cannot be read: {source}")),
    }
}

/// Our tables must be there with their columns; indexes and further plain tables, which v2's runners have of
/// their own and nobody here reads, may come along, views and triggers may not.
fn check_schema(conn: &Connection) -> Result<(), Error> {
    let mut query = conn
        .prepare("SELECT m.type, m.name, l.type, l.wr FROM sqlite_master m LEFT JOIN pragma_table_list l ON l.schema = 'main' AND l.name = m.name LIMIT 101")
        .step("read the schema of outbound.db")?;
    let mut rows = query.query([]).step("read the schema of outbound.db")?;
    let (mut tables, mut things) = (BTreeSet::new(), 0);
    while let Some(r) = rows.next().step("read the schema of outbound.db")? {
        let (kind, name): (String, String) =
            (r.get(0).step("read the schema")?, r.get(1).step("read the schema")?);
        things += 1;
        if things > SCHEMA_MAX {
            return Err(Error::Refused(format!("outbound.db holds more than {SCHEMA_MAX} things")));
        }
        match kind.as_str() {
            "table" => {
                let (is, without_rowid): (String, bool) =
                    (r.get(2).step("read the schema")?, r.get(3).step("read the schema")?);
                if is != "table" || without_rowid {
                    return Err(Error::Refused(format!("outbound.db: {name:?} is no plain table")));
                }
                tables.insert(name);
            }
            "index" => {}
            _ => return Err(Error::Refused(format!("outbound.db holds a {kind} named {name:?}"))),
        }
    }
    for (table, columns) in schema() {
        let optional = matches!(table, "session_state" | "container_state");
        if !tables.contains(table) {
            if optional {
                continue;
            }
            return Err(Error::Refused(format!("outbound.db has no table {table}")));
        }
        let have = crate::outbox::columns(conn, table)?;
        if let Some(missing) = columns.iter().find(|c| !have.contains(**c)) {
            return Err(Error::Refused(format!("outbound.db: {table} has no column {missing}")));
        }
    }
    Ok(())
}

fn columns(conn: &Connection, table: &str) -> Result<BTreeSet<String>, Error> {
    let mut query = conn.prepare("SELECT name FROM pragma_table_info(?1)").step("read columns")?;
    let names = query.query_map([table], |r| r.get(0)).step("read columns")?;
    names.collect::<rusqlite::Result<_>>().step("read columns")
}

fn schema() -> [(&'static str, &'static [&'static str]); 4] {
    [
        (
            "messages_out",
            &[
                "id",
                "seq",
                "in_reply_to",
                "timestamp",
                "deliver_after",
                "recurrence",
                "kind",
                "platform_id",
                "channel_type",
                "thread_id",
                "content",
            ],
        ),
        ("processing_ack", &["message_id", "status", "status_changed"]),
        ("session_state", &["key", "value"]),
        (
            "container_state",
            &["id", "current_tool", "tool_declared_timeout_ms", "tool_started_at", "updated_at"],
        ),
    ]
}
