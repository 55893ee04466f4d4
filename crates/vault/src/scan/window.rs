//! Searching what comes in pieces, however it is cut, and holding back no more than needed.

use super::forms;
use aho_corasick::packed::Searcher;
use aho_corasick::{AhoCorasick, MatchKind};
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Tells quickly whether one of the strings is there.
enum Quick {
    /// Made in microseconds, for the few strings of one request.
    Few(Searcher),
    /// For the placeholders of everybody.
    Many(AhoCorasick),
    Each,
}

/// A set of byte strings that is searched for. It may hold secrets, so it cannot be shown.
pub(super) struct Set {
    quick: Quick,
    strings: Vec<Zeroizing<Vec<u8>>>,
    first: [bool; 256],
    longest: usize,
    fold: bool,
}

impl Set {
    /// With `fold`, upper and lower case are the same.
    pub(super) fn new(strings: Vec<Zeroizing<Vec<u8>>>, fold: bool) -> Self {
        let mut first = [false; 256];
        for byte in strings.iter().filter_map(|s| s.first()) {
            first[usize::from(*byte)] = true;
            if fold {
                first[usize::from(byte.to_ascii_lowercase())] = true;
                first[usize::from(byte.to_ascii_uppercase())] = true;
            }
        }
        let all = || strings.iter().map(|s| s.as_slice());
        let few = || Searcher::new(all()).map(Quick::Few);
        let many = || {
            let mut builder = AhoCorasick::builder();
            builder.match_kind(MatchKind::LeftmostFirst).ascii_case_insensitive(fold);
            builder.build(all()).ok().map(Quick::Many)
        };
        let quick = if fold { None } else { few() }.or_else(many).unwrap_or(Quick::Each);
        let longest = strings.iter().map(|s| s.len()).max().unwrap_or_default();
        Self { quick, strings, first, longest, fold }
    }

    /// The first one in `text`.
    pub(super) fn find(&self, text: &[u8]) -> Option<usize> {
        match &self.quick {
            Quick::Few(quick) => quick.find(text).map(|found| found.pattern().as_usize()),
            Quick::Many(quick) => quick.find(text).map(|found| found.pattern().as_usize()),
            Quick::Each => self.each(text).next().map(|(which, _)| which),
        }
    }

    /// Every place where one of them stands, also where they overlap.
    fn each<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (usize, Range<usize>)> + 'a {
        self.starts(text).flat_map(move |at| {
            let rest = &text[at..];
            let here =
                self.strings.iter().enumerate().filter(move |(_, s)| {
                    rest.get(..s.len()).is_some_and(|start| self.same(start, s))
                });
            here.map(move |(which, s)| (which, at..at + s.len()))
        })
    }

    /// How many bytes at the end of `text` may be the beginning of one that is not complete.
    pub(super) fn open(&self, text: &[u8]) -> usize {
        let from = text.len().saturating_sub(self.longest.saturating_sub(1));
        let open = self.starts(&text[from..]).find(|at| {
            let tail = &text[from + at..];
            let begins = |s: &[u8]| s.get(..tail.len()).is_some_and(|start| self.same(tail, start));
            self.strings.iter().any(|s| s.len() > tail.len() && begins(s))
        });
        open.map_or(0, |at| text.len() - from - at)
    }

    fn starts<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
        let starts = text.iter().enumerate().filter(|(_, byte)| self.first[usize::from(**byte)]);
        starts.map(|(at, _)| at)
    }

    fn same(&self, a: &[u8], b: &[u8]) -> bool {
        if self.fold { a.eq_ignore_ascii_case(b) } else { a == b }
    }
}

/// What was injected into a request, in all its writings, and what stands for each.
pub struct Needles {
    set: Set,
    shown: Vec<Vec<u8>>,
}

impl Needles {
    /// From pairs of what was injected and its placeholder.
    pub fn new<'a>(injected: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let pairs = injected.into_iter().flat_map(|(value, dummy)| forms::all(value, dummy));
        let (strings, shown): (Vec<_>, Vec<_>) = pairs.unzip();
        Self { set: Set::new(strings, false), shown }
    }

    /// The same with placeholders, and how many there were; nothing if there is nothing to replace.
    pub(super) fn replaced(&self, text: &[u8]) -> Option<(Vec<u8>, u64)> {
        self.set.find(text)?;
        let (mut shown, mut finds) = (text.to_vec(), 0);
        for (which, place) in self.set.each(text) {
            shown[place].copy_from_slice(&self.shown[which]);
            finds += 1;
        }
        Some((shown, finds))
    }
}

/// One stream on its way past the needles.
pub struct Window {
    needles: Arc<Needles>,
    /// Held back: what came, and what it became so far. Both are equally long.
    came: Vec<u8>,
    becomes: Vec<u8>,
    pub finds: u64,
}

impl Window {
    pub fn new(needles: Arc<Needles>) -> Self {
        Self { needles, came: Vec::new(), becomes: Vec::new(), finds: 0 }
    }

    /// What may go on now that this came.
    pub fn push(&mut self, mut next: Bytes) -> Bytes {
        if self.came.is_empty() && self.needles.set.find(&next).is_none() {
            let open = self.needles.set.open(&next);
            if open > 0 {
                let tail = next.split_off(next.len() - open);
                self.came = tail.to_vec();
                self.becomes = tail.to_vec();
            }
            return next;
        }
        let held = self.came.len();
        self.came.extend_from_slice(&next);
        self.becomes.extend_from_slice(&next);
        for (which, place) in self.needles.set.each(&self.came) {
            self.finds += u64::from(place.end > held);
            self.becomes[place].copy_from_slice(&self.needles.shown[which]);
        }
        let keep = self.came.len() - self.needles.set.open(&self.came);
        self.came.drain(..keep);
        let rest = self.becomes.split_off(keep);
        std::mem::replace(&mut self.becomes, rest).into()
    }

    /// Nothing is held back.
    pub(super) fn is_empty(&self) -> bool {
        self.came.is_empty()
    }

    /// The rest: the stream has ended, so nothing can complete what was held back.
    pub fn finish(&mut self) -> Bytes {
        self.came.clear();
        std::mem::take(&mut self.becomes).into()
    }
}
