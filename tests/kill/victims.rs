//! Finds the processes of an install: its vault, its boxes, what is in them.

use nanoclaw_driver::process::ProcessId;
use nanoclaw_tests::rig::Rig;
use rustix::process::{Signal, pidfd_send_signal};
use serde_json::Value;

/// A box, as its driver has it on record.
pub(super) struct Box_ {
    /// PID 1 of the box: the runner's init.
    pub(super) first: ProcessId,
    /// What stands around it.
    helpers: Vec<ProcessId>,
}

/// The boxes that run now.
pub(super) fn boxes(rig: &Rig) -> Vec<Box_> {
    let Ok(entries) = std::fs::read_dir(rig.data().join("boxes/bubblewrap")) else {
        return Vec::new();
    };
    let files =
        entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "json"));
    // A record may go away at any moment.
    let records = files.filter_map(|path| Box_::read(&std::fs::read(path).ok()?));
    records.filter(|b| b.first.lives()).collect()
}

/// The host's vault.
pub(super) fn vault(rig: &Rig) -> Option<ProcessId> {
    let host = i32::try_from(rig.pid()?).ok()?;
    children(host).into_iter().find(|pid| {
        let line = std::fs::read(format!("/proc/{}/cmdline", pid.pid)).unwrap_or_default();
        line.split(|b| *b == 0).any(|argument| argument == b"vault")
    })
}

/// Every child of a process.
pub(super) fn children(pid: i32) -> Vec<ProcessId> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists =
        threads.flatten().filter_map(|t| std::fs::read_to_string(t.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|n| ProcessId::of(n.parse().ok()?))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Processes that are still about a box of this install, as they call themselves.
pub(super) fn left(rig: &Rig) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let lines = entries.flatten().filter_map(|e| std::fs::read(e.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(&format!("nanoclaw-{}-", rig.run.install))).collect()
}

/// Kills a process without warning; says whether it was still there.
pub(super) fn kill(victim: &ProcessId) -> bool {
    victim.open().is_some_and(|handle| pidfd_send_signal(handle, Signal::KILL).is_ok())
}

impl Box_ {
    /// Reads the record of a box that was let run.
    fn read(record: &[u8]) -> Option<Self> {
        let mut record: Value = serde_json::from_slice(record).ok()?;
        let mut take = |field: &str| record.get_mut(field).map(Value::take);
        let admitted = take("admitted")?.as_bool()?;
        let first = serde_json::from_value(take("first")?).ok()?;
        let helpers = serde_json::from_value(take("helpers")?).ok()?;
        admitted.then_some(Self { first, helpers })
    }

    /// Kills PID 1, and with it everything in the box.
    pub(super) fn kill_init(&self) -> bool {
        kill(&self.first)
    }

    /// Kills the runner below PID 1.
    pub(super) fn kill_runner(&self) -> bool {
        children(self.first.pid).first().is_some_and(kill)
    }

    /// Kills everything: what the box is made of first, then what is in it.
    pub(super) fn kill_all(&self) -> bool {
        self.helpers.iter().chain([&self.first]).filter(|p| kill(p)).count() > 0
    }
}
