//! What SQLite sees of our types, in one place.
//!
//! The feature `sqlite` is the only one of the core: a program may hold one SQLite, and a channel whose library
//! brings another one is built without ours. What it shares with the host then is ids, words and time.

use crate::Error;

/// Makes a type with `as_str` a text in SQLite, read by `$parse`.
#[macro_export]
macro_rules! sql_text {
    ($name:ident, $parse:expr) => {
        impl rusqlite::ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
                Ok(self.as_str().into())
            }
        }

        impl rusqlite::types::FromSql for $name {
            fn column_result(
                value: rusqlite::types::ValueRef<'_>,
            ) -> rusqlite::types::FromSqlResult<Self> {
                ($parse)(value.as_str()?).map_err(rusqlite::types::FromSqlError::other)
            }
        }
    };
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
pub(crate) fn keep_journal(conn: &rusqlite::Connection) -> Result<(), Error> {
    conn.query_row("PRAGMA journal_mode = PERSIST", [], |_| Ok(())).step("set journal mode")?;
    let limit = format!("PRAGMA journal_size_limit = {JOURNAL_BYTES_MAX}");
    conn.query_row(&limit, [], |_| Ok(())).step("limit the journal")
}
