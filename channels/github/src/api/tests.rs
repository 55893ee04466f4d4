//! Limits are pauses; a login taken back is not.

use super::*;
use reqwest::header::{HeaderName, HeaderValue};

fn sorted(status: u16, headers: &[(&'static str, &'static str)], said: &str) -> SendError {
    let pair = |(n, v): &(&'static str, &'static str)| {
        (HeaderName::from_static(n), HeaderValue::from_static(v))
    };
    let now = Timestamp::from_second(1_000_000).unwrap();
    sort(StatusCode::from_u16(status).unwrap(), &headers.iter().map(pair).collect(), said, now)
}

fn pause(error: &SendError) -> Option<u64> {
    match error {
        SendError::Retry { after, .. } => after.map(|a| a.as_secs()),
        SendError::Reject { .. } | SendError::Broken { .. } => None,
    }
}

#[test]
fn a_limit_is_a_pause_whatever_its_status() {
    assert_eq!(pause(&sorted(403, &[("retry-after", "17")], "")), Some(17));
    let primary = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1000120")];
    assert_eq!(pause(&sorted(403, &primary, "API rate limit exceeded")), Some(120));
    assert_eq!(pause(&sorted(403, &[], "You have exceeded a secondary rate limit")), Some(60));
    assert_eq!(pause(&sorted(429, &[], "")), Some(60));
    let past = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1")];
    assert_eq!(pause(&sorted(429, &past, "")), Some(1));
}

#[test]
fn the_rest_says_what_to_do() {
    assert!(matches!(sorted(401, &[], "Bad credentials"), SendError::Broken { .. }));
    let left = [("x-ratelimit-remaining", "4999"), ("x-ratelimit-reset", "1000120")];
    let SendError::Reject { why } = sorted(403, &left, "Resource not accessible") else { panic!() };
    assert!(why.contains("needs read and write access"), "{why}");
    for status in [301, 404, 410, 422] {
        assert!(matches!(sorted(status, &[], ""), SendError::Reject { .. }), "{status}");
    }
    assert!(matches!(sorted(502, &[], ""), SendError::Retry { after: None, .. }));
}
