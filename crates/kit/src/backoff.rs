//! How long to wait before the next try.

use std::time::Duration;

#[cfg(test)]
mod tests;

/// Waits that double up to a limit; jittered, so that many clients do not come back at once.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Begins with about `first` and never waits longer than `max`.
    pub fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, next: first.min(max) }
    }

    /// The next wait: between half of it and all of it.
    #[expect(clippy::should_implement_trait, reason = "it has no end, so it gives no `Option`")]
    pub fn next(&mut self) -> Duration {
        let whole = self.next;
        self.next = whole.saturating_mul(2).min(self.max);
        whole.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// It worked: the next wait is the first again.
    pub fn reset(&mut self) {
        self.next = self.first.min(self.max);
    }
}
