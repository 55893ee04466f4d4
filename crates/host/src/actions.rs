//! What an agent may ask of the host itself: the rows of kind `system`.
//!
//! Each action is done once: the row's id is the key of everything it makes. What is not known is refused
//! with a reason, never dropped in silence.

use crate::dispatch::Outcome;
use crate::{Host, HostError, questions, tasks, team};
use nanoclaw_central::Session;
use nanoclaw_contract::ids::OutId;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Does one action. Blocks.
pub(crate) fn run(
    host: &Arc<Host>,
    session: &Session,
    id: &OutId,
    action: &str,
    fields: &Map<String, Value>,
) -> Result<Outcome, HostError> {
    let done = match action {
        "create_agent" => team::asked(host, session, id, fields)?,
        "question_expired" => questions::expire(host, session, fields)?,
        "schedule_task" | "cancel_task" | "pause_task" | "resume_task" | "run_task"
        | "update_task" | "task_skipped" => tasks::act(host, session, id, action, fields)?,
        "install_packages" => crate::selfmod::packages(host, session, id, fields)?,
        "add_mcp_server" => crate::selfmod::server(host, session, id, fields)?,
        _ => Err(format!("the host knows no action {action:?}")),
    };
    host.trace(
        action,
        None,
        Some(&session.id),
        Some(id),
        done.as_ref().err().map_or("done", |why| why),
    );
    Ok(match done {
        Ok(()) => Outcome::Sent(None),
        Err(why) => Outcome::Rejected { why },
    })
}
