//! The port that an isolation driver implements: a box is started, signalled, waited for, listed.
//!
//! The host plans a box completely ([`BoxSpec`]); a driver carries the plan out to the letter or refuses.
//! Whatever the driver, a box has no network at all, a read-only root, no capabilities,
//! no-new-privileges, a non-root user, a seccomp filter, limits, its own `/tmp`, and exactly the mounts
//! of the plan, verified after start. A box outlives the host: after a restart [`Driver::list`] finds it
//! by install and session, and [`Driver::wait`] works for it as for one that this process started.

pub mod cgroup;
pub mod check;
pub mod process;
pub mod profile;
pub mod provide;
pub mod seccomp;

use async_trait::async_trait;
use nanoclaw_contract::ids::{AgentId, SessionId};
use provide::{Progress, Provided, Wanted};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Everything about a box before it exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoxSpec {
    /// Unique on this machine; letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// Which install owns it; [`Driver::list`] finds it by this.
    pub install: String,
    /// The agent that lives in it.
    pub agent: AgentId,
    /// The session that lives in it.
    pub session: SessionId,
    /// In mount order: a later one may lie inside an earlier one.
    pub mounts: Vec<Mount>,
    /// The whole environment; nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// Program (a path in the box) and arguments. It runs as PID 1.
    pub command: Vec<String>,
    /// Working directory in the box.
    pub cwd: PathBuf,
    /// Who runs in the box, as seen by the files in the mounts. Never 0.
    pub user: BoxUser,
    /// Limits of the box.
    pub limits: Limits,
    /// Image, for drivers that use one; the driver's default otherwise.
    pub image: Option<String>,
    /// File that receives the box's stdout and stderr (the driver caps it at 10 MB, keeping the newest).
    pub log: PathBuf,
}

/// Owner of everything the box writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoxUser {
    /// User id on the host.
    pub uid: u32,
    /// Group id on the host.
    pub gid: u32,
}

/// One thing that is visible in the box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// On the host, absolute.
    pub source: PathBuf,
    /// In the box, absolute.
    pub target: PathBuf,
    /// Whether the box may write there.
    pub access: Access,
}

/// Whether the box may write to a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// It may not.
    ReadOnly,
    /// It may.
    ReadWrite,
}

/// How much a box may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory, without swap.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u32,
    /// Thousandths of a CPU.
    pub cpu_millis: u32,
    /// Open files per process.
    pub open_files: u32,
    /// Size of `/tmp`.
    pub tmp_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 2 << 30,
            pids: 512,
            cpu_millis: 2000,
            open_files: 4096,
            tmp_bytes: 512 << 20,
        }
    }
}

/// How often a box ran against its limits since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Strain {
    /// Processes that it may not have.
    pub forks_refused: u64,
    /// Whether it has about as many processes as it may.
    pub full: bool,
    /// Processes that were killed because it used too much memory.
    pub killed_for_memory: u64,
    /// When its log was full and turned over, last.
    pub log_turned: Option<std::time::SystemTime>,
    /// Whether it is held back, so that whatever it does now is less than it would.
    pub held_back: bool,
}

/// A box that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its name.
    pub name: String,
    /// The session in it, if the label can be read.
    pub session: Option<SessionId>,
}

/// What is sent to PID 1 of a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// End the turn, keep the box (SIGUSR1).
    Interrupt,
    /// Finish and exit (SIGTERM).
    Terminate,
    /// Everything in the box dies now.
    Kill,
}

/// How a box ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Exit code, if it is known; 128 + n after signal n.
    pub code: Option<i32>,
    /// Whether it was killed for memory.
    pub out_of_memory: bool,
    /// Last lines of its log, at most 2,000 bytes.
    pub tail: String,
}

/// What a driver can do on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// Name and version of what does the work.
    pub version: String,
    /// Parts of the profile that do not hold here, each with its reason; empty when all hold.
    pub missing: Vec<String>,
}

