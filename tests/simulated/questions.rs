//! Questions to people, their answers, and in which chats an agent is typing.

use super::routing::{group, wire};
use super::{EVER, Sim};
use nanoclaw_central::{EngageMode, SenderScope, SessionMode};
use nanoclaw_contract::ids::{AgentId, UserId};
use nanoclaw_contract::time::Timestamp;
use nanoclaw_testkit::driver::Manner;
use nanoclaw_testkit::platform::Said;
use serde_json::json;
use std::time::Duration;

fn ask(id: &str) -> String {
    let content = json!({ "type": "ask_question", "questionId": id, "title": "Colour",
        "question": "Which?", "options": ["red", { "label": "Blue", "value": "b" }] });
    format!("!row {}", json!({ "kind": "chat-sdk", "id": id, "content": content }))
}

fn expired(id: &str) -> String {
    let content = json!({ "action": "question_expired", "questionId": id });
    format!("!row {}", json!({ "kind": "system", "id": format!("x-{id}"), "content": content }))
}

/// The id on the last card of a chat.
async fn card(sim: &Sim, chat: &str, n: usize) -> String {
    assert!(sim.rig.platform.until(EVER, |p| p.questions(chat).len() >= n).await, "no question");
    sim.rig.platform.questions(chat)[n - 1].question.clone().unwrap_or_default()
}

async fn heard(sim: &Sim, chat: &str, n: usize) -> Vec<String> {
    let heard = |p: &nanoclaw_testkit::platform::Platform| -> Vec<String> {
        p.texts(chat)
            .into_iter()
            .filter_map(|t| t.strip_prefix("heard: ").map(Into::into))
            .collect()
    };
    assert!(sim.rig.platform.until(EVER, |p| heard(p).len() >= n).await, "nothing was heard");
    heard(&sim.rig.platform)
}

async fn click(sim: &Sim, question: &str, value: &str, who: &str) -> String {
    sim.rig.platform.click(question, value, who).await.unwrap_or_default()
}

/// Answered by button, once; a second click is late and wakes nobody; two sessions may choose the same id.
#[tokio::test(start_paused = true)]
async fn a_question_is_answered_once_by_whom_it_was_asked() -> anyhow::Result<()> {
    let mut sim = Sim::new("ask")?;
    let agent = sim.rig.agent("andy", "demo")?;
    for chat in ["c1", "c2"] {
        sim.rig.chat(chat, &agent)?;
    }
    sim.start().await?;
    sim.rig.platform.dm("c1", &ask("q1"));
    sim.rig.platform.dm("c2", &ask("q1"));
    let (one, two) = (card(&sim, "c1", 1).await, card(&sim, "c2", 1).await);
    assert_ne!(one, two);
    assert!(one.starts_with("q-") && two.starts_with("q-"), "{one} {two}");
    assert_eq!(click(&sim, "q1", "red", "user-c1").await, "late", "the box's own id opens nothing");
    assert!(click(&sim, &one, "green", "user-c1").await.starts_with("refused"));
    assert_eq!(click(&sim, &one, "b", "user-c1").await, "taken: Blue");
    let told = heard(&sim, "c1", 1).await;
    for part in ["\"questionId\":\"q1\"", "\"selectedOption\":\"b\"", "\"userId\":\"fake:user-c1\""]
    {
        assert!(told[0].contains(part), "{told:?}");
    }
    assert_eq!(click(&sim, &one, "red", "user-c1").await, "late");
    sim.quiet().await;
    assert_eq!(heard(&sim, "c1", 1).await.len(), 1);
    assert_eq!(click(&sim, &two, "red", "user-c2").await, "taken: red");
    sim.stop().await;
    Ok(())
}

/// Who may not talk to the agent here may not answer it either.
#[tokio::test(start_paused = true)]
async fn a_stranger_who_answers_is_refused() -> anyhow::Result<()> {
    let mut sim = Sim::new("stranger")?;
    let agent = sim.rig.agent("andy", "demo")?;
    let room = group(&sim, "room")?;
    wire(&sim, &room, &agent, |w| {
        (w.engage_mode, w.engage_pattern) = (Some(EngageMode::Pattern), Some(".".into()));
        w.sender_scope = SenderScope::Known;
    })?;
    let (ann, now) = (UserId::parse("fake:ann")?, Timestamp::now());
    let central = sim.rig.central()?;
    central.upsert_user(&ann, "fake", Some("Ann"), now)?;
    central.add_member(&ann, &agent, None, now)?;
    sim.start().await?;
    sim.rig.platform.say(Said {
        id: "g1".into(),
        chat: "room".into(),
        sender: "ann".into(),
        text: ask("q1"),
        group: true,
        ..Said::default()
    });
    let id = card(&sim, "room", 1).await;
    let refused = click(&sim, &id, "red", "eve").await;
    assert!(refused.starts_with("refused: only people whom this agent knows"), "{refused}");
    assert_eq!(click(&sim, &id, "red", "ann").await, "taken: red");
    let told = heard(&sim, "room", 1).await;
    assert!(told[0].contains("\"userName\":\"Ann\""), "{told:?}");
    sim.stop().await;
    Ok(())
}

