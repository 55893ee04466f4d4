use super::*;
use crate::flow::{Flow, Limits, Noted};
use http_body_util::BodyExt as _;
use tempfile::TempDir;

const KEY: [u8; 32] = [7; 32];

fn noon() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn entry(target: &str) -> Entry {
    Entry { kind: "exchange", agent: "a1".into(), target: target.into(), ..Entry::default() }
}

fn stamped(target: &str) -> Stamped {
    (noon(), Note::Entry(Box::new(entry(target))))
}

/// A log with these rows.
fn log(dir: &TempDir, rows: usize) -> Log {
    let mut log = Log::open(&dir.path().join(FILE), KEY).unwrap();
    let notes: Vec<Stamped> = (1..=rows).map(|n| stamped(&format!("/{n}"))).collect();
    log.append(&notes).unwrap();
    log
}

fn verify(dir: &TempDir, anchor: Option<&Anchor>) -> Checked {
    Reader::open(&dir.path().join(FILE)).unwrap().verify(&KEY, anchor).unwrap()
}

#[test]
fn a_log_is_whole_until_a_row_is_changed_removed_added_or_moved() {
    let attacks = [
        ("UPDATE log SET entry = replace(entry, '/3', '/x') WHERE seq = 3", 3, "was changed"),
        ("UPDATE log SET at = at + 1 WHERE seq = 4", 4, "was changed"),
        ("DELETE FROM log WHERE seq = 2", 2, "is missing"),
        ("DELETE FROM log WHERE seq <= 2", 1, "is missing"),
        (
            "UPDATE log SET seq = -seq WHERE seq IN (2, 3); UPDATE log SET seq = 5 + seq WHERE seq < 0",
            2,
            "was changed",
        ),
        ("INSERT INTO log SELECT 6, at, entry, chain FROM log WHERE seq = 5", 6, "was changed"),
        ("DELETE FROM log WHERE seq = 5", 5, "is missing: rows were removed at the end"),
        (
            "DELETE FROM log; INSERT INTO base VALUES (1, 3, zeroblob(32), zeroblob(32))",
            3,
            "is where older rows were let go, and that is not signed",
        ),
    ];
    for (attack, seq, what) in attacks {
        let dir = TempDir::new().unwrap();
        let log = log(&dir, 5);
        let anchor = log.head();
        assert_eq!((anchor.seq, verify(&dir, Some(&anchor))), (5, Checked::Whole(5)));
        log.db.execute_batch(attack).unwrap();
        assert_eq!(verify(&dir, Some(&anchor)), Checked::Broken(seq, what), "{attack}");
    }
    let dir = TempDir::new().unwrap();
    drop(log(&dir, 5));
    let reader = Reader::open(&dir.path().join(FILE)).unwrap();
    assert_eq!(
        reader.verify(&[8; 32], None).unwrap(),
        Checked::Broken(1, "was changed"),
        "another key"
    );
    assert!(reader.0.execute("DELETE FROM log", []).is_err(), "reading is all that a reader can");
}

#[test]
fn a_log_goes_on_where_it_ended() {
    let dir = TempDir::new().unwrap();
    drop(log(&dir, 3));
    let mut log = Log::open(&dir.path().join(FILE), KEY).unwrap();
    log.append(&[stamped("/4")]).unwrap();
    assert_eq!(verify(&dir, Some(&log.head())), Checked::Whole(4));
    let last = Reader::open(&dir.path().join(FILE)).unwrap().last(2).unwrap();
    let shown: Vec<_> = last.iter().map(|row| (row.seq, row.at, row.entry.as_str())).collect();
    let text = r#"{"kind":"exchange","agent":"a1","target":"/4"}"#;
    assert_eq!(shown[1], (4, noon(), text));
}

#[test]
fn old_rows_go_and_the_rest_is_still_whole() {
    let dir = TempDir::new().unwrap();
    let mut log = log(&dir, 5);
    let anchor = log.head();
    log.trim(noon()).unwrap();
    assert_eq!(verify(&dir, Some(&anchor)), Checked::Whole(5), "nothing is old");
    log.forget(3).unwrap();
    assert_eq!(verify(&dir, Some(&anchor)), Checked::Whole(2));
    log.trim(noon() + jiff::SignedDuration::from_hours(24 * 91)).unwrap();
    assert_eq!(verify(&dir, Some(&anchor)), Checked::Whole(0));
    drop(log);
    let mut log = Log::open(&dir.path().join(FILE), KEY).unwrap();
    log.append(&[stamped("/6")]).unwrap();
    assert_eq!((log.head().seq, verify(&dir, Some(&log.head()))), (6, Checked::Whole(1)));
}

