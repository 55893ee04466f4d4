//! What people see of a request: in words what it does, then what leaves, and how much of it is not shown.
//!
//! Every text comes from the agent. It is one line, invisible characters are spelled out, and what is cut is
//! counted.

use super::{Asked, Request, hex};
use crate::audit::looks_secret;
use crate::scan::unescaped;
use base64::Engine as _;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Longest part of a body on a card.
const PREVIEW_CHARS: usize = 1200;
/// How much of a body other programs are told.
const START_BYTES: usize = 4096;
/// Longest value of one field, or of a path.
const VALUE_CHARS: usize = 300;
/// Fields of a body that are named one by one.
const FIELDS_MAX: usize = 12;

/// What the host is told.
pub(super) fn event(id: &str, asked: &Asked, until_ms: i64) -> Value {
    let place = shown(&asked.place, VALUE_CHARS);
    let option = |value: &str, label: &str, selected: &str| json!({"value": value, "label": label, "selectedLabel": selected});
    let reject = option("reject", "Deny", "❌ Denied");
    let (title, lines, options) = match (&asked.request, &asked.rule) {
        (None, Some(why)) => (
            "More than the budget".to_owned(),
            vec![shown(why, PREVIEW_CHARS)],
            vec![
                option("approve", "As much again", "✅ Goes on"),
                reject,
                option("reject:block", "Not before the next", "❌ Not before the next"),
            ],
        ),
        (None, None) => (
            format!("First use of {place}"),
            vec![format!("{place} was never used by this agent. Allow and block are remembered.")],
            vec![
                option("approve", "Allow", "✅ Allowed"),
                reject,
                option("reject:block", "Deny and block", "❌ Blocked"),
            ],
        ),
        (Some(r), _) => (
            format!("{} to {place}", shown(&r.method, 40)),
            lines(asked, r),
            vec![
                option("approve", "Once", "✅ Approved once"),
                option("endpoint", "15 min same endpoint", "✅ Approved for 15 min"),
                reject,
            ],
        ),
    };
    json!({
        "event": "asked", "id": id, "session": asked.session, "agent": asked.agent, "title": title,
        "lines": lines, "until": until_ms, "options": options,
    })
}

/// What other programs are told besides, as it will be sent.
pub(super) fn request(r: &Request) -> Value {
    let start = r.body.get(..START_BYTES).unwrap_or(&r.body);
    json!({
        "method": r.method, "scheme": r.scheme, "path": r.path, "query": r.query,
        "content_type": r.content_type, "start": String::from_utf8_lossy(start),
    })
}

fn lines(asked: &Asked, r: &Request) -> Vec<String> {
    let mut lines: Vec<String> = verb(&asked.place, r).into_iter().collect();
    let query = r.query.as_deref().map(masked).unwrap_or_default();
    lines.push(format!(
        "{} {}://{}{}{}",
        shown(&r.method, 40),
        shown(&r.scheme, 10),
        shown(&asked.place, VALUE_CHARS),
        shown(&r.path, VALUE_CHARS),
        shown(&query, VALUE_CHARS)
    ));
    let sum = hex(Sha256::digest(&r.body).get(..6).unwrap_or_default());
    let kind =
        r.content_type.as_deref().map_or_else(String::new, |t| format!(", {}", shown(t, 100)));
    lines.push(format!("body: {} bytes, sha256 {sum}…{kind}", r.body.len()));
    if !r.secrets.is_empty() {
        let names: Vec<_> = r.secrets.iter().map(|(name, _)| shown(name, 100)).collect();
        lines.push(format!("with the secrets: {}", names.join(", ")));
    }
    if let Some(rule) = &asked.rule {
        lines.push(format!("asked by the rule: {}", shown(rule, 100)));
    }
    lines.extend(preview(r));
    lines
}

/// The body: its fields where they are known, else its beginning.
fn preview(r: &Request) -> Vec<String> {
    if r.body.is_empty() {
        return Vec::new();
    }
    if let Some(fields) = fields(r) {
        let more = fields.len().saturating_sub(FIELDS_MAX);
        let one = |(name, value): &(String, String)| {
            format!("  {} = {}", shown(name, 60), shown(value, VALUE_CHARS))
        };
        let mut lines: Vec<_> = fields.iter().take(FIELDS_MAX).map(one).collect();
        if more > 0 {
            lines.push(format!("  … {more} more fields are not shown"));
        }
        return lines;
    }
    match std::str::from_utf8(&r.body) {
        Ok(text) => vec![format!("  {}", shown(text, PREVIEW_CHARS))],
        Err(_) => {
            let start = r.body.get(..32).unwrap_or(&r.body);
            let more = r.body.len() - start.len();
            vec![format!("  binary: {}… {more} more bytes are not shown", hex(start))]
        }
    }
}

