//! What refusals mean.

use super::is_busy;

#[test]
fn a_busy_server_says_nothing_of_the_password() {
    for busy in [
        "[UNAVAILABLE] Temporary authentication failure.",
        "[ALERT] Too many simultaneous connections. (Failure)",
        "[INUSE] the mailbox is locked",
        "[LIMIT] slow down",
        "Server busy, try again later",
    ] {
        assert!(is_busy(&format!("code: None, info: Some({busy:?})")), "{busy}");
    }
    for wrong in [
        "[AUTHENTICATIONFAILED] Invalid credentials (Failure)",
        "Authentication failed. Please try again.",
        "LOGIN failed.",
    ] {
        assert!(!is_busy(&format!("code: None, info: Some({wrong:?})")), "{wrong}");
    }
}
