//! Who may decide about an agent, and where people are reached directly.

use crate::access::{Access, UserFacts, access, scope};
use crate::{Host, HostError, lock};
use nanoclaw_central::{Chat, ChatKind, Role, SenderScope, UnknownSenderPolicy};
use nanoclaw_contract::ids::{self, Address, AgentId, ChannelType, ChatId, PlatformId, UserId};
use nanoclaw_contract::time::iso;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a platform may take to open a direct chat.
const OPEN_MAX: Duration = Duration::from_secs(10);
/// How long it may take to say what a chat is called. Only the first message of a chat waits for it.
const NAME_MAX: Duration = Duration::from_secs(3);
/// How long one that did not open one is not asked again: messages wait for the answer.
const CLOSED_FOR: Duration = Duration::from_secs(60);

impl Host {
    /// The admins of this agent, then those of all agents, then the owners, each under all of their
    /// identities. Blocks.
    pub(crate) fn deciders(&self, agent: Option<&AgentId>) -> Result<Vec<UserId>, HostError> {
        let mut all = Vec::new();
        if agent.is_some() {
            all.extend(self.central.holders(Role::Admin, agent)?);
        }
        all.extend(self.central.holders(Role::Admin, None)?);
        all.extend(self.central.owners()?);
        let mut people: Vec<UserId> = Vec::new();
        for user in all {
            for identity in self.central.identities_of(&user)? {
                if !people.contains(&identity) {
                    people.push(identity);
                }
            }
        }
        Ok(people)
    }

    /// Whether messages of this person would be let in to the agent in this chat; else the word under which
    /// they would be refused. Blocks.
    pub(crate) fn may_talk(
        &self,
        chat: &Chat,
        agent: &AgentId,
        user: &UserId,
    ) -> Result<Result<(), &'static str>, HostError> {
        let (roles, member) = (self.central.roles_of(user)?, self.central.is_member(user, agent)?);
        let facts = UserFacts { roles, member };
        let wirings = self.central.wirings_of_chat(&chat.id)?;
        let of_agent = wirings.iter().flatten().find(|w| w.agent == *agent);
        // A wiring that cannot be read may be the agent's, and narrow.
        let unknown = match wirings.iter().any(Result::is_err) {
            true => SenderScope::Known,
            false => SenderScope::All,
        };
        let scoped = of_agent.map_or(unknown, |w| w.sender_scope);
        let gates = [access(chat.policy, Some(&facts), agent), scope(scoped, Some(&facts), agent)];
        let refused = gates.into_iter().find_map(|gate| match gate {
            Access::Refused(record) => Some(record),
            Access::Allowed(_) => None,
        });
        Ok(refused.map_or(Ok(()), Err))
    }

    /// What people call a chat, as its platform says. Blocks, and asks the platform.
    pub(crate) fn called(&self, channel: &ChannelType, chat: &PlatformId) -> Option<String> {
        let channel = self.channels.get(channel)?;
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        let _place = self.channels.naming.try_acquire().ok()?;
        let asked = async { tokio::time::timeout(NAME_MAX, channel.chat_name(chat)).await };
        let name = runtime.block_on(asked).ok()??;
        let name: String = name.trim().chars().filter(|c| !c.is_control()).take(100).collect();
        (!name.is_empty()).then_some(name)
    }

    /// Where a person was reached directly before. Blocks.
    pub(crate) fn known_dm(&self, user: &UserId) -> Result<Option<Address>, HostError> {
        let Some((channel, handle)) = user.as_str().split_once(':') else { return Ok(None) };
        let (channel, handle) = (ChannelType::parse(channel)?, PlatformId::parse(handle)?);
        let chat = match self.central.user_dm(user, &channel)? {
            Some(chat) => self.central.chat(&chat)?,
            None => self.central.chat_by_address(&channel, &handle)?,
        };
        Ok(chat.filter(|c| c.kind == ChatKind::Direct).map(|c| address(&c)))
    }

    /// Where a person is reached directly: known, or opened now. Blocks, and may ask the platform.
    pub(crate) fn dm(self: &Arc<Self>, user: &UserId) -> Result<Option<Address>, HostError> {
        let Some((channel, handle)) = user.as_str().split_once(':') else { return Ok(None) };
        let (known, channel_type) = (self.known_dm(user)?, ChannelType::parse(channel)?);
        // A chat that only happens to be called like the person is asked for first.
        if known.is_some() && self.central.user_dm(user, &channel_type)?.is_some() {
            return Ok(known);
        }
        let Some(channel) = self.channels.get(&channel_type) else { return Ok(known) };
        if lock(&self.closed).get(user).is_some_and(|since| since.elapsed() < CLOSED_FOR) {
            return Ok(None);
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return Ok(None) };
        let opened = runtime
            .block_on(async { tokio::time::timeout(OPEN_MAX, channel.open_dm(handle)).await });
        let platform_id = match opened {
            Ok(Ok(id)) => id,
            failed => {
                let error = failed.map(|opened| opened.map_err(|e| e.to_string()));
                tracing::warn!(%user, ?error, "no direct chat");
                lock(&self.closed).insert(user.clone(), Instant::now());
                return Ok(None);
            }
        };
        let now = self.clock.now();
        let chat = match self.central.chat_by_address(&channel_type, &platform_id)? {
            Some(chat) if chat.kind == ChatKind::Group => return Ok(None),
            Some(chat) => chat,
            None => {
                let chat = Chat {
                    id: ChatId::parse(ids::mint("mg", now))?,
                    channel_type: channel_type.clone(),
                    platform_id,
                    name: self.central.user(user)?.and_then(|u| u.name),
                    kind: ChatKind::Direct,
                    policy: UnknownSenderPolicy::Strict,
                    denied_at: None,
                    created_at: iso(now),
                };
                self.central.create_chat(&chat)?;
                chat
            }
        };
        self.central.put_user_dm(user, &channel_type, &chat.id, now)?;
        Ok(Some(address(&chat)))
    }
}

fn address(chat: &Chat) -> Address {
    Address {
        channel_type: chat.channel_type.clone(),
        platform_id: chat.platform_id.clone(),
        thread_id: None,
    }
}
