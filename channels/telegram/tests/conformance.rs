//! Telegram, held to the cases of every channel, against a strict Bot API of our own.

mod own;
mod peer;

#[test]
fn telegram_does_what_every_channel_does() -> anyhow::Result<()> {
    nanoclaw_conformance::run(async || peer::Telegram::start().await)
}
