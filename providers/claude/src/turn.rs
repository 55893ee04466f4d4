//! The conversation as Claude Code tells it: which turn runs, which prompts it took, what it said.
//!
//! ```text
//!          init or state running                      result, or idle without one
//!   Idle ─────────────────────────▶ Running ─────────────────────────────────────▶ Idle
//! ```
//!
//! The number of results is not the number of prompts: queued prompts are merged, prompts are taken
//! in at tool boundaries, and turns begin unasked when background work ends. So prompts are followed
//! by their ids. Nothing here touches the process or waits; frames in, events out. Next: [`crate::errors`].

use crate::errors::{self, Heard};
use crate::frames::{
    Assistant, Block, Content, Delta, Frame, Lifecycle, Outcome, State, Stream, System, User,
};
use nanoclaw_runner::provider::{ErrorKind, Event, Prompt, ProviderError, TurnEnd};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;
use uuid::Uuid;

/// How long a prompt that was known already may wait for the turn of another one.
const KNOWN_GRACE: Duration = Duration::from_millis(200);
/// The same if it only seems to be known.
const DUPLICATE_GRACE: Duration = Duration::from_secs(2);
/// A longer pause that the API asks for is a failure of the turn.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Tools in flight that are remembered.
const TOOLS_MAX: usize = 256;
/// The model of messages that the harness writes in the assistant's name.
const SYNTHETIC: &str = "<synthetic>";

/// Something that only a word to Claude Code helps against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// A prompt was taken but may get no turn: ask the model to go on after this time.
    GoOn(Duration),
    /// The turn waits for the API for so long that people must be told.
    Interrupt,
}

/// A prompt that was sent and is not done.
#[derive(Debug)]
struct Sent {
    wants_turn: bool,
    /// It was queued or started, so it is new to the conversation.
    begun: bool,
    consumed: bool,
}

/// What is known of the conversation.
#[derive(Debug, Default)]
pub(crate) struct Conversation {
    /// What the runner is to be told, oldest first.
    pub(crate) out: VecDeque<Event>,
    /// What must be done about what was heard.
    pub(crate) wish: Option<Wish>,
    /// The harness answered or began a turn, so it has started well.
    pub(crate) ready: bool,
    /// Why it did not.
    pub(crate) refusal: Option<String>,
    running: bool,
    session: Option<String>,
    prompts: HashMap<Uuid, Sent>,
    tools: BTreeSet<String>,
    /// The message that is being said, and how many of its blocks came.
    message: (String, usize),
    /// The message whose words come one by one.
    streaming: String,
    heard: Heard,
    /// Why we interrupted the turn.
    hopeless: Option<ProviderError>,
    spoke: bool,
    compacted: Option<u64>,
    cost: f64,
}

impl Conversation {
    /// Whether a turn runs.
    pub(crate) fn running(&self) -> bool {
        self.running
    }

    /// Notes that a prompt was sent.
    pub(crate) fn sent(&mut self, prompt: &Prompt) {
        let wants_turn = prompt.wants_turn && prompt.command.is_none();
        self.prompts.insert(prompt.id, Sent { wants_turn, begun: false, consumed: false });
    }

    /// Takes in one frame.
    pub(crate) fn hear(&mut self, frame: Frame) {
        self.out.push_back(Event::Activity);
        match frame {
            Frame::System(system) => self.system(system),
            Frame::Assistant(assistant) => self.assistant(assistant),
            Frame::User(user) => self.user(user),
            Frame::StreamEvent { event, parent_tool_use_id: None } => self.stream(event),
            Frame::StreamEvent { .. } => {}
            Frame::Result(outcome) => self.result(outcome),
            Frame::CommandLifecycle { command_uuid, state } => self.lifecycle(command_uuid, state),
            Frame::RateLimitEvent { rate_limit_info: limit } if limit.status == "rejected" => {
                #[expect(clippy::cast_possible_truncation, reason = "it saturates")]
                let resets_at = limit.resets_at.map(|at| at as i64);
                self.heard.resets_at = resets_at;
                self.waiting(None, "the usage limit is reached");
            }
            Frame::RateLimitEvent { .. } => self.heard.resets_at = None,
            Frame::ControlRequest { .. }
            | Frame::ControlResponse { .. }
            | Frame::ControlCancelRequest { .. }
            | Frame::Other => {}
        }
    }

