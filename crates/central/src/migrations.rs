//! Brings the file up to date.
//!
//! A migration is a file in `sql/`, applied once by name in a transaction of its own and written into v2's
//! ledger, `schema_version`. Files are only ever added. A fresh database gets v2's final schema in one step,
//! with the names of v2's own thirteen migrations, so that v2 takes it for its own.

use crate::{Error, Result};
use nanoclaw_contract::time::{Timestamp, iso};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use std::collections::BTreeSet;

/// What v2 writes into its ledger, in its order.
const V2: [&str; 13] = [
    "initial-v2-schema",
    "chat-sdk-state",
    "pending-approvals",
    "agent-destinations",
    "pending-approvals-title-options",
    "dropped-messages",
    "drop-pending-credentials",
    "engage-modes",
    "pending-sender-approvals",
    "channel-registration",
    "approval-render-metadata",
    "container-configs",
    "cli-scope",
];

const PREFIX: &str = "nanoclaw-rs-";
/// Ours, in order.
const OURS: &[(&str, &str)] = &[
    ("nanoclaw-rs-host-state", include_str!("sql/0002_host_state.sql")),
    ("nanoclaw-rs-team", include_str!("sql/0004_team.sql")),
    ("nanoclaw-rs-approvals", include_str!("sql/0003_approvals.sql")),
    ("nanoclaw-rs-tasks", include_str!("sql/0005_tasks.sql")),
    ("nanoclaw-rs-boxes", include_str!("sql/0007_boxes.sql")),
    ("nanoclaw-rs-questions", include_str!("sql/0008_questions.sql")),
    ("nanoclaw-rs-channels", include_str!("sql/0010_channels.sql")),
    ("nanoclaw-rs-previews", include_str!("sql/0011_previews.sql")),
];

/// Applies what is missing.
pub(crate) fn run(conn: &mut Connection, now: Timestamp) -> Result<()> {
    step(conn, |tx, applied| {
        let missing: Vec<_> = V2.into_iter().filter(|n| !applied.contains(*n)).collect();
        if missing.len() == V2.len() {
            tx.execute_batch(include_str!("sql/0001_v2.sql"))?;
            return V2.into_iter().try_for_each(|name| record(tx, name, now));
        }
        if let Some(first) = missing.first() {
            return Err(Error::Unusable(format!(
                "it is from a NanoClaw older than v2.0.64 (migration {first:?} is missing); \
                 let NanoClaw v2.0.64 start once on it, then try again"
            )));
        }
        let newer = applied
            .iter()
            .find(|n| n.starts_with(PREFIX) && OURS.iter().all(|(ours, _)| ours != n));
        newer.map_or(Ok(()), |name| {
            Err(Error::Unusable(format!(
                "a newer version wrote it (migration {name:?}); install that version"
            )))
        })
    })?;
    for (name, sql) in OURS {
        step(conn, |tx, applied| {
            if applied.contains(*name) {
                return Ok(());
            }
            tx.execute_batch(sql)?;
            record(tx, name, now)
        })?;
    }
    Ok(())
}

/// One transaction. The ledger is read inside it: another process may migrate at the same moment.
fn step(
    conn: &mut Connection,
    act: impl FnOnce(&Transaction<'_>, &BTreeSet<String>) -> Result<()>,
) -> Result<()> {
    let all = || -> Result<()> {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(
            "CREATE TABLE IF NOT EXISTS schema_version (
               version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied TEXT NOT NULL);
             CREATE UNIQUE INDEX IF NOT EXISTS idx_schema_version_name ON schema_version(name);",
        )?;
        let applied = tx
            .prepare("SELECT name FROM schema_version")?
            .query_map([], |r| r.get(0))?
            .collect::<rusqlite::Result<BTreeSet<String>>>()?;
        act(&tx, &applied)?;
        Ok(tx.commit()?)
    };
    all().map_err(|e| e.named("migrate the central database"))
}

fn record(tx: &Transaction<'_>, name: &str, now: Timestamp) -> Result<()> {
    tx.execute(
        "INSERT INTO schema_version (version, name, applied)
         SELECT COALESCE(MAX(version), 0) + 1, ?1, ?2 FROM schema_version",
        params![name, iso(now)],
    )?;
    Ok(())
}
