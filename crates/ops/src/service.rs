//! Start and stop of the host.
//!
//! A host holds a lock on `<data>/run/host.lock` for as long as it lives, so that two of them never share
//! an install; the lock file says which process it is. `<data>/run/host.json` says that it takes messages.

pub mod pace;

use crate::{During as _, Error, logs};
use nanoclaw_contract::time::{Clock, Timestamp};
use rustix::fs::FlockOperation;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const READY_WITHIN: Duration = Duration::from_secs(30);
const STOPPED_WITHIN: Duration = Duration::from_secs(30);
/// How long a new host waits for somebody who only looks at the lock.
const LOCK_WITHIN: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Lines of the log that an error shows.
const LOG_LINES: usize = 15;

/// A host that lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its process.
    pub pid: i32,
    /// Since when.
    pub started_at: Timestamp,
}

/// Held by a host as long as it lives.
#[derive(Debug)]
pub struct Lock {
    /// Open, hence locked.
    _file: File,
    host: Host,
    ready: PathBuf,
}

fn lock_file(data: &Path) -> PathBuf {
    data.join("run/host.lock")
}

fn ready_file(data: &Path) -> PathBuf {
    data.join("run/host.json")
}

impl Lock {
    /// Makes this process the host of the install; refuses while another one is.
    pub fn take(data: &Path, clock: &dyn Clock) -> Result<Self, Error> {
        let path = lock_file(data);
        let run = data.join("run");
        std::fs::create_dir_all(&run).during(format_args!("create {}", run.display()))?;
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .during(format_args!("open {}", path.display()))?;
        let exclusive = FlockOperation::NonBlockingLockExclusive;
        if !wait_until(LOCK_WITHIN, || rustix::fs::flock(&file, exclusive).is_ok()) {
            let who =
                running(data).map_or(String::new(), |host| format!(" (process {})", host.pid));
            return Err(Error::new(format!("this install already has a host that runs{who}"))
                .next("nanoclaw status"));
        }
        match std::fs::remove_file(ready_file(data)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(e).during("remove an old host.json");
            }
            _ => {}
        }
        let me = Host { pid: pid_of(std::process::id())?, started_at: clock.now() };
        let text = serde_json::to_string(&me).during("describe this host")?;
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .during(format_args!("write {}", path.display()))?;
        Ok(Self { _file: file, host: me, ready: ready_file(data) })
    }

    /// Says that this host takes messages now.
    pub fn ready(&self) -> Result<(), Error> {
        let text = serde_json::to_string(&self.host).during("describe this host")?;
        let next = self.ready.with_extension("new");
        std::fs::write(&next, text)
            .and_then(|()| std::fs::rename(&next, &self.ready))
            .during(format_args!("write {}", self.ready.display()))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Without the lock it means nothing, so it may also stay.
        drop(std::fs::remove_file(&self.ready));
    }
}

/// The host that runs, if one does.
pub fn running(data: &Path) -> Option<Host> {
    let mut file = File::open(lock_file(data)).ok()?;
    let shared = FlockOperation::NonBlockingLockShared;
    // Only a host holds it exclusively, so a lock that can be had means that there is none.
    if rustix::fs::flock(&file, shared).is_ok() {
        return None;
    }
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Whether the running host takes messages.
pub fn is_ready(data: &Path) -> bool {
    let (Some(host), Ok(text)) = (running(data), std::fs::read_to_string(ready_file(data))) else {
        return false;
    };
    let ready: Option<i64> =
        serde_json::from_str::<serde_json::Value>(&text).ok().and_then(|v| v.get("pid")?.as_i64());
    ready == Some(i64::from(host.pid))
}

/// How a start ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// It runs now.
    Now(Host),
    /// It ran before.
    Before(Host),
}

/// Starts the host in the background with `command` and returns when it is ready.
pub fn start(data: &Path, log_dir: &Path, mut command: Command) -> Result<Started, Error> {
    if let Some(host) = running(data) {
        return Ok(Started::Before(host));
    }
    let log = logs::open(log_dir)?;
    let errors = log.try_clone().during("open the log twice")?;
    let mut child =
        command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().during("start the host")?;
    let mut ended = None;
    wait_until(READY_WITHIN, || {
        ended = child.try_wait().ok().flatten();
        ended.is_some() || is_ready(data)
    });
    // Two starts at once: one of the two hosts ends, and both callers get the other.
    if ended.is_some() && running(data).is_some() {
        wait_until(READY_WITHIN, || is_ready(data) || running(data).is_none());
    }
    match (ended, running(data)) {
        (None, Some(host)) if is_ready(data) => Ok(Started::Now(host)),
        (Some(_), Some(host)) if is_ready(data) => Ok(Started::Before(host)),
        (ended, _) => Err(not_ready(&mut child, ended, log_dir)),
    }
}

fn not_ready(child: &mut Child, ended: Option<std::process::ExitStatus>, log_dir: &Path) -> Error {
    let what = match ended {
        Some(status) => format!("the host ended at once ({status})"),
        None => {
            // It is stopped, so that the next try does not meet a half-started one.
            let killed = child.kill().and_then(|()| child.wait());
            let left = if killed.is_ok() { "" } else { " and could not be ended" };
            format!("the host was not ready after {} s{left}", READY_WITHIN.as_secs())
        }
    };
    let log = logs::path(log_dir);
    let tail = logs::tail(&log, LOG_LINES);
    Error::new(format!("{what}; the end of its log:\n{tail}"))
        .next(format!("correct that and run `nanoclaw start`; the whole log: {}", log.display()))
}

/// Asks the running host to end, waits, kills it in the end; `None` if there was none.
pub fn stop(data: &Path) -> Result<Option<Host>, Error> {
    let Some(host) = running(data) else { return Ok(None) };
    let gone = || running(data).is_none_or(|now| now.pid != host.pid);
    let Some(pid) = Pid::from_raw(host.pid) else {
        return Err(Error::new(format!("{} names no process", lock_file(data).display())));
    };
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
        return if wait_until(LOCK_WITHIN, gone) { Ok(Some(host)) } else { Err(stuck(&host)) };
    };
    // The number could have been reused between the look and the handle; the lock tells.
    if gone() {
        return Ok(Some(host));
    }
    for (signal, within) in [(Signal::TERM, STOPPED_WITHIN), (Signal::KILL, LOCK_WITHIN * 5)] {
        match pidfd_send_signal(&handle, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(e) => return Err(Error::new(format!("signal process {}: {e}", host.pid))),
        }
        if wait_until(within, gone) {
            return Ok(Some(host));
        }
    }
    Err(stuck(&host))
}

fn stuck(host: &Host) -> Error {
    Error::new(format!("process {} does not end", host.pid)).next("nanoclaw logs")
}

fn pid_of(raw: u32) -> Result<i32, Error> {
    i32::try_from(raw).during("own process number")
}

/// Looks until `done`; says whether it came to that in time.
fn wait_until(within: Duration, mut done: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if done() {
            return true;
        }
        if begun.elapsed() > within {
            return false;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests;
