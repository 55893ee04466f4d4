//! Chats that are connected by a code, and what chats are called.

use super::Sim;
use super::routing::{group, said, wire};
use super::strangers::{card, grant, says, user};
use nanoclaw_central::{EngageMode, Role};
use nanoclaw_testkit::platform::Said;
use std::time::Duration;

async fn code(sim: &Sim, words: &str) -> anyhow::Result<(String, String)> {
    let answer = sim.rig.ncl(&format!("chats pair --channel fake --no-wait {words}")).await?;
    let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
    assert_eq!(text("channel"), "fake (up)");
    Ok((text("code"), text("id")))
}

async fn outcome(sim: &Sim, id: &str) -> anyhow::Result<serde_json::Value> {
    sim.rig.ncl(&format!("chats pairing {id} --no-wait")).await
}

/// The code connects the chat where it is typed, once, and no agent ever reads it; a stranger's guesses do
/// no harm. Who comes first owns an install that nobody owns.
#[tokio::test(start_paused = true)]
async fn a_code_connects_the_chat_where_it_is_typed() -> anyhow::Result<()> {
    let mut sim = Sim::new("pairing")?;
    let agent = sim.rig.agent("andy", "demo")?;
    sim.start().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (code, id) = code(&sim, "").await?;
    for _ in 0..7 {
        sim.rig.platform.writes("mallory", "AB3DE-FG4JK");
    }
    sim.quiet().await;
    let answers = sim.rig.platform.texts("mallory");
    assert_eq!(answers.len(), 5, "{answers:?}");
    assert!(answers.iter().all(|t| t.starts_with("This code is wrong")));
    assert_eq!(outcome(&sim, &id).await?["state"], "waiting");
    let typed = code.to_lowercase();
    let wait = format!("chats pairing {id}");
    let (came, _) = tokio::join!(sim.rig.ncl(&wait), async {
        sim.rig.platform.writes("gavriel", &typed);
    });
    assert_eq!(came?["state"], "connected");
    sim.shows("gavriel", &["✅ Connected. andy answers here. You are an owner now."]).await;
    sim.rig.platform.writes("gavriel", "hello");
    says(&sim, "gavriel", "echo: hello").await;
    // It is used up, for others and after a restart.
    sim.stop().await;
    sim.start().await?;
    sim.rig.platform.writes("eve", &code);
    says(&sim, "eve", "This code is wrong").await;
    let texts: Vec<_> = sim.rows(&agent)?.into_iter().map(|(_, chat)| chat.text).collect();
    assert_eq!(texts, ["hello"], "an agent read a code");
    assert_eq!(sim.rig.central()?.owners()?, [user("fake:gavriel")?]);
    sim.stop().await;
    Ok(())
}

/// Whoever is told to prove it becomes one person with the owner; others become members.
#[tokio::test(start_paused = true)]
async fn an_operators_code_makes_one_person_of_both() -> anyhow::Result<()> {
    let mut sim = Sim::new("operator")?;
    let (andy, bert) = (sim.rig.agent("andy", "demo")?, sim.rig.agent("bert", "demo")?);
    grant(&sim, "cli:local", Role::Owner, None)?;
    sim.start().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let ambiguous = sim.rig.ncl("chats pair --channel fake --no-wait").await;
    assert!(ambiguous.is_err_and(|e| e.to_string().contains("--agent")));
    assert!(sim.rig.ncl("chats pair --channel nothing --no-wait").await.is_err());
    let (one, _) = code(&sim, "--agent bert").await?;
    sim.rig.platform.writes("friend", &one);
    sim.shows("friend", &["✅ Connected. bert answers here."]).await;
    let (two, id) = code(&sim, "--agent andy --owner").await?;
    sim.rig.platform.writes("gavriel", &two);
    sim.shows("gavriel", &["✅ Connected. andy answers here. You are the owner, here too."]).await;
    assert_eq!(outcome(&sim, &id).await?["state"], "connected");
    let central = sim.rig.central()?;
    assert!(central.is_member(&user("fake:friend")?, &bert)?);
    assert!(central.roles_of(&user("fake:friend")?)?.is_empty());
    assert!(central.is_member(&user("fake:gavriel")?, &andy)?);
    assert_eq!(central.roles_of(&user("fake:gavriel")?)?, [(Role::Owner, None)]);
    assert_eq!(central.identities_of(&user("cli:local")?)?.len(), 2);
    sim.stop().await;
    Ok(())
}

