//! The loop: looks into the inbox, tells the model, and says when a row is done.
//!
//! ```text
//!   inbox ──look──▶ plan ──claim──▶ sent ──told──▶ harness
//!                                    │               │ Consumed, Text…, TurnEnded
//!   outbox ◀──settle── debt ◀────────┴──finish───────┘
//! ```
//!
//! Durable points: a row is claimed when [`Work::claim`] returned; its turn is over when
//! [`Work::settle`] wrote the last words and the end of the claim in one transaction. A runner that
//! dies between them is told the same again, under the same ids. Nothing here waits for the model.
//! Read next: [`harness`] for events, [`crate::batch`] for what goes together.

mod harness;

use crate::Signal;
use crate::batch::{self, Batch, Plan, Step};
use crate::config::Config;
use crate::draft::Draft;
use crate::log::log;
use crate::ncl;
use crate::prompt::{self, Scene};
use crate::provider::{Prompt, ProviderDef};
use crate::pulse::Beat;
use crate::script::{self, Verdict};
use crate::session::{Session, out_id};
use crate::tools::Tools;
use crate::turn::Origin;
use crate::watch::Watch;
use harness::Harness;
use nanoclaw_contract::Error;
use nanoclaw_contract::content::{Chat, Quote, System};
use nanoclaw_contract::fault;
use nanoclaw_contract::ids::{MessageId, ThreadId};
use nanoclaw_contract::inbox::{InboxReader, Look};
use nanoclaw_contract::message::{AckStatus, Destination, InKind, InRow, NewOut, OutKind, Trigger};
use nanoclaw_contract::outbox::Commit;
use nanoclaw_contract::pulse::{BEAT, Phase};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Most prompts that want an answer and have none yet.
const SENT_MAX: usize = 16;
/// Rows of the first look; more only if none of them asks for a turn.
const LOOK_ROWS: usize = 500;
/// How long said text waits for the turn to end.
const INTERIM: Duration = Duration::from_millis(500);
/// How often what is being said is shown.
const PREVIEW_EVERY: Duration = Duration::from_secs(1);
/// How long after a failed write to try again.
const RETRY: Duration = Duration::from_secs(1);
/// How long a stopped harness may take.
const GRACE: Duration = Duration::from_secs(3);

/// Where the runner finds what is not in the session's folder.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The base prompt of every agent.
    pub(crate) base_prompt: PathBuf,
    /// Skills that the agent has, one folder each.
    pub(crate) skills: PathBuf,
    /// Folders that the agent may use beside its own.
    pub(crate) extra: PathBuf,
    /// The environment of the harness.
    pub(crate) env: BTreeMap<String, String>,
}

/// A prompt that was claimed, until its turn ended.
struct Sent {
    prompt: Prompt,
    rows: Vec<MessageId>,
    /// Those of them that are tasks: a turn that fails is a run that failed.
    tasks: Vec<MessageId>,
    origin: Origin,
    /// The running harness was told.
    told: bool,
    /// It took it in.
    consumed: bool,
}

/// What is to be written and is not yet.
#[derive(Default)]
struct Debt {
    say: Vec<NewOut>,
    ack: Vec<(MessageId, AckStatus)>,
    state: BTreeMap<String, Option<String>>,
}

/// The moments at which something is to be done.
struct Due {
    look: Instant,
    flush: Option<Instant>,
    preview: Option<Instant>,
    settle: Option<Instant>,
    start: Option<Instant>,
    beat: Option<Instant>,
    /// A harness that was told to stop is given up.
    give_up: Option<Instant>,
}

/// The runner at work.
pub(crate) struct Work<'a> {
    session: Arc<Session>,
    config: Config,
    def: &'a ProviderDef,
    place: Place,
    tools: Arc<Tools>,
    beat: Beat,
    draft: Draft,
    watch: Watch,
    harness: Option<Harness>,
    sent: VecDeque<Sent>,
    scripts: JoinSet<(InRow, Verdict)>,
    debt: Debt,
    due: Due,
    look: Look,
    /// Rows that this session claimed or finished.
    acked: BTreeSet<MessageId>,
    /// Batches of an earlier life.
    known: Vec<Vec<MessageId>>,
    continuation: Option<String>,
    /// A turn is running.
    running: bool,
    stopping: bool,
    /// The model's API asked to wait.
    waiting: bool,
    /// `/clear` waits for the harness to end.
    clearing: Option<Vec<InRow>>,
    /// Ends of the harness in a row, without a turn that ended.
    failures: u32,
    lost_once: bool,
    /// What the agent is to know with its next prompt, and what it was told in this one.
    notes: (Vec<String>, Vec<String>),
    destinations: Vec<Destination>,
    /// The thread that the session is of.
    thread: Option<ThreadId>,
}

