//! Connections to the upstream: one address, verified TLS, a small pool per session.
//!
//! Sessions never share a connection, redirects are never followed, and the address comes from the owner's
//! setting alone, never from a box. Read next: `proxy`, the only user.

use crate::VaultError;
use http_body_util::Limited;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A model may think for minutes before the first byte of an answer that is not streamed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(600);
const IDLE_MAX: usize = 4;
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How soon a peer that vanished during a stream is noticed.
const KEEPALIVE: Duration = Duration::from_secs(60);

type Body = Limited<Incoming>;
type Sender = SendRequest<Body>;

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

    /// For the `Host` header.
    pub(crate) fn authority(&self) -> String {
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }

    /// The request target for a path of the API.
    pub(crate) fn target(&self, path_and_query: &str) -> Option<Uri> {
        format!("{}{path_and_query}", self.prefix).parse().ok()
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

/// Opens connections.
pub(crate) struct Dialer {
    tls: TlsConnector,
}

impl Dialer {
    /// Trusts what this machine trusts; `SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured.
    pub(crate) fn new() -> Result<Self, VaultError> {
        let found = rustls_native_certs::load_native_certs();
        for e in &found.errors {
            tracing::warn!("reading root certificates: {e}");
        }
        let mut roots = RootCertStore::empty();
        let (added, _unreadable) = roots.add_parsable_certificates(found.certs);
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
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }

    async fn dial(&self, to: &BaseUrl) -> Result<Sender, SendError> {
        let connecting = async {
            let host = to.host.trim_matches(['[', ']']);
            let tcp = TcpStream::connect((host, to.port)).await.map_err(SendError::Connect)?;
            tune(&tcp).map_err(SendError::Connect)?;
            if !to.tls {
                return handshake(tcp).await;
            }
            let name = ServerName::try_from(host.to_owned())
                .map_err(|e| SendError::Connect(io::Error::other(e)))?;
            handshake(self.tls.connect(name, tcp).await.map_err(SendError::Connect)?).await
        };
        let slow = |_| Err(SendError::Slow(CONNECT_TIMEOUT));
        timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(slow)
    }
}

fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(tcp, true)?;
    #[cfg(target_os = "linux")]
    rustix::net::sockopt::set_tcp_keepidle(tcp, KEEPALIVE)?;
    Ok(())
}

async fn handshake<S>(stream: S) -> Result<Sender, SendError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(SendError::Http)?;
    // Ends when the sender and the body of the last answer are gone.
    tokio::spawn(async move {
        if let Err(e) = driver.await {
            tracing::debug!("upstream connection ended: {e}");
        }
    });
    Ok(sender)
}

struct Idle {
    to: BaseUrl,
    sender: Sender,
    since: Instant,
}

/// The idle upstream connections of one session.
#[derive(Default)]
pub(crate) struct Pool {
    idle: Arc<Mutex<Vec<Idle>>>,
}

impl Pool {
    /// Sends a request whose target and headers are final; returns when the head of the answer is here.
    /// Dropping the future or the answer's body ends the exchange with the upstream as well.
    pub(crate) async fn send(
        &self,
        dialer: &Dialer,
        to: &BaseUrl,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, SendError> {
        loop {
            let (mut sender, reused) = match self.take(to) {
                Some(sender) => (sender, true),
                None => (dialer.dial(to).await?, false),
            };
            let sent = timeout(HEAD_TIMEOUT, sender.try_send_request(request)).await;
            match sent.map_err(|_| SendError::Slow(HEAD_TIMEOUT))? {
                Ok(answer) => {
                    self.put_when_idle(to.clone(), sender);
                    return Ok(answer);
                }
                Err(mut failed) => match failed.take_message() {
                    // The upstream had closed an idle connection: not one byte was sent.
                    Some(unsent) if reused => request = unsent,
                    _ => return Err(SendError::Http(failed.into_error())),
                },
            }
        }
    }

    fn take(&self, to: &BaseUrl) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        sweep(&mut idle);
        let at = idle.iter().rposition(|one| one.to == *to)?;
        Some(idle.swap_remove(at).sender)
    }

    /// Waits in the background until the answer was read to its end, then keeps the connection a while.
    fn put_when_idle(&self, to: BaseUrl, mut sender: Sender) {
        let pool = Arc::downgrade(&self.idle);
        tokio::spawn(async move {
            if sender.ready().await.is_err() {
                return;
            }
            let Some(idle) = pool.upgrade() else { return };
            let since = Instant::now();
            put(&idle, Idle { to, sender, since });
            drop(idle);
            tokio::time::sleep(IDLE_TIMEOUT).await;
            if let Some(idle) = pool.upgrade() {
                sweep(&mut idle.lock().unwrap_or_else(PoisonError::into_inner));
            }
        });
    }
}

fn put(idle: &Mutex<Vec<Idle>>, one: Idle) {
    let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
    sweep(&mut idle);
    if idle.len() < IDLE_MAX {
        idle.push(one);
    }
}

fn sweep(idle: &mut Vec<Idle>) {
    idle.retain(|one| one.sender.is_ready() && one.since.elapsed() < IDLE_TIMEOUT);
}

#[cfg(test)]
mod tests;
