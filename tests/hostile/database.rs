//! What a box can make of its `outbound.db`.

use super::load::{GOOD, undisturbed};
use super::{Bad, Ward, fifo};
use anyhow::ensure;
use rusqlite::Connection;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// One way to be hostile, and the reason that is given for the quarantine.
struct Kind {
    name: &'static str,
    attack: fn(&Ward, &Bad) -> anyhow::Result<()>,
    reason: &'static str,
}

fn kind(
    name: &'static str,
    attack: fn(&Ward, &Bad) -> anyhow::Result<()>,
    reason: &'static str,
) -> Kind {
    Kind { name, attack, reason }
}

/// Each of them ends in quarantine.
fn kinds() -> Vec<Kind> {
    vec![
        kind(
            "garbage",
            |_, bad| bad.replace("outbound.db", |p| std::fs::write(p, [0xa5; 8192])),
            "outbound.db",
        ),
        kind("scribbled", |_, bad| scribble(bad), "not a database"),
        kind(
            "symlink",
            |w, bad| bad.replace("outbound.db", |p| symlink(&w.secret(), p)),
            "a symbolic link",
        ),
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
        kind(
            "pipejournal",
            |_, bad| Ok(fifo(&journal_place(bad)?)?),
            "outbound.db-journal is a pipe",
        ),
        kind(
            "linkjournal",
            |w, bad| Ok(symlink(&w.secret(), &journal_place(bad)?)?),
            "outbound.db-journal is a symbolic link",
        ),
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

/// Where the journal lay.
fn journal_place(bad: &Bad) -> std::io::Result<std::path::PathBuf> {
    let journal = bad.path("outbound.db-journal");
    std::fs::remove_file(&journal)?;
    Ok(journal)
}

/// Works on the database as the box itself could.
fn sql(bad: &Bad, text: &str) -> anyhow::Result<()> {
    let conn = Connection::open(bad.path("outbound.db"))?;
    conn.busy_timeout(super::SOON)?;
    conn.execute_batch("PRAGMA legacy_alter_table = ON")?;
    // In one piece: the host would judge half of it.
    Ok(conn.execute_batch(&format!("BEGIN; {text} COMMIT;"))?)
}

fn wal(bad: &Bad) -> anyhow::Result<()> {
    let conn = Connection::open(bad.path("outbound.db"))?;
    conn.busy_timeout(super::SOON)?;
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |r| r.get(0))?;
    ensure!(mode == "wal", "the mode stayed {mode}");
    Ok(conn.execute_batch("CREATE TABLE x (y)")?)
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

/// Makes the host look: a commit in the box, and somebody who writes.
fn poke(ward: &Ward, bad: &Bad) -> anyhow::Result<()> {
    let journal = bad.path("outbound.db-journal");
    if journal.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
        std::fs::File::options().append(true).open(&journal)?.write_all(b" ")?;
    }
    ward.rig.platform.dm(&bad.name, "echo are you there");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_outbox_is_put_in_quarantine() -> anyhow::Result<()> {
    let kinds = kinds();
    let names: Vec<_> = kinds.iter().map(|k| k.name).collect();
    let (mut ward, bad) = Ward::new("database", GOOD, &names).await?;
    let mut rounds = 0;
    let attack = async |_| {
        rounds += 1;
        for (kind, bad) in kinds.iter().zip(&bad) {
            (kind.attack)(&ward, bad)?;
            poke(&ward, bad)?;
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
    for bad in &bad {
        let texts = ward.rig.platform.texts(&bad.name);
        let said = texts.iter().filter(|t| t.contains("I am off for safety")).count();
        ensure!(said == rounds, "{} was told so {said} times, not {rounds}: {texts:?}", bad.name);
    }
    ward.is_unharmed()?;
    ward.rig.stop().await
}

/// A journal that makes whoever plays it delete the file that it names.
fn journal(super_journal: &Path, pages: u32) -> Vec<u8> {
    let name = super_journal.as_os_str().as_bytes();
    let sum: u32 = name.iter().map(|b| u32::from(*b)).sum();
    let length = u32::try_from(name.len()).unwrap_or(0);
    let mut journal = vec![0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    for number in [0, 0x1234, pages, 512, 4096] {
        journal.extend(u32::to_be_bytes(number));
    }
    journal.resize(512, 0);
    // The page that holds SQLite's locks never holds data: in a journal its number marks the name.
    journal.extend((0x4000_0000_u32 / 4096 + 1).to_be_bytes());
    journal.extend(name);
    journal.extend(length.to_be_bytes());
    journal.extend(sum.to_be_bytes());
    journal.extend([0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]);
    journal
}

#[tokio::test]
async fn a_planted_journal_is_played_in_the_box_only() -> anyhow::Result<()> {
    let (mut ward, bad) = Ward::new("journal", 0, &["journal"]).await?;
    let bad = &bad[0];
    for running in [true, false] {
        if !running {
            ward.stops(bad).await?;
        }
        let pages = u32::try_from(std::fs::metadata(bad.path("outbound.db"))?.len() / 4096)?;
        std::fs::write(bad.path("outbound.db-journal"), journal(&ward.secret(), pages))?;
        bad.own("outbound.db-journal")?;
        ward.answers(&bad.name, "after the journal").await?;
        ward.is_unharmed()?;
    }
    ward.rig.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_messages_are_cut_off() -> anyhow::Result<()> {
    let (mut ward, bad) = Ward::new("endless", GOOD, &["endless"]).await?;
    let attack = async |round| {
        let mut conn = Connection::open(bad[0].path("outbound.db"))?;
        conn.busy_timeout(super::SOON)?;
        let tx = conn.transaction()?;
        for n in 0..30_000 {
            tx.prepare_cached(
                "INSERT INTO messages_out (id, timestamp, kind, platform_id, channel_type, content)
                 VALUES (?1, '2026-01-01 00:00:00', 'chat', 'endless', 'fake', '{\"text\": \"spam\"}')",
            )?
            .execute([format!("spam-{round}-{n}")])?;
        }
        Ok(tx.commit()?)
    };
    let calm = async || {
        ward.is_quarantined(&bad[0], "messages that nobody asked for").await?;
        ward.clear(&bad[0]).await
    };
    undisturbed(&ward, "endless", attack, calm).await?;
    let spam = ward.rig.platform.texts("endless").iter().filter(|t| *t == "spam").count();
    ensure!(spam < 1000, "{spam} were sent");
    ward.is_unharmed()?;
    ward.rig.stop().await
}

/// A lock that never ends keeps the host out; it does not keep it busy.
#[tokio::test]
async fn an_outbox_that_stays_locked_is_put_in_quarantine() -> anyhow::Result<()> {
    let (mut ward, bad) = Ward::new("locked", 1, &["locked"]).await?;
    let conn = Connection::open(bad[0].path("outbound.db"))?;
    conn.busy_timeout(super::SOON)?;
    conn.execute_batch("BEGIN EXCLUSIVE")?;
    poke(&ward, &bad[0])?;
    ward.answers("good0", "meanwhile").await?;
    ward.is_quarantined(&bad[0], "is busy, for more than 30 s").await?;
    drop(conn);
    ward.clear(&bad[0]).await?;
    ward.is_unharmed()?;
    ward.rig.stop().await
}
