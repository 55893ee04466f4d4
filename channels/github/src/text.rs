//! Who is named in a text, and which reactions there are.

use nanoclaw_channel::markdown::{Node, Tag, parse};
use nanoclaw_kit::emoji;

/// Whether a text names an account as GitHub reads it: not in code, not in a link, not as a part of a word.
pub(crate) fn names(markdown: &str, login: &str) -> bool {
    let mut words = Vec::new();
    lines(&parse(markdown), &mut words);
    words.iter().any(|line| in_words(line, login))
}

/// The words of each run of text; what is marked up joins what it stands next to.
fn lines(nodes: &[Node], found: &mut Vec<String>) {
    let mut line = String::new();
    for node in nodes {
        match node {
            Node::Text(text) => line.push_str(text),
            // Something stands there, and it is no word.
            Node::Code(_) | Node::Element(Tag::CodeBlock(_) | Tag::Link(_), _) => line.push('`'),
            Node::Break | Node::Rule => line.push('\n'),
            Node::Element(_, parts) => lines(parts, found),
        }
    }
    found.push(line);
}

fn in_words(text: &str, login: &str) -> bool {
    let (text, mark) = (text.to_lowercase(), format!("@{}", login.to_lowercase()));
    text.match_indices(&mark).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let mut after = text[at + mark.len()..].chars();
        let free = before.is_none_or(|c| !c.is_alphanumeric() && !"_-/@`".contains(c));
        let ends = match after.next() {
            // `@org/team` is a team, `@name.` the end of a sentence.
            Some('-') => !after.next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '-'),
            Some(c) => !c.is_alphanumeric() && !"_/`".contains(c),
            None => true,
        };
        free && ends
    })
}

/// GitHub's eight reactions: its name, and what else means it.
const REACTIONS: [(&str, &[&str]); 8] = [
    ("+1", &["👍"]),
    ("-1", &["👎"]),
    ("laugh", &["😄", "😂", "😀", "😆"]),
    ("hooray", &["🎉"]),
    ("confused", &["😕"]),
    ("heart", &["❤️"]),
    ("rocket", &["🚀"]),
    ("eyes", &["👀"]),
];

/// GitHub's name of a reaction.
pub(crate) fn reaction(emoji: &str) -> Option<&'static str> {
    let name = emoji.trim().trim_matches(':');
    let emoji = emoji::find(emoji).map_or(name, |e| e.as_str());
    let found = REACTIONS.iter().find(|(known, others)| *known == name || others.contains(&emoji));
    found.map(|(name, _)| *name)
}

#[cfg(test)]
mod tests;
