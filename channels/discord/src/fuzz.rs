//! What holds for any bytes: tried by the fuzzer and, a little, by the tests. No part of an ordinary build.

use crate::ids::{Id, Place};
use crate::receive::{readable, when};
use crate::rest::seconds;
use crate::wire::{
    Channel, Deleted, Failure, Frame, Guild, Interaction, Message, Reaction, Ready, Threads, Update,
};
use nanoclaw_channel::{Address, ChannelType, PlatformId, ThreadId};
use serde::de::DeserializeOwned;

#[cfg(test)]
mod tests;

/// A line of the gateway, or a refusal of the HTTP API: what can be read has a text and places.
pub fn event(data: &[u8]) {
    if let Ok(failure) = serde_json::from_slice::<Failure>(data) {
        seconds(failure.retry_after);
    }
    let Ok(line) = str::from_utf8(data) else { return };
    let Ok(Frame { t: Some(name), d: Some(content), .. }) = serde_json::from_str(line) else {
        return;
    };
    let content = content.get();
    match name {
        "READY" => drop(read::<Ready>(content)),
        "GUILD_CREATE" => drop(read::<Guild>(content)),
        "CHANNEL_CREATE" | "THREAD_CREATE" => {
            read::<Channel>(content).map(|channel| channel.thread_of());
        }
        "THREAD_LIST_SYNC" => drop(read::<Threads>(content)),
        "MESSAGE_CREATE" => {
            read::<Message>(content).as_ref().into_iter().for_each(said);
        }
        "MESSAGE_UPDATE" => {
            let update = read::<Update>(content);
            update.and_then(|update| update.edited_timestamp).map(|edited| when(&edited));
        }
        "MESSAGE_DELETE" | "MESSAGE_DELETE_BULK" => drop(read::<Deleted>(content)),
        "MESSAGE_REACTION_ADD" | "MESSAGE_REACTION_REMOVE" => drop(read::<Reaction>(content)),
        "INTERACTION_CREATE" => {
            let message = read::<Interaction>(content).and_then(|pressed| pressed.message);
            message.as_deref().into_iter().for_each(said);
        }
        _ => {}
    }
}

fn read<T: DeserializeOwned>(content: &str) -> Option<T> {
    serde_json::from_str(content).ok()
}

fn said(message: &Message) {
    when(&message.timestamp);
    let text = readable(message, |id| Some(id.to_string()));
    if !message.content.contains('<') {
        assert!(text.starts_with(message.content.trim_start_matches('\n')), "{text:?}");
    }
    // Outside of brackets nothing is changed.
    for words in message.content.split(['<', '>']).map(|part| part.trim_start_matches('\n')) {
        let tag = words.starts_with(['@', '#', ':', 'a']);
        assert!(tag || text.contains(words), "{words:?} is missing in {text:?}");
    }
    place(message.guild_id, message.channel_id, Some(message.id));
    message.referenced_message.as_deref().into_iter().for_each(said);
}

/// An address, and numbers: what is written is read as the same.
pub fn ids(data: &[u8]) {
    let number = |at| data.get(at..)?.first_chunk().map(|b| Id(u64::from_le_bytes(*b).max(1)));
    if let Some(channel) = number(0) {
        place(number(8), channel, number(16));
    }
    let text = String::from_utf8_lossy(data);
    let (chat, thread) = text.split_once('\n').map_or((&*text, None), |(c, t)| (c, Some(t)));
    let thread_id = thread.and_then(|thread| ThreadId::parse(thread).ok());
    let (Ok(channel_type), Ok(platform_id)) =
        (ChannelType::parse(crate::NAME), PlatformId::parse(chat))
    else {
        return;
    };
    if let Some(found) = Place::parse(&Address { channel_type, platform_id, thread_id }) {
        place(found.guild, found.channel, found.thread);
    }
}

fn place(guild: Option<Id>, channel: Id, thread: Option<Id>) {
    let place = Place { guild, channel, thread };
    let address = place.address().ok();
    assert_eq!(address.map(|address| Place::parse(&address)), Some(Some(place)));
}
