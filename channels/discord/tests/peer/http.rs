//! The HTTP API, strict about what it takes.

use super::{APPLICATION, GUILD, ME, Shared, State, TOKEN, direct_of, is, user};
use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use nanoclaw_conformance::Fault;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::net::TcpListener;

type Reply = (u16, Value);
/// A name and bytes.
type Upload = (String, Vec<u8>);

pub(crate) async fn open(shared: Arc<Shared>) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let base = format!("http://{}/api/v10", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let shared = shared.clone();
            let mut cut = shared.cut.subscribe();
            if *cut.borrow() {
                continue;
            }
            tokio::spawn(async move {
                let service = hyper::service::service_fn(|request| serve(shared.clone(), request));
                let served = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::select! {
                    _ = cut.wait_for(|cut| *cut) => {}
                    _ = served => {}
                }
            });
        }
    });
    Ok(base)
}

async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let path = parts.uri.path().to_owned();
    if let Some(rest) = path.strip_prefix("/attachments/") {
        let id: u64 = rest.split('/').next().context("an id")?.parse()?;
        let bytes = shared.lock().files.get(&id).cloned().unwrap_or_default();
        return Ok(Response::new(Full::new(bytes.into())));
    }
    shared.lock().calls += 1;
    shared.bell.notify_waiters();
    let path = path.strip_prefix("/api/v10").context("the API")?.to_owned();
    let steps: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let interaction = steps.first() == Some(&"interactions");
    let auth = parts.headers.get("authorization").and_then(|v| v.to_str().ok());
    let revoked = matches!(shared.lock().faults, Some((Fault::Revoked, _)));
    if !interaction && (auth != Some(&format!("Bot {TOKEN}")) || revoked) {
        return respond(401, &json!({ "message": "401: Unauthorized", "code": 0 }), None);
    }
    let sends = (parts.method == Method::POST && steps.last() == Some(&"messages"))
        || parts.method == Method::PATCH;
    let fault = if sends { take_fault(&mut shared.lock()) } else { None };
    match fault {
        Some(Fault::Busy { after: Some(after) }) => {
            let s = after.as_secs_f64();
            let body = json!({ "message": "You are being rate limited.", "retry_after": s, "global": false });
            return respond(429, &body, Some(s.ceil() as u64));
        }
        Some(Fault::Busy { after: None }) => return respond(429, &Value::Null, None),
        Some(Fault::Down) => {
            return respond(503, &json!({ "message": "upstream", "code": 0 }), None);
        }
        Some(Fault::HalfOpen) => {
            std::future::pending::<()>().await;
        }
        _ => {}
    }
    let (body, files) = read(&parts.headers, &body)?;
    let query = parts.uri.query().unwrap_or_default();
    let (status, reply) = route(&shared, &parts.method, &steps, query, body, files);
    shared.bell.notify_waiters();
    shared.news.notify_waiters();
    if fault == Some(Fault::AnswerLost) {
        anyhow::bail!("the connection breaks");
    }
    respond(status, &reply, None)
}

fn take_fault(state: &mut State) -> Option<Fault> {
    let (fault, times) = state.faults?;
    if fault == Fault::Revoked {
        return None;
    }
    state.faults = (times > 1).then_some((fault, times - 1));
    Some(fault)
}

fn respond(status: u16, body: &Value, after: Option<u64>) -> Result<Response<Full<Bytes>>> {
    let mut response =
        Response::builder().status(status).header("content-type", "application/json");
    if let Some(after) = after {
        response = response.header("retry-after", after);
    }
    let text = if body.is_null() { String::new() } else { body.to_string() };
    Ok(response.body(Full::new(text.into()))?)
}

/// JSON, or a form with files.
fn read(headers: &hyper::HeaderMap, body: &Bytes) -> Result<(Value, Vec<Upload>)> {
    let kind = headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let Some(boundary) = kind.strip_prefix("multipart/form-data; boundary=") else {
        return Ok((serde_json::from_slice(body).unwrap_or_default(), Vec::new()));
    };
    let (mut json, mut files) = (Value::Null, Vec::new());
    let mark = format!("--{boundary}");
    let mut rest: &[u8] = body;
    while let Some(at) = find(rest, mark.as_bytes()) {
        rest = &rest[at + mark.len()..];
        let Some(end) = find(rest, b"\r\n\r\n") else { break };
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        rest = &rest[end + 4..];
        let close = find(rest, format!("\r\n{mark}").as_bytes()).context("the end of a part")?;
        let content = rest[..close].to_vec();
        rest = &rest[close + 2..];
        match head.split("filename=\"").nth(1) {
            Some(name) => {
                files.push((name.split('"').next().unwrap_or_default().to_owned(), content));
            }
            None => json = serde_json::from_slice(&content)?,
        }
    }
    Ok((json, files))
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|w| w == what)
}

