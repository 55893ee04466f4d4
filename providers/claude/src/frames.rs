//! What Claude Code prints: one JSON object per line, read into types here and nowhere else.
//!
//! It runs in the same box as the agent, so nothing it prints is trusted: what does not parse is
//! [`Frame::Other`], what is not used is not read. Nothing here decides anything; [`crate::turn`] does.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use uuid::Uuid;

/// One line.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Frame {
    System(System),
    Assistant(Assistant),
    User(User),
    Result(Outcome),
    /// The API's own words, as they come.
    StreamEvent {
        event: Stream,
        parent_tool_use_id: Option<String>,
    },
    RateLimitEvent {
        rate_limit_info: RateLimit,
    },
    CommandLifecycle {
        command_uuid: Uuid,
        state: Lifecycle,
    },
    ControlRequest {
        request_id: String,
        request: Request,
    },
    ControlResponse {
        response: Response,
    },
    ControlCancelRequest {
        request_id: String,
    },
    #[serde(other)]
    Other,
}

impl Frame {
    /// Reads a line; a blank line or a line that is no object is none.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let line = line.trim_ascii();
        line.starts_with(b"{").then(|| serde_json::from_slice(line).unwrap_or(Self::Other))
    }
}

/// News of the session.
#[derive(Debug, Deserialize)]
#[serde(tag = "subtype", rename_all = "snake_case")]
pub(crate) enum System {
    /// A turn begins.
    Init {
        session_id: String,
    },
    SessionStateChanged {
        state: State,
    },
    /// The API said no; it is asked again.
    ApiRetry {
        retry_delay_ms: Option<f64>,
        error_status: Option<u16>,
        error: Option<String>,
    },
    CompactBoundary {
        compact_metadata: Compaction,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Running,
    /// Nothing is owed: no turn, no queued prompt, no held result.
    Idle,
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Compaction {
    pub(crate) trigger: String,
    pub(crate) pre_tokens: Option<u64>,
}

/// How far a prompt of ours got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Lifecycle {
    Queued,
    Started,
    Completed,
    #[serde(other)]
    Other,
}

/// One content block of a message of the model, or of the harness in its name.
#[derive(Debug, Deserialize)]
pub(crate) struct Assistant {
    pub(crate) message: Message,
    /// Set inside a subagent.
    pub(crate) parent_tool_use_id: Option<String>,
    /// The class of an API error of which this frame is the text.
    pub(crate) error: Option<String>,
    #[serde(default)]
    pub(crate) is_api_error_message: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) model: Option<String>,
    pub(crate) content: Vec<Block>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Block {
    Text {
        text: String,
    },
    ToolResult {
        tool_use_id: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Stream {
    MessageStart {
        message: Begun,
    },
    ContentBlockDelta {
        delta: Delta,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Begun {
    pub(crate) id: String,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Delta {
    TextDelta {
        text: String,
    },
    #[serde(other)]
    Other,
}

/// A message to the model: a prompt of ours played back, or results of tools.
#[derive(Debug, Deserialize)]
pub(crate) struct User {
    pub(crate) uuid: Option<Uuid>,
    #[serde(default, rename = "isReplay")]
    pub(crate) is_replay: bool,
    pub(crate) message: UserMessage,
}

#[derive(Debug, Deserialize)]
pub(crate) struct UserMessage {
    pub(crate) content: Content,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Content {
    Blocks(Vec<Block>),
    Text(IgnoredAny),
}

/// How a turn ended.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Outcome {
    pub(crate) subtype: String,
    pub(crate) is_error: bool,
    pub(crate) api_error_status: Option<u16>,
    pub(crate) num_turns: u64,
    pub(crate) result: Option<String>,
    pub(crate) errors: Vec<String>,
    /// Of this process until now.
    pub(crate) total_cost_usd: Option<f64>,
    pub(crate) terminal_reason: Option<String>,
    pub(crate) session_id: Option<String>,
}

/// The state of a subscription's limit.
#[derive(Debug, Deserialize)]
pub(crate) struct RateLimit {
    pub(crate) status: String,
    #[serde(rename = "resetsAt")]
    pub(crate) resets_at: Option<f64>,
}

/// What Claude Code asks us.
#[derive(Debug, Deserialize)]
#[serde(tag = "subtype", rename_all = "snake_case")]
pub(crate) enum Request {
    HookCallback {
        input: Hook,
    },
    McpMessage {
        server_name: String,
        message: Rpc,
    },
    #[serde(other)]
    Other,
}

/// A hook's facts. A tool's input has any shape, and an unread hook would hold up its tool.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Hook {
    pub(crate) hook_event_name: String,
    pub(crate) tool_name: String,
    pub(crate) tool_input: Value,
    pub(crate) tool_use_id: Option<String>,
    pub(crate) stop_hook_active: bool,
    pub(crate) last_assistant_message: Option<String>,
    pub(crate) transcript_path: Option<String>,
}

/// A JSON-RPC message to our tool server.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Rpc {
    pub(crate) id: Option<Value>,
    pub(crate) method: String,
    pub(crate) params: Value,
}

/// An answer to a request of ours.
#[derive(Debug, Deserialize)]
pub(crate) struct Response {
    pub(crate) request_id: String,
    pub(crate) error: Option<String>,
}