/// A code in a group connects the group, under the name that people know.
#[tokio::test(start_paused = true)]
async fn a_code_connects_a_group() -> anyhow::Result<()> {
    let mut sim = Sim::new("pairgroup")?;
    let agent = sim.rig.agent("andy", "demo")?;
    grant(&sim, "fake:boss", Role::Owner, None)?;
    sim.rig.platform.name("room", "Release \u{7}team");
    sim.start().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (code, _) = code(&sim, "").await?;
    sim.rig.platform.say(said(1, "room", None, &format!("@andy_bot {code}"), false));
    let connected = "✅ Connected. andy answers here when it is addressed.";
    sim.shows("room", &[connected]).await;
    sim.rig.platform.say(said(2, "room", None, "not for you", false));
    sim.rig.platform.say(said(3, "room", None, "hello", true));
    sim.shows("room", &[connected, "echo: hello"]).await;
    let chats = sim.rig.ncl("messaging-groups list").await?;
    let room = chats.as_array().into_iter().flatten().find(|c| c["platform_id"] == "room");
    let room = room.cloned().unwrap_or_default();
    assert_eq!((&room["name"], &room["is_group"]), (&"Release team".into(), &1.into()));
    let heard = sim.rows(&agent)?.into_iter().filter(|(wakes, _)| *wakes).count();
    assert_eq!(heard, 1, "an agent read a code");
    sim.stop().await;
    Ok(())
}

/// A code is good for ten minutes; and where an agent listens, what looks like a code is for the agent.
#[tokio::test(start_paused = true)]
async fn a_code_expires_and_takes_no_message_from_an_agent() -> anyhow::Result<()> {
    let mut sim = Sim::new("expires")?;
    let agent = sim.rig.agent("andy", "demo")?;
    sim.rig.chat("c1", &agent)?;
    sim.start().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (code, id) = code(&sim, "").await?;
    sim.rig.platform.dm("c1", "4F7K2M9QXZ");
    sim.shows("c1", &["echo: 4F7K2M9QXZ"]).await;
    tokio::time::sleep(Duration::from_secs(601)).await;
    sim.rig.platform.writes("gavriel", &code);
    says(&sim, "gavriel", "This code is wrong, or not good any more").await;
    assert_eq!(outcome(&sim, &id).await?["state"], "expired");
    assert!(sim.rig.central()?.owners()?.is_empty());
    sim.stop().await;
    Ok(())
}

/// A code that was taken in the moment of a kill is worked off when the message comes again.
#[tokio::test(start_paused = true)]
async fn the_same_message_finishes_what_it_began() -> anyhow::Result<()> {
    let mut sim = Sim::new("pairagain")?;
    sim.rig.agent("andy", "demo")?;
    sim.start().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (code, id) = code(&sim, "").await?;
    let line = Said {
        id: "m1".into(),
        chat: "gavriel".into(),
        sender: "gavriel".into(),
        text: code,
        mention: true,
        ..Said::default()
    };
    for _ in 0..2 {
        sim.rig.platform.say(line.clone());
        sim.quiet().await;
    }
    assert_eq!(sim.rig.platform.texts("gavriel").len(), 1);
    let central = sim.rig.central()?;
    assert_eq!((central.chats()?.len(), central.wirings()?.len()), (1, 1));
    assert_eq!(outcome(&sim, &id).await?["state"], "connected");
    sim.stop().await;
    Ok(())
}

/// Whose message does not prove who they are can be let in by a code, but owns nothing: anybody could write so.
#[tokio::test(start_paused = true)]
async fn a_code_makes_nobody_an_owner_who_proves_nothing() -> anyhow::Result<()> {
    let mut sim = Sim::new("unproven")?;
    let agent = sim.rig.agent("andy", "demo")?;
    sim.start().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (n, words) in ["", "--owner"].into_iter().enumerate() {
        let (code, _) = code(&sim, words).await?;
        sim.rig.platform.say(Said {
            id: format!("m{n}"),
            chat: "gavriel".into(),
            sender: "unverified:gavriel".into(),
            text: format!("Subject: hello\n\n{code}"),
            mention: true,
            ..Said::default()
        });
        says(&sim, "gavriel", "nobody became an owner").await;
        sim.quiet().await;
        assert_eq!(sim.rig.platform.texts("gavriel").len(), n + 1);
        let central = sim.rig.central()?;
        assert!(central.is_member(&user("fake:unverified:gavriel")?, &agent)?);
        assert!(central.owners()?.is_empty(), "who proves nothing is an owner");
        grant(&sim, "cli:local", Role::Owner, None)?;
        let people = central.identities_of(&user("cli:local")?)?;
        assert_eq!(people.len(), 1, "who proves nothing is one with the owner");
        central.revoke_role(&user("cli:local")?, Role::Owner, None)?;
    }
    sim.stop().await;
    Ok(())
}

