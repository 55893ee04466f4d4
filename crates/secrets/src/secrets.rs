//! Secrets as the owner and the vault see them: names, places, grants; and the one call that gives a value.

use crate::dummy::{Dummy, Shape};
use crate::kind::{Binding, Kind, is_anthropic_oauth};
use crate::seal::random;
use crate::store::{Open, Store, Tx, internal};
use crate::{Result, SecretsError, Value, refused};
use nanoclaw_policy::{AgentNames, AgentPattern, Authority};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

const TABLE: &str = "secret";
const SECRETS_MAX: usize = 1_000;
const BINDINGS_MAX: usize = 32;
const GRANTS_MAX: usize = 256;
const NAME_MAX: usize = 64;
/// The setting that says of a value without a prefix which kind of credential it is.
pub const AUTH: &str = "auth";
/// For a token of a subscription.
pub const OAUTH: &str = "oauth";
const SETTINGS_MAX: usize = 8 << 10;

/// What the vault calls a secret for ever, whatever its name is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SecretId(String);

impl SecretId {
    /// As text, for the audit log.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who may use a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// An agent's id, its folder, or folders with `*`.
    pub to: AgentPattern,
    /// Seconds since 1970; for ever without.
    pub until: Option<i64>,
}

impl Grant {
    /// Every agent, for ever.
    pub fn to_all() -> Result<Self> {
        let to = "*".parse().map_err(|e| SecretsError::Refused(format!("{e}")))?;
        Ok(Self { to, until: None })
    }
}

/// A secret to be stored.
pub struct NewSecret {
    /// Its name: letters, digits, `-`, `_` and `.`
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its value.
    pub value: Value,
    /// Where it may be used.
    pub bindings: Vec<Binding>,
    /// Who may use it.
    pub grants: Vec<Grant>,
    /// When it ends, in seconds since 1970.
    pub expires: Option<i64>,
    /// What a kind needs besides, such as the address of a token server.
    pub settings: BTreeMap<String, String>,
}

/// What changes with a new value.
pub struct Rotation {
    /// The new value.
    pub value: Value,
    /// When it ends.
    pub expires: Option<i64>,
}

/// What may be told about a secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SecretInfo {
    /// Its id.
    pub id: SecretId,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// For Anthropic: a token of a subscription, not a key.
    pub is_oauth: bool,
    /// Counts new values.
    pub epoch: u64,
    /// Where it may be used.
    pub bindings: Vec<Binding>,
    /// Who may use it.
    pub grants: Vec<Grant>,
    /// When it was added, in seconds since 1970.
    pub created: i64,
    /// When it got its value.
    pub updated: i64,
    /// When it ends.
    pub expires: Option<i64>,
    /// What a kind needs besides.
    pub settings: BTreeMap<String, String>,
}

/// A secret that an agent may use at a place.
#[derive(Debug, Clone)]
pub struct Bound {
    /// Which.
    pub secret: SecretId,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// For Anthropic: a token of a subscription, not a key.
    pub is_oauth: bool,
    /// Counts new values.
    pub epoch: u64,
    /// Where and how.
    pub binding: Arc<Binding>,
    /// What the agent holds in its place.
    pub dummy: String,
    /// What the kind needs besides.
    pub settings: Arc<BTreeMap<String, String>>,
}

/// A secret in memory: everything but its value.
#[derive(Serialize, Deserialize)]
pub(crate) struct Loaded {
    #[serde(flatten)]
    pub(crate) info: SecretInfo,
    shape: Shape,
    /// What every request would copy.
    #[serde(skip)]
    shared: (Vec<Arc<Binding>>, Arc<BTreeMap<String, String>>),
}

impl Loaded {
    fn is_granted(&self, agent: &AgentNames, now: i64) -> bool {
        let live = |grant: &&Grant| grant.until.is_none_or(|until| until > now);
        self.info.grants.iter().filter(live).any(|grant| grant.to.matches(agent))
    }
}

