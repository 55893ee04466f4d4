//! What may not go on for ever: asking after a no, votes of people who left, an agent that sets itself to work, a
//! platform that does not answer.

use super::routing::{group, said, wire};
use super::strangers::{card, grant, says, user};
use super::{EVER, Sim};
use async_trait::async_trait;
use nanoclaw_central::{EngageMode, Role, SessionMode};
use nanoclaw_channel::{
    Address, Capabilities, Channel, ChannelDef, Outgoing, Receipt, SendError, Start, StartError,
};
use nanoclaw_contract::ids::AgentId;
use nanoclaw_testkit::channel::CHANNEL;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// An agent in chat c1 and people who decide, each in a direct chat.
async fn house(name: &str, owners: &[&str]) -> anyhow::Result<(Sim, AgentId)> {
    let mut sim = Sim::new(name)?;
    let agent = sim.rig.agent("andy", "demo")?;
    sim.rig.chat("c1", &agent)?;
    for owner in owners {
        grant(&sim, &format!("fake:{owner}"), Role::Owner, None)?;
    }
    sim.start().await?;
    Ok((sim, agent))
}

fn order(sim: &Sim, content: &Value) {
    let row = json!({"kind": "system", "content": content});
    sim.rig.platform.dm("c1", &format!("!row {row}"));
}

fn install(package: &str, reason: &str) -> Value {
    json!({"action": "install_packages", "apt": [package], "reason": reason})
}

/// A no holds for half an hour, whatever the new reason; after five of them nothing is asked at all.
#[tokio::test(start_paused = true)]
async fn what_was_rejected_is_not_asked_again_at_once() -> anyhow::Result<()> {
    let (mut sim, _) = house("nagging", &["boss"]).await?;
    let reject = async |sim: &Sim, nth: usize| {
        let id = card(sim, "boss", nth).await.question.unwrap_or_default();
        let done = sim.rig.platform.click(&id, "reject", "boss").await;
        assert_eq!(done.as_deref(), Some("taken: ❌ Rejected"));
    };
    order(&sim, &install("jq", "I need it"));
    reject(&sim, 1).await;
    order(&sim, &install("jq", "I need it very much"));
    says(&sim, "c1", "this was rejected within the last 30 minutes").await;
    for nth in 2..=5 {
        order(&sim, &install(&format!("jq{nth}"), "then this"));
        reject(&sim, nth).await;
    }
    order(&sim, &install("tree", "then this"));
    sim.quiet().await;
    assert_eq!(sim.rig.platform.questions("boss").len(), 5, "somebody was nagged");
    tokio::time::sleep(Duration::from_secs(1800)).await;
    order(&sim, &install("jq", "please"));
    card(&sim, "boss", 6).await;
    sim.stop().await;
    Ok(())
}

/// One of two who must approve lost the role before the other voted: that was one vote.
#[tokio::test(start_paused = true)]
async fn the_vote_of_somebody_who_lost_the_role_is_withdrawn() -> anyhow::Result<()> {
    let (mut sim, agent) = house("withdrawn", &["boss", "chief", "third"]).await?;
    sim.ncl("approvals require 2").await.map_err(anyhow::Error::msg)?;
    order(&sim, &install("jq", "I need it"));
    let id = card(&sim, "chief", 1).await.question.unwrap_or_default();
    let click = async |who: &str| sim.rig.platform.click(&id, "approve", who).await;
    assert_eq!(click("chief").await.as_deref(), Some("taken: ✅ Approved; 1 more needed"));
    sim.rig.central()?.revoke_role(&user("fake:chief")?, Role::Owner, None)?;
    assert_eq!(click("boss").await.as_deref(), Some("taken: ✅ Approved; 1 more needed"));
    sim.quiet().await;
    let packages =
        || anyhow::Ok(sim.rig.central()?.config(&agent)?.unwrap_or_default().packages_apt);
    assert_eq!(packages()?, json!([]), "a vote counted that nobody has");
    assert_eq!(click("third").await.as_deref(), Some("taken: ✅ Approved"));
    sim.quiet().await;
    assert_eq!(packages()?, json!(["jq"]));
    sim.stop().await;
    Ok(())
}

