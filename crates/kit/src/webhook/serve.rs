//! One connection after the other: read within limits, handed to a route, answered.

use super::{Handler, Hook, Limits, Reply, Routes};
use crate::lock;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// Connections at a time; more wait in the system's queue.
const CONNECTIONS_MAX: usize = 256;

/// Longest time for a head, for a body, and for everything.
const HEAD_TIME: Duration = Duration::from_secs(10);
const BODY_TIME: Duration = Duration::from_secs(20);
const CALL_TIME: Duration = Duration::from_secs(60);

/// Longest head.
const HEAD_MAX: usize = 64 * 1024;

const MINUTE: Duration = Duration::from_secs(60);

/// A path with its handler.
pub(super) struct Route {
    limits: Limits,
    handler: Arc<dyn Handler>,
    /// When this minute began, and the calls in it.
    minute: Mutex<(Instant, u32)>,
}

impl Route {
    pub(super) fn new(limits: Limits, handler: Arc<dyn Handler>) -> Self {
        Self { limits, handler, minute: Mutex::new((Instant::now(), 0)) }
    }

    /// Counts a call; an error says how long to wait.
    fn count(&self) -> Result<(), Duration> {
        let mut minute = lock(&self.minute);
        let gone = minute.0.elapsed();
        if gone >= MINUTE {
            *minute = (Instant::now(), 0);
        }
        if minute.1 >= self.limits.per_minute {
            return Err(MINUTE.saturating_sub(gone));
        }
        minute.1 += 1;
        Ok(())
    }
}

pub(super) async fn serve(listener: TcpListener, routes: Arc<Routes>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // Never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, from)) => {
                let routes = Arc::clone(&routes);
                tokio::spawn(async move {
                    connection(stream, from.ip(), &routes).await;
                    drop(place);
                });
            }
            // Such as no more file descriptors: others may be given back.
            Err(error) => {
                tracing::warn!(%error, "a webhook's connection was not accepted");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

pub(super) async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    from: IpAddr,
    routes: &Arc<Routes>,
) {
    let service = hyper::service::service_fn(|request| {
        let routes = Arc::clone(routes);
        async move { Ok::<_, Infallible>(answer(request, from, &routes).await) }
    });
    let call = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_MAX)
        // An idle connection would hold a place.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CALL_TIME, call).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, %from, "a webhook's connection ended badly"),
        Err(_) => tracing::debug!(%from, "a webhook's connection took too long"),
    }
}

async fn answer(
    request: Request<Incoming>,
    from: IpAddr,
    routes: &Routes,
) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    if path == "/healthz" && matches!(*request.method(), Method::GET | Method::HEAD) {
        let mounts: Vec<String> = lock(routes).keys().cloned().collect();
        return respond(Reply::json(&serde_json::json!({ "mounts": mounts })));
    }
    let route = lock(routes).get(&path).cloned();
    let Some(route) = route else { return respond(Reply::status(404)) };
    if let Err(wait) = route.count() {
        let mut response = respond(Reply::status(429));
        let wait = HeaderValue::from(wait.as_secs().max(1));
        response.headers_mut().insert(RETRY_AFTER, wait);
        return response;
    }
    let (head, body) = request.into_parts();
    let body = match read(body, route.limits.body_max).await {
        Ok(body) => body,
        Err(status) => return respond(Reply::status(status)),
    };
    let query = head.uri.query().map(str::to_owned);
    let hook = Hook { method: head.method, path, query, headers: head.headers, body, from };
    respond(route.handler.call(hook).await)
}

async fn read(body: Incoming, max: usize) -> Result<Bytes, u16> {
    if body.size_hint().lower() > max as u64 {
        return Err(413);
    }
    match timeout(BODY_TIME, Limited::new(body, max).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(413),
        Ok(Err(_)) => Err(400),
        Err(_) => Err(408),
    }
}

fn respond(reply: Reply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    response
}
