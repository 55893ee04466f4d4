//! Slack is held to the cases of every channel, and to those of its own.
#![expect(clippy::unwrap_used, reason = "a peer that breaks is a test that fails")]

mod peer;
mod stories;

#[test]
fn slack_holds_what_every_channel_holds() -> anyhow::Result<()> {
    nanoclaw_conformance::run(peer::Slack::new)
}
