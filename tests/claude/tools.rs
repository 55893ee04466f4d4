//! What is configured for an agent reaches the real Claude Code: servers of tools, skills, what they say of
//! themselves, and packages that it asked for.

use super::{BUBBLEWRAP, CHAT, DOCKER, KEY, Kind, World, bash, say, strings};
use nanoclaw_central::Role;
use nanoclaw_contract::ids::UserId;
use nanoclaw_contract::time::Timestamp;
use nanoclaw_testkit::platform::Platform;
use serde_json::json;
use std::time::Duration;
use tokio::process::Command;

const OWNER: &str = "olga";
const LONG: Duration = Duration::from_secs(240);
/// The smallest server over stdio: one tool, which says what the server was started with.
const SERVER: &str = r#"
import json, os, sys
for line in sys.stdin:
    call = json.loads(line)
    if "id" not in call:
        continue
    method = call["method"]
    if method == "initialize":
        result = {"protocolVersion": call["params"]["protocolVersion"], "capabilities": {"tools": {}},
                  "serverInfo": {"name": "shelf", "version": "1"}}
    elif method == "tools/list":
        result = {"tools": [{"name": "look", "description": "Looks at the shelf.",
                             "inputSchema": {"type": "object", "properties": {"at": {"type": "string"}}}}]}
    else:
        said = "%s, %s, %s" % (call["params"]["arguments"]["at"], sys.argv[1:], os.environ.get("SHELF_MODE"))
        result = {"content": [{"type": "text", "text": said}]}
    print(json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": result}), flush=True)
"#;

#[tokio::test]
async fn a_configured_server_is_started_and_called() -> anyhow::Result<()> {
    let world = World::new("server").await?;
    std::fs::create_dir_all(world.folder())?;
    std::fs::write(world.folder().join("shelf.py"), SERVER)?;
    let central = world.rig.central()?;
    let mut config = central.config(&world.agent)?.unwrap_or_default();
    config.mcp_servers = json!({"shelf": {"command": "python3", "args": ["shelf.py", "--top", "a b;c"],
        "env": {"SHELF_MODE": "dry"}, "instructions": "Look at the shelf before you answer."}});
    central.put_config(&world.agent, &config, Timestamp::now())?;
    let mut world = world.started().await?;
    let answer = world.ask(r#"!tool mcp__shelf__look {"at": "the left"}"#).await?;
    assert!(answer.contains("the left, ['--top', 'a b;c'], dry"), "{answer}");
    let asked = strings(&world.api.request_with("the left")?);
    assert!(asked.contains("## Tools of shelf\n\nLook at the shelf before you answer."), "{asked}");
    world.rig.stop().await
}

#[tokio::test]
async fn chosen_skills_are_there_and_others_are_not() -> anyhow::Result<()> {
    let world = World::new("skills").await?;
    let all = world.rig.root.path().join("container/skills");
    for (name, about) in
        [("charts", "Draws charts of barley prices."), ("zithers", "Tunes zithers.")]
    {
        std::fs::create_dir_all(all.join(name))?;
        let text = format!(
            "---\nname: {name}\ndescription: {about}\n---\n\nThe secret word is {name}-word.\n"
        );
        std::fs::write(all.join(name).join("SKILL.md"), text)?;
        std::fs::write(
            all.join(name).join("instructions.md"),
            format!("Always think of {name}.\n"),
        )?;
    }
    std::fs::write(all.join("../CLAUDE.md"), "Everybody here speaks softly.\n")?;
    let central = world.rig.central()?;
    let mut config = central.config(&world.agent)?.unwrap_or_default();
    config.skills = json!(["charts"]);
    central.put_config(&world.agent, &config, Timestamp::now())?;
    let mut world = world.started().await?;
    world.ask(&format!("hello there\n{}", say("hi"))).await?;
    let asked = strings(&world.api.request_with("hello there")?);
    for part in [
        "Draws charts of barley prices.",
        "Always think of charts.",
        "Everybody here speaks softly.",
    ] {
        assert_eq!(asked.matches(part).count(), 1, "{part}\n{asked}");
    }
    assert!(!asked.contains("zither"), "{asked}");
    world.ask(r#"!tool Skill {"skill": "charts"}"#).await?;
    world.api.request_with("The secret word is charts-word.")?;
    world.rig.stop().await
}

/// The whole way with everything real but the model: asked, approved, fetched, made ready, started anew, used;
/// then made anew by the operator, and used. `read_only` is where the box may not write to what it got.
async fn an_approved_package_can_be_used(driver: &str, read_only: &str) -> anyhow::Result<()> {
    let world = World::with(&format!("install{driver}"), driver, Kind::ApiKey, KEY).await?;
    let (central, owner) = (world.rig.central()?, UserId::parse(format!("fake:{OWNER}"))?);
    world.rig.chat(OWNER, &world.agent)?;
    central.upsert_user(&owner, "fake", None, Timestamp::now())?;
    central.grant_role(&owner, Role::Owner, None, None, Timestamp::now())?;
    let mut world = world.started().await?;
    let missing = world.ask(&bash("hello || echo it is not there")).await?;
    assert!(missing.contains("it is not there"), "{missing}");
    world
        .ask(r#"!tool mcp__nanoclaw__install_packages {"apt": ["hello"], "reason": "to greet"}"#)
        .await?;
    let asked = |p: &Platform| !p.questions(OWNER).is_empty();
    assert!(world.rig.platform.until(super::SOON, asked).await, "{}", world.rig.log());
    let card = world.rig.platform.questions(OWNER).remove(0).question.unwrap_or_default();
    let taken = world.rig.platform.click(&card, "approve", OWNER).await;
    assert!(taken.as_deref().is_some_and(|t| t.starts_with("taken")), "{taken:?}");
    let done = |p: &Platform| p.shown().iter().any(|s| s.text.contains("Done: hello is there."));
    assert!(world.rig.platform.until(LONG, done).await, "{:?}\n{}", world.texts(), world.rig.log());
    let uses = async |greeting: &str| {
        let used = |p: &Platform| p.texts(CHAT).iter().any(|t| t.contains(greeting));
        world.rig.platform.dm(CHAT, &bash(&format!("hello -g {greeting}; touch {read_only}")));
        let done = world.rig.platform.until(super::SOON, used).await;
        anyhow::ensure!(done, "{:?}\n{}", world.texts(), world.rig.log());
        anyhow::Ok(())
    };
    uses("first").await?;
    let refused = |t: &String| t.contains("Read-only file system");
    assert!(world.texts().iter().any(refused), "{:?}", world.texts());
    let made = || anyhow::Ok(central.box_parts(&world.agent)?.tools.map(|tools| tools.provided));
    let first = made()?;
    let (driver, install) = (world.driver()?, world.rig.run.install.clone());
    let old = driver.list(&install).await?;
    let done = world.rig.ncl(&format!("groups restart {} --rebuild", world.agent)).await?;
    assert_eq!(done["note"], "Done: its packages are made anew.");
    assert_ne!(made()?, first, "what was there was used again");
    let log = format!("logs/build-{}.log", world.agent);
    let log = std::fs::read_to_string(world.rig.data().join(log))?;
    assert!(log.contains("hello"), "{log}");
    // What is said while a box ends is another story than what the next one has.
    let gone = async {
        while driver.list(&install).await?.iter().any(|b| old.iter().any(|o| o.name == b.name)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(super::SOON, gone).await??;
    uses("second").await?;
    world.rig.stop().await
}

#[tokio::test]
async fn an_approved_package_can_be_used_in_bubblewrap() -> anyhow::Result<()> {
    an_approved_package_can_be_used(BUBBLEWRAP, "/opt/agent/x").await
}

/// The image of the agent goes with the test.
#[tokio::test]
async fn an_approved_package_can_be_used_in_docker() -> anyhow::Result<()> {
    let done = an_approved_package_can_be_used(DOCKER, "/usr/bin/x").await;
    let remove =
        "docker image ls --format '{{.Repository}}:{{.Tag}}' \"$0\" | xargs -r docker rmi -f";
    let name = format!("nanoclaw-agent-tccinstalldocker{}-*", std::process::id());
    let removed = Command::new("sh").args(["-c", remove, &name]).output().await?;
    let removed = String::from_utf8_lossy(&removed.stdout).matches("Untagged").count();
    done?;
    // The earlier one may have been in use by a box that was just ending.
    assert!((1..=2).contains(&removed), "{removed} images");
    Ok(())
}

/// A folder of the machine, through the owner's list: there, read-only, and gone when it leads elsewhere.
#[tokio::test]
async fn a_listed_folder_is_seen_and_a_link_out_of_it_is_not() -> anyhow::Result<()> {
    let world = World::new("mounts").await?;
    let home = world.rig.root.path().canonicalize()?;
    for dir in ["papers", "private", ".config/nanoclaw"] {
        std::fs::create_dir_all(home.join(dir))?;
    }
    std::fs::write(home.join("papers/one.txt"), "the first paper\n")?;
    std::fs::write(home.join("private/one.txt"), "the diary\n")?;
    let list = json!({"allowedRoots": [{"path": "~/papers", "allowReadWrite": false}]});
    std::fs::write(home.join(".config/nanoclaw/mount-allowlist.json"), list.to_string())?;
    let central = world.rig.central()?;
    let mut config = central.config(&world.agent)?.unwrap_or_default();
    std::fs::create_dir(home.join("papers/shelf"))?;
    config.additional_mounts = json!([{"hostPath": "~/papers", "readonly": false},
        {"hostPath": "~/papers/shelf", "containerPath": "shelf"}]);
    central.put_config(&world.agent, &config, Timestamp::now())?;
    let mut world = world.started().await?;
    let look =
        bash("cd /workspace/extra; ls; cat papers/one.txt; touch papers/x; cat shelf/one.txt");
    let seen = world.ask(&look).await?;
    assert!(seen.contains("the first paper") && seen.contains("Read-only file system"), "{seen}");
    // What was a folder becomes a link out of the root: the next box does without it.
    std::fs::remove_dir(home.join("papers/shelf"))?;
    std::os::unix::fs::symlink("../private", home.join("papers/shelf"))?;
    world.kill_box().await?;
    let seen = world.ask(&look).await?;
    assert!(seen.contains("the first paper") && !seen.contains("the diary"), "{seen}");
    world.rig.stop().await
}
