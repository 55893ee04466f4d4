//! The model's API as a way out: tools that run at the model's side reach the Internet, so they need leave.

use crate::refusal::Refusal;
use crate::{Body, full};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use hyper::{Method, StatusCode};
use nanoclaw_policy::{AgentNames, Policy};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// The most that a request to a model may have.
pub(crate) const BODY_MAX: u64 = 64 << 20;
/// Types of tools (without their dates) that fetch, search or run something at the model's side.
const OUTSIDE: [&str; 7] = [
    "web_search",
    "web_fetch",
    "code_execution",
    "code_interpreter",
    "file_search",
    "image_generation",
    "mcp",
];

/// Whether a box may ask this of a model's API. Its stores (files, batches, kept answers) belong to the whole
/// account, so one session could read another's through them.
pub(crate) fn open(method: &Method, path: &str) -> bool {
    let id = |id: &str| id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b));
    match *method {
        Method::POST => matches!(
            path,
            "/v1/messages"
                | "/v1/messages/count_tokens"
                | "/v1/responses"
                | "/v1/chat/completions"
                | "/v1/embeddings"
        ),
        Method::GET => {
            let one = path.strip_prefix("/v1/models/");
            path == "/v1/models" || one.is_some_and(|one| id(one) && !one.contains(".."))
        }
        _ => false,
    }
}

/// What of a request reaches out; whatever else is in it is skipped.
#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    tools: Option<Vec<Tool>>,
    #[serde(default)]
    mcp_servers: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    web_search_options: Option<IgnoredAny>,
    #[serde(default)]
    system: Blocks,
    #[serde(default)]
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Tool {
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Blocks,
}

/// The content of a message: a text, or pieces of which some name an address that the model's side would fetch.
#[derive(Default)]
struct Blocks {
    fetches: bool,
}

#[derive(Deserialize)]
struct Block {
    #[serde(default)]
    source: Option<Source>,
    #[serde(default)]
    content: Blocks,
}

struct Source {
    fetches: bool,
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Seek;
        impl<'de> Visitor<'de> for Seek {
            type Value = Source;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a source")
            }
            fn visit_str<E>(self, _: &str) -> Result<Source, E> {
                Ok(Source { fetches: false })
            }
            fn visit_unit<E>(self) -> Result<Source, E> {
                Ok(Source { fetches: false })
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Source, A::Error> {
                let mut fetches = false;
                while let Some(key) = map.next_key::<String>()? {
                    map.next_value::<IgnoredAny>()?;
                    fetches |= key == "url";
                }
                Ok(Source { fetches })
            }
        }
        from.deserialize_any(Seek)
    }
}

impl<'de> Deserialize<'de> for Blocks {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Seek;
        impl<'de> Visitor<'de> for Seek {
            type Value = Blocks;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list")
            }
            fn visit_str<E>(self, _: &str) -> Result<Blocks, E> {
                Ok(Blocks::default())
            }
            fn visit_unit<E>(self) -> Result<Blocks, E> {
                Ok(Blocks::default())
            }
            /// An answer of a tool that ran at the model's side.
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Blocks, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Blocks::default())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Blocks, A::Error> {
                let mut fetches = false;
                while let Some(block) = seq.next_element::<Block>()? {
                    fetches |= block.content.fetches || block.source.is_some_and(|s| s.fetches);
                }
                Ok(Blocks { fetches })
            }
        }
        from.deserialize_any(Seek)
    }
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
                "{tool:?} runs at the model's side and reaches the Internet from there, which this agent \
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
    // A list would be read as the fields in their order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(serde::de::Error::custom("it is no JSON object"));
    }
    let asked: Asked = serde_json::from_slice(body)?;
    if asked.mcp_servers.is_some_and(|servers| !servers.is_empty()) {
        return Ok(Some("mcp_servers".to_owned()));
    }
    if asked.web_search_options.is_some() {
        return Ok(Some("web_search_options".to_owned()));
    }
    if asked.system.fetches || asked.messages.iter().any(|message| message.content.fetches) {
        return Ok(Some("source.url".to_owned()));
    }
    let kinds = asked.tools.unwrap_or_default().into_iter().filter_map(|tool| tool.kind);
    let mut reaching = kinds.filter(|kind| OUTSIDE.iter().any(|known| kind.starts_with(known)));
    Ok(reaching.next())
}

#[cfg(test)]
mod tests;
