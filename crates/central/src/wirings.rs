//! Wirings (`messaging_group_agents`): which agent listens in which chat, and when it answers.
//!
//! Also the threads in which an agent goes on answering (`engaged_threads`). A wiring whose words are
//! unknown is handed out as broken: it must not answer, and it must not silence its neighbours.

use crate::destinations::{DestinationTarget, insert_for_wiring};
use crate::{BrokenRow, Central, Error, Result, one};
use nanoclaw_contract::ids::{AgentId, ChatId, ThreadId, WiringId};
use nanoclaw_contract::time::{Timestamp, iso};
use nanoclaw_contract::words;
use rusqlite::params;

words! {
    /// When an agent answers.
    EngageMode {
        /// When the text fits a regular expression.
        Pattern = "pattern",
        /// When it is addressed.
        Mention = "mention",
        /// When it is addressed, and from then on in that thread.
        MentionSticky = "mention-sticky",
    }
    /// Whom it answers.
    SenderScope {
        /// Everybody whom the chat lets in.
        All = "all",
        /// Only people with a role or a membership.
        Known = "known",
    }
    /// What becomes of messages that it does not answer.
    IgnoredPolicy {
        /// Nothing.
        Drop = "drop",
        /// They are kept as context for its next turn.
        Accumulate = "accumulate",
    }
    /// How a chat is cut into sessions.
    SessionMode {
        /// One for the chat.
        Shared = "shared",
        /// One for each thread.
        PerThread = "per-thread",
        /// One for all chats of the agent.
        AgentShared = "agent-shared",
    }
}

stored! {
    /// A wiring.
    Wiring = "messaging_group_agents" {
        /// Its id.
        id: WiringId,
        /// Where the agent listens.
        chat: ChatId = "messaging_group_id",
        /// Which agent.
        agent: AgentId = "agent_group_id",
        /// How the chat is cut into sessions.
        session_mode: SessionMode = "COALESCE(session_mode, 'shared')",
        /// Higher is asked first.
        priority: i64 = "COALESCE(priority, 0)",
        /// When it answers; none: never.
        engage_mode: Option<EngageMode>,
        /// The regular expression of [`EngageMode::Pattern`]; none and `.` fit everything.
        engage_pattern: Option<String>,
        /// Whom it answers.
        sender_scope: SenderScope = "COALESCE(sender_scope, 'known')",
        /// What becomes of the other messages.
        ignored: IgnoredPolicy = "COALESCE(ignored_message_policy, 'drop')",
        /// Whether its answers are shown while they are being said.
        previews: bool = "stream_previews",
        /// When it was made.
        created_at: String,
    }
}

impl Central {
    /// The wirings of a chat, in the order in which they are asked.
    pub fn wirings_of_chat(&self, chat: &ChatId) -> Result<Vec<Result<Wiring, BrokenRow>>> {
        self.each("WHERE messaging_group_id = ?1 ORDER BY priority DESC, created_at, id", [chat])
    }

    /// Every wiring, by chat.
    pub fn wirings(&self) -> Result<Vec<Result<Wiring, BrokenRow>>> {
        self.each("ORDER BY messaging_group_id, priority DESC, created_at, id", [])
    }

    /// The wiring with this id.
    pub fn wiring(&self, id: &WiringId) -> Result<Option<Wiring>> {
        self.get("WHERE id = ?1", [id])
    }

    /// Changes when the agent of a wiring answers; false if there is no such wiring.
    pub fn update_wiring(&self, w: &Wiring) -> Result<bool> {
        let sql = "UPDATE messaging_group_agents SET session_mode = ?2, priority = ?3, engage_mode = ?4,
                     engage_pattern = ?5, sender_scope = ?6, ignored_message_policy = ?7, stream_previews = ?8
                   WHERE id = ?1";
        let values = params![
            w.id,
            w.session_mode,
            w.priority,
            w.engage_mode,
            w.engage_pattern,
            w.sender_scope,
            w.ignored,
            w.previews
        ];
        Ok(self.run("change the wiring", sql, values)? > 0)
    }

    /// Makes a wiring, and the name by which the agent can write to that chat.
    pub fn create_wiring(&self, w: &Wiring) -> Result<()> {
        self.tx("create the wiring", |tx| {
            let name = "SELECT name, channel_type FROM messaging_groups WHERE id = ?1";
            let chat = one(tx, name, [&w.chat], |r| Ok((r.get(0)?, r.get(1)?)))?;
            let Some((name, channel)): Option<(Option<String>, String)> = chat else {
                return Err(Error::Refused(format!("there is no chat {}", w.chat)));
            };
            tx.execute(
                "INSERT INTO messaging_group_agents (id, messaging_group_id, agent_group_id, session_mode,
                   priority, engage_mode, engage_pattern, sender_scope, ignored_message_policy, created_at, stream_previews)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                params![
                    w.id,
                    w.chat,
                    w.agent,
                    w.session_mode,
                    w.priority,
                    w.engage_mode,
                    w.engage_pattern,
                    w.sender_scope,
                    w.ignored,
                    w.created_at,
                    w.previews
                ],
            )?;
            let start: String = w.chat.as_str().chars().take(8).collect();
            let base = name.unwrap_or_else(|| format!("{channel}-{start}"));
            let target = DestinationTarget::Chat(w.chat.clone());
            insert_for_wiring(tx, &w.agent, &base, &target, &w.created_at)
        })
    }

    /// Removes a wiring. The name by which the agent writes there stays until it is removed.
    pub fn remove_wiring(&self, id: &WiringId) -> Result<bool> {
        let sql = "DELETE FROM messaging_group_agents WHERE id = ?1";
        Ok(self.run("remove the wiring", sql, [id])? > 0)
    }

    /// Remembers that the agent was addressed in this thread.
    pub fn engage_thread(
        &self,
        agent: &AgentId,
        chat: &ChatId,
        thread: &ThreadId,
        now: Timestamp,
    ) -> Result<()> {
        self.run(
            "remember the thread",
            "INSERT OR IGNORE INTO engaged_threads (agent_group_id, messaging_group_id, thread_id, since)
             VALUES (?1, ?2, ?3, ?4)",
            params![agent, chat, thread, iso(now)],
        )
        .map(drop)
    }

    /// Whether the agent was addressed in this thread before.
    pub fn is_thread_engaged(
        &self,
        agent: &AgentId,
        chat: &ChatId,
        thread: &ThreadId,
    ) -> Result<bool> {
        let sql = "SELECT 1 FROM engaged_threads
                   WHERE agent_group_id = ?1 AND messaging_group_id = ?2 AND thread_id = ?3";
        self.any("look for the thread", sql, params![agent, chat, thread])
    }

    /// Notes that the agent was given what had been said in this thread.
    pub fn tell_thread(&self, agent: &AgentId, chat: &ChatId, thread: &ThreadId) -> Result<()> {
        let sql =
            "INSERT OR IGNORE INTO told_threads (agent_group_id, messaging_group_id, thread_id)
                   VALUES (?1, ?2, ?3)";
        self.run("note the thread", sql, params![agent, chat, thread]).map(drop)
    }

    /// Whether it was.
    pub fn is_thread_told(
        &self,
        agent: &AgentId,
        chat: &ChatId,
        thread: &ThreadId,
    ) -> Result<bool> {
        let sql = "SELECT 1 FROM told_threads
                   WHERE agent_group_id = ?1 AND messaging_group_id = ?2 AND thread_id = ?3";
        self.any("look for the thread", sql, params![agent, chat, thread])
    }
}
