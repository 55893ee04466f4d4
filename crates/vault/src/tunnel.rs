//! `CONNECT`: who asks, where to, and then TLS with a certificate of our own, so that each request is judged.
//!
//! ```text
//! CONNECT ─▶ token ─▶ policy ─▶ addresses ─▶ 200 ─▶ ClientHello ─┬▶ our TLS ─▶ h1 (guard) or h2 ─▶ exchange
//!                                                              └▶ a rule says tunnel: bytes, unread
//! ```
//! Read next: `exchange`.

use crate::audit::Entry;
use crate::exchange::{self, Route};
use crate::guard::{Guard, Judgement, REFUSED};
use crate::live::Revoked;
use crate::refusal::Refusal;
use crate::scan::{Needles, Scrub};
use crate::serve::{Session, Vault, clock};
use crate::upstream::{self, To};
use crate::{Answer, front, head, identity, ws};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use nanoclaw_policy::{Asking, Authority, Bound, Carry, Host, Verdict};
use rustls::server::Acceptor;
use std::convert::Infallible;
use std::io::{self, Cursor};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
const HELLO_MAX: usize = 64 << 10;
const STREAMS_MAX: u32 = 64;
/// What an HTTP/2 connection may have sent that nobody took yet: of one request, and of all.
const H2_WINDOW: u32 = 256 << 10;
const H2_WINDOWS: u32 = 512 << 10;
/// A tunnel that nobody looks into ends when nothing went either way for so long.
const TUNNEL_IDLE: Duration = Duration::from_secs(600);
/// TLS alert: fatal, unrecognized_name.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Serves a connection whose first request is `CONNECT`; `buf` begins with its head.
pub(crate) async fn connect(
    vault: &Arc<Vault>,
    session: &Arc<Session>,
    mut stream: UnixStream,
    buf: Vec<u8>,
) {
    let end = buf.windows(head::END.len()).position(|w| w == head::END);
    let (head, rest) = buf.split_at(end.map_or(buf.len(), |at| at + head::END.len()));
    let (place, carry, at) = match admit(vault, session, head).await {
        Ok(admitted) => admitted,
        Err(refusal) => return front::refuse(vault, session, &refusal, &mut stream).await,
    };
    let established = b"HTTP/1.1 200 Connection established\r\n\r\n";
    if stream.write_all(established).await.is_err() {
        return;
    }
    let hello = timeout(HELLO_TIMEOUT, hello(&mut stream, rest.to_vec())).await;
    let raw = match hello.unwrap_or(Err(NoHello::Silent)) {
        Ok((raw, name)) if named(&place.host, name.as_deref()) => raw,
        Ok(_) => {
            note(vault, session, &place, "sni_mismatch", (0, 0));
            // The box learns it from the end of the connection just as well.
            drop(stream.write_all(&UNRECOGNIZED_NAME).await);
            return;
        }
        Err(why) => return note(vault, session, &place, why.code(), (0, 0)),
    };
    match carry {
        Carry::Tunnel => pass(vault, session, &place, (stream, raw), &at).await,
        Carry::Mitm => intercept(vault, session, place, (stream, raw)).await,
    }
}

/// Notes a connection of which no request was seen.
fn note(
    vault: &Vault,
    session: &Session,
    place: &Authority,
    what: &'static str,
    bytes: (u64, u64),
) {
    vault.note(Entry {
        host: place.host.to_string(),
        port: place.port,
        decision: what.to_owned(),
        up: bytes.0,
        down: bytes.1,
        ..session.entry("tunnel")
    });
}

