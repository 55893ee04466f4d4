//! What changes an agent's box for good: packages and tool servers.

use crate::Host;
use nanoclaw_contract::ids::{AgentId, SessionId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Installs packages for an agent.
pub(crate) async fn install_packages(
    _host: &Arc<Host>,
    _agent: &AgentId,
    _apt: &[String],
    _npm: &[String],
    _session: Option<&SessionId>,
) -> Result<String, String> {
    std::future::ready(Err("packages cannot be installed yet".to_owned())).await
}

/// A tool server that an agent is to get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct McpServer {
    pub(crate) name: String,
    pub(crate) command: String,
    pub(crate) args: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
}

/// Gives an agent a tool server.
pub(crate) async fn add_mcp_server(
    _host: &Arc<Host>,
    _agent: &AgentId,
    _server: &McpServer,
    _session: Option<&SessionId>,
) -> Result<String, String> {
    std::future::ready(Err("tool servers cannot be added yet".to_owned())).await
}
