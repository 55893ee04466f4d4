//! The real Claude Code against a fake of its API: alone, and in a box behind the vault, in the same run.

use crate::report::{Report, Target, percentile};
use crate::world::{PATIENCE, World};
use anyhow::{Context as _, bail};
use nanoclaw_tests::rig::{needed, repo, target};
use nanoclaw_vault::{Credential, Store};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const KEY: &str = "sk-ant-api03-bench-bench-bench";
const ALONE_COLD: &str = "Claude Code alone, start and first turn p50";
const ALONE_WARM: &str = "Claude Code alone, next turn p50";
/// What NanoClaw may add to the harness's own start and first turn.
const OWN_MS: f64 = 150.0;

/// The folder with the harness: the variable that the tests know, or where `nanoclaw.sh test` installs it.
fn binary() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("NANOCLAW_CLAUDE")
        .map_or_else(|| target().join("tools/claude/claude"), PathBuf::from);
    needed(path, "target/release/nanoclaw tools install --dir target/tools")
}

/// The fake of the model's API.
struct Api {
    url: String,
    _process: Child,
}

impl Api {
    async fn start() -> anyhow::Result<Self> {
        let mut process = Command::new("python3")
            .arg(repo().join("testkit/fake_models.py"))
            .args(["--expect-key", KEY])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("start testkit/fake_models.py with python3")?;
        let mut lines = BufReader::new(process.stdout.take().context("no stdout")?).lines();
        let line = lines.next_line().await?.context("the fake API ended")?;
        let port = line.split_whitespace().last().context("the fake API names no port")?;
        Ok(Self { url: format!("http://127.0.0.1:{port}"), _process: process })
    }
}

/// The harness by itself: its start and first turn, and its next turns.
pub(crate) async fn alone(report: &mut Report) -> anyhow::Result<()> {
    let (api, binary) = (Api::start().await?, binary()?);
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    for n in 0..report.samples(15) {
        // A session that was used before, as the one in the box is.
        let home = tempfile::tempdir()?;
        for measured in [false, true] {
            let begun = Instant::now();
            let mut cli = Cli::start(&binary, home.path(), &api.url)?;
            cli.turn("hello").await?;
            let took = begun.elapsed();
            if measured {
                cold.push(took);
                for _ in 0..3 {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    let begun = Instant::now();
                    cli.turn(&format!("hello {n}")).await?;
                    warm.push(begun.elapsed());
                }
            }
            cli.process.kill().await?;
        }
    }
    report.time(ALONE_COLD, percentile(&mut cold, 50), Target::None);
    report.time(ALONE_WARM, percentile(&mut warm, 50), Target::None);
    Ok(())
}

struct Cli {
    process: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Cli {
    fn start(binary: &Path, home: &Path, api: &str) -> anyhow::Result<Self> {
        let mut process = Command::new(binary)
            .args(["--output-format=stream-json", "--input-format=stream-json", "--verbose"])
            .args([
                "--dangerously-skip-permissions",
                "--setting-sources=project,user,local",
                "--strict-mcp-config",
            ])
            .current_dir(home)
            .env_clear()
            .envs([
                ("PATH", "/usr/local/bin:/usr/bin:/bin"),
                ("ANTHROPIC_BASE_URL", api),
                ("ANTHROPIC_API_KEY", KEY),
            ])
            .envs([
                ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
                ("DISABLE_AUTOUPDATER", "1"),
                ("IS_SANDBOX", "1"),
            ])
            .env("HOME", home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        let stdin = process.stdin.take().context("no stdin")?;
        let lines = BufReader::new(process.stdout.take().context("no stdout")?).lines();
        Ok(Self { process, stdin, lines })
    }

    async fn turn(&mut self, text: &str) -> anyhow::Result<()> {
        let message = json!({ "type": "user", "session_id": "", "parent_tool_use_id": null,
            "message": { "role": "user", "content": text } });
        self.stdin.write_all(format!("{message}\n").as_bytes()).await?;
        self.stdin.flush().await?;
        let result = async {
            while let Some(line) = self.lines.next_line().await? {
                let frame: Value = serde_json::from_str(&line).unwrap_or_default();
                if frame["type"] == "result" {
                    return if frame["is_error"] == false {
                        Ok(())
                    } else {
                        bail!("the turn failed: {line}")
                    };
                }
            }
            bail!("Claude Code ended")
        };
        tokio::time::timeout(PATIENCE, result).await.context("Claude Code does not answer")?
    }
}

/// The harness in a box.
pub(crate) async fn boxed(report: &mut Report, driver: &str) -> anyhow::Result<()> {
    let mut world = World::new("claude", driver, "claude")?;
    let done = measure(report, &mut world, driver).await;
    world.end().await?;
    done
}

async fn measure(report: &mut Report, world: &mut World, driver: &str) -> anyhow::Result<()> {
    let (api, binary) = (Api::start().await?, binary()?);
    let tools = tempfile::Builder::new()
        .prefix("tools")
        .tempdir_in(binary.parent().context("a file has a folder")?)?;
    install(&binary, tools.path())?;
    world.rig.run.tools = Some(tools.path().to_owned());
    Store::new(&world.rig.data()).set(&Credential::parse(KEY, None, Some(&api.url))?)?;
    world.chats(1)?;
    world.rig.start().await?;
    let say = ["!say <message to=\"c0\">", "</message>"];
    world.ask("c0", say).await?;
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    for _ in 0..report.samples(15) {
        world.all_asleep().await?;
        cold.push(world.ask("c0", say).await?);
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            warm.push(world.ask("c0", say).await?);
        }
    }
    let engine =
        if driver == "docker" { report.of(crate::cold::ENGINE).unwrap_or_default() } else { 0.0 };
    let most =
        report.of(ALONE_COLD).map_or(Target::None, |own| Target::AtMost(own + engine + OWN_MS));
    report.time(&format!("Claude cold p50, {driver}"), percentile(&mut cold, 50), most);
    report.time(&format!("Claude warm p50, {driver}"), percentile(&mut warm, 50), Target::None);
    Ok(())
}

/// A folder of tools with the harness in it, without a second copy where that can be had.
fn install(binary: &Path, tools: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(tools, std::fs::Permissions::from_mode(0o755))?;
    let folder = tools.join("claude");
    std::fs::create_dir(&folder)?;
    Ok(std::fs::hard_link(binary, folder.join("claude"))?)
}
