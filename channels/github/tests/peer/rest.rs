//! The REST API, and how it fails.

use super::Shared;
use super::world::{BOT, Comment, Issue, REPO, TOKEN, World, account};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use nanoclaw_channel::time::Timestamp;
use nanoclaw_conformance::{Fault, Reacted};
use serde_json::{Value, json};
use std::collections::BTreeMap;
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

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Answer {
    let (parts, body) = request.into_parts();
    let header = |name: &str| {
        parts.headers.get(name).and_then(|h| h.to_str().ok()).unwrap_or_default().to_owned()
    };
    let (token, etag) = (header("authorization"), header("if-none-match"));
    assert!(!header("user-agent").is_empty(), "GitHub refuses requests without a user agent");
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let writes = parts.method != Method::GET;
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
    let query: BTreeMap<String, String> =
        reqwest::Url::parse(&format!("x:?{}", parts.uri.query().unwrap_or_default()))
            .unwrap()
            .query_pairs()
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
    let done = match fault {
        Some(Fault::Busy { after: Some(after) }) => {
            let mut busy =
                said(403, &json!({ "message": "You have exceeded a secondary rate limit" }));
            busy.headers_mut()
                .insert("retry-after", after.as_secs().max(1).to_string().parse().unwrap());
            return Ok(busy);
        }
        Some(Fault::Busy { after: None }) => {
            return Ok(said(429, &json!({ "message": "slow down" })));
        }
        Some(Fault::Down) => return Ok(said(502, &json!({}))),
        Some(Fault::HalfOpen) => {
            tokio::time::sleep(Duration::from_secs(1_000_000)).await;
            return Ok(said(500, &json!({})));
        }
        Some(Fault::Revoked) => return Ok(said(401, &json!({ "message": "Bad credentials" }))),
        _ if token != format!("Bearer {TOKEN}") => {
            return Ok(said(401, &json!({ "message": "Bad credentials" })));
        }
        _ => do_it(&mut shared.world(), &parts.method, parts.uri.path(), &query, &body),
    };
    shared.bell.notify_waiters();
    if fault == Some(Fault::AnswerLost) {
        return Err(std::io::Error::other("the connection breaks"));
    }
    let (status, json) = done;
    let tag = format!(
        "W/\"{:x}\"",
        json.to_string().bytes().fold(7u64, |h, b| h.wrapping_mul(31) + u64::from(b))
    );
    if !writes && etag == tag {
        shared.world().unchanged += 1;
        return Ok(said(304, &Value::Null));
    }
    let mut response = said(status, &json);
    response.headers_mut().insert("etag", tag.parse().unwrap());
    Ok(response)
}

fn no(status: u16, message: &str) -> (u16, Value) {
    (status, json!({ "message": message }))
}

fn do_it(
    world: &mut World,
    method: &Method,
    path: &str,
    query: &BTreeMap<String, String>,
    body: &Value,
) -> (u16, Value) {
    if path == "/user" {
        return (200, account(BOT));
    }
    let path: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (["repos", owner, name], rest) = path.split_at(3.min(path.len())) else {
        return no(404, "Not Found");
    };
    let Some(repo) = repository(owner, name) else { return no(404, "Not Found") };
    if rest.is_empty() {
        return (200, json!({ "id": 1, "full_name": repo }));
    }
    let text = body["body"].as_str().unwrap_or_default();
    if text.chars().count() > 65_536 {
        return no(422, "body is too long (maximum is 65536 characters)");
    }
    let writes_text =
        matches!(*method, Method::POST | Method::PATCH) && rest.last() != Some(&"reactions");
    if writes_text && text.trim().is_empty() {
        return no(422, "body can't be blank");
    }
    match (method, rest) {
        (&Method::GET, _) => get(world, rest, query),
        (&Method::POST, ["issues"]) => {
            let title = body["title"].as_str().unwrap_or_default();
            if title.is_empty() || title.chars().count() > 256 {
                return no(422, "title is too long or empty");
            }
            let (number, now) = (world.next(), world.now());
            let issue = Issue {
                number,
                pull: false,
                title: title.into(),
                body: text.into(),
                user: BOT,
                created: now,
                updated: now,
            };
            world.issues.push(issue.clone());
            (201, world.issue_json(&issue))
        }
        (&Method::POST, ["issues", n, "comments"]) => {
            let Some(number) = known(world, n) else { return no(404, "Not Found") };
            let comment = world.comment(number, None, BOT, text);
            (201, world.comment_json(&comment))
        }
        (&Method::POST, ["pulls", n, "comments", root, "replies"]) => {
            let (Some(number), Ok(root)) = (known(world, n), root.parse::<u64>()) else {
                return no(404, "Not Found");
            };
            if !world
                .comments
                .iter()
                .any(|c| c.id == root && c.root == Some(root) && c.number == number)
            {
                return no(404, "Not Found");
            }
            let comment = world.comment(number, Some(root), BOT, text);
            (201, world.comment_json(&comment))
        }
        (&Method::POST, [.., "reactions"]) => {
            react(world, rest, body["content"].as_str().unwrap_or_default())
        }
        (&Method::PATCH, ["issues", "comments", id]) => change(world, id, false, text),
        (&Method::PATCH, ["pulls", "comments", id]) => change(world, id, true, text),
        (&Method::PATCH, ["issues", n]) => {
            let now = world.now();
            let Some(issue) = world.issues.iter_mut().find(|i| i.number.to_string() == **n) else {
                return no(404, "Not Found");
            };
            (issue.body, issue.updated) = (text.to_owned(), now);
            let issue = issue.clone();
            (200, world.issue_json(&issue))
        }
        (&Method::DELETE, ["issues" | "pulls", "comments", id]) => {
            let before = world.comments.len();
            world.comments.retain(|c| c.id.to_string() != **id);
            if world.comments.len() == before { no(404, "Not Found") } else { (204, json!({})) }
        }
        _ => no(404, "Not Found"),
    }
}

