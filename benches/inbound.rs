//! How many messages per second become durable: taken by the adapter, decided, written to the inbox with
//! fsync, and only then confirmed to the platform. Nobody is woken: the lines are kept as context.

use crate::report::{Report, Target};
use crate::world::{PATIENCE, Wired, World, chatter, cpu};
use anyhow::ensure;
use nanoclaw_testkit::platform::Platform;
use std::time::{Duration, Instant};

/// Lines on their way at any moment, per session.
const AHEAD: usize = 16;

pub(crate) async fn run(report: &mut Report) -> anyhow::Result<()> {
    for (sessions, rows, target) in
        [(1, 2_000, Target::None), (50, 20_000, Target::AtLeast(2_500.0))]
    {
        let rows = report.samples(rows);
        let rows_f64 = f64::from(u32::try_from(rows)?);
        let mut world = World::new("inbound", "bubblewrap", "demo")?;
        let measured = measure(&mut world, sessions, rows).await;
        world.end().await?;
        let name = format!(
            "durable inbound rows, {sessions} session{}",
            if sessions == 1 { "" } else { "s" }
        );
        let (took, used) = measured?;
        report.value(&name, rows_f64 / took.as_secs_f64(), "/s", target);
        report.value(
            &format!("{name}, host CPU each"),
            1e3 * used.as_secs_f64() / rows_f64,
            "ms",
            Target::None,
        );
    }
    Ok(())
}

async fn measure(
    world: &mut World,
    sessions: usize,
    rows: usize,
) -> anyhow::Result<(Duration, Duration)> {
    let chats: Vec<_> = (0..sessions).map(|n| format!("g{n}")).collect();
    for chat in &chats {
        world.chat(chat, Wired::Listening)?;
    }
    world.rig.start().await?;
    // The first line of a chat makes its session.
    feed(world, &chats, sessions, "first").await?;
    let (begun, cpu_before) = (Instant::now(), cpu(world.host()?)?);
    feed(world, &chats, rows, "line").await?;
    let (took, used) = (begun.elapsed(), cpu(world.host()?)?.saturating_sub(cpu_before));
    let written = world.rows_in_inboxes()?;
    ensure!(
        written == rows + sessions,
        "{written} rows are in the inboxes, {} were confirmed",
        rows + sessions
    );
    Ok((took, used))
}

/// Says so many lines, one chat after the other, and waits until each is confirmed.
async fn feed(world: &World, chats: &[String], rows: usize, tag: &str) -> anyhow::Result<()> {
    let mut said = 0;
    let confirmed = |p: &Platform| {
        let mut open = p.unreceived();
        while said < rows && open < AHEAD * chats.len() {
            if let Some(chat) = chats.get(said % chats.len()) {
                p.say(chatter(chat, format!("{tag}-{said}")));
            }
            (said, open) = (said + 1, open + 1);
        }
        open == 0
    };
    let all = world.rig.platform.until(PATIENCE, confirmed).await;
    ensure!(
        all,
        "{} lines were not confirmed\n{}",
        world.rig.platform.unreceived(),
        world.rig.log()
    );
    Ok(())
}
