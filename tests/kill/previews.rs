//! The host dies while an answer grows: it is there once, whole, whatever was shown of it before.

use super::oracle::{PATIENCE, rests};
use anyhow::ensure;
use nanoclaw_tests::rig::Rig;

const WORDS: &str = "one two three four five six seven eight nine ten eleven twelve";

async fn dies_at(point: &str, n: u32) -> anyhow::Result<()> {
    let mut rig = Rig::new(&format!("{}{n}", point.replace('.', "")))?;
    let agent = rig.agent("andy", "demo")?;
    rig.chat("c1", &agent)?;
    let wiring = rig.central()?.wirings()?.remove(0)?;
    rig.central()?.update_wiring(&nanoclaw_central::Wiring { previews: true, ..wiring })?;
    rig.host_env = vec![("NANOCLAW_FAULT".into(), format!("{point}:{n}"))];
    rig.start().await?;
    rig.platform.dm("c1", &format!("stream me {WORDS}"));
    ensure!(rig.ended(PATIENCE).await, "{point}:{n} was never passed\n{}", rig.log());
    rig.host_env.clear();
    rig.start().await?;
    let whole = [format!("{WORDS} (demo agent)")];
    let said = rig.platform.until(PATIENCE, |p| p.screen("c1") == whole).await;
    ensure!(said, "{point}:{n}: {:?}\n{}", rig.platform.shown(), rig.log());
    rests(&mut rig).await?;
    ensure!(rig.platform.screen("c1") == whole, "{:?}", rig.platform.shown());
    let left = rig.central()?.sessions_with_previews()?;
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

macro_rules! dies {
    ($($name:ident: $point:literal, $n:literal,)*) => {$(
        #[tokio::test]
        async fn $name() -> anyhow::Result<()> {
            dies_at($point, $n).await
        }
    )*};
}

dies! {
    before_a_preview: "host.preview.recorded", 1,
    with_a_preview_that_nobody_knows: "host.preview.made", 1,
    with_a_preview: "host.preview.shown", 1,
    before_a_preview_grows: "host.preview.recorded", 2,
    with_a_preview_that_grew: "host.preview.made", 2,
    before_the_preview_is_the_answer: "host.attempt.recorded", 1,
    with_the_answer_in_place_of_the_preview: "host.attempt.made", 1,
    with_an_answer_that_is_delivered: "host.attempt.outcome", 1,
    with_an_answer_that_is_settled: "host.settled", 1,
}
