//! Who answers, in which session.

use super::{EVER, Sim};
use nanoclaw_central::{EngageMode, IgnoredPolicy, SessionMode, UnknownSenderPolicy, Wiring};
use nanoclaw_contract::ids::{AgentId, ChatId};
use nanoclaw_testkit::platform::Said;
use std::time::Duration;

pub(super) fn group(sim: &Sim, id: &str) -> anyhow::Result<ChatId> {
    sim.rig.group("fake", id)
}

pub(super) fn wire(
    sim: &Sim,
    chat: &ChatId,
    agent: &AgentId,
    change: impl FnOnce(&mut Wiring),
) -> anyhow::Result<()> {
    sim.rig.wire(chat, agent, change)
}

pub(super) fn said(n: u32, chat: &str, thread: Option<&str>, text: &str, mention: bool) -> Said {
    Said {
        id: format!("g{n}"),
        chat: chat.into(),
        thread: thread.map(Into::into),
        sender: "eve".into(),
        text: text.into(),
        mention,
        group: true,
        ..Said::default()
    }
}

/// Three agents in one chat, each by its own rule; each answers in sessions of its own.
#[tokio::test(start_paused = true)]
async fn every_wired_agent_decides_for_itself() -> anyhow::Result<()> {
    let mut sim = Sim::new("fanout")?;
    let chat = group(&sim, "room")?;
    let (all, hey, pattern) = (
        sim.rig.agent("all", "demo")?,
        sim.rig.agent("hey", "demo")?,
        sim.rig.agent("pattern", "demo")?,
    );
    wire(&sim, &chat, &all, |w| {
        (w.engage_mode, w.engage_pattern) = (Some(EngageMode::Pattern), Some(".".into()));
    })?;
    wire(&sim, &chat, &hey, |_| {})?;
    wire(&sim, &chat, &pattern, |w| {
        (w.engage_mode, w.engage_pattern) = (Some(EngageMode::Pattern), Some("(?i)build".into()));
    })?;
    sim.start().await?;
    let counted =
        |n: usize| move |p: &nanoclaw_testkit::platform::Platform| p.texts("room").len() >= n;
    sim.rig.platform.say(said(1, "room", Some("t1"), "hello", false));
    assert!(sim.rig.platform.until(EVER, counted(1)).await);
    sim.rig.platform.say(said(2, "room", Some("t1"), "hello you", true));
    assert!(sim.rig.platform.until(EVER, counted(3)).await);
    sim.rig.platform.say(said(3, "room", Some("t2"), "the Build is red", false));
    assert!(sim.rig.platform.until(EVER, counted(5)).await);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(sim.rig.platform.texts("room").len(), 5, "{:?}", sim.rig.platform.texts("room"));
    assert_eq!(
        (
            sim.rig.sessions(&all)?.len(),
            sim.rig.sessions(&hey)?.len(),
            sim.rig.sessions(&pattern)?.len()
        ),
        (2, 1, 1)
    );
    let threads: Vec<_> = sim.rig.platform.shown().iter().map(|s| s.thread.clone()).collect();
    assert_eq!(threads.iter().filter(|t| t.as_deref() == Some("t2")).count(), 2, "{threads:?}");
    sim.stop().await;
    Ok(())
}

/// What was not for the agent is context for later, and never makes it speak.
#[tokio::test(start_paused = true)]
async fn accumulated_messages_wait_for_a_mention() -> anyhow::Result<()> {
    let mut sim = Sim::new("accumulate")?;
    let chat = group(&sim, "room")?;
    let agent = sim.rig.agent("andy", "demo")?;
    wire(&sim, &chat, &agent, |w| {
        (w.ignored, w.session_mode) = (IgnoredPolicy::Accumulate, SessionMode::AgentShared);
    })?;
    sim.start().await?;
    for n in 0..3 {
        sim.rig.platform.say(said(n, "room", None, &format!("chatter {n}"), false));
    }
    assert!(sim.rig.platform.until(EVER, |p| p.unreceived() == 0).await);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(sim.rig.platform.texts("room").is_empty());
    assert_eq!(sim.driver.counts().1, 0, "a box was started for context");
    sim.rig.platform.say(said(9, "room", None, "what was that?", true));
    sim.shows("room", &["echo: what was that?"]).await;
    let session = sim.rig.sessions(&agent)?.remove(0);
    let inbound = rusqlite::Connection::open(sim.rig.dir(&agent, &session)?.inbound())?;
    let rows: i64 = inbound.query_row("SELECT COUNT(*) FROM messages_in", [], |r| r.get(0))?;
    assert_eq!(rows, 4);
    sim.stop().await;
    Ok(())
}

