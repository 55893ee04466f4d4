//! The two ways in which Slack hands events over, beyond what every channel is held to.

use crate::peer::{GROUP, Shared, Slack, signature};
use anyhow::{Context as _, Result};
use nanoclaw_channel::{AnswerOutcome, Body, Choice, Health, OutFile, Question, QuestionId, What};
use nanoclaw_conformance::{Fault, Peer as _, Place, Rig, Say};
use serde_json::{Value, json};
use std::sync::Arc;

async fn started(peer: Slack) -> Result<(Rig, Arc<Shared>)> {
    let shared = Arc::clone(&peer.shared);
    let mut rig = Rig::new(Box::new(peer))?;
    rig.start().await?;
    Ok((rig, shared))
}

#[tokio::test]
async fn the_events_api_brings_messages_and_answers() -> Result<()> {
    let (mut rig, shared) = started(Slack::with_events().await?).await?;
    let said = rig.say(Say::new("ann", Place::Group, "over the webhook").mention()).await?;
    rig.host.outcome(AnswerOutcome::Taken { label: "Yes, now".into() });
    let option = |label: &str| Choice {
        label: label.into(),
        selected_label: label.into(),
        value: label.to_lowercase(),
    };
    let question = Question {
        question_id: QuestionId::parse("q-1")?,
        title: "Deploy".into(),
        question: "Now?".into(),
        options: vec![option("Yes"), option("No")],
    };
    let message = rig.outgoing(&said.at, Body::Ask(question));
    let id = rig.send(&message).await?.context("no id")?;
    rig.peer.click(&id, "No", "bob").await?;
    let answer = rig.hears("the answer", |heard| heard.answers.first().cloned()).await?;
    assert_eq!((answer.value.as_str(), answer.sender.handle.as_str()), ("no", "U0BOB"));
    rig.sees("the choice", |shown| {
        shown.iter().find(|s| s.buttons.is_empty() && s.text.contains("Yes, now")).cloned()
    })
    .await?;
    assert!(shared.world().statuses.iter().all(|s| *s == 200));
    Ok(())
}

#[tokio::test]
async fn an_event_that_was_not_taken_is_not_answered_with_200() -> Result<()> {
    let (mut rig, shared) = started(Slack::with_events().await?).await?;
    rig.host.refuse(1);
    rig.peer.say(Say::new("ann", Place::Direct, "the disk is full")).await?;
    rig.hears("it in the end", |heard| heard.texts().contains(&"the disk is full").then_some(()))
        .await?;
    rig.peers("the answers", async |_| Ok(shared.world().statuses.contains(&503).then_some(())))
        .await?;
    assert_eq!(rig.host.heard().messages.len(), 1);
    Ok(())
}

