//! What models cost: tokens and money of each agent, taken from the answers as they pass, and caps on both.
//!
//! ```text
//! request ─▶ Meter::check against the budgets of policy.toml ─▶ … ─▶ answer ─▶ Metered: reads `usage` on the way
//!                     ▲                                                           │
//!                     └────────── sums of today and this month ◀──────────────────┴─▶ usage in audit.db
//! ```
//!
//! A sum is an estimate from a list of prices with a date; a model that is not in the list costs as much as the
//! dearest in it. Calls that run at the same time are each let through by the same sum, so a cap can be passed by
//! what they take. Lost when the vault is killed: what the running answers took.
//!
//! Read next: `tap` for reading an answer, `prices`.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod prices;
mod tap;

pub use prices::Prices;
use tap::Usage;

use crate::audit::{Audit, Reader, Spent, day};
use crate::dynamic::Notice;
use nanoclaw_policy::{Budget, Period};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tap::Tap;

/// Ends of paths whose answers say what they took.
const BILLED: [&str; 5] =
    ["/messages", "/chat/completions", "/responses", "/completions", "/embeddings"];
/// What costs nothing.
const FREE: &str = "/count_tokens";
/// Letters of a token, when nothing else is known.
const TOKEN: u64 = 4;

/// Nothing more is spent now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OverBudget {
    /// For the agent: what happened, and who can change it.
    pub(crate) text: String,
    /// For the owner.
    pub(crate) notice: Notice,
    /// Whether the owner can let it go on; what is then remembered is the notice's key.
    pub(crate) can_go_on: bool,
}

/// What was spent in a day or a month.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    tokens: u64,
    micro_usd: u64,
}

impl Sum {
    fn add(&mut self, spent: &Spent) {
        self.tokens += spent.tokens().unsigned_abs();
        self.micro_usd += spent.micro_usd.unsigned_abs();
    }
}

/// The sums of all agents, by agent and "2026-11-23" or "2026-11".
#[derive(Default)]
struct Sums {
    spent: HashMap<(String, String), Sum>,
    day: String,
}

/// The meter of an install.
pub(crate) struct Meter {
    audit: Audit,
    prices: Prices,
    sums: Mutex<Sums>,
}

impl Meter {
    /// Reads what was spent this month.
    pub(crate) fn open(log: &Reader, audit: Audit, prices: Prices) -> rusqlite::Result<Self> {
        let (today, mut sums) = (day(audit.now()), Sums::default());
        for (day, spent) in log.spent_since(month(&today))? {
            sums.add(&day, &spent);
        }
        Ok(Self { audit, prices, sums: Mutex::new(sums) })
    }

