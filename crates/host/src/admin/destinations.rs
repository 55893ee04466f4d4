//! `ncl destinations`, and how an agent is restarted.

use super::given::{Answer, No, need, page, parse};
use crate::{Host, HostError, blocking};
use nanoclaw_admin::args::Args;
use nanoclaw_admin::table::Verb;
use nanoclaw_central::{ContainerStatus, DestinationTarget, SessionFilter};
use nanoclaw_contract::content::Chat;
use nanoclaw_contract::ids::{Address, AgentId, ChannelType, MessageId, PlatformId};
use nanoclaw_contract::message::{AGENT_CHANNEL, InKind, NewIn, Trigger};
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

/// Stops every box of an agent that runs; work starts it again. With a message, that is work: the new box is
/// told, never the old one. Says how many.
pub(crate) async fn restart(
    host: &Arc<Host>,
    agent: &AgentId,
    message: Option<&str>,
) -> Result<usize, HostError> {
    let (h, agent, text) = (host.clone(), agent.clone(), message.map(str::to_owned));
    let running = blocking(move || {
        let only = SessionFilter { agent: Some(agent), active: Some(true), chat: None };
        let mut running = h.central.sessions_where(&only, 100_000, 0)?;
        running.retain(|s| s.container != ContainerStatus::Stopped);
        for session in running.iter().filter(|_| text.is_some()) {
            let text = text.as_deref().unwrap_or_default();
            h.files(session)?.push(note_on_wake(&h, session.agent.as_str(), text)?)?;
        }
        Ok(running)
    })
    .await?;
    for session in &running {
        host.wake(&session.id).stop();
    }
    Ok(running.len())
}

fn note_on_wake(host: &Host, agent: &str, text: &str) -> Result<NewIn, HostError> {
    let now = host.clock.now();
    let sender = Some("system".into());
    let content =
        Chat { text: text.into(), sender: "system".into(), sender_id: sender, ..Chat::default() };
    Ok(NewIn {
        id: MessageId::parse(nanoclaw_contract::ids::mint("sys", now))?,
        kind: InKind::Chat,
        timestamp: now,
        process_after: None,
        recurrence: None,
        trigger: Trigger::Wake,
        reply: Some(Address {
            channel_type: ChannelType::parse(AGENT_CHANNEL)?,
            platform_id: PlatformId::parse(agent)?,
            thread_id: None,
        }),
        content: content.to_json(),
        source: None,
        on_wake: true,
    })
}
