//! The platforms that only tests with the host in their own process have, beside those of every test.

#[path = "../../channels/emacs/tests/peer/mod.rs"]
mod emacs;
#[path = "../../channels/matrix/tests/peer/mod.rs"]
#[expect(clippy::unwrap_used, clippy::expect_used, reason = "written for its own channel's tests")]
mod matrix;
#[path = "../../channels/whatsapp/tests/peer/mod.rs"]
#[expect(clippy::unwrap_used, reason = "written for the tests of its own channel")]
mod whatsapp;

use nanoclaw_conformance::Peer;
use nanoclaw_tests::peers;
use std::sync::Arc;

/// The platform behind a channel, with its people.
pub(crate) async fn open(name: &str) -> anyhow::Result<Box<dyn Peer>> {
    Ok(match name {
        "emacs" => Box::new(emacs::Emacs::start().await?),
        "matrix" => {
            let synapse = tokio::task::spawn_blocking(matrix::Synapse::start).await??;
            Box::new(matrix::World::open(Arc::new(synapse)).await?)
        }
        "whatsapp" => Box::new(whatsapp::WhatsApp::start().await?),
        _ => peers::open(name).await?,
    })
}
