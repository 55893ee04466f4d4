//! What is sent: the contents of events.
//!
//! A message has its words twice, as Markdown for plain apps and as HTML. An event may have 64 KiB, and what is
//! encrypted grows by a third; so long text is split, and HTML that makes it too large is left away.

use nanoclaw_channel::split::{Unit, split};
use nanoclaw_channel::{Question, ask, markdown};
use nanoclaw_kit::dialect::{Dialect, pieces};
use serde_json::{Value, json};

#[cfg(test)]
mod tests;

/// Longest piece of text in one event, in bytes of Markdown.
pub const TEXT_MAX: usize = 12_000;

/// Largest content, so that the event has less than 64 KiB when it is encrypted.
const CONTENT_MAX: usize = 44_000;

/// Smallest piece that is tried: even if every byte is escaped, it fits.
const PIECE_MIN: usize = 1_000;

/// The contents of the events that show a Markdown text.
pub fn text(markdown: &str) -> Vec<Value> {
    let mut contents = Vec::new();
    text_in(&markdown::printable(markdown), TEXT_MAX, &mut contents);
    contents
}

fn text_in(markdown: &str, limit: usize, contents: &mut Vec<Value>) {
    for piece in split(markdown, limit, Unit::Bytes) {
        let html = pieces(&piece, Dialect::Html, usize::MAX, Unit::Bytes).concat();
        let plain = json!({ "msgtype": "m.text", "body": piece, "m.mentions": {} });
        let mut rich = plain.clone();
        rich["format"] = "org.matrix.custom.html".into();
        rich["formatted_body"] = html.into();
        if size(&rich) <= CONTENT_MAX {
            contents.push(rich);
        } else if size(&plain) <= CONTENT_MAX || limit <= PIECE_MIN {
            contents.push(plain);
        } else {
            text_in(&piece, limit / 2, contents);
        }
    }
}

fn size(content: &Value) -> usize {
    content.to_string().len()
}

/// The contents that show a plain text, as it is.
pub fn plain(text: &str) -> Vec<Value> {
    let piece = |body: String| json!({ "msgtype": "m.text", "body": body, "m.mentions": {} });
    split(text, TEXT_MAX / 2, Unit::Bytes).into_iter().map(piece).collect()
}

/// A question; Matrix has no buttons, so it is answered by typing.
pub fn question(question: &Question) -> Vec<Value> {
    plain(&ask::text(question, &markdown::PLAIN))
}

/// A card as Markdown.
pub fn card(title: Option<&str>, text: &str) -> String {
    match title.map(markdown::printable_line) {
        Some(title) if !title.trim().is_empty() => {
            // A title is no Markdown.
            let marks = |c: char| c.is_ascii_punctuation();
            let escaped: String = title
                .trim()
                .chars()
                .flat_map(|c| marks(c).then_some('\\').into_iter().chain([c]))
                .collect();
            format!("**{escaped}**\n\n{text}")
        }
        _ => text.to_owned(),
    }
}

/// Says where a message belongs.
pub fn relate(content: &mut Value, thread: Option<&str>, reply_to: Option<&str>) {
    let relation = match (thread, reply_to) {
        (None, None) => return,
        (None, Some(reply)) => json!({ "m.in_reply_to": { "event_id": reply } }),
        (Some(root), reply) => json!({ "rel_type": "m.thread", "event_id": root,
            "is_falling_back": reply.is_none(),
            "m.in_reply_to": { "event_id": reply.unwrap_or(root) } }),
    };
    content["m.relates_to"] = relation;
}

/// The content that puts another one into the place of a message.
pub fn edit(message: &str, content: Value) -> Value {
    let body = content["body"].as_str().unwrap_or_default();
    json!({ "msgtype": "m.text", "body": format!("* {body}"), "m.mentions": {},
        "m.new_content": content,
        "m.relates_to": { "rel_type": "m.replace", "event_id": message } })
}

/// A reaction.
pub fn reaction(message: &str, emoji: &str) -> Value {
    json!({ "m.relates_to": { "rel_type": "m.annotation", "event_id": message, "key": emoji } })
}

/// The character for what an agent calls an emoji; `None` when it is none.
pub fn emoji(name: &str) -> Option<&str> {
    let name = name.trim().trim_matches(':');
    let known = SHORTCODES.iter().find(|(code, _)| *code == name).map(|(_, emoji)| *emoji);
    known.or_else(|| (!name.is_ascii() && name.len() <= 64).then_some(name))
}

/// What agents use most.
const SHORTCODES: [(&str, &str); 20] = [
    ("+1", "👍"),
    ("thumbsup", "👍"),
    ("thumbs_up", "👍"),
    ("-1", "👎"),
    ("thumbsdown", "👎"),
    ("thumbs_down", "👎"),
    ("heart", "❤️"),
    ("white_check_mark", "✅"),
    ("check", "✅"),
    ("x", "❌"),
    ("eyes", "👀"),
    ("fire", "🔥"),
    ("tada", "🎉"),
    ("rocket", "🚀"),
    ("smile", "😄"),
    ("joy", "😂"),
    ("thinking", "🤔"),
    ("thinking_face", "🤔"),
    ("pray", "🙏"),
    ("clap", "👏"),
];
