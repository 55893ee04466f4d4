//! Two hundred kills at random while five hundred messages flow through ten sessions.
//!
//! What is killed and when follows from a seed, which is printed; `NANOCLAW_KILL_SEED` repeats a run as far
//! as the machine does. A kill comes after so many events on the platform and then so many microseconds: the
//! events pace the schedule, the rest finds moments that no event marks.

use super::oracle::{self, PATIENCE, answered, rests, say};
use super::victims;
use anyhow::Context as _;
use nanoclaw_testkit::platform::Platform;
use nanoclaw_tests::rig::Rig;
use std::time::Duration;

const SESSIONS: usize = 10;
const EACH: usize = 50;
const KILLS: usize = 200;
/// Messages of one session that wait for an answer.
const OPEN_MAX: usize = 4;
/// The longest time from an event to a kill.
const JITTER_US: u64 = 30_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Host,
    Vault,
    /// PID 1 of a box.
    Init,
    /// The runner below it.
    Runner,
    /// `bwrap` and all.
    Box,
}

/// SplitMix64: the same seed, the same schedule.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn victim(&mut self) -> Victim {
        match self.roll(10) {
            0 | 1 => Victim::Host,
            2 => Victim::Vault,
            3 | 4 => Victim::Init,
            5 | 6 => Victim::Runner,
            _ => Victim::Box,
        }
    }
}

fn chat(n: usize) -> String {
    format!("c{n}")
}

/// Everything that people and platform have seen happen.
fn events(p: &Platform, said: usize) -> u64 {
    p.attempts().0 + (said - p.unreceived()) as u64
}

/// The people: each session's next messages, as far as the last ones were answered.
fn talk(p: &Platform, said: &mut [usize; SESSIONS], limit: usize) {
    for (n, said) in said.iter_mut().enumerate() {
        let answered = oracle::answers(p, &chat(n));
        while *said < limit && *said < answered + OPEN_MAX {
            *said += 1;
            say(p, &chat(n), *said);
        }
    }
}

#[tokio::test]
async fn two_hundred_kills_lose_nothing_and_double_nothing() -> anyhow::Result<()> {
    let seed = match std::env::var("NANOCLAW_KILL_SEED") {
        Ok(text) => text.parse().context("NANOCLAW_KILL_SEED is no number")?,
        Err(_) => std::process::id().into(),
    };
    println!("NANOCLAW_KILL_SEED={seed}");
    let mut dice = Dice(seed);
    let mut rig = Rig::new("random")?;
    let agent = rig.agent("andy", "demo")?;
    for n in 0..SESSIONS {
        rig.chat(&chat(n), &agent)?;
    }
    rig.host_env = vec![("RUST_LOG".into(), "info,nanoclaw=debug".into())];
    rig.start().await?;

    let mut said = [0; SESSIONS];
    let mut kills = std::collections::BTreeMap::<String, usize>::new();
    for done in 0..KILLS {
        // So many messages may be out when this kill comes; the last ones are said after the last kill.
        let limit = EACH.min(1 + (done + 1) * EACH / KILLS);
        let victim = dice.victim();
        let (wait, jitter, which) = (1 + dice.roll(6), dice.roll(JITTER_US), dice.roll(1 << 32));
        let from = events(&rig.platform, said.iter().sum());
        let moved = rig.platform.until(PATIENCE, |p| {
            talk(p, &mut said, limit);
            let idle = (0..SESSIONS).all(|n| oracle::answers(p, &chat(n)) >= limit);
            idle || events(p, said.iter().sum()) >= from + wait
        });
        anyhow::ensure!(
            moved.await,
            "seed {seed}: nothing moves after {done} kills {kills:?}\n{}",
            report(&rig)
        );
        tokio::time::sleep(Duration::from_micros(jitter)).await;
        kill(&mut rig, victim, which).await.with_context(|| format!("kill {done}, {victim:?}"))?;
        *kills.entry(format!("{victim:?}")).or_default() += 1;
    }
    println!("killed: {kills:?}");

    let all = rig.platform.until(PATIENCE, |p| {
        talk(p, &mut said, EACH);
        (0..SESSIONS).all(|n| oracle::answers(p, &chat(n)) >= EACH)
    });
    anyhow::ensure!(all.await, "seed {seed}: messages were lost\n{}", report(&rig));
    for n in 0..SESSIONS {
        answered(&rig, &chat(n), EACH).await.with_context(|| format!("seed {seed}"))?;
    }
    // Every session is alive, and what was settled stays so.
    (0..SESSIONS).for_each(|n| say(&rig.platform, &chat(n), EACH + 1));
    for n in 0..SESSIONS {
        answered(&rig, &chat(n), EACH + 1).await.with_context(|| format!("seed {seed}"))?;
    }
    rests(&mut rig).await.with_context(|| format!("seed {seed}"))
}

/// Kills one; waits until there is one to kill.
async fn kill(rig: &mut Rig, victim: Victim, which: u64) -> anyhow::Result<()> {
    if victim == Victim::Host {
        rig.kill().await?;
        return rig.start().await;
    }
    let its = &*rig;
    let killed = rig.platform.until(PATIENCE, |_| match victim {
        Victim::Host => true,
        Victim::Vault => victims::vault(its).is_some_and(|vault| victims::kill(&vault)),
        Victim::Init | Victim::Runner | Victim::Box => {
            let boxes = victims::boxes(its);
            let box_ = boxes.get(which as usize % boxes.len().max(1));
            box_.is_some_and(|b| match victim {
                Victim::Init => b.kill_init(),
                Victim::Runner => b.kill_runner(),
                Victim::Box | Victim::Host | Victim::Vault => b.kill_all(),
            })
        }
    });
    anyhow::ensure!(killed.await, "there was nothing to kill\n{}", report(rig));
    Ok(())
}

fn report(rig: &Rig) -> String {
    let chats = (0..SESSIONS).map(|n| format!("{}: {:?}", chat(n), rig.platform.texts(&chat(n))));
    format!("{}\n{}", chats.collect::<Vec<_>>().join("\n"), rig.log())
}
