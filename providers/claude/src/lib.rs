//! Claude Code as a provider: its own binary, driven over its stream-json protocol.
//!
//! One process per provider, one line per frame both ways. The first prompt goes out together with the
//! handshake, so that nothing waits but Claude Code itself; an idle session waits for the pipe and costs
//! nothing. Never touches a database, never decides who hears what. Read next: [`turn`] for what the
//! frames mean, [`process`] for how it lives and dies, [`mcp`] for the agent's own tools.

mod archive;
mod errors;
mod frames;
mod hooks;
mod mcp;
mod process;
mod prompt;
mod skills;
mod turn;

use async_trait::async_trait;
use frames::{Frame, Hook, Request};
use nanoclaw_runner::provider::{
    Command, ErrorKind, Event, Memory, Prompt, Provider, ProviderDef, ProviderError, Setup,
};
use process::Cli;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use turn::{Conversation, Wish};

/// Claude Code.
pub const PROVIDER: ProviderDef = ProviderDef {
    name: "claude",
    memory: Memory::Harness,
    make: |setup| Box::new(Claude { setup }),
};

/// Our id of the handshake.
const HANDSHAKE: &str = "initialize";
/// How long the handshake may take, on a machine with much to do.
const HANDSHAKE_MAX: Duration = Duration::from_secs(90);
/// How long the last frames of a dead process may take.
const DRAIN: Duration = Duration::from_secs(1);
/// The grace of a runner that is gone without a word.
const ORPHAN_GRACE: Duration = Duration::from_secs(4);
/// Events that the runner has not taken; then no more frames are read.
const EVENTS_MAX: usize = 256;
/// Requests of Claude Code's that are worked on at a time.
const CALLS_MAX: usize = 64;
/// Where conversations are kept, in the agent's folder.
const CONVERSATIONS: &str = "conversations";

struct Claude {
    setup: Setup,
}

#[async_trait]
impl Provider for Claude {
    async fn run(self: Box<Self>, commands: mpsc::Receiver<Command>, events: mpsc::Sender<Event>) {
        let end = match Cli::start(&self.setup) {
            Ok(cli) => Session::new(self.setup, cli).run(commands, &events).await,
            Err(detail) => Some(ProviderError { kind: ErrorKind::Setup, detail }),
        };
        events.send(Event::Exited(end)).await.ok();
    }
}

/// A request of Claude Code's that is worked on.
struct Call {
    /// Its id as a message to our tool server.
    rpc: Option<Value>,
    work: AbortHandle,
}

/// Moments at which something is due.
#[derive(Default)]
struct Timers {
    handshake: Option<Instant>,
    nudge: Option<Instant>,
    terminate: Option<Instant>,
    kill: Option<Instant>,
    drain: Option<Instant>,
}

impl Timers {
    fn next(&self) -> Option<Instant> {
        [self.handshake, self.nudge, self.terminate, self.kill, self.drain]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Takes a moment that has come.
fn due(timer: &mut Option<Instant>) -> bool {
    timer.take_if(|at| *at <= Instant::now()).is_some()
}

struct Session {
    setup: Setup,
    cli: Cli,
    talk: Conversation,
    /// Work on requests of Claude Code's: the id and the answer.
    calls: JoinSet<(String, Value)>,
    handles: HashMap<String, Call>,
    timers: Timers,
    gone: bool,
    status: Option<ExitStatus>,
    stopping: bool,
    /// Why we gave it up.
    fault: Option<ProviderError>,
}

impl Session {
    fn new(setup: Setup, cli: Cli) -> Self {
        let handshake = Some(Instant::now() + HANDSHAKE_MAX);
        Self {
            setup,
            cli,
            talk: Conversation::default(),
            calls: JoinSet::new(),
            handles: HashMap::new(),
            timers: Timers { handshake, ..Timers::default() },
            gone: false,
            status: None,
            stopping: false,
            fault: None,
        }
    }

    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        events: &mpsc::Sender<Event>,
    ) -> Option<ProviderError> {
        self.greet();
        loop {
            let next = self.timers.next();
            tokio::select! {
                permit = events.reserve(), if !self.talk.out.is_empty() => {
                    let Ok(permit) = permit else { break }; // nobody listens
                    if let Some(event) = self.talk.out.pop_front() {
                        permit.send(event);
                    }
                }
                frame = self.cli.frames.recv(), if self.talk.out.len() < EVENTS_MAX => match frame {
                    Some(frame) => self.hear(frame),
                    None => break,
                },
                Some(done) = self.calls.join_next() => {
                    if let Ok((id, answer)) = done { // else it was cancelled
                        self.handles.remove(&id);
                        self.send(prompt::response(&id, Ok(answer)));
                    }
                }
                command = commands.recv(), if !self.stopping => {
                    self.obey(command.unwrap_or(Command::Stop { grace: ORPHAN_GRACE }));
                }
                status = self.cli.child.wait(), if !self.gone => {
                    (self.gone, self.status) = (true, status.ok());
                    // Whoever it left behind may hold the pipe open for ever.
                    self.timers.drain = Some(Instant::now() + DRAIN);
                }
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    if self.time_passed() { break }
                }
            }
        }
        self.finish(events).await
    }

