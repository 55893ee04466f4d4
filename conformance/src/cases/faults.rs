//! What goes wrong between a platform and its adapter: counted, nothing lost, nothing doubled.

use super::sending::all_text;
use super::texts::{lines, lines_in};
use super::{Case, case};
use crate::peer::{Fault, Forgery, Offer, Say, Seen};
use crate::rig::{Rig, short};
use anyhow::{Context as _, Result, bail, ensure};
use nanoclaw_channel::{Health, SendError};
use std::time::Duration;

pub(super) const CASES: &[Case] = &[
    case!("Faults", "duplicates", "the same event again is the same message", [], duplicates),
    case!("Faults", "out of order", "an old event behind a new one changes nothing", [], disorder),
    case!(
        "Faults",
        "host busy",
        "what the host could not take comes again, in order",
        [],
        busy_host
    ),
    case!(
        "Faults",
        "killed in a batch",
        "killed while it hands over: nothing lost, ids stay",
        [catch_up],
        killed
    ),
    case!("Faults", "busy", "too many requests, with and without a time to wait", [busy], busy),
    case!("Faults", "server error", "a server error is tried again", [requests], down),
    case!(
        "Faults",
        "half-open",
        "a request that is never answered ends and is tried again",
        [requests],
        half_open
    ),
    case!(
        "Faults",
        "answer lost",
        "shown, but the answer was lost: the next try shows no second one",
        [idempotent],
        answer_lost
    ),
    case!(
        "Faults",
        "part sent",
        "the parts that were sent are not sent again",
        [requests],
        part_sent
    ),
    case!(
        "Faults",
        "killed while sending",
        "killed between parts: at most the one in flight comes twice",
        [],
        killed_sending
    ),
    case!(
        "Faults",
        "network cut",
        "what was said and sent meanwhile arrives afterwards, once",
        [link, catch_up],
        cut
    ),
    case!("Faults", "reconnect", "it finds back after the network was cut", [link], reconnect),
    case!(
        "Faults",
        "login taken back",
        "the owner is told once, and no storm follows",
        [revoked],
        revoked
    ),
    case!(
        "Faults",
        "forged webhooks",
        "unsigned, wrong, stale, repeated, too large, garbage",
        [signed_webhook],
        forged
    ),
];

async fn three(rig: &mut Rig) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for text in ["one", "two", "three"] {
        let say = Say::new("ann", rig.place(), text).mention();
        ids.push(rig.say(say).await?.id.to_string());
    }
    Ok(ids)
}

/// Says a last word, behind which nothing can come any more; returns how many messages came.
async fn last_word(rig: &mut Rig) -> Result<usize> {
    let say = Say::new("ann", rig.place(), "the last word").mention();
    rig.say(say).await?;
    Ok(rig.host.heard().messages.len())
}

async fn duplicates(rig: &mut Rig) -> Result<()> {
    let ids = three(rig).await?;
    for id in ids.iter().chain(&ids) {
        rig.peer.again(id).await?;
    }
    let count = last_word(rig).await?;
    ensure!(count == 4, "of 4 messages {count} came: {:?}", rig.host.heard().texts());
    Ok(())
}

async fn disorder(rig: &mut Rig) -> Result<()> {
    let ids = three(rig).await?;
    rig.peer.again(&ids[2]).await?;
    rig.peer.again(&ids[0]).await?;
    let count = last_word(rig).await?;
    ensure!(count == 4, "of 4 messages {count} came: {:?}", rig.host.heard().texts());
    rig.crash().await?;
    rig.start().await?;
    rig.peer.again(&ids[1]).await?;
    let say = Say::new("ann", rig.place(), "after the restart").mention();
    rig.say(say).await?;
    let count = rig.host.heard().messages.len();
    ensure!(count == 5, "of 5 messages {count} came: {:?}", rig.host.heard().texts());
    Ok(())
}

fn batch(rig: &Rig, count: usize) -> Vec<Say> {
    (0..count).map(|n| Say::new("ann", rig.place(), format!("no {n:02}"))).collect()
}

/// All of a batch, in order, with the ids of the platform.
async fn hears_batch(rig: &mut Rig, ids: &[String]) -> Result<()> {
    let count = ids.len();
    let got = rig
        .hears(&format!("all {count}"), |heard| {
            let got: Vec<_> =
                heard.messages.iter().filter(|m| m.text.starts_with("no ")).cloned().collect();
            (got.len() >= count).then_some(got)
        })
        .await?;
    for (n, (message, id)) in got.iter().zip(ids).enumerate() {
        let right = message.id.as_str() == id && message.text == format!("no {n:02}");
        ensure!(right, "{:?} came as {} in place {n}, not as {id}", message.text, message.id);
    }
    ensure!(got.len() == count, "{} came instead of {count}", got.len());
    Ok(())
}

