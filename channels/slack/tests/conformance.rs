//! Slack is held to the cases of every channel.

mod peer;

#[test]
fn slack_holds_what_every_channel_holds() -> anyhow::Result<()> {
    nanoclaw_conformance::run(peer::Slack::new)
}
