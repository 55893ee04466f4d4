//! One hostile session of each kind while twenty others chat: what it does is seen and ended, nothing of
//! the host is read, written or deleted, and the others do not notice.

mod bombs;
mod database;
mod files;
mod limits;
mod load;

use anyhow::{Context as _, ensure};
use nanoclaw_contract::dir::SessionDir;
use nanoclaw_contract::ids::{AgentId, SessionId};
use nanoclaw_tests::rig::{Rig, needed};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);
const SECRET: &str = "canary-4711-of-the-host";
/// The runner of these boxes: the real one, and beside it, where the test left a pipe, whatever comes out.
const RUNNER: &str = "#!/bin/sh\n\
    if [ -p /workspace/agent/orders ]; then sh </workspace/agent/orders & fi\n\
    exec /opt/nanoclaw/tools/nanoclaw-runner\n";

/// An install whose boxes may turn hostile, with something to lose beside it.
struct Ward {
    rig: Rig,
    /// Files of the host that no box may touch.
    vault: tempfile::TempDir,
    /// Held while others chat.
    _alone: Option<tokio::sync::MutexGuard<'static, ()>>,
}

/// A session that will turn hostile.
struct Bad {
    name: String,
    session: SessionId,
    dir: SessionDir,
}

impl Ward {
    async fn new(name: &str, good: usize, bad: &[&str]) -> anyhow::Result<(Self, Vec<Bad>)> {
        Self::on("bubblewrap", name, good, bad).await
    }

