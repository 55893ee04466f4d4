//! The whole life of a message out: found, attempted, settled.
//!
//! Per session in order, per address without overtaking. The durable points: an attempt is recorded in
//! `deliveries` before it is made ●, its outcome after it ●, and the row is settled in inbound.db ●. A kill
//! between the first two repeats the send under the same key; nothing is ever sent after it was settled.

use crate::authorize::{self, Destinations, Verdict};
use crate::dispatch::{Outcome, Ready};
use crate::session::Files;
use crate::{Host, HostError, blocking, fault, lock, tasks};
use nanoclaw_central::{Delivery, DeliveryState, Ended, Session};
use nanoclaw_contract::content::Out;
use nanoclaw_contract::ids::{Address, MessageId, OutId, PlatformMessageId, SessionId};
use nanoclaw_contract::inbox::Settled;
use nanoclaw_contract::message::{AckStatus, DeliveredStatus, OutRow};
use nanoclaw_contract::outbox::{Found, OutboxReader};
use nanoclaw_contract::time::{Timestamp, iso};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// Rows looked at in one pass.
const ROWS_MAX: usize = 500;
/// Rows sent in one pass; then others have their turn.
const SENDS_MAX: usize = 50;
/// Messages a session may write without being asked: so many at once, and then so many per second.
const CREDIT_MAX: f64 = 200.0;
const CREDIT_PER_SECOND: f64 = 10.0;
/// What it may write for every message that it answered.
const CREDIT_PER_ANSWER: f64 = 20.0;
/// How long a session without credit waits.
const CREDIT_WAIT: Duration = Duration::from_millis(500);
/// Messages beyond its credit that a session may have waiting.
const BACKLOG_MAX: i64 = 10_000;
/// How long a look at the outbox may take, whatever a box has made of it.
const READ_MAX: Duration = Duration::from_secs(10);
/// How long one send may take before it counts as failed.
pub(crate) const SEND_MAX: Duration = Duration::from_secs(60);
/// How long a message is tried.
const TRY_FOR: Duration = Duration::from_secs(24 * 3600);
const RETRY_MIN: Duration = Duration::from_millis(50);
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(300);
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Where a session's outbox stands.
pub(crate) struct Drain {
    /// Every row up to here is settled.
    out_cursor: i64,
    /// Finished claims that are settled, as long as the box shows them.
    settled: BTreeSet<MessageId>,
    /// Settled rows beyond the cursor.
    beyond: BTreeSet<i64>,
    first: bool,
    retry_at: Option<Timestamp>,
    credit: Credit,
}

/// How many messages a session may still write for now: endless messages of one must not keep the
/// central database and the channels from the others.
struct Credit {
    rows: f64,
    as_of: Instant,
    /// Without credit: not looked at before.
    not_before: Option<Instant>,
}

impl Credit {
    fn new() -> Self {
        Self { rows: CREDIT_MAX, as_of: Instant::now(), not_before: None }
    }

    /// Rows that may be handled now.
    fn allows(&mut self) -> usize {
        let now = Instant::now();
        if self.not_before.is_some_and(|at| at > now) {
            return 0;
        }
        self.earn(CREDIT_PER_SECOND * now.duration_since(self.as_of).as_secs_f64());
        (self.as_of, self.not_before) = (now, None);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and CREDIT_MAX"
        )]
        let rows = self.rows.clamp(0.0, CREDIT_MAX) as usize;
        rows
    }

    fn earn(&mut self, rows: f64) {
        self.rows = (self.rows + rows).min(CREDIT_MAX);
    }

    fn spend(&mut self, rows: usize) {
        self.rows -= f64::from(u32::try_from(rows).unwrap_or(u32::MAX));
    }

    /// The session used all of it up.
    fn wait(&mut self, now: Timestamp) -> Timestamp {
        self.not_before = Some(Instant::now() + CREDIT_WAIT);
        now + CREDIT_WAIT
    }
}