#[tokio::test]
async fn slack_s_own_question_is_answered_and_nobody_else_s() -> Result<()> {
    let peer = Slack::with_events().await?;
    let (url, body) =
        (peer.webhook.clone(), r#"{"token":"x","challenge":"3eZbrw1a","type":"url_verification"}"#);
    let now = nanoclaw_channel::time::Timestamp::now().as_second();
    let (_rig, _) = started(peer).await?;
    let ask = async |secret: &str| -> Result<(u16, String)> {
        let http = nanoclaw_kit::http::client().map_err(|e| anyhow::anyhow!("{e}"))?;
        let request = http.post(&url).header("content-type", "application/json").body(body);
        let request = request.header("x-slack-request-timestamp", now.to_string());
        let response =
            request.header("x-slack-signature", signature(secret, now, body)).send().await?;
        Ok((response.status().as_u16(), response.text().await?))
    };
    assert_eq!(ask("wrong").await?.0, 401);
    let (status, answer) = ask("signing-secret-8f742231b10e8888").await?;
    let answer: Value = serde_json::from_str(&answer)?;
    assert_eq!((status, answer), (200, json!({ "challenge": "3eZbrw1a" })));
    Ok(())
}

#[tokio::test]
async fn what_was_said_while_the_webhook_was_away_comes_after_a_restart() -> Result<()> {
    let (mut rig, _) = started(Slack::with_events().await?).await?;
    rig.chat().await?;
    rig.stop().await?;
    rig.peer.say(Say::new("ann", Place::Direct, "anybody?")).await?;
    rig.peer.say(Say::new("bob", Place::Thread(1), "a thread begins")).await?;
    rig.peer.say(Say::new("ann", Place::Thread(1), "and goes on").mention()).await?;
    rig.start().await?;
    rig.hears("all", |heard| (heard.messages.len() == 4).then_some(())).await?;
    let heard = rig.host.heard();
    let last = heard.messages.iter().find(|m| m.text.contains("goes on")).context("not there")?;
    let first = heard.messages.iter().find(|m| m.text == "a thread begins").context("not there")?;
    assert_eq!(first.at, last.at);
    Ok(())
}

#[tokio::test]
async fn a_refreshed_socket_overlaps_the_old_one() -> Result<()> {
    let (mut rig, shared) = started(Slack::new().await?).await?;
    rig.chat().await?;
    let joined = shared.world().links().0;
    drop(
        shared.world().send(
            "none",
            json!({ "type": "disconnect", "reason": "refresh_requested" }).to_string(),
        ),
    );
    rig.peers("a second connection", async |_| {
        Ok((shared.world().links() == (joined + 1, 2)).then_some(()))
    })
    .await?;
    // The old one is still heard.
    let say = Say::new("ann", Place::Direct, "on the old one");
    let event = shared.world().says(&say);
    let frame = json!({ "type": "events_api", "envelope_id": "old-1", "payload": { "type": "event_callback", "event": event } });
    let waits = shared.world().send_first("old-1", frame.to_string()).context("no connection")?;
    rig.hears("it", |heard| heard.texts().contains(&"on the old one").then_some(())).await?;
    waits.await?;
    let lost = |h: &Health| matches!(h, Health::Reconnecting { .. });
    assert!(!rig.host.heard().health.iter().any(lost));
    Ok(())
}

#[tokio::test]
async fn a_socket_that_is_silent_is_replaced_and_what_was_missed_is_read() -> Result<()> {
    let (mut rig, shared) = started(Slack::new().await?).await?;
    rig.chat().await?;
    let joined = shared.world().links().0;
    shared.world().deaf = true;
    let hurry = rig.hurry();
    // Into the silence: it never arrives over the connection.
    rig.peers("the silence", async |_| Ok(shared.world().silent.then_some(()))).await?;
    shared.world().deaf = false;
    let event = shared.world().says(&Say::new("ann", Place::Direct, "do you hear me?"));
    assert!(event["ts"].is_string());
    rig.peers(
        "another connection",
        async |_| Ok((shared.world().links().0 > joined).then_some(())),
    )
    .await?;
    rig.hears("it", |heard| heard.texts().contains(&"do you hear me?").then_some(())).await?;
    drop(hurry);
    Ok(())
}

#[tokio::test]
async fn a_conversation_that_cannot_be_read_back_is_heard_all_the_same() -> Result<()> {
    let mut peer = Slack::new().await?;
    peer.say(Say::new("bob", Place::Group, "before the app came")).await?;
    // As for an app that hears when it is addressed and may not read what was said.
    peer.shared.world().unreadable.insert(GROUP.into(), "missing_scope");
    let (mut rig, _) = started(peer).await?;
    let _hurry = rig.hurry();
    rig.say(Say::new("ann", Place::Group, "do you hear me?").mention()).await?;
    assert_eq!(rig.host.heard().messages.len(), 1);
    Ok(())
}

#[tokio::test]
async fn what_was_missed_is_not_forgotten_while_it_is_still_being_read() -> Result<()> {
    let (mut rig, shared) = started(Slack::new().await?).await?;
    shared.world().skew = 1_000;
    rig.say(Say::new("ann", Place::Direct, "hello")).await?;
    rig.say(Say::new("ann", Place::Group, "hello")).await?;
    rig.stop().await?;
    shared.world().skew = 2_000;
    rig.peer.say(Say::new("bob", Place::Group, "said while it was away")).await?;
    // Slack has no time for that conversation; another one goes on.
    shared.world().unreadable.insert(GROUP.into(), "ratelimited");
    shared.world().skew = 4_000;
    rig.start().await?;
    rig.say(Say::new("ann", Place::Direct, "much later")).await?;
    rig.stop().await?;
    shared.world().unreadable.clear();
    rig.start().await?;
    rig.say(Say::new("bob", Place::Group, "the last word")).await?;
    let heard = rig.host.heard();
    assert!(heard.texts().contains(&"said while it was away"), "{:?}", heard.texts());
    Ok(())
}

#[tokio::test]
async fn what_is_said_now_waits_for_what_was_missed_and_cannot_be_asked_for_yet() -> Result<()> {
    let (mut rig, shared) = started(Slack::new().await?).await?;
    rig.chat().await?;
    rig.stop().await?;
    shared.world().says(&Say::new("ann", Place::Direct, "said while it was away"));
    shared.world().unreadable.insert(String::new(), "internal_error");
    let hurry = rig.hurry();
    rig.start().await?;
    rig.peer.say(Say::new("ann", Place::Direct, "said when it was back")).await?;
    let calls = shared.world().calls;
    rig.peers("a few attempts", async |_| Ok((shared.world().calls > calls + 5).then_some(())))
        .await?;
    shared.world().unreadable.clear();
    rig.hears("both", |heard| (heard.messages.len() == 3).then_some(())).await?;
    drop(hurry);
    let all = ["hello there", "said while it was away", "said when it was back"];
    assert_eq!(rig.host.heard().texts(), all);
    Ok(())
}

#[tokio::test]
async fn what_was_changed_while_it_was_away_comes_after_a_restart_once() -> Result<()> {
    let (mut rig, _) = started(Slack::new().await?).await?;
    let said = rig.say(Say::new("ann", Place::Direct, "at five")).await?;
    let other = rig.say(Say::new("ann", Place::Direct, "or at six")).await?;
    rig.peer.edit(other.id.as_str(), "or at seven").await?;
    rig.hears("the change", |heard| heard.changes.first().cloned()).await?;
    rig.stop().await?;
    rig.peer.edit(said.id.as_str(), "at four").await?;
    rig.start().await?;
    let change = rig.hears("the other", |heard| heard.changes.get(1).cloned()).await?;
    assert_eq!((change.message, change.what), (said.id, What::Edited("at four".into())));
    rig.say(Say::new("ann", Place::Direct, "the last word")).await?;
    let heard = rig.host.heard();
    assert_eq!((heard.messages.len(), heard.changes.len()), (3, 2), "{:?}", heard.changes);
    Ok(())
}

#[tokio::test]
async fn a_file_that_was_uploaded_and_not_shown_is_shown() -> Result<()> {
    let (mut rig, _) = started(Slack::new().await?).await?;
    let at = rig.chat().await?;
    let _hurry = rig.hurry();
    rig.peer.fail(Fault::Down, 1).await?;
    let file = OutFile { name: "plan.txt".into(), bytes: b"plan".to_vec() };
    let message = rig.files(&at, "", vec![file]);
    rig.send(&message).await?;
    rig.sees("the file", |shown| shown.iter().any(|s| !s.files.is_empty()).then_some(())).await?;
    Ok(())
}

#[tokio::test]
async fn a_reaction_to_a_later_part_is_one_to_the_message() -> Result<()> {
    let (mut rig, _) = started(Slack::new().await?).await?;
    let at = rig.chat().await?;
    let id = rig.send_text(&at, &"one more word ".repeat(500)).await?;
    let shown = rig.peer.shown().await?;
    let last = &shown.last().context("nothing is shown")?.id;
    assert_ne!(*last, id);
    rig.peer.react(last, "👍", false).await?;
    let change = rig.hears("the reaction", |heard| heard.changes.first().cloned()).await?;
    assert_eq!(change.message.as_str(), id);
    Ok(())
}
