//! How many messages per second become durable: taken by the adapter, decided, written to the inbox with
//! fsync, and only then confirmed to the platform. Nobody is woken: the lines are kept as context.

use crate::report::{Report, Target};
use crate::world::{PATIENCE, World, chatter};
use anyhow::ensure;
use nanoclaw_testkit::platform::Platform;
use std::time::Instant;

/// Lines on their way at any moment, per session.
const AHEAD: usize = 16;

pub(crate) async fn run(report: &mut Report) -> anyhow::Result<()> {
    for (sessions, rows, target) in
        [(1, 2_000, Target::None), (50, 20_000, Target::AtLeast(2_500.0))]
    {
        let mut world = World::new("inbound", "bubblewrap", "demo")?;
        let rate = measure(&mut world, sessions, report.samples(rows)).await;
        world.end().await?;
        let name = format!(
            "durable inbound rows, {sessions} session{}",
            if sessions == 1 { "" } else { "s" }
        );
        report.value(&name, rate?, "/s", target);
    }
    Ok(())
}

async fn measure(world: &mut World, sessions: usize, rows: usize) -> anyhow::Result<f64> {
    let chats: Vec<_> = (0..sessions).map(|n| format!("g{n}")).collect();
    for chat in &chats {
        world.listener(chat)?;
    }
    world.rig.start().await?;
    // The first line of a chat makes its session.
    feed(world, &chats, sessions, "first").await?;
    let begun = Instant::now();
    feed(world, &chats, rows, "line").await?;
    let took = begun.elapsed();
    let written = world.rows_in_inboxes()?;
    ensure!(
        written == rows + sessions,
        "{written} rows are in the inboxes, {} were confirmed",
        rows + sessions
    );
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let rate = rows as f64 / took.as_secs_f64();
    Ok(rate)
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
