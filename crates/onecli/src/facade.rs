//! This vault, spoken to as if it were OneCLI 1.23: REST and gateway on one port of the loopback.
//!
//! ```text
//! connection ─▶ head ─┬▶ CONNECT, http://…  ─ agent's token ─▶ gateway: a session's own socket
//!                     └▶ /api/… or /v1/…    ─ Bearer oc_…   ─▶ agents, secrets, approvals
//! ```
//!
//! Stricter than the original where that matters: a bearer token always, agents' tokens are told to nobody but in
//! their own configuration, a CONNECT without one is refused, and a new agent may use what is granted to it and no
//! more. Read next: [`agents`], [`approvals`].

pub(crate) mod agents;
pub(crate) mod approvals;
mod gateway;
mod secrets;

use agents::{Agent, Agents};
use approvals::Desk;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use nanoclaw_secrets::{SecretsError, Store};
use nanoclaw_vault::outside::{Handle, Outside};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io::Cursor;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

const CONNECTIONS_MAX: usize = 256;
const HEAD_MAX: usize = 32 << 10;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const BODY_MAX: usize = 64 << 10;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Where the sealed records of the facade are.
const TABLE: &str = "onecli";
const TOKEN: &str = "api";
const CA_IN_BOX: &str = "/tmp/onecli-gateway-ca.pem";
const SKILL: &str = "# Gateway\n\nWhat leaves here goes through a proxy that puts credentials in. Use plain requests with a \
                     placeholder; a 403 says in JSON what was not allowed and why. Some requests wait for a person.\n";

/// Opens the port when the vault is open.
pub struct Door {
    port: u16,
    run: PathBuf,
}

impl Door {
    /// On this port of the loopback, for the vault of this data directory.
    pub fn new(port: u16, data: &Path) -> Self {
        Self { port, run: data.join("run") }
    }
}

impl Outside for Door {
    fn begin(self: Arc<Self>, vault: Handle) {
        tokio::spawn(async move {
            let at = (Ipv4Addr::LOCALHOST, self.port);
            let opened = async {
                let listener = TcpListener::bind(at).await.map_err(|e| e.to_string())?;
                let (vault, run, port) = (vault.clone(), self.run.clone(), self.port);
                let facade = move || Facade::open(vault, run, port).map_err(|f| f.1);
                let facade =
                    tokio::task::spawn_blocking(facade).await.map_err(|e| e.to_string())?;
                Ok::<_, String>((listener, facade?))
            };
            match opened.await {
                Ok((listener, facade)) => serve(Arc::new(facade), listener).await,
                Err(e) => {
                    let text = format!("OneCLI's REST is not answered on port {}: {e}", self.port);
                    vault.bus().owner("onecli port", &text);
                    tracing::error!("{text}");
                }
            }
        });
    }
}

/// Makes a new bearer token; what was valid before is not any more. The token is told this once.
pub fn new_token(store: &Store) -> Result<String, String> {
    let token = format!("oc_{}", crate::hex(&crate::random::<32>()?));
    let digest = digest(&token);
    store.set_record(TABLE, TOKEN, Some(digest.as_ref())).map_err(|e| e.to_string())?;
    Ok(token)
}

fn digest(token: &str) -> ring::digest::Digest {
    ring::digest::digest(&ring::digest::SHA256, token.as_bytes())
}

/// Why not: a status and a text.
pub(crate) struct No(u16, String);

impl No {
    fn bad(text: impl Into<String>) -> Self {
        Self(400, text.into())
    }

    fn missing(what: &str) -> Self {
        Self(404, format!("{what} not found"))
    }
}

impl From<SecretsError> for No {
    fn from(e: SecretsError) -> Self {
        let status = match &e {
            SecretsError::Locked => 503,
            SecretsError::NoSuch(_) => 404,
            SecretsError::Refused(_) => 400,
            _ => 500,
        };
        Self(status, e.to_string())
    }
}

impl From<String> for No {
    fn from(text: String) -> Self {
        Self::bad(text)
    }
}

