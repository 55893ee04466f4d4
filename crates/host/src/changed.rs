//! What happens to messages after they were said: edits, deletions and reactions become context in every
//! inbox that has the message, or whose agent said it.
//!
//! A change is a row of its own, under an id that comes from the platform's event, so that a redelivery is no
//! second row. It wakes nobody. Whoever may not talk to the agent cannot reach it this way either.

use crate::{Host, HostError, inbound};
use nanoclaw_central::{Chat, Session};
use nanoclaw_channel::{Change, Inbound, Sender, What};
use nanoclaw_contract::content::{self, Quote};
use nanoclaw_contract::ids::{self, AgentId, MessageId};
use nanoclaw_contract::inbox::Pushed;
use nanoclaw_contract::message::{InKind, NewIn, Trigger};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Longest new text that is shown, and that a message gets that only waits.
const TEXT_BYTES_MAX: usize = 256 << 10;
/// What is shown of the message that changed.
const QUOTE_CHARS_MAX: usize = 200;
/// Longest name of a reaction.
const EMOJI_BYTES_MAX: usize = 64;

/// ● Writes a change wherever it belongs. What nobody knows is ignored. Blocks.
pub(crate) fn take(host: &Arc<Host>, change: &Change) -> Result<(), HostError> {
    wait_on(host, change)?;
    let at = &change.at;
    let Some(chat) = host.central.chat_by_address(&at.channel_type, &at.platform_id)? else {
        return Ok(());
    };
    let (mut failed, mut seen) = (None, BTreeSet::new());
    for wiring in host.central.wirings_of_chat(&chat.id)?.into_iter().flatten() {
        let id = inbound::row_id(&at.channel_type, &change.message, &chat, &wiring.agent)?;
        for session in having(host, &id, change, &chat, &wiring.agent)? {
            if !seen.insert(session.id.clone()) {
                continue;
            }
            let row = host.files(&session)?.with(|inbox| inbox.get(&id))?;
            let Some((row, _)) = row else { continue };
            let said = content::Chat::parse(&row.content);
            // Nobody edits what another person wrote.
            let author = said.sender_id.filter(|_| matches!(change.what, What::Edited(_)));
            let author = author.map(|handle| Sender { handle, name: Some(said.sender.clone()) });
            let text = said.text.chars().take(QUOTE_CHARS_MAX).collect();
            let message = Message {
                called: format!("message #{}", row.seq),
                quote: Quote { sender: Some(said.sender), text: Some(text), id: None },
                changed_by: change.sender.clone().or(author),
            };
            failed = note(host, change, &chat, &session, message).err().or(failed);
        }
    }
    for (session, seq) in host.central.sessions_that_said(at, &change.message)? {
        let Some(session) = host.central.session(&session)? else { continue };
        let (called, quote) = (format!("your message #{seq}"), Quote::default());
        let message = Message { called, quote, changed_by: change.sender.clone() };
        failed = note(host, change, &chat, &session, message).err().or(failed);
    }
    failed.map_or(Ok(()), Err)
}

/// What changed, as one agent knows it.
struct Message {
    called: String,
    quote: Quote,
    changed_by: Option<Sender>,
}

/// A message that only waits for somebody's word is changed where it waits.
fn wait_on(host: &Host, change: &Change) -> Result<(), HostError> {
    for (n, json) in host.central.held_like(change.message.as_str())? {
        let Ok(mut held) = serde_json::from_str::<Inbound>(&json) else { continue };
        let at = (&held.at.channel_type, &held.at.platform_id);
        if at != (&change.at.channel_type, &change.at.platform_id) {
            continue;
        }
        match &change.what {
            What::Deleted => host.central.change_held(n, None)?,
            What::Edited(text)
                if change.sender.as_ref().is_none_or(|s| s.handle == held.sender.handle)
                    && text.len() <= TEXT_BYTES_MAX =>
            {
                held.text.clone_from(text);
                let json =
                    serde_json::to_string(&held).map_err(|e| HostError::Inbox(e.to_string()))?;
                host.central.change_held(n, Some(&json))?;
            }
            What::Edited(_) | What::Reacted { .. } | What::Undelivered(_) => {}
        }
    }
    Ok(())
}

/// The sessions that may have the message: as noted when it came, and those that it would go to now.
fn having(
    host: &Host,
    id: &MessageId,
    change: &Change,
    chat: &Chat,
    agent: &AgentId,
) -> Result<Vec<Session>, HostError> {
    let (central, mut all) = (&host.central, Vec::new());
    for row in central.trace_of_message(id.as_str())? {
        if let Some(session) = row.session.and_then(|s| ids::SessionId::parse(s).ok()) {
            all.extend(central.session(&session)?);
        }
    }
    if all.is_empty() {
        all.extend(central.find_session(agent, &chat.id, None)?);
        if let Some(thread) = &change.at.thread_id {
            all.extend(central.find_session(agent, &chat.id, Some(thread))?);
        }
        all.extend(central.agent_shared_session(agent)?);
    }
    all.retain(|s| s.agent == *agent);
    Ok(all)
}

/// ● Writes the change into one inbox.
fn note(
    host: &Arc<Host>,
    change: &Change,
    chat: &Chat,
    session: &Session,
    Message { called: message, quote, changed_by }: Message,
) -> Result<(), HostError> {
    let (agent, at) = (&session.agent, &change.at);
    let welcome = match &changed_by {
        Some(who) => {
            let user = inbound::user_id(&at.channel_type, who)?;
            host.may_talk(chat, agent, &user)?.is_ok()
        }
        // That it is gone, or never came, tells nothing of anybody.
        None => matches!(change.what, What::Deleted | What::Undelivered(_)),
    };
    if !welcome {
        return Ok(());
    }
    let text = match &change.what {
        What::Edited(new) if new.len() > TEXT_BYTES_MAX => {
            format!("(edited {message}; the new text is too long to be shown)")
        }
        What::Edited(new) => format!("(edited {message}, which now says:)\n{new}"),
        What::Deleted => format!("(deleted {message})"),
        What::Undelivered(why) => format!("({message} did not arrive: {why})"),
        What::Reacted { emoji, .. } if emoji.len() > EMOJI_BYTES_MAX => return Ok(()),
        What::Reacted { emoji, removed: false } => format!("(reacted with {emoji} to {message})"),
        What::Reacted { emoji, removed: true } => {
            format!("(took back the reaction {emoji} to {message})")
        }
    };
    let content = content::Chat {
        // An answer to this row is an answer to the message.
        id: Some(change.message.to_string()),
        text,
        sender: changed_by
            .as_ref()
            .map_or_else(|| "somebody".into(), |who| inbound::shown_name(&at.channel_type, who)),
        sender_id: changed_by.map(|who| who.handle),
        reply_to: Some(Quote { id: Some(change.message.to_string()), ..quote }),
        ..content::Chat::default()
    };
    let event = format!("{}\n{}\n{}\n{agent}", at.channel_type, at.platform_id, change.id);
    let id = MessageId::parse(format!("chg-{}", ids::stable(&event)))?;
    let pushed = host.files(session)?.push(NewIn {
        id: id.clone(),
        kind: InKind::Chat,
        timestamp: change.timestamp,
        process_after: None,
        recurrence: None,
        trigger: Trigger::Context,
        reply: Some(at.clone()),
        content: content.to_json(),
        source: None,
        on_wake: false,
    })?;
    if pushed == Pushed::New {
        host.trace("kept as context", Some(&id), Some(&session.id), None, &content.text);
    }
    Ok(())
}
