//! The skills `add-<channel>`: two lines in `install/` each.

use super::code;
use anyhow::{Context as _, ensure};
use nanoclaw_tests::rig::repo;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

fn read(path: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(repo().join(path)).with_context(|| path.to_owned())
}

/// Every channel but the terminal, with its skill.
fn skills() -> anyhow::Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for channel in std::fs::read_dir(repo().join("channels"))? {
        let name = channel?.file_name().to_string_lossy().into_owned();
        if name != "cli" {
            let skill = read(&format!(".claude/skills/add-{name}/SKILL.md"))?;
            all.insert(name, skill);
        }
    }
    Ok(all)
}

fn dependencies(manifest: &str) -> BTreeSet<&str> {
    let (_, after) = manifest.split_once("[dependencies]\n").unwrap_or_default();
    after.lines().take_while(|line| !line.is_empty()).collect()
}

/// `nanoclaw-every-channel` has what the skills say and nothing else, so that it compiles is their proof; that
/// nobody has to compile more than the terminal is what cargo says.
#[test]
fn a_channel_is_two_lines_in_install_and_none_is_compiled_without_them() -> anyhow::Result<()> {
    let (own, every) = (read("install/host/Cargo.toml")?, read("tests/installs/Cargo.toml")?);
    let (own, every) = (dependencies(&own), dependencies(&every));
    let all = skills()?;
    let mut added = BTreeSet::new();
    for (name, skill) in &all {
        let begins = |start: &str| {
            let lines = code(skill).into_iter().filter(|code| code.starts_with(start));
            lines.collect::<Vec<_>>()
        };
        let dependency = begins("nanoclaw-channel-");
        assert_eq!(dependency.len(), 1, "{name}: {dependency:?}");
        // A crate may have a second channel: its line stands instead of the first, or beside it.
        let listed = begins("&nanoclaw_channel_");
        assert_eq!(listed.first(), Some(&format!("&nanoclaw_channel_{name}::CHANNEL,").as_str()));
        let own = format!("&nanoclaw_channel_{name}::");
        assert!(listed.iter().all(|line| line.starts_with(&own)), "{name}: {listed:?}");
        let elsewhere = ["crates/", "Cargo.lock", "xtask"].into_iter().find(|p| skill.contains(p));
        assert_eq!(elsewhere, None, "add-{name} changes more than install/");
        added.extend(dependency);
    }
    assert_eq!(all.len(), 8);
    assert_eq!(every.difference(&own).copied().collect::<BTreeSet<_>>(), added);
    assert!(own.is_subset(&every), "tests/installs misses what install/host has");

    let tree = ["tree", "--locked", "--offline", "-p", "nanoclaw", "-e", "normal,build"];
    let mut cargo = Command::new(env!("CARGO"));
    let out = cargo.args(tree).args(["--prefix", "none"]).current_dir(repo()).output()?;
    ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let packages = String::from_utf8(out.stdout)?;
    let packages = packages.lines().filter_map(|line| line.split(' ').next());
    let channels: BTreeSet<_> =
        packages.filter(|name| name.starts_with("nanoclaw-channel-")).collect();
    assert_eq!(channels, BTreeSet::from(["nanoclaw-channel-cli"]));
    Ok(())
}
