//! The vault dies: sessions go on, and the way out of every box is there again.

use super::oracle::{PATIENCE, answered, rests, say};
use super::victims;
use anyhow::Context as _;
use nanoclaw_driver::process::ProcessId;
use nanoclaw_tests::rig::Rig;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// The sockets that boxes have.
fn sockets(rig: &Rig) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(rig.data().join("run/s")) else { return Vec::new() };
    entries.flatten().map(|e| e.path().join("proxy.sock")).filter(|p| p.exists()).collect()
}

/// Whether somebody answers at every one of so many.
fn all_answer(rig: &Rig, count: usize) -> bool {
    let sockets = sockets(rig);
    sockets.len() == count && sockets.iter().all(|socket| UnixStream::connect(socket).is_ok())
}

#[tokio::test]
async fn the_vault_comes_back_with_every_socket() -> anyhow::Result<()> {
    let mut rig = Rig::new("vault")?;
    let agent = rig.agent("andy", "demo")?;
    for chat in ["c1", "c2"] {
        rig.chat(chat, &agent)?;
    }
    rig.start().await?;
    for chat in ["c1", "c2"] {
        say(&rig.platform, chat, 1);
        answered(&rig, chat, 1).await?;
    }
    anyhow::ensure!(all_answer(&rig, 2), "no sockets: {:?}", sockets(&rig));
    let boxes: Vec<_> = victims::boxes(&rig).into_iter().map(|b| b.first).collect();
    for round in 2..=4 {
        let vault = victims::vault(&rig).context("no vault runs")?;
        anyhow::ensure!(victims::kill(&vault), "the vault was gone");
        for chat in ["c1", "c2"] {
            say(&rig.platform, chat, round);
            answered(&rig, chat, round).await?;
        }
        let again = rig.platform.until(PATIENCE, |_| {
            victims::vault(&rig).is_some_and(|new| new != vault) && all_answer(&rig, 2)
        });
        anyhow::ensure!(again.await, "the vault did not come back\n{}", rig.log());
    }
    anyhow::ensure!(boxes.iter().all(ProcessId::lives), "a box died with the vault\n{}", rig.log());
    rests(&mut rig).await
}

#[tokio::test]
async fn an_adopted_box_has_its_way_out() -> anyhow::Result<()> {
    let mut rig = Rig::new("way")?;
    let agent = rig.agent("andy", "demo")?;
    rig.chat("c1", &agent)?;
    rig.start().await?;
    say(&rig.platform, "c1", 1);
    answered(&rig, "c1", 1).await?;
    let before = victims::boxes(&rig).into_iter().next().context("no box runs")?.first;
    for round in 2..=4 {
        rig.kill().await?;
        rig.start().await?;
        let again = rig.platform.until(PATIENCE, |_| all_answer(&rig, 1));
        anyhow::ensure!(again.await, "the adopted box has no way out\n{}", rig.log());
        say(&rig.platform, "c1", round);
        answered(&rig, "c1", round).await?;
    }
    anyhow::ensure!(before.lives(), "the box was not adopted\n{}", rig.log());
    rests(&mut rig).await
}