    fn greet(&mut self) {
        let mut hello = json!({
            "subtype": "initialize",
            "hooks": hooks::registration(),
            "sdkMcpServers": [mcp::NAME],
        });
        if !self.setup.instructions.is_empty() {
            hello["appendSystemPrompt"] = json!(self.setup.instructions);
        }
        self.send(prompt::request(HANDSHAKE, hello));
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Prompt(prompt) => self.prompt(&prompt),
            Command::Interrupt => self.interrupt(),
            Command::Stop { grace } => {
                self.stopping = true;
                if self.talk.running() {
                    self.interrupt();
                }
                self.cli.close();
                let now = Instant::now();
                self.timers.terminate = Some(now + grace * 3 / 4);
                self.timers.kill = Some(now + grace);
            }
        }
    }

    fn prompt(&mut self, prompt: &Prompt) {
        self.talk.sent(prompt);
        self.send(prompt::prompt(prompt));
    }

    fn interrupt(&mut self) {
        self.send(prompt::request("interrupt", json!({ "subtype": "interrupt" })));
    }

    fn send(&mut self, frame: Value) {
        if !self.cli.send(frame) && !self.gone && !self.stopping {
            self.give_up(ErrorKind::Other, "Claude Code stopped reading its input");
        }
    }

    fn give_up(&mut self, kind: ErrorKind, detail: &str) {
        self.fault.get_or_insert(ProviderError { kind, detail: detail.to_owned() });
        self.cli.kill();
    }

    fn hear(&mut self, frame: Frame) {
        match frame {
            Frame::ControlRequest { request_id, request } => self.answer(request_id, request),
            Frame::ControlCancelRequest { request_id } => self.cancel(|id, _| *id == request_id),
            Frame::ControlResponse { response } if response.request_id == HANDSHAKE => {
                self.timers.handshake = None;
                self.talk.ready = true;
                if let Some(error) = response.error {
                    let detail = format!("Claude Code refused the handshake: {error}");
                    self.give_up(ErrorKind::Setup, &detail);
                }
            }
            frame => self.talk.hear(frame),
        }
        match self.talk.wish.take() {
            Some(Wish::GoOn(wait)) => {
                let at = Instant::now() + wait;
                self.timers.nudge = Some(self.timers.nudge.map_or(at, |before| before.min(at)));
            }
            Some(Wish::Interrupt) => self.interrupt(),
            None => {}
        }
        if self.talk.running() {
            self.timers.nudge = None;
        }
    }

    fn answer(&mut self, id: String, request: Request) {
        self.talk.out.push_back(Event::Activity);
        match request {
            Request::HookCallback { input } => self.hook(id, input),
            Request::McpMessage { server_name, message } if server_name == mcp::NAME => {
                if let Some(rpc) = mcp::cancelled(&message) {
                    self.cancel(|_, call| call.rpc.as_ref() == Some(rpc));
                }
                let (tools, call) = (Arc::clone(&self.setup.tools), id.clone());
                self.work(id, message.id.clone(), async move {
                    json!({ "mcp_response": mcp::answer(tools, message, call).await })
                });
            }
            Request::McpMessage { .. } => {
                self.send(prompt::response(&id, Err("There is no such server.")));
            }
            Request::Other => {
                self.send(prompt::response(&id, Err("This request is not supported.")));
            }
        }
    }

    fn hook(&mut self, id: String, mut hook: Hook) {
        let transcript = hook.transcript_path.take();
        let compacting = hook.hook_event_name == "PreCompact";
        let answer = hooks::answer(hook, &mut self.talk, self.setup.check_reply.as_ref());
        match transcript.filter(|_| compacting) {
            Some(transcript) => {
                let folder = self.setup.cwd.join(CONVERSATIONS);
                self.work(id, None, async move {
                    let copy = move || archive::keep(Path::new(&transcript), &folder);
                    // Without a copy the conversation goes on all the same.
                    tokio::task::spawn_blocking(copy).await.ok();
                    answer
                });
            }
            None => self.send(prompt::response(&id, Ok(answer))),
        }
    }

    fn work(
        &mut self,
        id: String,
        rpc: Option<Value>,
        answer: impl Future<Output = Value> + Send + 'static,
    ) {
        if self.handles.len() >= CALLS_MAX {
            self.send(prompt::response(&id, Err("Too many calls at a time.")));
            return;
        }
        let name = id.clone();
        let work = self.calls.spawn(async move { (name, answer.await) });
        self.handles.insert(id, Call { rpc, work });
    }

    /// Drops work that nobody waits for any more.
    fn cancel(&mut self, which: impl Fn(&String, &Call) -> bool) {
        for (_, call) in self.handles.extract_if(|id, call| which(id, call)) {
            call.work.abort();
        }
    }

    /// Does what is due; true if there is nothing more to wait for.
    fn time_passed(&mut self) -> bool {
        if due(&mut self.timers.handshake) {
            let detail = "Claude Code did not answer the handshake in time";
            self.give_up(ErrorKind::Setup, detail);
        }
        if due(&mut self.timers.nudge) && !self.stopping {
            self.send(prompt::go_on());
        }
        if due(&mut self.timers.terminate) {
            self.cli.terminate();
        }
        if due(&mut self.timers.kill) {
            self.cli.kill();
        }
        due(&mut self.timers.drain)
    }

    /// Tells what is left to tell, and how it ended.
    async fn finish(mut self, events: &mpsc::Sender<Event>) -> Option<ProviderError> {
        if !self.gone
            && let Ok(Ok(status)) = tokio::time::timeout(DRAIN, self.cli.child.wait()).await
        {
            self.status = Some(status);
        }
        for event in self.talk.out.drain(..) {
            events.send(event).await.ok();
        }
        if self.stopping {
            return None;
        }
        let tail = self.cli.tail();
        Some(self.fault.unwrap_or_else(|| match self.talk.ready {
            true => errors::dead(self.status, &tail),
            false => {
                let resumed = self.setup.continuation.is_some();
                errors::stillborn(resumed, self.status, self.talk.refusal, &tail)
            }
        }))
    }
}
