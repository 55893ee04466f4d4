//! Asks OneCLI: one connection, one request, an answer of limited size. No redirect is followed.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use nanoclaw_policy::{Authority, Host};
use nanoclaw_secrets::Value;
use nanoclaw_vault::outside::Stream;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const ANSWER_MAX: usize = 4 << 20;
/// What a container calls the machine that it runs on.
const NAMES_OF_HERE: [&str; 5] = ["host.docker.internal", "gateway", "localhost", "0.0.0.0", "::"];

/// Where something of OneCLI's is: `https`, or plain `http` on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    tls: bool,
    place: Authority,
    prefix: String,
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let bad = |why: &str| format!("the address {text:?} {why}");
        let uri: Uri = text.trim().parse().map_err(|_| bad("is not a URL"))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad("starts with neither https:// nor http://")),
        };
        let authority = uri.authority().filter(|a| !a.as_str().contains('@'));
        let authority = authority.ok_or_else(|| bad("names no host, or a user too"))?;
        let place = Authority::parse(authority.as_str(), Some(if tls { 443 } else { 80 }));
        let place = place.map_err(|e| bad(&e.to_string()))?;
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { tls, place, prefix })
    }

    /// An address that OneCLI told: what it calls itself from a container's view is where its REST is.
    pub(crate) fn told(&self, text: &str) -> Result<Self, String> {
        let mut url = Self::parse(text)?;
        let name = url.place.host.to_string();
        if NAMES_OF_HERE.contains(&name.trim_matches(['[', ']'])) {
            url.place.host = self.place.host.clone();
        }
        Ok(url)
    }

    /// Connects; without TLS only to this machine, because a key goes along.
    pub(crate) async fn connect(&self, tls: &TlsConnector) -> Result<Box<dyn Stream>, String> {
        let host = self.place.host.to_string();
        let bare = host.trim_matches(['[', ']']);
        let failed = |e: std::io::Error| format!("{} cannot be reached: {e}", self.place);
        let found = tokio::net::lookup_host((bare, self.place.port)).await.map_err(failed)?;
        let found: Vec<_> = found.collect();
        if !self.tls && !found.iter().all(|at| is_here(at.ip())) {
            return Err(format!(
                "{} is not this machine: use https://, or the key is sent in clear",
                self.place
            ));
        }
        let tcp = TcpStream::connect(&*found).await.map_err(failed)?;
        tcp.set_nodelay(true).map_err(failed)?;
        if !self.tls {
            return Ok(Box::new(tcp));
        }
        let stream = tls.connect(server_name(&self.place.host)?, tcp).await.map_err(failed)?;
        Ok(Box::new(stream))
    }
}

/// Only an address of this machine can be bound.
fn is_here(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

pub(crate) fn server_name(host: &Host) -> Result<ServerName<'static>, String> {
    match host {
        Host::Ip(ip) => Ok(ServerName::from(*ip)),
        Host::Name(name) => ServerName::try_from(name.clone()).map_err(|e| e.to_string()),
    }
}

/// Trusts what this machine trusts, and this certificate as well.
pub(crate) fn tls(pem: Option<&str>) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(pem) = pem {
        let own = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| e.to_string())?;
        roots.add(own).map_err(|e| format!("OneCLI's certificate cannot be used: {e}"))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|e| e.to_string())?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Asks with the key of the owner.
pub(crate) struct Http {
    tls: TlsConnector,
    key: Option<Value>,
}

/// One request.
pub(crate) struct Ask<'a> {
    pub(crate) to: &'a Url,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Option<serde_json::Value>,
    pub(crate) within: Duration,
}

impl Http {
    pub(crate) fn new(key: Option<Value>) -> Result<Self, String> {
        Ok(Self { tls: tls(None)?, key })
    }

    /// The answer's status and its body.
    pub(crate) async fn ask(&self, ask: Ask<'_>) -> Result<(u16, Bytes), String> {
        let within = ask.within;
        match tokio::time::timeout(within, self.exchange(ask)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("OneCLI did not answer within {} seconds", within.as_secs())),
        }
    }

    async fn exchange(&self, ask: Ask<'_>) -> Result<(u16, Bytes), String> {
        let said = |e: &dyn std::fmt::Display| format!("{}: {e}", ask.to.place);
        let io = TokioIo::new(ask.to.connect(&self.tls).await?);
        let (mut sender, connection) = http1::handshake(io).await.map_err(|e| said(&e))?;
        // Dropped with the answer, so that nothing waits for a peer that does not end.
        let running = tokio::spawn(connection);
        let text = ask.body.map(|body| body.to_string()).unwrap_or_default();
        let mut request = Request::new(Full::new(Bytes::from(text)));
        *request.method_mut() = ask.method;
        *request.uri_mut() =
            format!("{}{}", ask.to.prefix, ask.path).parse().map_err(|e| said(&e))?;
        let host = ask.to.place.header(if ask.to.tls { 443 } else { 80 });
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_str(&host).map_err(|e| said(&e))?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = &self.key {
            let shown = HeaderValue::from_str(&format!("Bearer {}", key.expose().trim()));
            let mut shown = shown.map_err(|_| "the API key of OneCLI cannot stand in a header")?;
            shown.set_sensitive(true);
            headers.insert(AUTHORIZATION, shown);
        }
        let answer = sender.send_request(request).await.map_err(|e| said(&e))?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
        running.abort();
        Ok((status, body.map_err(|e| said(&e))?.to_bytes()))
    }
}
