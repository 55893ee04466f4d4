//! `.env` files as people write them: read into variables, each with the lines it stands on.
//!
//! Quotes, `export`, values over several lines, a BOM, CRLF and names that come twice are understood; the
//! last of the same name counts, as in a shell. Nothing is interpolated.

use crate::kind::{self, Kind, VARIABLES, Variable};
use crate::value::VALUE_MAX;
use std::collections::BTreeSet;
use std::ops::Range;
use zeroize::Zeroizing;

const LINES_MAX: usize = 10_000;

/// One assignment.
pub struct Entry {
    /// The variable.
    pub name: String,
    /// Its value, quotes taken off.
    pub value: Zeroizing<String>,
    /// On which lines it stands, from 0.
    pub lines: Range<usize>,
}

/// Every assignment in order; what is none is left out.
#[must_use]
pub fn parse(text: &str) -> Vec<Entry> {
    let lines: Vec<&str> = lines(text).take(LINES_MAX).collect();
    let (mut entries, mut at) = (Vec::new(), 0);
    while let Some(line) = lines.get(at) {
        let start = at;
        at += 1;
        let Some((name, raw)) = assignment(line) else { continue };
        let mut raw = Zeroizing::new(raw.to_owned());
        if let Some(quote) = open_quote(&raw) {
            let mut end = at;
            let mut more = raw.clone();
            while !is_closed(&more, quote) && more.len() <= VALUE_MAX + 2 {
                let Some(next) = lines.get(end) else { break };
                more.push('\n');
                more.push_str(next);
                end += 1;
            }
            // A quote that is never closed is part of the value.
            if is_closed(&more, quote) {
                (raw, at) = (more, end);
            }
        }
        entries.push(Entry { name: name.to_owned(), value: unquote(&raw), lines: start..at });
    }
    entries
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line))
}

fn assignment(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let (name, raw) = line.split_once('=')?;
    let name = name.trim_end();
    let word = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (word && !name.is_empty()).then(|| (name, raw.trim()))
}

fn open_quote(raw: &str) -> Option<char> {
    raw.chars().next().filter(|c| matches!(c, '"' | '\''))
}

/// Where the quote that a value begins with is closed.
fn closing(raw: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    raw.char_indices().skip(1).find_map(|(at, c)| {
        let closes = c == quote && !escaped;
        escaped = c == '\\' && quote == '"' && !escaped;
        closes.then_some(at)
    })
}

fn is_closed(raw: &str, quote: char) -> bool {
    closing(raw, quote).is_some()
}

fn unquote(raw: &str) -> Zeroizing<String> {
    let quoted = open_quote(raw).and_then(|quote| Some((quote, closing(raw, quote)?)));
    let Some((quote, end)) = quoted else {
        let end = raw.find(" #").unwrap_or(raw.len());
        return Zeroizing::new(raw.get(..end).unwrap_or(raw).trim_end().to_owned());
    };
    let inner = raw.get(1..end).unwrap_or_default();
    if quote == '\'' {
        return Zeroizing::new(inner.to_owned());
    }
    let mut value = Zeroizing::new(String::with_capacity(inner.len()));
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => value.push('\n'),
                Some('r') => value.push('\r'),
                Some('t') => value.push('\t'),
                Some(c @ ('"' | '\\' | '$')) => value.push(c),
                Some(other) => value.extend(['\\', other]),
                None => value.push('\\'),
            },
            (c, false) => value.push(c),
        }
    }
    value
}

/// What one variable becomes.
pub struct Found {
    /// The variable.
    pub variable: String,
    /// What it is here.
    pub secret: String,
    /// What it is.
    pub kind: Kind,
    /// Where it is used; empty for the host alone.
    pub host: String,
    /// Its value.
    pub value: Zeroizing<String>,
    /// What was put right.
    pub note: Option<String>,
}

/// Finds the secrets among the variables; `tokens` are the variables that the host's channels read.
#[must_use]
pub fn secrets(entries: &[Entry], tokens: &BTreeSet<&str>) -> Vec<Found> {
    let set = || entries.iter().filter(|entry| !entry.value.is_empty());
    let last = |name: &str| set().rfind(|entry| entry.name == name);
    let base = last("ANTHROPIC_BASE_URL").map(|entry| entry.value.as_str());
    let (mut found, mut names) = (Vec::<Found>::new(), BTreeSet::new());
    // The last of the same name counts; of two variables for one secret, the first.
    for name in set().map(|entry| &entry.name).filter(|name| names.insert(*name)) {
        if let Some(new) = last(name).and_then(|entry| one(entry, tokens, base))
            && !found.iter().any(|old| old.secret == new.secret)
        {
            found.push(new);
        }
    }
    found
}

fn one(entry: &Entry, tokens: &BTreeSet<&str>, base_url: Option<&str>) -> Option<Found> {
    let name = entry.name.as_str();
    let known = kind::known(&entry.value);
    let variable = VARIABLES.into_iter().find(|variable| variable.name == name);
    let (secret, kind, host) = match variable {
        // What a channel of this install reads is the host's own.
        _ if tokens.contains(name) => (name, Kind::HostOnly, ""),
        Some(Variable { secret, kind, host, .. }) => (secret, kind, host),
        None => return None,
    };
    let seen = known.filter(|k| matches!(kind, Kind::Anthropic | Kind::Openai) && k.kind != kind);
    let (kind, host, secret, mut note) = match seen {
        Some(k) if matches!(k.kind, Kind::Anthropic | Kind::Openai) => {
            let secret = k.kind.name();
            let note = format!("{name} holds a value of {secret}; it is stored as such");
            (k.kind, k.host, secret, Some(note))
        }
        _ => (kind, host, secret, None),
    };
    if name == "ANTHROPIC_API_KEY" && kind::is_anthropic_oauth(&entry.value) {
        note = Some(format!("{name} holds a token of a subscription; it is stored as such"));
    }
    let host = match base_url {
        Some(url) if kind == Kind::Anthropic => url.to_owned(),
        _ => host.to_owned(),
    };
    let (variable, secret) = (name.to_owned(), secret.to_owned());
    Some(Found { variable, secret, kind, host, value: entry.value.clone(), note })
}

/// The file with these variables commented out and without their values.
#[must_use]
pub fn comment_out(text: &str, names: &BTreeSet<&str>) -> String {
    let entries = parse(text);
    let of = |line: usize| entries.iter().find(|e| e.lines.contains(&line));
    let mut out = String::with_capacity(text.len());
    for (at, line) in text.split_inclusive('\n').enumerate() {
        match of(at).filter(|entry| names.contains(entry.name.as_str())) {
            Some(entry) if entry.lines.start == at => {
                out.push_str(&format!("# {} is in the vault: nanoclaw vault list\n", entry.name));
            }
            Some(_) => {}
            None => out.push_str(line),
        }
    }
    out
}

#[cfg(test)]
mod tests;
