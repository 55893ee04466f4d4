//! Reports that a mail of ours did not arrive (RFC 3464).
//!
//! Anybody can write one. So it counts only for a mail that was sent to that person, and of its words nothing
//! is passed on but the number of the reason.

use crate::ids::{self, Email};
use mail_parser::{Message, MessageParser, MessagePart, MimeHeaders as _, PartType};

#[cfg(test)]
mod tests;

/// A mail that did not arrive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bounce {
    pub(crate) to: Email,
    /// The id of the mail.
    pub(crate) id: String,
    /// Why, as digits (RFC 3463).
    pub(crate) status: String,
}

/// Reads a report; `None` if it is another one, such as of a delay.
pub(crate) fn read(raw: &[u8]) -> Option<Bounce> {
    let report = MessageParser::default().parse(raw)?;
    let told = report.parts.iter().find(|part| is(part, "delivery-status"))?;
    let told = String::from_utf8_lossy(told.contents());
    let field = |name: &str| {
        let mut fields = told.lines().filter_map(|line| line.split_once(':'));
        fields.find_map(|(key, value)| key.trim().eq_ignore_ascii_case(name).then(|| value.trim()))
    };
    if !field("Action")?.eq_ignore_ascii_case("failed") {
        return None;
    }
    let status = field("Status")?.split_whitespace().next()?;
    let is_status = status.len() <= 9 && status.chars().all(|c| c.is_ascii_digit() || c == '.');
    let (to, id) = report.parts.iter().find_map(|part| match &part.body {
        PartType::Message(sent) => about(sent),
        _ if is(part, "rfc822-headers") => about(&MessageParser::default().parse(part.contents())?),
        _ => None,
    })?;
    is_status.then(|| Bounce { to, id, status: status.to_owned() })
}

fn is(part: &MessagePart<'_>, subtype: &str) -> bool {
    part.content_type().and_then(|t| t.subtype()).is_some_and(|s| s.eq_ignore_ascii_case(subtype))
}

fn about(sent: &Message<'_>) -> Option<(Email, String)> {
    let to = Email::parse(sent.to()?.first()?.address()?)?;
    Some((to, ids::message(sent.message_id()?)))
}
