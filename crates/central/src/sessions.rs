//! Sessions: one conversation of one agent, with its own files and its own box.

use crate::{BrokenRow, Central, Result, one};
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

/// A session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whose.
    pub agent: AgentId,
    /// The chat it belongs to; none for sessions that only agents write to.
    pub chat: Option<ChatId>,
    /// The thread it belongs to.
    pub thread: Option<ThreadId>,
    /// The harness, if it is another than the agent's.
    pub provider: Option<String>,
    /// Whether it still takes messages.
    pub active: bool,
    /// What its box is doing.
    pub container: ContainerStatus,
    /// When it was last written to.
    pub last_active: Option<String>,
    /// When it was made.
    pub created_at: String,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, agent_group_id, messaging_group_id, thread_id, agent_provider,
               COALESCE(status, 'active') = 'active', container_status, last_active, created_at
             FROM sessions ",
            $rest
        )
    };
}

fn session(r: &Row<'_>) -> rusqlite::Result<Session> {
    let container: Option<String> = r.get(6)?;
    Ok(Session {
        id: r.get(0)?,
        agent: r.get(1)?,
        chat: r.get(2)?,
        thread: r.get(3)?,
        provider: r.get(4)?,
        active: r.get(5)?,
        // Anything else is looked at by whoever looks after running boxes, and found stopped.
        container: container.map_or(ContainerStatus::Stopped, |word| {
            ContainerStatus::parse(&word).unwrap_or(ContainerStatus::Running)
        }),
        last_active: r.get(7)?,
        created_at: r.get(8)?,
    })
}

fn find(
    conn: &Connection,
    agent: &AgentId,
    chat: Option<&ChatId>,
    thread: Option<&ThreadId>,
) -> rusqlite::Result<Option<Session>> {
    let sql = select!(
        "WHERE agent_group_id = ?1 AND messaging_group_id IS ?2 AND thread_id IS ?3
           AND COALESCE(status, 'active') = 'active' ORDER BY created_at DESC, id DESC LIMIT 1"
    );
    one(conn, sql, params![agent, chat, thread], session)
}

fn find_agent_shared(conn: &Connection, agent: &AgentId) -> rusqlite::Result<Option<Session>> {
    let sql = select!(
        "WHERE agent_group_id = ?1 AND thread_id IS NULL AND COALESCE(status, 'active') = 'active'
         ORDER BY messaging_group_id IS NULL OR EXISTS (
             SELECT 1 FROM messaging_group_agents w
             WHERE w.messaging_group_id = sessions.messaging_group_id
               AND w.agent_group_id = sessions.agent_group_id AND w.session_mode = 'agent-shared'
           ) DESC, created_at DESC, id DESC LIMIT 1"
    );
    one(conn, sql, [agent], session)
}

/// Where agents write to: the session that chats share, or else the newest that is no task's own.
pub(crate) fn find_for_letters(
    conn: &Connection,
    agent: &AgentId,
) -> rusqlite::Result<Option<Session>> {
    let sql = select!(
        "WHERE agent_group_id = ?1 AND COALESCE(status, 'active') = 'active'
           AND COALESCE(thread_id, '') NOT LIKE 'task:%'
         ORDER BY thread_id IS NULL AND EXISTS (
             SELECT 1 FROM messaging_group_agents w
             WHERE w.messaging_group_id = sessions.messaging_group_id
               AND w.agent_group_id = sessions.agent_group_id AND w.session_mode = 'agent-shared'
           ) DESC, created_at DESC, id DESC LIMIT 1"
    );
    one(conn, sql, [agent], session)
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
        self.one("read the session", select!("WHERE id = ?1"), [id], session)
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
        let sql = select!("ORDER BY created_at DESC, id DESC LIMIT ?1 OFFSET ?2");
        self.list("sessions", sql, params![sized(limit), sized(offset)], session)
    }

    /// Some of those that are meant, the newest first.
    pub fn sessions_where(
        &self,
        only: &SessionFilter,
        limit: usize,
        offset: usize,
    ) -> Result<Vec<Session>> {
        let sized = |n| i64::try_from(n).unwrap_or(i64::MAX);
        let sql = select!(
            "WHERE (?1 IS NULL OR agent_group_id = ?1) AND (?2 IS NULL OR messaging_group_id = ?2)
               AND (?3 IS NULL OR (COALESCE(status, 'active') = 'active') = ?3)
             ORDER BY created_at DESC, id DESC LIMIT ?4 OFFSET ?5"
        );
        let values = params![only.agent, only.chat, only.active, sized(limit), sized(offset)];
        self.list("sessions", sql, values, session)
    }

    pub(crate) fn session_rows(&self) -> Result<Vec<Result<Session, BrokenRow>>> {
        self.rows("sessions", select!("ORDER BY created_at, id"), [], session)
    }

    /// Every session of an agent, closed ones too.
    pub fn sessions_of_agent(&self, agent: &AgentId) -> Result<Vec<Session>> {
        let sql = select!("WHERE agent_group_id = ?1 ORDER BY created_at DESC, id DESC");
        self.list("sessions", sql, [agent], session)
    }

    /// The sessions whose boxes run, or were running when we last knew.
    pub fn live_sessions(&self) -> Result<Vec<Session>> {
        let sql = select!("WHERE container_status <> 'stopped' ORDER BY created_at, id");
        self.list("sessions", sql, [], session)
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
