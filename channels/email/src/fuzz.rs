//! What holds for any bytes: tried by the fuzzer and, a little, by the tests. No part of an ordinary build.

use crate::ids::{Email, Place, Thread, UNVERIFIED, message};
use crate::mail::{Own, read};
use crate::resend::{assembled, hook};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use nanoclaw_channel::PlatformMessageId;
use nanoclaw_channel::ids::is_safe_name;
use nanoclaw_kit::sign::hmac_sha256;

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

/// What Resend says: of a webhook a usable name and time, of a mail that it read a mail like any other.
pub fn resend(data: &[u8]) {
    if let Ok(Some(named)) = hook::event(data) {
        assert!(named.at >= 0 && !named.id.is_empty(), "{named:?}");
        assert!(!named.id.contains(['/', '.', '?', '#', '%']), "{named:?} leads elsewhere");
    }
    if let Some(raw) = assembled(data) {
        mail(&raw);
    }
}

/// A key, a name, a time, a signature, a body, a line each: only what Resend signed is signed.
pub fn resend_signature(data: &[u8]) {
    let mut lines = data.splitn(5, |b| *b == b'\n').map(String::from_utf8_lossy);
    let mut line = || lines.next().unwrap_or_default().into_owned();
    let (key, id, time, given, body) = (line(), line(), line(), line(), line());
    let right = |body: &str| {
        let parts = [id.as_bytes(), b".", time.as_bytes(), b".", body.as_bytes()];
        format!("v1,{}", BASE64.encode(hmac_sha256(key.as_bytes(), &parts)))
    };
    let check = |given: &str| hook::is_signed(key.as_bytes(), &id, &time, body.as_bytes(), given);
    let ours = right(&body);
    assert!(check(&ours) && check(&format!("v1,b2xk {ours}")), "the right one is refused");
    assert!(!check(&given) || given.split(' ').any(|one| one == ours), "{given:?} is taken");
    for wrong in
        [right(&format!("{body}0")).as_str(), &ours[3..], &ours[..ours.len() - 1], "v1,", ""]
    {
        assert!(!check(wrong), "{wrong:?} is taken");
    }
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
    for channel in [crate::CHANNEL.name, crate::RESEND.name] {
        if let Some(address) = place.address(channel) {
            assert_eq!(Place::parse(channel, &address).as_ref(), Some(place));
        }
    }
}
