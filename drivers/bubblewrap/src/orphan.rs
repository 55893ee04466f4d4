//! Boxes whose host died before it could put them on record.
//!
//! Between the start of `bwrap` and the record of the box nothing is known of it but what it carries
//! itself: its name and who started it, where other programs have theirs. Such a box waits at its gate and
//! would wait for ever.

use crate::record::status_path;
use crate::{groups, launch};
use nanoclaw_driver::cgroup;
use nanoclaw_driver::process::ProcessId;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// What `bwrap` is called in the list of processes.
const MARK: &str = "nanoclaw-box";
/// How long its control groups may be busy after it was killed.
const PATIENCE: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(5);

/// The name under which `bwrap` runs for this box.
pub(crate) fn mark(name: &str) -> String {
    let (pid, born) = ProcessId::me().map(|me| (me.pid, me.born)).unwrap_or_default();
    format!("{MARK} {pid} {born} {name}")
}

/// Kills what waits for a host that is dead, and removes what it left.
pub(crate) async fn remove(state: &Path) {
    let Ok(entries) = fs::read_dir("/proc") else { return };
    let pids = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    let mut names = BTreeSet::new();
    for (process, name) in pids.filter_map(waiting) {
        // Another install has its own state, and a box on record has other ways to go.
        let recorded = state.join(format!("{name}.json")).exists();
        if !recorded && status_path(state, &name).exists() {
            launch::kill(&process);
            names.insert(name);
        }
    }
    for name in names {
        tracing::warn!(name, "a box that never began was removed");
        let groups = groups::dirs(&name);
        let until = Instant::now() + PATIENCE;
        while !cgroup::remove(&groups) && Instant::now() < until {
            tokio::time::sleep(STEP).await;
        }
        if let Err(e) = fs::remove_file(status_path(state, &name)) {
            tracing::debug!(name, "{e}");
        }
    }
}

/// The process and the name of its box, if its starter is dead.
fn waiting(pid: i32) -> Option<(ProcessId, String)> {
    let process = ProcessId::of(pid)?;
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let called = std::str::from_utf8(line.split(|b| *b == 0).next()?).ok()?;
    let mut words = called.strip_prefix(MARK)?.split_whitespace();
    let starter = ProcessId { pid: words.next()?.parse().ok()?, born: words.next()?.to_owned() };
    let name = words.next().filter(|name| nanoclaw_driver::check::is_name(name))?;
    (!starter.lives()).then(|| (process, name.to_owned()))
}
