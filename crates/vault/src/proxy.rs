//! One request: judged, rewritten, forwarded, and its answer streamed back.
//!
//! ```text
//! head::read ─▶ target (may it go?) ─▶ rewrite (whose credential?) ─▶ upstream ─▶ answer, frame by frame
//! ```
//!
//! What the box sent as a credential never leaves, and nothing is buffered. Only what a harness needs to
//! talk to a model is open: the API's stores (files, batches) belong to the whole account, so one session
//! could read another's through them. Read next: `upstream`.

use crate::head::{self, BODY_MAX};
use crate::serve::{Session, Vault};
use crate::store::{Credential, Kind};
use crate::{DUMMY, VaultError, upstream};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::error::Error;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};

/// Names under which the box may address the upstream; the real address is the vault's business.
const HOSTS: [&str; 4] =
    ["127.0.0.1:3128", "localhost:3128", "api.anthropic.com", "api.anthropic.com:80"];
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const BETA: HeaderName = HeaderName::from_static("anthropic-beta");
const OAUTH_BETA: &str = "oauth-2025-04-20";
/// About one connection, not about the request (RFC 9110, 7.6.1).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Credentials, and what tells where a request came from.
const NEVER_OUT: [&str; 9] = [
    "authorization",
    "x-api-key",
    "cookie",
    "expect",
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-real-ip",
];
/// What an upstream says to whoever holds the credential.
const NEVER_IN: [&str; 4] = ["set-cookie", "www-authenticate", "authentication-info", "alt-svc"];
/// How long the rest of a refused request is read, so that the refusal is not lost with the connection.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

type Answer = Response<BoxBody<Bytes, hyper::Error>>;

/// Why a request was not forwarded, in words for the agent.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(crate) fn body_too_large() -> Self {
        let text = format!("a request body has at most {} MB", BODY_MAX >> 20);
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", text)
    }

    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    fn blocked(why: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "blocked_by_policy", why)
    }

    /// The shape of the upstream's own errors, so that a harness shows the message.
    fn body(&self) -> String {
        let error = serde_json::json!({ "type": self.code, "message": self.message });
        serde_json::json!({ "type": "error", "error": error }).to_string()
    }

    fn retry(&self) -> &'static str {
        if self.status.is_server_error() { "true" } else { "false" }
    }

    fn answer(&self) -> Answer {
        let body = Full::new(Bytes::from(self.body())).map_err(|never| match never {}).boxed();
        let mut answer = Response::new(body);
        *answer.status_mut() = self.status;
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("x-should-retry", HeaderValue::from_static(self.retry()));
        headers.insert("x-vault-decision", HeaderValue::from_static(self.code));
        answer
    }

    /// The same answer where no HTTP library is in charge yet.
    async fn write(&self, to: &mut UnixStream) {
        let (status, code, retry, body) = (self.status, self.code, self.retry(), self.body());
        let text = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nx-should-retry: {retry}\r\n\
             x-vault-decision: {code}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let rest = async {
            to.write_all(text.as_bytes()).await?;
            to.shutdown().await?;
            tokio::io::copy(&mut to.take(BODY_MAX), &mut tokio::io::sink()).await
        };
        // The box may be gone already; then nobody waits for the refusal.
        drop(timeout(DRAIN_TIMEOUT, rest).await);
    }
}

/// Serves the one request of a connection.
pub(crate) async fn connection(vault: &Vault, session: &Arc<Session>, mut stream: UnixStream) {
    let head = match head::read(&mut stream).await {
        Ok(Some(head)) => head,
        Ok(None) => return,
        Err(refusal) => {
            log(session, None, refusal.status, Instant::now());
            return refusal.write(&mut stream).await;
        }
    };
    let (read, write) = stream.into_split();
    let io = TokioIo::new(tokio::io::join(Cursor::new(head).chain(read), write));
    let service = service_fn(async |request: Request<Incoming>| {
        let answer = answer(vault, session, request).await;
        Ok::<_, Infallible>(answer)
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .serve_connection(io, service)
        .await;
    if let Err(e) = served {
        tracing::debug!(session = session.id, "connection ended early: {e}");
    }
}

async fn answer(vault: &Vault, session: &Arc<Session>, request: Request<Incoming>) -> Answer {
    let since = Instant::now();
    vault.requests.fetch_add(1, Ordering::Relaxed);
    let (parts, body) = request.into_parts();
    let line = (parts.method.clone(), parts.uri.clone());
    let answer = match prepare(vault, parts) {
        Ok((head, credential)) => forward(vault, session, head, body, &credential).await,
        Err(refusal) => {
            let rest = Limited::new(body, BODY_MAX as usize).collect();
            drop(timeout(DRAIN_TIMEOUT, rest).await);
            Err(refusal)
        }
    };
    let answer = answer.unwrap_or_else(|refusal| refusal.answer());
    log(session, Some(&line), answer.status(), since);
    answer
}

/// One line per request: who, what, outcome, time to the first byte. Never a query, a header or a body.
fn log(session: &Session, line: Option<&(Method, Uri)>, status: StatusCode, since: Instant) {
    let (method, path) = line.map_or(("?", "?"), |(m, uri)| (m.as_str(), uri.path()));
    let (status, ms) = (status.as_u16(), since.elapsed().as_millis());
    tracing::info!(
        session = session.id,
        agent = session.agent,
        method,
        path,
        status,
        ms,
        "request"
    );
}

/// Everything that can be decided from the head alone.
fn prepare(vault: &Vault, mut parts: Parts) -> Result<(Parts, Arc<Credential>), Refusal> {
    target(&parts)?;
    let credential = vault.credential.get().map_err(|e| no_credential(Some(&e)))?;
    let credential = credential.ok_or_else(|| no_credential(None))?;
    rewrite(&mut parts.headers, &credential)?;
    let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    parts.uri = credential.base_url.target(path).ok_or_else(|| Refusal::blocked("no such path"))?;
    Ok((parts, credential))
}

/// Whether this request may go out at all; paths are compared literally, so there is one reading of them.
fn target(parts: &Parts) -> Result<(), Refusal> {
    let said = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let asked = parts.uri.authority().map_or(said, |a| a.as_str());
    if parts.method == Method::CONNECT {
        return Err(Refusal::blocked(format!(
            "this box has no tunnel to {asked:?}: the only thing it can reach is the model API at {}",
            crate::BOX_URL
        )));
    }
    if !asked.eq_ignore_ascii_case(said) {
        let text = "the target and the host header name different hosts";
        return Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, "authority_mismatch", text));
    }
    let plain = parts.uri.scheme_str().is_none_or(|scheme| scheme == "http");
    if !plain || !HOSTS.iter().any(|host| host.eq_ignore_ascii_case(asked)) {
        return Err(Refusal::blocked(format!(
            "{asked:?} cannot be reached from this box: only the model API can, at {}. Ask the owner of \
             this install if you need more",
            crate::BOX_URL
        )));
    }
    let path = parts.uri.path();
    let model = |id: &str| id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b));
    let open = match parts.method {
        Method::POST => matches!(path, "/v1/messages" | "/v1/messages/count_tokens"),
        Method::GET => {
            path == "/v1/models"
                || path
                    .strip_prefix("/v1/models/")
                    .is_some_and(|id| model(id) && !id.contains(".."))
        }
        _ => false,
    };
    if open {
        return Ok(());
    }
    Err(Refusal::blocked(format!(
        "{} {path} is not open to a box: only messages, token counting and the list of models are",
        parts.method
    )))
}

