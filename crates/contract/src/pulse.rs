//! The pulse: what the runner is doing, and the proof that it still is.
//!
//! The file `.heartbeat` carries it. Its age is all that v2 reads; its content is our addition. The
//! runner rewrites it when the phase changes and touches it every [`BEAT`] while its child lives and
//! works. An idle runner does not touch it: an idle session costs nothing.

use serde::{Deserialize, Serialize};

/// How often a working runner touches the file.
pub const BEAT: std::time::Duration = std::time::Duration::from_secs(5);
/// Most bytes the host reads of it.
pub const BYTES_MAX: u64 = 64 << 10;

/// What the runner says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse {
    /// What it is doing.
    pub phase: Phase,
    /// Since when, in milliseconds since 1970.
    #[serde(default)]
    pub since_ms: i64,
    /// Tools that are running.
    #[serde(default)]
    pub tools: Vec<Tool>,
}

/// What a runner can be doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing: it waits for messages.
    #[default]
    Idle,
    /// The harness is starting.
    Starting,
    /// The model is answering.
    Model,
    /// The model's API asked to wait.
    RateLimited,
    /// A tool is running.
    Tool,
}

/// A tool in flight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// The harness's id of this call.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it started, in milliseconds since 1970.
    pub started_ms: i64,
    /// How long it said that it may take.
    #[serde(default)]
    pub timeout_ms: Option<i64>,
}
