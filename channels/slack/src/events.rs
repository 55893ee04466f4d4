//! The Events API: Slack's events over a webhook that the world can reach.

use crate::receive::is_signed;
use crate::wire::{Callback, Event, Interaction};
use crate::{Hub, NAME};
use async_trait::async_trait;
use nanoclaw_channel::time::{Clock as _, SystemClock};
use nanoclaw_channel::{Health, SendError};
use nanoclaw_kit::backoff::Backoff;
use nanoclaw_kit::webhook::{Handler, Hook, Limits, Reply};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

/// Where Slack sends events and clicks.
pub(crate) const PATH: &str = "/webhook/slack";
pub(crate) const LIMITS: Limits = Limits { body_max: 1 << 20, per_minute: 6_000 };
/// How long a signature is remembered: longer than it is good.
const REPLAY: Duration = Duration::from_secs(660);
/// How often it is asked whether Slack is there.
const ASK: Duration = Duration::from_secs(30);

pub(crate) struct Events {
    pub(crate) hub: Arc<Hub>,
    pub(crate) secret: String,
}

#[async_trait]
impl Handler for Events {
    async fn call(&self, hook: Hook) -> Reply {
        let stamp = hook.header("x-slack-request-timestamp").unwrap_or_default();
        let signature = hook.header("x-slack-signature").unwrap_or_default();
        if !is_signed(&self.secret, stamp, &hook.body, signature, SystemClock.now()) {
            tracing::warn!(channel = NAME, from = %hook.from, "a webhook without Slack's signature was refused");
            return Reply::status(401);
        }
        // Slack signs each repetition anew, so the same signature twice is somebody's recording.
        let once = format!("sig:{signature}");
        match self.hub.store.get(&once).await {
            Ok(None) => {}
            Ok(Some(_)) => return Reply::status(409),
            Err(_) => return Reply::status(503),
        }
        let reply = self.take(&hook).await;
        if reply.status == 200 && self.hub.store.put_for(&once, "", REPLAY).await.is_err() {
            return Reply::status(503);
        }
        reply
    }
}

impl Events {
    async fn take(&self, hook: &Hook) -> Reply {
        let form = hook
            .header("content-type")
            .is_some_and(|t| t.starts_with("application/x-www-form-urlencoded"));
        let (done, taken) = oneshot::channel();
        // Who asked may be gone.
        let done = move |taken| done.send(taken).unwrap_or_default();
        if form {
            match clicked(&hook.body) {
                Some(click) => self.hub.enqueue_click(click, hook.body.len(), done),
                None => return Reply::status(400),
            }
        } else {
            match serde_json::from_slice::<Callback>(&hook.body) {
                Ok(Callback { challenge: Some(challenge), .. }) => {
                    return Reply::json(&serde_json::json!({ "challenge": challenge }));
                }
                Ok(Callback { event, .. }) => {
                    self.hub.enqueue(event.unwrap_or(Event::Other), hook.body.len(), done);
                }
                Err(_) => return Reply::status(400),
            }
        }
        // Slack repeats what was not answered within three seconds; the repetition waits behind this one.
        match taken.await {
            Ok(true) => Reply::ok(),
            _ => Reply::status(503),
        }
    }
}

/// Reads a form with a pressed button.
pub(crate) fn clicked(body: &[u8]) -> Option<Interaction> {
    let url = reqwest::Url::parse(&format!("slack:?{}", String::from_utf8_lossy(body))).ok()?;
    let (_, payload) = url.query_pairs().find(|(name, _)| name == "payload")?;
    serde_json::from_str(&payload).ok()
}

/// Asks now and then whether Slack is there, and catches up after it was not.
pub(crate) async fn tend(hub: Arc<Hub>) {
    let mut tick = interval(ASK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    let mut missed = true;
    loop {
        tokio::select! {
            _ = tick.tick() => {
                match hub.api.tell_slack("auth.test", &[]).await {
                    Ok(()) => (hub.report)(Health::Up),
                    Err(failed) => {
                        if let SendError::Retry { why, .. } = failed.error {
                            (hub.report)(Health::Reconnecting { why });
                        }
                        missed = true;
                        hub.adrift.store(true, Ordering::SeqCst);
                        continue;
                    }
                }
            }
            () = hub.behind.notified() => {
                missed = true;
                tokio::time::sleep(backoff.next()).await;
            }
        }
        if missed {
            match hub.catch_up().await {
                Ok(()) => {
                    missed = false;
                    backoff.reset();
                }
                Err(error) => {
                    tracing::warn!(channel = NAME, %error, "what was missed is asked for again");
                    hub.behind.notify_one();
                }
            }
        }
        hub.keep_mark().await;
    }
}
