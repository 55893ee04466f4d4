//! What the vault adds to a request: its whole data path (tunnel, TLS on both sides, policy, secret, search, audit)
//! next to the same requests on a direct connection, in turn, in the same run.

use crate::report::{Report, Target, percentile};
use crate::world::{cpu, process};
use anyhow::{Context as _, bail, ensure};
use nanoclaw_policy::{
    AgentPattern, Asking, Authority, Bound, HostPattern, Policy, Target as Asked, Verdict,
};
use nanoclaw_secrets::{Binding, Grant, Inject, KeySource, Kind, NewSecret, Slot, Store, Value};
use nanoclaw_vault::{AgentNames, Resolve, Resolved, ServeOptions, Supervisor, SupervisorConfig};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const SECRET: &str = "bench-secret-0123456789abcdef";
const BODY: usize = 1024;
/// An event, then this long nothing: it must not wait for the next.
const EVENT: &str = "data: {\"n\":1}\n\n";
const PAUSE: Duration = Duration::from_millis(20);
const HOST: &str = "127.0.0.1";
/// Below which there are many hosts.
const NAMES: &str = "hosts.example";

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}
type Connection = Box<dyn Stream>;

/// Hosts that are used until every cache is full, and then as many again.
const HOSTS: usize = 5_000;
const IDLE: Duration = Duration::from_secs(5);

pub(crate) async fn run(report: &mut Report) -> anyhow::Result<()> {
    decisions(report)?;
    let bed = Bed::new(program()?.into_os_string(), "vault serve").await?;
    let done = bed.measure(report).await;
    bed.supervisor.stop().await;
    done?;
    let bed = Bed::new(std::env::current_exe()?.into_os_string(), "--vault").await?;
    let done = bed.hosts(report).await;
    bed.supervisor.stop().await;
    done
}

/// Every name is this machine.
struct Here;

impl Resolve for Here {
    fn resolve(&self, _: &str) -> Resolved {
        Box::pin(async { Ok(vec![std::net::Ipv4Addr::LOCALHOST.into()]) })
    }
}

/// A vault as this program runs it itself.
pub(crate) async fn serve() -> anyhow::Result<()> {
    let data = std::env::var_os("NANOCLAW_DATA").context("NANOCLAW_DATA")?.into();
    nanoclaw_vault::serve(ServeOptions { data, resolver: Some(Arc::new(Here)), outside: None })
        .await?;
    Ok(())
}

/// A policy with a thousand rules: how long one decision takes.
fn decisions(report: &mut Report) -> anyhow::Result<()> {
    let mut text = String::from("[egress]\nmode = \"open\"\n");
    for n in 0..1_000 {
        text += &format!(
            "[[rule]]\nname = \"r{n}\"\nmatch = {{ host = \"h{}.example.com\", method = [\"DELETE\"], \
             path = \"/v1/things/{n}/**\" }}\naction = \"block\"\n",
            n % 200
        );
    }
    let policy = Policy::parse(&text).map_err(|e| anyhow::anyhow!("{e}"))?;
    let agent = AgentNames { id: "bench".into(), folder: "bench".into() };
    let authority =
        Authority::parse("h7.example.com:443", None).map_err(|e| anyhow::anyhow!("{e}"))?;
    let target = Asked::parse("/v1/things/7/parts?page=2").map_err(|e| anyhow::anyhow!("{e}"))?;
    let asking = Asking {
        agent: &agent,
        authority: &authority,
        tls: true,
        method: Some("GET"),
        other_methods: &[],
        target: Some(&target),
        bound: Bound::Request,
        remembered: None,
    };
    let n = u32::try_from(report.samples(20_000))?;
    let began = Instant::now();
    for _ in 0..n {
        let decision = policy.decide(std::hint::black_box(&asking));
        ensure!(matches!(decision.verdict, Verdict::Allow), "{decision:?}");
    }
    report.time("policy decision, 1,000 rules", began.elapsed() / n, Target::AtMost(0.02));
    Ok(())
}

