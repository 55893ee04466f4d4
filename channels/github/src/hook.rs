//! GitHub's webhooks: signed, and sent once. What cannot be taken now is kept here, on disk, until it can be.

use crate::receive::{Event, Remark, last_number};
use crate::wire::{Account, Delivery};
use crate::{Hub, NAME};
use async_trait::async_trait;
use nanoclaw_channel::time::{Clock as _, SystemClock};
use nanoclaw_kit::sign;
use nanoclaw_kit::webhook::{Handler, Hook, Limits, Reply};
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(crate) const PATH: &str = "/webhook/github";
pub(crate) const LIMITS: Limits = Limits { body_max: 5 << 20, per_minute: 3_000 };
/// Most that is kept; what does not fit is refused and found by reading.
const KEPT_MAX: usize = 1_000;

pub(crate) struct Webhook {
    pub(crate) hub: Arc<Hub>,
    pub(crate) secret: String,
}

#[async_trait]
impl Handler for Webhook {
    async fn call(&self, hook: Hook) -> Reply {
        let signature = hook.header("x-hub-signature-256").unwrap_or_default();
        if !is_signed(&self.secret, &hook.body, signature) {
            tracing::warn!(channel = NAME, from = %hook.from, "a webhook without GitHub's signature was refused");
            return Reply::status(401);
        }
        let kind = hook.header("x-github-event").unwrap_or_default();
        if kind == "ping" {
            return Reply::ok();
        }
        let form =
            hook.header("content-type").is_some_and(|t| t.starts_with("application/x-www-form"));
        if form {
            // Said in words, because GitHub shows them to who set it up.
            let body = b"set the content type of this webhook to application/json".to_vec();
            return Reply { body, ..Reply::status(415) };
        }
        let Ok(delivery) = serde_json::from_slice::<Delivery>(&hook.body) else {
            return Reply::status(400);
        };
        let Some(event) = event(kind, delivery) else { return Reply::ok() };
        match self.hub.hear(event).await {
            true => Reply::ok(),
            false => Reply::status(503),
        }
    }
}

impl Hub {
    /// Takes an event, or keeps it behind those that wait; false if neither could be done.
    async fn hear(&self, event: Event) -> bool {
        let _turn = self.turn.lock().await;
        // From now on: what is changed or sent again may be old, and what was said around it is nobody's business.
        let now = self.api.heard().unwrap_or_else(|| SystemClock.now());
        if self.begin_of(&event.remark().repo, now).await.is_err() {
            return false;
        }
        if !self.is_behind.load(Ordering::SeqCst) {
            match self.take(&event).await {
                Ok(()) => return true,
                Err(error) => {
                    tracing::warn!(channel = NAME, %error, "an event was not taken; it is kept and tried again");
                    self.fell_behind();
                }
            }
        }
        let Ok(kept) = self.store.list("kept:").await else { return false };
        let next =
            kept.last().and_then(|(key, _)| key["kept:".len()..].parse::<u64>().ok()).unwrap_or(0)
                + 1;
        let Ok(text) = serde_json::to_string(&event) else { return false };
        kept.len() < KEPT_MAX && self.store.put(&format!("kept:{next:020}"), &text).await.is_ok()
    }

    /// Takes what was kept, in its order. Only with the turn.
    pub(crate) async fn drain(&self) -> Result<(), String> {
        for (key, text) in self.store.list("kept:").await.map_err(|e| e.to_string())? {
            match serde_json::from_str::<Event>(&text) {
                Ok(event) => self.take(&event).await.map_err(|e| e.to_string())?,
                Err(error) => {
                    tracing::warn!(channel = NAME, %error, "a kept event cannot be read any more");
                }
            }
            self.store.delete(&key).await.map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}

/// What a webhook tells, if it is something that was said.
pub(crate) fn event(kind: &str, delivery: Delivery) -> Option<Event> {
    let Delivery { action, repository, sender, issue, comment } = delivery;
    let repo = repository.filter(|r| crate::ids::is_repo(&r.full_name))?.full_name;
    let remark = match kind {
        "issue_comment" => {
            let issue = issue?;
            Remark::comment(&repo, comment?, issue.number, issue.pull_request.is_some())
        }
        "pull_request_review_comment" => {
            let mut comment = comment?;
            let number = issue.map(|i| i.number);
            let url = comment.pull_request_url.as_deref().and_then(last_number).or(number)?;
            comment.pull_request_url = Some(format!("/{url}"));
            Remark::review(&repo, comment)
        }
        "issues" => Remark::opening(&repo, issue?, false),
        "pull_request" => Remark::opening(&repo, issue?, true),
        _ => None,
    };
    let remark = remark.filter(|r| r.thread.is_counted() && r.post.is_counted())?;
    let by = |sender: Option<Account>| sender.unwrap_or_else(|| remark.author.clone());
    match action.as_str() {
        "created" | "opened" => Some(Event::Said(remark)),
        "edited" => Some(Event::Edited { by: by(sender), remark }),
        "deleted" => Some(Event::Deleted { by: by(sender), remark }),
        _ => None,
    }
}

/// Whether GitHub signed this.
pub(crate) fn is_signed(secret: &str, body: &[u8], signature: &str) -> bool {
    let given = signature.strip_prefix("sha256=").and_then(sign::unhex);
    given.is_some_and(|given| sign::same(&sign::hmac_sha256(secret.as_bytes(), &[body]), &given))
}

#[cfg(test)]
mod tests;
