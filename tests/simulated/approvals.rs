//! Requests that people decide.

use super::strangers::{card, grant, says, user};
use super::{EVER, Sim};
use anyhow::Context as _;
use nanoclaw_central::{EngageMode, Role, UnknownSenderPolicy};
use nanoclaw_contract::ids::{AgentId, ChannelType, PlatformId};
use nanoclaw_contract::time::Timestamp;
use nanoclaw_testkit::platform::{Mood, Platform, Said};
use std::time::Duration;

/// An agent in a group that asks about strangers; one has just knocked.
async fn knock(sim: &mut Sim) -> anyhow::Result<AgentId> {
    let agent = sim.rig.agent("andy", "demo")?;
    let chat = super::routing::group(sim, "room")?;
    sim.rig.policy(&chat, UnknownSenderPolicy::RequestApproval)?;
    super::routing::wire(sim, &chat, &agent, |w| {
        (w.engage_mode, w.engage_pattern) = (Some(EngageMode::Pattern), Some(".".into()));
    })?;
    sim.start().await?;
    sim.rig.platform.say(super::routing::said(1, "room", None, "hello", true));
    Ok(agent)
}

/// The code that is typed for the request that lies in this chat.
async fn code(sim: &Sim, chat: &str) -> anyhow::Result<String> {
    says(sim, chat, "Reply with one of these:").await;
    let texts = sim.rig.platform.texts(chat);
    let card = texts.iter().rfind(|t| t.contains("Reply with one of these:"));
    let line = card.and_then(|t| t.lines().find_map(|l| l.strip_prefix("- `")));
    Ok(line.and_then(|l| l.split(' ').next()).context("no code")?.to_owned())
}

fn types(sim: &Sim, id: &str, text: &str) {
    sim.rig.platform.say(Said {
        channel: "fakemail".into(),
        id: id.into(),
        chat: "boss".into(),
        sender: "boss".into(),
        text: text.into(),
        mention: true,
        ..Said::default()
    });
}

/// Everybody who may decide has a card; the first to decide closes all of them.
#[tokio::test(start_paused = true)]
async fn every_approver_has_a_card_and_one_decision_closes_all() -> anyhow::Result<()> {
    let mut sim = Sim::new("fanout")?;
    let agent = sim.rig.agent("andy", "demo")?;
    let other = sim.rig.agent("bert", "demo")?;
    grant(&sim, "fake:boss", Role::Owner, None)?;
    grant(&sim, "fake:chief", Role::Admin, None)?;
    grant(&sim, "fake:helper", Role::Admin, Some(&agent))?;
    grant(&sim, "fake:stranger", Role::Admin, Some(&other))?;
    knock(&mut sim).await?;
    let mut cards = Vec::new();
    for who in ["boss", "chief", "helper"] {
        cards.push(card(&sim, who, 1).await.question);
    }
    let [one, two, three] = cards.try_into().expect("three cards");
    assert!(one == two && two == three);
    let id = one.expect("an id");
    assert!(sim.rig.platform.questions("stranger").is_empty());
    for who in ["stranger", "eve", "nobody"] {
        let click = sim.rig.platform.click(&id, "approve", who).await;
        assert!(click.is_some_and(|c| c.starts_with("refused")), "{who} decided");
    }
    let odd = sim.rig.platform.click(&id, "connect:ag-bert", "boss").await;
    assert!(odd.is_some_and(|c| c.starts_with("refused")));
    // Both at the same moment: one counts.
    let (a, b) = tokio::join!(
        sim.rig.platform.click(&id, "approve", "chief"),
        sim.rig.platform.click(&id, "reject", "helper")
    );
    let taken =
        [&a, &b].iter().filter(|c| c.as_ref().is_some_and(|c| c.starts_with("taken"))).count();
    assert_eq!(taken, 1, "{a:?} {b:?}");
    for who in ["boss", "chief", "helper"] {
        says(&sim, who, "ed by ").await;
        let edits =
            sim.rig.platform.shown().iter().filter(|s| s.chat == who && s.kind == "edit").count();
        assert_eq!(edits, 1, "{who}");
    }
    sim.stop().await;
    Ok(())
}

/// The role counts at the moment of the vote, not when the card was sent.
#[tokio::test(start_paused = true)]
async fn who_lost_the_role_decides_nothing() -> anyhow::Result<()> {
    let mut sim = Sim::new("lostrole")?;
    grant(&sim, "fake:boss", Role::Owner, None)?;
    grant(&sim, "fake:chief", Role::Admin, None)?;
    let agent = knock(&mut sim).await?;
    let id = card(&sim, "chief", 1).await.question.expect("an id");
    sim.rig.central()?.revoke_role(&user("fake:chief")?, Role::Admin, None)?;
    let click = sim.rig.platform.click(&id, "approve", "chief").await;
    assert!(click.is_some_and(|c| c.starts_with("refused")));
    assert!(!sim.rig.central()?.is_member(&user("fake:eve")?, &agent)?);
    sim.stop().await;
    Ok(())
}

