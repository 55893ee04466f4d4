//! Fault points: a test kills the process exactly here.
//!
//! Host and runner name their points `host.…` and `runner.…`, one at every durable step. Whoever can set a
//! process's environment can stop it anyway.
//!
//! `NANOCLAW_FAULT=<point>[:n]` aborts the process when it passes the point for the n-th time. The
//! variable is read once; without it a point costs one atomic load.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

struct Plan {
    point: String,
    left: AtomicU32,
}

static PLAN: OnceLock<Option<Plan>> = OnceLock::new();

/// Dies here if a test asked for it.
pub fn point(name: &str) {
    let plan = PLAN.get_or_init(|| {
        let text = std::env::var("NANOCLAW_FAULT").ok()?;
        let (point, n) = text.split_once(':').unwrap_or((&text, "1"));
        Some(Plan { point: point.to_owned(), left: AtomicU32::new(n.parse().unwrap_or(1)) })
    });
    if let Some(plan) = plan
        && plan.point == name
        && plan.left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
}
