//! When typing is shown.

use super::*;
use nanoclaw_contract::pulse::{Pulse, Tool};

#[test]
fn typing_follows_the_pulse() {
    let tool = |name: &str| {
        vec![Tool { id: "t".into(), name: name.into(), started_ms: 0, timeout_ms: None }]
    };
    for (phase, tools, steady, age, shown) in [
        (Phase::Starting, vec![], true, Some(0), true),
        (Phase::Model, vec![], true, Some(15), true),
        (Phase::Model, vec![], true, Some(16), false),
        (Phase::Model, vec![], true, None, true),
        (Phase::Idle, vec![], true, Some(600), true),
        (Phase::Idle, vec![], false, Some(600), true),
        (Phase::RateLimited, vec![], true, Some(0), false),
        (Phase::Tool, tool("Bash"), true, Some(0), true),
        (Phase::Tool, tool("mcp__nanoclaw__ask_user_question"), true, Some(0), false),
    ] {
        let pulse = Pulse { phase, since_ms: 0, tools: tools.clone() };
        let seen = Seen { pulse, steady, age: age.map(Duration::from_secs) };
        assert_eq!(at_work(Some(&seen)), shown, "{phase:?} {tools:?} {steady} {age:?}");
    }
    assert!(at_work(None), "a box that starts has no pulse yet");
}
