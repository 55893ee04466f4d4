//! GitHub Apps: a token of an installation, for an hour, narrowed to repositories and permissions.
//!
//! What it may reach has to be said: without `repositories` nothing is asked for, `*` means all of the
//! installation. A token that came back wider than asked is not used.

use super::client::{Client, Question, Url};
use super::{Made, Problem, Source};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use nanoclaw_secrets::Value;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

const API: &str = "https://api.github.com";
/// Clocks differ; GitHub refuses what was signed in its future, or for longer than ten minutes.
const BEFORE: i64 = 60;
const AFTER: i64 = 480;
const LASTS: i64 = 3_600;

#[derive(Deserialize)]
struct Answer {
    token: String,
    #[serde(default)]
    permissions: BTreeMap<String, String>,
    repositories: Option<Vec<Repository>>,
}

#[derive(Deserialize)]
struct Repository {
    name: String,
}

pub(super) async fn token(
    client: &Client,
    source: &Source,
    value: &Value,
    now: i64,
) -> Result<Made, Problem> {
    let (name, settings) = (&source.name, &source.settings);
    let set = |key: &str| {
        settings.get(key).map(String::as_str).filter(|value| !value.is_empty()).ok_or_else(|| {
            Problem::Refused(format!(
                "{name:?} does not say its {key}: add it again with --set {key}=…"
            ))
        })
    };
    let list = |text: &str| text.split(',').map(|one| one.trim().to_owned()).collect::<Vec<_>>();
    let repositories = Some(list(set("repositories")?)).filter(|r| r.as_slice() != ["*"]);
    let permissions: BTreeMap<String, String> = match settings.get("permissions") {
        Some(text) => list(text)
            .iter()
            .map(|one| one.split_once(':').unwrap_or((one, "read")))
            .map(|(what, how)| (what.to_owned(), how.to_owned()))
            .collect(),
        None => BTreeMap::new(),
    };
    let installation = set("installation_id")?;
    if !installation.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Problem::Refused(format!("the installation_id of {name:?} is no number")));
    }
    let api = settings.get("api").map_or(API, |api| api.trim_end_matches('/'));
    let url = Url::parse(&format!("{api}/app/installations/{installation}/access_tokens"))
        .map_err(|e| Problem::Refused(e.to_string()))?;
    let mut headers = HeaderMap::new();
    let proof = format!("Bearer {}", *signed(name, set("app_id")?, value, now)?);
    let mut proof = HeaderValue::from_str(&proof).map_err(|e| Problem::Refused(e.to_string()))?;
    proof.set_sensitive(true);
    headers.insert(AUTHORIZATION, proof);
    headers.insert(ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
    let mut body = serde_json::Map::new();
    if let Some(repositories) = &repositories {
        body.insert("repositories".into(), json!(repositories));
    }
    if !permissions.is_empty() {
        body.insert("permissions".into(), json!(permissions));
    }
    let body = serde_json::Value::Object(body).to_string();
    let question = Question { method: Method::POST, headers, kind: "application/json", body };
    let (status, body) = client.ask(&url, question).await?;
    match status {
        StatusCode::CREATED | StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND => {
            return Err(Problem::NeedsLogin(name.clone()));
        }
        StatusCode::FORBIDDEN | StatusCode::UNPROCESSABLE_ENTITY => {
            return Err(Problem::Refused(format!(
                "GitHub gives {name:?} no token for these repositories and permissions ({status})"
            )));
        }
        _ => return Err(Problem::Unreachable(format!("{} answered {status}", url.place()))),
    }
    let answer: Answer = serde_json::from_slice(&body).map_err(|_| {
        Problem::Unreachable(format!("{} gave something that is no token", url.place()))
    })?;
    let answer = narrow(answer, repositories.as_deref(), &permissions);
    let access = answer.ok_or_else(|| {
        Problem::Refused(format!(
            "the token that GitHub made for {name:?} can do more than was asked for"
        ))
    })?;
    Ok(Made { access, refresh: None, lasts: Some(LASTS) })
}

/// The token, if it is for no more than this.
fn narrow(
    answer: Answer,
    repositories: Option<&[String]>,
    permissions: &BTreeMap<String, String>,
) -> Option<String> {
    let inside = repositories.is_none_or(|asked| {
        let given = answer.repositories.as_ref();
        given.is_some_and(|given| given.iter().all(|r| asked.contains(&r.name)))
    });
    // Everybody may read metadata.
    let more =
        |(what, how): (&String, &String)| what != "metadata" && permissions.get(what) != Some(how);
    let wider = !permissions.is_empty() && answer.permissions.iter().any(more);
    (inside && !wider).then_some(answer.token)
}

/// Who we are, signed with the app's key (RS256).
fn signed(name: &str, app: &str, key: &Value, now: i64) -> Result<Zeroizing<String>, Problem> {
    let bad =
        || Problem::Refused(format!("the value of {name:?} is no private key of a GitHub App"));
    let pem = key.expose();
    let inner: String =
        pem.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
    let der = Zeroizing::new(STANDARD.decode(&*Zeroizing::new(inner)).map_err(|_| bad())?);
    let pair = if pem.contains("BEGIN RSA PRIVATE KEY") {
        RsaKeyPair::from_der(&der)
    } else {
        RsaKeyPair::from_pkcs8(&der)
    };
    let pair = pair.map_err(|_| bad())?;
    let claims = json!({ "iat": now - BEFORE, "exp": now + AFTER, "iss": app });
    let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT"}"#);
    let mut text = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
        .map_err(|_| bad())?;
    text.push('.');
    text.push_str(&URL_SAFE_NO_PAD.encode(signature));
    Ok(Zeroizing::new(text))
}
