//! What holds for any bytes: tried by the fuzzer and, a little, by the tests. No part of an ordinary build.

use crate::ids;
use crate::line::picture;
use crate::read::{Event, read};
use crate::receive::quote;
use crate::send::character;
use crate::store::Said;
use nanoclaw_channel::ids::is_safe_name;
use nanoclaw_kit::files::safe_name;
use whatsapp_rust::Jid;
use whatsapp_rust::wacore_binary::marshal::{marshal, unmarshal_ref};
use whatsapp_rust::waproto::codec::message_decode;

#[cfg(test)]
mod tests;

/// A message: what comes in has usable files, and what is quoted is shown as far as it can be.
pub fn message(data: &[u8]) {
    let Ok(message) = message_decode(data) else { return };
    let Some(Event::Said(words)) = read(&message) else { return };
    if let Some(file) = &words.file {
        assert!(["image", "audio", "video", "file"].contains(&file.kind));
        let name = safe_name(file.name, file.kind, file.mime);
        assert!(is_safe_name(&name), "{name:?}");
    }
    if let Some(context) = words.context {
        let quoted = quote(context, None);
        assert_ne!(quoted.text.as_deref(), Some(""), "an empty quotation");
        let ours = Said { me: true, by: "by".into(), who: "who".into(), text: "said".into() };
        assert_eq!(quote(context, Some(ours)).text.as_deref(), Some("said"), "we know better");
    }
}

/// A binary node, which the library reads and writes: both end. Whether it reads again what it wrote is its own
/// affair; we hand on no node of others.
pub fn node(data: &[u8]) {
    if let Ok(node) = unmarshal_ref(data).map(|node| node.to_owned()) {
        drop(marshal(&node));
    }
}

/// An address, a code to scan, a reaction, and what is kept of a message: what is written is read as the same.
pub fn ids(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (text, rest) = text.split_once('\n').unwrap_or((&text, ""));
    for jid in
        [ids::parse(text), ids::person(text)].into_iter().flatten().chain(text.parse::<Jid>())
    {
        if let Some(name) = ids::encode(&jid) {
            assert_eq!(ids::parse(name.as_str()), Ok(jid.to_non_ad()));
        }
    }
    if let Some(emoji) = character(text) {
        assert!(!emoji.is_empty() && !emoji.contains(char::is_whitespace), "{emoji:?}");
    }
    if let Some(picture) = picture(rest) {
        let widths = || picture.lines().map(|line| line.chars().count());
        assert_eq!(widths().min(), widths().max(), "a crooked picture");
    }
    if let Ok(said) = serde_json::from_str::<Said>(rest) {
        let again = serde_json::to_string(&said).map(|said| serde_json::from_str::<Said>(&said));
        assert!(again.is_ok_and(|again| again.is_ok_and(|again| again.text == said.text)));
    }
}