impl<'a> Work<'a> {
    pub(crate) fn new(
        session: Arc<Session>,
        config: Config,
        def: &'a ProviderDef,
        place: Place,
    ) -> Result<Self, Error> {
        let list = |text: Option<String>| {
            text.and_then(|t| serde_json::from_str::<Vec<String>>(&t).ok()).unwrap_or_default()
        };
        let outbox = session.outbox();
        let known = outbox.state(BATCHES)?.and_then(|t| serde_json::from_str(&t).ok());
        let notes = list(outbox.state(NOTES)?);
        let acked = outbox.acks()?;
        drop(outbox);
        Ok(Self {
            continuation: continuation(&session, def.name)?,
            tools: Arc::new(Tools::of(Arc::clone(&session))),
            beat: Beat::new(Arc::clone(&session)),
            draft: Draft::new(Arc::clone(&session)),
            watch: Watch::new(&session.workspace.inbound()),
            harness: None,
            sent: VecDeque::new(),
            scripts: JoinSet::new(),
            debt: Debt::default(),
            due: Due {
                look: Instant::now(),
                flush: None,
                preview: None,
                settle: None,
                start: None,
                beat: None,
                give_up: None,
            },
            look: Look::First,
            acked,
            known: known.unwrap_or_default(),
            running: false,
            stopping: false,
            waiting: false,
            clearing: None,
            failures: 0,
            lost_once: false,
            notes: (notes, Vec::new()),
            destinations: Vec::new(),
            thread: None,
            session,
            config,
            def,
            place,
        })
    }

