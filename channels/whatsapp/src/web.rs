//! WhatsApp's other servers: files and the version of the protocol, over HTTPS.

use nanoclaw_channel::StartError;
use nanoclaw_kit::http;
use whatsapp_rust::anyhow::{Result, anyhow, bail};
use whatsapp_rust::http::{HttpClient, HttpRequest, HttpResponse};

/// Largest answer: a file as large as may come in, and its encryption.
const ANSWER_MAX: u64 = crate::receive::FILE_IN_MAX + 1024;

/// A client for files.
#[derive(Clone)]
pub(crate) struct Web {
    client: reqwest::Client,
    /// What stands in for WhatsApp.
    base: Option<String>,
}

impl Web {
    pub(crate) fn new(base: Option<String>) -> Result<Self, StartError> {
        let base = base.map(|base| base.trim_end_matches('/').to_owned());
        if base.as_ref().is_some_and(|base| !base.starts_with("http")) {
            return Err(StartError::Broken("WHATSAPP_BASE_URL must begin with http".into()));
        }
        Ok(Self { client: http::client()?, base })
    }

    /// Where messages are exchanged, if not at WhatsApp.
    pub(crate) fn socket(&self) -> Option<String> {
        Some(format!("{}/ws/chat", self.base.as_ref()?.replacen("http", "ws", 1)))
    }

    fn url(&self, url: &str) -> String {
        let path = url.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
        match (&self.base, path) {
            (Some(base), Some(path)) => format!("{base}{path}"),
            _ => url.to_owned(),
        }
    }
}

#[whatsapp_rust::async_trait]
impl HttpClient for Web {
    async fn execute(&self, request: HttpRequest) -> Result<HttpResponse> {
        let url = self.url(&request.url);
        let mut call = match request.method.as_str() {
            "GET" => self.client.get(url),
            "POST" => self.client.post(url),
            other => bail!("no method {other}"),
        };
        for (name, value) in request.headers {
            call = call.header(name, value);
        }
        let time = http::upload_time(request.body.as_deref().map_or(0, <[u8]>::len));
        if let Some(body) = request.body {
            call = call.body(body);
        }
        let answer = tokio::time::timeout(time, call.send()).await;
        let answer = answer.map_err(|_| anyhow!("WhatsApp did not answer in time"))?;
        let answer = answer.map_err(http::unreachable).map_err(|e| anyhow!("{e}"))?;
        let status_code = answer.status().as_u16();
        let max = usize::try_from(ANSWER_MAX).unwrap_or(usize::MAX);
        let body = http::body(answer, max).await.map_err(|e| anyhow!("{e}"))?;
        Ok(HttpResponse { status_code, body: body.to_vec() })
    }
}
