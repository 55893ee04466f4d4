//! One agent, or several, on three real channels at once: Telegram, a thread in Slack, and the mail.

use super::SOON;
use anyhow::{Context as _, ensure};
use nanoclaw_central::{EngageMode, SessionMode};
use nanoclaw_conformance::{Peer, Place, Say, Seen};
use nanoclaw_contract::ids::AgentId;
use nanoclaw_contract::time::Timestamp;
use nanoclaw_tests::{peers, rig::Rig};
use std::collections::BTreeMap;
use std::time::Duration;

/// Where people write from; mail goes through Dovecot and an SMTP server.
const PLACES: [(&str, Place); 3] =
    [("telegram", Place::Direct), ("slack", Place::Thread(1)), ("email", Place::Direct)];

struct House {
    rig: Rig,
    peers: Vec<Box<dyn Peer>>,
    /// Where the answers were.
    places: BTreeMap<usize, (String, Option<String>)>,
}

impl House {
    /// With the first channels of the places.
    async fn new(name: &str, channels: usize) -> anyhow::Result<Self> {
        let (mut rig, mut peers) = (Rig::new(name)?, Vec::new());
        for (channel, _) in PLACES.into_iter().take(channels) {
            let peer = peers::open(channel).await?;
            rig.connects(peer.as_ref());
            peers.push(peer);
        }
        Ok(Self { rig, peers, places: BTreeMap::new() })
    }

    /// The host runs, and each of the three chats is wired to one of the agents, in this session mode.
    async fn opens(
        name: &str,
        agents: [&str; 3],
        mode: SessionMode,
    ) -> anyhow::Result<(Self, Vec<AgentId>)> {
        let mut house = Self::new(name, PLACES.len()).await?;
        let agents: Vec<_> =
            agents.iter().map(|a| house.rig.agent(a, "demo")).collect::<Result<_, _>>()?;
        house.rig.start().await?;
        house.rig.all_up().await?;
        let mut chats = Vec::new();
        for (peer, (_, place)) in house.peers.iter_mut().zip(PLACES) {
            chats.push(house.rig.meets(peer.as_mut(), "ann", place).await?);
        }
        for (chat, agent) in chats.iter().zip(&agents) {
            house.rig.wire(chat, agent, |w| {
                (w.engage_mode, w.engage_pattern) = (Some(EngageMode::Pattern), Some(".".into()));
                w.session_mode = mode;
            })?;
        }
        Ok((house, agents))
    }

    /// Ann says it in the n-th place, and gets an answer there with this in it: returned is its text. The hello
    /// with which she was met may be answered as well: Slack tells of it twice, and the agent listens by then.
    async fn asks(&mut self, n: usize, text: &str, answer: &str) -> anyhow::Result<String> {
        let (channel, place) = PLACES[n];
        let peer = &mut self.peers[n];
        let before = peer.shown().await?.len();
        peer.say(Say::new("ann", place, text).mention()).await?;
        let shown = until(peer.as_mut(), |s| {
            s.iter().skip(before).find(|s| s.text.contains(answer)).cloned()
        })
        .await;
        let seen = shown.with_context(|| format!("{channel} {text}\n{}", self.rig.log()))?;
        ensure!(seen.thread.is_some() == (channel != "telegram"), "{seen:?}");
        let place = (seen.chat.clone(), seen.thread.clone());
        let first = self.places.entry(n).or_insert_with(|| place.clone());
        ensure!(*first == place, "{text} was answered elsewhere: {seen:?}");
        Ok(seen.text)
    }

    /// Says something on every channel, and then asks on each what was said there.
    async fn tells_all(&mut self) -> anyhow::Result<[String; 3]> {
        for (n, word) in WORDS.into_iter().enumerate() {
            let answer = self.asks(n, &format!("echo {word}"), word).await?;
            ensure!(words(&answer) == [word], "{answer:?} is no answer to {word:?}");
        }
        let mut known = [const { String::new() }; 3];
        for (n, known) in known.iter_mut().enumerate() {
            *known = self.asks(n, "what did I say", "You said").await?;
        }
        Ok(known)
    }
}

/// What is said on each channel.
const WORDS: [&str; 3] = ["heron", "otter", "badger"];

/// Which of the words the text has.
fn words(text: &str) -> Vec<&'static str> {
    WORDS.into_iter().filter(|w| text.contains(w)).collect()
}

/// Waits until people see what is looked for.
async fn until<T>(
    peer: &mut dyn Peer,
    mut look: impl FnMut(&[Seen]) -> Option<T>,
) -> anyhow::Result<T> {
    let bell = peer.bell();
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let rung = bell.notified();
        let shown = peer.shown().await?;
        if let Some(found) = look(&shown) {
            return Ok(found);
        }
        ensure!(tokio::time::Instant::now() < deadline, "not among {shown:#?}");
        // What the bell does not ring for is seen a moment later.
        drop(tokio::time::timeout(Duration::from_millis(200), rung).await);
    }
}

