//! What people say.

use super::texts::{self, squeeze};
use super::{Case, case};
use crate::peer::{Offer, Place, Say};
use crate::rig::{Rig, message_id, short};
use anyhow::{Context as _, Result, ensure};
use nanoclaw_channel::time::Timestamp;
use nanoclaw_channel::{ChatKind, Mention};
use std::collections::BTreeMap;

pub(super) const CASES: &[Case] = &[
    case!("Messages", "direct", "a direct message, with every fact stated", [direct], direct),
    case!("Messages", "mention", "the agent addressed in a group", [group, mentions], mention),
    case!("Messages", "overheard", "what people say to each other in a group", [group], overheard),
    case!("Messages", "threads", "a reply lands in its thread", [threads], threads),
    case!(
        "Messages",
        "unthreaded",
        "a message outside of threads",
        [threads, unthreaded],
        unthreaded
    ),
    case!(
        "Messages",
        "reply",
        "a reply to the agent's message addresses it",
        [group, replies],
        reply
    ),
    case!("Messages", "quote", "a reply to somebody says to what", [group, replies], quote),
    case!("Messages", "ids", "the id of a chat is the same in and out", [], ids),
    case!("Messages", "open dm", "the agent writes first", [open_dm, direct], open_dm),
    case!("Messages", "chat names", "what people call a chat", [chat_names], chat_names),
    case!("Messages", "history", "what was said in a thread before", [threads, history], history),
    case!("Messages", "own and bots", "the agent's own messages and other bots stay out", [], echo),
    case!("Messages", "nonsense", "unknown and broken events do no harm", [], nonsense),
    case!("Messages", "clock skew", "a platform whose clock is wrong", [], skew),
    case!("Messages", "longest in", "the longest text that a person can send", [], longest),
    case!("Messages", "unicode in", "10,000 emoji, right-to-left, combining text", [], unicode),
    case!("Messages", "burst", "1,000 messages at once, in order", [], burst),
];

async fn direct(rig: &mut Rig) -> Result<()> {
    let (handle, name) = rig.peer.person("ann");
    let got = rig.say(Say::new("ann", Place::Direct, "hello, agent")).await?;
    ensure!(got.text == "hello, agent", "the text is {:?}", got.text);
    ensure!(got.chat == ChatKind::Direct, "a direct chat came as {:?}", got.chat);
    ensure!(got.mention == Mention::Yes, "a direct message is a mention");
    ensure!(got.sender.handle == handle, "the handle is {:?}, not {handle:?}", got.sender.handle);
    ensure!(got.sender.name == name, "the name is {:?}, not {name:?}", got.sender.name);
    ensure!(got.person.is_none(), "only the operator's own hand is a person");
    ensure!(got.files.is_empty() && got.reply_to.is_none(), "more than was sent: {got:?}");
    ensure!(got.at.channel_type.as_str() == rig.peer.channel().name, "at {:?}", got.at);
    let off = (Timestamp::now().as_second() - got.timestamp.as_second()).abs();
    ensure!(off < 600, "it was said {off} s from now");
    Ok(())
}

async fn mention(rig: &mut Rig) -> Result<()> {
    let got = rig.say(Say::new("ann", Place::Group, "what is the time?").mention()).await?;
    ensure!(got.chat == ChatKind::Group, "a group came as {:?}", got.chat);
    ensure!(got.mention == Mention::Yes, "a mention was not seen");
    ensure!(got.text.contains("what is the time?"), "the text is {:?}", got.text);
    Ok(())
}

async fn overheard(rig: &mut Rig) -> Result<()> {
    let ann = rig.say(Say::new("ann", Place::Group, "lunch, everybody?")).await?;
    let bob = rig.say(Say::new("bob", Place::Group, "yes")).await?;
    ensure!(ann.chat == ChatKind::Group, "a group came as {:?}", ann.chat);
    ensure!(ann.mention == Mention::No, "nobody addressed the agent");
    // Where a message begins a thread of its own, the threads differ.
    let one = ann.at.platform_id == bob.at.platform_id;
    ensure!(one, "one group, two addresses: {:?} and {:?}", ann.at, bob.at);
    ensure!(ann.sender.handle != bob.sender.handle, "two people, one handle");
    Ok(())
}

