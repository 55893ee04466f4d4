//! A host that dies between two agents, or with a person's answer in its hand.

use super::oracle::{PATIENCE, rests};
use nanoclaw_central::DestinationTarget;
use nanoclaw_contract::time::Timestamp;
use nanoclaw_tests::rig::Rig;

fn shown(rig: &Rig, start: &str) -> Vec<String> {
    rig.platform.texts("c1").into_iter().filter(|t| t.starts_with(start)).collect()
}

/// Every errand is run once, and its answer comes back once, in order.
async fn host_dies_at(point: &str) -> anyhow::Result<()> {
    for n in [1, 2] {
        let mut rig = Rig::new(&format!("{}{n}", point.replace('.', "")))?;
        let (sam, kim) = (rig.agent("sam", "demo")?, rig.agent("kim", "demo")?);
        let (central, now) = (rig.central()?, Timestamp::now());
        for (one, name, other) in [(&sam, "kim", &kim), (&kim, "sam", &sam)] {
            central.add_destination(one, name, &DestinationTarget::Agent(other.clone()), now)?;
        }
        rig.chat("c1", &sam)?;
        rig.host_env = vec![("NANOCLAW_FAULT".into(), format!("{point}:{n}"))];
        rig.start().await?;
        rig.platform.dm("c1", "tell kim: echo 1");
        rig.platform.dm("c1", "tell kim: echo 2");
        anyhow::ensure!(rig.ended(PATIENCE).await, "{point}:{n} was never passed\n{}", rig.log());
        rig.host_env.clear();
        rig.start().await?;
        rig.platform.dm("c1", "tell kim: echo 3");
        let all = rig.platform.until(PATIENCE, |_| shown(&rig, "kim says: 3").len() == 1).await;
        anyhow::ensure!(all, "{:?}\n{}", rig.platform.texts("c1"), rig.log());
        let says: Vec<_> = (1..=3).map(|n| format!("kim says: {n} (demo agent)")).collect();
        anyhow::ensure!(shown(&rig, "kim says") == says, "{:?}", rig.platform.texts("c1"));
        anyhow::ensure!(shown(&rig, "I wrote").len() == 3, "{:?}", rig.platform.texts("c1"));
        rests(&mut rig).await?;
    }
    Ok(())
}

#[tokio::test]
async fn host_with_a_letter_on_its_way() -> anyhow::Result<()> {
    host_dies_at("host.letter.decided").await
}

#[tokio::test]
async fn host_with_a_letter_that_arrived() -> anyhow::Result<()> {
    host_dies_at("host.letter.written").await
}

/// The answer is on disk and the question still open: clicked again it is late, and heard once.
#[tokio::test]
async fn host_with_an_answer_to_a_question() -> anyhow::Result<()> {
    let mut rig = Rig::new("answer")?;
    let sam = rig.agent("sam", "demo")?;
    rig.chat("c1", &sam)?;
    rig.host_env = vec![("NANOCLAW_FAULT".into(), "host.answer.written:1".into())];
    rig.start().await?;
    rig.platform.dm("c1", "ask me something");
    anyhow::ensure!(rig.platform.until(PATIENCE, |p| !p.questions("c1").is_empty()).await);
    let question = rig.platform.questions("c1")[0].question.clone().unwrap_or_default();
    let platform = rig.platform.clone();
    let (clicked, id) = (platform.clone(), question.clone());
    // Nobody ever hears of this click: the host dies with it.
    let click = tokio::spawn(async move { clicked.click(&id, "blue", "user-c1").await });
    anyhow::ensure!(rig.ended(PATIENCE).await, "the point was never passed\n{}", rig.log());
    click.abort();
    rig.host_env.clear();
    rig.start().await?;
    let heard = rig.platform.until(PATIENCE, |_| shown(&rig, "You chose").len() == 1).await;
    anyhow::ensure!(heard, "{:?}\n{}", rig.platform.texts("c1"), rig.log());
    let again = platform.click(&question, "red", "user-c1").await;
    anyhow::ensure!(again.as_deref() == Some("late"), "{again:?}");
    rests(&mut rig).await?;
    anyhow::ensure!(shown(&rig, "You chose") == ["You chose blue. (demo agent)"]);
    Ok(())
}
