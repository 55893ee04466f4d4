//! Kills around the end of a run, its successor and the run itself: every run that is due happens once, none
//! twice, and one row of the series is alive.

use super::victims;
use nanoclaw_central::TaskFilter;
use nanoclaw_contract::ids::{Address, ChannelType, MessageId, PlatformId};
use nanoclaw_contract::inbox::Inbox;
use nanoclaw_contract::message::{InKind, NewIn, Trigger};
use nanoclaw_contract::time::{Timestamp, iso};
use nanoclaw_testkit::platform::Platform;
use nanoclaw_tests::rig::Rig;
use std::path::PathBuf;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(90);
/// Runs that are overdue when the story begins.
const OVERDUE: usize = 5;

/// An install whose host was killed, with a task for every minute that was missed a few times.
async fn behind(name: &str) -> anyhow::Result<(Rig, PathBuf)> {
    let mut rig = Rig::new(name)?;
    let agent = rig.agent("andy", "demo")?;
    rig.chat("c1", &agent)?;
    rig.host_env = vec![log()];
    rig.start().await?;
    rig.platform.dm("c1", "echo hello");
    let answered = rig.platform.until(PATIENCE, |p| p.texts("c1").len() == 1).await;
    anyhow::ensure!(answered, "{}", rig.log());
    rig.kill().await?;
    for box_ in victims::boxes(&rig) {
        box_.kill_init();
    }
    let session = rig.sessions(&agent)?.remove(0);
    let inbound = rig.dir(&agent, &session)?.inbound();
    let now = Timestamp::now();
    let minute = now.as_second() - now.as_second() % 60;
    Inbox::open(&inbound)?.push(&[NewIn {
        id: MessageId::parse("tick")?,
        kind: InKind::Task,
        timestamp: now,
        process_after: Some(Timestamp::from_second(minute - 60 * (OVERDUE as i64 - 1))?),
        recurrence: Some("* * * * *".into()),
        trigger: Trigger::Wake,
        reply: Some(Address {
            channel_type: ChannelType::parse("fake")?,
            platform_id: PlatformId::parse("c1")?,
            thread_id: None,
        }),
        content: r#"{"prompt":"Say: tick","missed":"all"}"#.into(),
        source: None,
        on_wake: false,
    }])?;
    Ok((rig, inbound))
}

fn log() -> (String, String) {
    ("RUST_LOG".into(), "info,nanoclaw=debug".into())
}

/// Waits until the series caught up, and looks at every run of it.
async fn every_run_was_one(rig: &mut Rig, inbound: &PathBuf) -> anyhow::Result<()> {
    let open = || rusqlite::Connection::open(inbound);
    let late = || -> anyhow::Result<i64> {
        let sql = "SELECT COUNT(*) FROM messages_in WHERE kind = 'task' AND status = 'pending' AND process_after <= ?1";
        Ok(open()?.query_row(sql, [iso(Timestamp::now())], |r| r.get(0))?)
    };
    let ticks = |p: &Platform| p.texts("c1").iter().filter(|t| t.starts_with("tick")).count();
    let caught_up = |p: &_| ticks(p) >= OVERDUE && late().is_ok_and(|n| n == 0);
    anyhow::ensure!(rig.platform.until(PATIENCE, caught_up).await, "{}", rig.log());
    rig.stop().await?;
    let all: Vec<(String, String, String)> = {
        let conn = open()?;
        let mut query = conn.prepare(
            "SELECT id, status, process_after FROM messages_in WHERE kind = 'task' ORDER BY seq",
        )?;
        let rows = query.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
        rows.collect::<Result<_, _>>()?
    };
    let ended = all.iter().filter(|(_, status, _)| status == "completed").count();
    anyhow::ensure!(ended + 1 == all.len(), "{all:?}");
    // Every minute from the first on, one row each.
    let first = all[0].2.parse::<Timestamp>()?.as_second();
    for (n, (id, _, _)) in all.iter().enumerate().skip(1) {
        anyhow::ensure!(*id == format!("tick.{}", first + 60 * n as i64), "{all:?}");
    }
    anyhow::ensure!(ticks(&rig.platform) == ended, "{:?}\n{all:?}", rig.platform.texts("c1"));
    let entries = rig.central()?.tasks(&TaskFilter::default(), 10, 0)?;
    anyhow::ensure!(entries.len() == 1, "{entries:?}");
    Ok(())
}

