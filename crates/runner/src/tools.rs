//! The agent's own tools, served in-process.

use serde_json::{Map, Value};

/// A tool as a model sees it.
#[derive(Debug, Clone)]
pub struct ToolDef {
    /// Its name.
    pub name: &'static str,
    /// What it does, for the model.
    pub description: &'static str,
    /// JSON Schema of its arguments.
    pub schema: Value,
}

/// The tools of one session.
pub struct Tools {}

impl Tools {
    /// Every tool.
    pub fn list(&self) -> &[ToolDef] {
        &[]
    }

    /// Calls a tool. `call` is the harness's id of the call: the same call twice has one effect.
    /// `Err` is the text of a failure, for the model.
    pub async fn call(
        &self,
        name: &str,
        args: &Map<String, Value>,
        call: &str,
    ) -> Result<String, String> {
        let _ = (args, call);
        Err(format!("Unknown tool: {name}"))
    }
}
