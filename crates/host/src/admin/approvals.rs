//! `ncl approvals`: what waits for a person's yes. Agents see that something waits, never what decides it.

use super::Caller;
use super::given::{Answer, No, need, number, page, parse, text};
use crate::approvals::{Decided, NEEDED, Voter};
use crate::{Host, HostError};
use nanoclaw_admin::args::Args;
use nanoclaw_admin::table::Verb;
use nanoclaw_admin::wire::Code;
use nanoclaw_central::Approval;
use nanoclaw_contract::ids::ApprovalId;
use nanoclaw_contract::time::iso;
use serde_json::{Value, json};
use std::sync::Arc;

/// Most requests that are looked through.
const LIST_MAX: u32 = 10_000;
/// Most people who must approve.
const PEOPLE_MAX: i64 = 20;

pub(crate) fn act(host: &Arc<Host>, caller: &Caller, verb: &Verb, args: &Args) -> Answer {
    match verb.verb {
        "list" => {
            let all = host.central.approvals(true, LIST_MAX)?;
            let shown = all.iter().map(|a| match caller {
                Caller::Operator => row(a),
                Caller::Agent(..) => without_id(row(a)),
            });
            Ok(page(verb, args, shown.collect()))
        }
        "approve" => decide(host, args, text(args, "option").unwrap_or("approve")),
        "reject" => decide(host, args, "reject"),
        "require" => {
            let people = number(args, "people").filter(|n| (1..=PEOPLE_MAX).contains(n));
            let people = people.ok_or_else(|| No::bad(format!("1 to {PEOPLE_MAX} people")))?;
            host.central.put_setting(NEEDED, Some(&people.to_string()))?;
            Ok(json!({"approvals_needed": people}))
        }
        _ => in_full(host, args),
    }
}

fn row(a: &Approval) -> Value {
    json!({
        "approval_id": a.id,
        "action": a.action,
        "title": a.title,
        "status": a.status.as_str(),
        "session_id": a.session,
        "agent_group_id": a.agent,
        "created_at": a.created_at,
        "expires_at": a.expires_at.map(iso),
        "decided_by": a.decided_by,
        "outcome": a.outcome,
    })
}

fn without_id(mut row: Value) -> Value {
    if let Value::Object(map) = &mut row {
        map.shift_remove("approval_id");
    }
    row
}

fn in_full(host: &Host, args: &Args) -> Answer {
    let id: ApprovalId = parse(args, "id")?;
    let missing = || No::missing("approval", id.as_str(), "approvals");
    let a = host.central.approval(&id)?.ok_or_else(missing)?;
    let mut value = row(&a);
    if let Value::Object(map) = &mut value {
        let payload = serde_json::from_str(&a.payload).unwrap_or_else(|_| a.payload.clone().into());
        map.insert("payload".into(), payload);
        let choices: Vec<_> =
            a.choices().iter().map(|c| format!("{} ({})", c.value, c.label)).collect();
        map.insert("options".into(), choices.into());
        map.insert("needed".into(), a.needed.into());
    }
    Ok(value)
}

/// Whoever runs the machine decides as an owner does.
fn decide(host: &Arc<Host>, args: &Args, value: &str) -> Answer {
    let id: ApprovalId = need(args, "id")?.parse().map_err(HostError::from)?;
    match host.decide(&id, Voter::Operator, value)? {
        Decided::Taken(text) => Ok(json!({"approval_id": id, "decided": text})),
        Decided::Late(text) => Err(No::failed(text)),
        Decided::Refused(text) => Err(No::because(Code::Forbidden, text)),
    }
}
