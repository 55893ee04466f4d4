//! What the documentation tells people to type: README's runnable blocks run, every command named exists.
//!
//! A block that begins with three backticks and `sh` is meant to be typed as it stands, from top to bottom; the
//! test does that in a checkout of its own. Only `cargo build` is not repeated there: what it would make is
//! taken from this workspace.

mod channels;
mod first;

use anyhow::{Context as _, ensure};
use nanoclaw_admin::parse::{Asked, parse};
use nanoclaw_tests::rig::{needed, repo, target};
use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const PATIENCE: Duration = Duration::from_secs(180);
/// Commands of `nanoclaw` with commands of their own.
const NESTED: [&str; 3] = ["image", "vault", "tools"];
/// Stands in for `cargo` where something is built.
const CARGO: &str = r#"#!/bin/sh
[ "$1" = build ] || exec "$REAL_CARGO" "$@"
echo "not built again"
"#;

/// A program of `install/`, as `nanoclaw.sh test` or `cargo build` made it.
fn program(name: &str) -> anyhow::Result<PathBuf> {
    let folder =
        std::env::var_os("NANOCLAW_PROGRAMS").map_or_else(|| target().join("debug"), PathBuf::from);
    needed(folder.join(name), "cargo build -p nanoclaw")
}

fn runner() -> anyhow::Result<PathBuf> {
    needed(
        target().join("x86_64-unknown-linux-musl/runner/nanoclaw-runner"),
        "cargo build --profile runner --target x86_64-unknown-linux-musl -p nanoclaw-install-runner",
    )
}

/// A checkout in which the documentation is followed.
struct Checkout {
    temp: tempfile::TempDir,
    path: String,
    /// What isolates its agents; else it is as on a machine without an engine, whatever this one has.
    driver: &'static str,
    /// What the person who types has in the environment besides.
    env: Vec<(&'static str, String)>,
}

impl Checkout {
    fn new() -> anyhow::Result<Self> {
        let temp = tempfile::Builder::new().prefix("nanoclaw-docs-").tempdir()?;
        std::fs::set_permissions(temp.path(), PermissionsExt::from_mode(0o755))?;
        let root = temp.path();
        for name in ["nanoclaw.sh", "rust-toolchain.toml", "container"] {
            symlink_or_copy(name, root)?;
        }
        let musl = format!("target/{}-unknown-linux-musl/runner", std::env::consts::ARCH);
        for folder in ["shims", "target/release", &musl] {
            std::fs::create_dir_all(root.join(folder))?;
        }
        symlink(program("nanoclaw")?, root.join("target/release/nanoclaw"))?;
        symlink(program("ncl")?, root.join("target/release/ncl"))?;
        symlink(runner()?, root.join(musl).join("nanoclaw-runner"))?;
        let shim = root.join("shims/cargo");
        std::fs::write(&shim, CARGO)?;
        std::fs::set_permissions(&shim, PermissionsExt::from_mode(0o755))?;
        let path = format!("{}:{}", root.join("shims").display(), std::env::var("PATH")?);
        Ok(Self { temp, path, driver: "bubblewrap", env: Vec::new() })
    }

    /// Types a line; returns what it printed.
    async fn types(&self, line: &str) -> anyhow::Result<String> {
        self.types_in(line, "").await
    }

    /// Types a line, and then this.
    async fn types_in(&self, line: &str, input: &str) -> anyhow::Result<String> {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", line]).current_dir(self.temp.path());
        for name in [
            "ANTHROPIC_API_KEY",
            "CLAUDE_CODE_OAUTH_TOKEN",
            "ANTHROPIC_BASE_URL",
            "NANOCLAW_DATA",
            "NANOCLAW_ROOT",
        ] {
            command.env_remove(name);
        }
        command.env("NANOCLAW_DRIVER", self.driver).env("PATH", &self.path);
        command.env("CARGO_TARGET_DIR", self.temp.path().join("target"));
        command.env("REAL_CARGO", env!("CARGO")).envs(self.env.iter().cloned());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // Who reads nothing may have ended already.
            drop(stdin.write_all(input.as_bytes()).await);
        }
        let done = tokio::time::timeout(PATIENCE, child.wait_with_output())
            .await
            .with_context(|| format!("{line}: no end"))??;
        let (out, err) =
            (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        ensure!(
            done.status.success(),
            "`{line}` ended with {}:\n{out}\n{err}\n{}",
            done.status,
            self.log()
        );
        Ok(out.into_owned())
    }

