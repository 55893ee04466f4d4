//! What a OneCLI holds, taken over: secrets, who may use them, rules.
//!
//! Its REST never tells a value. Values come from a dump of its database together with its key, or from a person
//! who is asked for each. What was taken over once is left alone the next time. Read next: [`take`].

use crate::client::api::{Api, Generation, plain};
use crate::client::http::{Http, Url};
use crate::spec::{SOURCE, Spec, glob};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nanoclaw_secrets::{Grant, Kind, SecretInfo, Store, Value};
use nanoclaw_vault::store::NAME as MODEL;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use zeroize::Zeroizing;

const ROWS_MAX: usize = 100_000;
const TAG: usize = 16;

/// What is there.
#[derive(Default)]
pub struct Source {
    secrets: Vec<Found>,
    agents: Vec<Agent>,
    /// Agents and secrets by id.
    may: BTreeSet<(String, String)>,
    rules: Vec<Rule>,
    /// What cannot be told from there.
    notes: Vec<String>,
}

struct Found {
    id: String,
    spec: Spec,
    /// Sealed with OneCLI's key.
    sealed: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Agent {
    id: String,
    identifier: String,
    #[serde(default)]
    is_default: bool,
    #[serde(default)]
    secret_mode: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    name: String,
    host_pattern: String,
    path_pattern: Option<String>,
    method: Option<String>,
    action: String,
    #[serde(default)]
    enabled: bool,
    agent_id: Option<String>,
    rate_limit: Option<u32>,
    rate_limit_window: Option<String>,
    conditions: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    #[serde(flatten)]
    spec: Spec,
}

/// OneCLI's key for its values.
pub struct Key(LessSafeKey);

impl Key {
    /// `SECRET_ENCRYPTION_KEY`: 32 bytes in base64.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bytes = STANDARD.decode(text.trim()).map(Zeroizing::new);
        let bytes = bytes.map_err(|_| "OneCLI's key is no base64".to_owned())?;
        let key = UnboundKey::new(&AES_256_GCM, &bytes);
        key.map(|key| Self(LessSafeKey::new(key)))
            .map_err(|_| "OneCLI's key has not 32 bytes".into())
    }

    /// Opens `iv:tag:text`.
    fn open(&self, sealed: &str) -> Result<Value, String> {
        let parts: Vec<&str> = sealed.split(':').collect();
        let [iv, tag, text] = parts[..] else {
            return Err("it is sealed by a key service of OneCLI's cloud".into());
        };
        let bad = |_| "it is damaged".to_owned();
        let iv = STANDARD.decode(iv).map_err(bad)?;
        let nonce =
            Nonce::try_assume_unique_for_key(&iv).map_err(|_| "it is damaged".to_owned())?;
        let mut bytes = Zeroizing::new(STANDARD.decode(text).map_err(bad)?);
        let tag = STANDARD.decode(tag).map_err(bad)?;
        if tag.len() != TAG {
            return Err("it is damaged".into());
        }
        bytes.extend_from_slice(&tag);
        let opened = self.0.open_in_place(nonce, Aad::empty(), &mut bytes);
        let opened = opened.map_err(|_| "it does not open with this key".to_owned())?;
        let text = std::str::from_utf8(opened).map_err(|_| "it is no text".to_owned())?;
        Ok(Value::new(text.to_owned()))
    }
}

impl Source {
    /// From a OneCLI that runs.
    pub async fn of_rest(url: &str, key: Option<Value>) -> Result<Self, String> {
        let api = Api::find(Arc::new(Http::new(key)?), Url::parse(url)?).await?;
        let listed: Vec<Listed> = api.get("/secrets").await?;
        let mut source = Self { agents: api.get("/agents").await?, ..Self::default() };
        match api.generation() {
            Generation::First => {
                source.rules = match api.get("/rules").await {
                    Ok(rules) => rules,
                    Err(e) => {
                        source.notes.push(format!("rules: {e}"));
                        Vec::new()
                    }
                };
                for agent in &source.agents {
                    let ids: Vec<String> =
                        api.get(&format!("/agents/{}/secrets", plain(&agent.id)?)).await?;
                    source.may.extend(ids.into_iter().map(|id| (agent.id.clone(), id)));
                }
            }
            Generation::Second => source.notes.push(
                "grants and policies of OneCLI 2 are not read: see `nanoclaw vault grant` and docs/policy.md".into(),
            ),
        }
        let found = |Listed { id, spec }| Found { id, spec, sealed: None };
        source.secrets = listed.into_iter().map(found).collect();
        Ok(source)
    }

