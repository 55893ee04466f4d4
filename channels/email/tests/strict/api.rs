//! The API, and how it fails.

use super::Shared;
use super::world::{KEY, Refused, World};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use nanoclaw_conformance::Fault;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

type Answer = Result<Response<Full<Bytes>>, std::io::Error>;

pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut all = JoinSet::new();
    loop {
        // While the network is cut, nobody gets in and who is in falls out.
        let rung = shared.bell.notified();
        let cut = shared.world().cut;
        if cut {
            all.shutdown().await;
        }
        tokio::select! {
            () = rung => {}
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { return };
                if shared.world().cut {
                    continue;
                }
                let shared = Arc::clone(&shared);
                all.spawn(async move {
                    let service = service_fn(|request| answer(request, Arc::clone(&shared)));
                    let http = hyper::server::conn::http1::Builder::new();
                    drop(http.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        }
    }
}

fn said(status: u16, body: &Value) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::from(body.to_string())).unwrap()
}

fn refused((status, name, message): Refused) -> Response<Full<Bytes>> {
    said(status, &json!({ "statusCode": status, "name": name, "message": message }))
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Answer {
    let (parts, body) = request.into_parts();
    let header = |name: &str| {
        parts.headers.get(name).and_then(|h| h.to_str().ok()).unwrap_or_default().to_owned()
    };
    let (login, key) = (header("authorization"), header("idempotency-key"));
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let path: Vec<&str> = parts.uri.path().trim_matches('/').split('/').collect();
    if let ["cdn", id, which] = path.as_slice() {
        assert!(login.is_empty(), "the key went to who keeps the files");
        assert!(
            parts.uri.query().is_some_and(|q| q.contains("signature")),
            "the link is not whole"
        );
        let file = shared.world().file(id, which);
        return Ok(match file {
            Some(file) => Response::new(Full::from(file)),
            None => said(404, &Value::Null),
        });
    }
    let writes = parts.method == Method::POST;
    let fault = {
        let mut world = shared.world();
        world.calls += 1;
        match world.fault {
            Some((Fault::Revoked, _)) => Some(Fault::Revoked),
            Some((fault, times)) if writes => {
                world.fault = (times > 1).then_some((fault, times - 1));
                Some(fault)
            }
            _ => None,
        }
    };
    shared.bell.notify_waiters();
    if let Some(no) = no(fault, &login).await {
        return Ok(no);
    }
    let elsewhere = shared.world().sends_at.clone();
    if let (Some(base), ["emails", rest @ ..]) = (elsewhere, path.as_slice())
        && rest.first() != Some(&"receiving")
    {
        let response = pass_on(&format!("{base}{}", parts.uri.path()), &parts, body).await;
        return match fault {
            Some(Fault::AnswerLost) => Err(std::io::Error::other("the connection breaks")),
            _ => response,
        };
    }
    let query = reqwest::Url::parse(&format!("x:?{}", parts.uri.query().unwrap_or_default()));
    let query = query.unwrap().query_pairs().into_owned().collect();
    let done = match (&parts.method, path.as_slice()) {
        (&Method::POST, ["emails"]) => match serde_json::from_slice(&body) {
            Ok(mail) if header("content-type") == "application/json" => {
                shared.world().send(&key, mail)
            }
            _ => Err((422, "validation_error", "no JSON".into())),
        },
        (&Method::GET, ["emails", "receiving"]) => shared.world().list(&query),
        (&Method::GET, path) => looked_up(&shared.world(), path)
            .ok_or_else(|| (404, "not_found", "Email not found".into())),
        _ => Err((405, "method_not_allowed", "Method is not allowed".into())),
    };
    shared.bell.notify_waiters();
    if fault == Some(Fault::AnswerLost) {
        return Err(std::io::Error::other("the connection breaks"));
    }
    Ok(done.map_or_else(refused, |json| said(200, &json)))
}

/// How it says no to who has a wrong key, or when it is told to.
async fn no(fault: Option<Fault>, login: &str) -> Option<Response<Full<Bytes>>> {
    let invalid = || refused((403, "invalid_api_key", "API key is invalid".into()));
    match fault {
        Some(Fault::Busy { after }) => {
            let mut busy = refused((429, "rate_limit_exceeded", "Too many requests".into()));
            if let Some(after) = after {
                let seconds = after.as_secs().to_string().parse().unwrap();
                busy.headers_mut().insert("retry-after", seconds);
            }
            Some(busy)
        }
        Some(Fault::Down) => Some(refused((500, "internal_server_error", "Oh no".into()))),
        Some(Fault::HalfOpen) => {
            tokio::time::sleep(Duration::from_secs(1_000_000)).await;
            None
        }
        Some(Fault::Revoked) => Some(invalid()),
        _ if login.is_empty() => Some(refused((401, "missing_api_key", "Missing API key".into()))),
        _ if login != format!("Bearer {KEY}") => Some(invalid()),
        _ => None,
    }
}

/// Asks somebody else.
async fn pass_on(url: &str, parts: &hyper::http::request::Parts, body: Bytes) -> Answer {
    let http = nanoclaw_kit::http::client().map_err(std::io::Error::other)?;
    let mut request = http.request(parts.method.clone(), url).body(body);
    for name in ["authorization", "content-type", "idempotency-key"] {
        if let Some(value) = parts.headers.get(name) {
            request = request.header(name, value);
        }
    }
    let response = request.send().await.map_err(std::io::Error::other)?;
    let status = response.status();
    let body = nanoclaw_kit::http::body(response, 1 << 20).await.map_err(std::io::Error::other)?;
    Ok(Response::builder().status(status).body(Full::from(body)).unwrap())
}

fn looked_up(world: &World, path: &[&str]) -> Option<Value> {
    match path {
        ["emails", "receiving", id] => world.received(id),
        ["emails", "receiving", id, "attachments"] => world.attachments(id),
        ["emails", id] => {
            let went = world.went.iter().find(|went| went.id == *id)?;
            Some(json!({ "object": "email", "id": id, "last_event": "delivered",
                "message_id": format!("<{}>", went.message_id) }))
        }
        _ => None,
    }
}
