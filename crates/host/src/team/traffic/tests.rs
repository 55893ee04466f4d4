//! Two agents, second by second.

use super::*;

fn id(name: &str) -> AgentId {
    AgentId::parse(name).unwrap()
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(1_800_000_000_000 + ms).unwrap()
}

/// How often `from` passes in a row at this time, and what ends it.
fn run(traffic: &mut Traffic, from: &str, to: &str, ms: i64) -> (u32, Verdict) {
    let mut passed = 0;
    loop {
        match traffic.admit(&id(from), &id(to), at(ms)) {
            Verdict::Pass => passed += 1,
            end => return (passed, end),
        }
    }
}

#[test]
fn one_way_has_a_burst_and_then_a_pace() {
    let mut t = Traffic::default();
    assert_eq!(run(&mut t, "a", "b", 0), (20, Verdict::Wait(EARN_ONE)));
    assert_eq!(run(&mut t, "a", "b", 1_500), (0, Verdict::Wait(Duration::from_millis(4_500))));
    assert_eq!(run(&mut t, "a", "b", 12_000), (2, Verdict::Wait(EARN_ONE)));
    assert_eq!(
        run(&mut t, "a", "c", 12_000),
        (20, Verdict::Wait(EARN_ONE)),
        "another way is its own"
    );
    // A clock that goes back earns nothing and loses nothing.
    assert_eq!(run(&mut t, "a", "b", 0), (0, Verdict::Wait(EARN_ONE)));
}

#[test]
fn a_pair_is_stopped_and_both_ways_count() {
    let mut t = Traffic::default();
    assert_eq!(run(&mut t, "a", "b", 0).0, 20);
    assert_eq!(run(&mut t, "b", "a", 0), (9, Verdict::Last));
    for (from, to, ms) in [("b", "a", 0), ("a", "b", 1_000), ("b", "a", 599_999)] {
        assert_eq!(run(&mut t, from, to, ms), (0, Verdict::Braked), "{from} {ms}");
    }
    assert_eq!(run(&mut t, "b", "c", 0).0, 20, "others go on");
    assert_eq!(run(&mut t, "b", "a", 600_000).0, 20, "it lasts ten minutes");
}

#[test]
fn a_person_lets_both_go_on() {
    let mut t = Traffic::default();
    for (who, goes) in [("a", true), ("b", true), ("c", false)] {
        t = Traffic::default();
        run(&mut t, "a", "b", 0);
        assert_eq!(run(&mut t, "b", "a", 0), (9, Verdict::Last));
        t.person_wrote(&id(who));
        let braked = t.admit(&id("b"), &id("a"), at(0)) == Verdict::Braked;
        assert_eq!(braked, !goes, "{who}");
    }
    assert_eq!(t.pairs.len(), 1);
}

#[test]
fn slow_partners_are_stopped_too_and_silent_ones_are_forgotten() {
    let mut t = Traffic::default();
    let all: Vec<_> = (0..30).map(|n| t.admit(&id("a"), &id("a"), at(n * 120_000))).collect();
    assert_eq!(all[28..], [Verdict::Pass, Verdict::Last]);
    assert_eq!(t.admit(&id("x"), &id("y"), at(29 * 120_000 + 600_000)), Verdict::Pass);
    assert_eq!((t.ways.len(), t.pairs.len()), (1, 1));
}

#[test]
fn a_clock_that_is_set_back_stops_nobody_for_as_long() {
    let (mut t, day) = (Traffic::default(), 86_400_000);
    run(&mut t, "a", "b", day);
    assert_eq!(run(&mut t, "b", "a", day), (9, Verdict::Last));
    assert_eq!(run(&mut t, "a", "b", 0), (0, Verdict::Braked));
    assert_eq!(run(&mut t, "a", "b", 600_000).0, 20, "ten minutes are ten minutes");
}

#[test]
fn what_an_agent_sets_itself_to_begins_anew_with_every_person() {
    let mut t = Traffic::default();
    for _ in 0..3 {
        assert_eq!(run(&mut t, "a", "a", 0), (20, Verdict::Wait(EARN_ONE)));
        t.person_wrote(&id("b"));
        assert_eq!(run(&mut t, "a", "a", 0), (0, Verdict::Wait(EARN_ONE)), "to another agent");
        t.person_wrote(&id("a"));
    }
}