/// An id that nobody minted decides nothing, and no agent can ask under an id like a request's.
#[tokio::test(start_paused = true)]
async fn a_forged_id_decides_nothing() -> anyhow::Result<()> {
    let mut sim = Sim::new("forged")?;
    grant(&sim, "fake:boss", Role::Owner, None)?;
    knock(&mut sim).await?;
    let agent = AgentId::parse("ag-andy")?;
    sim.rig.chat("c1", &agent)?;
    let real = card(&sim, "boss", 1).await.question.expect("an id");
    for id in ["ap-", "ap-0000", "mg-room", "nsa-1", "let-in:mg-room:ag-andy:fake:eve:"] {
        assert_eq!(
            sim.rig.platform.click(id, "approve", "boss").await.as_deref(),
            Some("late"),
            "{id}"
        );
    }
    for id in [real.as_str(), "ap-mine"] {
        let ask = serde_json::json!({"content": {"type": "ask_question", "questionId": id,
            "title": "Cake?", "question": "Cake?", "options": ["approve", "reject"]}});
        sim.rig.platform.dm("c1", &format!("!row {ask}"));
    }
    sim.quiet().await;
    assert!(sim.rig.platform.questions("c1").is_empty(), "an agent asked under a request's id");
    let refused =
        |p: &Platform| p.texts("c1").iter().filter(|t| t.contains("is taken")).count() == 2;
    assert!(sim.rig.platform.until(EVER, refused).await, "{:?}", sim.rig.platform.texts("c1"));
    let click = sim.rig.platform.click(&real, "approve", "boss").await;
    assert_eq!(click.as_deref(), Some("taken: ✅ Allowed"));
    sim.stop().await;
    Ok(())
}

/// Mail programs quote the whole card below the answer; it is an answer all the same.
#[tokio::test(start_paused = true)]
async fn a_mail_that_quotes_the_card_answers_it() -> anyhow::Result<()> {
    let mut sim = Sim::new("quoted")?;
    grant(&sim, "fakemail:boss", Role::Owner, None)?;
    knock(&mut sim).await?;
    let code = code(&sim, "boss").await?;
    let card = sim.rig.platform.texts("boss").join("\n").replace('\n', "\n> ");
    types(&sim, "t1", &format!("{code} 1\n\n[The mail that this answers:]\nOn Monday:\n> {card}"));
    sim.shows("room", &["echo: hello"]).await;
    says(&sim, "boss", "✅ Allowed by boss.").await;
    sim.stop().await;
    Ok(())
}

/// Where there are no buttons, a code from the card decides, and a bare number never.
#[tokio::test(start_paused = true)]
async fn a_request_is_answered_by_typing_where_there_are_no_buttons() -> anyhow::Result<()> {
    let mut sim = Sim::new("typed")?;
    grant(&sim, "fakemail:boss", Role::Owner, None)?;
    knock(&mut sim).await?;
    let code = code(&sim, "boss").await?;
    types(&sim, "t1", "1");
    types(&sim, "t2", &format!("{code} 7"));
    says(&sim, "boss", "That is not one of the options of this request.").await;
    sim.quiet().await;
    assert!(sim.rig.platform.texts("room").is_empty());
    sim.stop().await;
    sim.start().await?;
    types(&sim, "t3", &format!("{code} 1"));
    sim.shows("room", &["echo: hello"]).await;
    says(&sim, "boss", "✅ Allowed by boss.").await;
    types(&sim, "t4", &format!("{code} 2"));
    sim.quiet().await;
    let texts = sim.rig.platform.texts("boss");
    assert_eq!(texts.iter().filter(|t| t.contains("✅ Allowed by boss.")).count(), 2, "{texts:?}");
    sim.stop().await;
    Ok(())
}

/// The option's own word is enough while one request is open, and not while there are two.
#[tokio::test(start_paused = true)]
async fn a_word_is_enough_for_one_request_only() -> anyhow::Result<()> {
    let mut sim = Sim::new("words")?;
    grant(&sim, "fakemail:boss", Role::Owner, None)?;
    knock(&mut sim).await?;
    let second = super::routing::said(2, "room", None, "me too", true);
    sim.rig.platform.say(Said { sender: "mallory".into(), ..second });
    let two = |p: &Platform| p.texts("boss").len() == 2;
    assert!(sim.rig.platform.until(EVER, two).await);
    types(&sim, "t1", "allow");
    says(&sim, "boss", "More than one request is open here.").await;
    let code = code(&sim, "boss").await?;
    types(&sim, "t2", &format!("{code} deny"));
    says(&sim, "boss", "❌ Denied by boss.").await;
    types(&sim, "t3", "allow");
    sim.shows("room", &["echo: hello"]).await;
    sim.stop().await;
    Ok(())
}

