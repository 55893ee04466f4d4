//! What stands between the adapter and the homeserver, and fails when told to.

use anyhow::Result;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use nanoclaw_conformance::Fault;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// A reverse proxy.
pub(crate) struct Proxy {
    pub(crate) address: String,
    pub(crate) shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

pub(crate) struct Shared {
    upstream: String,
    /// What the next sends meet.
    pub(crate) fault: Mutex<Option<(Fault, u32)>>,
    /// Whether the network is cut.
    pub(crate) cut: watch::Sender<bool>,
    pub(crate) calls: AtomicUsize,
    /// What syncs answered, to be answered again.
    answers: Mutex<Vec<Bytes>>,
    again: Mutex<Vec<Bytes>>,
    rung: Notify,
    pub(crate) bell: Arc<Notify>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Proxy {
    pub(crate) async fn start(upstream: String, bell: Arc<Notify>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let shared = Arc::new(Shared {
            upstream,
            fault: Mutex::new(None),
            cut: watch::Sender::new(false),
            calls: AtomicUsize::new(0),
            answers: Mutex::default(),
            again: Mutex::default(),
            rung: Notify::new(),
            bell,
        });
        let serving = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, serving })
    }

    /// Lets the homeserver say once more what it said with this event.
    pub(crate) fn again(&self, event: &str) {
        let answers = self.shared.answers.lock().unwrap();
        let has =
            |answer: &&Bytes| answer.windows(event.len()).any(|bytes| bytes == event.as_bytes());
        let answer = answers.iter().find(has).expect("the event came with an answer").clone();
        self.shared.again.lock().unwrap().push(answer);
        self.shared.rung.notify_waiters();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut cut = shared.cut.subscribe();
            let service = service_fn(|request| {
                let shared = Arc::clone(&shared);
                async move { answer(&shared, request).await.map_err(|_| std::io::Error::other("gone")) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ = connection => {}
                _ = cut.wait_for(|cut| *cut) => {}
            }
        });
    }
}

struct Gone;

fn json(status: u16, text: &str) -> Response<Full<Bytes>> {
    let response =
        Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
    response.body(Full::new(Bytes::copy_from_slice(text.as_bytes()))).unwrap()
}

async fn answer(
    shared: &Shared,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Gone> {
    shared.calls.fetch_add(1, Ordering::Relaxed);
    let path = request.uri().path().to_owned();
    let sends = request.method() == Method::PUT && path.contains("/send/m.");
    let fault = {
        let mut fault = shared.fault.lock().unwrap();
        match fault.as_mut() {
            Some((Fault::Revoked, _)) => Some(Fault::Revoked),
            Some((kind, left)) if sends && *left > 0 => {
                *left -= 1;
                Some(*kind)
            }
            _ => None,
        }
    };
    shared.bell.notify_waiters();
    match fault {
        Some(Fault::Busy { after }) => {
            let wait =
                after.map(|a| format!(",\"retry_after_ms\":{}", a.as_millis())).unwrap_or_default();
            return Ok(json(
                429,
                &format!("{{\"errcode\":\"M_LIMIT_EXCEEDED\",\"error\":\"slow\"{wait}}}"),
            ));
        }
        Some(Fault::Down) => return Ok(json(502, "<html>bad gateway</html>")),
        Some(Fault::Revoked) => {
            return Ok(json(401, "{\"errcode\":\"M_UNKNOWN_TOKEN\",\"error\":\"signed out\"}"));
        }
        Some(Fault::HalfOpen) => return std::future::pending().await,
        Some(Fault::AnswerLost) => {
            forward(shared, request).await?;
            return Err(Gone);
        }
        Some(Fault::MarkupRefused) | None => {}
    }
    if !path.ends_with("/sync") {
        return forward(shared, request).await;
    }
    let forwarded = forward(shared, request);
    tokio::pin!(forwarded);
    loop {
        let rung = shared.rung.notified();
        if let Some(answer) = shared.again.lock().unwrap().pop() {
            return Ok(json(200, std::str::from_utf8(&answer).unwrap()));
        }
        tokio::select! {
            () = rung => {}
            answered = &mut forwarded => {
                let (parts, body) = answered?.into_parts();
                let bytes = body.collect().await.map_err(|_: Infallible| Gone)?.to_bytes();
                shared.answers.lock().unwrap().push(bytes.clone());
                return Ok(Response::from_parts(parts, Full::new(bytes)));
            }
        }
    }
}

async fn forward(
    shared: &Shared,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Gone> {
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Gone)?.to_bytes();
    parts.headers.remove(header::ACCEPT_ENCODING);
    parts.headers.remove(header::TRANSFER_ENCODING);
    parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
    let stream = TcpStream::connect(&shared.upstream).await.map_err(|_| Gone)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|_| Gone)?;
    let connection = tokio::spawn(connection);
    let request = Request::from_parts(parts, Full::new(body));
    let response = sender.send_request(request).await.map_err(|_| Gone);
    let answered = match response {
        Ok(response) => {
            let (mut parts, body) = response.into_parts();
            let bytes = body.collect().await.map_err(|_| Gone)?.to_bytes();
            parts.headers.remove(header::TRANSFER_ENCODING);
            parts.headers.remove(header::CONTENT_LENGTH);
            Ok(Response::from_parts(parts, Full::new(bytes)))
        }
        Err(gone) => Err(gone),
    };
    connection.abort();
    answered
}
