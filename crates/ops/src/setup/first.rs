//! The first agent, its chat, its wiring and its owner, as rows of the central database.

use crate::{During as _, Error, Say, setup::FirstChat};
use nanoclaw_central::{
    Agent, AgentConfig, Central, Chat, ChatKind, EngageMode, IgnoredPolicy, Role, SenderScope,
    SessionMode, UnknownSenderPolicy, Wiring, is_folder_name,
};
use nanoclaw_contract::ids::{AgentId, ChannelType, ChatId, PlatformId, UserId, WiringId, mint};
use nanoclaw_contract::time::{Clock as _, SystemClock, Timestamp, iso};

/// Finds the agent of the first chat, or makes what is missing on the way to it.
pub(super) fn find_or_make(
    central: &Central,
    first: FirstChat,
    name: &str,
    say: Say<'_>,
) -> Result<Agent, Error> {
    let now = SystemClock.now();
    own(central, first, now, say)?;
    let chat = chat(central, first, now, say)?;
    let wired = central.wirings_of_chat(&chat).during("read the wirings")?;
    // A wiring that cannot be understood is left for its owner; it must not be doubled.
    for wiring in wired.into_iter().flatten() {
        if let Some(agent) = central.agent(&wiring.agent).during("read the agent")? {
            return with_provider(central, agent);
        }
    }
    let agent = match oldest(central)? {
        Some(agent) => agent,
        None => make_agent(central, name, now, say)?,
    };
    let wiring = Wiring {
        id: WiringId::parse(mint("mga", now)).during("make an id")?,
        chat,
        agent: agent.id.clone(),
        session_mode: SessionMode::Shared,
        priority: 0,
        engage_mode: Some(EngageMode::Pattern),
        engage_pattern: Some(".".into()),
        sender_scope: SenderScope::All,
        ignored: IgnoredPolicy::Drop,
        previews: false,
        created_at: iso(now),
    };
    central.create_wiring(&wiring).during("wire the first chat")?;
    say(&format!("wired: {} in {}", agent.name, first.channel));
    with_provider(central, agent)
}

/// Sets the provider of an agent; says whether that changed anything.
pub(super) fn use_provider(
    central: &Central,
    agent: &mut Agent,
    provider: &str,
    now: Timestamp,
) -> Result<bool, Error> {
    let known = central.config(&agent.id).during("read the agent's configuration")?;
    let mut config = known.unwrap_or_default();
    if config.provider.as_deref() == Some(provider) {
        return Ok(false);
    }
    let before = config.provider.replace(provider.to_owned());
    central.put_config(&agent.id, &config, now).during("save the agent's configuration")?;
    agent.provider = Some(provider.to_owned());
    Ok(before.is_some())
}

fn with_provider(central: &Central, mut agent: Agent) -> Result<Agent, Error> {
    let config = central.config(&agent.id).during("read the agent's configuration")?;
    if let Some(provider) = config.and_then(|c| c.provider) {
        agent.provider = Some(provider);
    }
    Ok(agent)
}

fn own(central: &Central, first: FirstChat, now: Timestamp, say: Say<'_>) -> Result<(), Error> {
    let owner = UserId::parse(first.owner).during("the owner's id")?;
    let kind = first.channel;
    central.upsert_user(&owner, kind, None, now).during("save the owner")?;
    if central.grant_role(&owner, Role::Owner, None, None, now).during("grant the owner's role")? {
        say(&format!("owner: {owner}"));
    }
    Ok(())
}

fn chat(
    central: &Central,
    first: FirstChat,
    now: Timestamp,
    say: Say<'_>,
) -> Result<ChatId, Error> {
    let channel_type = ChannelType::parse(first.channel).during("the first channel")?;
    let platform_id = PlatformId::parse(first.platform_id).during("the first chat")?;
    let known = central.chat_by_address(&channel_type, &platform_id).during("read the chat")?;
    if let Some(chat) = known {
        return Ok(chat.id);
    }
    let chat = Chat {
        id: ChatId::parse(mint("mg", now)).during("make an id")?,
        channel_type,
        platform_id,
        name: Some("terminal".into()),
        kind: ChatKind::Direct,
        policy: UnknownSenderPolicy::Strict,
        denied_at: None,
        created_at: iso(now),
    };
    central.create_chat(&chat).during("create the first chat")?;
    say(&format!("chat: {} {}", first.channel, first.platform_id));
    Ok(chat.id)
}

fn oldest(central: &Central) -> Result<Option<Agent>, Error> {
    let agents = central.agents().during("read the agents")?;
    Ok(agents.into_iter().min_by(|a, b| a.created_at.cmp(&b.created_at)))
}

fn make_agent(central: &Central, name: &str, now: Timestamp, say: Say<'_>) -> Result<Agent, Error> {
    let agent = Agent {
        id: AgentId::parse(mint("ag", now)).during("make an id")?,
        name: name.to_owned(),
        folder: folder(name),
        provider: None,
        created_at: iso(now),
    };
    central.create_agent(&agent).during("create the first agent")?;
    let config = AgentConfig { assistant_name: Some(agent.name.clone()), ..AgentConfig::default() };
    central.put_config(&agent.id, &config, now).during("save the agent's configuration")?;
    say(&format!("made: {} in groups/{}", agent.name, agent.folder));
    Ok(agent)
}

/// A folder for an agent's name: letters and digits of it, or `agent`.
pub(super) fn folder(name: &str) -> String {
    let mut folder = String::new();
    for c in name.to_lowercase().chars() {
        match c {
            'a'..='z' | '0'..='9' => folder.push(c),
            _ if !folder.is_empty() && !folder.ends_with('-') => folder.push('-'),
            _ => {}
        }
        if folder.len() >= 40 {
            break;
        }
    }
    let folder = folder.trim_end_matches('-').to_owned();
    if is_folder_name(&folder) { folder } else { "agent".into() }
}
