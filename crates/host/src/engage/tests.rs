use super::*;
use nanoclaw_central::{IgnoredPolicy, SenderScope, SessionMode};

fn wiring(mode: Option<EngageMode>, pattern: Option<&str>) -> Wiring {
    Wiring {
        id: "w".parse().unwrap(),
        chat: "mg".parse().unwrap(),
        agent: "ag".parse().unwrap(),
        session_mode: SessionMode::Shared,
        priority: 0,
        engage_mode: mode,
        engage_pattern: pattern.map(str::to_owned),
        sender_scope: SenderScope::All,
        ignored: IgnoredPolicy::Drop,
        previews: false,
        created_at: String::new(),
    }
}

fn pattern(pattern: Option<&str>, text: &str) -> Engages {
    let said = Said { text, mention: Mention::No, thread: None };
    engages(&wiring(Some(EngageMode::Pattern), pattern), &said, ChatKind::Group, false)
}

#[test]
fn patterns_are_found_anywhere_in_their_case() {
    for (p, text, fits) in [
        (None, "", true),
        (Some("."), "", true),
        (Some(""), "x", true),
        (Some("^@Andy\\b"), "@Andy hi", true),
        (Some("^@Andy\\b"), "hi @Andy", false),
        (Some("^@Andy\\b"), "@Andypandy", false),
        (Some("^@Andy\\b"), "@andy hi", false),
        (Some("deploy"), "please deploy now", true),
        (Some(".."), "a", false),
        (Some("[0-9]{3}"), "call 112", true),
        (Some("a/b\\/c"), "a/b/c", true),
    ] {
        let is = pattern(p, text);
        let wanted =
            if fits { matches!(is, Engages::Yes(_)) } else { matches!(is, Engages::No(_)) };
        assert!(wanted, "{p:?} on {text:?}: {is:?}");
    }
}

#[test]
fn a_pattern_that_is_no_regular_expression_refuses() {
    for p in ["(", "a{", "*", "(?=x)", "\\1", "((((a{999}){999}){999}){999}", &"a".repeat(5000)] {
        let is = pattern(Some(p), "anything (?=x) a");
        assert!(matches!(is, Engages::BadPattern(_)), "{p:.20}: {is:?}");
    }
}

#[test]
fn a_pattern_takes_linear_time() {
    let started = std::time::Instant::now();
    let text = format!("{}!", "a".repeat(100_000));
    assert!(matches!(pattern(Some("^(a+)+$"), &text), Engages::No(_)));
    assert!(started.elapsed() < std::time::Duration::from_secs(5));
}

#[test]
fn mentions_count_and_stick_to_their_thread_only() {
    use ChatKind::{Direct, Group};
    use EngageMode::{Mention as M, MentionSticky as S};
    let thread: ThreadId = "t".parse().unwrap();
    for (mode, mention, chat, in_thread, before, engaged) in [
        (Some(M), Mention::Yes, Group, false, false, true),
        (Some(M), Mention::No, Group, true, true, false),
        (Some(M), Mention::No, Direct, false, true, false),
        (Some(S), Mention::Yes, Group, true, false, true),
        (Some(S), Mention::Yes, Direct, false, false, true),
        (Some(S), Mention::No, Group, true, true, true),
        // Not addressed in this thread yet, whatever sessions exist.
        (Some(S), Mention::No, Group, true, false, false),
        // A group without threads would never end.
        (Some(S), Mention::No, Group, false, true, false),
        (Some(S), Mention::No, Direct, true, true, false),
        // A wiring without a mode never engages.
        (None, Mention::Yes, Direct, true, true, false),
    ] {
        let said = Said { text: "hi", mention, thread: in_thread.then_some(&thread) };
        let is = engages(&wiring(mode, Some(".")), &said, chat, before);
        let wanted =
            if engaged { matches!(is, Engages::Yes(_)) } else { matches!(is, Engages::No(_)) };
        assert!(wanted, "{mode:?} {mention:?} {chat:?} {in_thread} {before}: {is:?}");
    }
}
