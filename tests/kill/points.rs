//! A kill exactly at each durable point.

use super::oracle::{PATIENCE, answered, answers, rests, say};
use super::victims;
use nanoclaw_tests::rig::Rig;
use std::time::Duration;

/// The host dies at the n-th pass of a point while messages come, and more come while it is dead.
async fn host_dies_at(point: &str) -> anyhow::Result<()> {
    for n in [1, 2] {
        let mut rig = Rig::new(&name(point, n))?;
        let agent = rig.agent("andy", "demo")?;
        rig.chat("c1", &agent)?;
        rig.host_env = vec![("NANOCLAW_FAULT".into(), format!("{point}:{n}")), log()];
        rig.start().await?;
        let mut said = 3;
        (1..=said).for_each(|number| say(&rig.platform, "c1", number));
        while !ended_before_all_is_answered(&mut rig, said).await {
            // Some points are passed once for each box: then a box that has done its work must go.
            anyhow::ensure!(said < 10, "{point}:{n} was never passed\n{}", rig.log());
            for box_ in victims::boxes(&rig) {
                box_.kill_init();
            }
            said += 1;
            say(&rig.platform, "c1", said);
        }
        (said + 1..=said + 2).for_each(|number| say(&rig.platform, "c1", number));
        rig.host_env = vec![log()];
        rig.start().await?;
        answered(&rig, "c1", said + 2).await?;
        say(&rig.platform, "c1", said + 3);
        answered(&rig, "c1", said + 3).await?;
        rests(&mut rig).await?;
    }
    Ok(())
}

/// Waits until the host ended, or everything was answered and it stays alive for a moment after that.
async fn ended_before_all_is_answered(rig: &mut Rig, said: usize) -> bool {
    let until = tokio::time::Instant::now() + PATIENCE;
    while tokio::time::Instant::now() < until {
        let all = answers(&rig.platform, "c1") >= said;
        if rig.ended(Duration::from_millis(300)).await {
            return true;
        }
        if all {
            return false;
        }
    }
    false
}

/// An install's name: tests run side by side, and their boxes are told apart by it.
fn name(point: &str, n: u32) -> String {
    format!("{}{n}", point.replace(['.', '-'], ""))
}

fn log() -> (String, String) {
    ("RUST_LOG".into(), "info,nanoclaw=debug".into())
}

/// The runner dies at the n-th pass of a point, in every box anew.
async fn runner_dies_at(point: &str, n: u32) -> anyhow::Result<()> {
    let mut rig = Rig::new(&name(point, n))?;
    let agent = rig.agent("andy", "demo")?;
    rig.chat("c1", &agent)?;
    rig.run.box_env = vec![format!("NANOCLAW_FAULT={point}:{n}")];
    rig.host_env = vec![log()];
    rig.start().await?;
    for number in 1..=8 {
        say(&rig.platform, "c1", number);
        answered(&rig, "c1", number).await?;
    }
    // Nobody lived long enough to be spared.
    let died = rig.log().matches("code=Some(134)").count();
    anyhow::ensure!(died >= 2, "{point}:{n} was passed {died} times\n{}", rig.log());
    rests(&mut rig).await
}

macro_rules! host_dies {
    ($($name:ident: $point:literal,)*) => {$(
        #[tokio::test]
        async fn $name() -> anyhow::Result<()> {
            host_dies_at($point).await
        }
    )*};
}

host_dies! {
    host_with_an_empty_session: "host.session.made",
    host_with_a_decision: "host.inbound.decided",
    host_with_a_row_nobody_knows_of: "host.inbound.written",
    host_before_a_box: "host.wake",
    host_with_a_box_nobody_knows_of: "host.box.started",
    host_with_a_box: "host.box.recorded",
    host_with_the_end_of_a_box: "host.box.ended",
    host_before_an_attempt: "host.attempt.recorded",
    host_after_an_attempt: "host.attempt.made",
    host_with_an_outcome: "host.attempt.outcome",
    host_with_a_settled_pass: "host.settled",
    host_with_a_cursor_that_moved: "host.cursor.moved",
}

macro_rules! runner_dies {
    ($($name:ident: $point:literal, $n:literal,)*) => {$(
        #[tokio::test]
        async fn $name() -> anyhow::Result<()> {
            runner_dies_at($point, $n).await
        }
    )*};
}

runner_dies! {
    runner_with_a_claim: "runner.claimed", 3,
    runner_with_a_prompt_taken_in: "runner.consumed", 3,
    runner_before_its_last_words: "runner.before-commit", 4,
    runner_after_its_last_words: "runner.after-commit", 4,
}
