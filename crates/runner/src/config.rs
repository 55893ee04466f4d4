//! `container.json`: what the host says about the agent. Read once, at the start.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Rows per prompt, if nothing else is said.
const BATCH: usize = 10;
/// Largest file that is read.
const BYTES_MAX: u64 = 1 << 20;

/// The configuration.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    pub(crate) provider: String,
    pub(crate) assistant_name: String,
    pub(crate) agent_id: String,
    pub(crate) batch: usize,
    pub(crate) mcp_servers: BTreeMap<String, serde_json::Value>,
    pub(crate) model: Option<String>,
    pub(crate) effort: Option<String>,
    pub(crate) previews: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    provider: Option<String>,
    assistant_name: Option<String>,
    agent_group_id: Option<String>,
    max_messages_per_prompt: Option<usize>,
    mcp_servers: Option<BTreeMap<String, serde_json::Value>>,
    model: Option<String>,
    effort: Option<String>,
    stream_previews: Option<bool>,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("container.json cannot be read: {0}")]
pub(crate) struct BadConfig(String);

/// Reads the file; one that is missing means defaults, one that is broken is an error: the agent
/// must not silently become another.
pub(crate) fn read(path: &Path) -> Result<Config, BadConfig> {
    let text = match path.metadata() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::from("{}"),
        Ok(meta) if meta.len() > BYTES_MAX => {
            return Err(BadConfig(format!("it is larger than {BYTES_MAX} bytes")));
        }
        Err(_) | Ok(_) => std::fs::read_to_string(path).map_err(|e| BadConfig(e.to_string()))?,
    };
    parse(&text)
}

fn parse(text: &str) -> Result<Config, BadConfig> {
    // A list would pass as a struct, field by field.
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|e| BadConfig(e.to_string()))?;
    let file: File = serde_json::from_value(object.into()).map_err(|e| BadConfig(e.to_string()))?;
    let some = |text: Option<String>| text.filter(|t| !t.trim().is_empty());
    let mut mcp_servers = file.mcp_servers.unwrap_or_default();
    // Our own tools go by this name.
    mcp_servers.remove("nanoclaw");
    Ok(Config {
        provider: some(file.provider).unwrap_or_else(|| "claude".into()).to_lowercase(),
        assistant_name: file.assistant_name.unwrap_or_default(),
        agent_id: file.agent_group_id.unwrap_or_default(),
        batch: file.max_messages_per_prompt.filter(|n| *n > 0).unwrap_or(BATCH),
        mcp_servers,
        model: some(file.model),
        effort: some(file.effort),
        previews: file.stream_previews == Some(true),
    })
}

#[cfg(test)]
mod tests;
