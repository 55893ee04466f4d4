//! The Matrix channel against a real Synapse and people with another client, matrix-nio; all rooms encrypted.
//!
//! Needs the program (`bash channels/matrix/build.sh`) and the Python packages (`tests/tools.sh`).

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod peer;

use peer::{Synapse, World};
use std::sync::Arc;

#[test]
fn matrix_does_what_every_channel_does() -> anyhow::Result<()> {
    let synapse = Arc::new(Synapse::start()?);
    nanoclaw_conformance::run(async || World::open(Arc::clone(&synapse)).await)
}
