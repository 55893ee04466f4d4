//! Wirings, destinations and engaged threads.

use super::*;
use nanoclaw_contract::message::{Destination, Target};

#[test]
fn wirings_are_asked_by_priority_then_age() {
    let c = home();
    c.create_agent(&agent("c")).unwrap();
    c.create_wiring(&Wiring { created_at: iso(at(2)), ..wiring("one", "a") }).unwrap();
    c.create_wiring(&Wiring { created_at: iso(at(1)), ..wiring("one", "b") }).unwrap();
    c.create_wiring(&Wiring { priority: 5, ..wiring("one", "c") }).unwrap();
    c.create_wiring(&wiring("two", "a")).unwrap();
    let order: Vec<_> = c.wirings_of_chat(&id("mg-one")).unwrap();
    let order: Vec<_> = order.into_iter().map(|w| w.unwrap().agent.to_string()).collect();
    assert_eq!(order, ["ag-c", "ag-b", "ag-a"]);
    assert_eq!(c.wirings().unwrap().len(), 4);
    assert!(c.remove_wiring(&id("mga-one-a")).unwrap());
    assert!(!c.remove_wiring(&id("mga-one-a")).unwrap());
    assert_eq!(c.wirings_of_chat(&id("mg-one")).unwrap().len(), 2);
}

#[test]
fn a_wiring_is_one_per_chat_and_agent_and_of_both() {
    let c = home();
    c.create_wiring(&wiring("one", "a")).unwrap();
    let again = Wiring { id: id::<WiringId>("mga-again"), ..wiring("one", "a") };
    assert!(refusal(c.create_wiring(&again)).contains("UNIQUE"));
    assert!(refusal(c.create_wiring(&wiring("one", "x"))).contains("FOREIGN KEY"));
    assert!(refusal(c.create_wiring(&wiring("x", "a"))).contains("there is no chat"));
    // Nothing of a refused wiring stays behind.
    assert_eq!(c.wirings().unwrap().len(), 1);
    assert_eq!(c.destinations_of(&id("ag-a")).unwrap().len(), 1);
}

