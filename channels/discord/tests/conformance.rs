//! Discord against a scripted peer: gateway and HTTP API as their documentation says.

mod peer;
mod stories;

#[test]
fn discord_holds_every_case() -> anyhow::Result<()> {
    nanoclaw_conformance::run(peer::Discord::open)
}
