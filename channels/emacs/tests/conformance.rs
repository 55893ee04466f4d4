//! Emacs against the cases that every channel is held to.

mod peer;

use nanoclaw_conformance::{Place, Rig, Say};

#[test]
fn holds() -> anyhow::Result<()> {
    nanoclaw_conformance::run(peer::Emacs::start)
}

#[tokio::test]
async fn an_answer_to_a_question_that_is_gone_holds_up_nothing() -> anyhow::Result<()> {
    let mut emacs = peer::Emacs::start().await?;
    let body = "'(:question \"gone\" :option 1)";
    emacs.ask(&format!("(progn (nanoclaw--post \"/api/answer\" {body}) t)")).await?;
    let mut rig = Rig::new(Box::new(emacs))?;
    rig.start().await?;
    rig.say(Say::new("ann", Place::Direct, "said after it")).await?;
    assert_eq!(rig.host.heard().texts(), ["said after it"]);
    Ok(())
}
