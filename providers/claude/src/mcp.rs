//! The runner's own tools as an MCP server inside this process, over Claude Code's control protocol.
//!
//! No server process, no socket. Never answers a notification with an error, never leaves a request
//! without an answer: a probe that stays unanswered costs Claude Code seconds at its start.

use crate::frames::Rpc;
use nanoclaw_runner::tools::Tools;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The server's name; no configured server can take it.
pub(crate) const NAME: &str = "nanoclaw";
/// Claude Code's own id of a call, in the call's metadata.
const CALL_ID: &str = "claudecode/toolUseId";
const METHOD_NOT_FOUND: i32 = -32601;

/// The call that is taken back by this message.
pub(crate) fn cancelled(rpc: &Rpc) -> Option<&Value> {
    (rpc.method == "notifications/cancelled").then(|| rpc.params.get("requestId")).flatten()
}

/// Answers a message. `request` stands in for a call's id if there is none.
pub(crate) async fn answer(tools: Arc<Tools>, rpc: Rpc, request: String) -> Value {
    let Some(id) = rpc.id else {
        return json!({ "jsonrpc": "2.0", "result": {}, "id": 0 });
    };
    let result = match rpc.method.as_str() {
        "initialize" => json!({
            "protocolVersion": rpc.params.get("protocolVersion"),
            "capabilities": { "tools": {} },
            "serverInfo": { "name": NAME, "version": env!("CARGO_PKG_VERSION") },
        }),
        "ping" => json!({}),
        "tools/list" => json!({ "tools": list(&tools) }),
        "tools/call" => call(&tools, rpc.params, request).await,
        method => {
            let error = json!({
                "code": METHOD_NOT_FOUND,
                "message": format!("Unknown method: {method}"),
            });
            return json!({ "jsonrpc": "2.0", "id": id, "error": error });
        }
    };
    json!({ "jsonrpc": "2.0", "id": id, "result": result })
}

fn list(tools: &Tools) -> Vec<Value> {
    let tool = |t: &nanoclaw_runner::tools::ToolDef| json!({ "name": t.name, "description": t.description, "inputSchema": t.schema });
    tools.list().iter().map(tool).collect()
}

async fn call(tools: &Tools, mut params: Value, request: String) -> Value {
    let args = match params.get_mut("arguments").map(Value::take) {
        Some(Value::Object(args)) => args,
        _ => Map::new(),
    };
    let name = params.get("name").and_then(Value::as_str).unwrap_or_default();
    let call = params.get("_meta").and_then(|meta| meta.get(CALL_ID)).and_then(Value::as_str);
    let (text, failed) = match tools.call(name, &args, call.unwrap_or(&request)).await {
        Ok(text) => (text, false),
        Err(text) => (text, true),
    };
    json!({ "content": [{ "type": "text", "text": text }], "isError": failed })
}
