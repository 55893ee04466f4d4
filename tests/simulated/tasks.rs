//! Scheduled work: at its time, once, across restarts, failures and sleep.

use super::{EVER, Sim};
use nanoclaw_central::{TaskEntry, TaskFilter};
use nanoclaw_contract::ids::{AgentId, SessionId};
use nanoclaw_contract::message::{AckStatus, InStatus};
use nanoclaw_contract::outbox::{Commit, Outbox};
use nanoclaw_testkit::driver::Manner;
use serde_json::{Value, json};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A host with one agent in one chat. It is Sunday, the first of March 2026, nine o'clock.
async fn house(name: &str) -> anyhow::Result<(Sim, AgentId)> {
    let mut sim = Sim::new(name)?;
    sim.idle = Duration::from_secs(5);
    let agent = sim.rig.agent("andy", "demo")?;
    sim.rig.chat("c1", &agent)?;
    sim.start().await?;
    Ok((sim, agent))
}

/// Has the agent ask something of the host.
async fn asks(sim: &Sim, action: &str, mut fields: Value) {
    fields["action"] = action.into();
    if action == "schedule_task" {
        fields["channelType"] = "fake".into();
        fields["platformId"] = "c1".into();
    }
    sim.rig.platform.dm("c1", &format!("!row {}", json!({"kind": "system", "content": fields})));
    tokio::time::sleep(Duration::from_secs(20)).await;
}

fn all(sim: &Sim) -> anyhow::Result<Vec<TaskEntry>> {
    Ok(sim.rig.central()?.tasks(&TaskFilter::default(), 1000, 0)?)
}

fn the_one(sim: &Sim) -> anyhow::Result<TaskEntry> {
    let mut all = all(sim)?;
    anyhow::ensure!(all.len() == 1, "{all:?}");
    Ok(all.remove(0))
}

/// How often something stands in the chat.
fn count(sim: &Sim, text: &str) -> usize {
    sim.rig.platform.texts("c1").iter().filter(|t| t.contains(text)).count()
}

