//! An install that v2 wrote goes on under our host: nothing is lost, nothing is sent again.

use super::{SOON, number, rows, text};
use nanoclaw_central::{AgentConfig, SessionMode};
use nanoclaw_contract::dir::SessionDir;
use nanoclaw_contract::ids::{AgentId, OutId, SessionId};
use nanoclaw_contract::outbox::OutboxReader;
use nanoclaw_contract::time::Timestamp;
use nanoclaw_tests::rig::{Rig, repo};
use rusqlite::Connection;
use rusqlite::types::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Sessions of the fixture: two with a long history, three with rows that wait.
const ANSWERED: [(&str, &str); 2] = [
    ("ag-1795356495602-90gz9s", "sess-1795356801509-hft3vv"),
    ("ag-1795356495602-90gz9s", "sess-1795357106721-a1m3p0"),
];
const WAITING: [(&str, &str); 3] = [
    ("ag-fix-worker", "sess-1795357558387-5bh07s"),
    ("ag-fix-manager", "sess-1795357558415-kir1v7"),
    ("ag-fix-super", "sess-1795357558440-n44a57"),
];
const SUPERVISOR: usize = 2;

/// What must be in the inbox, and in the outbox, word for word, whatever comes after.
const SAID: &str = "SELECT id, seq, kind, timestamp, recurrence, series_id, trigger, platform_id,
    channel_type, thread_id, content FROM messages_in ORDER BY seq";
const ANSWERS: &str = "SELECT id, seq, in_reply_to, timestamp, kind, platform_id, channel_type,
    thread_id, content FROM messages_out ORDER BY seq";
const SENT: &str =
    "SELECT message_out_id, platform_message_id, status, delivered_at FROM delivered ORDER BY 1";
const UNANSWERED: &str = "SELECT COUNT(*) FROM messages_in
    WHERE status = 'pending' AND trigger = 1 AND kind = 'chat'";

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => drop(std::fs::copy(entry.path(), target)?),
        }
    }
    Ok(())
}

fn dir(rig: &Rig, (agent, session): (&str, &str)) -> anyhow::Result<SessionDir> {
    rig.dir(&AgentId::parse(agent)?, &SessionId::parse(session)?)
}

/// A copy of the fixture as an install of ours, every agent with the demo as its harness. The tasks of the
/// fixture are due at fixed dates; here they are due tomorrow.
fn install(name: &str) -> anyhow::Result<Rig> {
    let rig = Rig::new(name)?;
    copy(&repo().join("tests/fixtures/v2-install"), rig.root.path())?;
    let central = rig.central()?;
    for agent in central.agents()? {
        let config = central.config(&agent.id)?.unwrap_or_default();
        let config = AgentConfig { provider: Some("demo".into()), ..config };
        central.put_config(&agent.id, &config, Timestamp::now())?;
    }
    let inbound = dir(&rig, WAITING[SUPERVISOR])?.inbound();
    Connection::open(inbound)?.execute_batch(
        "UPDATE messages_in SET process_after = strftime('%Y-%m-%dT%H:%M:%S.000Z', 'now', '+1 day') WHERE kind = 'task'",
    )?;
    Ok(rig)
}

/// A chat that is connected, for an agent that v2 made: it goes on in the session that the agent has.
fn connect(rig: &Rig, platform_id: &str, agent: &str) -> anyhow::Result<()> {
    let agent = AgentId::parse(agent)?;
    let chat = rig.chat(platform_id, &agent)?;
    let central = rig.central()?;
    let wiring = central.wirings_of_chat(&chat)?.into_iter().flatten().next();
    let mut wiring = wiring.ok_or_else(|| anyhow::anyhow!("{platform_id} is not wired"))?;
    central.remove_wiring(&wiring.id)?;
    wiring.session_mode = SessionMode::AgentShared;
    central.create_wiring(&wiring)?;
    assert!(central.may_send_to_chat(&agent, &chat)?);
    Ok(())
}

/// Everything of a session that no host may change.
type History = Vec<Vec<Vec<Value>>>;

fn history(rig: &Rig, of: (&str, &str)) -> anyhow::Result<History> {
    let dir = dir(rig, of)?;
    let outbound = Some(dir.outbound()).filter(|p| p.exists());
    let outbound = outbound.unwrap_or_else(|| dir.root().join("outbound.db"));
    Ok(vec![rows(&dir.inbound(), SAID)?, rows(&outbound, ANSWERS)?, rows(&dir.inbound(), SENT)?])
}

fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    ANSWERED.into_iter().chain(WAITING)
}

/// The old rows are all there, as they were, before whatever came.
fn assert_kept(rig: &Rig, before: &BTreeMap<&str, History>) -> anyhow::Result<()> {
    for of in all() {
        let now = history(rig, of)?;
        for (before, now) in before[of.1].iter().zip(&now) {
            for row in before {
                assert_eq!(now.iter().filter(|r| *r == row).count(), 1, "{of:?}: {row:?}");
            }
        }
    }
    Ok(())
}