    /// From `pg_dump --data-only` of its database.
    pub fn of_dump(text: &str) -> Result<Self, String> {
        let mut source = Self::default();
        let mut apps = 0;
        for (table, row) in rows(text)? {
            let get = |name: &str| row.get(name).cloned().flatten();
            let need = |name: &str| {
                get(name).ok_or(format!("the dump has a row of {table} without {name}"))
            };
            match table {
                "secrets" => {
                    let injection =
                        get("injection_config").and_then(|t| serde_json::from_str(&t).ok());
                    let spec = Spec {
                        name: need("name")?,
                        kind: need("type")?,
                        host_pattern: need("host_pattern")?,
                        path_pattern: get("path_pattern"),
                        injection_config: injection,
                    };
                    let sealed = get("encrypted_value");
                    source.secrets.push(Found { id: need("id")?, spec, sealed });
                }
                "agents" => source.agents.push(Agent {
                    id: need("id")?,
                    identifier: need("identifier")?,
                    is_default: get("is_default").as_deref() == Some("t"),
                    secret_mode: get("secret_mode").unwrap_or_default(),
                }),
                "agent_secrets" => drop(source.may.insert((need("agent_id")?, need("secret_id")?))),
                "policy_rules" => source.rules.push(Rule {
                    name: need("name")?,
                    host_pattern: need("host_pattern")?,
                    path_pattern: get("path_pattern"),
                    method: get("method"),
                    action: need("action")?,
                    enabled: get("enabled").as_deref() == Some("t"),
                    agent_id: get("agent_id"),
                    rate_limit: get("rate_limit").and_then(|n| n.parse().ok()),
                    rate_limit_window: get("rate_limit_window"),
                    conditions: get("conditions").and_then(|t| serde_json::from_str(&t).ok()),
                }),
                "app_connections" => apps += 1,
                _ => {}
            }
        }
        if apps > 0 {
            source.notes.push(format!("{apps} connected apps are not taken over: connect them with `vault add --kind oauth2`"));
        }
        Ok(source)
    }

    /// Who may use a secret. `all` for each agent is `*`.
    fn users(&self, secret: &str) -> Vec<String> {
        let mut own = self.agents.iter().filter(|agent| !agent.is_default).peekable();
        if own.peek().is_some() && own.clone().all(|agent| agent.secret_mode == "all") {
            return vec!["*".to_owned()];
        }
        let may = |agent: &&Agent| {
            agent.secret_mode == "all" || self.may.contains(&(agent.id.clone(), secret.to_owned()))
        };
        own.filter(may).map(|agent| agent.identifier.clone()).collect()
    }
}

type Row = BTreeMap<String, Option<String>>;

/// The rows of a dump's `COPY` blocks, by table.
fn rows(text: &str) -> Result<Vec<(&str, Row)>, String> {
    let (mut all, mut block) = (Vec::new(), None::<(&str, Vec<&str>)>);
    for line in text.lines() {
        match &block {
            None => block = line.strip_prefix("COPY ").and_then(columns),
            Some(_) if line == "\\." => block = None,
            Some((table, names)) => {
                if all.len() >= ROWS_MAX {
                    return Err(format!(
                        "the dump has more than {ROWS_MAX} rows; leave the logs out"
                    ));
                }
                let cells = line.split('\t').map(cell);
                all.push((*table, names.iter().map(|n| (*n).to_owned()).zip(cells).collect()));
            }
        }
    }
    if block.is_some() {
        return Err("the dump ends in the middle".into());
    }
    if all.is_empty() {
        return Err("this is no dump; make one with pg_dump --data-only".into());
    }
    Ok(all)
}

fn columns(head: &str) -> Option<(&str, Vec<&str>)> {
    let (table, rest) = head.split_once(" (")?;
    let names = rest.strip_suffix(") FROM stdin;")?;
    let table = table.rsplit('.').next()?.trim_matches('"');
    Some((table, names.split(", ").map(|name| name.trim_matches('"')).collect()))
}

fn cell(text: &str) -> Option<String> {
    if text == "\\N" {
        return None;
    }
    let (mut out, mut chars) = (String::with_capacity(text.len()), text.chars());
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some(other) => other,
                None => '\\',
            },
            c => c,
        });
    }
    Some(out)
}

/// Takes over what is not here yet; `ask` finds a value that OneCLI does not tell. Says of each what became of it.
pub fn take(
    store: &Store,
    source: &Source,
    key: Option<&Key>,
    ask: &dyn Fn(&str) -> Option<Value>,
) -> Result<Vec<String>, String> {
    let mut lines = Vec::new();
    for found in &source.secrets {
        let name: String = found.spec.name.chars().filter(|c| !c.is_control()).take(80).collect();
        let told = match one(store, source, found, key, ask) {
            Ok(told) => told,
            Err(why) => format!("not taken: {why}"),
        };
        lines.push(format!("{name}: {told}"));
    }
    lines.extend(source.notes.iter().cloned());
    Ok(lines)
}

