//! A hook for tests that kill the runner at a durable point.
//!
//! `NANOCLAW_FAULT=<point>[:n]` in the environment aborts the process at the n-th pass of the point.
//! Points: `runner.claimed`, `runner.consumed`, `runner.before-commit`, `runner.after-commit`, and around
//! every write of the outbox `runner.commit` and `runner.committed`. Whoever can set the runner's
//! environment can stop it anyway.

use std::sync::atomic::{AtomicU32, Ordering};

static PASSES: AtomicU32 = AtomicU32::new(0);

/// Passes a point.
pub(crate) fn point(name: &str) {
    let Ok(wanted) = std::env::var("NANOCLAW_FAULT") else { return };
    let (point, n) = wanted.split_once(':').unwrap_or((&wanted, "1"));
    if point == name && Some(PASSES.fetch_add(1, Ordering::Relaxed) + 1) == n.parse().ok() {
        crate::log::log!("fault: stopping at {name}");
        std::process::abort();
    }
}