fn waiting(rig: &Rig) -> i64 {
    WAITING
        .iter()
        .filter_map(|of| dir(rig, *of).and_then(|d| number(&d.inbound(), UNANSWERED)).ok())
        .sum()
}

#[tokio::test]
async fn what_v2_left_waiting_is_answered_and_what_it_sent_stays_sent() -> anyhow::Result<()> {
    let mut rig = install("v2data")?;
    connect(&rig, "c1", "ag-fix-super")?;
    let before: BTreeMap<_, _> =
        all().map(|of| Ok((of.1, history(&rig, of)?))).collect::<anyhow::Result<_>>()?;
    let old_rows: usize = before.values().map(|h| h[1].len()).sum();
    assert_eq!((waiting(&rig), old_rows), (4, 180), "the fixture is another one");

    rig.start().await?;
    // A person goes on in the session that v2 began.
    rig.platform.dm("c1", "echo onward");
    assert!(rig.platform.until(SOON, |_| waiting(&rig) == 0).await, "{}", rig.log());
    let said = |p: &nanoclaw_testkit::platform::Platform| {
        p.texts("c1").iter().any(|t| t.contains("onward"))
    };
    assert!(rig.platform.until(SOON, said).await, "{}", rig.log());

    // Rows for channels that nobody has connected are not called delivered: they wait.
    let central = rig.central()?;
    for of in WAITING {
        let (dir, session) = (dir(&rig, of)?, SessionId::parse(of.1)?);
        assert!(dir.is_sealed(), "{of:?} was not moved into our shape");
        let sql = "SELECT id FROM messages_out WHERE channel_type <> 'fake' ORDER BY seq";
        let answers = rows(&dir.outbound(), sql)?;
        assert!(!answers.is_empty(), "{of:?} has no answer");
        // The first has been tried; whatever comes after it waits behind it.
        let Value::Text(first) = &answers[0][0] else { anyhow::bail!("{answers:?}") };
        let first = OutId::parse(first.clone())?;
        let why = |_: &_| central.delivery(&session, &first).ok().flatten()?.last_error;
        let tried = rig.platform.until(SOON, |p| why(p).is_some()).await;
        assert!(tried, "{of:?}: {first}\n{}", rig.log());
        let why = why(&rig.platform).unwrap_or_default();
        assert!(why.contains("not connected"), "{why}");
        for answer in answers {
            let Value::Text(id) = &answer[0] else { anyhow::bail!("{answer:?}") };
            let sql = format!("SELECT COUNT(*) FROM delivered WHERE message_out_id = '{id}'");
            assert_eq!(number(&dir.inbound(), &sql)?, 0, "{of:?}: {id} was called delivered");
        }
    }

    // Tasks stay, each with its time; context that wakes nobody was read along.
    let inbound = dir(&rig, WAITING[SUPERVISOR])?.inbound();
    let tasks =
        "SELECT COUNT(*) FROM messages_in WHERE kind = 'task' AND status = 'pending' AND tries = 0";
    assert_eq!(number(&inbound, tasks)?, 2);
    assert_kept(&rig, &before)?;

    // Again, after a clean stop: nothing moves, nothing is said twice, and the conversation goes on.
    rig.stop().await?;
    let shown = rig.platform.shown().len();
    rig.start().await?;
    rig.platform.dm("c1", "echo and on");
    assert!(rig.platform.until(SOON, |p| p.shown().len() > shown).await, "{}", rig.log());
    let new = rig.platform.shown_since(shown);
    assert_eq!(new.len(), 1, "{new:?}");
    assert!(new[0].text.contains("and on"), "{new:?}");
    assert_kept(&rig, &before)?;
    let echoes = rig.platform.texts("c1").iter().filter(|t| t.contains("onward")).count();
    assert_eq!((echoes, rig.platform.attempts().1), (1, 0));
    rig.stop().await
}

