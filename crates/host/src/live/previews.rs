//! Shows an answer while it is being said: one message of the chat that grows until it is the answer.
//!
//! ```text
//!  box: .preview ──▶ begun ● ──send──▶ shown ● ──edit, edit──▶ the outbound row: the last edit, delivered ●
//!                                         └── no such row, and nobody waits any more: said to be broken off ●
//! ```
//!
//! The box says what is shown, never where: only the session's own chat sees it, where somebody waits for this
//! turn, and only as long as the wiring asks for it. A preview is best effort; the row never waits for more than
//! the one call that is under way. Whether a first call that was cut short arrived, only a platform with keys
//! says; elsewhere that message stays as it is, marked as a part, and the answer comes as another.

use super::Live;
use crate::dispatch::{Outcome, inbound_platform_id};
use crate::outbound::SEND_MAX;
use crate::session::Files;
use crate::{Host, HostError, blocking, fault};
use nanoclaw_central::{Chat, DeliveryState, Previewed, Session};
use nanoclaw_channel::{Body, Capabilities, Outgoing};
use nanoclaw_contract::ids::{OutId, SessionId, stable};
use nanoclaw_contract::inbox::Inbox;
use nanoclaw_contract::preview::{self, Preview};
use nanoclaw_contract::time::Timestamp;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How often a preview changes at most.
const EVERY: Duration = Duration::from_millis(1500);
/// How long it rests when the platform did not take it.
const REST: Duration = Duration::from_secs(10);
/// Most characters that are shown, and which part of the longest message: dialects make a text longer, and a
/// preview must not become two messages.
const CHARS_MAX: usize = 3000;
const PART: usize = 3;
/// The end of a text that goes on.
const MORE: &str = " …";
const BROKEN_OFF: &str = "(This answer was broken off.)";

/// What is shown of a session, by its task.
#[derive(Default)]
pub(super) struct Previews {
    pub(super) wanted: bool,
    /// What was shown last.
    shown: Option<(OutId, String)>,
    not_before: Option<Instant>,
    /// The call that is under way: what it shows, and when the next may come.
    task: Option<JoinHandle<Option<(OutId, String, Instant)>>>,
}

impl Previews {
    /// Waits until no call is under way: what comes next must not be overtaken.
    pub(super) async fn rest(&mut self) {
        let Some(task) = self.task.take() else { return };
        if let Ok(Some((out, text, next))) = task.await {
            (self.shown, self.not_before) = (Some((out, text)), Some(next));
        }
    }
}

impl Live<'_> {
    /// Whether the box was told to say what it is saying.
    pub(super) async fn wants_previews(&self) -> bool {
        let (host, session) = (self.host.clone(), self.session.clone());
        blocking(move || host.wants_previews(&session)).await.is_ok_and(|chat| chat.is_some())
    }

    /// Shows what was said since the last time; says when to come again.
    pub(super) async fn show_preview(&mut self) -> Option<Instant> {
        if !self.previews.wanted {
            return None;
        }
        let now = Instant::now();
        if self.previews.task.as_ref().is_none_or(JoinHandle::is_finished) {
            self.previews.rest().await;
            if self.previews.not_before.is_none_or(|at| at <= now) {
                let (host, session, files) =
                    (self.host.clone(), self.session.clone(), self.files.clone());
                let shown = self.previews.shown.clone();
                self.previews.not_before = Some(now + EVERY);
                self.previews.task = Some(tokio::spawn(show(host, session, files, shown)));
            }
        }
        Some(self.previews.not_before.filter(|at| *at > now).unwrap_or(now + EVERY))
    }

    /// Takes back what did not become an answer, once nobody waits for one there.
    pub(super) async fn end_previews(&mut self) -> Result<(), HostError> {
        self.previews.rest().await;
        if self.drain.retry_at().is_some() {
            return Ok(());
        }
        self.with(|host, session, files| {
            let open = host.central.previews(&session.id)?;
            if open.is_empty() {
                return Ok(());
            }
            // Also what is put off for a moment.
            let waiting = files.with(|inbox| inbox.waiting(Timestamp::MAX))?;
            for Previewed { out, to, message } in open {
                let row = host.central.delivery(&session.id, &out)?;
                let (state, became) =
                    row.map(|d| (d.state, d.platform_message_id == message)).unzip();
                let is_answer = state == Some(DeliveryState::Sent) && became == Some(true);
                if state == Some(DeliveryState::Pending) || !is_answer && waiting.contains(&to) {
                    continue;
                }
                if let Some(message) = message.filter(|_| !is_answer) {
                    let edit = Body::Edit { message, markdown: BROKEN_OFF.into() };
                    host.mail(&format!("{}:end", key(&session.id, &out)), &to, edit)?;
                }
                host.central.end_preview(&session.id, &out)?;
            }
            Ok(())
        })
        .await
    }
}

fn key(session: &SessionId, out: &OutId) -> String {
    format!("{session}:{out}:preview")
}

