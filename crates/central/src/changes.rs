//! Changes of an agent's box: limits (`agent_limits`), packages made ready (`agent_tools`), and changes
//! under way (`builds`), so that one cut short is finished or taken back by the next host.
//!
//! What a change replaces is kept in its row in the same transaction that replaces it.

use crate::{Central, Error, Result, one};
use nanoclaw_contract::ids::{AgentId, SessionId};
use nanoclaw_contract::time::{Timestamp, iso};
use rusqlite::{Row, Transaction, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How much a box of the agent may use; none is the install's own limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AgentLimits {
    /// Memory in MiB.
    pub memory_mib: Option<u32>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Thousandths of a CPU.
    pub cpu_millis: Option<u32>,
}

/// Packages that were made ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentTools {
    /// Which set, made by which driver.
    pub key: String,
    /// JSON, in the driver's words.
    pub provided: String,
}

/// The parts of an agent's set-up that a change touches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoxParts {
    /// Debian packages.
    pub apt: Value,
    /// npm packages.
    pub npm: Value,
    /// Servers of further tools by name.
    pub mcp_servers: Value,
    /// What was made ready.
    pub tools: Option<AgentTools>,
}

stored! {
    /// A change under way.
    Build = "builds" {
        /// Its number.
        id: i64,
        /// Whose box.
        agent: AgentId = "agent_group_id",
        /// Who asked.
        session: Option<SessionId> = "session_id",
        /// What changes; the host's own words.
        change: String,
        /// What to go back to, once it is in effect.
        before: Option<BoxParts> => before,
    }
}

/// The smallest limits that a box starts with.
const MEMORY_MIB_MIN: u32 = 64;
const PIDS_MIN: u32 = 16;
const CPU_MILLIS_MIN: u32 = 10;

impl Central {
    /// The agent's own limits.
    pub fn agent_limits(&self, agent: &AgentId) -> Result<AgentLimits> {
        let sql = "SELECT memory_mib, pids, cpu_millis FROM agent_limits WHERE agent_group_id = ?1";
        let found = self.one("read the agent's limits", sql, [agent], |r| {
            Ok(AgentLimits { memory_mib: r.get(0)?, pids: r.get(1)?, cpu_millis: r.get(2)? })
        });
        Ok(found?.unwrap_or_default())
    }

    /// Replaces the agent's own limits.
    pub fn put_agent_limits(&self, agent: &AgentId, l: AgentLimits) -> Result<()> {
        for (what, is, least) in [
            ("memory in MiB", l.memory_mib, MEMORY_MIB_MIN),
            ("processes", l.pids, PIDS_MIN),
            ("thousandths of a CPU", l.cpu_millis, CPU_MILLIS_MIN),
        ] {
            if let Some(is) = is.filter(|is| *is < least) {
                return Err(Error::Refused(format!("{is} {what} is too little; at least {least}")));
            }
        }
        self.run(
            "save the agent's limits",
            "INSERT INTO agent_limits (agent_group_id, memory_mib, pids, cpu_millis)
             VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (agent_group_id) DO UPDATE SET memory_mib = ?2, pids = ?3, cpu_millis = ?4",
            params![agent, l.memory_mib, l.pids, l.cpu_millis],
        )
        .map(drop)
    }

    /// The parts of the agent's set-up that a change touches.
    pub fn box_parts(&self, agent: &AgentId) -> Result<BoxParts> {
        self.tx("read the agent's box", |tx| parts(tx, agent))
    }

    /// ● Writes down a change before anything is done about it; returns its number, which no earlier one had:
    /// what is told goes by it.
    pub fn begin_build(
        &self,
        agent: &AgentId,
        session: Option<&SessionId>,
        change: &str,
        now: Timestamp,
    ) -> Result<i64> {
        self.tx("write down the change", |tx| {
            tx.execute(
                "INSERT INTO builds (id, agent_group_id, session_id, change, created_at)
                 SELECT max(?5, COALESCE(max(id) + 1, 0)), ?1, ?2, ?3, ?4 FROM builds",
                params![agent, session, change, iso(now), now.as_millisecond()],
            )?;
            Ok(tx.last_insert_rowid())
        })
    }

