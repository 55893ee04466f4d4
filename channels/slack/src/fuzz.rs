//! What holds for any bytes: tried by the fuzzer and, a little, by the tests. No part of an ordinary build.

use crate::events::clicked;
use crate::ids::{Spot, is_id, is_ts, time_of};
use crate::receive::is_signed;
use crate::text::{self, Piece};
use crate::wire::{Callback, Event, Frame, Interaction, Message};
use nanoclaw_channel::time::Timestamp;
use nanoclaw_channel::{Address, ChannelType, PlatformId, ThreadId};
use nanoclaw_kit::sign::{hex, hmac_sha256};

#[cfg(test)]
mod tests;

/// A frame of the socket, the body of a webhook, or a form: what can be read has a text and a place.
pub fn event(data: &[u8]) {
    clicked(data).as_ref().into_iter().for_each(pressed);
    match serde_json::from_slice(data) {
        Ok(Frame::EventsApi { payload, .. }) => happened(payload),
        Ok(Frame::Interactive { payload, .. }) => pressed(&payload),
        Ok(Frame::Hello | Frame::Disconnect | Frame::Other) | Err(_) => {}
    }
    serde_json::from_slice(data).map(happened).unwrap_or_default();
}

fn happened(Callback { event, .. }: Callback) {
    match event {
        Some(Event::Message(message) | Event::AppMention(message)) => said(&message),
        Some(Event::ReactionAdded(reaction) | Event::ReactionRemoved(reaction)) => {
            time_of(&reaction.event_ts);
            let emoji = text::emoji(&reaction.reaction);
            text::emoji_name(&emoji);
        }
        Some(Event::Other) | None => {}
    }
}

fn pressed(click: &Interaction) {
    click.message.as_deref().into_iter().for_each(said);
}

fn said(message: &Message) {
    time_of(&message.ts);
    text::names(&message.text, "U1");
    let read: String = text::pieces(&message.text)
        .into_iter()
        .map(|piece| match piece {
            Piece::Words(words) => text::unescape(words),
            Piece::Entity(target, label) => text::entity(target, label),
        })
        .collect();
    if !message.text.contains(['<', '&']) {
        assert_eq!(read, message.text);
    }
    if let Some(channel) = &message.channel {
        spot(&Spot::of(channel, &message.ts, message.thread_ts.as_deref()));
    }
    for inner in [&message.message, &message.previous_message] {
        inner.as_deref().into_iter().for_each(said);
    }
}

/// A secret, a time, a body, a signature, a line each: only what Slack signed just now is signed.
pub fn signature(data: &[u8]) {
    let mut lines = data.splitn(4, |b| *b == b'\n').map(String::from_utf8_lossy);
    let mut line = || lines.next().unwrap_or_default().into_owned();
    let (secret, stamp, given, body) = (line(), line(), line(), line());
    let right = |stamp: &str| {
        let parts: [&[u8]; 4] = [b"v0:", stamp.as_bytes(), b":", body.as_bytes()];
        format!("v0={}", hex(&hmac_sha256(secret.as_bytes(), &parts)))
    };
    let now = Timestamp::UNIX_EPOCH;
    let fresh = stamp.parse::<i64>().is_ok_and(|at| at.unsigned_abs() <= 300);
    let check = |given: &str| is_signed(&secret, &stamp, body.as_bytes(), given, now);
    let ours = right(&stamp);
    assert_eq!(check(&ours), fresh, "the right one");
    assert!(!check(&given) || given.to_ascii_lowercase() == ours, "{given:?} is taken");
    assert!(!check(&right(&format!("{stamp}0"))), "that of another time");
    for wrong in [&ours[1..], &ours[..ours.len() - 1], &ours[..ours.len() - 2], "v0=", ""] {
        assert!(!check(wrong), "{wrong:?} is taken");
    }
}

/// An address: what is written is read as the same.
pub fn ids(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let mut line = || lines.next().unwrap_or_default();
    let (chat, thread, ts) = (line(), line(), line());
    time_of(ts);
    spot(&Spot::of(chat, thread, Some(ts).filter(|ts| !ts.is_empty())));
    let (Ok(channel_type), Ok(platform_id)) =
        (ChannelType::parse(crate::NAME), PlatformId::parse(chat))
    else {
        return;
    };
    let thread_id = ThreadId::parse(thread).ok();
    if let Ok(found) = Spot::parse(&Address { channel_type, platform_id, thread_id }) {
        spot(&found);
    }
}

fn spot(spot: &Spot) {
    // Others are refused before they become an address that counts.
    if is_id(&spot.channel) && spot.thread.as_deref().is_none_or(is_ts) {
        let read = spot.address().map(|address| Spot::parse(&address));
        assert!(read.is_ok_and(|read| read.as_ref() == Ok(spot)), "{spot:?}");
    }
}
