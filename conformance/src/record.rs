//! What stands where the host is: takes everything an adapter hands over, and misbehaves when told to.

use async_trait::async_trait;
use nanoclaw_channel::{Answer, AnswerOutcome, Change, Health, Inbound, Ingress, IngressError};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What was handed over.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// Messages, each once, in the order in which they came.
    pub messages: Vec<Inbound>,
    /// How many came again with the id of one that is there.
    pub repeated: usize,
    /// Changes, each once.
    pub changes: Vec<Change>,
    /// Answers.
    pub answers: Vec<Answer>,
    /// How the channel said that it is, one after the other, the same only once in a row.
    pub health: Vec<Health>,
    /// How often something was refused.
    pub refused: usize,
}

impl Heard {
    /// The message with this id.
    pub fn message(&self, id: &str) -> Option<&Inbound> {
        self.messages.iter().find(|m| m.id.as_str() == id)
    }

    /// The texts of all messages.
    pub fn texts(&self) -> Vec<&str> {
        self.messages.iter().map(|m| m.text.as_str()).collect()
    }
}

#[derive(Default)]
struct State {
    heard: Heard,
    seen: BTreeSet<String>,
    /// How many are taken before some are refused.
    take: u32,
    /// How many are refused before the next one is taken.
    refuse: u32,
    outcome: Option<AnswerOutcome>,
}

/// The host, as an adapter sees it.
#[derive(Default)]
pub struct Recorder {
    state: Mutex<State>,
    bell: Arc<Notify>,
}

impl Recorder {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything until now.
    pub fn heard(&self) -> Heard {
        self.state().heard.clone()
    }

    /// Looks at everything until now.
    pub fn look<T>(&self, look: impl FnOnce(&Heard) -> T) -> T {
        look(&self.state().heard)
    }

    /// Refuses the next `times` messages, changes and answers; `u32::MAX` is until told otherwise.
    pub fn refuse(&self, times: u32) {
        self.refuse_after(0, times);
    }

    /// The same, after so many more were taken.
    pub fn refuse_after(&self, taken: u32, times: u32) {
        let mut state = self.state();
        (state.take, state.refuse) = (taken, times);
    }

    /// What becomes of answers from now on.
    pub fn outcome(&self, outcome: AnswerOutcome) {
        self.state().outcome = Some(outcome);
    }

    /// Rings when something came.
    pub fn bell(&self) -> Arc<Notify> {
        Arc::clone(&self.bell)
    }

    /// Takes what a channel says of itself.
    pub fn health(&self, health: Health) {
        let mut state = self.state();
        if state.heard.health.last() != Some(&health) {
            state.heard.health.push(health);
        }
        drop(state);
        self.bell.notify_waiters();
    }

    fn take(&self, take: impl FnOnce(&mut State)) -> Result<(), IngressError> {
        let mut state = self.state();
        let refused = state.refuse > 0 && state.take == 0;
        state.take = state.take.saturating_sub(1);
        if refused {
            state.refuse = if state.refuse == u32::MAX { u32::MAX } else { state.refuse - 1 };
            state.heard.refused += 1;
        } else {
            take(&mut state);
        }
        drop(state);
        self.bell.notify_waiters();
        if refused { Err(IngressError("the disk is full".into())) } else { Ok(()) }
    }
}

#[async_trait]
impl Ingress for Recorder {
    async fn push(&self, message: Inbound) -> Result<(), IngressError> {
        // As on a disk: others may run between the call and its end.
        tokio::task::yield_now().await;
        self.take(|state| {
            let key = format!("m {:?} {}", message.at.platform_id, message.id);
            if state.seen.insert(key) {
                state.heard.messages.push(message);
            } else {
                state.heard.repeated += 1;
            }
        })
    }

    async fn change(&self, change: Change) -> Result<(), IngressError> {
        tokio::task::yield_now().await;
        self.take(|state| {
            let key = format!("c {:?} {}", change.at.platform_id, change.id);
            if state.seen.insert(key) {
                state.heard.changes.push(change);
            } else {
                state.heard.repeated += 1;
            }
        })
    }

    async fn answer(&self, answer: Answer) -> Result<AnswerOutcome, IngressError> {
        tokio::task::yield_now().await;
        let mut outcome = None;
        self.take(|state| {
            outcome.clone_from(&state.outcome);
            state.heard.answers.push(answer);
        })?;
        Ok(outcome.unwrap_or(AnswerOutcome::Late))
    }
}
