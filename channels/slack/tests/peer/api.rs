//! The Web API, files, and how they fail.

use super::Shared;
use super::world::{APP_TOKEN, BOT, BOT_TOKEN, GROUP, Post, World, user};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use nanoclaw_conformance::{Fault, PeerFile};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

type Form = BTreeMap<String, String>;
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

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Answer {
    let path = request.uri().path().to_owned();
    let token =
        request.headers().get("authorization").and_then(|t| t.to_str().ok()).unwrap_or_default();
    let token = token.trim_start_matches("Bearer ").to_owned();
    let body = request.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
    shared.world().calls += 1;
    shared.bell.notify_waiters();
    let done = match path.split('/').collect::<Vec<_>>()[..] {
        ["", "api", method] => call(&shared, method, &token, &body).await,
        ["", "files", id] => Ok(file(&shared, id, &token)),
        ["", "upload", id] => {
            shared.world().uploads.get_mut(id).unwrap().bytes = body.to_vec();
            Ok(Response::new(Full::from("OK - 1")))
        }
        _ => Ok(status(404)),
    };
    shared.bell.notify_waiters();
    done
}

fn status(status: u16) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::default()).unwrap()
}

fn file(shared: &Shared, id: &str, token: &str) -> Response<Full<Bytes>> {
    match (token, shared.world().uploads.get(id)) {
        (BOT_TOKEN, Some(file)) => Response::new(Full::from(file.bytes.clone())),
        (BOT_TOKEN, None) => status(404),
        // Slack shows a page to log in.
        _ => Response::new(Full::from("<!DOCTYPE html><html>log in</html>")),
    }
}

async fn call(shared: &Shared, method: &str, token: &str, body: &[u8]) -> Answer {
    let form: Form = reqwest::Url::parse(&format!("slack:?{}", std::str::from_utf8(body).unwrap()))
        .unwrap()
        .query_pairs()
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    let sends =
        matches!(method, "chat.postMessage" | "chat.update" | "files.completeUploadExternal");
    let fault = {
        let mut world = shared.world();
        match world.fault {
            Some((Fault::Revoked, _)) => Some(Fault::Revoked),
            Some((fault, times)) if sends => {
                world.fault = (times > 1).then_some((fault, times - 1));
                Some(fault)
            }
            _ => None,
        }
    };
    match fault {
        Some(Fault::Busy { after }) => {
            let mut busy = Response::builder().status(429);
            if let Some(after) = after {
                busy = busy.header("retry-after", after.as_secs().max(1).to_string());
            }
            let body = r#"{"ok":false,"error":"ratelimited"}"#;
            return Ok(busy.body(Full::from(body)).unwrap());
        }
        Some(Fault::Down) => return Ok(status(503)),
        Some(Fault::HalfOpen) => {
            tokio::time::sleep(Duration::from_secs(1_000_000)).await;
        }
        Some(Fault::Revoked) => return Ok(said(&json!({ "ok": false, "error": "token_revoked" }))),
        Some(Fault::AnswerLost) => {
            do_it(&mut shared.world(), method, token, &form);
            return Err(std::io::Error::other("the connection breaks"));
        }
        Some(Fault::MarkupRefused) | None => {}
    }
    let mut answer = do_it(&mut shared.world(), method, token, &form);
    if answer.get("ok").is_none() {
        answer["ok"] = true.into();
    }
    Ok(said(&answer))
}

fn said(answer: &Value) -> Response<Full<Bytes>> {
    let body = Full::from(answer.to_string());
    Response::builder().header("content-type", "application/json").body(body).unwrap()
}

fn no(error: &str) -> Value {
    json!({ "ok": false, "error": error })
}

