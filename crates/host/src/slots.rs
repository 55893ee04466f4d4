//! Who may have a box now: at most `max`, first come, first served.
//!
//! A session that gets no slot waits in line and is nudged when its turn comes. While anyone waits,
//! idle boxes give theirs up ([`Slots::wanted`]).

use crate::live::Handle;
use crate::lock;
use nanoclaw_contract::ids::SessionId;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

pub(crate) struct Slots {
    max: usize,
    state: Mutex<State>,
    /// Somebody has a slot.
    pub(crate) taken: Notify,
}

#[derive(Default)]
struct State {
    held: BTreeSet<SessionId>,
    line: VecDeque<Arc<Handle>>,
}

/// What a session got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Held,
    /// It has just joined the line.
    NewInLine,
    InLine,
}

impl Slots {
    pub(crate) fn new(max: usize) -> Self {
        Self { max: max.max(1), state: Mutex::default(), taken: Notify::new() }
    }

    /// Gives the session a slot if one is free and nobody was here before; otherwise it stands in line.
    pub(crate) fn request(&self, who: &Arc<Handle>) -> Place {
        let mut state = lock(&self.state);
        if state.held.contains(&who.id) {
            return Place::Held;
        }
        if state.line.is_empty() && state.held.len() < self.max {
            state.held.insert(who.id.clone());
            self.taken.notify_one();
            return Place::Held;
        }
        if state.line.iter().any(|w| w.id == who.id) {
            return Place::InLine;
        }
        state.line.push_back(who.clone());
        Place::NewInLine
    }

    /// Takes a slot whatever the limit: the box runs already, since before the host started.
    pub(crate) fn adopt(&self, id: &SessionId) {
        lock(&self.state).held.insert(id.clone());
        self.taken.notify_one();
    }

    /// Gives the slot back, or leaves the line, and serves the next.
    pub(crate) fn release(&self, id: &SessionId) {
        let mut state = lock(&self.state);
        state.held.remove(id);
        state.line.retain(|w| w.id != *id);
        while state.held.len() < self.max
            && let Some(next) = state.line.pop_front()
        {
            state.held.insert(next.id.clone());
            self.taken.notify_one();
            next.nudge();
        }
    }

    /// Who has a slot: a box that runs, starts or ends.
    pub(crate) fn holders(&self) -> BTreeSet<SessionId> {
        lock(&self.state).held.clone()
    }

    /// How many sessions wait in line.
    pub(crate) fn wanted(&self) -> usize {
        lock(&self.state).line.len()
    }

    /// How many slots are taken.
    pub(crate) fn held(&self) -> usize {
        lock(&self.state).held.len()
    }
}
