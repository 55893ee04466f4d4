//! The model's API as a way out: tools that run at the model's side reach the Internet, so they need leave.

use crate::refusal::Refusal;
use crate::{Body, full};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::Body as _;
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use nanoclaw_policy::{AgentNames, Policy};
use serde::Deserialize;

/// The most that a request to a model may have.
pub(crate) const BODY_MAX: u64 = 64 << 20;
/// Types of tools (without their dates) that fetch, search or run something at the model's side.
const OUTSIDE: [&str; 4] = ["web_search", "web_fetch", "code_execution", "mcp_"];

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    tools: Option<Vec<Tool>>,
    #[serde(default)]
    mcp_servers: Option<Vec<serde::de::IgnoredAny>>,
}

#[derive(Deserialize)]
struct Tool {
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

/// The body, if it asks for nothing that the policy does not leave to the model's side.
pub(crate) async fn judge(
    policy: &Policy,
    agent: &AgentNames,
    headers: &HeaderMap,
    body: Body,
) -> Result<Body, Refusal> {
    if policy.model_tools(agent) || body.is_end_stream() {
        return Ok(body);
    }
    if headers.contains_key(CONTENT_ENCODING) {
        let text = "a request to the model is sent as it is, without a content-encoding";
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "encoding_not_scannable",
            text,
        ));
    }
    let bytes = body.collect().await.map_err(|e| crate::exchange::broken_body(&*e))?.to_bytes();
    match outside(&bytes) {
        Ok(None) => Ok(full(bytes)),
        Ok(Some(tool)) => Err(Refusal::blocked(
            "blocked_by_policy",
            format!(
                "the tool {tool:?} runs at the model's side and reaches the Internet from there, which this agent \
                 may not. The owner can allow it with `model_tools = true` in the vault's policy"
            ),
        )),
        Err(e) => {
            let text = format!("the body is not what the model's API takes: {e}");
            Err(Refusal::new(StatusCode::BAD_REQUEST, "invalid_request_error", text))
        }
    }
}

/// A tool in this request that would reach out.
fn outside(body: &Bytes) -> Result<Option<String>, serde_json::Error> {
    let asked: Asked = serde_json::from_slice(body)?;
    if asked.mcp_servers.is_some_and(|servers| !servers.is_empty()) {
        return Ok(Some("mcp_servers".to_owned()));
    }
    let kinds = asked.tools.unwrap_or_default().into_iter().filter_map(|tool| tool.kind);
    let mut reaching = kinds.filter(|kind| OUTSIDE.iter().any(|known| kind.starts_with(known)));
    Ok(reaching.next())
}

#[cfg(test)]
mod tests;
