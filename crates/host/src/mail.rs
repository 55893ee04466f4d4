//! Lines of the host itself, on their way to a chat.

use crate::{Host, HostError};
use nanoclaw_channel::Body;
use nanoclaw_contract::ids::Address;
use std::sync::Arc;

impl Host {
    /// ● A line to a chat, durable, delivered once per key. Blocks (one insert).
    pub(crate) fn mail(
        self: &Arc<Self>,
        key: &str,
        to: &Address,
        body: Body,
    ) -> Result<(), HostError> {
        let Body::Text { markdown, .. } = body else {
            return Err(HostError::Unknown("kind of mail".into()));
        };
        self.notify(to.clone(), key.to_owned(), markdown);
        Ok(())
    }
}
