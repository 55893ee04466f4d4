//! A fake upstream, a vault with its supervisor, and a client that writes bytes as they are.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use nanoclaw_vault::{AgentNames, Credential, Grant, Store, Supervisor, SupervisorConfig};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::{mpsc, watch};

pub(crate) use crate::VAULT;
pub(crate) const KEY: &str = "sk-ant-api03-the-real-key";
pub(crate) const TOKEN: &str = "sk-ant-oat01-the-real-token";
const PATIENCE: Duration = Duration::from_secs(30);

/// Fails a test that would hang.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("this should have happened by now")
}

/// What the upstream got.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// What the upstream does with a request; `echo` when nothing was said.
pub(crate) enum Play {
    /// Streams what comes; its end ends the answer.
    Stream(mpsc::Receiver<Bytes>),
    /// Keeps this and answers nothing; dropped when the request is cancelled.
    Hang(mpsc::Receiver<Bytes>),
    /// Answers when this turns true.
    Hold(watch::Receiver<bool>),
    /// Streams what comes; then the connection breaks.
    Break(mpsc::Receiver<Bytes>),
}

#[derive(Default)]
struct Stage {
    plays: Mutex<VecDeque<Play>>,
    seen: Mutex<Vec<Seen>>,
    running: watch::Sender<usize>,
    peak: Mutex<usize>,
}

pub(crate) struct Upstream {
    pub(crate) url: String,
    stage: Arc<Stage>,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        Self::with(None).await
    }

    pub(crate) async fn with(tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let scheme = if tls.is_some() { "https://localhost" } else { "http://127.0.0.1" };
        let stage = Arc::new(Stage::default());
        let shared = Arc::clone(&stage);
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (tls, stage) = (tls.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    match tls {
                        None => converse(stage, tcp).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(tcp).await {
                                converse(stage, stream).await;
                            }
                        }
                    }
                });
            }
        });
        Self { url: format!("{scheme}:{port}"), stage }
    }

    pub(crate) fn plays(&self, play: Play) {
        self.stage.plays.lock().unwrap().push_back(play);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.stage.seen.lock().unwrap().clone()
    }

    pub(crate) fn last(&self) -> Seen {
        self.seen().pop().expect("a request reached the upstream")
    }

    /// Waits until this many requests are being answered at once.
    pub(crate) async fn running(&self, n: usize) {
        soon(self.stage.running.subscribe().wait_for(|now| *now == n)).await.unwrap();
    }

    pub(crate) fn peak(&self) -> usize {
        *self.stage.peak.lock().unwrap()
    }
}

async fn converse(stage: Arc<Stage>, io: impl AsyncRead + AsyncWrite + Unpin) {
    let service = service_fn(|request| play(Arc::clone(&stage), request));
    let served = hyper::server::conn::http1::Builder::new();
    // Cut connections are what some of the tests are about.
    drop(served.serve_connection(TokioIo::new(io), service).await);
}

struct Running<'a>(&'a Stage);

impl<'a> Running<'a> {
    fn new(stage: &'a Stage) -> Self {
        stage.running.send_modify(|n| *n += 1);
        let mut peak = stage.peak.lock().unwrap();
        *peak = (*peak).max(*stage.running.borrow());
        Self(stage)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.send_modify(|n| *n -= 1);
    }
}

type Answer = Response<Either<Full<Bytes>, Fed>>;

async fn play(stage: Arc<Stage>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let line = format!("{} {}", parts.method, parts.uri);
    stage.seen.lock().unwrap().push(Seen {
        line: line.clone(),
        headers: parts.headers,
        body: body.clone(),
    });
    let _running = Running::new(&stage);
    let next = stage.plays.lock().unwrap().pop_front();
    let body = match next {
        None if body.is_empty() => Either::Left(Full::new(line.into())),
        None => Either::Left(Full::new(body)),
        Some(Play::Stream(rx)) => Either::Right(Fed { rx, broken: false }),
        Some(Play::Hang(rx)) => {
            let _kept = rx;
            std::future::pending().await
        }
        Some(Play::Hold(mut go)) => {
            go.wait_for(|go| *go).await.unwrap();
            Either::Left(Full::new(body))
        }
        Some(Play::Break(rx)) => Either::Right(Fed { rx, broken: true }),
    };
    let answer = Response::builder()
        .header("request-id", "req_1")
        .header("set-cookie", "a=b")
        .header("x-named", "1")
        .header("connection", "x-named")
        .body(body);
    Ok(answer.unwrap())
}

/// An answer that a test writes piece by piece.
pub(crate) struct Fed {
    rx: mpsc::Receiver<Bytes>,
    broken: bool,
}

impl Body for Fed {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let broken = self.broken;
        self.rx.poll_recv(cx).map(|next| match next {
            Some(bytes) => Some(Ok(Frame::data(bytes))),
            None if broken => Some(Err(std::io::Error::other("broken on purpose"))),
            None => None,
        })
    }
}

