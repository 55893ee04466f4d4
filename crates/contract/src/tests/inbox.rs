//! The inbox: numbers, duplicates, what is due, what ended, and files of older versions.

use super::{at, ids, message};
use crate::ids::{MessageId, OutId, PlatformMessageId};
use crate::inbox::{Due, Inbox, InboxReader, Look, Pushed, Settled};
use crate::message::{AckStatus, DeliveredStatus, InStatus, NewIn, Trigger};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

struct Made {
    _temp: tempfile::TempDir,
    path: PathBuf,
    inbox: Inbox,
}

fn made() -> Made {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("inbound.db");
    Made { inbox: Inbox::open(&path).unwrap(), path, _temp: temp }
}

impl Made {
    fn sql(&self, sql: &str) {
        rusqlite::Connection::open(&self.path).unwrap().execute_batch(sql).unwrap();
    }

    fn seqs(&self) -> Vec<i64> {
        let conn = rusqlite::Connection::open(&self.path).unwrap();
        let mut query = conn.prepare("SELECT seq FROM messages_in ORDER BY rowid").unwrap();
        query.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect()
    }

    fn status(&self, id: &str) -> InStatus {
        self.inbox.get(&MessageId::parse(id).unwrap()).unwrap().unwrap().1
    }
}

fn settled(id: &str, status: DeliveredStatus) -> Settled {
    let platform_id = Some(PlatformMessageId::parse(format!("p-{id}")).unwrap());
    Settled { id: OutId::parse(id).unwrap(), status, platform_id }
}

#[test]
fn the_hosts_numbers_are_even_and_grow() {
    let mut made = made();
    made.inbox.push(&[message("a"), message("b")]).unwrap();
    made.inbox.push(&[message("c")]).unwrap();
    assert_eq!(made.seqs(), [2, 4, 6]);
}

#[test]
fn a_number_after_an_odd_one_is_the_next_even() {
    // An import may have brought any number.
    let mut made = made();
    made.inbox.push(&[message("a")]).unwrap();
    made.sql("UPDATE messages_in SET seq = 7");
    made.inbox.push(&[message("b")]).unwrap();
    assert_eq!(made.seqs(), [7, 8]);
}

#[test]
fn a_known_id_is_left_alone_and_costs_no_number() {
    let mut made = made();
    made.inbox.push(&[message("a")]).unwrap();
    let changed = NewIn { content: "other".into(), ..message("a") };
    let pushed = made.inbox.push(&[changed, message("b"), message("b")]).unwrap();
    assert_eq!(pushed, [Pushed::Duplicate, Pushed::New, Pushed::Duplicate]);
    assert_eq!(made.seqs(), [2, 4]);
    let (row, _) = made.inbox.get(&MessageId::parse("a").unwrap()).unwrap().unwrap();
    assert_eq!(row.content, message("a").content);
}

#[test]
fn settling_twice_is_settling_once() {
    let mut made = made();
    made.inbox.push(&[message("a"), message("b"), message("c")]).unwrap();
    let acks: Vec<_> = ids(&["a", "b", "c", "never was"])
        .into_iter()
        .zip([AckStatus::Completed, AckStatus::Failed, AckStatus::Processing, AckStatus::Completed])
        .collect();
    let done = [settled("o1", DeliveredStatus::Delivered)];
    assert_eq!(made.inbox.settle(&done, &acks, at(1), "UTC").unwrap().rows, ids(&["a", "b"]));
    // Later, a different story about the same message changes nothing.
    let other = [settled("o1", DeliveredStatus::Failed)];
    assert_eq!(made.inbox.settle(&other, &acks, at(2), "UTC").unwrap().rows, []);
    let first = made.inbox.settled(&OutId::parse("o1").unwrap()).unwrap().unwrap();
    assert_eq!(first.status, DeliveredStatus::Delivered);
    let standing = [made.status("a"), made.status("b"), made.status("c")];
    assert_eq!(standing, [InStatus::Completed, InStatus::Failed, InStatus::Pending]);
    let reader = InboxReader::open(&made.path).unwrap();
    let known = reader.platform_message_id(&OutId::parse("o1").unwrap()).unwrap();
    assert_eq!(known, Some(PlatformMessageId::parse("p-o1").unwrap()));
}

#[test]
fn only_a_failure_can_be_taken_back() {
    let mut made = made();
    let done =
        [settled("good", DeliveredStatus::Delivered), settled("bad", DeliveredStatus::Failed)];
    made.inbox.settle(&done, &[], at(0), "UTC").unwrap();
    for id in ["good", "bad"] {
        made.inbox.unsettle(&OutId::parse(id).unwrap()).unwrap();
    }
    assert!(made.inbox.settled(&OutId::parse("good").unwrap()).unwrap().is_some());
    assert!(made.inbox.settled(&OutId::parse("bad").unwrap()).unwrap().is_none());
}