/// Why a driver refused.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// It is not installed, does not answer or may not be used; the text says what to do.
    #[error("{0}")]
    Unavailable(String),
    /// The box could not be started; the text is for people.
    #[error("the box did not start: {0}")]
    Start(String),
    /// No box of this name runs.
    #[error("no box {0}")]
    Gone(String),
    /// What runs is not what was planned; it was killed.
    #[error("the box is not as planned: {0}")]
    NotAsPlanned(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// An isolation driver.
#[async_trait]
pub trait Driver: Send + Sync + 'static {
    /// `docker`, `bubblewrap` …
    fn name(&self) -> &'static str;

    /// Whether it works on this machine, and what part of the profile it cannot give.
    async fn probe(&self) -> Result<Probe, DriverError>;

    /// Starts a box and returns when its first process runs and its mounts were verified.
    async fn start(&self, spec: &BoxSpec) -> Result<(), DriverError>;

    /// Sends a signal to PID 1.
    async fn signal(&self, name: &str, signal: Signal) -> Result<(), DriverError>;

    /// Waits until the box is gone, also one that an earlier process started.
    async fn wait(&self, name: &str) -> Result<Exit, DriverError>;

    /// The boxes of this install that run.
    async fn list(&self, install: &str) -> Result<Vec<Running>, DriverError>;

    /// How often the box ran against its limits; nothing where that cannot be known.
    async fn strain(&self, name: &str) -> Result<Strain, DriverError> {
        let _ = name;
        Ok(Strain::default())
    }

    /// The box's CPU time, to be measured and held back; none where that cannot be.
    async fn cpu(&self, name: &str) -> Option<cgroup::Cpu> {
        let _ = name;
        None
    }

    /// Makes packages ready for the boxes of an agent; what was made ready before is found again. May
    /// take minutes. Whatever is cut short is done anew, never used half.
    async fn provide(
        &self,
        wanted: &Wanted,
        progress: Progress<'_>,
    ) -> Result<Provided, DriverError> {
        let (_, _) = (wanted, progress);
        Err(DriverError::Unavailable(format!("{} cannot install packages", self.name())))
    }

    /// Removes what was made ready for this agent, except `keep`. Its boxes use nothing else any more.
    async fn tidy(&self, wanted: &Wanted, keep: &Provided) -> Result<(), DriverError> {
        let (_, _) = (wanted, keep);
        Ok(())
    }

    /// Terminates, waits at most `grace`, kills; returns when the box is gone.
    async fn stop(&self, name: &str, grace: Duration) -> Result<(), DriverError> {
        let told = self.signal(name, Signal::Terminate).await;
        if told.is_ok() && tokio::time::timeout(grace, self.wait(name)).await.is_ok() {
            return Ok(());
        }
        match self.signal(name, Signal::Kill).await {
            Ok(()) | Err(DriverError::Gone(_)) => {}
            Err(e) => return Err(e),
        }
        // One that had ended by itself has left its traces to whoever waits for it.
        match self.wait(name).await {
            Ok(_) | Err(DriverError::Gone(_)) => Ok(()),
            Err(e) => Err(e),
        }
    }
}

/// Chooses a driver by name; `install/` passes the list.
pub struct DriverDef {
    /// `docker`, `bubblewrap` …
    pub name: &'static str,
    /// Makes it.
    pub make: fn(&DriverContext) -> Result<std::sync::Arc<dyn Driver>, DriverError>,
}

/// What a driver may need from the install.
#[derive(Debug, Clone, Default)]
pub struct DriverContext {
    /// Where it may keep its own files, such as the records of running boxes.
    pub state: PathBuf,
    /// Default image, for drivers that use one.
    pub image: String,
    /// What runs the boxes of an agent instead of the driver's own choice; `""` stands for every agent.
    pub runtimes: BTreeMap<String, String>,
}
