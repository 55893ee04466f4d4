//! The attacker's world: a vault with a canary in it, an upstream that shows every byte, and an end at which
//! nobody may have seen the canary who should not.

use crate::kit::{agent, connect, soon};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use nanoclaw_policy::Authority;
use nanoclaw_secrets::{
    Binding, Grant as To, Inject, KeySource, Kind, NewSecret, Slot, Store, Value,
};
use nanoclaw_vault::{Grant, Supervisor, SupervisorConfig};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;

pub(crate) const CANARY: &str = "CANARY-9f8e7d6c5b4a39281706f5e4d3c2b1a0";
pub(crate) const GOOD: &str = "good.test";
pub(crate) const EVIL: &str = "evil.test";
const NAMES: [&str; 4] = [GOOD, "other.test", EVIL, "localhost"];

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
}

impl Server {
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

    /// With a body of this type and length.
    pub(crate) fn answers(&self, headers: &str, body: &[u8]) {
        let mut bytes =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{headers}\r\n", body.len())
                .into_bytes();
        bytes.extend(body);
        self.says(bytes);
    }

    async fn serve(&self, mut io: impl AsyncRead + AsyncWrite + Unpin, sni: String) {
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
            if done.is_err() {
                return;
            }
        }
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
        let made = rcgen::generate_simple_self_signed(NAMES.map(str::to_owned).to_vec()).unwrap();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
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
                        server.serve(tls, sni).await;
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
    ) -> std::io::Result<TlsStream<UnixStream>> {
        let ca = CertificateDer::from_pem_file(self.grant.dir.join("ca.pem")).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca).unwrap();
        let mut config = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.enable_sni = sni.is_some();
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
        soon(self.supervisor.stop()).await;
        let told = self.told.lock().unwrap().clone();
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
