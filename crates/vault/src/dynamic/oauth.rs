//! OAuth 2: an access token from a refresh token, or from a client's own secret.
//!
//! The secret's value is a file of tokens (JSON, also Claude Code's `.credentials.json`), or one word: the
//! client secret, or with the setting `grant=refresh_token` the first refresh token.

use super::client::{Client, Question, Url};
use super::{Made, Problem, Source};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use nanoclaw_secrets::Value;
use serde::Deserialize;
use std::collections::BTreeMap;
use zeroize::{Zeroize, ZeroizeOnDrop};

const CLAUDE_ENDPOINT: &str = "https://console.anthropic.com/v1/oauth/token";
/// As Claude Code names itself to the token server.
const CLAUDE_CLIENT: &str = "9d1c250a-e61b-44d9-88ed-5944d1962f5e";

#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
struct Tokens {
    #[serde(alias = "refreshToken")]
    refresh_token: Option<String>,
    client_secret: Option<String>,
}

#[derive(Deserialize)]
struct ClaudeFile {
    #[serde(rename = "claudeAiOauth")]
    tokens: Tokens,
}

#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
struct Answer {
    access_token: String,
    refresh_token: Option<String>,
    #[zeroize(skip)]
    expires_in: Option<serde_json::Number>,
}

#[derive(Deserialize)]
struct Fault {
    error: serde_json::Value,
}

fn is_claude(settings: &BTreeMap<String, String>) -> bool {
    settings.get("provider").is_some_and(|provider| provider == "claude")
}

/// Where tokens are made.
pub(super) fn endpoint(settings: &BTreeMap<String, String>) -> Option<String> {
    let usual = is_claude(settings).then(|| CLAUDE_ENDPOINT.to_owned());
    settings.get("token_url").cloned().or(usual)
}

fn tokens(source: &Source, value: &Value) -> Tokens {
    let text = value.expose();
    if let Ok(file) = serde_json::from_str::<ClaudeFile>(text) {
        return file.tokens;
    }
    if let Ok(tokens) = serde_json::from_str(text) {
        return tokens;
    }
    let word = Some(text.to_owned());
    match source.settings.get("grant").map(String::as_str) {
        Some("refresh_token") => Tokens { refresh_token: word, client_secret: None },
        _ => Tokens { refresh_token: None, client_secret: word },
    }
}

pub(super) async fn token(
    client: &Client,
    source: &Source,
    value: &Value,
    refresh: Option<&str>,
) -> Result<Made, Problem> {
    let set = |key: &str| source.settings.get(key).map(String::as_str);
    let Some(url) = endpoint(&source.settings) else {
        let text = format!("{:?} does not say where its tokens are made: token_url", source.name);
        return Err(Problem::Refused(text));
    };
    let url = Url::parse(&url).map_err(|e| Problem::Refused(e.to_string()))?;
    let given = tokens(source, value);
    let claude = is_claude(&source.settings);
    let id = set("client_id").or(claude.then_some(CLAUDE_CLIENT)).unwrap_or_default();
    let refresh = refresh.or(given.refresh_token.as_deref());
    let mut fields = match refresh {
        Some(token) => vec![("grant_type", "refresh_token"), ("refresh_token", token)],
        None => vec![("grant_type", "client_credentials")],
    };
    fields.extend(["scope", "audience", "resource"].into_iter().filter_map(|k| Some((k, set(k)?))));
    let secret = given.client_secret.as_deref();
    let mut headers = HeaderMap::new();
    match (set("client_auth"), secret) {
        (Some("basic"), Some(secret)) => {
            let pair = STANDARD.encode(format!("{}:{}", escaped(id), escaped(secret)));
            let mut basic = HeaderValue::from_str(&format!("Basic {pair}"))
                .map_err(|e| Problem::Refused(e.to_string()))?;
            basic.set_sensitive(true);
            headers.insert(AUTHORIZATION, basic);
        }
        _ => {
            fields.extend(Some(("client_id", id)).filter(|_| !id.is_empty()));
            fields.extend(secret.map(|secret| ("client_secret", secret)));
        }
    }
    let (kind, body) = if claude {
        let object: BTreeMap<_, _> = fields.into_iter().collect();
        ("application/json", serde_json::to_string(&object).unwrap_or_default())
    } else {
        let pairs: Vec<String> =
            fields.iter().map(|(key, value)| format!("{key}={}", escaped(value))).collect();
        ("application/x-www-form-urlencoded", pairs.join("&"))
    };
    let question = Question { method: Method::POST, headers, kind, body };
    let (status, body) = client.ask(&url, question).await?;
    if status.is_success() {
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| {
            Problem::Unreachable(format!("{} gave something that is no token", url.place()))
        })?;
        let lasts = answer.expires_in.as_ref().and_then(serde_json::Number::as_i64);
        let (access, refresh) = (answer.access_token.clone(), answer.refresh_token.clone());
        return Ok(Made { access, refresh, lasts });
    }
    let fault = serde_json::from_slice::<Fault>(&body).ok();
    let code = fault.and_then(|fault| fault.error.as_str().map(str::to_owned)).unwrap_or_default();
    match code.as_str() {
        "invalid_grant" | "unauthorized_client" | "invalid_client" => {
            Err(Problem::NeedsLogin(source.name.clone()))
        }
        _ => Err(Problem::Unreachable(format!("{} answered {status}", url.place()))),
    }
}

pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
