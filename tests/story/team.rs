//! Agents that work together, through real boxes.

use nanoclaw_central::{AgentConfig, CliScope, DestinationTarget, Role};
use nanoclaw_contract::ids::UserId;
use nanoclaw_contract::time::Timestamp;
use nanoclaw_tests::rig::Rig;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

async fn shows(rig: &Rig, chat: &str, text: &str) -> anyhow::Result<()> {
    let shown = rig.platform.until(SOON, |p| p.texts(chat).iter().any(|t| t.contains(text))).await;
    anyhow::ensure!(shown, "no {text:?} in {:?}\n{}", rig.platform.texts(chat), rig.log());
    Ok(())
}

/// One agent hands another a file; the answer comes back to the conversation that asked for it.
#[tokio::test]
async fn a_file_goes_to_another_agent_and_the_answer_returns() -> anyhow::Result<()> {
    let mut rig = Rig::new("hand")?;
    let (sam, kim) = (rig.agent("sam", "demo")?, rig.agent("kim", "demo")?);
    let (central, now) = (rig.central()?, Timestamp::now());
    for (one, name, other) in [(&sam, "kim", &kim), (&kim, "sam", &sam)] {
        central.add_destination(one, name, &DestinationTarget::Agent(other.clone()), now)?;
    }
    rig.chat("c1", &sam)?;
    rig.chat("c2", &sam)?;
    rig.start().await?;
    for chat in ["c1", "c2"] {
        rig.platform.dm(chat, "hello");
        shows(&rig, chat, "Hello!").await?;
    }
    rig.platform.dm("c1", "send kim a file");
    shows(&rig, "c1", "I sent kim a file.").await?;
    shows(&rig, "c1", "kim says: I am only the demo, but I heard you: “Here is a file.").await?;
    assert_eq!(rig.platform.texts("c2").len(), 1, "{:?}", rig.platform.texts("c2"));
    let of_kim = rig.sessions(&kim)?.remove(0);
    let inbox = rig.dir(&kim, &of_kim)?.inbox();
    let letter = std::fs::read_dir(inbox)?.next().expect("a folder")?.path();
    let copy = std::fs::read_to_string(letter.join("hello-from-nanoclaw.txt"))?;
    assert!(copy.contains("made by NanoClaw's demo agent"), "{copy}");
    rig.stop().await
}

/// An owner's agent makes another one and talks to it, without a restart.
#[tokio::test]
async fn an_agent_is_made_and_written_to() -> anyhow::Result<()> {
    let mut rig = Rig::new("make")?;
    let sam = rig.agent("sam", "demo")?;
    let (central, now) = (rig.central()?, Timestamp::now());
    let owner = UserId::parse("fake:c1")?;
    central.upsert_user(&owner, "fake", None, now)?;
    central.grant_role(&owner, Role::Owner, None, None, now)?;
    let config = AgentConfig { cli_scope: CliScope::Global, ..AgentConfig::default() };
    central.put_config(&sam, &config, now)?;
    rig.chat("c1", &sam)?;
    rig.start().await?;
    rig.platform.dm("c1", "create an agent called Max");
    shows(&rig, "c1", "Agent \"max\" created.").await?;
    rig.platform.dm("c1", "tell max: echo good morning");
    shows(&rig, "c1", "max says: good morning").await?;
    rig.stop().await
}

/// A question survives the end of the box that asked it; nobody types while it waits.
#[tokio::test]
async fn a_question_outlives_its_box() -> anyhow::Result<()> {
    let mut rig = Rig::new("outlive")?;
    let sam = rig.agent("sam", "demo")?;
    rig.chat("c1", &sam)?;
    rig.start().await?;
    rig.platform.dm("c1", "ask me something");
    let asked = rig.platform.until(SOON, |p| !p.questions("c1").is_empty()).await;
    anyhow::ensure!(asked, "no question\n{}", rig.log());
    assert!(rig.platform.until(SOON, |p| !p.is_typing("c1")).await, "it types while it waits");
    let session = rig.sessions(&sam)?.remove(0);
    rig.ncl(&format!("sessions stop {session}")).await?;
    let question = rig.platform.questions("c1")[0].question.clone().unwrap_or_default();
    let taken = rig.platform.click(&question, "blue", "user-c1").await;
    assert_eq!(taken.as_deref(), Some("taken: blue"));
    shows(&rig, "c1", "You chose blue.").await?;
    assert_eq!(rig.platform.questions("c1").len(), 1, "it was asked once");
    let over = rig.platform.until(SOON, |p| !p.is_typing("c1")).await;
    assert!(over && rig.platform.texts("c1").len() == 2, "{:?}", rig.platform.texts("c1"));
    rig.stop().await
}
