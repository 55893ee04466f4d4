//! Signatures, and what is made of a delivery.

use super::*;
use crate::ids::{Post, Thread};

#[test]
fn github_s_own_example_is_good() {
    // docs.github.com, "Validating webhook deliveries", testing the validation.
    let (secret, body) = ("It's a Secret to Everybody", b"Hello, World!");
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert!(is_signed(secret, body, signature));
    assert!(!is_signed("another", body, signature));
    assert!(!is_signed(secret, b"Hello, World", signature));
    for wrong in ["", "sha256=", &signature[7..], &signature[..70], "sha1=00", "sha256=zz"] {
        assert!(!is_signed(secret, body, wrong), "{wrong}");
    }
}

fn told(kind: &str, json: &str) -> Option<Event> {
    event(kind, serde_json::from_str(json).unwrap())
}

const REPO: &str =
    r#""repository":{"full_name":"o/r"},"sender":{"id":7,"login":"ann","type":"User"}"#;
const BY: &str = r#""user":{"id":7,"login":"ann","type":"User"},"created_at":"2026-01-02T03:04:05Z","updated_at":"2026-01-02T03:04:06Z""#;

#[test]
fn each_kind_has_its_place() {
    let thread = |kind, json: &str| told(kind, json).map(|e| (e.remark().thread, e.remark().post));
    let comment = |pull: &str| {
        format!(
            r#"{{"action":"created",{REPO},"issue":{{"number":3,{BY}{pull}}},"comment":{{"id":9,"body":"x",{BY}}}}}"#
        )
    };
    assert_eq!(thread("issue_comment", &comment("")), Some((Thread::Issue(3), Post::Comment(9))));
    let pull = r#","pull_request":{"url":"x"}"#;
    assert_eq!(thread("issue_comment", &comment(pull)), Some((Thread::Pull(3), Post::Comment(9))));
    let review = |reply: &str| {
        format!(
            r#"{{"action":"created",{REPO},"pull_request":{{"number":4,{BY}}},"comment":{{"id":9,"body":"x","path":"a.rs","diff_hunk":"@@","pull_request_url":"https://h/repos/o/r/pulls/4",{BY}{reply}}}}}"#
        )
    };
    let first = (Thread::Review { pull: 4, root: 9 }, Post::Review(9));
    assert_eq!(thread("pull_request_review_comment", &review("")), Some(first));
    let second = (Thread::Review { pull: 4, root: 5 }, Post::Review(9));
    assert_eq!(
        thread("pull_request_review_comment", &review(r#","in_reply_to_id":5"#)),
        Some(second)
    );
    // GitHub counts from one: what stands at zero has no address that an answer could go to.
    let zero = |json: String, from, to| {
        assert_eq!(thread("pull_request_review_comment", &json.replace(from, to)), None, "{json}");
    };
    zero(review(r#","in_reply_to_id":5"#), ":5", ":0");
    zero(review(""), "pulls/4", "pulls/0");
    zero(review(""), r#""id":9"#, r#""id":0"#);
    let opened = format!(
        r#"{{"action":"opened",{REPO},"issue":{{"number":3,"title":"It breaks","body":"badly\r\nvery",{BY}}}}}"#
    );
    let Some(Event::Said(remark)) = told("issues", &opened) else { panic!() };
    assert_eq!(remark.text, "It breaks\n\nbadly\nvery");
    let pull = opened.replace("issue\"", "pull_request\"");
    assert_eq!(thread("pull_request", &pull), Some((Thread::Pull(3), Post::Opening(3))));
}

#[test]
fn what_is_nothing_that_was_said_is_left_out() {
    for (kind, json) in [
        ("push", format!("{{{REPO}}}")),
        ("issues", format!(r#"{{"action":"labeled",{REPO},"issue":{{"number":3,{BY}}}}}"#)),
        ("issues", format!(r#"{{"action":"opened",{REPO}}}"#)),
        ("issue_comment", format!(r#"{{"action":"created",{REPO},"issue":{{"number":3,{BY}}}}}"#)),
        ("issues", r#"{"action":"opened","repository":{"full_name":"../../x"}}"#.to_owned()),
    ] {
        assert_eq!(told(kind, &json), None, "{kind} {json}");
    }
}
