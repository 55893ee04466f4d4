//! What holds for any bytes: tried by the fuzzer and, a little, by the tests. No part of an ordinary build.

use crate::dialect::{Dialect, oracle};
use crate::{files, http, sign};
use nanoclaw_channel::ids::is_safe_name;
use nanoclaw_channel::split::Unit;
use nanoclaw_channel::time::Timestamp;
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use std::time::Duration;

pub use crate::remote::fuzz::remote;
pub use crate::webhook::fuzz::webhook;

#[cfg(test)]
mod tests;

/// A dialect, a limit, a unit, and Markdown: each piece fits, the platform takes it, and no word is lost.
pub fn pieces(data: &[u8]) {
    const ALL: [Dialect; 7] = [
        Dialect::TelegramHtml,
        Dialect::Discord,
        Dialect::Slack,
        Dialect::WhatsApp,
        Dialect::Html,
        Dialect::GitHub,
        Dialect::Plain,
    ];
    let [dialect, low, high, unit, markdown @ ..] = data else { return };
    let max = usize::from(u16::from_le_bytes([*low, *high])) % 5000;
    let unit = [Unit::Bytes, Unit::Utf16, Unit::Chars][usize::from(*unit) % 3];
    let markdown = String::from_utf8_lossy(markdown);
    oracle::whole(&markdown, ALL[usize::from(*dialect) % ALL.len()], max, unit);
}

/// A key, a message and a signature, each behind its length: only the right one is right.
pub fn signatures(data: &[u8]) {
    let (key, rest) = part(data);
    let (message, given) = part(rest);
    let ours = sign::hmac_sha256(key, &[message]);
    let (left, right) = message.split_at(message.len() / 2);
    assert_eq!(ours, sign::hmac_sha256(key, &[left, right]), "parts are one message");
    assert_eq!(sign::same(&ours, given), ours == given, "another one is the same");
    assert_eq!(sign::unhex(&sign::hex(&ours)).as_deref(), Some(&ours[..]));
    for at in [0, 15, 31] {
        let mut wrong = ours;
        wrong[at] ^= given.first().copied().unwrap_or(1).max(1);
        assert!(!sign::same(&ours, &wrong), "a wrong one is the same");
        assert!(!sign::same(&ours, &ours[..at]), "a shorter one is the same");
    }
    if let Ok(text) = str::from_utf8(given)
        && let Some(bytes) = sign::unhex(text)
    {
        assert_eq!(sign::hex(&bytes), text.to_ascii_lowercase());
    }
    let number = |from: &[u8]| from.first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes));
    let (signed, now) = (number(given), number(message));
    let within = Duration::from_secs(u64::from(key.first().copied().unwrap_or(0)));
    if let Ok(now) = Timestamp::from_second(now) {
        let apart = (i128::from(now.as_second()) - i128::from(signed)).unsigned_abs();
        assert_eq!(sign::fresh(signed, now, within), apart <= u128::from(within.as_secs()));
    }
}

/// The name and the type of a file, and when to come again: all usable.
pub fn files(data: &[u8]) {
    let (name, rest) = part(data);
    let (mime, after) = part(rest);
    let (name, mime) = (String::from_utf8_lossy(name), String::from_utf8_lossy(mime));
    for mime in [None, Some(mime.as_ref())] {
        let kind = files::kind_of(mime, &name);
        assert!(["image", "audio", "video", "file"].contains(&kind), "{kind}");
        let safe = files::safe_name(&name, kind, mime);
        assert!(is_safe_name(&safe), "{safe:?} of {name:?}");
    }
    if let Ok(after) = HeaderValue::from_bytes(after) {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, after)]);
        let after = http::retry_after(&headers).unwrap_or_default();
        assert!(after <= Duration::from_secs(3600), "{after:?} is longer than an hour");
    }
}

/// As many bytes as the first one says, and the rest.
fn part(data: &[u8]) -> (&[u8], &[u8]) {
    let Some((length, rest)) = data.split_first() else { return (&[], &[]) };
    rest.split_at(rest.len().min(usize::from(*length)))
}
