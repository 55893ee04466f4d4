//! A host's half of a session, and a runner in-process.

use async_trait::async_trait;
use nanoclaw_contract::dir::SessionDir;
use nanoclaw_contract::ids::{Address, AgentId, ChannelType, MessageId, PlatformId};
use nanoclaw_contract::inbox::{Inbox, Settled};
use nanoclaw_contract::message::{
    DeliveredStatus, Destination, InKind, InStatus, NewIn, Target, Trigger,
};
use nanoclaw_contract::outbox::{Commit, Outbox, OutboxReader};
use nanoclaw_contract::time::{SystemClock, Timestamp};
use nanoclaw_runner::provider::{
    Command, Event, Memory, Prompt, Provider, ProviderDef, Setup, TurnEnd,
};
use nanoclaw_runner::{Options, Signal};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(20);

/// A chat message from the conversation that the session belongs to.
pub(crate) fn row(id: &str, text: &str) -> NewIn {
    NewIn {
        id: MessageId::parse(id).unwrap(),
        kind: InKind::Chat,
        timestamp: Timestamp::now(),
        process_after: None,
        recurrence: None,
        trigger: Trigger::Wake,
        reply: Some(home()),
        content: json!({ "text": text, "sender": "Ann" }).to_string(),
        source: None,
        on_wake: false,
    }
}

fn home() -> Address {
    Address {
        channel_type: ChannelType::parse("cli").unwrap(),
        platform_id: PlatformId::parse("local").unwrap(),
        thread_id: None,
    }
}

/// An outbound row, as a test reads it.
#[derive(Debug, Clone)]
pub(crate) struct Out {
    pub(crate) id: String,
    pub(crate) seq: i64,
    pub(crate) in_reply_to: Option<String>,
    pub(crate) to: Option<String>,
    pub(crate) content: Value,
}

impl Out {
    pub(crate) fn text(&self) -> String {
        self.content["text"].as_str().unwrap_or_default().to_owned()
    }
}

/// The host's half.
pub(crate) struct Host {
    dir: SessionDir,
    /// Removed with the host.
    _temp: tempfile::TempDir,
}

