//! An external OneCLI instead of this vault's own secrets.
//!
//! ```text
//! a session opens ─▶ agent ensured ─▶ its configuration ─▶ placeholders for the box, token and CA for the chain
//! box ─▶ this vault: judged, address checked ─▶ CONNECT at the gateway with the agent's token ─▶ OneCLI ─▶ world
//! gateway ─ long poll ─▶ what waits ─▶ the vault's bus ─▶ cards ─▶ decision ─▶ gateway
//! ```
//!
//! The token never enters a box. Without an answer of OneCLI no session opens, so no box starts without its
//! credentials. Read next: [`api`] for the two generations.

pub(crate) mod api;
pub(crate) mod http;

use api::{Api, Config, Waiting};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Http, Url};
use hyper::header::HeaderValue;
use nanoclaw_policy::{AgentNames, Authority};
use nanoclaw_secrets::Value;
use nanoclaw_vault::approvals::{Decided, masked, shown};
use nanoclaw_vault::outside::{Chain, Handle, Later, Outside, Stream, Way};
use nanoclaw_vault::{Decision, VaultError};
use serde_json::json;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

/// Less than the host's patience with the vault.
const OPEN_WITHIN: Duration = Duration::from_secs(4);
/// How long to wait before OneCLI is asked again after an error.
const AGAIN: Duration = Duration::from_secs(5);
/// How long a request of an agent that is not known here is left to others.
const OTHERS_MS: i64 = 5_000;
const TOLD_MAX: usize = 256;
const HEAD_MAX: usize = 16 << 10;
const PREVIEW_CHARS: usize = 1200;
const LINE_CHARS: usize = 300;
/// Ids of requests that OneCLI asks about.
const MARK: &str = "oc-";

/// One OneCLI.
pub struct Client {
    base: Url,
    gateway: Option<Url>,
    http: Arc<Http>,
    found: tokio::sync::Mutex<Option<Arc<Found>>>,
    agents: Mutex<BTreeMap<String, Known>>,
}

/// Which generation answers, and where its gateway is.
struct Found {
    api: Api,
    gateway: Url,
}

/// An agent with a session.
struct Known {
    agent: String,
    line: Arc<Line>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    /// Of the REST at `url`; connects when it is first asked.
    pub fn new(url: &str, gateway: Option<&str>, key: Option<Value>) -> Result<Self, String> {
        let gateway = gateway.map(Url::parse).transpose()?;
        let (base, http) = (Url::parse(url)?, Arc::new(Http::new(key)?));
        let (found, agents) = (tokio::sync::Mutex::default(), Mutex::default());
        Ok(Self { base, gateway, http, found, agents })
    }

    /// The OneCLI, once it answered.
    async fn found(&self) -> Result<Arc<Found>, String> {
        let mut found = self.found.lock().await;
        if let Some(found) = &*found {
            return Ok(Arc::clone(found));
        }
        let api = Api::find(Arc::clone(&self.http), self.base.clone()).await?;
        let gateway = match &self.gateway {
            Some(gateway) => Some(gateway.clone()),
            None => api.gateway().await?,
        };
        let gateway =
            gateway.ok_or("OneCLI does not say where its gateway is; set ONECLI_GATEWAY_URL")?;
        tracing::info!(generation = ?api.generation(), "OneCLI answers");
        Ok(Arc::clone(found.insert(Arc::new(Found { api, gateway }))))
    }

    /// ● Makes sure of the agent there and takes its configuration of now.
    async fn enter(&self, agent: &AgentNames) -> Result<Way, String> {
        let found = self.found().await?;
        let identifier = api::identifier(&agent.id);
        found.api.ensure(&agent.folder, &identifier).await?;
        let config = found.api.config(&identifier).await?;
        let env = placeholders(&config);
        let pass = Pass::new(&found.gateway, &config)?;
        let mut agents = lock(&self.agents);
        let line = match agents.get(&identifier) {
            Some(known) => Arc::clone(&known.line),
            None => Arc::new(Line(Mutex::new(None))),
        };
        *lock(&line.0) = Some(Arc::new(pass));
        agents.insert(identifier, Known { agent: agent.id.clone(), line: Arc::clone(&line) });
        Ok(Way { env, chain: line })
    }

