//! One task per live session: it starts the box, hears it, judges it, stops it.
//!
//! ```text
//!            push, due, retry                      exit
//!  asleep ──────────────────▶ awake ──▶ in line ──▶ running ──▶ awake ──▶ asleep
//!                               │                      │ idle, evicted, sick: stop
//!                               └── nothing to do ─────┘
//! ```
//!
//! An asleep session has no task, no timer and no open file: its next time lies in `session_due`. A task
//! never waits for another session; whatever blocks (files, databases) runs on the blocking threads.

mod previews;
mod typing;

use crate::liveness::{self, LastStep, LivenessFacts, Verdict};
use crate::outbound::Drain;
use crate::session::Files;
use crate::slots::Place;
use crate::{EgressGrant, Host, HostError, blocking, fault, lock, plan, tasks};
use nanoclaw_central::{ContainerStatus, Session};
use nanoclaw_contract::ids::{Address, MessageId, SessionId};
use nanoclaw_contract::inbox::Due;
use nanoclaw_contract::outbox::OutboxReader;
use nanoclaw_contract::pulse::{self, Phase, Pulse};
use nanoclaw_contract::time::Timestamp;
use nanoclaw_driver::{BoxSpec, DriverError, Exit, Signal};
use previews::Previews;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long before a task is due its box is started, so that it is on time.
const LEAD: Duration = Duration::from_secs(1);
/// How long a box may take to start.
const START_MAX: Duration = Duration::from_secs(60);
/// How long a box may take to finish when told to.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// How often typing is shown anew while the agent works.
const TYPING_EVERY: Duration = Duration::from_secs(4);
/// How often a box without events is looked at.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// How often a session's task may fail before the session is given up, and how long without is well.
const FAILURES_MAX: u32 = 20;
const CALM: Duration = Duration::from_secs(60);
/// How long the outbox of a running box may stay unreadable.
const UNREADABLE_MAX: Duration = Duration::from_secs(30);
/// Steps a session may take that come to nothing: so many at once, and then so many per second.
const STEPS_MAX: f64 = 200.0;
const STEPS_PER_SECOND: f64 = 20.0;
/// How often a message may bring its box down before it is given up.
const TRIES_MAX: i64 = 8;
/// How long it is put off the first time, and how many times longer each time after. What came later
/// waits behind it: for minutes in all.
const TRY_AGAIN_FIRST: Duration = Duration::from_millis(250);
const TRY_AGAIN_FACTOR: u32 = 3;

/// How others reach a live session's task.
pub(crate) struct Handle {
    pub(crate) id: SessionId,
    notify: Notify,
    nudged: AtomicBool,
    dirty: AtomicBool,
    polled: AtomicBool,
    flooded: AtomicBool,
    stop: AtomicBool,
    rewind: AtomicBool,
    exit: Mutex<Option<Exit>>,
    typing: Mutex<BTreeSet<Address>>,
}

impl Handle {
    fn new(id: SessionId) -> Self {
        Self {
            id,
            notify: Notify::new(),
            nudged: AtomicBool::new(false),
            dirty: AtomicBool::new(true),
            polled: AtomicBool::new(false),
            flooded: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            rewind: AtomicBool::new(false),
            exit: Mutex::default(),
            typing: Mutex::default(),
        }
    }

    /// Something changed; look again.
    pub(crate) fn nudge(&self) {
        self.nudged.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// The outbox was written to.
    pub(crate) fn dirty(&self) {
        self.dirty.store(true, Ordering::Release);
        self.nudge();
    }

    /// No more events will come for this box.
    pub(crate) fn poll_from_now_on(&self) {
        self.polled.store(true, Ordering::Release);
        self.nudge();
    }

    /// Its box does nothing but change its folder.
    pub(crate) fn flooded(&self) {
        self.flooded.store(true, Ordering::Release);
        self.nudge();
    }

    /// The box must stop, though it may start again if there is work.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.nudge();
    }

    /// Messages that were settled are to be tried again.
    pub(crate) fn rewind(&self) {
        self.rewind.store(true, Ordering::Release);
        self.nudge();
    }

    /// Somebody at this address waits for an answer.
    pub(crate) fn awaited_at(&self, address: Address) {
        lock(&self.typing).insert(address);
    }

    /// Whether somebody there still does.
    pub(crate) fn is_awaited_at(&self, address: &Address) -> bool {
        lock(&self.typing).contains(address)
    }
}

