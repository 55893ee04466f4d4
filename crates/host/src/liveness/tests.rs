use super::*;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + secs).unwrap()
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn tool(name: &str, started: i64, timeout: Option<i64>) -> Tool {
    Tool {
        id: "1".into(),
        name: name.into(),
        started_ms: at(started).as_millisecond(),
        timeout_ms: timeout.map(|s| s.saturating_mul(1000)),
    }
}

/// A box of ours at second 0: a beat 1 s ago, the model at work on a claim of 10 s ago.
fn working() -> LivenessFacts {
    LivenessFacts {
        phase: Phase::Model,
        steady: true,
        pulse_age: secs(1),
        tools: Vec::new(),
        oldest_claim: Some(secs(10)),
        now: at(0),
        last_step: LastStep::None,
    }
}

fn v2() -> LivenessFacts {
    LivenessFacts { steady: false, ..working() }
}

fn say(facts: &LivenessFacts) -> String {
    match judge(facts) {
        Verdict::Healthy { check_again_in } => format!("healthy for {check_again_in:?}"),
        Verdict::Wait { check_again_in } => format!("wait {check_again_in:?}"),
        Verdict::Interrupt(why) => format!("interrupt: {why}"),
        Verdict::Stop(why) => format!("stop: {why}"),
        Verdict::Kill(why) => format!("kill: {why}"),
    }
}

#[test]
fn an_idle_box_is_well_however_long_it_is_silent() {
    let idle = LivenessFacts {
        phase: Phase::Idle,
        pulse_age: secs(1_000_000),
        oldest_claim: None,
        ..working()
    };
    assert_eq!(say(&idle), "healthy for 60s");
    assert_eq!(say(&LivenessFacts { steady: false, ..idle }), "healthy for 60s");
}

#[test]
fn work_with_a_pulse_has_no_ceiling() {
    for phase in [Phase::Starting, Phase::Model, Phase::RateLimited, Phase::Tool] {
        let facts = LivenessFacts { phase, oldest_claim: Some(secs(100_000)), ..working() };
        assert_eq!(say(&facts), "healthy for 59s", "{phase:?}");
    }
    // A tool that asked for nothing may be an agent of its own.
    let facts = LivenessFacts { tools: vec![tool("Task", -50_000, None)], ..working() };
    assert_eq!(say(&facts), "healthy for 59s");
}

#[test]
fn silence_with_work_is_stopped_after_a_minute() {
    for (pulse, claim, is) in [
        (59, Some(100), "healthy for 1s"),
        (60, Some(100), "stop: no sign of life for 60 s while it has work"),
        (75, None, "stop: no sign of life for 75 s while it has work"),
        // It was idle and silent until it claimed.
        (5000, Some(20), "healthy for 40s"),
        (5000, Some(60), "stop: no sign of life for 60 s while it has work"),
    ] {
        let facts =
            LivenessFacts { pulse_age: secs(pulse), oldest_claim: claim.map(secs), ..working() };
        assert_eq!(say(&facts), is, "{pulse} {claim:?}");
    }
    let claimed_idle = LivenessFacts {
        phase: Phase::Idle,
        pulse_age: secs(90),
        oldest_claim: Some(secs(80)),
        ..working()
    };
    assert!(say(&claimed_idle).starts_with("stop"));
}

#[test]
fn a_tool_is_interrupted_when_it_overruns_what_it_asked_for() {
    for (tool, is) in [
        (tool("Bash", -10, Some(60)), "healthy for 59s"),
        (tool("Bash", -60, Some(60)), "healthy for 30s"),
        (tool("Bash", -91, Some(60)), "interrupt: the tool Bash runs for 91 s and had 60 s"),
        (tool("Bash", -149, None), "healthy for 1s"),
        (tool("Bash", -151, None), "interrupt: the tool Bash runs for 151 s and had 120 s"),
        (tool("Bash", -2700, Some(7200)), "healthy for 59s"),
        (tool("ask_user_question", -3000, Some(86_400)), "healthy for 59s"),
        (tool("mcp", -40, Some(1)), "interrupt: the tool mcp runs for 40 s and had 1 s"),
    ] {
        let facts = LivenessFacts { tools: vec![tool.clone()], ..working() };
        assert_eq!(say(&facts), is, "{tool:?}");
    }
}

