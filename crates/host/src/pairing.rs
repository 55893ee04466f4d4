//! A chat is connected by typing a code there that the operator was given.
//!
//! The code is taken for one message of one person ● before anything is done with it, and everything that
//! follows can be done again until it is done: a kill in between lets the same message, delivered again, finish
//! the work. No agent ever sees it.

use crate::{Host, HostError, approvals, fault, lock, strangers};
use nanoclaw_central::{Agent, Chat, ChatKind, Pairing, Role, UnknownSenderPolicy};
use nanoclaw_channel::{Inbound, UNVERIFIED, ask};
use nanoclaw_contract::ids::{self, ChannelType, ChatId, PlatformId, UserId};
use nanoclaw_contract::time::iso;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a code is good.
pub(crate) const GOOD_FOR: Duration = Duration::from_secs(600);
/// Nothing that looks like something else.
pub(crate) const ALPHABET: &[u8] = b"23456789ABCDEFGHJKMNPQRSTUVWXYZ";
pub(crate) const LENGTH: usize = 10;
/// A word is no code.
const DIGITS_MIN: usize = 2;
/// Wrong codes of one chat that are answered, within [`GOOD_FOR`].
const GUESSES_MAX: u32 = 5;
/// Chats whose wrong codes are counted.
const CHATS_MAX: usize = 1000;

/// Wrong codes, by chat.
#[derive(Default)]
pub(crate) struct Guesses {
    by_chat: Mutex<BTreeMap<(ChannelType, PlatformId), (u32, Instant)>>,
    /// A code was used.
    pub(crate) used: Notify,
}

impl Guesses {
    /// Whether one more wrong code of this chat is answered.
    fn answers(&self, channel: &ChannelType, chat: &PlatformId) -> bool {
        let mut all = lock(&self.by_chat);
        all.retain(|_, (_, since)| since.elapsed() < GOOD_FOR);
        if all.len() >= CHATS_MAX {
            return false;
        }
        let fresh = (0, Instant::now());
        let (count, _) = all.entry((channel.clone(), chat.clone())).or_insert(fresh);
        *count += 1;
        *count <= GUESSES_MAX
    }
}

fn is_code(text: &str) -> bool {
    text.len() == LENGTH
        && text.bytes().all(|b| ALPHABET.contains(&b))
        && text.bytes().filter(u8::is_ascii_digit).count() >= DIGITS_MIN
}

/// The code that a message is, if it is nothing else; it may address the bot before.
pub(crate) fn read(text: &str) -> Option<String> {
    let mut words = ask::typed(text).split_whitespace();
    let code = match (words.next()?, words.next()) {
        (code, None) => code,
        (name, Some(code)) if name.starts_with('@') => code,
        _ => return None,
    };
    let plain = code.replace('-', "").to_ascii_uppercase();
    (words.next().is_none() && is_code(&plain)).then_some(plain)
}

fn hash(code: &str) -> String {
    format!("{:x}", Sha256::digest(code))
}

/// ● Hands out a code, as people type it. Blocks.
pub(crate) fn offer(
    host: &Host,
    channel: ChannelType,
    agent: &Agent,
    owner: bool,
) -> Result<(Pairing, String), HostError> {
    let now = host.clock.now();
    let code = std::iter::repeat_with(|| ids::secret(ALPHABET, LENGTH)).find(|c| is_code(c));
    let code = code.unwrap_or_default();
    let pairing = Pairing {
        id: ids::mint("pair", now),
        channel,
        agent: agent.id.clone(),
        owner,
        expires_at: now + GOOD_FOR,
        outcome: None,
    };
    host.central.put_pairing(&pairing, &hash(&code))?;
    let (a, b) = code.split_at(LENGTH / 2);
    Ok((pairing, format!("{a}-{b}")))
}

