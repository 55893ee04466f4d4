//! Agents (`agent_groups`) and how their boxes are set up (`container_configs`).
//!
//! A folder name becomes a path, so it is checked before a row is made.

use crate::stored::json;
use crate::{Central, Error, Result, get, one};
use nanoclaw_contract::ids::AgentId;
use nanoclaw_contract::time::{Timestamp, iso};
use nanoclaw_contract::words;
use rusqlite::{Connection, Transaction, params};
use serde_json::Value;

/// Longest folder name.
pub const FOLDER_BYTES_MAX: usize = 64;
const OF_AGENT: &str = "WHERE agent_group_id = ?1";

stored! {
    /// An agent.
    Agent = "agent_groups" {
        /// Its id.
        id: AgentId,
        /// What people call it.
        name: String,
        /// Its folder below `groups/`.
        folder: String,
        /// v2's old place for the provider; [`AgentConfig::provider`] goes first.
        provider: Option<String> = "agent_provider",
        /// When it was made.
        created_at: String,
    }
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

stored! {
    /// How an agent's box is set up.
    AgentConfig = "container_configs" {
        /// Which harness.
        provider: Option<String>,
        /// Which model.
        model: Option<String>,
        /// How hard it thinks.
        effort: Option<String>,
        /// The image of its box.
        image_tag: Option<String>,
        /// What it calls itself.
        assistant_name: Option<String>,
        /// Most messages in one prompt.
        max_messages_per_prompt: Option<i64>,
        /// `"all"` or a list of names.
        skills: Value => json,
        /// Servers by name.
        mcp_servers: Value => json,
        /// Debian packages.
        packages_apt: Value => json,
        /// npm packages.
        packages_npm: Value => json,
        /// Folders of the host that it may see.
        additional_mounts: Value => json,
        /// How far its own `ncl` reaches.
        cli_scope: CliScope,
    }
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

impl Central {
    /// The agent with this id.
    pub fn agent(&self, id: &AgentId) -> Result<Option<Agent>> {
        self.get("WHERE id = ?1", [id])
    }

    /// Every agent, by name.
    pub fn agents(&self) -> Result<Vec<Agent>> {
        self.all("ORDER BY name, id", [])
    }

    /// The agent with this folder, or else the only one with this name.
    pub fn agent_by_name(&self, name: &str) -> Result<Option<Agent>> {
        let rest = "WHERE folder = ?1 OR name = ?1 ORDER BY folder = ?1 DESC LIMIT 2";
        let mut found: Vec<Agent> = self.all(rest, [name])?;
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
        self.get(OF_AGENT, [agent])
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
            let mut config = get::<AgentConfig>(tx, OF_AGENT, [agent])?.unwrap_or_default();
            let edited = edit(&mut config);
            if edited.is_ok() {
                write(tx, agent, &config, now)?;
            }
            Ok(edited)
        })?
    }
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
