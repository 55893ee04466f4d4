//! A guest at the door: who is let in is answered, who is not is not.

use super::SOON;
use nanoclaw_central::UnknownSenderPolicy;
use nanoclaw_testkit::platform::{Platform, Said};
use nanoclaw_tests::rig::Rig;

fn knocks(rig: &Rig, who: &str, text: &str) {
    rig.platform.say(Said {
        channel: "fakemail".into(),
        id: format!("{who}-1"),
        chat: "door".into(),
        thread: Some(format!("letter of {who}")),
        sender: format!("{who}@example.org"),
        text: text.into(),
        mention: true,
        group: true,
        ..Said::default()
    });
}

/// The guests write by mail, the owner decides in a chat; the first message is answered from the box.
#[tokio::test]
async fn a_guest_is_let_in_from_another_channel_and_one_is_not() -> anyhow::Result<()> {
    let mut rig = Rig::new("guest")?;
    let agent = rig.agent("andy", "demo")?;
    rig.owner("boss")?;
    let door = rig.group("fakemail", "door")?;
    rig.policy(&door, UnknownSenderPolicy::RequestApproval)?;
    rig.wire(&door, &agent, |_| {})?;
    rig.start().await?;
    for (n, (who, button)) in [("mallory", 1), ("ann", 0)].into_iter().enumerate() {
        knocks(&rig, who, &format!("echo it is {who}"));
        let asked = rig.platform.until(SOON, |p| p.questions("boss").len() == n + 1).await;
        assert!(asked, "{:?}\n{}", rig.platform.shown(), rig.log());
        let card = rig.platform.questions("boss").swap_remove(n);
        assert!(card.text.contains(who), "{card:?}");
        let (id, value) = (card.question.unwrap_or_default(), &card.options[button].1);
        let pressed = rig.platform.click(&id, value, "boss").await.unwrap_or_default();
        assert!(pressed.starts_with("taken"), "{pressed}");
    }
    let answered = |p: &Platform| p.texts("door").iter().any(|t| t.contains("it is ann"));
    assert!(rig.platform.until(SOON, answered).await, "{:?}\n{}", rig.platform.shown(), rig.log());
    let texts = rig.platform.texts("door");
    assert!(texts.iter().all(|t| !t.contains("mallory")), "{texts:?}");
    assert_eq!(rig.sessions(&agent)?.len(), 1);
    rig.stop().await
}