async fn busy_host(rig: &mut Rig) -> Result<()> {
    rig.host.refuse_after(3, 5);
    let says = batch(rig, 12);
    let ids = rig.peer.burst(says).await?;
    let _hurry = rig.hurry();
    hears_batch(rig, &ids).await
}

async fn killed(rig: &mut Rig) -> Result<()> {
    rig.host.refuse_after(7, u32::MAX);
    let says = batch(rig, 20);
    let ids = rig.peer.burst(says).await?;
    let hurry = rig.hurry();
    rig.hears("the first that is refused", |heard| (heard.refused > 0).then_some(())).await?;
    rig.crash().await?;
    drop(hurry);
    rig.host.refuse(0);
    rig.start().await?;
    let _hurry = rig.hurry();
    hears_batch(rig, &ids).await
}

/// Waits for a text and looks that it is there once.
async fn shown_once(rig: &mut Rig, text: &str) -> Result<()> {
    let count = |shown: &[Seen]| shown.iter().filter(|s| s.text.contains(text)).count();
    let times = rig.sees(text, |shown| Some(count(shown)).filter(|n| *n > 0)).await?;
    ensure!(times == 1, "{text:?} is shown {times} times");
    Ok(())
}

async fn busy(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    let _hurry = rig.hurry();
    for (n, after) in [Some(Duration::from_secs(2)), None].into_iter().enumerate() {
        let text = format!("in a rush, no {n}");
        rig.peer.fail(Fault::Busy { after }, 2).await?;
        let message = rig.text(&at, &text);
        match rig.try_send(&message).await? {
            Ok(_) => {}
            Err(SendError::Retry { after: told, .. }) => {
                let kept = after.is_none_or(|want| told.is_some_and(|told| told >= want));
                ensure!(kept, "the platform asked for {after:?}, the host was told {told:?}");
                rig.send(&message).await?;
            }
            Err(e) => bail!("a busy platform came as {e:?}"),
        }
        shown_once(rig, &text).await?;
    }
    Ok(())
}

async fn down(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    let _hurry = rig.hurry();
    rig.peer.fail(Fault::Down, 2).await?;
    rig.send_text(&at, "in spite of all").await?;
    shown_once(rig, "in spite of all").await
}

async fn half_open(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    let _hurry = rig.hurry();
    rig.peer.fail(Fault::HalfOpen, 1).await?;
    rig.send_text(&at, "into the silence").await?;
    shown_once(rig, "into the silence").await?;
    let say = Say::new("ann", rig.place(), "I hear you").mention();
    rig.say(say).await?;
    Ok(())
}

async fn answer_lost(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    ensure!(rig.channel()?.capabilities().idempotent, "the capabilities say that it is not");
    let _hurry = rig.hurry();
    rig.peer.fail(Fault::AnswerLost, 1).await?;
    rig.send_text(&at, "said once").await?;
    shown_once(rig, "said once").await
}

/// A text of about nine parts.
fn long(rig: &Rig) -> Result<(String, usize)> {
    let limit = rig.channel()?.capabilities().text_max.map_or(20_000, |(max, _)| max);
    Ok(lines((limit * 8).min(1 << 20)))
}

async fn part_sent(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    let (text, count) = long(rig)?;
    let message = rig.text(&at, &text);
    let hurry = rig.hurry();
    let channel = rig.channel()?;
    let first = {
        let send = channel.send(&message);
        let fault = async {
            rig.sees("the second part", |shown| (shown.len() > 1).then_some(())).await?;
            rig.peer.fail(Fault::Down, 1).await
        };
        tokio::pin!(send, fault);
        // One message may be all there is; then nothing fails in the middle.
        tokio::select! {
            biased;
            faulted = &mut fault => { faulted?; send.await }
            sent = &mut send => sent,
        }
    };
    if let Err(e) = first {
        ensure!(matches!(e, SendError::Retry { .. }), "a server error came as {e:?}");
        rig.send(&message).await?;
    }
    drop(hurry);
    rig.peer.fail(Fault::Down, 0).await?;
    let last = format!("line-{:06}", count - 1);
    let all = rig.sees("the end", |s| Some(all_text(s)).filter(|all| all.contains(&last))).await?;
    lines_in(&all, count).map_err(anyhow::Error::msg)
}

