//! What only Discord does.

use crate::peer::{Discord, Shared, user};
use anyhow::{Context as _, Result};
use nanoclaw_channel::{AnswerOutcome, Body, Choice, Question, QuestionId};
use nanoclaw_conformance::{PeerFile, Place, Rig, Say};
use serde_json::json;
use std::sync::Arc;

async fn started() -> Result<(Rig, Arc<Shared>)> {
    let peer = Discord::open().await?;
    let shared = Arc::clone(&peer.shared);
    let mut rig = Rig::new(Box::new(peer))?;
    rig.start().await?;
    Ok((rig, shared))
}

#[tokio::test]
async fn a_new_session_whose_direct_chats_cannot_be_read_at_once_loses_none() -> Result<()> {
    let (mut rig, shared) = started().await?;
    rig.say(Say::new("ann", Place::Direct, "hello")).await?;
    rig.stop().await?;
    rig.peer.say(Say::new("ann", Place::Direct, "said while it was away")).await?;
    {
        // The old session is over, and the first look at the chat fails.
        let mut state = shared.lock();
        (state.session, state.unreadable) = (state.session + 100, 1);
    }
    rig.start().await?;
    let _hurry = rig.hurry();
    rig.say(Say::new("ann", Place::Direct, "the last word")).await?;
    rig.hears("what was missed", |heard| {
        heard.texts().contains(&"said while it was away").then_some(())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn what_was_forwarded_is_read_with_its_files() -> Result<()> {
    let (mut rig, shared) = started().await?;
    let base = {
        let mut state = shared.lock();
        state.files.insert(77, b"plan".to_vec());
        state.base.trim_end_matches("/api/v10").to_owned()
    };
    let forwarded = json!({ "content": "meet at five", "attachments": [{ "id": "77", "filename": "plan.txt",
        "size": 4, "content_type": "text/plain", "url": format!("{base}/attachments/77/file") }] });
    shared.tell(
        "MESSAGE_CREATE",
        json!({ "id": "2000000", "channel_id": "21", "type": 0,
        "author": user("ann"), "content": "", "timestamp": "2026-01-01T00:00:00+00:00", "mentions": [],
        "message_snapshots": [{ "message": forwarded }] }),
    );
    let said = rig.hears("it", |heard| heard.message("2000000").cloned()).await?;
    assert_eq!(said.text, "[forwarded]\nmeet at five");
    assert_eq!(said.files[0].bytes, b"plan");
    Ok(())
}

#[tokio::test]
async fn files_of_what_was_said_before_are_named_and_not_fetched() -> Result<()> {
    let (mut rig, _) = started().await?;
    let file = PeerFile { name: "a.txt".into(), bytes: b"a".to_vec(), ..PeerFile::default() };
    rig.say(Say::new("bob", Place::Thread(1), "look").file(file)).await?;
    let asked = rig.say(Say::new("ann", Place::Thread(1), "and you?").mention()).await?;
    let before = rig.channel()?.history(&asked.at, &asked.id, 10).await;
    let file = &before.last().context("nothing was said before")?.files[0];
    assert!(file.bytes.is_empty() && file.missing.is_some(), "{file:?}");
    Ok(())
}

#[tokio::test]
async fn a_long_question_stays_whole_beside_its_answer() -> Result<()> {
    let (mut rig, _) = started().await?;
    let at = rig.chat().await?;
    rig.host.outcome(AnswerOutcome::Taken { label: "Yes".into() });
    let option = Choice { label: "Yes".into(), selected_label: "Yes".into(), value: "yes".into() };
    let text = format!("{}the end of it?", "word ".repeat(350));
    let question = Question {
        question_id: QuestionId::parse("q-1")?,
        title: String::new(),
        question: text.clone(),
        options: vec![option],
    };
    let message = rig.outgoing(&at, Body::Ask(question));
    let id = rig.send(&message).await?.context("no id")?;
    rig.peer.click(&id, "Yes", "ann").await?;
    let shown = rig
        .sees("the choice", |shown| shown.iter().find(|s| s.buttons.is_empty()).cloned())
        .await?;
    assert!(shown.text.contains(&text) && shown.text.ends_with("Yes"), "{}", shown.text);
    Ok(())
}

#[tokio::test]
async fn a_reaction_to_a_later_part_is_one_to_the_message() -> Result<()> {
    let (mut rig, _) = started().await?;
    let at = rig.chat().await?;
    let id = rig.send_text(&at, &"one more word ".repeat(250)).await?;
    let shown = rig.peer.shown().await?;
    let last = &shown.last().context("nothing is shown")?.id;
    assert_ne!(*last, id);
    rig.peer.react(last, "👍", false).await?;
    let change = rig.hears("the reaction", |heard| heard.changes.first().cloned()).await?;
    assert_eq!(change.message.as_str(), id);
    Ok(())
}
