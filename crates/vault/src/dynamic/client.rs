//! Asks a token server: one connection, one request, a small answer. No redirect is followed.

use super::Problem;
use crate::VaultError;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use nanoclaw_policy::Authority;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_MAX: usize = 256 << 10;

/// Where a token server is: `https`, or plain `http` on this machine.
#[derive(Debug, Clone)]
pub(super) struct Url {
    tls: bool,
    place: Authority,
    target: Uri,
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Self, VaultError> {
        let bad = |why: &str| VaultError::Refused(format!("the address {text:?} {why}"));
        let uri: Uri = text.parse().map_err(|_| bad("is not a URL"))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad("starts with neither https:// nor http://")),
        };
        let authority = uri.authority().filter(|a| !a.as_str().contains('@'));
        let authority = authority.ok_or_else(|| bad("names no host, or a user too"))?;
        let port = if tls { 443 } else { 80 };
        let place = Authority::parse(authority.as_str(), Some(port));
        let place = place.map_err(|e| bad(&e.to_string()))?;
        let host = place.host.to_string();
        if !tls && !["127.0.0.1", "::1", "localhost"].contains(&host.as_str()) {
            return Err(bad("would send the secret unencrypted; use https://"));
        }
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let target = target.parse().map_err(|_| bad("has no path that can be asked for"))?;
        Ok(Self { tls, place, target })
    }

    pub(super) fn place(&self) -> Authority {
        self.place.clone()
    }

    pub(super) fn path(&self) -> &str {
        self.target.path()
    }
}

/// What is sent.
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) kind: &'static str,
    pub(super) body: String,
}

pub(super) struct Client {
    tls: TlsConnector,
}

impl Client {
    /// Trusts what this machine trusts.
    pub(super) fn new() -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Self { tls: TlsConnector::from(Arc::new(config)) }
    }

    /// The answer's status and its body; the body may hold secrets and is shown to nobody.
    pub(super) async fn ask(
        &self,
        url: &Url,
        question: Question,
    ) -> Result<(StatusCode, Bytes), Problem> {
        let host = url.place.host.to_string();
        let failed = |what: &dyn std::fmt::Display| {
            Problem::Unreachable(format!("{} cannot be asked: {what}", url.place))
        };
        let asked = async {
            let address = (host.trim_matches(['[', ']']).to_owned(), url.place.port);
            let tcp = TcpStream::connect(address).await.map_err(|e| failed(&e))?;
            if !url.tls {
                return exchange(url, question, tcp).await.map_err(|e| failed(&e));
            }
            let name = ServerName::try_from(host.clone()).map_err(|e| failed(&e))?;
            let tls = self.tls.connect(name, tcp).await.map_err(|e| failed(&e))?;
            exchange(url, question, tls).await.map_err(|e| failed(&e))
        };
        match tokio::time::timeout(TIMEOUT, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(failed(&"it takes too long")),
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn exchange(
    url: &Url,
    question: Question,
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<(StatusCode, Bytes), Failure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
    let running = tokio::spawn(connection);
    let Question { method, headers, kind, body } = question;
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = method;
    *request.uri_mut() = url.target.clone();
    *request.headers_mut() = headers;
    let port = if url.tls { 443 } else { 80 };
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_str(&url.place.header(port))?);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static("nanoclaw"));
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await?.to_bytes();
    running.abort();
    Ok((status, body))
}
