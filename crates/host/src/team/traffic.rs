//! How much two agents may say to each other. Pure: it knows no clock and no host.
//!
//! Two limits. Each way, so many messages at once and so many a minute; more wait. And each pair, so many
//! messages without a person: then both are stopped for a while, because nobody may be listening. It lives
//! in memory: after a restart of the host every pair begins anew.

use nanoclaw_contract::ids::AgentId;
use nanoclaw_contract::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// Messages one way at once, and how long it takes to earn another.
const BURST: f64 = 20.0;
const EARN_ONE: Duration = Duration::from_secs(6);
/// Messages of a pair without a person.
pub(super) const EXCHANGED_MAX: u32 = 30;
/// How long a pair is stopped; and how long it must be silent to begin anew.
pub(super) const BRAKE_FOR: Duration = Duration::from_secs(600);

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes.
    Pass,
    /// It goes, as the last one before the brake.
    Last,
    /// It goes after this time at the earliest.
    Wait(Duration),
    /// The pair is stopped.
    Braked,
}

/// Everything that is remembered of who wrote to whom.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    ways: BTreeMap<(AgentId, AgentId), Way>,
    pairs: BTreeMap<(AgentId, AgentId), Pair>,
}

#[derive(Debug)]
struct Way {
    left: f64,
    as_of: Timestamp,
}

#[derive(Debug)]
struct Pair {
    exchanged: u32,
    last: Timestamp,
}

impl Traffic {
    /// Judges a message, and counts it if it goes.
    pub(crate) fn admit(&mut self, from: &AgentId, to: &AgentId, now: Timestamp) -> Verdict {
        // What is quiet for so long is as if it had never been.
        let quiet = |at: Timestamp| passed(at, now) >= BRAKE_FOR;
        // A clock that was set back must not stop anybody for as long.
        self.ways.retain(|_, way| {
            way.as_of = way.as_of.min(now);
            !quiet(way.as_of)
        });
        self.pairs.retain(|_, pair| {
            pair.last = pair.last.min(now);
            !quiet(pair.last)
        });
        let (a, b) = if from <= to { (from, to) } else { (to, from) };
        let pair =
            self.pairs.entry((a.clone(), b.clone())).or_insert(Pair { exchanged: 0, last: now });
        if pair.exchanged >= EXCHANGED_MAX {
            return Verdict::Braked;
        }
        let way =
            self.ways.entry((from.clone(), to.clone())).or_insert(Way { left: BURST, as_of: now });
        let earned = passed(way.as_of, now).as_secs_f64() / EARN_ONE.as_secs_f64();
        (way.left, way.as_of) = ((way.left + earned).min(BURST), now);
        if way.left < 1.0 {
            return Verdict::Wait(EARN_ONE.mul_f64(1.0 - way.left));
        }
        way.left -= 1.0;
        (pair.exchanged, pair.last) = (pair.exchanged + 1, now);
        if pair.exchanged == EXCHANGED_MAX { Verdict::Last } else { Verdict::Pass }
    }

    /// A person wrote to this agent: somebody is listening, and may want it to set itself to work.
    pub(crate) fn person_wrote(&mut self, to: &AgentId) {
        self.ways.retain(|(a, b), _| a != to || b != to);
        self.pairs.retain(|(a, b), _| a != to && b != to);
    }
}

/// A clock that was set back has not moved.
fn passed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