#[test]
fn due_is_the_earliest_wake_of_all() {
    let mut made = made();
    assert_eq!(made.inbox.due(at(0), Duration::ZERO).unwrap(), Due::Never);
    let later = |id, s| NewIn { process_after: Some(at(s)), ..message(id) };
    let context = NewIn { trigger: Trigger::Context, ..message("context") };
    made.inbox.push(&[later("late", 90), later("soon", 30), context]).unwrap();
    assert_eq!(made.inbox.due(at(0), Duration::ZERO).unwrap(), Due::At(at(30)));
    assert_eq!(made.inbox.due(at(30), Duration::ZERO).unwrap(), Due::Now);
    made.inbox
        .settle(&[], &[(MessageId::parse("soon").unwrap(), AckStatus::Completed)], at(30), "UTC")
        .unwrap();
    assert_eq!(made.inbox.due(at(30), Duration::ZERO).unwrap(), Due::At(at(90)));
    let reader = InboxReader::open(&made.path).unwrap();
    assert_eq!(reader.next_due(at(30)).unwrap(), Some(at(90)));
}

#[test]
fn a_box_is_early_for_what_is_planned_and_not_for_what_failed() {
    let mut made = made();
    let lead = Duration::from_secs(1);
    let planned = NewIn { process_after: Some(at(30)), ..message("planned") };
    made.inbox.push(&[message("failed"), planned]).unwrap();
    made.inbox.retry(&MessageId::parse("failed").unwrap(), at(5)).unwrap();
    assert_eq!(made.inbox.due(at(4), lead).unwrap(), Due::At(at(5)));
    let gone = [(MessageId::parse("failed").unwrap(), AckStatus::Failed)];
    made.inbox.settle(&[], &gone, at(5), "UTC").unwrap();
    assert_eq!(made.inbox.due(at(5), lead).unwrap(), Due::At(at(29)));
    assert_eq!(made.inbox.due(at(29), lead).unwrap(), Due::Now);
}

#[test]
fn an_unreadable_time_hides_nothing() {
    let mut made = made();
    made.inbox.push(&[message("a")]).unwrap();
    for text in ["tomorrow", "", "32.13.2026"] {
        made.sql(&format!("UPDATE messages_in SET process_after = '{text}'"));
        assert_eq!(made.inbox.due(at(0), Duration::ZERO).unwrap(), Due::Now, "{text:?}");
        let reader = InboxReader::open(&made.path).unwrap();
        let pending = reader.pending(Look::First, &BTreeSet::new(), 10, at(0)).unwrap();
        assert_eq!(pending.len(), 1, "host and runner disagree about {text:?}");
    }
}

#[test]
fn both_forms_of_time_are_due_at_the_same_moment() {
    let mut made = made();
    made.inbox.push(&[message("a")]).unwrap();
    for text in [crate::time::iso(at(60)), crate::time::sqlite(at(60))] {
        made.sql(&format!("UPDATE messages_in SET process_after = '{text}'"));
        assert_eq!(made.inbox.due(at(59), Duration::ZERO).unwrap(), Due::At(at(60)));
        assert_eq!(made.inbox.due(at(60), Duration::ZERO).unwrap(), Due::Now);
    }
}

#[test]
fn a_row_that_breaks_the_contract_hides_no_other() {
    let mut made = made();
    made.inbox.push(&[message("a"), message("b")]).unwrap();
    made.sql("UPDATE messages_in SET kind = 'telegram' WHERE id = 'a'");
    let reader = InboxReader::open(&made.path).unwrap();
    let pending = reader.pending(Look::First, &BTreeSet::new(), 10, at(0)).unwrap();
    assert_eq!(pending.into_iter().map(|r| r.id).collect::<Vec<_>>(), ids(&["b"]));
}

#[test]
fn rows_for_a_fresh_box_are_for_its_first_look_alone() {
    let mut made = made();
    made.inbox.push(&[NewIn { on_wake: true, ..message("w") }, message("a")]).unwrap();
    let reader = InboxReader::open(&made.path).unwrap();
    let look = |look| reader.pending(look, &BTreeSet::new(), 10, at(0)).unwrap().len();
    assert_eq!((look(Look::First), look(Look::Later)), (2, 1));
}

#[test]
fn a_retry_puts_off_and_gives_up() {
    let mut made = made();
    made.inbox.push(&[message("a")]).unwrap();
    let id = MessageId::parse("a").unwrap();
    made.inbox.retry(&id, at(5)).unwrap();
    assert_eq!(made.inbox.due(at(0), Duration::ZERO).unwrap(), Due::At(at(5)));
    let gone = [(id.clone(), AckStatus::Failed)];
    made.inbox.settle(&[], &gone, at(0), "UTC").unwrap();
    assert_eq!(made.status("a"), InStatus::Failed);
    assert_eq!(made.inbox.get(&id).unwrap().unwrap().0.tries, 1);
    // What ended is not tried again.
    made.inbox.retry(&id, at(9)).unwrap();
    assert_eq!(made.inbox.get(&id).unwrap().unwrap().0.tries, 1);
}

