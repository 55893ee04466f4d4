//! The Internet of these tests: one TLS server under several names, which keeps what it was asked.

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, WWW_AUTHENTICATE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::PrivateKeyDer;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::Notify;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// The certificate is for all of them but the last.
pub(super) const NAMES: [&str; 6] =
    ["api.test", "git.test", "forge.test", "packages.test", "plain.test", "wrong.test"];
pub(super) const EVENTS: usize = 20_000;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What it was asked.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) line: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    files: Mutex<BTreeMap<String, (String, Bytes)>>,
    repositories: Mutex<Option<PathBuf>>,
    /// A stream of events goes on after its first one.
    go: Notify,
    secret: String,
}

pub(super) struct Server {
    pub(super) port: u16,
    /// Its certificate.
    pub(super) roots: String,
    shared: Arc<Shared>,
}

impl Server {
    pub(super) async fn start(secret: &str) -> anyhow::Result<Self> {
        let (good, _) = NAMES.split_at(NAMES.len() - 1);
        let made = rcgen::generate_simple_self_signed(
            good.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>(),
        )?;
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared { secret: secret.to_owned(), ..Shared::default() });
        let all = shared.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, shared) = (acceptor.clone(), all.clone());
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let service = service_fn(|request| {
                        let shared = shared.clone();
                        async move { Ok::<_, Infallible>(answer(shared, request).await) }
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    let served = http.serve_connection(TokioIo::new(tls), service);
                    // Connections that end early are what some tests are about.
                    drop(served.with_upgrades().await);
                });
            }
        });
        Ok(Self { port, roots: made.cert.pem(), shared })
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }

    /// The last request whose line holds this.
    pub(super) fn asked(&self, with: &str) -> anyhow::Result<Seen> {
        let found = self.seen().into_iter().rev().find(|seen| seen.line.contains(with));
        found.with_context(|| format!("{with} was never asked: {:?}", self.lines()))
    }

    /// Answers this path with this file.
    pub(super) fn file(&self, path: &str, kind: &str, bytes: impl Into<Bytes>) {
        lock(&self.shared.files).insert(path.to_owned(), (kind.to_owned(), bytes.into()));
    }

    /// Serves the repositories in this folder below `/git/`.
    pub(super) fn repositories(&self, dir: PathBuf) {
        *lock(&self.shared.repositories) = Some(dir);
    }

    /// Lets a stream of events go on.
    pub(super) fn go(&self) {
        self.shared.go.notify_one();
    }
}

fn lock<T>(it: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

async fn answer(shared: Arc<Shared>, mut request: Request<Incoming>) -> Response<Body> {
    let upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let host = parts.headers.get("host").and_then(|h| h.to_str().ok()).unwrap_or_default();
    let name = host.split(':').next().unwrap_or_default().to_owned();
    let seen = Seen {
        line: format!("{} {name}{}", parts.method, parts.uri),
        headers: parts.headers,
        body,
    };
    lock(&shared.seen).push(seen.clone());
    let path = parts.uri.path().to_owned();
    if let Some((kind, bytes)) = lock(&shared.files).get(&path).cloned() {
        let mut answer = Response::new(full(bytes));
        if let Ok(kind) = kind.parse() {
            answer.headers_mut().insert(CONTENT_TYPE, kind);
        }
        return answer;
    }
    let query = parts.uri.query().unwrap_or_default();
    match path.split('/').nth(1) {
        Some("git") => git(&shared, &seen, (&parts.method, &path, query)).await,
        Some("events") => events(shared),
        Some("socket") => socket(shared, &seen, upgrade),
        Some("say") => {
            // With every header that came, so that it is seen what comes back of a secret.
            let said: String = seen
                .headers
                .iter()
                .map(|(name, value)| {
                    format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()))
                })
                .collect();
            Response::new(full(format!("hello from {}\n{said}", seen.line)))
        }
        _ => {
            let mut answer = Response::new(full("there is no such thing\n"));
            *answer.status_mut() = StatusCode::NOT_FOUND;
            answer
        }
    }
}