impl Host {
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = SessionDir::at(temp.path().join("session"));
        dir.create().unwrap();
        let host = Self { dir, _temp: temp };
        host.name_home();
        host.config("{\"provider\":\"demo\",\"agentGroupId\":\"ag-1\"}");
        host
    }

    /// A copy of a session folder that a v2 host left, in v2's own flat shape.
    pub(crate) fn adopted_by_v2(from: &Path) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("session");
        std::fs::create_dir_all(root.join("agent")).unwrap();
        for name in ["inbound.db", "outbound.db"] {
            std::fs::copy(from.join(name), root.join(name)).unwrap();
        }
        let host = Self { dir: SessionDir::at(root), _temp: temp };
        host.name_home();
        host.config("{\"provider\":\"demo\",\"agentGroupId\":\"ag-1\"}");
        host
    }

    fn name_home(&self) {
        self.name(&["home", "peer"]);
        self.inbox().set_routing(Some(&home())).unwrap();
    }

    /// Names whom the agent may write to: `home` is its own chat, everybody else an agent.
    pub(crate) fn name(&self, names: &[&str]) {
        let Address { channel_type, platform_id, .. } = home();
        let all: Vec<_> = names
            .iter()
            .map(|name| Destination {
                name: (*name).into(),
                display_name: None,
                target: match *name {
                    "home" => Target::Channel {
                        channel_type: channel_type.clone(),
                        platform_id: platform_id.clone(),
                    },
                    _ => Target::Agent(AgentId::parse("ag-2").unwrap()),
                },
            })
            .collect();
        self.inbox().set_destinations(&all).unwrap();
    }

    fn inbox(&self) -> Inbox {
        Inbox::open(&self.dir.inbound()).unwrap()
    }

    fn outbound(&self) -> PathBuf {
        let ours = self.dir.outbound();
        if ours.exists() { ours } else { self.dir.root().join("outbound.db") }
    }

    fn reader(&self) -> OutboxReader {
        OutboxReader::open(&self.outbound()).unwrap()
    }

    pub(crate) fn config(&self, json: &str) {
        std::fs::write(self.dir.root().join("agent/container.json"), json).unwrap();
    }

    pub(crate) fn options(&self) -> Options {
        let env = BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap())]);
        let workspace = self.dir.root().to_owned();
        Options { workspace, env, clock: Arc::new(SystemClock) }
    }

    pub(crate) fn push(&self, rows: &[NewIn]) {
        self.inbox().push(rows).unwrap();
    }

    /// The person chose an option.
    pub(crate) fn answer(&self, id: &str, question: &str, value: &str) {
        let mut row = row(id, "");
        row.kind = InKind::System;
        row.content = json!({ "type": "question_response", "questionId": question,
            "selectedOption": value, "userId": "cli:ann" })
        .to_string();
        self.push(&[row]);
    }

    /// The host's answer to a request, which lies here for so long.
    pub(crate) fn cli_response(&self, request: &str, age: Duration, frame: &Value) {
        let mut row = row(&format!("cli-resp-{request}"), "");
        row.kind = InKind::System;
        row.timestamp = Timestamp::now() - age;
        row.content =
            json!({ "type": "cli_response", "requestId": request, "frame": frame }).to_string();
        self.push(&[row]);
    }

    pub(crate) fn out(&self) -> Vec<Out> {
        let rows = self.reader().rows_after(0, 1000).unwrap();
        rows.into_iter()
            .map(|found| found.row.unwrap())
            .map(|row| Out {
                id: row.id.to_string(),
                seq: row.seq,
                in_reply_to: row.in_reply_to.map(|id| id.to_string()),
                to: row.to.map(|a| {
                    let thread = a.thread_id.map_or("-".to_owned(), |t| t.to_string());
                    format!("{}/{}/{thread}", a.channel_type, a.platform_id)
                }),
                content: serde_json::from_str(&row.content).unwrap(),
            })
            .collect()
    }

    /// Every row that the runner claimed, finished and did not forget.
    pub(crate) fn acks(&self) -> Vec<String> {
        let reader = self.reader();
        let done = reader.finished().unwrap();
        let claims = reader.claims().unwrap();
        done.into_iter()
            .map(|(id, _)| id)
            .chain(claims.into_keys())
            .map(|id| id.to_string())
            .collect()
    }

    pub(crate) fn status(&self, id: &str) -> InStatus {
        self.inbox().get(&MessageId::parse(id).unwrap()).unwrap().unwrap().1
    }

    /// Looks again and again, settling like a host, until `look` finds what it wants.
    async fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            let acks = self.reader().finished().unwrap();
            let open: Vec<_> = acks
                .into_iter()
                .filter(|(id, _)| self.status(id.as_str()) == InStatus::Pending)
                .collect();
            if !open.is_empty() {
                let none: [Settled; 0] = [];
                self.inbox().settle(&none, &open, Timestamp::now(), "UTC").unwrap();
            }
            if let Some(found) = look() {
                return found;
            }
            assert!(start.elapsed() < PATIENCE, "waited in vain for {what}: {:#?}", self.out());
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    /// Waits for this many outbound rows.
    pub(crate) async fn wait(&self, n: usize) -> Vec<Out> {
        self.until(&format!("{n} rows"), || Some(self.out()).filter(|out| out.len() >= n)).await
    }

    /// Waits until the row is no longer pending.
    pub(crate) async fn done(&self, id: &str) -> InStatus {
        self.until(&format!("the end of {id}"), || {
            Some(self.status(id)).filter(|s| *s != InStatus::Pending)
        })
        .await
    }

    /// Waits until the pulse shows this phase.
    pub(crate) async fn phase(&self, wanted: &str) {
        let path = self.dir.writable().join(".heartbeat");
        self.until(&format!("phase {wanted}"), || {
            let pulse: Value = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
            (pulse["phase"] == wanted).then_some(())
        })
        .await;
    }

    pub(crate) async fn idle(&self) {
        self.phase("idle").await;
    }

    pub(crate) fn state(&self, key: &str) -> Option<String> {
        Outbox::open(&self.outbound(), Timestamp::now()).unwrap().state(key).unwrap()
    }

    pub(crate) fn set_state(&self, key: &str, value: &str) {
        let mut outbox = Outbox::open(&self.outbound(), Timestamp::now()).unwrap();
        let state = [(key, Some(value.to_owned()))];
        outbox.commit(&Commit { state: &state, ..Commit::default() }, Timestamp::now()).unwrap();
    }

    /// The host delivered the message under this name.
    pub(crate) fn delivered(&self, id: &str, platform: &str) {
        let settled = Settled {
            id: nanoclaw_contract::ids::OutId::parse(id).unwrap(),
            status: DeliveredStatus::Delivered,
            platform_id: Some(nanoclaw_contract::ids::PlatformMessageId::parse(platform).unwrap()),
        };
        self.inbox().settle(&[settled], &[], Timestamp::now(), "UTC").unwrap();
    }
}

/// Every session folder of the v2 install.
pub(crate) fn v2_sessions() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/v2-install/data/v2-sessions");
    let dirs = |path: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect()
    };
    let sessions: Vec<_> = dirs(&root)
        .iter()
        .flat_map(|agent| dirs(agent))
        .filter(|dir| dir.join("inbound.db").is_file())
        .collect();
    assert!(!sessions.is_empty());
    sessions
}

