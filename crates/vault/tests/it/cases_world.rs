//! The attacker's world: a vault with a canary in it, an upstream that shows every byte, and an end at which
//! nobody may have seen the canary who should not.

use crate::kit::{agent, connect, soon};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nanoclaw_policy::Authority;
use nanoclaw_secrets::{
    Binding, Grant as To, Inject, KeySource, Kind, NewSecret, Slot, Store, Value,
};
use nanoclaw_vault::{Grant, Supervisor, SupervisorConfig};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;

pub(crate) const CANARY: &str = "CANARY-9f8e7d6c5b4a39281706f5e4d3c2b1a0";
pub(crate) const GOOD: &str = "good.test";
pub(crate) const EVIL: &str = "evil.test";
const NAMES: [&str; 4] = [GOOD, "other.test", EVIL, "localhost"];

pub(crate) const UPGRADE: &str = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
     sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-extensions: permessage-deflate\r\n";
pub(crate) const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
     upgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A frame of a WebSocket that is the last of its message: of a box, or of a server.
pub(crate) fn text_frame(masked: bool, kind: u8, payload: &[u8]) -> Vec<u8> {
    ws_frame(masked, 0x80 | kind, payload)
}

pub(crate) fn ws_frame(masked: bool, first: u8, payload: &[u8]) -> Vec<u8> {
    let (mut out, mask) = (vec![first], if masked { 0x80 } else { 0 });
    match payload.len() {
        n @ 0..=125 => out.push(mask | n as u8),
        n @ 126..=0xffff => {
            out.push(mask | 126);
            out.extend((n as u16).to_be_bytes());
        }
        n => {
            out.push(mask | 127);
            out.extend((n as u64).to_be_bytes());
        }
    }
    let key = [7, 1, 200, 9];
    if masked {
        out.extend(key);
    }
    let dressed = payload.iter().zip(key.iter().cycle());
    out.extend(dressed.map(|(byte, key)| if masked { byte ^ key } else { *byte }));
    out
}

/// What the upstream got, byte for byte.
#[derive(Clone)]
pub(crate) struct Got {
    /// The name in its ClientHello.
    pub(crate) sni: String,
    /// On which connection.
    pub(crate) connection: usize,
    pub(crate) bytes: Vec<u8>,
}

impl Got {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The target of the request line.
    pub(crate) fn target(&self) -> String {
        self.text().split(' ').nth(1).unwrap().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let text = self.text();
        let head = text.split("\r\n\r\n").next().unwrap();
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    }
}

/// A server that says what a test tells it, and otherwise shows what it got.
#[derive(Default)]
pub(crate) struct Server {
    seen: Mutex<Vec<Got>>,
    answers: Mutex<VecDeque<mpsc::Receiver<Vec<u8>>>>,
    connections: AtomicUsize,
    hangs_up: AtomicBool,
}

impl Server {
    /// From now on a connection ends with what it was told to say.
    pub(crate) fn hangs_up(&self) {
        self.hangs_up.store(true, Ordering::SeqCst);
    }

    pub(crate) fn seen(&self) -> Vec<Got> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Answers with these bytes, as they are.
    pub(crate) fn says(&self, bytes: impl Into<Vec<u8>>) {
        let feed = self.feeds();
        feed.try_send(bytes.into()).unwrap();
    }

    /// Answers with what comes.
    pub(crate) fn feeds(&self) -> mpsc::Sender<Vec<u8>> {
        let (feed, rx) = mpsc::channel(64);
        self.answers.lock().unwrap().push_back(rx);
        feed
    }

    /// Forgets what it was to say.
    pub(crate) fn unscripted(&self) {
        self.answers.lock().unwrap().clear();
    }

    /// With a body of this type and length.
    pub(crate) fn answers(&self, headers: &str, body: &[u8]) {
        let mut bytes =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{headers}\r\n", body.len())
                .into_bytes();
        bytes.extend(body);
        self.says(bytes);
    }

