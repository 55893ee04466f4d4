//! What an agent's own limits do to a real box, and what becomes of a container that strains at them.

use super::bombs::{FORKS, MEMORY};
use super::{Bad, SOON, Ward};
use anyhow::{Context as _, ensure};

/// Lower than those of the install: 256 MiB, 512 processes, two CPUs.
const OWN: &str = "--memory-mib 64 --pids 40 --cpu-millis 200";

/// Says what it gets: whether 20 and 100 MB can be held, what two that want a CPU for two seconds use of it, how many
/// processes there are when a hundred are asked for.
const GREED: &str = "cd /workspace/box; rm -f got; exec 2>/dev/null\n\
    for mb in 20 100; do head -c ${mb}m /dev/zero | tail -c ${mb}m >/dev/null; m=$m$?,; done\n\
    (for i in 1 2; do timeout 2 sh -c 'while :; do :; done' & done; wait; times >cpu)\n\
    { read -r its; read -r cpu; } <cpu\n\
    (for i in $(seq 100); do sleep 2 & done)\n\
    set -- /proc/[0-9]*\n\
    echo \"$m $cpu $#\" >got.new; sleep 2; until mv got.new got; do :; done\n";

/// What a box got.
#[derive(Debug)]
struct Got {
    /// How the two that held memory ended.
    memory: String,
    /// Seconds of a CPU.
    cpu: f64,
    processes: u32,
}

async fn got(ward: &Ward, bad: &Bad) -> anyhow::Result<Got> {
    bad.order(ward, GREED)?;
    let there = |_: &nanoclaw_testkit::platform::Platform| bad.path("got").exists();
    ensure!(ward.rig.platform.until(SOON, there).await, "it got nothing\n{}", ward.rig.log());
    let text = std::fs::read_to_string(bad.path("got"))?;
    std::fs::remove_file(bad.path("got"))?;
    let words: Vec<_> = text.split_whitespace().collect();
    let [memory, user, system, processes] = words[..] else {
        anyhow::bail!("it got {text:?}");
    };
    let seconds = |time: &str| {
        let (minutes, seconds) = time.trim_end_matches('s').split_once('m')?;
        Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
    };
    let cpu = seconds(user).zip(seconds(system)).with_context(|| format!("it got {text:?}"))?;
    Ok(Got { memory: memory.into(), cpu: cpu.0 + cpu.1, processes: processes.parse()? })
}

async fn an_agents_own_limits(driver: &str) -> anyhow::Result<()> {
    let (mut ward, bad) = Ward::on(driver, &format!("limits-{driver}"), 0, &["greedy"]).await?;
    let bad = &bad[0];
    let before = got(&ward, bad).await?;
    ensure!(before.memory == "0,0," && before.processes > 100, "the install's: {before:?}");
    ward.rig.ncl(&format!("groups config update --id ag-greedy {OWN}")).await?;
    ward.stops(bad).await?;
    ward.answers(&bad.name, "anew").await?;
    let after = got(&ward, bad).await?;
    // 137: killed. Two seconds of a fifth of a CPU, and a little for how it is dealt out.
    ensure!(after.memory == "0,137,", "memory: {after:?}");
    ensure!((0.01..0.7).contains(&after.cpu), "CPU: {after:?}, before: {before:?}");
    ensure!((10..=40).contains(&after.processes), "processes: {after:?}");
    ward.answers(&bad.name, "still here").await?;
    ward.is_unharmed()?;
    ward.rig.stop().await
}

#[tokio::test]
async fn an_agents_own_limits_hold_in_bubblewrap() -> anyhow::Result<()> {
    an_agents_own_limits("bubblewrap").await
}

#[tokio::test]
async fn an_agents_own_limits_hold_in_docker() -> anyhow::Result<()> {
    an_agents_own_limits("docker").await
}

#[tokio::test]
async fn a_container_that_strains_is_quarantined() -> anyhow::Result<()> {
    let all = [
        ("memory", MEMORY, "it uses more memory than it may"),
        ("forks", FORKS, "it starts processes without end"),
        ("output", "exec yes </dev/null\n", "it writes output without end"),
    ];
    let names = all.map(|(name, ..)| name);
    let (mut ward, bad) = Ward::on("docker", "strain", 0, &names).await?;
    for (bad, (_, script, _)) in bad.iter().zip(all) {
        bad.order(&ward, script)?;
    }
    for (bad, (.., reason)) in bad.iter().zip(all) {
        ward.is_quarantined(bad, reason).await?;
        ward.clear(bad).await?;
    }
    ward.is_unharmed()?;
    ward.rig.stop().await
}
