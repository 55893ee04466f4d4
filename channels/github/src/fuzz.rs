//! What holds for any bytes: tried by the fuzzer and, a little, by the tests. No part of an ordinary build.

use crate::hook::{event as read, is_signed};
use crate::ids::{Post, Spot, Thread, is_repo};
use crate::text::names;
use nanoclaw_channel::{Address, ChannelType, PlatformId, PlatformMessageId, ThreadId};
use nanoclaw_kit::sign::{hex, hmac_sha256};

#[cfg(test)]
mod tests;

/// The kind of a webhook in a line, and its body: what is heard has a place and an id.
pub fn event(data: &[u8]) {
    let end = data.iter().position(|b| *b == b'\n').unwrap_or(data.len());
    let (kind, body) = data.split_at(end);
    let Ok(delivery) = serde_json::from_slice(body) else { return };
    let Some(event) = read(&String::from_utf8_lossy(kind), delivery) else { return };
    let remark = event.remark();
    names(&remark.text, "nano");
    spot(&remark.repo, remark.thread);
    post(remark.post);
    // It is kept on disk when it cannot be taken.
    let kept = serde_json::to_string(&event).map(|text| serde_json::from_str(&text));
    assert!(kept.is_ok_and(|kept| kept.is_ok_and(|kept: crate::receive::Event| kept == event)));
}

/// A secret, a signature, a body, a line each: only what GitHub signed is signed.
pub fn signature(data: &[u8]) {
    let mut lines = data.splitn(3, |b| *b == b'\n').map(String::from_utf8_lossy);
    let mut line = || lines.next().unwrap_or_default().into_owned();
    let (secret, given, body) = (line(), line(), line());
    let right =
        |body: &str| format!("sha256={}", hex(&hmac_sha256(secret.as_bytes(), &[body.as_bytes()])));
    let check = |given: &str| is_signed(&secret, body.as_bytes(), given);
    let ours = right(&body);
    assert!(check(&ours), "the right one is refused");
    assert!(!check(&given) || given.to_ascii_lowercase() == ours, "{given:?} is taken");
    assert!(!check(&right(&format!("{body}0"))), "that of another body");
    for wrong in [&ours[1..], &ours[..ours.len() - 1], &ours[..ours.len() - 2], "sha256=", ""] {
        assert!(!check(wrong), "{wrong:?} is taken");
    }
}

/// An address: what is written is read as the same.
pub fn ids(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (chat, thread) = text.split_once('\n').map_or((&*text, None), |(c, t)| (c, Some(t)));
    Post::parse(chat).into_iter().for_each(post);
    let thread_id = thread.and_then(|thread| ThreadId::parse(thread).ok());
    let (Ok(channel_type), Ok(platform_id)) =
        (ChannelType::parse(crate::NAME), PlatformId::parse(chat))
    else {
        return;
    };
    let found = Spot::parse(&Address { channel_type, platform_id, thread_id });
    if let Ok(Spot { repo, thread: Some(thread) }) = found {
        spot(&repo, thread);
    }
}

fn spot(repo: &str, thread: Thread) {
    assert!(is_repo(repo), "{repo:?} is no repository");
    let spot = Spot { repo: repo.to_owned(), thread: Some(thread) };
    let read = spot.address().map(|address| Spot::parse(&address));
    assert!(read.is_ok_and(|read| read.as_ref() == Ok(&spot)), "{spot:?}");
}

fn post(post: Post) {
    let id = post.id().map(|id: PlatformMessageId| Post::parse(id.as_str()));
    assert!(id.is_ok_and(|id| id == Some(post)), "{post:?}");
}
