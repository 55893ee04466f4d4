//! Agents (`agent_groups`) and how their boxes are set up (`container_configs`).
//!
//! A folder name becomes a path, so it is checked before a row is made.

use crate::{BrokenRow, Central, Error, Result, one};
use nanoclaw_contract::ids::AgentId;
use nanoclaw_contract::time::{Timestamp, iso};
use nanoclaw_contract::words;
use rusqlite::types::Type;
use rusqlite::{Connection, Row, Transaction, params};
use serde_json::Value;

/// Longest folder name.
pub const FOLDER_BYTES_MAX: usize = 64;

/// An agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// What people call it.
    pub name: String,
    /// Its folder below `groups/`.
    pub folder: String,
    /// v2's old place for the provider; [`AgentConfig::provider`] goes first.
    pub provider: Option<String>,
    /// When it was made.
    pub created_at: String,
}

words! {
    /// How far an agent's own `ncl` reaches.
    CliScope {
        /// Nowhere.
        Disabled = "disabled",
        /// Its own group.
        Group = "group",
        /// Everything.
        Global = "global",
    }
}

/// How an agent's box is set up.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentConfig {
    /// Which harness.
    pub provider: Option<String>,
    /// Which model.
    pub model: Option<String>,
    /// How hard it thinks.
    pub effort: Option<String>,
    /// The image of its box.
    pub image_tag: Option<String>,
    /// What it calls itself.
    pub assistant_name: Option<String>,
    /// Most messages in one prompt.
    pub max_messages_per_prompt: Option<i64>,
    /// `"all"` or a list of names.
    pub skills: Value,
    /// Servers by name.
    pub mcp_servers: Value,
    /// Debian packages.
    pub packages_apt: Value,
    /// npm packages.
    pub packages_npm: Value,
    /// Folders of the host that it may see.
    pub additional_mounts: Value,
    /// How far its own `ncl` reaches.
    pub cli_scope: CliScope,
}

/// What an agent starts with.
impl Default for AgentConfig {
    fn default() -> Self {
        let empty = || Value::Array(Vec::new());
        Self {
            provider: None,
            model: None,
            effort: None,
            image_tag: None,
            assistant_name: None,
            max_messages_per_prompt: None,
            skills: "all".into(),
            mcp_servers: Value::Object(serde_json::Map::new()),
            packages_apt: empty(),
            packages_npm: empty(),
            additional_mounts: empty(),
            cli_scope: CliScope::Group,
        }
    }
}

/// Whether this may name a folder below `groups/`.
pub fn is_folder_name(name: &str) -> bool {
    name.len() <= FOLDER_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        && !name.eq_ignore_ascii_case("global")
}

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT id, name, folder, agent_provider, created_at FROM agent_groups ", $rest)
    };
}

fn agent(r: &Row<'_>) -> rusqlite::Result<Agent> {
    Ok(Agent {
        id: r.get(0)?,
        name: r.get(1)?,
        folder: r.get(2)?,
        provider: r.get(3)?,
        created_at: r.get(4)?,
    })
}

impl Central {
    /// The agent with this id.
    pub fn agent(&self, id: &AgentId) -> Result<Option<Agent>> {
        self.one("read the agent", select!("WHERE id = ?1"), [id], agent)
    }

    /// Every agent, by name.
    pub fn agents(&self) -> Result<Vec<Agent>> {
        Ok(self.agent_rows()?.into_iter().flatten().collect())
    }

    pub(crate) fn agent_rows(&self) -> Result<Vec<Result<Agent, BrokenRow>>> {
        self.rows("agent_groups", select!("ORDER BY name, id"), [], agent)
    }

    /// The agent with this folder, or else the only one with this name.
    pub fn agent_by_name(&self, name: &str) -> Result<Option<Agent>> {
        let sql = select!("WHERE folder = ?1 OR name = ?1 ORDER BY folder = ?1 DESC LIMIT 2");
        let mut found = self.list("agent_groups", sql, [name], agent)?;
        if let [a, _] = found.as_slice()
            && a.folder != name
        {
            return Err(Error::Refused(format!(
                "more than one agent is called {name:?}; say its folder instead"
            )));
        }
        Ok((!found.is_empty()).then(|| found.swap_remove(0)))
    }

    /// Makes an agent and its configuration.
    pub fn create_agent(&self, agent: &Agent) -> Result<()> {
        self.tx("create the agent", |tx| insert_agent(tx, agent))
    }

    /// Says what people call it; false if there is no such agent.
    pub fn rename_agent(&self, id: &AgentId, name: &str) -> Result<bool> {
        let sql = "UPDATE agent_groups SET name = ?2 WHERE id = ?1";
        Ok(self.run("rename the agent", sql, params![id, name])? > 0)
    }

