//! Who is asked to make room.

use super::*;
use crate::Boxes;
use crate::approvals::tests::host;

#[tokio::test]
async fn who_stands_in_line_is_not_asked_to_make_room() {
    let root = tempfile::tempdir().unwrap();
    let started = host(root.path()).await;
    let host = started.host();
    host.slots.adopt(&SessionId::parse("sess-other").unwrap());
    let id = SessionId::parse("sess-1").unwrap();
    host.tell_agent(&id, "k", "work", true).unwrap();
    let waits = host.wake(&id);
    while host.slots.wanted() == 0 || waits.nudged.load(Ordering::Acquire) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    host.evict_idle();
    assert!(!waits.nudged.load(Ordering::Acquire));
    started.stop(Boxes::Stop).await;
}