    /// The agent of this install that OneCLI means.
    fn agent_of(&self, waiting: &Waiting) -> Option<String> {
        let identifier = waiting.agent.external_id.as_ref()?;
        Some(lock(&self.agents).get(identifier)?.agent.clone())
    }

    async fn watch(self: Arc<Self>, vault: Handle) {
        let mut told = BTreeMap::new();
        loop {
            match self.poll(&vault, &mut told).await {
                Ok(()) => vault.bus().remove("owner onecli"),
                Err(e) => {
                    // It may be another version when it is back.
                    *self.found.lock().await = None;
                    tracing::warn!("OneCLI's approvals: {e}");
                    vault.bus().owner("onecli", &format!("OneCLI cannot be used: {e}"));
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// One poll: everything that is new becomes a card.
    async fn poll(&self, vault: &Handle, told: &mut BTreeMap<String, i64>) -> Result<(), String> {
        let found = self.found().await?;
        let now = now_ms();
        told.retain(|_, until| *until > now);
        let exclude = told.keys().map(String::as_str).collect::<Vec<_>>().join(",");
        for waiting in found.api.waiting(&found.gateway, &exclude).await? {
            let Ok(id) = api::plain(&waiting.id) else { continue };
            let until = waiting.expires_at.as_millisecond();
            let agent = self.agent_of(&waiting);
            let session = agent.as_ref().and_then(|agent| vault.session_of(agent));
            let (Some(agent), Some(session)) = (agent, session) else {
                told.insert(id.to_owned(), now_ms() + OTHERS_MS);
                continue;
            };
            if told.len() >= TOLD_MAX {
                return Err("too many requests wait for people".into());
            }
            let event = event(&waiting, &agent, &session, until);
            vault.bus().put(&format!("{MARK}{id}"), event, Some(until));
            told.insert(id.to_owned(), until);
        }
        Ok(())
    }
}

impl Outside for Client {
    fn begin(self: Arc<Self>, vault: Handle) {
        tokio::spawn(self.watch(vault));
    }

    fn has_secrets(&self) -> bool {
        true
    }

    fn way(self: Arc<Self>, agent: AgentNames) -> Later<Result<Option<Way>, VaultError>> {
        Box::pin(async move {
            let entered = tokio::time::timeout(OPEN_WITHIN, self.enter(&agent)).await;
            let entered = entered.unwrap_or_else(|_| Err("it takes too long".into()));
            let said = |e| VaultError::Refused(format!("OneCLI gives no way out: {e}"));
            entered.map(Some).map_err(said)
        })
    }

    fn decide(
        self: Arc<Self>,
        vault: Handle,
        decision: &Decision,
    ) -> Option<Later<Result<Decided, VaultError>>> {
        let id = decision.id.strip_prefix(MARK)?.to_owned();
        let yes = decision.answer == "approve";
        Some(Box::pin(async move {
            api::plain(&id).map_err(VaultError::Refused)?;
            let failed = VaultError::Unavailable;
            let found = self.found().await.map_err(failed)?;
            let counts = found.api.decide(&found.gateway, &id, yes).await.map_err(failed)?;
            vault.bus().remove(&format!("{MARK}{id}"));
            Ok(if counts { Decided::Now { waiting: true } } else { Decided::Before })
        }))
    }
}

fn now_ms() -> i64 {
    nanoclaw_vault::approvals::system_clock()()
}

/// What the host makes a card of. All of it comes from the agent.
fn event(w: &Waiting, agent: &str, session: &str, until: i64) -> serde_json::Value {
    let (path, query) = w.path.split_once('?').map_or((&*w.path, None), |(p, q)| (p, Some(q)));
    let query = query.map(masked).unwrap_or_default();
    let (method, host) = (shown(&w.method, 40), shown(&w.host, LINE_CHARS));
    let mut lines =
        vec![format!("{method} {host}{}{}", shown(path, LINE_CHARS), shown(&query, LINE_CHARS))];
    lines.push("asked by OneCLI; of the body it shows the beginning".to_owned());
    lines.extend(w.body_preview.as_deref().map(|body| format!("  {}", shown(body, PREVIEW_CHARS))));
    let option = |value: &str, label: &str, said: &str| json!({"value": value, "label": label, "selectedLabel": said});
    json!({
        "event": "asked", "id": format!("{MARK}{}", w.id), "session": session, "agent": agent,
        "title": format!("{method} to {host}"), "lines": lines, "until": until, "place": host,
        "options": [option("approve", "Once", "✅ Approved once"), option("reject", "Deny", "❌ Denied")],
    })
}

/// The variables that make a harness speak to a model. What else OneCLI tells is for boxes with a network.
fn placeholders(config: &Config) -> BTreeMap<String, String> {
    if !config.credential_stubs.is_empty() || !config.warnings.is_empty() {
        tracing::warn!(
            stubs = config.credential_stubs.len(),
            warnings = config.warnings.len(),
            "OneCLI has files or warnings for this agent; they are not carried into boxes"
        );
    }
    let fits = |name: &str, value: &str| {
        let word = name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        word && (name.ends_with("_KEY") || name.ends_with("_TOKEN"))
            && value.len() <= 256
            && value.bytes().all(|b| b.is_ascii_graphic())
            && !value.contains("aoc_")
    };
    let found = config.env.iter().filter(|(name, value)| fits(name, value));
    found.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// What opens the gateway for one agent.
struct Pass {
    gateway: Url,
    /// `Basic …`
    shown: Zeroizing<String>,
    to_gateway: TlsConnector,
    inside: TlsConnector,
}

impl Pass {
    fn new(gateway: &Url, config: &Config) -> Result<Self, String> {
        let proxy = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY"]
            .iter()
            .find_map(|name| config.env.get(*name));
        let user = proxy.and_then(|url| url.split_once("://")?.1.rsplit_once('@'));
        let user = user.ok_or("OneCLI's configuration has no proxy with a token")?.0;
        let shown = Zeroizing::new(format!("Basic {}", STANDARD.encode(user)));
        let (to_gateway, inside) = (http::tls(None)?, http::tls(Some(&config.ca_certificate))?);
        Ok(Self { gateway: gateway.clone(), shown, to_gateway, inside })
    }

    async fn connect(&self, to: &Authority, tls: bool) -> io::Result<Box<dyn Stream>> {
        let mut stream = self.gateway.connect(&self.to_gateway).await.map_err(io::Error::other)?;
        if !tls {
            return Ok(stream);
        }
        let at = to.to_string();
        let ask = Zeroizing::new(format!(
            "CONNECT {at} HTTP/1.1\r\nhost: {at}\r\nproxy-authorization: {}\r\n\r\n",
            &*self.shown
        ));
        stream.write_all(ask.as_bytes()).await?;
        let status = status(&mut stream).await?;
        if status != 200 {
            return Err(io::Error::other(format!("OneCLI's gateway refuses it with {status}")));
        }
        let name = http::server_name(&to.host).map_err(io::Error::other)?;
        Ok(Box::new(self.inside.connect(name, stream).await?))
    }
}

/// Reads the head of the gateway's answer, and not one byte of what comes after it.
async fn status(stream: &mut Box<dyn Stream>) -> io::Result<u16> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_MAX {
            return Err(io::Error::other("OneCLI's gateway answers with too long a head"));
        }
        head.push(stream.read_u8().await?);
    }
    let word = head.split(|b| *b == b' ').nth(1).and_then(|word| std::str::from_utf8(word).ok());
    let status = word.and_then(|word| word.parse().ok());
    status.ok_or_else(|| io::Error::other("OneCLI's gateway answers what is no HTTP"))
}

/// The way of one agent; what opens it is renewed with every session.
struct Line(Mutex<Option<Arc<Pass>>>);

impl Line {
    fn pass(&self) -> Option<Arc<Pass>> {
        lock(&self.0).clone()
    }
}

impl Chain for Line {
    fn connect(&self, to: &Authority, tls: bool) -> Later<io::Result<Box<dyn Stream>>> {
        let (pass, to) = (self.pass(), to.clone());
        Box::pin(async move {
            let pass =
                pass.ok_or_else(|| io::Error::other("OneCLI gave nothing to open its gateway"))?;
            pass.connect(&to, tls).await
        })
    }

    fn authorization(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&self.pass()?.shown).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

#[cfg(test)]
mod tests;
