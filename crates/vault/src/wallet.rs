//! The sealed store as the data path sees it: what an agent may use where, and the values just in time.
//!
//! What was read is kept until the store changes, by whatever process, and half a minute at most. Read next:
//! `inject`.

use crate::VaultError;
use crate::dynamic::{self, Dynamic, Problem};
use crate::inject::Uses;
use crate::refusal::Refusal;
use crate::scan::{Mark, Needles, Tripwire};
use hyper::StatusCode;
use nanoclaw_policy::{AgentNames, Authority};
use nanoclaw_secrets::{Bound, SecretId, SecretInfo, SecretsError, Store, Value};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

const FRESH: Duration = Duration::from_secs(30);
const PLACES_MAX: usize = 4096;
const VALUES_MAX: usize = 256;
/// Sealed records of the vault itself.
const KEYS: &str = "keys";

type Place = (String, Authority);

struct Seen {
    generation: u64,
    since: Instant,
    bound: HashMap<Place, Arc<Vec<Bound>>>,
    values: HashMap<(SecretId, u64), Arc<Value>>,
    logins: Option<Arc<Vec<SecretInfo>>>,
    needles: Vec<(Sent, Arc<Needles>)>,
}

/// What was put into a request, each with its placeholder.
type Sent = Vec<(Arc<Value>, String)>;

/// What is in the store, for boxes.
pub(crate) struct Wallet {
    pub(crate) store: Arc<Store>,
    /// Another vault has the secrets: none of these is used.
    elsewhere: bool,
    pub(crate) dynamic: Arc<Dynamic>,
    seen: Mutex<Seen>,
    /// Agents with a session, for the tripwire.
    agents: Mutex<BTreeMap<String, AgentNames>>,
    tripwire: Mutex<Arc<Tripwire>>,
}

impl Wallet {
    pub(crate) fn new(store: Arc<Store>, elsewhere: bool) -> Self {
        let (bound, values) = (HashMap::new(), HashMap::new());
        let (since, logins, needles) = (Instant::now(), None, Vec::new());
        let seen = Seen { generation: 0, since, bound, values, logins, needles };
        let tripwire = Mutex::new(Arc::new(Tripwire::new([])));
        let dynamic = Arc::new(Dynamic::new(Arc::clone(&store)));
        let (seen, agents) = (Mutex::new(seen), Mutex::default());
        Self { store, elsewhere, dynamic, seen, agents, tripwire }
    }

