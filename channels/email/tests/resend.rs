//! Resend is held to the cases of every channel, and to those of its own.
#![expect(clippy::unwrap_used, reason = "a peer that breaks is a test that fails")]

mod people;
mod stories;
mod strict;

#[test]
fn an_address_at_resend() -> anyhow::Result<()> {
    nanoclaw_conformance::run(strict::Resend::start)
}
