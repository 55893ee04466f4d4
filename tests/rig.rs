//! An install in a temporary folder: seeded, started as a process of its own, killed, started again.

use crate::compose::{Run, SETTING, driver, image};
use anyhow::{Context as _, ensure};
use nanoclaw_central::{
    Agent, Central, Chat, ChatKind, EngageMode, IgnoredPolicy, Role, SenderScope, SessionMode,
    UnknownSenderPolicy, Wiring,
};
use nanoclaw_conformance::{Peer, Place, Say};
use nanoclaw_contract::ids::{
    AgentId, ChannelType, ChatId, PlatformId, SessionId, UserId, WiringId,
};
use nanoclaw_contract::time::Timestamp;
use nanoclaw_driver::DriverContext;
use nanoclaw_testkit::platform::Platform;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

/// The install of one test.
pub struct Rig {
    /// Its root.
    pub root: tempfile::TempDir,
    /// How its host is run.
    pub run: Run,
    /// The platform that its people write on.
    pub platform: Platform,
    host: Option<Child>,
    /// Variables for the host, such as a fault point.
    pub host_env: Vec<(String, String)>,
}

/// The folder that holds this workspace.
pub fn repo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/")).to_owned()
}

/// The folder that things are built in.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repo().join("target"), PathBuf::from)
}

/// A file that the tests need, or the command that makes it.
pub fn needed(path: PathBuf, make: &str) -> anyhow::Result<PathBuf> {
    ensure!(path.exists(), "{} is missing; make it with `{make}`", path.display());
    Ok(path)
}

