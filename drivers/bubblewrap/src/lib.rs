//! Boxes made by `bwrap`: Linux namespaces over the host's own system directories, no engine, no image.
//!
//! A host that is root starts each box as the box's user, without a user namespace; a host that is an
//! ordinary user starts it as itself, in one. A box is a process of its own and outlives the host; what
//! the next host needs is in one record per box. It never runs a box that was not checked first: see
//! `launch.rs`, then `arguments.rs` for what a box contains.

mod arguments;
mod filter;
mod groups;
mod launch;
mod orphan;
mod provide;
mod record;

use async_trait::async_trait;
use groups::Groups;
use launch::Launcher;
use nanoclaw_driver::cgroup::{self, Cpu};
use nanoclaw_driver::process::ProcessId;
use nanoclaw_driver::provide::{Progress, Provided, Wanted};
use nanoclaw_driver::{
    BoxSpec, Driver, DriverContext, DriverDef, DriverError, Exit, Limits, Probe, Running, Signal,
    Strain, check,
};
use record::{Record, Status, status_path};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The driver `bubblewrap`.
pub const DRIVER: DriverDef = DriverDef { name: "bubblewrap", make };

const NAME: &str = "bubblewrap";
/// How long what surrounds a box may take to follow it.
const AFTERMATH: Duration = Duration::from_secs(3);
const AFTERMATH_STEP: Duration = Duration::from_millis(5);

struct Bubblewrap {
    state: PathBuf,
    bwrap: PathBuf,
    filters: [Vec<u8>; 2],
}

fn make(context: &DriverContext) -> Result<Arc<dyn Driver>, DriverError> {
    let other = |e: std::io::Error| DriverError::Other(format!("bubblewrap: {e}"));
    if let Some(runtime) = context.runtimes.values().next() {
        return Err(DriverError::Unavailable(format!(
            "bubblewrap has no runtime {runtime:?}; use a container engine, or take it out"
        )));
    }
    let state = context.state.join(NAME);
    std::fs::create_dir_all(&state).map_err(other)?;
    let bwrap = ["/usr/bin/bwrap", "/bin/bwrap", "/usr/local/bin/bwrap"].map(PathBuf::from);
    let bwrap = bwrap.into_iter().find(|path| path.exists()).ok_or_else(|| {
        DriverError::Unavailable("bwrap is missing; install the package bubblewrap".into())
    })?;
    Ok(Arc::new(Bubblewrap { state, bwrap, filters: filter::compile().map_err(other)? }))
}

