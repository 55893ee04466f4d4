//! `ncl`, for the operator and from inside: every verb does what it says, and nothing reaches further than
//! it may.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall fail on the spot")]

use super::strangers::{card, grant, user};
use super::{EVER, Sim};
use nanoclaw_admin::parse::{Asked, parse};
use nanoclaw_admin::wire::{Code, Frame};
use nanoclaw_central::{AgentConfig, CliScope, Role, TaskFilter};
use nanoclaw_contract::content::System;
use nanoclaw_contract::ids::{AgentId, SessionId};
use nanoclaw_contract::inbox::InboxReader;
use nanoclaw_contract::time::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

impl Sim {
    /// What `ncl` comes to: the data, or the reason.
    async fn does(&self, words: &[&str]) -> Result<Value, String> {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        match parse(&words) {
            Ok(Asked::Do { request, .. }) => {
                let socket = self.rig.data().join("ncl.sock");
                nanoclaw_admin::client::ask(&socket, &request).await.map_err(|e| e.message)
            }
            Ok(other) => Err(format!("{words:?} asks the host for nothing: {other:?}")),
            Err(e) => Err(e.message),
        }
    }

    /// As `does`, for words without blanks.
    pub(super) async fn ncl(&self, line: &str) -> Result<Value, String> {
        self.does(&line.split_whitespace().collect::<Vec<_>>()).await
    }

    async fn refuses(&self, line: &str, why: &str) {
        let refused = self.ncl(line).await;
        assert!(refused.as_ref().is_err_and(|e| e.contains(why)), "{line}: {refused:?}");
    }

