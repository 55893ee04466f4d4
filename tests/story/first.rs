//! The first conversation.

use nanoclaw_tests::rig::Rig;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

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
