//! A OneCLI that a test plays, of either generation, strict about what it is asked: whatever the real one would not
//! take is answered as the real one answers it, and noted.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io::Cursor;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) const KEY: &str = "oc_the-key-of-the-owner";
const TOKEN: &str = "aoc_the-token-of-the-agent";
const BASIC: &str = "Basic eDphb2NfdGhlLXRva2VuLW9mLXRoZS1hZ2VudA==";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Plays {
    First,
    Second,
    /// The second one's web page, where a 1.x had its REST.
    WebPage,
}

#[derive(Default)]
struct Stage {
    agents: Vec<String>,
    log: Vec<String>,
    pending: Vec<Value>,
    decided: Vec<(String, String)>,
}

pub(crate) struct Peer {
    pub(crate) url: String,
    plays: Plays,
    gateway: u16,
    stage: Mutex<Stage>,
    changed: watch::Sender<()>,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Peer {
    pub(crate) async fn start(plays: Plays) -> Arc<Self> {
        let rest = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let peer = Arc::new(Self {
            url: format!("http://127.0.0.1:{}", rest.local_addr().unwrap().port()),
            plays,
            gateway: gateway.local_addr().unwrap().port(),
            stage: Mutex::default(),
            changed: watch::Sender::new(()),
            ca,
        });
        for listener in [rest, gateway] {
            let peer = Arc::clone(&peer);
            tokio::spawn(async move {
                loop {
                    let (tcp, _) = listener.accept().await.unwrap();
                    tokio::spawn(Arc::clone(&peer).connection(tcp));
                }
            });
        }
        peer
    }

    pub(crate) fn settings(&self) -> String {
        format!("NANOCLAW_VAULT=onecli\nONECLI_URL={}\nONECLI_API_KEY={KEY}\n", self.url)
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.stage.lock().unwrap().log.clone()
    }

    /// A request begins to wait for a person.
    pub(crate) fn asks(&self, id: &str, agent: &str) {
        let later = jiff::Timestamp::now()
            + Duration::from_secs(if self.plays == Plays::First { 300 } else { 180 });
        let mut request = json!({"id": id, "method": "POST", "url": "https://api.test:443/v1/x?token=12345678&a=b",
            "host": "api.test:443", "path": "/v1/x?token=12345678&a=b", "headers": {"cookie": "a=b"},
            "bodyPreview": "one\u{202e}two", "agent": {"id": "u", "name": "n", "externalId": agent},
            "createdAt": jiff::Timestamp::now().to_string(), "expiresAt": later.to_string()});
        if self.plays == Plays::Second {
            request["summary"] = json!({"action": "x", "details": []});
            request["workspaceId"] = json!("w");
        }
        self.stage.lock().unwrap().pending.push(request);
        self.changed.send_replace(());
    }

    pub(crate) fn decided(&self) -> Vec<(String, String)> {
        self.stage.lock().unwrap().decided.clone()
    }

    fn note(&self, line: String) {
        self.stage.lock().unwrap().log.push(line);
        self.changed.send_replace(());
    }

    /// Waits until a line with this text was noted.
    pub(crate) async fn noted(&self, text: &str) {
        let mut changed = self.changed.subscribe();
        while !self.log().iter().any(|line| line.contains(text)) {
            crate::kit::soon(changed.changed()).await.unwrap();
        }
    }

    async fn connection(self: Arc<Self>, mut tcp: TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && !head.windows(4).any(|w| w == b"\r\n\r\n") {
            if tcp.read_buf(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        if !text.starts_with("CONNECT ") {
            let (read, write) = tcp.into_split();
            return self.serve(tokio::io::join(Cursor::new(head).chain(read), write), None).await;
        }
        let to = text.split(' ').nth(1).unwrap().to_owned();
        self.note(format!("CONNECT {to}"));
        let shown = text
            .to_ascii_lowercase()
            .contains(&format!("proxy-authorization: {}\r\n", BASIC.to_ascii_lowercase()));
        if !shown {
            drop(tcp.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await);
            return;
        }
        tcp.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
        let host = to.split(':').next().unwrap().to_owned();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![host]).unwrap().signed_by(&key, &self.ca).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        let Ok(tls) = tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(tcp).await else {
            return;
        };
        self.serve(tls, Some(to)).await;
    }

    async fn serve(
        self: Arc<Self>,
        io: impl AsyncRead + AsyncWrite + Unpin,
        inside: Option<String>,
    ) {
        let service = service_fn(|request| {
            let (me, inside) = (Arc::clone(&self), inside.clone());
            async move { Ok::<_, Infallible>(me.answer(request, inside).await) }
        });
        // Who asks may end at any time.
        drop(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(io), service)
                .await,
        );
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        inside: Option<String>,
    ) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let body =
            body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let header = |name: &str| {
            parts.headers.get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        if inside.is_some() || parts.uri.scheme_str() == Some("http") {
            // As an upstream would see it: what the gateway puts in stands for the secret.
            let who = header("proxy-authorization") == BASIC;
            let told = format!(
                "{} {} key={} pass={who} {}",
                parts.method,
                parts.uri,
                header("x-api-key"),
                String::from_utf8_lossy(&body)
            );
            self.note(format!("request {told}"));
            return reply(200, "text/plain", told);
        }
        let path = parts.uri.path().to_owned();
        let shown = header("authorization") == format!("Bearer {KEY}");
        self.note(format!("{} {} {}", parts.method, parts.uri, String::from_utf8_lossy(&body)));
        let (status, value) =
            match (self.plays, path.strip_prefix("/api/"), path.strip_prefix("/v1/")) {
                (Plays::WebPage, ..) => return reply(404, "text/html", "<html>".into()),
                (_, Some("health"), _) | (_, _, Some("health")) => {
                    (200, json!({"status": "ok", "version": "unknown"}))
                }
                _ if !shown => (401, json!({"error": "Unauthorized"})),
                (Plays::First, Some(call), _) => {
                    self.call(parts.method.as_str(), call, &body, parts.uri.query()).await
                }
                (Plays::First, None, _) => return reply(404, "text/html", "<html>".into()),
                // The second generation serves the old prefix as well.
                (Plays::Second, Some(call), _) | (Plays::Second, _, Some(call)) => {
                    let gone = call == "rules"
                        || call.ends_with("/secret-mode")
                        || call == "agents/default";
                    match gone {
                        true => (410, json!({"error": "gone"})),
                        false => {
                            self.call(parts.method.as_str(), call, &body, parts.uri.query()).await
                        }
                    }
                }
                (Plays::Second, None, None) => (404, json!({"error": "not found"})),
            };
        reply(status, "application/json", value.to_string())
    }

    async fn call(
        &self,
        method: &str,
        call: &str,
        body: &[u8],
        query: Option<&str>,
    ) -> (u16, Value) {
        let said: Value = serde_json::from_slice(body).unwrap_or_default();
        match (method, call.split('/').collect::<Vec<_>>().as_slice()) {
            ("GET", ["rules"]) => (200, json!([])),
            ("POST", ["agents"]) => {
                let identifier = said["identifier"].as_str().unwrap_or_default().to_owned();
                let fits = identifier.starts_with(|c: char| c.is_ascii_lowercase())
                    && identifier.len() <= 50
                    && identifier
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
                let mut stage = self.stage.lock().unwrap();
                if !fits || said["name"].as_str().is_none_or(str::is_empty) {
                    return (400, json!({"error": "Identifier must be 1-50 characters"}));
                }
                if stage.agents.contains(&identifier) {
                    return (409, json!({"error": "An agent with this identifier already exists"}));
                }
                stage.agents.push(identifier.clone());
                (
                    201,
                    json!({"id": "475b1fb8-0000-4000-8000-000000000000", "name": said["name"], "identifier": identifier}),
                )
            }
            ("PATCH", ["agents", _, "secret-mode"]) => (200, json!({"success": true})),
            // Both are what they call themselves for a container.
            ("GET", ["gateway-url"]) => {
                let host =
                    if self.plays == Plays::First { "0.0.0.0" } else { "host.docker.internal" };
                (200, json!({"url": format!("http://{host}:{}", self.gateway)}))
            }
            ("GET", ["container-config"]) => {
                let asked = query.and_then(|q| q.strip_prefix("agent=")).unwrap_or_default();
                if !self.stage.lock().unwrap().agents.iter().any(|a| a == asked) {
                    return (404, json!({"error": "Agent with the given identifier not found."}));
                }
                let proxy = format!("http://x:{TOKEN}@host.docker.internal:{}", self.gateway);
                let ca = "/tmp/onecli-gateway-ca.pem";
                let mut config = json!({"env": {"HTTPS_PROXY": proxy, "HTTP_PROXY": proxy, "https_proxy": proxy, "http_proxy": proxy,
                    "NODE_EXTRA_CA_CERTS": ca, "NODE_USE_ENV_PROXY": "1", "LD_PRELOAD": "/x.so", "ANTHROPIC_API_KEY": "placeholder"},
                    "caCertificate": self.ca.pem(), "caCertificateContainerPath": ca});
                if self.plays == Plays::Second {
                    config["credentialStubs"] = json!([{"containerPath": "/x", "content": "y"}]);
                    config["warnings"] = json!(["w"]);
                }
                (200, config)
            }
            ("GET", ["approvals", "pending"]) => self.wait(query.unwrap_or_default()).await,
            ("POST", ["approvals", id, "decision"]) => {
                let mut stage = self.stage.lock().unwrap();
                let at = stage.pending.iter().position(|one| one["id"] == *id);
                let answer = said["decision"].as_str().unwrap_or_default().to_owned();
                match (at, answer.as_str()) {
                    _ if id.starts_with("late") => (410, json!({"error": "approval_expired"})),
                    (None, _) => (404, json!({"error": "approval_not_found"})),
                    (Some(at), "approve" | "deny") => {
                        stage.pending.remove(at);
                        stage.decided.push(((*id).to_owned(), answer));
                        (200, json!({"success": true}))
                    }
                    (Some(_), _) => (422, json!("bad value")),
                }
            }
            _ => (404, json!({"error": "there is no such call"})),
        }
    }

    async fn wait(&self, query: &str) -> (u16, Value) {
        let exclude: Vec<String> = query
            .strip_prefix("exclude=")
            .unwrap_or_default()
            .split(',')
            .map(str::to_owned)
            .collect();
        let mut changed = self.changed.subscribe();
        let end = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let pending = self.stage.lock().unwrap().pending.clone();
            let new: Vec<Value> = pending
                .into_iter()
                .filter(|one| !exclude.iter().any(|id| one["id"] == *id))
                .collect();
            if !new.is_empty() || tokio::time::timeout_at(end, changed.changed()).await.is_err() {
                return (200, json!({"requests": new, "timeoutSeconds": 300}));
            }
        }
    }
}

fn reply(status: u16, kind: &str, text: String) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header("content-type", kind)
        .body(Full::new(text.into()))
        .unwrap()
}
