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
#[cfg(feature = "sqlite")]
pub mod inbox;
pub mod message;
#[cfg(feature = "sqlite")]
pub mod outbox;
pub mod preview;
pub mod pulse;
pub mod recur;
#[cfg(feature = "sqlite")]
mod sqlite;
pub mod time;

/// `inbound.db` as SQL.
pub const INBOUND_SQL: &str = include_str!("sql/inbound.sql");
/// `outbound.db` as SQL.
pub const OUTBOUND_SQL: &str = include_str!("sql/outbound.sql");

/// Without SQLite a type is only itself.
#[cfg(not(feature = "sqlite"))]
#[macro_export]
macro_rules! sql_text {
    ($name:ident, $parse:expr) => {};
}

/// What can go wrong with a session's files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQLite said no.
    #[cfg(feature = "sqlite")]
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

#[cfg(feature = "sqlite")]
pub(crate) use sqlite::{Step, keep_journal};

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests;
