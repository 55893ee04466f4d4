//! What holds for any bytes: tried by the fuzzer and, a little, by the tests. No part of an ordinary build.

use crate::markdown::{ANSI, PLAIN, render};
use crate::split::{self, LIMIT_MIN, Unit};

#[cfg(test)]
mod tests;

/// A limit, a unit, and text: nothing is lost, and every piece fits.
pub fn split(data: &[u8]) {
    let [low, high, unit, text @ ..] = data else { return };
    let limit = usize::from(u16::from_le_bytes([*low, *high])) % 5000;
    let unit = [Unit::Bytes, Unit::Utf16, Unit::Chars][usize::from(*unit) % 3];
    let text = String::from_utf8_lossy(text);
    let pieces = split::split(&text, limit, unit);
    for piece in &pieces {
        assert!(unit.len(piece) <= limit.max(LIMIT_MIN), "{piece:?} is longer than {limit}");
        assert!(!piece.trim().is_empty(), "an empty piece of {text:?}");
    }
    // What opens a block again is more than was there.
    let pieces = pieces.concat();
    let mut found = pieces.chars();
    for c in text.chars().filter(|c| !c.is_whitespace()) {
        assert!(found.any(|f| f == c), "{c:?} of {text:?} is missing in {pieces:?}");
    }
    if !text.contains("```") && !text.contains("~~~") {
        let signs = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
        assert_eq!(signs(&pieces), signs(&text), "{text:?} became more: {pieces:?}");
    }
}

/// Markdown: every word of the shape `w12w` is shown, and no control character is.
pub fn markdown(data: &[u8]) {
    let source = String::from_utf8_lossy(data);
    let plain = render(&source, &PLAIN);
    let bad = plain.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t'));
    assert_eq!(bad, None, "shown for {source:?}");
    for word in unlabelled(&source).split(|c: char| !c.is_alphanumeric()) {
        let inner = word.strip_prefix('w').and_then(|w| w.strip_suffix('w')).unwrap_or_default();
        if !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_digit()) {
            assert!(plain.contains(word), "{word} of {source:?} is missing in {plain:?}");
        }
    }
    // The only sequences of a terminal are ours: ESC [ numbers m.
    for sequence in render(&source, &ANSI).split('\x1b').skip(1) {
        let ours = sequence.strip_prefix('[').and_then(|s| s.split_once('m'));
        let ours = ours.is_some_and(|(n, _)| n.bytes().all(|b| b.is_ascii_digit() || b == b';'));
        assert!(ours, "a foreign sequence {sequence:?} for {source:?}");
    }
}

/// The text without what may be the label of a definition, which is not shown where something refers to it.
fn unlabelled(source: &str) -> String {
    // What is escaped ends no label.
    let mut text = source.replace("\\[", "  ").replace("\\]", "  ");
    while let Some(end) = text.find("]:") {
        let from = text[..end].rfind('[').unwrap_or(end);
        text.replace_range(from..end + 2, " ");
    }
    // The same label where it is referred to.
    while let Some(from) = text.find("][") {
        let end = text[from + 2..].find(']').map_or(from + 2, |end| from + 2 + end);
        text.replace_range(from..end, " ");
    }
    text
}