pub(crate) enum Reply {
    Json(u16, Value),
    Text(u16, &'static str, String),
}

type Answered = Result<Reply, No>;

fn ok(value: Value) -> Answered {
    Ok(Reply::Json(200, value))
}

fn done() -> Answered {
    ok(json!({ "success": true }))
}

/// One request, read.
struct Call<'a> {
    method: &'a str,
    /// After `/api/` or `/v1/`.
    path: Vec<&'a str>,
    query: &'a str,
    body: &'a [u8],
    /// It came under `/v1`.
    second: bool,
}

impl Call<'_> {
    fn json<T: DeserializeOwned>(&self) -> Result<T, No> {
        serde_json::from_slice(self.body).map_err(|e| {
            // What serde quotes may be a value.
            No::bad(format!("the body cannot be used (line {}, column {})", e.line(), e.column()))
        })
    }

    fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| unescaped(value))
    }
}

fn unescaped(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let two = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match two.filter(|_| *first == b'%').and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The vault behind the port.
pub(crate) struct Facade {
    vault: Handle,
    store: Arc<Store>,
    agents: Agents,
    desk: Desk,
    run: PathBuf,
    port: u16,
}

async fn serve(facade: Arc<Facade>, listener: TcpListener) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if running.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => drop(running.spawn(connection(Arc::clone(&facade), stream))),
                Err(e) => {
                    tracing::warn!("OneCLI's port: {e}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = running.join_next() => {}
        }
    }
}

async fn connection(facade: Arc<Facade>, mut stream: TcpStream) {
    let head = timeout(HEAD_TIMEOUT, head(&mut stream)).await;
    let Ok(Some(head)) = head else { return };
    if gateway::is_for(&head) {
        return gateway::carry(&facade, stream, &head).await;
    }
    let (read, write) = stream.into_split();
    let io = TokioIo::new(tokio::io::join(Cursor::new(head).chain(read), write));
    let service = service_fn(async |request| Ok::<_, Infallible>(facade.answer(request).await));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(90))
        .max_buf_size(HEAD_MAX);
    if let Err(e) = http.serve_connection(io, service).await {
        tracing::debug!("OneCLI's port: {e}");
    }
}

