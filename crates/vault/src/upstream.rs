//! Connections to upstreams: checked addresses, verified TLS, a small pool per session.
//!
//! Sessions never share a connection and redirects are never followed. Who calls has judged the addresses; here
//! they are dialled as they are. Read next: `exchange`, the only user.

use crate::exchange::{Kind, Route};
use crate::outside::Chain;
use crate::refusal::Refusal;
use crate::{Body, VaultError};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::header::PROXY_AUTHORIZATION;
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use nanoclaw_policy::{Authority, Host};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// When one address is slow the next is tried beside it.
const STAGGER: Duration = Duration::from_millis(250);
const IDLE_MAX: usize = 8;
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How soon a peer that vanished during a stream is noticed.
const KEEPALIVE: Duration = Duration::from_secs(60);
const HEAD_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 256;

/// Where credentials may be sent: `https://host[:port][/prefix]`, or plain `http` on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    tls: bool,
    host: String,
    port: u16,
    prefix: String,
}

impl Default for BaseUrl {
    fn default() -> Self {
        let host = "api.anthropic.com".to_owned();
        Self { tls: true, host, port: 443, prefix: String::new() }
    }
}

impl BaseUrl {
    /// Checks what a person gave.
    pub fn parse(text: &str) -> Result<Self, VaultError> {
        let bad = |why: &str| Err(VaultError::Refused(format!("the address {text:?} {why}")));
        let Ok(uri) = text.trim().parse::<Uri>() else { return bad("is not a URL") };
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return bad("starts with neither https:// nor http://"),
        };
        let Some(authority) = uri.authority() else { return bad("names no host") };
        if authority.as_str().contains('@') || uri.query().is_some() {
            return bad("has a user, a password or a query in it; leave them out");
        }
        let host = authority.host().to_ascii_lowercase();
        let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        let local = host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback());
        if !tls && !local {
            return bad("would send the credential unencrypted; use https://");
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { tls, host, port, prefix })
    }

    /// As written in a `Host` header.
    fn authority(&self) -> String {
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }

    /// The way of requests to it.
    pub(crate) fn route(&self) -> Result<Route, Refusal> {
        let port = if self.tls { 443 } else { 80 };
        let place = Authority::parse(&self.authority(), Some(port)).map_err(|e| {
            Refusal::unavailable("bad_base_url", format!("the model's address {self}: {e}"))
                .for_model()
        })?;
        let to = To { place, tls: self.tls, h2: false };
        Ok(Route { to, prefix: self.prefix.clone(), kind: Kind::Model })
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.prefix)
    }
}

/// Why no answer came; never quotes a header.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("it could not be reached: {0}")]
    Connect(#[source] io::Error),
    #[error("the connection broke: {0}")]
    Http(#[source] hyper::Error),
    #[error("it took longer than {} seconds", .0.as_secs())]
    Slow(Duration),
}

/// One upstream and how to talk to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct To {
    pub(crate) place: Authority,
    pub(crate) tls: bool,
    /// The box speaks HTTP/2, so the upstream may.
    pub(crate) h2: bool,
}

/// Opens connections.
pub(crate) struct Dialer {
    h1: TlsConnector,
    h2: TlsConnector,
}

/// What this machine trusts; `SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured.
pub(crate) fn machine_roots() -> Vec<CertificateDer<'static>> {
    let found = rustls_native_certs::load_native_certs();
    for e in &found.errors {
        tracing::warn!("reading root certificates: {e}");
    }
    found.certs
}