    /// Speaks HTTP/2: shows each request as text, and says the credential again in a trailer.
    async fn serve_h2<S>(self: Arc<Self>, io: S, sni: String)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let connection = self.connections.fetch_add(1, Ordering::SeqCst);
        let service = service_fn(|request: Request<Incoming>| {
            let (server, sni) = (Arc::clone(&self), sni.clone());
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.map_err(io::Error::other)?;
                let mut text = format!("{} {} {:?}\r\n", parts.method, parts.uri, parts.version);
                let trailers = body.trailers().cloned().unwrap_or_default();
                for (name, value) in parts.headers.iter().chain(&trailers) {
                    text += &format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes()));
                }
                let bytes = [format!("{text}\r\n").as_bytes(), &body.to_bytes()].concat();
                server.seen.lock().unwrap().push(Got { sni, connection, bytes: bytes.clone() });
                let mut last = hyper::HeaderMap::new();
                if let Some(told) = parts.headers.get("authorization") {
                    last.insert("x-last", told.clone());
                }
                let frames = [Frame::data(Bytes::from(bytes)), Frame::trailers(last)];
                Ok::<_, io::Error>(Response::new(Frames(frames.into())))
            }
        });
        let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        drop(served.serve_connection(TokioIo::new(io), service).await);
    }

    pub(crate) async fn serve(&self, mut io: impl AsyncRead + AsyncWrite + Unpin, sni: String) {
        let connection = self.connections.fetch_add(1, Ordering::SeqCst);
        let mut buf = Vec::new();
        loop {
            let Some(bytes) = request(&mut io, &mut buf).await else { return };
            self.seen.lock().unwrap().push(Got {
                sni: sni.clone(),
                connection,
                bytes: bytes.clone(),
            });
            let scripted = self.answers.lock().unwrap().pop_front();
            let done = match scripted {
                Some(mut rx) => {
                    let mut ok = Ok(());
                    while let Some(bytes) = rx.recv().await {
                        ok = ok.and(io.write_all(&bytes).await).and(io.flush().await);
                    }
                    ok
                }
                None => {
                    let head =
                        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bytes.len());
                    let all = [head.into_bytes(), bytes].concat();
                    io.write_all(&all).await.and(io.flush().await)
                }
            };
            if done.is_err() || self.hangs_up.load(Ordering::SeqCst) {
                return;
            }
        }
    }
}

/// A body of frames that are there already.
pub(crate) struct Frames(pub(crate) VecDeque<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

/// One request with its body, as it came.
async fn request(io: &mut (impl AsyncRead + Unpin), buf: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(len) = whole(buf) {
            let rest = buf.split_off(len);
            return Some(std::mem::replace(buf, rest));
        }
        match io.read_buf(buf).await {
            Ok(n) if n > 0 => {}
            _ => return None,
        }
    }
}

/// How long the message at the beginning is, if it is there to its end.
fn whole(buf: &[u8]) -> Option<usize> {
    let head = find(buf, b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&buf[..head]).to_ascii_lowercase();
    let field = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(n, _)| *n == name).map(|(_, value)| value.trim().to_owned())
    };
    if field("transfer-encoding").is_some() {
        return find(&buf[head..], b"0\r\n\r\n").map(|at| head + at + 5);
    }
    let body: usize = field("content-length").map_or(0, |n| n.parse().unwrap());
    (buf.len() >= head + body).then_some(head + body)
}

pub(crate) fn find(within: &[u8], what: &[u8]) -> Option<usize> {
    within.windows(what.len()).position(|window| window == what)
}

/// What came back to the box.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        Self { status, text }
    }

    /// The code of a refusal.
    pub(crate) fn code(&self) -> String {
        let mut lines = self.text.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(name, _)| *name == "x-vault-decision").map_or("", |(_, code)| code).to_owned()
    }

    #[track_caller]
    pub(crate) fn is(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{}", self.text);
    }
}

