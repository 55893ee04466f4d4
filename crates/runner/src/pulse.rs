//! Shows the host what the runner is doing: rewritten when that changes, touched while it works.
//!
//! A v2 host reads the age of the file and one row of `outbound.db`, which is written only where
//! there is such a host.

use crate::log::log;
use crate::session::Session;
use nanoclaw_contract::pulse::{Phase, Pulse, Tool};
use nanoclaw_contract::time::Timestamp;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The pulse of one session.
pub(crate) struct Beat {
    session: Arc<Session>,
    shown: Pulse,
    for_v2: bool,
}

impl Beat {
    pub(crate) fn new(session: Arc<Session>) -> Self {
        let for_v2 = !session.workspace.root().join("box").is_dir();
        Self { session, shown: Pulse::default(), for_v2 }
    }

    /// A tool started.
    pub(crate) fn tool_started(&mut self, id: String, name: String, timeout: Option<Duration>) {
        let timeout_ms = timeout.map(|t| i64::try_from(t.as_millis()).unwrap_or(i64::MAX));
        let started_ms = self.now().as_millisecond();
        self.shown.tools.retain(|t| t.id != id);
        self.shown.tools.push(Tool { id, name, started_ms, timeout_ms });
        self.write();
    }

    /// A tool ended.
    pub(crate) fn tool_ended(&mut self, id: &str) {
        let before = self.shown.tools.len();
        self.shown.tools.retain(|t| t.id != id);
        if self.shown.tools.len() != before {
            self.write();
        }
    }

    /// No tool can be running any more.
    pub(crate) fn no_tools(&mut self) {
        if !self.shown.tools.is_empty() {
            self.shown.tools.clear();
            self.write();
        }
    }

    /// Whether a tool is running.
    pub(crate) fn has_tools(&self) -> bool {
        !self.shown.tools.is_empty()
    }

    /// Shows the phase, if it is another.
    pub(crate) fn show(&mut self, phase: Phase) {
        if phase != self.shown.phase {
            self.shown.phase = phase;
            self.shown.since_ms = self.now().as_millisecond();
            self.put();
        }
    }

    /// Proves that the runner lives.
    pub(crate) fn touch(&self) {
        let path = self.session.workspace.heartbeat();
        let touched = std::fs::File::options()
            .write(true)
            .open(&path)
            .and_then(|f| f.set_modified(std::time::SystemTime::from(self.now())));
        if touched.is_err() {
            self.put();
        }
    }

    fn now(&self) -> Timestamp {
        self.session.clock.now()
    }

    fn write(&self) {
        self.put();
        if !self.for_v2 {
            return;
        }
        // One row for all tools: the one that may take longest is what the host must know of.
        let tool = self.shown.tools.iter().max_by_key(|t| t.timeout_ms);
        let tool = tool.map(|t| (t.name.as_str(), t.timeout_ms));
        if let Err(e) = self.session.outbox().set_tool(tool, self.now()) {
            log!("the host was not told which tool runs: {e}");
        }
    }

    fn put(&self) {
        let path = self.session.workspace.heartbeat();
        if let Err(e) = replace(&path, &self.shown) {
            log!("the pulse was not written: {e}");
        }
    }
}

/// Writes a file that the host looks at, whole or not at all.
pub(crate) fn replace(path: &Path, content: &impl serde::Serialize) -> std::io::Result<()> {
    let part = path.with_extension("part");
    std::fs::write(&part, serde_json::to_vec(content)?)?;
    std::fs::rename(&part, path)
}