    fn system(&mut self, system: System) {
        match system {
            System::Init { session_id } => {
                self.ready = true;
                self.begin();
                self.session(session_id);
            }
            System::SessionStateChanged { state: State::Running } => self.begin(),
            // Idle is the authority: whatever ran is over, even if it left no result.
            System::SessionStateChanged { state: State::Idle } if self.running => {
                self.end(Ok(TurnEnd::default()));
            }
            System::SessionStateChanged { .. } | System::Other => {}
            System::ApiRetry { retry_delay_ms, error_status, error } => {
                self.retry(retry_delay_ms, error_status, error.as_deref());
            }
            System::CompactBoundary { compact_metadata: c } if c.trigger == "manual" => {
                self.compacted = Some(c.pre_tokens.unwrap_or_default());
            }
            System::CompactBoundary { .. } => {}
        }
    }

    fn retry(&mut self, delay_ms: Option<f64>, status: Option<u16>, class: Option<&str>) {
        let delay = delay_ms.and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok());
        let why = match status {
            Some(429) => "the model's API asks to slow down",
            Some(401 | 403) => "the model's API refused the credentials",
            Some(_) => "the model's API has a problem",
            None => "the model's API could not be reached",
        };
        if let Some(delay) = delay.filter(|delay| *delay > WAIT_MAX) {
            let detail = format!("{why}, and to wait for {} seconds", delay.as_secs());
            let kind = errors::kind(class, status, &detail, self.heard.resets_at);
            self.hopeless = Some(ProviderError { kind, detail });
            self.wish = Some(Wish::Interrupt);
        }
        self.waiting(delay, why);
    }

    fn assistant(&mut self, frame: Assistant) {
        if frame.parent_tool_use_id.is_some() {
            return;
        }
        if frame.is_api_error_message || frame.error.is_some() {
            self.heard.class = frame.error;
            return;
        }
        let Assistant { message, .. } = frame;
        if message.model.as_deref() == Some(SYNTHETIC) {
            return; // the output of a local command; the result repeats it
        }
        if self.message.0 != message.id {
            self.message = (message.id, 0);
        }
        for block in message.content {
            let key = format!("{}:{}", self.message.0, self.message.1);
            self.message.1 += 1;
            if let Block::Text { text } = block {
                self.spoke = true;
                self.out.push_back(Event::Text { key, text });
            }
        }
    }

    /// Blocks are counted as they come whole: a block has the same key while it is being said.
    fn stream(&mut self, event: Stream) {
        match event {
            Stream::MessageStart { message } => self.streaming = message.id,
            Stream::ContentBlockDelta { delta: Delta::TextDelta { text } } => {
                let is_same = self.message.0 == self.streaming;
                let key =
                    format!("{}:{}", self.streaming, if is_same { self.message.1 } else { 0 });
                self.out.push_back(Event::Delta { key, text });
            }
            Stream::ContentBlockDelta { .. } | Stream::Other => {}
        }
    }

    fn user(&mut self, user: User) {
        if let (true, Some(id)) = (user.is_replay, user.uuid) {
            let known = self.prompts.get(&id).is_some_and(|p| !p.begun) && !self.running;
            self.consumed(id);
            if known {
                self.duplicate(id, DUPLICATE_GRACE);
            }
        }
        if let Content::Blocks(blocks) = user.message.content {
            for block in blocks {
                if let Block::ToolResult { tool_use_id } = block {
                    self.tool_ended(&tool_use_id);
                }
            }
        }
    }

    fn lifecycle(&mut self, id: Uuid, state: Lifecycle) {
        let Some(prompt) = self.prompts.get_mut(&id) else { return };
        match state {
            Lifecycle::Queued => prompt.begun = true,
            Lifecycle::Started => {
                prompt.begun = true;
                self.consumed(id);
            }
            Lifecycle::Completed => {
                let known = !prompt.begun && !self.running;
                self.consumed(id);
                if known {
                    self.duplicate(id, KNOWN_GRACE);
                }
            }
            Lifecycle::Other => {}
        }
    }

    /// A prompt that was taken without a turn: it was in the transcript before we sent it, because the
    /// process died or the API failed after it. The harness will do nothing about it by itself.
    fn duplicate(&mut self, id: Uuid, grace: Duration) {
        if self.prompts.get(&id).is_some_and(|p| p.wants_turn) {
            self.wish = Some(Wish::GoOn(grace));
        } else {
            self.begin();
            self.end(Ok(TurnEnd::default()));
        }
    }

    fn result(&mut self, outcome: Outcome) {
        let failure = errors::judge(&outcome, &self.heard);
        if !self.ready {
            self.refusal = Some(failure.map_or_else(|| outcome.subtype, |error| error.detail));
            return;
        }
        self.begin(); // a result that nothing announced still is a turn
        if let Some(session) = outcome.session_id {
            self.session(session);
        }
        let total = outcome.total_cost_usd.unwrap_or(self.cost);
        // The sum starts anew with a new conversation.
        let cost = if total < self.cost { total } else { total - self.cost };
        self.cost = total;
        let said = outcome.result.filter(|text| outcome.num_turns == 0 && !text.is_empty());
        let compacted = self.compacted.take();
        let notice = compacted
            .map(|tokens| format!("The conversation was compacted; it held {tokens} tokens."))
            .or(said.filter(|text| !self.spoke && text != "(no content)"));
        let hopeless = self.hopeless.take();
        self.end(match failure {
            Some(e) if e.kind == ErrorKind::Interrupted => Err(hopeless.unwrap_or(e)),
            Some(e) => Err(e),
            None => Ok(TurnEnd { notice, cost_usd: (cost > 0.0).then_some(cost) }),
        });
    }

    /// Notes a tool in flight.
    pub(crate) fn tool_started(&mut self, id: String, name: String, timeout: Option<Duration>) {
        if self.tools.len() < TOOLS_MAX && self.tools.insert(id.clone()) {
            self.out.push_back(Event::ToolStarted { id, name, timeout });
        }
    }

    /// Notes that a tool is done.
    pub(crate) fn tool_ended(&mut self, id: &str) {
        if let Some(id) = self.tools.take(id) {
            self.out.push_back(Event::ToolEnded { id });
        }
    }

    fn consumed(&mut self, id: Uuid) {
        if let Some(prompt) = self.prompts.get_mut(&id)
            && !std::mem::replace(&mut prompt.consumed, true)
        {
            self.out.push_back(Event::Consumed(id));
        }
    }

    fn session(&mut self, id: String) {
        if self.session.as_ref() != Some(&id) {
            self.session = Some(id.clone());
            self.out.push_back(Event::Session(id));
        }
    }

    fn waiting(&mut self, retry_in: Option<Duration>, why: &str) {
        self.out.push_back(Event::Waiting { retry_in, why: why.to_owned() });
    }

    fn begin(&mut self) {
        if !std::mem::replace(&mut self.running, true) {
            self.hopeless = None;
            self.spoke = false;
            self.heard.class = None;
            self.out.push_back(Event::TurnStarted);
        }
    }

    fn end(&mut self, how: Result<TurnEnd, ProviderError>) {
        self.running = false;
        for id in std::mem::take(&mut self.tools) {
            self.out.push_back(Event::ToolEnded { id });
        }
        self.prompts.retain(|_, prompt| !prompt.consumed);
        self.out.push_back(Event::TurnEnded(how));
    }
}

#[cfg(test)]
mod tests;
