//! What the compiler does not check: layout, names, dependency arrows, paths in the documentation.
//!
//! Exceptions to the rule about names live in `tidy.allow`, one per line with a reason; an exception that is
//! no longer needed is an error, so that the file can only shrink on its own.

mod arrows;
mod names;
mod paths;

use crate::{channels, docs, say, tree};
use anyhow::{Result, bail};
use std::path::Path;

/// Folders whose code is the product.
const CODE: [&str; 5] = ["crates", "channels", "providers", "drivers", "install"];

/// Prints every finding; fails if there is one.
pub(crate) fn tidy(root: &Path) -> Result<()> {
    let mut found = Vec::new();
    code(root, &mut found)?;
    names::check(root, &mut found)?;
    arrows::check(root, &mut found)?;
    paths::check(root, &mut found)?;
    listed(root, &mut found)?;
    channels::listed(root, &mut found)?;
    if !docs::is_current(root)? {
        found.push("docs/contract.md is not what the SQL says; run: cargo xtask docs".to_owned());
    }
    for line in &found {
        say(line);
    }
    if found.is_empty() { Ok(()) } else { bail!("{} finding(s)", found.len()) }
}

/// The one feature of the core: a channel with another SQLite uses the port without ours.
const SQLITE: &str = "(feature = \"sqlite\")";

/// Module documentation, no features in the core, no test that is switched off.
fn code(root: &Path, found: &mut Vec<String>) -> Result<()> {
    let ignored = concat!("#[", "ignore");
    for file in tree::files(root, "", "rs")? {
        let (text, shown) = (tree::read(root, &file)?, file.display());
        let ours = CODE.iter().any(|folder| file.starts_with(folder)) && !tree::is_test(&file);
        if ours && !text.trim_start().starts_with("//!") {
            found.push(format!("{shown}: begin with `//!`: what it is for, what it never does"));
        }
        if file.starts_with("crates") && text.replace(SQLITE, "").contains("(feature") {
            found.push(format!("{shown}: the core has no features; compose in install/"));
        }
        if text.contains(ignored) {
            found.push(format!("{shown}: a test that is switched off; fix it or delete it"));
        }
    }
    Ok(())
}

/// Every file below `tests/` is part of something: a module, or a target of the manifest.
fn listed(root: &Path, found: &mut Vec<String>) -> Result<()> {
    let mut files = tree::files(root, "tests", "rs")?;
    // Packages of their own.
    let own = ["tests/installs", "tests/walls"];
    files.retain(|file| !own.iter().any(|package| file.starts_with(package)));
    let mut all = tree::read(root, Path::new("tests/Cargo.toml"))?;
    for file in &files {
        all.push_str(&tree::read(root, file)?);
    }
    for file in files {
        let stem = file.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        let folder = file.parent().and_then(Path::file_name).and_then(|s| s.to_str());
        let name = if stem == "mod" { folder.unwrap_or_default() } else { stem };
        let target = file.strip_prefix("tests")?.display().to_string();
        if !all.contains(&format!("mod {name};")) && !all.contains(&format!("\"{target}\"")) {
            found.push(format!("{}: no `mod {name};` lists it, so it never runs", file.display()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
