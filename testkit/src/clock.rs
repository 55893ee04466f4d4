//! A clock that follows tokio's, so that a paused runtime moves both.

use nanoclaw_contract::time::{Clock, Timestamp};
use tokio::time::Instant;

/// Starts at a fixed time and runs with tokio's clock.
#[derive(Debug)]
pub struct SimClock {
    base: Timestamp,
    started: Instant,
}

impl SimClock {
    /// Starts now, at 2026-03-01 09:00 UTC.
    pub fn start() -> Self {
        Self {
            base: Timestamp::from_second(1_772_355_600).unwrap_or_default(),
            started: Instant::now(),
        }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.base + self.started.elapsed()
    }
}