impl Host {
    /// Makes sure that the session's task runs and looks at its work.
    pub(crate) fn wake(self: &Arc<Self>, id: &SessionId) -> Arc<Handle> {
        let mut live = lock(&self.live);
        if let Some(handle) = live.get(id) {
            handle.nudge();
            return handle.clone();
        }
        let handle = Arc::new(Handle::new(id.clone()));
        live.insert(id.clone(), handle.clone());
        let (host, its) = (self.clone(), handle.clone());
        tokio::spawn(async move { run(&host, &its).await });
        handle
    }

    /// Ends the task's entry, unless somebody nudged since its last step. [`Host::wake`] nudges under the
    /// same lock, so work that arrives while the task ends is never left behind.
    fn retire(&self, handle: &Handle) -> bool {
        let mut live = lock(&self.live);
        let idle = !handle.nudged.load(Ordering::Acquire);
        if idle {
            live.remove(&handle.id);
        }
        idle
    }
}

async fn run(host: &Arc<Host>, handle: &Arc<Handle>) {
    let (mut failures, mut live) = (0u32, None);
    loop {
        let began = Instant::now();
        let ended = match live.take() {
            Some(live) => Ok(live),
            None => Live::load(host, handle).await,
        };
        let ended = match ended {
            Ok(now) => live.insert(now).run().await,
            Err(e) => Err(e),
        };
        let Err(e) = ended else {
            (failures, live) = (0, None);
            host.slots.release(&handle.id);
            match host.retire(handle) {
                true => return,
                false => continue,
            }
        };
        if live.is_none() && matches!(e, HostError::Unknown(_)) {
            // It was removed: there is nothing left to look after.
            host.slots.release(&handle.id);
            drop(lock(&host.live).remove(&handle.id));
            return;
        }
        // Nothing here may end a session for good: log, wait, look again. A box that runs stays known.
        failures = if began.elapsed() > CALM { 1 } else { failures + 1 };
        tracing::error!(session = %handle.id, error = %e, "session task failed");
        tokio::time::sleep(Duration::from_millis(100 << failures.min(9))).await;
        if let Some(live) = &mut live {
            live.start_over().await;
        }
        if failures > FAILURES_MAX {
            host.park(&handle.id, &format!("its task failed {failures} times, last: {e}")).await;
            if live.is_none() {
                host.slots.release(&handle.id);
                drop(lock(&host.live).remove(&handle.id));
                return;
            }
        }
    }
}

impl Host {
    /// Quarantines a session, and says so where it belongs: its box stays off until somebody clears it.
    pub(crate) async fn park(self: &Arc<Self>, id: &SessionId, reason: &str) {
        tracing::error!(session = %id, reason, "session quarantined");
        let (host, its, why) = (self.clone(), id.clone(), reason.to_owned());
        let done = blocking(move || {
            host.central.quarantine(&its, &why, host.clock.now())?;
            host.trace("quarantined", None, Some(&its), None, &why);
            Ok(host.central.session(&its)?)
        });
        match done.await {
            Ok(Some(session)) => {
                let key = format!("quarantine-{}", self.clock.now().as_millisecond());
                let text = format!(
                    "⚠️ I am off for safety: {reason}. The owner can put me back with `ncl sessions clear {id}`."
                );
                self.notify_chat(&session, &key, &text).await;
            }
            Ok(None) => {}
            Err(e) => tracing::error!(error = %e, "quarantine was not recorded"),
        }
    }
}

/// A box that runs, or is believed to.
struct Box_ {
    name: String,
    started: Instant,
    /// When it last had something to do.
    busy: Instant,
    step: LastStep,
    /// Somebody here asked it to stop: its end is no crash.
    asked: bool,
    /// It was killed here; its end is near.
    killed: bool,
    /// It finished at least one turn, or was there before the host.
    proven: bool,
}

/// What speaks for a box that comes into care.
#[derive(PartialEq, Eq)]
enum Proof {
    /// It was there before.
    Adopted,
    /// It was started just now.
    None,
}

/// What a box shows of itself.
struct Seen {
    pulse: Pulse,
    /// Whether it pulses all the while, as our runner does, or only on events, as v2's does.
    steady: bool,
    age: Option<Duration>,
}

