//! Telegram's HTML: what it takes, and what people read of it.

/// The text that is read, or the words of the refusal.
pub(crate) fn read(html: &str) -> Result<String, String> {
    let mut text = String::new();
    let mut open: Vec<String> = Vec::new();
    let mut rest = html;
    while let Some(c) = rest.chars().next() {
        let at = html.len() - rest.len();
        match c {
            '<' => {
                let (tag, after) = rest[1..]
                    .split_once('>')
                    .ok_or_else(|| format!("Unclosed start tag at byte offset {at}"))?;
                rest = after;
                if let Some(name) = tag.strip_prefix('/') {
                    if open.pop().as_deref() != Some(name.trim()) {
                        return Err(format!(
                            "Unmatched end tag at byte offset {at}, found \"</{name}>\""
                        ));
                    }
                } else {
                    open.push(opened(tag, &open, at)?);
                }
            }
            '&' => {
                let (shown, used) = entity(rest);
                text.push(shown);
                rest = &rest[used..];
            }
            '>' => return Err(format!("a bare '>' at byte offset {at}")),
            c => {
                text.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    match open.last() {
        Some(tag) => Err(format!("Can't find end tag corresponding to start tag \"{tag}\"")),
        None => Ok(text),
    }
}

fn opened(tag: &str, open: &[String], at: usize) -> Result<String, String> {
    let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
    let within = |name: &str| open.iter().any(|tag| tag == name);
    let known = match name {
        "b" | "strong" | "i" | "em" | "u" | "ins" | "s" | "strike" | "del" | "tg-spoiler"
        | "pre" => attributes.is_empty(),
        "code" => {
            attributes.is_empty() || (within("pre") && attributes.starts_with("class=\"language-"))
        }
        "a" => attributes.starts_with("href=\"") && attributes.ends_with('"'),
        "blockquote" => {
            (attributes.is_empty() || attributes == "expandable") && !within("blockquote")
        }
        "span" => attributes == "class=\"tg-spoiler\"",
        _ => false,
    };
    let last = open.last().map(String::as_str);
    let in_code = within("code") || (within("pre") && !(name == "code" && last == Some("pre")));
    if !known || in_code {
        return Err(format!("Unsupported start tag \"{tag}\" at byte offset {at}"));
    }
    Ok(name.to_owned())
}

/// What an entity shows and how many bytes it has; anything else is a plain ampersand.
fn entity(text: &str) -> (char, usize) {
    let known = [("&lt;", '<'), ("&gt;", '>'), ("&amp;", '&'), ("&quot;", '"'), ("&#39;", '\'')];
    let found = known.iter().find(|(name, _)| text.starts_with(name));
    found.map_or(('&', 1), |(name, shown)| (*shown, name.len()))
}
