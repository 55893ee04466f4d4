//! Agents that work together.

use crate::Host;
use nanoclaw_contract::ids::{AgentId, SessionId};
use std::sync::Arc;

/// Makes an agent on behalf of another one.
pub(crate) async fn create_agent(
    _host: &Arc<Host>,
    _by: &AgentId,
    _name: &str,
    _instructions: Option<&str>,
    _session: Option<&SessionId>,
) -> Result<String, String> {
    std::future::ready(Err("agents cannot be created yet".to_owned())).await
}