struct Live<'a> {
    host: &'a Arc<Host>,
    handle: &'a Arc<Handle>,
    session: Session,
    files: Arc<Files>,
    reader: Option<Arc<Mutex<OutboxReader>>>,
    drain: Drain,
    running: Option<Box_>,
    /// outbound.db was left inside a commit: a box must run to repair it.
    repair: bool,
    /// Since when the outbox of the running box cannot be read.
    unreadable: Option<Instant>,
    /// It is in quarantine since this task looked: whoever clears it starts with a new task.
    condemned: bool,
    pace: Pace,
    typed: Instant,
    /// Typing that is being shown or taken back.
    showing: Option<JoinHandle<()>>,
    previews: Previews,
}

/// Holds back a session whose box makes much ado about nothing: every nudge costs others a little.
struct Pace {
    steps: f64,
    as_of: Instant,
}

impl Pace {
    fn new() -> Self {
        Self { steps: STEPS_MAX, as_of: Instant::now() }
    }

    /// One more step; how long it has to wait.
    fn step(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let earned = STEPS_PER_SECOND * now.duration_since(self.as_of).as_secs_f64();
        self.steps = (self.steps + earned).min(STEPS_MAX) - 1.0;
        self.as_of = now;
        (self.steps < 0.0).then(|| Duration::from_secs_f64(-self.steps / STEPS_PER_SECOND))
    }

    /// Something came of it.
    fn moved(&mut self) {
        self.steps = STEPS_MAX.min(self.steps + STEPS_PER_SECOND);
    }
}

enum Next {
    Wait(Option<Instant>),
    Sleep,
}

impl<'a> Live<'a> {
    async fn load(host: &'a Arc<Host>, handle: &'a Arc<Handle>) -> Result<Self, HostError> {
        let (h, id) = (host.clone(), handle.id.clone());
        let (session, files, cursor) = blocking(move || {
            let session = h
                .central
                .session(&id)?
                .ok_or_else(|| HostError::Unknown(format!("session {id}")))?;
            let files = h.files(&session)?;
            let cursor = h.central.out_cursor(&id)?;
            Ok((session, files, cursor))
        })
        .await?;
        let drain = Drain::new(cursor);
        let mut live = Live {
            host,
            handle,
            session,
            files,
            reader: None,
            drain,
            running: None,
            repair: false,
            unreadable: None,
            condemned: false,
            pace: Pace::new(),
            typed: Instant::now(),
            showing: None,
            previews: Previews::default(),
        };
        let adopted = lock(&host.adopted).remove(&handle.id);
        if let Some(name) = adopted {
            live.watch(name, Proof::Adopted).await;
            if let Err(e) = live.way_out().await {
                tracing::warn!(session = %handle.id, error = %e, "the adopted box has no way out");
            }
        }
        Ok(live)
    }

    /// Forgets what was read, but not the box.
    async fn start_over(&mut self) {
        self.reader = None;
        self.handle.dirty.store(true, Ordering::Release);
        if let Ok(cursor) = self.with(|h, s, _| Ok(h.central.out_cursor(&s.id)?)).await {
            self.drain.restart(cursor);
        }
    }

    async fn run(&mut self) -> Result<(), HostError> {
        loop {
            if let Some(wait) = self.pace.step() {
                tokio::time::sleep(wait).await;
            }
            match self.step().await? {
                Next::Sleep => return Ok(()),
                Next::Wait(None) => self.handle.notify.notified().await,
                Next::Wait(Some(until)) => {
                    // Either way the next step looks at everything.
                    drop(tokio::time::timeout_at(until, self.handle.notify.notified()).await);
                }
            }
        }
    }

    async fn step(&mut self) -> Result<Next, HostError> {
        self.handle.nudged.store(false, Ordering::Release);
        let exit = lock(&self.handle.exit).take();
        if let Some(exit) = exit {
            self.ended(exit).await?;
        }
        if self.handle.flooded.swap(false, Ordering::AcqRel) && self.running.is_some() {
            self.condemn("it changes its folder without end").await;
        }
        if self.condemned || self.quarantined().await?.is_some() {
            return self.stop_or_sleep().await;
        }
        if self.handle.rewind.swap(false, Ordering::AcqRel) {
            self.drain.rewind();
        }
        let polled = self.handle.polled.load(Ordering::Acquire);
        let dirty = self.handle.dirty.swap(false, Ordering::AcqRel);
        if dirty || polled || self.unreadable.is_some() || self.drain.is_due(self.host.clock.now())
        {
            self.look().await?;
        }
        let retry_at = self.drain.retry_at();
        let stop = self.handle.stop.swap(false, Ordering::AcqRel);
        match self.running.is_some() {
            true if stop => self.stop("asked to").await,
            true => self.attend(retry_at, polled).await,
            false => self.rest_or_start(retry_at).await,
        }
    }

