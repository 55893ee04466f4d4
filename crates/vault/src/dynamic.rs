//! Credentials that are made from secrets: access tokens of OAuth, tokens of a GitHub App.
//!
//! ```text
//! value_for ─▶ still good for five minutes? ─yes─▶ it
//!                 │ no: one at a time, in this process and among processes
//!                 ▼
//!              token server ─▶ sealed, on disk ─▶ used
//! ```
//!
//! A new refresh token is on disk before the access token that came with it is used, so a crash loses no
//! login. A server that says the login is over is not asked again until a person gives a new one. Read next:
//! [`oauth`] and [`github`] for what is asked, `client` for how.

mod client;
mod github;
mod oauth;
mod probe;

pub use probe::{Probe, probe};

use nanoclaw_policy::{AgentNames, Authority};
use nanoclaw_secrets::{Bound, Kind, SecretId, SecretInfo, SecretsError, Store, Value};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A token is renewed when less than this is left.
const MARGIN: i64 = 300;
/// A token that was made a moment ago and is refused is not the problem.
const PATIENCE: i64 = 30;
/// How long one process may take with a token server before another tries.
const TURN: i64 = 60;
const WAIT: Duration = Duration::from_millis(100);
const WAITS_MAX: u32 = 300;
const NEVER: i64 = i64::MAX;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// Somebody has to log in again.
    #[error("the login of {0:?} is over; the owner runs `nanoclaw vault rotate {0}`")]
    NeedsLogin(String),
    /// The upstream refuses a token that was just made, or the secret cannot make one.
    #[error("{0}")]
    Refused(String),
    /// The token server cannot be reached; the same request may work later.
    #[error("{0}")]
    Unreachable(String),
    /// The store said no.
    #[error(transparent)]
    Store(#[from] SecretsError),
}

/// What was made, as it is kept.
#[derive(Clone, Default, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct State {
    access: String,
    refresh: Option<String>,
    expires: i64,
    made: i64,
    #[serde(default)]
    needs_login: bool,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[token until {}]", self.expires)
    }
}

/// What a token server gave.
struct Made {
    access: String,
    refresh: Option<String>,
    /// In seconds; for ever without.
    lasts: Option<i64>,
}

/// Everything that is needed to make a token of one secret.
#[derive(Clone)]
struct Source {
    id: SecretId,
    name: String,
    kind: Kind,
    epoch: u64,
    settings: Arc<BTreeMap<String, String>>,
}

impl From<&Bound> for Source {
    fn from(b: &Bound) -> Self {
        let settings = Arc::clone(&b.settings);
        Self { id: b.secret.clone(), name: b.name.clone(), kind: b.kind, epoch: b.epoch, settings }
    }
}

impl From<&SecretInfo> for Source {
    fn from(i: &SecretInfo) -> Self {
        let settings = Arc::new(i.settings.clone());
        Self { id: i.id.clone(), name: i.name.clone(), kind: i.kind, epoch: i.epoch, settings }
    }
}

type Flight = Arc<tokio::sync::Mutex<Option<State>>>;

/// Makes tokens, one at a time for each secret.
pub(crate) struct Dynamic {
    store: Arc<Store>,
    client: client::Client,
    /// What this process is called among those that take turns.
    holder: String,
    flights: Mutex<BTreeMap<(SecretId, u64), Flight>>,
}

