//! The host dies while it removes an agent: the same command does the rest.

use super::oracle::{PATIENCE, answered, say};
use nanoclaw_tests::rig::Rig;

async fn removal_is_finished(point: &str) -> anyhow::Result<()> {
    let mut rig = Rig::new(&point.replace('.', ""))?;
    let (andy, bert) = (rig.agent("andy", "demo")?, rig.agent("bert", "demo")?);
    rig.chat("c1", &andy)?;
    rig.chat("c2", &bert)?;
    rig.host_env = vec![("NANOCLAW_FAULT".into(), point.into())];
    rig.start().await?;
    for chat in ["c1", "c2"] {
        say(&rig.platform, chat, 1);
        answered(&rig, chat, 1).await?;
    }
    let groups = rig.root.path().join("groups");
    std::fs::write(groups.join("andy/CLAUDE.local.md"), "a memory")?;
    assert!(rig.ncl("groups delete ag-andy --force").await.is_err(), "nobody died");
    assert!(rig.ended(PATIENCE).await, "nobody died");
    rig.host_env.clear();
    rig.start().await?;
    // Nothing begins there any more, also before the rest is done.
    say(&rig.platform, "c1", 2);
    say(&rig.platform, "c2", 2);
    answered(&rig, "c2", 2).await?;
    rig.ncl("groups delete ag-andy --force").await?;
    for list in ["groups", "sessions", "wirings", "destinations"] {
        let left = rig.ncl(list).await?.to_string();
        assert!(!left.contains("ag-andy"), "{list}: {left}");
    }
    assert_eq!(rig.platform.texts("c1").len(), 1);
    let mut kept = 0;
    for entry in std::fs::read_dir(&groups)? {
        let entry = entry?;
        assert_ne!(entry.file_name(), "andy");
        kept += usize::from(entry.path().join("CLAUDE.local.md").exists());
    }
    assert_eq!(kept, 1, "what it knew was lost");
    rig.stop().await
}

#[tokio::test]
async fn host_that_begins_to_remove_an_agent() -> anyhow::Result<()> {
    removal_is_finished("host.removal.begun").await
}

#[tokio::test]
async fn host_that_has_put_an_agent_aside() -> anyhow::Result<()> {
    removal_is_finished("host.removal.aside").await
}