#[expect(clippy::too_many_lines, reason = "one arm for each method")]
fn do_it(world: &mut World, method: &str, token: &str, form: &Form) -> Value {
    let wanted = if method == "apps.connections.open" { APP_TOKEN } else { BOT_TOKEN };
    if token != wanted {
        return no("invalid_auth");
    }
    let get = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let known = |channel: &str| channel == GROUP || channel.starts_with("D0");
    match method {
        "auth.test" => {
            json!({ "user_id": BOT, "user": "nano", "bot_id": "B0BOT", "team_id": "T0TEAM" })
        }
        "apps.connections.open" => json!({ "url": format!("{}/link?ticket=1", world.sockets_at) }),
        "users.info" => {
            let all = ["ann", "bob", "cleo"].map(user);
            match all.iter().find(|(id, _)| *id == get("user")) {
                Some((id, name)) => {
                    json!({ "user": { "id": id, "name": name.to_lowercase(), "real_name": name,
                    "profile": { "display_name": name, "real_name": name } } })
                }
                None if get("user") == BOT => {
                    json!({ "user": { "id": BOT, "name": "nano", "profile": {} } })
                }
                None => no("user_not_found"),
            }
        }
        "users.conversations" => {
            if let Some(error) = world.unreadable.get("") {
                return no(error);
            }
            let mut all: Vec<&str> = world.posts.iter().map(|p| p.channel.as_str()).collect();
            all.sort_unstable();
            all.dedup();
            json!({ "channels": all.iter().map(|id| json!({ "id": id })).collect::<Vec<_>>(),
                "response_metadata": { "next_cursor": "" } })
        }
        "conversations.open" => match get("users") {
            user if user.starts_with("U0") => {
                json!({ "channel": { "id": super::world::dm(user) } })
            }
            _ => no("user_not_found"),
        },
        "conversations.info" => match get("channel") {
            GROUP => json!({ "channel": { "id": GROUP, "name": "team" } }),
            dm if known(dm) => {
                json!({ "channel": { "id": dm, "user": format!("U{}", &dm[1..]), "is_im": true } })
            }
            _ => no("channel_not_found"),
        },
        "conversations.history" | "conversations.replies" => {
            if let Some(error) = world.unreadable.get(get("channel")) {
                return no(error);
            }
            match ["oldest", "latest"].iter().find(|n| form.get(**n).is_some_and(|ts| !is_ts(ts))) {
                Some(name) => no(&format!("invalid_ts_{name}")),
                None => page(world, form),
            }
        }
        "chat.postMessage" if known(get("channel")) => post(world, form),
        "chat.postMessage" => no("channel_not_found"),
        "chat.update" => update(world, form),
        "chat.delete" => {
            let before = world.posts.len();
            world
                .posts
                .retain(|p| !(p.user == BOT && p.ts == get("ts") && p.channel == get("channel")));
            if world.posts.len() == before { no("message_not_found") } else { json!({}) }
        }
        "chat.postEphemeral" => {
            world.ephemeral.push((get("user").into(), get("text").into()));
            json!({ "message_ts": "1.1" })
        }
        "reactions.add" => {
            let name = get("name").to_owned();
            if emojis::get_by_shortcode(&name).is_none() {
                return no("invalid_name");
            }
            match world
                .posts
                .iter_mut()
                .find(|p| p.ts == get("timestamp") && p.channel == get("channel"))
            {
                Some(post) if post.reactions.contains(&name) => no("already_reacted"),
                Some(post) => {
                    post.reactions.push(name);
                    json!({})
                }
                None => no("message_not_found"),
            }
        }
        "assistant.threads.setStatus" => {
            if !get("status").is_empty() {
                world.typing += 1;
            }
            json!({})
        }
        "files.getUploadURLExternal" => {
            let length: usize = get("length").parse().unwrap_or(0);
            if length == 0 || get("filename").is_empty() {
                return no("invalid_arguments");
            }
            let id = world.next_id("F0UP");
            let file = PeerFile { name: get("filename").into(), ..PeerFile::default() };
            world.uploads.insert(id.clone(), file);
            json!({ "upload_url": format!("{}/upload/{id}", world.base), "file_id": id })
        }
        "files.completeUploadExternal" => show_files(world, form),
        "files.info" => {
            let shares = match world.shared_files.get(get("file")) {
                Some((channel, ts)) => {
                    json!({ "public": { channel: [{ "ts": ts, "channel_name": "x" }] } })
                }
                // There is no file before the upload is complete.
                None => return no("file_not_found"),
            };
            json!({ "file": { "id": get("file"), "shares": shares } })
        }
        _ => no("unknown_method"),
    }
}

fn show_files(world: &mut World, form: &Form) -> Value {
    let list: Vec<Value> = serde_json::from_str(&form["files"]).unwrap();
    let ts = world.next_ts();
    let mut shown = Vec::new();
    for file in list {
        let id = file["id"].as_str().unwrap().to_owned();
        let mut file_there = world.uploads[&id].clone();
        file_there.name = file["title"].as_str().unwrap().to_owned();
        shown.push(file_there);
        world.shared_files.insert(id, (form["channel_id"].clone(), ts.clone()));
    }
    let thread = form.get("thread_ts").cloned();
    world.posts.push(Post {
        channel: form["channel_id"].clone(),
        ts,
        thread,
        user: BOT.into(),
        shown_files: shown,
        ..Post::default()
    });
    json!({ "files": [] })
}