#[tokio::test]
async fn a_record_is_written_when_its_answer_ends_with_what_came() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join(FILE);
    let (heads, noted) = std::sync::mpsc::channel();
    let audit = Audit::start(&file, KEY, noon, move |head| drop(heads.send(head.clone()))).unwrap();
    let mut record = audit.begin(entry("/v1")).await.unwrap();
    record.answered(200);
    let flow = Flow::new(crate::full("hello".into()), Limits::NONE, Arc::default());
    let flow = flow.noted(Noted { record, sent: Arc::new(3.into()), scrub: None });
    assert_eq!(flow.into_body().collect().await.unwrap().to_bytes(), "hello");
    audit.write(Entry { kind: "alarm", ..Entry::default() }).await.unwrap();
    drop(audit);
    // The writer ends with the last handle, and notes the head then.
    let last = noted.iter().last().unwrap();
    assert_eq!(last.seq, 2);
    let reader = Reader::open(&file).unwrap();
    assert_eq!(reader.verify(&KEY, Some(&last)).unwrap(), Checked::Whole(2));
    let row: serde_json::Value = serde_json::from_str(&reader.last(9).unwrap()[0].entry).unwrap();
    assert_eq!((&row["down"], &row["status"], &row["up"]), (&5.into(), &200.into(), &3.into()));
}

#[tokio::test]
async fn while_the_disk_is_full_nothing_is_lost_and_soon_no_secret_is_used() {
    let dir = TempDir::new().unwrap();
    let mut log = log(&dir, 1);
    let pages: i64 = log.db.pragma_query_value(None, "page_count", |r| r.get(0)).unwrap();
    log.db.pragma_update(None, "max_page_count", pages).unwrap();
    let big = Entry { error: Some("x".repeat(1 << 20)), ..entry("/big") };
    let full = log.append(&[(noon(), Note::Entry(Box::new(big)))]).unwrap_err();
    assert_eq!(full.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull));
    log.append(&[stamped("/small")]).unwrap();
    assert_eq!(verify(&dir, Some(&log.head())), Checked::Whole(2), "what failed left nothing");
    // The same from outside: somebody holds the file.
    let holder = rusqlite::Connection::open(dir.path().join(FILE)).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let audit = Audit::over(log, noon, |_| ()).unwrap();
    audit.write(entry("/waits")).await.unwrap();
    assert!(audit.writable().is_ok(), "there is patience");
    let failing = async {
        while audit.failing.lock().unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), failing).await.unwrap();
    let long = Instant::now().checked_sub(PATIENCE).unwrap();
    *audit.failing.lock().unwrap() = Some(long);
    assert!(audit.writable().is_err());
    holder.execute_batch("ROLLBACK").unwrap();
    let mends = async {
        while audit.writable().is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), mends).await.unwrap();
    assert_eq!(verify(&dir, None), Checked::Whole(3));
}

#[test]
fn a_target_keeps_its_keys_and_hides_what_looks_secret() {
    let long = "v".repeat(70);
    let cases = [
        ("/v1/messages", "/v1/messages"),
        ("/a?beta=true&x=1", "/a?beta=true&x=1"),
        ("/a?access_token=abc&API_KEY=d&page=2", "/a?access_token=***&API_KEY=***&page=2"),
        ("/a?X-Amz-Signature=abc&flag", "/a?X-Amz-Signature=***&flag"),
        ("?code", "?code"),
        (&format!("/a?q={long}"), "/a?q=sha256:0e6fe42e65fdb7d5"),
    ];
    for (target, shown) in cases {
        let masked = masked(target);
        if target.len() < 70 {
            assert_eq!(masked, shown);
        } else {
            assert!(masked.starts_with("/a?q=sha256:") && masked.len() == 28, "{masked}");
        }
    }
    assert!(masked(&format!("/{}?{}", "ä".repeat(5000), "a=1&".repeat(9000))).len() < 2100);
}
