//! Changes of the agent's own box: requests that a person decides. Nothing happens here.
//!
//! The names are judged once more by the host; judged here, the model learns at once what is wrong.

use super::args::Args;
use super::say::write;
use super::{ToolDef, tool};
use crate::session::{Session, out_id};
use nanoclaw_contract::message::{NewOut, OutKind};
use serde_json::{Value, json};

/// Packages in one request.
const PACKAGES_MAX: usize = 20;

pub(super) fn defs() -> Vec<ToolDef> {
    let text = |d: &str| json!({ "type": "string", "description": d });
    let texts =
        |d: &str| json!({ "type": "array", "items": { "type": "string" }, "description": d });
    vec![
        tool(
            "install_packages",
            "Asks for Debian or npm packages in your box, for good. A person has to approve; then your box is started anew and you are told. Returns at once.",
            json!({ "apt": texts("Names of Debian packages"), "npm": texts("Names of npm packages, without versions"),
                "reason": text("Why, for the person who decides") }),
            &[],
        ),
        tool(
            "add_mcp_server",
            "Asks for an MCP server with further tools in your box, for good. A person has to approve; then your box is started anew and you are told. Returns at once. Never put a key or password into env.",
            json!({ "name": text("Short name; its tools are called mcp__<name>__<tool>"),
                "command": text("The program in your box"), "args": texts("Its arguments"),
                "env": { "type": "object", "additionalProperties": { "type": "string" }, "description": "Its variables" },
                "reason": text("Why, for the person who decides") }),
            &["name", "command"],
        ),
    ]
}

pub(super) fn packages(session: &Session, args: Args<'_>, call: &str) -> Result<String, String> {
    let (apt, npm) = (texts(args, "apt")?, texts(args, "npm")?);
    match apt.len() + npm.len() {
        0 => return Err("At least one package is required".into()),
        1..=PACKAGES_MAX => {}
        n => return Err(format!("{n} packages; at most {PACKAGES_MAX} at a time")),
    }
    ask(
        session,
        call,
        "install_packages",
        json!({ "apt": apt, "npm": npm, "reason": args.text("reason") }),
    )
}

pub(super) fn server(session: &Session, args: Args<'_>, call: &str) -> Result<String, String> {
    const WANTED: &str = "name and command are required";
    let (name, command) = (args.text("name").ok_or(WANTED)?, args.text("command").ok_or(WANTED)?);
    let env = match args.get("env") {
        None | Some(Value::Null) => json!({}),
        Some(Value::Object(env)) if env.values().all(Value::is_string) => json!(env),
        Some(_) => return Err("env must be an object of texts".into()),
    };
    let content = json!({ "name": name, "command": command, "args": texts(args, "args")?, "env": env,
        "reason": args.text("reason") });
    ask(session, call, "add_mcp_server", content)
}

/// A list of texts. One that holds something else is an error: dropped in silence, it would be approved
/// as something that was not asked for.
fn texts<'a>(args: Args<'a>, key: &str) -> Result<Vec<&'a str>, String> {
    let list = match args.get(key) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(Value::as_str).collect::<Option<Vec<_>>>(),
        Some(_) => None,
    };
    list.ok_or_else(|| format!("{key} must be a list of texts"))
}

fn ask(session: &Session, call: &str, action: &str, mut content: Value) -> Result<String, String> {
    content["action"] = action.into();
    let id = out_id("sys", &format!("tool/{call}"));
    let row = NewOut {
        id,
        in_reply_to: None,
        kind: OutKind::System,
        to: None,
        content: content.to_string(),
    };
    write(session, row)?;
    Ok("The request was sent. Somebody has to approve it; you will be told what came of it. \
        Go on with something else, or end your turn."
        .into())
}
