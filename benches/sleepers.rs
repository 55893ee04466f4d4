//! What ten thousand sessions cost that sleep: a start, a start after a kill, and a minute of nothing.

use crate::report::{Report, Target};
use crate::start::{first_message, memory, starts};
use crate::world::{Wired, World, cpu, vault_of};
use anyhow::Context as _;
use nanoclaw_central::{ContainerStatus, Session};
use nanoclaw_contract::dir::SessionDir;
use nanoclaw_contract::ids::SessionId;
use nanoclaw_contract::time::Timestamp;
use std::time::Duration;

const SESSIONS: usize = 10_000;

pub(crate) async fn run(report: &mut Report) -> anyhow::Result<()> {
    let mut world = World::new("sleepers", "bubblewrap", "demo")?;
    let done = measure(report, &mut world).await;
    world.end().await?;
    done
}

async fn measure(report: &mut Report, world: &mut World) -> anyhow::Result<()> {
    world.chat("g0", Wired::Listening)?;
    seed(world)?;
    let took = starts(world, report.samples(15)).await?;
    report.time("host start, 10,000 sessions", took, Target::AtMost(300.0));
    world.rig.kill().await?;
    let took = first_message(world, 1_000_000).await?;
    report.time("host start after a kill, 10,000 sessions", took, Target::None);
    // It looks through every inbox after a kill; a clean start is what idles.
    world.rig.stop().await?;
    first_message(world, 1_000_001).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (host, _) = memory(world)?;
    report.value("host RSS idle, 10,000 sessions", host, "MB", Target::AtMost(20.0));
    let watched = Duration::from_secs(if report.quick { 10 } else { 60 });
    let pids = [world.host()?, vault_of(world.host()?).context("the vault does not run")?];
    let before = [cpu(pids[0])?, cpu(pids[1])?];
    tokio::time::sleep(watched).await;
    let share = |n: usize| -> anyhow::Result<f64> {
        let used = cpu(pids[n])?.saturating_sub(before[n]);
        Ok(100.0 * used.as_secs_f64() / watched.as_secs_f64())
    };
    report.value("host CPU, 10,000 sleeping sessions", share(0)?, "%", Target::AtMost(0.1));
    report.value("vault CPU, 10,000 sleeping sessions", share(1)?, "%", Target::None);
    Ok(())
}

/// Sessions that were used and sleep; each has a task for tomorrow.
fn seed(world: &World) -> anyhow::Result<()> {
    let tomorrow = Timestamp::now() + Duration::from_secs(86_400);
    for n in 1..=SESSIONS {
        let chat = world.chat(&format!("s{n}"), Wired::Answering)?;
        let id = SessionId::parse(format!("sess-s{n}"))?;
        world.central.create_session(&Session {
            id: id.clone(),
            agent: world.agent.clone(),
            chat: Some(chat),
            thread: None,
            provider: None,
            active: true,
            container: ContainerStatus::Stopped,
            last_active: None,
            created_at: nanoclaw_contract::time::iso(Timestamp::now()),
        })?;
        world.central.set_due(&id, Some(tomorrow))?;
    }
    let dir = |n: usize| -> anyhow::Result<SessionDir> {
        let id = SessionId::parse(format!("sess-s{n}"))?;
        Ok(SessionDir::new(&world.rig.data(), &world.agent, &id)?)
    };
    let first = dir(1)?;
    first.create()?;
    drop(nanoclaw_contract::inbox::Inbox::open(&first.inbound())?);
    for n in 2..=SESSIONS {
        let next = dir(n)?;
        std::fs::create_dir_all(next.writable())?;
        // One file under many names: a session that sleeps is not written to.
        std::fs::hard_link(first.inbound(), next.inbound())?;
        std::fs::hard_link(first.outbound(), next.outbound())?;
    }
    Ok(())
}
