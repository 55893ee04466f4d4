//! Strict readers of what platforms take, written from their documentation: they return the text that people
//! see, or why the platform would refuse the piece.

use super::Dialect;

/// Reads a piece as its platform does.
pub(crate) fn accept(dialect: Dialect, piece: &str) -> Result<String, String> {
    if piece.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    let control = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if piece.contains(control) || piece.contains(['\u{202e}', '\u{2066}']) {
        return Err("it has control characters".to_owned());
    }
    match dialect {
        Dialect::TelegramHtml => html(piece, &TELEGRAM),
        Dialect::Html => html(piece, &MATRIX),
        Dialect::Slack => slack(piece),
        Dialect::Discord => discord(piece),
        Dialect::WhatsApp => fences(piece),
        Dialect::GitHub | Dialect::Plain => Ok(piece.to_owned()),
    }
}

/// A subset of HTML.
struct Html {
    tags: &'static [&'static str],
    voids: &'static [&'static str],
    schemes: &'static [&'static str],
    /// Which tag may not stand in which.
    apart: &'static [(&'static str, &'static str)],
}

/// <https://core.telegram.org/bots/api#html-style>
const TELEGRAM: Html = Html {
    tags: &["b", "i", "u", "s", "a", "code", "pre", "blockquote"],
    voids: &[],
    schemes: &["http:", "https:", "mailto:", "tg:"],
    apart: &[
        ("blockquote", "blockquote"),
        ("a", "a"),
        ("code", "a"),
        ("a", "code"),
        ("pre", "a"),
        ("b", "code"),
        ("i", "code"),
        ("s", "code"),
        ("b", "pre"),
        ("i", "pre"),
        ("s", "pre"),
        ("code", "b"),
        ("code", "i"),
        ("code", "s"),
        ("code", "code"),
        ("pre", "pre"),
        ("pre", "b"),
        ("b", "b"),
        ("i", "i"),
        ("s", "s"),
    ],
};

/// <https://spec.matrix.org/latest/client-server-api/#mroommessage-msgtypes>
const MATRIX: Html = Html {
    tags: &[
        "p",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "strong",
        "em",
        "del",
        "a",
        "code",
        "pre",
        "blockquote",
        "ul",
        "ol",
        "li",
        "table",
        "tr",
        "th",
        "td",
    ],
    voids: &["br", "hr"],
    schemes: &["http:", "https:", "mailto:"],
    apart: &[
        ("p", "p"),
        ("a", "a"),
        ("p", "pre"),
        ("p", "ul"),
        ("p", "blockquote"),
        ("code", "code"),
    ],
};

/// An element that is open.
struct Open<'a> {
    name: &'a str,
    /// Where it leads.
    target: &'a str,
    /// The number of its next item.
    number: Option<u64>,
}

