//! Work that repeats, asked for in plain words.

use nanoclaw_central::TaskFilter;
use nanoclaw_tests::rig::Rig;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);
const A_MINUTE: Duration = Duration::from_secs(80);

/// Says something and waits for an answer that contains `wanted`.
async fn asks(rig: &Rig, text: &str, wanted: &str) {
    let seen = rig.platform.texts("c1").len();
    rig.platform.dm("c1", text);
    let there = rig
        .platform
        .until(SOON, |p| p.texts("c1").iter().skip(seen).any(|t| t.contains(wanted)))
        .await;
    assert!(there, "{text}: {:?}\n{}", rig.platform.texts("c1"), rig.log());
}

/// Two tasks, one in the chat's session and one in its own: both run, are listed together, held and ended.
#[tokio::test]
async fn tasks_repeat_in_the_chat_and_beside_it() -> anyhow::Result<()> {
    let mut rig = Rig::new("repeat")?;
    let agent = rig.agent("andy", "demo")?;
    rig.chat("c1", &agent)?;
    rig.start().await?;
    asks(&rig, "every minute say tick", "I will say it").await;
    asks(&rig, "every minute in its own session say tock", "I will say it").await;
    for word in ["tick", "tock"] {
        let ran = rig
            .platform
            .until(A_MINUTE, |p| p.texts("c1").iter().any(|t| t.starts_with(word)))
            .await;
        assert!(ran, "{word}: {:?}\n{}", rig.platform.texts("c1"), rig.log());
    }
    assert_eq!(rig.sessions(&agent)?.len(), 2);
    asks(&rig, "pause task 1", "Done with task 1").await;
    let both = rig.platform.until(SOON, |_| {
        let tasks = rig.central().and_then(|c| Ok(c.tasks(&TaskFilter::default(), 10, 0)?));
        tasks.is_ok_and(|t| t.iter().filter(|t| t.status.as_str() == "paused").count() == 1)
    });
    assert!(both.await, "{}", rig.log());
    asks(&rig, "list tasks", "[paused]").await;
    for left in [1, 0] {
        asks(&rig, "cancel task 1", "Done with task 1").await;
        let fewer = rig.platform.until(SOON, |_| {
            let tasks = rig.central().and_then(|c| Ok(c.tasks(&TaskFilter::default(), 10, 0)?));
            tasks.is_ok_and(|t| t.len() == left)
        });
        assert!(fewer.await, "{}", rig.log());
    }
    asks(&rig, "list tasks", "No tasks found").await;
    rig.stop().await
}