    async fn on(
        driver: &str,
        name: &str,
        good: usize,
        bad: &[&str],
    ) -> anyhow::Result<(Self, Vec<Bad>)> {
        let alone = if good == load::GOOD { Some(load::ALONE.lock().await) } else { None };
        let mut rig = Rig::new(name)?;
        rig.run.driver = driver.into();
        let tools = rig.root.path().join("tools");
        std::fs::create_dir(&tools)?;
        let runner = tools.join("nanoclaw-runner");
        std::fs::copy(needed(rig.run.runner.clone(), "cargo build")?, &runner)?;
        let script = rig.root.path().join("runner.sh");
        std::fs::write(&script, RUNNER)?;
        for (path, mode) in
            [(&runner, 0o755), (&script, 0o755), (&rig.root.path().to_owned(), 0o755)]
        {
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode))?;
        }
        (rig.run.tools, rig.run.runner, rig.run.memory_mib) = (Some(tools), script, 256);
        let vault = tempfile::tempdir()?;
        std::fs::write(vault.path().join("secret"), SECRET)?;
        for n in 0..good {
            let agent = rig.agent(&format!("good{n}"), "demo")?;
            rig.chat(&format!("good{n}"), &agent)?;
        }
        for name in bad {
            rig.chat(name, &rig.agent(name, "demo")?)?;
            let folder = rig.root.path().join("groups").join(name);
            std::fs::create_dir_all(&folder)?;
            let pipe = folder.join("orders");
            rustix::fs::mknodat(
                rustix::fs::CWD,
                &pipe,
                rustix::fs::FileType::Fifo,
                0o666.into(),
                0,
            )?;
            std::fs::set_permissions(&pipe, PermissionsExt::from_mode(0o666))?;
        }
        rig.start().await?;
        let ward = Self { rig, vault, _alone: alone };
        let mut sessions = Vec::new();
        for name in bad {
            sessions.push(ward.meet(name).await?);
        }
        Ok((ward, sessions))
    }

    /// The bad one answers like any other, first.
    async fn meet(&self, name: &str) -> anyhow::Result<Bad> {
        self.answers(name, "hello").await?;
        let agent = AgentId::parse(format!("ag-{name}"))?;
        let session = self.rig.sessions(&agent)?.pop().context("no session")?;
        let dir = self.rig.dir(&agent, &session)?;
        Ok(Bad { name: name.into(), session, dir })
    }

    async fn answers(&self, chat: &str, word: &str) -> anyhow::Result<()> {
        let word = format!("{word}-{}", self.rig.platform.attempts().0);
        self.rig.platform.dm(chat, &format!("echo {word}"));
        let heard = |p: &nanoclaw_testkit::platform::Platform| {
            p.texts(chat).iter().any(|t| t.starts_with(&word))
        };
        ensure!(
            self.rig.platform.until(SOON, heard).await,
            "{chat} does not answer\n{}",
            self.rig.log()
        );
        Ok(())
    }

    /// What `ncl sessions` shows of it.
    async fn shown(&self, bad: &Bad) -> anyhow::Result<(String, String)> {
        let all = self.rig.ncl("sessions list --limit 1000").await?;
        let all = all.as_array().context("no list")?;
        let one = all.iter().find(|s| s["id"] == bad.session.as_str()).context("not listed")?;
        let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        Ok((text("state"), text("reason")))
    }

    /// It is quarantined, for this reason; one command clears it, and it answers again.
    async fn is_quarantined(&self, bad: &Bad, why: &str) -> anyhow::Result<()> {
        let until = tokio::time::Instant::now() + SOON;
        loop {
            let (state, reason) = self.shown(bad).await?;
            if state == "quarantined" {
                ensure!(
                    reason.contains(why),
                    "{}: quarantined because {reason:?}, not {why:?}",
                    bad.name
                );
                return Ok(());
            }
            let left = tokio::time::Instant::now() < until;
            ensure!(
                left,
                "{} is {state}, not in quarantine because of {why:?}\n{}",
                bad.name,
                self.rig.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn clear(&self, bad: &Bad) -> anyhow::Result<()> {
        let until = tokio::time::Instant::now() + SOON;
        while let Err(e) = self.rig.ncl(&format!("sessions clear {}", bad.session)).await {
            // Its box may take a moment to go.
            ensure!(tokio::time::Instant::now() < until, "{} is not cleared: {e}", bad.name);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.answers(&bad.name, "back").await
    }

    /// Its box is told to stop, and has.
    async fn stops(&self, bad: &Bad) -> anyhow::Result<()> {
        self.rig.ncl(&format!("sessions stop {}", bad.session)).await?;
        let until = tokio::time::Instant::now() + SOON;
        while self.rig.central()?.boxes()?.iter().any(|b| b.session == bad.session) {
            ensure!(
                tokio::time::Instant::now() < until,
                "{} does not stop\n{}",
                bad.name,
                self.rig.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    fn secret(&self) -> PathBuf {
        self.vault.path().join("secret")
    }

    /// Nothing of the host was read, written or deleted, and the host did not grow.
    fn is_unharmed(&self) -> anyhow::Result<()> {
        let left: Vec<_> =
            std::fs::read_dir(self.vault.path())?.flatten().map(|e| e.file_name()).collect();
        ensure!(left == ["secret"], "beside the canary: {left:?}");
        ensure!(std::fs::read_to_string(self.secret())? == SECRET, "the canary was written to");
        ensure!(!self.rig.log().contains(SECRET), "the canary is in the log");
        for shown in self.rig.platform.shown() {
            ensure!(!shown.text.contains(SECRET), "the canary was sent: {shown:?}");
            ensure!(
                shown.files.iter().all(|f| f.1 != SECRET.len()),
                "the canary was sent: {shown:?}"
            );
        }
        let rss = self.host_rss_mib()?;
        ensure!(rss < 300, "the host uses {rss} MiB");
        Ok(())
    }

    fn host_rss_mib(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!(
            "/proc/{}/status",
            self.rig.pid().context("no host")?
        ))?;
        let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("no VmHWM")?;
        Ok(peak.trim().trim_end_matches(" kB").trim().parse::<u64>()? / 1024)
    }
}

impl Bad {
    /// Has the box itself do this.
    fn order(&self, ward: &Ward, script: &str) -> anyhow::Result<()> {
        let pipe = ward.rig.root.path().join("groups").join(&self.name).join("orders");
        let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let mut pipe = std::fs::File::options().write(true).custom_flags(nonblock).open(pipe)?;
        Ok(pipe.write_all(script.as_bytes())?)
    }

    /// A file where the box may write; written from outside, as the box itself could.
    fn path(&self, name: &str) -> PathBuf {
        self.dir.writable().join(name)
    }

    /// Puts something else in the place of a file, at once.
    fn replace(
        &self,
        name: &str,
        make: impl FnOnce(&Path) -> std::io::Result<()>,
    ) -> anyhow::Result<()> {
        let (new, old) = (self.path("replacement"), self.path(name));
        make(&new)?;
        if old.is_dir() {
            std::fs::rename(&old, self.path("was"))?;
        }
        Ok(std::fs::rename(new, old)?)
    }

    /// Gives a file to the user of the box, as if it had made it.
    fn own(&self, name: &str) -> anyhow::Result<()> {
        use std::os::unix::fs::MetadataExt as _;
        let box_user = std::fs::metadata(self.dir.writable())?;
        Ok(std::os::unix::fs::lchown(self.path(name), Some(box_user.uid()), Some(box_user.gid()))?)
    }

    /// Removes what is there, whatever it is.
    fn remove(&self, name: &str) -> anyhow::Result<()> {
        let path = self.path(name);
        match path.symlink_metadata() {
            Ok(meta) if meta.is_dir() => Ok(std::fs::remove_dir(path)?),
            Ok(_) => Ok(std::fs::remove_file(path)?),
            Err(_) => Ok(()),
        }
    }
}

fn fifo(path: &Path) -> std::io::Result<()> {
    Ok(rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o666.into(), 0)?)
}