fn route(
    shared: &Shared,
    method: &Method,
    steps: &[&str],
    query: &str,
    body: Value,
    files: Vec<Upload>,
) -> Reply {
    let mut state = shared.lock();
    let id = |n: usize| steps.get(n).and_then(|s| s.parse::<u64>().ok()).unwrap_or(0);
    let (get, post) = (method == Method::GET, method == Method::POST);
    match steps {
        ["users", "@me"] if get => (200, user("andy")),
        ["applications", "@me"] if get => (200, json!({ "id": APPLICATION.to_string() })),
        ["applications", _, "commands"] => {
            state.commands = body.clone();
            (200, body)
        }
        ["users", "@me", "channels"] if post => {
            let whom = body["recipient_id"].as_str().and_then(|id| id.parse().ok()).unwrap_or(0);
            match direct_of(whom).and_then(|direct| state.channel(direct)) {
                Some(channel) => (200, channel),
                None => failed(400, 50_033, "Invalid Recipient(s)"),
            }
        }
        ["channels", _] if get => match state.channel(id(1)) {
            Some(channel) => (200, channel),
            None => failed(404, 10_003, "Unknown Channel"),
        },
        ["channels", _, "typing"] if post => {
            state.typing += 1;
            (204, Value::Null)
        }
        ["channels", _, "messages"] if get && state.unreadable > 0 => {
            state.unreadable -= 1;
            (503, json!({ "message": "upstream", "code": 0 }))
        }
        ["channels", _, "messages"] if get => list(&state, id(1), query),
        ["channels", _, "messages"] if post => create(&mut state, id(1), body, files),
        ["channels", _, "messages", _] => message(&mut state, method, id(1), steps[3], &body),
        ["channels", _, "messages", _, "threads"] if post => {
            let starter = id(3);
            if state.threads.contains_key(&starter) {
                return failed(400, 160_004, "A thread has already been created for this message");
            }
            if !state.messages.iter().any(|m| m["id"] == steps[3]) {
                return failed(404, 10_008, "Unknown Message");
            }
            let name = body["name"].as_str().unwrap_or_default().to_owned();
            if name.is_empty() || name.chars().count() > 100 {
                return failed(400, 50_035, "Invalid Form Body");
            }
            state.begin_thread(starter, &name);
            (201, state.channel(starter).unwrap_or_default())
        }
        ["channels", _, "messages", _, "reactions", emoji, "@me"] if method == Method::PUT => {
            let Some(emoji) = decode(emoji) else { return failed(400, 10_014, "Unknown Emoji") };
            if !in_channel(&state, id(1), steps[3]) {
                return failed(404, 10_008, "Unknown Message");
            }
            state.reactions.push((id(3), emoji));
            (204, Value::Null)
        }
        ["interactions", _, token, "callback"] if post => callback(&mut state, token, &body),
        _ => failed(404, 0, "404: Not Found"),
    }
}

fn failed(status: u16, code: u64, message: &str) -> Reply {
    (status, json!({ "code": code, "message": message }))
}

fn in_channel(state: &State, channel: u64, id: &str) -> bool {
    state.messages.iter().any(|m| m["id"] == id && is(&m["channel_id"], channel))
}

fn list(state: &State, channel: u64, query: &str) -> Reply {
    if state.channel(channel).is_none() {
        return failed(404, 10_003, "Unknown Channel");
    }
    let value = |key: &str| {
        let mut all = query.split('&').filter_map(|p| p.split_once('='));
        all.find(|p| p.0 == key).and_then(|p| p.1.parse::<u64>().ok())
    };
    let number = |m: &Value| m["id"].as_str().and_then(|id| id.parse::<u64>().ok()).unwrap_or(0);
    let limit = value("limit").unwrap_or(50).min(100) as usize;
    let mut found: Vec<Value> =
        state.messages.iter().filter(|m| is(&m["channel_id"], channel)).cloned().collect();
    found.sort_by_key(number);
    if let Some(after) = value("after") {
        found.retain(|m| number(m) > after);
        found.truncate(limit);
    } else {
        found.retain(|m| value("before").is_none_or(|before| number(m) < before));
        found.drain(..found.len().saturating_sub(limit));
    }
    found.reverse();
    // The API does not say in which server a channel is.
    for message in &mut found {
        if let Some(message) = message.as_object_mut() {
            message.remove("guild_id");
            message.remove("member");
        }
    }
    (200, Value::Array(found))
}

