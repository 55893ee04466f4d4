//! Limits through control groups, version 1 or 2, where this process may make them.
//!
//! The groups of a box lie beside the host's own, not in it: whoever stops the host's service must not
//! stop the boxes. What cannot be limited is said, never ignored.

use nanoclaw_driver::Limits;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];
const CPU_PERIOD_US: u64 = 100_000;

/// The groups of one box.
pub(crate) struct Groups {
    pub(crate) dirs: Vec<PathBuf>,
    /// What is not limited, and why.
    pub(crate) missing: Vec<String>,
    /// Whether the number of processes is limited.
    pub(crate) pids: bool,
}

impl Groups {
    /// Makes the groups of box `name` with its limits.
    pub(crate) fn make(name: &str, limits: &Limits) -> Self {
        let mut groups = Self { dirs: Vec::new(), missing: Vec::new(), pids: false };
        let unified = Path::new(ROOT).join("cgroup.controllers").exists();
        let shared = unified.then(|| unified_parent().map(|parent| make(&parent, name))).flatten();
        for controller in CONTROLLERS {
            let dir = match (&shared, unified) {
                (Some(dir), _) => dir.clone(),
                (None, true) => Err("no group above this process may be changed by it".into()),
                (None, false) => make(&Path::new(ROOT).join(controller), name),
            };
            let done = dir.and_then(|dir| {
                if !groups.dirs.contains(&dir) {
                    groups.dirs.push(dir.clone());
                }
                settings(controller, limits, unified).into_iter().try_for_each(|(file, value)| {
                    fs::write(dir.join(file), value).map_err(|e| format!("{file}: {e}"))
                })
            });
            match done {
                Ok(()) => groups.pids |= controller == "pids",
                Err(why) => groups.missing.push(format!("no limit on {controller}: {why}")),
            }
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

/// Whether the kernel killed something in these groups for memory.
pub(crate) fn out_of_memory(dirs: &[PathBuf]) -> bool {
    memory_kills(dirs) > 0
}

/// How often the kernel did.
pub(crate) fn memory_kills(dirs: &[PathBuf]) -> u64 {
    count(dirs, &["memory.events", "memory.oom_control"], "oom_kill ")
}

/// The number behind this word in these files of the groups.
pub(crate) fn count(dirs: &[PathBuf], files: &[&str], word: &str) -> u64 {
    let texts = dirs.iter().flat_map(|dir| files.iter().map(|file| dir.join(file)));
    let texts = texts.filter_map(|file| fs::read_to_string(file).ok());
    let number = |text: String| {
        let number = text.lines().find_map(|line| line.strip_prefix(word));
        number.and_then(|n| n.trim().parse::<u64>().ok())
    };
    texts.filter_map(number).max().unwrap_or(0)
}

/// Removes the groups; says whether they are gone. They stay busy for a moment after the last process.
pub(crate) fn remove(dirs: &[PathBuf]) -> bool {
    dirs.iter().all(|dir| fs::remove_dir(dir).is_ok() || !dir.exists())
}

fn make(parent: &Path, name: &str) -> Result<PathBuf, String> {
    let dir = parent.join(format!("nanoclaw-{name}"));
    // One that was left behind is empty and can go; one that cannot go is somebody else's.
    let made =
        fs::create_dir(&dir).or_else(|_| fs::remove_dir(&dir).and_then(|()| fs::create_dir(&dir)));
    made.map(|()| dir.clone()).map_err(|e| format!("{}: {e}", dir.display()))
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
    let quota = u64::from(limits.cpu_millis) * CPU_PERIOD_US / 1000;
    match (controller, unified) {
        ("memory", true) => {
            vec![("memory.max", memory), ("memory.swap.max", "0".into())]
        }
        ("memory", false) => {
            vec![("memory.limit_in_bytes", memory.clone()), ("memory.memsw.limit_in_bytes", memory)]
        }
        ("cpu", true) => {
            vec![("cpu.weight", "12".into()), ("cpu.max", format!("{quota} {CPU_PERIOD_US}"))]
        }
        ("cpu", false) => vec![
            ("cpu.shares", "128".into()),
            ("cpu.cfs_period_us", CPU_PERIOD_US.to_string()),
            ("cpu.cfs_quota_us", quota.to_string()),
        ],
        _ => vec![("pids.max", limits.pids.to_string())],
    }
}