/// A thread in which the agent was addressed keeps it; another one does not.
#[tokio::test(start_paused = true)]
async fn a_sticky_mention_holds_for_its_thread_only() -> anyhow::Result<()> {
    let mut sim = Sim::new("sticky")?;
    let chat = group(&sim, "room")?;
    let agent = sim.rig.agent("andy", "demo")?;
    wire(&sim, &chat, &agent, |w| {
        (w.engage_mode, w.session_mode, w.ignored) =
            (Some(EngageMode::MentionSticky), SessionMode::PerThread, IgnoredPolicy::Accumulate);
    })?;
    sim.start().await?;
    sim.rig.platform.say(said(1, "room", Some("t2"), "nobody asked", false));
    sim.rig.platform.say(said(2, "room", Some("t1"), "you there?", true));
    sim.shows("room", &["echo: you there?"]).await;
    sim.rig.platform.say(said(3, "room", Some("t1"), "go on", false));
    sim.shows("room", &["echo: you there?", "echo: go on"]).await;
    sim.rig.platform.say(said(4, "room", Some("t2"), "still nobody asked", false));
    assert!(sim.rig.platform.until(EVER, |p| p.unreceived() == 0).await);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(sim.rig.platform.texts("room").len(), 2);
    sim.stop().await;
    Ok(())
}

/// A pattern that does not compile never engages, and the owner is told.
#[tokio::test(start_paused = true)]
async fn a_broken_pattern_refuses_and_complains() -> anyhow::Result<()> {
    let mut sim = Sim::new("pattern")?;
    let chat = group(&sim, "room")?;
    let agent = sim.rig.agent("andy", "demo")?;
    wire(&sim, &chat, &agent, |w| {
        (w.engage_mode, w.engage_pattern) = (Some(EngageMode::Pattern), Some("(".into()));
    })?;
    sim.rig.owner("boss")?;
    sim.rig.chat("boss", &agent)?;
    sim.start().await?;
    sim.rig.platform.say(said(1, "room", None, "((((", true));
    assert!(sim.rig.platform.until(EVER, |p| !p.texts("boss").is_empty()).await);
    assert!(
        sim.rig.platform.texts("boss")[0].contains("andy cannot answer"),
        "{:?}",
        sim.rig.platform.texts("boss")
    );
    assert!(sim.rig.platform.texts("room").is_empty());
    sim.stop().await;
    Ok(())
}

/// The same message delivered again is one message; a stranger in a closed chat is none.
#[tokio::test(start_paused = true)]
async fn redelivery_is_a_no_op_and_strangers_are_refused() -> anyhow::Result<()> {
    let mut sim = Sim::new("again")?;
    let agent = sim.rig.agent("andy", "demo")?;
    let chat = group(&sim, "room")?;
    wire(&sim, &chat, &agent, |w| {
        (w.engage_mode, w.engage_pattern) = (Some(EngageMode::Pattern), None);
    })?;
    let closed = group(&sim, "closed")?;
    sim.rig.policy(&closed, UnknownSenderPolicy::Strict)?;
    wire(&sim, &closed, &agent, |w| {
        (w.engage_mode, w.engage_pattern) = (Some(EngageMode::Pattern), None);
    })?;
    sim.start().await?;
    for _ in 0..3 {
        sim.rig.platform.say(said(1, "room", None, "once", true));
    }
    sim.rig.platform.say(said(2, "closed", None, "let me in", true));
    assert!(sim.rig.platform.until(EVER, |p| p.unreceived() == 0).await);
    sim.shows("room", &["echo: once"]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(sim.rig.platform.texts("room").len(), 1);
    assert!(sim.rig.platform.texts("closed").is_empty());
    let dropped = sim.rig.ncl("dropped-messages list").await?.to_string();
    assert!(dropped.contains("unknown_sender_strict"), "{dropped}");
    sim.stop().await;
    Ok(())
}