/// Top-level fields of a JSON object or a form.
fn fields(r: &Request) -> Option<Vec<(String, String)>> {
    let kind = r.content_type.as_deref().unwrap_or_default().to_ascii_lowercase();
    if kind.starts_with("application/x-www-form-urlencoded") {
        let text = std::str::from_utf8(&r.body).ok()?;
        let pairs = text.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        return Some(pairs.map(|(k, v)| (decoded(k), decoded(v))).collect());
    }
    let Fields(fields) = serde_json::from_slice(&r.body).ok()?;
    let text = |raw: &RawValue| serde_json::from_str(raw.get()).unwrap_or(raw.get().to_owned());
    Some(fields.into_iter().map(|(name, raw)| (name, text(&raw))).collect())
}

/// A JSON object as it stands there: names that come twice are two fields, whichever the server obeys.
struct Fields(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Self(Vec::new()))
    }
}

impl<'de> Visitor<'de> for Fields {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some(field) = map.next_entry()? {
            self.0.push(field);
        }
        Ok(self)
    }
}

/// What a few well-known requests do.
fn verb(place: &str, r: &Request) -> Option<String> {
    let host = place.rsplit_once(':').map_or(place, |(host, _)| host);
    let fields = fields(r).unwrap_or_default();
    let field = |name: &str| {
        let found: Vec<&str> =
            fields.iter().filter(|(k, _)| k == name).map(|(_, v)| v.as_str()).collect();
        if found.is_empty() { "?".to_owned() } else { shown(&found.join(" and "), 120) }
    };
    let parts: Vec<_> = r.path.trim_matches('/').split('/').collect();
    match (host, parts.as_slice()) {
        ("slack.com", ["api", "chat.postMessage"]) => {
            Some(format!("posts to the Slack channel {}: {}", field("channel"), field("text")))
        }
        ("api.github.com", ["repos", owner, repo, "pulls", n, "merge"]) => Some(format!(
            "merges the pull request {} of {}/{}",
            shown(n, 20),
            shown(owner, 60),
            shown(repo, 60)
        )),
        ("api.stripe.com", ["v1", what, ..]) if r.method == "POST" => Some(format!(
            "Stripe {}: amount {} {}",
            shown(what, 40),
            field("amount"),
            field("currency")
        )),
        ("gmail.googleapis.com", [.., "messages", "send"]) => {
            let (to, subject) = mail(&fields)?;
            Some(format!("sends a mail to {}: {}", shown(&to, 200), shown(&subject, 120)))
        }
        _ => None,
    }
}

fn mail(fields: &[(String, String)]) -> Option<(String, String)> {
    let raw = &fields.iter().find(|(k, _)| k == "raw")?.1;
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let bytes = engine.decode(raw.trim_end_matches('=')).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let head = text.split("\r\n\r\n").next()?.split("\n\n").next()?;
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|l| l.split_once(':'));
        let found = lines.find(|(k, _)| k.eq_ignore_ascii_case(name));
        found.map_or_else(|| "?".to_owned(), |(_, v)| v.trim().to_owned())
    };
    Some((header("to"), header("subject")))
}

/// A form's value as text.
fn decoded(text: &str) -> String {
    String::from_utf8_lossy(&unescaped(text.replace('+', " ").as_bytes())).into_owned()
}

/// A query without the values of keys that look like secrets.
pub fn masked(query: &str) -> String {
    let one = |pair: &str| match pair.split_once('=') {
        Some((key, _)) if looks_secret(key) => format!("{key}=…"),
        _ => pair.to_owned(),
    };
    format!("?{}", query.split('&').map(one).collect::<Vec<_>>().join("&"))
}

/// One line of text that hides nothing: control, bidi and invisible characters are spelled out, and what is cut
/// is counted.
pub fn shown(text: &str, max: usize) -> String {
    let (mut out, mut room) = (String::new(), max);
    for (at, c) in text.char_indices() {
        let hides = c.is_control()
            || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
                | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
                | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
        let piece = match c {
            '\n' => "\\n".to_owned(),
            '\t' => "\\t".to_owned(),
            c if hides => c.escape_unicode().to_string(),
            c => c.to_string(),
        };
        let size = piece.chars().count();
        if size > room {
            let more = text.len() - at;
            out.push_str(&format!(" … {more} more bytes are not shown"));
            return out;
        }
        room -= size;
        out.push_str(&piece);
    }
    out
}
