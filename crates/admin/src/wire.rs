//! What goes over the socket: one JSON object a line, the shapes of v2's `ncl`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Longest line that either side reads.
pub const LINE_BYTES_MAX: usize = 8 << 20;

/// One question to the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Comes back in the answer.
    pub id: String,
    /// `<resource>-<verb>`.
    pub command: String,
    /// Named arguments.
    #[serde(default)]
    pub args: Map<String, Value>,
}

/// The host's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// The question's.
    pub id: String,
    /// Whether it worked.
    pub ok: bool,
    /// What was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// Why it did not work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// Why something did not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which kind.
    pub code: Code,
    /// For people, with the next step.
    pub message: String,
}

/// Kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// No such command.
    UnknownCommand,
    /// Something about the arguments.
    InvalidArgs,
    /// This caller may not.
    Forbidden,
    /// Somebody has to say yes first.
    ApprovalPending,
    /// There is no such thing.
    NotFound,
    /// It failed on the way.
    HandlerError,
    /// The host was not reached.
    TransportError,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl Frame {
    /// The answer to a question.
    pub fn of(id: impl Into<String>, result: Result<Value, Failure>) -> Self {
        let id = id.into();
        match result {
            Ok(data) => Self { id, ok: true, data: Some(data), error: None },
            Err(error) => Self { id, ok: false, data: None, error: Some(error) },
        }
    }
}
