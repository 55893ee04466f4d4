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
            return self.shown_only_in(&BTreeSet::new()).await;
        }
        if self.typed.elapsed() < TYPING_EVERY {
            return;
        }
        self.typed = Instant::now();
        let waiting = self.waiting().await;
        self.shown_only_in(&waiting).await;
        for address in waiting {
            lock(&self.handle.typing).insert(address.clone());
            self.host.typing(&address, Typing::On).await;
        }
    }

    /// A turn ended: it is shown on only where somebody still waits.
    pub(super) async fn typing_ended(&self) {
        if !lock(&self.handle.typing).is_empty() {
            let waiting = self.waiting().await;
            self.shown_only_in(&waiting).await;
        }
    }

    pub(super) async fn shown_only_in(&self, still: &BTreeSet<Address>) {
        let over: Vec<_> = {
            let mut shown = lock(&self.handle.typing);
            let over = shown.difference(still).cloned().collect();
            shown.retain(|at| still.contains(at));
            over
        };
        for address in over {
            self.host.typing(&address, Typing::Off).await;
        }
    }

    async fn waiting(&self) -> BTreeSet<Address> {
        let (files, now) = (self.files.clone(), self.host.clock.now());
        // Only a sign: when it cannot be read, nobody is shown anything.
        blocking(move || files.with(|inbox| inbox.waiting(now))).await.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
