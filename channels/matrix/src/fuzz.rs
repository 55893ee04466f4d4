//! What holds for any bytes: tried by the fuzzer and, a little, by the tests. No part of an ordinary build.

use crate::events::{self, What};
use crate::ids::{Chat, parse_thread, thread_id};
use nanoclaw_channel::{PlatformId, ThreadId};

#[cfg(test)]
mod tests;

/// An event: what means something has what it needs.
pub fn event(data: &[u8]) {
    let Ok(json) = str::from_utf8(data) else { return };
    let Some(event) = events::read(json) else { return };
    if let What::Said(said) = event.what {
        if let Some(file) = &said.file {
            assert!(["image", "audio", "video", "file"].contains(&file.kind));
            assert!(file.source.get("url").is_some() != file.source.get("file").is_some());
        }
        if let Some(root) = &said.thread {
            thread(&event.id, root);
        }
    }
}

/// A chat and a thread: what is written is read as the same.
pub fn ids(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (one, two) = text.split_once('\n').unwrap_or((&text, ""));
    thread(one, two);
    for chat in [Chat::Room(format!("!{one}")), Chat::Person(format!("@{one}:{two}"))] {
        if let Some(id) = chat.platform_id() {
            assert_eq!(Chat::parse(&id), Some(chat));
        }
    }
    if let Ok(id) = PlatformId::parse(one)
        && let Some(chat) = Chat::parse(&id)
        && let Some(written) = chat.platform_id()
    {
        assert_eq!(Chat::parse(&written), Some(chat));
    }
    if let Ok(id) = ThreadId::parse(two)
        && let Some((room, root)) = parse_thread(&id)
    {
        thread(&room[1..], &root[1..]);
    }
}

fn thread(room: &str, root: &str) {
    let (room, root) = (format!("!{room}"), format!("${root}"));
    if let Some(id) = thread_id(&room, &root) {
        assert_eq!(parse_thread(&id), Some((room, root)));
    }
}