/// Steps 2 to 5: a well-formed place, a known caller, the policy's leave, addresses that are allowed.
async fn admit(
    vault: &Arc<Vault>,
    session: &Arc<Session>,
    head: &[u8],
) -> Result<(Authority, Carry, Vec<SocketAddr>), Refusal> {
    // Checked when it was read: ASCII lines with a colon each.
    let text = std::str::from_utf8(head).map_err(|_| head::bad("the head is not ASCII"))?;
    let mut lines = text.split("\r\n");
    let target = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let place = Authority::parse(target, None).map_err(|e| {
        Refusal::new(StatusCode::BAD_REQUEST, "bad_authority", format!("{target:?}: {e}"))
    })?;
    let policy = vault.policy();
    let field = |line: &'_ str| {
        line.split_once(':').map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()))
    };
    let given = lines.filter_map(field).find(|(name, _)| name == "proxy-authorization");
    identity::check(vault, session, &policy, given.as_ref().map(|(_, value)| value.as_str()))
        .await?;
    // A name is looked up, and so it is told to whoever answers for it.
    vault.wallet.tripwire().look("host", target.as_bytes()).map_err(|leak| {
        vault.alarm(session, "placeholder_leak", &leak.to_string());
        Refusal::blocked("placeholder_leak", leak.to_string())
    })?;
    let agent = &session.agent;
    let bound = vault.wallet.bound(agent, &place).await?;
    let asking = Asking {
        agent,
        authority: &place,
        tls: true,
        method: None,
        other_methods: &[],
        target: None,
        bound: if bound.is_empty() { Bound::No } else { Bound::Host },
        remembered: vault.remembered(agent, &place),
    };
    let decision = policy.decide(&asking);
    if let Verdict::Block { code, rule, why } = &decision.verdict {
        if let (None, true) = (rule, bound.is_empty())
            && let Some(missing) = vault.wallet.missing(&place).await
        {
            return Err(missing);
        }
        return Err(exchange::blocked(code, rule.as_deref(), why));
    }
    // What is asked about a request that can be seen is asked when it is here, and so is what counts it.
    if decision.carry == Carry::Tunnel {
        if matches!(decision.verdict, Verdict::Ask { .. }) {
            vault.hold(exchange::may_use(session, &place)).await?;
        }
        vault.take(&decision.limits, session).await?;
    }
    // A name is looked up when somebody said that the agent may go there, not before.
    let at = match (&decision.verdict, decision.carry) {
        (Verdict::Ask { .. }, Carry::Mitm) => Vec::new(),
        _ => vault.resolver.checked(&place, &policy).await?,
    };
    Ok((place, decision.carry, at))
}

/// Why there is no TLS to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoHello {
    NotTls,
    Silent,
}

impl NoHello {
    fn code(self) -> &'static str {
        match self {
            Self::NotTls => "not_tls",
            Self::Silent => "no_hello",
        }
    }
}

/// Reads a whole ClientHello; gives back its bytes and the name in it.
async fn hello(
    stream: &mut (impl AsyncRead + Unpin),
    mut raw: Vec<u8>,
) -> Result<(Vec<u8>, Option<String>), NoHello> {
    loop {
        if let Some(name) = peek(&raw)? {
            return Ok((raw, name));
        }
        if !stream.read_buf(&mut raw).await.is_ok_and(|n| n > 0) {
            return Err(NoHello::Silent);
        }
    }
}

/// The server name in these first bytes, once they are a whole ClientHello.
pub(crate) fn peek(raw: &[u8]) -> Result<Option<Option<String>>, NoHello> {
    // A record of a handshake; anything else is another protocol.
    if raw.first().is_some_and(|first| *first != 22) || raw.len() > HELLO_MAX {
        return Err(NoHello::NotTls);
    }
    let (mut acceptor, mut rest) = (Acceptor::default(), raw);
    while !rest.is_empty() {
        acceptor.read_tls(&mut rest).map_err(|_| NoHello::NotTls)?;
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                return Ok(Some(accepted.client_hello().server_name().map(str::to_owned)));
            }
            Ok(None) => {}
            Err(_) => return Err(NoHello::NotTls),
        }
    }
    Ok(None)
}

fn named(host: &Host, name: Option<&str>) -> bool {
    match (host, name) {
        (Host::Ip(_), None) => true,
        (Host::Name(host), Some(name)) => {
            name.strip_suffix('.').unwrap_or(name).eq_ignore_ascii_case(host)
        }
        _ => false,
    }
}

/// Carries bytes that nobody reads; no secret goes in.
async fn pass(
    vault: &Vault,
    session: &Session,
    place: &Authority,
    (mut stream, raw): (UnixStream, Vec<u8>),
    at: &[SocketAddr],
) {
    let carried = async {
        let mut upstream = upstream::connect(at).await?;
        upstream.write_all(&raw).await?;
        both_ways(&mut stream, &mut upstream).await
    };
    match carried.await {
        Ok(bytes) => note(vault, session, place, "tunnel", bytes),
        Err(e) => {
            tracing::debug!(session = session.id, "tunnel: {e}");
            note(vault, session, place, "tunnel", (0, 0));
        }
    }
}