/// What one pass did.
#[derive(Default)]
pub(crate) struct Report {
    /// Anything at all happened.
    pub(crate) moved: bool,
    /// Inbound rows whose turn ended.
    pub(crate) finished: Vec<MessageId>,
    /// When to look again.
    pub(crate) retry_at: Option<Timestamp>,
    /// There is more to do at once.
    pub(crate) more: bool,
}

impl Drain {
    pub(crate) fn new(out_cursor: i64) -> Self {
        Self {
            out_cursor,
            settled: BTreeSet::new(),
            beyond: BTreeSet::new(),
            first: true,
            retry_at: None,
            credit: Credit::new(),
        }
    }

    /// Starts from what the books say.
    pub(crate) fn restart(&mut self, out_cursor: i64) {
        (self.out_cursor, self.first) = (out_cursor, true);
        self.settled.clear();
        self.beyond.clear();
    }

    /// Starts over; what is settled is found so in the books.
    pub(crate) fn rewind(&mut self) {
        self.out_cursor = 0;
        self.beyond.clear();
        self.first = true;
    }

    /// When something that waits is due, as of the last pass.
    pub(crate) fn retry_at(&self) -> Option<Timestamp> {
        self.retry_at
    }

    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.first || self.retry_at.is_some_and(|at| at <= now)
    }

    /// Delivers what is due, in order.
    pub(crate) async fn run(
        &mut self,
        host: &Arc<Host>,
        session: &Session,
        files: &Arc<Files>,
        reader: &Arc<Mutex<OutboxReader>>,
    ) -> Result<Report, HostError> {
        let allowed = self.credit.allows();
        let rows_max = if allowed == 0 { 0 } else { ROWS_MAX };
        let (r, out) = (reader.clone(), self.out_cursor);
        let read = blocking(move || {
            let reader = lock(&r);
            // What ended is read first, so that what it said is there when its end is seen.
            let read = || {
                let ended = reader.finished()?;
                Ok((reader.rows_after(out, rows_max)?, ended, reader.last_row()?))
            };
            read().map_err(HostError::Outbox)
        });
        let Ok(read) = tokio::time::timeout(READ_MAX, read).await else {
            return Err(HostError::Outbox(nanoclaw_contract::Error::Refused(
                "outbound.db took too long to read".into(),
            )));
        };
        let (found, acks, last_row) = read?;
        self.first = false;
        let mut pass = Pass::new(host, session, files, allowed.min(SENDS_MAX));
        let full = found.len() == ROWS_MAX || found.last().is_some_and(|f| f.rowid < last_row);
        for row in &found {
            if !self.beyond.contains(&row.rowid) && pass.take(row).await? {
                self.beyond.insert(row.rowid);
            }
        }
        for row in &found {
            if !self.beyond.remove(&row.rowid) {
                break;
            }
            self.out_cursor = row.rowid;
        }
        self.credit.spend(pass.sends);
        let used_up =
            allowed < SENDS_MAX && (pass.more || allowed == 0 && last_row > self.out_cursor);
        if used_up {
            if last_row.saturating_sub(self.out_cursor) > BACKLOG_MAX {
                let why =
                    format!("it wrote more than {BACKLOG_MAX} messages that nobody asked for");
                return Err(HostError::Outbox(nanoclaw_contract::Error::Refused(why)));
            }
            pass.more = false;
            pass.later(self.credit.wait(host.clock.now()));
        }
        let new: Vec<_> =
            acks.iter().filter(|(id, _)| !self.settled.contains(id)).cloned().collect();
        let report = pass.finish(&new, self.out_cursor, full && !used_up).await?;
        self.settled = acks.into_iter().map(|(id, _)| id).collect();
        self.credit
            .earn(CREDIT_PER_ANSWER * f64::from(u32::try_from(report.finished.len()).unwrap_or(0)));
        self.retry_at = report.retry_at;
        Ok(report)
    }
}

/// One pass over the due rows of a session.
struct Pass<'a> {
    host: &'a Arc<Host>,
    session: &'a Session,
    files: &'a Arc<Files>,
    settled: Vec<Settled>,
    /// Addresses whose turn it is not: an earlier row waits there.
    blocked: BTreeMap<Option<Address>, Timestamp>,
    sends: usize,
    sends_max: usize,
    retry_at: Option<Timestamp>,
    more: bool,
}

