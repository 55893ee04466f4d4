//! Shows in which chats the agent is typing: where somebody waits for the turn that is under way.
//!
//! It follows the pulse: nothing is shown while the agent waits for a person's answer or for the model's API,
//! nor when the pulse is old. What is shown is taken back when the turn ends.

use super::{Live, Seen, TYPING_EVERY};
use crate::{blocking, lock};
use nanoclaw_channel::Typing;
use nanoclaw_contract::ids::Address;
use nanoclaw_contract::pulse::{BEAT, Phase};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A working runner of ours that shows no pulse for so long is not at it.
const FRESH: Duration = Duration::from_secs(3 * BEAT.as_secs());
/// The tool that waits for a person, however a harness prefixes it.
const ASKS: &str = "ask_user_question";

/// Whether a box that has work shows that it is at it.
pub(super) fn at_work(seen: Option<&Seen>) -> bool {
    let Some(Seen { pulse, steady, age }) = seen else { return true };
    let asks = pulse.tools.iter().any(|t| t.name.ends_with(ASKS));
    // One that was idle has just been given something. v2's pulses on events only.
    let alive = !steady || pulse.phase == Phase::Idle || age.is_none_or(|age| age <= FRESH);
    alive && !asks && pulse.phase != Phase::RateLimited
}

impl Live<'_> {
    /// Shows it anew every few seconds, and takes it back at once when the agent is not at it.
    pub(super) async fn show_typing(&mut self, at_work: bool) {
        if !at_work {
            return self.shown_only_in(&BTreeSet::new());
        }
        if self.typed.elapsed() < TYPING_EVERY {
            return;
        }
        self.typed = Instant::now();
        let waiting = self.waiting().await;
        self.shown_only_in(&waiting);
        lock(&self.handle.typing).extend(waiting.iter().cloned());
        if self.showing.as_ref().is_none_or(JoinHandle::is_finished) {
            self.show(waiting.into_iter().collect(), Typing::On);
        }
    }

    /// A turn ended: it is shown on only where somebody still waits.
    pub(super) async fn typing_ended(&mut self) {
        if !lock(&self.handle.typing).is_empty() {
            let waiting = self.waiting().await;
            self.shown_only_in(&waiting);
        }
    }

    pub(super) fn shown_only_in(&mut self, still: &BTreeSet<Address>) {
        let over: Vec<Address> = {
            let mut shown = lock(&self.handle.typing);
            let over = shown.difference(still).cloned().collect();
            shown.retain(|at| still.contains(at));
            over
        };
        if !over.is_empty() {
            self.show(over, Typing::Off);
        }
    }

    /// In the order of the calls, but no message waits for it.
    fn show(&mut self, at: Vec<Address>, typing: Typing) {
        let (host, before) = (self.host.clone(), self.showing.take());
        self.showing = Some(tokio::spawn(async move {
            if let Some(before) = before {
                drop(before.await);
            }
            for address in at {
                host.typing(&address, typing).await;
            }
        }));
    }

    async fn waiting(&self) -> BTreeSet<Address> {
        let (files, now) = (self.files.clone(), self.host.clock.now());
        // Only a sign: when it cannot be read, nobody is shown anything.
        blocking(move || files.with(|inbox| inbox.waiting(now))).await.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