    /// What was read, if it still holds. Asking costs a look at shared memory, not at the disk.
    fn seen(&self) -> Result<MutexGuard<'_, Seen>, Refusal> {
        let generation = self.store.generation().map_err(|e| refused(&e))?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.generation != generation || seen.since.elapsed() > FRESH {
            seen.generation = generation;
            seen.since = Instant::now();
            seen.bound.clear();
            seen.values.clear();
            seen.logins = None;
            seen.needles.clear();
        }
        Ok(seen)
    }

    async fn read<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Store) -> Result<T, SecretsError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let store = Arc::clone(&self.store);
        let done = tokio::task::spawn_blocking(move || what(&store)).await;
        done.map_err(|e| Refusal::unavailable("vault_failed", e.to_string()))?
            .map_err(|e| refused(&e))
    }

    /// What an agent may use at a place.
    pub(crate) async fn bound(
        &self,
        agent: &AgentNames,
        at: &Authority,
    ) -> Result<Arc<Vec<Bound>>, Refusal> {
        if self.elsewhere {
            return Ok(Arc::default());
        }
        let key = (agent.id.clone(), at.clone());
        if let Some(known) = self.seen()?.bound.get(&key) {
            return Ok(Arc::clone(known));
        }
        let generation = self.seen()?.generation;
        let (agent, at) = (agent.clone(), at.clone());
        let bound = Arc::new(self.read(move |store| store.bound(&agent, &at)).await?);
        let mut seen = self.seen()?;
        if seen.generation == generation {
            if seen.bound.len() >= PLACES_MAX {
                seen.bound.clear();
            }
            seen.bound.insert(key, Arc::clone(&bound));
        }
        Ok(bound)
    }

    /// The value of a secret, right before it is sent.
    pub(crate) async fn value(&self, bound: &Bound) -> Result<Arc<Value>, Refusal> {
        if bound.kind.is_dynamic() {
            let made = self.dynamic.value_for(bound).await;
            return made.map(Arc::new).map_err(|e| no_token(&e));
        }
        let key = (bound.secret.clone(), bound.epoch);
        if let Some(known) = self.seen()?.values.get(&key) {
            return Ok(Arc::clone(known));
        }
        let id = bound.secret.clone();
        let value = Arc::new(self.read(move |store| store.value(&id)).await?);
        let mut seen = self.seen()?;
        if seen.values.len() >= VALUES_MAX {
            seen.values.clear();
        }
        seen.values.insert(key, Arc::clone(&value));
        Ok(value)
    }

    /// What looks for these in an answer. To make it takes longer than to send a request.
    pub(crate) fn needles(&self, sent: Sent) -> Arc<Needles> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |(known, _): &&(Sent, _)| {
            let pairs = known.iter().zip(&sent);
            known.len() == sent.len() && { pairs }
                .all(|(a, b)| a.0.expose() == b.0.expose() && a.1 == b.1)
        };
        if let Some((_, needles)) = seen.needles.iter().find(same) {
            return Arc::clone(needles);
        }
        let pairs = sent.iter().map(|(value, dummy)| (value.expose().as_bytes(), dummy.as_bytes()));
        let needles = Arc::new(Needles::new(pairs));
        if seen.needles.len() >= VALUES_MAX {
            seen.needles.clear();
        }
        seen.needles.push((sent, Arc::clone(&needles)));
        needles
    }

    /// What a token server would say, where that is a secret's own: no box ever talks to one of those.
    pub(crate) async fn played(
        &self,
        agent: &AgentNames,
        at: &Authority,
        path: &str,
    ) -> Result<Option<serde_json::Value>, Refusal> {
        if self.elsewhere {
            return Ok(None);
        }
        let known = self.seen()?.logins.clone();
        let logins = match known {
            Some(logins) => logins,
            None => {
                let mut all = self.read(Store::list).await?;
                all.retain(dynamic::has_endpoint);
                let logins = Arc::new(all);
                self.seen()?.logins = Some(Arc::clone(&logins));
                logins
            }
        };
        if !logins.iter().any(|info| dynamic::is_endpoint(info, at, path)) {
            return Ok(None);
        }
        let (agent, at, path) = (agent.clone(), at.clone(), path.to_owned());
        self.read(move |store| dynamic::answers(store, &agent, &at, &path)).await
    }

    /// An upstream said 401 to what was put in: whether there are new tokens by now. Who does not wait leaves
    /// it to the background.
    pub(crate) async fn renewed(&self, uses: &Uses, given: &[Arc<Value>], wait: bool) -> bool {
        let old = uses.bound().cloned().zip(given.iter().cloned());
        let old: Vec<_> = old.filter(|(bound, _)| bound.kind.is_dynamic()).collect();
        if old.is_empty() {
            return false;
        }
        let dynamic = Arc::clone(&self.dynamic);
        let renewing = tokio::spawn(async move {
            for (bound, old) in &old {
                if let Err(e) = dynamic.after_refusal(bound, old).await {
                    tracing::warn!(secret = bound.name, "no new token: {e}");
                    return false;
                }
            }
            true
        });
        wait && renewing.await.unwrap_or(false)
    }

    /// The state of the store, for who wants to know when it changes.
    pub(crate) fn generation(&self) -> Option<u64> {
        self.store.generation().ok()
    }

    /// Looks for the placeholders of this agent as well from now on.
    pub(crate) fn meet(&self, agent: &AgentNames) -> Result<(), VaultError> {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if agents.insert(agent.id.clone(), agent.clone()).as_ref() == Some(agent) {
            return Ok(());
        }
        drop(agents);
        self.retie()
    }

    /// The tripwire for the placeholders of now. Blocks.
    pub(crate) fn retie(&self) -> Result<(), VaultError> {
        let agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut all = Vec::new();
        for agent in agents.into_values() {
            let dummies =
                self.store.dummies(&agent).map_err(|e| VaultError::Refused(e.to_string()))?;
            let mark = |secret| Mark { agent: agent.id.clone(), secret };
            all.extend(dummies.into_iter().map(|dummy| (dummy.text, mark(dummy.name))));
        }
        let tied = Arc::new(Tripwire::new(all));
        *self.tripwire.lock().unwrap_or_else(PoisonError::into_inner) = tied;
        Ok(())
    }

    pub(crate) fn tripwire(&self) -> Arc<Tripwire> {
        Arc::clone(&self.tripwire.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A secret that is there but not for this agent, in words.
    pub(crate) async fn missing(&self, at: &Authority) -> Option<Refusal> {
        if self.elsewhere {
            return None;
        }
        let place = at.clone();
        let names = self.read(move |store| store.bound_there(&place)).await.ok()?;
        let name = names.first()?;
        let text = format!("the secret {name:?} is for {at}, and this agent has no grant for it");
        let how = format!("the owner runs: nanoclaw vault grant {name} AGENT");
        let refusal = Refusal::blocked("credential_not_granted", text);
        Some(refusal.with("secret_name", name.as_str()).with("how_to", how))
    }

    /// Names, placeholders, places and slots of an agent's secrets; never a value.
    pub(crate) async fn shown(&self, agent: &AgentNames) -> serde_json::Value {
        let names = agent.clone();
        let read = self.read(move |store| Ok((store.list()?, store.dummies(&names)?))).await;
        let Ok((all, usable)) = read else { return serde_json::Value::Null };
        let shown = |secret: SecretInfo| {
            let dummy = usable.iter().find(|dummy| dummy.secret == secret.id)?;
            let at = secret
                .bindings
                .iter()
                .map(|b| json!({ "host": b.host, "port": b.port, "slot": b.slot, "mode": b.mode }));
            let at: Vec<_> = at.collect();
            Some(
                json!({ "name": secret.name, "kind": secret.kind, "placeholder": dummy.text, "used_at": at }),
            )
        };
        all.into_iter().filter_map(shown).collect()
    }

    /// The key for this purpose; made on first use. Blocks.
    pub(crate) fn key(&self, purpose: &str) -> Result<[u8; 32], VaultError> {
        let failed = |e: SecretsError| VaultError::Refused(e.to_string());
        let kept = self.store.record(KEYS, purpose).map_err(failed)?;
        if let Some(key) = kept.and_then(|kept| <[u8; 32]>::try_from(kept.as_slice()).ok()) {
            return Ok(key);
        }
        let mut key = [0; 32];
        let random = ring::rand::SystemRandom::new();
        ring::rand::SecureRandom::fill(&random, &mut key)
            .map_err(|_| VaultError::Refused("the system has no random numbers".to_owned()))?;
        self.store.set_record(KEYS, purpose, Some(&key)).map_err(failed)?;
        Ok(key)
    }
}

/// Why there is no token, for a box.
fn no_token(e: &Problem) -> Refusal {
    tracing::warn!("{e}");
    match e {
        Problem::NeedsLogin(name) => Refusal::blocked("app_not_connected", e.to_string())
            .with("connect_hint", format!("nanoclaw vault rotate {name}")),
        Problem::Refused(why) => Refusal::blocked("app_not_connected", why.as_str()),
        Problem::Unreachable(why) => Refusal::unavailable("token_server_unreachable", why.as_str()),
        Problem::Store(e) => refused(e),
    }
}

/// Why the store gave nothing, for a box.
pub(crate) fn refused(e: &SecretsError) -> Refusal {
    let code = match e {
        SecretsError::Locked => "vault_locked",
        _ => "vault_failed",
    };
    tracing::warn!("the store of secrets: {e}");
    let text =
        "the vault cannot use its secrets now; its owner sees why with `nanoclaw vault status`";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, code, text)
}
