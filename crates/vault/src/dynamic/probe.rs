//! One request with a secret, to see whether its place takes it. What comes back is a status, never a body.

use super::client::{Client, Question, Url};
use super::{Dynamic, Source};
use crate::VaultError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use nanoclaw_policy::HostPattern;
use nanoclaw_secrets::{Binding, Kind, SecretInfo, Slot, Store, Value};
use std::sync::Arc;

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// For people.
    pub text: String,
    /// Whether the place took the secret.
    pub is_accepted: bool,
}

/// Asks the first place of a secret once; `path` where the usual one is not right.
pub async fn probe(store: Arc<Store>, name: &str, path: &str) -> Result<Probe, VaultError> {
    let refused = |text: String| VaultError::Refused(text);
    let info = store.info(name)?;
    let exact =
        |b: &&Binding| matches!(b.host, HostPattern::Exact(_)) && b.slot != Slot::PathSegment;
    let Some(binding) = info.bindings.iter().find(exact) else {
        return Err(refused(format!("{name:?} has no place that can be asked: a host without *")));
    };
    let value = if info.kind.is_dynamic() {
        let made = Dynamic::new(Arc::clone(&store)).current(&Source::from(&info), None).await;
        made.map_err(|e| refused(e.to_string()))?
    } else {
        store.value(&info.id)?
    };
    let (url, headers) = request(&info, binding, &value, path)?;
    let (method, kind, body) = (Method::GET, "application/json", String::new());
    let asked = Client::new().ask(&url, Question { method, headers, kind, body }).await;
    let (status, _) = asked.map_err(|e| VaultError::Unavailable(e.to_string()))?;
    let (place, path) = (url.place(), url.path());
    let (verdict, is_accepted) = match status {
        StatusCode::UNAUTHORIZED => ("it does not take this value", false),
        StatusCode::FORBIDDEN => {
            ("it knows the value, or does not say; this is not allowed with it", false)
        }
        s if s.is_success() => ("it takes this value", true),
        s if s.is_client_error() => ("it did not refuse the value; try another --path", true),
        _ => ("this says nothing about the value", false),
    };
    Ok(Probe { text: format!("{place}{path} answered {status}: {verdict}"), is_accepted })
}

fn request(
    info: &SecretInfo,
    binding: &Binding,
    value: &Value,
    path: &str,
) -> Result<(Url, HeaderMap), VaultError> {
    let usual = match (info.kind, binding.host.to_string().as_str()) {
        (Kind::Anthropic | Kind::Openai, _) => "/v1/models",
        (_, "api.github.com") if info.kind == Kind::GithubApp => "/installation/repositories",
        (_, "api.github.com") => "/user",
        _ => "/",
    };
    let path = if path.is_empty() { usual } else { path };
    if !path.starts_with('/') {
        return Err(VaultError::Refused(format!("{path:?} is no path; write it as in /user")));
    }
    let scheme = if binding.allow_plaintext { "http" } else { "https" };
    let mut target = format!("{scheme}://{}:{}{path}", binding.host, binding.port);
    let mut headers = HeaderMap::new();
    let secret = value.expose();
    let pair = match &binding.slot {
        Slot::Header { name, format } => Some((name.as_str(), format.replace("{value}", secret))),
        Slot::Basic { user } => {
            let pair = STANDARD.encode(format!("{user}:{secret}"));
            Some((AUTHORIZATION.as_str(), format!("Basic {pair}")))
        }
        Slot::Query { name } => {
            let join = if path.contains('?') { '&' } else { '?' };
            target.push(join);
            target.push_str(&format!("{name}={}", super::oauth::escaped(secret)));
            None
        }
        Slot::PathSegment => None,
    };
    let unfit = || VaultError::Refused("the value cannot stand in a header".to_owned());
    if let Some((name, text)) = pair {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit())?;
        let mut text = HeaderValue::from_str(&text).map_err(|_| unfit())?;
        text.set_sensitive(true);
        headers.insert(name, text);
    }
    if info.kind == Kind::Anthropic {
        headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
        if info.is_oauth {
            headers.insert("anthropic-beta", HeaderValue::from_static("oauth-2025-04-20"));
        }
    }
    Ok((Url::parse(&target).map_err(|_| unfit())?, headers))
}
