//! Emacs against the cases that every channel is held to.

mod peer;

#[test]
fn holds() -> anyhow::Result<()> {
    nanoclaw_conformance::run(peer::Emacs::start)
}
