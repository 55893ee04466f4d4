//! The central database, `data/v2.db`: people, agents, chats, wirings, sessions and what the host must
//! not forget.
//!
//! One file per noun holds its SQL, its types and its rules. v2's tables keep their names and columns, so
//! that an install moves forth and back; ours are new tables beside them. Every method is synchronous and
//! short, and one durable fact is one transaction. Nothing here reads a session's files, talks to a
//! platform or decides anything. Read next: `sessions.rs`, `wirings.rs`, `deliveries.rs`.

#[macro_use]
mod stored;

mod agents;
mod approvals;
mod changes;
mod chats;
mod deliveries;
mod destinations;
mod drops;
mod identities;
mod mail;
mod migrations;
mod pairings;
mod people;
mod previews;
mod questions;
mod removal;
mod sessions;
mod state;
mod strangers;
mod tasks;
mod team;
mod trace;
mod wirings;

pub use agents::{Agent, AgentConfig, CliScope, FOLDER_BYTES_MAX, is_folder_name};
pub use approvals::{Approval, ApprovalStatus, Card, NewApproval, Opened, Vote, Voted};
pub use changes::{AgentLimits, AgentTools, BoxParts, Build};
pub use chats::{Chat, ChatKind, UnknownSenderPolicy};
pub use deliveries::{Delivery, DeliveryState, Ended};
pub use destinations::{DestinationRow, DestinationTarget, destination_name};
pub use drops::{DropRow, Dropped};
pub use mail::{Mail, NewMail};
pub use pairings::Pairing;
pub use people::{DmRow, MemberRow, Role, RoleRow, User};
pub use previews::Previewed;
pub use questions::{OpenQuestion, QUESTIONS_PER_SESSION_MAX, question_id};
pub use removal::Removed;
pub use sessions::{ContainerStatus, Session, SessionFilter};
pub use state::{BoxRow, WakeFailure, wake_backoff};
pub use strangers::{HELD_MAX, Hold};
pub use tasks::{TaskEntry, TaskFilter};
pub use trace::{TraceIds, TraceRow};
pub use wirings::{EngageMode, IgnoredPolicy, SenderScope, SessionMode, Wiring};

use crate::stored::{Stored, select};
use nanoclaw_contract::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Params, Row, Transaction, TransactionBehavior};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const BUSY: Duration = Duration::from_secs(5);
/// More than there are statements here, so that none is ever prepared twice.
const STATEMENTS: usize = 256;
/// Longest error or name from outside that is kept.
const TEXT_BYTES_MAX: usize = 2000;

