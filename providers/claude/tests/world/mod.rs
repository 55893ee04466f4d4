//! A fake API, a folder to work in, and an agent that runs in it.

use async_trait::async_trait;
use nanoclaw_provider_claude::PROVIDER;
use nanoclaw_runner::provider::{Command, Event, Prompt, ProviderError, Setup};
use nanoclaw_runner::tools::{Handler, ToolDef, Tools};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;
use tokio::sync::mpsc;
use uuid::Uuid;

/// Far beyond what a slow machine needs.
const PATIENCE: Duration = Duration::from_secs(90);

/// One red pixel.
pub(crate) const PNG: &[u8] = &[
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d, 0x49, 0x48, 0x44, 0x52, 0, 0, 0,
    1, 0, 0, 0, 1, 8, 2, 0, 0, 0, 0x90, 0x77, 0x53, 0xde, 0, 0, 0, 0x0c, 0x49, 0x44, 0x41, 0x54,
    0x08, 0xd7, 0x63, 0xf8, 0xcf, 0xc0, 0, 0, 3, 1, 1, 0, 0x18, 0xdd, 0x8d, 0xb0, 0, 0, 0, 0, 0x49,
    0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
];

pub(crate) struct World {
    dir: TempDir,
    port: String,
    id: String,
    log: Arc<Mutex<Log>>,
    _api: Child,
}

#[derive(Default)]
struct Log {
    /// Name and id.
    calls: Vec<(String, String)>,
    dropped: Vec<String>,
}

pub(crate) struct Agent {
    commands: mpsc::Sender<Command>,
    events: mpsc::Receiver<Event>,
    task: tokio::task::JoinHandle<()>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("agent")).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testkit/fake_models.py");
        let mut api = tokio::process::Command::new("python3")
            .arg(script)
            .arg("--dump")
            .arg(dir.path().join("requests"))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python3 runs the fake API");
        let mut line = String::new();
        BufReader::new(api.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
        let port = line.split_whitespace().last().expect("the fake API says its port").to_owned();
        let id = Uuid::new_v4().to_string();
        Self { dir, port, id, log: Arc::default(), _api: api }
    }

    pub(crate) fn agent_dir(&self) -> PathBuf {
        self.dir.path().join("agent")
    }

    pub(crate) fn start(&self, change: impl FnOnce(&mut Setup)) -> Agent {
        let mut setup = self.setup();
        change(&mut setup);
        let (commands, receive_commands) = mpsc::channel(16);
        let (send_events, events) = mpsc::channel(64);
        let task = tokio::spawn((PROVIDER.make)(setup).run(receive_commands, send_events));
        Agent { commands, events, task }
    }

    fn setup(&self) -> Setup {
        let claude = std::env::var("NANOCLAW_CLAUDE").expect(
            "NANOCLAW_CLAUDE must say where the claude binary is; `nanoclaw.sh test` installs it",
        );
        let env = [
            ("NANOCLAW_CLAUDE", claude.as_str()),
            ("PATH", &std::env::var("PATH").unwrap()),
            ("HOME", self.dir.path().to_str().unwrap()),
            ("ANTHROPIC_API_KEY", "test"),
            ("ANTHROPIC_BASE_URL", &format!("http://127.0.0.1:{}", self.port)),
            ("CLAUDE_CODE_MAX_RETRIES", "1"),
            ("TEST_WORLD", &self.id),
        ];
        let tool = |name, description| ToolDef {
            name,
            description,
            schema: json!({ "type": "object", "properties": { "text": { "type": "string" } } }),
        };
        let tools = vec![tool("send_message", "Sends."), tool("wait", "Waits.")];
        Setup {
            cwd: self.agent_dir(),
            workspace: self.dir.path().into(),
            extra_dirs: vec![],
            skills: vec![],
            instructions: "You are Andy.".to_owned(),
            continuation: None,
            model: Some("claude-fake-1".to_owned()),
            effort: None,
            previews: false,
            mcp_servers: BTreeMap::new(),
            env: env.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            tools: Arc::new(Tools::with(tools, Ours(Arc::clone(&self.log)))),
            check_reply: Arc::new(|_| None),
        }
    }

    pub(crate) fn calls(&self) -> Vec<(String, String)> {
        self.log.lock().unwrap().calls.clone()
    }

    pub(crate) async fn until_called(&self, name: &str) {
        eventually(|| self.calls().iter().any(|c| c.0 == name), "the call").await;
    }

    pub(crate) async fn until_dropped(&self, name: &str) {
        let dropped = || self.log.lock().unwrap().dropped.iter().any(|d| d == name);
        eventually(dropped, "the end of the call").await;
    }

    /// What the API was asked, oldest first.
    fn bodies(&self) -> Vec<String> {
        let Ok(dir) = std::fs::read_dir(self.dir.path().join("requests")) else { return vec![] };
        let mut files: Vec<_> = dir.map(|e| e.unwrap().path()).collect();
        files.retain(|f| f.to_string_lossy().ends_with("_messages.json"));
        files.sort();
        // Written by the fake as they came; read again in one form.
        let body = |f: &PathBuf| {
            let value: Value =
                serde_json::from_slice(&std::fs::read(f).unwrap()).unwrap_or_default();
            serde_json::to_string(&value).unwrap().replace("\":\"", "\": \"")
        };
        files.iter().map(body).collect()
    }

    pub(crate) fn requests(&self) -> String {
        self.bodies().join("\n")
    }

    pub(crate) fn last_request(&self) -> String {
        self.bodies().pop().unwrap_or_default()
    }

    pub(crate) fn request_count(&self) -> usize {
        self.bodies().len()
    }

    pub(crate) async fn until_requested(&self, count: usize) {
        eventually(|| self.request_count() >= count, "the request").await;
    }

    /// Everything that the harness of this world started, itself included.
    fn processes(&self) -> Vec<(i32, PathBuf)> {
        let mark = format!("TEST_WORLD={}", self.id);
        let pids = std::fs::read_dir("/proc").unwrap().flatten();
        pids.filter_map(|e| e.file_name().to_str()?.parse().ok())
            .filter(|pid: &i32| {
                let env = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                env.split(|b| *b == 0).any(|v| v == mark.as_bytes())
            })
            .filter_map(|pid| Some((pid, std::fs::read_link(format!("/proc/{pid}/exe")).ok()?)))
            .collect()
    }

    pub(crate) async fn until_processes(&self, what: impl Fn(usize) -> bool) {
        eventually(|| what(self.processes().len()), "the processes").await;
    }

    pub(crate) fn kill_the_harness(&self) {
        let processes = self.processes();
        let is_claude =
            |exe: &Path| exe.file_name().is_some_and(|n| n.to_string_lossy().contains("claude"));
        let (pid, _) = processes.iter().find(|(_, exe)| is_claude(exe)).expect("claude runs");
        let pid = rustix::process::Pid::from_raw(*pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
}

async fn eventually(done: impl Fn() -> bool, what: &str) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("no sign of {what}"));
}

