//! Agents of other programs: a name, an identifier, a token for the gateway, and what they may use.

use super::{Answered, Call, Facade, No, Reply, TABLE, done, ok};
use nanoclaw_policy::{AgentNames, AgentPattern};
use nanoclaw_secrets::{Grant, Kind, SecretInfo, Store};
use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};

const AGENTS_MAX: usize = 1000;
const NAME_MAX: usize = 255;
const IDENTIFIER_MAX: usize = 50;
const AGENTS: &str = "agents";
const KEY: &str = "key";

/// One of them.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Agent {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) identifier: String,
    created: i64,
    pub(crate) is_default: bool,
    /// It may use every secret, also those that come later.
    all_secrets: bool,
    /// Counts tokens; the last one is valid.
    epoch: u32,
}

impl Agent {
    /// As policy and grants see it.
    pub(crate) fn names(&self) -> AgentNames {
        AgentNames { id: self.identifier.clone(), folder: self.identifier.clone() }
    }

    fn pattern(&self) -> Result<AgentPattern, No> {
        self.identifier.parse().map_err(|e| No::bad(format!("{e}")))
    }

    fn shown(&self) -> Value {
        let mode = if self.all_secrets { "all" } else { "selective" };
        json!({
            "id": self.id, "name": self.name, "identifier": self.identifier,
            "isDefault": self.is_default, "secretMode": mode, "createdAt": crate::time(self.created),
        })
    }
}

#[derive(Deserialize)]
struct New {
    name: String,
    identifier: String,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

#[derive(Deserialize)]
struct Mode {
    mode: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ids {
    secret_ids: Vec<String>,
}

fn named(name: &str) -> Result<(), No> {
    let fits = !name.is_empty() && name.chars().count() <= NAME_MAX;
    if fits { Ok(()) } else { Err(No::bad(format!("a name has 1 to {NAME_MAX} characters"))) }
}

/// All agents, in one sealed record; one change at a time.
pub(crate) struct Agents {
    store: Arc<Store>,
    key: hmac::Key,
    changing: Mutex<()>,
}

impl Agents {
    pub(super) fn open(store: Arc<Store>) -> Result<Self, No> {
        let key = match store.record(TABLE, KEY)? {
            Some(key) => key.to_vec(),
            None => {
                let key = crate::random::<32>()?;
                store.set_record(TABLE, KEY, Some(&key))?;
                key.to_vec()
            }
        };
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let agents = Self { store, key, changing: Mutex::default() };
        if agents.all()?.is_empty() {
            agents.add(New { name: "Default Agent".into(), identifier: "default".into() })?;
        }
        Ok(agents)
    }

    pub(crate) fn all(&self) -> Result<Vec<Agent>, No> {
        let Some(kept) = self.store.record(TABLE, AGENTS)? else { return Ok(Vec::new()) };
        serde_json::from_slice(&kept)
            .map_err(|e| No(500, format!("the agents cannot be read: {e}")))
    }

    pub(crate) fn find(&self, such: impl Fn(&Agent) -> bool) -> Result<Option<Agent>, No> {
        Ok(self.all()?.into_iter().find(such))
    }

    /// ● Changes the list in one step.
    fn change<T>(&self, how: impl FnOnce(&mut Vec<Agent>) -> Result<T, No>) -> Result<T, No> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = self.all()?;
        let done = how(&mut all)?;
        let text = serde_json::to_vec(&all).map_err(|e| No(500, e.to_string()))?;
        self.store.set_record(TABLE, AGENTS, Some(&text))?;
        Ok(done)
    }

    fn one<T>(&self, id: &str, how: impl FnOnce(&mut Agent) -> Result<T, No>) -> Result<T, No> {
        self.change(|all| {
            how(all.iter_mut().find(|a| a.id == id).ok_or_else(|| No::missing("Agent"))?)
        })
    }

    fn add(&self, new: New) -> Result<Agent, No> {
        named(&new.name)?;
        let mut bytes = new.identifier.bytes();
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let starts = bytes.next().is_some_and(|b| b.is_ascii_lowercase());
        if !starts || !bytes.all(plain) || new.identifier.len() > IDENTIFIER_MAX {
            return Err(No::bad(
                "Identifier must be 1-50 characters, start with a letter, and contain only lowercase letters, \
                 numbers, and hyphens",
            ));
        }
        let (id, created) = (uuid::Uuid::new_v4().to_string(), self.store.now());
        self.change(|all| {
            if all.iter().any(|a| a.identifier == new.identifier) {
                return Err(No(409, "An agent with this identifier already exists".into()));
            }
            if all.len() >= AGENTS_MAX {
                return Err(No::bad(format!("there are at most {AGENTS_MAX} agents")));
            }
            let (New { name, identifier }, is_default) = (new, all.is_empty());
            let agent =
                Agent { id, name, identifier, created, is_default, all_secrets: false, epoch: 0 };
            all.push(agent.clone());
            Ok(agent)
        })
    }

    /// For the gateway; kept nowhere.
    pub(crate) fn token(&self, agent: &Agent) -> Result<String, No> {
        let made = hmac::sign(&self.key, format!("{}:{}", agent.id, agent.epoch).as_bytes());
        Ok(format!("aoc_{}", crate::hex(made.as_ref())))
    }

