//! The outbox: the runner's numbers and claims, and what the host makes of a hostile file.

use super::{answer, at, ids};
use crate::Error;
use crate::ids::{MessageId, OutId};
use crate::message::{AckStatus, NewOut};
use crate::outbox::{self, CONTENT_BYTES_MAX, Commit, Outbox, OutboxReader};
use proptest::prelude::*;
use std::path::{Path, PathBuf};

fn made() -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("outbound.db");
    outbox::create(&path).unwrap();
    (temp, path)
}

fn sql(path: &Path, sql: &str) {
    rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

fn say(outbox: &mut Outbox, id: &str, seq_floor: i64) -> i64 {
    let say = [answer(id)];
    outbox.commit(&Commit { say: &say, seq_floor, ..Commit::default() }, at(0)).unwrap()[0]
}

fn refused(path: &Path) -> String {
    match OutboxReader::open(path) {
        Err(Error::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn the_runners_numbers_are_odd_and_above_both_sides() {
    let (_temp, path) = made();
    let mut outbox = Outbox::open(&path, at(0)).unwrap();
    let seqs = [
        say(&mut outbox, "a", 2),
        say(&mut outbox, "b", 2),
        say(&mut outbox, "c", 40),
        say(&mut outbox, "d", 0),
    ];
    assert_eq!(seqs, [3, 5, 41, 43]);
    assert_eq!(say(&mut outbox, "b", 100), 5, "a known id is left alone");
    assert_eq!(outbox.by_seq(41).unwrap().unwrap().id, OutId::parse("c").unwrap());
}

#[test]
fn one_commit_is_all_or_nothing() {
    let (_temp, path) = made();
    let mut outbox = Outbox::open(&path, at(0)).unwrap();
    let say = [answer("a")];
    let ack: Vec<_> = ids(&["m"]).into_iter().map(|id| (id, AckStatus::Completed)).collect();
    sql(
        &path,
        "CREATE TRIGGER no BEFORE INSERT ON processing_ack BEGIN SELECT RAISE(ABORT, 'no'); END",
    );
    let commit = Commit { say: &say, ack: &ack, state: &[("k", Some("v".into()))], seq_floor: 2 };
    assert!(outbox.commit(&commit, at(0)).is_err());
    sql(&path, "DROP TRIGGER no");
    assert_eq!(OutboxReader::open(&path).unwrap().last_row().unwrap(), 0);
    outbox.commit(&commit, at(0)).unwrap();
    assert_eq!(outbox.state("k").unwrap().as_deref(), Some("v"));
    let reader = OutboxReader::open(&path).unwrap();
    assert_eq!((reader.last_row().unwrap(), reader.finished().unwrap().len()), (1, 1));
}

#[test]
fn a_new_runner_drops_claims_and_keeps_what_was_finished() {
    let (_temp, path) = made();
    let mut outbox = Outbox::open(&path, at(0)).unwrap();
    outbox.claim(&ids(&["a", "b"]), at(0)).unwrap();
    outbox.set_tool(Some(("Bash", Some(5_000))), at(0)).unwrap();
    let done = [(MessageId::parse("a").unwrap(), AckStatus::Completed)];
    outbox.commit(&Commit { ack: &done, ..Commit::default() }, at(1)).unwrap();
    let reader = OutboxReader::open(&path).unwrap();
    assert_eq!(reader.claims().unwrap().into_keys().collect::<Vec<_>>(), ids(&["b"]));
    let tool = reader.tool().unwrap().unwrap();
    assert_eq!((tool.name.as_str(), tool.timeout_ms), ("Bash", Some(5_000)));
    assert_eq!(tool.started_ms, at(0).as_millisecond());
    drop(outbox);
    let again = Outbox::open(&path, at(2)).unwrap();
    assert_eq!(again.acks().unwrap().into_iter().collect::<Vec<_>>(), ids(&["a"]));
    assert!(reader.claims().unwrap().is_empty());
    assert_eq!(reader.tool().unwrap(), None);
}

#[test]
fn old_and_sparse_files_of_v2_are_read() {
    let (_temp, path) = made();
    sql(
        &path,
        "DROP TABLE session_state; DROP TABLE container_state; CREATE INDEX i ON messages_out(kind)",
    );
    let reader = OutboxReader::open(&path).unwrap();
    assert_eq!(reader.tool().unwrap(), None);
    sql(&path, "CREATE TABLE session_state (key TEXT PRIMARY KEY, value TEXT NOT NULL)");
    Outbox::open(&path, at(0)).unwrap().set_state("continuation:x", Some("s"), at(0)).unwrap();
    assert!(OutboxReader::open(&path).is_ok());
}

#[test]
fn what_newer_runners_of_v2_add_is_no_harm() {
    let (_temp, path) = made();
    sql(
        &path,
        "CREATE TABLE token_usage_log (id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TEXT NOT NULL);
         CREATE INDEX idx_token_usage_log_timestamp ON token_usage_log(timestamp);
         INSERT INTO token_usage_log (timestamp) VALUES ('2026-01-01T00:00:00.000Z');
         ALTER TABLE processing_ack ADD COLUMN note TEXT;
         INSERT INTO processing_ack (message_id, status, status_changed) VALUES
           ('a', 'script-skip:error', '2026-01-01T00:00:00.000Z'), ('b', 'paused', ''),
           ('c', 'processing', '2026-01-01T00:00:00.000Z')",
    );
    let reader = OutboxReader::open(&path).unwrap();
    let id = |text: &str| MessageId::parse(text).unwrap();
    assert_eq!(reader.finished().unwrap(), [(id("a"), AckStatus::Failed)]);
    let since = "2026-01-01T00:00:00Z".parse().ok();
    assert_eq!(reader.claims().unwrap().into_iter().collect::<Vec<_>>(), [(id("c"), since)]);
}

#[test]
fn nonsense_about_the_tool_is_no_tool() {
    let (_temp, path) = made();
    let reader = OutboxReader::open(&path).unwrap();
    for row in
        ["'Bash', 'soon', 'yesterday'", "NULL, 5, '2026-01-01T00:00:00Z'", "x'ff', NULL, NULL"]
    {
        sql(&path, &format!("INSERT OR REPLACE INTO container_state VALUES (1, {row}, '')"));
        assert_eq!(reader.tool().unwrap(), None, "{row}");
    }
}

#[test]
fn a_schema_that_is_not_ours_is_refused() {
    for (change, why) in [
        ("CREATE VIEW v AS SELECT 1", "a view"),
        ("CREATE TRIGGER t AFTER INSERT ON messages_out BEGIN SELECT 1; END", "a trigger"),
        ("CREATE VIRTUAL TABLE mine USING fts5(x)", "no plain table"),
        ("DROP TABLE messages_out", "no table messages_out"),
        ("DROP TABLE processing_ack", "no table processing_ack"),
        ("ALTER TABLE messages_out DROP COLUMN content", "no column content"),
        ("DROP TABLE messages_out; CREATE VIEW messages_out AS SELECT 1 AS id", "a view"),
        (
            "DROP TABLE session_state; CREATE VIRTUAL TABLE session_state USING fts5(key, value)",
            "no plain table",
        ),
        (
            "DROP TABLE session_state; CREATE TABLE session_state (key TEXT PRIMARY KEY, value) WITHOUT ROWID",
            "no plain table",
        ),
        ("PRAGMA journal_mode = WAL", "another journal mode"),
    ] {
        let (_temp, path) = made();
        sql(&path, change);
        let refused = refused(&path);
        assert!(refused.contains(why), "{change}: {refused}");
    }
    let (_temp, path) = made();
    (0..200).for_each(|n| sql(&path, &format!("CREATE INDEX i{n} ON messages_out(kind)")));
    assert!(refused(&path).contains("more than 100"));
}

#[test]
fn a_file_that_is_none_is_refused_and_never_waited_for() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("outbound.db");
    let fresh = || drop(std::fs::remove_file(&path));

    std::fs::write(&path, "garbage ".repeat(1000)).unwrap();
    assert!(refused(&path).contains("not a database"));
    fresh();
    std::fs::write(&path, "").unwrap();
    assert!(refused(&path).contains("not a database"));
    fresh();
    let other = temp.path().join("other.db");
    outbox::create(&other).unwrap();
    std::os::unix::fs::symlink(&other, &path).unwrap();
    assert!(refused(&path).contains("symbolic link"));
    fresh();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(refused(&path).contains("pipe"));
    fresh();
    std::fs::create_dir(&path).unwrap();
    assert!(refused(&path).contains("folder"));
    std::fs::remove_dir(&path).unwrap();
    std::fs::File::create(&path).unwrap().set_len(10 << 30).unwrap();
    assert!(refused(&path).contains("more than"));
}

#[test]
fn a_file_swapped_under_the_reader_is_noticed() {
    let (temp, path) = made();
    let reader = OutboxReader::open(&path).unwrap();
    let other = temp.path().join("other.db");
    outbox::create(&other).unwrap();
    std::fs::rename(&other, &path).unwrap();
    assert!(matches!(reader.rows_after(0, 10), Err(Error::Refused(_))));
}

#[test]
fn a_damaged_page_is_refused() {
    let (_temp, path) = made();
    let mut outbox = Outbox::open(&path, at(0)).unwrap();
    for n in 0..200 {
        say(&mut outbox, &format!("m{n}"), 0);
    }
    drop(outbox);
    let mut bytes = std::fs::read(&path).unwrap();
    let keep = 4096 * 2;
    bytes.iter_mut().skip(keep).for_each(|b| *b = 0xa5);
    std::fs::write(&path, bytes).unwrap();
    let read = OutboxReader::open(&path).and_then(|r| r.rows_after(0, 500));
    assert!(matches!(read, Err(Error::Refused(_))), "{read:?}");
}

#[test]
fn a_row_that_is_too_big_or_broken_hides_no_other() {
    let (_temp, path) = made();
    let mut outbox = Outbox::open(&path, at(0)).unwrap();
    let big = NewOut { content: "x".repeat(CONTENT_BYTES_MAX + 1), ..answer("big") };
    outbox.commit(&Commit { say: &[big], ..Commit::default() }, at(0)).unwrap();
    say(&mut outbox, "good", 0);
    sql(
        &path,
        "INSERT INTO messages_out (id, timestamp, kind, content) VALUES ('shout', '', 'shout', '{}'), (x'00', '', 'chat', '{}'), ('', '', 'chat', '{}'), ('blob', '', 'chat', x'ff')",
    );
    let found = OutboxReader::open(&path).unwrap().rows_after(0, 10).unwrap();
    let good: Vec<_> = found.iter().map(|f| f.row.is_ok()).collect();
    assert_eq!(good, [false, true, false, false, false, false]);
    let why = &found[0].row.as_ref().unwrap_err();
    assert!(why.why.contains("more than"), "{}", why.why);
    assert_eq!(why.id, Some(OutId::parse("big").unwrap()));
}

#[test]
fn the_cursor_goes_on_from_where_it_was() {
    let (_temp, path) = made();
    let mut outbox = Outbox::open(&path, at(0)).unwrap();
    for id in ["a", "b", "c"] {
        say(&mut outbox, id, 0);
    }
    let reader = OutboxReader::open(&path).unwrap();
    let first = reader.rows_after(0, 2).unwrap();
    let rest = reader.rows_after(first[1].rowid, 10).unwrap();
    assert_eq!((first.len(), rest.len()), (2, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn numbers_are_odd_and_above_whatever_the_inbox_has(floors in prop::collection::vec(0i64..1_000, 1..20)) {
        let (_temp, path) = made();
        let mut outbox = Outbox::open(&path, at(0)).unwrap();
        let mut last = 0;
        for (n, floor) in floors.iter().enumerate() {
            let seq = say(&mut outbox, &format!("m{n}"), *floor);
            prop_assert!(seq % 2 == 1 && seq > last && seq > *floor);
            last = seq;
        }
    }

    #[test]
    fn no_bytes_in_the_file_make_it_panic_or_hang(at_byte in 0usize..12_288, value in any::<u8>(), len in 1usize..64) {
        let (_temp, path) = made();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.iter_mut().skip(at_byte).take(len).for_each(|b| *b = value);
        std::fs::write(&path, bytes).unwrap();
        if let Ok(reader) = OutboxReader::open(&path) {
            for result in [reader.rows_after(0, 10).map(drop), reader.finished().map(drop), reader.claims().map(drop), reader.tool().map(drop)] {
                prop_assert!(!matches!(result, Err(Error::Sqlite { .. })), "{result:?}");
            }
        }
    }
}