/// What Slack would cut or refuse.
fn refuses(text: &str, blocks: &Value) -> Option<Value> {
    if text.encode_utf16().count() > 4_000 {
        return Some(no("msg_too_long"));
    }
    let mut ids = Vec::new();
    for block in blocks.as_array().into_iter().flatten() {
        let long = |text: &Value, max: usize| {
            let text = text["text"].as_str().unwrap_or_default();
            text.is_empty() || text.encode_utf16().count() > max
        };
        let bad = match block["type"].as_str() {
            Some("section") => long(&block["text"], 3_000),
            Some("actions") => {
                let elements = block["elements"].as_array().unwrap();
                ids.extend(elements.iter().map(|e| e["action_id"].to_string()));
                elements.is_empty()
                    || elements.len() > 25
                    || elements.iter().any(|e| {
                        long(&e["text"], 75) || e["action_id"].as_str().unwrap().len() > 255
                    })
            }
            _ => true,
        };
        if bad {
            return Some(no("invalid_blocks"));
        }
    }
    let all = ids.len();
    ids.sort();
    ids.dedup();
    (ids.len() != all || blocks.as_array().is_some_and(|b| b.len() > 50))
        .then(|| no("invalid_blocks"))
}

fn blocks(form: &Form) -> Value {
    form.get("blocks").map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
}

fn post(world: &mut World, form: &Form) -> Value {
    let (text, blocks) = (form.get("text").cloned().unwrap_or_default(), blocks(form));
    if text.trim().is_empty() {
        return no("no_text");
    }
    if let Some(no) = refuses(&text, &blocks) {
        return no;
    }
    let metadata =
        form.get("metadata").map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
    let (channel, thread, ts) =
        (form["channel"].clone(), form.get("thread_ts").cloned(), world.next_ts());
    if let Some(root) = &thread
        && !world.posts.iter().any(|p| p.ts == *root && p.channel == channel)
    {
        return no("thread_not_found");
    }
    let user = BOT.to_owned();
    world.posts.push(Post {
        channel: channel.clone(),
        ts: ts.clone(),
        thread,
        user,
        text,
        blocks,
        metadata,
        ..Post::default()
    });
    json!({ "channel": channel, "ts": ts })
}

fn update(world: &mut World, form: &Form) -> Value {
    let (text, blocks) = (form.get("text").cloned().unwrap_or_default(), blocks(form));
    if let Some(no) = refuses(&text, &blocks) {
        return no;
    }
    let found = world.posts.iter_mut().find(|p| p.ts == form["ts"] && p.channel == form["channel"]);
    match found {
        Some(post) if post.user != BOT => no("cant_update_message"),
        Some(post) => {
            (post.text, post.edited) = (text, true);
            if !blocks.is_null() {
                post.blocks = blocks;
            }
            json!({ "ts": form["ts"] })
        }
        None => no("message_not_found"),
    }
}

/// Whether a moment is written as Slack writes it: seconds and six digits.
fn is_ts(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    text.split_once('.').is_some_and(|(s, rest)| digits(s) && digits(rest) && rest.len() == 6)
}

/// A page of a conversation (the newest first) or a thread (the oldest first).
fn page(world: &World, form: &Form) -> Value {
    let micros = |name: &str| form.get(name).and_then(|ts| ts.replace('.', "").parse::<i64>().ok());
    let at = |post: &Post| post.ts.replace('.', "").parse::<i64>().unwrap();
    let (oldest, latest) = (micros("oldest"), micros("latest"));
    let inside = |post: &&Post| {
        post.channel == form["channel"]
            && oldest.is_none_or(|o| at(post) > o)
            && latest.is_none_or(|l| at(post) < l)
            && match form.get("ts") {
                Some(root) => post.thread.as_ref() == Some(root) || post.ts == *root,
                None => post.thread.as_ref().is_none_or(|root| *root == post.ts),
            }
    };
    let mut all: Vec<&Post> = world.posts.iter().filter(inside).collect();
    all.sort_by_key(|p| at(p));
    if form.get("ts").is_none() {
        all.reverse();
    }
    let limit: usize = form["limit"].parse().unwrap();
    let begin: usize = form.get("cursor").and_then(|c| c.parse().ok()).unwrap_or(0);
    let metadata = form.get("include_all_metadata").is_some_and(|m| m == "true");
    let json = |post: &&Post| {
        let mut all = post.json(metadata);
        let replies =
            world.posts.iter().filter(|p| p.thread.as_ref() == Some(&post.ts) && p.ts != post.ts);
        if let Some(last) = replies.max_by_key(|p| at(p)) {
            all["latest_reply"] = last.ts.as_str().into();
            all["thread_ts"] = post.ts.as_str().into();
        }
        if let Some(root) =
            post.thread.as_ref().and_then(|t| world.posts.iter().find(|p| p.ts == *t))
        {
            all["parent_user_id"] = root.user.as_str().into();
        }
        all
    };
    let messages: Vec<Value> = all.iter().skip(begin).take(limit).map(json).collect();
    let next = if begin + limit < all.len() { (begin + limit).to_string() } else { String::new() };
    json!({ "messages": messages, "has_more": !next.is_empty(), "response_metadata": { "next_cursor": next } })
}
