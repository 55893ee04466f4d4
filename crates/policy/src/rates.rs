//! How much is too much: never more than `n` within any `per`, and never more than `burst` at once.
//!
//! The time is the caller's and only grows; a step of the wall clock means nothing. What does not fit into
//! memory is refused, not forgotten. Passes are counted in groups when there are many, and a group is as young
//! as its last member: the count errs to the strict side.

use crate::file::{Limit, Who};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

const KEYS_MAX: usize = 10_000;
const GROUPS: u32 = 64;
/// Where time begins, so that what was before the start of the process has a time too.
const ORIGIN: Duration = Duration::from_secs(2 * 86_400);

/// What passed, for each limit and whom it counts for.
#[derive(Default)]
pub struct Rates(Mutex<HashMap<String, Passed>>);

#[derive(Default, Clone)]
struct Passed {
    groups: VecDeque<(Duration, u32)>,
    /// When the burst is used up no longer.
    burst_until: Duration,
    /// When nothing of this is of interest any more.
    until: Duration,
}

/// A limit was met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the limit {rule:?} is reached; try again in {} s", after.as_secs() + 1)]
pub struct TooMuch {
    /// Name of the rule.
    pub rule: String,
    /// When it may pass again.
    pub after: Duration,
}

/// What outlives a restart: how long ago what passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    key: String,
    passed: Vec<(u64, u32)>,
    burst_ms: u64,
    until_ms: u64,
}

impl Rates {
    /// Counts one request for every limit, or for none of them.
    pub fn take(
        &self,
        limits: &[Limit],
        agent: &str,
        session: &str,
        now: Duration,
    ) -> Result<(), TooMuch> {
        let now = now.saturating_add(ORIGIN);
        let full = |limit: &Limit| TooMuch { rule: limit.rule.clone(), after: limit.rate.per };
        let Some(first) = limits.first() else { return Ok(()) };
        let mut all = self.0.lock().map_err(|_| full(first))?;
        if all.len() + limits.len() > KEYS_MAX {
            all.retain(|_, passed| passed.until > now);
        }
        let mut counted = Vec::with_capacity(limits.len());
        for limit in limits {
            let whose = match limit.rate.key {
                Who::Agent => agent,
                Who::Session => session,
                Who::Install => "",
            };
            let key = format!("{}\n{whose}", limit.rule);
            let mut passed = match all.get(&key) {
                Some(passed) => passed.clone(),
                None if all.len() + counted.len() >= KEYS_MAX => return Err(full(limit)),
                None => Passed::default(),
            };
            passed
                .count(limit, now)
                .map_err(|after| TooMuch { rule: limit.rule.clone(), after })?;
            counted.push((key, passed));
        }
        all.extend(counted);
        Ok(())
    }

    /// What has to be kept for the next start.
    pub fn keep(&self, now: Duration) -> Vec<Kept> {
        let now = now.saturating_add(ORIGIN);
        let Ok(all) = self.0.lock() else { return Vec::new() };
        let living = all.iter().filter(|(_, passed)| passed.until > now);
        living
            .map(|(key, passed)| Kept {
                key: key.clone(),
                passed: passed.groups.iter().map(|(at, n)| (ms(now, *at), *n)).collect(),
                burst_ms: ms(passed.burst_until, now),
                until_ms: ms(passed.until, now),
            })
            .collect()
    }

    /// What was kept, as if no time had gone by: how much did, no clock can be trusted to say.
    #[must_use]
    pub fn kept(kept: Vec<Kept>, now: Duration) -> Self {
        let now = now.saturating_add(ORIGIN);
        let later = |ms| now.saturating_add(Duration::from_millis(ms));
        let all = kept.into_iter().take(KEYS_MAX).map(|one| {
            let ago = |ms| now.saturating_sub(Duration::from_millis(ms));
            let groups = one.passed.into_iter().map(|(ms, n)| (ago(ms), n)).collect();
            let (burst_until, until) = (later(one.burst_ms), later(one.until_ms));
            (one.key, Passed { groups, burst_until, until })
        });
        Self(Mutex::new(all.collect()))
    }
}

fn ms(later: Duration, earlier: Duration) -> u64 {
    u64::try_from(later.saturating_sub(earlier).as_millis()).unwrap_or(u64::MAX)
}

impl Passed {
    /// Counts one more, or says how long to wait.
    fn count(&mut self, limit: &Limit, now: Duration) -> Result<(), Duration> {
        let rate = limit.rate;
        // A caller whose time went back is answered for the latest time there was.
        let now = self.groups.back().map_or(now, |(at, _)| now.max(*at));
        while self.groups.front().is_some_and(|(at, _)| *at + rate.per <= now) {
            self.groups.pop_front();
        }
        let passed: u32 = self.groups.iter().fold(0, |sum, (_, n)| sum.saturating_add(*n));
        if passed >= rate.n {
            let oldest = self.groups.front().map_or(now, |(at, _)| *at);
            return Err((oldest + rate.per).saturating_sub(now));
        }
        if rate.burst < rate.n {
            let each = rate.per / rate.n.max(1);
            let until = self.burst_until.max(now) + each;
            let over = until.saturating_sub(now + each * rate.burst);
            if !over.is_zero() {
                return Err(over);
            }
            self.burst_until = until;
        }
        match self.groups.back_mut() {
            Some((at, n)) if *n < rate.n.div_ceil(GROUPS) => (*at, *n) = (now, *n + 1),
            _ => self.groups.push_back((now, 1)),
        }
        self.until = now + rate.per;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
