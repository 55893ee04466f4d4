//! A kill in the middle of a change of an agent's box: it is finished by the next host, once.

use super::oracle::{PATIENCE, answered, say};
use nanoclaw_contract::time::Timestamp;
use nanoclaw_tests::rig::Rig;
use serde_json::json;
use std::time::Duration;

async fn dies_at(point: &str) -> anyhow::Result<()> {
    let mut rig = Rig::new(&point.replace('.', ""))?;
    let agent = rig.agent("andy", "demo")?;
    rig.chat("c1", &agent)?;
    let central = rig.central()?;
    let mut config = central.config(&agent)?.unwrap_or_default();
    config.packages_apt = json!(["hello"]);
    central.put_config(&agent, &config, Timestamp::now())?;
    rig.host_env = vec![("NANOCLAW_FAULT".into(), format!("{point}:1"))];
    rig.start().await?;
    // Its box starts without them, and that they are missing is noticed.
    say(&rig.platform, "c1", 1);
    anyhow::ensure!(rig.ended(PATIENCE).await, "{point} was never passed\n{}", rig.log());
    rig.host_env.clear();
    rig.start().await?;
    say(&rig.platform, "c1", 2);
    answered(&rig, "c1", 2).await?;
    let done = || {
        let parts = central.box_parts(&agent).ok().and_then(|p| p.tools);
        central.builds().is_ok_and(|b| b.is_empty()) && parts.is_some()
    };
    let until = tokio::time::Instant::now() + PATIENCE;
    while !done() {
        anyhow::ensure!(tokio::time::Instant::now() < until, "never done\n{}", rig.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    say(&rig.platform, "c1", 3);
    answered(&rig, "c1", 3).await?;
    let made: Vec<_> = std::fs::read_dir(rig.data().join("agents").join(agent.as_str()))?
        .map(|entry| entry.map(|e| e.file_name()))
        .collect::<Result<_, _>>()?;
    anyhow::ensure!(made.len() == 1, "something was left half made: {made:?}");
    rig.stop().await
}

macro_rules! dies {
    ($($name:ident: $point:literal,)*) => {$(
        #[tokio::test]
        async fn $name() -> anyhow::Result<()> {
            dies_at($point).await
        }
    )*};
}

dies! {
    host_with_a_change_written_down: "host.build.begun",
    host_with_packages_nobody_uses: "host.build.ready",
    host_with_a_change_in_effect: "host.build.applied",
    host_with_a_change_that_is_over: "host.build.ended",
}