/// An upstream, and a vault whose one agent has a secret for it.
struct Bed {
    dir: TempDir,
    port: u16,
    upstream: CertificateDer<'static>,
    supervisor: Arc<Supervisor>,
    grant: nanoclaw_vault::Grant,
}

impl Bed {
    /// `program` with these arguments is the vault.
    async fn new(program: OsString, arguments: &str) -> anyhow::Result<Self> {
        let names = vec![HOST.to_owned(), format!("*.{NAMES}")];
        let made = rcgen::generate_simple_self_signed(names)?;
        let listener = TcpListener::bind((HOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)?;
        tokio::spawn(listen(listener, TlsAcceptor::from(Arc::new(config))));
        let dir = TempDir::new()?;
        let (data, roots) = (dir.path().join("data"), dir.path().join("roots.pem"));
        std::fs::create_dir_all(data.join("vault"))?;
        std::fs::write(&roots, made.cert.pem())?;
        let policy = format!(
            "[egress]\nports = [{port}]\nallow = [\"*.{NAMES}:{port}\"]\n\
             [[allow_private]]\nhost = \"{HOST}\"\ncidr = \"{HOST}/32\"\nport = {port}\n\
             [[allow_private]]\nhost = \"*.{NAMES}\"\ncidr = \"{HOST}/32\"\nport = {port}\n"
        );
        std::fs::write(data.join("vault/policy.toml"), policy)?;
        add_secret(&data, port)?;
        let env = format!("SSL_CERT_FILE={}", roots.display());
        let here = format!("NANOCLAW_DATA={}", data.display());
        let mut args: Vec<OsString> = vec![env.into(), here.into(), program];
        args.extend(arguments.split(' ').map(OsString::from));
        let supervisor =
            Supervisor::start(SupervisorConfig { exe: "/usr/bin/env".into(), args, data });
        let agent = AgentNames { id: "bench".into(), folder: "bench".into() };
        let grant = supervisor.open("bench", &agent).await?;
        Ok(Self { dir, port, upstream: made.cert.der().clone(), supervisor, grant })
    }

    async fn measure(&self, report: &mut Report) -> anyhow::Result<()> {
        let pid = self.supervisor.status().await?.pid.context("the vault runs")?;
        let pid = i32::try_from(pid)?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = cpu(pid)?;
        tokio::time::sleep(IDLE).await;
        let share = cpu(pid)?.saturating_sub(before).as_secs_f64() / IDLE.as_secs_f64() * 100.0;
        report.value("vault alone, CPU idle", share, "%", Target::AtMost(0.1));
        let idle = process(pid).context("the vault's memory")?.rss_mb;
        report.value("vault alone, RSS idle", idle, "MB", Target::AtMost(15.0));
        let (mut direct, mut through) = (self.direct().await?, self.through(HOST).await?);
        self.latency(report, &mut direct, &mut through).await?;
        self.events(report, &mut direct, &mut through).await?;
        let n = u32::try_from(report.samples(10_000))?;
        let (began, before) = (Instant::now(), cpu(pid)?);
        for _ in 0..n {
            self.ask(&mut through, HOST, "/").await?;
        }
        let (took, used) = (began.elapsed(), cpu(pid)?.saturating_sub(before));
        report.time("vault CPU per request", used / n, Target::AtMost(0.1));
        let per_core = f64::from(n) / used.as_secs_f64().max(1e-6);
        report.value(
            "vault requests per second of one core",
            per_core,
            "/s",
            Target::AtLeast(8_000.0),
        );
        report.time("vault, one request after the other", took / n, Target::None);
        self.revocation(report, &mut through).await
    }

    /// What stays in memory of hosts that were used once.
    async fn hosts(&self, report: &mut Report) -> anyhow::Result<()> {
        let pid = i32::try_from(self.supervisor.status().await?.pid.context("the vault runs")?)?;
        let half = report.samples(HOSTS);
        let mut rss = Vec::new();
        let began = Instant::now();
        for from in [0, half] {
            for n in from..from + half {
                let host = format!("h{n}.{NAMES}");
                let mut open = self.through(&host).await?;
                self.ask(&mut open, &host, "/").await?;
            }
            rss.push(process(pid).context("the vault's memory")?.rss_mb);
        }
        let each = began.elapsed() / u32::try_from(2 * half)?;
        report.time("vault, new tunnel, leaf and request", each, Target::None);
        report.value("vault RSS, 10,000 hosts", rss[1], "MB", Target::None);
        report.value(
            "vault RSS, the last 5,000 of them",
            rss[1] - rss[0],
            "MB",
            Target::AtMost(1.0),
        );
        Ok(())
    }

    async fn latency(
        &self,
        report: &mut Report,
        direct: &mut Connection,
        through: &mut Connection,
    ) -> anyhow::Result<()> {
        let (mut alone, mut ours) = (Vec::new(), Vec::new());
        for n in 0..report.samples(5_000) + 100 {
            let (a, b) = (self.ask(direct, HOST, "/").await?, self.ask(through, HOST, "/").await?);
            if n >= 100 {
                alone.push(a);
                ours.push(b);
            }
        }
        for (share, most) in [(50, 0.25), (99, 2.0)] {
            let (a, b) = (percentile(&mut alone, share), percentile(&mut ours, share));
            report.time(&format!("direct request p{share}, keep-alive"), a, Target::None);
            let name = format!("vault adds to a request p{share}, keep-alive");
            report.time(&name, b.saturating_sub(a), Target::AtMost(most));
        }
        Ok(())
    }

    async fn events(
        &self,
        report: &mut Report,
        direct: &mut Connection,
        through: &mut Connection,
    ) -> anyhow::Result<()> {
        let (mut alone, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..report.samples(100) {
            alone.push(self.ask(direct, HOST, "/events").await?);
            ours.push(self.ask(through, HOST, "/events").await?);
        }
        let added = percentile(&mut ours, 50).saturating_sub(percentile(&mut alone, 50));
        report.time("vault adds to the first event p50", added, Target::AtMost(0.3));
        Ok(())
    }

    /// From the moment a secret is gone until a request on an open connection is refused.
    async fn revocation(&self, report: &mut Report, open: &mut Connection) -> anyhow::Result<()> {
        let store = Store::open(&self.dir.path().join("data/vault"), &KeySource::Auto)?;
        store.remove("bench")?;
        let began = Instant::now();
        while self.ask(open, HOST, "/").await.is_ok() {
            ensure!(began.elapsed() < Duration::from_secs(10), "the secret is still used");
        }
        report.time("vault, a secret revoked to refused", began.elapsed(), Target::AtMost(1_000.0));
        Ok(())
    }

    /// One request; the time until the first piece of its body.
    async fn ask(&self, on: &mut Connection, host: &str, path: &str) -> anyhow::Result<Duration> {
        let head = format!("GET {path} HTTP/1.1\r\nhost: {host}:{}\r\n\r\n", self.port);
        let began = Instant::now();
        on.write_all(head.as_bytes()).await?;
        on.flush().await?;
        let (head, mut body) = head_of(on).await?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
        let length = length(&head).context("an answer with a length")?;
        while body.is_empty() {
            ensure!(on.read_buf(&mut body).await? > 0, "ended early");
        }
        let took = began.elapsed();
        while body.len() < length {
            ensure!(on.read_buf(&mut body).await? > 0, "ended early");
        }
        Ok(took)
    }

    /// As a program outside any box, with the secret.
    async fn direct(&self) -> anyhow::Result<Connection> {
        let tcp = TcpStream::connect((HOST, self.port)).await?;
        tcp.set_nodelay(true)?;
        tls(HOST, tcp, [self.upstream.clone()]).await
    }

    /// As a box does: a tunnel through its socket, trusting the vault's certificate.
    async fn through(&self, host: &str) -> anyhow::Result<Connection> {
        let mut stream = UnixStream::connect(self.grant.dir.join("proxy.sock")).await?;
        let proxy = self.grant.env.get("HTTPS_PROXY").map(String::as_str).unwrap_or_default();
        let user = proxy.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
        let token = user.map(|(user, _)| user.rsplit(':').next().unwrap_or_default());
        let auth =
            token.map(|t| format!("proxy-authorization: Bearer {t}\r\n")).unwrap_or_default();
        let to = format!("{host}:{}", self.port);
        let connect = format!("CONNECT {to} HTTP/1.1\r\nhost: {to}\r\n{auth}\r\n");
        stream.write_all(connect.as_bytes()).await?;
        let mut stream: Connection = Box::new(stream);
        let (head, _) = head_of(&mut stream).await?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
        let ca = CertificateDer::from_pem_file(self.grant.dir.join("ca.pem"));
        tls(host, stream, [ca.map_err(|e| anyhow::anyhow!("ca.pem: {e}"))?]).await
    }
}

fn add_secret(data: &Path, port: u16) -> anyhow::Result<()> {
    let store = Store::open(&data.join("vault"), &KeySource::File)?;
    let host: HostPattern = HOST.parse().map_err(|e| anyhow::anyhow!("{e}"))?;
    let mut binding = Binding::new(host, Slot::bearer());
    (binding.port, binding.mode) = (port, Inject::Always);
    let to: AgentPattern = "bench".parse().map_err(|e| anyhow::anyhow!("{e}"))?;
    store.add(NewSecret {
        name: "bench".to_owned(),
        kind: Kind::Bearer,
        value: Value::new(SECRET.to_owned()),
        bindings: vec![binding],
        grants: vec![Grant { to, until: None }],
        expires: None,
        settings: std::collections::BTreeMap::new(),
    })?;
    Ok(())
}

/// The program beside this one.
fn program() -> anyhow::Result<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name("nanoclaw");
    nanoclaw_tests::rig::needed(beside, "cargo build --release -p nanoclaw")
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

async fn tls(
    host: &str,
    on: impl Stream + 'static,
    roots: [CertificateDer<'static>; 1],
) -> anyhow::Result<Connection> {
    let mut store = rustls::RootCertStore::empty();
    store.add_parsable_certificates(roots);
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned())?;
    Ok(Box::new(TlsConnector::from(Arc::new(config)).connect(name, on).await?))
}

/// A head, and what came with it.
async fn head_of(on: &mut Connection) -> anyhow::Result<(String, Vec<u8>)> {
    let mut got = Vec::new();
    loop {
        if let Some(end) = got.windows(4).position(|w| w == b"\r\n\r\n") {
            let body = got.split_off(end + 4);
            return Ok((String::from_utf8(got)?, body));
        }
        if on.read_buf(&mut got).await? == 0 {
            bail!("ended before the head did");
        }
    }
}

fn length(head: &str) -> Option<usize> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    value.trim().parse().ok()
}

async fn listen(listener: TcpListener, tls: TlsAcceptor) {
    while let Ok((tcp, _)) = listener.accept().await {
        let tls = tls.clone();
        tokio::spawn(async move {
            tcp.set_nodelay(true)?;
            let mut on: Connection = Box::new(tls.accept(tcp).await?);
            loop {
                let (head, _) = head_of(&mut on).await?;
                if head.starts_with("GET /events") {
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n{EVENT}",
                        2 * EVENT.len()
                    );
                    on.write_all(head.as_bytes()).await?;
                    on.flush().await?;
                    tokio::time::sleep(PAUSE).await;
                    on.write_all(EVENT.as_bytes()).await?;
                } else {
                    let body = "x".repeat(BODY);
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY}\r\n\r\n{body}");
                    on.write_all(answer.as_bytes()).await?;
                }
                on.flush().await?;
            }
            #[expect(unreachable_code, reason = "names the type of the errors above")]
            anyhow::Ok(())
        });
    }
}
