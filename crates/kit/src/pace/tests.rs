//! Bursts, the pace behind them, pauses, and bounded memory; the clock is paused.

use super::{KEYS_MAX, Pace};
use std::time::Duration;
use tokio::time::Instant;

async fn timed(pace: &Pace<u32>, key: u32) -> u128 {
    let begin = Instant::now();
    pace.wait(&key).await;
    begin.elapsed().as_millis()
}

#[tokio::test(start_paused = true)]
async fn a_burst_goes_through_and_then_one_at_a_time() {
    let pace = Pace::new(3, Duration::from_secs(1));
    let mut waits = Vec::new();
    for _ in 0..5 {
        waits.push(timed(&pace, 1).await);
    }
    assert_eq!(waits, [0, 0, 0, 1000, 1000]);
    assert_eq!(timed(&pace, 2).await, 0, "another key has a pace of its own");
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_for_who_waits_already_and_ends_without_a_burst() {
    let pace = std::sync::Arc::new(Pace::new(2, Duration::from_secs(1)));
    pace.wait(&1).await;
    pace.wait(&1).await;
    let begin = Instant::now();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let pace = std::sync::Arc::clone(&pace);
        waiting.spawn(async move {
            pace.wait(&1).await;
            Instant::now()
        });
    }
    tokio::task::yield_now().await;
    pace.pause(&1, Duration::from_secs(30));
    let mut ends: Vec<u64> = Vec::new();
    while let Some(end) = waiting.join_next().await {
        ends.push((end.unwrap() - begin).as_secs());
    }
    ends.sort_unstable();
    assert_eq!(ends, [30, 31, 32]);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_keys_takes_no_more_memory_than_the_limit() {
    let pace = Pace::new(1, Duration::from_secs(3600));
    for key in 0..(KEYS_MAX + 50) {
        pace.wait(&key).await;
    }
    assert!(pace.keys.lock().unwrap().len() <= KEYS_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_years_is_cut_to_an_hour() {
    let pace = Pace::new(1, Duration::from_millis(1));
    pace.pause(&1, Duration::from_secs(u64::MAX));
    assert_eq!(timed(&pace, 1).await, 3_600_000);
}
