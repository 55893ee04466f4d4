//! Calls to the Bot API. No error here holds the token, which is part of every URL.

use crate::wire::{Answered, File};
use nanoclaw_channel::{SendError, StartError};
use nanoclaw_kit::http;
use reqwest::multipart::Form;
use reqwest::{Client, RequestBuilder};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;

/// How long Telegram keeps a request for updates open when there are none.
pub(crate) const POLL: Duration = Duration::from_secs(30);

/// Largest file that a bot may fetch and send.
pub(crate) const FILE_IN_MAX: u64 = 20 << 20;
pub(crate) const FILE_OUT_MAX: u64 = 50 << 20;

const TIME: Duration = Duration::from_secs(30);
/// Longest wait that Telegram can ask for, in seconds.
const WAIT_MAX: u64 = 3600;
const ANSWER_MAX: usize = 16 << 20;

pub(crate) const NO_TOKEN: &str = "Telegram does not take the bot token any more. Ask @BotFather for a \
    new one (/token), set TELEGRAM_BOT_TOKEN and restart";

/// Why a call failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No answer, or none that can be read.
    Lost(String),
    /// Telegram said no.
    Refused { code: u16, why: String, after: Option<Duration>, moved: Option<i64> },
}

impl Failure {
    /// Whether Telegram refused with these words.
    pub(crate) fn says(&self, words: &str) -> bool {
        matches!(self, Self::Refused { code: 400, why, .. } if why.contains(words))
    }
}

impl From<Failure> for SendError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Lost(why) => Self::Retry { after: None, why },
            // A wrong token is "not found" if it is not even shaped like one.
            Failure::Refused { code: 401 | 404, .. } => Self::Broken { why: NO_TOKEN.into() },
            Failure::Refused { code: 403, why, .. } => Self::Reject {
                why: format!("{why}. The person must start the bot, or an administrator add it"),
            },
            Failure::Refused { code: 409 | 420 | 429 | 500.., why, after, .. } => {
                Self::Retry { after, why }
            }
            Failure::Refused { why, .. } => Self::Reject { why },
        }
    }
}

impl From<Failure> for StartError {
    fn from(failure: Failure) -> Self {
        match SendError::from(failure) {
            SendError::Broken { why } => Self::Broken(why),
            SendError::Retry { why, .. } | SendError::Reject { why } => Self::Unreachable(why),
        }
    }
}

/// A bot's access to a server.
pub(crate) struct Api {
    http: Client,
    /// With the token.
    methods: String,
    files: String,
}

impl Api {
    pub(crate) fn new(base: &str, token: &str) -> Result<Self, StartError> {
        let (id, secret) = token.split_once(':').unwrap_or_default();
        let secret_like = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if id.is_empty()
            || !id.bytes().all(|b| b.is_ascii_digit())
            || !secret.chars().all(secret_like)
        {
            return Err(StartError::Broken(
                "TELEGRAM_BOT_TOKEN does not look like a token; @BotFather gives one like 123456:ABC…".into(),
            ));
        }
        let base = base.trim_end_matches('/');
        let (methods, files) = (format!("{base}/bot{token}"), format!("{base}/file/bot{token}"));
        Ok(Self { http: http::client()?, methods, files })
    }

    /// Calls a method; what is null in `fields` is not there.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        mut fields: Value,
    ) -> Result<T, Failure> {
        if let Some(fields) = fields.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        let time = TIME + Duration::from_secs(fields["timeout"].as_u64().unwrap_or_default());
        let request = self.http.post(format!("{}/{method}", self.methods)).timeout(time);
        answer(request.json(&fields)).await
    }

    pub(crate) async fn upload<T: DeserializeOwned>(
        &self,
        method: &str,
        form: Form,
        bytes: usize,
    ) -> Result<T, Failure> {
        let request = self.http.post(format!("{}/{method}", self.methods));
        answer(request.timeout(http::upload_time(bytes)).multipart(form)).await
    }

    pub(crate) async fn file(&self, id: &str) -> Result<Vec<u8>, Failure> {
        let file: File = self.call("getFile", json!({ "file_id": id })).await?;
        // It goes into a URL that holds the token.
        let path = file.file_path.filter(|p| !p.contains("..") && !p.contains(['?', '#', '\\']));
        let path = path.ok_or_else(|| Failure::Lost("Telegram does not say where it is".into()))?;
        let request = self.http.get(format!("{}/{path}", self.files));
        http::fetch(request, FILE_IN_MAX).await.map_err(Failure::Lost)
    }
}

async fn answer<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, Failure> {
    let lost = |e: SendError| Failure::Lost(e.to_string());
    let response = request.send().await.map_err(|e| lost(http::unreachable(e)))?;
    let (status, after) = (response.status(), http::retry_after(response.headers()));
    let body = http::body(response, ANSWER_MAX).await.map_err(lost)?;
    // A proxy in front of Telegram answers with pages.
    let answered: Answered<T> = match serde_json::from_slice(&body) {
        Ok(answered) => answered,
        Err(e) if status.is_success() => {
            return Err(Failure::Lost(format!("Telegram's answer cannot be read: {e}")));
        }
        Err(_) => Answered::failed(),
    };
    if let (true, Some(result)) = (answered.ok, answered.result) {
        return Ok(result);
    }
    let code = answered.error_code.unwrap_or(status.as_u16());
    let why = answered.description.unwrap_or_else(|| "no reason given".into());
    Err(Failure::Refused {
        code,
        why: format!("Telegram: {} ({code})", why.trim_start_matches("Bad Request: ")),
        after: answered
            .parameters
            .retry_after
            .map(|s| Duration::from_secs(s.min(WAIT_MAX)))
            .or(after),
        moved: answered.parameters.migrate_to_chat_id,
    })
}

impl<T> Answered<T> {
    fn failed() -> Self {
        Self {
            ok: false,
            result: None,
            error_code: None,
            description: None,
            parameters: Default::default(),
        }
    }
}
