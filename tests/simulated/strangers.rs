//! People and chats that nobody vouched for yet.

use super::routing::{group, said, wire};
use super::{EVER, Sim};
use anyhow::Context as _;
use nanoclaw_central::{
    Chat, ChatKind, EngageMode, IgnoredPolicy, Role, SenderScope, UnknownSenderPolicy, Wiring,
};
use nanoclaw_contract::ids::{AgentId, ChannelType, ChatId, PlatformId, UserId};
use nanoclaw_contract::time::Timestamp;
use nanoclaw_testkit::platform::{Mood, Platform, Said, SaidFile, Shown};
use std::time::Duration;

pub(super) fn user(id: &str) -> anyhow::Result<UserId> {
    Ok(UserId::parse(id)?)
}

/// Gives somebody a role.
pub(super) fn grant(
    sim: &Sim,
    id: &str,
    role: Role,
    agent: Option<&AgentId>,
) -> anyhow::Result<()> {
    let (central, now) = (sim.rig.central()?, Timestamp::now());
    let kind = id.split(':').next().unwrap_or_default();
    central.upsert_user(&user(id)?, kind, None, now)?;
    central.grant_role(&user(id)?, role, agent, None, now)?;
    Ok(())
}

/// A group that asks about strangers, wired to the agent, which answers everything there.
fn guarded(sim: &Sim, agent: &AgentId) -> anyhow::Result<ChatId> {
    let chat = group(sim, "room")?;
    sim.rig.policy(&chat, UnknownSenderPolicy::RequestApproval)?;
    wire(sim, &chat, agent, |w| {
        (w.engage_mode, w.engage_pattern) = (Some(EngageMode::Pattern), Some(".".into()));
    })?;
    Ok(chat)
}

/// The n-th card in somebody's direct chat.
pub(super) async fn card(sim: &Sim, chat: &str, n: usize) -> Shown {
    let there = |p: &Platform| p.questions(chat).len() >= n;
    assert!(sim.rig.platform.until(EVER, there).await, "no card: {:?}", sim.rig.platform.shown());
    sim.rig.platform.questions(chat).remove(n - 1)
}

fn id(card: &Shown) -> &str {
    card.question.as_deref().unwrap_or_default()
}

/// Waits until a chat shows a text with this in it.
pub(super) async fn says(sim: &Sim, chat: &str, what: &str) {
    let there = |p: &Platform| p.texts(chat).iter().any(|t| t.contains(what));
    let said = sim.rig.platform.until(EVER, there).await;
    assert!(said, "{what:?} was not said: {:?}", sim.rig.platform.texts(chat));
}

fn open_requests(sim: &Sim) -> anyhow::Result<usize> {
    Ok(sim.rig.central()?.approvals(false, 100)?.len())
}

/// The guest flow, with a restart after every step: what waited is answered in its order, files and all.
#[tokio::test(start_paused = true)]
async fn a_guest_is_let_in_from_another_chat_and_answered() -> anyhow::Result<()> {
    let mut sim = Sim::new("guest")?;
    let agent = sim.rig.agent("andy", "demo")?;
    guarded(&sim, &agent)?;
    grant(&sim, "fake:boss", Role::Owner, None)?;
    sim.start().await?;
    let file = SaidFile {
        kind: "file".into(),
        name: "plan.txt".into(),
        mime: "text/plain".into(),
        bytes: b"the plan".to_vec(),
        ..SaidFile::default()
    };
    sim.rig.platform.say(Said { files: vec![file], ..said(1, "room", None, "hello", true) });
    let asked = card(&sim, "boss", 1).await;
    assert!(id(&asked).starts_with("ap-"), "{asked:?}");
    assert!(asked.text.contains("`eve`") && asked.text.contains("fake:eve"), "{}", asked.text);
    assert!(asked.text.contains("Open until 2026-03-02 09:"), "{}", asked.text);
    sim.stop().await;
    sim.start().await?;
    for (n, text) in [(2, "are you there?"), (3, "please")] {
        sim.rig.platform.say(said(n, "room", None, text, true));
    }
    sim.quiet().await;
    assert_eq!(sim.rig.platform.questions("boss").len(), 1, "one card for one person");
    assert!(sim.rig.platform.texts("room").is_empty());
    sim.stop().await;
    sim.start().await?;
    sim.quiet().await;
    let clicked = sim.rig.platform.click(id(&asked), "approve", "boss").await;
    assert_eq!(clicked.as_deref(), Some("taken: ✅ Allowed"));
    sim.shows("room", &["echo: hello", "echo: are you there?", "echo: please"]).await;
    says(&sim, "boss", "✅ Allowed by boss.").await;
    let [session] = sim.rig.sessions(&agent)?.try_into().expect("one session");
    let content: String = sim.inbox(&agent, &session)?.query_row(
        "SELECT content FROM messages_in WHERE content LIKE '%plan.txt%'",
        [],
        |r| r.get(0),
    )?;
    assert!(content.contains("localPath"), "{content}");
    assert!(!sim.rig.data().join("held").join(id(&asked)).exists(), "kept files stay behind");
    sim.rig.platform.say(said(4, "room", None, "thanks", true));
    says(&sim, "room", "echo: thanks").await;
    let again = sim.rig.platform.click(id(&asked), "approve", "boss").await;
    assert_eq!(again.as_deref(), Some("late"));
    sim.stop().await;
    sim.start().await?;
    sim.quiet().await;
    assert_eq!(sim.rig.platform.texts("room").len(), 4, "nothing is said twice");
    let why = sim.rig.ncl("why g1").await?.to_string();
    assert!(why.contains("it waits for the request ap-") && why.contains("delivered"), "{why}");
    sim.stop().await;
    Ok(())
}

