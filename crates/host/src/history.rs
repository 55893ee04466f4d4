//! What was said in a thread before an agent was asked into it: fetched once, kept as context before the
//! message that asked.
//!
//! The rows are on disk ●, then it is noted that the agent has them ●, then the message is written ●. A kill
//! in between fetches them again; rows that are there already, also as context kept earlier, stay as they are.

use crate::access::{Access, UserFacts, access, scope};
use crate::gate::{Gate, gate};
use crate::route::{Decision, Routed};
use crate::{Host, HostError, inbound};
use nanoclaw_central::Chat;
use nanoclaw_channel::Inbound;
use nanoclaw_contract::message::Trigger;
use std::sync::Arc;
use std::time::Duration;

/// Most messages.
const MAX: usize = 30;
/// Most bytes of text and files; the latest are kept.
const BYTES_MAX: usize = 1 << 20;
/// How long the platform may take. The message itself waits for it.
const WITHIN: Duration = Duration::from_secs(5);

/// Whether anybody is asked into a thread that they know nothing of yet. Blocks.
pub(crate) fn is_wanted(
    host: &Host,
    message: &Inbound,
    chat: &Chat,
    all: &[Routed<'_>],
) -> Result<bool, HostError> {
    let Some(thread) = &message.at.thread_id else { return Ok(false) };
    let can = host.channels.get(&message.at.channel_type).map(|c| c.capabilities());
    if can.is_none_or(|c| !c.history || !c.threads) {
        return Ok(false);
    }
    for routed in all.iter().filter(|r| matches!(r.decision, Decision::Engage(_))) {
        if !host.central.is_thread_told(&routed.wiring.agent, &chat.id, thread)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What was said in the thread before, as far as the platform tells in time.
pub(crate) async fn before(host: &Arc<Host>, message: &Inbound) -> Vec<Inbound> {
    let Some(channel) = host.channels.get(&message.at.channel_type) else { return Vec::new() };
    let asked = channel.history(&message.at, &message.id, MAX);
    let Ok(mut all) = tokio::time::timeout(WITHIN, asked).await else {
        tracing::warn!(channel = %message.at.channel_type, "the platform tells no history");
        return Vec::new();
    };
    all.retain(|m| m.id != message.id && m.at == message.at);
    let mut left = BYTES_MAX;
    let mut kept = 0;
    for m in all.iter_mut().rev().take(MAX) {
        let Some(rest) = left.checked_sub(m.text.len()) else { break };
        left = rest;
        for file in m.files.iter_mut().filter(|f| f.missing.is_none()) {
            match left.checked_sub(file.bytes.len()) {
                Some(rest) => left = rest,
                None => {
                    file.bytes = Vec::new();
                    file.missing = Some("it is from before you were asked, and too large".into());
                }
            }
        }
        kept += 1;
    }
    all.split_off(all.len() - kept)
}

/// ● Writes it for an agent that has none of it yet, but nothing of people who may not talk to the agent, and
/// no commands. Blocks.
pub(crate) fn write(
    host: &Arc<Host>,
    message: &Inbound,
    chat: &Chat,
    routed: &Routed<'_>,
    before: &[Inbound],
) -> Result<(), HostError> {
    let (central, agent) = (&host.central, &routed.wiring.agent);
    let Some(thread) = &message.at.thread_id else { return Ok(()) };
    if central.is_thread_told(agent, &chat.id, thread)? {
        return Ok(());
    }
    let why = "said in the thread before the agent was asked into it";
    let kept = Routed { decision: Decision::Keep(why.into()), stay: false, ..routed.clone() };
    for earlier in before {
        let user = inbound::user_id(&earlier.at.channel_type, &earlier.sender)?;
        let roles = central.roles_of(&user)?;
        let facts = Some(UserFacts { roles, member: central.is_member(&user, agent)? });
        let gates = [
            access(chat.policy, facts.as_ref(), agent),
            scope(routed.wiring.sender_scope, facts.as_ref(), agent),
        ];
        let welcome = gates.iter().all(|gate| matches!(gate, Access::Allowed(_)));
        if welcome && gate(&earlier.text, true) == Gate::Pass {
            inbound::write(host, earlier, chat, &kept, Trigger::Context)?;
        }
    }
    Ok(central.tell_thread(agent, &chat.id, thread)?)
}
