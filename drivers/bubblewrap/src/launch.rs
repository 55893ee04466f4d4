//! One start, from plan to a first process that runs.
//!
//! `bwrap` builds the box and stops before it runs anything in it. In that moment its mounts are
//! compared with the plan and its limits are set; only then it is let go. It waits on a pipe that it
//! holds open itself: if the host dies meanwhile, the box never runs, and the next host removes it, by
//! its record or, before there is one, by its mark (`orphan.rs`).

use crate::arguments::{self, Arguments};
use crate::groups::Groups;
use crate::orphan;
use crate::record::{Record, Status, status_path};
use command_fds::CommandFdExt as _;
use nanoclaw_driver::process::ProcessId;
use nanoclaw_driver::profile::OOM_SCORE;
use nanoclaw_driver::{BoxSpec, DriverError, check};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, pidfd_send_signal, prlimit};
use std::fs::{self, File};
use std::io::{PipeReader, Read as _, Result, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

const PATIENCE: Duration = Duration::from_secs(5);
const GLANCE: Duration = Duration::from_micros(200);
/// Copies the log and turns it over at 4 MiB (`ulimit -f` counts 512 bytes), so that two files never
/// hold more than 8 MiB and always the newest. A process of its own, so that it works while no host
/// does, and slow on purpose: at 20 MiB a second it is the box that waits, not the machine. What was in its hand at the turn (at most 128 KiB) is lost.
const COPIER: &str = "ulimit -c 0; ulimit -f 8192; \
    until cat >>\"$1\"; do mv -f -- \"$1\" \"$1.1\" || exec cat >/dev/null; sleep 0.2; done";

/// What every start of a driver shares.
pub(crate) struct Launcher<'a> {
    pub(crate) bwrap: &'a Path,
    pub(crate) state: &'a Path,
    pub(crate) filters: &'a [Vec<u8>; 2],
}

/// The parts of a box that is about to run.
struct Birth {
    first: ProcessId,
    monitor: Child,
    copier: Child,
    /// One byte here lets it go.
    gate: File,
}