/// What is known about a row before it is sent.
enum Standing {
    /// It ended before; only inbound.db does not know yet, or not even that.
    Over(Option<DeliveredStatus>, Option<PlatformMessageId>),
    /// Not before this time.
    NotYet(Timestamp),
    /// This is the n-th attempt, and it is recorded.
    Go { attempt: u32, first_at: Timestamp },
}

impl<'a> Pass<'a> {
    fn new(
        host: &'a Arc<Host>,
        session: &'a Session,
        files: &'a Arc<Files>,
        sends_max: usize,
    ) -> Self {
        Self {
            host,
            session,
            files,
            settled: Vec::new(),
            blocked: BTreeMap::new(),
            sends: 0,
            sends_max,
            retry_at: None,
            more: false,
        }
    }

    /// Handles one row; `true` when it is over, whatever its end.
    async fn take(&mut self, found: &Found) -> Result<bool, HostError> {
        if self.sends >= self.sends_max {
            self.more = true;
            return Ok(false);
        }
        let row = match &found.row {
            Ok(row) => row,
            Err(bad) => {
                self.sends += 1;
                return self.refuse_unreadable(bad).await;
            }
        };
        let now = self.host.clock.now();
        if let Some(at) = found.deliver_after.filter(|at| *at > now) {
            self.later(at);
            return Ok(false);
        }
        if let Some(at) = self.blocked.get(&row.to) {
            self.later(*at);
            return Ok(false);
        }
        match self.standing(row).await? {
            Standing::Over(None, _) => Ok(true),
            Standing::Over(Some(status), platform_id) => {
                self.settle(row.id.clone(), status, platform_id);
                Ok(true)
            }
            Standing::NotYet(at) => {
                self.blocked.insert(row.to.clone(), at);
                self.later(at);
                Ok(false)
            }
            Standing::Go { attempt, first_at } => self.attempt(row, attempt, first_at).await,
        }
    }

    fn later(&mut self, at: Timestamp) {
        self.retry_at = Some(self.retry_at.map_or(at, |r| r.min(at)));
    }

    /// ● Looks up what became of the row, and records the attempt that is about to be made.
    async fn standing(&self, row: &OutRow) -> Result<Standing, HostError> {
        let (host, session, files, row) =
            (self.host.clone(), self.session.clone(), self.files.clone(), row.clone());
        blocking(move || {
            let now = host.clock.now();
            match host.central.delivery(&session.id, &row.id)? {
                Some(d) => match d.state {
                    DeliveryState::Sent => {
                        return Ok(Standing::Over(
                            Some(DeliveredStatus::Delivered),
                            d.platform_message_id,
                        ));
                    }
                    DeliveryState::Rejected | DeliveryState::Dead => {
                        return Ok(Standing::Over(Some(DeliveredStatus::Failed), None));
                    }
                    DeliveryState::Pending => {
                        if let Some(at) = d.next_at.filter(|at| *at > now) {
                            return Ok(Standing::NotYet(at));
                        }
                    }
                },
                // Only a row that central does not know can have been settled by a v2 host.
                None => {
                    if files.with(|inbox| inbox.settled(&row.id))?.is_some() {
                        return Ok(Standing::Over(None, None));
                    }
                }
            }
            let attempt =
                host.central.begin_attempt(&session.id, &row.id, row.seq, row.to.as_ref(), now)?;
            let first_at =
                host.central.delivery(&session.id, &row.id)?.map_or(now, |d: Delivery| d.first_at);
            Ok(Standing::Go { attempt, first_at })
        })
        .await
    }

    async fn attempt(
        &mut self,
        row: &OutRow,
        attempt: u32,
        first_at: Timestamp,
    ) -> Result<bool, HostError> {
        fault::point("host.attempt.recorded");
        self.sends += 1;
        let outcome = match self.prepare(row).await? {
            Ok(ready) => {
                match tokio::time::timeout(SEND_MAX, self.host.dispatch(self.session, ready)).await
                {
                    Ok(outcome) => outcome?,
                    Err(_) => Outcome::Retry {
                        after: None,
                        why: format!("no answer within {SEND_MAX:?}"),
                    },
                }
            }
            Err(why) => Outcome::Rejected { why },
        };
        fault::point("host.attempt.made");
        self.record(row, attempt, first_at, outcome).await
    }