#[test]
fn a_message_that_is_put_off_is_not_overtaken() {
    let mut made = made();
    let task = NewIn { kind: crate::message::InKind::Task, ..message("task") };
    made.inbox.push(&[task, message("a"), message("b")]).unwrap();
    let reader = InboxReader::open(&made.path).unwrap();
    let pending = |now| reader.pending(Look::Later, &BTreeSet::new(), 10, at(now)).unwrap();
    let names = |now| pending(now).into_iter().map(|r| r.id).collect::<Vec<_>>();
    // A task's time is its own.
    made.inbox.retry(&MessageId::parse("task").unwrap(), at(9)).unwrap();
    assert_eq!(
        (made.inbox.due(at(0), Duration::ZERO).unwrap(), names(0)),
        (Due::Now, ids(&["a", "b"]))
    );
    made.inbox.retry(&MessageId::parse("a").unwrap(), at(5)).unwrap();
    assert_eq!(
        (made.inbox.due(at(0), Duration::ZERO).unwrap(), names(0)),
        (Due::At(at(5)), ids(&[]))
    );
    assert_eq!(
        (made.inbox.due(at(5), Duration::ZERO).unwrap(), names(5)),
        (Due::Now, ids(&["a", "b"]))
    );
    let gone = [(MessageId::parse("a").unwrap(), AckStatus::Failed)];
    made.inbox.settle(&[], &gone, at(5), "UTC").unwrap();
    assert_eq!((made.inbox.due(at(5), Duration::ZERO).unwrap(), names(5)), (Due::Now, ids(&["b"])));
}

/// The first version of v2's file, before it grew columns.
const OLD: &str = "
    CREATE TABLE messages_in (id TEXT PRIMARY KEY, seq INTEGER UNIQUE, kind TEXT NOT NULL, timestamp TEXT NOT NULL,
        status TEXT DEFAULT 'pending', process_after TEXT, recurrence TEXT, tries INTEGER DEFAULT 0,
        platform_id TEXT, channel_type TEXT, thread_id TEXT, content TEXT NOT NULL);
    CREATE TABLE delivered (message_out_id TEXT PRIMARY KEY, delivered_at TEXT NOT NULL);
    INSERT INTO messages_in (id, seq, kind, timestamp, content) VALUES ('old', 2, 'chat', '', '{\"text\":\"x\"}');
    INSERT INTO delivered VALUES ('out', '2026-01-01 00:00:00');";

#[test]
fn an_old_file_gets_its_columns_and_keeps_its_rows() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("inbound.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch(OLD).unwrap();
    // A runner may come first: it reads without changing anything.
    for _ in 0..2 {
        let mut inbox = Inbox::open(&path).unwrap();
        let (row, status) = inbox.get(&MessageId::parse("old").unwrap()).unwrap().unwrap();
        assert_eq!((row.trigger, row.on_wake, status), (Trigger::Wake, false, InStatus::Pending));
        let sent = inbox.settled(&OutId::parse("out").unwrap()).unwrap().unwrap();
        assert_eq!((sent.status, sent.platform_id), (DeliveredStatus::Delivered, None));
        assert_eq!(inbox.due(at(0), Duration::ZERO).unwrap(), Due::Now);
        inbox.push(&[message("new")]).unwrap();
    }
    let conn = rusqlite::Connection::open(&path).unwrap();
    let read = |sql| conn.query_row(sql, [], |r| r.get::<_, String>(0)).unwrap();
    assert_eq!(read("SELECT series_id FROM messages_in WHERE id = 'old'"), "old");
    assert_eq!(read("SELECT group_concat(seq) FROM messages_in"), "2,4");
}

#[test]
fn the_file_never_uses_a_journal_that_a_read_only_mount_cannot_follow() {
    let made = made();
    let conn = rusqlite::Connection::open(&made.path).unwrap();
    let mode: String = conn.query_row("PRAGMA journal_mode", [], |r| r.get(0)).unwrap();
    assert_ne!(mode, "wal");
    let wal = std::fs::read(&made.path).unwrap();
    assert_eq!(wal.get(18..20), Some([1u8, 1].as_slice()), "the header asks for a WAL");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_order_and_repeats_numbers_stay_even_unique_and_in_order(
        batches in prop::collection::vec(prop::collection::vec(0u8..12, 0..6), 1..8),
    ) {
        let mut made = made();
        let mut known = BTreeSet::new();
        for batch in &batches {
            let rows: Vec<_> = batch.iter().map(|n| message(&format!("m{n}"))).collect();
            let pushed = made.inbox.push(&rows).unwrap();
            for (n, pushed) in batch.iter().zip(pushed) {
                prop_assert_eq!(pushed == Pushed::New, known.insert(*n));
            }
        }
        let seqs = made.seqs();
        let wanted: Vec<i64> = (1..).map(|n| n * 2).take(known.len()).collect();
        prop_assert_eq!(seqs, wanted);
    }
}
