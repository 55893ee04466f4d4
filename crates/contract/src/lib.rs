//! What host and box agree on: ids, rows, the two databases and the session directory.
//!
//! Two files carry everything. `inbound.db` has one writer, the host; `outbound.db` has one writer,
//! the runner in the box. Both use a rollback journal, never WAL, so that they can be read through
//! read-only mounts and on file systems without shared memory. The schemas are NanoClaw v2's;
//! additions are new tables, columns and indexes only.
//!
//! Nothing here knows a network, a platform or an async runtime. Read next: [`dir`] for the layout,
//! [`inbox`] and [`outbox`] for the durable points.

pub mod content;
pub mod dir;
pub mod fault;
pub mod ids;
pub mod inbox;
pub mod message;
pub mod outbox;
pub mod pulse;
pub mod recur;
pub mod time;

/// `inbound.db` as SQL.
pub const INBOUND_SQL: &str = include_str!("sql/inbound.sql");
/// `outbound.db` as SQL.
pub const OUTBOUND_SQL: &str = include_str!("sql/outbound.sql");

/// What can go wrong with a session's files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQLite said no.
    #[error("{what}: {source}")]
    Sqlite {
        /// What was tried.
        what: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file system said no.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process holds the file; the same call may work later.
    #[error("{0} is busy")]
    Busy(&'static str),
    /// The runner was killed inside a commit; the next box repairs the file.
    #[error("outbound.db was left inside a commit")]
    Unrecovered,
    /// The content breaks the contract; it must not be used.
    #[error("{0}")]
    Refused(String),
}

impl Error {
    pub(crate) fn io(what: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::Io { what: what.into(), source: source.into() }
    }
}

/// Turns a SQLite result into ours, naming the step.
pub(crate) trait Step<T> {
    fn step(self, what: &'static str) -> Result<T, Error>;
}

impl<T> Step<T> for rusqlite::Result<T> {
    fn step(self, what: &'static str) -> Result<T, Error> {
        self.map_err(|source| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
                Error::Busy(what)
            }
            _ => Error::Sqlite { what, source },
        })
    }
}

/// What a journal may keep of the disk between commits.
const JOURNAL_BYTES_MAX: u32 = 1 << 20;

/// Keeps the journal's file between commits. To every reader the same as deleting it, and a commit waits for
/// the disk four times instead of six.
fn keep_journal(conn: &rusqlite::Connection) -> Result<(), Error> {
    conn.query_row("PRAGMA journal_mode = PERSIST", [], |_| Ok(())).step("set journal mode")?;
    let limit = format!("PRAGMA journal_size_limit = {JOURNAL_BYTES_MAX}");
    conn.query_row(&limit, [], |_| Ok(())).step("limit the journal")
}

#[cfg(test)]
mod tests;