async fn threads(rig: &mut Rig) -> Result<()> {
    let one = rig.say(Say::new("ann", Place::Thread(1), "in the first").mention()).await?;
    let two = rig.say(Say::new("bob", Place::Thread(2), "in the second").mention()).await?;
    ensure!(one.at.thread_id.is_some(), "the thread was not told");
    ensure!(one.at.thread_id != two.at.thread_id, "two threads, one id: {:?}", one.at);
    ensure!(rig.channel()?.capabilities().threads, "the capabilities say that there are none");
    for (at, text) in [(two.at, "to the second"), (one.at.clone(), "to the first")] {
        rig.send_text(&at, text).await?;
        let seen =
            rig.sees(text, |shown| shown.iter().find(|s| s.text.contains(text)).cloned()).await?;
        let (chat, thread) = (at.platform_id.as_str(), at.thread_id.as_ref().map(AsRef::as_ref));
        ensure!(seen.chat == chat, "sent to {chat}, seen in {}", seen.chat);
        ensure!(seen.thread.as_deref() == thread, "sent to {thread:?}, seen in {:?}", seen.thread);
    }
    // Without groups, a thread is between one person and the agent.
    let who = if rig.profile.group == Offer::Yes { "bob" } else { "ann" };
    let again = rig.say(Say::new(who, Place::Thread(1), "more in the first")).await?;
    ensure!(again.at == one.at, "one thread, two addresses: {:?}", again.at);
    Ok(())
}

async fn unthreaded(rig: &mut Rig) -> Result<()> {
    let mut at = rig.say(Say::new("ann", Place::Thread(1), "in a thread").mention()).await?.at;
    at.thread_id = None;
    rig.send_text(&at, "to everybody").await?;
    let find = |shown: &[crate::Seen]| shown.iter().find(|s| s.text.contains("everybody")).cloned();
    let seen = rig.sees("the message outside of threads", find).await?;
    ensure!(seen.chat == at.platform_id.as_str(), "seen in {}", seen.chat);
    let thread = rig.say(Say::new("ann", Place::Thread(1), "still there")).await?.at.thread_id;
    ensure!(seen.thread.as_deref() != thread.as_ref().map(AsRef::as_ref), "seen in the thread");
    Ok(())
}

async fn reply(rig: &mut Rig) -> Result<()> {
    let at = rig.say(Say::new("ann", Place::Group, "anybody here?").mention()).await?.at;
    let id = rig.send_text(&at, "I am, always").await?;
    let got = rig.say(Say::new("bob", Place::Group, "then help me").reply_to(&id)).await?;
    ensure!(got.mention == Mention::Yes, "a reply to the agent addresses it");
    let quote = got.reply_to.context("what it answers was not told")?;
    ensure!(quote.id.as_deref() == Some(id.as_str()), "it answers {:?}, not {id}", quote.id);
    Ok(())
}

async fn quote(rig: &mut Rig) -> Result<()> {
    let first = rig.say(Say::new("ann", Place::Group, "the meeting is at noon")).await?;
    let got =
        rig.say(Say::new("bob", Place::Group, "too early").reply_to(first.id.as_str())).await?;
    ensure!(got.mention == Mention::No, "a reply to somebody else does not address the agent");
    let quote = got.reply_to.context("what it answers was not told")?;
    ensure!(quote.id.as_deref() == Some(first.id.as_str()), "it answers {:?}", quote.id);
    let text = quote.text.unwrap_or_default();
    ensure!(text.contains("at noon"), "the quoted text is {text:?}");
    Ok(())
}

async fn ids(rig: &mut Rig) -> Result<()> {
    let place = rig.place();
    let at = rig.say(Say::new("ann", place, "first").mention()).await?.at;
    let id = rig.send_text(&at, "an answer").await?;
    let find = |shown: &[crate::Seen]| shown.iter().find(|s| s.text.contains("answer")).cloned();
    let seen = rig.sees("the answer", find).await?;
    ensure!(seen.id == id, "the receipt says {id}, the platform {}", seen.id);
    ensure!(
        seen.chat == at.platform_id.as_str(),
        "sent to {}, seen in {}",
        at.platform_id,
        seen.chat
    );
    let next = rig.say(Say::new("ann", place, "second").mention()).await?;
    ensure!(next.at == at, "one chat, two addresses: {:?} and {at:?}", next.at);
    Ok(())
}

async fn open_dm(rig: &mut Rig) -> Result<()> {
    let mut at = rig.say(Say::new("ann", Place::Direct, "write to cleo")).await?.at;
    let (handle, _) = rig.peer.person("cleo");
    at.platform_id = rig.channel()?.open_dm(&handle).await?;
    at.thread_id = None;
    rig.send_text(&at, "hello cleo").await?;
    let find = |shown: &[crate::Seen]| shown.iter().find(|s| s.text.contains("cleo")).cloned();
    let seen = rig.sees("the message to cleo", find).await?;
    ensure!(
        seen.chat == at.platform_id.as_str(),
        "opened {}, seen in {}",
        at.platform_id,
        seen.chat
    );
    let got = rig.say(Say::new("cleo", Place::Direct, "hello to you")).await?;
    ensure!(got.at.platform_id == at.platform_id, "she answers from {:?}", got.at);
    Ok(())
}

