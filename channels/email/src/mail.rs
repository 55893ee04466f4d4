//! Reads one mail, whatever is in it.

use crate::FILE_IN_MAX;
use crate::ids::{self, Email, UNVERIFIED};
use crate::trust::{self, Headers};
use mail_parser::{
    Address, HeaderName, HeaderValue, Message, MessageParser, MimeHeaders as _, PartType,
};
use nanoclaw_channel::ask::QUOTED;
use nanoclaw_channel::time::Timestamp;
use nanoclaw_channel::{InFile, Sender};
use nanoclaw_kit::files::{kind_of, safe_name, size};

#[cfg(test)]
mod tests;

/// Files of one mail, and mails that it refers to; more are not read.
const FILES_MAX: usize = 100;
const REFERENCES_MAX: usize = 50;

/// A mail that a person wrote.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mail {
    pub(crate) id: String,
    pub(crate) from: Email,
    pub(crate) sender: Sender,
    pub(crate) at: Option<Timestamp>,
    pub(crate) subject: String,
    /// The mails that it refers to, the oldest first.
    pub(crate) references: Vec<String>,
    pub(crate) text: String,
    pub(crate) files: Vec<InFile>,
}

/// Who we are.
#[derive(Debug, Clone)]
pub(crate) struct Own {
    pub(crate) email: Email,
    /// The mail server whose word about senders counts.
    pub(crate) auth_server: Option<String>,
}

/// Reads a mail; an error says why it does not come in.
pub(crate) fn read(raw: &[u8], own: &Own) -> Result<Mail, &'static str> {
    let message = MessageParser::default().parse(raw).ok_or("it is no mail")?;
    // Broken characters hide no header: a forged one below it would count in its place.
    let header = |h: &mail_parser::Header<'_>| {
        let value = raw.get(h.offset_start as usize..h.offset_end as usize).unwrap_or_default();
        let value = String::from_utf8_lossy(value).replace(['\r', '\n'], "");
        (h.name.as_str().to_owned(), value)
    };
    let headers: Headers = message.headers().iter().take(1000).map(header).collect();
    // A name with a gap in it is one for the parser alone; the server let it pass as something else.
    let spelled = |h: &mail_parser::Header<'_>| {
        let name = raw.get(h.offset_field as usize..h.offset_start as usize).unwrap_or_default();
        let name = name.strip_suffix(b":").unwrap_or(name).trim_ascii();
        matches!(h.name, HeaderName::Other(_))
            || name.eq_ignore_ascii_case(h.name.as_str().as_bytes())
    };
    if !message.headers().iter().all(spelled) {
        return Err("the name of one of its headers is broken");
    }
    if message.headers().iter().filter(|h| h.name == HeaderName::From).count() > 1 {
        return Err("it has more than one sender");
    }
    let (from, name) = sender(&message).ok_or("it has not one sender")?;
    if let Some(why) = trust::automatic(&headers, &from, &own.email) {
        return Err(why);
    }
    // Whoever got a mail of somebody can pass it on as it is: it counts for those to whom it was written.
    let proven = is_for(&message, &own.email)
        && trust::verified(&headers, &from, own.auth_server.as_deref());
    let proof = if proven { "" } else { UNVERIFIED };
    let handle = format!("{proof}{}", from.as_str());
    let mut references = listed(message.references());
    references.extend(listed(message.in_reply_to()));
    references.drain(..references.len().saturating_sub(REFERENCES_MAX));
    references.dedup();
    let id = match message.message_id() {
        Some(id) => ids::message(id),
        // The same mail has the same id, whoever delivers it.
        None => format!("{}@hashed", ids::digest(raw)),
    };
    let at = message.date().and_then(|date| Timestamp::from_second(date.to_timestamp()).ok());
    Ok(Mail {
        id,
        from,
        sender: Sender { handle, name },
        at,
        subject: line(message.subject().unwrap_or_default()),
        references,
        text: text(&message),
        files: files(&message),
    })
}

/// Whether a mail names us, also as `name+more@`, among those to whom it was written.
fn is_for(message: &Message<'_>, own: &Email) -> bool {
    let lists = [message.to(), message.cc()].into_iter().flatten();
    let mut all = lists.flat_map(Address::iter).filter_map(|to| Email::parse(to.address()?));
    let plain = |email: &Email| {
        let user = email.as_str().split(['+', '@']).next().unwrap_or_default();
        format!("{user}@{}", email.domain())
    };
    all.any(|to| to == *own || plain(&to) == own.as_str())
}