/// ● One secret with its grants, in one step.
fn one(
    store: &Store,
    source: &Source,
    found: &Found,
    key: Option<&Key>,
    ask: &dyn Fn(&str) -> Option<Value>,
) -> Result<String, String> {
    let all = store.list().map_err(|e| e.to_string())?;
    let here = |info: &&SecretInfo| info.settings.get(SOURCE) == Some(&found.id);
    if let Some(info) = all.iter().find(here) {
        return Ok(format!("there already, as {}", info.name));
    }
    let value = match (&found.sealed, key) {
        (Some(sealed), Some(key)) => key.open(sealed)?,
        _ => ask(&found.spec.name)
            .ok_or("its value is not told; give a dump and the key, or type it in")?,
    };
    let mut new = found.spec.with(value)?;
    new.settings.insert(SOURCE.to_owned(), found.id.clone());
    for user in source.users(&found.id) {
        let to = user.parse().map_err(|e| format!("its agent {user:?}: {e}"))?;
        new.grants.push(Grant { to, until: None });
    }
    // The model's key is what every agent works with, unless there is one.
    if new.kind == Kind::Anthropic && all.iter().all(|info| info.name != MODEL) {
        new.name = MODEL.to_owned();
        new.grants = vec![Grant::to_all().map_err(|e| e.to_string())?];
    }
    let first = new.name.clone();
    let mut n = 2;
    while all.iter().any(|info| info.name == new.name) {
        new.name = format!("{first}-{n}");
        n += 1;
    }
    let grants = new.grants.len();
    let info = store.add(new).map_err(|e| e.to_string())?;
    Ok(match grants {
        0 => format!(
            "stored as {}; no agent may use it yet: nanoclaw vault grant {0} AGENT",
            info.name
        ),
        _ => format!("stored as {}", info.name),
    })
}

/// The rules as a piece of a policy file, for the owner to read and to put in; what has no counterpart is a comment.
#[must_use]
pub fn policy(source: &Source) -> String {
    let mut text = String::new();
    for rule in &source.rules {
        let name: String = rule.name.chars().filter(|c| !c.is_control()).take(80).collect();
        match written(source, rule) {
            Ok(table) => {
                let mut document = toml::Table::new();
                document.insert("rule".into(), toml::Value::Array(vec![table.into()]));
                text.push_str(&format!("{document}\n"));
            }
            Err(why) => text.push_str(&format!("# {name:?} was left out: {why}\n\n")),
        }
    }
    text
}

fn written(source: &Source, rule: &Rule) -> Result<toml::Table, String> {
    if !rule.enabled {
        return Err("it is switched off".into());
    }
    let conditions =
        rule.conditions.as_ref().is_some_and(|c| c.as_array().is_none_or(|all| !all.is_empty()));
    if conditions {
        return Err("it looks into bodies".into());
    }
    let mut place = toml::Table::from_iter([("host".to_owned(), rule.host_pattern.clone().into())]);
    if let Some(path) = &rule.path_pattern {
        place.insert("path".into(), glob(path)?.into());
    }
    if let Some(method) = &rule.method {
        place.insert("method".into(), vec![method.to_ascii_uppercase()].into());
    }
    if let Some(id) = &rule.agent_id {
        let agent = source.agents.iter().find(|agent| agent.id == *id);
        place.insert(
            "agent".into(),
            agent.ok_or("its agent is not there")?.identifier.clone().into(),
        );
    }
    let mut table = toml::Table::from_iter([("name".to_owned(), rule.name.clone().into())]);
    table.insert("match".into(), place.into());
    match (rule.action.as_str(), rule.rate_limit, &rule.rate_limit_window) {
        ("block", ..) => drop(table.insert("action".into(), "block".into())),
        ("manual_approval", ..) => drop(table.insert("action".into(), "ask".into())),
        ("rate_limit", Some(n), Some(per)) => {
            let rate = [
                ("n".to_owned(), i64::from(n).into()),
                ("per".to_owned(), per.clone().into()),
                ("key".to_owned(), "agent".into()),
            ];
            table.insert("rate".into(), toml::Table::from_iter(rate).into());
        }
        (other, ..) => return Err(format!("its action {other:?} has no counterpart")),
    }
    Ok(table)
}

#[cfg(test)]
mod tests;
