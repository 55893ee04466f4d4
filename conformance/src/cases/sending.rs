//! What the agent says.

use super::texts::{self, lines, lines_in};
use super::{Case, case};
use crate::peer::{Fault, Offer, Seen};
use crate::rig::{Rig, message_id, short};
use anyhow::{Context as _, Result, ensure};
use nanoclaw_channel::{Address, Body, SendError, Typing};

pub(super) const CASES: &[Case] = &[
    case!(
        "Sending",
        "answers a message",
        "the agent's message shows what it answers",
        [replies],
        reply
    ),
    case!("Sending", "long text", "three times the longest message: all of it, in order", [], long),
    case!("Sending", "huge text", "up to 4 MB, split", [], huge),
    case!("Sending", "unicode out", "10,000 emoji, right-to-left, combining text", [], unicode),
    case!(
        "Sending",
        "dialect",
        "headings, lists, tables, code, links as the platform writes them",
        [markup],
        dialect
    ),
    case!("Sending", "words", "no word of a text is lost, whatever the marks", [], words),
    case!("Sending", "hostile text", "what breaks out of markup is only text", [], hostile),
    case!(
        "Sending",
        "markup refused",
        "refused markup is sent as plain text",
        [markup_refused],
        plain
    ),
    case!("Sending", "edit out", "the agent changes a message", [edits_out], edit),
    case!(
        "Sending",
        "edit to long",
        "a message changed to a long one is all there",
        [edits_out],
        edit_long
    ),
    case!("Sending", "reaction out", "the agent reacts to a message", [reactions_out], react),
    case!("Sending", "typing", "people see that the agent types", [typing], typing),
    case!("Sending", "card", "a card with title and text", [], card),
    case!(
        "Sending",
        "says what it cannot",
        "what the platform does not offer is refused with words",
        [],
        cannot
    ),
];

/// What people read of everything, one message behind the other.
pub(super) fn all_text(shown: &[Seen]) -> String {
    shown.iter().map(|s| s.text.as_str()).collect::<Vec<_>>().join("\n")
}

/// Waits until `text` can be read somewhere; returns everything that can be read.
async fn reads(rig: &mut Rig, text: &str) -> Result<String> {
    let what = format!("{:?}", short(text));
    rig.sees(&what, |shown| Some(all_text(shown)).filter(|all| all.contains(text))).await
}

fn limit(rig: &Rig) -> Result<Option<usize>> {
    Ok(rig.channel()?.capabilities().text_max.map(|(max, _)| max))
}

async fn reply(rig: &mut Rig) -> Result<()> {
    let said = rig.say(crate::Say::new("ann", rig.place(), "which one?").mention()).await?;
    let mut message = rig.text(&said.at, "this one");
    message.reply_to = Some(said.id.clone());
    rig.send(&message).await?;
    let find = |shown: &[Seen]| shown.iter().find(|s| s.text.contains("this one")).cloned();
    let seen = rig.sees("the answer", find).await?;
    ensure!(seen.reply_to.as_deref() == Some(said.id.as_str()), "it answers {:?}", seen.reply_to);
    Ok(())
}

async fn long(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    let (text, count) = lines(limit(rig)?.unwrap_or(70_000) * 3);
    send_lines(rig, &at, &text, count).await
}

async fn huge(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    let most = 4 * 1024 * 1024;
    let (text, count) = lines(limit(rig)?.map_or(most, |max| (max * 200).min(most)));
    send_lines(rig, &at, &text, count).await
}

async fn send_lines(rig: &mut Rig, at: &Address, text: &str, count: usize) -> Result<()> {
    let _hurry = rig.hurry();
    let message = rig.text(at, text);
    rig.send(&message).await?;
    let all = reads(rig, &format!("line-{:06}", count - 1)).await?;
    lines_in(&all, count).map_err(anyhow::Error::msg)
}

async fn unicode(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    let _hurry = rig.hurry();
    for text in [texts::RIGHT_TO_LEFT, texts::COMBINING, texts::FAMILY] {
        rig.send_text(&at, text).await?;
        reads(rig, text).await?;
    }
    let message = rig.text(&at, &"😀".repeat(10_000));
    rig.send(&message).await?;
    let all = |shown: &[Seen]| all_text(shown).matches('😀').count();
    rig.sees("10,000 emoji", |shown| (all(shown) == 10_000).then_some(())).await
}

async fn dialect(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    rig.send_text(&at, texts::SAMPLER).await?;
    let all = reads(rig, "and the end.").await?;
    in_order(&all)?;
    for mark in texts::MARKS {
        ensure!(!all.contains(mark), "{mark:?} is shown as it was written:\n{all}");
    }
    Ok(())
}

async fn words(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    rig.send_text(&at, texts::SAMPLER).await?;
    in_order(&reads(rig, "and the end.").await?)
}

fn in_order(all: &str) -> Result<()> {
    let mut rest = all;
    for word in texts::SAMPLED {
        let at = rest.find(word);
        let at = at.with_context(|| format!("{word:?} is missing or not in order:\n{all}"))?;
        rest = &rest[at..];
    }
    Ok(())
}

async fn hostile(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    rig.send_text(&at, texts::HOSTILE).await?;
    let all = reads(rig, "no end").await?;
    for word in ["alert(1)", "everyone", "{{7*7}}", "open"] {
        ensure!(all.contains(word), "{word:?} is missing: {all}");
    }
    ensure!(!all.contains('\u{202e}'), "a mark that reorders text came through");
    rig.send_text(&at, "and one more").await?;
    reads(rig, "and one more").await?;
    Ok(())
}

