//! Waits grow to their limit and begin anew.

use super::Backoff;
use std::time::Duration;

#[test]
fn waits_double_within_jitter_up_to_the_limit() {
    let (first, max) = (Duration::from_secs(1), Duration::from_secs(10));
    let mut backoff = Backoff::new(first, max);
    for whole in [1, 2, 4, 8, 10, 10] {
        let wait = backoff.next();
        let whole = Duration::from_secs(whole);
        assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}");
    }
    backoff.reset();
    assert!(backoff.next() <= first);
}

#[test]
fn absurd_durations_do_not_overflow() {
    let mut backoff = Backoff::new(Duration::MAX / 2, Duration::MAX / 2);
    assert!(backoff.next() <= Duration::MAX / 2 && backoff.next() <= Duration::MAX / 2);
}
