//! Our runner, outside any box, on a session that v2's host made and drives.

use super::{SOON, file, number, text};
use anyhow::{Context as _, ensure};
use nanoclaw_tests::rig::{needed, target};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Stdio;
use tokio::process::{Child, Command};

/// Our runner's own binary.
fn runner() -> anyhow::Result<PathBuf> {
    needed(
        target().join("x86_64-unknown-linux-musl/runner/nanoclaw-runner"),
        "cargo build --profile runner --target x86_64-unknown-linux-musl -p nanoclaw-install-runner",
    )
}

/// v2's host and its one session.
struct V2 {
    temp: tempfile::TempDir,
    /// Everything that it sent.
    sent: Vec<Value>,
    waiting: i64,
}

impl V2 {
    async fn new() -> anyhow::Result<Self> {
        needed("/usr/bin/python3".into(), "apt-get install python3")?;
        let v2 = Self { temp: tempfile::tempdir()?, sent: Vec::new(), waiting: 0 };
        v2.host(&["create"]).await?;
        Ok(v2)
    }

    fn session(&self) -> PathBuf {
        self.temp.path().join("session")
    }

    async fn host(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("/usr/bin/python3");
        command.arg(file("v2_host.py")).arg(self.session()).args(words);
        let done = command.stdin(Stdio::null()).output().await?;
        ensure!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
        Ok(String::from_utf8(done.stdout)?.trim().to_owned())
    }

    async fn verdict(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.host(&["stuck"]).await?)?)
    }

    /// Passes of v2's host, until it has sent `n` messages in all and nothing waits.
    async fn until_sent(&mut self, n: usize) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + SOON;
        while self.sent.len() < n || self.waiting > 0 {
            ensure!(
                tokio::time::Instant::now() < deadline,
                "{} wait, sent: {:#?}",
                self.waiting,
                self.sent
            );
            let pass: Value = serde_json::from_str(&self.host(&["deliver"]).await?)?;
            self.sent.extend(pass["sent"].as_array().context("no pass")?.iter().cloned());
            self.waiting = pass["waiting"].as_i64().context("no pass")?;
        }
        Ok(())
    }

    /// Starts our runner as v2's container would, without the container.
    fn runner(&self) -> anyhow::Result<Child> {
        let mut command = Command::new(runner()?);
        command.env("NANOCLAW_WORKSPACE", self.session()).env("HOME", self.temp.path());
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.temp.path().join("log"))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        Ok(command.spawn()?)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.temp.path().join("log")).unwrap_or_default()
    }
}

#[tokio::test]
async fn our_runner_answers_under_v2s_host() -> anyhow::Result<()> {
    let mut v2 = V2::new().await?;
    assert_eq!(v2.host(&["push", "m1", "echo one"]).await?, "2");
    let mut runner = v2.runner()?;
    v2.waiting = 1;
    v2.until_sent(1).await.with_context(|| v2.log())?;
    let first = &v2.sent[0];
    assert!(first["content"]["text"].as_str().is_some_and(|t| t.contains("one")), "{first}");
    assert_eq!(
        (&first["seq"], &first["reply"], &first["to"]),
        (&3.into(), &"m1".into(), &"room/r1".into())
    );
    // One more while it runs, and a file, from where v2 looks for it.
    assert_eq!(v2.host(&["push", "m2", "send me a file"]).await?, "4");
    v2.waiting = 1;
    v2.until_sent(2).await.with_context(|| v2.log())?;
    let files = v2.sent.iter().find_map(|s| s["files"].as_object().filter(|f| !f.is_empty()));
    assert!(
        files.is_some_and(|f| f.values().all(|text| text.as_str().is_some_and(|t| !t.is_empty()))),
        "{:#?}",
        v2.sent
    );
    // v2 judges it well, and finds nothing of ours where it does not expect it.
    let verdict = v2.verdict().await?;
    assert_eq!(
        (&verdict["verdict"], &verdict["claims"], &verdict["beat"]),
        (&"ok".into(), &0.into(), &true.into()),
        "{verdict}"
    );
    let session = v2.session();
    assert!(
        session.join("outbound.db").symlink_metadata()?.is_file() && !session.join("box").exists()
    );
    let even = "SELECT COUNT(*) FROM messages_out WHERE seq % 2 = 0";
    assert_eq!(number(&session.join("outbound.db"), even)?, 0);
    assert_eq!(text(&session.join("outbound.db"), "PRAGMA journal_mode")?, "delete");
    runner.kill().await?;
    Ok(())
}

#[tokio::test]
async fn killed_in_its_sleep_our_runner_goes_on_under_v2s_host() -> anyhow::Result<()> {
    let mut v2 = V2::new().await?;
    for n in 1..=3 {
        v2.host(&["push", &format!("m{n}"), &format!("echo number {n}")]).await?;
        let mut runner = v2.runner()?;
        v2.waiting = 1;
        v2.until_sent(n).await.with_context(|| v2.log())?;
        // What was answered is claimed no more: v2 would put it back.
        assert_eq!(v2.verdict().await?["claims"], 0);
        runner.kill().await?;
    }
    let texts: Vec<_> =
        v2.sent.iter().map(|s| s["content"]["text"].as_str().unwrap_or_default()).collect();
    assert_eq!(texts.len(), 3, "{texts:?}");
    for (n, text) in texts.iter().enumerate() {
        assert!(text.contains(&format!("number {}", n + 1)), "{texts:?}");
    }
    let numbers: Vec<_> = v2.sent.iter().map(|s| s["seq"].as_i64().unwrap_or_default()).collect();
    assert!(numbers.is_sorted() && numbers.iter().all(|n| n % 2 == 1), "{numbers:?}");
    Ok(())
}

#[tokio::test]
async fn v2_sees_a_working_turn_of_our_runner() -> anyhow::Result<()> {
    let mut v2 = V2::new().await?;
    v2.host(&["push", "m1", "sleep 3 seconds"]).await?;
    let mut runner = v2.runner()?;
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let seen = v2.verdict().await?;
        assert_eq!(seen["verdict"], "ok", "{seen}");
        if seen["claims"] == 1 && seen["beat"] == true {
            break;
        }
        ensure!(tokio::time::Instant::now() < deadline, "{seen}: {}", v2.log());
    }
    v2.waiting = 1;
    v2.until_sent(1).await.with_context(|| v2.log())?;
    runner.kill().await?;
    Ok(())
}
