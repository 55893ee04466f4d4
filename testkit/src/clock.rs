//! A clock that follows tokio's, so that a paused runtime moves both.

use nanoclaw_contract::time::{Clock, SystemClock, Timestamp};
use tokio::time::Instant;

/// Starts at some time and runs with tokio's clock.
#[derive(Debug)]
pub struct SimClock {
    base: Timestamp,
    started: Instant,
}

impl SimClock {
    /// Starts now, at 2026-03-01 09:00 UTC.
    pub fn start() -> Self {
        Self::from(Timestamp::from_second(1_772_355_600).unwrap_or_default())
    }

    /// Starts now, at the time that it is.
    pub fn real() -> Self {
        Self::from(SystemClock.now())
    }

    fn from(base: Timestamp) -> Self {
        Self { base, started: Instant::now() }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.base + self.started.elapsed()
    }
}
