//! Resend's webhooks, signed as Svix does it: <https://docs.svix.com/receiving/verifying-payloads/how-manual>.
//!
//! A webhook names a mail and does not hold it. Its name is on disk before Resend is told that it came.

use crate::resend::NAME;
use crate::resend::receive::queue;
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use nanoclaw_channel::time::{Clock as _, SystemClock, Timestamp};
use nanoclaw_kit::sign::{fresh, hmac_sha256, same};
use nanoclaw_kit::store::{Store, StoreError};
use nanoclaw_kit::webhook::{Handler, Hook, Limits, Reply};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

pub(crate) const PATH: &str = "/webhook/resend";
pub(crate) const LIMITS: Limits = Limits { body_max: 1 << 20, per_minute: 3_000 };

/// How far a signed time may be off.
const TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// Longest name of a webhook.
const ID_MAX: usize = 256;

pub(crate) struct Webhook {
    pub(crate) secret: Vec<u8>,
    pub(crate) store: Store,
    pub(crate) bell: Arc<Notify>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    data: serde_json::Value,
}

#[derive(Deserialize)]
struct Received {
    email_id: String,
    created_at: String,
}

/// A mail that came, by Resend's name and the time that it states, in microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) id: String,
    pub(crate) at: i64,
}

impl Named {
    /// Reads both; refuses what is no name or no time.
    pub(crate) fn parse(id: &str, at: &str) -> Option<Self> {
        let good = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
        let fine = (1..=64).contains(&id.len()) && id.bytes().all(good);
        let mut at = at.trim().to_owned();
        // In lists, hours stand alone behind the sign.
        if at.get(at.len().saturating_sub(3)..).is_some_and(|end| end.starts_with(['+', '-'])) {
            at += ":00";
        }
        let at = at.parse::<Timestamp>().ok()?.as_microsecond();
        (fine && at >= 0).then(|| Self { id: id.to_owned(), at })
    }
}

#[async_trait]
impl Handler for Webhook {
    async fn call(&self, hook: Hook) -> Reply {
        let header = |name: &str| hook.header(name).unwrap_or_default();
        let (id, time) = (header("svix-id"), header("svix-timestamp"));
        let signed = is_signed(&self.secret, id, time, &hook.body, header("svix-signature"));
        if !signed || id.is_empty() || id.len() > ID_MAX {
            tracing::warn!(channel = NAME, from = %hook.from, "a webhook without Resend's signature was refused");
            return Reply::status(401);
        }
        if !time.parse().is_ok_and(|at| fresh(at, SystemClock.now(), TOLERANCE)) {
            tracing::warn!(channel = NAME, "a webhook that was signed long ago was refused");
            return Reply::status(400);
        }
        match event(&hook.body) {
            Err(()) => Reply::status(400),
            Ok(None) => Reply::ok(),
            Ok(Some(named)) => match self.take(id, &named).await {
                Ok(()) => Reply::ok(),
                Err(error) => {
                    tracing::warn!(channel = NAME, %error, "a webhook was not taken; Resend sends it again");
                    Reply::status(503)
                }
            },
        }
    }
}

impl Webhook {
    async fn take(&self, id: &str, named: &Named) -> Result<(), StoreError> {
        let hook = format!("hook:{id}");
        if self.store.get(&hook).await?.is_none() {
            queue(&self.store, named).await?;
            // Later ones are refused for their age.
            self.store.put_for(&hook, "", TOLERANCE * 3).await?;
            self.bell.notify_one();
        }
        Ok(())
    }
}

/// The mail that a webhook names, if it is about one that came.
pub(crate) fn event(body: &[u8]) -> Result<Option<Named>, ()> {
    let event: Event = serde_json::from_slice(body).map_err(|_| ())?;
    if event.kind != "email.received" {
        return Ok(None);
    }
    let Received { email_id, created_at } = serde_json::from_value(event.data).map_err(|_| ())?;
    Named::parse(&email_id, &created_at).ok_or(()).map(Some)
}

/// The key in `whsec_…`.
pub(crate) fn secret(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    let key = BASE64.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok()?;
    (!key.is_empty()).then_some(key)
}

/// Whether one of the signatures is right; there are several while a secret is changed.
pub(crate) fn is_signed(
    secret: &[u8],
    id: &str,
    time: &str,
    body: &[u8],
    signatures: &str,
) -> bool {
    let right = hmac_sha256(secret, &[id.as_bytes(), b".", time.as_bytes(), b".", body]);
    let given = signatures.split(' ').filter_map(|one| one.strip_prefix("v1,"));
    given.filter_map(|one| BASE64.decode(one).ok()).any(|given| same(&given, &right))
}
