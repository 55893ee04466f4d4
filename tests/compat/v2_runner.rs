//! v2's runner, as far as the files show it, in a real box under our host.

use super::{SOON, file, number, rows, text};
use anyhow::Context as _;
use nanoclaw_contract::dir::SessionDir;
use nanoclaw_contract::ids::AgentId;
use nanoclaw_tests::rig::{Rig, needed};
use rusqlite::types::Value;
use std::os::unix::fs::PermissionsExt;

/// An install whose boxes run v2's runner, with one chat.
async fn under_our_host(name: &str) -> anyhow::Result<(Rig, AgentId)> {
    idle_after(name, 600_000).await
}

/// The same, with another idle timeout.
async fn idle_after(name: &str, idle_ms: u64) -> anyhow::Result<(Rig, AgentId)> {
    needed("/usr/bin/python3".into(), "apt-get install python3")?;
    let mut rig = Rig::without_boxes(name)?;
    let runner = rig.root.path().join("v2-runner");
    std::fs::copy(file("v2_runner.py"), &runner)?;
    std::fs::set_permissions(&runner, PermissionsExt::from_mode(0o755))?;
    rig.run.runner = runner;
    rig.run.idle_ms = idle_ms;
    let agent = rig.agent("andy", "mock")?;
    rig.chat("c1", &agent)?;
    rig.start().await?;
    Ok((rig, agent))
}

fn dir(rig: &Rig, agent: &AgentId) -> anyhow::Result<SessionDir> {
    let session = rig.sessions(agent)?.pop().context("there is no session")?;
    rig.dir(agent, &session)
}

/// Whether the inbox has `n` rows of a status.
fn has(dir: &SessionDir, status: &str, n: i64) -> bool {
    let sql = format!("SELECT COUNT(*) FROM messages_in WHERE status = '{status}'");
    number(&dir.inbound(), &sql).is_ok_and(|found| found == n)
}

#[tokio::test]
async fn it_answers_under_our_host() -> anyhow::Result<()> {
    let (mut rig, agent) = under_our_host("v2run").await?;
    rig.platform.dm("c1", "one");
    let answered = rig.platform.until(SOON, |p| p.texts("c1") == ["pong one"]).await;
    assert!(answered, "{:?}\n{}", rig.platform.texts("c1"), rig.log());
    let dir = dir(&rig, &agent)?;
    assert!(rig.platform.until(SOON, |_| has(&dir, "completed", 1)).await, "{}", rig.log());
    // Where it looks for them, and where they are.
    for name in ["outbound.db", ".heartbeat"] {
        assert!(dir.root().join(name).exists() && dir.writable().join(name).is_file(), "{name}");
    }
    // The next one comes while it idles: it polls, and our host hears its commit.
    rig.platform.dm("c1", "two");
    let answered = rig.platform.until(SOON, |p| p.texts("c1").len() == 2).await;
    assert!(answered, "{:?}\n{}", rig.platform.texts("c1"), rig.log());
    assert!(rig.platform.until(SOON, |_| has(&dir, "completed", 2)).await, "{}", rig.log());
    let seqs = rows(&dir.outbound(), "SELECT seq FROM messages_out ORDER BY seq")?;
    assert_eq!(seqs, [vec![Value::Integer(3)], vec![Value::Integer(5)]]);
    let starts = text(&dir.outbound(), "SELECT value FROM session_state WHERE key = 'starts'")?;
    assert_eq!(starts, "1", "the box did not stay");
    rig.stop().await
}

#[tokio::test]
async fn its_edits_reactions_files_and_tasks_are_done() -> anyhow::Result<()> {
    let (mut rig, agent) = under_our_host("v2acts").await?;
    let asked = rig.platform.dm("c1", "react");
    for text in ["edit me", "file", "remind"] {
        rig.platform.dm("c1", text);
    }
    let done = |p: &nanoclaw_testkit::platform::Platform| {
        let shown = p.shown();
        let has =
            |kind: &str, text: &str| shown.iter().any(|s| s.kind == kind && s.text.contains(text));
        has("react", "eyes")
            && has("edit", "before")
            && has("text", "here it is")
            && has("text", "pong reminded")
    };
    assert!(rig.platform.until(SOON, done).await, "{:#?}\n{}", rig.platform.shown(), rig.log());
    let shown = rig.platform.shown();
    let sent = shown.iter().find(|s| s.text == "here it is").context("no file")?;
    assert_eq!(sent.files, [("report.txt".to_owned(), "a report".len())]);
    // v2 names the message by its row, and its own by what the platform called it.
    let of = |kind: &str| shown.iter().find(|s| s.kind == kind).map(|s| s.text.clone());
    assert_eq!(of("react"), Some(format!("{asked}: eyes")));
    let edited = shown.iter().position(|s| s.text == "befor").context("nothing to edit")?;
    assert_eq!(of("edit"), Some(format!("shown-{}: before", edited + 1)));
    let dir = dir(&rig, &agent)?;
    // Four messages and the task; every one is settled, and the file is taken away.
    assert!(rig.platform.until(SOON, |_| has(&dir, "completed", 5)).await, "{}", rig.log());
    let cleared =
        |_: &_| std::fs::read_dir(dir.writable().join("outbox")).is_ok_and(|d| d.count() == 0);
    assert!(rig.platform.until(SOON, cleared).await, "the outbox is not cleared");
    assert_eq!(rig.platform.attempts().1, 0, "something was sent twice");
    rig.stop().await
}

