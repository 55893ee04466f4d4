//! The files of the project, as a checkout has them: nothing that a build or an install made.

use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// Folders at the top that a build or an install makes.
pub(crate) const MADE: [&str; 6] = ["target", "data", "logs", "groups", "bin", "node_modules"];

/// The top folder of the workspace.
pub(crate) fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(Path::to_path_buf).context("xtask lies at the top of the workspace")
}

/// Every file below `under` whose name ends in `.ext`, relative to `root`, sorted.
pub(crate) fn files(root: &Path, under: &str, ext: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let start = if under.is_empty() { root.to_path_buf() } else { root.join(under) };
    if start.is_dir() {
        walk(root, &start, ext, &mut found)?;
    }
    found.sort();
    Ok(found)
}

fn walk(root: &Path, dir: &Path, ext: &str, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let name = entry.file_name();
        let top = dir == root;
        let skipped = name == ".git"
            || name == "target"
            || (top && MADE.iter().any(|made| name.as_os_str() == *made));
        if kind.is_dir() && !skipped {
            walk(root, &path, ext, found)?;
        } else if kind.is_file() && path.extension().is_some_and(|e| e == ext) {
            found.push(path.strip_prefix(root)?.to_path_buf());
        }
    }
    Ok(())
}

/// The folders directly below `under` that hold a package, relative to `root`, sorted.
pub(crate) fn packages(root: &Path, under: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let dir = root.join(under);
    if !dir.is_dir() {
        return Ok(found);
    }
    for entry in std::fs::read_dir(&dir)? {
        let path = entry?.path();
        if path.join("Cargo.toml").is_file() {
            found.push(path.strip_prefix(root)?.to_path_buf());
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a file holds tests, by its path: sizes and names are not checked there.
pub(crate) fn is_test(path: &Path) -> bool {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let folder = |f: &str| path.components().any(|c| c.as_os_str() == f);
    matches!(name, "tests.rs" | "fuzz.rs")
        || name.ends_with("_tests.rs")
        || ["tests", "benches", "testkit", "xtask", "fuzz", "examples"].into_iter().any(folder)
}

/// Reads a file of the project.
pub(crate) fn read(root: &Path, path: &Path) -> Result<String> {
    std::fs::read_to_string(root.join(path)).with_context(|| format!("read {}", path.display()))
}