async fn chat_names(rig: &mut Rig) -> Result<()> {
    let mut named = 0;
    for (place, offer) in [(Place::Direct, rig.profile.direct), (Place::Group, rig.profile.group)] {
        let Some(name) = rig.peer.chat_name(place) else { continue };
        if offer != crate::Offer::Yes {
            continue;
        }
        let at = rig.say(Say::new("ann", place, "where are we?").mention()).await?.at;
        let told = rig.channel()?.chat_name(&at.platform_id).await;
        ensure!(
            told.as_ref() == Some(&name),
            "{} is called {told:?}, not {name:?}",
            at.platform_id
        );
        named += 1;
    }
    ensure!(named > 0, "the peer names no chat");
    Ok(())
}

async fn history(rig: &mut Rig) -> Result<()> {
    for (who, text) in [("ann", "the printer is broken"), ("bob", "again?"), ("ann", "third time")]
    {
        rig.peer.say(Say::new(who, Place::Thread(1), text)).await?;
    }
    let last = rig.say(Say::new("bob", Place::Thread(1), "agent, what now?").mention()).await?;
    let channel = rig.channel()?;
    let before = channel.history(&last.at, &message_id(last.id.as_str())?, 10).await;
    let texts: Vec<&str> = before.iter().map(|m| m.text.as_str()).collect();
    let all = ["the printer is broken", "again?", "third time"];
    ensure!(texts == all, "the history is {texts:?}");
    let two = channel.history(&last.at, &message_id(last.id.as_str())?, 2).await;
    let texts: Vec<&str> = two.iter().map(|m| m.text.as_str()).collect();
    ensure!(texts == all[1..], "of the history the last two are {texts:?}");
    Ok(())
}

async fn echo(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    rig.send_text(&at, "the agent speaks").await?;
    rig.peer.echo().await?;
    let place = rig.place();
    rig.say(Say::new("ann", place, "and I speak").mention()).await?;
    let heard = rig.host.heard();
    ensure!(heard.messages.len() == 2, "these came in: {:?}", heard.texts());
    Ok(())
}

async fn nonsense(rig: &mut Rig) -> Result<()> {
    let place = rig.place();
    rig.peer.nonsense().await?;
    let got = rig.say(Say::new("ann", place, "still here?").mention()).await?;
    ensure!(got.text.contains("still here?"), "the text is {:?}", got.text);
    let heard = rig.host.heard();
    ensure!(heard.messages.len() == 1, "these came in: {:?}", heard.texts());
    Ok(())
}

async fn skew(rig: &mut Rig) -> Result<()> {
    let place = rig.place();
    for (seconds, text) in
        [(400 * 86_400, "from the future"), (-20 * 365 * 86_400, "from the past")]
    {
        if rig.peer.skew(seconds).await? {
            rig.say(Say::new("ann", place, text).mention()).await?;
        }
    }
    rig.peer.skew(0).await?;
    rig.say(Say::new("ann", place, "from now").mention()).await?;
    Ok(())
}

async fn longest(rig: &mut Rig) -> Result<()> {
    let text = texts::numbers(rig.profile.text_in_max.min(4 * 1024 * 1024));
    let place = rig.place();
    let got = rig.say(Say::new("ann", place, text.clone())).await?;
    let (got, text) = (squeeze(&got.text), squeeze(&text));
    ensure!(got == text, "{} of {} bytes came, from {:?}", got.len(), text.len(), short(&got));
    Ok(())
}

async fn unicode(rig: &mut Rig) -> Result<()> {
    let place = rig.place();
    let emoji = "😀".repeat(10_000.min(rig.profile.text_in_max / 4));
    for text in [emoji.as_str(), texts::RIGHT_TO_LEFT, texts::COMBINING, texts::FAMILY] {
        let got = rig.say(Say::new("ann", place, text)).await?;
        let same = got.text.trim() == text;
        ensure!(same, "said {:?}, heard {:?}", short(text), short(&got.text));
    }
    Ok(())
}

async fn burst(rig: &mut Rig) -> Result<()> {
    let place = rig.place();
    let who = ["ann", "bob"];
    let count = rig.profile.burst;
    let says: Vec<Say> =
        (0..count).map(|n| Say::new(who[n % 2], place, format!("no {n:04}"))).collect();
    let ids = rig.peer.burst(says).await?;
    let _hurry = rig.hurry();
    let what = format!("all {count}");
    rig.hears(&what, |heard| (heard.messages.len() >= count).then_some(())).await?;
    let heard = rig.host.heard();
    for id in &ids {
        ensure!(heard.message(id).is_some(), "{id} is not among those that came");
    }
    let mut last: BTreeMap<String, &str> = BTreeMap::new();
    for message in &heard.messages {
        // Direct chats are one each, a group is one for both.
        let chat = message.at.platform_id.to_string();
        let before = last.insert(chat, &message.text).unwrap_or_default();
        ensure!(before < message.text.as_str(), "{:?} came behind {before:?}", message.text);
    }
    Ok(())
}
