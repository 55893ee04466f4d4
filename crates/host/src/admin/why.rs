//! `ncl why`: the whole causal chain of a message, in or out.

use super::given::{Answer, No};
use crate::{Host, HostError};
use nanoclaw_admin::wire::Code;
use nanoclaw_contract::ids::{Address, SessionId};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Ids that one story may follow.
const FOLLOW_MAX: usize = 50;

/// Everything that is known about the message with this id: its own steps, and those of the messages that
/// it caused or answers.
pub(crate) fn why(host: &Host, id: &str) -> Answer {
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
        return Err(No::because(Code::NotFound, text));
    }
    rows.sort_by_key(|row| row.id);
    let steps = rows.iter().map(|row| {
        let of = [&row.message, &row.out].into_iter().flatten().cloned().collect::<Vec<_>>().join(" → ");
        json!({"at": row.at, "step": row.step, "session": row.session, "message": of, "detail": row.detail})
    });
    Ok(steps.collect())
}

/// What was given up: messages of agents, and lines of the host itself.
pub(crate) fn dead_letters(host: &Host) -> Result<Vec<Value>, HostError> {
    let to = |a: &Address| format!("{}:{}", a.channel_type, a.platform_id);
    let of_agents = host.central.dead_letters()?.into_iter().map(|d| {
        json!({"id": d.out_id, "session": d.session_id, "to": d.to.as_ref().map(to),
               "state": d.state.as_str(), "attempts": d.attempts, "last_error": d.last_error, "last_at": d.last_at})
    });
    let of_host = host.central.dead_mail()?.into_iter().map(|m| {
        json!({"id": m.key, "session": null, "to": to(&m.to),
               "state": m.state.as_str(), "attempts": m.attempts, "last_error": m.last_error, "last_at": m.last_at})
    });
    Ok(of_agents.chain(of_host).collect())
}

/// Puts a dead letter, or all of them, back on its way: the sessions that wrote some, and how many lines of
/// the host there were.
pub(crate) fn replay(host: &Host, which: &str) -> Result<(Vec<SessionId>, usize), HostError> {
    let one = Some(which).filter(|w| *w != "all");
    let lines = host.central.revive_mail(one, host.clock.now())?;
    host.post.changed.notify_one();
    if one.is_none() {
        return Ok((host.central.revive_all()?, lines));
    }
    let mut sessions = Vec::new();
    for dead in host.central.dead_letters()?.into_iter().filter(|d| d.out_id.as_str() == which) {
        if host.central.revive(&dead.session_id, &dead.out_id)? {
            sessions.push(dead.session_id);
        }
    }
    Ok((sessions, lines))
}
