//! Requests that a person must see before they leave.
//!
//! ```text
//! collect: the whole body ─▶ fingerprint ─▶ known? ─▶ yes: passes once, joins, or is refused
//!                                             └ no ─▶ row ● ─▶ card ─▶ held ─▶ decided ● ─▶ passes once ●
//! ```
//!
//! What is decided is exactly what is sent: the body is read to its end and hashed before anybody is asked, and
//! the bytes that were hashed are the bytes that go on. A row ([`book`]) outlives the connection, the vault and
//! the host: a request that comes again with the same fingerprint passes once after a yes. It is marked as sent
//! before it is, so a kill in between loses it and never doubles it. Read next: [`card`] for what people see,
//! [`bus`] for how the host hears of it.

mod book;
mod bus;
mod card;
pub mod client;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

pub use book::Remembered;
pub use bus::{Bus, PLACE, REQUEST};
pub use card::{masked, shown};

use crate::VaultError;
use crate::refusal::Refusal;
use book::{Book, Row};
use bytes::Bytes;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::Body;
use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Longest body that people are asked about: all of it waits in memory.
const BODY_MAX: usize = 8 << 20;
/// Bodies that wait: of one agent, and of all.
const HELD_MAX: usize = 32 << 20;
const ALL_HELD_MAX: usize = 128 << 20;
/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(60);
/// How long a connection is held.
const HOLD: Duration = Duration::from_secs(300);
/// How long a request can be decided, and how long a yes waits for a retry.
pub const DECIDE_WITHIN_MS: i64 = 15 * 60_000;
/// Most requests of one agent that wait for a decision.
const OPEN_MAX: i64 = 32;
/// Answers, and their absence, that are in memory.
const KNOWN_MAX: usize = 4096;
/// When to try again what waits.
const RETRY_AFTER_SECONDS: u64 = 10;

/// Milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The clock of this machine.
#[expect(clippy::disallowed_methods, reason = "the one place where the process gets its clock")]
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    })
}

/// What somebody is asked about.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Whose connection it is; told to the host, no part of the fingerprint.
    pub session: String,
    /// Id of the agent.
    pub agent: String,
    /// The rule that wants it.
    pub rule: Option<String>,
    /// `host:port`, as judged.
    pub place: String,
    /// The request; none: whether the host may be used at all.
    pub request: Option<Request>,
}

/// A request, as it will be sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// Changes with the rules.
    pub epoch: u64,
    /// Names of the secrets that it gets, with their epochs.
    pub secrets: Vec<(String, u64)>,
    /// As it will be sent.
    pub method: String,
    /// `https` or `http`.
    pub scheme: String,
    /// The strict path.
    pub path: String,
    /// The query, as it will be sent.
    pub query: Option<String>,
    /// The value of that header.
    pub content_type: Option<String>,
    /// All of it.
    pub body: Bytes,
}

/// Why a request does not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum No {
    #[error("a person must approve this request; its body is longer than {BODY_MAX} bytes")]
    TooLarge,
    #[error("the body did not arrive: {0}")]
    Body(String),
    #[error("too many requests wait for a person already; try again later")]
    Busy,
    #[error("a person was asked about this request ({0}); send the same request again later")]
    Pending(String),
    /// For a reason that may be given.
    #[error("{}", .0.as_ref().map_or_else(|| "a person said no to this request".to_owned(),
        |why| format!("this request was not approved: {why}")))]
    Denied(Option<String>),
    #[error("nobody decided about this request in time; talk to the people in the chat")]
    Expired,
    #[error("this request was approved once and has been sent; it is not sent again")]
    Used,
    #[error("requests cannot be approved now: {0}")]
    Broken(String),
}

impl No {
    /// Status, code and text of the refusal.
    pub fn told(&self) -> (StatusCode, &'static str, String) {
        let (status, code) = match self {
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large_for_approval"),
            Self::Body(_) => (StatusCode::BAD_REQUEST, "bad_request"),
            Self::Busy => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
            Self::Pending(_) => (StatusCode::FORBIDDEN, "approval_pending"),
            Self::Denied(_) | Self::Used => (StatusCode::FORBIDDEN, "manual_approval_denied"),
            Self::Expired => (StatusCode::FORBIDDEN, "manual_approval_expired"),
            Self::Broken(_) => (StatusCode::SERVICE_UNAVAILABLE, "approvals_unavailable"),
        };
        (status, code, self.to_string())
    }

