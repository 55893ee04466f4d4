//! A platform that is down, refuses or lies.

use super::{EVER, Sim};
use nanoclaw_testkit::platform::Mood;
use std::time::Duration;
use tokio::time::Instant;

/// Down for ten minutes: nothing is lost, everything arrives in order, and `why` tells it.
#[tokio::test(start_paused = true)]
async fn ten_minutes_down_lose_nothing() -> anyhow::Result<()> {
    let mut sim = Sim::new("outage")?;
    let agent = sim.rig.agent("andy", "demo")?;
    sim.rig.chat("c1", &agent)?;
    sim.start().await?;
    sim.rig.platform.mood(Mood::Down);
    let went_down = Instant::now();
    for n in 0..20 {
        sim.rig.platform.dm("c1", &format!("message {n}"));
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    assert!(went_down.elapsed() >= Duration::from_secs(600));
    assert!(sim.rig.platform.texts("c1").is_empty());
    let (tries, _) = sim.rig.platform.attempts();
    assert!(tries > 1, "it was never tried");
    assert!(tries < 60, "{tries} tries in ten minutes are no backoff");
    sim.rig.platform.mood(Mood::Up);
    let texts: Vec<_> = (0..20).map(|n| format!("echo: message {n}")).collect();
    sim.shows("c1", &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let story = sim.rig.ncl("why m1").await?.to_string();
    assert!(story.contains("the platform is down") && story.contains("\"delivered\""), "{story}");
    sim.stop().await;
    Ok(())
}

/// Refused for good: one note to the agent, one line in the chat, once each, whatever happens later.
#[tokio::test(start_paused = true)]
async fn a_rejected_message_is_told_once_to_agent_and_chat() -> anyhow::Result<()> {
    let mut sim = Sim::new("reject")?;
    let agent = sim.rig.agent("andy", "demo")?;
    sim.rig.chat("c1", &agent)?;
    sim.start().await?;
    sim.rig.platform.reject_containing("unwanted");
    sim.rig.platform.dm("c1", "unwanted words");
    sim.rig
        .platform
        .until(EVER, |p| p.texts("c1").iter().any(|t| t.contains("could not be delivered")))
        .await;
    sim.rig.platform.dm("c1", "fine words");
    sim.rig.platform.until(EVER, |p| p.texts("c1").iter().any(|t| t == "echo: fine words")).await;
    sim.stop().await;
    sim.start().await?;
    sim.rig.platform.dm("c1", "more");
    sim.rig.platform.until(EVER, |p| p.texts("c1").iter().any(|t| t == "echo: more")).await;
    let texts = sim.rig.platform.texts("c1");
    assert_eq!(
        texts.iter().filter(|t| t.contains("could not be delivered")).count(),
        1,
        "{texts:?}"
    );
    let session = sim.rig.sessions(&agent)?.remove(0);
    let inbound = rusqlite::Connection::open(sim.rig.dir(&agent, &session)?.inbound())?;
    let notes: i64 = inbound.query_row(
        "SELECT COUNT(*) FROM messages_in WHERE content LIKE '%was not delivered%'",
        [],
        |r| r.get(0),
    )?;
    assert_eq!(notes, 1);
    let story = sim.rig.ncl("why m1").await?.to_string();
    assert!(
        story.contains("\"rejected\"") && story.contains("the platform refuses this"),
        "{story}"
    );
    sim.stop().await;
    Ok(())
}

/// The platform shows the message but its answer gets lost: sent again under the same key, shown once.
#[tokio::test(start_paused = true)]
async fn a_lost_answer_doubles_nothing() -> anyhow::Result<()> {
    let mut sim = Sim::new("lie")?;
    let agent = sim.rig.agent("andy", "demo")?;
    sim.rig.chat("c1", &agent)?;
    sim.start().await?;
    sim.rig.platform.mood(Mood::Lie);
    sim.rig.platform.dm("c1", "once");
    sim.rig.platform.until(EVER, |p| p.attempts().0 >= 2).await;
    sim.rig.platform.mood(Mood::Up);
    sim.rig.platform.dm("c1", "twice");
    sim.shows("c1", &["echo: once", "echo: twice"]).await;
    assert!(sim.rig.platform.attempts().1 >= 1, "the key was never repeated");
    sim.stop().await;
    Ok(())
}

/// A day of failures ends in a dead letter that can be listed and replayed.
#[tokio::test(start_paused = true)]
async fn a_dead_letter_can_be_replayed() -> anyhow::Result<()> {
    let mut sim = Sim::new("dead")?;
    sim.idle = Duration::from_secs(5);
    let agent = sim.rig.agent("andy", "demo")?;
    sim.rig.chat("c1", &agent)?;
    sim.start().await?;
    sim.rig.platform.mood(Mood::Down);
    sim.rig.platform.dm("c1", "late");
    loop {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let dead = sim.rig.ncl("dead-letters list").await?;
        if dead.as_array().is_some_and(|d| d.len() == 1) {
            break;
        }
    }
    sim.rig.platform.mood(Mood::Up);
    let replayed = sim.rig.ncl("dead-letters replay all").await?;
    assert_eq!(replayed["replayed"], 1);
    sim.rig.platform.until(EVER, |p| p.texts("c1").iter().any(|t| t == "echo: late")).await;
    assert_eq!(sim.rig.ncl("dead-letters list").await?, serde_json::json!([]));
    sim.stop().await;
    Ok(())
}
