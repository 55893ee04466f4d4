//! What is being said in the running turn: heard block by block, resolved to rows when written.
//!
//! Shared by the loop (which hears), the tools (which answer the same conversation) and the check at
//! a turn's end. It never touches a database. Read next: [`crate::session`].

use crate::reply::{self, Reply};
use nanoclaw_contract::ids::{Address, ChannelType, MessageId, PlatformId, ThreadId};
use nanoclaw_contract::message::{AGENT_CHANNEL, InRow, Trigger};
use std::collections::BTreeMap;

/// The newest row of each chat in a prompt: what to answer, and in which thread.
pub(crate) type Heard = BTreeMap<(ChannelType, PlatformId), (MessageId, Option<ThreadId>)>;

/// The conversation that caused a turn.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    /// Where an answer goes by default.
    pub(crate) to: Option<Address>,
    /// The row it answers.
    pub(crate) reply_to: Option<MessageId>,
    /// Every chat that was heard.
    pub(crate) heard: Heard,
}

impl Origin {
    /// The conversation of the last row that asked for a turn; messages to oneself come from nowhere.
    pub(crate) fn of(rows: &[InRow], own: &str) -> Self {
        let mut origin = Self::default();
        // Rows that asked for a turn come last, so that they win over what was only overheard.
        let (asked, overheard): (Vec<_>, Vec<_>) =
            rows.iter().partition(|r| r.trigger == Trigger::Wake);
        for row in overheard.into_iter().chain(asked) {
            let wake = row.trigger == Trigger::Wake;
            if wake {
                origin.reply_to = Some(row.id.clone());
            }
            let Some(to) = row.reply().filter(|to| !is_self(to, own)) else { continue };
            let place = (to.channel_type.clone(), to.platform_id.clone());
            origin.heard.insert(place, (row.id.clone(), to.thread_id.clone()));
            if wake {
                origin.to = Some(to);
            }
        }
        origin
    }
}

fn is_self(to: &Address, own: &str) -> bool {
    to.channel_type.as_str() == AGENT_CHANNEL && to.platform_id.as_str() == own
}

/// One block that is to be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// Tells it from every other block.
    pub(crate) key: String,
    /// What was said to whom.
    pub(crate) said: reply::Block,
}

/// The running turn.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// Whom it answers.
    pub(crate) origin: Origin,
    /// Blocks that are not written yet.
    pub(crate) blocks: Vec<Block>,
    /// Names that nobody has, with what was said to them.
    pub(crate) unknown: Vec<String>,
    /// Text outside of blocks, with the key of its first block.
    bare: Vec<(String, String)>,
    delivered: bool,
    corrected: bool,
    /// Bare text that was objected to before it was heard.
    skip: Option<String>,
    /// Blocks that belong to a turn that is over, only not written yet.
    over: usize,
}

impl Turn {
    /// The prompt was taken in: from now on the turn answers it as well.
    pub(crate) fn consumed(&mut self, origin: &Origin, wants_turn: bool) {
        if wants_turn {
            // What was written before answers what was asked before.
            (self.delivered, self.corrected) = (false, false);
            self.origin.to.clone_from(&origin.to);
            self.origin.reply_to.clone_from(&origin.reply_to);
        }
        self.origin.heard.extend(origin.heard.iter().map(|(k, v)| (k.clone(), v.clone())));
    }

    /// Hears a block of text.
    pub(crate) fn hear(&mut self, key: &str, text: &str) {
        let Reply { blocks, bare, .. } = reply::parse(text);
        for (i, said) in blocks.into_iter().enumerate() {
            self.blocks.push(Block { key: format!("{key}/{i}"), said });
        }
        if !bare.is_empty() && self.skip.take_if(|skip| *skip == bare).is_none() {
            self.bare.push((key.to_owned(), bare));
        }
    }

    /// Something was written for people.
    pub(crate) fn delivered(&mut self) {
        self.delivered = true;
    }

    /// The first `blocks` were written; those of a turn that is over say nothing about this one.
    pub(crate) fn written(&mut self, blocks: usize, rows: usize) {
        self.blocks.drain(..blocks);
        self.delivered |= rows > 0 && blocks > self.over;
        self.over = self.over.saturating_sub(blocks);
    }

    /// Judges the text that would end the turn: `Some(why)` sends the agent back, once per turn.
    pub(crate) fn check(&mut self, text: &str, names: &[String]) -> Option<String> {
        let Reply { blocks, bare, .. } = reply::parse(text);
        if self.corrected {
            return None;
        }
        let said = self.blocks.iter().map(|b| &b.said).chain(&blocks).map(|b| &b.to);
        let mut unknown = self.unknown.clone();
        unknown.extend(said.clone().filter(|to| !names.contains(to)).cloned());
        unknown.dedup();
        let known = self.delivered || said.clone().any(|to| names.contains(to));
        let why = if !unknown.is_empty() {
            format!(
                "There is no destination named {}: what you wrote to it was not delivered.",
                unknown.iter().map(|n| format!("{n:?}")).collect::<Vec<_>>().join(", ")
            )
        } else if !known && (!bare.is_empty() || !self.bare.is_empty()) {
            "Your answer was not delivered, because it is not wrapped.".to_owned()
        } else {
            return None;
        };
        self.corrected = true;
        // What stands in the text given here may still be on its way to `hear`.
        if self.bare.last().is_none_or(|(_, last)| *last != bare) && !bare.is_empty() {
            self.skip = Some(bare);
        }
        if !known {
            self.bare.clear();
        }
        self.unknown.clear();
        self.blocks.retain(|b| names.contains(&b.said.to));
        Some(format!(
            "{why} Wrap each delivered message in <message to=\"name\">…</message>, with one of these names: {}. \
             Send it again like that, or put it in <internal>…</internal> if nobody is to read it.",
            if names.is_empty() { "(none)".to_owned() } else { names.join(", ") }
        ))
    }

    /// Ends the turn: the bare text that would be lost, with its key. The origin stays for turns
    /// that nobody asked for.
    pub(crate) fn end(&mut self, said: bool) -> Option<(String, String)> {
        let bare = std::mem::take(&mut self.bare);
        let lost =
            (!self.delivered && !said).then(|| bare.first().map(|(key, _)| key.clone())).flatten();
        (self.delivered, self.corrected, self.skip) = (false, false, None);
        self.over = self.blocks.len();
        self.origin.heard.clear();
        let text: Vec<_> = bare.into_iter().map(|(_, text)| text).collect();
        lost.map(|key| (key, text.join("\n\n")))
    }
}

#[cfg(test)]
mod tests;
