//! How much there is to read: cl100k tokens of Rust and SQL outside tests, against `size.toml`.
//!
//! A limit is there to be noticed. Raising one is allowed in the open, with the reason in the commit.

use crate::{say, tree};
use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// `size.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    part: Vec<Part>,
}

/// One line of the table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    name: String,
    /// Folders; one that ends in `/*` stands for each package below it, each with this limit.
    paths: Vec<String>,
    /// Without one, the part is only shown.
    limit: Option<usize>,
}

/// Prints the table; fails when a part is over its limit.
pub(crate) fn size(root: &Path) -> Result<()> {
    let text = tree::read(root, Path::new("size.toml"))?;
    let limits: Limits = toml::from_str(&text).context("size.toml")?;
    let mut over = Vec::new();
    say(&format!("{:<24}{:>9}{:>12}{:>9}", "part", "tokens", "no comments", "limit"));
    for (name, folders, limit) in rows(root, &limits)? {
        let (mut tokens, mut bare) = (0, 0);
        for folder in &folders {
            let (all, code) = count(root, folder)?;
            (tokens, bare) = (tokens + all, bare + code);
        }
        let Some(limit) = limit else {
            say(&format!("{name:<24}{tokens:>9}{bare:>12}"));
            continue;
        };
        let share = tokens * 100 / limit.max(1);
        let mark = if tokens > limit {
            over.push(name.clone());
            "  over"
        } else if share >= 95 {
            "  close"
        } else {
            ""
        };
        say(&format!("{name:<24}{tokens:>9}{bare:>12}{limit:>9}{share:>6}%{mark}"));
    }
    if over.is_empty() {
        return Ok(());
    }
    bail!("over the limit: {}. Make it smaller, or raise the limit and say why", over.join(", "))
}

type Row = (String, Vec<PathBuf>, Option<usize>);

fn rows(root: &Path, limits: &Limits) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for part in &limits.part {
        if let [one] = part.paths.as_slice()
            && let Some(parent) = one.strip_suffix("/*")
        {
            for folder in tree::packages(root, parent)? {
                rows.push((folder.display().to_string(), vec![folder], part.limit));
            }
            continue;
        }
        for path in &part.paths {
            if !root.join(path).is_dir() {
                bail!("size.toml names {path}, which is not there");
            }
        }
        rows.push((part.name.clone(), part.paths.iter().map(PathBuf::from).collect(), part.limit));
    }
    Ok(rows)
}

/// Tokens of a folder, with and without the lines that are comments; the limit is on the first.
pub(crate) fn count(root: &Path, folder: &Path) -> Result<(usize, usize)> {
    let tokens = tiktoken_rs::cl100k_base_singleton();
    let under = folder.to_str().context("folder names are UTF-8")?;
    let comment = |line: &&str| ["//", "--"].iter().any(|mark| line.trim_start().starts_with(mark));
    let (mut sum, mut bare) = (0, 0);
    for ext in ["rs", "sql"] {
        for file in tree::files(root, under, ext)? {
            if !tree::is_test(&file) {
                let text = tree::read(root, &file)?;
                let code: Vec<&str> = text.lines().filter(|line| !comment(line)).collect();
                sum += tokens.encode_ordinary(&text).len();
                bare += tokens.encode_ordinary(&code.join("\n")).len();
            }
        }
    }
    Ok((sum, bare))
}
