//! Reads the prompts that the runner writes.

/// One thing that was said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// The number of the message.
    pub(crate) id: Option<i64>,
    /// The destination that it came from.
    pub(crate) from: Option<String>,
    /// Who said it.
    pub(crate) sender: String,
    /// The text.
    pub(crate) text: String,
    /// What it is: `message`, `task` or `webhook`.
    pub(crate) kind: &'static str,
}

/// Everything that was said, in order.
pub(crate) fn parse(text: &str) -> Vec<Said> {
    let (mut all, mut rest) = (Vec::new(), text);
    while let Some((kind, start)) = next(rest) {
        let element = &rest[start + kind.len() + 1..];
        let Some(end) = element.find('>') else { break };
        let (attributes, body) = (&element[..end], &element[end + 1..]);
        let close = format!("</{kind}>");
        let len = body.find(&close).unwrap_or(body.len());
        all.push(said(kind, attributes, &body[..len]));
        rest = body.get(len + close.len()..).unwrap_or("");
    }
    all
}

fn next(text: &str) -> Option<(&'static str, usize)> {
    ["message", "task", "webhook"]
        .into_iter()
        .filter_map(|kind| text.find(&format!("<{kind} ")).map(|at| (kind, at)))
        .min_by_key(|(_, at)| *at)
}

fn said(kind: &'static str, attributes: &str, body: &str) -> Said {
    let attribute = |name: &str| {
        let start = attributes.find(&format!("{name}=\""))? + name.len() + 2;
        let value = &attributes[start..];
        value.find('"').map(|end| unescape(&value[..end]))
    };
    let body = match body.rsplit_once("</quoted_message>") {
        Some((_, own)) => own,
        None => body,
    };
    // The output of a task's script comes before what is to be done.
    let body = match body.split_once("Instructions:\n") {
        Some((_, own)) if kind == "task" => own,
        Some(_) | None => body,
    };
    Said {
        id: attribute("id").and_then(|id| id.parse().ok()),
        from: attribute("from").filter(|from| !from.starts_with("unknown:")),
        sender: attribute("sender").unwrap_or_default(),
        text: unescape(body.trim()),
        kind,
    }
}

fn unescape(text: &str) -> String {
    text.replace('\u{200b}', "")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests;
