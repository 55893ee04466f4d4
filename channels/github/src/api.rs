//! GitHub's REST API: one call, and every failure sorted by what happens next.

use crate::wire::Refusal;
use nanoclaw_channel::time::{Clock as _, SystemClock, Timestamp};
use nanoclaw_channel::{SendError, StartError};
use nanoclaw_kit::http;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, StatusCode, Url};
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const ANSWER_MAX: usize = 32 << 20;
const PATIENCE: Duration = Duration::from_secs(30);
/// GitHub wants this pause where it names none.
const PAUSE: Duration = Duration::from_secs(60);
const ETAGS_MAX: usize = 10_000;

/// A call that failed.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: SendError,
    pub(crate) status: Option<StatusCode>,
    /// Whether it may have happened all the same.
    pub(crate) unclear: bool,
}

impl Failed {
    pub(crate) fn unclear(error: SendError) -> Self {
        Self { error, status: None, unclear: true }
    }
}

impl From<Failed> for SendError {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

impl From<Failed> for StartError {
    fn from(failed: Failed) -> Self {
        match failed.error {
            SendError::Retry { why, .. } => Self::Unreachable(why),
            SendError::Reject { why } | SendError::Broken { why } => Self::Broken(why),
        }
    }
}

pub(crate) struct Api {
    http: Client,
    base: Url,
    token: String,
    /// When GitHub last answered, by its own clock.
    heard: Mutex<Option<Timestamp>>,
    /// What a list was the last time: unchanged, it costs nothing.
    etags: Mutex<HashMap<String, String>>,
}

impl Api {
    pub(crate) fn new(base: &str, token: String) -> Result<Self, StartError> {
        let base = Url::parse(&format!("{}/", base.trim_end_matches('/')))
            .map_err(|e| StartError::Broken(format!("GITHUB_API_URL is no URL: {e}")))?;
        Ok(Self {
            http: http::client()?,
            base,
            token,
            heard: Mutex::default(),
            etags: Mutex::default(),
        })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failed> {
        let answer = self.call(Method::GET, path, None, None).await?;
        read(path, &answer.1)
    }

    /// A list, or nothing if it is as it was.
    pub(crate) async fn news<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Failed> {
        let known = self.etags.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        let (headers, body) = match self.call(Method::GET, path, None, known.as_deref()).await {
            Err(failed) if failed.status == Some(StatusCode::NOT_MODIFIED) => return Ok(None),
            answer => answer?,
        };
        let list = read(path, &body)?;
        let mut etags = self.etags.lock().unwrap_or_else(PoisonError::into_inner);
        if etags.len() >= ETAGS_MAX {
            etags.clear();
        }
        if let Some(etag) = headers.get("etag").and_then(|e| e.to_str().ok()) {
            etags.insert(path.to_owned(), etag.to_owned());
        }
        Ok(Some(list))
    }

    /// Whether a list was read before.
    pub(crate) fn knows(&self, path: &str) -> bool {
        self.etags.lock().unwrap_or_else(PoisonError::into_inner).contains_key(path)
    }

    /// What was read was not taken: everything is read again.
    pub(crate) fn forget(&self) {
        self.etags.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<T, Failed> {
        let answer = self.call(method, path, Some(body), None).await?;
        read(path, &answer.1)
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<(), Failed> {
        self.call(Method::DELETE, path, None, None).await.map(|_| ())
    }

    /// When GitHub last answered, by its own clock.
    pub(crate) fn heard(&self) -> Option<Timestamp> {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
        etag: Option<&str>,
    ) -> Result<(HeaderMap, bytes::Bytes), Failed> {
        let url = self
            .base
            .join(path)
            .map_err(|e| Failed::unclear(SendError::Reject { why: e.to_string() }))?;
        let mut request = self.http.request(method, url).bearer_auth(&self.token).timeout(PATIENCE);
        request = request.header("accept", "application/vnd.github+json");
        request = request.header("x-github-api-version", "2022-11-28");
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(etag) = etag {
            request = request.header("if-none-match", etag);
        }
        let response = request.send().await.map_err(|e| Failed::unclear(http::unreachable(e)))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let date = headers.get("date").and_then(|d| d.to_str().ok());
        if let Some(Ok(at)) = date.map(jiff::fmt::rfc2822::parse) {
            *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(at.timestamp());
        }
        let body = http::body(response, ANSWER_MAX).await.map_err(Failed::unclear)?;
        if status.is_success() {
            return Ok((headers, body));
        }
        let said: Refusal = serde_json::from_slice(&body).unwrap_or_default();
        let error = sort(status, &headers, &said.message, SystemClock.now());
        Err(Failed { error, status: Some(status), unclear: status.is_server_error() })
    }
}

fn read<T: DeserializeOwned>(path: &str, body: &[u8]) -> Result<T, Failed> {
    serde_json::from_slice(body).map_err(|e| {
        let path = path.split('?').next().unwrap_or_default();
        let why = format!("GitHub's answer to {path} cannot be read: {e}");
        Failed::unclear(SendError::Retry { after: None, why })
    })
}

/// A limit is a pause, also where GitHub says 403: then nobody took anything back.
fn sort(status: StatusCode, headers: &HeaderMap, said: &str, now: Timestamp) -> SendError {
    let why = format!("GitHub answered {}: {said}", status.as_u16());
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<i64>().ok();
    if matches!(status.as_u16(), 403 | 429) {
        let reset =
            number("x-ratelimit-reset").filter(|_| number("x-ratelimit-remaining") == Some(0));
        let reset = reset.map(|at| {
            Duration::from_secs(u64::try_from(at - now.as_second()).unwrap_or(1).clamp(1, 3600))
        });
        let after = http::retry_after(headers).or(reset);
        if after.is_some() || status.as_u16() == 429 || said.to_lowercase().contains("rate limit") {
            return SendError::Retry { after: after.or(Some(PAUSE)), why };
        }
    }
    match status.as_u16() {
        401 => SendError::Broken {
            why: format!("{why}. Make a new token, put it into .env as GITHUB_TOKEN, and restart"),
        },
        403 => SendError::Reject {
            why: format!(
                "{why}. The token needs read and write access to issues and pull requests of this repository"
            ),
        },
        404 => SendError::Reject {
            why: format!("{why}. It is gone, or the token may not see this repository"),
        },
        _ => http::sort(status, headers, why),
    }
}

#[cfg(test)]
mod tests;
