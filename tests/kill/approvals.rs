//! A kill at each durable point of a stranger's way in: asked, decided, let in, answered.

use super::oracle::{PATIENCE, rests};
use nanoclaw_central::{ApprovalStatus, Role, UnknownSenderPolicy};
use nanoclaw_contract::ids::UserId;
use nanoclaw_contract::time::Timestamp;
use nanoclaw_testkit::platform::Platform;
use nanoclaw_tests::rig::Rig;
use std::time::Duration;

/// Starts the host again, whole, if it has died.
async fn revive(rig: &mut Rig, died: &mut bool) -> anyhow::Result<()> {
    if !*died && rig.ended(Duration::from_millis(300)).await {
        *died = true;
        rig.host_env = vec![("RUST_LOG".into(), "info,nanoclaw=debug".into())];
        rig.start().await?;
    }
    Ok(())
}

async fn host_dies_at(point: &str) -> anyhow::Result<()> {
    let mut rig = Rig::new(&point.replace(['.', '-'], ""))?;
    let agent = rig.agent("andy", "demo")?;
    let chat = rig.chat("c1", &agent)?;
    let (central, boss) = (rig.central()?, UserId::parse("fake:boss")?);
    rig.policy(&chat, UnknownSenderPolicy::RequestApproval)?;
    central.upsert_user(&boss, "fake", None, Timestamp::now())?;
    central.grant_role(&boss, Role::Owner, None, None, Timestamp::now())?;
    rig.host_env = vec![("NANOCLAW_FAULT".into(), format!("{point}:1"))];
    rig.start().await?;
    rig.platform.dm("c1", "echo 1");
    let (until, mut died) = (tokio::time::Instant::now() + PATIENCE, false);
    let closed = |p: &Platform| p.texts("boss").iter().any(|t| t.contains("Allowed by"));
    loop {
        anyhow::ensure!(
            tokio::time::Instant::now() < until,
            "stuck at {point}: {:?}\n{:?}\n{}",
            central.approvals(true, 10)?,
            rig.platform.shown(),
            rig.log()
        );
        revive(&mut rig, &mut died).await?;
        let answered = |p: &Platform| closed(p) && !p.texts("c1").is_empty();
        if rig.platform.until(Duration::from_millis(500), answered).await {
            break;
        }
        if let Some(card) = rig.platform.questions("boss").first() {
            let id = card.question.clone().unwrap_or_default();
            // Pressed until it was: a person whose click was lost does no less.
            let click = rig.platform.click(&id, "approve", "boss");
            drop(tokio::time::timeout(Duration::from_secs(2), click).await);
        }
    }
    revive(&mut rig, &mut died).await?;
    anyhow::ensure!(died, "{point} was never passed\n{}", rig.log());
    rests(&mut rig).await?;
    let requests = central.approvals(true, 10)?;
    anyhow::ensure!(
        matches!(requests.as_slice(), [a] if a.status == ApprovalStatus::Done),
        "{requests:?}"
    );
    anyhow::ensure!(central.unsettled_approvals()?.is_empty(), "{requests:?}");
    anyhow::ensure!(rig.platform.texts("c1").len() == 1, "{:?}", rig.platform.texts("c1"));
    anyhow::ensure!(rig.platform.questions("boss").len() == 1, "{:?}", rig.platform.shown());
    anyhow::ensure!(central.is_member(&UserId::parse("fake:user-c1")?, &agent)?);
    Ok(())
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
    with_an_open_request: "host.approval.asked",
    with_a_message_that_waits: "host.held.written",
    before_a_card: "host.mail.recorded",
    after_a_card: "host.mail.made",
    with_a_decision: "host.approval.voted",
    before_the_effect: "host.approval.begun",
    with_a_person_let_in: "host.stranger.known",
    with_everything_replayed: "host.stranger.replayed",
    after_the_effect: "host.approval.applied",
    with_an_outcome_nobody_knows: "host.approval.finished",
    with_an_outcome_in_the_mail: "host.mail.written",
}
