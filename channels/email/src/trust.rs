//! Who wrote a mail: a person or a machine, and whether they proved to be who they say.

use crate::ids::Email;

#[cfg(test)]
mod tests;

/// The headers that decide, in the order of the mail.
pub(crate) type Headers = Vec<(String, String)>;

/// The mark of our own mail.
pub(crate) const LOOP_HEADER: &str = "X-Loop";

fn all<'a>(headers: &'a Headers, name: &'a str) -> impl Iterator<Item = &'a str> {
    let named = move |(key, _): &&(String, String)| key.eq_ignore_ascii_case(name);
    headers.iter().filter(named).map(|(_, value)| value.trim())
}

/// Why a mail must not be answered, if so.
pub(crate) fn automatic(headers: &Headers, from: &Email, own: &Email) -> Option<&'static str> {
    let first = |name| all(headers, name).next().map(str::to_ascii_lowercase);
    let user = from.as_str().split('@').next().unwrap_or_default();
    let submitted = first("Auto-Submitted").filter(|v| !v.starts_with("no"));
    let precedence = first("Precedence").unwrap_or_default();
    let content = first("Content-Type").unwrap_or_default();
    if from == own || all(headers, LOOP_HEADER).any(|v| v.eq_ignore_ascii_case(own.as_str())) {
        Some("it is our own")
    } else if submitted.is_some() {
        Some("it says that a machine sent it")
    } else if matches!(precedence.as_str(), "bulk" | "list" | "junk" | "auto_reply") {
        Some("it is bulk mail")
    } else if ["List-Id", "List-Unsubscribe"].iter().any(|h| all(headers, h).next().is_some()) {
        Some("it came over a mailing list")
    } else if ["X-Autoreply", "X-Autorespond"].iter().any(|h| all(headers, h).next().is_some()) {
        Some("it is an auto-reply")
    } else if first("Return-Path").is_some_and(|path| path == "<>")
        || content.starts_with("multipart/report")
        || matches!(user, "mailer-daemon" | "postmaster")
    {
        Some("it is a report about another mail")
    } else {
        None
    }
}

/// Whether the operator's own mail server found that the sender is who it says.
pub(crate) fn verified(headers: &Headers, from: &Email, server: Option<&str>) -> bool {
    let Some(server) = server else { return false };
    // A server puts its own above those that came along, so that the first of its name is its own.
    let own = all(headers, "Authentication-Results").map(bare).find_map(|results| {
        let (name, rest) = results.split_once(';')?;
        let name = name.split_whitespace().next()?;
        name.eq_ignore_ascii_case(server).then(|| rest.to_ascii_lowercase())
    });
    own.is_some_and(|results| results.split(';').any(|result| proves(result, from.domain())))
}

/// Whether one result, such as `dkim=pass header.d=x.example`, speaks for a domain: this very one. Which
/// domains belong together is for the server to know, which says it with DMARC.
fn proves(result: &str, domain: &str) -> bool {
    let mut words = result.split_whitespace();
    let keys = match words.next() {
        Some("dmarc=pass") => ["header.from", "header.from"],
        Some("dkim=pass") => ["header.d", "header.i"],
        Some("spf=pass") => ["smtp.mailfrom", "smtp.mailfrom"],
        _ => return false,
    };
    words.filter_map(|word| word.split_once('=')).any(|(key, value)| {
        let of = value.rsplit('@').next().unwrap_or_default();
        keys.contains(&key) && of == domain
    })
}

/// A header without comments and quotation marks.
fn bare(value: &str) -> String {
    let (mut depth, mut quoted) = (0u32, false);
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            // What stands behind it is to the letter.
            '\\' if quoted || depth > 0 => {
                chars.next();
                out.extend((depth == 0).then_some('_'));
            }
            '"' if depth == 0 => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted && depth > 0 => depth -= 1,
            // What is quoted ends no result.
            ';' if quoted => out.push('_'),
            c if quoted && c.is_whitespace() => out.push('_'),
            c if depth == 0 => out.push(c),
            _ => {}
        }
    }
    out
}
