//! Which failure is which.

use super::*;

#[test]
fn failures_are_sorted_by_what_to_do() {
    let reset = ErrorKind::RateLimited { resets_at: Some(5) };
    for (class, status, text, expected) in [
        ("authentication_failed", Some(401), "Failed to authenticate", ErrorKind::Auth),
        ("authentication_failed", None, "Not logged in · Please run /login", ErrorKind::Auth),
        ("unknown", None, "Not logged in · Please run /login", ErrorKind::Auth),
        ("unknown", Some(403), "API Error: 403", ErrorKind::Auth),
        ("billing_error", Some(400), "Credit balance is too low", ErrorKind::Billing),
        ("invalid_request", Some(400), "Credit balance is too low", ErrorKind::Billing),
        ("rate_limit", Some(429), "API Error: Request rejected (429)", reset.clone()),
        ("rate_limit", None, "You've hit your limit", reset),
        ("server_error", Some(529), "API Error: 529", ErrorKind::Overloaded),
        ("server_error", Some(500), "API Error: 500", ErrorKind::Unreachable),
        ("server_error", None, "API Error: Connection refused", ErrorKind::Unreachable),
        ("unknown", Some(400), "API Error: 400", ErrorKind::BadRequest),
        ("invalid_request", None, "Prompt is too long", ErrorKind::BadRequest),
        ("max_output_tokens", None, "too much", ErrorKind::Other),
    ] {
        let heard = Heard { class: Some(class.to_owned()), resets_at: Some(5) };
        let outcome = Outcome {
            subtype: "success".to_owned(),
            is_error: true,
            api_error_status: status,
            result: Some(text.to_owned()),
            ..Outcome::default()
        };
        let error = judge(&outcome, &heard).expect("a failure");
        assert_eq!((error.kind, error.detail.as_str()), (expected, text), "{class} {status:?}");
    }
}

#[test]
fn an_interruption_is_no_error_of_the_api() {
    let outcome = Outcome {
        subtype: "error_during_execution".to_owned(),
        is_error: true,
        terminal_reason: Some("aborted_tools".to_owned()),
        ..Outcome::default()
    };
    assert_eq!(judge(&outcome, &Heard::default()).unwrap().kind, ErrorKind::Interrupted);
    let outcome = Outcome {
        subtype: "error_max_turns".to_owned(),
        errors: vec!["Reached maximum number of turns (3)".to_owned()],
        ..Outcome::default()
    };
    let error = judge(&outcome, &Heard::default()).unwrap();
    assert_eq!((error.kind, error.detail.contains("(3)")), (ErrorKind::Other, true));
    assert_eq!(judge(&Outcome::default(), &Heard::default()), None);
}

#[test]
fn a_conversation_is_given_up_only_for_a_refusal() {
    let exited = Some(ExitStatus::from_raw(1 << 8));
    let killed = Some(ExitStatus::from_raw(9));
    let refusal = Some("No conversation found".to_owned());
    assert_eq!(stillborn(true, exited, refusal.clone(), "").kind, ErrorKind::LostConversation);
    assert_eq!(stillborn(false, exited, refusal, "").kind, ErrorKind::Setup);
    assert_eq!(stillborn(true, exited, None, "bad server").kind, ErrorKind::Setup);
    assert_eq!(stillborn(true, killed, None, "").kind, ErrorKind::Other);
    let error = stillborn(false, exited, None, "bad flag\n");
    assert_eq!(error.kind, ErrorKind::Setup);
    assert!(error.detail.ends_with("exit status: 1; its last words: bad flag"), "{}", error.detail);
    assert!(dead(killed, "").detail.contains("signal: 9"));
}
