//! A connection of a box: its first head decides where it goes.
//!
//! ```text
//! CONNECT …                      ─▶ tunnel
//! /v1/… at 127.0.0.1:3128        ─▶ the model's API, with the model's credential
//! http://NAME.host.internal/…    ─▶ a service of this machine that the owner declared
//! http://vault.internal/…        ─▶ help
//! http://anywhere/…              ─▶ exchange, without any secret
//! ```
//!
//! It carries one request, so there is no second one to smuggle. Read next: `tunnel`, `exchange`.

use crate::exchange::{self, Kind, Route};
use crate::refusal::{DRAIN_TIMEOUT, Refusal};
use crate::serve::{Session, Vault};
use crate::upstream::To;
use crate::{Answer, head, help, identity, inject, model};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use nanoclaw_policy::{Authority, Host};
use std::convert::Infallible;
use std::io::Cursor;
use std::sync::Arc;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Names under which a box addresses the model's API; the real address is the vault's business.
const MODEL: [&str; 4] =
    ["127.0.0.1:3128", "localhost:3128", "api.anthropic.com", "api.anthropic.com:80"];
const SERVICES: &str = ".host.internal";

/// Serves one connection.
pub(crate) async fn connection(vault: &Arc<Vault>, session: &Arc<Session>, mut stream: UnixStream) {
    let head = match head::read(&mut stream).await {
        Ok(Some(head)) => head,
        Ok(None) => return,
        Err(refusal) => return refuse(vault, session, &refusal.for_model(), &mut stream).await,
    };
    if head.starts_with(b"CONNECT ") {
        return crate::tunnel::connect(vault, session, stream, head).await;
    }
    let (read, write) = stream.into_split();
    let io = TokioIo::new(tokio::io::join(Cursor::new(head).chain(read), write));
    let service = service_fn(async |request: Request<Incoming>| {
        Ok::<_, Infallible>(answer(vault, session, request).await)
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .serve_connection(io, service)
        .with_upgrades()
        .await;
    if let Err(e) = served {
        tracing::debug!(session = session.id, "connection ended early: {e}");
    }
}

/// Refuses a connection before there is a request to answer.
pub(crate) async fn refuse(
    vault: &Vault,
    session: &Session,
    refusal: &Refusal,
    stream: &mut UnixStream,
) {
    let id = vault.next_id();
    exchange::note_refused(vault, session, None, refusal);
    identity::slow_down(session).await;
    refusal.write(stream, &id).await;
}

/// Where a request goes.
enum Way {
    Help,
    To(Route),
}

async fn answer(vault: &Arc<Vault>, session: &Arc<Session>, request: Request<Incoming>) -> Answer {
    match way(vault, session, &request).await {
        Ok(Way::To(route)) => exchange::serve(vault, session, &route, request, None).await,
        Ok(Way::Help) => help::answer(vault, session, &request).await,
        Err(refusal) => {
            let rest = Limited::new(request.into_body(), 64 << 20).collect();
            drop(timeout(DRAIN_TIMEOUT, rest).await);
            exchange::note_refused(vault, session, None, &refusal);
            refusal.answer(&vault.next_id())
        }
    }
}

async fn way(
    vault: &Arc<Vault>,
    session: &Session,
    request: &Request<Incoming>,
) -> Result<Way, Refusal> {
    let said = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let uri = request.uri();
    let asked = uri.authority().map_or(said, |a| a.as_str());
    if !asked.eq_ignore_ascii_case(said) {
        let text = "the target and the host header name different hosts";
        return Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, "authority_mismatch", text));
    }
    if uri.scheme_str().is_some_and(|scheme| scheme != "http") {
        let text = "only http:// is asked for in full; for https:// a client sends CONNECT";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "use_connect", text));
    }
    if asked.eq_ignore_ascii_case(help::HOST) {
        return Ok(Way::Help);
    }
    if MODEL.iter().any(|host| host.eq_ignore_ascii_case(asked)) {
        return to_model(vault, request);
    }
    if uri.authority().is_none() {
        let text =
            "this is a proxy: name the whole address, or use the model's API at its own paths";
        return Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", text));
    }
    let place = Authority::parse(asked, Some(80)).map_err(|e| {
        Refusal::new(StatusCode::BAD_REQUEST, "bad_authority", format!("{asked:?}: {e}"))
    })?;
    let policy = vault.policy();
    let token = request.headers().get(PROXY_AUTHORIZATION).map(HeaderValue::to_str);
    identity::check(vault, session, &policy, token.and_then(Result::ok)).await?;
    let service = match &place.host {
        Host::Name(name) => name.strip_suffix(SERVICES),
        Host::Ip(_) => None,
    };
    let service = service.and_then(|name| policy.host_service(&session.agent, name));
    let kind = service.map_or(Kind::Web, |service| Kind::Service(service.to));
    let to = To { place, tls: false, h2: false };
    Ok(Way::To(Route { to, prefix: String::new(), kind }))
}

/// Only what a harness needs to talk to a model is open.
fn to_model(vault: &Vault, request: &Request<Incoming>) -> Result<Way, Refusal> {
    let path = request.uri().path();
    if model::open(request.method(), path) {
        let credential = vault.credential.get().ok().flatten();
        let credential = credential.ok_or_else(|| inject::no_credential().for_model())?;
        return credential.base_url.route().map(Way::To);
    }
    let text = format!(
        "{} {path} is not open to a box: only messages, token counting and the list of models are",
        request.method()
    );
    Err(Refusal::blocked("blocked_by_policy", text).for_model())
}
