//! Boxes that use all they can get.

use super::Ward;
use super::load::{GOOD, chat, undisturbed};
use std::time::Duration;

async fn bomb(name: &str, script: &str) -> anyhow::Result<()> {
    let (ward, bad) = Ward::new(name, GOOD, &[name]).await?;
    let bad = &bad[0];
    chat(&ward, "warm", Duration::from_secs(2)).await?;
    let attack = async |_| bad.order(&ward, script);
    let calm = async || {
        ward.stops(bad).await?;
        ward.answers(name, "back").await
    };
    undisturbed(&ward, name, attack, calm).await?;
    ward.is_unharmed()?;
    let mut ward = ward;
    ward.rig.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_at_all() -> anyhow::Result<()> {
    bomb("quiet", "true\n").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_output() -> anyhow::Result<()> {
    bomb("output", "exec yes </dev/null\n").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_bomb() -> anyhow::Result<()> {
    bomb("forks", "f() { f | f & }; while :; do f; done 2>/dev/null\n").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memory_bomb() -> anyhow::Result<()> {
    bomb("memory", "while :; do tail /dev/zero; done\n").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_events() -> anyhow::Result<()> {
    bomb("events", "cd /workspace/box; while :; do : >outbound.db-journal; : >x; done\n").await
}