/// One person with two identities has a card on each, and one decision closes both.
#[tokio::test(start_paused = true)]
async fn a_linked_identity_decides_like_its_person() -> anyhow::Result<()> {
    let mut sim = Sim::new("linked")?;
    grant(&sim, "fakemail:boss", Role::Owner, None)?;
    let central = sim.rig.central()?;
    central.upsert_user(&user("fake:gavriel")?, "fake", None, Timestamp::now())?;
    central.link_users(&user("fakemail:boss")?, &user("fake:gavriel")?, Timestamp::now())?;
    knock(&mut sim).await?;
    code(&sim, "boss").await?;
    let id = card(&sim, "gavriel", 1).await.question.expect("an id");
    let click = sim.rig.platform.click(&id, "approve", "gavriel").await;
    assert_eq!(click.as_deref(), Some("taken: ✅ Allowed"));
    says(&sim, "boss", "✅ Allowed by gavriel.").await;
    sim.shows("room", &["echo: hello"]).await;
    sim.stop().await;
    Ok(())
}

/// A line of the host survives an outage and a restart, arrives once and in order, and a day of failures makes
/// it a dead letter that can be replayed.
#[tokio::test(start_paused = true)]
async fn the_hosts_own_lines_survive_like_an_agents() -> anyhow::Result<()> {
    let mut sim = Sim::new("mail")?;
    let agent = sim.rig.agent("andy", "demo")?;
    sim.rig.chat("c1", &agent)?;
    sim.start().await?;
    sim.rig.platform.mood(Mood::Down);
    for n in 0..3 {
        sim.rig.platform.dm("c1", &format!("/clear {n}"));
    }
    sim.quiet().await;
    sim.stop().await;
    sim.start().await?;
    sim.rig.platform.mood(Mood::Lie);
    tokio::time::sleep(Duration::from_secs(400)).await;
    sim.rig.platform.mood(Mood::Up);
    let denied = |p: &Platform| p.texts("c1").len() == 3;
    assert!(sim.rig.platform.until(EVER, denied).await, "{:?}", sim.rig.platform.texts("c1"));
    sim.rig.platform.mood(Mood::Down);
    sim.rig.platform.dm("c1", "/clear again");
    tokio::time::sleep(Duration::from_secs(25 * 3600)).await;
    let dead = sim.rig.ncl("dead-letters list").await?;
    let [letter] = dead.as_array().expect("a list").as_slice() else { anyhow::bail!("{dead}") };
    assert_eq!(letter["to"], "fake:c1");
    sim.rig.platform.mood(Mood::Up);
    let id = letter["id"].as_str().expect("an id");
    assert_eq!(sim.rig.ncl(&format!("dead-letters replay {id}")).await?["replayed"], 1);
    let all = |p: &Platform| p.texts("c1").len() == 4;
    assert!(sim.rig.platform.until(EVER, all).await);
    sim.quiet().await;
    assert_eq!(sim.rig.platform.texts("c1").len(), 4);
    sim.stop().await;
    Ok(())
}

/// A word that answers an agent's own question decides nothing.
#[tokio::test(start_paused = true)]
async fn the_answer_to_a_question_is_no_decision() -> anyhow::Result<()> {
    let mut sim = Sim::new("sameword")?;
    grant(&sim, "fakemail:boss", Role::Owner, None)?;
    let agent = knock(&mut sim).await?;
    let code = code(&sim, "boss").await?;
    let (mail, boss) = (ChannelType::parse("fakemail")?, PlatformId::parse("boss")?);
    let chat = sim.rig.central()?.chat_by_address(&mail, &boss)?.context("no chat")?;
    super::routing::wire(&sim, &chat.id, &agent, |w| {
        (w.engage_mode, w.engage_pattern) = (Some(EngageMode::Pattern), Some(".".into()));
    })?;
    let question = serde_json::json!({"content": {"type": "ask_question", "questionId": "q",
        "title": "Poem", "question": "Allow a poem?", "options": ["Allow", "No"]}});
    types(&sim, "t1", &format!("!row {question}"));
    says(&sim, "boss", "Allow a poem?").await;
    types(&sim, "t2", "allow");
    sim.quiet().await;
    assert!(!sim.rig.central()?.is_member(&user("fake:eve")?, &agent)?, "the poem let eve in");
    types(&sim, "t3", &format!("{code} allow"));
    sim.shows("room", &["echo: hello"]).await;
    sim.stop().await;
    Ok(())
}
