//! What holds for any bytes: tried by the fuzzer and, a little, by the tests. No part of an ordinary build.

use crate::entities;
use crate::ids::{At, Place};
use crate::receive;
use crate::wire::{self, Message, Update};
use nanoclaw_channel::{Address, ChannelType, PlatformId, PlatformMessageId, ThreadId};
use serde_json::Value;

#[cfg(test)]
mod tests;

/// Updates: one that can be read has texts with every word, times and addresses.
pub fn update(data: &[u8]) {
    let Ok(batch) = serde_json::from_slice::<Vec<Value>>(data) else { return };
    for (_, update) in wire::updates(batch) {
        let Ok(Update { message, channel_post, edited_message, edited_channel_post, .. }) = &update
        else {
            continue;
        };
        for message in [message, channel_post, edited_message, edited_channel_post] {
            message.as_deref().into_iter().for_each(said);
        }
        if let Ok(Update { callback_query: Some(callback), .. }) = &update
            && let Some(message) = &callback.message
        {
            place(message.chat.id, Some(message.message_id));
        }
        if let Ok(Update { message_reaction: Some(reactions), .. }) = &update {
            wire::time(reactions.date);
            place(reactions.chat.id, Some(reactions.message_id));
        }
    }
}

fn said(message: &Message) {
    wire::time(message.date);
    let both = [(&message.text, &message.entities), (&message.caption, &message.caption_entities)];
    for (text, entities) in both {
        let text = text.as_deref().unwrap_or_default();
        let marked = entities::markdown(text, entities);
        let mut marked = marked.chars();
        for c in text.chars() {
            assert!(marked.any(|m| m == c), "{c:?} of {text:?} is lost");
        }
    }
    let described = receive::described(message);
    assert!(described.is_none_or(|text| !text.trim().is_empty()));
    assert!(receive::media(message).count() <= 7);
    message.forward_origin.as_ref().map(wire::Origin::name);
    place(message.chat.id, message.message_thread_id);
    message.reply_to_message.as_deref().into_iter().for_each(said);
}

/// An address, and numbers: what is written is read as the same.
pub fn ids(data: &[u8]) {
    let number = |from: &[u8]| from.first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes));
    place(number(data), data.get(8..).map(number));
    let text = String::from_utf8_lossy(data);
    let (chat, thread) = text.split_once('\n').map_or((&*text, None), |(c, t)| (c, Some(t)));
    if let Ok(id) = PlatformMessageId::parse(chat)
        && let Ok(at) = At::parse(&id)
    {
        place(at.chat, Some(at.message));
    }
    let thread_id = thread.and_then(|thread| ThreadId::parse(thread).ok());
    let (Ok(channel_type), Ok(platform_id)) =
        (ChannelType::parse(crate::NAME), PlatformId::parse(chat))
    else {
        return;
    };
    if let Ok(found) = Place::parse(&Address { channel_type, platform_id, thread_id }) {
        place(found.chat, found.topic);
    }
}

fn place(chat: i64, number: Option<i64>) {
    let place = Place { chat, topic: number };
    let read = place.address().map(|address| Place::parse(&address).ok());
    assert_eq!(read, Some(Some(place)));
    let at = At { chat, message: number.unwrap_or_default() };
    assert_eq!(at.id().map(|id| At::parse(&id).ok()), Some(Some(at)));
}