#[async_trait]
impl Driver for Bubblewrap {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn probe(&self) -> Result<Probe, DriverError> {
        let run = |arguments: &'static [&'static str]| {
            let mut command = tokio::process::Command::new(&self.bwrap);
            async move {
                let output = command.args(arguments).output().await;
                output.map_err(|e| DriverError::Unavailable(format!("bwrap does not run: {e}")))
            }
        };
        let trial =
            ["--unshare-pid", "--unshare-net", "--ro-bind", "/", "/", "/bin/true"].as_slice();
        let trial = run(trial).await?;
        if !trial.status.success() {
            let said = String::from_utf8_lossy(&trial.stderr);
            return Err(DriverError::Unavailable(format!(
                "bwrap may not make namespaces here ({}); allow user namespaces or use docker",
                said.trim()
            )));
        }
        let version = String::from_utf8_lossy(&run(&["--version"]).await?.stdout).trim().to_owned();
        let help = run(&["--help"]).await?;
        if !String::from_utf8_lossy(&help.stdout).contains("--bind-fd")
            && !String::from_utf8_lossy(&help.stderr).contains("--bind-fd")
        {
            return Err(DriverError::Unavailable(format!("{version} has no --bind-fd; update it")));
        }
        if rustix::process::geteuid().is_root() && arguments::setpriv().is_none() {
            return Err(DriverError::Unavailable("setpriv is missing; install util-linux".into()));
        }
        let name = format!("probe-{}", std::process::id());
        let limits = Limits::default();
        let mut groups = Groups::make(&name, &limits);
        if let Err(e) = Cpu::new(groups.dirs.clone(), limits.cpu_millis).give_way(true) {
            groups.missing.push(format!("a greedy box does not give way: {e}"));
        }
        cgroup::remove(&groups.dirs);
        // In a user namespace a limit per process (see `launch.rs`) counts for the box alone.
        let root = rustix::process::geteuid().is_root();
        groups.missing.retain(|lack| root || !lack.starts_with("no limit on pids"));
        Ok(Probe { version, missing: groups.missing })
    }

    async fn start(&self, spec: &BoxSpec) -> Result<(), DriverError> {
        check::plan(spec)?;
        match Record::load(&self.state, &spec.name) {
            Ok(old) if old.first.lives() => {
                return Err(DriverError::Start(format!("a box {} runs already", spec.name)));
            }
            Ok(old) => self.bury(&old).await,
            Err(_) => {}
        }
        let (state, bwrap, filters) =
            (self.state.clone(), self.bwrap.clone(), self.filters.clone());
        let spec = spec.clone();
        let run = move || Launcher { bwrap: &bwrap, state: &state, filters: &filters }.run(&spec);
        let done = tokio::task::spawn_blocking(run).await;
        done.map_err(|e| DriverError::Other(format!("bubblewrap: {e}")))?
    }

    async fn signal(&self, name: &str, signal: Signal) -> Result<(), DriverError> {
        use rustix::process::Signal as Unix;
        let gone = || DriverError::Gone(name.to_owned());
        let first = Record::load(&self.state, name)?.first.open().ok_or_else(gone)?;
        let signal = match signal {
            Signal::Interrupt => Unix::USR1,
            Signal::Terminate => Unix::TERM,
            Signal::Kill => Unix::KILL,
        };
        rustix::process::pidfd_send_signal(first, signal).map_err(|_| gone())
    }

    async fn wait(&self, name: &str) -> Result<Exit, DriverError> {
        let record = Record::load(&self.state, name)?;
        // Held open from here: another waiter may bury the box first.
        let status = File::open(status_path(&self.state, name));
        ended(&record.first).await?;
        for helper in &record.helpers {
            // The exit code and the last output come with their end, unless someone stopped them.
            if let Ok(end) = tokio::time::timeout(AFTERMATH, ended(helper)).await {
                end?;
            }
        }
        self.bury(&record).await;
        let status = status.map(|mut file| Status::read(&mut file)).unwrap_or_default();
        Ok(Exit {
            code: status.exit_code,
            out_of_memory: status.out_of_memory && status.exit_code != Some(0),
            tail: check::tail(&record.log),
        })
    }

    async fn strain(&self, name: &str) -> Result<Strain, DriverError> {
        let record = Record::load(&self.state, name)?;
        Ok(cgroup::strain(&record.groups, &record.log.with_extension("log.1")))
    }

    async fn cpu(&self, name: &str) -> Option<Cpu> {
        let record = Record::load(&self.state, name).ok()?;
        Some(Cpu::new(record.groups, record.limits.cpu_millis))
    }

    async fn provide(
        &self,
        wanted: &Wanted,
        progress: Progress<'_>,
    ) -> Result<Provided, DriverError> {
        provide::provide(&self.bwrap, wanted, progress).await
    }

    async fn tidy(&self, wanted: &Wanted, keep: &Provided) -> Result<(), DriverError> {
        let (wanted, keep) = (wanted.clone(), keep.clone());
        let done = tokio::task::spawn_blocking(move || provide::tidy(&wanted, &keep)).await;
        let other = |e: std::io::Error| DriverError::Other(format!("bubblewrap: {e}"));
        done.map_err(|e| other(e.into()))?.map_err(other)
    }

    async fn list(&self, install: &str) -> Result<Vec<Running>, DriverError> {
        orphan::remove(&self.state).await;
        let mut running = Vec::new();
        for record in Record::all(&self.state)?.into_iter().filter(|r| r.install == install) {
            let orphan = !record.starter.as_ref().is_some_and(ProcessId::lives);
            if record.first.lives() && (record.admitted || !orphan) {
                let session = record.session.parse().ok();
                running.push(Running { name: record.name, session });
            } else if orphan {
                // It ended, or never began, while no host lived that would have waited for it.
                launch::kill(&record.first);
                ended(&record.first).await?;
                self.bury(&record).await;
            }
        }
        Ok(running)
    }
}

impl Bubblewrap {
    async fn bury(&self, record: &Record) {
        let done = async {
            while !record.bury(&self.state) {
                tokio::time::sleep(AFTERMATH_STEP).await;
            }
        };
        if tokio::time::timeout(AFTERMATH, done).await.is_err() {
            tracing::warn!(name = record.name, "the remains of a box cannot be removed");
        }
    }
}

/// Returns when the process is gone, child of ours or not.
async fn ended(process: &ProcessId) -> Result<(), DriverError> {
    let Some(handle) = process.open() else { return Ok(()) };
    let other = |e: std::io::Error| DriverError::Other(format!("cannot wait for a box: {e}"));
    #[expect(
        deprecated,
        reason = "its successor is unsafe for the sake of types that are not OwnedFd"
    )]
    let handle = AsyncFd::with_interest(handle, Interest::READABLE).map_err(other)?;
    handle.readable().await.map(drop).map_err(other)
}
