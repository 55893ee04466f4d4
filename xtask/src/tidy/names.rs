//! The core never says the name of a channel, a provider or a driver.

use crate::tree;
use anyhow::{Context as _, Result};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Names that no folder here has, or not yet.
const ALSO: [&str; 20] = [
    "anthropic",
    "bwrap",
    "codex",
    "discord",
    "gmail",
    "imessage",
    "linear",
    "matrix",
    "ollama",
    "openai",
    "opencode",
    "podman",
    "signal",
    "slack",
    "teams",
    "telegram",
    "twilio",
    "webex",
    "wechat",
    "whatsapp",
];
/// English and Unix words among them that mean something else in code.
const PLAIN: [&str; 4] = ["signal", "matrix", "linear", "teams"];

/// One line of `tidy.allow`.
struct Allowed {
    line: String,
    path: PathBuf,
    name: String,
    used: bool,
}

/// Reports each name in code outside tests and each exception that is not needed.
pub(super) fn check(root: &Path, found: &mut Vec<String>) -> Result<()> {
    let mut allowed = read_allowed(root)?;
    let names = names(root)?;
    for file in tree::files(root, "crates", "rs")? {
        if tree::is_test(&file) {
            continue;
        }
        for (number, line) in tree::read(root, &file)?.lines().enumerate() {
            for name in names.iter().filter(|name| says(line, name)) {
                let pass =
                    allowed.iter_mut().find(|a| file.starts_with(&a.path) && a.name == **name);
                match pass {
                    Some(entry) => entry.used = true,
                    None => found.push(format!(
                        "{}:{}: the core says {name:?}; move it to install/ or its own crate",
                        file.display(),
                        number + 1
                    )),
                }
            }
        }
    }
    for entry in allowed.iter().filter(|a| !a.used) {
        found.push(format!("tidy.allow: no longer needed, delete it: {}", entry.line));
    }
    Ok(())
}

fn names(root: &Path) -> Result<BTreeSet<String>> {
    let mut names: BTreeSet<String> =
        ALSO.iter().filter(|name| !PLAIN.contains(name)).map(|name| (*name).to_owned()).collect();
    for folder in ["channels", "providers", "drivers"] {
        for package in tree::packages(root, folder)? {
            names.extend(package.file_name().and_then(|n| n.to_str()).map(str::to_owned));
        }
    }
    Ok(names)
}

/// Whether a line of code, not a comment, has `name` as a word of its own.
pub(super) fn says(line: &str, name: &str) -> bool {
    let code = line.trim_start();
    if code.starts_with("//") {
        return false;
    }
    let code = code.split("// ").next().unwrap_or_default().to_ascii_lowercase();
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    code.split(|c| !word(c))
        .any(|w| w == name || w.split('_').any(|part| part == name && name.len() > 4))
}

fn read_allowed(root: &Path) -> Result<Vec<Allowed>> {
    let mut allowed = Vec::new();
    for line in tree::read(root, Path::new("tidy.allow"))?.lines() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = || format!("tidy.allow: not `path name reason`: {line}");
        let mut words = line.split_whitespace();
        let path = words.next().with_context(wrong)?.into();
        let name = words.next().with_context(wrong)?.to_owned();
        words.next().with_context(wrong)?;
        allowed.push(Allowed { line: line.to_owned(), path, name, used: false });
    }
    Ok(allowed)
}