impl Dialer {
    /// Trusts these roots.
    pub(crate) fn new(certs: Vec<CertificateDer<'static>>) -> Result<Self, VaultError> {
        let mut roots = RootCertStore::empty();
        let (added, _unreadable) = roots.add_parsable_certificates(certs);
        if added == 0 {
            tracing::error!("no root certificates: install ca-certificates or set SSL_CERT_FILE");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config =
            config.map_err(|e| VaultError::Refused(format!("TLS cannot be set up: {e}")))?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let h1 = TlsConnector::from(Arc::new(config.clone()));
        config.alpn_protocols.insert(0, b"h2".to_vec());
        Ok(Self { h1, h2: TlsConnector::from(Arc::new(config)) })
    }

    async fn dial(&self, to: &To, at: &[SocketAddr]) -> Result<(Sender, SocketAddr), SendError> {
        let connecting = async {
            let tcp = connect(at).await.map_err(SendError::Connect)?;
            let peer = tcp.peer_addr().map_err(SendError::Connect)?;
            if !to.tls {
                return Ok((h1(tcp).await?, peer));
            }
            let name = server_name(&to.place.host).map_err(SendError::Connect)?;
            let tls = if to.h2 { &self.h2 } else { &self.h1 };
            let stream = tls.connect(name, tcp).await.map_err(SendError::Connect)?;
            let both = to.h2 && stream.get_ref().1.alpn_protocol() == Some(b"h2");
            Ok((if both { h2(stream).await? } else { h1(stream).await? }, peer))
        };
        let slow = |_| Err(SendError::Slow(CONNECT_TIMEOUT));
        timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(slow)
    }
}

/// The proxy dials; what was checked here is noted.
async fn chained(
    chain: &dyn Chain,
    to: &To,
    at: &[SocketAddr],
) -> Result<(Sender, SocketAddr), SendError> {
    let opened = timeout(CONNECT_TIMEOUT, chain.connect(&to.place, to.tls)).await;
    let stream = opened.map_err(|_| SendError::Slow(CONNECT_TIMEOUT))?;
    let peer = at.first().ok_or_else(|| SendError::Connect(io::Error::other("it has no address")));
    Ok((h1(stream.map_err(SendError::Connect)?).await?, *peer?))
}

fn server_name(host: &Host) -> io::Result<ServerName<'static>> {
    match host {
        Host::Ip(ip) => Ok(ServerName::from(*ip)),
        Host::Name(name) => ServerName::try_from(name.clone()).map_err(io::Error::other),
    }
}

/// The first of these addresses that answers; each has a head start over the next.
pub(crate) async fn connect(at: &[SocketAddr]) -> io::Result<TcpStream> {
    let (mut tries, mut rest) = (JoinSet::new(), at.iter().copied());
    let mut failed = io::Error::other("it has no address");
    loop {
        match rest.next() {
            Some(next) => drop(tries.spawn(TcpStream::connect(next))),
            None if tries.is_empty() => return Err(failed),
            None => {}
        }
        tokio::select! {
            Some(done) = tries.join_next() => match done.map_err(io::Error::other).flatten() {
                Ok(tcp) => return tune(tcp),
                Err(e) => failed = e,
            },
            () = tokio::time::sleep(STAGGER), if rest.len() > 0 => {}
        }
    }
}

fn tune(tcp: TcpStream) -> io::Result<TcpStream> {
    tcp.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(&tcp, true)?;
    #[cfg(target_os = "linux")]
    rustix::net::sockopt::set_tcp_keepidle(&tcp, KEEPALIVE)?;
    Ok(tcp)
}

async fn h1<S>(stream: S) -> Result<Sender, SendError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut made = http1::Builder::new();
    made.max_buf_size(HEAD_MAX).max_headers(HEADERS_MAX);
    let (sender, driver) = made.handshake(TokioIo::new(stream)).await.map_err(SendError::Http)?;
    // Ends when the sender and the body of the last answer are gone.
    tokio::spawn(async move {
        if let Err(e) = driver.with_upgrades().await {
            tracing::debug!("upstream connection ended: {e}");
        }
    });
    Ok(Sender::H1(sender))
}

async fn h2<S>(stream: S) -> Result<Sender, SendError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut made = http2::Builder::new(TokioExecutor::new());
    made.timer(TokioTimer::new()).keep_alive_interval(KEEPALIVE).adaptive_window(true);
    made.max_header_list_size(HEAD_MAX as u32).max_concurrent_reset_streams(64);
    let (sender, driver) = made.handshake(TokioIo::new(stream)).await.map_err(SendError::Http)?;
    tokio::spawn(async move {
        if let Err(e) = driver.await {
            tracing::debug!("upstream connection ended: {e}");
        }
    });
    Ok(Sender::H2(sender))
}

enum Sender {
    H1(http1::SendRequest<Body>),
    H2(http2::SendRequest<Body>),
}

type Failed = TrySendError<Request<Body>>;

impl Sender {
    fn is_ready(&self) -> bool {
        match self {
            Self::H1(sender) => sender.is_ready(),
            Self::H2(sender) => sender.is_ready(),
        }
    }

    async fn send(
        &mut self,
        mut request: Request<Body>,
        to: &To,
    ) -> Result<Response<Incoming>, Failed> {
        match self {
            Self::H1(sender) => sender.try_send_request(request).await,
            Self::H2(sender) => {
                request.headers_mut().remove(hyper::header::HOST);
                let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
                let uri = format!("https://{}{path}", to.place.header(443));
                // Both parts were judged before, so together they are an address.
                *request.uri_mut() = uri.parse().unwrap_or_default();
                sender.try_send_request(request).await
            }
        }
    }
}