impl Agent {
    pub(crate) async fn send(&self, command: Command) {
        self.commands.send(command).await.unwrap();
    }

    pub(crate) async fn say(&self, text: &str) {
        self.send(Command::Prompt(prompt(text))).await;
    }

    /// Everything up to the first event that fits.
    pub(crate) async fn until(&mut self, fits: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut seen = vec![];
        loop {
            let next = tokio::time::timeout(PATIENCE, self.events.recv()).await;
            let Ok(Some(event)) = next else { panic!("it did not come, after {seen:?}") };
            seen.push(event);
            let event = seen.last().unwrap();
            if fits(event) {
                return seen;
            }
            assert!(!matches!(event, Event::Exited(_)), "the harness is gone: {seen:?}");
        }
    }

    /// Ends the provider without a word.
    pub(crate) fn abandon(self) {
        self.task.abort();
    }

    pub(crate) async fn end(&mut self) -> Option<ProviderError> {
        match self.until(|e| matches!(e, Event::Exited(_))).await.pop() {
            Some(Event::Exited(end)) => end,
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn prompt(text: &str) -> Prompt {
    let text = text.to_owned();
    Prompt { id: Uuid::new_v4(), text, command: None, images: vec![], wants_turn: true }
}

pub(crate) fn command(command: &str) -> Prompt {
    Prompt { command: Some(command.to_owned()), ..prompt("") }
}

pub(crate) fn context(text: &str) -> Prompt {
    Prompt { wants_turn: false, ..prompt(text) }
}

pub(crate) fn is_turn_end(event: &Event) -> bool {
    matches!(event, Event::TurnEnded(_))
}

pub(crate) fn texts(events: &[Event]) -> Vec<&str> {
    let mut texts = vec![];
    for event in events {
        if let Event::Text { text, .. } = event {
            texts.push(text.as_str());
        }
    }
    texts
}

struct Ours(Arc<Mutex<Log>>);

/// Notes when a call was dropped before it ended.
struct Guard(Arc<Mutex<Log>>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.lock().unwrap().dropped.push("wait".to_owned());
    }
}

#[async_trait]
impl Handler for Ours {
    async fn call(
        &self,
        name: &str,
        args: &Map<String, Value>,
        call: &str,
    ) -> Result<String, String> {
        self.0.lock().unwrap().calls.push((name.to_owned(), call.to_owned()));
        if name == "wait" {
            let _guard = Guard(Arc::clone(&self.0));
            std::future::pending::<()>().await;
        }
        Ok(format!("sent {}", args.get("text").and_then(Value::as_str).unwrap_or_default()))
    }
}