async fn plain(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    rig.peer.fail(Fault::MarkupRefused, 1).await?;
    rig.send_text(&at, "some **bold** claim & a `word` < other").await?;
    let all = reads(rig, "claim").await?;
    ensure!(all.contains("bold") && all.contains("& a"), "shown is {all:?}");
    ensure!(!all.contains("&amp;") && !all.contains("<b>"), "shown is {all:?}");
    Ok(())
}

async fn edit(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    ensure!(rig.channel()?.capabilities().edits, "the capabilities say that it cannot");
    let id = rig.send_text(&at, "working…").await?;
    let body = Body::Edit { message: message_id(&id)?, markdown: "it is **done**".into() };
    let message = rig.outgoing(&at, body);
    rig.send(&message).await?;
    let all = reads(rig, "done").await?;
    ensure!(!all.contains("working"), "the old text is there: {all}");
    let shown = rig.peer.shown().await?;
    ensure!(shown.len() == 1 && shown[0].id == id, "an edit made new messages: {shown:?}");
    // The same again changes nothing and is no failure.
    rig.send(&message).await?;
    Ok(())
}

async fn edit_long(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    let id = rig.send_text(&at, "working…").await?;
    let _hurry = rig.hurry();
    for size in [5, 2] {
        let (text, count) = lines(limit(rig)?.unwrap_or(20_000) * size / 2);
        let body = Body::Edit { message: message_id(&id)?, markdown: text };
        let message = rig.outgoing(&at, body);
        rig.send(&message).await?;
        let whole = |shown: &[Seen]| lines_in(&all_text(shown), count).ok();
        rig.sees(&format!("the new text, {count} lines"), whole).await?;
    }
    Ok(())
}

async fn react(rig: &mut Rig) -> Result<()> {
    ensure!(rig.channel()?.capabilities().reactions, "the capabilities say that it cannot");
    let mut said = rig.say(crate::Say::new("ann", rig.place(), "I did it").mention()).await?;
    // The character, and the names that agents use for it.
    for emoji in ["👍", "thumbs_up", ":+1:"] {
        said = rig.say(crate::Say::new("ann", rig.place(), "I did it").mention()).await?;
        let body = Body::React { message: said.id.clone(), emoji: emoji.into() };
        let message = rig.outgoing(&said.at, body);
        rig.send(&message).await?;
        let id = said.id.to_string();
        rig.peers(&format!("the reaction {emoji}"), async |peer| {
            let there = peer.reacted().await?;
            Ok(there.iter().any(|r| r.message == id && r.emoji == "👍").then_some(()))
        })
        .await?;
    }
    // What is no emoji is refused or shown in words, never tried for ever.
    let body = Body::React { message: said.id, emoji: "no such thing".into() };
    let message = rig.outgoing(&said.at, body);
    match rig.try_send(&message).await? {
        Ok(_) | Err(SendError::Reject { .. }) => Ok(()),
        Err(e) => anyhow::bail!("a reaction that does not exist: {e:?}"),
    }
}

async fn typing(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    ensure!(rig.channel()?.capabilities().typing, "the capabilities say that it cannot");
    rig.channel()?.typing(&at, Typing::On).await;
    rig.peers("the sign of typing", async |peer| Ok((peer.typing().await? > 0).then_some(())))
        .await?;
    rig.channel()?.typing(&at, Typing::Off).await;
    Ok(())
}

async fn card(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    let body = Body::Card { title: Some("Weather".into()), markdown: "It **rains**, still".into() };
    let message = rig.outgoing(&at, body);
    rig.send(&message).await?;
    let all = reads(rig, "still").await?;
    ensure!(all.contains("Weather") && all.contains("rains"), "shown is {all:?}");
    Ok(())
}

async fn cannot(rig: &mut Rig) -> Result<()> {
    let said = rig.say(crate::Say::new("ann", rig.place(), "hello").mention()).await?;
    let (profile, caps) = (rig.profile.clone(), rig.channel()?.capabilities());
    let claims = [
        ("threads", profile.threads, caps.threads),
        ("edits", profile.edits_out, caps.edits),
        ("reactions", profile.reactions_out, caps.reactions),
        ("buttons", profile.buttons, caps.buttons),
        ("files", profile.files_out, caps.files),
        ("typing", profile.typing, caps.typing),
        ("idempotent", profile.idempotent, caps.idempotent),
        ("history", profile.history, caps.history),
    ];
    for (what, offer, said) in claims {
        ensure!((offer == Offer::Yes) == said, "capabilities.{what} is {said}, offered: {offer:?}");
    }
    let edit = Body::Edit { message: said.id.clone(), markdown: "changed".into() };
    let react = Body::React { message: said.id.clone(), emoji: "👍".into() };
    for (offer, body) in [(profile.edits_out, edit), (profile.reactions_out, react)] {
        if offer == Offer::Yes {
            continue;
        }
        let message = rig.outgoing(&said.at, body);
        match rig.try_send(&message).await? {
            Err(SendError::Reject { why }) => ensure!(!why.is_empty(), "refused without a word"),
            other => anyhow::bail!("{:?} came to {other:?}", message.body),
        }
    }
    Ok(())
}
