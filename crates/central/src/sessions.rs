//! Sessions: one conversation of one agent, with its own files and its own box.

use crate::{Central, Result, get};
use nanoclaw_contract::ids::{AgentId, ChatId, SessionId, ThreadId};
use nanoclaw_contract::words;
use rusqlite::{Connection, Row, params};

words! {
    /// What a session's box is doing.
    ContainerStatus {
        /// It runs.
        Running = "running",
        /// It runs and waits.
        Idle = "idle",
        /// There is none.
        Stopped = "stopped",
    }
}

/// Which sessions are meant; none: all.
#[derive(Debug, Clone, Default)]
pub struct SessionFilter {
    /// Of this agent.
    pub agent: Option<AgentId>,
    /// Of this chat.
    pub chat: Option<ChatId>,
    /// Those that take messages, or those that do not.
    pub active: Option<bool>,
}

stored! {
    /// A session.
    Session = "sessions" {
        /// Its id.
        id: SessionId,
        /// Whose.
        agent: AgentId = "agent_group_id",
        /// The chat it belongs to; none for sessions that only agents write to.
        chat: Option<ChatId> = "messaging_group_id",
        /// The thread it belongs to.
        thread: Option<ThreadId> = "thread_id",
        /// The harness, if it is another than the agent's.
        provider: Option<String> = "agent_provider",
        /// Whether it still takes messages.
        active: bool = "COALESCE(status, 'active') = 'active'",
        /// What its box is doing.
        container: ContainerStatus = "container_status" => container,
        /// When it was last written to.
        last_active: Option<String>,
        /// When it was made.
        created_at: String,
    }
}

/// Anything else is looked at by whoever looks after running boxes, and found stopped.
fn container(row: &Row<'_>, n: usize) -> rusqlite::Result<ContainerStatus> {
    let word: Option<String> = row.get(n)?;
    Ok(word.map_or(ContainerStatus::Stopped, |word| {
        ContainerStatus::parse(&word).unwrap_or(ContainerStatus::Running)
    }))
}

fn find(
    conn: &Connection,
    agent: &AgentId,
    chat: Option<&ChatId>,
    thread: Option<&ThreadId>,
) -> rusqlite::Result<Option<Session>> {
    let rest = "WHERE agent_group_id = ?1 AND messaging_group_id IS ?2 AND thread_id IS ?3
           AND COALESCE(status, 'active') = 'active' ORDER BY created_at DESC, id DESC LIMIT 1";
    get(conn, rest, params![agent, chat, thread])
}

fn find_agent_shared(conn: &Connection, agent: &AgentId) -> rusqlite::Result<Option<Session>> {
    let rest =
        "WHERE agent_group_id = ?1 AND thread_id IS NULL AND COALESCE(status, 'active') = 'active'
         ORDER BY messaging_group_id IS NULL OR EXISTS (
             SELECT 1 FROM messaging_group_agents w
             WHERE w.messaging_group_id = sessions.messaging_group_id
               AND w.agent_group_id = sessions.agent_group_id AND w.session_mode = 'agent-shared'
           ) DESC, created_at DESC, id DESC LIMIT 1";
    get(conn, rest, [agent])
}

/// Where agents write to: the session that chats share, or else the newest that is no task's own.
pub(crate) fn find_for_letters(
    conn: &Connection,
    agent: &AgentId,
) -> rusqlite::Result<Option<Session>> {
    let rest = "WHERE agent_group_id = ?1 AND COALESCE(status, 'active') = 'active'
           AND COALESCE(thread_id, '') NOT LIKE 'task:%'
         ORDER BY thread_id IS NULL AND EXISTS (
             SELECT 1 FROM messaging_group_agents w
             WHERE w.messaging_group_id = sessions.messaging_group_id
               AND w.agent_group_id = sessions.agent_group_id AND w.session_mode = 'agent-shared'
           ) DESC, created_at DESC, id DESC LIMIT 1";
    get(conn, rest, [agent])
}

pub(crate) fn insert(conn: &Connection, s: &Session) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO sessions (id, agent_group_id, messaging_group_id, thread_id, agent_provider, status,
           container_status, last_active, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        s.id,
        s.agent,
        s.chat,
        s.thread,
        s.provider,
        if s.active { "active" } else { "closed" },
        s.container,
        s.last_active,
        s.created_at
    ])
    .map(drop)
}

impl Central {
    /// The session with this id.
    pub fn session(&self, id: &SessionId) -> Result<Option<Session>> {
        self.get("WHERE id = ?1", [id])
    }