/// Turned away: no answer, no new card for a week, then one again.
#[tokio::test(start_paused = true)]
async fn who_is_turned_away_is_not_answered_and_nobody_is_asked_for_a_week() -> anyhow::Result<()> {
    let mut sim = Sim::new("denied")?;
    let agent = sim.rig.agent("andy", "demo")?;
    guarded(&sim, &agent)?;
    grant(&sim, "fake:boss", Role::Owner, None)?;
    sim.start().await?;
    sim.rig.platform.say(said(1, "room", None, "let me in", true));
    let asked = card(&sim, "boss", 1).await;
    let clicked = sim.rig.platform.click(id(&asked), "reject", "boss").await;
    assert_eq!(clicked.as_deref(), Some("taken: ❌ Denied"));
    says(&sim, "boss", "❌ Denied by boss.").await;
    let denied = sim.ncl("denied-senders list").await.unwrap_or_default();
    assert_eq!(
        (denied.as_array().map(Vec::len), &denied[0]["user_id"]),
        (Some(1), &"fake:eve".into())
    );
    sim.rig.platform.say(said(2, "room", None, "please", true));
    sim.quiet().await;
    assert_eq!(sim.rig.platform.questions("boss").len(), 1);
    let why = sim.rig.ncl("why g2").await?.to_string();
    assert!(why.contains("turned away"), "{why}");
    tokio::time::sleep(Duration::from_secs(7 * 86_400)).await;
    sim.rig.platform.say(said(3, "room", None, "a week later", true));
    card(&sim, "boss", 2).await;
    assert!(sim.rig.platform.texts("room").is_empty());
    let undone = sim.ncl("denied-senders undo fake:eve").await;
    assert_eq!(undone.map(|u| u["undone"].clone()), Ok(1.into()));
    assert!(sim.ncl("denied-senders undo fake:eve").await.is_err(), "undone twice");
    sim.stop().await;
    Ok(())
}

/// Nobody decides for a day: the card says so, a late click does nothing, and the next message asks anew.
#[tokio::test(start_paused = true)]
async fn an_expired_card_does_nothing() -> anyhow::Result<()> {
    let mut sim = Sim::new("expired")?;
    let agent = sim.rig.agent("andy", "demo")?;
    guarded(&sim, &agent)?;
    grant(&sim, "fake:boss", Role::Owner, None)?;
    sim.start().await?;
    sim.rig.platform.say(said(1, "room", None, "hello", true));
    let asked = card(&sim, "boss", 1).await;
    tokio::time::sleep(Duration::from_secs(24 * 3600 - 60)).await;
    assert_eq!(open_requests(&sim)?, 1);
    tokio::time::sleep(Duration::from_secs(120)).await;
    says(&sim, "boss", "⌛ Expired").await;
    let clicked = sim.rig.platform.click(id(&asked), "approve", "boss").await;
    assert_eq!(clicked.as_deref(), Some("late"));
    sim.quiet().await;
    assert!(sim.rig.platform.texts("room").is_empty());
    assert!(!sim.rig.central()?.is_member(&user("fake:eve")?, &agent)?);
    sim.rig.platform.say(said(2, "room", None, "hello again", true));
    let second = card(&sim, "boss", 2).await;
    sim.rig.platform.click(id(&second), "approve", "boss").await;
    sim.shows("room", &["echo: hello again"]).await;
    sim.stop().await;
    Ok(())
}