#[tokio::test]
async fn a_newer_one_keeps_tables_and_words_of_its_own() -> anyhow::Result<()> {
    let (mut rig, agent) = under_our_host("v2newer").await?;
    rig.platform.dm("c1", "newer");
    assert!(rig.platform.until(SOON, |p| p.texts("c1").len() == 1).await, "{}", rig.log());
    let dir = dir(&rig, &agent)?;
    assert_eq!(number(&dir.outbound(), "SELECT COUNT(*) FROM token_usage_log")?, 1);
    // A row that it gave up does not wait for ever, and does not hold up the next.
    rig.platform.dm("c1", "skip");
    assert!(rig.platform.until(SOON, |_| has(&dir, "failed", 1)).await, "{}", rig.log());
    rig.platform.dm("c1", "two");
    let answered = rig.platform.until(SOON, |p| p.texts("c1").len() == 2).await;
    assert!(answered, "{:?}\n{}", rig.platform.texts("c1"), rig.log());
    assert_eq!(rig.platform.texts("c1"), ["pong newer", "pong two"]);
    rig.stop().await
}

#[tokio::test]
async fn its_death_in_a_turn_loses_nothing() -> anyhow::Result<()> {
    let (mut rig, agent) = under_our_host("v2dies").await?;
    rig.platform.dm("c1", "die");
    rig.platform.dm("c1", "after");
    let died = |_: &_| {
        dir(&rig, &agent).is_ok_and(|d| {
            let sql = "SELECT COUNT(*) FROM messages_in WHERE tries > 0";
            number(&d.inbound(), sql).is_ok_and(|n| n > 0)
        })
    };
    assert!(rig.platform.until(SOON, died).await, "{}", rig.log());
    let dir = dir(&rig, &agent)?;
    // Cured: from now on it says something else.
    rusqlite::Connection::open(dir.inbound())?.execute_batch(
        r#"UPDATE messages_in SET content = '{"text":"alive"}' WHERE content LIKE '%"die"%'"#,
    )?;
    let both = |p: &nanoclaw_testkit::platform::Platform| {
        let texts = p.texts("c1");
        ["pong alive", "pong after"].iter().all(|t| texts.iter().filter(|x| x == t).count() == 1)
    };
    assert!(rig.platform.until(SOON, both).await, "{:?}\n{}", rig.platform.texts("c1"), rig.log());
    assert!(rig.platform.until(SOON, |_| has(&dir, "completed", 2)).await, "{}", rig.log());
    let left = text(&dir.outbound(), "SELECT value FROM session_state WHERE key = 'left_claims'")?;
    assert_ne!(left, "0", "it did not find the claims of the one that died");
    rig.stop().await
}

