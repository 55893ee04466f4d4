//! Whether a box that has work is well, by what it shows of itself.
//!
//! Evidence only: work that shows a pulse may take as long as it likes, and an idle box is well. A tool that
//! runs longer than it said it would is interrupted; a box that shows no sign of life is stopped. Each
//! step is given its time before the next, harder one:
//!
//! ```text
//! tool overdue ─▶ interrupt ──30 s──▶ stop ──10 s──▶ kill
//! silent ────────────────────────────▶ stop ──10 s──▶ kill
//! ```

use nanoclaw_contract::pulse::{Phase, Tool};
use nanoclaw_contract::time::Timestamp;
use std::time::Duration;

/// A box with work that shows nothing for this long is not well. Twelve missed beats.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(60);
/// v2's runner pulses on events only; after work began with one, it may be silent for this long.
const SILENCE_MAX_V2: Duration = Duration::from_secs(30 * 60);
/// How long a tool may overrun the time it asked for: its harness stops it first.
const TOOL_GRACE: Duration = Duration::from_secs(30);
/// What a shell command gets that asks for nothing. Other tools that ask for nothing have no deadline:
/// some of them are whole agents.
const SHELL_DEFAULT: Duration = Duration::from_secs(120);
const SHELL: &str = "Bash";
/// From interrupt to stop.
const STOP_AFTER: Duration = Duration::from_secs(30);
/// From stop to kill.
const KILL_AFTER: Duration = Duration::from_secs(10);

/// What a box shows of itself.
#[derive(Debug, Clone)]
pub(crate) struct LivenessFacts {
    pub(crate) phase: Phase,
    /// Whether it pulses all the while it works, as our runner does, or only on events, as v2's does.
    pub(crate) steady: bool,
    /// How long ago it last showed a pulse, or else was started.
    pub(crate) pulse_age: Duration,
    pub(crate) tools: Vec<Tool>,
    /// How long ago it claimed the oldest message that it still works on.
    pub(crate) oldest_claim: Option<Duration>,
    pub(crate) now: Timestamp,
    pub(crate) last_step: LastStep,
}

/// What was last done to a box that is not well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastStep {
    /// Nothing.
    None,
    /// It was told to end its turn.
    Interrupted(Timestamp),
    /// It was told to exit.
    Terminated(Timestamp),
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing; look again after this time. Steps that were taken are forgotten.
    Healthy {
        /// When something could be wrong at the earliest.
        check_again_in: Duration,
    },
    /// Nothing yet: the last step has its time. It is not forgotten.
    Wait {
        /// When that time is over.
        check_again_in: Duration,
    },
    /// Tell it to end its turn.
    Interrupt(String),
    /// Tell it to exit.
    Stop(String),
    /// End it.
    Kill(String),
}

/// Judges a box.
pub(crate) fn judge(facts: &LivenessFacts) -> Verdict {
    if let LastStep::Terminated(at) = facts.last_step {
        // Told to exit, it exits, whatever it shows meanwhile.
        return match left(KILL_AFTER, at, facts.now) {
            Some(check_again_in) => Verdict::Wait { check_again_in },
            None => Verdict::Kill(format!("it did not exit within {KILL_AFTER:?}")),
        };
    }
    let working =
        facts.phase != Phase::Idle || facts.oldest_claim.is_some() || !facts.tools.is_empty();
    if !working {
        return Verdict::Healthy { check_again_in: SILENCE_MAX };
    }
    let (silence, allowed) = silence(facts);
    let Some(until_silent) = allowed.checked_sub(silence).filter(|d| !d.is_zero()) else {
        return Verdict::Stop(format!(
            "no sign of life for {} s while it has work",
            silence.as_secs()
        ));
    };
    let mut check_again_in = until_silent;
    for tool in &facts.tools {
        let Some(deadline) = deadline(tool) else { continue };
        let ran = age_ms(tool.started_ms, facts.now);
        if let Some(more) = (deadline + TOOL_GRACE).checked_sub(ran) {
            check_again_in = check_again_in.min(more.max(Duration::from_millis(100)));
            continue;
        }
        let name: String = tool.name.chars().take(64).collect();
        let why = format!(
            "the tool {name} runs for {} s and had {} s",
            ran.as_secs(),
            deadline.as_secs()
        );
        return match facts.last_step {
            LastStep::None => Verdict::Interrupt(why),
            LastStep::Interrupted(at) => match left(STOP_AFTER, at, facts.now) {
                Some(check_again_in) => Verdict::Wait { check_again_in },
                None => Verdict::Stop(format!("{why}; the interrupt did not help")),
            },
            LastStep::Terminated(_) => Verdict::Kill(why),
        };
    }
    Verdict::Healthy { check_again_in }
}

/// How long it has been silent since it had work, and how long it may be.
fn silence(facts: &LivenessFacts) -> (Duration, Duration) {
    // An idle box shows no pulse: its silence begins when it claims.
    let since_claim = facts.oldest_claim.unwrap_or(Duration::MAX).min(facts.pulse_age);
    if facts.steady {
        return (since_claim, SILENCE_MAX);
    }
    // v2's runner: one pulse after the claim proves that the turn began.
    let declared = facts.tools.iter().filter_map(deadline).max().unwrap_or_default();
    match facts.oldest_claim {
        None if facts.tools.is_empty() => (Duration::ZERO, SILENCE_MAX),
        // A follow-up, which it claims for a moment only.
        None => (facts.pulse_age, SILENCE_MAX_V2.max(declared)),
        Some(claim) if facts.pulse_age >= claim => (claim, SILENCE_MAX.max(declared)),
        Some(_) => (facts.pulse_age, SILENCE_MAX_V2.max(declared)),
    }
}

fn deadline(tool: &Tool) -> Option<Duration> {
    match tool.timeout_ms {
        Some(ms) => Some(Duration::from_millis(ms.try_into().unwrap_or(0))),
        None if tool.name == SHELL => Some(SHELL_DEFAULT),
        None => None,
    }
}

/// The box says when a tool started; a time to come counts as now.
fn age_ms(started_ms: i64, now: Timestamp) -> Duration {
    let ms = now.as_millisecond().saturating_sub(started_ms);
    Duration::from_millis(ms.try_into().unwrap_or(0))
}

/// What is left of the time that a step has. None when it is over, or when the clock was set back.
fn left(time: Duration, since: Timestamp, now: Timestamp) -> Option<Duration> {
    let passed = Duration::try_from(now.duration_since(since)).ok()?;
    time.checked_sub(passed).filter(|d| !d.is_zero())
}

#[cfg(test)]
mod tests;
