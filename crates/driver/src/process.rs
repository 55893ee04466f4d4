//! A process that cannot be mistaken for a later one with the same number.
//!
//! Never keep a bare pid: numbers are used again, by the agent's own doing if it likes.

use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use std::fs;

/// A number and when it was born.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: i32,
    /// Boot of the machine and tick of its start.
    pub born: String,
}

impl ProcessId {
    /// The process that has this number now; none if there is none or it is dead and only not buried.
    pub fn of(pid: i32) -> Option<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses is the process's own choice and may hold anything.
        let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
        let state = fields.next()?;
        let tick = fields.nth(18)?;
        (!matches!(state, "Z" | "X")).then(|| Self { pid, born: format!("{}/{tick}", boot.trim()) })
    }

    /// This process.
    pub fn me() -> Option<Self> {
        Self::of(i32::try_from(std::process::id()).ok()?)
    }

    /// Whether it lives.
    pub fn lives(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// A handle that stays with it; none if it is gone.
    pub fn open(&self) -> Option<OwnedFd> {
        let handle = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        self.lives().then_some(handle)
    }
}
