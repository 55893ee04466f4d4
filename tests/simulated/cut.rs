//! The network is gone, on every channel at once, while people and agent go on.

use super::Sim;
use anyhow::{Context as _, ensure};
use nanoclaw_central::{DestinationTarget, EngageMode};
use nanoclaw_conformance::{Offer, Peer, Place, Say};
use nanoclaw_contract::ids::AgentId;
use nanoclaw_contract::time::Timestamp;
use nanoclaw_tests::peers;
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long the network is gone.
const CUT: Duration = Duration::from_secs(600);
/// How often each person writes, and the agent has something to say by itself.
const EVERY: Duration = Duration::from_secs(15);
/// Long enough for whatever waits between two attempts.
const PATIENCE: Duration = Duration::from_secs(2 * 3600);

/// Time passes while this lives: a step for every moment in which network and disk do their part. Left alone,
/// a paused clock would jump over every answer that the network still brings.
struct Flow {
    step_ms: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Flow {
    fn start() -> Self {
        let step_ms = Arc::new(AtomicU64::new(0));
        let step = step_ms.clone();
        let task = tokio::spawn(async move {
            loop {
                let moment = tokio::task::spawn_blocking(|| {
                    std::thread::sleep(Duration::from_millis(1));
                });
                drop(moment.await);
                tokio::time::advance(Duration::from_millis(step.load(Ordering::Relaxed))).await;
            }
        });
        let flow = Self { step_ms, task };
        flow.slow();
        flow
    }

    /// Where the network has much to do.
    fn slow(&self) {
        self.step_ms.store(20, Ordering::Relaxed);
    }

    /// Where there is none.
    fn fast(&self) {
        self.step_ms.store(200, Ordering::Relaxed);
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A chat on one of the platforms.
struct Talk {
    /// Whose.
    peer: usize,
    place: Place,
    /// Marks what people say in it; with `own` behind it, what the agent says by itself.
    tag: String,
}

struct Town {
    sim: Sim,
    agent: AgentId,
    peers: Vec<Box<dyn Peer>>,
    talks: Vec<Talk>,
    /// What each person said, and the agent by itself: so many lines, numbered.
    said: usize,
}

impl Town {
    async fn new(names: &[&str]) -> anyhow::Result<Self> {
        let (mut peers, mut sim) = (Vec::<Box<dyn Peer>>::new(), Sim::new("cut")?);
        for name in names {
            peers.push(peers::open(name).await?);
        }
        sim.idle = Duration::from_secs(60);
        sim.channels = peers::with(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        let settings = peers.iter().flat_map(|p| p.settings()).collect();
        sim.settings = Arc::new(Mutex::new(settings));
        let agent = sim.rig.agent("andy", "demo")?;
        sim.rig.chat("desk", &agent)?;
        sim.start().await?;
        let mut town = Self { sim, agent, peers, talks: Vec::new(), said: 0 };
        for peer in 0..town.peers.len() {
            let profile = town.peers[peer].profile();
            let places = [(Place::Direct, profile.direct), (Place::Group, profile.unthreaded)];
            let offered = places.into_iter().filter(|(_, offer)| *offer == Offer::Yes);
            let mut places: Vec<_> = offered.map(|(place, _)| place).collect();
            if places.is_empty() {
                places.push(Place::Thread(1));
            }
            for place in places {
                town.meet(peer, place).await?;
            }
        }
        Ok(town)
    }

    /// Has the agent listen in a chat, and lets it write there by itself.
    async fn meet(&mut self, peer: usize, place: Place) -> anyhow::Result<()> {
        let rig = &self.sim.rig;
        let tag = format!("{}-{place:?}", self.peers[peer].channel().name).to_lowercase();
        let chat = rig.meets(self.peers[peer].as_mut(), "ann", place).await?;
        rig.wire(&chat, &self.agent, |w| {
            (w.engage_mode, w.engage_pattern) = (Some(EngageMode::Pattern), Some(".".into()));
        })?;
        let target = DestinationTarget::Chat(chat);
        rig.central()?.add_destination(&self.agent, &tag, &target, Timestamp::now())?;
        self.talks.push(Talk { peer, place, tag });
        Ok(())
    }

    /// Somebody writes in every chat, and the agent has something to say there by itself.
    async fn all_speak(&mut self) -> anyhow::Result<()> {
        let n = self.said;
        self.said += 1;
        let mut orders = String::new();
        for Talk { peer, place, tag } in &self.talks {
            let say = Say::new("ann", *place, format!("{tag}#{n}")).mention();
            self.peers[*peer].say(say).await?;
            let row = json!({ "to": tag, "content": { "text": format!("{tag}-own#{n}") } });
            orders += &format!("!row {row}\n");
        }
        self.sim.rig.platform.dm("desk", &orders);
        Ok(())
    }

    async fn cut(&mut self, cut: bool) -> anyhow::Result<()> {
        for peer in &mut self.peers {
            peer.cut(cut).await?;
        }
        Ok(())
    }

    /// The numbers behind a mark, in the order in which people see them.
    async fn shown(&mut self, talk: usize, mark: &str) -> anyhow::Result<Vec<usize>> {
        let seen = self.peers[self.talks[talk].peer].shown().await?;
        Ok(seen.iter().filter_map(|s| number(&s.text, mark)).collect())
    }

    /// Waits until everything that was said has its answer.
    async fn all_answered(&mut self) -> anyhow::Result<()> {
        let until = tokio::time::Instant::now() + PATIENCE;
        for talk in 0..self.talks.len() {
            let tag = self.talks[talk].tag.clone();
            for mark in [tag.clone(), format!("{tag}-own")] {
                loop {
                    let shown = self.shown(talk, &mark).await?;
                    if shown.len() >= self.said {
                        break;
                    }
                    ensure!(
                        tokio::time::Instant::now() < until,
                        "{mark}: of {} only {shown:?} are shown\n{}",
                        self.said,
                        self.sim.rig.ncl("status").await?,
                    );
                    tokio::time::sleep(Duration::from_secs(2)).await;
                }
            }
        }
        Ok(())
    }

    /// What all inboxes have with this mark: each in its order, and together everything once.
    fn received(&self, mark: &str) -> anyhow::Result<Vec<usize>> {
        let mut all = Vec::new();
        for session in self.sim.rig.sessions(&self.agent)? {
            let inbox = self.sim.inbox(&self.agent, &session)?;
            let mut rows = inbox.prepare(
                "SELECT json_extract(content, '$.text') FROM messages_in WHERE kind LIKE 'chat%' ORDER BY seq",
            )?;
            let mut here = Vec::new();
            for text in rows.query_map([], |r| r.get::<_, Option<String>>(0))? {
                here.extend(text?.and_then(|t| number(&t, mark)));
            }
            ensure!(here.is_sorted(), "{mark} in {session}: {here:?}");
            all.extend(here);
        }
        // A platform on which every line begins a thread has a session for each.
        all.sort_unstable();
        Ok(all)
    }
}

/// The number in `mark#number`, where a text ends with that.
fn number(text: &str, mark: &str) -> Option<usize> {
    let (before, number) = text.trim().rsplit_once('#')?;
    let whole = before.strip_suffix(mark)?.chars().next_back().is_none_or(char::is_whitespace);
    whole.then(|| number.parse().ok())?
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_without_network_lose_and_double_nothing_on_any_chat() -> anyhow::Result<()> {
    ten_minutes_without_network(&["telegram", "slack", "discord", "github"]).await
}

/// For ten minutes nothing comes through in either direction, on any channel. Afterwards every line is there,
/// once, and in the order of its chat.
async fn ten_minutes_without_network(names: &[&str]) -> anyhow::Result<()> {
    let flow = Flow::start();
    let mut town = Town::new(names).await?;
    town.all_speak().await?;
    town.all_answered().await?;
    town.cut(true).await?;
    // Whatever was on its way has arrived, or is gone.
    tokio::time::sleep(Duration::from_secs(2)).await;
    flow.fast();
    let before = tokio::time::Instant::now();
    while before.elapsed() < CUT {
        town.all_speak().await?;
        tokio::time::sleep(EVERY).await;
    }
    for talk in 0..town.talks.len() {
        let tag = town.talks[talk].tag.clone();
        for mark in [tag.clone(), format!("{tag}-own")] {
            assert_eq!(town.shown(talk, &mark).await?, [0], "{mark}: the network was not gone");
        }
        assert_eq!(town.received(&tag)?, [0], "{tag}: the network was not gone");
    }
    flow.slow();
    town.cut(false).await?;
    // Nobody waits for the end of the catching up.
    town.all_speak().await?;
    town.all_answered().await?;
    // What comes twice comes after a while.
    flow.fast();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let (all, mut counted) = ((0..town.said).collect::<Vec<_>>(), 0);
    ensure!(all.len() > 40, "{} lines are too few", all.len());
    for talk in 0..town.talks.len() {
        let tag = town.talks[talk].tag.clone();
        for mark in [tag.clone(), format!("{tag}-own")] {
            assert_eq!(town.shown(talk, &mark).await?, all, "{mark}, out");
        }
        assert_eq!(town.received(&tag)?, all, "{tag}, in");
        counted += 3 * all.len();
    }
    let channels = town.peers.len();
    ensure!(counted >= channels * 120, "{counted} lines on {channels} channels");
    let status = town.sim.rig.ncl("status").await.context("status")?.to_string();
    ensure!(!status.contains("econnecting"), "{status}");
    town.sim.stop().await;
    Ok(())
}
