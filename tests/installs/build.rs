//! Copies the sources of `install/host` and adds the lines that the skills `add-<channel>` name to `CHANNELS`.

use std::fs;
use std::io::{Error, Result};
use std::path::Path;

/// What a line is added behind.
const LIST: &str = "static CHANNELS: &[&ChannelDef] = &[\n";

fn main() -> Result<()> {
    let (repo, out) = (Path::new("../.."), std::env::var("OUT_DIR").map_err(Error::other)?);
    let (skills, source) = (repo.join(".claude/skills"), repo.join("install/host/src"));
    println!("cargo::rerun-if-changed={}", skills.display());
    println!("cargo::rerun-if-changed={}", source.display());
    let mut lines = String::new();
    for skill in fs::read_dir(skills)? {
        let text = fs::read_to_string(skill?.path().join("SKILL.md"))?;
        let named = text.split('`').filter(|code| code.starts_with("&nanoclaw_channel_"));
        lines.extend(named.map(|line| format!("    {line}\n")));
    }
    copy(&source, Path::new(&out), &lines)
}

fn copy(from: &Path, to: &Path, lines: &str) -> Result<()> {
    fs::create_dir_all(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        let (path, copied) = (file.path(), to.join(file.file_name()));
        if file.file_type()?.is_dir() {
            copy(&path, &copied, lines)?;
            continue;
        }
        // Words about a module may not stand where the file is included.
        let mut text = fs::read_to_string(path)?.replace("//!", "//");
        if file.file_name() == "main.rs" {
            let (before, after) = text.split_once(LIST).ok_or_else(|| Error::other(LIST))?;
            text = format!("{before}{LIST}{lines}{after}");
        }
        fs::write(copied, text)?;
    }
    Ok(())
}