/// Takes a message that is a code, or was meant to be one; true if it did. Blocks.
pub(crate) fn take(host: &Arc<Host>, message: &Inbound, user: &UserId) -> Result<bool, HostError> {
    let Some(code) = read(&message.text).filter(|_| message.files.is_empty()) else {
        return Ok(false);
    };
    let (central, at, now, hash) = (&host.central, &message.at, host.clock.now(), hash(&code));
    let to = message.reply.as_ref().unwrap_or(at);
    // On some platforms, who sends a message chooses its id.
    let by = format!("{user}\n{}\n{}", at.platform_id, message.id);
    if let Some(pairing) = central.take_pairing(&at.channel_type, &hash, &by, now)? {
        if pairing.outcome.is_some() {
            return Ok(true);
        }
        fault::point("host.pairing.taken");
        let outcome = connect(host, message, user, &pairing)?;
        host.say(&format!("paired:{}", pairing.id), to, format!("✅ Connected. {outcome}"))?;
        central.finish_pairing(&pairing.id, &outcome)?;
        host.guesses.used.notify_waiters();
        return Ok(true);
    }
    if !central.expects_pairing(&at.channel_type, &hash, now)? {
        return Ok(false);
    }
    // Where an agent listens, it may be anything.
    if let Some(chat) = central.chat_by_address(&at.channel_type, &at.platform_id)?
        && !central.wirings_of_chat(&chat.id)?.is_empty()
    {
        return Ok(false);
    }
    if host.guesses.answers(&at.channel_type, &at.platform_id) {
        let text = "This code is wrong, or not good any more. The operator makes another with \
                    `ncl chats pair`.";
        host.say(&format!("unpaired:{}:{by}", at.channel_type), to, text.into())?;
    }
    Ok(true)
}

/// Connects the chat and makes the person known; says what came of it. Doing it twice is doing it once.
fn connect(
    host: &Arc<Host>,
    message: &Inbound,
    user: &UserId,
    pairing: &Pairing,
) -> Result<String, HostError> {
    let (central, at, now) = (&host.central, &message.at, host.clock.now());
    let Some(agent) = central.agent(&pairing.agent)? else {
        return Ok("But the agent was removed meanwhile.".into());
    };
    let kind = match message.chat {
        nanoclaw_channel::ChatKind::Direct => ChatKind::Direct,
        nanoclaw_channel::ChatKind::Group => ChatKind::Group,
    };
    let chat = match central.chat_by_address(&at.channel_type, &at.platform_id)? {
        Some(chat) => {
            let name = chat.name.clone().or_else(|| host.called(&at.channel_type, &at.platform_id));
            let chat = Chat { name, kind, denied_at: None, ..chat };
            central.update_chat(&chat)?;
            chat
        }
        None => {
            let chat = Chat {
                id: ChatId::parse(ids::mint("mg", now))?,
                channel_type: at.channel_type.clone(),
                platform_id: at.platform_id.clone(),
                name: host.called(&at.channel_type, &at.platform_id),
                kind,
                policy: UnknownSenderPolicy::RequestApproval,
                denied_at: None,
                created_at: iso(now),
            };
            central.create_chat(&chat)?;
            chat
        }
    };
    strangers::wire(host, &chat, &agent)?;
    host.reproject(&agent.id)?;
    central.add_member(user, &agent.id, None, now)?;
    if kind == ChatKind::Direct {
        central.put_user_dm(user, &at.channel_type, &chat.id, now)?;
    }
    approvals::connected_by_code(host, &chat.id)?;
    let how = match kind {
        ChatKind::Direct => "answers here",
        ChatKind::Group => "answers here when it is addressed",
    };
    let whose = own(host, message, user, pairing.owner)?;
    Ok(format!("{} {how}.{whose}", agent.name))
}

/// Makes the person the owner if there is none, or one with the owner if that was asked for. Whoever holds the
/// code is the operator, but later messages bring none: they must prove whose they are.
fn own(
    host: &Host,
    message: &Inbound,
    user: &UserId,
    wanted: bool,
) -> Result<&'static str, HostError> {
    let (central, now) = (&host.central, host.clock.now());
    let owners = central.owners()?;
    let is = |(role, _): &(Role, _)| *role == Role::Owner;
    if !(wanted || owners.is_empty()) || central.roles_of(user)?.iter().any(is) {
        return Ok("");
    }
    if message.sender.handle.starts_with(UNVERIFIED) {
        return Ok(" But nothing proves who writes in your name here, so nobody became an owner; \
                   the page of this channel says how to prove it.");
    }
    let mut people = Vec::new();
    for owner in &owners {
        people.push(central.person_of(owner)?);
    }
    people.dedup();
    if let (Some(owner), [_]) = (owners.first(), people.as_slice()) {
        central.link_users(user, owner, now)?;
        return Ok(" You are the owner, here too.");
    }
    central.grant_role(user, Role::Owner, None, None, now)?;
    Ok(" You are an owner now.")
}

#[cfg(test)]
mod tests;
