//! A driver without boxes: the "agent" is a task of the test that echoes, on the test's clock.

use async_trait::async_trait;
use nanoclaw_contract::content::{Chat, Task};
use nanoclaw_contract::dir::Workspace;
use nanoclaw_contract::ids::{Address, ChannelType, OutId, PlatformId};
use nanoclaw_contract::inbox::{InboxReader, Look};
use nanoclaw_contract::message::{
    AckStatus, Destination, InKind, InRow, NewOut, OutKind, Target, Trigger,
};
use nanoclaw_contract::outbox::{Commit, Outbox};
use nanoclaw_contract::pulse::{Phase, Pulse, Tool};
use nanoclaw_contract::time::{Clock, Timestamp};
use nanoclaw_driver::provide::{Progress, Provided, Wanted};
use nanoclaw_driver::{BoxSpec, Driver, DriverError, Exit, Probe, Running, Signal};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Everything is due by then.
const FAR: Timestamp = Timestamp::MAX;
/// How often the agent looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How an agent behaves.
#[derive(Debug, Clone, Copy, Default)]
pub enum Manner {
    /// It answers at once: it echoes, or writes the rows that the message orders.
    #[default]
    Echoes,
    /// It takes messages on and shows no sign of life any more.
    Hangs,
    /// It answers at once, but never takes what the host answers to its runner.
    Deaf,
    /// It works for so long before it answers, and shows it.
    Works(Duration),
}

/// Starts tasks instead of boxes.
#[derive(Default)]
pub struct FakeDriver {
    running: Arc<Mutex<BTreeMap<String, Fake>>>,
    /// How agents behave that start from now on.
    pub manner: Mutex<Manner>,
    /// The test's clock, for agents that show a pulse.
    pub clock: Mutex<Option<Arc<dyn Clock>>>,
    /// Starts that fail before one works.
    pub failing: Mutex<u32>,
    /// What was made ready, and what was removed: one line each.
    pub made: Mutex<Vec<String>>,
    /// Boxes with one of these packages do not start.
    pub sick: Mutex<Vec<String>>,
    /// How long packages take.
    pub takes: Mutex<Option<Duration>>,
    /// Every box that was started.
    pub specs: Mutex<Vec<BoxSpec>>,
    /// Most boxes that ever ran at once, and how many were started.
    counts: Mutex<(usize, usize)>,
}

struct Fake {
    spec: BoxSpec,
    over: watch::Sender<bool>,
}

impl FakeDriver {
    /// Most boxes at once, and starts in all.
    pub fn counts(&self) -> (usize, usize) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Fake>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Driver for FakeDriver {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn probe(&self) -> Result<Probe, DriverError> {
        Ok(Probe { version: "fake".into(), missing: Vec::new() })
    }

    async fn start(&self, spec: &BoxSpec) -> Result<(), DriverError> {
        {
            let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
            if *failing > 0 {
                *failing -= 1;
                return Err(DriverError::Start("the test wants it so".into()));
            }
        }
        let image = spec.image.clone().unwrap_or_default();
        if self
            .sick
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .any(|s| image.contains(s))
        {
            return Err(DriverError::Start("its packages make it sick".into()));
        }
        self.specs.lock().unwrap_or_else(PoisonError::into_inner).push(spec.clone());
        let source = |target: &str| {
            spec.mounts.iter().find(|m| m.target.as_os_str() == target).map(|m| m.source.clone())
        };
        let Some(workspace) = source("/workspace") else {
            return Err(DriverError::Start("no workspace".into()));
        };
        let (over, mut ended) = watch::channel(false);
        let mut all = self.all();
        all.insert(spec.name.clone(), Fake { spec: spec.clone(), over });
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts = (counts.0.max(all.len()), counts.1 + 1);
        let manner = *self.manner.lock().unwrap_or_else(PoisonError::into_inner);
        let clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner).clone();
        tokio::spawn(async move {
            let started = tokio::time::Instant::now();
            let mut first = true;
            while !*ended.borrow_and_update() {
                let (workspace, now) = (Workspace::at(&workspace), clock.as_ref().map(|c| c.now()));
                let every = match manner {
                    Manner::Echoes | Manner::Deaf => LOOK_EVERY,
                    Manner::Hangs | Manner::Works(_) => Duration::from_secs(5),
                };
                // As a runner does: a pulse before anything else, and what is for a new box only at first.
                let kind = if std::mem::take(&mut first) { Look::First } else { Look::Later };
                let look = move || match manner {
                    Manner::Hangs => claim_all(&workspace),
                    Manner::Works(long) if started.elapsed() < long => {
                        claim_all(&workspace)?;
                        beat(&workspace, now, Phase::Tool)
                    }
                    Manner::Works(_) | Manner::Echoes | Manner::Deaf => {
                        if kind == Look::First {
                            beat(&workspace, now, Phase::Idle)?;
                        }
                        let system = if matches!(manner, Manner::Deaf) { 0 } else { 100 };
                        answer_all(&workspace, now, kind, system)
                    }
                };
                // A failed look is a look too early; the next one finds more.
                drop(tokio::task::spawn_blocking(look).await);
                drop(tokio::time::timeout(every, ended.changed()).await);
            }
        });
        Ok(())
    }