    /// Whether this agent may call a model now, and what the owner should hear. `allowed` tells whether the owner
    /// let it go on, by the key of a refusal's notice: each yes is worth the limit once more.
    pub(crate) fn check<'a>(
        &self,
        agent: &str,
        path: &str,
        budgets: impl Iterator<Item = &'a Budget>,
        allowed: impl Fn(&str) -> bool,
    ) -> Result<Vec<Notice>, OverBudget> {
        let (sums, today) = (self.sums(), day(self.audit.now()));
        let mut notices = Vec::new();
        for budget in budgets {
            let period = match budget.per {
                Period::Day => today.as_str(),
                Period::Month => month(&today),
            };
            let spent = sums.spent.get(&(agent.to_owned(), period.to_owned()));
            let spent = spent.copied().unwrap_or_default();
            let mut times = 1;
            while over(spent, budget.hard_usd, budget.hard_tokens, times) {
                let key = format!("budget for {period}, {times}");
                if !allowed(&key) {
                    return Err(refusal(agent, period, key, spent));
                }
                times += 1;
            }
            let key = format!("budget:{agent}:{period}");
            let capped = budget.hard_usd.is_some() || budget.hard_tokens.is_some();
            if capped && !billed(path) && !path.ends_with(FREE) {
                return Err(unmetered(agent, path, key));
            }
            if over(spent, budget.soft_usd, budget.soft_tokens, 1) {
                let text = format!(
                    "{agent} has spent about {} in {period}, more than the soft limit of its budget. It goes on; \
                     `nanoclaw vault usage` says on what.",
                    show(spent)
                );
                notices.push(Notice { key: format!("{key}:soft"), text });
            }
        }
        Ok(notices)
    }

    /// What reads an answer on its way; `sent` is the size of the request. Nothing, where answers do not say.
    pub(crate) fn watch(
        self: &Arc<Self>,
        who: (String, String),
        path: &str,
        sent: u64,
    ) -> Option<Metered> {
        let metered = || Metered { tap: Tap::default(), meter: Arc::clone(self), who, sent };
        billed(path).then(metered)
    }

    fn count(&self, (agent, session): (String, String), tap: &Tap, sent: u64) -> i64 {
        let mut usage = tap.usage;
        if !usage.known {
            // Somebody who is not told what it took must not get it for nothing.
            usage.input = sent / TOKEN;
            usage.output = if tap.events > 0 { tap.events } else { tap.bytes / TOKEN };
        }
        let model = tap.model();
        let micro_usd = self.prices.cost(model, &usage);
        let int = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let spent = Spent {
            agent,
            session,
            model: model.to_owned(),
            calls: 1,
            input: int(usage.input),
            output: int(usage.output),
            cache_write: int(usage.cache_write + usage.cache_write_long),
            cache_read: int(usage.cache_read),
            micro_usd: int(micro_usd),
        };
        self.sums().add(&day(self.audit.now()), &spent);
        let tokens = spent.tokens();
        self.audit.spent(spent);
        tokens
    }

    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sums {
    fn add(&mut self, day: &str, spent: &Spent) {
        let month = month(day);
        if self.day.as_str() < day {
            day.clone_into(&mut self.day);
            self.spent.retain(|(_, period), _| period == month);
        }
        for period in [day, month] {
            self.spent.entry((spent.agent.clone(), period.to_owned())).or_default().add(spent);
        }
    }
}

fn month(day: &str) -> &str {
    day.get(..7).unwrap_or(day)
}

fn billed(path: &str) -> bool {
    BILLED.iter().any(|end| path.ends_with(end))
}

fn over(spent: Sum, usd: Option<u64>, tokens: Option<u64>, times: u64) -> bool {
    let reached =
        |spent: u64, limit: Option<u64>| limit.is_some_and(|l| spent >= l.saturating_mul(times));
    reached(spent.micro_usd, usd) || reached(spent.tokens, tokens)
}

fn show(spent: Sum) -> String {
    format!("${:.2} ({} tokens)", spent.micro_usd as f64 / 1e6, spent.tokens)
}

fn refusal(agent: &str, period: &str, key: String, spent: Sum) -> OverBudget {
    let text = format!(
        "the budget of this agent for {period} is used up: about {}. The owner of this install can let it go on, or \
         raise the limit in data/vault/policy.toml",
        show(spent)
    );
    let owner = format!(
        "{agent} has used up its budget for {period}: about {}. It cannot call a model until you let it.",
        show(spent)
    );
    OverBudget { text, notice: Notice { key, text: owner }, can_go_on: true }
}

fn unmetered(agent: &str, path: &str, key: String) -> OverBudget {
    let text = format!(
        "this agent has a budget, and what {path} costs cannot be seen from its answer, so it is not open to it. \
         The owner of this install can take the budget away in data/vault/policy.toml"
    );
    let owner = format!(
        "{agent} has a budget and asked for {path}, whose cost cannot be metered; it was refused."
    );
    let notice = Notice { key: format!("{key}:unmetered"), text: owner };
    OverBudget { text, notice, can_go_on: false }
}

/// One answer that is read.
pub(crate) struct Metered {
    tap: Tap,
    meter: Arc<Meter>,
    who: (String, String),
    sent: u64,
}

impl Metered {
    pub(crate) fn push(&mut self, data: &[u8]) {
        self.tap.push(data);
    }

    /// Counts what it took; tells the tokens.
    pub(crate) fn end(self) -> i64 {
        self.meter.count(self.who, &self.tap, self.sent)
    }
}

#[cfg(test)]
mod tests;
