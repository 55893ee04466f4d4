//! How much time NanoClaw adds to an answer when the box runs: from the platform's "somebody said" to its
//! "show this", with a harness that answers at once.

use crate::report::{Report, Target, percentile};
use crate::world::{ECHO, World};
use std::time::Duration;

/// A person's pause between two messages, much shortened.
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) async fn run(report: &mut Report, driver: &str) -> anyhow::Result<()> {
    let mut world = World::new("warm", driver, "demo")?;
    let done = measure(report, &mut world, driver).await;
    world.end().await?;
    done
}

async fn measure(report: &mut Report, world: &mut World, driver: &str) -> anyhow::Result<()> {
    world.chats(1)?;
    world.rig.start().await?;
    for _ in 0..5 {
        world.ask("c0", ECHO).await?;
    }
    let mut took = Vec::new();
    for _ in 0..report.samples(500) {
        tokio::time::sleep(PAUSE).await;
        took.push(world.ask("c0", ECHO).await?);
    }
    report.time(
        &format!("demo warm p50, {driver}"),
        percentile(&mut took, 50),
        Target::AtMost(10.0),
    );
    report.time(
        &format!("demo warm p99, {driver}"),
        percentile(&mut took, 99),
        Target::AtMost(50.0),
    );
    Ok(())
}