    /// The newest active session of exactly this chat and thread.
    pub fn find_session(
        &self,
        agent: &AgentId,
        chat: &ChatId,
        thread: Option<&ThreadId>,
    ) -> Result<Option<Session>> {
        find(&self.lock(), agent, Some(chat), thread)
            .map_err(|e| crate::Error::of("find the session", e))
    }

    /// The session that all chats of the agent share.
    ///
    /// v2 does not mark such sessions. They have no thread; among those, one without a chat or of a chat
    /// that is wired as agent-shared goes before one of an ordinary chat, and the newest goes first.
    pub fn agent_shared_session(&self, agent: &AgentId) -> Result<Option<Session>> {
        find_agent_shared(&self.lock(), agent).map_err(|e| crate::Error::of("find the session", e))
    }

    /// Makes a session.
    pub fn create_session(&self, new: &Session) -> Result<()> {
        insert(&self.lock(), new).map_err(|e| crate::Error::of("create the session", e))
    }

    /// The active session of `new`'s agent, chat and thread, or else `new` itself, made in the same
    /// transaction. True if it was made.
    pub fn find_or_create_session(&self, new: &Session) -> Result<(Session, bool)> {
        self.tx("create the session", |tx| {
            match find(tx, &new.agent, new.chat.as_ref(), new.thread.as_ref())? {
                Some(found) => Ok((found, false)),
                None => Ok((insert(tx, new).map(|()| new.clone())?, true)),
            }
        })
    }

    /// Like [`Central::find_or_create_session`], for the session that all chats of the agent share.
    pub fn find_or_create_agent_shared(&self, new: &Session) -> Result<(Session, bool)> {
        self.tx("create the session", |tx| match find_agent_shared(tx, &new.agent)? {
            Some(found) => Ok((found, false)),
            None => Ok((insert(tx, new).map(|()| new.clone())?, true)),
        })
    }

    /// Some sessions, the newest first.
    pub fn sessions(&self, limit: usize, offset: usize) -> Result<Vec<Session>> {
        let sized = |n| i64::try_from(n).unwrap_or(i64::MAX);
        let rest = "ORDER BY created_at DESC, id DESC LIMIT ?1 OFFSET ?2";
        self.all(rest, params![sized(limit), sized(offset)])
    }

    /// Some of those that are meant, the newest first.
    pub fn sessions_where(
        &self,
        only: &SessionFilter,
        limit: usize,
        offset: usize,
    ) -> Result<Vec<Session>> {
        let sized = |n| i64::try_from(n).unwrap_or(i64::MAX);
        let rest =
            "WHERE (?1 IS NULL OR agent_group_id = ?1) AND (?2 IS NULL OR messaging_group_id = ?2)
               AND (?3 IS NULL OR (COALESCE(status, 'active') = 'active') = ?3)
             ORDER BY created_at DESC, id DESC LIMIT ?4 OFFSET ?5";
        let values = params![only.agent, only.chat, only.active, sized(limit), sized(offset)];
        self.all(rest, values)
    }

    /// Every session of an agent, closed ones too.
    pub fn sessions_of_agent(&self, agent: &AgentId) -> Result<Vec<Session>> {
        self.all("WHERE agent_group_id = ?1 ORDER BY created_at DESC, id DESC", [agent])
    }

    /// The sessions whose boxes run, or were running when we last knew.
    pub fn live_sessions(&self) -> Result<Vec<Session>> {
        self.all("WHERE container_status <> 'stopped' ORDER BY created_at, id", [])
    }

    /// How many sessions there are.
    pub fn count_sessions(&self) -> Result<i64> {
        let sql = "SELECT COUNT(*) FROM sessions";
        Ok(self.one("count the sessions", sql, [], |r| r.get(0))?.unwrap_or(0))
    }

    /// Says what the session's box is doing.
    pub fn set_container(&self, id: &SessionId, status: ContainerStatus) -> Result<()> {
        let sql = "UPDATE sessions SET container_status = ?2 WHERE id = ?1";
        self.run("set the session's state", sql, params![id, status]).map(drop)
    }

    /// Ends a session: it gets no more messages. False if it had ended already.
    pub fn close_session(&self, id: &SessionId) -> Result<bool> {
        let sql = "UPDATE sessions SET status = 'closed'
                   WHERE id = ?1 AND COALESCE(status, 'active') = 'active'";
        Ok(self.run("close the session", sql, [id])? > 0)
    }
}