fn create(state: &mut State, channel: u64, body: Value, files: Vec<Upload>) -> Reply {
    if state.channel(channel).is_none() {
        return failed(404, 10_003, "Unknown Channel");
    }
    let nonce = body["nonce"].as_str().unwrap_or_default().to_owned();
    if body["enforce_nonce"] == true
        && let Some(id) = state.nonces.get(&nonce)
    {
        let shown = state.messages.iter().find(|m| is(&m["id"], *id));
        return (200, shown.cloned().unwrap_or_default());
    }
    let content = body["content"].as_str().unwrap_or_default();
    let buttons = body["components"].as_array().cloned().unwrap_or_default();
    let valid = content.chars().count() <= 2000
        && (!content.trim().is_empty() || !files.is_empty() || !buttons.is_empty())
        && nonce.len() <= 25
        && files.len() <= 10
        && buttons.len() <= 5
        && buttons.iter().all(|row| {
            row["components"].as_array().is_some_and(|b| {
                (1..=5).contains(&b.len())
                    && b.iter().all(|b| {
                        b["custom_id"].as_str().is_some_and(|id| id.len() <= 100)
                            && b["label"]
                                .as_str()
                                .is_some_and(|l| (1..=80).contains(&l.chars().count()))
                    })
            })
        });
    if !valid {
        return failed(400, 50_035, "Invalid Form Body");
    }
    if files.iter().any(|(_, bytes)| bytes.len() > 10 << 20) {
        return failed(413, 40_005, "Request entity too large");
    }
    let id = state.number();
    let mut attachments = Vec::new();
    for (name, bytes) in files {
        let file = state.number();
        attachments.push(json!({ "id": file.to_string(), "filename": name, "size": bytes.len(),
            "url": format!("https://cdn.discordapp.com/{file}") }));
        state.files.insert(file, bytes);
    }
    let mut message = json!({
        "id": id.to_string(), "channel_id": channel.to_string(), "type": 0, "author": user("andy"),
        "content": content, "timestamp": state.time(), "edited_timestamp": null, "mentions": [],
        "attachments": attachments, "components": buttons, "nonce": nonce,
        "message_reference": body["message_reference"],
    });
    if !state.is_direct(channel) {
        message["guild_id"] = GUILD.to_string().into();
    }
    state.nonces.insert(nonce, id);
    state.messages.push(message.clone());
    // Everybody is told, the bot too.
    state.event("MESSAGE_CREATE", message.clone());
    (200, message)
}

fn message(state: &mut State, method: &Method, channel: u64, id: &str, body: &Value) -> Reply {
    if !in_channel(state, channel, id) {
        return failed(404, 10_008, "Unknown Message");
    }
    let time = state.time();
    let at = state.messages.iter().position(|m| m["id"] == id).unwrap_or(0);
    let message = &mut state.messages[at];
    match *method {
        Method::GET => return (200, message.clone()),
        Method::DELETE => {
            state.messages.remove(at);
            return (204, Value::Null);
        }
        _ => {}
    }
    if !is(&message["author"]["id"], ME) {
        return failed(403, 50_005, "Cannot edit a message authored by another user");
    }
    let content = body["content"].as_str().unwrap_or_default();
    if content.is_empty() || content.chars().count() > 2000 {
        return failed(400, 50_035, "Invalid Form Body");
    }
    message["content"] = content.into();
    message["edited_timestamp"] = time.into();
    if body["components"].is_array() {
        message["components"] = body["components"].clone();
    }
    let message = message.clone();
    state.event("MESSAGE_UPDATE", message.clone());
    (200, message)
}

/// The answer to a pressed button.
fn callback(state: &mut State, token: &str, body: &Value) -> Reply {
    let Some(message) = state.interactions.remove(token) else {
        return failed(404, 10_062, "Unknown interaction");
    };
    let (kind, data) = (body["type"].as_u64(), &body["data"]);
    if data["content"].as_str().is_none_or(|c| c.is_empty() || c.chars().count() > 2000) {
        return failed(400, 50_035, "Invalid Form Body");
    }
    if kind == Some(7) {
        let time = state.time();
        let shown = state.messages.iter_mut().find(|m| is(&m["id"], message));
        if let Some(shown) = shown {
            shown["content"] = data["content"].clone();
            shown["components"] = data["components"].clone();
            shown["edited_timestamp"] = time.into();
        }
    }
    (204, Value::Null)
}

fn decode(coded: &str) -> Option<String> {
    let bytes: Option<Vec<u8>> =
        coded.split('%').skip(1).map(|h| u8::from_str_radix(h, 16).ok()).collect();
    String::from_utf8(bytes?).ok().filter(|text| !text.is_empty())
}