/// A runner at work.
pub(crate) struct Box_ {
    signals: mpsc::Sender<Signal>,
    task: JoinHandle<()>,
}

impl Box_ {
    pub(crate) fn demo(host: &Host) -> Self {
        Self::start(host.options(), nanoclaw_provider_demo::PROVIDER)
    }

    /// A runner that is told something else.
    pub(crate) fn with(options: Options) -> Self {
        Self::start(options, nanoclaw_provider_demo::PROVIDER)
    }

    fn start(options: Options, def: ProviderDef) -> Self {
        let (signals, mut heard) = mpsc::channel(4);
        let task = tokio::spawn(async move {
            nanoclaw_runner::serve(options, &[def], &mut heard).await;
        });
        Self { signals, task }
    }

    /// A runner whose harness does what the test says.
    pub(crate) fn scripted(host: &Host) -> (Self, Model) {
        let (give, lives) = mpsc::unbounded_channel();
        STAGE.with(|stage| *stage.borrow_mut() = Some(give));
        let def = ProviderDef {
            name: "demo",
            memory: Memory::Instructions,
            make: |setup| Box::new(Scripted { setup }),
        };
        (Self::start(host.options(), def), Model { lives, life: None })
    }

    pub(crate) async fn interrupt(&self) {
        self.signals.send(Signal::Interrupt).await.unwrap();
    }

    pub(crate) async fn stop(self) {
        self.signals.send(Signal::Stop).await.ok();
        self.task.await.unwrap();
    }
}

thread_local! {
    /// Each test runs on a thread of its own, its tasks too.
    static STAGE: RefCell<Option<mpsc::UnboundedSender<Life>>> = const { RefCell::new(None) };
}

struct Life {
    setup: Setup,
    commands: mpsc::UnboundedReceiver<Command>,
    events: mpsc::Sender<Event>,
}

struct Scripted {
    setup: Setup,
}

#[async_trait]
impl Provider for Scripted {
    async fn run(
        self: Box<Self>,
        mut commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<Event>,
    ) {
        let (forward, heard) = mpsc::unbounded_channel();
        let life = Life { setup: self.setup, commands: heard, events: events.clone() };
        STAGE.with(|stage| stage.borrow().as_ref().map(|s| s.send(life).is_ok()));
        while let Some(command) = commands.recv().await {
            let stop = matches!(command, Command::Stop { .. });
            forward.send(command).ok();
            if stop {
                events.send(Event::Exited(None)).await.ok();
                return;
            }
        }
    }
}

/// The test's hand on the harness.
pub(crate) struct Model {
    lives: mpsc::UnboundedReceiver<Life>,
    life: Option<Life>,
}

impl Model {
    /// The next command, of a new harness if the old one ended.
    pub(crate) async fn command(&mut self) -> Command {
        let next = async {
            loop {
                if self.life.is_none() {
                    self.life = self.lives.recv().await;
                }
                let life = self.life.as_mut().expect("the runner starts a harness");
                match life.commands.recv().await {
                    Some(command) => return command,
                    None => self.life = None,
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("the runner says something")
    }

    pub(crate) async fn prompt(&mut self) -> Prompt {
        loop {
            match self.command().await {
                Command::Prompt(prompt) => return prompt,
                Command::Stop { .. } | Command::Interrupt => {}
            }
        }
    }

    pub(crate) async fn send(&mut self, event: Event) {
        let life = self.life.as_ref().expect("there is a harness");
        life.events.send(event).await.ok();
    }

    pub(crate) async fn say(&mut self, key: &str, text: &str) {
        self.send(Event::Text { key: key.into(), text: text.into() }).await;
    }

    /// Takes a prompt in and ends its turn without a word.
    pub(crate) async fn answer(&mut self, prompt: &Prompt) {
        self.send(Event::Consumed(prompt.id)).await;
        self.send(Event::TurnEnded(Ok(TurnEnd::default()))).await;
    }

    pub(crate) fn check(&self, text: &str) -> Option<String> {
        (self.life.as_ref().expect("there is a harness").setup.check_reply)(text)
    }

    pub(crate) fn continuation(&self) -> Option<String> {
        self.life.as_ref().expect("there is a harness").setup.continuation.clone()
    }

    pub(crate) async fn call(&self, tool: &str, args: Value, id: &str) -> Result<String, String> {
        let Value::Object(args) = args else { panic!("arguments are an object") };
        let tools = Arc::clone(&self.life.as_ref().expect("there is a harness").setup.tools);
        tools.call(tool, &args, id).await
    }
}
