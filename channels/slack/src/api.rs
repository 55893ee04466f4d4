//! Slack's Web API: one call, and every failure sorted by what happens next.

use crate::wire::{Nothing, Verdict};
use nanoclaw_channel::time::Timestamp;
use nanoclaw_channel::{Health, Report, SendError, StartError};
use nanoclaw_kit::http;
use reqwest::{Client, Url};
use serde::de::DeserializeOwned;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Largest answer that is read.
const ANSWER_MAX: usize = 16 << 20;
/// Longest wait for one. Files have a time of their own.
const PATIENCE: Duration = Duration::from_secs(30);

/// A call that failed.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: SendError,
    /// What Slack calls it, if Slack said it.
    pub(crate) code: String,
    /// Whether it may have happened all the same.
    pub(crate) unclear: bool,
}

impl Failed {
    fn unclear(error: SendError) -> Self {
        Self { error, code: String::new(), unclear: true }
    }
}

impl From<Failed> for SendError {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

/// The Web API as one token sees it.
pub(crate) struct Api {
    pub(crate) http: Client,
    base: Url,
    token: String,
    report: Report,
    /// When Slack last answered, by Slack's own clock.
    heard: Mutex<Option<Timestamp>>,
}

impl Api {
    pub(crate) fn new(base: &str, token: String, report: Report) -> Result<Self, StartError> {
        let base = Url::parse(&format!("{}/", base.trim_end_matches('/')))
            .map_err(|e| StartError::Broken(format!("SLACK_API_URL is no URL: {e}")))?;
        Ok(Self { http: http::client()?, base, token, report, heard: Mutex::new(None) })
    }

    /// Calls a method.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        arguments: &[(&str, &str)],
    ) -> Result<T, Failed> {
        let wrong = |e: String| {
            Failed::unclear(SendError::Retry { after: None, why: format!("Slack, {method}: {e}") })
        };
        let url = self.base.join(method).map_err(|e| wrong(e.to_string()))?;
        let request =
            self.http.post(url).bearer_auth(&self.token).form(arguments).timeout(PATIENCE);
        let response = request.send().await.map_err(|e| Failed::unclear(http::unreachable(e)))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let date = headers.get("date").and_then(|d| d.to_str().ok());
        if let Some(Ok(at)) = date.map(jiff::fmt::rfc2822::parse) {
            *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(at.timestamp());
        }
        if !status.is_success() {
            let error =
                http::sort(status, &headers, format!("Slack answered {method} with {status}"));
            self.tell(&error);
            return Err(Failed { error, code: String::new(), unclear: status.is_server_error() });
        }
        let body = http::body(response, ANSWER_MAX).await.map_err(Failed::unclear)?;
        let verdict: Verdict = serde_json::from_slice(&body).map_err(|e| wrong(e.to_string()))?;
        if !verdict.ok {
            let failed = refused(method, verdict);
            self.tell(&failed.error);
            return Err(failed);
        }
        serde_json::from_slice(&body).map_err(|e| wrong(e.to_string()))
    }

    /// Calls a method whose answer says nothing.
    pub(crate) async fn tell_slack(
        &self,
        method: &str,
        arguments: &[(&str, &str)],
    ) -> Result<(), Failed> {
        self.call::<Nothing>(method, arguments).await.map(|_| ())
    }

    /// A file of Slack's, with our token if it is Slack that asks for it.
    pub(crate) async fn file(&self, url: &str, max: u64) -> Result<Vec<u8>, String> {
        let url = Url::parse(url).map_err(|e| format!("its address cannot be read: {e}"))?;
        if !self.is_slack(&url) {
            return Err("it lies outside of Slack".into());
        }
        http::fetch(self.http.get(url).bearer_auth(&self.token), max).await
    }

    /// Whether a URL leads to Slack, or to what stands in for it.
    pub(crate) fn is_slack(&self, url: &Url) -> bool {
        let host = |url: &Url| url.host_str().map(|h| format!(".{h}"));
        url.origin() == self.base.origin()
            || (url.scheme() == "https"
                && [".slack.com", ".slack-gov.com", ".slack-files.com"]
                    .iter()
                    .any(|ours| host(url).is_some_and(|h| h.ends_with(ours))))
    }

    /// Whether connections may be without TLS: only where the Web API itself is.
    pub(crate) fn is_plain(&self) -> bool {
        self.base.scheme() == "http"
    }

    /// When Slack last answered, by Slack's own clock.
    pub(crate) fn heard(&self) -> Option<Timestamp> {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, error: &SendError) {
        if let SendError::Broken { why } = error {
            (self.report)(Health::Broken { why: why.clone() });
        }
    }
}

/// Sorts what Slack says when it says no.
fn refused(method: &str, verdict: Verdict) -> Failed {
    let code = verdict.error.unwrap_or_else(|| "no reason".into());
    let why = |hint: &str| format!("Slack refused {method}: {code}{hint}");
    let error = match code.as_str() {
        "ratelimited" | "rate_limited" => {
            SendError::Retry { after: Some(Duration::from_secs(30)), why: why("") }
        }
        "internal_error"
        | "fatal_error"
        | "service_unavailable"
        | "request_timeout"
        | "team_added_to_org"
        | "file_update_failed" => SendError::Retry { after: None, why: why("") },
        "invalid_auth"
        | "not_authed"
        | "account_inactive"
        | "token_revoked"
        | "token_expired"
        | "not_allowed_token_type"
        | "org_login_required"
        | "access_denied"
        | "ekm_access_denied" => {
            // The same words for every method: the owner is told once.
            let next = "Install the app again, put its tokens into .env, and restart";
            SendError::Broken { why: format!("Slack no longer takes the token ({code}). {next}") }
        }
        "missing_scope" => {
            let scope = verdict.needed.unwrap_or_default();
            let why = why(&format!(" {scope}. Add the scope to the app and install it again"));
            if scope.contains("chat:write") {
                SendError::Broken { why }
            } else {
                SendError::Reject { why }
            }
        }
        "not_in_channel" | "channel_not_found" => {
            SendError::Reject { why: why(". Invite the app: /invite @its-name in that channel") }
        }
        _ => SendError::Reject { why: why("") },
    };
    let unclear = matches!(code.as_str(), "internal_error" | "fatal_error" | "request_timeout");
    Failed { error, code, unclear }
}

/// Why a channel with such a token does not start.
pub(crate) fn start_error(failed: Failed) -> StartError {
    match failed.error {
        SendError::Retry { why, .. } => StartError::Unreachable(why),
        SendError::Reject { why } | SendError::Broken { why } => StartError::Broken(why),
    }
}

#[cfg(test)]
mod tests;
