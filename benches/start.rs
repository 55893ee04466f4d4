//! How long a host takes to start: from its exec until the first message, which already waits at the
//! platform, is durable and confirmed. And what it weighs when it has nothing to do.

use crate::report::{Report, Target, percentile};
use crate::world::{PATIENCE, Wired, World, chatter, vault_of};
use anyhow::{Context as _, ensure};
use std::time::{Duration, Instant};

pub(crate) async fn run(report: &mut Report) -> anyhow::Result<()> {
    let mut world = World::new("start", "bubblewrap", "demo")?;
    let done = measure(report, &mut world).await;
    world.end().await?;
    done
}

async fn measure(report: &mut Report, world: &mut World) -> anyhow::Result<()> {
    world.chat("g0", Wired::Listening)?;
    let took = starts(world, report.samples(20)).await?;
    report.time("host start, empty", took, Target::AtMost(100.0));
    // Whatever a start leaves behind for later has happened by then.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (host, vault) = memory(world)?;
    report.value("host RSS idle", host, "MB", Target::AtMost(20.0));
    report.value("vault RSS idle", vault, "MB", Target::None);
    Ok(())
}

/// Starts the host anew so many times; it runs in the end. The median.
pub(crate) async fn starts(world: &mut World, times: usize) -> anyhow::Result<Duration> {
    // The first makes the session that later ones write to.
    first_message(world, 0).await?;
    let mut took = Vec::new();
    for n in 1..=times {
        world.rig.stop().await?;
        took.push(first_message(world, n).await?);
    }
    Ok(percentile(&mut took, 50))
}

/// Starts the host; how long until it has taken a message.
pub(crate) async fn first_message(world: &mut World, n: usize) -> anyhow::Result<Duration> {
    let platform = world.rig.platform.clone();
    platform.say(chatter("g0", format!("start-{n}")));
    let begun = Instant::now();
    world.rig.start().await?;
    let taken = platform.until(PATIENCE, |p| p.unreceived() == 0).await;
    ensure!(taken, "the first message is not taken\n{}", world.rig.log());
    Ok(begun.elapsed())
}

/// Resident memory of the host and of its vault.
pub(crate) fn memory(world: &World) -> anyhow::Result<(f64, f64)> {
    let host = world.host()?;
    let vault = vault_of(host).context("the vault does not run")?;
    Ok((rss_mb(host)?, rss_mb(vault)?))
}

fn rss_mb(pid: i32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.split_whitespace().next().context("no number")?.parse::<f64>()? / 1e3)
}
