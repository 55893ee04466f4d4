use super::card::visible;
use super::*;

fn approval(payload: &str, hash: &str) -> Approval {
    Approval {
        id: ApprovalId::parse("ap-1").unwrap(),
        session: None,
        action: String::new(),
        payload: payload.into(),
        agent: None,
        status: ApprovalStatus::Pending,
        title: String::new(),
        options: "[]".into(),
        hash: Some(hash.into()),
        needed: 1,
        expires_at: None,
        chosen: None,
        decided_by: None,
        outcome: None,
        created_at: String::new(),
    }
}

fn command(args: serde_json::Value) -> Action {
    Action::Command {
        agent: AgentId::parse("ag-1").unwrap(),
        command: "groups-list".into(),
        args: serde_json::from_value(args).unwrap(),
    }
}

#[test]
fn a_changed_action_is_no_longer_the_one_that_was_asked_for() {
    let payload = command(serde_json::json!({"a": "1"})).to_json().unwrap();
    let hash = hash(&payload);
    assert_eq!(intact(&approval(&payload, &hash)).unwrap(), command(serde_json::json!({"a": "1"})));
    let changed = payload.replace('1', "2");
    assert!(intact(&approval(&changed, &hash)).unwrap_err().contains("changed"));
    assert!(intact(&Approval { hash: None, ..approval(&payload, "") }).is_err());
}

#[test]
fn the_order_of_arguments_makes_no_difference() {
    let one = command(serde_json::json!({"x": {"b": 1, "a": 2}}));
    let two = command(serde_json::json!({"x": {"a": 2, "b": 1}}));
    assert_eq!(one.to_json().unwrap(), two.to_json().unwrap());
}

#[test]
fn nothing_hides_on_a_card() {
    assert_eq!(visible("a\u{202e}b\u{200b}c\u{7}d"), "a\\u{202e}b\\u{200b}c\\u{7}d");
    assert_eq!(visible("grüße 漢字\nzwei"), "grüße 漢字\nzwei");
}
