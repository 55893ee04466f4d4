//! The runner dies around the writes of its tools: each call has its effect once.

use super::oracle::{PATIENCE, rests};
use nanoclaw_tests::rig::Rig;

/// What is shown: kind, beginning of the text, number of files.
type Shown = (&'static str, &'static str, usize);

/// What is asked for, and what is shown for it.
const ASKED: [(&str, &[Shown]); 3] = [
    ("send me a file", &[("text", "Here is a file.", 1), ("text", "I sent you a file.", 0)]),
    (
        "edit",
        &[
            ("text", "This text will change.", 0),
            ("edit", "This text has changed.", 0),
            ("text", "I edited a message.", 0),
        ],
    ),
    ("react", &[("react", "", 0), ("text", "I reacted to your message.", 0)]),
];
const ROUNDS: usize = 4;

/// The runner dies at the n-th pass of a point, in every box anew; `n` is more than one turn has.
async fn dies_at(point: &str, n: u32) -> anyhow::Result<()> {
    let mut rig = Rig::new(&format!("tool{}{n}", point.replace('.', "")))?;
    let agent = rig.agent("andy", "demo")?;
    rig.chat("c1", &agent)?;
    rig.run.box_env = vec![format!("NANOCLAW_FAULT={point}:{n}")];
    rig.host_env = vec![("RUST_LOG".into(), "info,nanoclaw=debug".into())];
    rig.start().await?;
    let mut expected = Vec::new();
    for (text, shown) in ASKED.iter().cycle().take(ROUNDS * ASKED.len()) {
        rig.platform.dm("c1", text);
        expected.extend(*shown);
        let enough = rig.platform.until(PATIENCE, |p| p.shown().len() >= expected.len()).await;
        let all = rig.platform.shown();
        let right = all.len() == expected.len()
            && all.iter().zip(&expected).all(|(is, (kind, begin, files))| {
                // An edit names its message first.
                let text = is
                    .text
                    .split_once(": ")
                    .filter(|_| is.kind == "edit")
                    .map_or(&*is.text, |(_, text)| text);
                is.kind == *kind && text.starts_with(begin) && is.files.len() == *files
            });
        anyhow::ensure!(
            enough && right,
            "{text}: {all:#?}\ninstead of {expected:?}\n{}",
            rig.log()
        );
    }
    let died = rig.log().matches("code=Some(134)").count();
    anyhow::ensure!(died >= ROUNDS, "{point}:{n} was passed {died} times\n{}", rig.log());
    rests(&mut rig).await
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
    before_every_sixth_write: "runner.commit", 6,
    before_every_seventh_write: "runner.commit", 7,
    after_every_sixth_write: "runner.committed", 6,
    after_every_seventh_write: "runner.committed", 7,
}
