//! What only GitHub has.

use crate::peer::{GitHub, REPO, Shared};
use anyhow::{Context as _, Result};
use nanoclaw_channel::time::Timestamp;
use nanoclaw_channel::{Address, Health, Mention};
use nanoclaw_conformance::{Place, Rig, Say};
use serde_json::json;
use std::sync::Arc;

async fn started(peer: GitHub) -> Result<(Rig, Arc<Shared>)> {
    let shared = Arc::clone(&peer.shared);
    let mut rig = Rig::new(Box::new(peer))?;
    rig.start().await?;
    Ok((rig, shared))
}

#[tokio::test]
async fn a_repository_without_a_webhook_is_read() -> Result<()> {
    let (mut rig, shared) = started(GitHub::without_webhooks().await?).await?;
    let _hurry = rig.hurry();
    let said = rig.say(Say::new("ann", Place::Group, "is anybody reading?").mention()).await?;
    assert_eq!(said.mention, Mention::Yes);
    // Unchanged lists cost nothing.
    rig.peers("lists that did not change", async |_| {
        Ok((shared.world().unchanged > 5).then_some(()))
    })
    .await?;
    rig.peer.edit(said.id.as_str(), "@nano-bot changed").await?;
    rig.hears("the change", |heard| heard.changes.first().cloned()).await?;
    assert_eq!(rig.host.heard().messages.len(), 1);
    Ok(())
}

