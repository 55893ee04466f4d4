//! How long the first answer takes when the session sleeps: its box has to start first. For Docker next to
//! what the engine's own API takes to create and start a container without network, in the same run.

use crate::engine;
use crate::report::{Report, Target, percentile};
use crate::world::{ECHO, World};
use anyhow::Context as _;

/// What NanoClaw may add to the engine's own time, or take where there is none.
const OWN_MS: f64 = 60.0;
/// The line of the engine's own time.
pub(crate) const ENGINE: &str = "engine's own create and start p50, no network";

pub(crate) async fn run(report: &mut Report, driver: &str) -> anyhow::Result<()> {
    let mut world = World::new("cold", driver, "demo")?;
    let done = measure(report, &mut world, driver).await;
    world.end().await?;
    done
}

async fn measure(report: &mut Report, world: &mut World, driver: &str) -> anyhow::Result<()> {
    world.chats(1)?;
    world.rig.start().await?;
    world.ask("c0", ECHO).await?;
    let (mut took, mut engine_alone) = (Vec::new(), Vec::new());
    for _ in 0..report.samples(if driver == "docker" { 20 } else { 40 }) {
        world.all_asleep().await?;
        // One of each in turn, so that both see the same machine.
        if driver == "docker" {
            engine_alone.push(engine::create_and_start().await.context("the engine's own start")?);
        }
        took.push(world.ask("c0", ECHO).await?);
    }
    let mut target = OWN_MS;
    if driver == "docker" {
        let engine = percentile(&mut engine_alone, 50);
        report.time(ENGINE, engine, Target::None);
        target += engine.as_secs_f64() * 1e3;
    }
    report.time(
        &format!("demo cold p50, {driver}"),
        percentile(&mut took, 50),
        Target::AtMost(target),
    );
    Ok(())
}
