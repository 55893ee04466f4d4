//! `ncl why`: the whole causal chain of a message, in or out.

use crate::{Host, HostError};
use nanoclaw_admin::wire::{Code, Failure};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Ids that one story may follow.
const FOLLOW_MAX: usize = 50;

/// Everything that is known about the message with this id: its own steps, and those of the messages that
/// it caused or answers.
pub(crate) fn why(host: &Host, id: &str) -> Result<Result<Value, Failure>, HostError> {
    let (mut seen, mut todo, mut rows) = (BTreeSet::new(), vec![id.to_owned()], Vec::new());
    while let Some(next) = todo.pop() {
        if seen.len() >= FOLLOW_MAX || !seen.insert(next.clone()) {
            continue;
        }
        for row in host.central.trace_of_message(&next)? {
            todo.extend(
                row.message.iter().chain(&row.out).filter(|id| !seen.contains(*id)).cloned(),
            );
            if !rows.iter().any(|known: &nanoclaw_central::TraceRow| known.id == row.id) {
                rows.push(row);
            }
        }
    }
    if rows.is_empty() {
        let text =
            format!("nothing is known of {id:?}: it never arrived here, or its trace was pruned");
        return Ok(Err(Failure::new(Code::NotFound, text)));
    }
    rows.sort_by_key(|row| row.id);
    let steps = rows.iter().map(|row| {
        let of = [&row.message, &row.out].into_iter().flatten().cloned().collect::<Vec<_>>().join(" → ");
        json!({"at": row.at, "step": row.step, "session": row.session, "message": of, "detail": row.detail})
    });
    Ok(Ok(steps.collect()))
}

/// The outbound message's dead letter, put back on its way; how many there were.
pub(crate) fn replay(
    host: &Host,
    which: &str,
) -> Result<Vec<nanoclaw_contract::ids::SessionId>, HostError> {
    if which == "all" {
        return Ok(host.central.revive_all()?);
    }
    let mut sessions = Vec::new();
    for dead in host.central.dead_letters()?.into_iter().filter(|d| d.out_id.as_str() == which) {
        if host.central.revive(&dead.session_id, &dead.out_id)? {
            sessions.push(dead.session_id);
        }
    }
    Ok(sessions)
}
