use super::*;
use std::time::SystemTime;

const CALM: Strain = Strain {
    forks_refused: 10_000,
    killed_for_memory: 3,
    log_turned: Some(SystemTime::UNIX_EPOCH),
    full: false,
    held_back: false,
};

#[test]
fn only_what_grows_is_strain() {
    assert_eq!(judge(&CALM, &CALM), None);
    let forks = Strain { forks_refused: 20_000, ..CALM };
    assert_eq!(judge(&CALM, &forks), Some("it starts processes without end"));
    let memory = Strain { killed_for_memory: 4, ..CALM };
    assert_eq!(judge(&CALM, &memory), Some("it uses more memory than it may, again and again"));
    let output = Strain { log_turned: Some(SystemTime::UNIX_EPOCH + EVERY), ..CALM };
    assert_eq!(judge(&CALM, &output), Some("it writes output without end"));
}

/// What a bash without end was refused, looked at every five seconds: it waits 1, 2, 4 and 8 s.
#[test]
fn a_full_box_that_waits_before_it_forks_again_strains_all_the_while() {
    let looks = |full| {
        let mut its = Known::default();
        let refused = [901, 1_207, 1_207, 1_603, 1_641];
        refused.map(|n| its.learn(Strain { forks_refused: n, full, ..CALM }).is_some())
    };
    assert_eq!(looks(true), [false, false, false, true, true]);
    // With room for more, each time is its own.
    assert_eq!(looks(false), [false; 5]);
}

#[test]
fn a_box_that_is_full_and_asks_for_no_more_is_left_alone() {
    let mut its = Known::default();
    for refused in [0, 40, 40, 40, 45, 50, 50] {
        assert_eq!(its.learn(Strain { forks_refused: refused, full: true, ..CALM }), None);
    }
    // It had room in between: what was before does not count any more.
    for full in [false, true, true, true] {
        assert_eq!(its.learn(Strain { forks_refused: 60, full, ..CALM }), None);
    }
}

#[test]
fn a_box_that_is_held_back_starts_no_new_count() {
    let mut its = Known::default();
    let killed = |n, held_back| Strain { killed_for_memory: n, held_back, ..CALM };
    let looks = [killed(3, false), killed(4, false), killed(5, false), killed(5, true)];
    assert!(looks.into_iter().all(|look| its.learn(look).is_none()));
    assert!(its.learn(killed(6, true)).is_some());
}