fn no_credential(why: Option<&VaultError>) -> Refusal {
    if let Some(e) = why {
        tracing::error!("the credential cannot be used: {e}");
    }
    let text = "no usable credential for the model API is stored here. The owner of this install runs \
                `nanoclaw setup` on the machine to store one";
    Refusal::new(StatusCode::UNAUTHORIZED, "authentication_error", text)
}

/// Takes away every credential and every trace of the box, then adds the one credential.
fn rewrite(headers: &mut HeaderMap, credential: &Credential) -> Result<(), Refusal> {
    strip(headers, &NEVER_OUT);
    let leaks = |v: &HeaderValue| v.as_bytes().windows(DUMMY.len()).any(|w| w == DUMMY.as_bytes());
    if headers.values().any(leaks) {
        let text = "the box's placeholder credential stands in a header where it does not belong";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "placeholder_leak", text));
    }
    let value = |text: &str| {
        let value = HeaderValue::from_str(text).map(|mut value| {
            value.set_sensitive(true);
            value
        });
        value.map_err(|_| no_credential(None))
    };
    let secret = credential.secret.expose();
    match credential.kind {
        Kind::ApiKey => headers.insert(API_KEY, value(secret)?),
        Kind::Oauth => headers.insert(AUTHORIZATION, value(&format!("Bearer {secret}"))?),
    };
    set_oauth_beta(headers, credential.kind);
    headers.insert(HOST, value(&credential.base_url.authority())?);
    Ok(())
}

/// The API accepts a token only with this beta, and the box cannot know which kind the vault holds.
fn set_oauth_beta(headers: &mut HeaderMap, kind: Kind) {
    let given: Vec<&str> = headers.get_all(BETA).iter().filter_map(|v| v.to_str().ok()).collect();
    let given = given.join(",");
    let mut betas: Vec<&str> =
        given.split(',').map(str::trim).filter(|b| !b.is_empty() && *b != OAUTH_BETA).collect();
    if kind == Kind::Oauth {
        betas.push(OAUTH_BETA);
    }
    match HeaderValue::from_str(&betas.join(",")) {
        Ok(value) if !betas.is_empty() => headers.insert(BETA, value),
        _ => headers.remove(BETA),
    };
}

/// Removes hop-by-hop headers, those that `Connection` names, and these.
fn strip(headers: &mut HeaderMap, more: &[&str]) {
    let named: Vec<String> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    for name in named.iter().map(String::as_str).chain(HOP_BY_HOP).chain(more.iter().copied()) {
        headers.remove(name);
    }
}

async fn forward(
    vault: &Vault,
    session: &Session,
    head: Parts,
    body: Incoming,
    credential: &Credential,
) -> Result<Answer, Refusal> {
    let request = Request::from_parts(head, Limited::new(body, BODY_MAX as usize));
    let sent = session.pool.send(&vault.dialer, &credential.base_url, request).await;
    let mut answer = sent.map_err(|e| unreachable_upstream(&e, credential))?;
    if answer.status().is_informational() {
        let text = "the model API answered with a protocol that was not asked for";
        return Err(Refusal::new(StatusCode::BAD_GATEWAY, "bad_upstream", text));
    }
    strip(answer.headers_mut(), &NEVER_IN);
    Ok(answer.map(http_body_util::BodyExt::boxed))
}

fn unreachable_upstream(e: &upstream::SendError, credential: &Credential) -> Refusal {
    let mut cause: Option<&(dyn Error + 'static)> = Some(e);
    while let Some(inner) = cause {
        if inner.is::<LengthLimitError>() {
            return Refusal::body_too_large();
        }
        cause = inner.source();
    }
    let to = credential.base_url.authority();
    tracing::warn!(to, "upstream failed: {e}");
    let text = format!("the model API did not answer: {e}");
    Refusal::new(StatusCode::BAD_GATEWAY, "upstream_unreachable", text)
}

#[cfg(test)]
mod tests;