    /// How the agent's box is set up.
    pub fn config(&self, agent: &AgentId) -> Result<Option<AgentConfig>> {
        read(&self.lock(), agent).map_err(|e| Error::of("read the agent's configuration", e))
    }

    /// Replaces the agent's configuration.
    pub fn put_config(&self, agent: &AgentId, c: &AgentConfig, now: Timestamp) -> Result<()> {
        write(&self.lock(), agent, c, now)
            .map_err(|e| Error::of("save the agent's configuration", e))
    }

    /// Changes some of it, unless `edit` refuses. What others change meanwhile stays.
    pub fn edit_config<T, E: From<Error>>(
        &self,
        agent: &AgentId,
        now: Timestamp,
        edit: impl FnOnce(&mut AgentConfig) -> Result<T, E>,
    ) -> Result<T, E> {
        self.tx("change the agent's configuration", |tx| {
            let mut config = read(tx, agent)?.unwrap_or_default();
            let edited = edit(&mut config);
            if edited.is_ok() {
                write(tx, agent, &config, now)?;
            }
            Ok(edited)
        })?
    }
}

fn read(conn: &Connection, agent: &AgentId) -> rusqlite::Result<Option<AgentConfig>> {
    let sql = "SELECT provider, model, effort, image_tag, assistant_name, max_messages_per_prompt, skills,
                 mcp_servers, packages_apt, packages_npm, additional_mounts, cli_scope
               FROM container_configs WHERE agent_group_id = ?1";
    one(conn, sql, [agent], |r| {
        Ok(AgentConfig {
            provider: r.get(0)?,
            model: r.get(1)?,
            effort: r.get(2)?,
            image_tag: r.get(3)?,
            assistant_name: r.get(4)?,
            max_messages_per_prompt: r.get(5)?,
            skills: json(r, 6)?,
            mcp_servers: json(r, 7)?,
            packages_apt: json(r, 8)?,
            packages_npm: json(r, 9)?,
            additional_mounts: json(r, 10)?,
            cli_scope: r.get(11)?,
        })
    })
}

fn write(
    conn: &Connection,
    agent: &AgentId,
    c: &AgentConfig,
    now: Timestamp,
) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO container_configs (agent_group_id, provider, model, effort, image_tag,
           assistant_name, max_messages_per_prompt, skills, mcp_servers, packages_apt, packages_npm,
           additional_mounts, cli_scope, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
         ON CONFLICT (agent_group_id) DO UPDATE SET provider = ?2, model = ?3, effort = ?4,
           image_tag = ?5, assistant_name = ?6, max_messages_per_prompt = ?7, skills = ?8,
           mcp_servers = ?9, packages_apt = ?10, packages_npm = ?11, additional_mounts = ?12,
           cli_scope = ?13, updated_at = ?14",
    )?
    .execute(params![
        agent,
        c.provider,
        c.model,
        c.effort,
        c.image_tag,
        c.assistant_name,
        c.max_messages_per_prompt,
        c.skills.to_string(),
        c.mcp_servers.to_string(),
        c.packages_apt.to_string(),
        c.packages_npm.to_string(),
        c.additional_mounts.to_string(),
        c.cli_scope,
        iso(now),
    ])
    .map(drop)
}

pub(crate) fn insert_agent(tx: &Transaction<'_>, agent: &Agent) -> Result<()> {
    if !is_folder_name(&agent.folder) || !agent.id.is_safe_name() {
        return Err(Error::Refused(format!(
            "{:?} cannot be an agent's folder: use up to {FOLDER_BYTES_MAX} letters, digits, - and _, \
             begin with a letter or digit, and not \"global\"",
            agent.folder
        )));
    }
    let taken = "SELECT 1 FROM agent_groups WHERE folder = ?1 COLLATE NOCASE";
    if one(tx, taken, [&agent.folder], |_| Ok(()))?.is_some() {
        return Err(Error::Refused(format!(
            "the folder {:?} belongs to another agent; choose another one",
            agent.folder
        )));
    }
    tx.execute(
        "INSERT INTO agent_groups (id, name, folder, agent_provider, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![agent.id, agent.name, agent.folder, agent.provider, agent.created_at],
    )?;
    tx.execute(
        "INSERT INTO container_configs (agent_group_id, updated_at) VALUES (?1, ?2)",
        params![agent.id, agent.created_at],
    )?;
    Ok(())
}

fn json(r: &Row<'_>, column: usize) -> rusqlite::Result<Value> {
    serde_json::from_str(&r.get::<_, String>(column)?)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(e)))
}