    /// Waits until something holds; only the clock of the test passes.
    async fn eventually(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let end = tokio::time::Instant::now() + EVER;
        while !holds() {
            assert!(tokio::time::Instant::now() < end, "never: {what}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What an agent in the chat's box is answered when it asks the host.
    async fn asks_inside(&self, chat: &str, request: &str, command: &str, args: Value) -> Frame {
        let content = json!({"action": "cli_request", "requestId": request, "command": command, "args": args});
        let order = json!({"kind": "system", "content": content});
        self.rig.platform.dm(chat, &format!("!row {order}"));
        let mut frame = None;
        self.eventually(&format!("answer to {request}"), || {
            frame = self.heard_in(chat, request);
            frame.is_some()
        })
        .await;
        frame.unwrap()
    }

    fn session_in(&self, chat: &str) -> Option<(AgentId, SessionId)> {
        let all = self.rig.central().unwrap().sessions(1000, 0).unwrap();
        let its = |c: &nanoclaw_contract::ids::ChatId| c.as_str() == format!("mg-{chat}");
        all.into_iter().find(|s| s.chat.as_ref().is_some_and(its)).map(|s| (s.agent, s.id))
    }

    fn inbox_in(&self, chat: &str) -> Option<InboxReader> {
        let (agent, session) = self.session_in(chat)?;
        InboxReader::open(&self.rig.dir(&agent, &session).ok()?.inbound()).ok()
    }

    fn heard_in(&self, chat: &str, request: &str) -> Option<Frame> {
        let far = Timestamp::now() + Duration::from_secs(400 * 86_400);
        let rows = self.inbox_in(chat)?.system(&BTreeSet::new(), 1000, far).ok()?;
        rows.iter().find_map(|row| match serde_json::from_str(&row.content) {
            Ok(System::CliResponse { request_id, frame }) if request_id == request => {
                serde_json::from_value(frame).ok()
            }
            _ => None,
        })
    }

    /// The names that the session of a chat knows.
    fn names_in(&self, chat: &str) -> Vec<String> {
        let Some(inbox) = self.inbox_in(chat) else { return Vec::new() };
        inbox.destinations().unwrap_or_default().into_iter().map(|d| d.name).collect()
    }

    /// Whether the session of a chat was told something by the host itself.
    fn was_told(&self, chat: &str, what: &str) -> bool {
        let (agent, session) = self.session_in(chat).unwrap();
        let path = self.rig.dir(&agent, &session).unwrap().inbound();
        let inbox = rusqlite::Connection::open(path).unwrap();
        let sql = "SELECT COUNT(*) FROM messages_in WHERE kind = 'chat' AND id LIKE 'note-%'
                   AND content LIKE '%' || ?1 || '%'";
        inbox.query_row(sql, [what], |r| r.get::<_, i64>(0)).unwrap() > 0
    }

    fn set_scope(&self, agent: &AgentId, cli_scope: CliScope) {
        let config = AgentConfig { cli_scope, ..AgentConfig::default() };
        self.rig.central().unwrap().put_config(agent, &config, Timestamp::now()).unwrap();
    }
}

fn ids(rows: &Value, key: &str) -> Vec<String> {
    let rows = rows.as_array().cloned().unwrap_or_default();
    rows.iter().filter_map(|r| r[key].as_str().map(str::to_owned)).collect()
}

fn message(frame: &Frame) -> &str {
    frame.error.as_ref().map_or("", |e| e.message.as_str())
}

/// From nothing to an answer with `ncl` alone: what is created is whole.
#[tokio::test(start_paused = true)]
async fn what_is_created_works_at_once() -> anyhow::Result<()> {
    let mut sim = Sim::new("whole")?;
    sim.start().await?;
    let agent = sim
        .does(&["groups", "create", "--name", "Release Notes", "--provider", "demo"])
        .await
        .unwrap();
    assert_eq!(agent["folder"], "release-notes");
    let agent = agent["id"].as_str().unwrap();
    assert!(sim.rig.root.path().join("groups/release-notes").is_dir());
    assert_eq!(sim.ncl(&format!("groups config get {agent}")).await.unwrap()["provider"], "demo");
    let twin = sim.does(&["groups", "create", "--name", "Release Notes"]).await.unwrap();
    assert_eq!(twin["folder"], "release-notes-2");

    sim.ncl("messaging-groups create --id mg-c1 --channel-type fake --platform-id c1 --name Gen --is-group no --unknown-sender-policy public").await.unwrap();
    let wiring = sim
        .ncl(&format!("wirings create --messaging-group-id mg-c1 --agent-group-id {agent}"))
        .await
        .unwrap();
    assert_eq!(wiring["engage_mode"], "mention", "a default answers everything");
    let wiring = wiring["id"].as_str().unwrap();
    sim.ncl(&format!("wirings update {wiring} --engage-mode pattern --engage-pattern ."))
        .await
        .unwrap();
    sim.rig.platform.dm("c1", "hello");
    sim.shows("c1", &["echo: hello"]).await;
    assert_eq!(sim.names_in("c1"), ["gen"]);

    // A second chat of that name gets a name of its own, in the session that runs.
    sim.ncl("messaging-groups create --id mg-c2 --channel-type fake --platform-id c2 --name Gen")
        .await
        .unwrap();
    let second = sim
        .ncl(&format!("wirings create --messaging-group-id mg-c2 --agent-group-id {agent}"))
        .await
        .unwrap();
    assert_eq!(sim.names_in("c1"), ["gen", "gen-2"]);
    // Again is not a third one.
    sim.ncl(&format!("wirings delete {}", second["id"].as_str().unwrap())).await.unwrap();
    sim.ncl(&format!("wirings create --messaging-group-id mg-c2 --agent-group-id {agent}"))
        .await
        .unwrap();
    let all = sim.ncl(&format!("destinations list --agent-group-id {agent}")).await.unwrap();
    assert_eq!(ids(&all, "local_name"), ["gen", "gen-2"]);
    sim.stop().await;
    Ok(())
}

/// Agents are made, read, listed, changed and removed, and refused where that makes no sense.
#[tokio::test(start_paused = true)]
async fn agents_can_be_steered() -> anyhow::Result<()> {
    let mut sim = Sim::new("agents")?;
    sim.rig.agent("anna", "demo")?;
    sim.rig.agent("bert", "demo")?;
    sim.start().await?;
    assert_eq!(ids(&sim.ncl("groups").await.unwrap(), "id"), ["ag-anna", "ag-bert"]);
    assert_eq!(ids(&sim.ncl("groups list --folder bert").await.unwrap(), "id"), ["ag-bert"]);
    assert_eq!(ids(&sim.ncl("groups list --limit 1 --offset 1").await.unwrap(), "id"), ["ag-bert"]);
    assert_eq!(sim.ncl("groups update ag-anna --name Ann").await.unwrap()["name"], "Ann");
    sim.refuses("groups get ag-nobody", "group not found: ag-nobody").await;
    sim.refuses("groups create --name x --folder anna", "belongs to another agent").await;
    for folder in ["../up", "/etc", "a/b", "..", ".hidden", "global", "a\u{7}", "-x"] {
        let done = sim.does(&["groups", "create", "--name", "x", "--folder", folder]).await;
        assert!(done.as_ref().is_err_and(|e| e.contains("folder")), "{folder}: {done:?}");
        let up = sim.does(&["groups", "create", "--name", "x", "--id", folder]).await;
        assert!(folder == "global" || up.is_err(), "{folder}: {up:?}");
    }
    for agent in ["ag-anna", "ag-bert"] {
        sim.ncl(&format!("groups delete {agent}")).await.unwrap();
    }
    sim.stop().await;
    Ok(())
}

/// What can be said about an agent's box, and what cannot.
#[tokio::test(start_paused = true)]
async fn boxes_can_be_configured() -> anyhow::Result<()> {
    let mut sim = Sim::new("configured")?;
    sim.rig.agent("anna", "demo")?;
    sim.rig.agent("bert", "demo")?;
    sim.start().await?;
    let config = sim
        .ncl("groups config update ag-anna --model m-1 --effort high --max-messages-per-prompt 3 --skills welcome,debug --assistant-name Ann --cli-scope global")
        .await
        .unwrap();
    assert_eq!(config["skills"], json!(["welcome", "debug"]));
    assert_eq!((&config["model"], &config["cli_scope"]), (&json!("m-1"), &json!("global")));
    let config = sim.ncl("groups config update ag-anna --clear model --skills all").await.unwrap();
    assert_eq!((&config["model"], &config["skills"]), (&Value::Null, &json!("all")));
    assert_eq!(config["effort"], "high", "what was left out changed");
    sim.refuses("groups config update ag-anna", "nothing to update").await;
    sim.refuses("groups config update ag-anna --provider ../x", "letters, digits").await;
    sim.refuses("groups config update ag-anna --image-tag --privileged", "name of an image").await;
    sim.refuses("groups config update ag-anna --image-tag a;b", "name of an image").await;
    sim.refuses("groups config update ag-anna --skills ../x", "--skills takes").await;
    sim.refuses("groups config remove-mcp-server ag-anna --name none", "none is not there").await;
    sim.refuses("groups config remove-package ag-anna --apt jq", "jq is not there").await;
    sim.refuses("groups config add-package ag-anna", "which package?").await;
    sim.ncl("groups config add-mount ag-anna --path /srv/books --writable").await.unwrap();
    sim.ncl("groups config add-mount ag-anna --path /srv/books").await.unwrap();
    let mounts = &sim.ncl("groups config get ag-anna").await.unwrap()["additional_mounts"];
    assert_eq!(
        *mounts,
        json!([{"hostPath": "/srv/books", "containerPath": "books", "readonly": true}])
    );
    sim.refuses("groups config add-mount ag-anna --path ../x", "--path is absolute").await;
    sim.refuses("groups config add-mount ag-anna --path /srv/../etc", "--path is absolute").await;
    sim.refuses("groups config add-mount ag-anna --path /srv/x --target ../../agent", "--target")
        .await;
    sim.ncl("groups config remove-mount ag-anna --path /srv/books").await.unwrap();
    sim.stop().await;
    Ok(())
}

/// Limits are changed with everything else of a call, or not at all.
#[tokio::test(start_paused = true)]
async fn limits_are_set_and_cleared() -> anyhow::Result<()> {
    let mut sim = Sim::new("limits")?;
    sim.rig.agent("anna", "demo")?;
    sim.rig.agent("bert", "demo")?;
    sim.start().await?;
    let limits = |c: &Value| ["memory_mib", "pids", "cpu_millis"].map(|name| c[name].as_u64());
    let update = "groups config update ag-anna --memory-mib 512 --pids 99";
    let config = sim.ncl(&format!("{update} --cpu-millis 500")).await.unwrap();
    assert_eq!(limits(&config), [Some(512), Some(99), Some(500)]);
    let config = sim.ncl("groups config update ag-anna --clear pids").await.unwrap();
    assert_eq!(limits(&config), [Some(512), None, Some(500)]);
    sim.refuses("groups config update ag-anna --effort low --memory-mib 1", "too little").await;
    sim.refuses("groups config update ag-anna --pids 99999999999", "smaller number").await;
    sim.refuses("groups config update ag-anna --cpu-millis 9999999", "this machine has").await;
    sim.refuses("groups config update ag-anna --memory-mib 600 --skills ../x", "takes").await;
    let config = sim.ncl("groups config get ag-anna").await.unwrap();
    assert_eq!((limits(&config), &config["effort"]), ([Some(512), None, Some(500)], &Value::Null));
    assert_eq!(sim.ncl("status").await.unwrap()["builds"], 0);
    sim.refuses("approvals require 0", "1 to 20").await;
    sim.ncl("approvals require 2").await.unwrap();
    assert_eq!(sim.ncl("approvals require 1").await.unwrap(), json!({"approvals_needed": 1}));
    sim.stop().await;
    Ok(())
}

/// Chats and who listens in them.
#[tokio::test(start_paused = true)]
async fn chats_and_wirings_can_be_steered() -> anyhow::Result<()> {
    let mut sim = Sim::new("chats")?;
    sim.rig.agent("anna", "demo")?;
    sim.rig.agent("bert", "demo")?;
    sim.start().await?;
    let chat =
        sim.ncl("messaging-groups create --channel-type fake --platform-id c9").await.unwrap();
    assert_eq!((&chat["is_group"], &chat["unknown_sender_policy"]), (&json!(1), &json!("strict")));
    let chat = chat["id"].as_str().unwrap().to_owned();
    sim.refuses("messaging-groups create --channel-type fake --platform-id c9", "is known already")
        .await;
    sim.refuses(
        "messaging-groups create --channel-type fake --platform-id c9 --unknown-sender-policy open",
        "one of strict",
    )
    .await;
    let update = format!("messaging-groups update {chat}");
    let done = sim.ncl(&format!("{update} --name Nine --is-group no --unknown-sender-policy public --denied-at 2026-01-02T03:04:05Z")).await.unwrap();
    assert_eq!((&done["name"], &done["is_group"]), (&json!("Nine"), &json!(0)));
    assert_eq!(done["denied_at"], "2026-01-02T03:04:05.000Z");
    let done = sim.does(&["messaging-groups", "update", &chat, "--denied-at", ""]).await.unwrap();
    assert_eq!((&done["denied_at"], &done["name"]), (&Value::Null, &json!("Nine")));
    sim.refuses(&format!("{update} --denied-at soon"), "takes a time").await;
    sim.refuses(&update, "nothing to update").await;

    let wire = format!("wirings create --messaging-group-id {chat} --agent-group-id");
    sim.refuses(&format!("{wire} ag-nobody"), "group not found").await;
    sim.refuses(
        "wirings create --messaging-group-id mg-x --agent-group-id ag-anna",
        "messaging group not found",
    )
    .await;
    sim.refuses(&format!("{wire} ag-anna --engage-mode pattern"), "needs an --engage-pattern")
        .await;
    sim.refuses(
        &format!("{wire} ag-anna --engage-mode pattern --engage-pattern ("),
        "not understood",
    )
    .await;
    sim.refuses(&format!("{wire} ag-anna --engage-pattern {}", "x".repeat(5000)), "longer than")
        .await;
    let wiring = sim.ncl(&format!("{wire} ag-anna --priority 7")).await.unwrap();
    assert_eq!(wiring["priority"], 7);
    let wiring = wiring["id"].as_str().unwrap().to_owned();
    let its = [wiring.clone()];
    sim.refuses(&format!("{wire} ag-anna"), "listens there already").await;
    sim.refuses(
        &format!("wirings update {wiring} --engage-mode pattern"),
        "needs an --engage-pattern",
    )
    .await;
    let done = sim.ncl(&format!("wirings update {wiring} --session-mode per-thread --sender-scope known --ignored-message-policy accumulate")).await.unwrap();
    assert_eq!((&done["session_mode"], &done["priority"]), (&json!("per-thread"), &json!(7)));
    assert_eq!(sim.ncl(&format!("wirings get {wiring}")).await.unwrap(), done);
    assert_eq!(ids(&sim.ncl("wirings list --agent-group-id ag-anna").await.unwrap(), "id"), its);
    assert_eq!(sim.ncl("wirings list --agent-group-id ag-bert").await.unwrap(), json!([]));

    sim.ncl(&format!("messaging-groups delete {chat}")).await.unwrap();
    assert_eq!(sim.ncl("wirings").await.unwrap(), json!([]));
    sim.stop().await;
    Ok(())
}

/// People, what they may do, and whom agents may write to.
#[tokio::test(start_paused = true)]
async fn people_and_destinations_can_be_steered() -> anyhow::Result<()> {
    let mut sim = Sim::new("people")?;
    sim.rig.agent("anna", "demo")?;
    sim.rig.agent("bert", "demo")?;
    sim.start().await?;
    sim.refuses("users create eve", "channel:handle").await;
    let eve = sim.does(&["users", "create", "fake:eve", "--display-name", "Eve E."]).await.unwrap();
    assert_eq!((&eve["kind"], &eve["display_name"]), (&json!("fake"), &json!("Eve E.")));
    sim.refuses("users create fake:eve", "known already").await;
    assert_eq!(
        sim.ncl("users update fake:eve --display-name E").await.unwrap()["display_name"],
        "E"
    );
    sim.refuses(
        "roles grant --user fake:eve --role owner --group ag-anna",
        "an owner owns everything",
    )
    .await;
    sim.refuses("roles grant --user fake:eve --role boss", "owner, admin").await;
    sim.refuses("roles grant --user fake:nobody --role owner", "user not found").await;
    sim.refuses("roles grant --user fake:eve --role admin --group ag-x", "group not found").await;
    sim.ncl("roles grant --user fake:eve --role admin --group ag-anna").await.unwrap();
    sim.ncl("roles grant --user fake:eve --role admin --group ag-anna").await.unwrap();
    let roles = sim.ncl("roles list --user fake:eve").await.unwrap();
    assert_eq!(ids(&roles, "agent_group_id"), ["ag-anna"], "granted twice");
    sim.ncl("roles revoke --user fake:eve --role admin --agent-group-id ag-anna").await.unwrap();
    sim.refuses("roles revoke --user fake:eve --role admin --group ag-anna", "role not found")
        .await;
    sim.ncl("members add --user fake:eve --group ag-bert").await.unwrap();
    assert_eq!(
        ids(&sim.ncl("members list --group ag-bert").await.unwrap(), "user_id"),
        ["fake:eve"]
    );
    assert_eq!(sim.ncl("members list --group ag-anna").await.unwrap(), json!([]));
    sim.ncl("members remove --user fake:eve --group ag-bert").await.unwrap();
    sim.refuses("members remove --user fake:eve --group ag-bert", "member not found").await;
    assert_eq!(sim.ncl("user-dms").await.unwrap(), json!([]));

    let add = "destinations add --agent-group-id ag-anna --local-name bert --target-type agent --target-id";
    sim.refuses(&format!("{add} ag-nobody"), "there is no agent ag-nobody").await;
    sim.ncl(&format!("{add} ag-bert")).await.unwrap();
    sim.refuses(&format!("{add} ag-bert"), "already has a destination").await;
    sim.ncl("destinations remove --agent-group-id ag-anna --local-name bert").await.unwrap();
    sim.refuses(
        "destinations remove --agent-group-id ag-anna --local-name bert",
        "destination not found",
    )
    .await;

    for line in ["sessions get nowhere", "sessions stop nowhere", "sessions clear nowhere"] {
        sim.refuses(line, "session not found: nowhere").await;
    }
    assert_eq!(sim.ncl("dead-letters").await.unwrap(), json!([]));
    assert_eq!(sim.ncl("dropped-messages").await.unwrap(), json!([]));
    let status = sim.ncl("status").await.unwrap();
    assert_eq!((&status["boxes"], &status["wake_failures"]), (&json!(0), &json!([])));
    assert_eq!(sim.ncl("top").await.unwrap(), json!([]));
    sim.stop().await;
    Ok(())
}

/// An agent that has sessions goes only on demand; then nothing of it is left but what was put aside.
#[tokio::test(start_paused = true)]
async fn an_agent_that_is_removed_leaves_nothing_behind() -> anyhow::Result<()> {
    let mut sim = Sim::new("removed")?;
    let (anna, bert) = (sim.rig.agent("anna", "demo")?, sim.rig.agent("bert", "demo")?);
    sim.rig.chat("c1", &anna)?;
    sim.rig.chat("c2", &bert)?;
    sim.start().await?;
    sim.ncl("destinations add --agent-group-id ag-bert --local-name anna --target-type agent --target-id ag-anna").await.unwrap();
    sim.ncl("users create fake:eve").await.unwrap();
    sim.ncl("members add --user fake:eve --group ag-anna").await.unwrap();
    sim.ncl("roles grant --user fake:eve --role admin --group ag-anna").await.unwrap();
    for chat in ["c1", "c2"] {
        sim.rig.platform.dm(chat, "hello");
        sim.shows(chat, &["echo: hello"]).await;
    }
    let memory = sim.rig.root.path().join("groups/anna/CLAUDE.local.md");
    std::fs::write(&memory, "I know a secret")?;
    sim.refuses("groups delete ag-anna", "has 1 session(s); --force").await;
    assert!(memory.exists());
    let done = sim.ncl("groups delete ag-anna --force").await.unwrap();
    let aside: Vec<_> = done["put_aside"].as_object().unwrap().values().cloned().collect();
    assert_eq!(aside.len(), 2, "{done}");
    assert!(!memory.exists());
    let kept =
        |p: &Value| std::path::Path::new(p.as_str().unwrap()).join("CLAUDE.local.md").exists();
    assert!(aside.iter().any(kept), "{aside:?}");
    for list in ["groups", "wirings", "members", "roles", "destinations", "sessions"] {
        let left = sim.ncl(list).await.unwrap().to_string();
        assert!(!left.contains("ag-anna"), "{list}: {left}");
    }
    assert_eq!(sim.ncl("status").await.unwrap()["boxes"], 1, "its box runs on");
    sim.refuses("groups delete ag-anna --force", "group not found").await;
    // Nobody answers there any more, and the other one does.
    sim.rig.platform.dm("c1", "anybody?");
    sim.rig.platform.dm("c2", "you?");
    sim.shows("c2", &["echo: hello", "echo: you?"]).await;
    assert_eq!(sim.rig.platform.texts("c1"), ["echo: hello"]);
    // A new one of that name knows nothing of the old one.
    sim.ncl("groups create --id ag-anna --name anna --folder anna").await.unwrap();
    assert!(!memory.exists());
    sim.stop().await;
    Ok(())
}

/// A chat goes with its sessions, and its agent stays.
#[tokio::test(start_paused = true)]
async fn a_chat_that_is_removed_leaves_its_agent() -> anyhow::Result<()> {
    let mut sim = Sim::new("chatgone")?;
    let anna = sim.rig.agent("anna", "demo")?;
    sim.rig.chat("c1", &anna)?;
    sim.rig.chat("c2", &anna)?;
    sim.start().await?;
    for chat in ["c1", "c2"] {
        sim.rig.platform.dm(chat, "hello");
        sim.shows(chat, &["echo: hello"]).await;
    }
    sim.refuses("messaging-groups delete mg-c1", "--force").await;
    sim.ncl("messaging-groups delete mg-c1 --force").await.unwrap();
    assert_eq!(ids(&sim.ncl("messaging-groups").await.unwrap(), "id"), ["mg-c2"]);
    assert_eq!(ids(&sim.ncl("sessions").await.unwrap(), "messaging_group_id"), ["mg-c2"]);
    assert_eq!(ids(&sim.ncl("destinations").await.unwrap(), "target_id"), ["mg-c2"]);
    sim.rig.platform.dm("c2", "still?");
    sim.shows("c2", &["echo: hello", "echo: still?"]).await;
    sim.stop().await;
    Ok(())
}

/// A name that is added or removed is known in every session of the agent at once.
#[tokio::test(start_paused = true)]
async fn destinations_reach_sessions_that_run() -> anyhow::Result<()> {
    let mut sim = Sim::new("live")?;
    let (anna, _) = (sim.rig.agent("anna", "demo")?, sim.rig.agent("bert", "demo")?);
    sim.rig.chat("c1", &anna)?;
    sim.rig.chat("c2", &anna)?;
    sim.start().await?;
    for chat in ["c1", "c2"] {
        sim.rig.platform.dm(chat, "hello");
        sim.shows(chat, &["echo: hello"]).await;
    }
    sim.ncl("destinations add --agent-group-id ag-anna --local-name peer --target-type agent --target-id ag-bert").await.unwrap();
    for chat in ["c1", "c2"] {
        assert_eq!(sim.names_in(chat), ["c1", "c2", "peer"]);
    }
    sim.ncl("destinations remove --agent-group-id ag-anna --local-name peer").await.unwrap();
    for chat in ["c1", "c2"] {
        assert_eq!(sim.names_in(chat), ["c1", "c2"]);
    }
    sim.stop().await;
    Ok(())
}

/// A restart touches boxes that run and no others; a message is told to the new ones only.
#[tokio::test(start_paused = true)]
async fn a_restart_stops_what_runs_and_tells_the_new_boxes() -> anyhow::Result<()> {
    let mut sim = Sim::new("restart")?;
    sim.idle = Duration::from_secs(300);
    let anna = sim.rig.agent("anna", "demo")?;
    for chat in ["c1", "c2", "c3"] {
        sim.rig.chat(chat, &anna)?;
    }
    sim.start().await?;
    sim.rig.platform.dm("c3", "hello");
    sim.shows("c3", &["echo: hello"]).await;
    tokio::time::sleep(Duration::from_secs(400)).await;
    for chat in ["c1", "c2"] {
        sim.rig.platform.dm(chat, "hello");
        sim.shows(chat, &["echo: hello"]).await;
    }
    assert_eq!(sim.ncl("top").await.unwrap().as_array().map(Vec::len), Some(2));
    let started = sim.driver.counts().1;
    assert_eq!(sim.ncl("groups restart ag-anna").await.unwrap()["restarted"], 2);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(sim.driver.counts().1, started, "without work a box was started");
    assert_eq!(sim.ncl("groups restart ag-anna").await.unwrap()["restarted"], 0);
    for chat in ["c1", "c2"] {
        sim.rig.platform.dm(chat, "two");
        sim.shows(chat, &["echo: hello", "echo: two"]).await;
    }
    let done =
        sim.does(&["groups", "restart", "ag-anna", "--message", "look again"]).await.unwrap();
    assert_eq!(done["restarted"], 2);
    let told = |chat: &str| {
        let (agent, session) = sim.session_in(chat).unwrap();
        let inbox =
            rusqlite::Connection::open(sim.rig.dir(&agent, &session).unwrap().inbound()).unwrap();
        let sql = "SELECT COUNT(*) FROM messages_in WHERE on_wake = 1 AND content LIKE '%look again%' AND status = 'completed'";
        inbox.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap()
    };
    sim.eventually("the new boxes are told", || told("c1") == 1 && told("c2") == 1).await;
    assert_eq!(told("c3"), 0, "a session without a box was told");
    assert_eq!(sim.driver.counts().1, started + 4);
    sim.stop().await;
    Ok(())
}

/// What the operator adds to a box or takes away is made ready, and its boxes start anew with it.
#[tokio::test(start_paused = true)]
async fn packages_and_servers_come_and_go() -> anyhow::Result<()> {
    let mut sim = Sim::new("tools")?;
    let anna = sim.rig.agent("anna", "demo")?;
    sim.rig.chat("c1", &anna)?;
    sim.start().await?;
    let config = "groups config";
    let note = |done: Result<Value, String>| done.unwrap()["note"].as_str().unwrap().to_owned();
    let last = |sim: &Sim| sim.driver.specs.lock().unwrap().last().cloned().unwrap();
    let mut said = 0;
    let mut answers = async |sim: &Sim| {
        said += 1;
        sim.rig.platform.dm("c1", "hello");
        sim.shows("c1", &vec!["echo: hello"; said]).await;
    };
    answers(&sim).await;
    for package in ["jq", "tree"] {
        let done = sim.ncl(&format!("{config} add-package ag-anna --apt {package}")).await;
        assert_eq!(note(done), format!("Done: {package} is there."));
    }
    answers(&sim).await;
    assert_eq!(last(&sim).image.as_deref(), Some("made:jq-tree"));
    sim.ncl(&format!("{config} add-mcp-server ag-anna --name files --command serve"))
        .await
        .unwrap();
    sim.refuses(
        &format!("{config} add-mcp-server ag-anna --name nanoclaw --command x"),
        "cannot name",
    )
    .await;
    sim.refuses(&format!("{config} add-package ag-anna --npm x@1/../y"), "no name of an npm").await;

    let done = sim.ncl(&format!("{config} remove-package ag-anna --apt tree")).await;
    assert_eq!(note(done), "Done: tree is gone.");
    answers(&sim).await;
    assert_eq!(last(&sim).image.as_deref(), Some("made:jq"));
    let done = sim.ncl(&format!("{config} remove-package ag-anna --apt jq")).await;
    assert_eq!(note(done), "Done: jq is gone.");
    let done = sim.ncl(&format!("{config} remove-mcp-server ag-anna --name files")).await;
    assert_eq!(note(done), "Done: the tool server files is gone.");
    answers(&sim).await;
    assert_eq!(last(&sim).image, None, "nothing is made where nothing is wanted");
    sim.refuses(&format!("{config} remove-package ag-anna --npm jq"), "jq is not there").await;
    let left = sim.ncl(&format!("{config} get ag-anna")).await.unwrap();
    assert_eq!((&left["packages_apt"], &left["mcp_servers"]), (&json!([]), &json!({})));
    assert_eq!(sim.ncl("status").await.unwrap()["builds"], 0);
    sim.stop().await;
    Ok(())
}

/// From inside, an agent sees what is its own, whatever it writes into the request.
#[tokio::test(start_paused = true)]
async fn from_inside_an_agent_sees_its_own() -> anyhow::Result<()> {
    let mut sim = Sim::new("inside")?;
    let (anna, bert) = (sim.rig.agent("anna", "demo")?, sim.rig.agent("bert", "demo")?);
    sim.rig.chat("c1", &anna)?;
    sim.rig.chat("c2", &bert)?;
    sim.start().await?;
    sim.rig.platform.dm("c2", "hello");
    sim.shows("c2", &["echo: hello"]).await;
    let foreign = sim.session_in("c2").unwrap().1;

    let seen = sim.asks_inside("c1", "r1", "groups-list", json!({})).await;
    assert!(seen.ok && ids(&seen.data.unwrap(), "id") == ["ag-anna"]);
    let seen = sim.asks_inside("c1", "r2", "sessions", json!({})).await;
    let own = ids(&seen.data.unwrap(), "id");
    assert_eq!(own, [sim.session_in("c1").unwrap().1.to_string()]);
    let seen = sim.asks_inside("c1", "r3", &format!("sessions-get-{}", own[0]), json!({})).await;
    assert_eq!(seen.data.unwrap()["agent_group_id"], "ag-anna");
    let help = sim.asks_inside("c1", "r4", "help", json!({})).await.data.unwrap();
    assert!(help.as_str().unwrap().contains("only what is your own"), "{help}");
    let config = sim.asks_inside("c1", "r5", "groups-config-get", json!({})).await;
    assert_eq!(config.data.unwrap()["agent_group_id"], "ag-anna");
    for (n, (command, args, why)) in [
        ("sessions-get", json!({"id": foreign}), "session not found"),
        ("sessions-get", json!({"id": "nowhere"}), "session not found"),
        ("sessions-get", json!({"id": own[0], "ID": foreign}), "takes no"),
        ("sessions-stop", json!({"id": foreign}), "session not found"),
        ("groups-get", json!({"id": "ag-bert"}), "different agent group"),
        ("groups-get-ag-bert", json!({}), "different agent group"),
        ("groups-get-ag-bert", json!({"id": "ag-anna"}), "more than once"),
        (
            "sessions-list",
            json!({"agent_group_id": "ag-anna", "agent-group-id": "ag-bert"}),
            "more than once",
        ),
        ("sessions-list", json!({"agent_group_id": {"id": "ag-bert"}}), "takes a text"),
        ("members-add", json!({"user": "fake:eve", "group": "ag-bert"}), "different agent group"),
        ("groups-config-update", json!({"cli-scope": "global"}), "cli_scope"),
        ("wirings-list", json!({}), "wirings"),
        ("approvals-approve", json!({"id": "ap-1"}), "for people"),
        ("approvals-require", json!({"people": 1}), "for people"),
        ("denied-senders-list", json!({}), "outside this agent's scope"),
        ("users-link", json!({"id": "a:b", "to": "c:d"}), "for people"),
        ("nonsense", json!({}), "there is no command"),
        ("groups-config-get", json!("text"), "not an object"),
        ("groups-config-get", json!({"id": "x".repeat(100_000)}), "more than 65536 bytes"),
    ]
    .into_iter()
    .enumerate()
    {
        let frame = sim.asks_inside("c1", &format!("x{n}"), command, args.clone()).await;
        let shown: String = args.to_string().chars().take(100).collect();
        assert!(!frame.ok && message(&frame).contains(why), "{command} {shown}: {frame:?}");
    }
    sim.set_scope(&anna, CliScope::Disabled);
    let frame = sim.asks_inside("c1", "d1", "help", json!({})).await;
    assert!(message(&frame).contains("disabled"), "{frame:?}");
    sim.set_scope(&anna, CliScope::Global);
    let seen = sim.asks_inside("c1", "g1", "groups-list", json!({})).await;
    assert_eq!(ids(&seen.data.unwrap(), "id"), ["ag-anna", "ag-bert"]);
    let seen = sim.asks_inside("c1", "g2", "sessions-get", json!({"id": foreign})).await;
    assert_eq!(seen.data.unwrap()["agent_group_id"], "ag-bert");
    let frame = sim.asks_inside("c1", "g3", "approvals-approve", json!({"id": "ap-1"})).await;
    assert!(message(&frame).contains("for people"), "{frame:?}");
    sim.stop().await;
    Ok(())
}

/// Two agents may call their tasks the same; each steers its own, at once, and the operator both.
#[tokio::test(start_paused = true)]
async fn tasks_are_steered_by_whoever_they_belong_to() -> anyhow::Result<()> {
    let mut sim = Sim::new("tasks")?;
    let (anna, bert) = (sim.rig.agent("anna", "demo")?, sim.rig.agent("bert", "demo")?);
    sim.rig.chat("c1", &anna)?;
    sim.rig.chat("c2", &bert)?;
    sim.start().await?;
    for chat in ["c1", "c2"] {
        let content = json!({"action": "schedule_task", "taskId": "t1", "prompt": format!("water {chat}"),
            "processAfter": "2199-01-01T00:00:00Z", "recurrence": "0 9 * * *"});
        sim.rig
            .platform
            .dm(chat, &format!("!row {}", json!({"kind": "system", "content": content})));
        let which = TaskFilter { id: Some("t1"), ..TaskFilter::default() };
        let wanted = if chat == "c1" { 1 } else { 2 };
        let central = sim.rig.central()?;
        let scheduled = || central.tasks(&which, 10, 0).unwrap().len() == wanted;
        sim.eventually("it is scheduled", scheduled).await;
    }
    sim.refuses("tasks get t1", "say which with --session").await;
    sim.refuses("tasks get t2", "no live task").await;
    sim.refuses("tasks update t1 --group ag-anna", "nothing to update").await;
    sim.refuses("tasks update t1 --group ag-anna --process-after soon", "is no time").await;
    sim.refuses("tasks update t1 --group ag-anna --recurrence never", "is no schedule").await;
    let task = sim.ncl("tasks get t1 --group ag-anna").await.unwrap();
    assert_eq!((&task["prompt"], &task["status"]), (&json!("water c1"), &json!("pending")));
    let done = sim
        .does(&["tasks", "update", "t1", "--group", "ag-anna", "--prompt", "water them all"])
        .await;
    assert!(done.is_ok(), "{done:?}");
    let status = |agent: &'static str| {
        let sim = &sim;
        async move {
            sim.ncl(&format!("tasks get t1 --group {agent}")).await.map(|t| t["status"].clone())
        }
    };

    let seen = sim.asks_inside("c1", "t1", "tasks-list", json!({})).await.data.unwrap();
    assert_eq!(ids(&seen, "agent_group_id"), ["ag-anna"]);
    let frame = sim.asks_inside("c1", "t2", "tasks-pause", json!({"id": "t1"})).await;
    assert!(frame.ok, "{frame:?}");
    assert_eq!(status("ag-anna").await.unwrap(), "paused");
    assert_eq!(status("ag-bert").await.unwrap(), "pending", "another agent's task was paused");
    for (n, group) in ["ag-bert", "ag-nobody"].into_iter().enumerate() {
        let args = json!({"id": "t1", "group": group});
        let frame = sim.asks_inside("c1", &format!("f{n}"), "tasks-cancel", args).await;
        assert!(message(&frame).contains("different agent group"), "{frame:?}");
    }
    // With a global reach, what does not name its own agent is for a person to decide.
    sim.set_scope(&anna, CliScope::Global);
    let frame = sim.asks_inside("c1", "g1", "tasks-cancel", json!({"id": "t1"})).await;
    assert!(!frame.ok && !message(&frame).contains("say which"), "{frame:?}");
    let frame =
        sim.asks_inside("c1", "g2", "tasks-cancel", json!({"id": "t1", "group": "ag-anna"})).await;
    assert!(frame.ok, "{frame:?}");
    assert!(status("ag-anna").await.is_err_and(|e| e.contains("no live task")));
    sim.ncl("tasks resume t1 --group ag-bert").await.unwrap();
    sim.ncl("tasks run t1").await.unwrap();
    sim.ncl("tasks cancel t1").await.unwrap();
    assert_eq!(sim.ncl("tasks").await.unwrap(), json!([]));
    sim.stop().await;
    Ok(())
}

/// What changes something is asked of a person with exactly what will be done; an approval does that and no
/// more, and the agent is told.
#[tokio::test(start_paused = true)]
async fn what_changes_something_is_asked_first() -> anyhow::Result<()> {
    let mut sim = Sim::new("asks")?;
    let (anna, _) = (sim.rig.agent("anna", "demo")?, sim.rig.agent("bert", "demo")?);
    sim.rig.chat("c1", &anna)?;
    grant(&sim, "fake:boss", Role::Owner, None)?;
    sim.start().await?;
    let name = |sim: &Sim| sim.rig.central().unwrap().agent(&anna).unwrap().unwrap().name;

    let frame = sim.asks_inside("c1", "a1", "groups-update", json!({"name": "Ann"})).await;
    assert_eq!(frame.error.as_ref().map(|e| e.code), Some(Code::ApprovalPending), "{frame:?}");
    let shown = card(&sim, "boss", 1).await;
    assert!(shown.text.contains("ag-anna") && shown.text.contains("Ann"), "{}", shown.text);
    let id = shown.question.expect("an id");
    assert!(!message(&frame).contains(&id), "the agent was given an id that decides");
    assert_eq!(name(&sim), "anna", "done before anybody said yes");
    let click = sim.rig.platform.click(&id, "approve", "boss").await;
    assert!(click.as_deref().is_some_and(|c| c.starts_with("taken")), "{click:?}");
    sim.eventually("it is done", || name(&sim) == "Ann").await;
    sim.eventually("the agent is told", || sim.was_told("c1", "Ann")).await;

    // From the terminal, with everything shown; a decided one is not decided again.
    sim.asks_inside("c1", "a2", "members-add", json!({"user": "fake:boss"})).await;
    let waiting = sim.ncl("approvals list --status pending").await.unwrap();
    let id = ids(&waiting, "approval_id").pop().unwrap();
    let shown = sim.ncl(&format!("approvals get {id}")).await.unwrap();
    assert_eq!(shown["payload"]["args"], json!({"group": "ag-anna", "user": "fake:boss"}));
    assert_eq!(sim.ncl("status").await.unwrap()["approvals"], 1);
    sim.ncl(&format!("approvals approve {id}")).await.unwrap();
    sim.eventually("the member is there", || {
        sim.rig.central().unwrap().is_member(&user("fake:boss").unwrap(), &anna).unwrap()
    })
    .await;
    assert!(sim.ncl(&format!("approvals reject {id}")).await.is_err(), "decided twice");
    sim.refuses("approvals approve ap-forged", "no request").await;

    sim.asks_inside("c1", "a3", "groups-update", json!({"name": "Mallory"})).await;
    let id =
        ids(&sim.ncl("approvals list --status pending").await.unwrap(), "approval_id").remove(0);
    sim.ncl(&format!("approvals reject {id}")).await.unwrap();
    sim.eventually("the no is told", || sim.was_told("c1", "eject")).await;
    assert_eq!(name(&sim), "Ann");

    // A reach that was narrowed since is narrow when it is done, too.
    sim.set_scope(&anna, CliScope::Global);
    let seen = sim.asks_inside("c1", "a4", "approvals-list", json!({})).await.data.unwrap();
    assert!(seen.as_array().is_some_and(|all| all.len() == 3) && !seen.to_string().contains("ap-"));
    sim.asks_inside("c1", "a5", "groups-update", json!({"id": "ag-bert", "name": "Owned"})).await;
    sim.set_scope(&anna, CliScope::Group);
    let id =
        ids(&sim.ncl("approvals list --status pending").await.unwrap(), "approval_id").remove(0);
    sim.ncl(&format!("approvals approve {id}")).await.unwrap();
    sim.eventually("it fails", || sim.was_told("c1", "different agent group")).await;
    assert_eq!(
        ids(&sim.ncl("groups get ag-bert").await.map(|g| json!([g])).unwrap(), "name"),
        ["bert"]
    );

    // Owners are nobody's to ask for; package names are no commands.
    sim.set_scope(&anna, CliScope::Global);
    let owner = json!({"user": "fake:eve", "role": "owner"});
    let frame = sim.asks_inside("c1", "a6", "roles-grant", owner).await;
    assert!(message(&frame).contains("by the operator only"), "{frame:?}");
    for package in ["jq; rm -rf /", "--allow-unauthenticated", "jq\nRUN evil", "$(id)", "../x"] {
        let done =
            sim.does(&["groups", "config", "add-package", "ag-anna", "--apt", package]).await;
        assert!(done.is_err(), "{package:?}: {done:?}");
    }
    sim.stop().await;
    Ok(())
}

/// Identities are linked by the operator, and shown.
#[tokio::test(start_paused = true)]
async fn identities_are_linked_and_shown() -> anyhow::Result<()> {
    let mut sim = Sim::new("linked")?;
    sim.start().await?;
    for id in ["fake:eve", "fakemail:eve"] {
        sim.ncl(&format!("users create {id}")).await.unwrap();
    }
    sim.refuses("users unlink fake:eve", "linked to nobody").await;
    sim.refuses("users link fake:eve --to fake:nobody", "user not found").await;
    let linked = sim.ncl("users link fake:eve --to fakemail:eve").await.unwrap();
    assert_eq!(linked["linked"], json!(["fake:eve", "fakemail:eve"]));
    let people = ids(&sim.ncl("users list --kind fake").await.unwrap(), "person");
    assert_eq!(people, ids(&sim.ncl("users list --kind fakemail").await.unwrap(), "person"));
    assert_eq!(people.len(), 1);
    sim.ncl("users unlink fakemail:eve").await.unwrap();
    let alone = sim.ncl("users get fakemail:eve").await.unwrap();
    assert_eq!(alone["person"], Value::Null);
    sim.stop().await;
    Ok(())
}