pub(crate) struct World {
    pub(crate) server: Arc<Server>,
    pub(crate) port: u16,
    pub(crate) data: PathBuf,
    pub(crate) store: Store,
    pub(crate) supervisor: Arc<Supervisor>,
    pub(crate) grant: Grant,
    /// What the box holds in place of the canary.
    pub(crate) dummy: String,
    /// Everything that a box was told.
    told: Mutex<Vec<u8>>,
    dir: TempDir,
}

impl World {
    /// Everything is open, and a secret is for `good.test`.
    pub(crate) async fn open() -> Self {
        Self::with("mode = \"open\"").await
    }

    /// With these lines of `[egress]` and what follows it; `PORT` is the server's.
    pub(crate) async fn with(policy: &str) -> Self {
        Self::speaking(policy, &[]).await
    }

    /// The same, and the server speaks these protocols.
    pub(crate) async fn speaking(policy: &str, alpn: &[&[u8]]) -> Self {
        let made = rcgen::generate_simple_self_signed(NAMES.map(str::to_owned).to_vec()).unwrap();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Arc::new(Server::default());
        let shared = Arc::clone(&server);
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, server) = (acceptor.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    if let Ok(tls) = acceptor.accept(tcp).await {
                        let sni = tls.get_ref().1.server_name().unwrap_or_default().to_owned();
                        if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
                            server.serve_h2(tls, sni).await;
                        } else {
                            server.serve(tls, sni).await;
                        }
                    }
                });
            }
        });
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        std::fs::write(dir.path().join("roots.pem"), made.cert.pem()).unwrap();
        let names: String = NAMES.iter().map(|name| format!("{name} 127.0.0.1\n")).collect();
        std::fs::write(dir.path().join("names"), names).unwrap();
        make_private(&data.join("vault"));
        let declared = NAMES.map(|host| {
            format!("[[allow_private]]\nhost = \"{host}\"\ncidr = \"127.0.0.1/32\"\nport = PORT\n")
        });
        let policy = format!("[egress]\n{policy}\n{}", declared.concat());
        let policy = policy.replace("PORT", &port.to_string());
        std::fs::write(data.join("vault/policy.toml"), policy).unwrap();
        let store = Store::open(&data.join("vault"), &KeySource::Auto).unwrap();
        add(&store, "canary", CANARY, binding(GOOD, port), "agent-1");
        let supervisor = start(dir.path(), &data);
        let grant = soon(supervisor.open("s1", &agent("agent-1"))).await.unwrap();
        let dummy = dummy(&store, "agent-1", GOOD, port, "canary");
        Self { server, port, data, store, supervisor, grant, dummy, told: Mutex::default(), dir }
    }

    pub(crate) fn place(&self, host: &str) -> String {
        format!("{host}:{}", self.port)
    }

    pub(crate) fn names(&self) -> PathBuf {
        self.dir.path().join("names")
    }

    pub(crate) fn token(grant: &Grant) -> String {
        let url = &grant.env["HTTPS_PROXY"];
        url.split_once("box:").unwrap().1.split('@').next().unwrap().to_owned()
    }

    pub(crate) fn login(grant: &Grant) -> String {
        let pair = STANDARD.encode(format!("box:{}", Self::token(grant)));
        format!("proxy-authorization: Basic {pair}\r\n")
    }

    /// Asks for a tunnel in these words; status 200 leaves a stream behind.
    pub(crate) async fn tunnel(
        &self,
        grant: &Grant,
        to: &str,
        headers: &str,
    ) -> (Answer, UnixStream) {
        let mut stream = soon(connect(&grant.dir)).await.unwrap();
        let head = format!("CONNECT {to} HTTP/1.1\r\nhost: {to}\r\n{headers}\r\n");
        drop(stream.write_all(head.as_bytes()).await);
        let mut head = Vec::new();
        while find(&head, b"\r\n\r\n").is_none() {
            if !soon(stream.read_buf(&mut head)).await.is_ok_and(|n| n > 0) {
                break;
            }
        }
        let answer = Answer::read(&head);
        if answer.status == 200 {
            return (answer, stream);
        }
        drop(soon(stream.read_to_end(&mut head)).await);
        (self.tell(&head), stream)
    }

    fn tell(&self, bytes: &[u8]) -> Answer {
        self.told.lock().unwrap().extend(bytes);
        Answer::read(bytes)
    }

    /// TLS to what the box takes for this host.
    pub(crate) async fn tls(
        &self,
        stream: UnixStream,
        sni: Option<&str>,
    ) -> io::Result<TlsStream<UnixStream>> {
        self.tls_with(stream, sni, &self.grant.dir.join("ca.pem"), &[]).await
    }

    /// TLS with who is proven by this certificate, in one of these protocols.
    pub(crate) async fn tls_with(
        &self,
        stream: UnixStream,
        sni: Option<&str>,
        trusted: &Path,
        alpn: &[&[u8]],
    ) -> io::Result<TlsStream<UnixStream>> {
        let ca = CertificateDer::from_pem_file(trusted).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca).unwrap();
        let mut config = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.enable_sni = sni.is_some();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from(sni.unwrap_or(GOOD).to_owned()).unwrap();
        soon(tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream)).await
    }

    /// A tunnel of the first session to this host, and TLS in it.
    pub(crate) async fn inside(&self, host: &str) -> TlsStream<UnixStream> {
        self.inside_of(&self.grant, host).await
    }

    pub(crate) async fn inside_of(&self, grant: &Grant, host: &str) -> TlsStream<UnixStream> {
        let (answer, stream) = self.tunnel(grant, &self.place(host), &Self::login(grant)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        self.tls(stream, Some(host)).await.unwrap()
    }

    /// A tunnel of this session in which HTTP/2 is spoken.
    pub(crate) async fn h2_of(&self, grant: &Grant, host: &str) -> TlsStream<UnixStream> {
        let (answer, stream) = self.tunnel(grant, &self.place(host), &Self::login(grant)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let ca = grant.dir.join("ca.pem");
        let tls = self.tls_with(stream, Some(host), &ca, &[b"h2"]).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        tls
    }

    /// The same with a client that keeps to the protocol.
    pub(crate) async fn h2<B>(&self, host: &str) -> SendRequest<B>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
        B: Send + Unpin + 'static,
    {
        let tls = self.h2_of(&self.grant, host).await;
        let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls));
        let (sender, connection) = soon(made).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// Notes what a box was told by somebody else's client.
    pub(crate) fn told(&self, bytes: &[u8]) {
        self.told.lock().unwrap().extend(bytes);
    }

    /// Asks the proxy itself.
    pub(crate) async fn plain(&self, text: &str) -> Answer {
        let mut stream = soon(connect(&self.grant.dir)).await.unwrap();
        drop(soon(stream.write_all(text.as_bytes())).await);
        let mut got = Vec::new();
        drop(soon(stream.read_to_end(&mut got)).await);
        self.tell(&got)
    }

    /// Opens a WebSocket in this tunnel to [`GOOD`]; the server says what is sent to the other end.
    pub(crate) async fn socket(
        &self,
        io: &mut TlsStream<UnixStream>,
        headers: &str,
    ) -> mpsc::Sender<Vec<u8>> {
        let feed = self.server.feeds();
        feed.send(SWITCHED.into()).await.unwrap();
        let headers = format!("{UPGRADE}{headers}");
        io.write_all(&self.head(GOOD, "GET /ws", &headers)).await.unwrap();
        let mut got = Vec::new();
        while find(&got, b"\r\n\r\n").is_none() {
            assert!(soon(io.read_buf(&mut got)).await.unwrap() > 0);
        }
        assert_eq!(self.tell(&got).status, 101, "{}", String::from_utf8_lossy(&got));
        feed
    }

    /// Says one line to the vault as the host does.
    pub(crate) async fn control(&self, line: &str) -> String {
        let mut control = UnixStream::connect(self.data.join("run/vault.sock")).await.unwrap();
        control.write_all(line.as_bytes()).await.unwrap();
        let mut got = Vec::new();
        while !got.ends_with(b"\n") {
            assert!(soon(control.read_buf(&mut got)).await.unwrap() > 0);
        }
        String::from_utf8(got).unwrap()
    }

    /// Kills the vault and waits for the next one.
    pub(crate) async fn killed(&self) {
        let before = soon(self.supervisor.status()).await.unwrap();
        let pid = before.pid.unwrap().to_string();
        assert!(std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success());
        let again = async {
            while soon(self.supervisor.status())
                .await
                .is_ok_and(|now| now.restarts == before.restarts)
            {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        soon(again).await;
        soon(self.supervisor.open("s1", &agent("agent-1"))).await.unwrap();
    }

    pub(crate) async fn pid(&self) -> u32 {
        soon(self.supervisor.status()).await.unwrap().pid.expect("the vault runs")
    }

    /// What the vault has in memory, in KiB.
    pub(crate) async fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid().await)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Another session is served, by the process that was there before.
    pub(crate) async fn serves_others(&self) {
        let other = soon(self.supervisor.open("other", &agent("agent-2"))).await.unwrap();
        let mut tls = self.inside_of(&other, GOOD).await;
        let answer = self.say(&mut tls, &self.head(GOOD, "GET /other", "")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(soon(self.supervisor.status()).await.unwrap().restarts, 0);
    }

    /// The same, with no more than this in memory.
    pub(crate) async fn serves_others_while(&self, most: u64) {
        self.server.unscripted();
        self.serves_others().await;
        let now = self.memory().await;
        assert!(now < most, "{now} KiB, at most {most}");
    }

    pub(crate) fn name(&self, line: &str) {
        let now = std::fs::read_to_string(self.names()).unwrap();
        std::fs::write(self.names(), format!("{line}\n{now}")).unwrap();
    }

    pub(crate) fn roots(&self) -> PathBuf {
        self.dir.path().join("roots.pem")
    }

    /// Sends these bytes through a tunnel to this host.
    pub(crate) async fn raw(&self, host: &str, bytes: &[u8]) -> Answer {
        let mut tls = self.inside(host).await;
        self.say(&mut tls, bytes).await
    }

    /// Sends these bytes and reads one answer.
    pub(crate) async fn say(&self, io: &mut TlsStream<UnixStream>, bytes: &[u8]) -> Answer {
        // The vault may refuse, and close, before it has read everything.
        drop(soon(async { io.write_all(bytes).await.and(io.flush().await) }).await);
        self.hear(io).await
    }

    pub(crate) async fn hear(&self, io: &mut TlsStream<UnixStream>) -> Answer {
        let mut got = Vec::new();
        while whole(&got).is_none() {
            if !soon(io.read_buf(&mut got)).await.is_ok_and(|n| n > 0) {
                break;
            }
        }
        self.tell(&got)
    }

    /// The head of a request to this host, to be followed by a body.
    pub(crate) fn head(&self, host: &str, line: &str, headers: &str) -> Vec<u8> {
        let place = self.place(host);
        format!("{line} HTTP/1.1\r\nhost: {place}\r\n{headers}\r\n").into_bytes()
    }

    pub(crate) async fn get(&self, host: &str, path: &str, headers: &str) -> Answer {
        self.raw(host, &self.head(host, &format!("GET {path}"), headers)).await
    }

    pub(crate) async fn post(&self, host: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let headers = format!("content-length: {}\r\n{headers}", body.len());
        let head = self.head(host, &format!("POST {path}"), &headers);
        self.raw(host, &[head, body.to_vec()].concat()).await
    }

    /// `authorization: Bearer` with the placeholder.
    pub(crate) fn bearer(&self) -> String {
        format!("authorization: Bearer {}\r\n", self.dummy)
    }

    /// Whether the audit log has this word in it.
    pub(crate) fn noted(&self, word: &str) -> bool {
        let files = ["audit.db", "audit.db-wal"].map(|name| self.data.join("vault").join(name));
        files.iter().any(|file| {
            std::fs::read(file).is_ok_and(|bytes| find(&bytes, word.as_bytes()).is_some())
        })
    }

    /// Waits until the audit log has this word in it.
    pub(crate) async fn notes(&self, word: &str) {
        let noted = async {
            while !self.noted(word) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        soon(noted).await;
    }

    /// The end of every test: nobody saw the canary who should not.
    pub(crate) async fn end(self) {
        let process = soon(self.supervisor.status()).await.ok().and_then(|status| status.pid);
        let files_of =
            |name| std::fs::read(format!("/proc/{}/{name}", process.unwrap_or_default()));
        let shown = ["cmdline", "environ"].map(|name| files_of(name).unwrap_or_default());
        soon(self.supervisor.stop()).await;
        let told = [self.told.lock().unwrap().clone(), shown.concat()].concat();
        for form in forms(CANARY) {
            let form = form.as_slice();
            let shown = String::from_utf8_lossy(form).into_owned();
            assert_eq!(find(&told, form), None, "a box was told {shown}");
            for got in self.server.seen().iter().filter(|got| got.sni != GOOD) {
                assert_eq!(find(&got.bytes, form), None, "{} was told {shown}", got.sni);
            }
            for file in files(&self.data) {
                let bytes = std::fs::read(&file).unwrap_or_default();
                assert_eq!(find(&bytes, form), None, "{} has {shown}", file.display());
            }
        }
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn make_private(dir: &Path) {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).unwrap();
}

fn start(dir: &Path, data: &Path) -> Arc<Supervisor> {
    let env = format!("SSL_CERT_FILE={}", dir.join("roots.pem").display());
    let args = vec![env.into(), crate::kit::VAULT.into(), data.into(), dir.join("names").into()];
    Supervisor::start(SupervisorConfig { exe: "/usr/bin/env".into(), args, data: data.to_owned() })
}

/// `authorization: Bearer …` where a request carries the placeholder.
pub(crate) fn binding(host: &str, port: u16) -> Binding {
    Binding { port, ..Binding::new(host.parse().unwrap(), Slot::bearer()) }
}

/// In every request.
pub(crate) fn always(binding: Binding) -> Binding {
    Binding { mode: Inject::Always, ..binding }
}

pub(crate) fn add(store: &Store, name: &str, value: &str, binding: Binding, to: &str) {
    let new = NewSecret {
        name: name.to_owned(),
        kind: Kind::Header,
        value: Value::new(value.to_owned()),
        bindings: vec![binding],
        grants: vec![To { to: to.parse().unwrap(), until: None }],
        expires: None,
        settings: BTreeMap::new(),
    };
    store.add(new).unwrap();
}

pub(crate) fn dummy(store: &Store, who: &str, host: &str, port: u16, name: &str) -> String {
    let place = Authority::parse(host, Some(port)).unwrap();
    let bound = store.bound(&agent(who), &place).unwrap();
    bound.into_iter().find(|bound| bound.name == name).unwrap().dummy
}

/// A value in every dress that somebody might see through.
pub(crate) fn forms(value: &str) -> Vec<Vec<u8>> {
    let hex = |upper: bool| -> String {
        let digits = |b: u8| if upper { format!("{b:02X}") } else { format!("{b:02x}") };
        value.bytes().map(digits).collect()
    };
    let mut forms = vec![value.to_owned(), hex(false), hex(true), value.chars().rev().collect()];
    forms.push(value.bytes().map(|b| format!("%{b:02X}")).collect());
    for phase in 0..3 {
        let text = STANDARD_NO_PAD.encode(format!("{}{value}", "x".repeat(phase)));
        // The first and the last letters hang on what stands beside it.
        forms.push(text[3..text.len() - 3].to_owned());
    }
    forms.into_iter().map(String::into_bytes).collect()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}
