//! Markdown as each platform writes it, in pieces that a platform takes.
//!
//! ```text
//! Markdown ─ parse ─▶ tree ─ print ─▶ words, gaps, marks ─ pack ─▶ pieces
//! ```
//!
//! A piece is valid on its own: whatever is open at a cut is closed there and opened again behind it. Nothing
//! but white space at the cuts is left out. What a platform cannot mark is shown as plain text.

#[cfg(any(test, fuzzing))]
#[path = "dialect/tests/oracle.rs"]
pub(crate) mod oracle;
mod pack;
mod print;
#[cfg(test)]
mod tests;

use nanoclaw_channel::markdown::{PLAIN, printable, render};
use nanoclaw_channel::split::{Unit, split};

/// Smallest piece; a smaller one counts as this. No mark of a platform is longer than half of it.
pub const PIECE_MIN: usize = 64;

/// How a platform writes text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Telegram's subset of HTML.
    TelegramHtml,
    /// Discord's Markdown.
    Discord,
    /// Slack's mrkdwn.
    Slack,
    /// WhatsApp's marks.
    WhatsApp,
    /// HTML as Matrix and mail clients take it.
    Html,
    /// GitHub's Markdown, which is the agent's.
    GitHub,
    /// No marks.
    Plain,
}

/// Prints Markdown in pieces of at most `max` units, marks included. Empty text has no pieces.
pub fn pieces(markdown: &str, dialect: Dialect, max: usize, unit: Unit) -> Vec<String> {
    let max = max.max(PIECE_MIN);
    let mut pieces = match dialect {
        Dialect::Plain => split(&plain(markdown), max, unit),
        Dialect::GitHub => split(&printable(markdown), max, unit),
        _ => pack::pack(&print::print(markdown, dialect, max, unit), max, unit),
    };
    pieces.retain(|piece| !piece.trim().is_empty());
    if dialect == Dialect::Discord {
        for piece in &mut pieces {
            let quiet = unheard(piece, "＠");
            *piece = if unit.len(&quiet) > max { unheard(piece, "") } else { quiet };
        }
    }
    pieces
}

/// Markdown without marks: what is sent when a platform refuses the marked text.
pub fn plain(markdown: &str) -> String {
    render(markdown, &PLAIN)
}

/// Takes the power from what would call everybody.
fn unheard(piece: &str, at: &str) -> String {
    let calls = [("@everyone", "everyone"), ("@here", "here"), ("@&", "&")];
    calls
        .iter()
        .fold(piece.to_owned(), |piece, (call, name)| piece.replace(call, &format!("{at}{name}")))
}