    async fn quarantined(&self) -> Result<Option<String>, HostError> {
        self.with(|h, s, _| Ok(h.central.quarantined(&s.id)?.map(|(reason, _)| reason))).await
    }

    async fn stop_or_sleep(&mut self) -> Result<Next, HostError> {
        match self.running {
            Some(_) => self.kill("quarantined").await,
            None => {
                self.shown_only_in(&BTreeSet::new());
                Ok(Next::Sleep)
            }
        }
    }

    /// Reads the outbox and delivers what is due.
    async fn look(&mut self) -> Result<(), HostError> {
        if self.reader.is_none() && !self.open_reader().await? {
            return Ok(());
        }
        let Some(reader) = self.reader.clone() else { return Ok(()) };
        self.previews.rest().await;
        match self.drain.run(self.host, &self.session, &self.files, &reader).await {
            Ok(report) => {
                self.unreadable = None;
                if report.moved {
                    self.pace.moved();
                }
                if !report.finished.is_empty() {
                    self.typing_ended().await;
                    self.end_previews().await?;
                }
                if let Some(running) = &mut self.running
                    && report.moved
                {
                    running.busy = Instant::now();
                    running.proven |= !report.finished.is_empty();
                }
                if report.more {
                    self.handle.dirty();
                }
                Ok(())
            }
            Err(HostError::Outbox(e)) => {
                self.unread(e).await;
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    async fn open_reader(&mut self) -> Result<bool, HostError> {
        let path = self.files.dir.outbound();
        let opened = blocking(move || OutboxReader::open(&path).map_err(HostError::Outbox));
        match tokio::time::timeout(Duration::from_secs(5), opened).await {
            Ok(Ok(reader)) => {
                self.reader = Some(Arc::new(Mutex::new(reader)));
                return Ok(true);
            }
            Ok(Err(HostError::Outbox(e))) => self.unread(e).await,
            Ok(Err(e)) => return Err(e),
            Err(_) => self.condemn("outbound.db does not open").await,
        }
        Ok(false)
    }

    /// The outbox could not be read: waits, has it repaired, or gives it up.
    async fn unread(&mut self, e: nanoclaw_contract::Error) {
        use nanoclaw_contract::Error;
        let since = *self.unreadable.get_or_insert_with(Instant::now);
        match e {
            Error::Busy(_) | Error::Unrecovered | Error::Sqlite { .. }
                if self.running.is_some() && since.elapsed() > UNREADABLE_MAX =>
            {
                self.condemn(&format!("{e}, for more than {} s", UNREADABLE_MAX.as_secs())).await;
            }
            Error::Busy(_) => {
                // A long commit is under way.
                self.handle.dirty();
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Error::Unrecovered => {
                self.reader = None;
                self.repair = self.running.is_none();
            }
            Error::Sqlite { .. } => {
                tracing::warn!(session = %self.session.id, error = %e, "the outbox was not read");
                self.reader = None;
            }
            Error::Refused(_) | Error::Io { .. } => self.condemn(&e.to_string()).await,
        }
    }

    async fn condemn(&mut self, why: &str) {
        self.reader = None;
        self.condemned = true;
        self.unreadable = None;
        self.host.park(&self.session.id, why).await;
        self.handle.nudge();
    }

    /// Looks after a running box.
    async fn attend(
        &mut self,
        retry_at: Option<Timestamp>,
        polled: bool,
    ) -> Result<Next, HostError> {
        let now = Instant::now();
        let due = self.due(Duration::ZERO).await?;
        let pulse = self.pulse().await;
        let working =
            pulse.as_ref().is_some_and(|p| p.pulse.phase != Phase::Idle) || due == Due::Now;
        let Some(running) = &mut self.running else { return Ok(Next::Wait(None)) };
        if working {
            running.busy = now;
        } else if let Some(age) = pulse.as_ref().filter(|p| !p.steady).and_then(|p| p.age) {
            // v2's runner calls a follow-up done when it has taken it. That it works shows in its pulse.
            running.busy = now.checked_sub(age).map_or(running.busy, |at| running.busy.max(at));
        }
        let idle_until = running.busy + self.host.config.idle_timeout;
        let mut wake_at = if working { now + TYPING_EVERY } else { idle_until };
        if let Some(at) = retry_at {
            wake_at = wake_at.min(self.host.instant_of(at));
        }
        if polled || self.unreadable.is_some() {
            wake_at = wake_at.min(now + POLL_EVERY);
        }
        if let Due::At(at) = due {
            // The runner has its own timer; this is for the case that it missed it.
            wake_at = wake_at.min(self.host.instant_of(at) + POLL_EVERY);
        }
        if working {
            self.show_typing(typing::at_work(pulse.as_ref())).await;
            if let Some(at) = self.show_preview().await {
                wake_at = wake_at.min(at);
            }
            return self.judge(pulse, wake_at).await;
        }
        if now >= idle_until {
            return self.stop("idle").await;
        }
        if self.host.slots.wanted() > 0 && self.host.evict_one() {
            return self.stop("another session needs its place").await;
        }
        Ok(Next::Wait(Some(wake_at)))
    }

    /// Judges a working box by what it shows of itself.
    async fn judge(&mut self, seen: Option<Seen>, wake_at: Instant) -> Result<Next, HostError> {
        let now = self.host.clock.now();
        let oldest_claim = self.oldest_claim(now).await;
        let Some(running) = &mut self.running else { return Ok(Next::Wait(Some(wake_at))) };
        let seen = seen.unwrap_or_else(|| Seen {
            pulse: Pulse { phase: Phase::Starting, ..Pulse::default() },
            steady: true,
            age: None,
        });
        let facts = LivenessFacts {
            phase: seen.pulse.phase,
            steady: seen.steady,
            pulse_age: seen.age.unwrap_or_else(|| running.started.elapsed()),
            tools: seen.pulse.tools,
            oldest_claim,
            now,
            last_step: running.step,
        };
        match liveness::judge(&facts) {
            Verdict::Wait { check_again_in } => {
                Ok(Next::Wait(Some(wake_at.min(Instant::now() + check_again_in))))
            }
            Verdict::Healthy { check_again_in } => {
                running.step = LastStep::None;
                Ok(Next::Wait(Some(wake_at.min(Instant::now() + check_again_in))))
            }
            Verdict::Interrupt(why) => {
                running.step = LastStep::Interrupted(now);
                self.tell("interrupted", &why, Signal::Interrupt).await
            }
            Verdict::Stop(why) => {
                running.step = LastStep::Terminated(now);
                self.tell("told to stop", &why, Signal::Terminate).await
            }
            Verdict::Kill(why) => self.kill(&why).await,
        }
    }

    async fn tell(&mut self, what: &str, why: &str, signal: Signal) -> Result<Next, HostError> {
        self.host.trace(what, None, Some(&self.session.id), None, why);
        tracing::warn!(session = %self.session.id, why, "box {what}");
        if let Some(running) = &self.running {
            self.gone_or(self.host.driver.signal(&running.name, signal).await);
        }
        Ok(Next::Wait(Some(Instant::now() + Duration::from_secs(2))))
    }

    fn gone_or(&self, result: Result<(), DriverError>) {
        match result {
            Ok(()) | Err(DriverError::Gone(_)) => {}
            Err(e) => tracing::error!(session = %self.session.id, error = %e, "the driver failed"),
        }
    }

    /// How old the oldest claim is.
    async fn oldest_claim(&mut self, now: Timestamp) -> Option<Duration> {
        let reader = self.reader.clone()?;
        match blocking(move || lock(&reader).claims().map_err(HostError::Outbox)).await {
            Ok(claims) => {
                let oldest = claims.values().flatten().min()?;
                Duration::try_from(now.duration_since(*oldest)).ok()
            }
            Err(HostError::Outbox(e)) => {
                self.unread(e).await;
                None
            }
            Err(_) => None,
        }
    }

    /// What the box shows of itself, and how long ago it last did.
    async fn pulse(&self) -> Option<Seen> {
        let (dir, now) = (self.files.dir.clone(), self.host.clock.now());
        let (host, id, reader) = (self.host.clone(), self.session.id.clone(), self.reader.clone());
        blocking(move || {
            let mut file =
                dir.open_from_box(std::path::Path::new(".heartbeat"), pulse::BYTES_MAX)?;
            let touched = file
                .metadata()
                .and_then(|m| m.modified())
                .ok()
                .and_then(|t| Timestamp::try_from(t).ok());
            let mut text = String::new();
            // A v2 runner writes an empty file: then only its age counts.
            let read =
                std::io::Read::by_ref(&mut file).take(pulse::BYTES_MAX).read_to_string(&mut text);
            let ours: Option<Pulse> = read.ok().and_then(|_| serde_json::from_str(&text).ok());
            let age = touched.and_then(|t| Duration::try_from(now.duration_since(t)).ok());
            let (steady, mut pulse) = (ours.is_some(), ours.unwrap_or_default());
            if let Some(reader) = reader.filter(|_| !steady)
                && let Some(tool) = lock(&reader).tool().map_err(HostError::Outbox)?
            {
                // Its outbox says which tool runs, and after a kill still says which one ran: that began
                // before this box.
                let since = host.central.box_started(&id)?.map_or(0, Timestamp::as_millisecond);
                if tool.started_ms >= since {
                    pulse = Pulse { phase: Phase::Tool, tools: vec![tool], ..pulse };
                }
            }
            Ok(Seen { steady, pulse, age })
        })
        .await
        .ok()
    }

    /// When there is work, this much before its time.
    async fn due(&self, lead: Duration) -> Result<Due, HostError> {
        self.with(move |h, _, files| files.with(|inbox| inbox.due(h.clock.now(), lead))).await
    }

    /// Does what blocks, elsewhere.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Host>, &Session, &Files) -> Result<T, HostError> + Send + 'static,
    ) -> Result<T, HostError> {
        let (host, session, files) = (self.host.clone(), self.session.clone(), self.files.clone());
        blocking(move || work(&host, &session, &files)).await
    }

    async fn stop(&mut self, why: &str) -> Result<Next, HostError> {
        let Some(running) = &mut self.running else { return Ok(Next::Wait(None)) };
        running.asked = true;
        tracing::info!(session = %self.session.id, why, "stopping the box");
        let stopped = self.host.driver.stop(&running.name, STOP_GRACE).await;
        self.gone_or(stopped);
        Ok(Next::Wait(Some(Instant::now() + STOP_GRACE)))
    }

    async fn kill(&mut self, why: &str) -> Result<Next, HostError> {
        if let Some(running) = &mut self.running {
            if !std::mem::replace(&mut running.killed, true) {
                self.host.trace("killed", None, Some(&self.session.id), None, why);
                tracing::warn!(session = %self.session.id, why, "killing the box");
            }
            let name = running.name.clone();
            self.gone_or(self.host.driver.signal(&name, Signal::Kill).await);
        }
        Ok(Next::Wait(Some(Instant::now() + STOP_GRACE)))
    }

    /// No box runs: start one if there is work, or note when there will be and go to sleep.
    async fn rest_or_start(&mut self, retry_at: Option<Timestamp>) -> Result<Next, HostError> {
        if self.due(Duration::ZERO).await? == Due::Now {
            self.with(tasks::skip_missed).await?;
        }
        let due = self.due(LEAD).await?;
        let failed = self.with(|h, s, _| Ok(h.central.wake_failure(&s.id)?)).await?;
        let now = self.host.clock.now();
        let not_before = failed.map(|f| f.next_at).filter(|at| *at > now);
        if (due == Due::Now || self.repair) && not_before.is_none() && !self.host.stopping() {
            let place = self.host.slots.request(self.handle);
            if place == Place::NewInLine {
                self.host.evict_idle();
            }
            if place != Place::Held {
                return Ok(Next::Wait(retry_at.map(|at| self.host.instant_of(at))));
            }
            return self.start().await;
        }
        self.host.slots.release(&self.session.id);
        let work = match due {
            Due::Now => not_before.or(Some(now)),
            Due::At(at) => Some(at.max(not_before.unwrap_or(now))),
            Due::Never => None,
        };
        self.end_previews().await?;
        let next = [work, retry_at].into_iter().flatten().min();
        self.with(move |h, s, _| Ok(h.central.set_due(&s.id, next)?)).await?;
        self.host.due_changed.notify_one();
        Ok(Next::Sleep)
    }

    async fn start(&mut self) -> Result<Next, HostError> {
        fault::point("host.wake");
        let spec = match self.plan().await {
            Ok(spec) => spec,
            Err(e) => return self.start_failed(&e.to_string()).await,
        };
        let why = match tokio::time::timeout(START_MAX, self.start_box(&spec)).await {
            Ok(Ok(())) => {
                self.repair = false;
                self.watch(spec.name, Proof::None).await;
                return Ok(Next::Wait(Some(Instant::now())));
            }
            Ok(Err(e)) => e.to_string(),
            Err(_) => format!("the box did not start within {START_MAX:?}"),
        };
        // If it runs all the same, it must not run beside the next one.
        self.gone_or(self.host.driver.stop(&spec.name, Duration::ZERO).await);
        self.start_failed(&why).await
    }

    async fn plan(&self) -> Result<BoxSpec, HostError> {
        let grant = self.way_out().await?;
        self.with(move |host, session, files| plan::plan(host, session, files, &grant)).await
    }

    async fn way_out(&self) -> Result<EgressGrant, HostError> {
        let agent = self.with(|h, s, _| Ok(h.central.agent(&s.agent)?)).await?;
        let folder = agent.map(|a| a.folder).unwrap_or_default();
        let open = self.host.egress.open(&self.session.id, &self.session.agent, &folder);
        open.await.map_err(HostError::Egress)
    }

    async fn start_box(&self, spec: &BoxSpec) -> Result<(), HostError> {
        self.host.driver.start(spec).await?;
        fault::point("host.box.started");
        let name = spec.name.clone();
        let record = self.with(move |host, s, _| {
            host.central.put_box(&s.id, &name, host.driver.name(), host.clock.now())?;
            host.central.set_container(&s.id, ContainerStatus::Running)?;
            host.trace("box started", None, Some(&s.id), None, &name);
            Ok(())
        });
        record.await?;
        fault::point("host.box.recorded");
        Ok(())
    }

    async fn start_failed(&mut self, why: &str) -> Result<Next, HostError> {
        tracing::error!(session = %self.session.id, why, "the box did not start");
        self.host.slots.release(&self.session.id);
        self.host.egress.close(&self.session.id).await;
        self.shown_only_in(&BTreeSet::new());
        let told = why.to_owned();
        let count = self.with(move |host, s, _| {
            host.trace("wake failed", None, Some(&s.id), None, &told);
            Ok(host.central.wake_failed(&s.id, &told, host.clock.now())?)
        });
        let count = count.await?;
        if count > 2 {
            self.with(tasks::fail_due).await?;
        }
        // Once may be an accident, and the second try comes at once.
        if count == 2 {
            let text = format!(
                "⚠️ I cannot start right now and will keep trying. Your message is safe. ({why})"
            );
            // The next outage is worth a line of its own.
            let key = format!("wake-{}", self.host.clock.now().as_millisecond());
            self.host.notify_chat(&self.session, &key, &text).await;
        }
        // The next step finds the backoff, and sleeps.
        Ok(Next::Wait(Some(Instant::now())))
    }

    /// Takes a running box into care.
    async fn watch(&mut self, name: String, proof: Proof) {
        let now = Instant::now();
        self.host.slots.adopt(&self.session.id);
        let heard = self.host.watch.add(&self.files.dir.writable(), self.handle);
        self.handle.polled.store(!heard, Ordering::Release);
        self.handle.dirty.store(true, Ordering::Release);
        self.previews.wanted = self.wants_previews().await;
        let (driver, handle, its_name) =
            (self.host.driver.clone(), self.handle.clone(), name.clone());
        tokio::spawn(async move {
            let exit = loop {
                match driver.wait(&its_name).await {
                    Ok(exit) => break exit,
                    Err(DriverError::Gone(_)) => {
                        break Exit { code: None, out_of_memory: false, tail: String::new() };
                    }
                    Err(e) => {
                        tracing::error!(session = %handle.id, error = %e, "cannot wait for the box");
                        tokio::time::sleep(POLL_EVERY).await;
                    }
                }
            };
            *lock(&handle.exit) = Some(exit);
            handle.nudge();
        });
        self.running = Some(Box_ {
            name,
            started: now,
            busy: now,
            step: LastStep::None,
            asked: false,
            killed: false,
            proven: proof == Proof::Adopted,
        });
    }

    /// The box is gone: deliver its last words, put back what it did not finish.
    async fn ended(&mut self, exit: Exit) -> Result<(), HostError> {
        let Some(running) = self.running.take() else { return Ok(()) };
        tracing::info!(session = %self.session.id, code = ?exit.code, oom = exit.out_of_memory, "box ended");
        self.host.watch.remove(self.handle);
        self.host.egress.close(&self.session.id).await;
        // Whatever handle the old file had, the next look opens it anew.
        self.reader = None;
        if !self.condemned {
            self.look().await?;
        }
        // Once the box is off the list somebody may clear what this task knows.
        self.condemned |= self.quarantined().await?.is_some();
        let claims = self.unfinished().await;
        fault::point("host.box.ended");
        let (running_asked, proven) = (running.asked, running.proven);
        let record = self.with(move |host, s, _| {
            host.central.remove_box(&s.id)?;
            host.central.set_container(&s.id, ContainerStatus::Stopped)?;
            host.trace("box ended", None, Some(&s.id), None, &running.name);
            Ok(())
        });
        record.await?;
        self.host.slots.release(&self.session.id);
        if running_asked || self.host.stopping() {
            return Ok(());
        }
        self.after_crash(&claims, &exit, proven).await
    }

    async fn unfinished(&self) -> Vec<MessageId> {
        let Some(reader) = self.reader.clone() else { return Vec::new() };
        blocking(move || Ok(lock(&reader).claims()?.into_keys().collect()))
            .await
            .unwrap_or_default()
    }

    async fn after_crash(
        &mut self,
        claims: &[MessageId],
        exit: &Exit,
        proven: bool,
    ) -> Result<(), HostError> {
        let why = describe(exit);
        let ids = claims.to_vec();
        let given_up = self.with(move |host, _, files| {
            let now = host.clock.now();
            files.with(|inbox| {
                let mut given_up = Vec::new();
                for id in &ids {
                    let Some((row, status)) = inbox.get(id)? else { continue };
                    if status != nanoclaw_contract::message::InStatus::Pending {
                        continue;
                    }
                    let tries = u32::try_from(row.tries.clamp(0, TRIES_MAX)).unwrap_or_default();
                    let wait = TRY_AGAIN_FIRST * TRY_AGAIN_FACTOR.pow(tries);
                    let next = (row.tries + 1 < TRIES_MAX).then(|| now + wait);
                    match next {
                        Some(next) => inbox.retry(id, next)?,
                        None => given_up.push(row),
                    }
                }
                Ok(given_up)
            })
        });
        let given_up = given_up.await?;
        let gone: Vec<_> = given_up.iter().map(|row| row.id.clone()).collect();
        self.with(move |host, session, files| tasks::fail(host, session, files, gone)).await?;
        for row in &given_up {
            self.host.trace("given up", Some(&row.id), Some(&self.session.id), None, &why);
            let text = format!("⚠️ I had to give up on a message after {TRIES_MAX} tries: {why}");
            self.host.notify_chat(&self.session, row.id.as_str(), &text).await;
        }
        if !proven && claims.is_empty() && self.due(Duration::ZERO).await? == Due::Now {
            // It died before it took anything on: back off, and say so once.
            self.start_failed(&why).await.map(|_| ())
        } else {
            self.with(|h, s, _| Ok(h.central.wake_succeeded(&s.id)?)).await
        }
    }
}

fn describe(exit: &Exit) -> String {
    let last = exit.tail.trim().lines().last().unwrap_or_default();
    match (exit.out_of_memory, exit.code) {
        (true, _) => "the agent used more memory than it may".to_owned(),
        (false, Some(code)) if last.is_empty() => format!("the agent's box ended with code {code}"),
        (false, Some(code)) => format!("the agent's box ended with code {code}: {last}"),
        (false, None) => "the agent's box ended".to_owned(),
    }
}

impl Host {
    /// A point in time as one of tokio's instants.
    pub(crate) fn instant_of(&self, at: Timestamp) -> Instant {
        let wait =
            Duration::try_from(at.duration_since(self.clock.now())).unwrap_or(Duration::ZERO);
        Instant::now() + wait
    }

    /// Asks every idle box whether it gives up its place. Who stands in line is not asked: with many, each
    /// newcomer would keep all of them busy.
    fn evict_idle(&self) {
        let held = self.slots.holders();
        lock(&self.live).values().filter(|h| held.contains(&h.id)).for_each(|h| h.nudge());
    }

    /// Whether one more box may be stopped for those in line; one per waiting session at a time.
    fn evict_one(&self) -> bool {
        let mut evicting = lock(&self.evicting);
        let now = Instant::now();
        evicting.retain(|since| now.duration_since(*since) < STOP_GRACE);
        let more = evicting.len() < self.slots.wanted();
        if more {
            evicting.push(now);
        }
        more
    }
}

#[cfg(test)]
mod tests;
