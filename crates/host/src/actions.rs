//! What an agent may ask of the host itself: the rows of kind `system`.
//!
//! Each action is done once: the row's id is the key of everything it makes. What is not known is refused
//! with a reason, never dropped in silence.

use crate::dispatch::Outcome;
use crate::{Host, HostError};
use nanoclaw_central::Session;
use nanoclaw_contract::content::Task;
use nanoclaw_contract::ids::{Address, ChannelType, MessageId, OutId, PlatformId, ThreadId};
use nanoclaw_contract::message::{InKind, NewIn, Trigger};
use nanoclaw_contract::time;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Longest prompt or script of a task.
const TASK_BYTES_MAX: usize = 256 << 10;

/// Does one action. Blocks.
pub(crate) fn run(
    host: &Arc<Host>,
    session: &Session,
    id: &OutId,
    action: &str,
    fields: &Map<String, Value>,
) -> Result<Outcome, HostError> {
    let done = match action {
        "schedule_task" => schedule(host, session, id, fields)?,
        "cancel_task" | "pause_task" | "resume_task" | "update_task" => {
            change(host, session, action, fields)?
        }
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

fn text<'a>(fields: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    fields.get(key).and_then(Value::as_str).filter(|t| !t.is_empty())
}

/// A task is an inbound row with a time.
fn schedule(
    host: &Arc<Host>,
    session: &Session,
    id: &OutId,
    fields: &Map<String, Value>,
) -> Result<Result<(), String>, HostError> {
    let Some(prompt) = text(fields, "prompt") else {
        return Ok(Err("a task needs a prompt".into()));
    };
    let script = text(fields, "script");
    if prompt.len() + script.map_or(0, str::len) > TASK_BYTES_MAX {
        return Ok(Err(format!("a task of more than {TASK_BYTES_MAX} bytes")));
    }
    let Some(at) = text(fields, "processAfter").and_then(time::parse) else {
        return Ok(Err("a task needs a time in processAfter, such as 2026-02-04T13:30:00Z".into()));
    };
    if text(fields, "recurrence").is_some() {
        return Ok(Err("recurring tasks are not available yet; schedule a single one".into()));
    }
    let reply = match (
        text(fields, "channelType").map(ChannelType::parse),
        text(fields, "platformId").map(PlatformId::parse),
    ) {
        (Some(Ok(channel_type)), Some(Ok(platform_id))) => Some(Address {
            channel_type,
            platform_id,
            thread_id: text(fields, "threadId").and_then(|t| ThreadId::parse(t).ok()),
        }),
        _ => None,
    };
    let task = Task { prompt: prompt.to_owned(), script: script.map(str::to_owned) };
    let row = NewIn {
        id: MessageId::parse(text(fields, "taskId").unwrap_or(id.as_str()))?,
        kind: InKind::Task,
        timestamp: host.clock.now(),
        process_after: Some(at),
        recurrence: None,
        trigger: Trigger::Wake,
        reply,
        content: serde_json::to_string(&task).map_err(|e| HostError::Unknown(e.to_string()))?,
        source: None,
        on_wake: false,
    };
    host.files(session)?.push(row)?;
    Ok(Ok(()))
}

fn change(
    host: &Arc<Host>,
    session: &Session,
    action: &str,
    fields: &Map<String, Value>,
) -> Result<Result<(), String>, HostError> {
    let Some(task) = text(fields, "taskId") else {
        return Ok(Err(format!("{action} needs a taskId")));
    };
    let change = nanoclaw_contract::inbox::TaskChange {
        prompt: fields.get("prompt").and_then(Value::as_str),
        process_after: text(fields, "processAfter").and_then(time::parse),
    };
    let changed = host.files(session)?.with(|inbox| match action {
        "cancel_task" => inbox.cancel_task(task),
        "pause_task" => inbox.pause_task(task),
        "resume_task" => inbox.resume_task(task),
        _ => inbox.update_task(task, &change),
    })?;
    Ok(if changed == 0 {
        Err(format!("{action}: no live task matched id {task:?}"))
    } else {
        Ok(())
    })
}