fn html(piece: &str, html: &Html) -> Result<String, String> {
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut text = String::new();
    let mut rest = piece;
    while let Some(c) = rest.chars().next() {
        match c {
            '<' => {
                let end = rest.find('>').ok_or("a tag has no end")?;
                tag(&rest[1..end], html, &mut open, &mut text)?;
                rest = &rest[end + 1..];
            }
            '&' => {
                let end = rest.find(';').ok_or("an entity has no end")?;
                text.push(match &rest[..=end] {
                    "&amp;" => '&',
                    "&lt;" => '<',
                    "&gt;" => '>',
                    "&quot;" => '"',
                    other => return Err(format!("{other} is no entity")),
                });
                rest = &rest[end + 1..];
            }
            '>' => return Err("a bare >".to_owned()),
            c => {
                text.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    match open.last() {
        Some(open) => Err(format!("<{}> is not closed", open.name)),
        None => Ok(text),
    }
}

fn tag<'a>(
    tag: &'a str,
    html: &Html,
    open: &mut Vec<Open<'a>>,
    text: &mut String,
) -> Result<(), String> {
    if let Some(name) = tag.strip_prefix('/') {
        return match open.pop() {
            Some(top) if top.name == name => {
                text.push_str(&format!(" {} ", top.target.replace("&amp;", "&")));
                Ok(())
            }
            top => Err(format!("</{name}> closes {:?}", top.map(|t| t.name))),
        };
    }
    let (name, attribute) = tag.split_once(' ').unwrap_or((tag, ""));
    if html.voids.contains(&name) && attribute.is_empty() {
        text.push('\n');
        return Ok(());
    }
    if !html.tags.contains(&name) {
        return Err(format!("<{tag}> is not allowed"));
    }
    for outer in &*open {
        if html.apart.contains(&(outer.name, name)) {
            return Err(format!("<{name}> in <{}>", outer.name));
        }
    }
    let value = |key: &str| {
        let value = attribute.strip_prefix(key)?.strip_prefix("=\"")?.strip_suffix('"')?;
        (!value.contains(['"', '<', '>', ' '])).then_some(value)
    };
    let target = value("href").unwrap_or_default();
    let start = value("start").and_then(|n| n.parse().ok());
    let scheme = |s: &&str| target.to_ascii_lowercase().starts_with(s);
    let fine = match name {
        "a" => html.schemes.iter().any(scheme),
        "code" => {
            attribute.is_empty() || value("class").is_some_and(|c| c.starts_with("language-"))
        }
        "ol" => attribute.is_empty() || start.is_some(),
        _ => attribute.is_empty(),
    };
    if !fine {
        return Err(format!("<{tag}> has an attribute that is not allowed"));
    }
    if let (Some(list), "li") = (open.last_mut(), name)
        && let Some(number) = &mut list.number
    {
        text.push_str(&format!(" {number} "));
        *number += 1;
    }
    let number = (name == "ol").then(|| start.unwrap_or(1));
    open.push(Open { name, target, number });
    Ok(())
}

/// <https://docs.slack.dev/messaging/formatting-message-text>: `&`, `<` and `>` are escaped, but for links.
fn slack(piece: &str) -> Result<String, String> {
    let mut text = String::new();
    for line in fences(piece)?.lines() {
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            let (shown, used) = match c {
                '&' => {
                    let end = rest.find(';').ok_or("an entity has no end")?;
                    let shown = match &rest[..=end] {
                        "&amp;" => "&",
                        "&lt;" => "<",
                        "&gt;" => ">",
                        other => return Err(format!("{other} is no entity")),
                    };
                    (shown.to_owned(), end + 1)
                }
                '<' => {
                    let end = rest.find('>').ok_or("a link has no end")?;
                    let (url, label) = rest[1..end].split_once('|').ok_or("a link has no label")?;
                    let known = ["http:", "https:", "mailto:"]
                        .iter()
                        .any(|s| url.to_ascii_lowercase().starts_with(s));
                    if !known
                        || url.contains([' ', '<'])
                        || label.contains(['<', '|'])
                        || label.is_empty()
                    {
                        return Err(format!("<{url}|{label}> is no link"));
                    }
                    let both = format!("{label} {url}");
                    (both.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"), end + 1)
                }
                '>' => return Err("a bare >".to_owned()),
                c => (c.to_string(), c.len_utf8()),
            };
            text.push_str(&shown);
            rest = &rest[used..];
        }
        text.push('\n');
    }
    Ok(text)
}

/// Fences are on lines of their own and closed.
fn fences(piece: &str) -> Result<String, String> {
    let fences = piece.matches("```").count();
    let own = piece
        .lines()
        .filter(|line| {
            let line = line.replace("&gt;", ">");
            let line = line.trim_start_matches(|c: char| " >-.0123456789".contains(c));
            line.strip_prefix("```").is_some_and(|lang| !lang.contains('`'))
        })
        .count();
    match fences {
        n if n % 2 == 1 => Err("a fence is not closed".to_owned()),
        n if n != own => Err("a fence within a line".to_owned()),
        _ => Ok(piece.to_owned()),
    }
}

/// Discord's Markdown takes anything; nobody may be called who did not ask for it.
fn discord(piece: &str) -> Result<String, String> {
    for call in ["@everyone", "@here", "<@&"] {
        if piece.contains(call) {
            return Err(format!("{call} calls everybody"));
        }
    }
    // What is escaped is text.
    let mut bare = String::new();
    let mut text = String::new();
    let mut chars = piece.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(next)) if next.is_ascii_punctuation() => {
                text.push(*next);
                bare.push('\u{fffc}');
                chars.next();
            }
            _ => {
                text.push(c);
                bare.push(c);
            }
        }
    }
    fences(&bare)?;
    Ok(text)
}