/// Why the central database did not do it, by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process holds the file; the same call may work later.
    #[error("could not {0}: the central database is busy, try again")]
    Busy(&'static str),
    /// The request breaks a rule; the text says which. Asking again changes nothing.
    #[error("{0}")]
    Refused(String),
    /// The file is not one that this version can use; the text says what to do.
    #[error("the central database cannot be used: {0}")]
    Unusable(String),
    /// SQLite failed.
    #[error("could not {what}: {source}")]
    Sqlite {
        /// What was tried.
        what: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

impl Error {
    fn of(what: &'static str, source: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{ConstraintViolation, DatabaseBusy, DatabaseLocked};
        match source.sqlite_error_code() {
            Some(DatabaseBusy | DatabaseLocked) => Self::Busy(what),
            Some(ConstraintViolation) => Self::Refused(format!("could not {what}: {source}")),
            _ => Self::Sqlite { what, source },
        }
    }

    /// Puts a name to an error that came through `?` inside a transaction.
    fn named(self, what: &'static str) -> Self {
        match self {
            Self::Sqlite { what: "", source } => Self::of(what, source),
            other => other,
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(source: rusqlite::Error) -> Self {
        Self::Sqlite { what: "", source }
    }
}

/// What a call comes to.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A row that cannot be understood. It is left alone and its neighbours work on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{table} row {id:?} cannot be used: {why}")]
pub struct BrokenRow {
    /// Its table.
    pub table: &'static str,
    /// Its first column, as far as it can be shown.
    pub id: String,
    /// What is wrong with it.
    pub why: String,
}

/// The open database.
#[derive(Debug)]
pub struct Central {
    conn: Mutex<Connection>,
}

impl Central {
    /// Opens the file, making it or bringing it up to date.
    pub fn open(path: &Path, now: Timestamp) -> Result<Self> {
        Self::prepare(Connection::open(path).map_err(|e| Error::of("open", e))?, now)
    }

    /// A database that lives as long as the value; for tests and dry runs.
    pub fn open_in_memory(now: Timestamp) -> Result<Self> {
        Self::prepare(Connection::open_in_memory().map_err(|e| Error::of("open", e))?, now)
    }

    fn prepare(mut conn: Connection, now: Timestamp) -> Result<Self> {
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        let set = || -> rusqlite::Result<()> {
            conn.busy_timeout(BUSY)?;
            conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
            conn.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON")
        };
        set().map_err(|e| Error::of("set up the central database", e))?;
        migrations::run(&mut conn, now)?;
        Ok(Self { conn: Mutex::new(conn) })
    }

    /// A call that panicked rolled its transaction back, so the connection is still good.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.conn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes rows; says how many.
    fn run(&self, what: &'static str, sql: &str, params: impl Params) -> Result<usize> {
        let conn = self.lock();
        let done = conn.prepare_cached(sql).and_then(|mut s| s.execute(params));
        done.map_err(|e| Error::of(what, e))
    }

    /// Reads the first row, if there is one.
    fn one<T>(
        &self,
        what: &'static str,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        one(&self.lock(), sql, params, read).map_err(|e| Error::of(what, e))
    }

    /// Whether there is any row.
    fn any(&self, what: &'static str, sql: &str, params: impl Params) -> Result<bool> {
        Ok(self.one(what, sql, params, |_| Ok(()))?.is_some())
    }

    /// The first that the rest of the query finds.
    fn get<T: Stored>(&self, rest: &str, params: impl Params) -> Result<Option<T>> {
        get(&self.lock(), rest, params).map_err(|e| Error::of(table_reading(T::TABLE), e))
    }

    /// Everything that the rest of the query finds, as far as it can be understood;
    /// [`Central::broken_rows`] lists the others.
    fn all<T: Stored>(&self, rest: &str, params: impl Params) -> Result<Vec<T>> {
        Ok(self.each(rest, params)?.into_iter().flatten().collect())
    }

    /// The same, telling apart those that cannot be understood.
    fn each<T: Stored>(
        &self,
        rest: &str,
        params: impl Params,
    ) -> Result<Vec<Result<T, BrokenRow>>> {
        self.rows(T::TABLE, &select::<T>(rest), params, T::read)
    }

    /// Reads every row of `table`, telling apart those that cannot be understood.
    fn rows<T>(
        &self,
        table: &'static str,
        sql: &str,
        params: impl Params,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<Result<T, BrokenRow>>> {
        let conn = self.lock();
        let all = || -> rusqlite::Result<_> {
            let mut query = conn.prepare_cached(sql)?;
            let mut rows = query.query(params)?;
            let mut out = Vec::new();
            while let Some(row) = rows.next()? {
                out.push(match read(row) {
                    Ok(it) => Ok(it),
                    Err(e) if is_of_the_row(&e) => Err(broken(table, row, &e)),
                    Err(e) => return Err(e),
                });
            }
            Ok(out)
        };
        all().map_err(|e| Error::of(table_reading(table), e))
    }

    /// Reads the rows that can be understood.
    fn list<T>(
        &self,
        table: &'static str,
        sql: &str,
        params: impl Params,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        Ok(self.rows(table, sql, params, read)?.into_iter().flatten().collect())
    }

    /// Does all of it or nothing.
    fn tx<T>(
        &self,
        what: &'static str,
        act: impl FnOnce(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut conn = self.lock();
        let all = || -> Result<T> {
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let out = act(&tx)?;
            tx.commit()?;
            Ok(out)
        };
        all().map_err(|e| e.named(what))
    }

    /// Rows that no list shows because they cannot be understood; for the doctor.
    pub fn broken_rows(&self) -> Result<Vec<BrokenRow>> {
        let mut all = self.broken::<Agent>("ORDER BY name, id")?;
        all.extend(self.broken::<Chat>("ORDER BY created_at, id")?);
        all.extend(self.wirings()?.into_iter().filter_map(Result::err));
        all.extend(self.broken::<Session>("ORDER BY created_at, id")?);
        all.extend(self.destination_rows()?.into_iter().filter_map(Result::err));
        all.extend(self.broken::<Approval>("")?);
        Ok(all)
    }

    fn broken<T: Stored>(&self, rest: &str) -> Result<Vec<BrokenRow>> {
        Ok(self.each::<T>(rest, [])?.into_iter().filter_map(Result::err).collect())
    }
}

/// Reads the first row of a cached statement.
fn one<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    conn.prepare_cached(sql)?.query_row(params, read).optional()
}

/// The first that the rest of the query finds.
fn get<T: Stored>(
    conn: &Connection,
    rest: &str,
    params: impl Params,
) -> rusqlite::Result<Option<T>> {
    one(conn, &select::<T>(rest), params, T::read)
}

fn is_of_the_row(e: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
    matches!(e, FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..))
}

fn broken(table: &'static str, row: &Row<'_>, e: &rusqlite::Error) -> BrokenRow {
    let id = row.get_ref(0).ok().and_then(|v| v.as_str().ok().map(|t| clip(t, 100)));
    BrokenRow { table, id: id.unwrap_or_default(), why: e.to_string() }
}

/// The step's name for an error, without building text at run time.
fn table_reading(table: &'static str) -> &'static str {
    match table {
        "agent_groups" => "read the agents",
        "messaging_groups" => "read the chats",
        "messaging_group_agents" => "read the wirings",
        "sessions" => "read the sessions",
        "deliveries" => "read the deliveries",
        "trace" => "read the trace",
        "mail" => "read the lines of the host",
        "pending_approvals" => "read the requests",
        _ => "read the central database",
    }
}

/// Keeps the beginning of a text from outside.
fn clip(text: &str, bytes: usize) -> String {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// Milliseconds in a column as a time; what no calendar holds is the nearest end of it.
fn at_ms(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

#[cfg(test)]
mod tests;
