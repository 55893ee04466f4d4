//! The real Claude Code in a real box, from a message to its answer. Only the model is played, by an API on
//! this machine that takes the real key alone: so every answer proves that the vault added it.

mod errors;
mod files;
mod memory;
mod secret;
mod talk;
mod tools;

use anyhow::{Context as _, ensure};
use nanoclaw_contract::dir::SessionDir;
use nanoclaw_contract::ids::AgentId;
use nanoclaw_driver::{Driver, DriverContext, Signal};
use nanoclaw_tests::compose;
use nanoclaw_tests::rig::{Rig, needed, repo, target};
use nanoclaw_vault::{Credential, Kind, Store};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// Far beyond what a loaded machine needs.
const SOON: Duration = Duration::from_secs(120);
const CHAT: &str = "c1";
const BUBBLEWRAP: &str = "bubblewrap";
const DOCKER: &str = "docker";
/// What the API takes.
pub(crate) const KEY: &str = "sk-ant-api03-the-real-key-of-this-test";
const TOKEN: &str = "sk-ant-oat01-the-real-token-of-this-test";

/// An agent with Claude Code, a chat with it, and the API that it talks to.
struct World {
    rig: Rig,
    agent: AgentId,
    api: Api,
}

impl World {
    async fn new(name: &str) -> anyhow::Result<Self> {
        Self::with(name, BUBBLEWRAP, Kind::ApiKey, KEY).await
    }

    async fn with(name: &str, driver: &str, kind: Kind, key: &str) -> anyhow::Result<Self> {
        let mut rig = Rig::new(&format!("cc{name}"))?;
        let api = Api::start(&rig.root.path().join("api"), key).await?;
        equip(&mut rig)?;
        rig.run.driver = driver.into();
        let agent = rig.agent("andy", "claude")?;
        rig.chat(CHAT, &agent)?;
        let world = Self { rig, agent, api };
        world.credential(kind, key)?;
        Ok(world)
    }

    async fn started(mut self) -> anyhow::Result<Self> {
        self.rig.start().await?;
        Ok(self)
    }

    /// What the vault adds from now on.
    fn credential(&self, kind: Kind, key: &str) -> anyhow::Result<()> {
        let credential = Credential::parse(key, Some(kind), Some(&self.api.url))?;
        Ok(Store::new(&self.rig.data()).set(&credential)?)
    }

    /// Says something and waits for what comes next in the chat.
    async fn ask(&self, text: &str) -> anyhow::Result<String> {
        let before = self.texts().len();
        self.rig.platform.dm(CHAT, text);
        self.nth(before).await
    }

    /// The answer of this number, once it is there.
    async fn nth(&self, n: usize) -> anyhow::Result<String> {
        let answered = self.rig.platform.until(SOON, |p| p.texts(CHAT).len() > n).await;
        ensure!(
            answered,
            "no answer {n}: {:?}\n{}\n{}",
            self.texts(),
            self.rig.log(),
            self.box_log()
        );
        self.texts().get(n).cloned().context("it is gone")
    }

    fn texts(&self) -> Vec<String> {
        self.rig.platform.texts(CHAT)
    }

    /// Waits for something that the platform does not see.
    async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) -> anyhow::Result<()> {
        ensure!(
            self.rig.platform.until(SOON, |_| holds()).await,
            "never: {what}\n{}\n{}",
            self.rig.log(),
            self.box_log()
        );
        Ok(())
    }

    /// The folder that the agent works in.
    fn folder(&self) -> PathBuf {
        self.rig.root.path().join("groups/andy")
    }

    fn dir(&self) -> anyhow::Result<SessionDir> {
        let session = self.rig.sessions(&self.agent)?.pop().context("no session")?;
        self.rig.dir(&self.agent, &session)
    }

    fn driver(&self) -> anyhow::Result<Arc<dyn Driver>> {
        let context = DriverContext {
            state: self.rig.data().join("boxes"),
            image: compose::image(),
            ..Default::default()
        };
        compose::driver(&self.rig.run.driver, &context)
    }

    /// Kills the only box.
    async fn kill_box(&self) -> anyhow::Result<()> {
        let driver = self.driver()?;
        let found = driver.list(&self.rig.run.install).await?;
        ensure!(found.len() == 1, "one box was expected: {found:?}");
        driver.signal(&found[0].name, Signal::Kill).await?;
        let gone = async {
            // The next one may be there before this one is looked for.
            while driver.list(&self.rig.run.install).await?.iter().any(|b| b.name == found[0].name)
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(SOON, gone).await.context("the box does not die")?
    }

    /// What boxes said on standard error, for messages of failed tests.
    fn box_log(&self) -> String {
        let logs = std::fs::read_dir(self.rig.data().join("logs")).into_iter().flatten().flatten();
        logs.filter_map(|log| std::fs::read_to_string(log.path()).ok()).collect()
    }
}

