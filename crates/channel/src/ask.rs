//! A question as text, for channels without buttons: numbered, and answered by typing.

use crate::markdown::{Dialect, printable_line, render};
use crate::{Choice, Question};

/// The question with its numbered options, in a dialect.
pub fn text(question: &Question, dialect: &Dialect) -> String {
    let (on, off) = dialect.strong;
    let mut lines = Vec::new();
    if !question.title.trim().is_empty() {
        lines.push(format!("{on}{}{off}", printable_line(&question.title)));
    }
    if question.question != question.title {
        lines.push(render(&question.question, dialect));
    }
    // Not through Markdown: a label must not be able to look like two options.
    for (n, choice) in question.options.iter().enumerate() {
        lines.push(format!("  {}) {}", n + 1, printable_line(&choice.label)));
    }
    lines.join("\n")
}

/// Stands in a mail between what was newly written and the mail that it answers.
pub const QUOTED: &str = "[The mail that this answers:]";

/// What a person typed: of a mail, neither its subject nor what it quotes.
pub fn typed(text: &str) -> &str {
    let mail = text.strip_prefix("Subject: ").and_then(|mail| mail.split_once("\n\n"));
    let text = mail.map_or(text, |(_, text)| text);
    text.split_once(QUOTED).map_or(text, |(typed, _)| typed).trim()
}

/// What somebody chose by typing a number, a label or a value; `None` when the text is no answer.
pub fn choice<'a>(question: &'a Question, typed: &str) -> Option<&'a Choice> {
    let typed = typed.trim();
    let same = |text: &str| text.trim().to_lowercase() == typed.to_lowercase();
    let number = typed.trim_end_matches([')', '.']).parse::<usize>().ok();
    number
        .and_then(|n| question.options.get(n.checked_sub(1)?))
        .or_else(|| question.options.iter().find(|o| same(&o.label)))
        .or_else(|| question.options.iter().find(|o| same(&o.value)))
}

#[cfg(test)]
mod tests;
