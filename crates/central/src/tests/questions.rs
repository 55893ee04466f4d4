//! Questions that wait for an answer.

use super::*;
use nanoclaw_contract::content::{Choice, Question};
use nanoclaw_contract::ids::{OutId, QuestionId, ThreadId};

fn question(name: &str) -> Question {
    let yes = Choice { label: "Yes".into(), selected_label: "✅ Yes".into(), value: "y".into() };
    Question { question_id: id(name), title: "T".into(), question: "Q?".into(), options: vec![yes] }
}

fn put(c: &Central, name: &str, session: &str, thread: Option<&str>) -> QuestionId {
    let (session, out): (SessionId, OutId) = (id(session), id("out"));
    c.put_question(&question(name), &session, &out, &address(thread), at(0)).unwrap()
}

fn in_chat(c: &Central, thread: Option<&str>) -> Vec<String> {
    let thread: Option<ThreadId> = thread.map(id);
    let all = c.questions_in_chat(&id("cli"), &id("one"), thread.as_ref()).unwrap();
    all.into_iter().map(|q| q.asked_as.to_string()).collect()
}

#[test]
fn a_question_is_answered_once() {
    let c = home();
    let q1 = put(&c, "q1", "s", Some("t"));
    assert_eq!(put(&c, "q1", "s", Some("t")), q1, "asked again it is the same");
    let q = c.question(&q1).unwrap().unwrap();
    assert_eq!(
        (q.at.clone(), q.options.clone(), q.asked_as.clone(), q.title.as_str()),
        (Some(address(Some("t"))), question("q1").options, id("q1"), "T")
    );
    assert_eq!(c.take_question(&q1).unwrap(), Some(q));
    assert_eq!(c.take_question(&q1).unwrap(), None);
    assert_eq!(c.question(&q1).unwrap(), None);
}

#[test]
fn a_question_nobody_waits_for_is_not_answered_by_typing() {
    let c = home();
    let q1 = put(&c, "q1", "s", None);
    assert_eq!(in_chat(&c, None), ["q1"]);
    c.expire_question(&q1).unwrap();
    assert_eq!(in_chat(&c, None), [""; 0]);
    assert!(c.question(&q1).unwrap().is_some_and(|q| q.late), "its buttons still count");
}

#[test]
fn typed_answers_find_the_latest_question_of_their_own_thread() {
    let c = home();
    for (name, thread) in [("q1", None), ("q2", Some("t")), ("q3", None)] {
        put(&c, name, "s", thread);
    }
    assert_eq!(in_chat(&c, None), ["q3", "q1"]);
    assert_eq!(in_chat(&c, Some("t")), ["q2"]);
    assert_eq!(in_chat(&c, Some("u")), [""; 0]);
}

#[test]
fn an_id_chosen_in_a_box_never_stands_for_anything_else() {
    let c = home();
    c.create_session(&session("s2", "b", Some("two"), None, 0)).unwrap();
    let (one, other) = (put(&c, "q1", "s", None), put(&c, "q1", "s2", None));
    assert_ne!(one, other, "two sessions that choose the same id ask two questions");
    assert_eq!(c.question(&other).unwrap().unwrap().session, id("s2"));
    let (s2, out) = (id("s2"), id("out"));
    let approval = c.put_question(&question("ap-1"), &s2, &out, &address(None), at(0));
    assert_eq!(refusal(approval), "the question id ap-1 is taken");
    for chosen in ["appr-1", "nsa-1", "mg-two", one.as_str()] {
        let on_card = put(&c, chosen, "s2", None);
        assert!(on_card.as_str().starts_with("q-") && on_card != one, "{chosen}");
        assert_eq!(c.question(&on_card).unwrap().unwrap().session, id("s2"));
    }
}

#[test]
fn a_session_that_asks_without_end_loses_its_own_oldest() {
    let c = home();
    c.create_session(&session("s2", "b", Some("two"), None, 0)).unwrap();
    put(&c, "other", "s2", None);
    for n in 0..QUESTIONS_PER_SESSION_MAX + 3 {
        put(&c, &format!("q{n}"), "s", None);
    }
    let open = in_chat(&c, None);
    assert_eq!(open.len() as i64, QUESTIONS_PER_SESSION_MAX + 1);
    assert!(
        open.contains(&"other".into())
            && open.contains(&"q3".into())
            && !open.contains(&"q2".into())
    );
}

/// They are looked for with every message where a platform has no buttons.
#[test]
fn questions_and_tasks_are_found_without_a_scan() {
    let c = home();
    let plan = |sql: &str| -> Vec<String> {
        let sql = format!("EXPLAIN QUERY PLAN {sql}");
        c.list("plan", &sql, [], |r| r.get::<_, String>(3)).unwrap()
    };
    for sql in [
        "SELECT * FROM pending_questions WHERE channel_type = 'c' AND platform_id = 'p' AND thread_id IS NULL AND late = 0",
        "SELECT rowid FROM pending_questions WHERE session_id = 's' ORDER BY rowid DESC",
    ] {
        assert!(plan(sql).iter().all(|l| !l.starts_with("SCAN")), "{:?}", plan(sql));
    }
    let (session, agent) = (id("s"), id("ag-a"));
    for which in [
        TaskFilter { session: Some(&session), ..TaskFilter::default() },
        TaskFilter { session: Some(&session), id: Some("t"), ..TaskFilter::default() },
        TaskFilter { session: Some(&session), id: Some("t"), agent: Some(&agent) },
    ] {
        let sql = format!("SELECT * FROM tasks {}", tasks::rest_for(&which));
        let numbered = ["'t'", "'ag-a'", "'s'", "100", "0"].iter().enumerate();
        let sql = numbered.fold(sql, |s, (n, v)| s.replace(&format!("?{}", n + 1), v));
        assert!(plan(&sql).iter().all(|l| !l.starts_with("SCAN")), "{:?}", plan(&sql));
    }
}

#[test]
fn old_questions_and_denials_are_forgotten() {
    let c = home();
    put(&c, "q1", "s", None);
    let (chat, agent, user) = (id("mg-one"), id("ag-a"), id("cli:u"));
    c.deny_sender(&chat, &agent, &user, at(5)).unwrap();
    assert_eq!(c.prune_questions(at(0)).unwrap(), 0);
    assert_eq!(c.prune_questions(at(1_000)).unwrap(), 1);
    assert_eq!((c.prune_denials(at(4)).unwrap(), c.prune_denials(at(6)).unwrap()), (0, 1));
}