/// Copies until both sides ended, or nothing moves any more; tells the bytes up and down.
pub(crate) async fn both_ways<A, B>(a: &mut A, b: &mut B) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let ((mut a_read, mut a_write), (mut b_read, mut b_write)) =
        (tokio::io::split(a), tokio::io::split(b));
    let last = std::sync::Mutex::new(tokio::time::Instant::now());
    let copying = async {
        tokio::try_join!(
            one_way(&mut a_read, &mut b_write, &last),
            one_way(&mut b_read, &mut a_write, &last)
        )
    };
    let silent = async {
        loop {
            let until =
                *last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) + TUNNEL_IDLE;
            if until <= tokio::time::Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    };
    tokio::select! {
        done = copying => done,
        () = silent => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn one_way(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    last: &std::sync::Mutex<tokio::time::Instant>,
) -> io::Result<u64> {
    let (mut buf, mut bytes) = (vec![0; 16 << 10], 0);
    loop {
        let n = from.read(&mut buf).await?;
        if n == 0 {
            to.shutdown().await?;
            return Ok(bytes);
        }
        to.write_all(&buf[..n]).await?;
        bytes += n as u64;
        *last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            tokio::time::Instant::now();
    }
}

/// Carries the frames of a WebSocket, searched both ways, after its handshake was answered.
pub(crate) fn join(
    vault: &Arc<Vault>,
    session: &Arc<Session>,
    place: &Authority,
    (box_side, upstream): (OnUpgrade, OnUpgrade),
    scrub: Option<Scrub>,
    (cut, slot): (Option<Revoked>, impl Send + 'static),
) {
    let scrub = scrub.unwrap_or_else(|| Scrub::new(Arc::new(Needles::new([]))));
    let (vault, session, place) = (Arc::clone(vault), Arc::clone(session), place.clone());
    tokio::spawn(async move {
        // It counts among the session's requests until it is over.
        let _slot = slot;
        let Ok((box_side, upstream)) = tokio::try_join!(box_side, upstream) else { return };
        let (tripwire, mut closed) = (vault.wallet.tripwire(), session.closed.subscribe());
        let relay = ws::relay(TokioIo::new(box_side), TokioIo::new(upstream), tripwire, scrub);
        let revoked = async {
            let Some(cut) = cut else { return std::future::pending().await };
            if cut.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let ended = tokio::select! {
            ended = relay => ended,
            () = revoked => return note(&vault, &session, &place, "revoked", (0, 0)),
            _ = closed.wait_for(|closed| *closed) => return,
        };
        if let Some(leak) = &ended.leak {
            let text = format!("{leak} (in a WebSocket to {place})");
            vault.alarm(&session, "placeholder_leak", &text);
        }
        note(&vault, &session, &place, "websocket", (ended.up, ended.down));
    });
}

/// Ends the box's TLS here and serves what is inside.
async fn intercept(
    vault: &Arc<Vault>,
    session: &Arc<Session>,
    place: Authority,
    (stream, raw): (UnixStream, Vec<u8>),
) {
    let config = match vault.ca.config(&place, clock()) {
        Ok(config) => config,
        Err(e) => return tracing::error!("a certificate for {place}: {e}"),
    };
    let (read, write) = stream.into_split();
    let stream = tokio::io::join(Cursor::new(raw).chain(read), write);
    let accepted =
        timeout(HELLO_TIMEOUT, tokio_rustls::TlsAcceptor::from(config).accept(stream)).await;
    let Ok(Ok(tls)) = accepted else {
        // Most often a program in the box that trusts other roots than ours.
        return note(vault, session, &place, "tls_failed", (0, 0));
    };
    let h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let route = Route::web(To { place, tls: true, h2 });
    let served = if h2 {
        serve_h2(vault, session, &route, tls).await
    } else {
        serve_h1(vault, session, &route, tls).await
    };
    if let Err(e) = served {
        tracing::debug!(session = session.id, "connection ended early: {e}");
    }
}

async fn serve_h1<S>(
    vault: &Arc<Vault>,
    session: &Arc<Session>,
    route: &Route,
    tls: S,
) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let told = Arc::new(Judgement::default());
    let io = TokioIo::new(Guard::new(tls, Arc::clone(&told)));
    let service = service_fn(async |request: Request<Incoming>| {
        if request.method().as_str() == REFUSED {
            let refusal = told.refusal();
            exchange::note_refused(vault, session, Some(&route.to.place), &refusal);
            identity::slow_down(session).await;
            return Ok::<Answer, Infallible>(refusal.answer(&vault.next_id()));
        }
        Ok(exchange::serve(vault, session, route, request, Some(&told)).await)
    });
    http1().serve_connection(io, service).with_upgrades().await
}

/// Reads what a [`Guard`] lets through.
pub(crate) fn http1() -> http1::Builder {
    let mut http1 = http1::Builder::new();
    http1.timer(TokioTimer::new()).header_read_timeout(None);
    http1.max_headers(head::FIELDS_MAX + 1).auto_date_header(false);
    http1
}

async fn serve_h2<S>(
    vault: &Arc<Vault>,
    session: &Arc<Session>,
    route: &Route,
    tls: S,
) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let (vault, session, route) = (Arc::clone(vault), Arc::clone(session), route.clone());
        async move {
            Ok::<_, Infallible>(exchange::serve(&vault, &session, &route, request, None).await)
        }
    });
    http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(head::HEAD_MAX as u32)
        .max_pending_accept_reset_streams(32)
        .max_local_error_reset_streams(64)
        .initial_stream_window_size(H2_WINDOW)
        .initial_connection_window_size(H2_WINDOWS)
        .keep_alive_interval(Duration::from_secs(60))
        .auto_date_header(false)
        .serve_connection(TokioIo::new(tls), service)
        .await
}

#[cfg(test)]
mod tests;