/// More than twenty messages do not wait, and strangers without end do not bury the owner.
#[tokio::test(start_paused = true)]
async fn floods_of_strangers_have_an_end() -> anyhow::Result<()> {
    let mut sim = Sim::new("flood")?;
    let agent = sim.rig.agent("andy", "demo")?;
    guarded(&sim, &agent)?;
    grant(&sim, "fake:boss", Role::Owner, None)?;
    sim.start().await?;
    for n in 0..25 {
        sim.rig.platform.say(said(n, "room", None, &format!("m{n}"), true));
    }
    for n in 100..170 {
        let sender = format!("stranger{n}");
        sim.rig.platform.say(Said { sender, ..said(n, "room", None, "me too", true) });
    }
    sim.quiet().await;
    assert_eq!(open_requests(&sim)?, 50);
    assert_eq!(sim.rig.platform.questions("boss").len(), 50);
    let asked = card(&sim, "boss", 1).await;
    sim.rig.platform.click(id(&asked), "approve", "boss").await;
    let texts: Vec<_> = (0..20).map(|n| format!("echo: m{n}")).collect();
    sim.shows("room", &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    sim.stop().await;
    Ok(())
}

/// Nobody can be asked: nothing waits for ever, and `why` says it.
#[tokio::test(start_paused = true)]
async fn without_an_owner_nothing_waits() -> anyhow::Result<()> {
    let mut sim = Sim::new("noowner")?;
    let agent = sim.rig.agent("andy", "demo")?;
    guarded(&sim, &agent)?;
    sim.start().await?;
    sim.rig.platform.say(said(1, "room", None, "hello", true));
    sim.rig.platform.say(said(2, "elsewhere", None, "hello", true));
    sim.quiet().await;
    assert_eq!(sim.rig.central()?.approvals(true, 10)?.len(), 0);
    let why = sim.rig.ncl("why g1").await?.to_string();
    assert!(why.contains("no owner or admin"), "{why}");
    sim.stop().await;
    Ok(())
}

/// The platform refuses the card: the request does not stand in the way of the next one.
#[tokio::test(start_paused = true)]
async fn a_card_that_cannot_be_delivered_blocks_nobody() -> anyhow::Result<()> {
    let mut sim = Sim::new("lostcard")?;
    let agent = sim.rig.agent("andy", "demo")?;
    guarded(&sim, &agent)?;
    grant(&sim, "fake:boss", Role::Owner, None)?;
    sim.start().await?;
    sim.rig.platform.mood(Mood::Reject);
    sim.rig.platform.say(said(1, "room", None, "hello", true));
    sim.quiet().await;
    assert_eq!(open_requests(&sim)?, 0);
    sim.rig.platform.mood(Mood::Up);
    sim.rig.platform.say(said(2, "room", None, "hello again", true));
    let asked = card(&sim, "boss", 1).await;
    sim.rig.platform.click(id(&asked), "approve", "boss").await;
    sim.shows("room", &["echo: hello again"]).await;
    sim.stop().await;
    Ok(())
}

fn wiring(sim: &Sim, platform_id: &str) -> anyhow::Result<(Chat, Vec<Wiring>)> {
    let central = sim.rig.central()?;
    let chat = central
        .chat_by_address(&ChannelType::parse("fake")?, &PlatformId::parse(platform_id)?)?
        .context("the chat is not known")?;
    let wirings = central.wirings_of_chat(&chat.id)?.into_iter().flatten().collect();
    Ok((chat, wirings))
}

/// A group that nobody wired: connected to an agent that exists. It answers when it is addressed, in threads
/// where it was, and never everything.
#[tokio::test(start_paused = true)]
async fn a_group_is_connected_and_does_not_become_answer_everything() -> anyhow::Result<()> {
    let mut sim = Sim::new("connect")?;
    let agent = sim.rig.agent("andy", "demo")?;
    sim.rig.agent("bert", "demo")?;
    grant(&sim, "fake:boss", Role::Owner, None)?;
    sim.start().await?;
    sim.rig.platform.say(said(1, "team", None, "not for you", false));
    sim.rig.platform.say(said(2, "team", None, "@andy hello", true));
    sim.rig.platform.say(said(3, "team", None, "@andy hello?", true));
    let asked = card(&sim, "boss", 1).await;
    let labels: Vec<_> = asked.options.iter().map(|o| o.0.as_str()).collect();
    assert_eq!(labels, ["Connect to andy", "Connect to bert", "New agent", "Reject"]);
    sim.quiet().await;
    assert_eq!(sim.rig.platform.questions("boss").len(), 1);
    sim.stop().await;
    sim.start().await?;
    sim.quiet().await;
    let by_stranger = sim.rig.platform.click(id(&asked), "connect:ag-andy", "eve").await;
    assert!(by_stranger.is_some_and(|c| c.starts_with("refused")));
    assert!(wiring(&sim, "team")?.1.is_empty());
    let clicked = sim.rig.platform.click(id(&asked), "connect:ag-andy", "boss").await;
    assert_eq!(clicked.as_deref(), Some("taken: ✅ Connected to andy"));
    sim.shows("team", &["echo: @andy hello", "echo: @andy hello?"]).await;
    says(&sim, "boss", "andy listens there now.").await;
    let (chat, wirings) = wiring(&sim, "team")?;
    let [w] = wirings.as_slice() else { anyhow::bail!("{wirings:?}") };
    assert_eq!(
        (chat.kind, w.engage_mode, w.engage_pattern.as_deref(), w.sender_scope, w.ignored),
        (
            ChatKind::Group,
            Some(EngageMode::MentionSticky),
            None,
            SenderScope::Known,
            IgnoredPolicy::Accumulate
        )
    );
    let central = sim.rig.central()?;
    assert!(central.is_member(&user("fake:eve")?, &agent)?);
    assert!(central.may_send_to_chat(&agent, &chat.id)?, "it has a name for the chat");
    for n in 4..8 {
        sim.rig.platform.say(said(n, "team", None, "among ourselves", false));
    }
    sim.quiet().await;
    assert_eq!(sim.rig.platform.texts("team").len(), 2);
    sim.stop().await;
    Ok(())
}

/// A group on a channel without threads answers only when it is addressed; a direct chat always.
#[tokio::test(start_paused = true)]
async fn the_kind_of_chat_is_what_the_adapter_says() -> anyhow::Result<()> {
    let mut sim = Sim::new("kinds")?;
    sim.rig.agent("andy", "demo")?;
    grant(&sim, "fake:boss", Role::Owner, None)?;
    sim.start().await?;
    let hook = Said { channel: "fakehook".into(), ..said(1, "hooks", None, "hello", true) };
    sim.rig.platform.say(hook.clone());
    let asked = card(&sim, "boss", 1).await;
    sim.rig.platform.click(id(&asked), "connect:ag-andy", "boss").await;
    sim.shows("hooks", &["echo: hello"]).await;
    sim.rig.platform.say(Said { id: "g9".into(), mention: false, ..hook });
    sim.rig.platform.writes("eve", "in private");
    let asked = card(&sim, "boss", 2).await;
    sim.rig.platform.click(id(&asked), "connect:ag-andy", "boss").await;
    sim.shows("eve", &["echo: in private"]).await;
    sim.rig.platform.writes("eve", "more");
    sim.shows("eve", &["echo: in private", "echo: more"]).await;
    assert_eq!(sim.rig.platform.texts("hooks").len(), 1);
    let (chat, wirings) = wiring(&sim, "eve")?;
    assert_eq!((chat.kind, wirings[0].engage_pattern.as_deref()), (ChatKind::Direct, Some(".")));
    sim.stop().await;
    Ok(())
}

/// A new agent: its name is typed in the owner's direct chat, over restarts, and can be thought better of.
#[tokio::test(start_paused = true)]
async fn a_new_agent_is_named_by_typing() -> anyhow::Result<()> {
    let mut sim = Sim::new("naming")?;
    sim.rig.agent("andy", "demo")?;
    grant(&sim, "fake:boss", Role::Owner, None)?;
    sim.start().await?;
    sim.rig.platform.writes("eve", "hello");
    let asked = card(&sim, "boss", 1).await;
    let clicked = sim.rig.platform.click(id(&asked), "new_agent", "boss").await;
    assert_eq!(clicked.as_deref(), Some("taken: 🆕 Waiting for a name…"));
    says(&sim, "boss", "What is the new agent's name?").await;
    sim.rig.platform.writes("boss", "cancel");
    says(&sim, "boss", "Cancelled. The request is still open.").await;
    sim.rig.platform.click(id(&asked), "new_agent", "boss").await;
    sim.quiet().await;
    sim.stop().await;
    sim.start().await?;
    sim.rig.platform.writes("boss", "Front Desk");
    sim.shows("eve", &["echo: hello"]).await;
    says(&sim, "boss", "Front Desk listens there now.").await;
    let made = sim.rig.central()?.agent_by_name("Front Desk")?.expect("the agent");
    assert_eq!(made.folder, "front-desk");
    assert_eq!(sim.rig.sessions(&made.id)?.len(), 1);
    assert_eq!(open_requests(&sim)?, 0);
    sim.stop().await;
    Ok(())
}

/// No for the whole chat: no card any more, until somebody takes it back.
#[tokio::test(start_paused = true)]
async fn a_rejected_chat_stays_quiet_until_it_is_undone() -> anyhow::Result<()> {
    let mut sim = Sim::new("reject")?;
    sim.rig.agent("andy", "demo")?;
    grant(&sim, "fake:boss", Role::Owner, None)?;
    sim.start().await?;
    sim.rig.platform.writes("eve", "hello");
    let asked = card(&sim, "boss", 1).await;
    sim.rig.platform.click(id(&asked), "reject", "boss").await;
    says(&sim, "boss", "🙅 Rejected by boss.").await;
    sim.rig.platform.writes("eve", "hello?");
    sim.quiet().await;
    let (chat, wirings) = wiring(&sim, "eve")?;
    assert!(chat.denied_at.is_some() && wirings.is_empty());
    assert_eq!(sim.rig.platform.questions("boss").len(), 1);
    let again = format!("messaging-groups update {} --clear denied-at", chat.id);
    assert!(sim.ncl(&again).await.is_ok());
    sim.rig.platform.writes("eve", "hello!");
    card(&sim, "boss", 2).await;
    sim.stop().await;
    Ok(())
}

/// A handle spells its way into nobody else's namespace, and roles follow a person whose identities an owner
/// linked.
#[tokio::test(start_paused = true)]
async fn a_handle_with_colons_is_nobody_else() -> anyhow::Result<()> {
    let mut sim = Sim::new("spoof")?;
    let agent = sim.rig.agent("andy", "demo")?;
    guarded(&sim, &agent)?;
    grant(&sim, "fakemail:boss", Role::Owner, None)?;
    grant(&sim, "fake:boss", Role::Owner, None)?;
    sim.start().await?;
    for (n, sender) in [(1, "fakemail:boss"), (2, "cli:local"), (3, ":boss"), (4, "fake:boss:x")] {
        sim.rig.platform.say(Said { sender: sender.into(), ..said(n, "room", None, "hi", true) });
    }
    sim.quiet().await;
    assert!(sim.rig.platform.texts("room").is_empty());
    assert_eq!(sim.rig.platform.questions("boss").len(), 4);
    let asked = card(&sim, "boss", 1).await;
    let click = sim.rig.platform.click(id(&asked), "approve", "fakemail:boss").await;
    assert!(click.is_some_and(|c| c.starts_with("refused")));
    let central = sim.rig.central()?;
    central.link_users(&user("fakemail:boss")?, &user("fake:cli:local")?, Timestamp::now())?;
    sim.rig.platform.say(Said { sender: "cli:local".into(), ..said(5, "room", None, "hey", true) });
    sim.shows("room", &["echo: hey"]).await;
    central.unlink_user(&user("fake:cli:local")?)?;
    sim.rig.platform.say(Said { sender: "cli:local".into(), ..said(6, "room", None, "ho", true) });
    sim.quiet().await;
    assert_eq!(sim.rig.platform.texts("room").len(), 1);
    sim.stop().await;
    Ok(())
}

/// Files of strangers take a gigabyte at most, and none stay that nobody waits for.
#[tokio::test(start_paused = true)]
async fn files_of_strangers_do_not_fill_the_disk() -> anyhow::Result<()> {
    let mut sim = Sim::new("heldmax")?;
    let agent = sim.rig.agent("andy", "demo")?;
    guarded(&sim, &agent)?;
    grant(&sim, "fake:boss", Role::Owner, None)?;
    let held = sim.rig.data().join("held");
    std::fs::create_dir_all(held.join("ap-gone/message"))?;
    sim.start().await?;
    sim.quiet().await;
    assert!(!held.join("ap-gone").exists(), "the request is gone, its files are not");
    std::fs::create_dir_all(held.join("ap-other"))?;
    std::fs::File::create(held.join("ap-other/0"))?.set_len(1 << 30)?;
    let file = SaidFile {
        kind: "file".into(),
        name: "plan.txt".into(),
        mime: "text/plain".into(),
        bytes: b"the plan".to_vec(),
        ..SaidFile::default()
    };
    sim.rig.platform.say(Said { files: vec![file], ..said(1, "room", None, "hello", true) });
    let asked = card(&sim, "boss", 1).await;
    sim.quiet().await;
    assert!(!held.join(id(&asked)).exists());
    let why = sim.rig.ncl("why g1").await?.to_string();
    assert!(why.contains("too much waits"), "{why}");
    sim.stop().await;
    Ok(())
}
