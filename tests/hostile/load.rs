//! Twenty people who chat, and how long they wait for their answers.

use super::Ward;
use anyhow::{Context as _, ensure};
use nanoclaw_testkit::platform::Platform;
use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How many people chat.
pub(super) const GOOD: usize = 20;
/// How often each writes.
const EVERY: Duration = Duration::from_millis(400);
/// How long one measurement takes.
pub(super) const WINDOW: Duration = Duration::from_secs(8);

/// What an attack may add to the median and to the p99, beyond a fifth: chance. Of 400 answers the p99 is the fifth
/// slowest, and where the disk or the cores below are shared, two calm windows differ by as much. An unoptimised host
/// and twenty chats also leave these two cores a quarter of their time, which a box that gives way uses up: who wakes
/// then waits for it to be put aside.
const CHANCE: (Duration, Duration) = (Duration::from_millis(3), Duration::from_millis(25));
/// How often it is measured, until once the others were not disturbed: an attack that matters shows every time.
const ROUNDS: usize = 5;

/// How long a greedy box may go unnoticed. Until then people may wait longer, but never this long.
const NOTICED: Duration = Duration::from_secs(1);

type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<Instant>>>>;

/// One measurement at a time: they would measure each other.
pub(super) static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Everybody chats for this long; returns how long each answer took, the shortest first.
pub(super) async fn chat(
    ward: &Ward,
    tag: &str,
    window: Duration,
) -> anyhow::Result<Vec<Duration>> {
    let (platform, waiting) = (ward.rig.platform.clone(), Waiting::default());
    let listener = tokio::spawn(listen(platform.clone(), waiting.clone()));
    let until = Instant::now() + window;
    let people: Vec<_> = (0..GOOD)
        .map(|n| tokio::spawn(person(platform.clone(), waiting.clone(), n, tag.to_owned(), until)))
        .collect();
    let mut took = Vec::new();
    for person in people {
        took.extend(person.await?.with_context(|| ward.rig.log())?);
    }
    listener.abort();
    took.sort_unstable();
    Ok(took)
}

async fn person(
    platform: Platform,
    waiting: Waiting,
    n: usize,
    tag: String,
    until: Instant,
) -> anyhow::Result<Vec<Duration>> {
    let mut took = Vec::new();
    let mut next = tokio::time::Instant::now() + EVERY * u32::try_from(n)? / u32::try_from(GOOD)?;
    for k in 0.. {
        tokio::time::sleep_until(next).await;
        if Instant::now() >= until {
            break;
        }
        let word = format!("{tag}-{n}-{k}");
        let (tell, told) = oneshot::channel();
        waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(word.clone(), tell);
        let said = Instant::now();
        platform.dm(&format!("good{n}"), &format!("echo {word}"));
        let shown = tokio::time::timeout(Duration::from_secs(60), told).await;
        let shown = shown.with_context(|| format!("{word} was not answered"))??;
        took.push(shown.duration_since(said));
        next = (next + EVERY).max(tokio::time::Instant::now());
    }
    Ok(took)
}

async fn listen(platform: Platform, waiting: Waiting) {
    let mut seen = platform.shown().len();
    platform
        .until(Duration::from_secs(3600), |p| {
            let now = Instant::now();
            for shown in p.shown_since(seen) {
                seen += 1;
                let word = shown.text.split(' ').next().unwrap_or_default();
                let waiter = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(word);
                if let Some(waiter) = waiter {
                    // Nobody waits any more when the person gave up.
                    waiter.send(now).ok();
                }
            }
            false
        })
        .await;
}

/// The time within which so many of 100 answers came.
fn percentile(took: &[Duration], of: usize) -> anyhow::Result<Duration> {
    took.get(took.len() * of / 100).copied().context("no answers")
}

/// Measures before, under and after an attack, and compares.
pub(super) async fn undisturbed(
    ward: &Ward,
    what: &str,
    mut attack: impl AsyncFnMut(usize) -> anyhow::Result<()>,
    mut calm: impl AsyncFnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut seen = Vec::new();
    // Their boxes start first.
    chat(ward, &format!("{what}-warm"), WINDOW / 4).await?;
    for round in 0..ROUNDS {
        let mut quiet = chat(ward, &format!("{what}-before-{round}"), WINDOW / 2).await?;
        attack(round).await?;
        let first = chat(ward, &format!("{what}-first-{round}"), NOTICED).await?;
        let attacked = chat(ward, &format!("{what}-under-{round}"), WINDOW).await?;
        calm().await?;
        quiet.extend(chat(ward, &format!("{what}-after-{round}"), WINDOW / 2).await?);
        quiet.sort_unstable();
        let (before, under) = (percentile(&quiet, 99)?, percentile(&attacked, 99)?);
        let (mid, mid_under) = (percentile(&quiet, 50)?, percentile(&attacked, 50)?);
        writeln!(
            std::io::stderr(),
            "{what}: p50 {mid:?} p99 {before:?} quiet, p50 {mid_under:?} p99 {under:?} attacked, at first {:?}",
            first.last()
        )?;
        seen.push((mid, mid_under, before, under));
        let at_first = first.last().is_some_and(|slowest| *slowest < NOTICED);
        let same = |before: Duration, under, chance| under <= before.mul_f64(1.2) + chance;
        if at_first && same(mid, mid_under, CHANCE.0) && same(before, under, CHANCE.1) {
            return Ok(());
        }
    }
    ensure!(false, "{what}: the others' median and p99, before and under attack: {seen:?}");
    Ok(())
}