    pub(crate) fn refusal(&self) -> Refusal {
        let (status, code, text) = self.told();
        let refusal = Refusal::new(status, code, text);
        match self {
            Self::Pending(id) => {
                refusal.with("id", id.as_str()).with("retry_after", RETRY_AFTER_SECONDS)
            }
            _ => refusal,
        }
    }
}

/// What the host says of one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Decision {
    /// Which.
    pub id: String,
    /// The value of an option: `approve`, `endpoint`, `reject` or `reject:block`.
    pub answer: String,
    /// Who, for people.
    #[serde(default)]
    pub by: String,
    /// Why not, for the agent.
    #[serde(default)]
    pub why: Option<String>,
}

/// What came of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decided {
    /// It counts, and a connection waits for it or not.
    Now {
        /// A connection does.
        waiting: bool,
    },
    /// It was decided or expired before; nothing changed.
    Before,
}

/// Everything about requests that wait.
pub struct Approvals {
    book: Arc<Mutex<Book>>,
    key: [u8; 32],
    clock: Clock,
    bus: Arc<Bus>,
    changed: watch::Sender<()>,
    /// What was read of people's answers.
    known: Mutex<HashMap<(String, String), Option<bool>>>,
    /// Connections that wait, by row.
    waiting: Arc<Counts>,
    /// Bytes that wait, by agent.
    held: Arc<Counts>,
}

type Counts = Mutex<BTreeMap<String, usize>>;

/// So many of one name are counted as long as this lives.
struct Share {
    of: Arc<Counts>,
    name: String,
    n: usize,
}

impl Share {
    fn new(of: &Arc<Counts>, name: &str) -> Self {
        Self { of: Arc::clone(of), name: name.to_owned(), n: 0 }
    }

    /// Counts so many more, unless that were more than `own` of this name or `all` of all.
    fn more(&mut self, n: usize, own: usize, all: usize) -> bool {
        let mut counts = lock(&self.of);
        let (has, have) =
            (counts.get(&self.name).copied().unwrap_or(0), counts.values().sum::<usize>());
        if has + n > own || have + n > all {
            return false;
        }
        counts.insert(self.name.clone(), has + n);
        self.n += n;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut counts = lock(&self.of);
        if let Some(sum) = counts.get_mut(&self.name) {
            *sum = sum.saturating_sub(self.n);
            if *sum == 0 {
                counts.remove(&self.name);
            }
        }
    }
}

