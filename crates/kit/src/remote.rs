//! The channel port over a socket, for an adapter that is a program of its own.
//!
//! ```text
//!  host                              program (own process group)
//!  Channel ── calls ─▶ ┌────────┐ ─▶ the adapter ⇄ platform
//!  Ingress ◀─ pushes ─ │ socket │ ◀─ its Ingress
//!  Report  ◀─ health ─ └────────┘ ◀─ its Report
//! ```
//!
//! The program gets its end of a socket pair as standard input, and its settings over it: nothing secret is in
//! its arguments or its environment. It dies with the host, because then the socket is closed. When it dies
//! alone it is started again, with growing pauses. What it had pushed and was not told "taken" the platform
//! delivers again, as after any crash; what was being sent is reported as to be tried again.
//!
//! The lines are in [`wire`], the calls in [`link`], the program's side in [`mod@serve`].

mod child;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod link;
mod serve;
#[cfg(test)]
mod tests;
mod wire;

pub use serve::{ServeError, serve};

use crate::backoff::Backoff;
use crate::lock;
use async_trait::async_trait;
use child::Child;
use link::{Calls, Link};
use nanoclaw_channel::{
    Address, Answer, Capabilities, Channel, Health, Inbound, Outgoing, PlatformId,
    PlatformMessageId, Receipt, SendError, SettingSpec, Start, StartError, Started, Typing,
};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};
use wire::{Call, Reply};

/// A program that is an adapter.
#[derive(Debug)]
pub struct Program {
    /// The channel.
    pub channel: &'static str,
    /// The file, beside the program of the host.
    pub file: &'static str,
    /// The setting that says where else the file is.
    pub path_setting: &'static str,
    /// How it is made, for who finds that it is missing.
    pub how: &'static str,
    /// What it reads; it is given nothing else.
    pub settings: &'static [SettingSpec],
}

/// Pauses between starts of a program that dies.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// A program that lived so long has no need of a longer pause.
const HEALTHY: Duration = Duration::from_secs(300);

/// How often a program must show that it still answers, and within which time.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(60));

/// How long a program may take to stop, and to answer what nobody depends on.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts the program of a channel and looks after it from then on.
pub async fn start(start: Start, program: &'static Program) -> Started {
    for spec in program.settings.iter().filter(|s| s.required) {
        if (start.setting)(spec.name).is_none() {
            return Err(StartError::NotConfigured(format!("set {}: {}", spec.name, spec.what)));
        }
    }
    let (running, capabilities) = Running::start(&start, program).await?;
    let state = Arc::new(Mutex::new(State::Up(Arc::clone(&running.link))));
    let kept = Keeper { start, program, state: Arc::clone(&state) };
    let keeping = tokio::spawn(kept.keep(running)).abort_handle();
    Ok(Arc::new(Remote { capabilities, state, keeping }))
}

/// The file of a program.
fn find(start: &Start, program: &Program) -> Result<PathBuf, StartError> {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.join(program.file));
    let path = (start.setting)(program.path_setting).map(PathBuf::from).or_else(beside);
    match path {
        Some(path) if path.is_file() => Ok(path),
        path => {
            let path = path.unwrap_or_default();
            let (how, setting) = (program.how, program.path_setting);
            Err(StartError::NotConfigured(format!(
                "there is no program {}; make it: {how} (or say where it is: {setting})",
                path.display()
            )))
        }
    }
}

/// What the program is doing.
enum State {
    Up(Arc<Link>),
    /// It died and is started again.
    Down(String),
    /// It cannot work as it is set up.
    Broken(String),
}

/// The channel, as the host sees it.
struct Remote {
    capabilities: Capabilities,
    state: Arc<Mutex<State>>,
    keeping: AbortHandle,
}

impl Remote {
    /// Asks the program; without one, or when it dies meanwhile, says so.
    async fn ask(&self, call: Call) -> Result<Reply, SendError> {
        let link = match &*lock(&self.state) {
            State::Up(link) => Arc::clone(link),
            State::Down(why) => return Err(SendError::Retry { after: None, why: why.clone() }),
            State::Broken(why) => return Err(SendError::Broken { why: why.clone() }),
        };
        link.call(call).await.ok_or_else(|| SendError::Retry {
            after: None,
            why: "the channel's program ended meanwhile".to_owned(),
        })
    }

    /// Asks for what can be done without.
    async fn ask_shortly(&self, call: Call) -> Option<Reply> {
        timeout(PATIENCE, self.ask(call)).await.ok()?.ok()
    }
}

/// An answer to another question: the program is not of this version.
fn odd(reply: &Reply) -> SendError {
    SendError::Broken { why: format!("the channel's program answered {reply:?}; build it again") }
}

#[async_trait]
impl Channel for Remote {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn send(&self, message: &Outgoing) -> Result<Receipt, SendError> {
        match self.ask(Call::Send(message.clone())).await? {
            Reply::Sent(result) => result,
            other => Err(odd(&other)),
        }
    }

    async fn typing(&self, to: &Address, typing: Typing) {
        self.ask_shortly(Call::Typing(to.clone(), typing)).await;
    }

    async fn subscribe(&self, to: &Address) {
        self.ask_shortly(Call::Subscribe(to.clone())).await;
    }

    async fn open_dm(&self, handle: &str) -> Result<PlatformId, SendError> {
        match self.ask(Call::OpenDm(handle.to_owned())).await? {
            Reply::Opened(result) => result,
            other => Err(odd(&other)),
        }
    }

