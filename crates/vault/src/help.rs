//! What a box can ask about its own way out: `http://vault.internal/v1/…`.

use crate::refusal::Refusal;
use crate::scan::unescaped;
use crate::serve::{Session, Vault};
use crate::{Answer, approvals, full, inject};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use nanoclaw_policy::{AgentNames, Asking, Verdict};
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) const HOST: &str = "vault.internal";
const APPROVALS: &str = "/v1/approvals/";

/// Answers a question about the box itself.
pub(crate) async fn answer(
    vault: &Arc<Vault>,
    session: &Session,
    request: &Request<Incoming>,
) -> Answer {
    let told = match (request.method(), request.uri().path()) {
        (&Method::GET, "/v1/whoami") => Ok(whoami(vault, session).await),
        (&Method::GET, "/v1/explain") => {
            let query = request.uri().query().unwrap_or_default();
            explain(vault, session, query).await
        }
        (&Method::GET, path) if path.starts_with(APPROVALS) => {
            let id = path.trim_start_matches(APPROVALS).to_owned();
            let (approvals, agent) = (Arc::clone(&vault.approvals), session.agent.id.clone());
            let told = approvals::blocking(move || approvals.told_of(&id, &agent)).await;
            told.map_err(|no| no.refusal()).and_then(|told| {
                told.ok_or_else(|| {
                    Refusal::new(StatusCode::NOT_FOUND, "not_found", "you have no such request")
                })
            })
        }
        _ => {
            let text = "there are GET /v1/whoami, GET /v1/explain?url=https://host/path&method=GET and \
                        GET /v1/approvals/ID";
            Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", text))
        }
    };
    match told {
        Ok(value) => {
            let mut answer = Response::new(full(Bytes::from(format!("{value:#}\n"))));
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            answer
        }
        Err(refusal) => refusal.answer(&vault.next_id()),
    }
}

async fn whoami(vault: &Vault, session: &Session) -> Value {
    let policy = vault.policy();
    json!({
        "session": session.id,
        "agent": session.agent.id,
        "folder": session.agent.folder,
        "egress": policy.mode(&session.agent).to_string(),
        "secrets": vault.wallet.shown(&session.agent).await,
    })
}

/// What would be decided, and why.
async fn explain(vault: &Vault, session: &Session, query: &str) -> Result<Value, Refusal> {
    let field = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let found = pairs.find(|(key, _)| *key == name);
        found.map(|(_, value)| String::from_utf8_lossy(&unescaped(value.as_bytes())).into_owned())
    };
    let bad = |why: String| Refusal::new(StatusCode::BAD_REQUEST, "bad_request", why);
    let url = field("url").ok_or_else(|| bad("say which url".to_owned()))?;
    let method = field("method").unwrap_or_else(|| "GET".to_owned());
    let (verdict, why) = explained(vault, &session.agent, &method, &url).await.map_err(bad)?;
    Ok(json!({ "verdict": verdict, "why": why }))
}

/// The decision about one request that nobody has made.
pub(crate) async fn explained(
    vault: &Vault,
    agent: &AgentNames,
    method: &str,
    url: &str,
) -> Result<(&'static str, Vec<String>), String> {
    let (tls, place, target) = nanoclaw_policy::url(url)?;
    let bounds = vault.wallet.bound(agent, &place).await.map_err(|e| e.message)?;
    let asking = Asking {
        agent,
        authority: &place,
        tls,
        method: Some(method),
        other_methods: &[],
        target: Some(&target),
        bound: inject::fit(&bounds, method, &target),
        remembered: vault.remembered(agent, &place),
    };
    let (decision, trace) = vault.policy().explain(&asking);
    let verdict = match decision.verdict {
        Verdict::Allow => "allow",
        Verdict::Block { .. } => "block",
        Verdict::Ask { .. } => "ask",
    };
    Ok((verdict, trace))
}