#[test]
fn what_a_wiring_leaves_open_is_read_closed() {
    let c = home();
    sql(&c, "INSERT INTO messaging_group_agents (id, messaging_group_id, agent_group_id, session_mode, priority, created_at)
             VALUES ('w', 'mg-one', 'ag-a', NULL, NULL, '')");
    let w = c.wirings_of_chat(&id("mg-one")).unwrap().remove(0).unwrap();
    assert_eq!((w.engage_mode, w.sender_scope), (None, SenderScope::Known));
    assert_eq!(
        (w.ignored, w.session_mode, w.priority),
        (IgnoredPolicy::Drop, SessionMode::Shared, 0)
    );
}

#[test]
fn a_wiring_with_an_unknown_word_is_broken_alone() {
    let c = home();
    for column in ["engage_mode", "sender_scope", "ignored_message_policy", "session_mode"] {
        sql(&c, "DELETE FROM messaging_group_agents");
        c.create_wiring(&wiring("one", "a")).unwrap();
        c.create_wiring(&wiring("one", "b")).unwrap();
        sql(
            &c,
            &format!(
                "UPDATE messaging_group_agents SET {column} = 'ALWAYS' WHERE id = 'mga-one-a'"
            ),
        );
        let all = c.wirings_of_chat(&id("mg-one")).unwrap();
        let broken = all[0].as_ref().unwrap_err();
        assert_eq!((broken.table, broken.id.as_str()), ("messaging_group_agents", "mga-one-a"));
        assert!(broken.why.contains("ALWAYS"), "{column}: {}", broken.why);
        assert_eq!(all[1].as_ref().unwrap().agent, id("ag-b"));
        assert_eq!(c.broken_rows().unwrap(), std::slice::from_ref(broken));
    }
}

#[test]
fn a_wiring_gives_the_agent_a_name_for_the_chat() {
    let c = home();
    let names = |c: &Central| -> Vec<String> {
        c.destinations_of(&id("ag-a")).unwrap().into_iter().map(|d| d.name).collect()
    };
    c.update_chat(&Chat { name: Some("Gen".into()), ..chat("one") }).unwrap();
    c.create_wiring(&wiring("one", "a")).unwrap();
    assert_eq!(names(&c), ["gen"]);
    // Unwired and wired again: still one name.
    c.remove_wiring(&id("mga-one-a")).unwrap();
    c.create_wiring(&wiring("one", "a")).unwrap();
    assert_eq!(names(&c), ["gen"]);
    c.update_chat(&Chat { name: Some("GEN!".into()), ..chat("two") }).unwrap();
    c.create_wiring(&wiring("two", "a")).unwrap();
    assert_eq!(names(&c), ["gen", "gen-2"]);
    c.create_chat(&Chat { name: None, ..chat("nameless-chat") }).unwrap();
    c.create_wiring(&wiring("nameless-chat", "a")).unwrap();
    assert_eq!(names(&c), ["cli-mg-namel", "gen", "gen-2"]);
}

#[test]
fn destination_names_are_v2s() {
    for (text, name) in [
        ("PR Reviews!", "pr-reviews"),
        ("  --a__b--  ", "a-b"),
        ("dana@example.org", "dana-example-org"),
        ("家族", "unnamed"),
        ("", "unnamed"),
    ] {
        assert_eq!(destination_name(text), name);
    }
}

#[test]
fn a_destination_is_name_and_permission() {
    let c = home();
    let (a, b, one) = (id::<AgentId>("ag-a"), id::<AgentId>("ag-b"), id::<ChatId>("mg-one"));
    assert!(!c.may_send_to_chat(&a, &one).unwrap() && !c.may_send_to_agent(&a, &b).unwrap());
    c.add_destination(&a, "home", &DestinationTarget::Chat(one.clone()), at(0)).unwrap();
    c.add_destination(&a, "friend", &DestinationTarget::Agent(b.clone()), at(0)).unwrap();
    assert!(c.may_send_to_chat(&a, &one).unwrap() && c.may_send_to_agent(&a, &b).unwrap());
    // Not the other way round, and not by mixing up the kinds.
    assert!(!c.may_send_to_agent(&b, &a).unwrap() && !c.may_send_to_chat(&b, &one).unwrap());
    assert!(!c.may_send_to_chat(&a, &id("ag-b")).unwrap());
    let friend = Destination {
        name: "friend".into(),
        display_name: Some("B".into()),
        target: Target::Agent(b.clone()),
    };
    let home = Destination {
        name: "home".into(),
        display_name: Some("ONE".into()),
        target: Target::Channel { channel_type: id("cli"), platform_id: id("one") },
    };
    assert_eq!(c.destinations_of(&a).unwrap(), [friend, home.clone()]);
    assert!(
        refusal(c.add_destination(&a, "home", &DestinationTarget::Agent(b), at(0)))
            .contains("already has")
    );
    assert!(
        c.remove_destination(&a, "friend").unwrap() && !c.remove_destination(&a, "friend").unwrap()
    );
    assert_eq!(c.destinations_of(&a).unwrap(), [home]);
}

#[test]
fn a_destination_without_target_or_with_an_odd_name_refuses() {
    let c = home();
    let (a, one) = (id::<AgentId>("ag-a"), DestinationTarget::Chat(id("mg-one")));
    for name in ["", "  ", "a\"b", "<b>", "x\ny", &"n".repeat(101)] {
        assert!(
            refusal(c.add_destination(&a, name, &one, at(0))).contains("cannot name"),
            "{name:?}"
        );
    }
    let gone = DestinationTarget::Chat(id("mg-gone"));
    assert!(
        refusal(c.add_destination(&a, "gone", &gone, at(0)))
            .contains("there is no channel mg-gone")
    );
    // A target that went later, or a kind that nobody knows, is no destination.
    sql(
        &c,
        "INSERT INTO agent_destinations VALUES ('ag-a', 'gone', 'channel', 'mg-gone', '');
             INSERT INTO agent_destinations VALUES ('ag-a', 'odd', 'planet', 'mg-one', '');",
    );
    assert_eq!(c.destinations_of(&a).unwrap(), []);
    assert!(!c.may_send_to_chat(&a, &id("mg-one")).unwrap());
}

#[test]
fn a_thread_stays_engaged_until_it_is_left() {
    let c = home();
    let (a, one, t) = (id("ag-a"), id("mg-one"), id("t1"));
    // A session of the thread proves nothing: kept messages make sessions too.
    c.create_session(&session("s2", "a", Some("one"), Some("t1"), 1)).unwrap();
    assert!(!c.is_thread_engaged(&a, &one, &t).unwrap());
    c.engage_thread(&a, &one, &t, at(1)).unwrap();
    c.engage_thread(&a, &one, &t, at(2)).unwrap();
    assert!(c.is_thread_engaged(&a, &one, &t).unwrap());
    assert!(!c.is_thread_engaged(&id("ag-b"), &one, &t).unwrap());
    assert!(!c.is_thread_engaged(&a, &one, &id("t2")).unwrap());
}
