//! Agents that write to each other, and agents that agents make.

use super::Sim;
use super::strangers::{card, grant};
use nanoclaw_central::{AgentConfig, CliScope, DestinationTarget, Role};
use nanoclaw_contract::ids::{
    Address, AgentId, ChannelType, MessageId, OutId, PlatformId, SessionId, UserId,
};
use nanoclaw_contract::message::{NewOut, OutKind};
use nanoclaw_contract::outbox::{Commit, Outbox};
use nanoclaw_contract::time::Timestamp;
use nanoclaw_testkit::platform::Shown;
use serde_json::{Value, json};
use std::time::Duration;

/// What the agent does nothing about.
const ENOUGH: &str = "!row enough";

/// An order to write this to a destination.
fn tell(to: &str, text: &str) -> String {
    format!("!row {}", json!({ "to": to, "content": { "text": text } }))
}

/// Agents a, b … with a chat each, named like them with a c before; everybody knows everybody.
fn team(sim: &Sim, names: &[&str]) -> anyhow::Result<Vec<AgentId>> {
    let central = sim.rig.central()?;
    let mut all = Vec::new();
    for name in names {
        let id = sim.rig.agent(name, "demo")?;
        sim.rig.chat(&format!("c{name}"), &id)?;
        all.push(id);
    }
    for one in &all {
        for (name, other) in names.iter().zip(&all).filter(|(_, other)| *other != one) {
            let target = DestinationTarget::Agent(other.clone());
            central.add_destination(one, name, &target, Timestamp::now())?;
        }
    }
    Ok(all)
}

/// A message between agents, as it lies in an inbox.
#[derive(Debug, PartialEq)]
struct Letter {
    from: String,
    source: String,
    text: String,
    hops: i64,
}

fn letters(sim: &Sim, agent: &AgentId, session: &SessionId) -> anyhow::Result<Vec<Letter>> {
    let inbox = sim.inbox(agent, session)?;
    let mut rows = inbox.prepare(
        "SELECT platform_id, source_session_id, content->>'text', content->>'hops' FROM messages_in
         WHERE channel_type = 'agent' AND source_session_id IS NOT NULL AND kind = 'chat'
           AND thread_id IS NULL AND trigger = 1 ORDER BY seq",
    )?;
    let all = rows.query_map([], |r| {
        Ok(Letter { from: r.get(0)?, source: r.get(1)?, text: r.get(2)?, hops: r.get(3)? })
    })?;
    Ok(all.collect::<Result<_, _>>()?)
}

fn count(sim: &Sim, agent: &AgentId) -> anyhow::Result<usize> {
    sim.rig.sessions(agent)?.iter().map(|s| Ok(letters(sim, agent, s)?.len())).sum()
}

/// The agent's sessions, the oldest first.
fn sessions(sim: &Sim, agent: &AgentId) -> anyhow::Result<Vec<SessionId>> {
    let mut all = sim.rig.sessions(agent)?;
    all.reverse();
    Ok(all)
}

/// What the host itself told an agent.
fn notes(sim: &Sim, agent: &AgentId) -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    for session in sim.rig.sessions(agent)? {
        let inbox = sim.inbox(agent, &session)?;
        let mut rows = inbox.prepare(
            "SELECT content->>'text' FROM messages_in WHERE id LIKE 'note-%' ORDER BY seq",
        )?;
        let found = rows.query_map([], |r| r.get(0))?;
        all.extend(found.collect::<Result<Vec<String>, _>>()?);
    }
    Ok(all)
}

/// The box writes this on its own account, as no runner would.
fn writes(
    sim: &Sim,
    (agent, session): (&AgentId, &SessionId),
    to: &AgentId,
    in_reply_to: Option<&str>,
    texts: &[String],
) -> anyhow::Result<()> {
    let rows: Vec<_> = texts
        .iter()
        .enumerate()
        .map(|(n, text)| {
            Ok(NewOut {
                id: OutId::parse(format!("own-{n}-{}", uuid(text, to)))?,
                in_reply_to: in_reply_to.map(MessageId::parse).transpose()?,
                kind: OutKind::Chat,
                to: Some(Address {
                    channel_type: ChannelType::parse("agent")?,
                    platform_id: PlatformId::parse(to.as_str())?,
                    thread_id: None,
                }),
                content: json!({ "text": text }).to_string(),
            })
        })
        .collect::<anyhow::Result<_>>()?;
    let mut outbox = Outbox::open(&sim.rig.dir(agent, session)?.outbound(), Timestamp::now())?;
    outbox.commit(&Commit { say: &rows, ..Commit::default() }, Timestamp::now())?;
    Ok(())
}

