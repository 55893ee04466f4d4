//! What it remembers, and what it forgets when asked to.

use super::{BUBBLEWRAP, CHAT, DOCKER, KEY, Kind, World, bash, say, strings};
use nanoclaw_central::Role;
use nanoclaw_contract::ids::UserId;
use nanoclaw_contract::time::Timestamp;

async fn remembers_after_death(driver: &str) -> anyhow::Result<()> {
    let mut world =
        World::with(&format!("dies{driver}"), driver, Kind::ApiKey, KEY).await?.started().await?;
    world.ask(&format!("my number is 4711\n{}", say("noted"))).await?;
    world.kill_box().await?;
    assert_eq!(world.ask(&format!("which number?\n{}", say("4711"))).await?, "4711");
    let asked = strings(&world.api.request_with("which number?")?["messages"]);
    assert!(asked.contains("my number is 4711") && asked.contains("noted"), "it forgot: {asked}");
    world.rig.stop().await
}

#[tokio::test]
async fn it_remembers_after_its_box_was_killed_in_bubblewrap() -> anyhow::Result<()> {
    remembers_after_death(BUBBLEWRAP).await
}

#[tokio::test]
async fn it_remembers_after_its_box_was_killed_in_docker() -> anyhow::Result<()> {
    remembers_after_death(DOCKER).await
}

#[tokio::test]
async fn a_turn_cut_short_by_the_death_of_its_box_is_answered_once() -> anyhow::Result<()> {
    let mut world = World::new("cut").await?.started().await?;
    let stuck = bash("if [ -e started ]; then echo second try; else touch started; sleep 1000; fi");
    world.rig.platform.dm(CHAT, &format!("do it\n{stuck}"));
    let started = world.folder().join("started");
    world.until("the tool runs", || started.exists()).await?;
    world.kill_box().await?;
    world.nth(0).await?;
    assert_eq!(world.ask(&say("next")).await?, "next");
    assert_eq!(world.texts().len(), 2, "{:?}", world.texts());
    world.rig.stop().await
}

#[tokio::test]
async fn clear_begins_a_new_conversation() -> anyhow::Result<()> {
    let world = World::new("clear").await?;
    let user = UserId::parse(format!("fake:user-{CHAT}"))?;
    world.rig.central()?.upsert_user(&user, "fake", None, Timestamp::now())?;
    world.rig.central()?.grant_role(
        &user,
        Role::Admin,
        Some(&world.agent),
        None,
        Timestamp::now(),
    )?;
    let mut world = world.started().await?;
    world.ask(&format!("my number is 4711\n{}", say("noted"))).await?;
    assert_eq!(world.ask("/clear").await?, "Session cleared.");
    assert_eq!(world.ask(&format!("which number?\n{}", say("none"))).await?, "none");
    let asked = strings(&world.api.request_with("which number?")?["messages"]);
    assert!(!asked.contains("4711"), "it remembers: {asked}");
    world.rig.stop().await
}

#[tokio::test]
async fn its_memory_files_reach_the_model_once() -> anyhow::Result<()> {
    let world = World::new("files").await?;
    std::fs::create_dir_all(world.folder())?;
    std::fs::write(world.folder().join("CLAUDE.md"), "The owner likes short answers.\n")?;
    std::fs::write(world.folder().join("CLAUDE.local.md"), "The owner's cat is called Minka.\n")?;
    let mut world = world.started().await?;
    world.ask(&say("hello")).await?;
    let asked = strings(&world.api.request_with("hello")?);
    for memory in ["The owner likes short answers.", "The owner's cat is called Minka."] {
        assert_eq!(asked.matches(memory).count(), 1, "{memory}\n{asked}");
    }
    world.rig.stop().await
}
