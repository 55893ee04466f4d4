//! The whole way of a request that a person decides, and what an agent is told about its way out.

use super::{BUBBLEWRAP, CANARY, CHAT, DOCKER, OWNER, SOON, World, strings};
use anyhow::{Context as _, ensure};
use nanoclaw_secrets::{Inject, Slot};
use nanoclaw_testkit::platform::Shown;

impl World {
    /// The owner's card of this number, counted from 0.
    async fn card(&self, nth: usize) -> anyhow::Result<Shown> {
        let there = self.rig.platform.until(SOON, |p| p.questions(OWNER).len() > nth).await;
        ensure!(there, "no card {nth}: {:?}\n{}", self.server.lines(), self.rig.log());
        self.rig.platform.questions(OWNER).get(nth).cloned().context("it is gone")
    }

    async fn decides(&self, card: &Shown, value: &str) -> anyhow::Result<()> {
        let id = card.question.clone().context("no question")?;
        let taken = self.rig.platform.click(&id, value, OWNER).await.unwrap_or_default();
        ensure!(taken.starts_with("taken"), "{taken}: {card:?}");
        Ok(())
    }

    /// What a script printed whose end was waited for elsewhere.
    async fn ended(&self, (number, before): (usize, usize)) -> anyhow::Result<String> {
        let ended = format!("run {number} ended");
        let has = |texts: Vec<String>| texts.iter().skip(before).any(|t| t.contains(&ended));
        let there = self.rig.platform.until(SOON, |p| has(p.texts(CHAT))).await;
        let out = self.file(&format!("out-{number}"));
        ensure!(there && !out.contains(CANARY), "{out}\n{}", self.rig.log());
        Ok(out)
    }
}

const ASKED: &str = "[[rule]]\nname = \"notes\"\nmatch = { host = \"api.test\", method = [\"POST\"], path = \"/say/**\" }\naction = \"ask\"\n";

/// The box asks with curl, the owner sees it, says yes to one and no to another.
async fn approved_and_denied(driver: &str) -> anyhow::Result<()> {
    let world = World::new(&format!("ask{driver}"), driver, &format!("\n{ASKED}")).await?;
    world.secret("api", "api.test", Slot::header("x-api-key"), Inject::Always)?;
    let world = world.started().await?;
    let body = b"{\"note\": \"one\",\r\n\t\"bytes\": \"\xc3\xa4\x01\"}\n\n".to_vec();
    std::fs::write(world.folder().join("body"), &body)?;
    let post = |path: &str| {
        let url = world.url("api.test", path);
        format!(
            "curl -sS -w '\\n%{{http_code}}\\n' -H 'content-type: application/json' --data-binary @body {url}"
        )
    };
    let running = world.runs_it(&post("/say/yes"))?;
    let card = world.card(0).await?;
    ensure!(card.text.contains("/say/yes") && card.text.contains("notes"), "{card:?}");
    ensure!(!card.text.contains(CANARY), "{card:?}");
    ensure!(world.server.asked("/say/yes").is_err(), "it went before anybody decided");
    world.decides(&card, "approve").await?;
    let out = world.ended(running).await?;
    ensure!(out.contains("hello from POST api.test/say/yes") && out.ends_with("\n200\n"), "{out}");
    let seen = world.server.asked("/say/yes")?;
    ensure!(seen.body == body && seen.header("x-api-key") == CANARY, "{seen:?}");
    let running = world.runs_it(&post("/say/no"))?;
    let card = world.card(1).await?;
    world.decides(&card, "reject").await?;
    let out = world.ended(running).await?;
    ensure!(out.contains("manual_approval_denied") && out.ends_with("\n403\n"), "{out}");
    ensure!(world.server.asked("/say/no").is_err(), "{:?}", world.server.lines());
    // A request that no rule is about needs nobody.
    let out = world.runs(&format!("curl -sS {}", world.url("api.test", "/say/read"))).await?;
    ensure!(out.contains("hello from GET"), "{out}");
    world.stop().await
}

#[tokio::test]
async fn a_person_decides_a_request_from_a_box_of_bubblewrap() -> anyhow::Result<()> {
    approved_and_denied(BUBBLEWRAP).await
}

#[tokio::test]
async fn a_person_decides_a_request_from_a_container_of_docker() -> anyhow::Result<()> {
    approved_and_denied(DOCKER).await
}

