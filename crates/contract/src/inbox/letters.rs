//! What the host reads of the inbox beyond the agent's work: messages between agents, and who waits.

use super::{Inbox, parsed};
use crate::ids::{Address, AgentId, ChannelType, MessageId, PlatformId, SessionId, ThreadId};
use crate::message::AGENT_CHANNEL;
use crate::time::{self, Timestamp};
use crate::{Error, Step as _};
use rusqlite::{OptionalExtension as _, Row, params};
use serde_json::Value;
use std::collections::BTreeSet;

/// The field of a message's content that counts the agents it came through.
pub const HOPS: &str = "hops";

/// What a message in the inbox says of the agent that sent it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Letter {
    /// The session that wrote it; none if no agent did.
    pub source: Option<SessionId>,
    /// How many agents in a row passed it on, without a person in between.
    pub hops: u64,
}

fn letter(r: &Row<'_>) -> rusqlite::Result<Letter> {
    let content: String = r.get("content")?;
    let hops = serde_json::from_str::<Value>(&content).ok().and_then(|c| c.get(HOPS)?.as_u64());
    Ok(Letter {
        source: parsed(r, "source_session_id", SessionId::parse)?,
        hops: hops.unwrap_or_default(),
    })
}

impl Inbox {
    /// What this message says of its sender.
    pub fn letter(&self, id: &MessageId) -> Result<Option<Letter>, Error> {
        self.conn
            .prepare_cached("SELECT source_session_id, content FROM messages_in WHERE id = ?1")
            .step("read message")?
            .query_row([id], letter)
            .optional()
            .step("read message")
    }

    /// The newest message from another agent.
    pub fn latest_letter(&self, from: &AgentId) -> Result<Option<Letter>, Error> {
        self.conn
            .prepare_cached(
                "SELECT source_session_id, content FROM messages_in
                 WHERE channel_type = ?1 AND platform_id = ?2 AND source_session_id IS NOT NULL
                 ORDER BY seq DESC LIMIT 1",
            )
            .step("read latest")?
            .query_row(params![AGENT_CHANNEL, from], letter)
            .optional()
            .step("read latest")
    }

    /// The chats in which somebody waits for the end of a turn.
    pub fn waiting(&self, now: Timestamp) -> Result<BTreeSet<Address>, Error> {
        let mut query = self
            .conn
            .prepare_cached(
                "SELECT channel_type, platform_id, thread_id, process_after FROM messages_in
                 WHERE status = 'pending' AND trigger = 1 AND kind IN ('chat', 'chat-sdk')
                   AND channel_type <> ?1",
            )
            .step("look who waits")?;
        let mut rows = query.query([AGENT_CHANNEL]).step("look who waits")?;
        let mut all = BTreeSet::new();
        while let Some(r) = rows.next().step("look who waits")? {
            let read = || -> rusqlite::Result<Option<Address>> {
                let after: Option<String> = r.get(3)?;
                let place = parsed(r, "channel_type", ChannelType::parse)?.zip(parsed(
                    r,
                    "platform_id",
                    PlatformId::parse,
                )?);
                let Some((channel_type, platform_id)) = place else { return Ok(None) };
                if after.as_deref().and_then(time::parse).is_some_and(|at| at > now) {
                    return Ok(None);
                }
                let thread_id = parsed(r, "thread_id", ThreadId::parse)?;
                Ok(Some(Address { channel_type, platform_id, thread_id }))
            };
            all.extend(read().step("look who waits")?);
        }
        Ok(all)
    }
}