    fn log(&self) -> String {
        ["logs/setup.log", "logs/nanoclaw.log"]
            .map(|name| std::fs::read_to_string(self.temp.path().join(name)).unwrap_or_default())
            .concat()
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        let program = self.temp.path().join("bin/nanoclaw");
        if program.exists() {
            let mut stop = std::process::Command::new(program);
            stop.arg("stop").current_dir(self.temp.path()).env("NANOCLAW_ROOT", self.temp.path());
            if let Err(e) = stop.stdout(Stdio::null()).stderr(Stdio::null()).status() {
                tracing::warn!(error = %e, "the host was not stopped");
            }
        }
    }
}

/// Scripts find themselves where they are, so they are copied; folders that are only read are linked.
fn symlink_or_copy(name: &str, root: &Path) -> anyhow::Result<()> {
    let from = repo().join(name);
    match from.is_dir() {
        true => symlink(from, root.join(name))?,
        false => drop(std::fs::copy(&from, root.join(name)).with_context(|| name.to_owned())?),
    }
    Ok(())
}

/// Every page for people.
fn pages() -> anyhow::Result<Vec<(String, String)>> {
    let mut pages = vec![
        "README.md".to_owned(),
        "CONTRIBUTING.md".into(),
        "SECURITY.md".into(),
        "ARCHITECTURE.md".into(),
    ];
    for folder in ["docs", "docs/channels"] {
        for entry in std::fs::read_dir(repo().join(folder))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".md") {
                pages.push(format!("{folder}/{name}"));
            }
        }
    }
    for entry in std::fs::read_dir(repo().join(".claude/skills"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        pages.push(format!(".claude/skills/{name}/SKILL.md"));
    }
    pages
        .into_iter()
        .map(|name| Ok((std::fs::read_to_string(repo().join(&name))?, name)))
        .map(|r| r.map(|(text, name)| (name, text)))
        .collect()
}

/// The lines of the blocks that are meant to be typed.
fn runnable(page: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut within = None;
    for line in page.lines().map(str::trim) {
        match (line.strip_prefix("```"), within) {
            (Some(kind), None) => within = Some(kind == "sh"),
            (Some(_), Some(_)) => within = None,
            (None, Some(true)) if !line.is_empty() => lines.push(line),
            (None, _) => {}
        }
    }
    lines
}

/// Everything on the page that is code: blocks, and what stands between backticks.
fn code(page: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut within = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            within = !within;
        } else if within {
            found.push(line);
        } else {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

/// The words behind each call of a program in a piece of code.
fn calls<'a>(code: &'a str, program: &str) -> Vec<Vec<&'a str>> {
    let words: Vec<&str> = code.split_whitespace().collect();
    let is_it = |word: &str| word == program || word.strip_prefix("bin/") == Some(program);
    let starts = words.iter().enumerate().filter(|(_, word)| is_it(word)).map(|(n, _)| n + 1);
    starts.map(|n| words.get(n..).unwrap_or_default().to_vec()).collect()
}

fn is_command(word: &str) -> bool {
    !word.is_empty()
        && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        && !word.starts_with('-')
}

