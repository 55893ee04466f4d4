use super::{Backlog, READ_MAX, UNREAD_MAX};
use crate::wire::Entry;
use nanoclaw_channel::SendError;
use nanoclaw_kit::store::Store;
use std::path::Path;

async fn load(data: &Path) -> Backlog {
    Backlog::load(Store::open(data, "emacs").await.unwrap(), data.join("files")).await.unwrap()
}

fn entry(id: &str) -> Entry {
    Entry { id: id.into(), text: id.into(), ..Entry::default() }
}

fn ids(rows: &[String]) -> Vec<String> {
    rows.iter().map(|row| serde_json::from_str::<Entry>(row).unwrap().id).collect()
}

fn last(rows: &[String]) -> i64 {
    serde_json::from_str::<Entry>(rows.last().unwrap()).unwrap().timestamp
}

#[tokio::test]
async fn what_was_said_with_nobody_there_waits_through_a_restart_once_and_in_order() {
    let data = tempfile::tempdir().unwrap();
    {
        let backlog = load(data.path()).await;
        for id in ["a", "b", "a", "c"] {
            backlog.add(id, entry(id)).await.unwrap();
        }
    }
    let backlog = load(data.path()).await;
    assert_eq!(ids(&backlog.after(0)), ["a", "b", "c"]);
    // In one millisecond or not: each is later than the one before, so none is skipped.
    let first = last(&backlog.after(0)[..1]);
    assert_eq!(ids(&backlog.after(first)), ["b", "c"]);
}

#[tokio::test]
async fn what_was_read_goes_after_a_while_and_what_was_not_stays() {
    let data = tempfile::tempdir().unwrap();
    let backlog = load(data.path()).await;
    for n in 0..READ_MAX + 5 {
        backlog.add(&format!("k{n}"), entry(&format!("m{n}"))).await.unwrap();
    }
    let file = backlog.file("m0", 0, "a.txt", b"bytes".to_vec()).await.unwrap();
    assert_eq!(std::fs::read(file).unwrap(), b"bytes");
    backlog.has_read(i64::MAX).await;
    assert_eq!(backlog.after(0).len(), READ_MAX);
    assert_eq!(ids(&backlog.after(0))[0], "m5");
    // A time from the future does not make what comes next look read.
    backlog.add("new", entry("new")).await.unwrap();
    let backlog = load(data.path()).await;
    assert_eq!(ids(&backlog.after(0)).last().map(String::as_str), Some("new"));
}

#[tokio::test]
async fn it_does_not_grow_without_end() {
    let data = tempfile::tempdir().unwrap();
    let backlog = load(data.path()).await;
    let mut rows = super::lock(&backlog.rows);
    rows.extend((0..UNREAD_MAX as i64).map(|n| (n, String::new())));
    drop(rows);
    let refused = backlog.add("k", entry("m")).await;
    assert!(matches!(refused, Err(SendError::Retry { .. })), "{refused:?}");
}
