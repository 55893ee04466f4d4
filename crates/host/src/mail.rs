//! Lines of the host itself, on their way to a chat: notices, denials, cards, and what became of them.
//!
//! A line is on disk before anybody relies on it ●, an attempt is recorded before it is made ● and its
//! outcome after ●. Per address in order, addresses side by side. A kill in between repeats the send under
//! the same key.

use crate::dispatch::Outcome;
use crate::outbound::SEND_MAX;
use crate::{Host, HostError, approvals, blocking, fault, lock};
use nanoclaw_central::{DeliveryState, Ended, Mail, NewMail};
use nanoclaw_channel::{Body, Outgoing, Question};
use nanoclaw_contract::ids::{Address, PlatformMessageId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

/// The safety net, for clocks that jump.
const AT_LEAST_EVERY: Duration = Duration::from_secs(60);
/// Addresses that are begun with at once.
const LANES_MAX: u32 = 200;

/// What is on its way.
#[derive(Default)]
pub(crate) struct Post {
    /// There is more, or it is due sooner.
    pub(crate) changed: Notify,
    /// Addresses that are being served.
    lanes: Mutex<BTreeSet<Address>>,
}

/// What a line says, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Letter {
    Text(String),
    Ask(Question),
    Card {
        title: Option<String>,
        markdown: String,
    },
    Edit {
        message: PlatformMessageId,
        markdown: String,
    },
    React {
        message: PlatformMessageId,
        emoji: String,
    },
    /// A new text for an earlier line, or a line of its own where that cannot be changed.
    Instead {
        of: String,
        markdown: String,
    },
}

impl Letter {
    pub(crate) fn to_json(&self) -> Result<String, HostError> {
        serde_json::to_string(self).map_err(|e| HostError::Unknown(format!("kind of mail: {e}")))
    }
}

impl Host {
    /// ● A line to a chat, durable, delivered once per key; left out where too many wait already. Blocks
    /// (one insert).
    pub(crate) fn mail(
        self: &Arc<Self>,
        key: &str,
        to: &Address,
        body: Body,
    ) -> Result<(), HostError> {
        let letter = match body {
            Body::Text { markdown, files } if files.is_empty() => Letter::Text(markdown),
            Body::Text { .. } => return Err(HostError::Unknown("way to mail files".into())),
            Body::Ask(question) => Letter::Ask(question),
            Body::Card { title, markdown } => Letter::Card { title, markdown },
            Body::Edit { message, markdown } => Letter::Edit { message, markdown },
            Body::React { message, emoji } => Letter::React { message, emoji },
        };
        self.put_letter(key, to, &letter)
    }

    /// ● A new text for the line with this key: it is edited where the channel can, and otherwise said
    /// anew. Nothing happens to a line that was never written. Blocks.
    pub(crate) fn mail_edit(self: &Arc<Self>, key: &str, markdown: &str) -> Result<(), HostError> {
        let Some(earlier) = self.central.mail(key)? else { return Ok(()) };
        let letter = Letter::Instead { of: key.to_owned(), markdown: markdown.to_owned() };
        let key = format!("{key}:{}", nanoclaw_contract::ids::stable(markdown).simple());
        self.put_letter(&key, &earlier.to, &letter)
    }

    fn put_letter(&self, key: &str, to: &Address, letter: &Letter) -> Result<(), HostError> {
        let line = NewMail { key: key.to_owned(), to: to.clone(), body: letter.to_json()? };
        match self.central.put_mail(&line, self.clock.now()) {
            // Too many wait there: nothing that hangs on this line may fail for it.
            Err(nanoclaw_central::Error::Refused(why)) => {
                tracing::warn!(key, why, "a line of the host is left out");
            }
            written => drop(written?),
        }
        fault::point("host.mail.written");
        self.post.changed.notify_one();
        Ok(())
    }
}

/// Serves every address that has a line which is due.
pub(crate) async fn run(host: Arc<Host>) {
    while !host.stopping() {
        // Lanes that hang must not hide the others.
        let busy = lock(&host.post.lanes).len();
        let max = LANES_MAX.saturating_add(u32::try_from(busy).unwrap_or(u32::MAX));
        let (h, now) = (host.clone(), host.clock.now());
        let looked =
            blocking(move || Ok((h.central.due_mail(now, max)?, h.central.next_mail(now)?)));
        let next = match looked.await {
            Ok((due, next)) => {
                for line in due {
                    if lock(&host.post.lanes).insert(line.to.clone()) {
                        tokio::spawn(lane(host.clone(), line.to));
                    }
                }
                next
            }
            Err(e) => {
                tracing::error!(error = %e, "lines of the host were not looked up");
                None
            }
        };
        let latest = tokio::time::Instant::now() + AT_LEAST_EVERY;
        let until = next.map_or(latest, |at| host.instant_of(at).min(latest));
        // Either way the next round looks again.
        drop(tokio::time::timeout_at(until, host.post.changed.notified()).await);
    }
}

