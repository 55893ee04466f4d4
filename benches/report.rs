//! What is printed: one line per value, with its target and its ratio to the baseline.

use anyhow::Context as _;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Which way is better, and how far it should go.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
    /// Shown to compare with; lower is better.
    None,
}

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Table,
    Json,
}

/// A value.
#[derive(Debug, Serialize)]
struct Line {
    name: String,
    value: f64,
    unit: &'static str,
    target: Option<f64>,
    ok: Option<bool>,
    /// Of the value to the stored one; absent where there is none.
    ratio: Option<f64>,
}

/// All of a run.
pub(crate) struct Report {
    pub(crate) quick: bool,
    /// How long a load lasts.
    pub(crate) minutes: usize,
    table: bool,
    baseline: BTreeMap<String, f64>,
    lines: Vec<Line>,
    failed: Vec<String>,
    load: String,
}

fn baseline_path() -> PathBuf {
    nanoclaw_tests::rig::repo().join("benches/baseline.json")
}

impl Report {
    pub(crate) fn new(quick: bool, output: Output) -> anyhow::Result<Self> {
        let baseline = match std::fs::read_to_string(baseline_path()) {
            Ok(text) => serde_json::from_str(&text).context("benches/baseline.json")?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(e) => return Err(e).context("benches/baseline.json"),
        };
        let report = Self {
            quick,
            minutes: 1,
            table: output == Output::Table,
            baseline,
            lines: Vec::new(),
            failed: Vec::new(),
            load: load(),
        };
        report.print(&format!("{}, load {} at the start\n", machine(), report.load));
        let head = ["what", "measured", "target", "", "to baseline"];
        report.print(&format!(
            "{:<52}{:>12}{:>15}{:>7}{:>13}",
            head[0], head[1], head[2], head[3], head[4]
        ));
        Ok(report)
    }

    fn print(&self, line: &str) {
        if self.table {
            say(line);
        }
    }

    /// Fewer samples when it has to be quick.
    pub(crate) fn samples(&self, full: usize) -> usize {
        if self.quick { (full / 5).max(3) } else { full }
    }

    /// Notes a duration, in milliseconds.
    pub(crate) fn time(&mut self, name: &str, took: Duration, target: Target) {
        self.value(name, took.as_secs_f64() * 1e3, "ms", target);
    }

    /// Notes a value.
    pub(crate) fn value(&mut self, name: &str, value: f64, unit: &'static str, target: Target) {
        let (shown, limit, ok) = match target {
            Target::AtMost(most) => {
                (format!("≤ {}", plain(most, unit)), Some(most), Some(value <= most))
            }
            Target::AtLeast(least) => {
                (format!("≥ {}", plain(least, unit)), Some(least), Some(value >= least))
            }
            Target::None => (String::new(), None, None),
        };
        let ratio = self.baseline.get(name).filter(|b| **b > 0.0).map(|b| value / b);
        let mark = ok.map_or("", |ok| if ok { "ok" } else { "over" });
        let compared = ratio.map_or_else(|| "-".to_owned(), |r| format!("{r:.2}"));
        self.print(&format!(
            "{name:<52}{:>12}{shown:>15}{mark:>7}{compared:>13}",
            plain(value, unit)
        ));
        self.lines.push(Line { name: name.to_owned(), value, unit, target: limit, ok, ratio });
    }

    /// Notes that something could not be measured.
    pub(crate) fn failed(&mut self, name: &str, why: &anyhow::Error) {
        self.print(&format!("{name:<52}not measured: {why:#}"));
        self.failed.push(format!("{name}: {why:#}"));
    }

    /// What was measured under this name.
    pub(crate) fn of(&self, name: &str) -> Option<f64> {
        self.lines.iter().find(|l| l.name == name).map(|l| l.value)
    }

    /// Keeps the values for later runs; what was not measured now stays as it was.
    pub(crate) fn save_baseline(&self) -> anyhow::Result<()> {
        let mut all = self.baseline.clone();
        all.extend(self.lines.iter().map(|l| (l.name.clone(), (l.value * 1e3).round() / 1e3)));
        let text = serde_json::to_string_pretty(&all)? + "\n";
        std::fs::write(baseline_path(), text).context("write benches/baseline.json")
    }

    /// Says how it ended.
    pub(crate) fn end(&self, check: bool) -> ExitCode {
        let over: Vec<_> =
            self.lines.iter().filter(|l| l.ok == Some(false)).map(|l| l.name.as_str()).collect();
        let load_now = load();
        if self.table {
            say(&format!(
                "\nload {load_now} at the end; {} over target, {} not measured",
                over.len(),
                self.failed.len()
            ));
        } else {
            let all = json!({ "machine": machine(), "load": [self.load, load_now], "quick": self.quick,
                "lines": self.lines, "not_measured": self.failed });
            say(&all.to_string());
        }
        if self.failed.is_empty() && (over.is_empty() || !check) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

fn plain(value: f64, unit: &str) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0} {unit}"),
        v if v >= 10.0 => format!("{value:.1} {unit}"),
        v if v >= 0.1 || v == 0.0 => format!("{value:.2} {unit}"),
        _ => format!("{value:.3} {unit}"),
    }
}

/// Where it was measured, as far as it matters.
fn machine() -> String {
    let system = rustix::system::uname();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    format!(
        "{cores} cores, {} {} {}, {build} build",
        text(system.sysname()),
        text(system.release()),
        text(system.machine())
    )
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}

/// Prints a line; a closed pipe is no reason to fail.
fn say(line: &str) {
    drop(writeln!(std::io::stdout(), "{line}"));
}

/// The value that this share of all samples does not exceed.
pub(crate) fn percentile(samples: &mut [Duration], share: usize) -> Duration {
    samples.sort_unstable();
    let at = (samples.len() * share / 100).min(samples.len().saturating_sub(1));
    samples.get(at).copied().unwrap_or_default()
}
