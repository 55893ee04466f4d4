//! Limits through control groups, version 1 or 2, where this process may make them.
//!
//! The groups of a box lie beside the host's own, not in it: whoever stops the host's service must not
//! stop the boxes. What cannot be limited is said, never ignored.

use nanoclaw_driver::Limits;
use nanoclaw_driver::cgroup::{PERIOD_US, ROOT, SHARES, WEIGHT, quota_us};
use std::fs;
use std::path::{Path, PathBuf};

const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];
/// What counts CPU time in version 1.
const COUNTER: &str = "cpuacct";

/// The groups of one box.
pub(crate) struct Groups {
    pub(crate) dirs: Vec<PathBuf>,
    /// What is not limited, and why.
    pub(crate) missing: Vec<String>,
    /// Whether the number of processes is limited.
    pub(crate) pids: bool,
}

/// Where the groups of box `name` are, or would be, by controller.
fn places(name: &str) -> (bool, Vec<(&'static str, PathBuf)>) {
    let unified = Path::new(ROOT).join("cgroup.controllers").exists();
    let dir = format!("nanoclaw-{name}");
    let places = match unified {
        true => unified_parent().map(|parent| CONTROLLERS.map(|c| (c, parent.join(&dir))).to_vec()),
        // First, so that the limits stay where the two are one.
        false => Some(
            [COUNTER]
                .iter()
                .chain(&CONTROLLERS)
                .map(|c| (*c, Path::new(ROOT).join(c).join(&dir)))
                .collect(),
        ),
    };
    (unified, places.unwrap_or_default())
}

/// All of them.
pub(crate) fn dirs(name: &str) -> Vec<PathBuf> {
    let mut dirs: Vec<_> = places(name).1.into_iter().map(|(_, dir)| dir).collect();
    dirs.dedup();
    dirs
}

impl Groups {
    /// Makes the groups of box `name` with its limits.
    pub(crate) fn make(name: &str, limits: &Limits) -> Self {
        let mut groups = Self { dirs: Vec::new(), missing: Vec::new(), pids: false };
        let (unified, places) = places(name);
        for (controller, dir) in &places {
            let known = groups.dirs.contains(dir);
            let made =
                if known { Ok(()) } else { make(dir).map(|()| groups.dirs.push(dir.clone())) };
            let done = made.and_then(|()| {
                settings(controller, limits, unified).into_iter().try_for_each(|(file, value)| {
                    fs::write(dir.join(file), value).map_err(|e| format!("{file}: {e}"))
                })
            });
            match done {
                Ok(()) => groups.pids |= *controller == "pids",
                Err(why) => groups.missing.push(format!("no limit on {controller}: {why}")),
            }
        }
        if places.is_empty() {
            let why = "no group above this process may be changed by it";
            groups.missing.extend(CONTROLLERS.map(|c| format!("no limit on {c}: {why}")));
        }
        groups
    }

    /// Moves a process in; its children follow.
    pub(crate) fn enter(&self, pid: i32) -> Result<(), String> {
        self.dirs.iter().try_for_each(|dir| {
            fs::write(dir.join("cgroup.procs"), pid.to_string())
                .map_err(|e| format!("cannot enter {}: {e}", dir.display()))
        })
    }
}

fn make(dir: &Path) -> Result<(), String> {
    // One that was left behind is empty and can go; one that cannot go is somebody else's.
    fs::create_dir(dir)
        .or_else(|_| fs::remove_dir(dir).and_then(|()| fs::create_dir(dir)))
        .map_err(|e| format!("{}: {e}", dir.display()))
}

/// The nearest group that may have limited children: for root the top; for others the first one above
/// this process that takes the controllers (a group with processes of its own does not).
fn unified_parent() -> Option<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mine = match rustix::process::geteuid().is_root() {
        true => PathBuf::from(ROOT),
        false => Path::new(ROOT).join(own),
    };
    mine.ancestors().take_while(|dir| dir.starts_with(ROOT)).find_map(|dir| {
        let control = dir.join("cgroup.subtree_control");
        for controller in CONTROLLERS {
            // A controller that is not there shows below, as a setting that cannot be written.
            if fs::write(&control, format!("+{controller}")).is_err() {
                tracing::debug!(dir = %dir.display(), controller, "not delegated");
            }
        }
        let active = fs::read_to_string(&control).ok()?;
        let usable = active.contains("memory") && active.contains("pids");
        (usable && rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok())
            .then(|| dir.to_owned())
    })
}

fn settings(controller: &str, limits: &Limits, unified: bool) -> Vec<(&'static str, String)> {
    let memory = limits.memory_bytes.to_string();
    let quota = quota_us(limits.cpu_millis);
    match (controller, unified) {
        ("memory", true) => {
            vec![("memory.max", memory), ("memory.swap.max", "0".into())]
        }
        ("memory", false) => {
            vec![("memory.limit_in_bytes", memory.clone()), ("memory.memsw.limit_in_bytes", memory)]
        }
        ("cpu", true) => {
            vec![("cpu.weight", WEIGHT.to_string()), ("cpu.max", format!("{quota} {PERIOD_US}"))]
        }
        ("cpu", false) => vec![
            ("cpu.shares", SHARES.to_string()),
            ("cpu.cfs_period_us", PERIOD_US.to_string()),
            ("cpu.cfs_quota_us", quota.to_string()),
        ],
        ("pids", _) => vec![("pids.max", limits.pids.to_string())],
        _ => Vec::new(),
    }
}