    /// Reads, authorises and loads a row. The inner error is the reason of a refusal.
    async fn prepare(&self, row: &OutRow) -> Result<Result<Ready, String>, HostError> {
        let (host, session, files, row) =
            (self.host.clone(), self.session.clone(), self.files.clone(), row.clone());
        blocking(move || {
            let out = match Out::parse(row.kind, &row.content) {
                Ok(out) => out,
                Err(why) => return Ok(Err(why)),
            };
            if !matches!(out, Out::Action { .. }) {
                let known = Destinations::of(&host.central, &session, row.to.as_ref())?;
                if let Verdict::Refused(why) = authorize::authorize(row.to.as_ref(), &known) {
                    return Ok(Err(why));
                }
            }
            Ready::load(&host, &session, &files, row, out)
        })
        .await
    }

    /// ● Records the outcome of an attempt. Returns whether the row is over.
    async fn record(
        &mut self,
        row: &OutRow,
        attempt: u32,
        first_at: Timestamp,
        outcome: Outcome,
    ) -> Result<bool, HostError> {
        let (host, session, id) = (self.host.clone(), self.session.id.clone(), row.id.clone());
        let (reply, known) = (row.in_reply_to.clone(), matches!(outcome, Outcome::Refused { .. }));
        let end = blocking(move || {
            let now = host.clock.now();
            let end = outcome.end(attempt, first_at, now);
            host.central.finish_attempt(&session, &id, &end, now)?;
            let (step, detail) = match &end {
                Ended::Sent(_) => ("delivered", format!("attempt {attempt}")),
                Ended::Retry(at, why) | Ended::Wait(at, why) => (
                    "delivery failed",
                    format!("attempt {attempt}, again after {}: {why}", iso(*at)),
                ),
                Ended::Rejected(why) if known => ("refused", why.clone()),
                Ended::Rejected(why) => ("rejected", why.clone()),
                Ended::Dead(why) => ("dead", why.clone()),
            };
            host.trace(step, reply.as_ref(), Some(&session), Some(&id), &detail);
            Ok(end)
        })
        .await?;
        match end {
            Ended::Sent(platform_id) => {
                self.settle(row.id.clone(), DeliveredStatus::Delivered, platform_id);
                fault::point("host.attempt.outcome");
            }
            Ended::Retry(at, _) | Ended::Wait(at, _) => {
                self.blocked.insert(row.to.clone(), at);
                self.later(at);
                return Ok(false);
            }
            Ended::Rejected(why) | Ended::Dead(why) => {
                self.settle(row.id.clone(), DeliveredStatus::Failed, None);
                if !known {
                    self.mourn(row, &why).await?;
                }
            }
        }
        Ok(true)
    }

    fn settle(
        &mut self,
        id: OutId,
        status: DeliveredStatus,
        platform_id: Option<PlatformMessageId>,
    ) {
        self.settled.push(Settled { id, status, platform_id });
    }

    /// The row will never arrive: one note to the agent, one in the chat, a dead letter for `ncl`.
    async fn mourn(&self, row: &OutRow, why: &str) -> Result<(), HostError> {
        let text = format!("Message #{} was not delivered and will not be: {why}", row.seq);
        let key = format!("undelivered-{}", row.id);
        self.host.note_to_agent(self.session, self.files, &key, &text).await?;
        let text = format!("⚠️ A message from the agent could not be delivered: {why}");
        self.host.notify_chat(self.session, row.id.as_str(), &text).await;
        Ok(())
    }