/// Sends what is due at one address, one after the other.
async fn lane(host: Arc<Host>, to: Address) {
    while !host.stopping() {
        match send_next(&host, &to).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(e) => {
                tracing::error!(error = %e, "a line of the host was not sent");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
    lock(&host.post.lanes).remove(&to);
    // A line that came in the last moment found the lane taken.
    host.post.changed.notify_one();
}

/// Sends the first line of an address; false if none is due.
async fn send_next(host: &Arc<Host>, to: &Address) -> Result<bool, HostError> {
    let (h, at) = (host.clone(), to.clone());
    let next = blocking(move || {
        let now = h.clock.now();
        let Some(line) = h.central.mail_for(&at)?.filter(|m| m.next_at <= now) else {
            return Ok(None);
        };
        let (attempt, first_at) = h.central.begin_mail(&line.key, now)?;
        let earlier = match serde_json::from_str(&line.body) {
            Ok(Letter::Instead { ref of, .. }) => h.central.mail(of)?,
            Ok(Letter::Ask(_)) => h.central.mail(&details_of(&line.key))?,
            _ => None,
        };
        Ok(Some((line, earlier, attempt, first_at)))
    });
    let Some((line, earlier, attempt, first_at)) = next.await? else { return Ok(false) };
    fault::point("host.mail.recorded");
    let outcome = attempt_line(host, &line, earlier).await;
    fault::point("host.mail.made");
    let h = host.clone();
    blocking(move || {
        let (now, key) = (h.clock.now(), &line.key);
        let end = outcome.end(attempt, first_at, now);
        h.central.finish_mail(key, &end, now)?;
        if let Ended::Rejected(why) | Ended::Dead(why) = &end {
            tracing::warn!(key, why, "a line of the host was not delivered");
            approvals::card_lost(&h, key, why)?;
        }
        Ok(true)
    })
    .await
}

/// The line in which a card's details are, if they do not fit the card: nobody decides without them.
pub(crate) fn details_of(card: &str) -> String {
    format!("{card}:details")
}

async fn attempt_line(host: &Arc<Host>, line: &Mail, earlier: Option<Mail>) -> Outcome {
    let caps = host.channels.get(&line.to.channel_type).map(|c| c.capabilities());
    let text = |markdown| Body::Text { markdown, files: Vec::new() };
    let body = match serde_json::from_str(&line.body) {
        Ok(Letter::Text(markdown)) => text(markdown),
        Ok(Letter::Ask(_)) if earlier.as_ref().is_some_and(|d| d.state != DeliveryState::Sent) => {
            return Outcome::Rejected { why: "its details did not arrive".into() };
        }
        Ok(Letter::Ask(q)) if approvals::is_card(&q) && caps.is_some_and(|c| !c.buttons) => {
            text(approvals::typed::card(&q))
        }
        Ok(Letter::Ask(question)) => Body::Ask(question),
        Ok(Letter::Card { title, markdown }) => Body::Card { title, markdown },
        Ok(Letter::Edit { message, markdown }) => Body::Edit { message, markdown },
        Ok(Letter::React { message, emoji }) => Body::React { message, emoji },
        Ok(Letter::Instead { markdown, .. }) => {
            let shown = earlier.filter(|m| m.state == DeliveryState::Sent);
            let message = shown.and_then(|m| m.platform_message_id);
            if let Some(message) = message.filter(|_| caps.is_none_or(|c| c.edits)) {
                let body = Body::Edit { message, markdown: markdown.clone() };
                match send(host, line, body).await {
                    // Some platforms close messages to edits after a while.
                    Outcome::Rejected { .. } => {}
                    outcome => return outcome,
                }
            }
            text(markdown)
        }
        Err(e) => return Outcome::Rejected { why: format!("it cannot be read: {e}") },
    };
    send(host, line, body).await
}

async fn send(host: &Arc<Host>, line: &Mail, body: Body) -> Outcome {
    // An edit that was refused and the line in its place are two things to a platform that knows keys.
    let key = match &body {
        Body::Edit { .. } => format!("{}:edit", line.key),
        _ => line.key.clone(),
    };
    let message = Outgoing { to: line.to.clone(), body, key, reply_to: None };
    match tokio::time::timeout(SEND_MAX, host.send(&message)).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::Retry { after: None, why: format!("no answer within {SEND_MAX:?}") },
    }
}
