//! Real adapters and the platforms that they talk to, as the crates of the channels have them for their own tests.

#[path = "../channels/discord/tests/peer/mod.rs"]
mod discord;
#[path = "../channels/email/tests/peer/mod.rs"]
mod email;
#[path = "../channels/github/tests/peer/mod.rs"]
#[expect(dead_code, clippy::unwrap_used, reason = "written for the tests of its own channel")]
mod github;
#[path = "../channels/email/tests/people/mod.rs"]
mod people;
#[path = "../channels/slack/tests/peer/mod.rs"]
#[expect(dead_code, clippy::unwrap_used, reason = "written for the tests of its own channel")]
mod slack;
#[path = "../channels/telegram/tests/peer/mod.rs"]
#[expect(dead_code, reason = "more is needed by the tests of its own channel")]
mod telegram;

use nanoclaw_channel::ChannelDef;
use nanoclaw_conformance::Peer;

/// Every channel that can be had beside the fake one.
static REAL: [&ChannelDef; 5] = [
    &nanoclaw_channel_telegram::CHANNEL,
    &nanoclaw_channel_slack::CHANNEL,
    &nanoclaw_channel_discord::CHANNEL,
    &nanoclaw_channel_github::CHANNEL,
    &nanoclaw_channel_email::CHANNEL,
];

/// The fake channels, and the real ones of these names. For a process that starts one host, or a few.
pub fn with(names: &[String]) -> &'static [&'static ChannelDef] {
    let real = REAL.iter().filter(|c| names.iter().any(|n| n == c.name)).copied();
    nanoclaw_testkit::channel::CHANNELS.iter().copied().chain(real).collect::<Vec<_>>().leak()
}

/// The platform behind a channel, with its people; GitHub can be one that reaches no webhook.
pub async fn open(name: &str) -> anyhow::Result<Box<dyn Peer>> {
    Ok(match name {
        "telegram" => Box::new(telegram::Telegram::start().await?),
        "slack" => Box::new(slack::Slack::new().await?),
        "discord" => Box::new(discord::Discord::open().await?),
        "email" => Box::new(email::Mail::start().await?),
        "github" => Box::new(github::GitHub::new().await?),
        "github, read" => Box::new(github::GitHub::without_webhooks().await?),
        _ => anyhow::bail!("no platform for the channel {name}"),
    })
}
