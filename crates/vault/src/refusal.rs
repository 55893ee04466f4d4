//! Why a request went no further: a status, a code for programs and words for the agent.
//!
//! Every step of the data path answers with one of these; `front` and `tunnel` turn it into bytes.

use crate::{Answer, full};
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

/// How long the rest of a refused request is read, so that the refusal is not lost with the connection.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
const DRAIN_MAX: u64 = 64 << 20;
const DECISION: HeaderName = HeaderName::from_static("x-vault-decision");

/// Why a request was not forwarded.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    more: Vec<(String, Value)>,
    retry_after: Option<Duration>,
    /// Written the way the model's API does, so that a harness shows the message.
    model: bool,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let (message, more) = (message.into(), Vec::new());
        Self { status, code, message, more, retry_after: None, model: false }
    }

    pub(crate) fn blocked(code: &'static str, why: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, why)
    }

    pub(crate) fn body_too_large(most: u64) -> Self {
        let text = format!("a request body has at most {} MB", most >> 20);
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", text)
    }

    /// Something of the vault's own failed; nothing passes meanwhile.
    pub(crate) fn unavailable(code: &'static str, why: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, why)
    }

    /// One more field of the answer.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.more.push((key.to_owned(), value.into()));
        self
    }

    pub(crate) fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    pub(crate) fn for_model(mut self) -> Self {
        self.model = true;
        self
    }

    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    fn body(&self, request: &str) -> String {
        if self.model {
            let error = json!({ "type": self.code, "message": self.message });
            return json!({ "type": "error", "error": error, "request_id": request }).to_string();
        }
        let mut body: Map<String, Value> = self.more.iter().cloned().collect();
        body.insert("error".into(), self.code.into());
        body.insert("message".into(), self.message.as_str().into());
        body.insert("request_id".into(), request.into());
        Value::Object(body).to_string()
    }

    fn retry(&self) -> &'static str {
        let again = self.status.is_server_error() || self.status == StatusCode::TOO_MANY_REQUESTS;
        if again { "true" } else { "false" }
    }

    fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let text = HeaderValue::from_static;
        let mut all = vec![
            (CONTENT_TYPE, text("application/json")),
            (HeaderName::from_static("x-should-retry"), text(self.retry())),
            (DECISION, text(self.code)),
        ];
        if self.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            all.push((hyper::header::PROXY_AUTHENTICATE, text("Basic realm=\"nanoclaw vault\"")));
        }
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            all.push((RETRY_AFTER, HeaderValue::from(seconds)));
        }
        all
    }

    pub(crate) fn answer(&self, request: &str) -> Answer {
        let mut answer = Response::new(full(Bytes::from(self.body(request))));
        *answer.status_mut() = self.status;
        answer.headers_mut().extend(self.headers());
        answer
    }

    /// The same answer where no HTTP library is in charge yet.
    pub(crate) async fn write(&self, to: &mut (impl AsyncRead + AsyncWrite + Unpin), id: &str) {
        let body = self.body(id);
        let mut text = format!("HTTP/1.1 {}\r\n", self.status);
        for (name, value) in self.headers() {
            text += &format!("{name}: {}\r\n", value.to_str().unwrap_or_default());
        }
        text += &format!("connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let rest = async {
            to.write_all(text.as_bytes()).await?;
            to.shutdown().await?;
            tokio::io::copy(&mut to.take(DRAIN_MAX), &mut tokio::io::sink()).await
        };
        // The box may be gone already; then nobody waits for the refusal.
        drop(timeout(DRAIN_TIMEOUT, rest).await);
    }
}
