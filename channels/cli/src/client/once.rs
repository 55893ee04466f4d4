//! One message and the answers to it.
//!
//! The turn is over when an answer came and the host said that the agent is no longer typing; where it does
//! not say so, after a second of silence. A lost connection is taken up again and the message sent again
//! with the same id, which the host knows.

use super::show::Show;
use super::{Ended, Link};
use crate::wire::{Event, Message, Request, Say};
use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// How long an answer may be followed by another when nothing is known about the turn.
const SILENCE: Duration = Duration::from_secs(1);

/// How long after the turn's end a last answer may still be on its way.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// Between two attempts to reach a host that went away.
const AGAIN: Duration = Duration::from_millis(300);

pub(super) struct Once<'a> {
    pub(super) data: &'a Path,
    pub(super) agent: Option<&'a str>,
    pub(super) timeout: Duration,
}

/// What a script waits for.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Nothing to do.
    Wait,
    /// Show this; it answers.
    Show(Box<Message>),
    /// It was not taken.
    Refused(String),
}

/// What is known about the turn that consumes our message.
#[derive(Debug, Default)]
struct Turn {
    id: String,
    shown: HashSet<String>,
    answered: bool,
    typing: bool,
    /// It stopped typing after the first answer.
    over: bool,
}

impl Turn {
    fn take(&mut self, event: Event) -> Step {
        match event {
            Event::Message { message } if self.concerns(&message) => {
                if !self.shown.insert(message.id.clone()) {
                    return Step::Wait;
                }
                // A question is no answer yet: the agent waits for somebody.
                self.answered |= message.question.is_none();
                Step::Show(message)
            }
            Event::Typing { typing } => {
                self.typing = typing;
                self.over = self.answered && !typing;
                Step::Wait
            }
            Event::Nack { nack, why } if nack == self.id => Step::Refused(why),
            Event::Error { error } => Step::Refused(error),
            Event::Message { .. }
            | Event::Nack { .. }
            | Event::Hello { .. }
            | Event::Ack { .. }
            | Event::Said { .. }
            | Event::Answered { .. } => Step::Wait,
        }
    }

    fn concerns(&self, message: &Message) -> bool {
        message.in_reply_to.as_deref() == Some(self.id.as_str())
            || message.reaction.as_ref().is_some_and(|r| r.to == self.id)
            || message.edit_of.as_ref().is_some_and(|id| self.shown.contains(id))
    }

    /// How much longer to listen when nothing more happens; `None` while the turn goes on.
    fn linger(&self) -> Option<Duration> {
        match (self.answered, self.typing) {
            (true, false) if self.over => Some(LAST_WORDS),
            (true, false) => Some(SILENCE),
            (true, true) | (false, _) => None,
        }
    }
}

impl Once<'_> {
    pub(super) async fn run(&self, say: Say, show: &mut dyn Show) -> Ended {
        let end = Instant::now() + self.timeout;
        let mut turn = Turn { id: say.id.clone().unwrap_or_default(), ..Turn::default() };
        let say = Request::Say(say);
        let mut link = match Link::open(self.data, self.agent).await {
            Ok(link) => link,
            Err(e) => return show.end(Ended::Unreachable, &super::unreachable(self.data, &e)),
        };
        loop {
            // A failed write shows as the end of the events.
            let sent = link.send(&say).await.is_ok();
            if sent && let Some((ended, why)) = self.hear(&mut link, &mut turn, end, show).await {
                return show.end(ended, &why);
            }
            // The turn cannot be followed any more; what was heard of it does not count.
            turn.typing = false;
            link = loop {
                sleep(AGAIN).await;
                match Link::open(self.data, self.agent).await {
                    Ok(link) => break link,
                    Err(_) if turn.answered => return show.end(Ended::Well, ""),
                    Err(e) if Instant::now() >= end => {
                        return show.end(Ended::Unreachable, &super::unreachable(self.data, &e));
                    }
                    Err(_) => {}
                }
            };
        }
    }

    /// Listens until the turn is over or the connection is gone (`None`).
    async fn hear(
        &self,
        link: &mut Link,
        turn: &mut Turn,
        end: Instant,
        show: &mut dyn Show,
    ) -> Option<(Ended, String)> {
        let mut quiet_since = Instant::now();
        loop {
            let until = turn.linger().map_or(end, |linger| end.min(quiet_since + linger));
            let event = tokio::select! {
                event = link.next() => event?,
                () = sleep_until(until) => {
                    show.typing(false);
                    return Some(if turn.answered {
                        (Ended::Well, String::new())
                    } else {
                        let secs = self.timeout.as_secs();
                        let why = format!(
                            "no answer within {secs} s; a later one can be read with: nanoclaw chat"
                        );
                        (Ended::TimedOut, why)
                    });
                }
            };
            if let Event::Typing { typing } = &event {
                show.typing(*typing);
                quiet_since = Instant::now();
            }
            if let Event::Ack { ack } = &event
                && *ack == turn.id
            {
                show.received(ack);
            }
            match turn.take(event) {
                Step::Wait => {}
                Step::Refused(why) => return Some((Ended::Refused, format!("not taken: {why}"))),
                Step::Show(message) => {
                    quiet_since = Instant::now();
                    show.message(&message);
                    // Only what was printed is seen; the rest waits for somebody who reads it.
                    link.send(&Request::Seen { seen: message.id }).await.ok()?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