    async fn refuse_unreadable(
        &mut self,
        bad: &nanoclaw_contract::outbox::BadRow,
    ) -> Result<bool, HostError> {
        tracing::warn!(session = %self.session.id, why = bad.why, "unreadable outbound row");
        let (host, session, id, why) =
            (self.host.clone(), self.session.id.clone(), bad.id.clone(), bad.why.clone());
        blocking(move || {
            host.trace("refused", None, Some(&session), id.as_ref(), &why);
            Ok(())
        })
        .await?;
        if let Some(id) = &bad.id {
            self.settle(id.clone(), DeliveredStatus::Failed, None);
            let text =
                format!("A message was not delivered because it cannot be read: {}", bad.why);
            self.host
                .note_to_agent(self.session, self.files, &format!("undelivered-{id}"), &text)
                .await?;
        }
        Ok(true)
    }

    /// ● Settles the pass in inbound.db, in one transaction with what the runner finished.
    async fn finish(
        self,
        acks: &[(MessageId, AckStatus)],
        cursor: i64,
        full: bool,
    ) -> Result<Report, HostError> {
        let mut finished = Vec::new();
        let settled = !self.settled.is_empty();
        if settled || !acks.is_empty() {
            let (host, session, files) =
                (self.host.clone(), self.session.clone(), self.files.clone());
            let (settled, acks) = (self.settled, acks.to_vec());
            finished = blocking(move || {
                let now = host.clock.now();
                let zone = &host.config.timezone;
                let ended = files.with(|inbox| inbox.settle(&settled, &acks, now, zone))?;
                let finished = ended.rows;
                fault::point("host.settled");
                host.central.set_out_cursor(&session.id, cursor)?;
                fault::point("host.cursor.moved");
                for series in &ended.tasks {
                    tasks::index(&host, &session, &files, Some(series))?;
                }
                for (id, status) in acks.iter().filter(|(id, _)| finished.contains(id)) {
                    host.trace("answered", Some(id), Some(&session.id), None, status.as_str());
                }
                if !finished.is_empty() {
                    host.central.wake_succeeded(&session.id)?;
                }
                for s in settled.iter().filter(|s| s.status == DeliveredStatus::Delivered) {
                    if let Err(e) = files.dir.clear_outbox(&s.id) {
                        tracing::debug!(error = %e, "outbox not cleared");
                    }
                }
                Ok(finished)
            })
            .await?;
        }
        let moved = settled || !finished.is_empty();
        let retry_at = self.retry_at;
        Ok(Report { moved, finished, retry_at, more: self.more || (full && moved) })
    }
}

impl Outcome {
    /// What it makes of the n-th attempt.
    pub(crate) fn end(self, attempt: u32, first_at: Timestamp, now: Timestamp) -> Ended {
        match self {
            Self::Sent(id) => Ended::Sent(id),
            Self::Rejected { why } | Self::Refused { why } => Ended::Rejected(why),
            // When the channel is up, that comes sooner by itself.
            Self::Wait { why } => Ended::Wait(now + backoff(attempt).min(WAIT_MAX), why),
            Self::Retry { after, why } => {
                let tried = Duration::try_from(now.duration_since(first_at)).unwrap_or_default();
                let wait = after.unwrap_or_else(|| backoff(attempt)).max(RETRY_MIN);
                if tried < TRY_FOR { Ended::Retry(now + wait, why) } else { Ended::Dead(why) }
            }
        }
    }
}

/// How long to wait after the n-th failed attempt.
fn backoff(attempt: u32) -> Duration {
    BACKOFF_FIRST.saturating_mul(1 << attempt.saturating_sub(1).min(20)).min(BACKOFF_MAX)
}

impl Host {
    /// Looks at a session's outbox from its start: revived messages lie behind the cursor.
    pub(crate) async fn revisit(self: &Arc<Self>, id: &SessionId) -> Result<(), HostError> {
        let (host, id) = (self.clone(), id.clone());
        blocking(move || {
            let Some(session) = host.central.session(&id)? else { return Ok(()) };
            let files = host.files(&session)?;
            for d in host.central.pending_deliveries(&id)? {
                files.with(|inbox| inbox.unsettle(&d.out_id))?;
            }
            host.central.set_out_cursor(&id, 0)?;
            if let Some(handle) = lock(&host.live).get(&id) {
                handle.rewind();
            }
            Ok(())
        })
        .await
    }
}
