//! Programs for the agents, installed outside any image and mounted read-only into every box.
//!
//! A tool is one npm package that holds a finished binary; npm fetches it with whatever registry, proxy and
//! certificates the machine is set up with, and nothing of npm runs afterwards.

use crate::{During as _, Error, Say};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tool of a pinned version; `install/` says which.
#[derive(Debug, Clone, Copy)]
pub struct ToolSpec {
    /// Its name and the name of its folder.
    pub name: &'static str,
    /// The npm package with the binary for the named CPU (as Rust names it), if there is one.
    pub package: fn(arch: &str) -> Option<&'static str>,
    /// The version, exactly.
    pub version: &'static str,
    /// The binary in the package.
    pub binary: &'static str,
}

const VERSION_FILE: &str = "VERSION";

/// The binary of a tool, if the right version is there.
pub fn installed(tools: &Path, tool: &ToolSpec) -> Option<PathBuf> {
    let folder = tools.join(tool.name);
    let version = fs::read_to_string(folder.join(VERSION_FILE)).ok()?;
    let binary = folder.join(tool.binary);
    (version.trim() == tool.version && binary.is_file()).then_some(binary)
}

/// Installs a tool, or finds it; returns its binary.
pub fn install(tools: &Path, tool: &ToolSpec, say: Say<'_>) -> Result<PathBuf, Error> {
    if let Some(binary) = installed(tools, tool) {
        say(&format!("{} {} is there", tool.name, tool.version));
        return Ok(binary);
    }
    let package = (tool.package)(std::env::consts::ARCH).ok_or_else(|| {
        Error::new(format!("{} is not made for {}", tool.name, std::env::consts::ARCH))
    })?;
    say(&format!("fetching {} {} with npm", tool.name, tool.version));
    let work = tools.join(format!(".{}.new", tool.name));
    remove(&work)?;
    fs::create_dir_all(&work).during(format_args!("create {}", work.display()))?;
    let done = fetch(&work, package, tool).and_then(|()| put_in_place(&work, tools, tool));
    remove(&work)?;
    done.map(|()| tools.join(tool.name).join(tool.binary))
}

/// Downloads and unpacks into `<work>/package`, and starts the binary once.
fn fetch(work: &Path, package: &str, tool: &ToolSpec) -> Result<(), Error> {
    let wanted = format!("{package}@{}", tool.version);
    let mut pack = Command::new("npm");
    run(pack.args(["pack", "--silent", "--pack-destination"]).arg(work).arg(&wanted))
        .map_err(|e| e.next("bash nanoclaw.sh, which installs npm; or check the network"))?;
    let archive = fs::read_dir(work)
        .during(format_args!("list {}", work.display()))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|ext| ext == "tgz"))
        .ok_or_else(|| Error::new(format!("npm pack {wanted} left no archive")))?;
    let mut unpack = Command::new("tar");
    run(unpack.arg("--no-same-owner").arg("-xzf").arg(&archive).arg("-C").arg(work))?;
    let binary = work.join("package").join(tool.binary);
    let said = run(Command::new(&binary).arg("--version").env("HOME", work))?;
    if !said.contains(tool.version) {
        return Err(Error::new(format!("{} says it is {said:?}", binary.display())));
    }
    Ok(())
}

/// Puts the new folder where the old one was; a box that runs keeps the old files.
fn put_in_place(work: &Path, tools: &Path, tool: &ToolSpec) -> Result<(), Error> {
    let (new, old, place) = (work.join("package"), work.join("old"), tools.join(tool.name));
    fs::write(new.join(VERSION_FILE), tool.version).during("write the version of a tool")?;
    if place.exists() {
        fs::rename(&place, &old).during(format_args!("move {} aside", place.display()))?;
    }
    fs::rename(&new, &place).during(format_args!("create {}", place.display()))
}

fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).during(format_args!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Runs a program to its end; returns what it printed.
fn run(command: &mut Command) -> Result<String, Error> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().during(format_args!("start {name}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(format!("{name} failed ({}): {}", output.status, said.trim())))
}

#[cfg(test)]
mod tests;
