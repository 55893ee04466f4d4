//! Notices boxes that run against their limits without end, and puts them in quarantine.
//!
//! The limits keep the machine well; what is noticed here is that a box does nothing but strain at them.
//! While no box runs, nothing is looked at. Next: `pressure.rs` for boxes that only use much.

#[cfg(test)]
mod tests;

use crate::{Host, blocking, pressure};
use nanoclaw_driver::Strain;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(5);
/// How many times in a row a box must have strained.
const ROUNDS: u32 = 3;
/// Processes refused that are no accident.
const FORKS: u64 = 50;

/// What is known of one box.
#[derive(Default)]
struct Known {
    last: Option<Strain>,
    rounds: u32,
}

impl Known {
    /// Why it goes to quarantine, if it does.
    fn learn(&mut self, now: Strain) -> Option<&'static str> {
        let before = self.last.unwrap_or(now);
        let why = judge(&before, &now);
        self.rounds = match why {
            Some(_) => self.rounds + 1,
            // It may do no more than that.
            None if now.held_back => self.rounds,
            None => 0,
        };
        // A shell that may not fork waits ever longer before it tries again: while there is no room for
        // more processes, refusals add up.
        let forks_refused = if now.full { before.forks_refused } else { now.forks_refused };
        self.last = Some(Strain { forks_refused, ..now });
        why.filter(|_| self.rounds >= ROUNDS)
    }
}

/// Looks after the boxes, as long as there are some.
pub(crate) async fn run(host: Arc<Host>) {
    while !host.stopping() {
        while host.slots.held() == 0 {
            host.slots.taken.notified().await;
        }
        tokio::select! {
            () = watch(&host) => {}
            () = pressure::run(&host) => {}
        }
    }
}

async fn watch(host: &Arc<Host>) {
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    while host.slots.held() > 0 {
        tokio::time::sleep(EVERY).await;
        let h = host.clone();
        let Ok(boxes) = blocking(move || Ok(h.central.boxes()?)).await else { continue };
        known.retain(|name, _| boxes.iter().any(|b| b.name == *name));
        for b in boxes {
            let Ok(now) = host.driver.strain(&b.name).await else { continue };
            if let Some(why) = known.entry(b.name).or_default().learn(now) {
                host.park(&b.session, why).await;
                host.wake(&b.session);
            }
        }
    }
}

/// What a box did too much of between two looks.
fn judge(before: &Strain, now: &Strain) -> Option<&'static str> {
    if now.forks_refused > before.forks_refused + FORKS {
        Some("it starts processes without end")
    } else if now.killed_for_memory > before.killed_for_memory {
        Some("it uses more memory than it may, again and again")
    } else if now.log_turned.is_some() && now.log_turned != before.log_turned {
        Some("it writes output without end")
    } else {
        None
    }
}
