//! Signatures, names and times, as Svix and Resend write them.

use super::from;
use super::hook::{Named, event, is_signed, secret};
use crate::ids::Email;

/// From the tests that Svix publishes with its libraries.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const RIGHT: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

#[test]
fn one_right_signature_is_enough_and_nothing_else_is() {
    let key = secret(SECRET).unwrap();
    let check = |given: &str| is_signed(&key, ID, "1614265330", BODY, given);
    assert!(check(RIGHT) && check(&format!("v1,b2xk v2,eA== {RIGHT}")));
    for wrong in ["", "v1,", "v1", "v2,eA==", &RIGHT[3..], &RIGHT.replace("v1", "v2")] {
        assert!(!check(wrong), "{wrong:?}");
    }
    assert!(!is_signed(&key, "msg_other", "1614265330", BODY, RIGHT));
    assert!(!is_signed(&key, ID, "1614265331", BODY, RIGHT));
    assert!(secret("whsec_").is_none() && secret("whsec_no base64!").is_none());
}

#[test]
fn times_are_read_as_webhooks_and_as_lists_write_them() {
    let read = |at: &str| Named::parse("a39999a6-88e3", at).map(|named| named.at);
    let same = read("2025-10-09T14:37:40.951732+00:00").unwrap();
    assert_eq!(read("2025-10-09 14:37:40.951732+00"), Some(same));
    assert_eq!(read("2025-10-09T14:37:40.951732Z"), Some(same));
    for at in ["", "now", "2025-10-09", "-000001-01-01T00:00:00Z"] {
        assert_eq!(read(at), None, "{at:?}");
    }
    for id in ["", "../x", "a/b", "a?b", &"x".repeat(65)] {
        assert_eq!(Named::parse(id, "2025-10-09T14:37:40Z"), None, "{id:?}");
    }
    assert_eq!(event(br#"{"type":"email.sent","data":{}}"#), Ok(None));
    assert_eq!(event(br#"{"type":"email.received","data":{}}"#), Err(()));
}

#[test]
fn a_name_cannot_be_an_address() {
    let own = Email::parse("agent@x.example").unwrap();
    assert_eq!(from(Some("Nano\r\nBcc: <you@y.example>"), &own).matches('<').count(), 1);
    assert_eq!(from(Some(" "), &own), "agent@x.example");
}