impl Launcher<'_> {
    /// Starts a box. Blocks for some milliseconds; runs on a thread that may.
    pub(crate) fn run(&self, spec: &BoxSpec) -> std::result::Result<(), DriverError> {
        let root = rustix::process::geteuid().is_root();
        let own = rustix::process::geteuid().as_raw();
        if !root && spec.user.uid != own {
            let uid = spec.user.uid;
            let why = format!("user {own} cannot run a box as user {uid}, only as itself");
            return Err(DriverError::Start(why));
        }
        let pins = check::sources(spec)?;
        let again = pins.iter().map(OwnedFd::try_clone).collect::<Result<_>>().map_err(start)?;
        let mut birth = self.spawn(spec, again, root)?;
        let helpers = [&birth.monitor, &birth.copier].into_iter();
        let helpers = helpers.filter_map(|c| ProcessId::of(i32::try_from(c.id()?).ok()?)).collect();
        let mut record = Record::new(spec, birth.first.clone(), helpers);
        let done = self.admit(spec, &pins, &mut record, &mut birth.gate);
        match &done {
            Ok(()) => {
                tokio::spawn(
                    async move { (birth.monitor.wait().await, birth.copier.wait().await) },
                );
            }
            Err(_) => self.abandon(&record, &mut birth),
        }
        // An end at once explains itself in the log, which is complete only now.
        done.map_err(|e| match (e, check::tail(&spec.log)) {
            (DriverError::Start(why), tail) if !tail.is_empty() => {
                DriverError::Start(format!("{why}: {}", tail.trim_end()))
            }
            (e, _) => e,
        })
    }

    fn spawn(
        &self,
        spec: &BoxSpec,
        pins: Vec<OwnedFd>,
        root: bool,
    ) -> std::result::Result<Birth, DriverError> {
        let command = arguments::command(spec, root)?;
        let (mut info, gate, mut bwrap, output) = self.prepare(spec, pins, root).map_err(start)?;
        let mut copier = copy(&spec.log, output).map_err(start)?;
        bwrap.arg("--").args(command);
        let monitor = bwrap.spawn();
        // The command holds the far ends of the pipes; without this no end would ever be seen.
        drop(bwrap);
        let mut monitor = monitor.map_err(start)?;
        if let Some(first) = first_process(&mut info) {
            return Ok(Birth { first, monitor, copier, gate });
        }
        finish(&mut monitor, &mut copier);
        Err(DriverError::Start(format!("bwrap gave up: {}", check::tail(&spec.log).trim_end())))
    }

    /// Everything up to the spawn: where `bwrap` reports, the gate, its command, its output.
    fn prepare(
        &self,
        spec: &BoxSpec,
        pins: Vec<OwnedFd>,
        root: bool,
    ) -> Result<(File, File, Command, PipeReader)> {
        let mut arguments = Arguments::default();
        arguments.profile(spec, root);
        arguments.root(spec, pins)?;
        let (info, info_there) = pipe_with(PipeFlags::CLOEXEC)?;
        let (gate_there, gate) = pipe_with(PipeFlags::CLOEXEC)?;
        // Opened for both, so that the box itself keeps the pipe from ending.
        let both = OFlags::RDWR | OFlags::CLOEXEC;
        let path = format!("/proc/self/fd/{}", gate_there.as_raw_fd());
        let gate_there = openat(CWD, path, both, Mode::empty())?;
        let status =
            File::options().create(true).append(true).open(status_path(self.state, &spec.name))?;
        for (option, fd) in [
            ("--info-fd", info_there),
            ("--block-fd", gate_there),
            ("--json-status-fd", status.into()),
        ] {
            let fd = arguments.fd(fd);
            arguments.push(&[option, &fd]);
        }
        for filter in self.filters {
            let fd = arguments.data(filter)?;
            arguments.push(&["--add-seccomp-fd", &fd]);
        }
        let all = arguments.seal()?;
        arguments.cover()?;
        let (output, output_there) = std::io::pipe()?;
        let mut bwrap = Command::new(self.bwrap);
        bwrap.arg0(orphan::mark(&spec.name)).env_clear().args(["--args", &all]).process_group(0);
        bwrap.stdin(Stdio::null()).stdout(output_there.try_clone()?).stderr(output_there);
        bwrap.fd_mappings(arguments.fds).map_err(std::io::Error::other)?;
        Ok((info.into(), gate.into(), bwrap, output))
    }

    /// Checks and limits the box that stands at the gate, lets it go, and sees it run.
    fn admit(
        &self,
        spec: &BoxSpec,
        pins: &[OwnedFd],
        record: &mut Record,
        gate: &mut File,
    ) -> std::result::Result<(), DriverError> {
        let first = record.first.clone();
        record.save(self.state).map_err(start)?;
        let groups = Groups::make(&spec.name, &spec.limits);
        groups.enter(first.pid).map_err(DriverError::Start)?;
        limit(first.pid, spec, &groups).map_err(start)?;
        // Not yet as planned means not yet built, until time is up.
        await_that(&first, || check::mounts(first.pid, spec, pins, arguments::OWN))?;
        record.admitted = true;
        record.save(self.state).map_err(start)?;
        gate.write_all(b"!").map_err(start)?;
        let seen = await_that(&first, || {
            match fs::read_link(format!("/proc/{}/exe", first.pid)) {
                Ok(exe) if exe.ends_with("bwrap") || exe.ends_with("setpriv") => {
                    return Err("its command does not start".into());
                }
                // A dead process still has the right rights.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err("gone".into()),
                Ok(_) | Err(_) => {}
            }
            check::privileges(first.pid, spec.user)
        });
        match seen {
            // It may have done its work already; whoever waits for it will be told.
            Err(DriverError::Start(why)) => match self.ended_itself(record) {
                true => Ok(()),
                false => Err(DriverError::Start(why)),
            },
            other => other,
        }
    }

    /// Whether the command ran and ended, as opposed to never having run.
    fn ended_itself(&self, record: &Record) -> bool {
        let until = Instant::now() + PATIENCE;
        while record.helpers.iter().any(ProcessId::lives) && Instant::now() < until {
            std::thread::sleep(GLANCE);
        }
        let status = File::open(status_path(self.state, &record.name));
        let code = status.map(|mut file| Status::read(&mut file).exit_code).unwrap_or_default();
        let said = check::tail(&record.log);
        code.is_some() && !["bwrap: ", "setpriv: "].iter().any(|who| said.contains(who))
    }

    fn abandon(&self, record: &Record, birth: &mut Birth) {
        kill(&birth.first);
        finish(&mut birth.monitor, &mut birth.copier);
        let until = Instant::now() + PATIENCE;
        while !record.bury(self.state) && Instant::now() < until {
            std::thread::sleep(GLANCE);
        }
    }
}

