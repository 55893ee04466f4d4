//! Other agents: made on request, by the host.

use super::args::Args;
use super::tasks::request;
use crate::session::{Session, out_id};
use serde_json::json;

pub(super) fn create(session: &Session, args: Args<'_>, call: &str) -> Result<String, String> {
    let name = args.text("name").ok_or("name is required")?;
    let id = out_id("sys", &format!("tool/{call}"));
    let content = json!({ "action": "create_agent", "requestId": id, "name": name,
        "instructions": args.text("instructions") });
    request(session, id, None, &content)?;
    Ok(format!("Creating agent \"{name}\". You will be notified when it is ready."))
}