/// Every row of the session's inbox that is a task: id and status.
fn rows(sim: &Sim, agent: &AgentId, session: &SessionId) -> anyhow::Result<Vec<(String, String)>> {
    let inbox = rusqlite::Connection::open(sim.rig.dir(agent, session)?.inbound())?;
    let mut query =
        inbox.prepare("SELECT id, status FROM messages_in WHERE kind = 'task' ORDER BY seq")?;
    let found = query.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Every day at eight, for a week, with the host stopped and started in between.
#[tokio::test(start_paused = true)]
async fn a_daily_task_runs_every_day_once() -> anyhow::Result<()> {
    let (mut sim, agent) = house("daily").await?;
    asks(
        &sim,
        "schedule_task",
        json!({"taskId": "t", "prompt": "news", "recurrence": "0 8 * * *"}),
    )
    .await;
    for day in 1..=7 {
        tokio::time::sleep(DAY).await;
        assert_eq!(count(&sim, "echo: news"), day);
        if day % 3 == 0 {
            sim.stop().await;
            sim.start().await?;
        }
    }
    let task = the_one(&sim)?;
    assert_eq!(task.next_at, Some("2026-03-09T08:00:00Z".parse()?));
    let rows = rows(&sim, &agent, &task.session)?;
    assert_eq!(rows.len(), 8);
    assert_eq!(rows.iter().filter(|(_, status)| status == "pending").count(), 1);
    sim.stop().await;
    Ok(())
}

/// The host is off for five days: by the policy, nothing, one or all of it is made up for.
#[tokio::test(start_paused = true)]
async fn what_was_missed_follows_the_policy() -> anyhow::Result<()> {
    for (missed, runs) in [(None, 1), (Some("once"), 1), (Some("skip"), 0), (Some("all"), 5)] {
        let (mut sim, _) = house("missed").await?;
        asks(&sim, "schedule_task", json!({"prompt": "news", "recurrence": "0 8 * * *", "missed": missed.map_or(Value::Null, Value::from)})).await;
        sim.stop().await;
        tokio::time::sleep(5 * DAY + HOUR).await;
        assert_eq!(count(&sim, "echo: news"), 0);
        sim.start().await?;
        // Only what is due wakes a box; a message would show the same.
        tokio::time::sleep(HOUR).await;
        assert_eq!(count(&sim, "echo: news"), runs, "{missed:?}");
        assert_eq!(the_one(&sim)?.next_at, Some("2026-03-07T08:00:00Z".parse()?), "{missed:?}");
        sim.stop().await;
    }
    Ok(())
}

/// A series that fails gets rarer, pauses itself after five times, says so once, and goes on when told.
#[tokio::test(start_paused = true)]
async fn a_failing_task_pauses_itself_and_says_so() -> anyhow::Result<()> {
    let (mut sim, agent) = house("fails").await?;
    asks(
        &sim,
        "schedule_task",
        json!({"taskId": "t", "prompt": "!fail", "recurrence": "* * * * *"}),
    )
    .await;
    tokio::time::sleep(2 * DAY).await;
    let task = the_one(&sim)?;
    assert_eq!((task.status, task.fails), (InStatus::Paused, 5));
    assert_eq!(rows(&sim, &agent, &task.session)?.len(), 6);
    assert_eq!(count(&sim, "I paused the scheduled task"), 1);
    asks(&sim, "update_task", json!({"taskId": "t", "prompt": "fine"})).await;
    asks(&sim, "resume_task", json!({"taskId": "t"})).await;
    tokio::time::sleep(10 * MINUTE).await;
    assert!(count(&sim, "echo: fine") >= 9, "{:?}", sim.rig.platform.texts("c1"));
    assert_eq!(the_one(&sim)?.fails, 0);
    let inbox = rusqlite::Connection::open(sim.rig.dir(&agent, &task.session)?.inbound())?;
    let told: i64 = inbox.query_row(
        "SELECT COUNT(*) FROM messages_in WHERE kind = 'chat' AND content LIKE '%is paused: it failed 5 times%'",
        [],
        |r| r.get(0),
    )?;
    assert_eq!(told, 1, "the agent was not told");
    sim.stop().await;
    Ok(())
}

/// Boxes that do not start count as failures of what repeats; a single task waits for the first that does.
#[tokio::test(start_paused = true)]
async fn a_box_that_does_not_start_fails_a_series_but_not_a_single_task() -> anyhow::Result<()> {
    let (mut sim, _) = house("nostart").await?;
    sim.idle = Duration::from_secs(5);
    sim.stop().await;
    sim.start().await?;
    asks(
        &sim,
        "schedule_task",
        json!({"taskId": "t", "prompt": "often", "recurrence": "0 * * * *"}),
    )
    .await;
    asks(
        &sim,
        "schedule_task",
        json!({"taskId": "u", "prompt": "single", "processAfter": "2026-03-01T10:30:00Z"}),
    )
    .await;
    *sim.driver.failing.lock().unwrap() = 100_000;
    tokio::time::sleep(DAY).await;
    let all = all(&sim)?;
    let of = |id: &str| all.iter().find(|t| t.id.as_str() == id).cloned();
    assert_eq!(of("t").map(|t| t.status), Some(InStatus::Paused), "{all:?}");
    assert_eq!(of("u").map(|t| t.status), Some(InStatus::Pending));
    assert_eq!(count(&sim, "I paused the scheduled task"), 1);
    *sim.driver.failing.lock().unwrap() = 0;
    tokio::time::sleep(HOUR).await;
    assert_eq!((count(&sim, "echo: often"), count(&sim, "echo: single")), (0, 1));
    sim.stop().await;
    Ok(())
}

/// A task in a session of its own: its answers come to the chat, and nothing else of it. It is listed and
/// cancelled from the chat.
#[tokio::test(start_paused = true)]
async fn a_task_in_its_own_session_leaves_the_chat_alone() -> anyhow::Result<()> {
    let (mut sim, agent) = house("own").await?;
    asks(
        &sim,
        "schedule_task",
        json!({"taskId": "t", "prompt": "watch", "recurrence": "0 * * * *", "session": "own"}),
    )
    .await;
    let task = the_one(&sim)?;
    let chat = task.origin.clone().ok_or_else(|| anyhow::anyhow!("no origin"))?;
    assert_ne!(task.session, chat);
    tokio::time::sleep(3 * HOUR).await;
    assert_eq!(count(&sim, "echo: watch"), 3);
    assert_eq!(rows(&sim, &agent, &chat)?, []);
    assert_eq!(rows(&sim, &agent, &task.session)?.len(), 4);
    let inbox =
        nanoclaw_contract::inbox::InboxReader::open(&sim.rig.dir(&agent, &chat)?.inbound())?;
    let listed = inbox.tasks(None)?;
    assert_eq!(listed.len(), 1);
    assert!(listed[0].content.contains("watch"));
    asks(&sim, "pause_task", json!({"taskId": "t"})).await;
    assert_eq!(the_one(&sim)?.status, InStatus::Paused);
    asks(&sim, "cancel_task", json!({"taskId": "t"})).await;
    assert_eq!(all(&sim)?, []);
    assert!(inbox.tasks(None)?.is_empty());
    tokio::time::sleep(3 * HOUR).await;
    assert_eq!(count(&sim, "echo: watch"), 3);
    sim.stop().await;
    Ok(())
}

/// Nobody reaches a task of another session by its id.
#[tokio::test(start_paused = true)]
async fn tasks_of_others_are_out_of_reach() -> anyhow::Result<()> {
    let (mut sim, _) = house("others").await?;
    let eve = sim.rig.agent("eve", "demo")?;
    sim.rig.chat("c2", &eve)?;
    asks(
        &sim,
        "schedule_task",
        json!({"taskId": "t", "prompt": "mine", "recurrence": "0 * * * *"}),
    )
    .await;
    let content = json!({"action": "cancel_task", "taskId": "t"});
    sim.rig.platform.dm("c2", &format!("!row {}", json!({"kind": "system", "content": content})));
    let refused = |p: &nanoclaw_testkit::platform::Platform| {
        p.texts("c2").iter().any(|t| t.contains("no live task"))
    };
    assert!(sim.rig.platform.until(EVER, refused).await);
    assert_eq!(the_one(&sim)?.status, InStatus::Pending);
    sim.stop().await;
    Ok(())
}

/// What is no schedule, runs all the time, is too long or one too many is refused, and the agent is told why.
#[tokio::test(start_paused = true)]
async fn floods_and_nonsense_are_refused() -> anyhow::Result<()> {
    let (mut sim, _) = house("flood").await?;
    for (fields, why) in [
        (json!({"prompt": "x", "recurrence": "* * * * * *"}), "once a minute"),
        (json!({"prompt": "x", "recurrence": "now and then"}), "then\" is no schedule"),
        (json!({"prompt": "x", "recurrence": "0 9 * * *", "timezone": "Mars/Olympus"}), "IANA"),
        (json!({"prompt": "x", "processAfter": "soon"}), "\"soon\" is no time"),
        (json!({"prompt": "x"}), "needs a time"),
        (json!({"prompt": "", "recurrence": "0 9 * * *"}), "needs a prompt"),
        (json!({"prompt": "x".repeat(300_000), "recurrence": "0 9 * * *"}), "bytes"),
        (json!({"prompt": "x", "recurrence": "0 9 * * *", "missed": "twice"}), "skip, once or all"),
        (json!({"prompt": "x", "recurrence": "0 9 * * *", "session": "all"}), "chat or own"),
    ] {
        asks(&sim, "schedule_task", fields).await;
        assert_eq!(count(&sim, why), 1, "{why}: {:?}", sim.rig.platform.texts("c1"));
    }
    let orders: Vec<_> = (0..120)
        .map(|n| {
            let content = json!({"action": "schedule_task", "taskId": format!("t{n}"), "prompt": "x", "recurrence": "0 9 * * *"});
            format!("!row {}", json!({"kind": "system", "content": content}))
        })
        .collect();
    sim.rig.platform.dm("c1", &orders.join("\n"));
    tokio::time::sleep(HOUR).await;
    assert_eq!(all(&sim)?.len(), 100);
    assert_eq!(count(&sim, "100 tasks already"), 20);
    sim.stop().await;
    Ok(())
}

/// Paused while it runs, it stays paused afterwards; run now is beside the schedule.
#[tokio::test(start_paused = true)]
async fn a_pause_while_it_runs_holds() -> anyhow::Result<()> {
    let (mut sim, _) = house("hold").await?;
    asks(
        &sim,
        "schedule_task",
        json!({"taskId": "t", "prompt": "slow", "recurrence": "0 * * * *"}),
    )
    .await;
    sim.stop().await;
    *sim.driver.manner.lock().unwrap() = Manner::Works(20 * MINUTE);
    sim.start().await?;
    tokio::time::sleep(HOUR + 5 * MINUTE).await;
    assert_eq!(count(&sim, "echo: slow"), 0, "it is not at work");
    // From elsewhere: the agent is busy.
    let task = the_one(&sim)?;
    let inbound = sim.rig.dir(&task.agent, &task.session)?.inbound();
    let order = nanoclaw_contract::inbox::Order::Pause;
    let now = "2026-03-01T10:05:00Z".parse()?;
    let paused =
        nanoclaw_contract::inbox::Inbox::open(&inbound)?.order_task("t", &order, now, "UTC")?;
    assert!(paused.is_ok_and(|rows| rows.len() == 1));
    // And it finishes what it had begun.
    let outbound = sim.rig.dir(&task.agent, &task.session)?.outbound();
    let ack = [(task.id.clone(), AckStatus::Completed)];
    Outbox::open(&outbound, now)?.commit(&Commit { ack: &ack, ..Commit::default() }, now)?;
    tokio::time::sleep(3 * HOUR).await;
    let paused = the_one(&sim)?;
    assert_eq!(paused.status, InStatus::Paused);
    assert_eq!(paused.next_at, Some("2026-03-01T11:00:00Z".parse()?));
    assert_eq!(count(&sim, "echo: slow"), 0);
    asks(&sim, "run_task", json!({"taskId": "t"})).await;
    tokio::time::sleep(2 * HOUR).await;
    assert_eq!(count(&sim, "echo: slow"), 1);
    assert_eq!(the_one(&sim)?.status, InStatus::Paused);
    sim.stop().await;
    Ok(())
}

/// A hundred tasks of ten sessions that sleep: each runs when it is due.
#[tokio::test(start_paused = true)]
async fn a_hundred_tasks_are_on_time() -> anyhow::Result<()> {
    let mut sim = Sim::new("ontime")?;
    sim.idle = Duration::from_secs(5);
    let agent = sim.rig.agent("andy", "demo")?;
    for n in 0..10 {
        sim.rig.chat(&format!("d{n}"), &agent)?;
    }
    sim.start().await?;
    let begin = tokio::time::Instant::now();
    for n in 0..100_u64 {
        let chat = format!("d{}", n % 10);
        let at: nanoclaw_contract::time::Timestamp = "2026-03-01T09:10:00Z".parse()?;
        let at = at + Duration::from_millis(n * 7_300);
        let content = json!({"action": "schedule_task", "taskId": format!("t{n}"), "prompt": format!("run {n}"),
            "processAfter": at.to_string(), "channelType": "fake", "platformId": chat});
        sim.rig
            .platform
            .dm(&chat, &format!("!row {}", json!({"kind": "system", "content": content})));
    }
    let mut late = Vec::new();
    for n in 0..100_u64 {
        let chat = format!("d{}", n % 10);
        let due = begin + 10 * MINUTE + Duration::from_millis(n * 7_300);
        let text = format!("echo: run {n}");
        assert!(!sim.rig.platform.texts(&chat).contains(&text), "too early");
        tokio::time::sleep_until(due).await;
        let there = |p: &nanoclaw_testkit::platform::Platform| p.texts(&chat).contains(&text);
        assert!(sim.rig.platform.until(EVER, there).await);
        late.push(due.elapsed());
    }
    late.sort();
    assert!(late[98] < Duration::from_millis(200), "{late:?}");
    sim.stop().await;
    Ok(())
}
