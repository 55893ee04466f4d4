//! The network is gone, on every channel at once, while people and agent go on.

use super::{Sim, peers};
use anyhow::ensure;
use nanoclaw_central::{DestinationTarget, EngageMode};
use nanoclaw_conformance::{Offer, Peer, Place, Say};
use nanoclaw_contract::ids::{AgentId, SessionId};
use nanoclaw_contract::time::Timestamp;
use nanoclaw_testkit::channel::CHANNELS;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

/// How time passes in a test.
struct Times {
    /// Without: as it does.
    flow: Option<Flow>,
    /// How long the network is gone.
    cut: Duration,
    /// How often each person writes, and the agent has something to say by itself.
    every: Duration,
    /// How often somebody looks.
    look: Duration,
    /// Long enough for whatever waits between two attempts.
    patience: Duration,
    /// What comes twice comes within this.
    afterwards: Duration,
}

impl Times {
    /// Ten minutes on a clock that the test turns: for platforms that are part of this process.
    fn simulated() -> Self {
        Self {
            flow: Some(Flow::start()),
            cut: Duration::from_secs(600),
            every: Duration::from_secs(15),
            look: Duration::from_secs(2),
            patience: Duration::from_secs(2 * 3600),
            afterwards: Duration::from_secs(600),
        }
    }

    /// As it is: real servers and the programs of people do not wait for a turned clock.
    fn real(cut: Duration) -> Self {
        Self {
            flow: None,
            cut,
            // Telegram takes twenty messages a minute in a group: with more, the catching up is long.
            every: (cut / 40).max(Duration::from_secs(3)),
            look: Duration::from_millis(500),
            patience: Duration::from_secs(600),
            afterwards: (cut / 2).max(Duration::from_secs(35)),
        }
    }

    /// Where the network has nothing to do. Even then a disk that is busy must not look like one that hangs.
    fn fast(&self) {
        self.step(50);
    }

    /// Where it has much.
    fn slow(&self) {
        self.step(10);
    }

    fn step(&self, ms: u64) {
        if let Some(flow) = &self.flow {
            flow.step_ms.store(ms, Ordering::Relaxed);
        }
    }
}

