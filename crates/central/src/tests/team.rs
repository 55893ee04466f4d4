//! Where messages between agents go, and agents that agents make.

use super::*;
use nanoclaw_contract::ids::OutId;

#[test]
fn letters_go_to_the_newest_session_or_make_one() {
    let c = home();
    let new = session("new", "b", None, None, 9);
    let made = c.session_for_letters(&new).unwrap();
    assert_eq!((made.id.as_str(), made.chat.clone()), ("new", None));
    let again = session("newer", "b", None, None, 10);
    assert_eq!(c.session_for_letters(&again).unwrap().id, made.id, "made only once");
    c.create_session(&session("thread", "a", Some("one"), Some("t"), 1)).unwrap();
    c.create_session(&session("task", "a", Some("one"), Some("task:x"), 2)).unwrap();
    let found = c.session_for_letters(&session("new", "a", None, None, 3)).unwrap();
    assert_eq!(found.id, id("thread"), "a task's own session is not written to");
    c.close_session(&id("thread")).unwrap();
    let found = c.session_for_letters(&session("new", "a", None, None, 3)).unwrap();
    assert_eq!(found.id, id("s"), "a closed one neither");
}

#[test]
fn a_target_is_remembered_with_its_attempt() {
    let c = home();
    let (s, out): (SessionId, OutId) = (id("s"), id("o1"));
    c.begin_attempt(&s, &out, 1, None, at(0)).unwrap();
    assert_eq!(c.letter_target(&s, &out).unwrap(), None);
    c.set_letter_target(&s, &out, &id("s9")).unwrap();
    assert_eq!(c.letter_target(&s, &out).unwrap(), Some(id("s9")));
}

#[test]
fn an_agent_made_by_an_agent_knows_its_maker() {
    let c = home();
    let by: AgentId = id("ag-a");
    let made = Agent { name: "News Desk".into(), folder: "news-desk".into(), ..agent("n") };
    c.create_agent_for(&by, &made).unwrap();
    assert_eq!(c.creation(&by, "news-desk").unwrap(), Some(made.id.clone()));
    assert_eq!(c.creation(&id("ag-b"), "news-desk").unwrap(), None);
    assert_eq!(c.creations(&by).unwrap(), 1);
    let of = |agent: &AgentId| c.destinations_of(agent).unwrap();
    assert_eq!(of(&by)[0].name, "news-desk");
    assert_eq!(of(&made.id)[0].name, "parent");
    assert!(c.may_send_to_agent(&made.id, &by).unwrap());
    assert!(c.config(&made.id).unwrap().is_some());
}

#[test]
fn a_name_that_is_taken_makes_nothing() {
    let c = home();
    let by: AgentId = id("ag-a");
    c.add_destination(&by, "news", &DestinationTarget::Agent(id("ag-b")), at(0)).unwrap();
    let made = Agent { name: "News".into(), folder: "news".into(), ..agent("n") };
    let why = refusal(c.create_agent_for(&by, &made));
    assert_eq!(why, "you already have a destination named \"news\"");
    assert_eq!((c.agent(&made.id).unwrap(), c.creations(&by).unwrap()), (None, 0));
}
