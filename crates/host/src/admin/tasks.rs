//! `ncl tasks`: scheduled work, whoever's session it lies in.

use super::Caller;
use super::given::{Answer, No, maybe, need, page_of, text};
use crate::{Host, tasks};
use nanoclaw_admin::args::Args;
use nanoclaw_admin::table::Verb;
use nanoclaw_admin::wire::Code;
use nanoclaw_central::TaskFilter;
use nanoclaw_contract::ids::{AgentId, SessionId};
use nanoclaw_contract::inbox::Order;
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(crate) fn act(host: &Arc<Host>, caller: &Caller, verb: &Verb, args: &Args) -> Answer {
    let agent: Option<AgentId> = maybe(args, "agent_group_id")?;
    let session: Option<SessionId> = maybe(args, "session")?;
    let which =
        TaskFilter { id: text(args, "id"), agent: agent.as_ref(), session: session.as_ref() };
    let order = match verb.verb {
        "list" => {
            let (limit, offset) = page_of(args);
            let all = tasks::list(host, &which, limit.min(10_000), offset)?;
            return Ok(all.iter().map(|task| json!(task)).collect());
        }
        "get" => return tasks::get(host, &which)?.map_err(missing),
        "run" => Order::Run,
        "pause" => Order::Pause,
        "resume" => Order::Resume,
        "cancel" => Order::Cancel,
        _ => Order::Update(tasks::changes(&changed(args)?).map_err(No::bad)?),
    };
    if let Caller::Agent(_, asks, _) = caller {
        tasks::may_run(host, asks, &order).map_err(No::failed)?;
    }
    let id = need(args, "id")?;
    let done = tasks::order(host, &which, &order)?.map_err(missing)?;
    Ok(json!({"id": id, "done": done}))
}

fn missing(why: String) -> No {
    No::because(Code::NotFound, why)
}

/// What an update says about the task itself.
fn changed(args: &Args) -> Result<Map<String, Value>, No> {
    let about = |name: &str| !matches!(name, "id" | "agent_group_id" | "session");
    let said = args.iter().filter(|(name, _)| about(name));
    let said: Map<_, _> = said.map(|(name, value)| (name.clone(), value.clone())).collect();
    if said.is_empty() {
        return Err(No::bad("nothing to update; see `ncl tasks --help`"));
    }
    Ok(said)
}