    /// Whose token this is.
    pub(crate) fn owner(&self, token: &str) -> Result<Option<Agent>, No> {
        let tag = token.strip_prefix("aoc_").and_then(unhex);
        let Some(tag) = tag else { return Ok(None) };
        self.find(|a| {
            let said = format!("{}:{}", a.id, a.epoch);
            hmac::verify(&self.key, said.as_bytes(), &tag).is_ok()
        })
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = (0..text.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

impl Facade {
    pub(super) fn agent_call(&self, call: &Call<'_>) -> Answered {
        let agents = &self.agents;
        let known = |id: &str| agents.find(|a| a.id == id)?.ok_or_else(|| No::missing("Agent"));
        match (call.method, &call.path.as_slice()[1..]) {
            ("GET", []) => ok(agents.all()?.iter().map(Agent::shown).collect()),
            ("POST", []) => {
                let a = agents.add(call.json()?)?;
                let told = json!({ "id": a.id, "name": a.name, "identifier": a.identifier,
                    "createdAt": crate::time(a.created) });
                Ok(Reply::Json(201, told))
            }
            ("GET", ["default"]) => {
                let found = agents.find(|a| a.is_default)?;
                ok(found.ok_or_else(|| No::missing("Agent"))?.shown())
            }
            ("PATCH", [id]) => {
                let Name { name } = call.json()?;
                named(&name)?;
                ok(agents.one(id, |a| {
                    a.name = name;
                    Ok(a.shown())
                })?)
            }
            ("DELETE", [id]) => self.remove_agent(&known(id)?),
            ("PATCH", [id, "secret-mode"]) => {
                let Mode { mode } = call.json()?;
                let all = match mode.as_str() {
                    "all" => true,
                    "selective" => false,
                    _ => return Err(No::bad("mode is all or selective")),
                };
                let agent = agents.one(id, |a| {
                    a.all_secrets = all;
                    Ok(a.clone())
                })?;
                self.grant_only(&agent, |_| all)?;
                done()
            }
            ("GET", [id, "secrets"]) => {
                let agent = known(id)?;
                let mine = self.usable()?.into_iter().filter(|info| is_granted(info, &agent));
                ok(mine.map(|info| info.id.as_str().to_owned()).collect())
            }
            ("PUT", [id, "secrets"]) => {
                let (agent, Ids { secret_ids: ids }) = (known(id)?, call.json()?);
                let all = self.usable()?;
                if let Some(id) = ids.iter().find(|id| !all.iter().any(|s| s.id.as_str() == *id)) {
                    return Err(No::bad(format!("there is no secret {id:?}")));
                }
                self.grant_only(&agent, |info| ids.iter().any(|id| id == info.id.as_str()))?;
                done()
            }
            (method @ ("PUT" | "DELETE"), [id, "grants", "secrets", secret]) => {
                let (agent, info) = (known(id)?, self.secret(secret)?);
                self.let_use(&agent, &info, method == "PUT")?;
                done()
            }
            ("POST", [id, "regenerate-token"]) => {
                let agent = agents.one(id, |a| {
                    a.epoch += 1;
                    Ok(a.clone())
                })?;
                ok(json!({ "accessToken": agents.token(&agent)? }))
            }
            _ => Err(No(404, "there is no such call here".into())),
        }
    }

    fn remove_agent(&self, agent: &Agent) -> Answered {
        if agent.is_default {
            return Err(No::bad("the default agent cannot be deleted"));
        }
        // First what it may do: a kill in between leaves an agent that may use nothing.
        self.grant_only(agent, |_| false)?;
        self.agents.change(|all| {
            all.retain(|a| a.id != agent.id);
            Ok(())
        })?;
        self.vault.close(&agent.identifier);
        done()
    }

    /// The secrets that agents can have.
    pub(super) fn usable(&self) -> Result<Vec<SecretInfo>, No> {
        let mut all = self.store.list()?;
        all.retain(|info| info.kind != Kind::HostOnly);
        Ok(all)
    }

    /// Lets an agent use these secrets, and no others that were not granted to everybody.
    fn grant_only(&self, agent: &Agent, which: impl Fn(&SecretInfo) -> bool) -> Result<(), No> {
        let all = self.usable()?;
        all.iter().try_for_each(|info| self.let_use(agent, info, which(info)))
    }

    fn let_use(&self, agent: &Agent, info: &SecretInfo, may: bool) -> Result<(), No> {
        let to = agent.pattern()?;
        match (info.grants.iter().any(|grant| grant.to == to), may) {
            (false, true) => drop(self.store.grant(&info.name, Grant { to, until: None })?),
            (true, false) => drop(self.store.revoke(&info.name, &to)?),
            (true, true) | (false, false) => {}
        }
        Ok(())
    }

    /// Gives a new secret to the agents that may use every one.
    pub(super) fn grant_new(&self, info: &SecretInfo) -> Result<(), No> {
        let all = self.agents.all()?;
        all.iter().filter(|a| a.all_secrets).try_for_each(|a| self.let_use(a, info, true))
    }

    /// The variables that make a harness speak to a model.
    pub(super) fn placeholders(&self, agent: &Agent) -> Result<Vec<&'static str>, No> {
        let mine = self.usable()?.into_iter().filter(|info| is_granted(info, agent));
        let variable = |info: SecretInfo| match (info.kind, info.is_oauth) {
            (Kind::Anthropic, true) => Some("CLAUDE_CODE_OAUTH_TOKEN"),
            (Kind::Anthropic, false) => Some("ANTHROPIC_API_KEY"),
            (Kind::Openai, _) => Some("OPENAI_API_KEY"),
            _ => None,
        };
        Ok(mine.filter_map(variable).collect())
    }
}

fn is_granted(info: &SecretInfo, agent: &Agent) -> bool {
    info.grants.iter().any(|grant| grant.to.matches(&agent.names()))
}
