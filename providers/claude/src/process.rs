//! The Claude Code process: how it is found, started, read, written to and ended.
//!
//! Reading, writing and its error output are tasks of their own, so that a process that stops reading
//! or floods us holds up nobody. Never waits for it without a limit.

use crate::frames::Frame;
use crate::mcp;
use nanoclaw_runner::provider::Setup;
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use uuid::Uuid;

/// Where an install puts it.
const INSTALLED: &str = "/opt/nanoclaw/tools/claude/claude";
/// Says where it is instead.
const OVERRIDE: &str = "NANOCLAW_CLAUDE";
/// A longer line is not read as a frame.
const LINE_MAX: u64 = 64 * 1024 * 1024;
/// A buffer that grew beyond this is given back.
const LINE_USUAL: usize = 1024 * 1024;
/// Frames that wait to be handled.
const FRAMES_DEPTH: usize = 4;
/// Frames that wait to be written; more means that it stopped reading.
const WRITES_DEPTH: usize = 1024;
/// Kept of its error output.
const TAIL_MAX: usize = 4096;
/// How often those it started are looked for: one may start another meanwhile.
const KILL_ROUNDS: u32 = 4;
/// In the environment of everything that it starts, to find it again.
const MARK: &str = "NANOCLAW_HARNESS";
/// Tools that would wait for a person at a terminal, or promise what only this process remembers.
const NOT_HERE: &str = "CronCreate,CronDelete,CronList,ScheduleWakeup,AskUserQuestion,EnterPlanMode,ExitPlanMode,EnterWorktree,ExitWorktree";
/// What is set unless the install says otherwise.
const ENVIRONMENT: [(&str, &str); 9] = [
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    ("DISABLE_AUTOUPDATER", "1"),
    ("CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS", "1"),
    ("CLAUDE_CODE_AUTO_COMPACT_WINDOW", "165000"),
    // The runner tells the user and tries again itself.
    ("CLAUDE_CODE_MAX_RETRIES", "2"),
    // Our tools are there from the start, not behind a search.
    ("ENABLE_TOOL_SEARCH", "false"),
    // A question to a person may stay open for long.
    ("MCP_TOOL_TIMEOUT", "86400000"),
    // We are in a box, and may be root in it.
    ("IS_SANDBOX", "1"),
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
];

/// A running Claude Code.
pub(crate) struct Cli {
    pub(crate) child: Child,
    pub(crate) frames: mpsc::Receiver<Frame>,
    writes: mpsc::Sender<Option<Value>>,
    tail: Arc<Mutex<Vec<u8>>>,
    group: Option<Pid>,
    mark: String,
}

impl Cli {
    /// Starts it. The error is for people.
    pub(crate) fn start(setup: &Setup) -> Result<Self, String> {
        crate::skills::link(setup);
        let binary = binary(setup);
        let mark = Uuid::new_v4().to_string();
        let mut command = Command::new(&binary);
        command.args(arguments(setup)).current_dir(&setup.cwd).env_clear();
        command.envs(ENVIRONMENT).envs(&setup.env).env(MARK, &mark);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).kill_on_drop(true).spawn().map_err(|e| {
            format!(
                "Claude Code could not be started from {} in {}: {e}. Install it, or set {OVERRIDE} to where it is.",
                binary.display(),
                setup.cwd.display()
            )
        })?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err("Claude Code was started without its pipes.".to_owned());
        };
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let (writes, to_write) = mpsc::channel(WRITES_DEPTH);
        let (read_frames, frames) = mpsc::channel(FRAMES_DEPTH);
        let tail = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(write(stdin, to_write));
        tokio::spawn(read(stdout, read_frames));
        tokio::spawn(listen(stderr, Arc::clone(&tail)));
        Ok(Self { child, frames, writes, tail, group, mark })
    }

    /// Queues a frame; false if it does not read any more.
    pub(crate) fn send(&self, frame: Value) -> bool {
        self.writes.try_send(Some(frame)).is_ok()
    }

    /// Tells it that nothing more will come.
    pub(crate) fn close(&self) -> bool {
        self.writes.try_send(None).is_ok()
    }

    /// Asks it to end now.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends it and everything that it started: its shells have groups of their own.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
        let mark = format!("{MARK}={}", self.mark);
        for _ in 0..KILL_ROUNDS {
            let marked = |pid: &i32| {
                let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                environment.split(|b| *b == 0).any(|variable| variable == mark.as_bytes())
            };
            let left: Vec<_> = processes().filter(marked).filter_map(Pid::from_raw).collect();
            if left.is_empty() {
                return;
            }
            for pid in left {
                rustix::process::kill_process(pid, Signal::KILL).ok();
            }
        }
    }

    /// The end of its error output.
    pub(crate) fn tail(&self) -> String {
        let tail = self.tail.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        String::from_utf8_lossy(&tail).into_owned()
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            rustix::process::kill_process_group(group, signal).ok();
        }
    }
}