/// The one person that a mail is from.
fn sender(message: &Message<'_>) -> Option<(Email, Option<String>)> {
    let Some(Address::List(from)) = message.from() else { return None };
    let [from] = from.as_slice() else { return None };
    let name = from.name.as_deref().map(line).filter(|name| !name.is_empty());
    Some((Email::parse(from.address.as_deref()?)?, name))
}

/// One line without control characters, of a length that people use.
fn line(text: &str) -> String {
    let text = nanoclaw_channel::markdown::printable_line(text);
    text.trim().chars().take(500).collect()
}

fn listed(value: &HeaderValue<'_>) -> Vec<String> {
    match value {
        HeaderValue::Text(id) => vec![ids::message(id)],
        HeaderValue::TextList(all) => all.iter().map(|id| ids::message(id)).collect(),
        _ => Vec::new(),
    }
}

/// What was written; of HTML, its text.
fn text(message: &Message<'_>) -> String {
    let parts = (0..message.text_body_count()).filter_map(|n| message.body_text(n));
    let parts: Vec<String> =
        parts.map(|part| part.replace("\r\n", "\n").trim().to_owned()).collect();
    let all = parts.join("\n\n");
    match new_and_quoted(&all) {
        (new, quoted) if new.is_empty() || quoted.is_empty() => all.trim().to_owned(),
        (new, quoted) => format!("{new}\n\n{QUOTED}\n{quoted}"),
    }
}

/// What the person newly wrote, and the quotation at the end; a quotation with words behind it stays.
fn new_and_quoted(text: &str) -> (&str, &str) {
    // Old mail programs put everything below such a line.
    let below = ["-----Original Message-----", "________________________________\nFrom: "];
    if let Some(at) = below.iter().filter_map(|mark| text.find(mark)).min() {
        return (text[..at].trim(), text[at..].trim());
    }
    let mut begin = text.len();
    for piece in text.split_inclusive('\n').rev() {
        let line = piece.trim();
        if !line.is_empty() && !line.starts_with('>') {
            break;
        }
        begin -= piece.len();
    }
    if !text[begin..].contains('>') {
        return (text.trim(), "");
    }
    // The line above, such as `On Monday Ann wrote:`, which may be folded once.
    let head = text[..begin].trim_end();
    let mut cut = begin;
    if head.ends_with(':') {
        let last = head.rfind("\n\n").map_or(0, |at| at + 2);
        if head[last..].lines().count() <= 2 && head[last..].len() < 300 {
            cut = last;
        } else if let Some(at) = head.rfind('\n') {
            cut = at + 1;
        } else {
            cut = 0;
        }
    }
    (text[..cut].trim(), text[cut..].trim())
}

fn files(message: &Message<'_>) -> Vec<InFile> {
    let mut files: Vec<_> = message.attachments().take(FILES_MAX).map(file).collect();
    let more = message.attachment_count() - files.len();
    if more > 0 {
        files.push(InFile {
            kind: "file".to_owned(),
            name: format!("{more} more files"),
            mime: None,
            bytes: Vec::new(),
            missing: Some(format!("the first {FILES_MAX} files of a mail are read")),
        });
    }
    files
}

fn file(part: &mail_parser::MessagePart<'_>) -> InFile {
    let mime = part.content_type().map(|t| match t.subtype() {
        Some(subtype) => format!("{}/{subtype}", t.ctype()),
        None => t.ctype().to_owned(),
    });
    let bytes = match &part.body {
        PartType::Message(inner) => inner.raw_message().to_vec(),
        _ => part.contents().to_vec(),
    };
    in_file(part.attachment_name().unwrap_or_default(), mime, Ok(bytes))
}

/// A file that came along, or why it did not.
pub(crate) fn in_file(name: &str, mime: Option<String>, bytes: Result<Vec<u8>, String>) -> InFile {
    let kind = kind_of(mime.as_deref(), name);
    let name = safe_name(name, kind, mime.as_deref());
    let limit = size(FILE_IN_MAX);
    let (bytes, missing) = match bytes {
        Ok(bytes) if bytes.len() as u64 > FILE_IN_MAX => {
            let all = size(bytes.len() as u64);
            (Vec::new(), Some(format!("it has {all}, and {limit} is the most that comes in")))
        }
        Ok(bytes) => (bytes, None),
        Err(why) => (Vec::new(), Some(why)),
    };
    InFile { kind: kind.to_owned(), name, mime, bytes, missing }
}