    async fn signal(&self, name: &str, signal: Signal) -> Result<(), DriverError> {
        if signal == Signal::Interrupt {
            return Ok(());
        }
        match self.all().remove(name) {
            Some(fake) => {
                fake.over.send_replace(true);
                Ok(())
            }
            None => Err(DriverError::Gone(name.into())),
        }
    }

    async fn wait(&self, name: &str) -> Result<Exit, DriverError> {
        let mut over = match self.all().get(name) {
            Some(fake) => fake.over.subscribe(),
            None => return Err(DriverError::Gone(name.into())),
        };
        // The sender is dropped with the box: both mean its end.
        drop(over.wait_for(|over| *over).await);
        Ok(Exit { code: Some(0), out_of_memory: false, tail: String::new() })
    }

    async fn provide(
        &self,
        wanted: &Wanted,
        progress: Progress<'_>,
    ) -> Result<Provided, DriverError> {
        let names = [wanted.apt.as_slice(), &wanted.npm].concat().join("+");
        progress(&format!("fetching {names}"));
        let takes = *self.takes.lock().unwrap_or_else(PoisonError::into_inner);
        tokio::time::sleep(takes.unwrap_or_default()).await;
        if names.contains("no-such") {
            return Err(DriverError::Other("no such package".into()));
        }
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(names.clone());
        let search = BTreeMap::from([("PATH".into(), vec!["/opt/agent/bin".into()])]);
        let plain = names.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let anew = wanted.key.split_once('-').map_or(String::new(), |(_, n)| format!(".{n}"));
        Ok(Provided { image: Some(format!("made:{plain}{anew}")), mounts: Vec::new(), search })
    }

    async fn tidy(&self, _: &Wanted, keep: &Provided) -> Result<(), DriverError> {
        let kept = format!("kept {}", keep.image.clone().unwrap_or_default());
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
        Ok(())
    }

    async fn list(&self, install: &str) -> Result<Vec<Running>, DriverError> {
        let of = |f: &&Fake| f.spec.install == install;
        Ok(self
            .all()
            .values()
            .filter(of)
            .map(|f| Running { name: f.spec.name.clone(), session: Some(f.spec.session.clone()) })
            .collect())
    }
}

/// Takes on what waits, and leaves it there.
fn claim_all(workspace: &Workspace) -> Result<(), nanoclaw_contract::Error> {
    let now = Timestamp::now();
    let rows = InboxReader::open(&workspace.inbound())?.pending(
        Look::First,
        &std::collections::BTreeSet::new(),
        100,
        FAR,
    )?;
    let ids: Vec<_> = rows.into_iter().map(|r| r.id).collect();
    Outbox::open(&workspace.outbound(), now)?.claim(&ids, now)
}

/// Shows a pulse: of a long tool call, or of a runner that waits.
fn beat(
    workspace: &Workspace,
    now: Option<Timestamp>,
    phase: Phase,
) -> Result<(), nanoclaw_contract::Error> {
    let tool = Tool { id: "t1".into(), name: "Task".into(), started_ms: 0, timeout_ms: None };
    let tools = if phase == Phase::Tool { vec![tool] } else { Vec::new() };
    let pulse = Pulse { phase, since_ms: 0, tools };
    let io = |source| nanoclaw_contract::Error::Io { what: "beat".into(), source };
    let (path, fresh) = (workspace.heartbeat(), workspace.heartbeat().with_extension("fresh"));
    let file = std::fs::File::create(&fresh).map_err(io)?;
    serde_json::to_writer(&file, &pulse).map_err(|e| io(e.into()))?;
    if let Some(now) = now {
        // The file's own time is the machine's; the test's is another.
        file.set_modified(now.into()).map_err(io)?;
    }
    std::fs::rename(fresh, path).map_err(io)
}