/// A provider can be dropped at any moment; what it started does not outlive it.
impl Drop for Cli {
    fn drop(&mut self) {
        self.kill();
    }
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn binary(setup: &Setup) -> PathBuf {
    if let Some(path) = setup.env.get(OVERRIDE) {
        return path.into();
    }
    let installed = Path::new(INSTALLED);
    if installed.exists() { installed.into() } else { "claude".into() }
}

/// The command line. Values are glued to their flags, so that none is read as a flag.
fn arguments(setup: &Setup) -> Vec<String> {
    let mut args: Vec<String> = [
        "--output-format=stream-json",
        "--input-format=stream-json",
        "--verbose",
        "--replay-user-messages",
        "--dangerously-skip-permissions",
        "--setting-sources=project,user,local",
        "--strict-mcp-config",
        // Which pages may be read is the vault's decision; the vendor is not asked, and could not be.
        r#"--settings={"skipWebFetchPreflight":true}"#,
    ]
    .map(str::to_owned)
    .into();
    args.push(format!("--disallowedTools={NOT_HERE}"));
    args.extend(setup.previews.then(|| "--include-partial-messages".to_owned()));
    let chosen =
        [("model", &setup.model), ("effort", &setup.effort), ("resume", &setup.continuation)];
    for (flag, value) in chosen {
        args.extend(value.iter().map(|value| format!("--{flag}={value}")));
    }
    args.extend(setup.extra_dirs.iter().map(|dir| format!("--add-dir={}", dir.display())));
    let mut servers = setup.mcp_servers.clone();
    servers.remove(mcp::NAME);
    if !servers.is_empty() {
        args.push(format!("--mcp-config={}", json!({ "mcpServers": servers })));
    }
    args
}

async fn write(mut stdin: ChildStdin, mut frames: mpsc::Receiver<Option<Value>>) {
    while let Some(Some(frame)) = frames.recv().await {
        let line = format!("{frame}\n");
        if stdin.write_all(line.as_bytes()).await.is_err() || stdin.flush().await.is_err() {
            return; // it is gone; its end is seen elsewhere
        }
    }
}

async fn read(stdout: ChildStdout, frames: mpsc::Sender<Frame>) {
    let mut stdout = BufReader::new(stdout);
    let mut line = Vec::new();
    // A line beyond the limit comes in pieces, and no piece of it is a frame.
    while let Ok(1..) = (&mut stdout).take(LINE_MAX).read_until(b'\n', &mut line).await {
        if let Some(frame) = Frame::parse(&line)
            && frames.send(frame).await.is_err()
        {
            return;
        }
        line.clear();
        line.shrink_to(LINE_USUAL);
    }
}

async fn listen(mut stderr: ChildStderr, tail: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
        let mut tail = tail.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        tail.extend_from_slice(&buffer[..read]);
        let surplus = tail.len().saturating_sub(TAIL_MAX);
        tail.drain(..surplus);
    }
}

#[cfg(test)]
pub(crate) mod tests;