/// Makes the next step; what the chat shows then, and when the next may come. None: there is nothing to do.
async fn show(
    host: Arc<Host>,
    session: Session,
    files: Arc<Files>,
    shown: Option<(OutId, String)>,
) -> Option<(OutId, String, Instant)> {
    let (h, its) = (host.clone(), session.clone());
    let (id, text, message) = match blocking(move || next(&h, &its, &files, shown)).await {
        Ok(step) => step?,
        Err(e) => {
            tracing::warn!(session = %session.id, error = %e, "a preview was not shown");
            return None;
        }
    };
    fault::point("host.preview.recorded");
    let began = Instant::now();
    let outcome = tokio::time::timeout(SEND_MAX, host.send(&message)).await;
    fault::point("host.preview.made");
    let rest = match outcome {
        Ok(Outcome::Sent(Some(name))) if matches!(message.body, Body::Text { .. }) => {
            let out = id.clone();
            let known =
                blocking(move || Ok(host.central.preview_shown(&session.id, &out, &name)?));
            // If that failed, it is not changed before it is known again.
            known.await.map_or(REST, |()| EVERY)
        }
        Ok(Outcome::Sent(_)) => EVERY,
        Ok(Outcome::Retry { after, .. }) => after.unwrap_or_default().max(REST),
        Ok(Outcome::Wait { .. } | Outcome::Rejected { .. } | Outcome::Refused { .. }) | Err(_) => {
            REST
        }
    };
    fault::point("host.preview.shown");
    // What was not taken is not tried again: by then there is more to show.
    // A channel that let it wait has others to serve: also the answer, soon.
    let slow = Instant::now() + 2 * began.elapsed();
    Some((id, text, slow.max(began + rest)))
}

/// ● Records a message that is about to be sent, or finds the one to be changed. Blocks.
fn next(
    host: &Arc<Host>,
    session: &Session,
    files: &Files,
    shown: Option<(OutId, String)>,
) -> Result<Option<(OutId, String, Outgoing)>, HostError> {
    let Some((Preview { id, to, in_reply_to, .. }, text, caps)) = judge(host, session, files)?
    else {
        return Ok(None);
    };
    if shown.is_some_and(|(out, before)| out == id && before == text) {
        return Ok(None);
    }
    let known = host.central.previews(&session.id)?.into_iter().find(|p| p.out == id);
    let is_known = known.is_some();
    let message = match known {
        // Nobody knows whether it is shown, unless the same key tells.
        Some(p) if p.to != to || (p.message.is_none() && !caps.idempotent) => return Ok(None),
        Some(p) => p.message,
        None => None,
    };
    if !is_known && !host.central.begin_preview(&session.id, &id, &to)? {
        return Ok(None);
    }
    let (key, markdown) = (key(&session.id, &id), text.clone());
    let message = match message {
        Some(message) => {
            let key = format!("{key}:{}", stable(&text).simple());
            Outgoing { to, body: Body::Edit { message, markdown }, key, reply_to: None }
        }
        None => {
            let reply_to = in_reply_to.map(|id| inbound_platform_id(files, &id)).transpose()?;
            let body = Body::Text { markdown, files: Vec::new() };
            Outgoing { to, body, key, reply_to: reply_to.flatten() }
        }
    };
    Ok(Some((id, text, message)))
}

/// What the box says and may be shown now, and the text of the message. Blocks.
fn judge(
    host: &Host,
    session: &Session,
    files: &Files,
) -> Result<Option<(Preview, String, Capabilities)>, HostError> {
    let file = files.dir.open_from_box(Path::new(preview::NAME), preview::BYTES_MAX);
    let said = file.ok().and_then(|f| serde_json::from_reader(f.take(preview::BYTES_MAX)).ok());
    let Some(said): Option<Preview> = said else { return Ok(None) };
    let caps = host.channels.get(&said.to.channel_type).map(|c| c.capabilities());
    let Some(caps) = caps.filter(|c| c.edits) else { return Ok(None) };
    let here = host.wants_previews(session)?.is_some_and(|chat| {
        chat.channel_type == said.to.channel_type && chat.platform_id == said.to.platform_id
    });
    let waiting = |inbox: &mut Inbox| inbox.waiting(host.clock.now());
    if !here
        || !files.with(waiting)?.contains(&said.to)
        || host.central.delivery(&session.id, &said.id)?.is_some()
    {
        return Ok(None);
    }
    let max = caps.text_max.map_or(CHARS_MAX, |(max, _)| CHARS_MAX.min(max / PART));
    let text: String = said.text.trim().chars().take(max).collect();
    Ok((!text.is_empty()).then(|| (said, text + MORE, caps)))
}

impl Host {
    /// The session's chat, if its wiring there wants previews. Blocks.
    pub(crate) fn wants_previews(&self, session: &Session) -> Result<Option<Chat>, HostError> {
        let Some(id) = &session.chat else { return Ok(None) };
        let mut wirings = self.central.wirings_of_chat(id)?.into_iter().flatten();
        match wirings.any(|w| w.agent == session.agent && w.previews) {
            true => Ok(self.central.chat(id)?),
            false => Ok(None),
        }
    }

    /// Makes the preview of a message the message, or sends it anew where that cannot be.
    pub(crate) async fn complete(
        self: &Arc<Self>,
        message: &Outgoing,
        shown: Previewed,
    ) -> Outcome {
        let Body::Text { markdown, files } = &message.body else { return self.send(message).await };
        let caps = self.channels.get(&message.to.channel_type).map(|c| c.capabilities());
        let Some(caps) = caps.filter(|_| files.is_empty()) else { return self.send(message).await };
        let id = match shown.message {
            None if caps.idempotent => {
                let body = Body::Text { markdown: MORE.trim().into(), files: Vec::new() };
                let key = format!("{}:preview", message.key);
                match self.send(&Outgoing { body, key, ..message.clone() }).await {
                    Outcome::Sent(id) => id,
                    Outcome::Rejected { .. } | Outcome::Refused { .. } => None,
                    later => return later,
                }
            }
            known => known,
        };
        let Some(id) = id else { return self.send(message).await };
        let body = Body::Edit { message: id.clone(), markdown: markdown.clone() };
        let key = format!("{}:edit", message.key);
        let edit = Outgoing { to: message.to.clone(), body, key, reply_to: None };
        match self.send(&edit).await {
            Outcome::Sent(_) => Outcome::Sent(Some(id)),
            // Somebody deleted it, or it may not be changed any more.
            Outcome::Rejected { .. } => self.send(message).await,
            outcome => outcome,
        }
    }
}