    /// ● Puts a change into effect, and keeps what it replaces.
    pub fn apply_build(
        &self,
        id: i64,
        agent: &AgentId,
        after: &BoxParts,
        now: Timestamp,
    ) -> Result<()> {
        self.tx("put the change into effect", |tx| {
            let before = serde_json::to_string(&parts(tx, agent)?).map_err(bad)?;
            // Applied twice, what was before the first time is what to go back to.
            let sql = "UPDATE builds SET before = COALESCE(before, ?2) WHERE id = ?1";
            tx.execute(sql, params![id, before])?;
            put(tx, agent, after, now)
        })
    }

    /// ● Takes a change back.
    pub fn revert_build(&self, build: &Build, now: Timestamp) -> Result<()> {
        self.tx("take the change back", |tx| match &build.before {
            Some(before) => put(tx, &build.agent, before, now),
            None => Ok(()),
        })
    }

    /// ● The change is over.
    pub fn end_build(&self, id: i64) -> Result<()> {
        self.run("end the change", "DELETE FROM builds WHERE id = ?1", [id]).map(drop)
    }

    /// The change with this number.
    pub fn build(&self, id: i64) -> Result<Option<Build>> {
        self.get("WHERE id = ?1", [id])
    }

    /// Changes under way, in order.
    pub fn builds(&self) -> Result<Vec<Build>> {
        self.all("ORDER BY id", [])
    }
}

/// What cannot be read is not gone back to.
fn before(row: &Row<'_>, n: usize) -> rusqlite::Result<Option<BoxParts>> {
    let text: Option<String> = row.get(n)?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

fn bad(e: serde_json::Error) -> Error {
    Error::Refused(format!("the agent's box cannot be written down: {e}"))
}

fn parts(tx: &Transaction<'_>, agent: &AgentId) -> Result<BoxParts> {
    let json = |text: String| serde_json::from_str::<Value>(&text).unwrap_or_default();
    let sql = "SELECT packages_apt, packages_npm, mcp_servers FROM container_configs
               WHERE agent_group_id = ?1";
    let row = one(tx, sql, [agent], |r| Ok((json(r.get(0)?), json(r.get(1)?), json(r.get(2)?))))?;
    let (apt, npm, mcp_servers) = row.unwrap_or_else(|| {
        (Value::Array(Vec::new()), Value::Array(Vec::new()), serde_json::json!({}))
    });
    let sql = "SELECT key, provided FROM agent_tools WHERE agent_group_id = ?1";
    let tools = one(tx, sql, [agent], |r| Ok(AgentTools { key: r.get(0)?, provided: r.get(1)? }))?;
    Ok(BoxParts { apt, npm, mcp_servers, tools })
}

fn put(tx: &Transaction<'_>, agent: &AgentId, parts: &BoxParts, now: Timestamp) -> Result<()> {
    tx.execute(
        "INSERT INTO container_configs (agent_group_id, packages_apt, packages_npm, mcp_servers, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (agent_group_id) DO UPDATE SET packages_apt = ?2, packages_npm = ?3,
           mcp_servers = ?4, updated_at = ?5",
        params![
            agent,
            parts.apt.to_string(),
            parts.npm.to_string(),
            parts.mcp_servers.to_string(),
            iso(now)
        ],
    )?;
    put_tools(tx, agent, parts.tools.as_ref())
}

fn put_tools(tx: &Transaction<'_>, agent: &AgentId, tools: Option<&AgentTools>) -> Result<()> {
    match tools {
        Some(tools) => tx.execute(
            "INSERT INTO agent_tools (agent_group_id, key, provided) VALUES (?1, ?2, ?3)
             ON CONFLICT (agent_group_id) DO UPDATE SET key = ?2, provided = ?3",
            params![agent, tools.key, tools.provided],
        ),
        None => tx.execute("DELETE FROM agent_tools WHERE agent_group_id = ?1", [agent]),
    }?;
    Ok(())
}
