//! What ten thousand sessions cost that sleep: a start, a start after a kill, and a minute of nothing.

use crate::report::{Report, Target};
use crate::start::{first_message, memory, starts};
use crate::world::{World, cpu, vault_of};
use anyhow::Context as _;
use nanoclaw_contract::dir::SessionDir;
use nanoclaw_contract::ids::SessionId;
use std::time::Duration;

const SESSIONS: usize = 10_000;

pub(crate) async fn run(report: &mut Report) -> anyhow::Result<()> {
    let mut world = World::new("sleepers", "bubblewrap", "demo")?;
    let done = measure(report, &mut world).await;
    world.end().await?;
    done
}

async fn measure(report: &mut Report, world: &mut World) -> anyhow::Result<()> {
    world.listener("g0")?;
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

/// Sessions that were used and sleep; each has a task for tomorrow. Written straight into the tables: ten
/// thousand conversations would take hours.
fn seed(world: &World) -> anyhow::Result<()> {
    let db = rusqlite::Connection::open(world.rig.data().join("v2.db"))?;
    db.execute_batch(&format!(
        "BEGIN;
         CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {SESSIONS}) SELECT i FROM n;
         INSERT INTO messaging_groups (id, channel_type, platform_id, name, is_group, unknown_sender_policy, created_at)
           SELECT 'mg-s' || i, 'fake', 's' || i, 's' || i, 0, 'public', '2026-01-01T00:00:00.000Z' FROM n;
         INSERT INTO messaging_group_agents (id, messaging_group_id, agent_group_id, session_mode, priority, created_at,
             engage_mode, engage_pattern, sender_scope, ignored_message_policy)
           SELECT 'mga-s' || i, 'mg-s' || i, '{agent}', 'shared', 0, '2026-01-01T00:00:00.000Z', 'pattern', '.', 'all', 'drop' FROM n;
         INSERT INTO sessions (id, agent_group_id, messaging_group_id, status, container_status, last_active, created_at)
           SELECT 'sess-s' || i, '{agent}', 'mg-s' || i, 'active', 'stopped', '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z' FROM n;
         INSERT INTO session_due (session_id, due_at)
           SELECT 'sess-s' || i, 1000 * (unixepoch() + 86400 + i) FROM n;
         INSERT INTO session_cursors (session_id, out_rowid, ack_rowid) SELECT 'sess-s' || i, 5, 5 FROM n;
         COMMIT;",
        agent = world.agent
    ))?;
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
