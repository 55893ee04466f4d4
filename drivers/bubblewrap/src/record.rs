//! What is on disk about a running box, so that a later process finds it.
//!
//! `<name>.json` says which processes it is; `<name>.status` is written by `bwrap` itself and holds the
//! exit code, whoever lives to read it. Boxes write neither.

use crate::groups;
use nanoclaw_driver::process::ProcessId;
use nanoclaw_driver::{BoxSpec, DriverError, Limits, cgroup, check};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

/// One box.
#[derive(Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) install: String,
    pub(crate) session: String,
    pub(crate) log: PathBuf,
    /// PID 1 of the box.
    pub(crate) first: ProcessId,
    /// `bwrap` and the log's copier: both end after PID 1, with the exit code and the last output.
    pub(crate) helpers: Vec<ProcessId>,
    /// The host that started it.
    pub(crate) starter: Option<ProcessId>,
    /// Whether it was checked and let run; one that was not is nobody's and is killed.
    pub(crate) admitted: bool,
    /// Known before they are made, so that none is left when the host dies between.
    pub(crate) groups: Vec<PathBuf>,
    /// What it may use; a box of an earlier version may use what all could.
    #[serde(default)]
    pub(crate) limits: Limits,
}

/// What `bwrap` says in its status file, one object per line, and the one line that we add.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Status {
    pub(crate) exit_code: Option<i32>,
    pub(crate) out_of_memory: bool,
}

pub(crate) fn status_path(state: &Path, name: &str) -> PathBuf {
    state.join(format!("{name}.status"))
}

impl Record {
    pub(crate) fn new(spec: &BoxSpec, first: ProcessId, helpers: Vec<ProcessId>) -> Self {
        Self {
            name: spec.name.clone(),
            install: spec.install.clone(),
            session: spec.session.as_str().to_owned(),
            log: spec.log.clone(),
            first,
            helpers,
            starter: ProcessId::me(),
            admitted: false,
            groups: groups::dirs(&spec.name),
            limits: spec.limits,
        }
    }

    /// Reads the record of a box.
    pub(crate) fn load(state: &Path, name: &str) -> Result<Self, DriverError> {
        let gone = || DriverError::Gone(name.to_owned());
        if !check::is_name(name) {
            return Err(gone());
        }
        let bytes = fs::read(state.join(format!("{name}.json"))).map_err(|_| gone())?;
        serde_json::from_slice(&bytes)
            .map_err(|e| DriverError::Other(format!("the record of box {name} is damaged: {e}")))
    }

    /// All that can be read; a damaged one is reported and left.
    pub(crate) fn all(state: &Path) -> Result<Vec<Self>, DriverError> {
        let entries = match fs::read_dir(state) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|e| DriverError::Other(format!("{}: {e}", state.display())))?,
        };
        let names = entries.flatten().filter_map(|e| e.file_name().into_string().ok());
        let read = |file: String| Self::load(state, file.strip_suffix(".json")?).map_err(warn).ok();
        Ok(names.filter_map(read).collect())
    }

    /// Writes it so that a reader finds the old or the new one, never half.
    pub(crate) fn save(&self, state: &Path) -> std::io::Result<()> {
        let draft = state.join(format!("{}.draft", self.name));
        fs::write(&draft, serde_json::to_vec(self)?)?;
        fs::rename(draft, state.join(format!("{}.json", self.name)))
    }

    /// Notes what only the control group knows, then removes all traces; says whether that is done.
    /// Several waiters may do this at once: each holds the status file open.
    pub(crate) fn bury(&self, state: &Path) -> bool {
        let status = status_path(state, &self.name);
        if cgroup::memory_kills(&self.groups) > 0 {
            let note = File::options().append(true).open(&status);
            if let Err(e) = note.and_then(|mut f| f.write_all(b"{\"out-of-memory\":true}\n")) {
                tracing::debug!(name = self.name, "{e}");
            }
        }
        // Another waiter may have been faster, so a file that is missing is no error.
        cgroup::remove(&self.groups)
            && [state.join(format!("{}.json", self.name)), status]
                .iter()
                .all(|file| fs::remove_file(file).is_ok() || !file.exists())
    }
}

fn warn(e: DriverError) {
    tracing::warn!("{e}");
}

impl Status {
    pub(crate) fn read(file: &mut File) -> Self {
        let mut text = String::new();
        if let Err(e) = file.take(1 << 16).read_to_string(&mut text) {
            tracing::debug!("status: {e}");
        }
        text.lines().filter_map(|line| serde_json::from_str::<Self>(line).ok()).fold(
            Self::default(),
            |all, line| Self {
                exit_code: line.exit_code.or(all.exit_code),
                out_of_memory: line.out_of_memory || all.out_of_memory,
            },
        )
    }
}
