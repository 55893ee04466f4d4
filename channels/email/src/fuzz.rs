//! What holds for any bytes: tried by the fuzzer and, a little, by the tests. No part of an ordinary build.

use crate::ids::{Email, Place, Thread, UNVERIFIED, message};
use crate::mail::{Own, read};
use nanoclaw_channel::PlatformMessageId;
use nanoclaw_channel::ids::is_safe_name;

#[cfg(test)]
mod tests;

/// A mail: what comes in has one sender, a usable id and a place, and nobody is proven without a server's word.
pub fn mail(data: &[u8]) {
    let Some(email) = Email::parse("agent@example.org") else { return };
    let strict = Own { email: email.clone(), auth_server: None };
    let trusting = Own { email: email.clone(), auth_server: Some("mx.example.org".into()) };
    let (strict, trusting) = (read(data, &strict), read(data, &trusting));
    assert_eq!(strict.is_ok(), trusting.is_ok(), "trust decides what comes in");
    let (Ok(mail), Ok(trusted)) = (strict, trusting) else { return };
    assert!(mail.from != email, "our own mail came in");
    assert!(mail.sender.handle.starts_with(UNVERIFIED), "{} is proven", mail.sender.handle);
    let proven = !trusted.sender.handle.starts_with(UNVERIFIED);
    let said = data.to_ascii_lowercase();
    let word = b"authentication-results";
    assert!(!proven || said.windows(word.len()).any(|w| w == word), "proven by nothing");
    for id in mail.references.iter().chain([&mail.id]) {
        assert!(PlatformMessageId::parse(id.as_str()).is_ok(), "{id:?} is no id");
    }
    let thread = Thread::of(mail.references.first().unwrap_or(&mail.id));
    place(&Place { email: mail.from, thread: Some(thread) });
    for file in &mail.files {
        assert!(is_safe_name(&file.name), "{:?}", file.name);
    }
    assert!(!mail.subject.contains(char::is_control), "{:?}", mail.subject);
}

/// An address and the id of a mail: what is written is read as the same.
pub fn ids(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (address, id) = text.split_once('\n').unwrap_or((&text, ""));
    let id = message(id);
    assert_eq!(message(&id), id, "an id is read twice");
    if let Some(email) = Email::parse(address) {
        place(&Place { email: email.clone(), thread: Some(Thread::of(&id)) });
        place(&Place { email, thread: None });
    }
}

fn place(place: &Place) {
    if let Some(address) = place.address(crate::CHANNEL.name) {
        assert_eq!(Place::parse(crate::CHANNEL.name, &address).as_ref(), Some(place));
    }
}