/// A task that runs itself again, by tool, by `ncl` or as a new task, has an end; a person's word gives it new runs.
#[tokio::test(start_paused = true)]
async fn an_agent_that_sets_itself_to_work_has_an_end() -> anyhow::Result<()> {
    let (mut sim, _) = house("selfmade", &[]).await?;
    order(
        &sim,
        &json!({"action": "schedule_task", "taskId": "t", "prompt": "go on", "recurrence": "0 0 1 1 *"}),
    );
    sim.quiet().await;
    let run = json!({"action": "run_task", "taskId": "t"});
    let by_ncl = json!({"action": "cli_request", "requestId": "r", "command": "tasks-run", "args": {"id": "t"}});
    let anew = json!({"action": "schedule_task", "taskId": "n", "prompt": "go on", "processAfter": "2026-03-01T09:00:00Z"});
    let rows: Vec<_> = (0..40)
        .map(|n| {
            let mut content = [&run, &by_ncl, &anew][n % 3].clone();
            for id in ["taskId", "requestId"] {
                if content[id].as_str().is_some_and(|is| is != "t") {
                    content[id] = format!("n{n}").into();
                }
            }
            format!("!row {}", json!({"kind": "system", "content": content}))
        })
        .collect();
    sim.rig.platform.dm("c1", &rows.join("\n"));
    says(&sim, "c1", "you set yourself to work too often").await;
    sim.quiet().await;
    let refusals = |sim: &Sim| {
        let texts = sim.rig.platform.texts("c1");
        texts.iter().filter(|t| t.contains("you set yourself to work too often")).count()
    };
    let before = refusals(&sim);
    assert!(before >= 5, "{before}");
    sim.quiet().await;
    order(&sim, &run);
    sim.quiet().await;
    assert_eq!(refusals(&sim), before, "a person's word is a new beginning");
    sim.stop().await;
    Ok(())
}

static ASKED: AtomicUsize = AtomicUsize::new(0);
static OVER: AtomicUsize = AtomicUsize::new(0);

/// A platform that never says whether a thread is followed.
struct Silent(Arc<dyn Channel>);

#[async_trait]
impl Channel for Silent {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn send(&self, message: &Outgoing) -> Result<Receipt, SendError> {
        self.0.send(message).await
    }

    async fn subscribe(&self, _: &Address) {
        struct Ends;
        impl Drop for Ends {
            fn drop(&mut self) {
                OVER.fetch_add(1, Ordering::SeqCst);
            }
        }
        let _ends = Ends;
        ASKED.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<()>().await;
    }
}

async fn silent(start: Start) -> Result<Arc<dyn Channel>, StartError> {
    Ok(Arc::new(Silent((CHANNEL.start)(start).await?)))
}

const SILENT: ChannelDef =
    ChannelDef { name: "fake", settings: &[], start: |s| Box::pin(silent(s)) };
static ONLY_SILENT: [&ChannelDef; 1] = [&SILENT];

/// A platform that does not answer is not waited for without end, and the message is answered all the same.
#[tokio::test(start_paused = true)]
async fn a_platform_that_follows_no_thread_is_not_waited_for() -> anyhow::Result<()> {
    let mut sim = Sim::new("silent")?;
    sim.channels = &ONLY_SILENT;
    let agent = sim.rig.agent("andy", "demo")?;
    let room = group(&sim, "room")?;
    wire(&sim, &room, &agent, |w| {
        (w.engage_mode, w.session_mode) = (Some(EngageMode::MentionSticky), SessionMode::PerThread);
    })?;
    sim.start().await?;
    sim.rig.platform.say(said(1, "room", Some("t1"), "hello", true));
    assert!(sim.rig.platform.until(EVER, |p| !p.texts("room").is_empty()).await);
    sim.quiet().await;
    assert_eq!((ASKED.load(Ordering::SeqCst), OVER.load(Ordering::SeqCst)), (1, 1));
    sim.stop().await;
    Ok(())
}
