//! What Slack says no with, and where the token may go.

use super::*;
use std::sync::Arc;

fn api(base: &str) -> Api {
    Api::new(base, "xoxb-secret".into(), Arc::new(|_| {})).unwrap()
}

fn no(code: &str, needed: Option<&str>) -> SendError {
    let needed = needed.map(str::to_owned);
    refused("chat.postMessage", Verdict { ok: false, error: Some(code.into()), needed }).error
}

#[test]
fn the_token_goes_to_slack_only() {
    let api = api("https://slack.com/api");
    for (url, ours) in [
        ("https://slack.com/api/x", true),
        ("https://files.slack.com/files-pri/T1-F1/a.png", true),
        ("http://files.slack.com/files-pri/T1-F1/a.png", false),
        ("https://slack.com.evil.example/a", false),
        ("https://evilslack.com/a", false),
        ("https://slack.com@evil.example/a", false),
        ("https://evil.example/?slack.com", false),
    ] {
        assert_eq!(api.is_slack(&Url::parse(url).unwrap()), ours, "{url}");
    }
    let own = Api::new("http://127.0.0.1:9/api", String::new(), Arc::new(|_| {})).unwrap();
    assert!(own.is_slack(&Url::parse("http://127.0.0.1:9/files/a").unwrap()));
    assert!(!own.is_slack(&Url::parse("http://127.0.0.1:10/files/a").unwrap()));
}

#[test]
fn what_slack_says_decides_what_happens_next() {
    for code in ["invalid_auth", "token_revoked", "account_inactive"] {
        assert!(matches!(no(code, None), SendError::Broken { .. }), "{code}");
    }
    for code in ["ratelimited", "internal_error", "service_unavailable"] {
        assert!(matches!(no(code, None), SendError::Retry { .. }), "{code}");
    }
    for code in ["channel_not_found", "msg_too_long", "what_is_this"] {
        assert!(matches!(no(code, None), SendError::Reject { .. }), "{code}");
    }
    assert!(matches!(no("missing_scope", Some("chat:write")), SendError::Broken { .. }));
    let SendError::Reject { why } = no("missing_scope", Some("reactions:write")) else { panic!() };
    assert!(why.contains("reactions:write") && why.contains("Add the scope"), "{why}");
}