impl Open {
    /// Reads what is known about every secret; one that is damaged is left out and named.
    pub(crate) fn load_secrets(&mut self, db: &Connection) {
        let ids: Vec<String> = self
            .manifest
            .places()
            .filter(|(table, _, field)| (*table, *field) == (TABLE, "meta"))
            .map(|place| place.1.to_owned())
            .collect();
        for id in ids {
            let read = self.get(db, (TABLE, &id, "meta")).and_then(|plain| {
                serde_json::from_slice::<Loaded>(&plain.unwrap_or_default()).map_err(internal)
            });
            match read {
                Ok(mut secret) => {
                    let info = &secret.info;
                    let bindings = info.bindings.iter().cloned().map(Arc::new).collect();
                    secret.shared = (bindings, Arc::new(info.settings.clone()));
                    self.secrets.push(secret);
                }
                Err(e) => {
                    tracing::error!("secret {id}: {e}");
                    self.damaged.push(id);
                }
            }
        }
        self.secrets.sort_by(|a, b| a.info.name.cmp(&b.info.name));
    }

    fn dummy(&self, secret: &Loaded, agent: &AgentNames) -> String {
        secret.shape.fill(&self.dummies, &agent.id, &secret.info.id, 1)
    }

    fn named(&self, name: &str) -> Result<&Loaded> {
        let found = self.secrets.iter().find(|secret| secret.info.name == name);
        found.ok_or_else(|| SecretsError::NoSuch(name.to_owned()))
    }
}

impl Store {
    /// Stores a new secret.
    pub fn add(&self, new: NewSecret) -> Result<SecretInfo> {
        let (secret, value) = self.made(new)?;
        self.write(|tx| {
            if tx.open.named(&secret.info.name).is_ok() {
                let name = &secret.info.name;
                return refused(format!(
                    "there is a secret {name:?} already; `nanoclaw vault rotate {name}` gives it a new value"
                ));
            }
            tx.store(&secret, &value)
        })?;
        Ok(secret.info)
    }

    /// Stores a secret in place of the one of this name, if there is one; who may use it stays.
    pub fn put(&self, new: NewSecret) -> Result<SecretInfo> {
        let (mut secret, value) = self.made(new)?;
        self.write(|tx| {
            if let Ok(old) = tx.open.named(&secret.info.name) {
                let id = old.info.id.clone();
                secret.info.grants.clone_from(&old.info.grants);
                tx.erase(&id)?;
            }
            tx.store(&secret, &value)
        })?;
        Ok(secret.info)
    }

    fn made(&self, new: NewSecret) -> Result<(Loaded, Value)> {
        let now = self.now();
        let NewSecret { name, kind, value, bindings, grants, expires, settings } = new;
        check_name(&name)?;
        check_bindings(kind, &bindings)?;
        let size: usize = settings.iter().map(|(key, value)| key.len() + value.len()).sum();
        if size > SETTINGS_MAX || grants.len() > GRANTS_MAX {
            return refused("the settings or the grants of this secret are too many");
        }
        let value = fitted(value, kind, &bindings)?;
        kind.confirm(value.expose())?;
        let said = settings.get(AUTH).map(|auth| auth == OAUTH);
        let info = SecretInfo {
            id: SecretId(format!("{:016x}", u64::from_be_bytes(random()))),
            name,
            kind,
            is_oauth: said.unwrap_or_else(|| is_anthropic_oauth(value.expose())),
            epoch: 1,
            bindings,
            grants,
            created: now,
            updated: now,
            expires,
            settings,
        };
        let shape = Shape::of(kind, value.expose());
        Ok((Loaded { info, shape, shared: Default::default() }, value))
    }

    /// Gives a secret a new value; what boxes hold stays good.
    pub fn rotate(&self, name: &str, rotation: Rotation) -> Result<SecretInfo> {
        let now = self.now();
        self.change(name, |tx, secret| {
            let info = &mut secret.info;
            let value = fitted(rotation.value, info.kind, &info.bindings)?;
            let text = value.expose();
            info.kind.confirm(text)?;
            let seen = info.kind == Kind::Anthropic && crate::kind::known(text).is_some();
            if seen && info.is_oauth != is_anthropic_oauth(text) {
                return refused(format!(
                    "a key and a token of a subscription are sent in different ways; remove {name:?} and add \
                     it again"
                ));
            }
            (info.epoch, info.updated) = (info.epoch + 1, now);
            info.expires = rotation.expires;
            let shape = Shape::of(info.kind, text);
            if shape.prefix != secret.shape.prefix {
                secret.shape = shape;
            }
            let id = secret.info.id.clone();
            // What was made from the old value ends with it.
            tx.remove((TABLE, id.as_str(), "state"))?;
            tx.put((TABLE, id.as_str(), "value"), text.as_bytes())
        })
    }

