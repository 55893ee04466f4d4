//! WhatsApp against the cases that every channel is held to.

#![expect(clippy::unwrap_used, reason = "helpers of a test fail as the test does")]

mod peer;

#[test]
fn holds() -> anyhow::Result<()> {
    nanoclaw_conformance::run(peer::WhatsApp::start)
}