    /// Works until told to stop.
    pub(crate) async fn run(mut self, signals: &mut mpsc::Receiver<Signal>) {
        self.beat.touch();
        loop {
            self.tick();
            let wake = self.next_moment();
            tokio::select! {
                signal = signals.recv() => match signal {
                    Some(Signal::Interrupt) => self.interrupt(),
                    Some(Signal::Stop) | None => break,
                },
                event = Harness::next(&mut self.harness) => self.on_event(event),
                Some(done) = self.scripts.join_next() => match done {
                    Ok((row, verdict)) => self.decided(row, verdict),
                    Err(e) => log!("a task's script was lost: {e}"),
                },
                () = self.watch.changed() => self.due.look = Instant::now(),
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        self.stop().await;
    }

    fn next_moment(&self) -> Instant {
        let due = &self.due;
        [due.flush, due.preview, due.settle, due.start, due.beat, due.give_up]
            .into_iter()
            .flatten()
            .fold(due.look, Instant::min)
    }

    /// Does whatever is due.
    fn tick(&mut self) {
        let now = Instant::now();
        let is_due = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        if is_due(&mut self.due.give_up) {
            log!("the harness did not stop in time");
            self.drop_harness();
            self.exited(None);
        }
        if is_due(&mut self.due.flush)
            && let Err(e) = self.session.flush()
        {
            log!("what the agent said was not written, will try again: {e}");
            self.due.flush = Some(now + RETRY);
        }
        if is_due(&mut self.due.preview) {
            self.draft.show();
        }
        if is_due(&mut self.due.settle) {
            self.settle();
        }
        if self.due.look <= now {
            self.due.look = now + self.watch.patience();
            if let Err(e) = self.look() {
                log!("the inbox was not read, will look again: {e}");
                self.due.look = now + RETRY;
            }
        }
        if self.due.start.is_none_or(|at| at <= now) {
            self.due.start = None;
            self.tell();
        }
        if is_due(&mut self.due.beat) {
            self.beat.touch();
        }
        self.show();
    }

    fn show(&mut self) {
        let works = self.running || self.sent.iter().any(|s| s.prompt.wants_turn);
        let phase = if self.beat.has_tools() || !self.scripts.is_empty() {
            Phase::Tool
        } else if !works {
            Phase::Idle
        } else if self.waiting {
            Phase::RateLimited
        } else if self.harness.as_ref().is_some_and(|h| h.spoke) {
            Phase::Model
        } else {
            Phase::Starting
        };
        self.beat.show(phase);
        match phase {
            Phase::Idle => self.due.beat = None,
            Phase::Starting | Phase::Model | Phase::RateLimited | Phase::Tool => {
                self.due.beat.get_or_insert_with(|| Instant::now() + BEAT);
            }
        }
    }

    /// Looks into the inbox and claims what is to be done now.
    fn look(&mut self) -> Result<(), Error> {
        let now = self.session.clock.now();
        let inbox = self.session.inbox()?;
        self.prune(&inbox)?;
        let late = self.answers(&inbox)?;
        if let Some(due) = inbox.next_due(now)? {
            let wait = Duration::try_from(due.duration_since(now)).unwrap_or_default();
            self.due.look = self.due.look.min(Instant::now() + wait);
        }
        if self.clearing.is_some() || self.sent.iter().any(|s| s.prompt.command.is_some()) {
            return self.look_for_clear(&inbox);
        }
        let plan = batch::plan(self.rows(&inbox)?, self.config.batch, &self.known);
        self.look = Look::Later;
        self.notice_destinations(inbox.destinations()?);
        self.thread = inbox.routing()?.and_then(|home| home.thread_id);
        self.tell_late(late, &plan)?;
        self.carry_out(plan)
    }

    /// While a command runs, only the wish for a new conversation is heard.
    fn look_for_clear(&mut self, inbox: &InboxReader) -> Result<(), Error> {
        if self.clearing.is_some() {
            return Ok(());
        }
        let plan = batch::plan(self.rows(inbox)?, self.config.batch, &[]);
        if plan.clear.is_empty() { Ok(()) } else { self.clear(plan.clear) }
    }

    /// Everything that waits, as far as it is needed to find what asks for a turn.
    fn rows(&self, inbox: &InboxReader) -> Result<Vec<InRow>, Error> {
        let mut limit = LOOK_ROWS;
        loop {
            let rows = inbox.pending(self.look, &self.acked, limit, self.session.clock.now())?;
            if rows.len() < limit || rows.iter().any(|r| r.trigger == Trigger::Wake) {
                return Ok(rows);
            }
            limit = limit.saturating_mul(10);
        }
    }

    fn carry_out(&mut self, plan: Plan) -> Result<(), Error> {
        if !plan.clear.is_empty() {
            // The rest is said in the new conversation.
            return self.clear(plan.clear);
        }
        for step in plan.steps {
            let open = self.sent.iter().filter(|s| s.prompt.wants_turn).count();
            match step {
                Step::Tell(_) if open >= SENT_MAX => return Ok(()),
                Step::Tell(batch) => {
                    let ids = ids(&batch.rows);
                    self.claim(&ids, Some(&ids))?;
                    self.push(batch);
                }
                // A command is given between turns, and nothing overtakes it.
                Step::Command(..) if open > 0 || self.running => return Ok(()),
                Step::Command(row, command) => {
                    let ids = vec![row.id.clone()];
                    self.claim(&ids, None)?;
                    self.push_command(row, command);
                    return Ok(());
                }
                Step::Script(row, program) => {
                    self.claim(std::slice::from_ref(&row.id), None)?;
                    let cwd = self.session.workspace.agent();
                    self.scripts.spawn(async move {
                        let verdict = script::run(&program, &cwd).await;
                        (row, verdict)
                    });
                }
            }
        }
        self.known.clear();
        Ok(())
    }

    /// Durable point: from here on the rows are ours, and `batch` is put together like this again.
    fn claim(&mut self, ids: &[MessageId], batch: Option<&[MessageId]>) -> Result<(), Error> {
        let ack: Vec<_> = ids.iter().map(|id| (id.clone(), AckStatus::Processing)).collect();
        let state: Vec<_> = batch.map(|b| (BATCHES, self.batches(Some(b)))).into_iter().collect();
        self.session.commit(Commit { ack: &ack, state: &state, ..Commit::default() })?;
        self.acked.extend(ids.iter().cloned());
        fault::point("runner.claimed");
        Ok(())
    }

    /// The batches that are under way, as they are remembered.
    fn batches(&self, more: Option<&[MessageId]>) -> Option<String> {
        let sent = self.sent.iter().filter(|s| s.prompt.command.is_none());
        let all: Vec<&[MessageId]> = sent
            .map(|s| s.rows.as_slice())
            .chain(self.known.iter().map(Vec::as_slice))
            .chain(more)
            .collect();
        if all.is_empty() { None } else { serde_json::to_string(&all).ok() }
    }

    /// Makes a prompt of claimed rows.
    fn push(&mut self, batch: Batch) {
        for row in &batch.rows {
            self.session.saw(row.seq);
        }
        let root = self.session.workspace.root().to_owned();
        let scene = Scene {
            destinations: &self.destinations,
            thread: self.thread.as_ref(),
            zone: &self.session.zone,
            workspace: &root,
        };
        let wants_turn = batch.wants_turn();
        let notes = if wants_turn { std::mem::take(&mut self.notes.0) } else { Vec::new() };
        let prompt = Prompt {
            id: batch.id,
            text: prompt::text(&scene, &notes, &batch.rows),
            command: None,
            images: prompt::images(&scene, &batch.rows),
            wants_turn,
        };
        self.notes.1.extend(notes);
        self.queue(prompt, &batch.rows);
    }

    fn push_command(&mut self, row: InRow, command: &str) {
        let id = batch::batch_id(std::iter::once(&row.id));
        let command = Some(command.to_owned());
        let prompt =
            Prompt { id, text: String::new(), command, images: Vec::new(), wants_turn: true };
        self.queue(prompt, &[row]);
    }

    fn queue(&mut self, prompt: Prompt, rows: &[InRow]) {
        let origin = Origin::of(rows, &self.session.own);
        // A v2 host ends a series whose run failed.
        let counts = self.session.workspace.is_ours();
        let tasks = rows.iter().filter(|r| counts && r.kind == InKind::Task).map(|r| r.id.clone());
        let (tasks, rows) = (tasks.collect(), ids(rows));
        self.sent.push_back(Sent { prompt, rows, tasks, origin, told: false, consumed: false });
    }

    /// A task's program has decided.
    fn decided(&mut self, mut row: InRow, verdict: Verdict) {
        match verdict {
            Verdict::Skip => {
                log!("the script of {} says that there is nothing to do", row.id);
                if self.session.workspace.is_ours() {
                    self.debt.say.push(skipped(&row.id));
                }
                self.debt.ack.push((row.id, AckStatus::Completed));
                self.settle();
            }
            Verdict::Wake(data) => {
                if let Ok(Value::Object(mut task)) = serde_json::from_str(&row.content) {
                    task.insert("scriptOutput".into(), data);
                    row.content = Value::Object(task).to_string();
                }
                self.push(Batch::new(vec![row]));
            }
        }
    }

    /// Forgets rows that the host has settled.
    fn prune(&mut self, inbox: &InboxReader) -> Result<(), Error> {
        let busy: BTreeSet<_> = self.sent.iter().flat_map(|s| &s.rows).collect();
        let done: BTreeSet<_> =
            self.acked.iter().filter(|id| !busy.contains(id)).cloned().collect();
        if done.is_empty() || !self.scripts.is_empty() || !self.debt.ack.is_empty() {
            return Ok(());
        }
        let pending = inbox.still_pending(&done)?;
        let settled: BTreeSet<_> = done.difference(&pending).cloned().collect();
        self.session.outbox().forget(&settled)?;
        self.acked.retain(|id| !settled.contains(id));
        Ok(())
    }

    /// Hands on what the host answers to the runner itself. What nobody waits for comes back as a message.
    fn answers(&mut self, inbox: &InboxReader) -> Result<Vec<InRow>, Error> {
        let now = self.session.clock.now();
        let rows = inbox.system(&self.acked, LOOK_ROWS, now)?;
        let (mut late, acks) = (Vec::new(), self.debt.ack.len());
        for row in rows {
            let status = match serde_json::from_str(&row.content) {
                Ok(System::QuestionResponse { question_id, selected_option, .. })
                    if self.session.answer(&question_id, &selected_option) =>
                {
                    AckStatus::Completed
                }
                Ok(answer @ System::QuestionResponse { .. }) => {
                    late.extend(as_message(row, answer));
                    continue;
                }
                Ok(System::CliResponse { request_id, frame }) => {
                    let waited = self.session.answer(&ncl::key(&request_id), &frame.to_string());
                    // Whoever asked by hand, as v2's `ncl` does, looks for the row itself.
                    let at = nanoclaw_contract::time::parse(&row.timestamp);
                    if !waited && at.is_some_and(|at| now < at + ncl::BY_HAND) {
                        continue;
                    }
                    AckStatus::Completed
                }
                Err(_) => AckStatus::Failed,
            };
            self.acked.insert(row.id.clone());
            self.debt.ack.push((row.id, status));
        }
        if self.debt.ack.len() > acks {
            self.settle();
        }
        Ok(late)
    }

    /// Answers that came after the agent stopped waiting: a note with what it is told anyway, such as the
    /// message that it was at when its box ended, or else a turn of their own.
    fn tell_late(&mut self, late: Vec<InRow>, plan: &Plan) -> Result<(), Error> {
        let told = |step: &Step| matches!(step, Step::Tell(batch) if batch.wants_turn());
        if late.is_empty() {
            return Ok(());
        }
        if !plan.steps.iter().any(told) {
            let ids = ids(&late);
            self.claim(&ids, None)?;
            self.push(Batch::new(late));
            return Ok(());
        }
        for row in late {
            let Chat { sender, text, reply_to, .. } = Chat::parse(&row.content);
            let title = reply_to.and_then(|q| q.text).unwrap_or_default();
            self.notes.0.push(format!("{sender} answered your question {title:?}: {text:?}."));
            self.acked.insert(row.id.clone());
            self.debt.ack.push((row.id, AckStatus::Completed));
        }
        self.settle();
        Ok(())
    }

    /// Tells the agent of names that it did not know when its harness started.
    fn notice_destinations(&mut self, now: Vec<Destination>) {
        let unlike = |a: &[Destination], b: &[Destination]| {
            let only = a.iter().filter(|d| !b.contains(d)).map(crate::instructions::named);
            only.collect::<Vec<_>>().join(", ")
        };
        if self.harness.is_some() {
            let (new, gone) = (unlike(&now, &self.destinations), unlike(&self.destinations, &now));
            if !gone.is_empty() {
                self.notes.0.push(format!("You can no longer write to: {gone}."));
            }
            if !new.is_empty() {
                self.notes.0.push(format!("New destinations that you can write to: {new}."));
            }
        }
        self.destinations = now;
    }

    /// Durable point: the turn's last words and the end of its claims, together.
    fn settle(&mut self) {
        if let Err(e) = self.try_settle() {
            log!("the outbox was not written, will try again: {e}");
            self.due.settle = Some(Instant::now() + RETRY);
        }
    }

    fn try_settle(&mut self) -> Result<(), Error> {
        let said = self.session.said()?;
        let say: Vec<_> = said.rows.iter().chain(&self.debt.say).cloned().collect();
        let notes: Vec<_> = self.notes.0.iter().chain(&self.notes.1).collect();
        let notes = if notes.is_empty() { None } else { serde_json::to_string(&notes).ok() };
        let batches = self.batches(None);
        let mut state: Vec<_> =
            self.debt.state.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        state.extend([(BATCHES, batches), (NOTES, notes)]);
        fault::point("runner.before-commit");
        self.session.commit(Commit {
            say: &say,
            ack: &self.debt.ack,
            state: &state,
            seq_floor: 0,
        })?;
        fault::point("runner.after-commit");
        self.session.written(&said);
        self.debt = Debt::default();
        self.due.settle = None;
        Ok(())
    }
}

/// Batches under way, in `session_state`.
const BATCHES: &str = "batches";
/// What the agent is still to be told, in `session_state`.
const NOTES: &str = "notes";

/// For who asks why a task did not run.
fn skipped(id: &MessageId) -> NewOut {
    let content = json!({ "action": "task_skipped", "taskId": id, "why": "its script says that there is nothing to do" });
    let (kind, content) = (OutKind::System, content.to_string());
    let id_out = out_id("sys", &format!("skipped/{id}"));
    NewOut { id: id_out, in_reply_to: Some(id.clone()), kind, to: None, content }
}

/// The answer to a question as what it is to the agent: something that a person said.
fn as_message(row: InRow, answer: System) -> Option<InRow> {
    let System::QuestionResponse { selected_option, user_id, user_name, title, .. } = answer else {
        return None;
    };
    let chat = Chat {
        text: format!("(the answer to your question) {selected_option}"),
        sender: user_name.unwrap_or_else(|| user_id.clone()),
        sender_id: Some(user_id),
        reply_to: title.map(|title| Quote {
            id: None,
            sender: Some("you".into()),
            text: Some(title),
        }),
        ..Chat::default()
    };
    Some(InRow { kind: InKind::Chat, content: chat.to_json(), ..row })
}

fn ids(rows: &[InRow]) -> Vec<MessageId> {
    rows.iter().map(|r| r.id.clone()).collect()
}

/// The conversation to go on with. The key of older installs is adopted once.
fn continuation(session: &Session, provider: &str) -> Result<Option<String>, Error> {
    const LEGACY: &str = "sdk_session_id";
    let key = key_of(provider);
    let outbox = session.outbox();
    let (current, legacy) = (outbox.state(&key)?, outbox.state(LEGACY)?);
    drop(outbox);
    let Some(legacy) = legacy else { return Ok(current) };
    let kept = current.unwrap_or(legacy);
    let state = [(LEGACY, None), (key.as_str(), Some(kept.clone()))];
    session.commit(Commit { state: &state, ..Commit::default() })?;
    Ok(Some(kept))
}

fn key_of(provider: &str) -> String {
    format!("continuation:{}", provider.to_lowercase())
}
