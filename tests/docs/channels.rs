//! The skills `add-<channel>`: two lines in `install/` each, and what they say to type after that.

use super::{Checkout, code, runnable};
use crate::simulated::peers;
use anyhow::{Context as _, ensure};
use nanoclaw_conformance::{Offer, Peer, Place, Say};
use nanoclaw_tests::rig::{needed, repo, target};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Long enough for a host with every channel, on a loaded machine.
const UP_WITHIN: Duration = Duration::from_secs(120);

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
        assert_eq!(begins("&nanoclaw_channel_"), [format!("&nanoclaw_channel_{name}::CHANNEL,")]);
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

/// How the channels are, as the running host says.
async fn states(checkout: &Checkout) -> anyhow::Result<BTreeMap<String, String>> {
    let status: serde_json::Value =
        serde_json::from_str(&checkout.types("bin/nanoclaw status --json").await?)?;
    let all = status["channels"].as_array().context("no channels")?.iter();
    Ok(all.map(|c| (text(&c["name"]), text(&c["state"]))).collect())
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Waits until what is typed prints what is looked for.
async fn until(checkout: &Checkout, line: &str, find: &str) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + UP_WITHIN;
    loop {
        let said = checkout.types(line).await?;
        if said.contains(find) {
            return Ok(());
        }
        ensure!(
            tokio::time::Instant::now() < deadline,
            "no {find} in `{line}`:\n{said}\n{}",
            checkout.log()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The settings of a peer, but for what the build of the skill makes.
fn settings(peer: &dyn Peer) -> String {
    let all = peer.settings().into_iter().filter(|(name, _)| name != "MATRIX_PROGRAM");
    all.map(|(name, value)| format!("{name}='{value}'\n")).collect()
}

/// Somebody follows the skill of every channel: each is listed with the settings that it needs, is up with them,
/// and shows the chat of who writes first.
#[tokio::test]
async fn who_follows_the_skills_has_every_channel() -> anyhow::Result<()> {
    let checkout = Checkout::new("nanoclaw-every-channel")?;
    let root = checkout.temp.path();
    let matrix = std::env::var_os("NANOCLAW_MATRIX")
        .map(PathBuf::from)
        .map_or_else(program_of_matrix, Ok)?;
    std::fs::create_dir_all(root.join("channels/matrix"))?;
    std::fs::create_dir_all(root.join("target/matrix/release"))?;
    symlink(matrix, root.join("target/matrix/release/nanoclaw-matrix"))?;
    std::fs::copy(repo().join("channels/matrix/build.sh"), root.join("channels/matrix/build.sh"))?;
    // Nobody shall be asked for a device by a test; without settings Emacs would take the port of a person's host.
    let (mut env, skills) = ("WHATSAPP_BASE_URL=http://127.0.0.1:9\n".to_owned(), skills()?);
    let mut peers = Vec::new();
    for name in skills.keys().filter(|name| *name != "whatsapp") {
        peers.push(peers::open(name).await?);
    }
    for peer in &peers {
        if peer.channel().name == "emacs" {
            env += &settings(peer.as_ref());
        }
    }
    std::fs::write(root.join(".env"), &env)?;
    for skill in skills.values() {
        for line in runnable(skill) {
            checkout.types(line).await?;
        }
    }
    let before = states(&checkout).await?;
    for peer in &peers {
        let name = peer.channel().name;
        let needs = peer.channel().settings.iter().any(|s| s.required);
        let is = before.get(name).with_context(|| format!("{name} is not listed"))?;
        assert_eq!(is == "not configured", needs, "{name}: {is}");
        if name != "emacs" {
            write!(env, "{}", settings(peer.as_ref()))?;
        }
    }
    assert!(before.contains_key("whatsapp"), "{before:?}");
    std::fs::write(root.join(".env"), &env)?;
    checkout.types("bin/nanoclaw stop && bin/nanoclaw start").await?;
    for peer in &mut peers {
        let name = peer.channel().name;
        until(&checkout, "bin/nanoclaw status", &format!("{name}: up")).await?;
        let place = match peer.profile().direct {
            Offer::Yes => Place::Direct,
            Offer::No(_) => Place::Thread(1),
        };
        peer.say(Say::new("ann", place, "hello").mention()).await?;
        until(&checkout, "bin/ncl chats list", name).await?;
    }
    Ok(())
}

fn program_of_matrix() -> anyhow::Result<PathBuf> {
    let path = target().join("matrix/debug/nanoclaw-matrix");
    needed(path, "bash channels/matrix/build.sh --tests")
}