/// Kills a box, if it still is the one that was meant.
pub(crate) fn kill(first: &ProcessId) {
    if let Some(handle) = first.open()
        && let Err(e) = pidfd_send_signal(handle, Signal::KILL)
    {
        tracing::debug!("kill: {e}");
    }
}

fn start(e: impl std::fmt::Display) -> DriverError {
    DriverError::Start(e.to_string())
}

fn copy(log: &Path, output: PipeReader) -> Result<Child> {
    File::options().create(true).append(true).open(log)?;
    let mut copier = Command::new("/bin/sh");
    copier.env_clear().env("PATH", "/usr/bin:/bin").process_group(0);
    copier.args(["-c", COPIER, "log"]).arg(log);
    copier.stdin(output).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

/// The first process of the box, as soon as `bwrap` says it; none if `bwrap` ends instead.
fn first_process(info: &mut File) -> Option<ProcessId> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Info {
        child_pid: i32,
    }
    let mut text = Vec::new();
    let patience = Timespec::try_from(PATIENCE).ok()?;
    while !text.contains(&b'}') {
        let mut chunk = [0; 512];
        poll(&mut [PollFd::new(info, PollFlags::IN)], Some(&patience)).ok().filter(|n| *n > 0)?;
        match info.read(&mut chunk).ok()? {
            0 => return None,
            n => text.extend_from_slice(&chunk[..n]),
        }
    }
    ProcessId::of(serde_json::from_slice::<Info>(&text).ok()?.child_pid)
}

fn limit(pid: i32, spec: &BoxSpec, groups: &Groups) -> Result<()> {
    let set = |resource, limit: u64| {
        // An ordinary user may only lower them.
        let limit = getrlimit(resource).maximum.map_or(limit, |max| max.min(limit));
        prlimit(Pid::from_raw(pid), resource, Rlimit { current: Some(limit), maximum: Some(limit) })
    };
    set(Resource::Core, 0)?;
    set(Resource::Nofile, u64::from(spec.limits.open_files))?;
    if !groups.pids && !rustix::process::geteuid().is_root() {
        // Counted per user namespace, so this one is the box's own. For root it would be shared.
        set(Resource::Nproc, u64::from(spec.limits.pids))?;
    }
    for lack in &groups.missing {
        tracing::debug!(name = spec.name, "{lack}");
    }
    fs::write(format!("/proc/{pid}/oom_score_adj"), OOM_SCORE.to_string())
}

/// Looks until `look` is content. An end is a failed start; discontent that lasts is not as planned.
fn await_that(
    first: &ProcessId,
    look: impl Fn() -> std::result::Result<(), String>,
) -> std::result::Result<(), DriverError> {
    let until = Instant::now() + PATIENCE;
    loop {
        let said = look();
        match said {
            Ok(()) => return Ok(()),
            Err(_) if !first.lives() => {
                return Err(DriverError::Start("it ended at once".into()));
            }
            Err(why) if Instant::now() > until => return Err(DriverError::NotAsPlanned(why)),
            Err(_) => std::thread::sleep(GLANCE),
        }
    }
}

/// Kills `bwrap`, and waits for it and for the copier to have written the rest.
fn finish(monitor: &mut Child, copier: &mut Child) {
    let ends = async {
        tokio::time::timeout(PATIENCE, async { (monitor.kill().await, copier.wait().await) }).await
    };
    if tokio::runtime::Handle::current().block_on(ends).is_err() {
        tracing::warn!("a part of a box that did not start does not end");
    }
}
