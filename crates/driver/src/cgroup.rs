//! Control groups, version 1 or 2: which ones a box is in, what they count, and how it gives way.
//!
//! Making groups and setting limits is the business of the driver that makes boxes. Everything here
//! blocks for some microseconds. Next: [`crate::Driver::cpu`].

#[cfg(test)]
mod tests;

use crate::Strain;
use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the kernel shows them.
pub const ROOT: &str = "/sys/fs/cgroup";
/// What a box gets of a CPU that is short, version 2: an eighth of what anything else gets.
pub const WEIGHT: u16 = 12;
/// The same, version 1.
pub const SHARES: u16 = 128;

/// In which pieces a box gets the CPU time that it may use.
pub const PERIOD_US: u64 = 100_000;
/// What a box that is held back gets instead, a tenth of one CPU, in pieces that are soon over: what it
/// stops in the middle of waits no longer than one of them.
const HELD_PERIOD_US: u64 = 10_000;
const HELD_QUOTA_US: u64 = 1_000;

/// The CPU time of a box.
#[derive(Debug, Clone)]
pub struct Cpu {
    groups: Vec<PathBuf>,
    millis: u32,
}

impl Cpu {
    /// Of a box with these groups that may use so many thousandths of a CPU.
    pub fn new(groups: Vec<PathBuf>, millis: u32) -> Self {
        Self { groups, millis }
    }

    /// How much the box used since it started; none when it is gone, or is not counted.
    pub fn used(&self) -> Option<Duration> {
        let read =
            |file: &str| self.groups.iter().find_map(|dir| fs::read_to_string(dir.join(file)).ok());
        if let Some(nanos) = read("cpuacct.usage") {
            return nanos.trim().parse().ok().map(Duration::from_nanos);
        }
        let micros = read("cpu.stat")?;
        let micros = micros.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
        micros.parse().ok().map(Duration::from_micros)
    }

    /// How much memory it has now; none when it is gone, or is not counted.
    pub fn memory(&self) -> Option<u64> {
        let bytes = count(&self.groups, &["memory.current", "memory.usage_in_bytes"], "");
        (bytes > 0).then_some(bytes)
    }

    /// Whether the box gives way.
    pub fn gives_way(&self) -> bool {
        self.idle().is_ok_and(|file| fs::read_to_string(file).is_ok_and(|text| text.trim() == "1"))
    }

    /// From now on the box gives way (or does no more): it has every CPU that nobody else wants, and
    /// leaves it at once to whatever wakes up.
    pub fn give_way(&self, yes: bool) -> Result<()> {
        let file = self.idle()?;
        fs::write(&file, if yes { "1" } else { "0" })?;
        if !yes {
            // The kernel does not remember what it was before.
            let (weight, shares) =
                (file.with_file_name("cpu.weight"), file.with_file_name("cpu.shares"));
            match weight.exists() {
                true => fs::write(weight, WEIGHT.to_string())?,
                false => fs::write(shares, SHARES.to_string())?,
            }
        }
        Ok(())
    }

    /// How often the kernel killed something in the box for memory.
    pub fn memory_kills(&self) -> u64 {
        memory_kills(&self.groups)
    }

    /// Whether the box is held back.
    pub fn held_back(&self) -> bool {
        held_back(&self.groups)
    }

    /// From now on the box has a tenth of one CPU, whoever else wants it or not (or again what it may have).
    pub fn hold_back(&self, yes: bool) -> Result<()> {
        let (quota, period) = match yes {
            true => (HELD_QUOTA_US, HELD_PERIOD_US),
            false => (quota_us(self.millis), PERIOD_US),
        };
        let group = |file: &str| self.groups.iter().find(|dir| dir.join(file).exists());
        if let Some(dir) = group("cpu.max") {
            return fs::write(dir.join("cpu.max"), format!("{quota} {period}"));
        }
        let none = || Error::new(ErrorKind::NotFound, "no cpu.max and no cpu.cfs_quota_us");
        let dir = group("cpu.cfs_quota_us").ok_or_else(none)?;
        let mut writes = [("cpu.cfs_quota_us", quota), ("cpu.cfs_period_us", period)];
        if !yes {
            // On the way it may not have more than the groups above.
            writes.reverse();
        }
        writes.iter().try_for_each(|(file, value)| fs::write(dir.join(file), value.to_string()))
    }

