//! Discord's HTTP API: one place that knows the token, the limits and what a failure means.

use crate::ids::Id;
use crate::wire::Failure;
use nanoclaw_channel::{Health, Report, SendError, Setting, StartError};
use nanoclaw_kit::http;
use nanoclaw_kit::pace::Pace;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;

const API: &str = "https://discord.com/api/v10";
const BODY_BYTES_MAX: usize = 4 << 20;
const CALL_WITHIN: Duration = Duration::from_secs(60);
/// Discord takes about five messages in five seconds per channel.
const BURST: u32 = 5;
const EVERY: Duration = Duration::from_secs(1);

/// A client of the API.
pub(crate) struct Rest {
    client: reqwest::Client,
    base: String,
    token: String,
    /// Hosts of files are Discord's, or whoever stands in for it.
    own_host: Option<String>,
    pace: Pace<Id>,
    report: Report,
}

/// Why a call failed: what comes next, and Discord's own number for it.
#[derive(Debug)]
pub(crate) struct CallError {
    pub(crate) next: SendError,
    pub(crate) code: u64,
    pub(crate) status: u16,
}

impl From<CallError> for SendError {
    fn from(e: CallError) -> Self {
        e.next
    }
}

impl Rest {
    pub(crate) fn new(setting: &Setting, report: Report) -> Result<Self, StartError> {
        let token = setting("DISCORD_BOT_TOKEN").filter(|t| !t.trim().is_empty());
        let token = token.ok_or_else(|| {
            let what = "set DISCORD_BOT_TOKEN (discord.com/developers, your application, Bot)";
            StartError::NotConfigured(what.into())
        })?;
        let other = setting("DISCORD_API_URL");
        let base = other.as_deref().unwrap_or(API).trim_end_matches('/').to_owned();
        let own_host = other.and_then(|url| host_of(&url));
        let token = token.trim().trim_start_matches("Bot ").to_owned();
        let pace = Pace::new(BURST, EVERY);
        Ok(Self { client: http::client()?, base, token, own_host, pace, report })
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Waits until the channel may be posted in again.
    pub(crate) async fn turn(&self, channel: Id) {
        self.pace.wait(&channel).await;
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        self.read(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, json: &Value) -> Result<Value, CallError> {
        self.read(self.request(Method::POST, path).json(json)).await
    }

    pub(crate) async fn patch(&self, path: &str, json: &Value) -> Result<Value, CallError> {
        self.read(self.request(Method::PATCH, path).json(json)).await
    }

    pub(crate) async fn put(&self, path: &str, json: Option<&Value>) -> Result<(), CallError> {
        let request = self.request(Method::PUT, path);
        let request = match json {
            Some(json) => request.json(json),
            None => request.header("content-length", 0),
        };
        self.call(request).await.map(drop)
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<(), CallError> {
        self.call(self.request(Method::DELETE, path)).await.map(drop)
    }

    /// Posts a message with files.
    pub(crate) async fn post_form(
        &self,
        path: &str,
        form: reqwest::multipart::Form,
        bytes: usize,
    ) -> Result<Value, CallError> {
        let request = self.request(Method::POST, path).timeout(http::upload_time(bytes));
        self.read(request.multipart(form)).await
    }

    /// A file that came with a message; only from where Discord keeps them.
    pub(crate) async fn file(&self, url: &str, max: u64) -> Result<Vec<u8>, String> {
        let host = host_of(url).unwrap_or_default();
        let theirs = ["cdn.discordapp.com", "media.discordapp.net"].contains(&host.as_str());
        if !theirs && self.own_host.as_deref() != Some(host.as_str()) {
            return Err("it does not lie where Discord keeps files".into());
        }
        http::fetch(self.client.get(url), max).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.base))
            .header("authorization", format!("Bot {}", self.token))
            .timeout(CALL_WITHIN)
    }

    async fn read<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, CallError> {
        let body = self.call(request).await?;
        let text = if body.is_empty() { b"null" } else { &body[..] };
        serde_json::from_slice(text).map_err(|e| CallError {
            next: SendError::Retry { after: None, why: format!("Discord's answer: {e}") },
            code: 0,
            status: 200,
        })
    }

    async fn call(&self, request: RequestBuilder) -> Result<bytes::Bytes, CallError> {
        let none = |next| CallError { next, code: 0, status: 0 };
        let response = request.send().await.map_err(|e| none(http::unreachable(e)))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = http::body(response, BODY_BYTES_MAX).await.map_err(none)?;
        if status.is_success() {
            return Ok(body);
        }
        let failure: Failure = serde_json::from_slice(&body).unwrap_or(Failure {
            code: 0,
            message: String::new(),
            retry_after: None,
        });
        let why = format!("Discord says {}: {}", status.as_u16(), failure.message);
        let next = match status {
            StatusCode::UNAUTHORIZED => {
                let why = "Discord refuses the bot's token; make a new one at \
                    discord.com/developers and set DISCORD_BOT_TOKEN";
                (self.report)(Health::Broken { why: why.into() });
                SendError::Broken { why: why.into() }
            }
            // Not this channel, not this person; others go on.
            StatusCode::FORBIDDEN => SendError::Reject { why },
            StatusCode::TOO_MANY_REQUESTS => SendError::Retry {
                after: seconds(failure.retry_after).or_else(|| http::retry_after(&headers)),
                why,
            },
            _ => http::sort(status, &headers, why),
        };
        Err(CallError { next, code: failure.code, status: status.as_u16() })
    }

    /// What Discord asked to wait, before anything else is posted there.
    pub(crate) fn slow_down(&self, channel: Id, error: &CallError) {
        if let SendError::Retry { after: Some(after), .. } = &error.next {
            self.pace.pause(&channel, *after);
        }
    }
}

pub(crate) fn seconds(given: Option<f64>) -> Option<Duration> {
    Duration::try_from_secs_f64(given?).ok().map(|d| d.min(Duration::from_secs(3600)))
}

fn host_of(url: &str) -> Option<String> {
    let url = reqwest::Url::parse(url).ok()?;
    let port = url.port().map(|p| format!(":{p}")).unwrap_or_default();
    url.host_str().map(|h| format!("{h}{port}"))
}
