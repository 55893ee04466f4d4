//! Whether a wiring takes a message as said to its agent.
//!
//! Pure: no clock, no database. Closed when unsure: a wiring without a mode, and a pattern that is no
//! regular expression, never engage. Read next: [`crate::route`], the only caller.

use nanoclaw_central::{ChatKind, EngageMode, Wiring};
use nanoclaw_channel::Mention;
use nanoclaw_contract::ids::ThreadId;
use regex::{Regex, RegexBuilder};

/// Longest pattern that is compiled.
const PATTERN_BYTES_MAX: usize = 4096;
/// Most memory of a compiled pattern.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// What was said, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said<'a> {
    pub(crate) text: &'a str,
    pub(crate) mention: Mention,
    /// The thread, where threads are conversations.
    pub(crate) thread: Option<&'a ThreadId>,
}

/// Whether the agent is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Engages {
    /// It is, because.
    Yes(&'static str),
    /// It is not, because.
    No(&'static str),
    /// Nobody can tell: the pattern does not compile, because.
    BadPattern(String),
}

/// Judges one message for one wiring. `addressed_before`: whether the agent was addressed in this very
/// thread; that a session exists proves nothing, because kept messages make sessions too.
pub(crate) fn engages(
    wiring: &Wiring,
    said: &Said<'_>,
    chat: ChatKind,
    addressed_before: bool,
) -> Engages {
    let mentioned = said.mention == Mention::Yes;
    match wiring.engage_mode {
        None => Engages::No("its wiring says not when to answer"),
        Some(EngageMode::Pattern) => match wiring.engage_pattern.as_deref() {
            None | Some(".") => Engages::Yes("it answers every message here"),
            Some(pattern) => match compile(pattern) {
                Err(why) => Engages::BadPattern(why),
                Ok(regex) if regex.is_match(said.text) => Engages::Yes("the text fits its pattern"),
                Ok(_) => Engages::No("the text does not fit its pattern"),
            },
        },
        Some(EngageMode::Mention | EngageMode::MentionSticky) if mentioned => {
            Engages::Yes("it was addressed")
        }
        Some(EngageMode::Mention) => Engages::No("it was not addressed"),
        Some(EngageMode::MentionSticky) => match (chat, said.thread) {
            (ChatKind::Group, Some(_)) if addressed_before => {
                Engages::Yes("it was addressed in this thread before")
            }
            (ChatKind::Group, Some(_)) => Engages::No("it was not addressed in this thread"),
            (ChatKind::Group, None) | (ChatKind::Direct, _) => {
                Engages::No("it was not addressed, and there is no thread to stay in")
            }
        },
    }
}

/// Compiles a wiring's pattern: found anywhere in the text, in its case, in linear time.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!("the pattern is longer than {PATTERN_BYTES_MAX} bytes"));
    }
    RegexBuilder::new(pattern)
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(COMPILED_BYTES_MAX)
        .build()
        .map_err(|e| format!("the pattern {pattern:?} is not understood: {e}"))
}

#[cfg(test)]
mod tests;