async fn killed_sending(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    let (text, count) = long(rig)?;
    let message = rig.text(&at, &text);
    let hurry = rig.hurry();
    {
        let channel = rig.channel()?;
        let send = channel.send(&message);
        let second = rig.sees("the second part", |shown| (shown.len() > 1).then_some(()));
        tokio::pin!(send, second);
        tokio::select! { biased; seen = &mut second => seen?, sent = &mut send => drop(sent?) }
    }
    rig.crash().await?;
    drop(hurry);
    rig.start().await?;
    let _hurry = rig.hurry();
    rig.send(&message).await?;
    let last = format!("line-{:06}", count - 1);
    let shown = rig
        .sees("the end", |shown| all_text(shown).contains(&last).then(|| shown.to_vec()))
        .await?;
    let mut once: Vec<&str> = Vec::new();
    let mut twice = 0;
    for seen in &shown {
        if once.contains(&seen.text.as_str()) {
            twice += 1;
        } else {
            once.push(&seen.text);
        }
    }
    let most = usize::from(rig.profile.idempotent != Offer::Yes);
    ensure!(twice <= most, "{twice} parts are shown twice");
    lines_in(&once.join("\n"), count).map_err(anyhow::Error::msg)
}

async fn cut(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    let hurry = rig.hurry();
    rig.peer.cut(true).await?;
    let message = rig.text(&at, "from before the end");
    let tried = rig.try_send(&message).await?;
    ensure!(matches!(tried, Err(SendError::Retry { .. })), "without a network: {tried:?}");
    let says = batch(rig, 15);
    let ids = rig.peer.burst(says).await?;
    let lost = |h: &Health| matches!(h, Health::Reconnecting { .. });
    rig.hears("that the connection is lost", |heard| heard.health.iter().any(lost).then_some(()))
        .await?;
    rig.peer.cut(false).await?;
    hears_batch(rig, &ids).await?;
    rig.hears("that it is up", |heard| (heard.health.last() == Some(&Health::Up)).then_some(()))
        .await?;
    drop(hurry);
    rig.send(&message).await?;
    shown_once(rig, "from before the end").await
}

async fn reconnect(rig: &mut Rig) -> Result<()> {
    rig.chat().await?;
    let hurry = rig.hurry();
    for _ in 0..2 {
        rig.peer.cut(true).await?;
        let lost = |h: &Health| matches!(h, Health::Reconnecting { .. });
        rig.hears("that the connection is lost", |heard| {
            heard.health.last().is_some_and(lost).then_some(())
        })
        .await?;
        rig.peer.cut(false).await?;
        rig.hears("that it is up", |heard| {
            (heard.health.last() == Some(&Health::Up)).then_some(())
        })
        .await?;
    }
    drop(hurry);
    let say = Say::new("ann", rig.place(), "are you back?").mention();
    rig.say(say).await?;
    Ok(())
}

async fn revoked(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    let hurry = rig.hurry();
    rig.peer.fail(Fault::Revoked, u32::MAX).await?;
    let message = rig.text(&at, "anybody?");
    let tried = rig.try_send(&message).await?;
    ensure!(matches!(tried, Err(SendError::Broken { .. })), "a login taken back: {tried:?}");
    let broken = |h: &Health| match h {
        // What a person can mend at once, such as by linking a device again, is no less a word to the owner.
        Health::Broken { why } | Health::Needs { what: why } => Some(why.clone()),
        Health::Up | Health::Reconnecting { .. } => None,
    };
    let why = rig.hears("that it is broken", |heard| heard.health.iter().find_map(broken)).await?;
    ensure!(why.len() > 20, "the owner reads {why:?}, which says not what to do");
    // The clock runs meanwhile: minutes for a scripted platform.
    let before = rig.peer.calls();
    tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(150))).await?;
    drop(hurry);
    let calls = rig.peer.calls() - before;
    ensure!(calls <= 20, "{calls} calls followed");
    let told = rig.host.heard().health.iter().filter(|h| broken(h).is_some()).count();
    ensure!(told == 1, "the owner was told {told} times");
    Ok(())
}

async fn forged(rig: &mut Rig) -> Result<()> {
    rig.chat().await?;
    let before = rig.host.heard();
    let all = [
        (Forgery::Unsigned, 401..=404),
        (Forgery::Wrong, 401..=404),
        (Forgery::Stale, 400..=404),
        (Forgery::TooLarge, 400..=413),
        (Forgery::Garbage, 200..=499),
    ];
    for (forgery, good) in all {
        let status = rig.peer.forge(forgery).await.with_context(|| format!("{forgery:?}"))?;
        ensure!(good.contains(&status), "{forgery:?} was answered with {status}");
    }
    let heard = rig.host.heard();
    let new: Vec<String> =
        heard.messages[before.messages.len()..].iter().map(|m| short(&m.text)).collect();
    ensure!(new.is_empty() && heard.changes.is_empty(), "a forged webhook came in: {new:?}");
    // One real message, sent twice as it is.
    let status = rig.peer.forge(Forgery::Replayed).await?;
    ensure!(status < 500, "a replay was answered with {status}");
    let count = last_word(rig).await?;
    ensure!(count <= before.messages.len() + 2, "a replay came in again");
    Ok(())
}
