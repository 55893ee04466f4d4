//! Order within a line, none between lines, and a limit.

use super::*;
use tokio::sync::oneshot;

#[tokio::test]
async fn a_line_keeps_its_order_and_delays_no_other() {
    let lanes = Lanes::new();
    let (told, mut heard) = mpsc::unbounded_channel();
    let (go, wait) = oneshot::channel::<()>();
    let tell = |what: &'static str| {
        let told = told.clone();
        async move { told.send(what).unwrap() }
    };
    let first = tell("first");
    assert!(lanes.enter("a", 10, async move {
        wait.await.unwrap();
        first.await;
    }));
    assert!(lanes.enter("a", 10, tell("second")));
    assert!(lanes.enter("b", 10, tell("other")));
    assert_eq!(heard.recv().await, Some("other"));
    go.send(()).unwrap();
    assert_eq!(heard.recv().await, Some("first"));
    assert_eq!(heard.recv().await, Some("second"));
}

#[tokio::test]
async fn what_does_not_fit_is_turned_away() {
    let lanes = Lanes::new();
    let (go, wait) = oneshot::channel::<()>();
    assert!(lanes.enter("a", (ROOM_KB - 1) * 1024, async move { wait.await.unwrap() }));
    assert!(!lanes.enter("b", 10, async {}));
    go.send(()).unwrap();
}

#[tokio::test]
async fn a_line_that_broke_is_made_anew() {
    let lanes = Lanes::new();
    assert!(lanes.enter("a", 10, async { panic!("on purpose") }));
    let (told, heard) = oneshot::channel();
    tokio::task::yield_now().await;
    assert!(lanes.enter("a", 10, async move { told.send(()).unwrap() }));
    heard.await.unwrap();
}
