//! `ncl` from inside a box.
//!
//! A request is a system row, `{action: "cli_request", requestId, command, args}`, the answer a system row
//! with the frame. Looking is answered at once. What changes something is asked of a person, with the
//! arguments as they will be executed; then [`run_approved`] does it, still with the agent's own reach.

use super::given::No;
use super::{Caller, read, run, scope};
use crate::approvals::{Action, Ask};
use crate::dispatch::Outcome;
use crate::{Host, HostError, blocking};
use nanoclaw_admin::args::{Args, complete};
use nanoclaw_admin::table::{Access, Verb};
use nanoclaw_admin::wire::{Code, Failure, Frame, Request};
use nanoclaw_central::{CliScope, Session};
use nanoclaw_contract::ids::{AgentId, MessageId, OutId, SessionId};
use nanoclaw_contract::message::{InKind, NewIn, Trigger};
use regex::Regex;
use serde_json::{Map, Value, json};
use std::sync::{Arc, LazyLock};

/// Longest id of a request.
const REQUEST_ID_BYTES_MAX: usize = 200;
/// Largest answer that is written into an inbox.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Answers a row of a box.
pub(crate) async fn from_box(
    host: &Arc<Host>,
    session: &Session,
    id: &OutId,
    fields: &Map<String, Value>,
) -> Result<Outcome, HostError> {
    let request_id = fields.get("requestId").and_then(Value::as_str).unwrap_or_default();
    let row_id = MessageId::parse(format!("cli-resp-{request_id}"));
    let Some(row_id) =
        row_id.ok().filter(|_| !request_id.is_empty() && request_id.len() <= REQUEST_ID_BYTES_MAX)
    else {
        return Ok(Outcome::Rejected { why: "a cli_request needs a short requestId".into() });
    };
    let answer = answer(host, session, id, fields).await;
    let done = answer.as_ref().map_or_else(|e| e.message.clone(), |_| "answered".into());
    let mut frame = json!(Frame::of(request_id, answer));
    if frame.to_string().len() > ANSWER_BYTES_MAX {
        let why = "the answer is too long; ask for less, for example with --limit 20";
        frame = json!(Frame::of(request_id, Err(Failure::new(Code::HandlerError, why))));
    }
    let content = json!({"type": "cli_response", "requestId": request_id, "frame": frame});
    let row = NewIn {
        id: row_id,
        kind: InKind::System,
        timestamp: host.clock.now(),
        process_after: None,
        recurrence: None,
        trigger: Trigger::Context,
        reply: None,
        content: hide(&content.to_string()),
        source: None,
        on_wake: false,
    };
    let (host, session, id) = (host.clone(), session.clone(), id.clone());
    blocking(move || {
        host.files(&session)?.push(row)?;
        host.trace("cli_request", None, Some(&session.id), Some(&id), &done);
        Ok(Outcome::Sent(None))
    })
    .await
}

/// No agent learns the id of a request, wherever it stands: it decides something.
fn hide(text: &str) -> String {
    static ID: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("ap-[0-9a-f]{32}").ok());
    ID.as_ref().map_or_else(String::new, |id| id.replace_all(text, "ap-…").into_owned())
}

async fn answer(
    host: &Arc<Host>,
    session: &Session,
    id: &OutId,
    fields: &Map<String, Value>,
) -> Result<Value, Failure> {
    let command = fields.get("command").and_then(Value::as_str).unwrap_or_default();
    let args = match fields.get("args") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(args)) => args.clone(),
        Some(_) => return Err(Failure::new(Code::InvalidArgs, "args is not an object")),
    };
    let request = Request { id: String::new(), command: command.into(), args };
    let (verb, mut args) = read(request)?;
    let caller = permitted(host, (&session.agent, Some(&session.id)), verb, &mut args).await?;
    let at_once = match verb.access {
        Access::Read => true,
        Access::Write => false,
        Access::Own => {
            let (h, agent, args) = (host.clone(), session.agent.clone(), args.clone());
            let own = blocking(move || Ok(is_its_own(&h, &agent, verb, &args)));
            own.await.unwrap_or(false)
        }
    };
    if at_once {
        return run(host, &caller, verb, args).await.map_err(No::into_failure);
    }
    let action = Action::Command { agent: session.agent.clone(), command: verb.command(), args };
    let key = format!("ncl:{}:{id}", session.id);
    let ask = Ask { action, session: Some(session.id.clone()), key };
    let host = host.clone();
    let asked = blocking(move || host.ask_approval(ask)).await;
    Err(match asked.map_err(No::from).map_err(No::into_failure)? {
        Ok(_) => Failure::new(
            Code::ApprovalPending,
            "a person has to approve this first; you will be told here what becomes of it",
        ),
        Err(why) => Failure::new(Code::Forbidden, why),
    })
}

/// Checks the agent's reach as it is now, and completes the arguments.
async fn permitted(
    host: &Arc<Host>,
    (agent, session): (&AgentId, Option<&SessionId>),
    verb: &'static Verb,
    args: &mut Args,
) -> Result<Caller, Failure> {
    let (h, id, mut own) = (host.clone(), agent.clone(), args.clone());
    let checked = blocking(move || {
        // An agent without a row has what a fresh one has.
        let scope = h.central.config(&id)?.unwrap_or_default().cli_scope;
        let checked = scope::permit(verb, &mut own, (&id, scope), |named| owner(&h, named));
        Ok(checked.map(|()| (scope, own)))
    });
    let (scope, own) = checked.await.map_err(No::from).map_err(No::into_failure)??;
    *args = own;
    complete(verb, args)?;
    Ok(Caller::Agent(scope, agent.clone(), session.cloned()))
}

/// Whose session this is. Blocks.
fn owner(host: &Host, session: &str) -> Option<AgentId> {
    host.central.session(&SessionId::parse(session).ok()?).ok().flatten().map(|s| s.agent)
}

/// Whether a command says of itself that it concerns nothing but the agent's own. Blocks.
fn is_its_own(host: &Host, agent: &AgentId, verb: &Verb, args: &Args) -> bool {
    let mut own = args.clone();
    let within = scope::permit(verb, &mut own, (agent, CliScope::Group), |id| owner(host, id));
    // What would have to be filled in was not said, and reaches further.
    within.is_ok() && own == *args
}

/// Does what was approved: exactly these arguments, with the agent's reach as it is now. Says what came of
/// it, or why nothing did.
pub(crate) async fn run_approved(
    host: &Arc<Host>,
    from: (&AgentId, Option<&SessionId>),
    command: &str,
    args: &Args,
) -> Result<String, String> {
    let request = Request {
        id: String::new(),
        command: command.into(),
        args: args.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
    };
    let done = async {
        let (verb, mut read) = read(request)?;
        let caller = permitted(host, from, verb, &mut read).await?;
        if read != *args {
            return Err(Failure::new(Code::Forbidden, "this is not what was approved"));
        }
        let data = run(host, &caller, verb, read).await.map_err(No::into_failure)?;
        Ok(nanoclaw_admin::print::render(Some(verb), &data))
    };
    done.await.map_err(|failure| failure.message)
}

#[cfg(test)]
mod tests;