/// A body that was read to its end; its place in memory counts until this is dropped.
pub struct Collected {
    /// All of it.
    pub bytes: Bytes,
    _share: Share,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Approvals {
    /// Opens `held.db` in this directory. The key seals what its rows show; with another key they are forgotten.
    /// Blocks.
    pub fn open(
        dir: &Path,
        key: [u8; 32],
        bus: Arc<Bus>,
        clock: Clock,
    ) -> Result<Arc<Self>, VaultError> {
        let book = Book::open(&dir.join("held.db"), clock())?;
        let approvals = Arc::new(Self {
            book: Arc::new(Mutex::new(book)),
            key,
            clock,
            bus,
            changed: watch::Sender::new(()),
            known: Mutex::default(),
            waiting: Arc::default(),
            held: Arc::default(),
        });
        let book = lock(&approvals.book);
        for (id, event, until_ms) in book.open_rows().map_err(book::failed)? {
            match approvals.unseal(&id, &event) {
                Some(event) => approvals.bus.put(&id, event, Some(until_ms)),
                // Nobody can be asked about what cannot be read.
                None => book.forget(&id).map_err(book::failed)?,
            }
        }
        drop(book);
        Ok(approvals)
    }

    /// Reads a body to its end, so that it can be shown and cannot change any more.
    pub async fn collect<B>(self: &Arc<Self>, agent: &str, body: B) -> Result<Collected, No>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        let mut share = Share::new(&self.held, agent);
        if body.size_hint().lower() > BODY_MAX as u64 {
            return Err(No::TooLarge);
        }
        let (mut body, mut bytes) = (body, Vec::new());
        let until = Instant::now() + BODY_WITHIN;
        loop {
            let frame = match timeout_at(until, body.frame()).await {
                Err(_) => return Err(No::Body(format!("it took more than {BODY_WITHIN:?}"))),
                Ok(None) => break,
                Ok(Some(Err(e))) => return Err(No::Body(e.to_string())),
                Ok(Some(Ok(frame))) => frame,
            };
            // Trailers are not shown, so they do not go on either.
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > BODY_MAX {
                return Err(No::TooLarge);
            }
            if !share.more(data.len(), HELD_MAX, ALL_HELD_MAX) {
                return Err(No::Busy);
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Collected { bytes: bytes.into(), _share: share })
    }

    /// Lets a request through that somebody approves, holding it meanwhile. Dropped, it waits for a retry.
    pub async fn hold(self: &Arc<Self>, asked: Asked) -> Result<(), No> {
        let mut changed = self.changed.subscribe();
        let end = Instant::now() + HOLD;
        let me = Arc::clone(self);
        let id = match blocking(move || me.ask(&asked)).await? {
            Ok(()) => return Ok(()),
            Err(id) => id,
        };
        let mut waits = Share::new(&self.waiting, &id);
        waits.more(1, usize::MAX, usize::MAX);
        let waits = Arc::new(waits);
        loop {
            let (me, its, here) = (Arc::clone(self), id.clone(), Arc::downgrade(&waits));
            let take = move || match here.upgrade() {
                // ● A yes is used up by this, and not by who hung up before its turn came.
                Some(_waits) => lock(&me.book).take(&its, (me.clock)()),
                None => Ok(false),
            };
            if blocking(take).await? {
                return Ok(());
            }
            match timeout_at(end, changed.changed()).await {
                Ok(Ok(())) => {}
                // The sender lives as long as `self`.
                Ok(Err(_)) | Err(_) => return Err(No::Pending(id)),
            }
        }
    }

    /// ● Finds the row of a request or makes one. Inner error: the row to wait for. Blocks.
    fn ask(&self, asked: &Asked) -> Result<Result<(), String>, No> {
        let now = (self.clock)();
        let (print, endpoint) = (self.fingerprint(asked), self.endpoint(asked));
        let book = lock(&self.book);
        for id in book.expire(now)? {
            self.bus.remove(&id);
        }
        if let Some(endpoint) = &endpoint
            && book.is_granted(endpoint, now)?
        {
            return Ok(Ok(()));
        }
        if let Some((id, waits)) = book.find(&print, now)? {
            if waits {
                book.count(&id)?;
            }
            return Ok(Err(id));
        }
        if book.open_of(&asked.agent)? >= OPEN_MAX {
            return Err(No::Busy);
        }
        let (id, until_ms) = (format!("hr-{}", hex(&random::<16>()?)), now + DECIDE_WITHIN_MS);
        let mut event = card::event(&id, asked, until_ms);
        event[PLACE] = asked.place.as_str().into();
        event[REQUEST] = asked.request.as_ref().map(card::request).into();
        let text = event.to_string();
        book.insert(&Row {
            id: id.clone(),
            print,
            endpoint,
            agent: asked.agent.clone(),
            place: asked.place.clone(),
            first_use: asked.request.is_none(),
            event: self.seal(&id, text.as_bytes())?,
            created_ms: now,
            until_ms,
        })?;
        drop(book);
        self.bus.put(&id, event, Some(until_ms));
        Ok(Err(id))
    }

    /// ● Somebody decided; the first decision counts. Blocks.
    pub fn decide(&self, d: &Decision) -> Result<Decided, VaultError> {
        if !["approve", "endpoint", "reject", "reject:block"].contains(&d.answer.as_str()) {
            return Err(VaultError::Refused(format!("{:?} is no answer", d.answer)));
        }
        let now = (self.clock)();
        let counts = lock(&self.book).decide(d, now, now + DECIDE_WITHIN_MS);
        if !counts.map_err(book::failed)? {
            return Ok(Decided::Before);
        }
        self.look_again();
        self.bus.remove(&d.id);
        let waiting = lock(&self.waiting).contains_key(&d.id);
        self.changed.send_replace(());
        Ok(Decided::Now { waiting })
    }

    /// What the owner said of this agent and `host:port`, if anything. Blocks for one short query, if it is the
    /// first.
    pub fn remembered(&self, agent: &str, place: &str) -> Option<bool> {
        let key = (agent.to_owned(), place.to_owned());
        if let Some(known) = lock(&self.known).get(&key) {
            return *known;
        }
        match lock(&self.book).remembered(agent, place) {
            Ok(found) => {
                let mut known = lock(&self.known);
                if known.len() >= KNOWN_MAX {
                    known.clear();
                }
                known.insert(key, found);
                found
            }
            Err(e) => {
                tracing::error!("what was remembered cannot be read: {e}");
                None
            }
        }
    }

    /// Another process may have changed what is remembered.
    pub fn look_again(&self) {
        lock(&self.known).clear();
    }

    /// What became of an agent's request, for that agent. Blocks.
    pub(crate) fn told_of(&self, id: &str, agent: &str) -> Result<Option<Value>, No> {
        let found = lock(&self.book).state(id, agent)?;
        let told = |(state, until_ms, requests): (String, i64, i64)| {
            let over = matches!(&*state, "pending" | "approved") && until_ms <= (self.clock)();
            let state = if over { "expired" } else { &state };
            json!({ "id": id, "state": state, "until": until_ms, "requests": requests })
        };
        Ok(found.map(told))
    }

    /// Covers everything that makes a request the same one.
    fn fingerprint(&self, asked: &Asked) -> [u8; 32] {
        let mut parts: Vec<Vec<u8>> = vec![asked.agent.clone().into(), asked.place.clone().into()];
        if let Some(r) = &asked.request {
            parts.push(r.epoch.to_be_bytes().into());
            parts.push(asked.rule.clone().unwrap_or_default().into());
            for (name, epoch) in &r.secrets {
                parts.push(name.clone().into());
                parts.push(epoch.to_be_bytes().into());
            }
            parts.push(r.secrets.len().to_be_bytes().into());
            for text in [&r.method, &r.scheme, &r.path] {
                parts.push(text.clone().into());
            }
            for text in [&r.query, &r.content_type] {
                parts.push(vec![u8::from(text.is_some())]);
                parts.push(text.clone().unwrap_or_default().into());
            }
            parts.push(Sha256::digest(&r.body).to_vec());
        }
        self.mac(b"request", parts.iter().map(Vec::as_slice))
    }

    /// What a yes for a while covers: whatever the body and the query.
    fn endpoint(&self, asked: &Asked) -> Option<[u8; 32]> {
        let r = asked.request.as_ref()?;
        let epoch = r.epoch.to_be_bytes();
        let texts =
            [&asked.agent, &asked.place, &r.method, &r.scheme, &r.path].map(String::as_bytes);
        Some(self.mac(b"endpoint", texts.into_iter().chain([&epoch[..]])))
    }

    fn mac<'a>(&self, what: &'a [u8], parts: impl Iterator<Item = &'a [u8]>) -> [u8; 32] {
        let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.key));
        for part in std::iter::once(what).chain(parts) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        let mut out = [0; 32];
        out.copy_from_slice(mac.sign().as_ref());
        out
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.mac(b"seal", std::iter::empty()).into())
    }

    fn seal(&self, id: &str, text: &[u8]) -> Result<Vec<u8>, No> {
        let nonce = random::<24>()?;
        let payload = Payload { msg: text, aad: id.as_bytes() };
        let sealed = self.cipher().encrypt(XNonce::from_slice(&nonce), payload);
        let sealed = sealed.map_err(|e| No::Broken(e.to_string()))?;
        Ok([&nonce[..], &sealed].concat())
    }

    fn unseal(&self, id: &str, sealed: &[u8]) -> Option<Value> {
        let (nonce, rest) = sealed.split_at_checked(24)?;
        let payload = Payload { msg: rest, aad: id.as_bytes() };
        let text = self.cipher().decrypt(XNonce::from_slice(nonce), payload).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

impl From<rusqlite::Error> for No {
    fn from(e: rusqlite::Error) -> Self {
        Self::Broken(e.to_string())
    }
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, No> + Send + 'static,
) -> Result<T, No> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(No::Broken("the vault is stopping".into())),
    }
}

fn random<const N: usize>() -> Result<[u8; N], No> {
    let mut bytes = [0; N];
    let filled = rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes);
    filled.map_err(|_| No::Broken("there is no randomness".into()))?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests;
