//! The harness's life, and what its events mean for the rows.
//!
//! A harness that ends is started again and told everything that it did not finish, under the same
//! ids. Three ends in a row without a finished turn are enough: people are told, and the rows are
//! given up.

use super::{Debt, GRACE, INTERIM, PREVIEW_EVERY, Sent, Work, key_of};
use crate::log::log;
use crate::provider::{Command, ErrorKind, Event, Memory, ProviderError, Setup, TurnEnd};
use crate::session::say;
use crate::turn::Origin;
use crate::{instructions, notice};
use nanoclaw_contract::Error;
use nanoclaw_contract::fault;
use nanoclaw_contract::message::{AckStatus, InRow};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

const FAILURES_MAX: u32 = 3;
const BACKOFF: Duration = Duration::from_millis(200);
const CHANNEL: usize = 64;

/// A running harness.
pub(super) struct Harness {
    commands: mpsc::Sender<Command>,
    events: mpsc::Receiver<Event>,
    task: JoinHandle<()>,
    /// It has said anything yet.
    pub(super) spoke: bool,
}

impl Harness {
    /// The next event; never returns while there is no harness.
    pub(super) async fn next(harness: &mut Option<Self>) -> Event {
        match harness {
            Some(harness) => harness.events.recv().await.unwrap_or_else(|| {
                let detail = "the provider ended without a word".to_owned();
                Event::Exited(Some(ProviderError { kind: ErrorKind::Other, detail }))
            }),
            None => std::future::pending().await,
        }
    }
}

