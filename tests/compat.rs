//! Both ways of the drop-in promise: v2's data and v2's runner under our host, our runner under v2's host.

mod install;
mod v2_host;
mod v2_runner;

use anyhow::Context as _;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

/// A file of this folder.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compat").join(name)
}

fn open(path: &Path) -> anyhow::Result<Connection> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .with_context(|| path.display().to_string())?;
    conn.busy_timeout(Duration::from_secs(10))?;
    Ok(conn)
}

/// Every row that a query finds in the file.
fn rows(path: &Path, sql: &str) -> anyhow::Result<Vec<Vec<Value>>> {
    let conn = open(path)?;
    let mut query = conn.prepare(sql)?;
    let columns = query.column_count();
    let found = query.query_map([], |r| (0..columns).map(|i| r.get(i)).collect())?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// A number that a query finds in the file.
fn number(path: &Path, sql: &str) -> anyhow::Result<i64> {
    Ok(open(path)?.query_row(sql, [], |r| r.get(0))?)
}

/// A text that a query finds in the file.
fn text(path: &Path, sql: &str) -> anyhow::Result<String> {
    Ok(open(path)?.query_row(sql, [], |r| r.get(0))?)
}