#[tokio::test]
async fn a_long_history_goes_on_without_a_word_of_it_sent_again() -> anyhow::Result<()> {
    let mut rig = install("v2long")?;
    connect(&rig, "c1", ANSWERED[1].0)?;
    let before: BTreeMap<_, _> =
        all().map(|of| Ok((of.1, history(&rig, of)?))).collect::<anyhow::Result<_>>()?;
    rig.start().await?;
    rig.platform.dm("c1", "echo still here");
    assert!(rig.platform.until(SOON, |p| !p.shown().is_empty()).await, "{}", rig.log());

    // Rows that v2 wrote while the other session slept, found after a crash.
    rig.kill().await?;
    let quiet = dir(&rig, ANSWERED[0])?;
    Connection::open(quiet.inbound())?.execute_batch(
        r#"INSERT INTO messages_in (id, seq, kind, timestamp, series_id, platform_id, channel_type, content)
           SELECT 'late', MAX(seq) + 2, 'chat', strftime('%Y-%m-%dT%H:%M:%S.000Z', 'now'), 'late', 'b0', 'bench',
             '{"text":"echo late","sender":"bench","senderId":"cli:local"}' FROM messages_in"#,
    )?;
    rig.start().await?;
    let answered = |_: &_| number(&quiet.inbound(), UNANSWERED).is_ok_and(|n| n == 0);
    assert!(rig.platform.until(SOON, answered).await, "{}", rig.log());
    let last =
        text(&quiet.outbound(), "SELECT content FROM messages_out ORDER BY seq DESC LIMIT 1")?;
    assert!(last.contains("late"), "{last}");
    rig.stop().await?;

    // Of 180 old answers none was tried again.
    assert_eq!(rig.platform.shown().len(), 1, "{:?}", rig.platform.shown());
    assert_kept(&rig, &before)?;
    let central = rig.central()?;
    for of in ANSWERED {
        let (dir, session) = (dir(&rig, of)?, SessionId::parse(of.1)?);
        for row in &before[of.1][1] {
            let Value::Text(id) = &row[0] else { anyhow::bail!("{row:?}") };
            assert!(
                central.delivery(&session, &OutId::parse(id.clone())?)?.is_none(),
                "{id} was tried again"
            );
        }
        // What v2's runner remembered is still there for it, and the file is still v2's.
        let outbound = dir.outbound();
        let kept = "SELECT COUNT(*) FROM session_state WHERE key = 'continuation:mock'";
        assert_eq!(number(&outbound, kept)?, 1);
        assert_eq!(text(&outbound, "PRAGMA integrity_check")?, "ok");
        assert_eq!(text(&dir.inbound(), "PRAGMA integrity_check")?, "ok");
        assert!(OutboxReader::open(&outbound)?.claims()?.is_empty());
        let parity = "SELECT COUNT(*) FROM messages_out WHERE seq % 2 = 0";
        assert_eq!(number(&outbound, parity)?, 0, "an answer got a number of the host's");
    }
    Ok(())
}

#[tokio::test]
async fn a_task_that_v2_scheduled_runs_when_it_is_due_and_once() -> anyhow::Result<()> {
    let mut rig = install("v2task")?;
    let dir = dir(&rig, WAITING[SUPERVISOR])?;
    Connection::open(dir.inbound())?.execute_batch(
        "UPDATE messages_in SET process_after = strftime('%Y-%m-%dT%H:%M:%S.000Z', 'now', '+3 seconds')
         WHERE id = 'task-fix-once'",
    )?;
    rig.start().await?;
    let standing = |id: &str| {
        text(&dir.inbound(), &format!("SELECT status FROM messages_in WHERE id = '{id}'"))
    };
    let done = |_: &_| standing("task-fix-once").is_ok_and(|s| s == "completed");
    assert!(rig.platform.until(SOON, done).await, "{}", rig.log());
    assert_eq!(standing("task-fix-cron")?, "pending");
    rig.stop().await?;
    let reminders = "SELECT COUNT(*) FROM messages_out WHERE content LIKE '%happy new year late%'";
    assert_eq!(number(&dir.outbound(), reminders)?, 1);
    Ok(())
}

/// A series that v2 began, due now: it runs and goes on by its own schedule, on v2's ids.
#[tokio::test]
async fn a_series_that_v2_began_goes_on() -> anyhow::Result<()> {
    let mut rig = install("v2series")?;
    let dir = dir(&rig, WAITING[SUPERVISOR])?;
    Connection::open(dir.inbound())?.execute_batch(
        "UPDATE messages_in SET process_after = strftime('%Y-%m-%dT%H:%M:%S.000Z', 'now', '-1 seconds')
         WHERE id = 'task-fix-cron'",
    )?;
    rig.start().await?;
    let rows = |wanted: &str| {
        let sql = "SELECT COUNT(*) FROM messages_in WHERE series_id = 'task-fix-cron' AND";
        number(&dir.inbound(), &format!("{sql} {wanted}"))
    };
    let next = "status = 'pending' AND recurrence IS NOT NULL AND process_after > '2026-11'";
    let went_on = |_: &_| rows("status = 'completed' AND recurrence IS NULL").is_ok_and(|n| n == 1);
    assert!(rig.platform.until(SOON, went_on).await, "{}", rig.log());
    assert_eq!(rows(next)?, 1);
    rig.stop().await
}

#[tokio::test]
async fn an_agent_that_v2_knew_can_be_given_a_new_chat() -> anyhow::Result<()> {
    let mut rig = install("v2new")?;
    let manager = AgentId::parse("ag-fix-manager")?;
    rig.chat("c9", &manager)?;
    rig.start().await?;
    rig.platform.dm("c9", "echo fresh");
    assert!(rig.platform.until(SOON, |p| !p.texts("c9").is_empty()).await, "{}", rig.log());
    assert_eq!(rig.sessions(&manager)?.len(), 2, "the new chat did not get a session of its own");
    rig.stop().await
}