impl Work<'_> {
    /// Tells the harness what it was not told yet, starting it if need be.
    pub(super) fn tell(&mut self) {
        if self.clearing.is_some() || self.sent.iter().all(|s| s.told) {
            return;
        }
        if self.harness.is_none() {
            self.start();
        }
        let Some(harness) = &self.harness else { return };
        for sent in self.sent.iter_mut().filter(|s| !s.told) {
            // A full channel is emptied by and by; each event leads here again.
            if harness.commands.try_send(Command::Prompt(sent.prompt.clone())).is_err() {
                return;
            }
            sent.told = true;
        }
    }

    fn start(&mut self) {
        let (commands, from_us) = mpsc::channel(CHANNEL);
        let (to_us, events) = mpsc::channel(CHANNEL);
        let provider = (self.def.make)(self.setup());
        let task = tokio::spawn(provider.run(from_us, to_us));
        self.harness = Some(Harness { commands, events, task, spoke: false });
    }

    fn setup(&self) -> Setup {
        let (session, agent) = (Arc::clone(&self.session), self.session.workspace.agent());
        let skills = instructions::skills(&self.place.skills);
        let mut files = vec![self.place.base_prompt.clone()];
        files.extend(skills.iter().map(|skill| skill.join("instructions.md")));
        match self.def.memory {
            Memory::Harness => {}
            Memory::Instructions => {
                files.extend(["CLAUDE.md", "CLAUDE.local.md"].map(|name| agent.join(name)));
            }
        }
        let files: Vec<_> = files.iter().map(PathBuf::as_path).collect();
        let entries = std::fs::read_dir(&self.place.extra).into_iter().flatten().flatten();
        let mut extra_dirs: Vec<_> = entries.map(|e| e.path()).filter(|p| p.is_dir()).collect();
        extra_dirs.sort();
        Setup {
            instructions: instructions::text(
                &self.config.assistant_name,
                &self.destinations,
                &files,
                &self.config.mcp_servers,
            ),
            skills,
            cwd: agent,
            workspace: self.session.workspace.root().to_owned(),
            extra_dirs,
            continuation: self.continuation.clone(),
            model: self.config.model.clone(),
            effort: self.config.effort.clone(),
            previews: self.config.previews,
            mcp_servers: self.config.mcp_servers.clone(),
            env: self.place.env.clone(),
            tools: Arc::clone(&self.tools),
            check_reply: Arc::new(move |text| {
                let destinations = session.inbox().and_then(|inbox| inbox.destinations()).ok()?;
                let names: Vec<_> = destinations.into_iter().map(|d| d.name).collect();
                session.turn().check(text, &names)
            }),
        }
    }

    pub(super) fn on_event(&mut self, event: Event) {
        if let Some(harness) = &mut self.harness {
            harness.spoke = true;
        }
        if !matches!(event, Event::Waiting { .. }) {
            self.waiting = false;
        }
        match event {
            Event::Session(id) => self.continue_with(id),
            Event::Consumed(id) => self.consumed(id),
            Event::TurnStarted => self.running = true,
            Event::Activity => {}
            Event::Waiting { retry_in, why } => {
                log!("the model's API asked to wait {retry_in:?}: {why}");
                self.waiting = true;
            }
            Event::Delta { key, text } => {
                self.draft.hear(key, &text);
                self.due.preview.get_or_insert_with(|| Instant::now() + PREVIEW_EVERY);
            }
            Event::Text { key, text } => {
                self.draft.end();
                self.session.turn().hear(&key, &text);
                self.due.flush.get_or_insert_with(|| Instant::now() + INTERIM);
            }
            Event::ToolStarted { id, name, timeout } => {
                self.beat.tool_started(id, name, timeout);
                self.due.flush = Some(Instant::now());
            }
            Event::ToolEnded { id } => self.beat.tool_ended(&id),
            Event::TurnEnded(end) => self.finish(end),
            Event::Exited(error) => {
                self.drop_harness();
                self.exited(error);
            }
        }
    }

    fn continue_with(&mut self, id: String) {
        if self.clearing.is_some() || self.continuation.as_ref() == Some(&id) {
            return;
        }
        let first = self.continuation.replace(id.clone()).is_none();
        self.debt.state.insert(key_of(self.def.name), Some(id));
        if first {
            self.settle();
        } else {
            // One that only moved on is written with the turn's last words.
            self.due.settle = Some(Instant::now() + INTERIM);
        }
    }

    fn consumed(&mut self, id: uuid::Uuid) {
        let Some(at) = self.sent.iter().position(|s| s.prompt.id == id) else { return };
        self.running |= self.sent[at].prompt.wants_turn;
        let mut turn = self.session.turn();
        for (i, sent) in self.sent.iter_mut().enumerate().take(at + 1) {
            // What is only to be known may be taken in without a word.
            if !sent.consumed && (i == at || !sent.prompt.wants_turn) {
                sent.consumed = true;
                turn.consumed(&sent.origin, sent.prompt.wants_turn);
            }
        }
        drop(turn);
        fault::point("runner.consumed");
    }

    /// A turn is over: writes its last words together with the end of its claims.
    fn finish(&mut self, end: Result<TurnEnd, ProviderError>) {
        self.running = false;
        self.beat.no_tools();
        self.draft.end();
        if let Err(ProviderError { kind: ErrorKind::LostConversation, detail }) = &end
            && self.clearing.is_none()
            && self.start_afresh(detail)
        {
            return;
        }
        if self.stopping && end.is_err() {
            // It was cut short by us: the next runner does it again.
            return;
        }
        let done = self.take_finished(end.is_err());
        let origin = self.session.turn().origin.clone();
        let origin = if origin.to.is_none() {
            done.last().map_or(origin, |s| s.origin.clone())
        } else {
            origin
        };
        let failed = end.is_err();
        let said = self.session.said().map_or(true, |said| !said.rows.is_empty());
        let bare = self.session.turn().end(said);
        self.due.flush = None;
        let key = done.last().map(|s| s.prompt.id.to_string()).unwrap_or_default();
        match end {
            Ok(end) => {
                (self.failures, self.lost_once) = (0, false);
                if let Some((key, text)) = bare {
                    self.tell_here(&format!("{key}/bare"), &origin, &text);
                }
                if let Some(text) = end.notice.filter(|t| !t.trim().is_empty()) {
                    self.tell_here(&format!("{key}/notice"), &origin, &text);
                }
            }
            Err(_) if self.clearing.is_some() => {}
            Err(e) => {
                log!("a turn failed ({:?}): {}", e.kind, e.detail);
                self.excuse(&format!("{key}/{}", self.failures), &origin, &e.kind);
            }
        }
        self.notes.1.clear();
        for sent in done {
            let Sent { rows, tasks, .. } = sent;
            self.debt.ack.extend(rows.into_iter().map(|id| {
                let failed = failed && tasks.contains(&id);
                (id, if failed { AckStatus::Failed } else { AckStatus::Completed })
            }));
        }
        self.settle();
        let unknown = std::mem::take(&mut self.session.turn().unknown);
        if !unknown.is_empty() {
            self.notes.0.push(format!(
                "What you wrote to {} was not delivered: there is no such destination.",
                unknown.join(", ")
            ));
        }
        self.due.look = Instant::now();
    }

    /// The prompts that the ended turn answered. A failure before anything was taken in is the
    /// failure of everything that the harness was told.
    fn take_finished(&mut self, failed: bool) -> Vec<Sent> {
        let none_consumed = !self.sent.iter().any(|s| s.consumed);
        let is_done = |s: &Sent| s.consumed || (failed && none_consumed && s.told);
        let (done, open) = std::mem::take(&mut self.sent).into_iter().partition(is_done);
        self.sent = open;
        Vec::from_iter::<std::collections::VecDeque<Sent>>(done)
    }

    /// Says something to the conversation that caused the turn.
    fn tell_here(&mut self, key: &str, origin: &Origin, text: &str) {
        let to = origin.to.clone().or_else(|| self.session.people(origin));
        match to {
            Some(to) => self.debt.say.push(say(key, Some(to), origin.reply_to.clone(), text)),
            None => log!("there is no conversation for this: {text}"),
        }
    }

    /// Tells people why there is no answer, and the agent that asked; the host ends a chain of such answers.
    fn excuse(&mut self, key: &str, origin: &Origin, kind: &ErrorKind) {
        let text = notice::words(kind, &self.session.zone);
        let mut to: Vec<_> =
            [self.session.people(origin), origin.to.clone()].into_iter().flatten().collect();
        to.dedup();
        if to.is_empty() {
            log!("there is nobody to be told: {text}");
        }
        for (n, to) in to.into_iter().enumerate() {
            let key = if n == 0 { format!("{key}/excuse") } else { format!("{key}/excuse/{n}") };
            self.debt.say.push(say(&key, Some(to), origin.reply_to.clone(), &text));
        }
    }

    /// The harness is gone.
    pub(super) fn exited(&mut self, error: Option<ProviderError>) {
        self.running = false;
        self.beat.no_tools();
        self.draft.end();
        if self.clearing.is_some() {
            return self.cleared();
        }
        let said = self.session.said().map_or(true, |said| !said.rows.is_empty());
        // What it said outside of blocks it will say again.
        let _again: Option<(String, String)> = self.session.turn().end(said);
        let error = error.unwrap_or_else(|| ProviderError {
            kind: ErrorKind::Other,
            detail: "the harness ended".into(),
        });
        log!("the harness is gone ({:?}): {}", error.kind, error.detail);
        if self.sent.is_empty() {
            return;
        }
        if error.kind == ErrorKind::LostConversation && self.start_afresh(&error.detail) {
            return;
        }
        self.failures += 1;
        for sent in &mut self.sent {
            (sent.told, sent.consumed) = (false, false);
        }
        if self.failures < FAILURES_MAX && !notice::is_final(&error.kind) {
            let wait = BACKOFF * 4_u32.saturating_pow(self.failures - 1);
            self.due.start = Some(Instant::now() + wait);
            return;
        }
        self.failures = 0;
        self.notes.1.clear();
        let sent = std::mem::take(&mut self.sent);
        let mut told = Vec::new();
        for sent in sent {
            if sent.prompt.wants_turn && !told.contains(&sent.origin.to) {
                self.excuse(&sent.prompt.id.to_string(), &sent.origin, &error.kind);
                told.push(sent.origin.to);
            }
            self.debt.ack.extend(sent.rows.into_iter().map(|id| (id, AckStatus::Failed)));
        }
        self.settle();
    }

    /// The conversation is gone: once, everything is said again in a new one.
    fn start_afresh(&mut self, detail: &str) -> bool {
        if std::mem::replace(&mut self.lost_once, true) {
            return false;
        }
        log!("the conversation is gone, starting a new one: {detail}");
        self.forget_conversation();
        self.drop_harness();
        for sent in &mut self.sent {
            (sent.told, sent.consumed) = (false, false);
        }
        self.settle();
        true
    }

    fn forget_conversation(&mut self) {
        self.continuation = None;
        self.debt.state.insert(key_of(self.def.name), None);
    }

    pub(super) fn drop_harness(&mut self) {
        self.due.give_up = None;
        if let Some(harness) = self.harness.take() {
            harness.task.abort();
        }
    }

    pub(super) fn interrupt(&mut self) {
        if let Some(harness) =
            self.harness.as_ref().filter(|_| self.running || !self.sent.is_empty())
            && harness.commands.try_send(Command::Interrupt).is_err()
        {
            log!("the harness does not listen and was not interrupted");
        }
    }

    /// Ends the conversation; the next prompt begins another.
    pub(super) fn clear(&mut self, rows: Vec<InRow>) -> Result<(), Error> {
        self.claim(&super::ids(&rows), None)?;
        self.clearing = Some(rows);
        if !self.tell_to_stop() {
            self.drop_harness();
            self.cleared();
        }
        Ok(())
    }

    /// Tells the harness to stop; false if there is none that listens.
    fn tell_to_stop(&mut self) -> bool {
        self.due.give_up = Some(Instant::now() + GRACE + Duration::from_millis(500));
        let stop = Command::Stop { grace: GRACE };
        self.harness.as_ref().is_some_and(|h| h.commands.try_send(stop).is_ok())
    }

    fn cleared(&mut self) {
        let rows = self.clearing.take().unwrap_or_default();
        let (done, open) =
            std::mem::take(&mut self.sent).into_iter().partition(|s: &Sent| s.consumed);
        self.sent = open;
        let done: Vec<Sent> = Vec::from_iter::<std::collections::VecDeque<Sent>>(done);
        for sent in &mut self.sent {
            sent.told = false;
        }
        let _unsaid: Option<(String, String)> = self.session.turn().end(true);
        self.forget_conversation();
        let done = done.into_iter().flat_map(|s| s.rows);
        self.debt.ack.extend(done.map(|id| (id, AckStatus::Completed)));
        for row in rows {
            let origin = Origin::of(std::slice::from_ref(&row), &self.session.own);
            self.tell_here(&format!("clear/{}", row.id), &origin, "Session cleared.");
            self.debt.ack.push((row.id, AckStatus::Completed));
        }
        self.settle();
        self.due.look = Instant::now();
    }

    /// Stops the harness and writes what was said. What it did not finish is done again next time.
    pub(super) async fn stop(mut self) {
        self.stopping = true;
        self.scripts.abort_all();
        if let Err(e) = self.session.flush() {
            log!("what the agent said was not written: {e}");
        }
        if self.tell_to_stop() {
            let give_up = tokio::time::sleep(GRACE + Duration::from_millis(500));
            tokio::pin!(give_up);
            loop {
                tokio::select! {
                    event = Harness::next(&mut self.harness) => match event {
                        Event::Exited(_) => break,
                        other => self.on_event(other),
                    },
                    () = &mut give_up => break,
                }
                if self.harness.is_none() {
                    break;
                }
            }
        }
        self.drop_harness();
        self.sent.clear();
        let owes = self.debt.say.len() + self.debt.ack.len() + self.debt.state.len();
        if owes > 0 {
            self.settle();
        } else if let Err(e) = self.session.flush() {
            log!("what the agent said was not written: {e}");
        }
        self.debt = Debt::default();
        self.running = false;
        self.beat.show(nanoclaw_contract::pulse::Phase::Idle);
    }
}
