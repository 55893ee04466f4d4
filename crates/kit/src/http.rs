//! Calls to a platform's API: one kind of client, answers that have a limit, failures sorted by what comes next.
//!
//! No error here holds a URL, because a URL may hold a token.

use bytes::{Bytes, BytesMut};
use nanoclaw_channel::time::{Clock as _, SystemClock, Timestamp};
use nanoclaw_channel::{SendError, StartError};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use std::time::Duration;
use tokio::time::timeout;

#[cfg(test)]
mod tests;

const CONNECT_TIME: Duration = Duration::from_secs(10);

/// Longest silence within an answer.
const SILENCE_TIME: Duration = Duration::from_secs(75);

/// Longest time that a file may take.
const FETCH_TIME: Duration = Duration::from_secs(300);

/// Longest wait that a platform can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Slowest that a file may go out, in bytes a second.
const UPLOAD_PACE: u64 = 64 << 10;

/// A client: rustls with ring, no redirects (they would carry a token elsewhere), dead connections noticed.
/// How long an answer may take is for each request to say: one that carries a file takes [`upload_time`].
pub fn client() -> Result<Client, StartError> {
    // An error means that it is installed already, by an earlier channel.
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::builder()
        .user_agent(concat!("nanoclaw/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIME)
        .tcp_keepalive(Duration::from_secs(15))
        .http2_keep_alive_interval(Duration::from_secs(20))
        .http2_keep_alive_timeout(CONNECT_TIME)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|e| StartError::Broken(format!("cannot make an HTTPS client: {e}")))
}

/// How long it may take until a request with so many bytes is answered.
pub fn upload_time(bytes: usize) -> Duration {
    Duration::from_secs(60 + bytes as u64 / UPLOAD_PACE)
}

/// The whole answer, if it is not longer than `max`.
pub async fn body(response: Response, max: usize) -> Result<Bytes, SendError> {
    read(response, max as u64).await.map_err(|e| match e {
        Unread::TooLong => {
            SendError::Reject { why: format!("the platform's answer is longer than {max} bytes") }
        }
        Unread::Silent => SendError::Retry { after: None, why: SILENT.into() },
        Unread::Lost(error) => unreachable(error),
    })
}

/// A file. The error says in words for people why there is none.
pub async fn fetch(request: RequestBuilder, max: u64) -> Result<Vec<u8>, String> {
    let response = request.timeout(FETCH_TIME).send().await.map_err(|e| words(&e))?;
    let status = response.status();
    if !status.is_success() {
        return Err(format!("the platform answered {}", status.as_u16()));
    }
    match read(response, max).await {
        Ok(bytes) => Ok(bytes.into()),
        Err(Unread::TooLong) => Err(format!("it is larger than {}", crate::files::size(max))),
        Err(Unread::Silent) => Err(SILENT.into()),
        Err(Unread::Lost(error)) => Err(words(&error)),
    }
}

const SILENT: &str = "the platform did not answer in time";

/// Why an answer was not read.
enum Unread {
    TooLong,
    Silent,
    Lost(reqwest::Error),
}

async fn read(mut response: Response, max: u64) -> Result<Bytes, Unread> {
    if response.content_length().is_some_and(|n| n > max) {
        return Err(Unread::TooLong);
    }
    let mut all = BytesMut::new();
    let mut next = async || match timeout(SILENCE_TIME, response.chunk()).await {
        Ok(chunk) => chunk.map_err(Unread::Lost),
        Err(_) => Err(Unread::Silent),
    };
    while let Some(chunk) = next().await? {
        if (all.len() + chunk.len()) as u64 > max {
            return Err(Unread::TooLong);
        }
        all.extend_from_slice(&chunk);
    }
    Ok(all.freeze())
}

/// How long the platform asks to wait: seconds or a date, at most an hour.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    wait(text, SystemClock.now())
}

fn wait(text: &str, now: Timestamp) -> Option<Duration> {
    let wait = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).unwrap_or(RETRY_AFTER_MAX),
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            Duration::try_from(at.duration_since(now)).unwrap_or_default()
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// Sorts an answer that is no success.
pub fn sort(status: StatusCode, headers: &HeaderMap, why: impl Into<String>) -> SendError {
    let why = why.into();
    match status.as_u16() {
        401 | 403 => SendError::Broken { why },
        408 | 425 | 429 | 500.. => SendError::Retry { after: retry_after(headers), why },
        _ => SendError::Reject { why },
    }
}

/// The platform was not reached.
pub fn unreachable(error: reqwest::Error) -> SendError {
    SendError::Retry { after: None, why: words(&error) }
}

/// What happened, with the cause and without the URL.
fn words(error: &reqwest::Error) -> String {
    let what = if error.is_timeout() {
        SILENT
    } else if error.is_connect() {
        "the platform was not reached"
    } else {
        "the connection to the platform was lost"
    };
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    // The error itself prints its URL; its causes do not.
    match std::error::Error::source(error) {
        Some(_) => format!("{what}: {cause}"),
        None => what.to_owned(),
    }
}
