//! What an agent's box is made of: its configuration takes effect, an agent asks for more, somebody
//! decides, and whatever goes wrong is taken back.

use super::{EVER, Sim};
use nanoclaw_central::{AgentConfig, AgentLimits, Role};
use nanoclaw_contract::ids::{AgentId, SessionId, UserId};
use nanoclaw_contract::time::Timestamp;
use nanoclaw_driver::{Access, BoxSpec};
use nanoclaw_testkit::platform::{Platform, Shown};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const OWNER: &str = "olga";

struct Home {
    sim: Sim,
    agent: AgentId,
}

impl Home {
    /// An agent in chat c1, and an owner who can be reached.
    async fn new(name: &str) -> anyhow::Result<Self> {
        let sim = Sim::new(name)?;
        let agent = sim.rig.agent("andy", "demo")?;
        sim.rig.chat("c1", &agent)?;
        sim.rig.chat(OWNER, &agent)?;
        let (central, owner) = (sim.rig.central()?, UserId::parse(format!("fake:{OWNER}"))?);
        central.upsert_user(&owner, "fake", None, Timestamp::now())?;
        central.grant_role(&owner, Role::Owner, None, None, Timestamp::now())?;
        let mut home = Self { sim, agent };
        home.sim.start().await?;
        Ok(home)
    }

    fn config(&self, change: impl FnOnce(&mut AgentConfig)) -> anyhow::Result<()> {
        let central = self.sim.rig.central()?;
        let mut config = central.config(&self.agent)?.unwrap_or_default();
        change(&mut config);
        Ok(central.put_config(&self.agent, &config, Timestamp::now())?)
    }

    /// Has the agent ask the host for something.
    fn order(&self, content: &Value) {
        self.sim
            .rig
            .platform
            .dm("c1", &format!("!row {}", json!({"kind": "system", "content": content})));
    }

    /// Has the agent ask with its own `ncl`.
    fn ncl(&self, command: &str, args: &Value) {
        let request = format!("{command} {args}");
        self.order(&json!({"action": "cli_request", "requestId": request, "command": command, "args": args}));
    }

    /// What the operator's `ncl` comes to.
    async fn does(&self, line: &str) -> anyhow::Result<Value> {
        self.sim.ncl(line).await.map_err(anyhow::Error::msg)
    }

    /// The newest card of the owner.
    async fn card(&self, nth: usize) -> anyhow::Result<Shown> {
        let there = self.sim.rig.platform.until(EVER, |p| p.questions(OWNER).len() >= nth).await;
        let all = self.sim.rig.platform.questions(OWNER);
        all.get(nth - 1)
            .cloned()
            .filter(|_| there)
            .ok_or_else(|| anyhow::anyhow!("no card: {:?}", self.sim.rig.platform.shown()))
    }

    async fn decide(&self, card: &Shown, value: &str) {
        let question = card.question.clone().unwrap_or_default();
        let done = self.sim.rig.platform.click(&question, value, OWNER).await;
        assert!(done.as_deref().is_some_and(|d| d.starts_with("taken")), "{done:?}");
    }

    /// Waits for a text in the agent's chat.
    async fn hears(&self, part: &str) {
        let said = |p: &Platform| p.texts("c1").iter().any(|t| t.contains(part));
        assert!(
            self.sim.rig.platform.until(EVER, said).await,
            "{part}: {:?}",
            self.sim.rig.platform.shown()
        );
    }

    /// Waits until the agent was told something, and counts how often.
    async fn is_told(&self, part: &str) -> anyhow::Result<usize> {
        let central = self.sim.rig.central()?;
        let in_c1 = |s: &SessionId| {
            let session = central.session(s).ok().flatten();
            session.and_then(|s| s.chat).is_some_and(|chat| chat.as_str() == "mg-c1")
        };
        let session = self.sim.rig.sessions(&self.agent)?.into_iter().find(in_c1);
        let session = session.ok_or_else(|| anyhow::anyhow!("no session"))?;
        let inbox = self.sim.inbox(&self.agent, &session)?;
        let count = || {
            let sql = "SELECT count(*) FROM messages_in WHERE instr(content, ?1) > 0 AND id LIKE 'note-%'";
            inbox.query_row(sql, [part], |r| r.get::<_, i64>(0)).ok()
        };
        let said = self.sim.rig.platform.until(EVER, |_| count().unwrap_or(0) > 0).await;
        anyhow::ensure!(said, "never told: {part}: {:?}", self.sim.rig.platform.shown());
        Ok(usize::try_from(count().unwrap_or(0))?)
    }