    /// Binds a secret to these places and to no others.
    pub fn bind(&self, name: &str, bindings: Vec<Binding>) -> Result<SecretInfo> {
        self.change(name, |tx, secret| {
            check_bindings(secret.info.kind, &bindings)?;
            fitted(tx.value(&secret.info.id)?, secret.info.kind, &bindings)?;
            secret.info.bindings = bindings;
            Ok(())
        })
    }

    /// Removes a secret and everything that was made from it.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.write(|tx| {
            let id = tx.open.named(name)?.info.id.clone();
            tx.erase(&id)
        })
    }

    /// Lets agents use a secret.
    pub fn grant(&self, name: &str, grant: Grant) -> Result<SecretInfo> {
        self.change(name, |_, secret| {
            let info = &mut secret.info;
            if info.kind == Kind::HostOnly {
                return refused(format!("{name:?} is for the host alone; no agent can use it"));
            }
            info.grants.retain(|old| old.to != grant.to);
            if info.grants.len() >= GRANTS_MAX {
                return refused(format!("a secret has at most {GRANTS_MAX} grants"));
            }
            info.grants.push(grant);
            Ok(())
        })
    }

    /// Takes a grant back; false if there was none.
    pub fn revoke(&self, name: &str, to: &AgentPattern) -> Result<bool> {
        let mut had = false;
        self.change(name, |_, secret| {
            let before = secret.info.grants.len();
            secret.info.grants.retain(|old| old.to != *to);
            had = secret.info.grants.len() < before;
            Ok(())
        })?;
        Ok(had)
    }

    /// All that may be told, by name.
    pub fn list(&self) -> Result<Vec<SecretInfo>> {
        self.read(|_, open| Ok(open.secrets.iter().map(|secret| secret.info.clone()).collect()))
    }

    /// What may be told about one.
    pub fn info(&self, name: &str) -> Result<SecretInfo> {
        self.read(|_, open| Ok(open.named(name)?.info.clone()))
    }

    /// Ids of secrets that were changed from outside and are not used.
    pub fn damaged(&self) -> Result<Vec<String>> {
        self.read(|_, open| Ok(open.damaged.clone()))
    }

    /// What this agent may use at this host and port.
    pub fn bound(&self, agent: &AgentNames, authority: &Authority) -> Result<Vec<Bound>> {
        let now = self.now();
        self.read(|_, open| {
            let usable = open.secrets.iter().filter(|secret| secret.is_granted(agent, now));
            let bound = usable.flat_map(|secret| {
                let (info, (bindings, settings)) = (&secret.info, &secret.shared);
                let here = bindings.iter().filter(|binding| binding.covers(authority));
                here.map(|binding| Bound {
                    secret: info.id.clone(),
                    name: info.name.clone(),
                    kind: info.kind,
                    is_oauth: info.is_oauth,
                    epoch: info.epoch,
                    binding: Arc::clone(binding),
                    dummy: open.dummy(secret, agent),
                    settings: Arc::clone(settings),
                })
            });
            Ok(bound.collect())
        })
    }

    /// Names of secrets that are bound there, whoever may use them: to say what is missing.
    pub fn bound_there(&self, authority: &Authority) -> Result<Vec<String>> {
        self.read(|_, open| {
            let there = |s: &&Loaded| s.info.bindings.iter().any(|b| b.covers(authority));
            Ok(open.secrets.iter().filter(there).map(|s| s.info.name.clone()).collect())
        })
    }

    /// What stands for each secret that this agent may use.
    pub fn dummies(&self, agent: &AgentNames) -> Result<Vec<Dummy>> {
        let now = self.now();
        self.read(|_, open| {
            let usable = open.secrets.iter().filter(|secret| secret.is_granted(agent, now));
            let dummy = |secret: &Loaded| Dummy {
                text: open.dummy(secret, agent),
                secret: secret.info.id.clone(),
                name: secret.info.name.clone(),
            };
            Ok(usable.map(dummy).collect())
        })
    }

    /// A secret's value. Only the vault process asks, right before it sends it.
    pub fn value(&self, secret: &SecretId) -> Result<Value> {
        self.read(|db, open| {
            let plain = open.get(db, (TABLE, secret.as_str(), "value"))?;
            as_value(plain, secret)
        })
    }

    /// Whether this is the value of a secret: said as yes or no.
    pub fn holds(&self, secret: &SecretId, text: &str) -> Result<bool> {
        Ok(self.value(secret)?.expose().as_bytes().ct_eq(text.as_bytes()).into())
    }

    /// A token of the host's own channels; nothing else can be had by name.
    pub fn host_value(&self, name: &str) -> Result<Option<Value>> {
        self.read(|db, open| match open.named(name) {
            Ok(secret) if secret.info.kind == Kind::HostOnly => {
                let id = &secret.info.id;
                as_value(open.get(db, (TABLE, id.as_str(), "value"))?, id).map(Some)
            }
            Ok(_) | Err(_) => Ok(None),
        })
    }

    /// What was made from a secret: access and refresh tokens and the like.
    pub fn state(&self, secret: &SecretId) -> Result<Option<Zeroizing<Vec<u8>>>> {
        self.read(|db, open| open.get(db, (TABLE, secret.as_str(), "state")))
    }

    /// Keeps what was made; on disk when this returns. Refused when the secret has another value by now.
    pub fn set_state(&self, secret: &SecretId, epoch: u64, state: &[u8]) -> Result<()> {
        self.write(|tx| {
            let known = tx.open.secrets.iter().find(|s| s.info.id == *secret);
            match known {
                Some(known) if known.info.epoch == epoch => {
                    tx.put((TABLE, secret.as_str(), "state"), state)
                }
                Some(_) => refused("the secret has a new value; start again with that"),
                None => Err(SecretsError::NoSuch(secret.to_string())),
            }
        })
    }

    fn change(
        &self,
        name: &str,
        f: impl FnOnce(&mut Tx<'_>, &mut Loaded) -> Result<()>,
    ) -> Result<SecretInfo> {
        self.write(|tx| {
            let at = tx.open.secrets.iter().position(|secret| secret.info.name == name);
            let at = at.ok_or_else(|| SecretsError::NoSuch(name.to_owned()))?;
            let mut secret = tx.open.secrets.swap_remove(at);
            f(tx, &mut secret)?;
            tx.save(&secret)?;
            Ok(secret.info)
        })
    }
}