/// Platforms where the sender chooses the ids of messages: what another person sends under the same id with the
/// code that everybody in the group saw gives them nothing, nor does the same message give back what was taken.
#[tokio::test(start_paused = true)]
async fn a_used_code_gives_nothing_again() -> anyhow::Result<()> {
    let mut sim = Sim::new("replayed")?;
    sim.rig.agent("andy", "demo")?;
    sim.start().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (code, _) = code(&sim, "--owner").await?;
    sim.rig.platform.say(said(1, "room", None, &code, true));
    says(&sim, "room", "You are an owner now.").await;
    sim.rig.platform.say(Said { sender: "mallory".into(), ..said(1, "room", None, &code, true) });
    sim.quiet().await;
    let central = sim.rig.central()?;
    assert_eq!(central.roles_of(&user("fake:mallory")?)?, [], "a stranger became the owner");
    central.revoke_role(&user("fake:eve")?, Role::Owner, None)?;
    sim.rig.platform.say(said(1, "room", None, &code, true));
    sim.quiet().await;
    assert!(central.owners()?.is_empty(), "the same message gave the role again");
    sim.stop().await;
    Ok(())
}

/// A chat that was asked about is connected by a code: the request ends, what waited for it is heard, and the
/// code vouches for nobody but who typed it.
#[tokio::test(start_paused = true)]
async fn a_code_ends_the_request_about_its_chat() -> anyhow::Result<()> {
    let mut sim = Sim::new("pairopen")?;
    let agent = sim.rig.agent("andy", "demo")?;
    grant(&sim, "fake:boss", Role::Owner, None)?;
    sim.start().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    sim.rig.platform.writes("gavriel", "are you there?");
    card(&sim, "boss", 1).await;
    sim.rig
        .platform
        .say(Said { sender: "mallory".into(), ..said(7, "room", None, "me too", true) });
    card(&sim, "boss", 2).await;
    let (one, _) = code(&sim, "").await?;
    sim.rig.platform.writes("gavriel", &one);
    let connected = "✅ Connected. andy answers here.";
    sim.shows("gavriel", &[connected, "echo: are you there?"]).await;
    let (two, _) = code(&sim, "").await?;
    sim.rig.platform.say(said(8, "room", None, &two, true));
    says(&sim, "room", "✅ Connected.").await;
    // Mallory is asked about as anybody who is new in the group.
    let asked = card(&sim, "boss", 3).await;
    assert!(asked.text.contains("fake:mallory"), "{}", asked.text);
    says(&sim, "boss", "It was connected by a code.").await;
    let central = sim.rig.central()?;
    assert_eq!(central.approvals(false, 9)?.len(), 1, "the old requests are still open");
    assert!(!central.is_member(&user("fake:mallory")?, &agent)?);
    sim.stop().await;
    Ok(())
}

/// Whoever decides about a chat sees its name.
#[tokio::test(start_paused = true)]
async fn a_card_calls_a_chat_as_people_do() -> anyhow::Result<()> {
    let mut sim = Sim::new("called")?;
    let agent = sim.rig.agent("andy", "demo")?;
    grant(&sim, "fake:boss", Role::Owner, None)?;
    let chat = group(&sim, "known")?;
    wire(&sim, &chat, &agent, |w| w.engage_mode = Some(EngageMode::Mention))?;
    sim.rig.platform.name("C0123", "Release team");
    sim.start().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    sim.rig.platform.say(said(1, "C0123", None, "hello", true));
    let card = card(&sim, "boss", 1).await;
    assert!(card.text.contains("`Release team` on fake"), "{}", card.text);
    sim.stop().await;
    Ok(())
}
