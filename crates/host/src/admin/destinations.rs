//! `ncl destinations`.

use super::given::{Answer, No, need, page, parse};
use crate::Host;
use nanoclaw_admin::args::Args;
use nanoclaw_admin::table::Verb;
use nanoclaw_central::DestinationTarget;
use nanoclaw_contract::ids::AgentId;
use serde_json::json;
use std::sync::Arc;

pub(crate) fn act(host: &Arc<Host>, verb: &Verb, args: &Args) -> Answer {
    if verb.verb == "list" {
        let rows = host.central.stored_destinations()?;
        let row = |d: &nanoclaw_central::DestinationRow| {
            json!({"agent_group_id": d.agent, "local_name": d.name, "target_type": d.target_type,
                   "target_id": d.target_id, "created_at": d.created_at})
        };
        return Ok(page(verb, args, rows.iter().map(row).collect()));
    }
    let agent: AgentId = parse(args, "agent_group_id")?;
    if host.central.agent(&agent)?.is_none() {
        return Err(No::missing("group", agent.as_str(), "groups"));
    }
    let name = need(args, "local_name")?;
    let done = match verb.verb {
        "add" => {
            let target = match need(args, "target_type")? {
                "agent" => DestinationTarget::Agent(parse(args, "target_id")?),
                _ => DestinationTarget::Chat(parse(args, "target_id")?),
            };
            host.central.add_destination(&agent, name, &target, host.clock.now())?;
            json!({"added": name, "agent_group_id": agent})
        }
        _ if host.central.remove_destination(&agent, name)? => {
            json!({"removed": name, "agent_group_id": agent})
        }
        _ => return Err(No::missing("destination", name, "destinations")),
    };
    host.reproject(&agent)?;
    Ok(done)
}
