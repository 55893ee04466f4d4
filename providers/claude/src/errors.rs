//! What a failed turn or a dead process means, by what a person can do about it.
//!
//! Never reads more than Claude Code's own classes and status codes, except where it has only words.

use crate::frames::Outcome;
use nanoclaw_runner::provider::{ErrorKind, ProviderError};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

/// What was heard during a turn that a result does not repeat.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The class of the API error in the assistant's name.
    pub(crate) class: Option<String>,
    /// When the limit that was hit ends.
    pub(crate) resets_at: Option<i64>,
}

/// Judges a result: `None` if it is no failure.
pub(crate) fn judge(outcome: &Outcome, heard: &Heard) -> Option<ProviderError> {
    if !outcome.is_error && !outcome.subtype.starts_with("error") {
        return None;
    }
    let detail = outcome.result.clone().filter(|text| !text.is_empty());
    let detail = detail.unwrap_or_else(|| match outcome.errors.is_empty() {
        true => outcome.subtype.clone(),
        false => outcome.errors.join("; "),
    });
    let interrupted = outcome.terminal_reason.as_deref().is_some_and(|r| r.starts_with("aborted"));
    let kind = if interrupted {
        ErrorKind::Interrupted
    } else {
        kind(heard.class.as_deref(), outcome.api_error_status, &detail, heard.resets_at)
    };
    Some(ProviderError { kind, detail })
}

/// The kind of an API error, by Claude Code's class, the status and, for want of both, its words.
pub(crate) fn kind(
    class: Option<&str>,
    status: Option<u16>,
    detail: &str,
    resets_at: Option<i64>,
) -> ErrorKind {
    let limited = ErrorKind::RateLimited { resets_at };
    match (class, status) {
        (Some("authentication_failed" | "oauth_org_not_allowed"), _) | (_, Some(401 | 403)) => {
            ErrorKind::Auth
        }
        (Some("billing_error"), _) | (_, Some(402)) => ErrorKind::Billing,
        _ if detail.contains("Credit balance is too low") => ErrorKind::Billing,
        (_, Some(503 | 529)) => ErrorKind::Overloaded,
        (_, Some(429)) | (Some("rate_limit"), _) => limited,
        (_, Some(400..=499)) | (Some("invalid_request"), _) => ErrorKind::BadRequest,
        (_, Some(_)) | (Some("server_error"), None) => ErrorKind::Unreachable,
        _ if detail.starts_with("Not logged in") => ErrorKind::Auth,
        _ => ErrorKind::Other,
    }
}

/// A process that ended before it was ready. `refusal` is the result that it left.
pub(crate) fn stillborn(
    resumed: bool,
    status: Option<ExitStatus>,
    refusal: Option<String>,
    tail: &str,
) -> ProviderError {
    // Only a result speaks of the conversation. A server that is configured wrongly, or a kill, ends
    // without one, and the conversation is not given up for that.
    let killed = status.and_then(|s| s.signal()).is_some();
    let kind = match &refusal {
        Some(_) if resumed => ErrorKind::LostConversation,
        None if killed => ErrorKind::Other,
        Some(_) | None => ErrorKind::Setup,
    };
    let silent = || format!("Claude Code ended before it was ready, {}", ending(status, tail));
    ProviderError { kind, detail: refusal.unwrap_or_else(silent) }
}

/// A process that ended without being told to.
pub(crate) fn dead(status: Option<ExitStatus>, tail: &str) -> ProviderError {
    let detail = format!("Claude Code ended by itself, {}", ending(status, tail));
    ProviderError { kind: ErrorKind::Other, detail }
}

fn ending(status: Option<ExitStatus>, tail: &str) -> String {
    let status = status.map_or_else(|| "no exit status".to_owned(), |s| s.to_string());
    let tail = tail.trim();
    if tail.is_empty() { status } else { format!("{status}; its last words: {tail}") }
}

#[cfg(test)]
mod tests;