#[tokio::test]
async fn the_first_use_of_a_host_is_asked_once_and_kept() -> anyhow::Result<()> {
    let world = World::new("first", BUBBLEWRAP, "mode = \"ask\"\nports = [PORT]").await?;
    let mut world = world.started().await?;
    let get = |world: &World, host: &str, path: &str| {
        format!("curl -sS -w '\\n%{{http_code}}\\n' {}", world.url(host, path))
    };
    let running = world.runs_it(&get(&world, "api.test", "/say/one"))?;
    let card = world.card(0).await?;
    ensure!(card.text.contains("api.test"), "{card:?}");
    world.decides(&card, "approve").await?;
    let out = world.ended(running).await?;
    ensure!(out.contains("hello from GET api.test/say/one"), "{out}");
    let running = world.runs_it(&get(&world, "plain.test", "/say/two"))?;
    let card = world.card(1).await?;
    world.decides(&card, "reject").await?;
    let out = world.ended(running).await?;
    ensure!(out.contains("403") && !out.contains("hello"), "{out}");
    // Both answers outlive the host and the vault.
    world.rig.stop().await?;
    world.rig.start().await?;
    let out = world.runs(&get(&world, "api.test", "/say/three")).await?;
    ensure!(out.contains("hello from GET api.test/say/three"), "{out}");
    let (_, out) = world.run(&get(&world, "plain.test", "/say/four")).await?;
    ensure!(out.contains("403") && !out.contains("hello"), "{out}");
    ensure!(world.rig.platform.questions(OWNER).len() == 2, "asked again");
    world.stop().await
}

/// What container/CLAUDE.md says of the way out is so.
#[tokio::test]
async fn the_agent_finds_out_what_it_may_do() -> anyhow::Result<()> {
    let world = World::new("help", BUBBLEWRAP, "allow = [\"plain.test:PORT\"]").await?;
    world.secret("api", "api.test", Slot::bearer(), Inject::Placeholder)?;
    let text = std::fs::read_to_string(nanoclaw_tests::rig::repo().join("container/CLAUDE.md"))?;
    let commands: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|l| l.contains("vault.internal"))
        .collect();
    ensure!(commands.len() == 2, "{commands:?}");
    let world = world.started().await?;
    let told = world.runs(commands[0]).await?;
    let told: serde_json::Value = serde_json::from_str(&told)?;
    ensure!(told["folder"] == "andy" && told["egress"] == "allowlist", "{told:#}");
    let secrets = told["secrets"].as_array().context("no secrets")?;
    let secret = secrets.iter().find(|secret| secret["name"] == "api").context("it is not told")?;
    let used = &secret["used_at"][0];
    ensure!(used["host"] == "api.test" && used["mode"] == "placeholder", "{told:#}");
    let explain = |url: &str| commands[1].replace("https://example.com/path", url);
    for (host, verdict) in [("api.test", "allow"), ("plain.test", "allow"), ("git.test", "block")] {
        let told = world.runs(&explain(&world.url(host, "/say/x?y=1&z=2"))).await?;
        let told: serde_json::Value = serde_json::from_str(&told)?;
        ensure!(told["verdict"] == verdict, "{host}: {told:#}");
    }
    // The way to use a secret: its placeholder, where the secret would stand.
    let placeholder = secret["placeholder"].as_str().context("no placeholder")?;
    let url = world.url("api.test", "/say/hello");
    world.runs(&format!("curl -sSf -H 'authorization: Bearer {placeholder}' {url}")).await?;
    let seen = world.server.asked("/say/hello")?;
    ensure!(seen.header("authorization") == format!("Bearer {CANARY}"), "{seen:?}");
    let refused = format!("curl -sS {}", world.url("git.test", "/say/x"));
    let (well, out) = world.run(&refused).await?;
    ensure!(!well && out.contains("403"), "{out}");
    world.stop().await
}

/// Claude Code's own tool for pages takes the same way.
#[tokio::test]
async fn claude_fetches_a_page() -> anyhow::Result<()> {
    let world = World::new("fetch", BUBBLEWRAP, "allow = [\"plain.test:PORT\"]").await?;
    world.server.file("/page", "text/html", "<h1>A page about barley</h1>");
    let world = world.started().await?;
    let before = world.rig.platform.texts(CHAT).len();
    let call =
        serde_json::json!({"url": world.url("plain.test", "/page"), "prompt": "What is it about?"});
    world.rig.platform.dm(CHAT, &format!("!tool WebFetch {call}"));
    let answered = world.rig.platform.until(SOON, |p| p.texts(CHAT).len() > before).await;
    let texts = world.rig.platform.texts(CHAT);
    ensure!(answered, "{texts:?}\n{}", world.rig.log());
    ensure!(world.server.asked("/page").is_ok(), "{texts:?}");
    // Claude Code has a model read the page, and tells the answer.
    let read = world.model.requests().iter().any(|asked| strings(asked).contains("about barley"));
    ensure!(read, "{texts:?}");
    world.stop().await
}