/// A wiring that cannot be read lets nobody answer whom it might have kept out.
#[tokio::test(start_paused = true)]
async fn an_unreadable_wiring_lets_no_stranger_answer() -> anyhow::Result<()> {
    let mut sim = Sim::new("unreadable")?;
    let agent = sim.rig.agent("andy", "demo")?;
    sim.rig.chat("c1", &agent)?;
    sim.start().await?;
    sim.rig.platform.dm("c1", &ask("q1"));
    let id = card(&sim, "c1", 1).await;
    let spoil = "UPDATE messaging_group_agents SET sender_scope = 'whoever'";
    rusqlite::Connection::open(sim.rig.data().join("v2.db"))?.execute(spoil, [])?;
    let refused = click(&sim, &id, "red", "user-c1").await;
    assert!(refused.starts_with("refused: only people whom this agent knows"), "{refused}");
    sim.stop().await;
    Ok(())
}

/// The agent stopped waiting: the card says so, a late answer is told once, and the session comes to rest.
#[tokio::test(start_paused = true)]
async fn a_late_answer_is_told_and_wakes_once() -> anyhow::Result<()> {
    let mut sim = Sim::new("late")?;
    sim.idle = Duration::from_secs(30);
    let agent = sim.rig.agent("andy", "demo")?;
    sim.rig.chat("c1", &agent)?;
    sim.start().await?;
    sim.rig.platform.dm("c1", &ask("q1"));
    let id = card(&sim, "c1", 1).await;
    sim.rig.platform.dm("c1", &expired("q1"));
    let said = |p: &nanoclaw_testkit::platform::Platform| {
        p.shown().iter().any(|s| s.kind == "edit" && s.text.contains("Nobody answered in time"))
    };
    assert!(sim.rig.platform.until(EVER, said).await, "{:?}", sim.rig.platform.shown());
    sim.quiet().await;
    assert_eq!(sim.rig.ncl("status").await?["boxes"], 0);
    sim.stop().await;
    sim.start().await?;
    assert_eq!(click(&sim, &id, "red", "user-c1").await, "taken: red");
    assert_eq!(heard(&sim, "c1", 1).await.len(), 1);
    sim.quiet().await;
    assert_eq!(sim.rig.ncl("status").await?["boxes"], 0, "it is awake for nothing");
    sim.stop().await;
    Ok(())
}

/// A runner that never takes the answer, as v2's after its timeout, is not woken for ever.
#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_takes_wakes_for_ten_minutes_at_most() -> anyhow::Result<()> {
    let mut sim = Sim::new("deaf")?;
    sim.idle = Duration::from_secs(30);
    let agent = sim.rig.agent("andy", "demo")?;
    sim.rig.chat("c1", &agent)?;
    sim.start().await?;
    sim.rig.platform.dm("c1", &ask("q1"));
    let id = card(&sim, "c1", 1).await;
    sim.quiet().await;
    *sim.driver.manner.lock().unwrap() = Manner::Deaf;
    assert_eq!(click(&sim, &id, "red", "user-c1").await, "taken: red");
    tokio::time::sleep(Duration::from_secs(1200)).await;
    assert_eq!(sim.rig.ncl("status").await?["boxes"], 0, "it is awake for nothing");
    let starts = sim.driver.counts().1;
    tokio::time::sleep(EVER).await;
    assert_eq!(sim.driver.counts().1, starts);
    sim.stop().await;
    Ok(())
}

/// A session of two chats types where it is answering, and nowhere else.
#[tokio::test(start_paused = true)]
async fn typing_goes_to_the_chat_that_is_being_answered() -> anyhow::Result<()> {
    let mut sim = Sim::new("typing")?;
    *sim.driver.manner.lock().unwrap() = Manner::Works(Duration::from_secs(60));
    let agent: AgentId = sim.rig.agent("andy", "demo")?;
    for chat in ["one", "two"] {
        let chat = group(&sim, chat)?;
        wire(&sim, &chat, &agent, |w| {
            (w.engage_mode, w.engage_pattern) = (Some(EngageMode::Pattern), Some(".".into()));
            w.session_mode = SessionMode::AgentShared;
        })?;
    }
    sim.start().await?;
    let say = |id: &str, chat: &str| Said {
        id: id.into(),
        chat: chat.into(),
        sender: "eve".into(),
        text: id.into(),
        group: true,
        ..Said::default()
    };
    sim.rig.platform.say(say("g1", "one"));
    tokio::time::sleep(Duration::from_secs(20)).await;
    let typing = |chat: &str| sim.rig.platform.is_typing(chat);
    assert_eq!((typing("one"), typing("two")), (true, false));
    sim.rig.platform.say(say("g2", "two"));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!((typing("one"), typing("two")), (true, true));
    sim.shows("one", &["echo: g1"]).await;
    sim.shows("two", &["echo: g2"]).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!((typing("one"), typing("two")), (false, false));
    assert_eq!(sim.rig.sessions(&agent)?.len(), 1);
    // Off for safety: nobody is kept waiting by a sign.
    let session = sim.rig.sessions(&agent)?.remove(0);
    sim.rig.central()?.quarantine(&session, "test", Timestamp::now())?;
    sim.rig.platform.say(say("g3", "one"));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(!sim.rig.platform.is_typing("one"));
    sim.stop().await;
    Ok(())
}
