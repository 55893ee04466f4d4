//! Counts: every numbered message is answered exactly once, in order, in its own chat.

use super::victims;
use nanoclaw_testkit::platform::Platform;
use nanoclaw_tests::rig::Rig;
use std::time::Duration;

/// How long the slowest recovery may take on a loaded machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// Says the next number in a chat.
pub(super) fn say(platform: &Platform, chat: &str, number: usize) {
    platform.dm(chat, &format!("echo {number}"));
}

/// Lines of the host itself, which are no answers.
fn is_notice(text: &str) -> bool {
    text.starts_with('⚠')
}

/// The numbers that were answered in a chat, in the order in which they were shown. What is neither an
/// answer nor a notice counts as 0, so that it is never taken for right.
pub(super) fn numbers(platform: &Platform, chat: &str) -> Vec<usize> {
    let number = |text: &String| text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    platform.texts(chat).iter().filter(|text| !is_notice(text)).map(number).collect()
}

/// How many answers a chat has.
pub(super) fn answers(platform: &Platform, chat: &str) -> usize {
    platform.texts(chat).iter().filter(|text| !is_notice(text)).count()
}

/// Waits until a chat has this many answers, and checks that they are the numbers from 1.
pub(super) async fn answered(rig: &Rig, chat: &str, count: usize) -> anyhow::Result<()> {
    let enough = rig.platform.until(PATIENCE, |p| answers(p, chat) >= count).await;
    let all = numbers(&rig.platform, chat);
    let right: Vec<_> = (1..=count).collect();
    anyhow::ensure!(
        enough && all == right,
        "{chat}: answered {all:?} instead of 1 to {count}\n{}\n{}",
        rig.platform.texts(chat).join("\n"),
        rig.log()
    );
    Ok(())
}

/// Checks that every message is settled in every inbox and nothing is quarantined, stops the host in order,
/// and checks that nothing of the install runs any more.
pub(super) async fn rests(rig: &mut Rig) -> anyhow::Result<()> {
    // Both come after the answer.
    let received = rig.platform.until(PATIENCE, |p| p.unreceived() == 0).await;
    anyhow::ensure!(received, "a message was never received\n{}", rig.log());
    let settled =
        rig.platform.until(PATIENCE, |_| pending(rig).is_ok_and(|rows| rows.is_empty())).await;
    anyhow::ensure!(settled, "answered and not settled: {:?}\n{}", pending(rig)?, rig.log());
    let quarantined = rig.central()?.all_quarantined()?;
    anyhow::ensure!(quarantined.is_empty(), "{quarantined:?}\n{}", rig.log());
    rig.stop().await?;
    let left = victims::left(rig);
    anyhow::ensure!(left.is_empty(), "still running: {left:?}\n{}", rig.log());
    Ok(())
}

/// Inbound rows that nobody finished, by session.
fn pending(rig: &Rig) -> anyhow::Result<Vec<String>> {
    let central = rig.central()?;
    let mut all = Vec::new();
    for session in central.sessions(100, 0)? {
        let path = rig.dir(&session.agent, &session.id)?.inbound();
        let conn = rusqlite::Connection::open_with_flags(
            path,
            rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
        )?;
        let mut query = conn.prepare("SELECT id FROM messages_in WHERE status <> 'completed'")?;
        let ids = query.query_map([], |r| r.get::<_, String>(0))?;
        all.extend(ids.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(all)
}