#[tokio::test]
async fn what_was_said_before_the_first_start_is_nobody_s_business() -> Result<()> {
    let peer = GitHub::without_webhooks().await?;
    {
        let mut world = peer.shared.world();
        world.skew = -3600;
        world.says(&Say::new("ann", Place::Group, "an hour ago").mention());
        world.skew = 0;
    }
    let (mut rig, _) = started(peer).await?;
    let _hurry = rig.hurry();
    rig.say(Say::new("ann", Place::Group, "now").mention()).await?;
    assert_eq!(rig.host.heard().messages.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_message_to_a_repository_opens_an_issue_and_the_agent_is_answered_there() -> Result<()> {
    let (mut rig, shared) = started(GitHub::new().await?).await?;
    let at = rig.chat().await?;
    let repo = Address { thread_id: None, ..at };
    let message = rig.text(&repo, "# Nightly report\n\nAll tests **pass**.");
    let id = rig.send(&message).await?.context("no id")?;
    // The same once more is the same issue.
    assert_eq!(rig.send(&message).await?, Some(id.clone()));
    let number = {
        let world = shared.world();
        let opened: Vec<_> = world.issues.iter().filter(|i| i.user == 99).collect();
        assert_eq!(opened.len(), 1);
        assert_eq!(opened[0].title, "Nightly report");
        opened[0].number
    };
    assert_eq!(id, format!("i:{number}"));
    let event = {
        let mut world = shared.world();
        let comment = world.comment(number, None, 7, "which ones?");
        world.event("created", &comment, 7)
    };
    shared.emit("issue_comment", &event).await?;
    let answer = rig
        .hears("the answer", |heard| {
            heard.messages.iter().find(|m| m.text == "which ones?").cloned()
        })
        .await?;
    assert_eq!(answer.mention, Mention::Yes);
    Ok(())
}

#[tokio::test]
async fn a_comment_on_lines_is_a_thread_of_its_own() -> Result<()> {
    let (mut rig, shared) = started(GitHub::new().await?).await?;
    let event = {
        let mut world = shared.world();
        let id = world.next();
        let mut comment = world.comment(2, None, 7, "@nano-bot why?");
        (comment.id, comment.root) = (id, Some(id));
        *world.comments.last_mut().context("none")? = comment.clone();
        let mut event = world.event("created", &comment, 7);
        event["pull_request"] = event["issue"].take();
        event.as_object_mut().context("no object")?.remove("issue");
        event
    };
    shared.emit("pull_request_review_comment", &event).await?;
    let said = rig.hears("it", |heard| heard.messages.first().cloned()).await?;
    assert!(said.text.contains("src/main.rs") && said.text.contains("+new"), "{}", said.text);
    let root = said.id.as_str()[2..].to_owned();
    assert_eq!(
        said.at.thread_id.as_ref().map(AsRef::as_ref),
        Some(format!("github:{REPO}:2:rc:{root}").as_str())
    );
    rig.send_text(&said.at, "because").await?;
    let seen = rig
        .sees("the answer", |shown| shown.iter().find(|s| s.text.contains("because")).cloned())
        .await?;
    assert_eq!(seen.thread.as_deref(), said.at.thread_id.as_ref().map(AsRef::as_ref));
    Ok(())
}

#[tokio::test]
async fn an_opened_issue_is_heard() -> Result<()> {
    let (mut rig, shared) = started(GitHub::new().await?).await?;
    let event = json!({ "action": "opened", "repository": { "full_name": REPO },
        "sender": { "id": 7, "login": "ann", "type": "User" },
        "issue": { "number": 77, "title": "It breaks", "body": "Since today. @nano-bot?",
            "user": { "id": 7, "login": "ann", "type": "User" },
            "created_at": "2030-01-01T00:00:00Z", "updated_at": "2030-01-01T00:00:00Z" } });
    shared.emit("issues", &event).await?;
    let said = rig.hears("it", |heard| heard.messages.first().cloned()).await?;
    assert_eq!(
        (said.id.as_str(), said.text.as_str()),
        ("i:77", "It breaks\n\nSince today. @nano-bot?")
    );
    assert_eq!(said.mention, Mention::Yes);
    Ok(())
}

#[tokio::test]
async fn a_limit_is_no_login_that_was_taken_back() -> Result<()> {
    let (mut rig, _) = started(GitHub::new().await?).await?;
    let at = rig.chat().await?;
    let after = Some(std::time::Duration::from_secs(90));
    rig.peer.fail(nanoclaw_conformance::Fault::Busy { after }, 1).await?;
    let message = rig.text(&at, "slowly");
    let hurry = rig.hurry();
    let tried = rig.try_send(&message).await?;
    assert!(
        matches!(tried, Err(nanoclaw_channel::SendError::Retry { after: told, .. }) if told == after),
        "{tried:?}"
    );
    rig.send(&message).await?;
    drop(hurry);
    assert!(!rig.host.heard().health.iter().any(|h| matches!(h, Health::Broken { .. })));
    Ok(())
}

/// Waits until everything was read so often, without anything new.
async fn reads(rig: &mut Rig, shared: &Arc<Shared>, times: usize) -> Result<()> {
    let before = shared.world().unchanged;
    let _hurry = rig.hurry();
    rig.peers("readings", async |_| Ok((shared.world().unchanged > before + times).then_some(())))
        .await
}

#[tokio::test]
async fn an_old_comment_that_is_changed_does_not_bring_its_time_back() -> Result<()> {
    let peer = GitHub::new().await?;
    peer.shared.world().repos = String::new();
    let (mut rig, shared) = started(peer).await?;
    let event = {
        let mut world = shared.world();
        // Years ago, and something else said a little later.
        world.skew = -100_000_000;
        let old = world.comment(1, None, 7, "first");
        world.comment(1, None, 8, "@nano-bot and then?");
        world.skew = 0;
        world.edits(&format!("c:{}", old.id), "first!")?
    };
    shared.emit("issue_comment", &event).await?;
    reads(&mut rig, &shared, 6).await?;
    assert!(rig.host.heard().messages.is_empty(), "{:?}", rig.host.heard().texts());
    Ok(())
}

#[tokio::test]
async fn a_change_of_what_was_never_heard_is_heard_as_it_is_now() -> Result<()> {
    let (mut rig, shared) = started(GitHub::new().await?).await?;
    rig.chat().await?;
    let event = {
        let mut world = shared.world();
        let comment = world.comment(1, None, 8, "@nano-bot can you");
        // The webhook of its creation got lost.
        world.edits(&format!("c:{}", comment.id), "@nano-bot can you help?")?
    };
    shared.emit("issue_comment", &event).await?;
    reads(&mut rig, &shared, 6).await?;
    let heard = rig.host.heard();
    assert_eq!(heard.texts().iter().filter(|t| t.ends_with("can you help?")).count(), 1);
    Ok(())
}

#[tokio::test]
async fn an_issue_that_comes_up_again_after_a_year_is_not_said_again() -> Result<()> {
    let (mut rig, shared) = started(GitHub::without_webhooks().await?).await?;
    shared.world().skew = 1;
    let _hurry = rig.hurry();
    rig.say(Say::new("ann", Place::Thread(2), "@nano-bot it breaks")).await?;
    {
        // It is forgotten what was taken so long ago: as if by another start on an empty folder.
        let mut world = shared.world();
        let now = world.now();
        let created: Timestamp = now + jiff_days(1);
        let mut issue = world.issues.last().context("no issue")?.clone();
        (issue.number, issue.created, issue.updated) = (77, created, created + jiff_days(365));
        world.issues.push(issue);
    }
    rig.say(Say::new("ann", Place::Thread(2), "the last word")).await?;
    drop(_hurry);
    reads(&mut rig, &shared, 6).await?;
    assert_eq!(rig.host.heard().messages.len(), 2, "{:?}", rig.host.heard().texts());
    Ok(())
}

fn jiff_days(days: u64) -> std::time::Duration {
    std::time::Duration::from_secs(days * 86_400)
}

#[tokio::test]
async fn what_is_new_behind_a_full_page_that_is_as_it_was_is_found() -> Result<()> {
    let (mut rig, shared) = started(GitHub::without_webhooks().await?).await?;
    {
        let mut world = shared.world();
        world.skew = 1;
        for n in 0..100 {
            world.comment(1, None, 7, &format!("no {n}"));
        }
    }
    let _hurry = rig.hurry();
    rig.hears("a whole page", |heard| (heard.messages.len() == 100).then_some(())).await?;
    // Until the page comes back unchanged.
    let before = shared.world().unchanged;
    rig.peers("readings", async |_| Ok((shared.world().unchanged > before + 9).then_some(())))
        .await?;
    rig.say(Say::new("bob", Place::Group, "one more")).await?;
    Ok(())
}

#[tokio::test]
async fn a_repository_that_was_taken_out_of_the_setting_is_not_read_any_more() -> Result<()> {
    let peer = GitHub::without_webhooks().await?;
    peer.shared.world().repos = "acme/copy".into();
    let (mut rig, shared) = started(peer).await?;
    rig.stop().await?;
    shared.world().repos = REPO.into();
    rig.start().await?;
    {
        let _hurry = rig.hurry();
        rig.say(Say::new("ann", Place::Group, "who reads this?")).await?;
    }
    reads(&mut rig, &shared, 6).await?;
    assert_eq!(rig.host.heard().messages.len(), 1, "{:?}", rig.host.heard().messages);
    Ok(())
}

#[tokio::test]
async fn an_issue_without_a_number_has_no_address() -> Result<()> {
    let (rig, shared) = started(GitHub::new().await?).await?;
    let event = json!({ "action": "opened", "repository": { "full_name": REPO },
        "sender": { "id": 7, "login": "ann", "type": "User" },
        "issue": { "number": 0, "title": "Nowhere", "body": "",
            "user": { "id": 7, "login": "ann", "type": "User" },
            "created_at": "2030-01-01T00:00:00Z", "updated_at": "2030-01-01T00:00:00Z" } });
    shared.emit("issues", &event).await?;
    assert!(rig.host.heard().messages.is_empty());
    Ok(())
}
