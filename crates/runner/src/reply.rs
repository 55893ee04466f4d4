//! Finds what the agent wants delivered in what it said. Pure.
//!
//! `<message to="name">…</message>` is delivered; `<internal>…</internal>` never is, blocks inside it
//! included; the rest is bare text, which the agent is asked to wrap.

/// What a text holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Blocks, in order.
    pub(crate) blocks: Vec<Block>,
    /// What stands outside of blocks.
    pub(crate) bare: String,
    /// The last block has no end.
    open: bool,
}

/// One block that is to be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// The name it is addressed to.
    pub(crate) to: String,
    /// The number of the message that it answers, where several conversations share the name.
    pub(crate) reply_to: Option<i64>,
    /// The text.
    pub(crate) text: String,
}

/// Takes a text apart.
pub(crate) fn parse(text: &str) -> Reply {
    let text = strip_internal(text);
    let (mut rest, mut reply) = (text.as_str(), Reply::default());
    let mut bare = String::new();
    while let Some(open) = find_open(rest) {
        bare.push_str(&rest[..open.start]);
        let body = &rest[open.end..];
        // A block that was never closed is cut off, not unsaid.
        let (len, skip) = find_close(body).map_or((body.len(), 0), |at| (at, CLOSE.len()));
        reply.open = skip == 0;
        let text = body[..len].trim();
        if !text.is_empty() {
            let Open { to, reply_to, .. } = open;
            reply.blocks.push(Block { to, reply_to, text: text.to_owned() });
        }
        rest = &body[len + skip..];
    }
    bare.push_str(rest);
    bare.trim().clone_into(&mut reply.bare);
    reply
}

/// The block that a text which is still being said ends in, and its place: as much of it as nothing that may
/// follow takes back, and less than all.
pub(crate) fn so_far(text: &str) -> Option<(usize, Block)> {
    let text = strip_internal(text);
    // A note that has no end yet, and half a word, which may be half a tag.
    let text = text.split("<internal>").next()?;
    let mut reply = parse(&text[..text.rfind(char::is_whitespace)?]);
    let said = reply.blocks.pop().filter(|_| reply.open)?;
    Some((reply.blocks.len(), said))
}

const OPEN: &str = "<message";
const CLOSE: &str = "</message>";

struct Open {
    start: usize,
    end: usize,
    to: String,
    reply_to: Option<i64>,
}

fn find_open(text: &str) -> Option<Open> {
    let mut from = 0;
    while let Some(at) = text[from..].find(OPEN) {
        let start = from + at;
        from = start + OPEN.len();
        let len = text[from..].find('>')?;
        let attributes = &text[from..from + len];
        if attributes.starts_with(char::is_whitespace)
            && let Some(to) = attribute(attributes, "to")
        {
            let reply_to = attribute(attributes, "reply_to").and_then(|n| n.trim().parse().ok());
            return Some(Open { start, end: from + len + 1, to, reply_to });
        }
    }
    None
}

/// The value of `name="…"` or `name='…'`.
pub(crate) fn attribute(text: &str, name: &str) -> Option<String> {
    let mut rest = text;
    while let Some(eq) = rest.find('=') {
        let key = rest[..eq].trim_end().rsplit(char::is_whitespace).next().unwrap_or("");
        let value = rest[eq + 1..].trim_start();
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let end = value[1..].find(quote)? + 1;
        if key == name {
            return Some(value[1..end].to_owned());
        }
        rest = &value[end + 1..];
    }
    None
}

/// Where a block ends: at the first closing tag that is not quoted as code, or else the first one.
fn find_close(body: &str) -> Option<usize> {
    let first = body.find(CLOSE)?;
    body.match_indices(CLOSE)
        .map(|(at, _)| at)
        .find(|at| {
            let (before, after) = (&body[..*at], &body[at + CLOSE.len()..]);
            let fences = before.lines().filter(|l| l.trim_start().starts_with("```")).count();
            fences % 2 == 0 && !(before.ends_with('`') && after.starts_with('`'))
        })
        .or(Some(first))
}

/// Removes every closed `<internal>` block.
pub(crate) fn strip_internal(text: &str) -> String {
    const OPEN: &str = "<internal>";
    const CLOSE: &str = "</internal>";
    let (mut out, mut rest) = (String::new(), text);
    while let Some(start) = rest.find(OPEN)
        && let Some(len) = rest[start..].find(CLOSE)
    {
        out.push_str(&rest[..start]);
        rest = &rest[start + len + CLOSE.len()..];
    }
    out.push_str(rest);
    out.trim().to_owned()
}

#[cfg(test)]
mod tests;
