//! The first conversation.

use super::SOON;
use nanoclaw_tests::rig::Rig;

#[tokio::test]
async fn a_message_is_answered_from_the_box() -> anyhow::Result<()> {
    let mut rig = Rig::new("first")?;
    let agent = rig.agent("andy", "demo")?;
    rig.chat("c1", &agent)?;
    rig.start().await?;
    rig.platform.dm("c1", "hello");
    let answered = rig.platform.until(SOON, |p| !p.texts("c1").is_empty()).await;
    assert!(answered, "no answer\n{}", rig.log());
    assert!(rig.platform.texts("c1")[0].contains("demo"), "{:?}", rig.platform.texts("c1"));
    rig.platform.dm("c1", "echo two");
    assert!(rig.platform.until(SOON, |p| p.texts("c1").len() == 2).await, "{}", rig.log());
    rig.stop().await
}

/// Turns that end are seen to end, one after the other, in one warm box: nobody types any more, nothing waits.
#[tokio::test]
async fn every_turn_is_seen_to_end() -> anyhow::Result<()> {
    let mut rig = Rig::new("turns")?;
    let agent = rig.agent("andy", "demo")?;
    rig.chat("c1", &agent)?;
    rig.start().await?;
    for n in 1..=5 {
        rig.platform.dm("c1", &format!("echo {n}"));
        let over =
            rig.platform.until(SOON, |p| p.texts("c1").len() == n && !p.is_typing("c1")).await;
        assert!(over, "turn {n} does not end\n{}", rig.log());
    }
    let session = rig.sessions(&agent)?.remove(0);
    let waiting = rig.ncl(&format!("sessions get {session}")).await?["waiting"].clone();
    assert_eq!(waiting, 0);
    rig.stop().await
}
