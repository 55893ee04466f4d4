//! Questions that wait for an answer.

use super::*;
use nanoclaw_contract::content::{Choice, Question};
use nanoclaw_contract::ids::{OutId, QuestionId, ThreadId};

fn question(name: &str) -> Question {
    let yes = Choice { label: "Yes".into(), selected_label: "✅ Yes".into(), value: "y".into() };
    Question { question_id: id(name), title: "T".into(), question: "Q?".into(), options: vec![yes] }
}

fn put(c: &Central, name: &str, session: &str, thread: Option<&str>) -> bool {
    let (session, out): (SessionId, OutId) = (id(session), id("out"));
    c.put_question(&question(name), &session, &out, &address(thread), at(0)).unwrap()
}

fn in_chat(c: &Central, thread: Option<&str>) -> Vec<String> {
    let thread: Option<ThreadId> = thread.map(id);
    let all = c.questions_in_chat(&id("cli"), &id("one"), thread.as_ref()).unwrap();
    all.into_iter().map(|q| q.id.to_string()).collect()
}

#[test]
fn a_question_is_answered_once() {
    let c = home();
    assert!(put(&c, "q1", "s", Some("t")) && put(&c, "q1", "s", Some("t")));
    let q = c.question(&id("q1")).unwrap().unwrap();
    assert_eq!(
        (q.at.clone(), q.options.clone()),
        (Some(address(Some("t"))), question("q1").options)
    );
    assert_eq!(c.take_question(&id("q1")).unwrap(), Some(q));
    assert_eq!(c.take_question(&id("q1")).unwrap(), None);
    assert_eq!(c.question(&id("q1")).unwrap(), None);
}

#[test]
fn typed_answers_find_the_latest_question_of_their_own_thread() {
    let c = home();
    for (name, thread) in [("q1", None), ("q2", Some("t")), ("q3", None)] {
        assert!(put(&c, name, "s", thread));
    }
    assert_eq!(in_chat(&c, None), ["q3", "q1"]);
    assert_eq!(in_chat(&c, Some("t")), ["q2"]);
    assert_eq!(in_chat(&c, Some("u")), [""; 0]);
}

#[test]
fn a_question_id_that_is_somebody_elses_refuses() {
    let c = home();
    c.create_session(&session("s2", "b", Some("two"), None, 0)).unwrap();
    assert!(put(&c, "q1", "s", None));
    assert!(!put(&c, "q1", "s2", None));
    assert_eq!(c.question(&id("q1")).unwrap().unwrap().session, id("s"));
    sql(&c, "INSERT INTO pending_approvals (approval_id, request_id, action, payload, created_at) VALUES ('appr-1', 'r', 'a', '{}', '');
             INSERT INTO pending_sender_approvals (id, messaging_group_id, agent_group_id, sender_identity, original_message, approver_user_id, created_at)
               VALUES ('nsa-1', 'mg-one', 'ag-a', 'x', '{}', 'y', '');
             INSERT INTO pending_channel_approvals (messaging_group_id, agent_group_id, original_message, approver_user_id, created_at)
               VALUES ('mg-two', 'ag-a', '{}', 'y', '');");
    for approval in ["appr-1", "nsa-1", "mg-two"] {
        assert!(!put(&c, approval, "s", None), "{approval}");
        assert_eq!(c.question(&id::<QuestionId>(approval)).unwrap(), None);
    }
}

#[test]
fn a_session_that_asks_without_end_loses_its_own_oldest() {
    let c = home();
    c.create_session(&session("s2", "b", Some("two"), None, 0)).unwrap();
    assert!(put(&c, "other", "s2", None));
    for n in 0..QUESTIONS_PER_SESSION_MAX + 3 {
        assert!(put(&c, &format!("q{n}"), "s", None));
    }
    let open = in_chat(&c, None);
    assert_eq!(open.len() as i64, QUESTIONS_PER_SESSION_MAX + 1);
    assert!(
        open.contains(&"other".into())
            && open.contains(&"q3".into())
            && !open.contains(&"q2".into())
    );
}