/// The first bytes, up to the end of the head.
async fn head(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::with_capacity(1024);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > HEAD_MAX || stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

impl Facade {
    fn open(vault: Handle, run: PathBuf, port: u16) -> Result<Self, No> {
        let store = vault.store();
        let agents = Agents::open(Arc::clone(&store))?;
        if store.record(TABLE, TOKEN)?.is_none() {
            tracing::warn!("nobody can use OneCLI's REST yet; run `nanoclaw vault onecli-token`");
        }
        Ok(Self { vault, store, agents, desk: Desk::default(), run, port })
    }

    async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (status, kind, text) = match self.run(request).await {
            Ok(Reply::Json(status, value)) => (status, "application/json", value.to_string()),
            Ok(Reply::Text(status, kind, text)) => (status, kind, text),
            Err(No(status, why)) => {
                (status, "application/json", json!({ "error": why }).to_string())
            }
        };
        let mut answer = Response::new(Full::new(Bytes::from(text)));
        *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        answer
    }

    async fn run(self: &Arc<Self>, request: Request<Incoming>) -> Answered {
        let (parts, body) = request.into_parts();
        let whole = parts.uri.path().to_owned();
        let (path, second) = match (whole.strip_prefix("/api/"), whole.strip_prefix("/v1/")) {
            (Some(path), _) => (path, false),
            (None, Some(path)) => (path, true),
            (None, None) => return Err(No(404, "there is only /api and /v1".into())),
        };
        let open = parts.method == "GET" && ["health", "gateway/ca"].contains(&path);
        if !open && !self.knows(parts.headers.get(AUTHORIZATION)).await {
            return Err(No(401, "Unauthorized".into()));
        }
        let read = timeout(BODY_TIMEOUT, Limited::new(body, BODY_MAX).collect()).await;
        let body = match read {
            Ok(Ok(body)) => body.to_bytes(),
            _ => return Err(No(413, "the body did not arrive, or is too large".into())),
        };
        let (method, query) =
            (parts.method.to_string(), parts.uri.query().unwrap_or_default().to_owned());
        let (me, path) = (Arc::clone(self), path.to_owned());
        if path == "approvals/pending" && method == "GET" {
            return ok(self.waiting(&query, second).await);
        }
        let work = move || {
            let path = path.split('/').collect();
            me.handle(&Call { method: &method, path, query: &query, body: &body, second })
        };
        tokio::task::spawn_blocking(work).await.map_err(|e| No(500, e.to_string()))?
    }

    async fn knows(self: &Arc<Self>, given: Option<&HeaderValue>) -> bool {
        let given = given.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let Some(given) = given.map(digest) else { return false };
        let store = Arc::clone(&self.store);
        let kept = tokio::task::spawn_blocking(move || store.record(TABLE, TOKEN)).await;
        // Digests tell nothing by the time that their comparison takes.
        matches!(kept, Ok(Ok(Some(kept))) if kept.as_slice() == given.as_ref())
    }

    /// Everything that does not wait. Blocks.
    fn handle(&self, call: &Call<'_>) -> Answered {
        match (call.method, call.path.as_slice()) {
            ("GET", ["health"]) => ok(json!({
                "status": "ok", "version": "1.23.0", "timestamp": crate::time(self.store.now()),
            })),
            ("GET", ["gateway", "ca"]) => {
                Ok(Reply::Text(200, "application/x-pem-file", self.ca()?))
            }
            ("GET", ["gateway-url"]) => ok(json!({ "url": self.url("") })),
            ("GET", ["container-config"]) => self.container(call),
            ("GET", ["skill", "gateway"]) => Ok(Reply::Text(200, "text/markdown", SKILL.into())),
            ("GET", ["user"] | ["auth", "session"]) => {
                ok(json!({ "id": "local", "name": "Owner" }))
            }
            ("GET", ["counts"]) => {
                let (agents, secrets) = (self.agents.all()?.len(), self.usable()?.len());
                ok(json!({ "agents": agents, "secrets": secrets, "apps": 0 }))
            }
            ("POST", ["approvals", id, "decision"]) => self.decide(call, id),
            (_, ["agents", ..]) => self.agent_call(call),
            (_, ["secrets", ..]) => self.secret_call(call),
            (_, ["rules", ..]) => Err(No(
                501,
                "rules are in data/vault/policy.toml here; \
                see: nanoclaw vault policy path"
                    .into(),
            )),
            _ => Err(No(404, "there is no such call here".into())),
        }
    }

    fn ca(&self) -> Result<String, No> {
        std::fs::read_to_string(self.vault.ca()).map_err(|e| No(503, format!("no CA yet: {e}")))
    }

    /// The proxy's address, with who uses it.
    fn url(&self, user: &str) -> String {
        format!("http://{user}127.0.0.1:{}", self.port)
    }

    /// What a container of an agent is told.
    fn container(&self, call: &Call<'_>) -> Answered {
        let unknown = || No(404, "Agent with the given identifier not found.".into());
        let agent = match call.parameter("agent") {
            Some(identifier) => self.agents.find(|a| a.identifier == identifier)?,
            None => self.agents.find(|a| a.is_default)?,
        };
        let agent = agent.ok_or_else(unknown)?;
        let proxy = self.url(&format!("x:{}@", self.agents.token(&agent)?));
        let names = ["HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"];
        let mut env: Vec<(&str, &str)> = names.map(|name| (name, proxy.as_str())).into();
        env.extend([("NODE_EXTRA_CA_CERTS", CA_IN_BOX), ("NODE_USE_ENV_PROXY", "1")]);
        env.extend([("GIT_TERMINAL_PROMPT", "0"), ("GIT_HTTP_PROXY_AUTHMETHOD", "basic")]);
        if call.second {
            let names = ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO"];
            env.extend(names.map(|name| (name, CA_IN_BOX)));
        }
        env.extend(self.placeholders(&agent)?.into_iter().map(|name| (name, "placeholder")));
        let env: serde_json::Map<_, _> =
            env.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let mut config = json!({ "env": env, "caCertificate": self.ca()?, "caCertificateContainerPath": CA_IN_BOX });
        if call.second {
            config["credentialStubs"] = json!([]);
            config["warnings"] = json!([]);
        }
        ok(config)
    }

    /// A session of its own for each agent.
    pub(crate) fn place(&self, agent: &Agent) -> PathBuf {
        let name: String = agent.id.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
        self.run.join("s").join(format!("x{name}"))
    }
}

#[cfg(test)]
mod tests;