impl Tx<'_> {
    fn store(&mut self, secret: &Loaded, value: &Value) -> Result<()> {
        if self.open.secrets.len() >= SECRETS_MAX {
            return refused(format!("a vault holds at most {SECRETS_MAX} secrets"));
        }
        self.save(secret)?;
        self.put((TABLE, secret.info.id.as_str(), "value"), value.expose().as_bytes())
    }

    fn erase(&mut self, id: &SecretId) -> Result<()> {
        self.open.manifest.secrets += 1;
        ["meta", "value", "state"]
            .iter()
            .try_for_each(|field| self.remove((TABLE, id.as_str(), field)))
    }

    fn save(&mut self, secret: &Loaded) -> Result<()> {
        self.open.manifest.secrets += 1;
        let meta = serde_json::to_vec(secret).map_err(internal)?;
        self.put((TABLE, secret.info.id.as_str(), "meta"), &meta)
    }

    fn value(&self, id: &SecretId) -> Result<Value> {
        as_value(self.get((TABLE, id.as_str(), "value"))?, id)
    }
}

fn as_value(plain: Option<Zeroizing<Vec<u8>>>, id: &SecretId) -> Result<Value> {
    let plain = plain.ok_or_else(|| SecretsError::NoSuch(id.to_string()))?;
    let text = std::str::from_utf8(&plain).map(str::to_owned);
    text.map(Value::new).map_err(|_| SecretsError::Integrity("a value is no text".into()))
}

/// A value as these places take it. What a value is only made from stands in no request.
fn fitted(value: Value, kind: Kind, bindings: &[Binding]) -> Result<Value> {
    let slots = bindings.iter().map(|binding| &binding.slot).filter(|_| !kind.is_dynamic());
    value.fit(kind, &slots.collect::<Vec<_>>())
}

fn check_name(name: &str) -> Result<()> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let starts = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if !starts || name.len() > NAME_MAX || !name.bytes().all(ok) {
        return refused(format!(
            "{name:?} is no name; use up to {NAME_MAX} letters, digits, -, _ and ., as in \"github-work\""
        ));
    }
    Ok(())
}

fn check_bindings(kind: Kind, bindings: &[Binding]) -> Result<()> {
    if bindings.len() > BINDINGS_MAX {
        return refused(format!("a secret has at most {BINDINGS_MAX} bindings"));
    }
    if (kind == Kind::HostOnly) != bindings.is_empty() {
        return refused(match kind {
            Kind::HostOnly => "a secret for the host alone is bound to no host",
            _ => "say where it may be used: --host api.example.com",
        });
    }
    bindings.iter().try_for_each(Binding::check)
}

#[cfg(test)]
mod tests;
