//! Sessions: how they are found, made and ended.

use super::*;

fn found(s: Option<Session>) -> Option<String> {
    s.map(|s| s.id.to_string())
}

#[test]
fn a_session_is_found_by_its_own_chat_and_thread() {
    let c = home();
    c.create_session(&session("s1", "a", Some("one"), Some("t1"), 1)).unwrap();
    c.create_session(&session("s2", "a", Some("one"), Some("t1"), 2)).unwrap();
    let (a, one) = (id("ag-a"), id("mg-one"));
    let find =
        |thread: Option<&str>| found(c.find_session(&a, &one, thread.map(id).as_ref()).unwrap());
    assert_eq!(find(None).as_deref(), Some("s"));
    assert_eq!(find(Some("t1")).as_deref(), Some("s2"), "the newest");
    assert_eq!(find(Some("t2")), None);
    assert_eq!(c.find_session(&id("ag-b"), &one, None).unwrap(), None);
    assert!(c.close_session(&id("s2")).unwrap() && !c.close_session(&id("s2")).unwrap());
    assert_eq!(find(Some("t1")).as_deref(), Some("s1"), "closed ones are not found");
    assert!(!c.session(&id("s2")).unwrap().unwrap().active);
    assert_eq!(c.sessions_of_agent(&a).unwrap().len(), 3);
    assert_eq!(c.count_sessions().unwrap(), 3);
    let page: Vec<_> = c.sessions(1, 1).unwrap().into_iter().map(|s| s.id.to_string()).collect();
    assert_eq!(page, ["s1"]);
}

#[test]
fn a_session_is_made_once() {
    let c = home();
    let new = session("n1", "a", Some("two"), Some("t"), 1);
    assert_eq!(c.find_or_create_session(&new).unwrap(), (new.clone(), true));
    let again = session("n2", "a", Some("two"), Some("t"), 2);
    assert_eq!(c.find_or_create_session(&again).unwrap(), (new, false));
    assert!(refusal(c.create_session(&session("s", "a", None, None, 0))).contains("UNIQUE"));
    assert!(refusal(c.create_session(&session("x", "x", None, None, 0))).contains("FOREIGN KEY"));
}

#[test]
fn the_shared_session_of_an_agent_is_none_of_a_thread() {
    let c = central();
    c.create_agent(&agent("a")).unwrap();
    for name in ["plain", "shared"] {
        c.create_chat(&chat(name)).unwrap();
    }
    c.create_wiring(&wiring("plain", "a")).unwrap();
    c.create_wiring(&Wiring { session_mode: SessionMode::AgentShared, ..wiring("shared", "a") })
        .unwrap();
    let a = id("ag-a");
    c.create_session(&session("thread", "a", Some("plain"), Some("t"), 9)).unwrap();
    assert_eq!(c.agent_shared_session(&a).unwrap(), None);
    for (new, expected) in [
        // The chat's session will do while there is no better one; then the best, then the newest.
        (session("chat", "a", Some("plain"), None, 8), "chat"),
        (session("of-shared", "a", Some("shared"), None, 2), "of-shared"),
        (session("newer-chat", "a", Some("plain"), None, 9), "of-shared"),
        (session("of-none", "a", None, None, 3), "of-none"),
    ] {
        c.create_session(&new).unwrap();
        assert_eq!(found(c.agent_shared_session(&a).unwrap()).as_deref(), Some(expected));
    }
    let other = session("other", "a", Some("shared"), None, 20);
    let (same, made) = c.find_or_create_agent_shared(&other).unwrap();
    assert_eq!((same.id.as_str(), made), ("of-none", false));
}

#[test]
fn live_sessions_are_those_whose_box_is_not_stopped() {
    let c = home();
    for (n, status) in ContainerStatus::ALL.iter().enumerate() {
        let s = session(&format!("s{n}"), "a", None, None, 1);
        c.create_session(&s).unwrap();
        c.set_container(&s.id, *status).unwrap();
    }
    sql(&c, "UPDATE sessions SET container_status = NULL WHERE id = 's'");
    let live: Vec<_> = c.live_sessions().unwrap().into_iter().map(|s| s.container).collect();
    assert_eq!(live, [ContainerStatus::Running, ContainerStatus::Idle]);
    assert_eq!(c.session(&id("s")).unwrap().unwrap().container, ContainerStatus::Stopped);
    let plan: String = c
        .one(
            "explain",
            "EXPLAIN QUERY PLAN SELECT id FROM sessions WHERE container_status <> 'stopped'",
            [],
            |r| r.get(3),
        )
        .unwrap()
        .unwrap();
    assert!(plan.contains("idx_sessions_live"), "sleeping sessions are scanned: {plan}");
}

#[test]
fn writing_to_a_session_is_remembered() {
    let c = home();
    c.trace_inbound(at(3), "received", (&id("m"), &id("s")), "wired").unwrap();
    assert_eq!(c.trace_of_message("m").unwrap().len(), 1);
    assert_eq!(c.session(&id("s")).unwrap().unwrap().last_active, Some(iso(at(3))));
    sql(&c, "UPDATE sessions SET status = 'odd', container_status = 'odd'");
    let s = c.session(&id("s")).unwrap().unwrap();
    assert_eq!((s.active, s.container), (false, ContainerStatus::Running));
}