    async fn history(&self, at: &Address, before: &PlatformMessageId, max: usize) -> Vec<Inbound> {
        match self.ask(Call::History(at.clone(), before.clone(), max)).await {
            Ok(Reply::History(mut said)) => {
                said.truncate(max);
                said
            }
            _ => Vec::new(),
        }
    }

    async fn chat_name(&self, chat: &PlatformId) -> Option<String> {
        match self.ask_shortly(Call::ChatName(chat.clone())).await {
            Some(Reply::Name(name)) => name,
            _ => None,
        }
    }

    async fn stop(&self) {
        self.ask_shortly(Call::Stop).await;
        self.keeping.abort();
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

/// A program that runs.
struct Running {
    child: Child,
    link: Arc<Link>,
    reading: tokio::task::JoinHandle<String>,
}

impl Running {
    async fn start(start: &Start, program: &Program) -> Result<(Self, Capabilities), StartError> {
        let path = find(start, program)?;
        let cannot = |e: std::io::Error| {
            StartError::Unreachable(format!("{} did not start: {e}", path.display()))
        };
        let (child, socket) = Child::spawn(&path, program.channel).map_err(cannot)?;
        let host = Arc::new(Host(start.clone()));
        let (link, reading) = Link::open(socket, host);
        let mut running = Self { child, link, reading };
        let settings = program.settings.iter();
        let settings = settings.filter_map(|s| Some((s.name.to_owned(), (start.setting)(s.name)?)));
        let call = Call::Start { data: start.data.clone(), settings: settings.collect() };
        match running.link.call(call).await {
            Some(Reply::Started(Ok(capabilities))) => Ok((running, capabilities)),
            Some(Reply::Started(Err(why))) => Err(why),
            Some(other) => Err(StartError::Broken(odd(&other).to_string())),
            None => Err(StartError::Unreachable(running.why().await)),
        }
    }

    /// Waits until it has ended, or stopped answering, and says how.
    async fn end(&mut self) -> String {
        let link = Arc::clone(&self.link);
        let silent = async move {
            loop {
                sleep(PING.0).await;
                if timeout(PING.1, link.call(Call::Ping)).await.is_err() {
                    return "it does not answer".to_owned();
                }
            }
        };
        tokio::select! {
            why = self.why() => why,
            why = silent => why,
        }
    }

    /// Why the socket was closed.
    async fn why(&mut self) -> String {
        let said = (&mut self.reading).await.unwrap_or_default();
        match timeout(PATIENCE, self.child.ended()).await {
            Ok(how) if said.is_empty() => how,
            Ok(how) => format!("{said}; {how}"),
            Err(_) => said,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.reading.abort();
        self.link.close();
    }
}

/// Starts the program again when it died.
struct Keeper {
    start: Start,
    program: &'static Program,
    state: Arc<Mutex<State>>,
}

impl Keeper {
    async fn keep(self, mut running: Running) {
        let mut pauses = Backoff::new(PAUSE.0, PAUSE.1);
        loop {
            let since = Instant::now();
            let why = running.end().await;
            if since.elapsed() > HEALTHY {
                pauses.reset();
            }
            drop(running);
            running = match self.again(&mut pauses, why).await {
                Some(running) => running,
                None => return,
            };
        }
    }

    /// Starts it until it runs; `None` when that makes no sense.
    async fn again(&self, pauses: &mut Backoff, mut why: String) -> Option<Running> {
        loop {
            let told =
                format!("the program {} ended: {why}; it is started again", self.program.file);
            tracing::warn!(channel = self.program.channel, "{told}");
            self.now(State::Down(told.clone()), Health::Reconnecting { why: told });
            sleep(pauses.next()).await;
            match Running::start(&self.start, self.program).await {
                Ok((running, _)) => {
                    self.now(State::Up(Arc::clone(&running.link)), Health::Up);
                    return Some(running);
                }
                Err(StartError::Unreachable(again)) => why = again,
                Err(StartError::NotConfigured(why) | StartError::Broken(why)) => {
                    self.now(State::Broken(why.clone()), Health::Broken { why });
                    return None;
                }
            }
        }
    }

    fn now(&self, state: State, health: Health) {
        *lock(&self.state) = state;
        (self.start.report)(health);
    }
}

/// What a program may ask of the host.
struct Host(Start);

#[async_trait]
impl Calls for Host {
    async fn called(&self, _link: &Arc<Link>, call: Call) -> Option<Reply> {
        let ingress = &self.0.ingress;
        Some(match call {
            Call::Push(message) => Reply::Taken(ingress.push(*message).await.map_err(|e| e.0)),
            Call::Change(change) => Reply::Taken(ingress.change(change).await.map_err(|e| e.0)),
            Call::Answer(answer) => Reply::Answered(self.answer(answer).await),
            Call::Start { .. }
            | Call::Send(_)
            | Call::Typing(..)
            | Call::Subscribe(_)
            | Call::OpenDm(_)
            | Call::History(..)
            | Call::ChatName(_)
            | Call::Ping
            | Call::Stop => return None,
        })
    }

    fn told(&self, health: Health) {
        (self.0.report)(health);
    }
}

impl Host {
    async fn answer(&self, answer: Answer) -> Result<nanoclaw_channel::AnswerOutcome, String> {
        self.0.ingress.answer(answer).await.map_err(|e| e.0)
    }
}