#[tokio::test]
async fn everything_that_readme_says_to_type_works_from_top_to_bottom() -> anyhow::Result<()> {
    let readme = std::fs::read_to_string(repo().join("README.md"))?;
    let lines = runnable(&readme);
    for daily in ["nanoclaw.sh --yes", "chat", "status", "logs", "stop", "start", "ncl"] {
        assert!(lines.iter().any(|l| l.contains(daily)), "README shows no {daily}: {lines:#?}");
    }
    let checkout = Checkout::new()?;
    for line in lines {
        let said = checkout.types(line).await?;
        assert!(!said.trim().is_empty(), "`{line}` says nothing");
        if line.contains("nanoclaw.sh --yes") || line.contains("chat") {
            assert!(said.contains("demo"), "`{line}` printed no answer of the demo agent:\n{said}");
        }
    }
    // What README says of the rest of a day.
    let status = checkout.types("bin/nanoclaw status").await?;
    assert!(status.contains("bubblewrap"), "{status}");
    let again = checkout.types("bash nanoclaw.sh --yes").await?;
    assert!(again.contains("demo"), "the second run printed no answer:\n{again}");
    let json = checkout.types("bin/nanoclaw chat --json 'echo seven'").await?;
    let lines: Vec<serde_json::Value> =
        json.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let last = lines.last().context("no lines")?;
    assert_eq!(
        (&last["type"], &last["status"], &last["code"]),
        (&"end".into(), &"answered".into(), &0.into()),
        "{json}"
    );
    let received = lines
        .iter()
        .find(|l| l["type"] == "received")
        .and_then(|l| l["id"].as_str())
        .context("nothing was received")?;
    let why = checkout.types(&format!("bin/ncl why {received}")).await?;
    for step in ["received", "delivered"] {
        assert!(why.contains(step), "`ncl why` does not tell that it was {step}:\n{why}");
    }
    for folder in ["data", "groups", "logs", "bin"] {
        assert!(checkout.temp.path().join(folder).is_dir(), "README names {folder}/");
    }
    const KEY: &str = "sk-ant-api03-not-a-real-one";
    checkout.types(&format!("echo {KEY} | bin/nanoclaw vault set")).await?;
    let stored = checkout.types("bin/nanoclaw vault status").await?;
    assert!(stored.contains("API key") && !stored.contains(KEY), "{stored}");
    let mode = std::fs::metadata(checkout.temp.path().join("data/vault"))?.permissions().mode();
    assert_eq!(mode & 0o077, 0, "others can look into data/vault");
    checkout.types("bin/nanoclaw vault remove").await?;
    let stored = checkout.types("bin/nanoclaw vault status").await?;
    assert!(stored.contains("no credential"), "{stored}");
    checkout.types("bin/nanoclaw stop").await?;
    let down = checkout.types("bin/nanoclaw status").await.unwrap_err().to_string();
    assert!(down.contains("ended with"), "{down}");
    let code = checkout.types("bin/nanoclaw chat hello || echo \"code $?\"").await?;
    assert!(
        code.contains("code 2"),
        "docs/chat.md promises 2 when the host does not answer: {code}"
    );
    Ok(())
}

#[tokio::test]
async fn every_command_that_a_page_names_exists() -> anyhow::Result<()> {
    let nanoclaw = program("nanoclaw")?;
    let mut wanted = BTreeSet::new();
    let (mut admin, mut count) = (BTreeSet::new(), 0);
    for (page, text) in pages()? {
        for code in code(&text) {
            for words in calls(code, "nanoclaw") {
                let Some(first) = words.first().filter(|w| is_command(w)) else { continue };
                let second = words.get(1).filter(|w| NESTED.contains(first) && is_command(w));
                wanted.insert((page.clone(), first.to_string(), second.map(ToString::to_string)));
            }
            for words in calls(code, "ncl") {
                if !words.first().is_some_and(|w| is_command(w)) {
                    continue;
                }
                let words: Vec<_> = words.into_iter().map(str::to_owned).collect();
                admin.insert((page.clone(), words));
            }
        }
    }
    for (page, first, second) in &wanted {
        count += 1;
        let mut command = Command::new(&nanoclaw);
        command.arg(first).args(second).arg("--help").stdin(Stdio::null());
        let done = command.output().await?;
        assert!(
            done.status.success(),
            "{page} names `nanoclaw {first} {}`",
            second.as_deref().unwrap_or("")
        );
    }
    for (page, words) in &admin {
        count += 1;
        match parse(words) {
            Ok(Asked::Do { .. } | Asked::Text(_) | Asked::Help(_)) => {}
            Err(e) => assert!(
                !e.message.contains("no command"),
                "{page} names `ncl {}`: {}",
                words.join(" "),
                e.message
            ),
        }
    }
    assert!(count > 50, "only {count} commands were found");
    Ok(())
}

#[test]
fn blocks_code_and_calls_are_found() {
    let page = "Say `bin/nanoclaw status -x`.\n```sh\nbin/ncl help\n\n```\n```\nno\n```\nand `a | nanoclaw chat`";
    assert_eq!(runnable(page), ["bin/ncl help"]);
    assert_eq!(
        code(page),
        ["bin/nanoclaw status -x", "bin/ncl help", "", "no", "a | nanoclaw chat"]
    );
    assert_eq!(calls("a | nanoclaw chat x", "nanoclaw"), [["chat", "x"]]);
    assert!(is_command("chat") && !is_command("--json") && !is_command("…"));
}
