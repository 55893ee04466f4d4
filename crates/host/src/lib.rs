//! The one process: it accepts, decides, delivers, and looks after every box.
//!
//! Read [`inbound`] for a message's way in, [`live`] for a session's life, [`outbound`] for a message's
//! way out, [`approvals`] and [`strangers`] for what people decide. Decisions are pure ([`route`],
//! [`engage`], [`access`], [`gate`], [`authorize`], [`liveness`]); their callers act. The host never follows
//! a path that a box can write, never says a platform's name, and never lets one session wait for another.

mod access;
mod actions;
mod admin;
mod approvals;
mod attach;
mod authorize;
mod boxes;
mod changed;
mod channels;
mod config;
mod dispatch;
mod due;
mod egress;
mod engage;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod gate;
mod history;
mod inbound;
mod live;
mod liveness;
mod mail;
mod mounts;
mod notice;
mod outbound;
mod pairing;
mod plan;
mod pressure;
mod questions;
mod reach;
mod route;
mod selfmod;
mod servers;
mod session;
mod slots;
mod start;
mod strain;
mod strangers;
mod tasks;
mod team;
mod watch;

pub use channels::ChannelStatus;
pub use config::Config;
pub use egress::{Egress, EgressDecision, EgressEvent, EgressGrant};
pub use start::{Boxes, HostOptions, Started, start};

pub(crate) use nanoclaw_contract::fault;

use nanoclaw_central::Central;
use nanoclaw_contract::ids::{MessageId, OutId, SessionId, UserId};
use nanoclaw_contract::time::SharedClock;
use nanoclaw_driver::Driver;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::Notify;

/// Everything a step may touch.
pub(crate) struct Host {
    pub(crate) config: Config,
    pub(crate) central: Central,
    pub(crate) clock: SharedClock,
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) egress: Arc<dyn Egress>,
    pub(crate) channels: channels::Channels,
    pub(crate) slots: slots::Slots,
    pub(crate) watch: watch::Watch,
    /// Sessions with a task.
    pub(crate) live: Mutex<BTreeMap<SessionId, Arc<live::Handle>>>,
    /// Open session files.
    pub(crate) files: Mutex<BTreeMap<SessionId, Weak<session::Files>>>,
    /// Those used last, kept open for a while.
    pub(crate) recent: Mutex<VecDeque<Arc<session::Files>>>,
    /// Boxes that ran before the host did, by session.
    pub(crate) adopted: Mutex<BTreeMap<SessionId, String>>,
    /// Boxes being stopped for sessions in line.
    pub(crate) evicting: Mutex<Vec<tokio::time::Instant>>,
    /// How much agents said to each other.
    pub(crate) traffic: Mutex<team::Traffic>,
    /// Deciders whose direct chats did not open, and when.
    pub(crate) closed: Mutex<BTreeMap<UserId, tokio::time::Instant>>,
    /// Codes that were typed in vain.
    pub(crate) guesses: pairing::Guesses,
    /// Lines of the host itself on their way.
    pub(crate) post: mail::Post,
    /// The next expiry of a request changed.
    pub(crate) approvals_changed: Notify,
    /// Whose box is being changed.
    pub(crate) changes: boxes::Changes,
    /// The index of due times changed.
    pub(crate) due_changed: Notify,
    pub(crate) stop: AtomicBool,
}

impl Host {
    pub(crate) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Notes a step of a message for `why`. Losing one is no reason to fail the step itself.
    pub(crate) fn trace(
        &self,
        step: &str,
        message: Option<&MessageId>,
        session: Option<&SessionId>,
        out: Option<&OutId>,
        detail: &str,
    ) {
        let ids = nanoclaw_central::TraceIds { message, session, out };
        if let Err(e) = self.central.trace(self.clock.now(), step, &ids, detail) {
            tracing::warn!(step, error = %e, "not traced");
        }
    }
}

/// What went wrong in the host, by what is done next.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A session's files.
    #[error(transparent)]
    Contract(#[from] nanoclaw_contract::Error),
    /// What a box wrote, or made of the place where it writes.
    #[error(transparent)]
    Outbox(nanoclaw_contract::Error),
    /// The central database.
    #[error(transparent)]
    Central(#[from] nanoclaw_central::Error),
    /// The isolation driver.
    #[error(transparent)]
    Driver(#[from] nanoclaw_driver::DriverError),
    /// The way out of the box.
    #[error("the vault does not answer: {0}")]
    Egress(String),
    /// The inbox did not take a row.
    #[error("the inbox did not take it: {0}")]
    Inbox(String),
    /// An id that is none.
    #[error(transparent)]
    BadId(#[from] nanoclaw_contract::ids::BadId),
    /// Two adapters under one name.
    #[error("the channel {0} is listed twice in install/; leave one of the two")]
    TwoChannels(&'static str),
    /// Something that is not there.
    #[error("unknown {0}")]
    Unknown(String),
    /// The file system.
    #[error("{0}: {1}")]
    Io(String, std::io::Error),
    /// The host is stopping.
    #[error("the host is stopping")]
    Stopping,
}

/// A panic elsewhere leaves the data as it was between two statements: good enough to go on with.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs what blocks (files, databases) off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HostError> + Send + 'static,
) -> Result<T, HostError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(HostError::Stopping),
    }
}
