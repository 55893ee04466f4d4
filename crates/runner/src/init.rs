//! Process 1 of the box: starts the runner as its child, forwards signals to it, and buries the dead.
//!
//! The runner itself is a child, so that the two kinds of children never mix: whatever loses its
//! parent in the box comes to process 1 and is reaped there, while the runner alone waits for the
//! processes that it started.

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use std::io;
use std::process::{Command, ExitCode};
use tokio::signal::unix::{SignalKind, signal};

/// Set for the runner below process 1.
pub(crate) const CHILD: &str = "NANOCLAW_RUNNER_CHILD";

/// Whether this process has to be the init of its box.
pub(crate) fn is_wanted() -> bool {
    std::process::id() == 1 && std::env::var_os(CHILD).is_none()
}

/// Runs the runner as a child until it ends.
pub(crate) async fn run() -> io::Result<ExitCode> {
    let mut child_died = signal(SignalKind::child())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut user1 = signal(SignalKind::user_defined1())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut args = std::env::args_os().skip(1);
    let child = Command::new(std::env::current_exe()?).args(&mut args).env(CHILD, "1").spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("the runner has no process id"))?;
    loop {
        let forward = tokio::select! {
            _ = child_died.recv() => None,
            _ = terminate.recv() => Some(Signal::TERM),
            _ = interrupt.recv() => Some(Signal::INT),
            _ = user1.recv() => Some(Signal::USR1),
            _ = hangup.recv() => Some(Signal::TERM),
        };
        if let Some(signal) = forward {
            kill_process(pid, signal).ok();
        }
        if let Some(status) = reap(pid) {
            return Ok(code(status));
        }
    }
}

/// Buries everybody who died; the runner's own end is returned.
fn reap(runner: Pid) -> Option<WaitStatus> {
    let mut end = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == runner {
            end = Some(status);
        }
    }
    end
}

fn code(status: WaitStatus) -> ExitCode {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    };
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
