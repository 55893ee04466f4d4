//! What holds for any bytes: tried by the fuzzer and, a little, by the tests. No part of an ordinary build.

use crate::import::{Entry, comment_out, parse, secrets};
use std::collections::BTreeSet;

#[cfg(test)]
mod tests;

/// A `.env` file: its variables stand on lines of their own, mean the same when they are written plainly, and
/// those that are commented out are gone, with all else as it was.
pub fn env(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let entries = parse(text);
    let mut after = 0;
    for Entry { name, lines, .. } in &entries {
        assert!(lines.start >= after && lines.end > lines.start, "{name} is on lines of its own");
        assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
        after = lines.end;
    }
    assert!(after <= text.split('\n').count());
    let plain: String = entries.iter().map(written).collect();
    assert_eq!(pairs(&parse(&plain)), pairs(&entries));
    assert_eq!(pairs(&parse(&plain.replace('\n', "\r\n"))), pairs(&entries));
    for found in secrets(&entries, &BTreeSet::from(["TELEGRAM_BOT_TOKEN"])) {
        let last = entries.iter().rfind(|e| e.name == found.variable && !e.value.is_empty());
        assert!(last.is_some_and(|entry| entry.value == found.value), "{}", found.variable);
        let value = found.value.as_str();
        assert!(value.len() < 12 || !found.note.is_some_and(|note| note.contains(value)));
    }
    let names: BTreeSet<&str> =
        entries.iter().step_by(2).map(|entry| entry.name.as_str()).collect();
    let out = comment_out(text, &names);
    let kept = pairs(&entries).into_iter().filter(|(name, _)| !names.contains(name));
    assert_eq!(pairs(&parse(&out)), kept.collect::<Vec<_>>());
    assert_eq!(comment_out(&out, &names), out);
}

fn pairs(entries: &[Entry]) -> Vec<(&str, &str)> {
    entries.iter().map(|entry| (entry.name.as_str(), entry.value.as_str())).collect()
}

/// A value as it can always be written.
fn written(Entry { name, value, .. }: &Entry) -> String {
    let mut line = format!("{name}=\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => line.extend(['\\', c]),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            c => line.push(c),
        }
    }
    line + "\"\n"
}
