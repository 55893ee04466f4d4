//! A team in one channel, each agent in boxes of its own: a worker for every thread, a manager who reads them
//! all, a supervisor who asks the owner. The harness is the real Claude Code; only the model is played, by
//! roles: what an agent does about a message is written down here.

use crate::claude::{Api, KEY, equip};
use anyhow::ensure;
use nanoclaw_central::{DestinationTarget, EngageMode, IgnoredPolicy, SessionMode};
use nanoclaw_contract::ids::AgentId;
use nanoclaw_contract::time::Timestamp;
use nanoclaw_testkit::platform::{Platform, Said, Shown};
use nanoclaw_tests::rig::Rig;
use nanoclaw_vault::{Credential, Kind, Store};
use serde_json::{Value, json};
use std::time::Duration;

/// Far beyond what a loaded machine needs.
const SOON: Duration = Duration::from_secs(120);

/// Who does what about which message. A result of a tool is seen as `RESULT …`.
fn roles() -> Value {
    let tool = |name: &str, args: Value| format!("!tool {name} {args}");
    let run = |command: &str| tool("Bash", json!({ "command": command }));
    let say = |to: &str, text: &str| format!(r#"!say <message to="{to}">{text}</message>"#);
    let answer = r#"!say <message to="worker" reply_to="{3}">{1} {2}</message>"#.to_owned();
    let asks = tool(
        "mcp__nanoclaw__send_message",
        json!({ "to": "supervisor", "text": "May I deploy {1}?" }),
    );
    let card = tool(
        "mcp__nanoclaw__ask_user_question",
        json!({ "to": "boss", "title": "Deploy {2}?", "question": "The worker wants to deploy {2}.",
            "options": [{ "label": "yes", "value": "GRANTED {2} {1}" },
                        { "label": "no", "value": "DENIED {2} {1}" }] }),
    );
    let roles = [
        (
            "worker",
            r#"from="dev"[^>]*>deploy (\w+)"#,
            vec![say("dev", "May I deploy {1}? I ask."), asks],
        ),
        (
            "worker",
            r#"from="supervisor"[^>]*>GRANTED (\w+)"#,
            vec![run("echo {1} >>deployed; echo OUT {1}")],
        ),
        ("worker", r"RESULT OUT (\w+)", vec![say("dev", "Allowed: {1} is deployed.")]),
        (
            "worker",
            r#"from="supervisor"[^>]*>DENIED (\w+)"#,
            vec![say("dev", "Not allowed: {1} stays as it is.")],
        ),
        ("supervisor", r#"id="(\d+)" from="worker"[^>]*>May I deploy (\w+)\?"#, vec![card]),
        ("supervisor", r"RESULT (GRANTED|DENIED) (\w+) (\d+)", vec![answer]),
        (
            "manager",
            r#"from="dev" thread="(\w+)" sender="(\w+)"[^>]*>([\w ]+)"#,
            vec![run("echo '{1}: {2} said {3}' >>threads")],
        ),
        ("manager", r#"from="boss"[^>]*>what is going on"#, vec![run("echo THREADS; cat threads")]),
        ("manager", r"RESULT THREADS\s+([\s\S]*)", vec![say("boss", "{1}")]),
    ];
    let rule = |(agent, on, does): (&str, &str, Vec<String>)| json!({ "as": format!("# You are {agent}"), "on": on, "do": does });
    roles.map(rule).into_iter().collect()
}

struct Team {
    rig: Rig,
    api: Api,
    worker: AgentId,
    manager: AgentId,
    supervisor: AgentId,
}

impl Team {
    async fn gathers(name: &str) -> anyhow::Result<Self> {
        let mut rig = Rig::new(name)?;
        let script = rig.root.path().join("roles.json");
        std::fs::write(&script, roles().to_string())?;
        let requests = rig.root.path().join("api");
        let api = Api::with(&requests, KEY, &["--script".as_ref(), script.as_os_str()]).await?;
        equip(&mut rig)?;
        let credential = Credential::parse(KEY, Some(Kind::ApiKey), Some(&api.url))?;
        Store::new(&rig.data()).set(&credential)?;
        rig.owner("boss")?;
        let agent = |name: &str| rig.agent(name, "claude");
        let (worker, manager, supervisor) =
            (agent("worker")?, agent("manager")?, agent("supervisor")?);
        // The owner's direct chat is the manager's desk.
        let desk = rig.chat("boss", &manager)?;
        let dev = rig.group("fake", "dev")?;
        rig.wire(&dev, &worker, |w| w.session_mode = SessionMode::PerThread)?;
        rig.wire(&dev, &manager, |w| {
            (w.engage_mode, w.engage_pattern) = (Some(EngageMode::Pattern), Some(".".into()));
            w.session_mode = SessionMode::AgentShared;
        })?;
        rig.wire(&dev, &supervisor, |w| {
            (w.session_mode, w.ignored) = (SessionMode::AgentShared, IgnoredPolicy::Accumulate);
        })?;
        let (central, now) = (rig.central()?, Timestamp::now());
        let knows = |who: &AgentId, name: &str, target: DestinationTarget| {
            central.add_destination(who, name, &target, now)
        };
        knows(&worker, "supervisor", DestinationTarget::Agent(supervisor.clone()))?;
        knows(&supervisor, "worker", DestinationTarget::Agent(worker.clone()))?;
        knows(&supervisor, "boss", DestinationTarget::Chat(desk))?;
        drop(central);
        rig.start().await?;
        Ok(Self { rig, api, worker, manager, supervisor })
    }

    /// Ann tells the worker something in a thread of the channel.
    fn asks(&self, thread: &str, text: &str, mention: bool) {
        self.rig.platform.say(Said {
            id: format!("dev-{thread}-{}", text.replace(' ', "-")),
            chat: "dev".into(),
            thread: Some(thread.into()),
            sender: "ann".into(),
            text: text.into(),
            mention,
            group: true,
            ..Said::default()
        });
    }

    /// What a thread shows.
    fn thread(&self, thread: &str) -> Vec<String> {
        let of = |s: &Shown| s.chat == "dev" && s.thread.as_deref() == Some(thread);
        self.rig.platform.shown().into_iter().filter(of).map(|s| s.text).collect()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Platform) -> bool) -> anyhow::Result<()> {
        ensure!(
            self.rig.platform.until(SOON, holds).await,
            "never: {what}\n{:#?}\n{}",
            self.rig.platform.shown(),
            self.rig.log(),
        );
        Ok(())
    }

    /// The question of this number at the owner's desk, once it is there.
    async fn question(&self, n: usize) -> anyhow::Result<Shown> {
        self.until("the owner is asked", |p| p.questions("boss").len() > n).await?;
        Ok(self.rig.platform.questions("boss").swap_remove(n))
    }

    /// The owner presses the button with this label.
    async fn decides(&self, card: &Shown, label: &str) -> anyhow::Result<String> {
        let value = card.options.iter().find(|o| o.0 == label).map_or("", |o| o.1.as_str());
        let question = card.question.as_deref().unwrap_or_default();
        let done = self.rig.platform.click(question, value, "boss").await;
        done.ok_or_else(|| anyhow::anyhow!("the platform is gone"))
    }

    fn deployed(&self) -> String {
        let file = self.rig.root.path().join("groups/worker/deployed");
        std::fs::read_to_string(file).unwrap_or_default()
    }
}

#[tokio::test]
async fn a_worker_proceeds_when_the_owner_says_yes_and_stops_when_he_says_no() -> anyhow::Result<()>
{
    let mut team = Team::gathers("team").await?;
    team.asks("t1", "deploy api", true);
    let card = team.question(0).await?;
    assert!(card.text.contains("The worker wants to deploy api."), "{card:?}");
    assert_eq!(team.thread("t1"), ["May I deploy api? I ask."]);
    assert_eq!(team.deployed(), "", "it did not wait");
    assert_eq!(team.decides(&card, "yes").await?, "taken: yes");
    team.until("the worker goes on", |_| team.thread("t1").len() == 2).await?;
    assert_eq!(team.thread("t1")[1], "Allowed: api is deployed.");
    assert_eq!(team.deployed(), "api\n");
    // Another thread is another session of the worker, and no is no.
    team.asks("t2", "deploy web", true);
    let card = team.question(1).await?;
    assert_eq!(team.decides(&card, "no").await?, "taken: no");
    team.until("the worker stops", |_| team.thread("t2").len() == 2).await?;
    assert_eq!(team.thread("t2"), ["May I deploy web? I ask.", "Not allowed: web stays as it is."]);
    assert_eq!(team.deployed(), "api\n");
    assert_eq!(team.rig.sessions(&team.worker)?.len(), 2);
    // The manager was never mentioned, and knows.
    team.asks("t3", "lunch at noon", false);
    team.until("it is received", |p| p.unreceived() == 0).await?;
    team.rig.platform.writes("boss", "what is going on");
    let knows =
        |p: &Platform| p.texts("boss").iter().any(|t| t.contains("t3: ann said lunch at noon"));
    team.until("the manager tells", knows).await?;
    let told = team.rig.platform.texts("boss").pop().unwrap_or_default();
    for line in ["t1: ann said deploy api", "t2: ann said deploy web"] {
        assert!(told.contains(line), "{told}");
    }
    // Nobody else spoke in the channel.
    let spoken = team.rig.platform.texts("dev").len();
    assert_eq!(spoken, 4, "{:?}", team.rig.platform.shown());
    // One session of his reads every thread, one is the desk; they share the file.
    assert_eq!(team.rig.sessions(&team.manager)?.len(), 2);
    assert_eq!(team.rig.sessions(&team.supervisor)?.len(), 1);
    assert!(!team.api.requests().is_empty());
    team.rig.stop().await
}

/// Two threads ask while the owner thinks: each is told its own answer, whichever comes first.
#[tokio::test]
async fn two_threads_that_ask_at_once_hear_their_own_answers() -> anyhow::Result<()> {
    let mut team = Team::gathers("twice").await?;
    team.asks("t1", "deploy api", true);
    let api = team.question(0).await?;
    team.asks("t2", "deploy web", true);
    team.until("the other thread asks", |_| team.thread("t2").len() == 1).await?;
    assert_eq!(team.decides(&api, "no").await?, "taken: no");
    let web = team.question(1).await?;
    assert_eq!(team.decides(&web, "yes").await?, "taken: yes");
    let both = |_: &Platform| team.thread("t1").len() == 2 && team.thread("t2").len() == 2;
    team.until("both are told", both).await?;
    assert_eq!(team.thread("t1")[1], "Not allowed: api stays as it is.");
    assert_eq!(team.thread("t2")[1], "Allowed: web is deployed.");
    assert_eq!(team.deployed(), "web\n");
    team.rig.stop().await
}
