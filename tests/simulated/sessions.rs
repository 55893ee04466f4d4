//! What a session is told about itself, and what is written into it.

use super::routing::{group, said, wire};
use super::{EVER, Sim};
use nanoclaw_central::{EngageMode, SessionMode};
use nanoclaw_contract::ids::{AgentId, ChannelType, PlatformId, SessionId};
use nanoclaw_testkit::platform::{Said, SaidFile};
use serde_json::Value;

fn all(wiring: &mut nanoclaw_central::Wiring) {
    (wiring.engage_mode, wiring.engage_pattern) = (Some(EngageMode::Pattern), Some(".".into()));
}

/// `chat/thread` of every message, in order.
fn places(sim: &Sim, agent: &AgentId, session: &SessionId) -> anyhow::Result<Vec<String>> {
    let inbox = sim.inbox(agent, session)?;
    let mut rows = inbox.prepare(
        "SELECT channel_type || '/' || platform_id || '/' || ifnull(thread_id, '-')
         FROM messages_in ORDER BY seq",
    )?;
    Ok(rows.query_map([], |r| r.get(0))?.collect::<Result<_, _>>()?)
}

/// Where the session itself belongs.
fn home(sim: &Sim, agent: &AgentId, session: &SessionId) -> anyhow::Result<Vec<Option<String>>> {
    Ok(sim.inbox(agent, session)?.query_row(
        "SELECT channel_type, platform_id, thread_id FROM session_routing",
        [],
        |r| Ok(vec![r.get(0)?, r.get(1)?, r.get(2)?]),
    )?)
}

/// Every agent of a chat has the message with its own address, in a session that knows where it belongs.
#[tokio::test(start_paused = true)]
async fn every_session_knows_its_place_and_every_row_its_own() -> anyhow::Result<()> {
    let mut sim = Sim::new("places")?;
    let (room, den) = (group(&sim, "room")?, group(&sim, "den")?);
    let (one, two) = (sim.rig.agent("one", "demo")?, sim.rig.agent("two", "demo")?);
    wire(&sim, &room, &one, all)?;
    wire(&sim, &room, &two, |w| {
        all(w);
        w.session_mode = SessionMode::AgentShared;
    })?;
    wire(&sim, &den, &two, |w| {
        all(w);
        w.session_mode = SessionMode::AgentShared;
    })?;
    sim.start().await?;
    sim.rig.platform.say(said(1, "room", Some("t1"), "a", false));
    assert!(sim.rig.platform.until(EVER, |p| p.texts("room").len() == 2).await);
    sim.rig.platform.say(said(2, "room", Some("t1"), "b", false));
    assert!(sim.rig.platform.until(EVER, |p| p.texts("room").len() == 4).await);
    sim.rig.platform.say(said(3, "den", None, "c", false));
    sim.shows("den", &["echo: c"]).await;
    let [first] = sim.rig.sessions(&one)?.try_into().map_err(|s| anyhow::anyhow!("{s:?}"))?;
    let [shared] = sim.rig.sessions(&two)?.try_into().map_err(|s| anyhow::anyhow!("{s:?}"))?;
    assert_eq!(places(&sim, &one, &first)?, ["fake/room/t1", "fake/room/t1"]);
    assert_eq!(places(&sim, &two, &shared)?, ["fake/room/t1", "fake/room/t1", "fake/den/-"]);
    let text = |s: &str| Some(s.to_owned());
    assert_eq!(home(&sim, &one, &first)?, [text("fake"), text("room"), text("t1")]);
    assert_eq!(home(&sim, &two, &shared)?[2], None, "a shared session is of no thread");
    sim.stop().await;
    Ok(())
}

/// What is not for the agent, and not kept, leaves nothing: no session, no box.
#[tokio::test(start_paused = true)]
async fn what_is_dropped_leaves_no_session() -> anyhow::Result<()> {
    let mut sim = Sim::new("dropped")?;
    let (room, agent) = (group(&sim, "room")?, sim.rig.agent("andy", "demo")?);
    wire(&sim, &room, &agent, |_| {})?;
    sim.start().await?;
    sim.rig.platform.say(said(1, "room", Some("t1"), "not for you", false));
    sim.quiet().await;
    assert_eq!(sim.rig.sessions(&agent)?, []);
    assert_eq!(sim.driver.counts().1, 0);
    sim.stop().await;
    Ok(())
}

/// Chats are not collected: one is noted when an agent is addressed there, and not before.
#[tokio::test(start_paused = true)]
async fn a_chat_is_noted_when_somebody_is_addressed_there() -> anyhow::Result<()> {
    let mut sim = Sim::new("noted")?;
    sim.start().await?;
    let noted = |id: &str| -> anyhow::Result<bool> {
        let (channel, chat) = (ChannelType::parse("fake")?, PlatformId::parse(id)?);
        Ok(sim.rig.central()?.chat_by_address(&channel, &chat)?.is_some())
    };
    sim.rig.platform.say(said(1, "plain", None, "nobody in particular", false));
    sim.rig.platform.say(said(2, "asked", None, "you there", true));
    sim.quiet().await;
    assert!(!noted("plain")?);
    assert!(noted("asked")?);
    sim.stop().await;
    Ok(())
}

/// Attachments lie below their message under plain names, whatever they were called.
#[tokio::test(start_paused = true)]
async fn attachments_get_plain_names_below_their_message() -> anyhow::Result<()> {
    let mut sim = Sim::new("names")?;
    let agent = sim.rig.agent("andy", "demo")?;
    sim.rig.chat("c1", &agent)?;
    sim.start().await?;
    let names = [
        ("my notes v1.2.txt", "my notes v1.2.txt"),
        ("my notes v1.2.txt", "attachment-1.txt"),
        ("../../../../etc/cron.d/evil", "attachment-2.devil"),
        ("/etc/passwd", "attachment-3.etcpassw"),
        ("..", "attachment-4"),
        ("", "attachment-5"),
        ("nul\0.png", "attachment-6.png"),
        (".bashrc", "attachment-7.bashrc"),
        ("a\\b.jpg", "attachment-8.jpg"),
    ];
    let file = |(n, (name, _)): (usize, &(&str, &str))| SaidFile {
        kind: "file".into(),
        name: (*name).into(),
        mime: "text/plain".into(),
        bytes: vec![b'0' + u8::try_from(n).unwrap_or_default()],
        ..SaidFile::default()
    };
    sim.rig.platform.say(Said {
        id: "../../outside".into(),
        chat: "c1".into(),
        sender: "eve".into(),
        text: "look".into(),
        files: names.iter().enumerate().map(file).collect(),
        ..Said::default()
    });
    sim.shows("c1", &["echo: look"]).await;
    let session = sim.rig.sessions(&agent)?.remove(0);
    let content: String =
        sim.inbox(&agent, &session)?
            .query_row("SELECT content FROM messages_in", [], |r| r.get(0))?;
    let content: Value = serde_json::from_str(&content)?;
    let inbox = sim.rig.dir(&agent, &session)?.root().to_owned();
    for (n, (sent, stored)) in names.iter().enumerate() {
        let attachment = &content["attachments"][n];
        assert_eq!(attachment["name"], *stored, "{sent:?}");
        let path = attachment["localPath"].as_str().unwrap_or_default();
        assert!(path.starts_with("inbox/") && path.ends_with(stored), "{path}");
        assert!(!path.contains(".."), "{path}");
        assert_eq!(std::fs::read(inbox.join(path))?, [b'0' + u8::try_from(n)?], "{path}");
    }
    sim.stop().await;
    Ok(())
}