    fn specs(&self) -> Vec<BoxSpec> {
        self.sim.driver.specs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn made(&self) -> Vec<String> {
        self.sim.driver.made.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn packages(&self) -> anyhow::Result<(Value, Value)> {
        let config = self.sim.rig.central()?.config(&self.agent)?.unwrap_or_default();
        Ok((config.packages_apt, config.packages_npm))
    }
}

fn container_json(spec: &BoxSpec) -> Value {
    let mount = spec.mounts.iter().find(|m| m.target.ends_with("container.json"));
    let text = mount.and_then(|m| std::fs::read(&m.source).ok()).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

fn target<'a>(spec: &'a BoxSpec, target: &str) -> Option<&'a nanoclaw_driver::Mount> {
    spec.mounts.iter().find(|m| m.target == Path::new(target))
}

/// Everything that can be set for an agent is in the plan of its next box.
#[tokio::test(start_paused = true)]
async fn what_is_configured_is_what_starts() -> anyhow::Result<()> {
    let mut home = Home::new("configured").await?;
    let root = home.sim.rig.root.path().canonicalize()?;
    for skill in ["welcome", "charts"] {
        std::fs::create_dir_all(root.join("container/skills").join(skill))?;
        std::fs::write(root.join("container/skills").join(skill).join("SKILL.md"), "x")?;
    }
    for dir in ["projects/site", "other", ".config/nanoclaw"] {
        std::fs::create_dir_all(root.join(dir))?;
    }
    let list = json!({"allowedRoots": [{"path": "~/projects", "allowReadWrite": true}]});
    std::fs::write(root.join(".config/nanoclaw/mount-allowlist.json"), list.to_string())?;
    home.config(|c| {
        c.provider = Some("Demo".into());
        c.model = Some("m-1".into());
        c.effort = Some("high".into());
        c.assistant_name = Some("Nora".into());
        c.max_messages_per_prompt = Some(3);
        c.image_tag = Some("agents:7".into());
        c.mcp_servers = json!({"files": {"command": "serve", "instructions": "Ask."}, "nanoclaw": {"command": "evil"}});
        c.skills = json!(["charts", "../../data", "missing"]);
        c.additional_mounts = json!([
            {"hostPath": "~/projects/site", "readonly": false},
            {"hostPath": "~/other"},
            {"hostPath": root.join("data").display().to_string(), "containerPath": "d"},
        ]);
    })?;
    home.sim.rig.central()?.put_agent_limits(
        &home.agent,
        AgentLimits { memory_mib: Some(300), pids: Some(99), cpu_millis: Some(500) },
    )?;
    home.sim.rig.platform.dm("c1", "hello");
    home.sim.shows("c1", &["echo: hello"]).await;
    let spec = home.specs().pop().unwrap_or_else(|| unreachable!("a box answered"));
    assert_eq!(
        (spec.limits.memory_bytes, spec.limits.pids, spec.limits.cpu_millis),
        (300 << 20, 99, 500)
    );
    assert_eq!(spec.image.as_deref(), Some("agents:7"));
    let said = container_json(&spec);
    for (key, wanted) in [
        ("provider", json!("demo")),
        ("model", json!("m-1")),
        ("effort", json!("high")),
        ("assistantName", json!("Nora")),
        ("maxMessagesPerPrompt", json!(3)),
        ("cliScope", json!("group")),
        ("mcpServers", json!({"files": {"command": "serve", "instructions": "Ask."}})),
    ] {
        assert_eq!(said[key], wanted, "{key}");
    }
    assert!(target(&spec, "/app/skills/charts").is_some_and(|m| m.access == Access::ReadOnly));
    assert!(
        target(&spec, "/app/skills/welcome").is_none() && target(&spec, "/app/skills").is_none()
    );
    let site = target(&spec, "/workspace/extra/site");
    assert!(
        site.is_some_and(
            |m| m.source == root.join("projects/site") && m.access == Access::ReadWrite
        )
    );
    let extra = spec.mounts.iter().filter(|m| m.target.starts_with("/workspace/extra")).count();
    assert_eq!(extra, 1, "what is not allowed is not there");
    // What is refused is told to the owner, once however often a box starts.
    home.sim.quiet().await;
    home.sim.rig.ncl("sessions stop --id all").await.ok();
    let told = home.sim.rig.platform.texts(OWNER);
    assert_eq!(told.iter().filter(|t| t.contains("does not see ~/other")).count(), 1, "{told:?}");
    assert_eq!(told.iter().filter(|t| t.contains("part of this install")).count(), 1, "{told:?}");
    home.sim.stop().await;
    Ok(())
}

/// The whole way: asked, shown in full, approved, made ready beside what runs, in effect, seen alive.
#[tokio::test(start_paused = true)]
async fn an_approved_package_is_there_after_a_restart() -> anyhow::Result<()> {
    let mut home = Home::new("packages").await?;
    *home.sim.driver.takes.lock().unwrap() = Some(Duration::from_secs(5));
    home.order(&json!({"action": "install_packages", "apt": ["jq"], "npm": ["@a/b"], "reason": "to read JSON"}));
    let card = home.card(1).await?;
    for part in ["jq", "@a/b", "to read JSON"] {
        assert!(card.text.contains(part), "{part} is not on the card: {}", card.text);
    }
    home.decide(&card, "approve").await;
    home.hears("Installing jq, @a/b").await;
    // Meanwhile it works as before.
    home.sim.rig.platform.dm("c1", "still there?");
    home.hears("echo: still there?").await;
    assert_eq!(home.packages()?, (json!([]), json!([])), "in effect before it was ready");
    home.is_told("Your box was started anew with an approved change").await?;
    home.is_told("Done: jq, @a/b are there.").await?;
    assert_eq!(home.packages()?, (json!(["jq"]), json!(["@a/b"])));
    let spec = home.specs().pop().unwrap_or_else(|| unreachable!("a box answered"));
    assert_eq!(spec.image.as_deref(), Some("made:jq--a-b"));
    assert!(spec.env["PATH"].starts_with("/opt/agent/bin:/opt/nanoclaw"), "{:?}", spec.env["PATH"]);
    assert_eq!(home.made(), ["jq+@a/b", "kept made:jq--a-b"]);
    assert!(home.sim.rig.central()?.builds()?.is_empty());
    let log = std::fs::read_to_string(home.sim.rig.data().join("logs/build-ag-andy.log"))?;
    assert_eq!(log, "fetching jq+@a/b\n");
    home.sim.stop().await;
    Ok(())
}

/// A box that does not come up with its packages is as before; agent and decider are told.
#[tokio::test(start_paused = true)]
async fn packages_that_make_the_box_sick_are_taken_back() -> anyhow::Result<()> {
    let mut home = Home::new("sick").await?;
    home.sim.driver.sick.lock().unwrap().push("bad-lib".into());
    home.order(&json!({"action": "install_packages", "apt": ["bad-lib"]}));
    home.decide(&home.card(1).await?, "approve").await;
    home.is_told("The new box did not come up (the box did not start: its packages make it sick).")
        .await?;
    assert_eq!(home.packages()?, (json!([]), json!([])));
    home.sim.rig.platform.dm("c1", "and now?");
    home.hears("echo: and now?").await;
    let spec = home.specs().pop().unwrap_or_else(|| unreachable!("a box answered"));
    assert_eq!(spec.image, None);
    let told = home.sim.rig.platform.shown();
    assert!(told.iter().any(|s| s.chat == OWNER && s.text.contains("did not come up")), "{told:?}");
    assert!(home.sim.rig.central()?.builds()?.is_empty());
    home.sim.stop().await;
    Ok(())
}

/// A package that cannot be had changes nothing, and no box is disturbed.
#[tokio::test(start_paused = true)]
async fn a_failed_build_changes_nothing() -> anyhow::Result<()> {
    let mut home = Home::new("failedbuild").await?;
    home.order(&json!({"action": "install_packages", "npm": ["no-such"]}));
    home.decide(&home.card(1).await?, "approve").await;
    home.is_told("Installing failed: no such package. Nothing was changed.").await?;
    assert_eq!(home.packages()?, (json!([]), json!([])));
    assert_eq!(home.sim.driver.counts().1, 1, "a box was started anew");
    home.sim.stop().await;
    Ok(())
}

/// Two requests of one agent: one after the other, both in effect in the end.
#[tokio::test(start_paused = true)]
async fn changes_of_one_agent_queue() -> anyhow::Result<()> {
    let mut home = Home::new("queue").await?;
    *home.sim.driver.takes.lock().unwrap() = Some(Duration::from_secs(5));
    home.order(&json!({"action": "install_packages", "apt": ["jq"]}));
    let first = home.card(1).await?;
    home.order(&json!({"action": "add_mcp_server", "name": "files", "command": "serve",
        "args": ["--root", "a b"], "env": {"MODE": "ro"}, "reason": "files"}));
    let second = home.card(2).await?;
    for part in ["files", "serve", "--root", "a b", "MODE", "ro"] {
        assert!(second.text.contains(part), "{part} is not on the card: {}", second.text);
    }
    home.order(&json!({"action": "install_packages", "apt": ["tree"]}));
    let third = home.card(3).await?;
    home.decide(&first, "approve").await;
    home.decide(&second, "approve").await;
    home.decide(&third, "approve").await;
    for said in
        ["Done: jq is there.", "Done: the tool server files is there.", "Done: tree is there."]
    {
        home.is_told(said).await?;
    }
    // Which of them came first is up to whoever decided first.
    let packages = home.packages()?.0;
    assert!(packages == json!(["jq", "tree"]) || packages == json!(["tree", "jq"]), "{packages}");
    let spec = home.specs().pop().unwrap_or_else(|| unreachable!("a box answered"));
    assert_eq!(spec.image.as_deref(), Some("made:jq-tree"));
    assert_eq!(
        container_json(&spec)["mcpServers"],
        json!({"files": {"command": "serve", "args": ["--root", "a b"], "env": {"MODE": "ro"}}})
    );
    home.sim.stop().await;
    Ok(())
}

/// Nothing that is more than a name reaches a card, let alone a driver.
#[tokio::test(start_paused = true)]
async fn hostile_requests_are_refused() -> anyhow::Result<()> {
    let mut home = Home::new("hostile").await?;
    let bad = ["x; rm -rf /", "--allow-untrusted", "a\nRUN id", "../../etc", "$(id)", "jq-", "a b"];
    let mut orders: Vec<Value> = bad
        .iter()
        .flat_map(|name| {
            [
                json!({"action": "install_packages", "apt": [name]}),
                json!({"action": "install_packages", "npm": ["is-odd", name]}),
                json!({"action": "add_mcp_server", "name": name, "command": "x"}),
            ]
        })
        .collect();
    // `jq-` is a fine name for npm and for a server.
    orders.retain(|o| !(o.to_string().contains("jq-") && o.get("apt").is_none()));
    orders.extend([
        json!({"action": "install_packages"}),
        json!({"action": "install_packages", "apt": "jq"}),
        json!({"action": "install_packages", "apt": vec!["jq"; 21]}),
        json!({"action": "add_mcp_server", "name": "nanoclaw", "command": "x"}),
        json!({"action": "add_mcp_server", "name": "a", "command": "x", "env": {"A=B": "c"}}),
        json!({"action": "add_mcp_server", "name": "a", "command": "x", "args": [{"hidden": 1}]}),
    ]);
    for order in &orders {
        home.order(order);
    }
    home.sim.quiet().await;
    assert!(home.sim.rig.platform.questions(OWNER).is_empty(), "somebody was asked");
    // It reads why with its next message.
    home.sim.rig.platform.dm("c1", "well?");
    home.hears("echo: well?").await;
    let letters = home.sim.rig.central()?.dead_letters()?;
    let session =
        home.sim.rig.sessions(&home.agent)?.pop().unwrap_or_else(|| unreachable!("it answered"));
    let inbox = home.sim.inbox(&home.agent, &session)?;
    let sql = "SELECT count(*) FROM messages_in WHERE content LIKE '% failed: %'";
    let told: i64 = inbox.query_row(sql, [], |r| r.get(0))?;
    assert_eq!(told, i64::try_from(orders.len())?, "each refusal is told: {letters:?}");
    assert!(home.made().is_empty());
    home.sim.stop().await;
    Ok(())
}

/// A host that stopped in the middle of a build goes on with it, and tells the outcome once.
#[tokio::test(start_paused = true)]
async fn a_build_survives_the_host() -> anyhow::Result<()> {
    let mut home = Home::new("survives").await?;
    *home.sim.driver.takes.lock().unwrap() = Some(Duration::from_secs(600));
    home.order(&json!({"action": "install_packages", "apt": ["jq"]}));
    home.decide(&home.card(1).await?, "approve").await;
    home.hears("Installing jq").await;
    home.sim.stop().await;
    assert_eq!(home.sim.rig.central()?.builds()?.len(), 1);
    *home.sim.driver.takes.lock().unwrap() = None;
    home.sim.start().await?;
    home.is_told("Done: jq is there.").await?;
    home.sim.quiet().await;
    assert_eq!(home.is_told("Done: jq is there.").await?, 1);
    assert_eq!(home.packages()?.0, json!(["jq"]));
    assert!(home.sim.rig.central()?.builds()?.is_empty());
    home.sim.stop().await;
    Ok(())
}

/// Packages that were configured elsewhere, such as in an imported install, are made ready by themselves.
#[tokio::test(start_paused = true)]
async fn configured_packages_are_caught_up_with() -> anyhow::Result<()> {
    let mut home = Home::new("catchup").await?;
    home.config(|c| c.packages_apt = json!(["jq"]))?;
    home.sim.rig.platform.dm("c1", "one");
    home.hears("echo: one").await;
    home.sim.quiet().await;
    home.sim.rig.platform.dm("c1", "two");
    home.hears("echo: two").await;
    let spec = home.specs().pop().unwrap_or_else(|| unreachable!("a box answered"));
    assert_eq!(spec.image.as_deref(), Some("made:jq"));
    // A name that cannot be is told, and the agent works without it.
    home.config(|c| c.packages_apt = json!(["jq; id"]))?;
    home.sim.stop().await;
    home.sim.start().await?;
    home.sim.rig.platform.dm("c1", "three");
    home.hears("echo: three").await;
    home.sim.quiet().await;
    let told = home.sim.rig.platform.texts(OWNER);
    assert_eq!(told.iter().filter(|t| t.contains("jq; id")).count(), 1, "{told:?}");
    home.sim.stop().await;
    Ok(())
}

/// The packages are the same, but made anew beside those in use; the log has every line, and the boxes that ran
/// are told. What cannot be made changes nothing.
#[tokio::test(start_paused = true)]
async fn a_rebuild_makes_the_same_packages_anew() -> anyhow::Result<()> {
    let mut home = Home::new("rebuild").await?;
    home.does("groups config add-package ag-andy --apt jq").await?;
    home.sim.rig.platform.dm("c1", "one");
    home.hears("echo: one").await;
    let done = home.does("groups restart ag-andy --rebuild --message fresh").await?;
    assert_eq!(done["note"], "Done: its packages are made anew.");
    home.is_told("fresh").await?;
    let image = |home: &Home| home.specs().pop().and_then(|spec| spec.image).unwrap_or_default();
    home.sim.quiet().await;
    let second = image(&home);
    assert!(second.starts_with("made:jq."), "{second}");
    assert_eq!(home.made(), ["jq", "kept made:jq", "jq", &format!("kept {second}")]);
    let log = std::fs::read_to_string(home.sim.rig.data().join("logs/build-ag-andy.log"))?;
    assert_eq!(log, "fetching jq\n");
    // An agent asks first.
    home.ncl("groups-restart", &json!({"rebuild": true}));
    home.decide(&home.card(1).await?, "approve").await;
    home.hears("Installing jq").await;
    home.is_told("Done: its packages are made anew.").await?;
    assert!(image(&home) != second && image(&home).starts_with("made:jq."), "{}", image(&home));
    assert_eq!(home.made().len(), 6, "what was configured was caught up with");
    let starts = home.sim.driver.counts().1;
    home.config(|c| c.packages_apt = json!(["no-such"]))?;
    let failed = home.does("groups restart ag-andy --rebuild").await;
    assert!(failed.is_err_and(|e| e.to_string().contains("Nothing was changed")));
    assert_eq!(home.sim.driver.counts().1, starts, "a box was started anew");
    home.sim.stop().await;
    Ok(())
}

/// What an agent asks by its own `ncl` is done as what it asks by its tools: proven by its next box, or taken back.
#[tokio::test(start_paused = true)]
async fn what_is_asked_by_ncl_is_proven_too() -> anyhow::Result<()> {
    let mut home = Home::new("byncl").await?;
    home.sim.driver.sick.lock().unwrap().push("bad-lib".into());
    home.ncl("groups-config-add-package", &json!({"apt": "bad-lib"}));
    home.decide(&home.card(1).await?, "approve").await;
    home.is_told("The new box did not come up (the box did not start: its packages make it sick).")
        .await?;
    assert_eq!(home.packages()?, (json!([]), json!([])));
    home.ncl("groups-config-add-package", &json!({"apt": "jq"}));
    home.decide(&home.card(2).await?, "approve").await;
    home.is_told("an approved change: jq is there now").await?;
    home.ncl("groups-config-add-mcp-server", &json!({"name": "files", "command": "serve"}));
    home.decide(&home.card(3).await?, "approve").await;
    home.is_told("an approved change: the tool server files is there now").await?;
    home.ncl("groups-config-remove-package", &json!({"apt": "jq"}));
    home.decide(&home.card(4).await?, "approve").await;
    home.is_told("an approved change: jq is gone now").await?;
    home.ncl("groups-config-remove-mcp-server", &json!({"name": "files"}));
    home.decide(&home.card(5).await?, "approve").await;
    home.is_told("an approved change: the tool server files is gone now").await?;
    home.sim.stop().await;
    Ok(())
}

/// A host that stopped in the middle of it goes on with it, and tells the outcome once.
#[tokio::test(start_paused = true)]
async fn what_was_asked_by_ncl_survives_the_host() -> anyhow::Result<()> {
    let mut home = Home::new("nclsurvives").await?;
    *home.sim.driver.takes.lock().unwrap() = Some(Duration::from_secs(600));
    home.ncl("groups-config-add-package", &json!({"apt": "jq"}));
    home.decide(&home.card(1).await?, "approve").await;
    home.hears("Installing jq").await;
    home.sim.stop().await;
    *home.sim.driver.takes.lock().unwrap() = None;
    home.sim.start().await?;
    home.is_told("Done: jq is there.").await?;
    home.sim.quiet().await;
    assert_eq!(home.is_told("Done: jq is there.").await?, 1);
    assert_eq!(home.packages()?.0, json!(["jq"]));
    home.sim.stop().await;
    Ok(())
}

/// The session's provider goes before the agent's, and the agent's before the install's.
#[tokio::test(start_paused = true)]
async fn a_session_has_a_provider_of_its_own() -> anyhow::Result<()> {
    let mut home = Home::new("provider").await?;
    let provider = |home: &Home| container_json(&home.specs().pop().unwrap())["provider"].clone();
    home.config(|c| c.provider = Some("agents".into()))?;
    home.sim.rig.platform.dm("c1", "one");
    home.hears("echo: one").await;
    assert_eq!(provider(&home), "agents");
    rusqlite::Connection::open(home.sim.rig.data().join("v2.db"))?
        .execute("UPDATE sessions SET agent_provider = 'Own'", [])?;
    home.does("groups restart ag-andy").await?;
    home.sim.quiet().await;
    home.sim.rig.platform.dm("c1", "two");
    home.hears("echo: two").await;
    assert_eq!(provider(&home), "own");
    home.sim.stop().await;
    Ok(())
}