/// One agent, three conversations: none knows of the others.
#[tokio::test]
async fn one_agent_keeps_three_channels_apart() -> anyhow::Result<()> {
    let (mut house, agents) = House::opens("apart", ["andy"; 3], SessionMode::Shared).await?;
    let known = house.tells_all().await?;
    assert_eq!(known.map(|k| words(&k)), [["heron"], ["otter"], ["badger"]].map(Vec::from));
    assert_eq!(house.rig.sessions(&agents[0])?.len(), 3);
    house.rig.stop().await
}

/// One agent, one conversation over all of them: it knows everything and answers each where it was asked.
#[tokio::test]
async fn one_session_spans_three_channels() -> anyhow::Result<()> {
    let (mut house, agents) = House::opens("span", ["andy"; 3], SessionMode::AgentShared).await?;
    let known = house.tells_all().await?;
    for known in &known {
        assert_eq!(words(known), WORDS, "{known}");
    }
    assert_eq!(house.rig.sessions(&agents[0])?.len(), 1);
    house.rig.stop().await
}

/// An agent for each: separate sessions, and separate folders.
#[tokio::test]
async fn three_agents_share_nothing() -> anyhow::Result<()> {
    let (mut house, agents) =
        House::opens("three", ["andy", "bea", "carl"], SessionMode::AgentShared).await?;
    let known = house.tells_all().await?;
    assert_eq!(known.map(|k| words(&k)), [["heron"], ["otter"], ["badger"]].map(Vec::from));
    for agent in &agents {
        assert_eq!(house.rig.sessions(agent)?.len(), 1, "{agent}");
    }
    house.rig.stop().await
}

/// Bob addresses the agent in a Slack channel where none listens. The owner is asked on both of her accounts,
/// answers in Telegram with a button, and both cards close; Bob gets his answer in Slack.
#[tokio::test]
async fn what_is_asked_in_slack_is_answered_in_telegram_and_closes_in_both() -> anyhow::Result<()> {
    let mut house = House::new("both", 2).await?;
    house.rig.agent("andy", "demo")?;
    let handles: Vec<_> = house.peers.iter().map(|p| p.person("ann").0).collect();
    house.rig.owner_on("slack", &handles[1])?;
    let telegram = format!("telegram:{}", handles[0]);
    let id = nanoclaw_contract::ids::UserId::parse(&telegram)?;
    house.rig.central()?.upsert_user(&id, "telegram", Some("ann"), Timestamp::now())?;
    house.rig.start().await?;
    house.rig.all_up().await?;
    house.rig.ncl(&format!("users link {telegram} --to slack:{}", handles[1])).await?;
    let [telegram, slack] = &mut house.peers[..] else { anyhow::bail!("two platforms") };
    slack.say(Say::new("bob", Place::Thread(1), "echo good morning").mention()).await?;
    let asks = |s: &[Seen]| s.iter().find(|s| !s.buttons.is_empty()).cloned();
    let card = until(telegram.as_mut(), asks).await.with_context(|| house.rig.log())?;
    let there = until(slack.as_mut(), asks).await.with_context(|| house.rig.log())?;
    assert_eq!(card.buttons, there.buttons);
    assert!(card.text.contains("Bob") && there.text.contains("Bob"), "{card:?} {there:?}");
    telegram.click(&card.id, "Connect to andy", "ann").await?;
    for (peer, card) in [(telegram, &card), (slack, &there)] {
        let closed = |s: &[Seen]| {
            let now = s.iter().find(|s| s.id == card.id)?;
            (now.buttons.is_empty() && now.text.contains("Connected to andy")).then_some(())
        };
        until(peer.as_mut(), closed).await.with_context(|| house.rig.log())?;
    }
    let slack = &mut house.peers[1];
    let answer = |s: &[Seen]| s.iter().find(|s| s.text.contains("good morning")).cloned();
    let answer = until(slack.as_mut(), answer).await.with_context(|| house.rig.log())?;
    assert_ne!(answer.chat, there.chat, "it is answered in the channel");
    // Asked once each, and nothing is left open.
    for peer in &mut house.peers {
        let shown = peer.shown().await?;
        assert!(shown.iter().all(|s| s.buttons.is_empty()), "{shown:?}");
    }
    let open = house.rig.central()?.approvals(false, 10)?;
    assert!(open.is_empty(), "{open:?}");
    house.rig.stop().await
}
