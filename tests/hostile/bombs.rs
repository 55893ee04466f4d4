//! Boxes that use all they can get.

use super::Ward;
use super::load::{GOOD, undisturbed};

pub(super) const FORKS: &str = "exec bash -c 'f() { f | f & }; while :; do f; done' 2>/dev/null\n";
pub(super) const MEMORY: &str = "while :; do tail /dev/zero; done\n";

/// Runs the script in a box; where there is a reason, it ends in quarantine for it.
async fn bomb(name: &str, script: &str, reason: Option<&str>) -> anyhow::Result<()> {
    let (mut ward, bad) = Ward::new(name, GOOD, &[name]).await?;
    let bad = &bad[0];
    let attack = async |_| bad.order(&ward, script);
    let calm = async || {
        let Some(reason) = reason else {
            ward.stops(bad).await?;
            return ward.answers(name, "back").await;
        };
        ward.is_quarantined(bad, reason).await?;
        ward.clear(bad).await
    };
    undisturbed(&ward, name, attack, calm).await?;
    ward.is_unharmed()?;
    ward.rig.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_output() -> anyhow::Result<()> {
    bomb("output", "exec yes </dev/null\n", Some("it writes output without end")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_bomb() -> anyhow::Result<()> {
    bomb("forks", FORKS, Some("it starts processes without end")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memory_bomb() -> anyhow::Result<()> {
    bomb("memory", MEMORY, Some("it uses more memory than it may")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_events() -> anyhow::Result<()> {
    let script = "cd /workspace/box; while :; do : >outbound.db-journal; : >x; done\n";
    bomb("events", script, Some("it changes its folder without end")).await
}
