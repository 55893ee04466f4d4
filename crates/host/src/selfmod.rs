//! What an agent asks to have changed in its own box. Judged here, decided by people, done in [`crate::boxes`].
//!
//! What is asked for is taken apart into types at once, so that the card shows every word of it and
//! exactly that is done. A field that is not as it should be refuses the request as a whole.

use crate::approvals::{Action, Ask};
use crate::servers::{self, McpServer};
use crate::{Host, HostError};
use nanoclaw_central::Session;
use nanoclaw_contract::ids::OutId;
use nanoclaw_driver::provide::Wanted;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Packages in one request.
const PACKAGES_MAX: usize = 20;
const REASON_CHARS_MAX: usize = 1000;

#[derive(Deserialize)]
struct Packages {
    #[serde(default)]
    apt: Option<Vec<String>>,
    #[serde(default)]
    npm: Option<Vec<String>>,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Server {
    name: String,
    command: String,
    #[serde(default)]
    args: Option<Vec<String>>,
    #[serde(default)]
    env: Option<BTreeMap<String, String>>,
    #[serde(default)]
    reason: Option<String>,
}

/// Asks for packages. The inner error is for the agent.
pub(crate) fn packages(
    host: &Arc<Host>,
    session: &Session,
    id: &OutId,
    fields: &Map<String, Value>,
) -> Result<Result<(), String>, HostError> {
    let judged = parse::<Packages>(fields).and_then(|asked| {
        let (apt, npm) = (asked.apt.unwrap_or_default(), asked.npm.unwrap_or_default());
        match apt.len() + npm.len() {
            0 => return Err("at least one package is required".into()),
            1..=PACKAGES_MAX => {}
            n => return Err(format!("{n} packages; at most {PACKAGES_MAX} at a time")),
        }
        Wanted::judge(&apt, &npm)?;
        let reason = reason(asked.reason)?;
        Ok(Action::InstallPackages { agent: session.agent.clone(), apt, npm, reason })
    });
    ask(host, session, id, "install_packages", judged)
}

/// Asks for a server of tools. The inner error is for the agent.
pub(crate) fn server(
    host: &Arc<Host>,
    session: &Session,
    id: &OutId,
    fields: &Map<String, Value>,
) -> Result<Result<(), String>, HostError> {
    let judged = parse::<Server>(fields).and_then(|asked| {
        let Server { name, command, args, env, reason: why } = asked;
        let (args, env) = (args.unwrap_or_default(), env.unwrap_or_default());
        let server = McpServer { name, command, args, env };
        servers::judge(&server)?;
        let McpServer { name, command, args, env } = server;
        let (agent, reason) = (session.agent.clone(), reason(why)?);
        Ok(Action::AddMcpServer { agent, name, command, args, env, reason })
    });
    ask(host, session, id, "add_mcp_server", judged)
}

fn parse<T: DeserializeOwned>(fields: &Map<String, Value>) -> Result<T, String> {
    T::deserialize(Value::Object(fields.clone())).map_err(|e| e.to_string())
}

fn reason(text: Option<String>) -> Result<String, String> {
    let text = text.unwrap_or_default();
    match text.chars().count() > REASON_CHARS_MAX {
        true => Err(format!("the reason has more than {REASON_CHARS_MAX} characters")),
        false => Ok(text),
    }
}

fn ask(
    host: &Arc<Host>,
    session: &Session,
    id: &OutId,
    what: &str,
    judged: Result<Action, String>,
) -> Result<Result<(), String>, HostError> {
    let asked = match judged {
        Ok(action) => {
            let (session, key) = (Some(session.id.clone()), id.to_string());
            host.ask_approval(Ask { action, session, key })?.map(drop)
        }
        Err(why) => Err(why),
    };
    Ok(asked.map_err(|why| format!("{what} failed: {why}")))
}