fn uuid(text: &str, to: &AgentId) -> String {
    nanoclaw_contract::ids::stable(&format!("{text}{to}")).to_string()
}

/// There and back: the answer comes to the session that asked, not to a newer one, and without a hint it goes
/// where the other last wrote from.
#[tokio::test(start_paused = true)]
async fn an_answer_returns_to_the_session_that_asked() -> anyhow::Result<()> {
    let mut sim = Sim::new("back")?;
    let [a, b] = team(&sim, &["a", "b"])?.try_into().expect("two");
    sim.rig.chat("second", &a)?;
    sim.start().await?;
    sim.rig.platform.dm("ca", "one");
    sim.shows("ca", &["echo: one"]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    sim.rig.platform.dm("second", "two");
    sim.shows("second", &["echo: two"]).await;
    sim.rig.platform.dm("ca", &tell("b", &tell("a", ENOUGH)));
    sim.quiet().await;
    let (of_a, of_b) = (sessions(&sim, &a)?, sessions(&sim, &b)?);
    assert_eq!((of_a.len(), of_b.len()), (2, 1), "b got a session for it");
    assert_eq!(sim.rig.central()?.session(&of_b[0])?.and_then(|s| s.chat), None);
    let letter = |from: &AgentId, source: &SessionId, text: &str, hops| Letter {
        from: from.to_string(),
        source: source.to_string(),
        text: text.into(),
        hops,
    };
    assert_eq!(letters(&sim, &b, &of_b[0])?, [letter(&a, &of_a[0], &tell("a", ENOUGH), 1)]);
    assert_eq!(letters(&sim, &a, &of_a[0])?, [letter(&b, &of_b[0], ENOUGH, 2)]);
    assert_eq!(letters(&sim, &a, &of_a[1])?, []);
    // A person of b has it write to a: the first session of a is the one that wrote here last.
    sim.rig.platform.dm("cb", "hello");
    sim.shows("cb", &["echo: hello"]).await;
    writes(&sim, (&b, &of_b[0]), &a, None, &[ENOUGH.into()])?;
    sim.rig.platform.dm("ca", &tell("b", ENOUGH));
    sim.quiet().await;
    assert_eq!(letters(&sim, &a, &of_a[0])?.len(), 2);
    assert_eq!(letters(&sim, &b, &of_b[0])?.len(), 2, "found again, not made again");
    sim.stop().await;
    Ok(())
}

/// No history, a closed session, somebody else's session: the newest of the other agent.
#[tokio::test(start_paused = true)]
async fn without_a_way_back_it_goes_to_the_newest_session() -> anyhow::Result<()> {
    let mut sim = Sim::new("newest")?;
    let [a, b, c] = team(&sim, &["a", "b", "c"])?.try_into().expect("three");
    sim.rig.chat("second", &a)?;
    sim.start().await?;
    sim.rig.platform.dm("ca", "one");
    sim.shows("ca", &["echo: one"]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    sim.rig.platform.dm("second", "two");
    sim.shows("second", &["echo: two"]).await;
    let of_a = sessions(&sim, &a)?;
    let counts = |sim: &Sim| -> anyhow::Result<Vec<usize>> {
        of_a.iter().map(|s| Ok(letters(sim, &a, s)?.len())).collect()
    };
    // What b answers is a person's message, and c's: neither leads to a session of a.
    sim.rig.platform.dm("cb", &tell("a", ENOUGH));
    sim.quiet().await;
    assert_eq!(counts(&sim)?, [0, 1]);
    sim.rig.platform.dm("cc", &tell("b", &tell("a", ENOUGH)));
    sim.quiet().await;
    assert_eq!(counts(&sim)?, [0, 2]);
    // The first one writes to b, and is closed before b answers.
    sim.rig.platform.dm("ca", &tell("b", ENOUGH));
    sim.quiet().await;
    let of_b = sessions(&sim, &b)?.remove(0);
    sim.rig.central()?.close_session(&of_a[0])?;
    writes(&sim, (&b, &of_b), &a, None, &[ENOUGH.into()])?;
    sim.rig.platform.dm("cb", "look");
    sim.quiet().await;
    assert_eq!(counts(&sim)?, [0, 3]);
    // To itself an agent may write without a name for it.
    writes(&sim, (&a, &of_a[1]), &a, None, &["!row enough of me".into()])?;
    sim.rig.platform.dm("second", "look");
    sim.quiet().await;
    let own = letters(&sim, &a, &of_a[1])?.pop().expect("a letter");
    assert_eq!((own.from, own.source), (a.to_string(), of_a[1].to_string()));
    assert_eq!(count(&sim, &c)?, 0);
    sim.stop().await;
    Ok(())
}

/// A file goes along, copied by the host; what is no plain file of the sender's own does not.
#[tokio::test(start_paused = true)]
async fn files_are_handed_over_and_links_are_not_followed() -> anyhow::Result<()> {
    let mut sim = Sim::new("files")?;
    let [a, b] = team(&sim, &["a", "b"])?.try_into().expect("two");
    sim.start().await?;
    sim.rig.platform.dm("ca", "hello");
    sim.shows("ca", &["echo: hello"]).await;
    let session = sessions(&sim, &a)?.remove(0);
    let outbox = sim.rig.dir(&a, &session)?.writable().join("outbox");
    let secret = sim.rig.root.path().join("secret");
    std::fs::create_dir(&secret)?;
    std::fs::write(secret.join("plan.txt"), "of the host")?;
    std::fs::create_dir(outbox.join("good"))?;
    std::fs::write(outbox.join("good/plan.txt"), "of the box")?;
    std::fs::create_dir(outbox.join("link"))?;
    std::os::unix::fs::symlink(secret.join("plan.txt"), outbox.join("link/plan.txt"))?;
    std::os::unix::fs::symlink(&secret, outbox.join("dir"))?;
    for id in ["link", "dir", "missing", "../good", "good"] {
        let content = json!({ "text": ENOUGH, "files": ["plan.txt"] });
        let order = json!({ "to": "b", "id": id, "content": content });
        sim.rig.platform.dm("ca", &format!("!row {order}"));
        sim.quiet().await;
    }
    let of_b = sessions(&sim, &b)?.remove(0);
    assert_eq!(letters(&sim, &b, &of_b)?.len(), 1);
    let content: String = sim.inbox(&b, &of_b)?.query_row(
        "SELECT content FROM messages_in WHERE source_session_id IS NOT NULL",
        [],
        |r| r.get(0),
    )?;
    let content: Value = serde_json::from_str(&content)?;
    let file = &content["attachments"][0];
    assert_eq!((&file["type"], &file["name"]), (&json!("file"), &json!("plan.txt")));
    let path = file["localPath"].as_str().expect("a path");
    let copy = sim.rig.dir(&b, &of_b)?.root().join(path);
    assert_eq!(std::fs::read_to_string(copy)?, "of the box");
    let refused = notes(&sim, &a)?;
    assert_eq!(refused.len(), 4, "{refused:?}");
    assert!(refused.iter().all(|n| n.contains("was not delivered")), "{refused:?}");
    sim.stop().await;
    Ok(())
}

/// Two agents that answer everything come to an end, and people are told why.
#[tokio::test(start_paused = true)]
async fn agents_that_answer_everything_are_ended() -> anyhow::Result<()> {
    let mut sim = Sim::new("loop")?;
    let [a, b] = team(&sim, &["a", "b"])?.try_into().expect("two");
    sim.start().await?;
    sim.rig.platform.dm("ca", &tell("b", "hi"));
    sim.quiet().await;
    assert_eq!(count(&sim, &a)? + count(&sim, &b)?, 12);
    let refused = notes(&sim, &a)?;
    assert!(matches!(&refused[..], [one] if one.contains("ask a person")), "{refused:?}");
    let shown = sim.rig.platform.texts("ca");
    assert!(matches!(&shown[..], [one] if one.contains("12 messages between agents")), "{shown:?}");
    sim.rig.platform.dm("ca", &tell("b", ENOUGH));
    sim.quiet().await;
    assert_eq!(count(&sim, &b)?, 7, "a person begins anew");
    let story = sim.rig.ncl("why m1").await?.to_string();
    assert!(story.contains("handed over") && story.contains("rejected"), "{story}");
    sim.stop().await;
    Ok(())
}

/// A box that hides what it answers is slowed down and then stopped; both sides are told once, and a person or
/// ten minutes let them go on.
#[tokio::test(start_paused = true)]
async fn a_pair_without_a_person_is_stopped_and_told_once() -> anyhow::Result<()> {
    let mut sim = Sim::new("brake")?;
    let [a, b] = team(&sim, &["a", "b"])?.try_into().expect("two");
    sim.start().await?;
    for chat in ["cb", "ca"] {
        sim.rig.platform.dm(chat, "hello");
        sim.shows(chat, &["echo: hello"]).await;
    }
    let (of_a, of_b) = (sessions(&sim, &a)?.remove(0), sessions(&sim, &b)?.remove(0));
    let texts: Vec<_> = (0..40).map(|n| format!("{ENOUGH} {n}")).collect();
    writes(&sim, (&a, &of_a), &b, None, &texts)?;
    // A note of somebody else's box starts the session's task; no person writes to either.
    sim.rig.ncl(&format!("sessions stop {of_a}")).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(letters(&sim, &b, &of_b)?.len(), 20, "the burst");
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(letters(&sim, &b, &of_b)?.len(), 25, "the pace");
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(letters(&sim, &b, &of_b)?.len(), 30, "the brake");
    for (agent, chat) in [(&a, "ca"), (&b, "cb")] {
        let told: Vec<_> =
            notes(&sim, agent)?.into_iter().filter(|n| n.contains("exchanged 30")).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        let shown = sim.rig.platform.texts(chat);
        assert_eq!(shown.len(), 2, "{shown:?}");
        assert!(shown[1].contains("a and b have written each other 30 messages"), "{shown:?}");
    }
    sim.rig.platform.dm("ca", &tell("b", ENOUGH));
    sim.quiet().await;
    assert_eq!(letters(&sim, &b, &of_b)?.len(), 31);
    sim.stop().await;
    Ok(())
}

/// To an agent that is off, unknown, or without permission nothing goes, and the sender is told why.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_handed_over_refuses_with_a_reason() -> anyhow::Result<()> {
    let mut sim = Sim::new("refuse")?;
    let [a, b, c] = team(&sim, &["a", "b", "c"])?.try_into().expect("three");
    sim.start().await?;
    sim.rig.platform.dm("cb", "hello");
    sim.shows("cb", &["echo: hello"]).await;
    let of_b = sessions(&sim, &b)?.remove(0);
    sim.rig.central()?.quarantine(&of_b, "it was odd", Timestamp::now())?;
    sim.rig.central()?.remove_destination(&a, "c")?;
    sim.rig.platform.dm("ca", &tell("b", "hi"));
    sim.quiet().await;
    let of_a = sessions(&sim, &a)?.remove(0);
    let nobody = AgentId::parse("ag-nobody")?;
    for to in [&c, &nobody] {
        writes(&sim, (&a, &of_a), to, None, &["hi".into()])?;
    }
    let ask = json!({ "type": "ask_question", "questionId": "q", "title": "T", "question": "Q?",
        "options": ["yes"] });
    let order = json!({ "to": "b", "kind": "chat-sdk", "content": ask });
    sim.rig.platform.dm("ca", &format!("!row {order}"));
    sim.quiet().await;
    let told = notes(&sim, &a)?;
    for why in [
        "b is off for safety: it was odd",
        "is not one of your destinations",
        "no agent ag-nobody",
        "no buttons",
    ] {
        assert_eq!(told.iter().filter(|n| n.contains(why)).count(), 1, "{why}: {told:#?}");
    }
    assert_eq!((count(&sim, &b)?, count(&sim, &c)?), (0, 0));
    sim.stop().await;
    Ok(())
}

fn create(id: &str, name: &str, instructions: &str) -> String {
    let content = json!({ "action": "create_agent", "requestId": id, "name": name,
        "instructions": instructions });
    format!("!row {}", json!({ "kind": "system", "id": id, "content": content }))
}

/// An owner's own global agent makes a colleague at once, and can write to it without a restart.
#[tokio::test(start_paused = true)]
async fn an_owners_global_agent_makes_a_colleague_at_once() -> anyhow::Result<()> {
    let mut sim = Sim::new("create")?;
    let [a] = team(&sim, &["a"])?.try_into().expect("one");
    let central = sim.rig.central()?;
    let (owner, now) = (UserId::parse("fake:ca")?, Timestamp::now());
    central.upsert_user(&owner, "fake", None, now)?;
    central.grant_role(&owner, Role::Owner, None, None, now)?;
    let config = AgentConfig { cli_scope: CliScope::Global, ..AgentConfig::default() };
    central.put_config(&a, &config, now)?;
    std::fs::create_dir_all(sim.rig.root.path().join("groups/news-desk"))?;
    sim.start().await?;
    sim.rig.platform.dm("ca", &create("r1", "News Desk", "Read the news."));
    tokio::time::sleep(Duration::from_secs(20)).await;
    let made = central.creation(&a, "news-desk")?.expect("it was made");
    let agent = central.agent(&made)?.expect("it is there");
    assert_eq!((agent.name.as_str(), agent.provider.as_deref()), ("News Desk", Some("demo")));
    assert_eq!(agent.folder, "news-desk-2", "nobody's folder is taken over");
    let memory = sim.rig.root.path().join("groups/news-desk-2/CLAUDE.local.md");
    assert_eq!(std::fs::read_to_string(memory)?, "Read the news.\n");
    assert!(notes(&sim, &a)?[0].starts_with("Agent \"news-desk\" created."));
    sim.rig.platform.dm("ca", &tell("news-desk", &tell("parent", ENOUGH)));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!((count(&sim, &made)?, sim.driver.counts().1), (1, 2), "one box each");
    // The same again is the same agent; a name that is taken is not.
    sim.rig.platform.dm("ca", &create("r2", "news desk", "Other."));
    sim.rig.platform.dm("ca", &create("r3", "ca", ""));
    sim.rig.platform.dm("ca", &create("r4", "../..", ""));
    sim.quiet().await;
    assert_eq!(central.creations(&a)?, 1);
    let told = notes(&sim, &a)?.join("\n");
    for why in ["already have a destination named \"ca\"", "a name has up to 64 letters"] {
        assert!(told.contains(why), "{told}");
    }
    sim.stop().await;
    Ok(())
}

/// Every other agent has to ask, and so does a global one where others can talk to it: yes makes it, no does not.
#[tokio::test(start_paused = true)]
async fn other_agents_ask_before_they_make_one() -> anyhow::Result<()> {
    let mut sim = Sim::new("ask")?;
    let [plain, wide] = team(&sim, &["plain", "wide"])?.try_into().expect("two");
    let central = sim.rig.central()?;
    let config = AgentConfig { cli_scope: CliScope::Global, ..AgentConfig::default() };
    central.put_config(&wide, &config, Timestamp::now())?;
    grant(&sim, "fake:boss", Role::Owner, None)?;
    sim.start().await?;
    sim.rig.platform.dm("cplain", &create("r1", "News", "Read the news."));
    let asked = card(&sim, "boss", 1).await;
    assert!(asked.text.contains("News") && asked.text.contains("Read the news."), "{}", asked.text);
    sim.rig.platform.dm("cwide", &create("r2", "Weather", ""));
    let other = card(&sim, "boss", 2).await;
    assert_eq!(central.agents()?.len(), 2, "nothing is made before");
    let click = async |card: Shown, value: &str, who: &str| {
        let question = card.question.unwrap_or_default();
        sim.rig.platform.click(&question, value, who).await.unwrap_or_default()
    };
    assert!(click(asked.clone(), "approve", "user-cplain").await.starts_with("refused"));
    assert!(click(asked, "approve", "boss").await.starts_with("taken"));
    assert!(click(other, "reject", "boss").await.starts_with("taken"));
    sim.quiet().await;
    assert!(central.creation(&plain, "news")?.is_some());
    assert_eq!((central.creations(&wide)?, central.agents()?.len()), (0, 3));
    let told = notes(&sim, &plain)?.join("\n");
    assert!(told.contains("Agent \"news\" created."), "{told}");
    sim.stop().await;
    Ok(())
}
