//! Series of tasks: one row alive, whatever ends, fails, is held, moved or killed.

use super::{address, ids, message};
use crate::content::Task;
use crate::ids::MessageId;
use crate::inbox::{Change, FAILS_MAX, Inbox, Live, Order};
use crate::message::{AckStatus, InKind, InStatus, NewIn};
use crate::time::Timestamp;
use proptest::prelude::*;
use std::path::PathBuf;
use std::time::Duration;

struct Made {
    _temp: tempfile::TempDir,
    path: PathBuf,
    inbox: Inbox,
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// 2026-03-02, so many minutes after eight.
fn eight(minutes: u64) -> Timestamp {
    time("2026-03-02T08:00:00Z") + Duration::from_secs(60 * minutes)
}

fn task(id: &str, at: Timestamp, recurrence: Option<&str>, content: &str) -> NewIn {
    NewIn {
        kind: InKind::Task,
        process_after: Some(at),
        recurrence: recurrence.map(str::to_owned),
        content: content.into(),
        ..message(id)
    }
}

fn made(rows: &[NewIn]) -> Made {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("inbound.db");
    let mut inbox = Inbox::open(&path).unwrap();
    inbox.push(rows).unwrap();
    Made { path, inbox, _temp: temp }
}

impl Made {
    fn live(&self) -> Vec<Live> {
        self.inbox.live_tasks(None).unwrap()
    }