#[test]
fn hostile_numbers_of_a_box_are_read_without_overflow() {
    for (started_ms, timeout_ms, healthy) in [
        (i64::MIN, Some(i64::MAX), true),
        (i64::MAX, Some(i64::MIN), true),
        (i64::MIN, Some(i64::MIN), false),
        (i64::MIN, None, true),
    ] {
        let name = "x".repeat(10_000);
        let tool = Tool { id: String::new(), name, started_ms, timeout_ms };
        let said = say(&LivenessFacts { tools: vec![tool], ..working() });
        assert_eq!(said.starts_with("healthy"), healthy, "{started_ms} {timeout_ms:?}: {said}");
        assert!(said.len() < 200);
    }
}

#[test]
fn each_step_has_its_time_before_the_next() {
    let overdue = LivenessFacts { tools: vec![tool("Bash", -500, Some(60))], ..working() };
    for (last_step, is) in [
        (LastStep::None, "interrupt: the tool Bash runs for 500 s and had 60 s"),
        (LastStep::Interrupted(at(0)), "wait 30s"),
        (LastStep::Interrupted(at(-29)), "wait 1s"),
        (
            LastStep::Interrupted(at(-30)),
            "stop: the tool Bash runs for 500 s and had 60 s; the interrupt did not help",
        ),
        (LastStep::Terminated(at(-4)), "wait 6s"),
        (LastStep::Terminated(at(-10)), "kill: it did not exit within 10s"),
        // The clock was set back: the time is over rather than endless.
        (
            LastStep::Interrupted(at(9)),
            "stop: the tool Bash runs for 500 s and had 60 s; the interrupt did not help",
        ),
        (LastStep::Terminated(at(9)), "kill: it did not exit within 10s"),
    ] {
        assert_eq!(say(&LivenessFacts { last_step, ..overdue.clone() }), is);
    }
    // The interrupt helped.
    let better = LivenessFacts { last_step: LastStep::Interrupted(at(-5)), ..working() };
    assert_eq!(say(&better), "healthy for 59s");
    // Told to exit, it is seen off even if it pulses.
    let leaving = LivenessFacts { last_step: LastStep::Terminated(at(-11)), ..working() };
    assert_eq!(say(&leaving), "kill: it did not exit within 10s");
    // A silent box hears no interrupt.
    let silent = LivenessFacts {
        pulse_age: secs(99),
        oldest_claim: None,
        last_step: LastStep::Interrupted(at(-1)),
        ..working()
    };
    assert!(say(&silent).starts_with("stop"));
}

#[test]
fn a_box_of_v2_is_judged_by_v2s_rules() {
    let bash = |timeout| vec![tool("Bash", -1, Some(timeout))];
    for (pulse, claim, tools, is) in [
        // Fresh pulse; no claims.
        (1, None, vec![], "healthy for 60s"),
        // No pulse since the claim: a minute, or what the shell asked for.
        (70, Some(30), vec![], "healthy for 30s"),
        (70, Some(61), vec![], "stop: no sign of life for 61 s while it has work"),
        (400, Some(300), bash(600), "healthy for 300s"),
        // A pulse after the claim: it is at work, for half an hour without another.
        (100, Some(900), vec![], "healthy for 1700s"),
        (1800, Some(5000), vec![], "stop: no sign of life for 1800 s while it has work"),
        (2700, Some(5000), bash(7200), "healthy for 4500s"),
    ] {
        let facts =
            LivenessFacts { pulse_age: secs(pulse), oldest_claim: claim.map(secs), tools, ..v2() };
        assert_eq!(say(&facts), is, "{pulse} {claim:?}");
    }
}