impl Dynamic {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        let mark = BuildHasher::hash_one(&RandomState::new(), 0);
        let holder = format!("{}-{mark:x}", std::process::id());
        Self { store, client: client::Client::new(), holder, flights: Mutex::default() }
    }

    /// What stands in a request in place of the secret.
    pub(crate) async fn value_for(&self, bound: &Bound) -> Result<Value, Problem> {
        self.current(&bound.into(), None).await
    }

    /// A value in place of one that the upstream refused; made at most once for each.
    pub(crate) async fn after_refusal(&self, bound: &Bound, old: &Value) -> Result<Value, Problem> {
        self.current(&bound.into(), Some(old)).await
    }

    fn flight(&self, source: &Source) -> Flight {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.retain(|(id, epoch), _| *id != source.id || *epoch == source.epoch);
        Arc::clone(flights.entry((source.id.clone(), source.epoch)).or_default())
    }

    async fn current(&self, source: &Source, refused: Option<&Value>) -> Result<Value, Problem> {
        let flight = self.flight(source);
        let mut known = flight.lock().await;
        if known.is_none() {
            *known = self.kept(source).await?;
        }
        if let Some(state) = &*known
            && let Some(verdict) = self.judge(source, state, refused)
        {
            return verdict;
        }
        let turn = self.turn(source).await?;
        // While this process waited, another may have made one.
        *known = self.kept(source).await?;
        let verdict = known.as_ref().and_then(|state| self.judge(source, state, refused));
        let made = match verdict {
            Some(verdict) => verdict,
            None => match self.renew(source, known.take()).await {
                Ok(state) => {
                    let value = Value::new(state.access.clone());
                    *known = Some(state);
                    Ok(value)
                }
                Err(e) => Err(e),
            },
        };
        self.end(turn).await;
        made
    }

    /// Whether what is kept answers the question; `None` means that a new one has to be made.
    fn judge(
        &self,
        source: &Source,
        state: &State,
        refused: Option<&Value>,
    ) -> Option<Result<Value, Problem>> {
        let now = self.store.now();
        if state.needs_login {
            return Some(Err(Problem::NeedsLogin(source.name.clone())));
        }
        let is_old = refused.is_some_and(|old| old.expose() == state.access);
        if is_old && (now - state.made).abs() < PATIENCE {
            let text = format!("a token of {:?} that was just made is refused", source.name);
            return Some(Err(Problem::Refused(text)));
        }
        let good =
            !state.access.is_empty() && !is_old && state.expires.saturating_sub(now) > MARGIN;
        good.then(|| Ok(Value::new(state.access.clone())))
    }

    /// Makes a token and has it on disk before it returns.
    async fn renew(&self, source: &Source, old: Option<State>) -> Result<State, Problem> {
        let id = source.id.clone();
        let value = self.blocking(move |store| store.value(&id)).await?;
        let refresh = old.as_ref().and_then(|old| old.refresh.clone());
        let made = match source.kind {
            Kind::GithubApp => github::token(&self.client, source, &value, self.store.now()).await,
            _ => oauth::token(&self.client, source, &value, refresh.as_deref()).await,
        };
        let now = self.store.now();
        let state = match made {
            Ok(made) => State {
                access: made.access.clone(),
                refresh: made.refresh.or(refresh),
                expires: made.lasts.map_or(NEVER, |lasts| now.saturating_add(lasts.max(0))),
                made: now,
                needs_login: false,
            },
            Err(Problem::NeedsLogin(name)) => {
                tracing::warn!(secret = name, "its login is over");
                let mut over = State::default();
                (over.needs_login, over.made) = (true, now);
                self.keep(source, &over).await?;
                return Err(Problem::NeedsLogin(name));
            }
            Err(e) => return Err(e),
        };
        if !state.access.bytes().all(|b| b.is_ascii_graphic()) || state.access.is_empty() {
            return Err(Problem::Refused(format!(
                "the token made for {:?} is no token",
                source.name
            )));
        }
        self.keep(source, &state).await?;
        Ok(state)
    }

    async fn kept(&self, source: &Source) -> Result<Option<State>, Problem> {
        let id = source.id.clone();
        let kept = self.blocking(move |store| store.state(&id)).await?;
        Ok(kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    async fn keep(&self, source: &Source, state: &State) -> Result<(), Problem> {
        let bytes = serde_json::to_vec(state).unwrap_or_default();
        let (id, epoch) = (source.id.clone(), source.epoch);
        self.blocking(move |store| {
            let bytes = zeroize::Zeroizing::new(bytes);
            store.set_state(&id, epoch, &bytes)
        })
        .await
    }

    /// The turn among processes that share the vault.
    async fn turn(&self, source: &Source) -> Result<String, Problem> {
        let name = format!("refresh/{}", source.id);
        for _ in 0..WAITS_MAX {
            let (lock, holder) = (name.clone(), self.holder.clone());
            if self.blocking(move |store| store.try_lock(&lock, &holder, TURN)).await? {
                return Ok(name);
            }
            tokio::time::sleep(WAIT).await;
        }
        Err(Problem::Unreachable(format!(
            "another process renews {:?} and does not end",
            source.name
        )))
    }

    async fn end(&self, turn: String) {
        let holder = self.holder.clone();
        if let Err(e) = self.blocking(move |store| store.unlock_name(&turn, &holder)).await {
            tracing::warn!("the turn to renew a token stays taken for a minute: {e}");
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Store) -> Result<T, SecretsError> + Send + 'static,
    ) -> Result<T, Problem> {
        let store = Arc::clone(&self.store);
        let done = tokio::task::spawn_blocking(move || f(&store)).await;
        done.map_err(|e| Problem::Unreachable(e.to_string()))?.map_err(Problem::from)
    }
}

/// What a token server would say to a box, with placeholders; the real one is never asked by a box. Blocks.
pub(crate) fn answers(
    store: &Store,
    agent: &AgentNames,
    at: &Authority,
    path: &str,
) -> Result<Option<serde_json::Value>, SecretsError> {
    let dummies = store.dummies(agent)?;
    for info in store.list()? {
        let dummy = dummies.iter().find(|dummy| dummy.secret == info.id);
        let Some(dummy) = dummy.filter(|_| is_endpoint(&info, at, path)) else { continue };
        return Ok(Some(match info.kind {
            Kind::GithubApp => serde_json::json!({
                "token": dummy.text, "expires_at": "2099-01-01T00:00:00Z",
            }),
            _ => serde_json::json!({
                "access_token": dummy.text, "refresh_token": dummy.text,
                "token_type": "Bearer", "expires_in": YEAR,
            }),
        }));
    }
    Ok(None)
}

const YEAR: u32 = 31_536_000;

/// Token servers that are known without being named.
const ENDPOINTS: [(&str, &str, Kind); 4] = [
    ("console.anthropic.com", "/v1/oauth/token", Kind::Anthropic),
    ("platform.claude.com", "/v1/oauth/token", Kind::Anthropic),
    ("auth.openai.com", "/oauth/token", Kind::Openai),
    ("github.com", "/login/oauth/access_token", Kind::GithubApp),
];

/// Whether tokens of this secret are made anywhere at all.
pub(crate) fn has_endpoint(info: &SecretInfo) -> bool {
    info.kind.is_dynamic() || ENDPOINTS.iter().any(|(_, _, kind)| *kind == info.kind)
}

/// Whether this is where tokens of this secret are made.
pub(crate) fn is_endpoint(info: &SecretInfo, at: &Authority, path: &str) -> bool {
    let path = path.trim_end_matches('/');
    let host = at.host.to_string();
    let named = oauth::endpoint(&info.settings).filter(|_| info.kind == Kind::Oauth2);
    let named = named.and_then(|url| client::Url::parse(&url).ok());
    if named.is_some_and(|url| url.place() == *at && url.path().trim_end_matches('/') == path) {
        return true;
    }
    if info.kind == Kind::GithubApp {
        let app = path.starts_with("/app/installations/") && path.ends_with("/access_tokens");
        if app && info.bindings.iter().any(|binding| binding.covers(at)) {
            return true;
        }
    }
    ENDPOINTS.iter().any(|(h, p, kind)| *h == host && *p == path && *kind == info.kind)
}

/// What the owner is told about secrets: each key once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) key: String,
    pub(crate) text: String,
}

