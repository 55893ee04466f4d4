//! What a change makes of a set-up.

use super::*;
use serde_json::json;

fn parts(apt: &[&str], npm: &[&str], servers: Value) -> BoxParts {
    BoxParts { apt: json!(apt), npm: json!(npm), mcp_servers: servers, tools: None }
}

#[test]
fn packages_are_added_once_and_keep_their_order() {
    let before = parts(&["jq"], &[], json!({}));
    let change =
        Change::Packages { apt: vec!["tree".into(), "jq".into()], npm: vec!["is-odd".into()] };
    let after = change.after(&before).unwrap();
    assert_eq!(after, parts(&["jq", "tree"], &["is-odd"], json!({})));
    assert_eq!(change.after(&after).unwrap(), after, "again is the same");
    assert_eq!(change.are(), "tree, jq, is-odd are there");
}

#[test]
fn a_server_replaces_one_of_its_name_and_no_other() {
    let before = parts(&[], &[], json!({"a": {"command": "x"}, "b": {"command": "y"}}));
    let change = Change::Server { name: "a".into(), entry: json!({"command": "z"}) };
    let after = change.after(&before).unwrap();
    assert_eq!(after.mcp_servers, json!({"a": {"command": "z"}, "b": {"command": "y"}}));
    assert!(
        change.after(&parts(&[], &[], json!([]))).is_err(),
        "what is malformed is not replaced"
    );
}

#[test]
fn what_is_taken_away_is_gone_and_nothing_else() {
    let before = parts(&["jq", "tree"], &["jq"], json!({"a": {"command": "x"}, "b": {}}));
    let gone = |apt: &[&str], server: Option<&str>| Change::Gone {
        apt: apt.iter().map(|name| (*name).into()).collect(),
        npm: vec![],
        server: server.map(Into::into),
    };
    let after = gone(&["jq"], None).after(&before).unwrap();
    assert_eq!(after, parts(&["tree"], &["jq"], json!({"a": {"command": "x"}, "b": {}})));
    assert_eq!(gone(&["jq"], None).are(), "jq is gone");
    let after = gone(&[], Some("b")).after(&before).unwrap();
    assert_eq!(after, parts(&["jq", "tree"], &["jq"], json!({"a": {"command": "x"}})));
    assert_eq!(gone(&[], Some("b")).after(&after).unwrap(), after, "again is the same");
}

/// It lies in the database while a host is away.
#[test]
fn a_change_is_read_as_it_was_written() {
    for change in [
        Change::Packages { apt: vec!["jq".into()], npm: vec![] },
        Change::Server { name: "a".into(), entry: json!({"command": "z"}) },
        Change::Gone { apt: vec![], npm: vec!["x".into()], server: None },
        Change::CatchUp,
    ] {
        let text = serde_json::to_string(&change).unwrap();
        assert_eq!(serde_json::from_str::<Change>(&text).unwrap(), change);
    }
}