/// A copy of the repository says the same.
fn repository(owner: &str, name: &str) -> Option<&'static str> {
    let asked = format!("{owner}/{name}");
    [REPO, "acme/copy"].into_iter().find(|repo| repo.eq_ignore_ascii_case(&asked))
}

fn known(world: &World, n: &str) -> Option<u64> {
    world.issues.iter().map(|i| i.number).find(|number| number.to_string() == n)
}

fn change(world: &mut World, id: &str, review: bool, text: &str) -> (u16, Value) {
    let now = world.now();
    let found =
        world.comments.iter_mut().find(|c| c.id.to_string() == id && c.root.is_some() == review);
    let Some(comment) = found else { return no(404, "Not Found") };
    if comment.user != BOT {
        return no(403, "Must have admin rights to Repository.");
    }
    (comment.body, comment.updated) = (text.to_owned(), now);
    let comment = comment.clone();
    (200, world.comment_json(&comment))
}

fn react(world: &mut World, rest: &[&str], content: &str) -> (u16, Value) {
    let emoji = match content {
        "+1" => "👍",
        "-1" => "👎",
        "laugh" => "😄",
        "hooray" => "🎉",
        "confused" => "😕",
        "heart" => "❤️",
        "rocket" => "🚀",
        "eyes" => "👀",
        _ => return no(422, "content is not one of the eight"),
    };
    let message = match rest {
        ["issues", "comments", id, _] => format!("c:{id}"),
        ["pulls", "comments", id, _] => format!("r:{id}"),
        ["issues", n, _] => format!("i:{n}"),
        _ => return no(404, "Not Found"),
    };
    world.reactions.push(Reacted { message, emoji: emoji.into() });
    (201, json!({ "id": 1 }))
}

fn get(world: &World, rest: &[&str], query: &BTreeMap<String, String>) -> (u16, Value) {
    let since = query.get("since").map(|at| at.parse::<Timestamp>().unwrap());
    let new = |at: Timestamp| since.is_none_or(|since| at >= since);
    let page = |mut all: Vec<(Timestamp, Value)>| {
        if query.get("sort").is_some_and(|s| s == "updated") {
            all.sort_by_key(|(at, _)| *at);
        }
        let size: usize = query.get("per_page").map_or(30, |n| n.parse().unwrap());
        let number: usize = query.get("page").map_or(1, |n| n.parse().unwrap());
        let all: Vec<Value> =
            all.into_iter().map(|(_, json)| json).skip((number - 1) * size).take(size).collect();
        (200, Value::Array(all))
    };
    let comments = |which: &dyn Fn(&Comment) -> bool| {
        let all = world.comments.iter().filter(|c| which(c) && new(c.updated));
        page(all.map(|c| (c.updated, world.comment_json(c))).collect())
    };
    match rest {
        ["issues"] => {
            let mine = |i: &&Issue| query.get("creator").is_none_or(|_| i.user == BOT);
            let all = world.issues.iter().filter(mine).filter(|i| new(i.updated));
            page(all.map(|i| (i.updated, world.issue_json(i))).collect())
        }
        ["issues", "comments"] => comments(&|c| c.root.is_none()),
        ["pulls", "comments"] => comments(&|c| c.root.is_some()),
        ["issues", n, "comments"] => comments(&|c| c.root.is_none() && c.number.to_string() == *n),
        ["pulls", n, "comments"] => comments(&|c| c.root.is_some() && c.number.to_string() == *n),
        ["issues", n] => match world.issues.iter().find(|i| i.number.to_string() == *n) {
            Some(issue) => (200, world.issue_json(issue)),
            None => no(404, "Not Found"),
        },
        _ => no(404, "Not Found"),
    }
}