impl Rig {
    /// A fresh install; the name tells its boxes from those of other tests.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        let runner = needed(
            target().join("x86_64-unknown-linux-musl/runner/nanoclaw-runner"),
            "cargo build --profile runner --target x86_64-unknown-linux-musl -p nanoclaw-install-runner",
        )?;
        let mut rig = Self::without_boxes(name)?;
        rig.run.runner = runner;
        Ok(rig)
    }

    /// A fresh install for a driver that starts no boxes.
    pub fn without_boxes(name: &str) -> anyhow::Result<Self> {
        let root = tempfile::Builder::new().prefix("nanoclaw-").tempdir()?;
        let runner = PathBuf::new();
        static RIGS: AtomicU32 = AtomicU32::new(0);
        let nth = RIGS.fetch_add(1, Ordering::Relaxed);
        let run = Run {
            root: root.path().to_owned(),
            runner,
            tools: None,
            driver: "bubblewrap".into(),
            boxes: 100,
            idle_ms: 600_000,
            install: format!("t{name}{}-{nth}", std::process::id()),
            box_env: Vec::new(),
            memory_mib: 2048,
            channels: Vec::new(),
        };
        let platform = Platform::open(&root.path().join("data"))?;
        Ok(Self { root, run, platform, host: None, host_env: Vec::new() })
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// The central database, while the host may run as well.
    pub fn central(&self) -> anyhow::Result<Central> {
        Ok(Central::open(&self.data().join("v2.db"), Timestamp::now())?)
    }

    /// An agent with this harness; again is the same agent.
    pub fn agent(&self, name: &str, provider: &str) -> anyhow::Result<AgentId> {
        let (central, id) = (self.central()?, AgentId::parse(format!("ag-{name}"))?);
        if central.agent(&id)?.is_none() {
            central.create_agent(&Agent {
                id: id.clone(),
                name: name.into(),
                folder: name.into(),
                provider: Some(provider.into()),
                created_at: nanoclaw_contract::time::iso(Timestamp::now()),
            })?;
        }
        Ok(id)
    }

    /// What happens to strangers in a chat.
    pub fn policy(&self, chat: &ChatId, policy: UnknownSenderPolicy) -> anyhow::Result<()> {
        let central = self.central()?;
        let chat = central.chat(chat)?.context("no such chat")?;
        central.update_chat(&Chat { policy, ..chat })?;
        Ok(())
    }

    /// A direct chat, open to everybody, wired to the agent: it answers everything.
    pub fn chat(&self, platform_id: &str, agent: &AgentId) -> anyhow::Result<ChatId> {
        let central = self.central()?;
        let id = ChatId::parse(format!("mg-{platform_id}"))?;
        let created_at = nanoclaw_contract::time::iso(Timestamp::now());
        central.create_chat(&Chat {
            id: id.clone(),
            channel_type: ChannelType::parse("fake")?,
            platform_id: PlatformId::parse(platform_id)?,
            name: Some(platform_id.into()),
            kind: ChatKind::Direct,
            policy: UnknownSenderPolicy::Public,
            denied_at: None,
            created_at: created_at.clone(),
        })?;
        central.create_wiring(&Wiring {
            id: WiringId::parse(format!("mga-{platform_id}"))?,
            chat: id.clone(),
            agent: agent.clone(),
            session_mode: SessionMode::Shared,
            priority: 0,
            engage_mode: Some(EngageMode::Pattern),
            engage_pattern: Some(".".into()),
            sender_scope: SenderScope::All,
            ignored: IgnoredPolicy::Drop,
            previews: false,
            created_at,
        })?;
        Ok(id)
    }

    /// A group on one of the platform's channels, open to everybody, that nobody listens in yet.
    pub fn group(&self, channel: &str, platform_id: &str) -> anyhow::Result<ChatId> {
        let id = ChatId::parse(format!("mg-{platform_id}"))?;
        self.central()?.create_chat(&Chat {
            id: id.clone(),
            channel_type: ChannelType::parse(channel)?,
            platform_id: PlatformId::parse(platform_id)?,
            name: Some(platform_id.into()),
            kind: ChatKind::Group,
            policy: UnknownSenderPolicy::Public,
            denied_at: None,
            created_at: nanoclaw_contract::time::iso(Timestamp::now()),
        })?;
        Ok(id)
    }

    /// Lets the agent listen in the chat: to mentions, in the chat's own session, unless changed.
    pub fn wire(
        &self,
        chat: &ChatId,
        agent: &AgentId,
        change: impl FnOnce(&mut Wiring),
    ) -> anyhow::Result<()> {
        let mut wiring = Wiring {
            id: WiringId::parse(format!("mga-{chat}-{agent}"))?,
            chat: chat.clone(),
            agent: agent.clone(),
            session_mode: SessionMode::Shared,
            priority: 0,
            engage_mode: Some(EngageMode::Mention),
            engage_pattern: None,
            sender_scope: SenderScope::All,
            ignored: IgnoredPolicy::Drop,
            previews: false,
            created_at: nanoclaw_contract::time::iso(Timestamp::now()),
        };
        change(&mut wiring);
        Ok(self.central()?.create_wiring(&wiring)?)
    }

    /// A person who owns the install.
    pub fn owner(&self, handle: &str) -> anyhow::Result<()> {
        self.owner_on("fake", handle)
    }

    /// The same, on this channel.
    pub fn owner_on(&self, channel: &str, handle: &str) -> anyhow::Result<()> {
        let (central, now) = (self.central()?, Timestamp::now());
        let user = UserId::parse(format!("{channel}:{handle}"))?;
        central.upsert_user(&user, channel, Some(handle), now)?;
        central.grant_role(&user, Role::Owner, None, None, now)?;
        Ok(())
    }

    /// Has the host talk to this peer, by its adapter.
    pub fn connects(&mut self, peer: &dyn Peer) {
        self.run.channels.push(peer.channel().name.into());
        let settings = peer.settings().into_iter();
        self.host_env.extend(settings.map(|(name, value)| (format!("{SETTING}{name}"), value)));
    }

    /// The chat that somebody writes from for the first time: the platform alone knows what it is called. From now
    /// on everybody may talk there, and nobody listens yet.
    pub async fn meets(
        &self,
        peer: &mut dyn Peer,
        who: &'static str,
        place: Place,
    ) -> anyhow::Result<ChatId> {
        let (central, channel) = (self.central()?, peer.channel().name);
        let known: Vec<_> = central.chats()?.into_iter().map(|c| c.id).collect();
        peer.say(Say::new(who, place, "hello there").mention()).await?;
        let new = |c: &Chat| c.channel_type.as_str() == channel && !known.contains(&c.id);
        let wait = async {
            loop {
                if let Some(chat) = central.chats()?.into_iter().find(new) {
                    self.policy(&chat.id, UnknownSenderPolicy::Public)?;
                    return Ok(chat.id);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let met = tokio::time::timeout(Duration::from_secs(60), wait).await;
        met.with_context(|| format!("nothing came from {channel}\n{}", self.log()))?
    }

    /// Starts the host as a process of its own; returns when it is ready.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        let exe = std::env::current_exe()?;
        let near =
            exe.ancestors().take(3).map(|d| d.join("nanoclaw-fakehost")).find(|p| p.is_file());
        let exe =
            near.context("nanoclaw-fakehost is not built; run `cargo build -p nanoclaw-tests`")?;
        let run = &self.run;
        let mut command = Command::new(exe);
        command.arg("run").arg("--root").arg(&run.root).arg("--runner").arg(&run.runner);
        command.args(["--driver", &run.driver, "--install", &run.install]);
        command
            .arg("--boxes")
            .arg(run.boxes.to_string())
            .arg("--idle-ms")
            .arg(run.idle_ms.to_string());
        command.arg("--memory-mib").arg(run.memory_mib.to_string());
        if let Some(tools) = &run.tools {
            command.arg("--tools").arg(tools);
        }
        for env in &run.box_env {
            command.arg("--box-env").arg(env);
        }
        for channel in &run.channels {
            command.arg("--channel").arg(channel);
        }
        command.envs(self.host_env.iter().cloned());
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.data().join("host.log"))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        let mut child = command.spawn()?;
        let mut ready = [0; 6];
        let stdout = child.stdout.as_mut().context("no stdout")?;
        let read =
            tokio::time::timeout(Duration::from_secs(30), stdout.read_exact(&mut ready)).await;
        if !matches!(read, Ok(Ok(_))) {
            anyhow::bail!("the host did not get ready:\n{}", self.log());
        }
        self.host = Some(child);
        Ok(())
    }

    /// Waits until every channel is up: a host that is ready may still be connecting them.
    pub async fn all_up(&self) -> anyhow::Result<()> {
        let until = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let status = self.ncl("status").await?;
            let up = |c: &serde_json::Value| c["state"] == "up";
            if status["channels"].as_array().is_some_and(|all| all.iter().all(up)) {
                return Ok(());
            }
            ensure!(tokio::time::Instant::now() < until, "{status}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The host's log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data().join("host.log")).unwrap_or_default()
    }

    /// The host's process id.
    pub fn pid(&self) -> Option<u32> {
        self.host.as_ref().and_then(Child::id)
    }

    /// Kills the host without warning.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut host) = self.host.take() {
            host.start_kill()?;
            host.wait().await?;
        }
        Ok(())
    }

    /// Whether the host has ended by itself, such as at a fault point.
    pub async fn ended(&mut self, within: Duration) -> bool {
        match &mut self.host {
            Some(host) => tokio::time::timeout(within, host.wait()).await.is_ok(),
            None => true,
        }
    }

    /// Stops the host in order.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(mut host) = self.host.take() {
            if let Some(pid) = host
                .id()
                .and_then(|p| i32::try_from(p).ok())
                .and_then(rustix::process::Pid::from_raw)
            {
                rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
            }
            tokio::time::timeout(Duration::from_secs(40), host.wait())
                .await
                .context("the host does not stop")??;
        }
        Ok(())
    }

    /// Asks the running host what `ncl` would ask.
    pub async fn ncl(&self, words: &str) -> anyhow::Result<serde_json::Value> {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        match nanoclaw_admin::parse::parse(&words) {
            Ok(nanoclaw_admin::parse::Asked::Do { request, .. }) => {
                nanoclaw_admin::client::ask(&self.data().join("ncl.sock"), &request)
                    .await
                    .map_err(|e| anyhow::anyhow!(e.message))
            }
            other => anyhow::bail!("{words:?}: {other:?}"),
        }
    }

    /// The sessions of an agent.
    pub fn sessions(&self, agent: &AgentId) -> anyhow::Result<Vec<SessionId>> {
        let all = self.central()?.sessions(100_000, 0)?;
        Ok(all.into_iter().filter(|s| s.agent == *agent).map(|s| s.id).collect())
    }

    /// The folder of a session.
    pub fn dir(
        &self,
        agent: &AgentId,
        session: &SessionId,
    ) -> anyhow::Result<nanoclaw_contract::dir::SessionDir> {
        Ok(nanoclaw_contract::dir::SessionDir::new(&self.data(), agent, session)?)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(host) = &mut self.host {
            if let Err(e) = host.start_kill() {
                tracing::debug!(error = %e, "the host was gone");
            }
            // It must not start a box after the others were ended.
            while matches!(host.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        // Boxes outlive their host by design. A drop cannot wait for a driver; a thread with a runtime can.
        let run = self.run.clone();
        let ended = std::thread::spawn(move || end_boxes(&run)).join();
        if !matches!(ended, Ok(Ok(()))) {
            tracing::error!(?ended, "boxes were left behind");
        }
    }
}

/// Ends every box of an install.
#[tokio::main(flavor = "current_thread")]
async fn end_boxes(run: &Run) -> anyhow::Result<()> {
    let context =
        DriverContext { state: run.root.join("data/boxes"), image: image(), ..Default::default() };
    let driver = driver(&run.driver, &context)?;
    for found in driver.list(&run.install).await? {
        driver.stop(&found.name, Duration::ZERO).await?;
    }
    Ok(())
}
