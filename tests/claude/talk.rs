//! Turns: plain, with tools, with more than one message.

use super::{BUBBLEWRAP, CHAT, DOCKER, KEY, Kind, TOKEN, World, bash, say};

async fn talks_and_works(driver: &str) -> anyhow::Result<()> {
    let world =
        World::with(&format!("talk{driver}"), driver, Kind::ApiKey, KEY).await?.started().await?;
    assert_eq!(world.ask(&say("hello to you")).await?, "hello to you");
    // The model hears who speaks and from where.
    let asked = super::strings(&world.api.request_with("hello to you")?["messages"]);
    assert!(asked.contains(r#"from="c1" sender="user-c1""#), "{asked}");
    let answer = world.ask(&bash("echo $((6 * 7)) in $PWD")).await?;
    assert!(answer.contains("42 in /workspace/agent"), "{answer}");
    assert_eq!(world.texts().len(), 2, "{:?}", world.texts());
    let mut world = world;
    world.rig.stop().await
}

#[tokio::test]
async fn it_talks_and_works_in_bubblewrap() -> anyhow::Result<()> {
    talks_and_works(BUBBLEWRAP).await
}

#[tokio::test]
async fn it_talks_and_works_in_docker() -> anyhow::Result<()> {
    talks_and_works(DOCKER).await
}

#[tokio::test]
async fn a_token_is_as_good_as_a_key() -> anyhow::Result<()> {
    let mut world = World::with("token", BUBBLEWRAP, Kind::Oauth, TOKEN).await?.started().await?;
    assert_eq!(world.ask(&say("hello")).await?, "hello");
    world.rig.stop().await
}

#[tokio::test]
async fn every_block_is_a_message_and_the_rest_is_unsaid() -> anyhow::Result<()> {
    let world = World::new("blocks").await?;
    world.rig.chat("c2", &world.agent)?;
    let mut world = world.started().await?;
    let two = r#"!say thinking <message to="c1">one</message> aloud <message to="c2">two</message> <message to="c1">three</message>"#;
    assert_eq!(world.ask(two).await?, "one");
    assert_eq!(world.nth(1).await?, "three");
    let there = world.rig.platform.until(super::SOON, |p| !p.texts("c2").is_empty()).await;
    assert!(there, "nothing in the other chat");
    assert_eq!(world.rig.platform.texts("c2"), ["two"]);
    assert_eq!(world.ask(&say("four")).await?, "four");
    assert_eq!(world.texts(), ["one", "three", "four"]);
    world.rig.stop().await
}

#[tokio::test]
async fn a_reply_that_is_not_wrapped_is_corrected_and_arrives_once() -> anyhow::Result<()> {
    let mut world = World::new("bare").await?.started().await?;
    assert_eq!(world.ask("!say forgot to wrap this").await?, "forgot to wrap this");
    assert_eq!(world.ask(&say("next")).await?, "next");
    assert_eq!(world.texts(), ["forgot to wrap this", "next"]);
    world.api.request_with("Your answer was not delivered")?;
    world.rig.stop().await
}

#[tokio::test]
async fn it_speaks_while_it_works_and_at_the_end() -> anyhow::Result<()> {
    let mut world = World::new("interim").await?.started().await?;
    let work = r#"{"command": "while [ ! -e heard ]; do sleep 0.1; done; echo went on"}"#;
    let both =
        format!("!tool mcp__nanoclaw__send_message {{\"text\": \"on it\"}}\n!tool Bash {work}");
    assert_eq!(world.ask(&both).await?, "on it");
    // It was said while the turn still runs.
    assert!(world.rig.platform.is_typing(CHAT), "the turn is over");
    std::fs::write(world.folder().join("heard"), "")?;
    assert_eq!(world.ask(&say("done")).await?, "done");
    let texts = world.texts();
    assert_eq!(
        (texts[0].as_str(), texts.last().map(String::as_str)),
        ("on it", Some("done")),
        "{texts:?}"
    );
    world.rig.stop().await
}

#[tokio::test]
async fn a_follow_up_is_taken_into_the_running_turn() -> anyhow::Result<()> {
    let mut world = World::new("followup").await?.started().await?;
    world
        .rig
        .platform
        .dm(CHAT, &bash("touch started; while [ ! -e go ]; do sleep 0.1; done; echo went"));
    let started = world.folder().join("started");
    world.until("the tool runs", || started.exists()).await?;
    world.rig.platform.dm(CHAT, &say("and this too"));
    let queued = || world.transcript().is_some_and(|t| t.contains("and this too"));
    world.until("the follow-up is queued", queued).await?;
    assert!(world.texts().is_empty(), "{:?}", world.texts());
    std::fs::write(world.folder().join("go"), "")?;
    assert_eq!(world.nth(0).await?, "and this too");
    // The model saw the tool's result and the follow-up at once.
    let asked = world.api.request_with("and this too")?;
    let messages = asked["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let spoke = messages.iter().rposition(|m| m["role"] == "assistant").unwrap_or_default();
    let since: String = messages[spoke..].iter().map(super::strings).collect();
    assert!(since.contains("went\n") && since.contains("and this too"), "{since}");
    world.rig.stop().await
}

/// The answer grows in the chat, and becomes itself.
#[tokio::test]
async fn an_answer_is_shown_while_it_is_being_said() -> anyhow::Result<()> {
    let mut world = World::new("preview").await?.started().await?;
    world.rig.ncl("wirings update mga-c1 --stream-previews on").await?;
    let words: Vec<_> = (1..=24).map(|n| format!("word{n}")).collect();
    let text = words.join(" ");
    let order = format!("!slow 300\n{}", say(&format!("<internal>not this</internal>{text}")));
    world.rig.platform.dm(CHAT, &order);
    world.until("it is said", || world.rig.platform.screen(CHAT) == [text.clone()]).await?;
    let shown = world.rig.platform.shown();
    assert!(shown.len() > 2, "{shown:?}");
    assert_eq!((shown[0].kind.as_str(), shown[0].reply_to.as_deref()), ("text", Some("m1")));
    assert!(shown[1..].iter().all(|s| s.kind == "edit"), "{shown:?}");
    for part in &shown[..shown.len() - 1] {
        let part = part.text.rsplit(": ").next().and_then(|t| t.strip_suffix(" …"));
        assert!(part.is_some_and(|p| text.starts_with(p)), "{shown:?}");
    }
    // A conversation that is known: once more, by the same rules.
    let order = format!("!slow 200\n{}", say("and once more it takes a while to say"));
    world.rig.platform.dm(CHAT, &order);
    let both = [text, "and once more it takes a while to say".to_owned()];
    world.until("it is said again", || world.rig.platform.screen(CHAT) == both).await?;
    let central = world.rig.central()?;
    let over = || central.sessions_with_previews().is_ok_and(|open| open.is_empty());
    world.until("no preview is left", over).await?;
    world.rig.stop().await
}

impl World {
    /// Claude Code's own record of the conversation.
    fn transcript(&self) -> Option<String> {
        let projects = self.dir().ok()?.root().join("home/.claude/projects");
        let folders = std::fs::read_dir(projects).ok()?.flatten();
        let files = folders.filter_map(|f| std::fs::read_dir(f.path()).ok()).flatten().flatten();
        Some(files.filter_map(|f| std::fs::read_to_string(f.path()).ok()).collect())
    }
}