/// Answers every waiting message with `echo: <text>`, one answer for each, in one commit; and takes so many
/// answers of the host. A task whose prompt says `!fail` fails.
fn answer_all(
    workspace: &Workspace,
    clock: Option<Timestamp>,
    look: Look,
    system: usize,
) -> Result<(), nanoclaw_contract::Error> {
    let now = Timestamp::now();
    let inbox = InboxReader::open(&workspace.inbound())?;
    let mut outbox = Outbox::open(&workspace.outbound(), now)?;
    let until = clock.unwrap_or(now + Duration::from_secs(400 * 86_400));
    let acks = outbox.acks()?;
    let mut rows = inbox.pending(look, &acks, 100, until)?;
    rows.extend(inbox.system(&acks, system, until)?);
    rows.sort_by_key(|r| r.seq);
    if !rows.iter().any(|r| r.trigger == Trigger::Wake) {
        return Ok(());
    }
    let (known, home) = (inbox.destinations()?, inbox.routing()?);
    let fails = |r: &InRow| r.kind == InKind::Task && r.content.contains("!fail");
    let asked = rows.iter().filter(|r| r.trigger == Trigger::Wake && !fails(r));
    let say: Vec<NewOut> = asked.flat_map(|row| answers(row, &known, home.as_ref())).collect();
    let end = |r| if fails(r) { AckStatus::Failed } else { AckStatus::Completed };
    let ack: Vec<_> = rows.iter().map(|r| (r.id.clone(), end(r))).collect();
    outbox.commit(
        &Commit {
            say: &say,
            ack: &ack,
            seq_floor: rows.last().map_or(0, |r| r.seq),
            ..Commit::default()
        },
        now,
    )?;
    Ok(())
}

/// What the agent does about a row: every line `!row {…}` of it becomes a row of its own, and a row
/// without such lines an echo. What the host itself says is told in the session's chat.
fn answers(row: &InRow, known: &[Destination], home: Option<&Address>) -> Vec<NewOut> {
    let text = match row.kind {
        InKind::Task => serde_json::from_str::<Task>(&row.content)
            .map_or_else(|_| row.content.clone(), |t| t.prompt),
        InKind::System => {
            let content = serde_json::json!({"text": format!("heard: {}", row.content)});
            let to = row.reply().or_else(|| home.cloned());
            return out(row, 0, None, OutKind::Chat, to, &content).into_iter().collect();
        }
        InKind::Chat | InKind::ChatSdk | InKind::Webhook => Chat::parse(&row.content).text,
    };
    let orders: Vec<_> = text.lines().filter_map(|l| l.strip_prefix("!row ")).collect();
    if orders.is_empty() {
        let content = serde_json::json!({"text": format!("echo: {text}")});
        return out(row, 0, None, OutKind::Chat, row.reply(), &content).into_iter().collect();
    }
    let made = orders.iter().enumerate().filter_map(|(n, order)| {
        let order: Order = serde_json::from_str(order).ok()?;
        let to = match &order.to {
            None => row.reply(),
            Some(name) => known.iter().find(|d| d.name == *name).and_then(address),
        };
        out(row, n, order.id, OutKind::parse(&order.kind)?, to, &order.content)
    });
    made.collect()
}

/// A row that a test has the agent write.
#[derive(serde::Deserialize)]
struct Order {
    /// The name of a destination; none is where the message came from.
    to: Option<String>,
    #[serde(default = "chat")]
    kind: String,
    id: Option<String>,
    content: serde_json::Value,
}

fn chat() -> String {
    "chat".into()
}

fn address(to: &Destination) -> Option<Address> {
    let (channel_type, platform_id) = match &to.target {
        Target::Channel { channel_type, platform_id } => {
            (channel_type.clone(), platform_id.clone())
        }
        Target::Agent(id) => {
            (ChannelType::parse("agent").ok()?, PlatformId::parse(id.as_str()).ok()?)
        }
    };
    Some(Address { channel_type, platform_id, thread_id: None })
}

fn out(
    row: &InRow,
    n: usize,
    id: Option<String>,
    kind: OutKind,
    to: Option<Address>,
    content: &serde_json::Value,
) -> Option<NewOut> {
    let own = if n == 0 { format!("out-{}", row.id) } else { format!("out-{}-{n}", row.id) };
    Some(NewOut {
        id: OutId::parse(id.unwrap_or(own)).ok()?,
        in_reply_to: Some(row.id.clone()),
        kind,
        to,
        content: content.to_string(),
    })
}
