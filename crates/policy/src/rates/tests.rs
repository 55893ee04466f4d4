use super::*;
use crate::file::Rate;
use proptest::prelude::*;

fn limit(n: u32, seconds: u64, burst: u32) -> Limit {
    let per = Duration::from_secs(seconds);
    Limit { rule: "r".into(), rate: Rate { n, per, burst, key: Who::Agent } }
}

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn p28_of_fifty_at_once_exactly_three_pass() {
    let (rates, limits) = (Rates::default(), [limit(3, 60, 3)]);
    let passed = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                if rates.take(&limits, "a", "s", at(5)).is_ok() {
                    passed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(passed.into_inner(), 3);
    assert_eq!(rates.take(&limits, "a", "s", at(59_000)).unwrap_err().after, at(1_005));
    assert!(rates.take(&limits, "a", "s", at(60_005)).is_ok());
    assert!(rates.take(&limits, "b", "s", at(5)).is_ok(), "another agent has its own");
}

#[test]
fn p28_a_restart_and_a_clock_that_goes_back_give_nothing() {
    let (rates, limits) = (Rates::default(), [limit(3, 60, 3)]);
    for _ in 0..3 {
        rates.take(&limits, "a", "s", at(100_000)).unwrap();
    }
    assert!(rates.take(&limits, "a", "s", at(0)).is_err());
    let kept = serde_like(rates.keep(at(110_000)));
    let again = Rates::kept(kept, at(0));
    let refused = again.take(&limits, "a", "s", at(0)).unwrap_err();
    assert_eq!(refused.after, at(50_000));
    assert!(again.take(&limits, "a", "s", at(50_000)).is_ok());
}

fn serde_like(kept: Vec<Kept>) -> Vec<Kept> {
    #[derive(Serialize, Deserialize)]
    struct File {
        kept: Vec<Kept>,
    }
    toml::from_str::<File>(&toml::to_string(&File { kept }).unwrap()).unwrap().kept
}

#[test]
fn a_burst_is_followed_by_an_even_pace() {
    let (rates, limits) = (Rates::default(), [limit(60, 60, 2)]);
    let take = |ms| rates.take(&limits, "a", "s", at(ms)).map_err(|refused| refused.after);
    assert_eq!([take(0), take(0), take(0)], [Ok(()), Ok(()), Err(at(1000))]);
    assert_eq!([take(1000), take(1000)], [Ok(()), Err(at(1000))]);
}

#[test]
fn all_limits_count_or_none() {
    let (rates, mut two) = (Rates::default(), vec![limit(5, 60, 5), limit(1, 60, 1)]);
    two[1].rule = "one".into();
    assert!(rates.take(&two, "a", "s", at(0)).is_ok());
    for _ in 0..10 {
        assert_eq!(rates.take(&two, "a", "s", at(0)).unwrap_err().rule, "one");
    }
    for _ in 0..4 {
        rates.take(&two[..1], "a", "s", at(0)).unwrap();
    }
    assert!(rates.take(&two[..1], "a", "s", at(0)).is_err());
}

#[test]
fn p29_what_does_not_fit_is_refused() {
    let (rates, limits) = (Rates::default(), [limit(1, 60, 1)]);
    for agent in 0..KEYS_MAX {
        rates.take(&limits, &agent.to_string(), "s", at(0)).unwrap();
    }
    assert!(rates.take(&limits, "one more", "s", at(0)).is_err());
    assert!(rates.take(&limits, "one more", "s", at(60_000)).is_ok(), "what is over makes room");
    let broken = Rates::default();
    let poisoned = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let _held = broken.0.lock().unwrap();
                panic!("with the lock in hand");
            })
            .join()
    });
    assert!(poisoned.is_err() && broken.take(&limits, "a", "s", at(0)).is_err());
}

proptest! {
    #[test]
    fn p28_never_more_than_n_in_any_window(
        n in 1_u32..200, burst in 1_u32..200, steps in prop::collection::vec(0_u64..900, 1..600),
    ) {
        let (rates, limits) = (Rates::default(), [limit(n, 10, burst.min(n))]);
        let (mut now, mut passed) = (0, Vec::new());
        for step in steps {
            now += step;
            if rates.take(&limits, "a", "s", at(now)).is_ok() {
                passed.push(now);
            }
        }
        for (i, first) in passed.iter().enumerate() {
            let within = passed[i..].iter().take_while(|t| **t < first + 10_000).count();
            prop_assert!(within <= n as usize);
        }
    }
}
