//! Many sessions: ten that wake in the same moment, fifty that stay awake.

use crate::report::{Report, Target, percentile};
use crate::{engine, world::World};
use anyhow::ensure;

const AT_ONCE: usize = 10;
const AWAKE: usize = 50;

/// How long it takes until ten sleeping sessions have all answered.
pub(crate) async fn at_once(report: &mut Report, driver: &str) -> anyhow::Result<()> {
    let mut world = World::new("crowd", driver, "demo")?;
    let done = wake_all(report, &mut world, driver).await;
    world.end().await?;
    done
}

async fn wake_all(report: &mut Report, world: &mut World, driver: &str) -> anyhow::Result<()> {
    let chats = world.chats(AT_ONCE)?;
    world.rig.start().await?;
    world.ask_all(&chats).await?;
    let (mut took, mut engine_alone) = (Vec::new(), Vec::new());
    for _ in 0..report.samples(10) {
        world.all_asleep().await?;
        if driver == "docker" {
            engine_alone.push(engine::create_and_start_all(AT_ONCE).await?);
        }
        took.push(world.ask_all(&chats).await?);
    }
    if driver == "docker" {
        let engine = percentile(&mut engine_alone, 50);
        report.time(&format!("engine's own, {AT_ONCE} containers at once"), engine, Target::None);
    }
    report.time(
        &format!("{AT_ONCE} sessions cold at once, {driver}"),
        percentile(&mut took, 50),
        Target::AtMost(1000.0),
    );
    Ok(())
}

/// What fifty sessions take that are awake: host, vault, boxes and what keeps them.
pub(crate) async fn memory(report: &mut Report, driver: &str) -> anyhow::Result<()> {
    let mut world = World::new("memory", driver, "demo")?;
    let done = weigh(report, &mut world, driver).await;
    world.end().await?;
    done
}

async fn weigh(report: &mut Report, world: &mut World, driver: &str) -> anyhow::Result<()> {
    let chats = world.chats(AWAKE)?;
    world.rig.start().await?;
    // Ten at a time: the engine is not what is measured.
    for some in chats.chunks(AT_ONCE) {
        world.ask_all(some).await?;
    }
    let awake = world.awake()?.len();
    ensure!(awake == AWAKE, "{awake} of {AWAKE} sessions are awake\n{}", world.rig.log());
    let all = world.processes().await?;
    let runners: Vec<_> = all.iter().filter(|p| p.name == "nanoclaw-runner").collect();
    ensure!(runners.len() >= AWAKE, "{} runners were found for {AWAKE} sessions", runners.len());
    let pss: f64 = all.iter().map(|p| p.pss_mb).sum();
    report.value(
        &format!("{AWAKE} warm sessions, all memory, {driver}"),
        pss,
        "MB",
        Target::AtMost(600.0),
    );
    let rss = runners.iter().map(|p| p.rss_mb).fold(0.0, f64::max);
    report.value(
        &format!("runner RSS without its harness, {driver}"),
        rss,
        "MB",
        Target::AtMost(6.0),
    );
    Ok(())
}
