//! Who asks: the socket says which session, and a token says that the box's own programs do.
//!
//! A token is a function of the install's key and the session, so it outlives a restart of the vault and is kept
//! nowhere; only its digest is in memory. Read next: `tunnel`.

use crate::refusal::Refusal;
use crate::serve::{Session, Vault};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hyper::StatusCode;
use nanoclaw_policy::{Auth, Policy};
use sha2::{Digest as _, Sha256};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

const PREFIX: &str = "nv1_";
const FAILURES_MAX: u32 = 5;
const WINDOW: Duration = Duration::from_secs(10);
const PENALTY: Duration = Duration::from_secs(1);
const REFUSALS_MAX: u32 = 50;
const REFUSAL_PENALTY: Duration = Duration::from_millis(250);

/// What is known of a token.
pub(crate) type Print = [u8; 32];

/// Wrong tokens of one session, or its other refusals.
pub(crate) struct Failures {
    since: Instant,
    count: u32,
}

impl Default for Failures {
    fn default() -> Self {
        Self { since: Instant::now(), count: 0 }
    }
}

impl Failures {
    /// One more; how many they are within a while.
    fn more(failures: &Mutex<Self>) -> u32 {
        let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.since.elapsed() > WINDOW {
            *failures = Self::default();
        }
        failures.count += 1;
        failures.count
    }
}

/// Whoever is refused often waits before each answer: who searches for gaps takes no time from others.
pub(crate) async fn slow_down(session: &Session) {
    if Failures::more(&session.refusals) > REFUSALS_MAX {
        tokio::time::sleep(REFUSAL_PENALTY).await;
    }
}

/// The token of a session.
pub(crate) fn token(key: &[u8; 32], session: &str) -> String {
    let made =
        ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key), session.as_bytes());
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(made.as_ref()))
}

pub(crate) fn print(token: &str) -> Print {
    Sha256::digest(token.as_bytes()).into()
}

/// Lets a request pass that carries this session's token, or needs none.
pub(crate) async fn check(
    vault: &Vault,
    session: &Session,
    policy: &Policy,
    given: Option<&str>,
) -> Result<(), Refusal> {
    let given = given.and_then(parse).map(|token| print(&token));
    let same = |print: &Print| given.is_some_and(|given| equal(&given, print));
    if same(&session.token) {
        return Ok(());
    }
    if given.is_none() && policy.auth(&session.agent) == Auth::Socket {
        return Ok(());
    }
    let (code, text) = match vault.session_with(|other| same(&other.token)) {
        Some(other) => {
            vault.alarm(
                session,
                "token_mismatch",
                &format!("the box used the token of session {other}"),
            );
            ("token_mismatch", "this token belongs to another session; it does not work here")
        }
        None => ("auth_failed", "the proxy wants the token that HTTPS_PROXY in this box names"),
    };
    if Failures::more(&session.failures) > FAILURES_MAX {
        tokio::time::sleep(PENALTY).await;
    }
    Err(Refusal::new(StatusCode::PROXY_AUTHENTICATION_REQUIRED, code, text))
}

/// `Basic *:<token>` or `Bearer <token>`.
fn parse(value: &str) -> Option<String> {
    let (scheme, rest) = value.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    pair.split_once(':').map(|(_, token)| token.to_owned())
}

/// Of digests, so what a difference in time tells is of no use; and it tells nothing.
fn equal(a: &Print, b: &Print) -> bool {
    a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

#[cfg(test)]
mod tests;
