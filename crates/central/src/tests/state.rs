//! Due times, cursors, failed starts, quarantine, boxes, settings, trace.

use super::*;
use nanoclaw_contract::ids::{MessageId, OutId};

#[test]
fn sessions_are_due_in_order() {
    let c = home();
    for (name, ms) in [("s1", 30), ("s2", 10), ("s3", 20)] {
        c.create_session(&session(name, "a", None, None, 0)).unwrap();
        c.set_due(&id(name), Some(at(ms))).unwrap();
    }
    assert_eq!(c.next_due().unwrap(), Some(at(10)));
    assert_eq!(c.due_sessions(at(9), 10).unwrap(), []);
    assert_eq!(c.due_sessions(at(20), 10).unwrap(), [id("s2"), id("s3")]);
    assert_eq!(c.due_sessions(at(99), 1).unwrap(), [id("s2")]);
    c.set_due(&id("s2"), Some(at(40))).unwrap();
    c.set_due(&id("s3"), None).unwrap();
    c.set_due(&id("s3"), None).unwrap();
    assert_eq!(c.due_sessions(at(99), 10).unwrap(), [id("s1"), id("s2")]);
    sql(&c, "UPDATE session_due SET due_at = 9223372036854775807");
    assert_eq!(c.next_due().unwrap(), Some(Timestamp::MAX));
    // A session that is deleted leaves nothing behind.
    sql(&c, "DELETE FROM sessions WHERE id IN ('s1', 's2')");
    assert_eq!(c.next_due().unwrap(), None);
}

#[test]
fn cursors_begin_at_zero() {
    let c = home();
    assert_eq!(c.out_cursor(&id("s")).unwrap(), 0);
    for cursor in [4, 9] {
        c.set_out_cursor(&id("s"), cursor).unwrap();
        assert_eq!(c.out_cursor(&id("s")).unwrap(), cursor);
    }
}

#[test]
fn failed_starts_wait_longer_each_time() {
    let c = home();
    let s = id("s");
    assert_eq!(c.wake_failure(&s).unwrap(), None);
    for (count, ms) in [(1, 250), (2, 5000), (3, 10_000)] {
        assert_eq!(c.wake_failed(&s, "no image", at(0)).unwrap(), count);
        let f = c.wake_failure(&s).unwrap().unwrap();
        assert_eq!((f.count, f.next_at), (count, at(ms)));
    }
    c.wake_failed(&s, "still none", at(0)).unwrap();
    let f = c.wake_failure(&s).unwrap().unwrap();
    assert_eq!(f.last_error, "still none");
    c.wake_succeeded(&s).unwrap();
    assert_eq!(c.wake_failed(&s, "again", at(0)).unwrap(), 1);
    for (count, secs) in [(2, 5), (8, 320), (9, 600), (u32::MAX, 600)] {
        assert_eq!(wake_backoff(count), Duration::from_secs(secs), "{count}");
    }
}

#[test]
fn quarantine_keeps_its_beginning() {
    let c = home();
    let s = id("s");
    c.quarantine(&s, "a view", at(1)).unwrap();
    c.quarantine(&s, "a pipe", at(2)).unwrap();
    assert_eq!(c.quarantined(&s).unwrap(), Some(("a pipe".into(), iso(at(1)))));
    assert_eq!(c.all_quarantined().unwrap(), [(s.clone(), "a pipe".into(), iso(at(1)))]);
    assert!(c.release(&s).unwrap() && !c.release(&s).unwrap());
    assert_eq!(c.quarantined(&s).unwrap(), None);
}

#[test]
fn boxes_and_settings_are_replaced() {
    let c = home();
    let s = id("s");
    for name in ["box-1", "box-2"] {
        c.put_box(&s, name, "demo", at(3)).unwrap();
    }
    let row = BoxRow {
        session: s.clone(),
        name: "box-2".into(),
        driver: "demo".into(),
        started_at: iso(at(3)),
    };
    assert_eq!(c.boxes().unwrap(), [row]);
    c.remove_box(&s).unwrap();
    assert_eq!(c.boxes().unwrap(), []);
    for value in [Some("1"), Some("2"), None] {
        c.put_setting("k", value).unwrap();
        assert_eq!(c.setting("k").unwrap().as_deref(), value);
    }
}

#[test]
fn a_trace_is_found_by_every_id_of_a_message() {
    let c = home();
    let (s, out): (SessionId, OutId) = (id("s"), id("out-1"));
    let mut n = 0;
    let mut step = |message: Option<&str>, out: Option<&OutId>, what: &str| {
        let message: Option<MessageId> = message.map(id);
        let ids = TraceIds { message: message.as_ref(), session: Some(&s), out };
        n += 1;
        c.trace(at(n), what, &ids, "").unwrap();
    };
    step(Some("7"), None, "received");
    step(Some("7:ag-a"), None, "written for a");
    step(Some("7:ag-b"), None, "written for b");
    step(Some("77:ag-a"), None, "another");
    step(Some("7;"), None, "yet another");
    step(Some("7:ag-a"), Some(&out), "delivered");
    step(Some("100%"), None, "odd");
    let told = |id: &str| -> Vec<String> {
        c.trace_of_message(id).unwrap().into_iter().map(|t| t.step).collect()
    };
    assert_eq!(told("7"), ["received", "written for a", "written for b", "delivered"]);
    assert_eq!(told("7:ag-b"), ["written for b"]);
    assert_eq!(told("out-1"), ["delivered"]);
    assert_eq!(told("77"), ["another"]);
    assert_eq!(told("10"), ["odd"], "a beginning");
    assert_eq!(told("1%"), [""; 0]);
    assert_eq!(told(""), [""; 0]);
    assert_eq!(c.prune_trace(3).unwrap(), 4);
    assert_eq!(told("7"), ["delivered"]);
    assert_eq!(c.prune_trace(3).unwrap(), 0);
}

#[test]
fn texts_from_outside_are_cut_between_characters() {
    for (text, bytes, cut) in [("abc", 2, "ab"), ("aé", 2, "a"), ("é", 1, ""), ("abc", 9, "abc")]
    {
        assert_eq!(clip(text, bytes), cut);
    }
}
