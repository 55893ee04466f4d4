//! Servers of further tools (MCP) in an agent's configuration: what one may look like.
//!
//! A server is a program in the box, started by the harness with these words and these variables; nothing
//! of it runs on the host. It gets no name that our own tools go by.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What our own tools go by.
const OURS: &str = "nanoclaw";
const SERVERS_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 64;
const WORDS_MAX: usize = 128;
const BYTES_MAX: usize = 32 << 10;

/// Whether this can name a server: tools are called `mcp__<name>__<tool>`.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        && !name.contains("__")
        && !name.eq_ignore_ascii_case(OURS)
}

fn is_variable(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !name.is_empty() && name.bytes().all(plain) && !name.as_bytes()[0].is_ascii_digit()
}

/// A server of tools that an agent is to get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct McpServer {
    pub(crate) name: String,
    pub(crate) command: String,
    pub(crate) args: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
}

/// Judges a server. The reason is for whoever asks for it.
pub(crate) fn judge(server: &McpServer) -> Result<(), String> {
    let McpServer { name, command, args, env } = server;
    if !is_name(name) {
        return Err(format!(
            "{name:?} cannot name a server: use up to {NAME_BYTES_MAX} letters, digits, - and _, begin with \
             a letter or digit, no __, and not {OURS:?}"
        ));
    }
    if command.trim().is_empty() || command.starts_with('-') {
        return Err("the server has no command".into());
    }
    if let Some(bad) = env.keys().find(|key| !is_variable(key)) {
        return Err(format!("{bad:?} cannot name a variable"));
    }
    let words = || args.iter().chain(env.keys()).chain(env.values()).map(String::as_str);
    let words = || words().chain([command.as_str()]);
    if words().any(|word| word.contains('\0')) || command.contains(char::is_control) {
        return Err(
            "its command, arguments or variables hold a character that cannot be passed".into()
        );
    }
    match words().count() > WORDS_MAX || words().map(str::len).sum::<usize>() > BYTES_MAX {
        true => Err(format!("it has more than {WORDS_MAX} words or {BYTES_MAX} bytes")),
        false => Ok(()),
    }
}

/// The entry of a server in the configuration.
pub(crate) fn entry(server: &McpServer) -> Value {
    json!({"command": server.command, "args": server.args, "env": server.env})
}

/// The servers of a configuration that can be started, and those that cannot, with reasons.
pub(crate) fn usable(configured: &Value) -> (Map<String, Value>, Vec<String>) {
    let (mut good, mut bad) = (Map::new(), Vec::new());
    for (name, entry) in configured.as_object().into_iter().flatten() {
        match parse(name, entry) {
            Ok(()) if good.len() < SERVERS_MAX => {
                good.insert(name.clone(), entry.clone());
            }
            Ok(()) => bad.push(format!("the server {name:?} is left out: more than {SERVERS_MAX}")),
            Err(why) => bad.push(format!("the server {name:?} is left out: {why}")),
        }
    }
    (good, bad)
}

fn parse(name: &str, entry: &Value) -> Result<(), String> {
    #[derive(serde::Deserialize)]
    struct Entry {
        command: String,
        #[serde(default)]
        args: Option<Vec<String>>,
        #[serde(default)]
        env: Option<BTreeMap<String, String>>,
    }
    let Entry { command, args, env } =
        serde_json::from_value(entry.clone()).map_err(|e| e.to_string())?;
    let (args, env) = (args.unwrap_or_default(), env.unwrap_or_default());
    judge(&McpServer { name: name.to_owned(), command, args, env })
}

#[cfg(test)]
mod tests;