struct Idle {
    to: To,
    peer: SocketAddr,
    sender: Sender,
    since: Instant,
}

/// The idle upstream connections of one session.
#[derive(Default)]
pub(crate) struct Pool {
    idle: Arc<Mutex<Vec<Idle>>>,
    chain: Option<Arc<dyn Chain>>,
}

/// Told when a request's body went out whole; before that its connection is not used again.
pub(crate) type Whole = Arc<std::sync::atomic::AtomicBool>;

impl Pool {
    /// Of connections through another proxy, if there is one.
    pub(crate) fn through(chain: Option<Arc<dyn Chain>>) -> Self {
        Self { idle: Arc::default(), chain }
    }

    /// Sends a request whose target and headers are final; returns when the head of the answer is here.
    /// Dropping the future or the answer's body ends the exchange with the upstream as well.
    pub(crate) async fn send(
        &self,
        dialer: &Dialer,
        (to, at): (&To, &[SocketAddr]),
        mut request: Request<Body>,
        (whole, patience): (&Whole, Duration),
    ) -> Result<(Response<Incoming>, SocketAddr), SendError> {
        if let Some(chain) = self.chain.as_ref().filter(|_| !to.tls) {
            let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
            // Both parts were judged before, so together they are an address.
            *request.uri_mut() =
                format!("http://{}{path}", to.place.header(80)).parse().unwrap_or_default();
            let shown = chain.authorization();
            shown.map(|value| request.headers_mut().insert(PROXY_AUTHORIZATION, value));
        }
        loop {
            let (mut sender, peer, reused) = match self.take(to, at) {
                Some(idle) => (idle.sender, idle.peer, true),
                None => {
                    let (sender, peer) = match &self.chain {
                        Some(chain) => chained(&**chain, to, at).await?,
                        None => dialer.dial(to, at).await?,
                    };
                    (sender, peer, false)
                }
            };
            let sent = timeout(patience, sender.send(request, to)).await;
            match sent.map_err(|_| SendError::Slow(patience))? {
                Ok(answer) => {
                    let early = !whole.load(std::sync::atomic::Ordering::Acquire);
                    if !early && answer.status() != hyper::StatusCode::SWITCHING_PROTOCOLS {
                        self.put_when_idle(to.clone(), peer, sender);
                    }
                    return Ok((answer, peer));
                }
                Err(mut failed) => match failed.take_message() {
                    // The upstream had closed an idle connection: not one byte was sent.
                    Some(unsent) if reused => request = unsent,
                    _ => return Err(SendError::Http(failed.into_error())),
                },
            }
        }
    }

    fn take(&self, to: &To, at: &[SocketAddr]) -> Option<Idle> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        sweep(&mut idle);
        let found = idle.iter().rposition(|one| one.to == *to && at.contains(&one.peer))?;
        if let Sender::H2(sender) = &idle[found].sender {
            let sender = Sender::H2(sender.clone());
            idle[found].since = Instant::now();
            return Some(Idle {
                to: to.clone(),
                peer: idle[found].peer,
                sender,
                since: Instant::now(),
            });
        }
        Some(idle.swap_remove(found))
    }

    /// Waits in the background until the answer was read to its end, then keeps the connection a while.
    fn put_when_idle(&self, to: To, peer: SocketAddr, mut sender: Sender) {
        let pool = Arc::downgrade(&self.idle);
        tokio::spawn(async move {
            if let Sender::H1(sender) = &mut sender
                && sender.ready().await.is_err()
            {
                return;
            }
            let Some(idle) = pool.upgrade() else { return };
            put(&idle, Idle { to, peer, sender, since: Instant::now() });
        });
    }

    /// Ends connections that nobody used for a while.
    pub(crate) fn tidy(&self) {
        sweep(&mut self.idle.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn put(idle: &Mutex<Vec<Idle>>, one: Idle) {
    let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
    sweep(&mut idle);
    // One connection of HTTP/2 carries everything.
    let twin = |other: &Idle| matches!(other.sender, Sender::H2(_)) && other.to == one.to;
    if idle.len() < IDLE_MAX && !(matches!(one.sender, Sender::H2(_)) && idle.iter().any(twin)) {
        idle.push(one);
    }
}

fn sweep(idle: &mut Vec<Idle>) {
    idle.retain(|one| one.sender.is_ready() && one.since.elapsed() < IDLE_TIMEOUT);
}

#[cfg(test)]
mod tests;
