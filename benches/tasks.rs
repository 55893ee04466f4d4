//! How late scheduled work is: from the time that it is due to the platform's "show this", with a harness that
//! answers at once. Once with boxes that run, once with sessions that sleep, whose box starts at that time.

use crate::report::{Report, Target, percentile};
use crate::world::{PATIENCE, World};
use anyhow::{Context as _, ensure};
use nanoclaw_central::TaskFilter;
use nanoclaw_contract::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// Time enough to schedule them all, and for the boxes to stop.
const AHEAD: Duration = Duration::from_secs(20);

pub(crate) async fn run(report: &mut Report, driver: &str) -> anyhow::Result<()> {
    for (name, chats, each) in [("warm", 10, 10), ("asleep", 20, 1)] {
        let mut world = World::new("tasks", driver, "demo")?;
        let done = measure(&mut world, chats, each).await;
        world.end().await?;
        let mut late = done?;
        let p50 = percentile(&mut late, 50);
        report.time(&format!("task lateness p50, {name}"), p50, Target::None);
        let p99 = percentile(&mut late, 99);
        report.time(&format!("task lateness p99, {name}"), p99, Target::AtMost(200.0));
    }
    Ok(())
}

async fn measure(world: &mut World, chats: usize, each: usize) -> anyhow::Result<Vec<Duration>> {
    let names = world.chats(chats)?;
    world.rig.start().await?;
    world.ask_all(&names).await?;
    let first = Timestamp::now() + AHEAD;
    let gap = Duration::from_millis(if each == 1 { 400 } else { 50 });
    for n in 0..chats * each {
        let due = first + gap * u32::try_from(n)?;
        let wait = due.duration_since(Timestamp::now()).as_secs_f64();
        let request = format!("remind me in {wait:.3} seconds to word");
        world.ask(&names[n % chats], [&request, "end"]).await?;
    }
    if each == 1 {
        world.all_asleep().await?;
    }
    let all = world.central.tasks(&TaskFilter::default(), 1000, 0)?;
    let due: BTreeMap<_, _> =
        all.iter().filter_map(|t| Some((said(&t.prompt)?, t.next_at?))).collect();
    ensure!(due.len() == chats * each, "{} tasks are scheduled", due.len());
    ensure!(due.values().all(|at| *at > Timestamp::now()), "they were not scheduled in time");
    let (platform, mut seen, mut late) = (world.rig.platform.clone(), 0, BTreeMap::new());
    let ran = |p: &nanoclaw_testkit::platform::Platform| {
        let now = Timestamp::now();
        for shown in p.shown_since(seen) {
            seen += 1;
            if shown.text.starts_with('⏰')
                && let Some((word, at)) = said(&shown.text).and_then(|w| due.get_key_value(&w))
            {
                late.entry(word.clone()).or_insert_with(|| now.duration_since(*at));
            }
        }
        late.len() == due.len()
    };
    ensure!(platform.until(PATIENCE, ran).await, "not every task ran\n{}", world.rig.log());
    late.into_values().map(|late| Duration::try_from(late).context("it ran too early")).collect()
}

/// The word that tells one from the others.
fn said(text: &str) -> Option<String> {
    let at = text.find("word")?;
    text.get(at..)?.split_whitespace().next().map(str::to_owned)
}
