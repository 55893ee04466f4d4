//! Boxes: how many, how long, what when they do not start.

use super::{EVER, Sim};
use nanoclaw_testkit::driver::Manner;
use std::time::Duration;

/// Two places, five chats: nobody waits for ever, never more than two boxes.
#[tokio::test(start_paused = true)]
async fn places_are_limited_and_fair() -> anyhow::Result<()> {
    let mut sim = Sim::new("places")?;
    sim.boxes_max = 2;
    let agent = sim.rig.agent("andy", "demo")?;
    let chats: Vec<_> = (0..5).map(|n| format!("c{n}")).collect();
    for chat in &chats {
        sim.rig.chat(chat, &agent)?;
    }
    sim.start().await?;
    for round in 0..3 {
        for chat in &chats {
            sim.rig.platform.dm(chat, &format!("round {round}"));
        }
        for chat in &chats {
            let all = sim.rig.platform.until(EVER, |p| p.texts(chat).len() == round + 1).await;
            assert!(all, "{chat} waits in round {round}");
        }
    }
    assert_eq!(sim.driver.counts().0, 2, "boxes at once");
    sim.stop().await;
    Ok(())
}

/// An idle box is stopped after the idle timeout, and work starts it again.
#[tokio::test(start_paused = true)]
async fn an_idle_box_is_stopped_and_wakes_again() -> anyhow::Result<()> {
    let mut sim = Sim::new("idle")?;
    sim.idle = Duration::from_secs(300);
    let agent = sim.rig.agent("andy", "demo")?;
    sim.rig.chat("c1", &agent)?;
    sim.start().await?;
    sim.rig.platform.dm("c1", "one");
    sim.shows("c1", &["echo: one"]).await;
    assert_eq!(sim.rig.ncl("status").await?["boxes"], 1);
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(sim.rig.ncl("status").await?["boxes"], 1, "stopped too early");
    tokio::time::sleep(Duration::from_secs(150)).await;
    assert_eq!(sim.rig.ncl("status").await?["boxes"], 0, "never stopped");
    sim.rig.platform.dm("c1", "two");
    sim.shows("c1", &["echo: one", "echo: two"]).await;
    assert_eq!(sim.driver.counts().1, 2);
    sim.stop().await;
    Ok(())
}

/// A box that does not start is reported once, tried again with backoff, and answers in the end.
#[tokio::test(start_paused = true)]
async fn a_failing_start_is_told_and_tried_again() -> anyhow::Result<()> {
    let mut sim = Sim::new("failing")?;
    *sim.driver.failing.lock().unwrap() = 3;
    let agent = sim.rig.agent("andy", "demo")?;
    sim.rig.chat("c1", &agent)?;
    sim.start().await?;
    sim.rig.platform.dm("c1", "hello");
    let answered =
        sim.rig.platform.until(EVER, |p| p.texts("c1").iter().any(|t| t == "echo: hello")).await;
    assert!(answered);
    let texts = sim.rig.platform.texts("c1");
    assert_eq!(
        texts.iter().filter(|t| t.contains("cannot start right now")).count(),
        1,
        "{texts:?}"
    );
    assert_eq!(sim.driver.counts().1, 1);
    sim.stop().await;
    Ok(())
}

/// Work that shows a pulse may take as long as it likes.
#[tokio::test(start_paused = true)]
async fn healthy_work_has_no_ceiling() -> anyhow::Result<()> {
    let mut sim = Sim::new("long")?;
    *sim.driver.manner.lock().unwrap() = Manner::Works(Duration::from_secs(40 * 60));
    let agent = sim.rig.agent("andy", "demo")?;
    sim.rig.chat("c1", &agent)?;
    sim.start().await?;
    sim.rig.platform.dm("c1", "take your time");
    tokio::time::sleep(Duration::from_secs(35 * 60)).await;
    assert!(sim.rig.platform.texts("c1").is_empty());
    assert!(sim.rig.platform.is_typing("c1"), "nobody sees that it works");
    sim.rig.platform.until(2 * EVER, |p| !p.texts("c1").is_empty()).await;
    assert_eq!(sim.rig.platform.texts("c1"), ["echo: take your time"]);
    assert_eq!(sim.driver.counts().1, 1, "its box was ended in between");
    sim.stop().await;
    Ok(())
}

/// A box that takes a message on and goes silent is ended; the message is tried again, and in the end people
/// are told.
#[tokio::test(start_paused = true)]
async fn a_silent_box_is_ended_and_its_message_told() -> anyhow::Result<()> {
    let mut sim = Sim::new("silent")?;
    *sim.driver.manner.lock().unwrap() = Manner::Hangs;
    let agent = sim.rig.agent("andy", "demo")?;
    sim.rig.chat("c1", &agent)?;
    sim.start().await?;
    sim.rig.platform.dm("c1", "hello?");
    let told = sim
        .rig
        .platform
        .until(2 * EVER, |p| p.texts("c1").iter().any(|t| t.contains("had to give up")))
        .await;
    assert!(told, "{:?}", sim.rig.platform.texts("c1"));
    assert!(sim.driver.counts().1 >= 3, "it was not tried again");
    *sim.driver.manner.lock().unwrap() = Manner::Echoes;
    sim.rig.platform.dm("c1", "better?");
    let better =
        sim.rig.platform.until(EVER, |p| p.texts("c1").iter().any(|t| t == "echo: better?")).await;
    assert!(better, "{:?}", sim.rig.platform.texts("c1"));
    sim.stop().await;
    Ok(())
}