/// Time passes while this lives: a step for every moment in which network and disk do their part. Left alone,
/// a paused clock would jump over every answer that the network still brings.
struct Flow {
    step_ms: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Flow {
    fn start() -> Self {
        let step_ms = Arc::new(AtomicU64::new(10));
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
        Self { step_ms, task }
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
    times: Times,
    agent: AgentId,
    peers: Vec<Box<dyn Peer>>,
    talks: Vec<Talk>,
    /// What each person said, and the agent by itself: so many lines, numbered.
    said: usize,
}

impl Town {
    async fn new(names: &[&str], times: Times) -> anyhow::Result<Self> {
        let (mut peers, mut sim) = (Vec::<Box<dyn Peer>>::new(), Sim::new("cut")?);
        if times.flow.is_none() {
            sim.real_time();
        }
        for name in names {
            peers.push(peers::open(name).await?);
        }
        sim.idle = Duration::from_secs(60);
        let real = peers.iter().map(|p| p.channel());
        sim.channels = CHANNELS.iter().copied().chain(real).collect::<Vec<_>>().leak();
        let settings = peers.iter().flat_map(|p| p.settings()).collect();
        sim.settings = Arc::new(Mutex::new(settings));
        let agent = sim.rig.agent("andy", "demo")?;
        sim.rig.chat("desk", &agent)?;
        sim.start().await?;
        sim.rig.all_up().await?;
        let mut town = Self { sim, times, agent, peers, talks: Vec::new(), said: 0 };
        for peer in 0..town.peers.len() {
            let profile = town.peers[peer].profile();
            let group = [profile.group, profile.unthreaded];
            let places = [(Place::Direct, vec![profile.direct]), (Place::Group, group.into())];
            let offered =
                places.into_iter().filter(|(_, all)| all.iter().all(|o| *o == Offer::Yes));
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

    /// The numbers behind a mark that people see: each thread in its order, and together everything once.
    async fn shown(&mut self, talk: usize, mark: &str) -> anyhow::Result<Vec<usize>> {
        let mut threads = BTreeMap::<_, Vec<usize>>::new();
        for seen in self.peers[self.talks[talk].peer].shown().await? {
            let thread = threads.entry((seen.chat, seen.thread)).or_default();
            thread.extend(number(&seen.text, mark));
        }
        for (thread, here) in &threads {
            ensure!(here.is_sorted(), "{mark} in {thread:?}: {here:?}");
        }
        // Where every line begins a thread, each has a session of its own, and no answer waits for another.
        let mut all: Vec<_> = threads.into_values().flatten().collect();
        all.sort_unstable();
        Ok(all)
    }

    /// Waits until everything that was said has its answer.
    async fn all_answered(&mut self) -> anyhow::Result<()> {
        let until = tokio::time::Instant::now() + self.times.patience;
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
                    tokio::time::sleep(self.times.look).await;
                }
            }
        }
        Ok(())
    }

    /// What all inboxes have with this mark, in the order in which it came.
    fn received(&self, mark: &str) -> anyhow::Result<Vec<usize>> {
        let central = rusqlite::Connection::open(self.sim.rig.data().join("v2.db"))?;
        // Where every line begins a thread, the sessions came in their order.
        let mut sessions = central.prepare("SELECT id FROM sessions ORDER BY rowid")?;
        let mut all = Vec::new();
        for session in sessions.query_map([], |r| r.get::<_, String>(0))? {
            let inbox = self.sim.inbox(&self.agent, &SessionId::parse(session?)?)?;
            let mut rows = inbox.prepare(
                "SELECT json_extract(content, '$.text') FROM messages_in WHERE kind LIKE 'chat%' ORDER BY seq",
            )?;
            for text in rows.query_map([], |r| r.get::<_, Option<String>>(0))? {
                all.extend(text?.and_then(|t| number(&t, mark)));
            }
        }
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
    network_gone(&["telegram", "slack", "discord", "github"], Times::simulated()).await
}

/// Dovecot, an SMTP server, Synapse, Emacs, and people with clients of their own cannot be told that time has passed:
/// here it does, a minute, or as long as `NANOCLAW_CUT_SECONDS` says (docs/channels.md has what ten minutes showed).
#[tokio::test]
async fn no_network_on_all_eight_channels_at_once_loses_and_doubles_nothing() -> anyhow::Result<()>
{
    let seconds = std::env::var("NANOCLAW_CUT_SECONDS").unwrap_or_else(|_| "60".into());
    let cut = Duration::from_secs(seconds.parse()?);
    // A webhook comes once; beside webhooks GitHub is read every five minutes, without them every half.
    let github = if cut < Duration::from_secs(300) { "github, read" } else { "github" };
    let names = ["telegram", "slack", "discord", github, "email", "whatsapp", "matrix", "emacs"];
    network_gone(&names, Times::real(cut)).await
}

/// For a while nothing comes through in either direction, on any channel. Afterwards every line is there, once,
/// and in the order of its chat.
async fn network_gone(names: &[&str], times: Times) -> anyhow::Result<()> {
    let mut town = Town::new(names, times).await?;
    town.all_speak().await?;
    town.all_answered().await?;
    town.cut(true).await?;
    // Whatever was on its way has arrived, or is gone.
    tokio::time::sleep(Duration::from_secs(2)).await;
    town.times.fast();
    let before = tokio::time::Instant::now();
    let mut next = before;
    while before.elapsed() < town.times.cut {
        town.all_speak().await?;
        next += town.times.every;
        tokio::time::sleep_until(next).await;
    }
    for talk in 0..town.talks.len() {
        let tag = town.talks[talk].tag.clone();
        for mark in [tag.clone(), format!("{tag}-own")] {
            assert_eq!(town.shown(talk, &mark).await?, [0], "{mark}: the network was not gone");
        }
        assert_eq!(town.received(&tag)?, [0], "{tag}: the network was not gone");
    }
    town.times.slow();
    town.cut(false).await?;
    // Nobody waits for the end of the catching up.
    town.all_speak().await?;
    town.all_answered().await?;
    // What comes twice comes after a while.
    town.times.fast();
    tokio::time::sleep(town.times.afterwards).await;
    let all = (0..town.said).collect::<Vec<_>>();
    ensure!(all.len() > 15, "{} lines are too few", all.len());
    ensure!(town.talks.len() >= names.len(), "{} chats are too few", town.talks.len());
    for talk in 0..town.talks.len() {
        let tag = town.talks[talk].tag.clone();
        for mark in [tag.clone(), format!("{tag}-own")] {
            assert_eq!(town.shown(talk, &mark).await?, all, "{mark}, out");
        }
        assert_eq!(town.received(&tag)?, all, "{tag}, in");
    }
    town.sim.rig.all_up().await?;
    town.sim.stop().await;
    Ok(())
}