/// The host dies at the n-th pass of a point.
async fn host_dies_at(point: &str, n: u32) -> anyhow::Result<()> {
    let (mut rig, inbound) = behind(&format!("{}{n}", point.replace('.', ""))).await?;
    rig.host_env = vec![("NANOCLAW_FAULT".into(), format!("{point}:{n}")), log()];
    rig.start().await?;
    anyhow::ensure!(rig.ended(PATIENCE).await, "{point}:{n} was never passed\n{}", rig.log());
    rig.host_env = vec![log()];
    rig.start().await?;
    every_run_was_one(&mut rig, &inbound).await
}

/// Every runner dies at the n-th pass of a point.
async fn runner_dies_at(point: &str, n: u32) -> anyhow::Result<()> {
    let (mut rig, inbound) = behind(&format!("{}{n}", point.replace(['.', '-'], ""))).await?;
    rig.run.box_env = vec![format!("NANOCLAW_FAULT={point}:{n}")];
    rig.start().await?;
    every_run_was_one(&mut rig, &inbound).await?;
    anyhow::ensure!(
        rig.log().contains("code=Some(134)"),
        "{point}:{n} was never passed\n{}",
        rig.log()
    );
    Ok(())
}

macro_rules! dies {
    ($($name:ident: $who:ident, $point:literal, $n:literal,)*) => {$(
        #[tokio::test]
        async fn $name() -> anyhow::Result<()> {
            $who($point, $n).await
        }
    )*};
}

dies! {
    host_when_a_run_ended: host_dies_at, "host.task.ended", 2,
    host_with_a_successor_not_committed: host_dies_at, "host.task.followed", 2,
    host_with_a_successor: host_dies_at, "host.task.settled", 2,
    host_with_a_successor_that_no_index_knows: host_dies_at, "host.settled", 3,
    runner_with_a_claimed_run: runner_dies_at, "runner.claimed", 2,
    runner_within_a_run: runner_dies_at, "runner.consumed", 2,
    runner_before_the_end_of_a_run: runner_dies_at, "runner.before-commit", 3,
    runner_after_the_end_of_a_run: runner_dies_at, "runner.after-commit", 3,
}

/// The host dies between the row of a new task and the index.
#[tokio::test]
async fn host_with_a_new_task_that_no_index_knows() -> anyhow::Result<()> {
    let mut rig = Rig::new("newtask")?;
    let agent = rig.agent("andy", "demo")?;
    rig.chat("c1", &agent)?;
    rig.host_env = vec![("NANOCLAW_FAULT".into(), "host.task.scheduled:1".into()), log()];
    rig.start().await?;
    rig.platform.dm("c1", "every day at 9 say tick");
    anyhow::ensure!(rig.ended(PATIENCE).await, "never passed\n{}", rig.log());
    rig.host_env = vec![log()];
    rig.start().await?;
    let listed = |_: &_| {
        let all = rig.central().and_then(|c| Ok(c.tasks(&TaskFilter::default(), 10, 0)?));
        all.is_ok_and(|all| all.len() == 1)
    };
    anyhow::ensure!(rig.platform.until(PATIENCE, listed).await, "{}", rig.log());
    let said = |p: &Platform| p.texts("c1").iter().any(|t| t.contains("I will say it"));
    anyhow::ensure!(rig.platform.until(PATIENCE, said).await, "{}", rig.log());
    rig.stop().await?;
    let session = rig.sessions(&agent)?.remove(0);
    let inbox = Inbox::open(&rig.dir(&agent, &session)?.inbound())?;
    anyhow::ensure!(inbox.live_tasks(None)?.len() == 1);
    Ok(())
}
