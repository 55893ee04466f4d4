//! Every path and every test that the documentation names exists.

use crate::tree;
use anyhow::Result;
use std::path::{Path, PathBuf};

/// Reports each path in a `*.md` that leads nowhere, and each test that is not where it is said to be.
pub(super) fn check(root: &Path, found: &mut Vec<String>) -> Result<()> {
    for page in tree::files(root, "", "md")? {
        // Fixtures are what another program wrote.
        if page.starts_with("tests/fixtures") {
            continue;
        }
        let folder = page.parent().unwrap_or(Path::new("")).to_path_buf();
        let mut fenced = false;
        for (number, line) in tree::read(root, &page)?.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            }
            if fenced {
                continue;
            }
            for target in links(line).map(|t| folder.join(t)).chain(quoted(root, line)) {
                if !root.join(&target).exists() {
                    let (page, target) = (page.display(), target.display());
                    found.push(format!("{page}:{}: {target} does not exist", number + 1));
                }
            }
            for (file, name) in tests(line) {
                let there = std::fs::read_to_string(root.join(file)).unwrap_or_default();
                if !there.contains(&format!("fn {name}(")) {
                    let (page, line) = (page.display(), number + 1);
                    found.push(format!("{page}:{line}: there is no test {name} in {file}"));
                }
            }
        }
    }
    Ok(())
}

/// Relative targets of Markdown links.
pub(super) fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let target = rest.split(')').next()?.split('#').next()?;
        (!target.is_empty() && !target.contains("://") && !target.starts_with("mailto:"))
            .then_some(target)
    })
}

/// Text in backticks that begins with a folder of this project and holds no placeholder.
fn quoted<'a>(root: &'a Path, line: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
    line.split('`').skip(1).step_by(2).filter_map(move |text| {
        let (top, rest) = text.split_once('/')?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        let ours = root.join(top).is_dir() && !top.is_empty() && !tree::MADE.contains(&top);
        let named =
            ours && top != "." && top != ".." && !rest.is_empty() && text.chars().all(plain);
        named.then(|| PathBuf::from(text))
    })
}

/// Tests in backticks: `folder/file.rs::name`, or `folder/file.rs::{one, other}`.
pub(super) fn tests(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let quoted = line.split('`').skip(1).step_by(2).filter_map(|text| text.split_once("::"));
    quoted.filter(|(file, _)| file.contains('/') && file.ends_with(".rs")).flat_map(
        |(file, names)| {
            let names = names.trim_start_matches('{').trim_end_matches('}');
            names.split(',').map(move |name| (file, name.trim()))
        },
    )
}