    /// The one live row.
    fn one(&self) -> Live {
        let mut all = self.live();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    fn end(&mut self, status: AckStatus, now: Timestamp) -> Vec<MessageId> {
        let id = self.one().id;
        self.inbox.settle(&[], &[(id, status)], now, "UTC").unwrap().tasks
    }

    fn order(&mut self, id: &str, order: Order, now: Timestamp) -> Result<usize, String> {
        self.inbox.order_task(id, &order, now, "UTC").unwrap().map(|rows| rows.len())
    }

    fn sql(&self, sql: &str) {
        rusqlite::Connection::open(&self.path).unwrap().execute_batch(sql).unwrap();
    }

    fn text(&self, sql: &str) -> Option<String> {
        let conn = rusqlite::Connection::open(&self.path).unwrap();
        conn.query_row(sql, [], |r| r.get(0)).unwrap()
    }
}

const HOURLY: Option<&str> = Some("0 * * * *");
const PLAIN: &str = r#"{"prompt":"look","script":null,"theirs":{"a":1}}"#;

#[test]
fn a_run_that_ended_is_followed_by_the_next() {
    let mut made = made(&[task("t", eight(0), HOURLY, PLAIN)]);
    assert_eq!(made.text("SELECT series_id FROM messages_in").unwrap(), "t");
    assert_eq!(made.end(AckStatus::Completed, eight(1)), ids(&["t"]));
    let next = made.one();
    assert_eq!((next.series.as_str(), next.status), ("t", InStatus::Pending));
    assert_eq!(next.at, Some(eight(60)));
    assert_eq!((next.recurrence.as_deref(), next.reply), (HOURLY, Some(address())));
    let content = made.text("SELECT content FROM messages_in ORDER BY seq DESC").unwrap();
    assert_eq!(content, PLAIN);
    assert_eq!(made.text("SELECT recurrence FROM messages_in WHERE id = 't'"), None);
    // The runner says it again after a crash.
    let again = [(MessageId::parse("t").unwrap(), AckStatus::Completed)];
    assert!(made.inbox.settle(&[], &again, eight(2), "UTC").unwrap().rows.is_empty());
    assert_eq!(made.one().id, next.id);
}

#[test]
fn a_long_name_is_no_obstacle() {
    let name = "n".repeat(512);
    let mut made = made(&[task(&name, eight(0), HOURLY, PLAIN)]);
    made.end(AckStatus::Completed, eight(1));
    made.end(AckStatus::Completed, eight(61));
    assert_eq!((made.one().series.as_str(), made.one().at), (name.as_str(), Some(eight(120))));
}

#[test]
fn a_task_without_a_schedule_ends() {
    let mut made = made(&[task("t", eight(0), None, PLAIN)]);
    assert_eq!(made.end(AckStatus::Completed, eight(1)), ids(&["t"]));
    assert!(made.live().is_empty());
}

#[test]
fn the_zone_of_the_task_goes_before_that_of_the_install() {
    let berlin = r#"{"prompt":"x","timezone":"Europe/Berlin"}"#;
    let mut made = made(&[task("t", time("2026-03-28T08:00:00Z"), Some("0 9 * * *"), berlin)]);
    made.end(AckStatus::Completed, time("2026-03-28T08:01:00Z"));
    assert_eq!(made.one().at, Some(time("2026-03-29T07:00:00Z")));
}

#[test]
fn orders_reach_the_live_row_by_the_first_id() {
    let mut made = made(&[task("t", eight(0), HOURLY, PLAIN)]);
    made.end(AckStatus::Completed, eight(1));
    assert_eq!(made.order("t", Order::Pause, eight(2)), Ok(1));
    assert_eq!(made.one().status, InStatus::Paused);
    assert_eq!(made.order("t", Order::Resume, eight(3)), Ok(1));
    assert_eq!((made.one().status, made.one().at), (InStatus::Pending, Some(eight(60))));
    let change = Change { prompt: Some("else".into()), ..Change::default() };
    assert_eq!(made.order("t", Order::Update(change), eight(3)), Ok(1));
    let first = made.text("SELECT content FROM messages_in WHERE id = 't'").unwrap();
    assert_eq!(first, PLAIN);
    let content = made.text("SELECT content FROM messages_in ORDER BY seq DESC").unwrap();
    assert_eq!(content, PLAIN.replace("look", "else"));
    assert_eq!(made.order("t", Order::Cancel, eight(3)), Ok(1));
    assert!(made.live().is_empty());
    assert_eq!(made.order("t", Order::Cancel, eight(3)), Ok(0));
    let waiting = "SELECT CAST(COUNT(*) AS TEXT) FROM messages_in WHERE status = 'pending' OR recurrence IS NOT NULL";
    assert_eq!(made.text(waiting).unwrap(), "0");
}

#[test]
fn a_change_of_the_schedule_is_checked_and_moves_the_next_run() {
    let mut made = made(&[task("t", eight(0), HOURLY, PLAIN)]);
    let schedule = |text: &str| {
        Order::Update(Change { recurrence: Some(Some(text.into())), ..Change::default() })
    };
    assert!(
        made.order("t", schedule("* * * * * *"), eight(0)).unwrap_err().contains("once a minute")
    );
    assert!(made.order("t", schedule("whenever"), eight(0)).is_err());
    assert_eq!(made.order("t", schedule("30 9 * * *"), eight(0)), Ok(1));
    assert_eq!(made.one().at, Some(eight(90)));
    let zone = Change { timezone: Some(Some("Asia/Tokyo".into())), ..Change::default() };
    assert_eq!(made.order("t", Order::Update(zone), eight(0)), Ok(1));
    assert_eq!(made.one().at, Some(time("2026-03-03T00:30:00Z")));
    let nowhere = Change { timezone: Some(Some("Mars/Olympus".into())), ..Change::default() };
    assert!(made.order("t", Order::Update(nowhere), eight(0)).unwrap_err().contains("IANA"));
    let both = Change { recurrence: Some(None), at: Some(eight(5)), ..Change::default() };
    assert_eq!(made.order("t", Order::Update(both), eight(0)), Ok(1));
    assert_eq!((made.one().recurrence, made.one().at), (None, Some(eight(5))));
    let long = Change { prompt: Some("x".repeat(300_000)), ..Change::default() };
    assert!(made.order("t", Order::Update(long), eight(0)).unwrap_err().contains("bytes"));
}

#[test]
fn missed_runs_follow_the_policy() {
    let with = |missed: &str| format!(r#"{{"prompt":"x","missed":"{missed}"}}"#);
    // Due at eight, done at half past eleven; nine, ten and eleven were missed.
    for (content, wanted) in [(with("once"), 240), (PLAIN.to_owned(), 240), (with("all"), 60)] {
        let mut made = made(&[task("t", eight(0), HOURLY, &content)]);
        made.end(AckStatus::Completed, eight(210));
        assert_eq!(made.one().at, Some(eight(wanted)), "{content}");
    }
    let mut skip = made(&[task("t", eight(0), HOURLY, &with("skip"))]);
    assert!(skip.inbox.skip_missed(eight(4), "UTC").unwrap().is_empty(), "late is not missed");
    assert_eq!(skip.inbox.skip_missed(eight(210), "UTC").unwrap(), ids(&["t"]));
    assert_eq!(skip.one().at, Some(eight(240)));
    skip.order("t", Order::Pause, eight(230)).unwrap();
    skip.order("t", Order::Resume, eight(500)).unwrap();
    assert_eq!(skip.one().at, Some(eight(540)));
}

#[test]
fn making_up_for_all_has_an_end() {
    let mut made = made(&[task("t", eight(0), HOURLY, r#"{"prompt":"x","missed":"all"}"#)]);
    let mut runs = 0;
    while made.one().at.unwrap() < eight(60 * 100) {
        made.end(AckStatus::Completed, eight(60 * 100));
        runs += 1;
    }
    assert_eq!(runs, 25);
    assert_eq!(made.one().at, Some(eight(60 * 101)));
}

#[test]
fn a_series_that_fails_is_left_alone_for_longer_and_then_pauses() {
    let mut made = made(&[task("t", eight(0), Some("* * * * *"), PLAIN)]);
    let mut gaps = Vec::new();
    for _ in 1..FAILS_MAX {
        let now = made.one().at.unwrap();
        made.end(AckStatus::Failed, now);
        gaps.push((made.one().at.unwrap() - now).get_seconds() / 60);
        assert_eq!(made.one().status, InStatus::Pending);
    }
    assert_eq!(gaps, [6, 21, 81, 321]);
    let now = made.one().at.unwrap();
    made.end(AckStatus::Failed, now);
    let paused = made.one();
    assert_eq!(paused.status, InStatus::Paused);
    assert!(paused.task.why.as_deref().unwrap().contains("5 times"));
    let note = "SELECT content FROM messages_in WHERE kind = 'chat' AND trigger = 0";
    assert!(made.text(note).unwrap().contains("is paused"));
    made.order("t", Order::Resume, now).unwrap();
    assert_eq!((made.one().task.fails, made.one().task.why), (0, None));
    // What works in between is forgiven.
    made.end(AckStatus::Failed, now);
    assert_eq!(made.one().task.fails, 1);
    made.end(AckStatus::Completed, now);
    assert_eq!(made.one().task.fails, 0);
}

#[test]
fn what_is_paused_while_it_runs_stays_paused() {
    let mut made = made(&[task("t", eight(0), HOURLY, PLAIN)]);
    made.order("t", Order::Pause, eight(1)).unwrap();
    made.end(AckStatus::Completed, eight(2));
    assert_eq!((made.one().status, made.one().at), (InStatus::Paused, Some(eight(60))));
    // It runs once all the same, if somebody wants it.
    made.order("t", Order::Run, eight(10)).unwrap();
    assert_eq!((made.one().status, made.one().at), (InStatus::Pending, Some(eight(10))));
    made.end(AckStatus::Completed, eight(11));
    assert_eq!((made.one().status, made.one().at), (InStatus::Paused, Some(eight(60))));
}

#[test]
fn run_now_is_beside_the_schedule() {
    let mut made = made(&[task("t", eight(60), HOURLY, PLAIN)]);
    made.order("t", Order::Run, eight(30)).unwrap();
    made.end(AckStatus::Completed, eight(31));
    assert_eq!((made.one().status, made.one().at), (InStatus::Pending, Some(eight(60))));
    // Moved to an earlier time, it comes by the same time again, under another name.
    let id = made.one().id;
    let early = Change { at: Some(eight(40)), ..Change::default() };
    made.order("t", Order::Update(early), eight(32)).unwrap();
    made.end(AckStatus::Completed, eight(41));
    assert_eq!(made.one().at, Some(eight(60)));
    assert_ne!(made.one().id, id);
}

#[test]
fn tries_that_failed_do_not_shift_the_schedule() {
    let all = r#"{"prompt":"x","missed":"all"}"#;
    let mut made = made(&[task("t", eight(0), Some("* * * * *"), all)]);
    made.end(AckStatus::Completed, eight(0));
    let id = made.one().id;
    made.inbox.retry(&id, eight(7)).unwrap();
    made.end(AckStatus::Completed, eight(8));
    assert_eq!(made.one().at, Some(eight(2)));
}

#[test]
fn what_v2_left_goes_on_or_pauses_with_a_reason() {
    let mut made = made(&[
        task("good", eight(0), HOURLY, PLAIN),
        task("bad", eight(0), Some("every hour"), PLAIN),
        task("text", eight(0), HOURLY, "no JSON"),
    ]);
    // v2 stopped between the end of a run and its sweep.
    made.sql("UPDATE messages_in SET status = 'completed' WHERE id = 'good'");
    made.inbox.adopt_tasks(eight(5), "UTC").unwrap();
    made.inbox.adopt_tasks(eight(6), "UTC").unwrap();
    assert_eq!(made.live().iter().filter(|t| t.series.as_str() == "good").count(), 1);
    let acks: Vec<_> =
        ids(&["bad", "text"]).into_iter().map(|id| (id, AckStatus::Completed)).collect();
    made.inbox.settle(&[], &acks, eight(6), "UTC").unwrap();
    let live = made.live();
    let of = |series: &str| live.iter().find(|t| t.series.as_str() == series).unwrap();
    assert_eq!((of("good").at, of("good").status), (Some(eight(60)), InStatus::Pending));
    assert_eq!((of("bad").at, of("bad").status), (None, InStatus::Paused));
    assert!(of("bad").task.why.as_deref().unwrap().contains("every hour"));
    assert_eq!(of("text").at, Some(eight(60)));
    assert_eq!(
        made.text("SELECT content FROM messages_in WHERE series_id = 'text' ORDER BY seq DESC")
            .unwrap(),
        "no JSON"
    );
    assert!(made.order("bad", Order::Resume, eight(7)).unwrap_err().contains("every hour"));
}

#[test]
fn a_series_that_v2_forked_becomes_one() {
    let mut made = made(&[task("t", eight(0), HOURLY, PLAIN), task("u", eight(0), HOURLY, PLAIN)]);
    made.sql("UPDATE messages_in SET series_id = 't'");
    let acks = [(MessageId::parse("u").unwrap(), AckStatus::Completed)];
    made.inbox.settle(&[], &acks, eight(1), "UTC").unwrap();
    assert_eq!(made.one().id.as_str(), "t");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever happens in whatever order: one row of the series is alive, and none but the last runs twice.
    #[test]
    fn one_row_is_alive_whatever_happens(steps in prop::collection::vec((0..7_u8, 1..5000_u64), 1..40)) {
        let mut made = made(&[task("t", eight(0), Some("*/20 * * * *"), PLAIN)]);
        let (mut now, mut ended) = (eight(0), Vec::new());
        for (step, minutes) in steps {
            now += Duration::from_secs(60 * minutes);
            let row = made.one();
            match step {
                0 => { made.order("t", Order::Pause, now).unwrap(); }
                1 => { made.order("t", Order::Resume, now).unwrap(); }
                2 => { made.order("t", Order::Run, now).unwrap(); }
                3 => {
                    let change = Change { at: Some(now), ..Change::default() };
                    made.order("t", Order::Update(change), now).unwrap();
                }
                4 => { made.end(AckStatus::Failed, now); ended.push(row.id); }
                _ => { made.end(AckStatus::Completed, now); ended.push(row.id); }
            }
            let live = made.one();
            prop_assert!(!ended.contains(&live.id));
            prop_assert_eq!(live.series.as_str(), "t");
            prop_assert!(live.at.is_some());
        }
    }
}

#[test]
fn what_is_written_is_read_again() {
    let text = r#"{"prompt":"p","script":"s","timezone":"Europe/Berlin","missed":"all","fails":2,"x":[1]}"#;
    let task: Task = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&task).unwrap(), text);
}

/// A series of every minute must not keep its prompt and script once per run.
#[test]
fn a_run_that_ended_keeps_only_the_beginning_of_its_prompt() {
    let long =
        format!(r#"{{"prompt": "{}", "script": "{}"}}"#, "p".repeat(5_000), "s".repeat(50_000));
    let mut m = made(&[task("t", eight(0), Some("* * * * *"), &long)]);
    for n in 0..10 {
        m.end(AckStatus::Completed, eight(n));
    }
    let live = m.one().task;
    assert_eq!((live.prompt.len(), live.script.map(|s| s.len())), (5_000, Some(50_000)));
    let conn = rusqlite::Connection::open(&m.path).unwrap();
    let kept: i64 = conn
        .query_row(
            "SELECT MAX(length(content)) FROM messages_in WHERE status = 'completed'",
            [],
            |r| r.get(0),
        )
        .unwrap();
    assert!(kept < 2_000, "{kept}");
}

/// Asked for with every message to another agent, also where that one never wrote.
#[test]
fn the_latest_letter_is_found_without_a_scan() {
    let m = made(&[]);
    let conn = rusqlite::Connection::open(&m.path).unwrap();
    let plan: String = conn
        .query_row(
            "EXPLAIN QUERY PLAN SELECT content FROM messages_in WHERE channel_type = 'agent'
             AND platform_id = 'ag' AND source_session_id IS NOT NULL ORDER BY seq DESC LIMIT 1",
            [],
            |r| r.get(3),
        )
        .unwrap();
    assert!(plan.contains("idx_messages_in_letters"), "{plan}");
}