    fn idle(&self) -> Result<PathBuf> {
        let none =
            || Error::new(ErrorKind::NotFound, "no cpu.idle; it takes Linux 5.15 and a cpu group");
        self.groups
            .iter()
            .map(|dir| dir.join("cpu.idle"))
            .find(|file| file.exists())
            .ok_or_else(none)
    }
}

/// How much of [`PERIOD_US`] so many thousandths of a CPU are.
pub fn quota_us(millis: u32) -> u64 {
    u64::from(millis) * PERIOD_US / 1000
}

fn held_back(dirs: &[PathBuf]) -> bool {
    let is = |file: &str, held: &str| {
        dirs.iter().any(|dir| fs::read_to_string(dir.join(file)).is_ok_and(|t| t.trim() == held))
    };
    is("cpu.max", &format!("{HELD_QUOTA_US} {HELD_PERIOD_US}"))
        || is("cpu.cfs_period_us", &HELD_PERIOD_US.to_string())
}

/// The groups of the box with this first process, those that are its own and named after `id`.
pub fn own(pid: i32, id: &str) -> Vec<PathBuf> {
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    places(&table, id).into_iter().filter(|dir| dir.is_dir()).collect()
}

/// How often a box with these groups ran against its limits. `turned` is the older part of its log.
pub fn strain(dirs: &[PathBuf], turned: &Path) -> Strain {
    let processes = |file| count(dirs, &[file], "");
    let (now, most) = (processes("pids.current"), processes("pids.max"));
    Strain {
        forks_refused: count(dirs, &["pids.events"], "max "),
        // Some of those that were refused are just ending.
        full: most > 0 && now >= most - most / 8,
        killed_for_memory: memory_kills(dirs),
        log_turned: turned.metadata().and_then(|meta| meta.modified()).ok(),
        held_back: held_back(dirs),
    }
}

/// The groups in a `/proc/<pid>/cgroup` that belong to a box alone. One that is not named after it is
/// shared with others, up to the whole machine.
fn places(table: &str, id: &str) -> Vec<PathBuf> {
    let place = |line: &str| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let own = !id.is_empty() && path.contains(id) && !path.contains("/../");
        let tops = if controllers.is_empty() { ",unified" } else { controllers };
        let dir = |top| Path::new(ROOT).join(top).join(path.trim_start_matches('/'));
        own.then(|| tops.split(',').map(dir).collect::<Vec<_>>())
    };
    table.lines().filter_map(place).flatten().collect()
}

/// How often the kernel killed something in these groups for memory.
pub fn memory_kills(dirs: &[PathBuf]) -> u64 {
    count(dirs, &["memory.events", "memory.oom_control"], "oom_kill ")
}

/// The number behind this word in these files of the groups.
fn count(dirs: &[PathBuf], files: &[&str], word: &str) -> u64 {
    let texts = dirs.iter().flat_map(|dir| files.iter().map(|file| dir.join(file)));
    let texts = texts.filter_map(|file| fs::read_to_string(file).ok());
    let number = |text: String| {
        let number = text.lines().find_map(|line| line.strip_prefix(word));
        number.and_then(|n| n.trim().parse::<u64>().ok())
    };
    texts.filter_map(number).max().unwrap_or(0)
}

/// Removes groups; says whether they are gone. They stay busy for a moment after the last process.
pub fn remove(dirs: &[PathBuf]) -> bool {
    dirs.iter().all(|dir| fs::remove_dir(dir).is_ok() || !dir.exists())
}
