//! What every print of every text has to hold.

#![expect(clippy::panic, reason = "what does not hold ends the test, or the fuzzer")]

#[path = "accept.rs"]
pub(super) mod accept;

use super::{Dialect, PIECE_MIN, pieces};
use nanoclaw_channel::markdown::{Node, Tag, parse, printable};
use nanoclaw_channel::split::Unit;

/// Words that are looked for again: letters and digits only, so that no dialect writes them otherwise.
fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|w| !w.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Prints, and checks each piece and that no letter is lost.
pub(crate) fn whole(markdown: &str, dialect: Dialect, max: usize, unit: Unit) {
    let pieces = pieces(markdown, dialect, max, unit);
    let mut seen = String::new();
    for piece in &pieces {
        assert!(unit.len(piece) <= max.max(PIECE_MIN), "{dialect:?} too long: {piece}");
        let text = accept::accept(dialect, piece)
            .unwrap_or_else(|why| panic!("{dialect:?}: {why}\n{piece}\nof {markdown:.2000}"));
        seen.push_str(&text);
        seen.push(' ');
    }
    let mut said = String::new();
    match dialect {
        // It goes as it is written, with what defines a link where the agent put it.
        Dialect::GitHub => said = printable(markdown),
        _ => tree_text(&parse(markdown), &mut said),
    }
    let lost = |what: &str| {
        let (of, into) = (format!("{markdown:?}"), format!("{pieces:?}"));
        panic!("{dialect:?} lost {what:?}\nof {of:.2000}\nin {into:.2000}")
    };
    // Behind a cut, links and numbers are shown again, and a table may be turned: there letters are counted.
    let in_order = pieces.len() == 1 && !markdown.contains('|');
    let seen = words(&seen).concat();
    let mut at = 0;
    let mut left = [0i64; 256];
    for word in words(&said) {
        word.bytes().for_each(|b| left[usize::from(b)] += 1);
        if in_order {
            at += seen[at..].find(&word).unwrap_or_else(|| lost(&word)) + word.len();
        }
    }
    seen.bytes().for_each(|b| left[usize::from(b)] -= 1);
    if let Some(byte) = left.iter().position(|n| *n > 0) {
        lost(&format!("{} of {:?}", left[byte], u8::try_from(byte).map(char::from)));
    }
}

/// What Markdown means by its source: the text, the targets of links, the numbers of lists.
fn tree_text(nodes: &[Node], out: &mut String) {
    for node in nodes {
        match node {
            Node::Text(text) | Node::Code(text) => out.push_str(text),
            Node::Break | Node::Rule => out.push('\n'),
            Node::Element(Tag::List(Some(first)), items) => {
                for (item, number) in items.iter().zip(*first..) {
                    out.push_str(&format!("\n{number} "));
                    tree_text(std::slice::from_ref(item), out);
                }
            }
            Node::Element(tag, parts) => {
                let in_line = node.is_inline();
                out.push_str(if in_line { "" } else { "\n" });
                tree_text(parts, out);
                if let Tag::Link(target) = tag {
                    let mut label = String::new();
                    tree_text(parts, &mut label);
                    let bare = target.strip_prefix("mailto:").unwrap_or(target);
                    if ![bare, target].contains(&label.trim()) {
                        out.push_str(&format!(" {target} "));
                    }
                }
                out.push_str(if in_line { "" } else { "\n" });
            }
        }
    }
}