const DAY: i64 = 86_400;
/// Days before the end on which the owner is told.
const FORECAST: [i64; 4] = [14, 7, 3, 1];

/// Secrets that end soon, and logins that are over. Blocks.
pub(crate) fn notices(store: &Store) -> Result<Vec<Notice>, SecretsError> {
    let (now, mut notices) = (store.now(), Vec::new());
    for info in store.list()? {
        let (name, epoch) = (&info.name, info.epoch);
        if let Some(end) = info.expires {
            let days = (end - now).div_euclid(DAY);
            let text = match FORECAST.iter().rev().find(|before| days < **before) {
                _ if end <= now => format!("The secret {name} has ended."),
                Some(1) => format!("The secret {name} ends within a day."),
                Some(before) => format!("The secret {name} ends within {before} days."),
                None => continue,
            };
            let step = if end <= now {
                0
            } else {
                FORECAST.into_iter().rev().find(|b| days < *b).unwrap_or(0)
            };
            let text = format!("{text} Give it a new value: nanoclaw vault rotate {name}");
            notices.push(Notice { key: format!("expiry/{}/{epoch}/{step}", info.id), text });
        }
        if info.kind.is_dynamic() {
            let state = store.state(&info.id)?;
            let state: Option<State> = state.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            if state.is_some_and(|state| state.needs_login) {
                let text = format!(
                    "The login of the secret {name} is over. Give it a new value: nanoclaw vault rotate {name}"
                );
                notices.push(Notice { key: format!("login/{}/{epoch}", info.id), text });
            }
        }
    }
    Ok(notices)
}

#[cfg(test)]
mod tests;
