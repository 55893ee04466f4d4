//! `ncl channels` and `ncl chats`: how channels are, and codes that connect a chat.

use super::given::{Answer, No, need, on, page, parse, text};
use crate::{Host, blocking, pairing};
use nanoclaw_admin::args::Args;
use nanoclaw_admin::table::Verb;
use nanoclaw_central::{Agent, Pairing};
use nanoclaw_contract::ids::ChannelType;
use nanoclaw_contract::time::iso;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// How long an answer waits for a code to be used; the one who asks asks again.
const WAIT: Duration = Duration::from_secs(30);

pub(crate) fn act(host: &Arc<Host>, verb: &Verb, args: &Args) -> Answer {
    if verb.verb == "list" {
        let rows = host.channels.status().iter().map(|s| json!(s)).collect();
        return Ok(page(verb, args, rows));
    }
    let name: ChannelType = parse(args, "name")?;
    match host.channels.restart(&name) {
        true => Ok(json!({"restarting": name})),
        false => Err(No::missing("channel", name.as_str(), "channels")),
    }
}

/// Hands out a code.
pub(crate) fn pair(host: &Arc<Host>, args: &Args) -> Answer {
    let name: ChannelType = parse(args, "channel")?;
    let status = host.channels.status().into_iter().find(|s| s.name == name.as_str());
    let status = status.ok_or_else(|| No::missing("channel", name.as_str(), "channels"))?;
    let agent = agent(host, text(args, "agent"))?;
    let (pairing, code) = pairing::offer(host, name, &agent, on(args, "owner"))?;
    let why = status.why.map(|why| format!(": {why}")).unwrap_or_default();
    Ok(json!({
        "code": code,
        "send": "type it, and nothing else, in the chat that is to be connected",
        "channel": format!("{} ({}{why})", status.name, status.state),
        "agent": agent.name,
        "owner": pairing.owner,
        "expires_at": iso(pairing.expires_at),
        "id": pairing.id,
    }))
}

/// The agent of this name, folder or id; without one, the only agent there is.
fn agent(host: &Host, named: Option<&str>) -> Result<Agent, No> {
    let mut agents = host.central.agents()?;
    if let Some(named) = named {
        agents.retain(|a| a.id.as_str() == named || a.folder == named || a.name == named);
    }
    match (agents.len(), named) {
        (1, _) => agents.pop().ok_or_else(|| No::bad("--agent is required")),
        (0, None) => Err(No::failed("there is no agent yet; `nanoclaw setup` makes one")),
        (0, Some(named)) => Err(No::missing("agent", named, "groups")),
        _ => Err(No::bad("--agent takes the name, folder or id of one agent; see `ncl groups`")),
    }
}

/// What came of a code; waits a while if nothing did yet.
pub(crate) async fn outcome(host: &Arc<Host>, args: &Args) -> Answer {
    let id = need(args, "id")?;
    let until = tokio::time::Instant::now() + WAIT;
    loop {
        let used = host.guesses.used.notified();
        let (h, key) = (host.clone(), id.to_owned());
        let found = blocking(move || Ok(h.central.pairing(&key)?)).await?;
        let found = found.ok_or_else(|| No::missing("code", id, "chats --help"))?;
        let state = state(host, &found);
        let over = tokio::time::Instant::now() >= until || on(args, "no_wait");
        if state != "waiting" || over {
            return Ok(json!({"state": state, "outcome": found.outcome, "id": found.id}));
        }
        let left = Duration::try_from(found.expires_at.duration_since(host.clock.now()));
        let soon = (tokio::time::Instant::now() + left.unwrap_or_default()).min(until);
        // Either way it is looked at again.
        drop(tokio::time::timeout_at(soon, used).await);
    }
}

fn state(host: &Host, p: &Pairing) -> &'static str {
    match &p.outcome {
        Some(_) => "connected",
        None if p.expires_at <= host.clock.now() => "expired",
        None => "waiting",
    }
}