/// A data directory whose path is longer than a socket address may be, and a vault that serves it.
pub(crate) struct Install {
    pub(crate) data: PathBuf,
    pub(crate) supervisor: Arc<Supervisor>,
    _dir: TempDir,
}

impl Install {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("long".repeat(40)).join("data");
        std::fs::create_dir_all(&data).unwrap();
        let args = vec![data.clone().into()];
        let config = SupervisorConfig { exe: VAULT.into(), args, data: data.clone() };
        Self { data, supervisor: Supervisor::start(config), _dir: dir }
    }

    /// With this file for names and this one for roots; both are the test's own.
    pub(crate) fn in_world(names: &Path, roots: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir_all(&data).unwrap();
        // A variable of the test's own process would be everybody's.
        let env = format!("SSL_CERT_FILE={}", roots.display());
        let args = vec![env.into(), VAULT.into(), data.clone().into(), names.into()];
        let config = SupervisorConfig { exe: "/usr/bin/env".into(), args, data: data.clone() };
        Self { data, supervisor: Supervisor::start(config), _dir: dir }
    }

    /// Makes the vault read its files now.
    pub(crate) async fn reload(&self) {
        let run = File::open(self.data.join("run")).unwrap();
        let control = UnixStream::connect(format!("/proc/self/fd/{}/vault.sock", run.as_raw_fd()));
        let mut control = control.await.unwrap();
        control.write_all(b"{\"op\":\"reload\"}\n").await.unwrap();
        let answer = read_until(&mut control, "\n").await;
        assert!(!answer.contains("error"), "{answer}");
    }

    /// With a credential for this upstream and one open session.
    pub(crate) async fn with(upstream: &Upstream, value: &str) -> (Self, Grant) {
        let install = Self::new();
        install.set(value, &upstream.url);
        let grant = install.open("s1").await;
        (install, grant)
    }

    pub(crate) fn store(&self) -> Store {
        Store::new(&self.data)
    }

    pub(crate) fn set(&self, value: &str, url: &str) {
        self.store().set(&Credential::parse(value, None, Some(url)).unwrap()).unwrap();
    }

    pub(crate) async fn open(&self, session: &str) -> Grant {
        soon(self.supervisor.open(session, &agent("agent-1"))).await.unwrap()
    }

    pub(crate) async fn pid(&self) -> u32 {
        soon(self.supervisor.status()).await.unwrap().pid.expect("the vault runs")
    }

    pub(crate) async fn stop(self) {
        soon(self.supervisor.stop()).await;
    }
}

pub(crate) fn agent(name: &str) -> AgentNames {
    AgentNames { id: name.to_owned(), folder: name.to_owned() }
}

/// Connects as the box would: the mounted directory is all that it knows.
pub(crate) async fn connect(dir: &Path) -> std::io::Result<UnixStream> {
    let dir = File::open(dir)?;
    UnixStream::connect(format!("/proc/self/fd/{}/proxy.sock", dir.as_raw_fd())).await
}

/// Connects and sends these bytes.
pub(crate) async fn send(dir: &Path, bytes: &[u8]) -> UnixStream {
    let mut stream = soon(connect(dir)).await.expect("the session's socket listens");
    // The vault may refuse, and close, before it has read everything.
    drop(soon(stream.write_all(bytes)).await);
    stream
}

/// Reads until this text has arrived; what came with it is returned.
pub(crate) async fn read_until(stream: &mut UnixStream, text: &str) -> String {
    let mut got = Vec::new();
    while !String::from_utf8_lossy(&got).contains(text) {
        let n = soon(stream.read_buf(&mut got)).await.unwrap();
        assert!(n > 0, "ended before {text:?}: {:?}", String::from_utf8_lossy(&got));
    }
    String::from_utf8(got).unwrap()
}

/// Everything up to the end of the connection.
pub(crate) async fn rest(mut stream: UnixStream) -> String {
    let mut got = Vec::new();
    // A killed vault resets the connection; what came before counts.
    drop(soon(stream.read_to_end(&mut got)).await);
    String::from_utf8_lossy(&got).into_owned()
}

/// Sends these bytes and returns status and whole answer.
pub(crate) async fn raw(dir: &Path, bytes: &[u8]) -> (u16, String) {
    let answer = rest(send(dir, bytes).await).await;
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok());
    (status.unwrap_or_else(|| panic!("no status in {answer:?}")), answer)
}

/// A request as a harness would send it.
pub(crate) fn message(headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST /v1/messages?beta=true HTTP/1.1\r\nhost: 127.0.0.1:3128\r\nx-api-key: \
         sk-ant-api03-nanoclaw-dummy\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

pub(crate) async fn post(grant: &Grant, body: &str) -> (u16, String) {
    raw(&grant.dir, &message("", body)).await
}
