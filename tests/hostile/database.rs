//! What a box can make of its `outbound.db`.

use super::load::{GOOD, undisturbed};
use super::{Bad, Ward, fifo};
use anyhow::ensure;
use rusqlite::Connection;
use std::path::Path;

/// One way to be hostile, and the reason that is given for the quarantine.
struct Kind {
    name: &'static str,
    attack: fn(&Ward, &Bad) -> anyhow::Result<()>,
    reason: &'static str,
}

fn kind(name: &'static str, attack: fn(&Ward, &Bad) -> anyhow::Result<()>, reason: &'static str) -> Kind {
    Kind { name, attack, reason }
}

/// Each of them ends in quarantine.
fn kinds() -> Vec<Kind> {
    vec![
        kind("garbage", |_, bad| bad.replace("outbound.db", |p| std::fs::write(p, [0xa5; 8192])), "replaced"),
        kind("scribbled", |_, bad| scribble(bad), "not a database"),
        kind("symlink", |w, bad| bad.replace("outbound.db", |p| symlink(&w.secret(), p)), "a symbolic link"),
        kind("fifo", |_, bad| bad.replace("outbound.db", fifo), "a pipe"),
        kind("folder", |_, bad| folder(bad), "a folder"),
        kind("gone", |_, bad| Ok(std::fs::remove_file(bad.path("outbound.db"))?), "outbound.db"),
        kind("sparse", |_, bad| sparse(bad), "10737418240 bytes"),
        kind("view", |_, bad| sql(bad, VIEW), "a view"),
        kind("trigger", |_, bad| sql(bad, TRIGGER), "a trigger"),
        kind("virtual", |_, bad| sql(bad, VIRTUAL), "outbound.db"),
        kind("many", |_, bad| sql(bad, &many_tables()), "more than 100 things"),
        kind("hugerow", |_, bad| sql(bad, HUGE_ROW), "beyond every limit"),
        kind("wal", |_, bad| wal(bad), "journal mode"),
        kind("pipejournal", |_, bad| Ok(fifo(&bad.path("outbound.db-journal"))?), "outbound.db-journal is a pipe"),
        kind("linkjournal", |w, bad| Ok(symlink(&w.secret(), &bad.path("outbound.db-journal"))?), "outbound.db-journal is a symbolic link"),
    ]
}

const VIEW: &str = "ALTER TABLE messages_out RENAME TO old;
    CREATE VIEW messages_out AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
      SELECT i AS rowid, 'x' || i AS id, i AS seq, NULL AS in_reply_to, '' AS timestamp, NULL AS deliver_after,
             NULL AS recurrence, 'chat' AS kind, '' AS platform_id, '' AS channel_type, NULL AS thread_id,
             '{}' AS content FROM n;";
const TRIGGER: &str = "CREATE TRIGGER t AFTER INSERT ON messages_out BEGIN
    INSERT INTO messages_out SELECT * FROM messages_out; END;";
const VIRTUAL: &str = "DROP TABLE messages_out; CREATE VIRTUAL TABLE messages_out USING fts5(id, seq, in_reply_to, timestamp,
    deliver_after, recurrence, kind, platform_id, channel_type, thread_id, content);";
const HUGE_ROW: &str = "INSERT INTO messages_out (id, seq, timestamp, kind, content)
    VALUES ('huge', 1000001, '2026-01-01 00:00:00', 'chat', CAST(zeroblob(104857600) AS TEXT));";

fn many_tables() -> String {
    (0..200).map(|n| format!("CREATE INDEX i{n} ON messages_out (id, seq);")).collect()
}

fn symlink(to: &Path, at: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(to, at)
}

/// Works on the database as the box itself could.
fn sql(bad: &Bad, text: &str) -> anyhow::Result<()> {
    let conn = Connection::open(bad.path("outbound.db"))?;
    conn.busy_timeout(super::SOON)?;
    conn.execute_batch("PRAGMA legacy_alter_table = ON")?;
    Ok(conn.execute_batch(text)?)
}

fn wal(bad: &Bad) -> anyhow::Result<()> {
    let conn = Connection::open(bad.path("outbound.db"))?;
    conn.busy_timeout(super::SOON)?;
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |r| r.get(0))?;
    ensure!(mode == "wal", "the mode stayed {mode}");
    conn.execute_batch("CREATE TABLE x (y)")?;
    // What tells the host to look.
    std::fs::write(bad.path("outbound.db-journal"), "")?;
    Ok(std::fs::remove_file(bad.path("outbound.db-journal"))?)
}

/// The same file, with other bytes.
fn scribble(bad: &Bad) -> anyhow::Result<()> {
    let file = std::fs::File::options().write(true).open(bad.path("outbound.db"))?;
    Ok(std::os::unix::fs::FileExt::write_all_at(&file, &[0xa5; 4096], 0)?)
}

fn folder(bad: &Bad) -> anyhow::Result<()> {
    std::fs::remove_file(bad.path("outbound.db"))?;
    Ok(std::fs::create_dir(bad.path("outbound.db"))?)
}

fn sparse(bad: &Bad) -> anyhow::Result<()> {
    Ok(std::fs::File::options().write(true).open(bad.path("outbound.db"))?.set_len(10 << 30)?)
}

/// Makes the host look, as any commit in the box does.
fn poke(bad: &Bad) {
    let journal = bad.path("outbound.db-journal");
    if journal.symlink_metadata().is_err() {
        std::fs::write(&journal, "x").ok();
        std::fs::remove_file(&journal).ok();
    } else {
        // Hard links count as writes to the folder, not to the file; a rename away and back does.
        bad.dir.writable().join("x");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_outbox_is_put_in_quarantine() -> anyhow::Result<()> {
    let kinds = kinds();
    let names: Vec<_> = kinds.iter().map(|k| k.name).collect();
    let (mut ward, bad) = Ward::new("database", GOOD, &names).await?;
    let attack = async |_| {
        for (kind, bad) in kinds.iter().zip(&bad) {
            (kind.attack)(&ward, bad)?;
            poke(bad);
        }
        Ok(())
    };
    let calm = async || {
        for (kind, bad) in kinds.iter().zip(&bad) {
            ward.is_quarantined(bad, kind.reason).await?;
            ward.clear(bad).await?;
        }
        Ok(())
    };
    undisturbed(&ward, "database", attack, calm).await?;
    ward.is_unharmed()?;
    ward.rig.stop().await
}