/// `git http-backend`, for who has the password.
async fn git(
    shared: &Shared,
    seen: &Seen,
    (method, path, query): (&hyper::Method, &str, &str),
) -> Response<Body> {
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("bot:{}", shared.secret));
    if seen.header(AUTHORIZATION.as_str()) != format!("Basic {pair}") {
        let mut answer = Response::new(full("who are you?\n"));
        *answer.status_mut() = StatusCode::UNAUTHORIZED;
        answer.headers_mut().insert(
            WWW_AUTHENTICATE,
            hyper::header::HeaderValue::from_static("Basic realm=\"git\""),
        );
        return answer;
    }
    let root = lock(&shared.repositories).clone().unwrap_or_default();
    match backend(root, seen, (method, path, query)).await {
        Ok(answer) => answer,
        Err(e) => {
            let mut answer = Response::new(full(format!("{e:#}\n")));
            *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            answer
        }
    }
}

async fn backend(
    root: PathBuf,
    seen: &Seen,
    (method, path, query): (&hyper::Method, &str, &str),
) -> anyhow::Result<Response<Body>> {
    let mut command = Command::new("git");
    command
        .args(["-c", "http.receivepack=true", "http-backend"])
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REMOTE_USER", "bot")
        .env("REQUEST_METHOD", method.as_str())
        .env("PATH_INFO", path.strip_prefix("/git").unwrap_or(path))
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", seen.header("content-type"))
        .env("HTTP_CONTENT_ENCODING", seen.header("content-encoding"))
        .env("GIT_PROTOCOL", seen.header("git-protocol"));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    let body = seen.body.clone();
    let feeding = tokio::spawn(async move { stdin.write_all(&body).await });
    let said = child.wait_with_output().await?.stdout;
    drop(feeding.await);
    let at = said.windows(4).position(|w| w == b"\r\n\r\n").context("git says nothing")?;
    let (head, body) = said.split_at(at + 4);
    let mut answer = Response::builder();
    for (name, value) in String::from_utf8_lossy(head).lines().filter_map(|l| l.split_once(": ")) {
        answer = match name {
            "Status" => answer.status(value.split(' ').next().unwrap_or_default()),
            _ => answer.header(name, value),
        };
    }
    Ok(answer.body(full(body.to_vec()))?)
}

/// The first event at once, the others when the test has seen that the box has it.
fn events(shared: Arc<Shared>) -> Response<Body> {
    let stream = futures_util::stream::unfold(0, move |n| {
        let shared = shared.clone();
        async move {
            if n == EVENTS {
                return None;
            }
            if n == 1 {
                shared.go.notified().await;
            }
            // The secret stands in some of them, as a careless server would do it.
            let more = if n % 1000 == 7 { shared.secret.as_str() } else { "-" };
            let event = format!("id: {n}\ndata: {{\"n\": {n}, \"is\": \"{more}\"}}\n\n");
            Some((Ok(Frame::data(Bytes::from(event))), n + 1))
        }
    });
    let mut answer = Response::new(StreamBody::new(stream).boxed_unsync());
    let kind = hyper::header::HeaderValue::from_static("text/event-stream");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// Says back what it hears, and the secret when it is asked for it.
fn socket(shared: Arc<Shared>, seen: &Seen, upgrade: hyper::upgrade::OnUpgrade) -> Response<Body> {
    let accept = derive_accept_key(seen.header("sec-websocket-key").as_bytes());
    tokio::spawn(async move {
        let Ok(io) = upgrade.await else { return };
        let mut socket =
            WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, None).await;
        while let Some(Ok(said)) = socket.next().await {
            let answer = match said.to_text() {
                Ok("the key") => shared.secret.clone().into(),
                _ if said.is_text() || said.is_binary() => said,
                _ => continue,
            };
            if socket.send(answer).await.is_err() {
                return;
            }
        }
    });
    let answer = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
    let answer = answer.header("upgrade", "websocket").header("connection", "upgrade");
    let answer = answer.header("sec-websocket-accept", accept).body(full(""));
    answer.unwrap_or_else(|_| Response::new(full("")))
}
