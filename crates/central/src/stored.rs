//! Structs that say themselves where in the database each of their fields lies.

use crate::at_ms;
use nanoclaw_contract::ids::{Address, ThreadId};
use nanoclaw_contract::time::Timestamp;
use rusqlite::Row;
use rusqlite::types::{FromSql, Type};
use serde::de::DeserializeOwned;

/// What is read from one row.
pub(crate) trait Stored: Sized {
    /// Its table.
    const TABLE: &'static str;
    /// Its columns, in order.
    const COLUMNS: &'static str;

    /// The whole of it.
    fn read(row: &Row<'_>) -> rusqlite::Result<Self>;
}

/// The query for what the rest of it finds.
pub(crate) fn select<T: Stored>(rest: &str) -> String {
    format!("SELECT {} FROM {} {rest}", T::COLUMNS, T::TABLE)
}

/// Makes a struct, stored in the table behind `=`. So is each field in the column behind its own `=`, or in
/// the one of its name; what follows `=>` reads it.
macro_rules! stored {
    ($(#[$meta:meta])* $name:ident = $table:literal {
        $($(#[$doc:meta])* $field:ident: $type:ty $(= $sql:literal)? $(=> $read:expr)?,)*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl crate::stored::Stored for $name {
            const TABLE: &'static str = $table;
            const COLUMNS: &'static str =
                concat!($(stored!(@column $field $($sql)?), ", ",)* "0");

            fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
                let mut columns = 0..;
                let mut next = || columns.next().unwrap_or(0);
                Ok(Self { $($field: stored!(@read row, next() $(, $read)?)?,)* })
            }
        }
    };
    (@column $field:ident) => { stringify!($field) };
    (@column $field:ident $sql:literal) => { $sql };
    (@read $row:ident, $n:expr) => { $row.get($n) };
    (@read $row:ident, $n:expr, $read:expr) => { $read($row, $n) };
}

/// Milliseconds.
pub(crate) fn at(row: &Row<'_>, n: usize) -> rusqlite::Result<Timestamp> {
    row.get(n).map(at_ms)
}

/// Milliseconds, or never.
pub(crate) fn maybe_at(row: &Row<'_>, n: usize) -> rusqlite::Result<Option<Timestamp>> {
    row.get(n).map(|ms: Option<i64>| ms.map(at_ms))
}

pub(crate) fn json<T: DeserializeOwned>(row: &Row<'_>, n: usize) -> rusqlite::Result<T> {
    serde_json::from_str(&row.get::<_, String>(n)?)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(n, Type::Text, Box::new(e)))
}

/// An unusable text from an older install counts as absent.
pub(crate) fn lenient<T: FromSql>(row: &Row<'_>, n: usize) -> rusqlite::Result<Option<T>> {
    Ok(row.get::<_, Option<T>>(n).unwrap_or(None))
}

/// Three columns, the last ones: channel, chat, and thread.
pub(crate) fn address(row: &Row<'_>, n: usize) -> rusqlite::Result<Address> {
    let (channel_type, platform_id) = (row.get(n)?, row.get(n + 1)?);
    Ok(Address { channel_type, platform_id, thread_id: lenient::<ThreadId>(row, n + 2)? })
}

/// The same where there may be none.
pub(crate) fn maybe_address(row: &Row<'_>, n: usize) -> rusqlite::Result<Option<Address>> {
    let there: Option<String> = row.get(n + 1)?;
    there.map(|_| address(row, n)).transpose()
}