#[tokio::test]
async fn a_tool_beyond_its_time_is_ended_and_one_within_is_not() -> anyhow::Result<()> {
    let (mut rig, agent) = under_our_host("v2tool").await?;
    // It asked for an hour: nothing may end it.
    rig.platform.dm("c1", "tool 3600000");
    let at_work = |of: &SessionDir, n: i64| {
        let sql = "SELECT COUNT(*) FROM container_state WHERE current_tool = 'Bash'";
        number(&of.outbound(), sql).is_ok_and(|found| found == n)
    };
    let begun = |_: &_| dir(&rig, &agent).is_ok_and(|d| at_work(&d, 1));
    assert!(rig.platform.until(SOON, begun).await, "{}", rig.log());
    let dir = dir(&rig, &agent)?;
    let story = |rig: &Rig| {
        let sql = "SELECT detail FROM trace WHERE detail LIKE '%the tool Bash runs for%'";
        rows(&rig.data().join("v2.db"), sql).unwrap_or_default().len()
    };
    // Claimed and silent, but its tool has time: our host looks at it every few seconds and lets it be.
    let judged = std::time::Duration::from_secs(10);
    assert!(!rig.platform.until(judged, |_| story(&rig) > 0).await, "{}", rig.log());
    assert!(has(&dir, "pending", 1) && at_work(&dir, 1));
    // Now it is one that asked for a second and began long ago, in a box that is older still.
    rusqlite::Connection::open(rig.data().join("v2.db"))?.execute_batch(
        "UPDATE boxes SET started_at = strftime('%Y-%m-%dT%H:%M:%S.000Z', 'now', '-2 hours')",
    )?;
    rusqlite::Connection::open(dir.outbound())?.execute_batch(
        "UPDATE container_state SET tool_declared_timeout_ms = 1000,
           tool_started_at = strftime('%Y-%m-%dT%H:%M:%S.000Z', 'now', '-1 hour')",
    )?;
    rusqlite::Connection::open(dir.inbound())?
        .execute_batch(r#"UPDATE messages_in SET content = '{"text":"quick"}'"#)?;
    assert!(rig.platform.until(SOON, |_| story(&rig) > 0).await, "{}", rig.log());
    let answered = rig.platform.until(2 * SOON, |p| p.texts("c1") == ["pong quick"]).await;
    assert!(answered, "{:?}\n{}", rig.platform.texts("c1"), rig.log());
    rig.stop().await
}

#[tokio::test]
async fn a_follow_up_that_takes_long_is_not_idleness() -> anyhow::Result<()> {
    let (mut rig, agent) = idle_after("v2long", 5_000).await?;
    // It calls this done at once and works on, first with a pulse, then in a tool.
    rig.platform.dm("c1", "long");
    let answered = rig.platform.until(SOON, |p| p.texts("c1").len() == 1).await;
    assert!(answered, "{:?}\n{}", rig.platform.texts("c1"), rig.log());
    let dir = dir(&rig, &agent)?;
    let starts = text(&dir.outbound(), "SELECT value FROM session_state WHERE key = 'starts'")?;
    assert_eq!((starts.as_str(), &*rig.platform.texts("c1")), ("1", &["pong long".to_owned()][..]));
    // Afterwards it is idle as every other.
    let sql = "SELECT COUNT(*) FROM trace WHERE step = 'box ended'";
    let central = rig.data().join("v2.db");
    let ended = |_: &_| number(&central, sql).is_ok_and(|n| n == 1);
    assert!(rig.platform.until(SOON, ended).await, "it is kept for ever");
    rig.stop().await
}

#[tokio::test]
async fn the_tool_of_a_killed_box_is_not_held_against_the_next() -> anyhow::Result<()> {
    let (mut rig, agent) = under_our_host("v2stale").await?;
    rig.platform.dm("c1", "one");
    assert!(rig.platform.until(SOON, |p| p.texts("c1").len() == 1).await, "{}", rig.log());
    let dir = dir(&rig, &agent)?;
    // What a box leaves that is killed while a command runs.
    rusqlite::Connection::open(dir.outbound())?.execute_batch(
        "INSERT INTO container_state VALUES (1, 'Bash', 1000,
           strftime('%Y-%m-%dT%H:%M:%S.000Z', 'now', '-1 hour'), '')",
    )?;
    rig.platform.dm("c1", "slow");
    let answered = rig.platform.until(SOON, |p| p.texts("c1").len() == 2).await;
    assert!(answered, "{:?}\n{}", rig.platform.texts("c1"), rig.log());
    assert_eq!(rig.platform.texts("c1"), ["pong one", "pong slow"]);
    let starts = text(&dir.outbound(), "SELECT value FROM session_state WHERE key = 'starts'")?;
    assert_eq!(starts, "1", "it was ended for a tool that it never ran:\n{}", rig.log());
    let sql = "SELECT detail FROM trace WHERE detail LIKE '%the tool Bash runs for%'";
    assert!(rows(&rig.data().join("v2.db"), sql)?.is_empty());
    rig.stop().await
}

#[tokio::test]
async fn its_box_outlives_a_killed_host() -> anyhow::Result<()> {
    let (mut rig, agent) = under_our_host("v2adopt").await?;
    rig.platform.dm("c1", "one");
    assert!(rig.platform.until(SOON, |p| p.texts("c1").len() == 1).await, "{}", rig.log());
    rig.kill().await?;
    rig.platform.dm("c1", "two");
    rig.start().await?;
    assert!(rig.platform.until(SOON, |p| p.texts("c1").len() == 2).await, "{}", rig.log());
    let dir = dir(&rig, &agent)?;
    assert!(rig.platform.until(SOON, |_| has(&dir, "completed", 2)).await, "{}", rig.log());
    assert_eq!(rig.platform.texts("c1"), ["pong one", "pong two"]);
    let starts = text(&dir.outbound(), "SELECT value FROM session_state WHERE key = 'starts'")?;
    assert_eq!(starts, "1", "it was started anew");
    rig.stop().await
}
