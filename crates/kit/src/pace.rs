//! Keeps to a platform's rate limits: so many at once, then one every so often, for each key.
//!
//! A key is what the platform counts by: a chat, a token, a route.

use crate::lock;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

#[cfg(test)]
mod tests;

/// Keys that are remembered; the one that is free soonest is forgotten for the next.
const KEYS_MAX: usize = 10_000;

/// Longest pause that a platform can ask for.
const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// The pace of one kind of call.
#[derive(Debug)]
pub struct Pace<K> {
    /// How far a key may run ahead.
    ahead: Duration,
    every: Duration,
    keys: Mutex<BTreeMap<K, Turn>>,
}

/// What is known of a key.
#[derive(Debug, Clone, Copy)]
struct Turn {
    /// When all that was let through would be through at one every so often.
    even: Instant,
    /// Nothing before this.
    paused: Instant,
}

impl<K: Ord + Clone> Pace<K> {
    /// Lets `burst` through at once, then one for each `every`.
    pub fn new(burst: u32, every: Duration) -> Self {
        let ahead = every.saturating_mul(burst.saturating_sub(1));
        Self { ahead, every, keys: Mutex::new(BTreeMap::new()) }
    }

    /// Returns when it is this call's turn. Dropping the call before that loses only its turn.
    pub async fn wait(&self, key: &K) {
        loop {
            let at = self.take(key);
            tokio::time::sleep_until(at).await;
            let paused = lock(&self.keys).get(key).map(|turn| turn.paused);
            // A pause that began while this call waited holds for it too: it takes a turn behind it.
            if paused.is_none_or(|paused| paused <= Instant::now()) {
                return;
            }
        }
    }

    /// The platform asked for silence: nothing goes through before `for_` is over, and then no burst.
    pub fn pause(&self, key: &K, for_: Duration) {
        let paused = Instant::now() + for_.min(PAUSE_MAX);
        let mut keys = lock(&self.keys);
        let turn = self.turn(&mut keys, key);
        turn.paused = turn.paused.max(paused);
        turn.even = turn.even.max(paused + self.ahead);
    }

    fn take(&self, key: &K) -> Instant {
        let mut keys = lock(&self.keys);
        let turn = self.turn(&mut keys, key);
        let at = turn.even.checked_sub(self.ahead).unwrap_or(turn.even).max(turn.paused);
        turn.even += self.every;
        at
    }

    fn turn<'a>(&self, keys: &'a mut BTreeMap<K, Turn>, key: &K) -> &'a mut Turn {
        let now = Instant::now();
        if keys.len() >= KEYS_MAX && !keys.contains_key(key) {
            keys.retain(|_, turn| turn.even > now);
            while keys.len() >= KEYS_MAX {
                let Some(free) = keys.iter().min_by_key(|(_, turn)| turn.even) else { break };
                let free = free.0.clone();
                keys.remove(&free);
            }
        }
        let turn = keys.entry(key.clone()).or_insert(Turn { even: now, paused: now });
        turn.even = turn.even.max(now);
        turn
    }
}
