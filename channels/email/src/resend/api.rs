//! Calls to Resend's API.

use nanoclaw_channel::{SendError, StartError};
use nanoclaw_kit::http;
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Longest time for an answer, and longest answer; mails themselves are files behind a link.
const ANSWER_TIME: Duration = Duration::from_secs(30);
const ANSWER_MAX: usize = 64 << 20;

/// How long a quota may be used up before it is asked again.
const QUOTA_TIME: Duration = Duration::from_secs(3600);

#[derive(Clone)]
pub(crate) struct Api {
    http: Client,
    base: String,
    key: String,
}

/// Why a call failed, and what Resend calls that.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) name: String,
    pub(crate) error: SendError,
}

impl From<SendError> for Failed {
    fn from(error: SendError) -> Self {
        Self { name: String::new(), error }
    }
}

impl From<Failed> for SendError {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    name: String,
    message: String,
}

impl Api {
    pub(crate) fn new(base: &str, key: String) -> Result<Self, StartError> {
        let good = base.starts_with("https://") || base.starts_with("http://");
        if !good || reqwest::Url::parse(base).is_err() {
            return Err(StartError::Broken("RESEND_API_URL is no address".to_owned()));
        }
        Ok(Self { http: http::client()?, base: base.trim_end_matches('/').to_owned(), key })
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.base))
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failed> {
        let request = self.http.get(format!("{}{path}", self.base)).timeout(ANSWER_TIME);
        self.answer(request).await
    }

    /// A file behind a link that Resend signed; the key is none of its business.
    pub(crate) async fn file(&self, url: &str, max: u64) -> Result<Vec<u8>, String> {
        http::fetch(self.http.get(url), max).await
    }

    pub(crate) async fn answer<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, Failed> {
        let response = request.bearer_auth(&self.key).send().await.map_err(http::unreachable)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = http::body(response, ANSWER_MAX).await?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|_| {
                let why = "Resend's answer is not understood".to_owned();
                SendError::Retry { after: None, why }.into()
            });
        }
        let Refusal { name, message } = serde_json::from_slice(&body).unwrap_or_default();
        let message = nanoclaw_channel::markdown::printable_line(&message);
        let message: String = message.chars().take(300).collect();
        let why = format!("Resend answered {}: {name} {message}", status.as_u16());
        let mut error = http::sort(status, &headers, why.trim_end_matches([' ', ':']));
        match &mut error {
            SendError::Broken { why } => {
                *why += "; check RESEND_API_KEY (it needs full access) and that the domain of RESEND_FROM_ADDRESS is verified there";
            }
            SendError::Retry { after, .. } if name.ends_with("_quota_exceeded") => {
                *after = Some(QUOTA_TIME);
            }
            // Another attempt at the same mail is under way.
            SendError::Reject { why } if name == "concurrent_idempotent_requests" => {
                error = SendError::Retry { after: None, why: std::mem::take(why) };
            }
            _ => {}
        }
        Err(Failed { name, error })
    }
}