/// The model's API, played.
pub(crate) struct Api {
    pub(crate) url: String,
    requests: PathBuf,
    process: Child,
}

impl Api {
    async fn start(requests: &std::path::Path, key: &str) -> anyhow::Result<Self> {
        Self::with(requests, key, &[]).await
    }

    /// An API whose model plays roles.
    pub(crate) async fn with(
        requests: &std::path::Path,
        key: &str,
        more: &[&std::ffi::OsStr],
    ) -> anyhow::Result<Self> {
        let mut process = Command::new("python3")
            .arg(repo().join("testkit/fake_models.py"))
            .args(["--expect-key", key, "--dump"])
            .arg(requests)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("python3 runs the API; install it with `apt-get install python3`")?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("no stdout")?).read_line(&mut line).await?;
        let port = line.split_whitespace().last().context("the API did not say its port")?;
        Ok(Self { url: format!("http://127.0.0.1:{port}"), requests: requests.into(), process })
    }

    /// What the model was asked, oldest first.
    pub(crate) fn requests(&self) -> Vec<Value> {
        let Ok(entries) = std::fs::read_dir(&self.requests) else { return Vec::new() };
        let mut files: Vec<_> = entries.flatten().map(|e| e.path()).collect();
        files.retain(|f| f.to_string_lossy().ends_with("_messages.json"));
        files.sort();
        // A file that is being written now does not parse yet.
        files.iter().filter_map(|f| serde_json::from_slice(&std::fs::read(f).ok()?).ok()).collect()
    }

    /// The newest request that holds this text.
    fn request_with(&self, text: &str) -> anyhow::Result<Value> {
        self.requests()
            .into_iter()
            .rev()
            .find(|r| strings(r).contains(text))
            .with_context(|| format!("{text:?} was never asked"))
    }
}

/// Every text in it, one after the other.
pub(crate) fn strings(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text}\n"),
        Value::Array(all) => all.iter().map(strings).collect(),
        Value::Object(all) => all.values().map(strings).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => String::new(),
    }
}

/// Claude Code, as `nanoclaw.sh test` installs it.
fn claude() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("NANOCLAW_CLAUDE")
        .map_or_else(|| target().join("tools/claude/claude"), PathBuf::from);
    needed(path, "nanoclaw tools install --dir target/tools")
}

/// Gives the boxes of an install Claude Code.
pub(crate) fn equip(rig: &mut Rig) -> anyhow::Result<()> {
    let claude = claude()?;
    let (folder, file) =
        (claude.parent().context("no folder")?, claude.file_name().context("no name")?);
    let inside = PathBuf::from("/opt/nanoclaw/tools")
        .join(folder.file_name().context("no name")?)
        .join(file);
    rig.run.tools = folder.parent().map(Into::into);
    rig.run.box_env.push(format!("NANOCLAW_CLAUDE={}", inside.display()));
    // A box's user must reach what is mounted from here.
    std::fs::set_permissions(rig.root.path(), std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// How the agent says something in the chat.
fn say(text: &str) -> String {
    format!(r#"!say <message to="{CHAT}">{text}</message>"#)
}

/// How the agent runs a command.
fn bash(command: &str) -> String {
    format!("!tool Bash {}", serde_json::json!({ "command": command }))
}
