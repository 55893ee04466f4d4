//! The programs of all tests: built together, run one by one.
//!
//! What cargo is asked to test decides with which features everything is built, so that a run of one
//! crate after a run of all builds much of it again. Here all is built once, and what is run is chosen after.

use crate::{ci, say};
use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

#[cfg(test)]
mod tests;

/// One program of tests.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// The crate that it tests.
    pub(crate) package: String,
    name: String,
    folder: PathBuf,
    file: PathBuf,
}

/// What cargo says that it built.
#[derive(Deserialize)]
struct Artifact {
    package_id: String,
    manifest_path: PathBuf,
    target: Target,
    profile: Profile,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Builds them all; those that wait most, the tests from outside a crate, come first.
pub(crate) fn build(root: &Path) -> Result<Vec<Program>> {
    let args = ["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"];
    let built = Command::new(ci::program())
        .current_dir(root)
        .args(args)
        .stderr(Stdio::inherit())
        .output()
        .context("start cargo")?;
    ensure!(built.status.success(), "`cargo {}` failed", args.join(" "));
    let mut all: Vec<_> =
        String::from_utf8_lossy(&built.stdout).lines().filter_map(parse).collect();
    all.sort_by_key(|p| p.name.starts_with("nanoclaw"));
    Ok(all)
}

fn parse(line: &str) -> Option<Program> {
    let artifact: Artifact = serde_json::from_str(line).ok()?;
    let (place, version) = artifact.package_id.rsplit_once('#')?;
    let package = match version.split_once('@') {
        Some((name, _)) => name,
        None => place.rsplit('/').next()?,
    };
    let file = artifact.executable.filter(|_| artifact.profile.test)?;
    Some(Program {
        package: package.into(),
        name: artifact.target.name,
        folder: artifact.manifest_path.parent()?.into(),
        file,
    })
}

impl Program {
    /// Where and with what cargo would start it.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.file);
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        command.env("CARGO_PKG_NAME", &self.package);
        command
    }
}

/// Runs them all, so many at the same time; most of them wait for most of their time.
pub(crate) fn run(all: Vec<Program>, at_once: usize, env: &[(&str, &str)]) -> Result<()> {
    let (queue, failed) = (Mutex::new(all.into_iter()), Mutex::new(Vec::new()));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let lane = || {
        while let Some(program) = next() {
            let title = format!("{} {}", program.package, program.name);
            let ended = program.command().envs(env.iter().copied()).output();
            let mut said = format!("     Running {title}\n");
            let good = match ended {
                Ok(ended) => {
                    said += &String::from_utf8_lossy(&ended.stdout);
                    said += &String::from_utf8_lossy(&ended.stderr);
                    ended.status.success()
                }
                Err(e) => {
                    said += &format!("it does not start: {e}\n");
                    false
                }
            };
            say(said.trim_end());
            if !good {
                failed.lock().unwrap_or_else(PoisonError::into_inner).push(title);
            }
        }
    };
    std::thread::scope(|scope| (0..at_once).for_each(|_| drop(scope.spawn(lane))));
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}

/// Runs them one test after the other, and shows at once what they say.
pub(crate) fn alone(all: &[Program]) -> Result<()> {
    for program in all {
        let ended =
            program.command().arg("--test-threads=1").status().context("start the tests")?;
        ensure!(ended.success(), "{} {} failed", program.package, program.name);
    }
    Ok(())
}
