//! What is kept, what is forgotten, what is new, and a file that is none.

use super::Store;
use nanoclaw_channel::StartError;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

async fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "test").await.unwrap();
    (dir, store)
}

#[tokio::test]
async fn what_was_put_is_there_after_a_restart() {
    let (dir, store) = store().await;
    store.put("offset", "41").await.unwrap();
    store.put("offset", "42").await.unwrap();
    store.put_for("seen", "x", HOUR).await.unwrap();
    drop(store);
    let store = Store::open(dir.path(), "test").await.unwrap();
    assert_eq!(store.get("offset").await.unwrap().as_deref(), Some("42"));
    assert_eq!(store.get("seen").await.unwrap().as_deref(), Some("x"));
    store.delete("offset").await.unwrap();
    assert_eq!(store.get("offset").await.unwrap(), None);
}

#[tokio::test]
async fn what_is_forgotten_is_gone_and_may_be_new_again() {
    let (_dir, store) = store().await;
    assert!(store.put_new("event", "1", Duration::ZERO).await.unwrap());
    assert_eq!(store.get("event").await.unwrap(), None);
    assert!(store.put_new("event", "2", HOUR).await.unwrap());
    assert!(!store.put_new("event", "3", HOUR).await.unwrap());
    assert_eq!(store.get("event").await.unwrap().as_deref(), Some("2"));
    store.put("kept", "1").await.unwrap();
    assert!(!store.put_new("kept", "2", HOUR).await.unwrap(), "what has no end stays");
    store.put_for("long", "1", Duration::MAX).await.unwrap();
    assert_eq!(store.get("long").await.unwrap().as_deref(), Some("1"));
}

#[tokio::test]
async fn a_thousand_at_once_are_new_once_each() {
    let (_dir, store) = store().await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..1000 {
        let store = store.clone();
        tasks
            .spawn(async move { store.put_new(&format!("e{}", n % 100), "", HOUR).await.unwrap() });
    }
    let new = tasks.join_all().await.into_iter().filter(|new| *new).count();
    assert_eq!(new, 100);
}

#[tokio::test]
async fn a_prefix_is_taken_as_it_is() {
    let (_dir, store) = store().await;
    for key in ["a", "a%", "a%b", "a_", "ab", "b", "é1"] {
        store.put(key, key).await.unwrap();
    }
    let keys = |found: Vec<(String, String)>| found.into_iter().map(|f| f.0).collect::<Vec<_>>();
    assert_eq!(keys(store.list("a%").await.unwrap()), ["a%", "a%b"]);
    assert_eq!(keys(store.list("é").await.unwrap()), ["é1"]);
    assert_eq!(store.list("").await.unwrap().len(), 7);
}

#[tokio::test]
async fn the_sweep_takes_only_what_is_over() {
    let (_dir, store) = store().await;
    store.put("kept", "").await.unwrap();
    for n in 0..600 {
        store.put_for(&format!("{n}"), "", Duration::ZERO).await.unwrap();
    }
    let rows: i64 = super::lock(&store.0)
        .db
        .query_row("SELECT count(*) FROM state", [], |row| row.get(0))
        .unwrap();
    assert!(rows < 300, "{rows}");
    assert_eq!(store.get("kept").await.unwrap().as_deref(), Some(""));
}

#[tokio::test]
async fn a_file_that_is_no_database_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("channels/test");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("state.db"), "x".repeat(5000)).unwrap();
    let Err(StartError::Broken(why)) = Store::open(dir.path(), "test").await else {
        panic!("it was opened");
    };
    assert!(why.contains("move it away"), "{why}");
}
