//! Load on several channels at once: how long a message takes from the platform to the inbox, and an answer from
//! the outbox to the platform's door, while 200 people write; and whether the host's memory grows.
//!
//! ```text
//!  peer ──▶ adapter ──▶ host ──▶ inbound.db ──▶ box (demo) ──▶ outbound.db ──▶ host ──▶ adapter ──▶ tap ──▶ peer
//!   said               └ written: the file's own time         └ written: likewise              called
//! ```
//!
//! Each chat has a box of its own. A few chats are on real adapters, at the pace that their platforms allow to one
//! app; all others are on the fake platform.

use crate::report::{Report, Target, percentile};
use crate::world::{PATIENCE, Wired, World, process};
use anyhow::{Context as _, ensure};
use nanoclaw_central::EngageMode;
use nanoclaw_conformance::{Peer, Place, Say};
use nanoclaw_contract::time::Timestamp;
use nanoclaw_testkit::platform::Platform;
use nanoclaw_tests::compose::SETTING;
use nanoclaw_tests::peers;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const CHATS: usize = 200;
const PER_SECOND: usize = 50;
const REAL: [&str; 3] = ["telegram", "slack", "discord"];
const PEOPLE: [&str; 3] = ["ann", "bob", "cleo"];

/// A chat, and where its session lies.
struct Line {
    /// On which platform, and who writes; none is the fake one.
    peer: Option<(usize, &'static str)>,
    name: String,
    dir: PathBuf,
}

/// One message's times.
#[derive(Clone, Copy, Default)]
struct Times {
    said: Option<Timestamp>,
    inbound: Option<Timestamp>,
    outbound: Option<Timestamp>,
    called: Option<Timestamp>,
}

/// What was noted, by message.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<(Vec<Times>, Vec<PathBuf>)>>);

impl Notes {
    fn said(&self) -> usize {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.0.push(Times { said: Some(Timestamp::now()), ..Times::default() });
        notes.0.len() - 1
    }

    /// The platform is called with the answer to this message. Until then nothing else was written for it.
    fn called(&self, n: usize) {
        let called = Timestamp::now();
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (times, dirs) = &mut *notes;
        let dir = dirs.get(n % dirs.len().max(1));
        if let (Some(times), Some(dir)) = (times.get_mut(n).filter(|t| t.called.is_none()), dir) {
            times.inbound = written(&dir.join("inbound.db"));
            times.outbound = written(&dir.join("box/outbound.db"));
            times.called = Some(called);
        }
    }

    fn open(&self) -> usize {
        let notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.0.iter().filter(|t| t.called.is_none()).count()
    }
}

fn written(path: &Path) -> Option<Timestamp> {
    Timestamp::try_from(std::fs::metadata(path).ok()?.modified().ok()?).ok()
}

/// The numbers in every `load…x` of a text.
fn numbers(text: &str) -> impl Iterator<Item = usize> {
    text.split("load").skip(1).filter_map(|rest| rest.split_once('x')?.0.parse().ok())
}

/// Stands before a platform and notes what passes; returns its address.
async fn tap(to: String, notes: Notes) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            if let Ok(far) = TcpStream::connect(&to).await {
                tokio::spawn(pass(near, far, notes.clone()));
            }
        }
    });
    Ok(address)
}

async fn pass(near: TcpStream, far: TcpStream, notes: Notes) -> std::io::Result<()> {
    let (mut asks, mut answers) = near.into_split();
    let (mut back, mut on) = far.into_split();
    let back = tokio::spawn(async move { tokio::io::copy(&mut back, &mut answers).await });
    let mut buffer = vec![0; 64 << 10];
    loop {
        let n = asks.read(&mut buffer).await?;
        let Some(bytes) = buffer.get(..n).filter(|b| !b.is_empty()) else { break };
        numbers(&String::from_utf8_lossy(bytes)).for_each(|n| notes.called(n));
        on.write_all(bytes).await?;
    }
    back.abort();
    Ok(())
}

pub(crate) async fn run(report: &mut Report, driver: &str) -> anyhow::Result<()> {
    let mut world = World::new("channels", driver, "demo")?;
    let done = measure(report, &mut world).await;
    world.end().await?;
    done
}

async fn measure(report: &mut Report, world: &mut World) -> anyhow::Result<()> {
    let (notes, mut peers) = (Notes::default(), Vec::<Box<dyn Peer>>::new());
    for name in REAL {
        peers.push(peers::open(name).await?);
    }
    world.rig.run.boxes = CHATS + 10;
    for peer in &peers {
        world.rig.connects(peer.as_ref());
    }
    for (name, value) in &mut world.rig.host_env {
        let rest = value.strip_prefix("http://").filter(|_| name.starts_with(SETTING));
        if let Some((host, path)) = rest.map(|r| r.split_once('/').unwrap_or((r, ""))) {
            *value = format!("http://{}/{path}", tap(host.to_owned(), notes.clone()).await?);
        }
    }
    let lines = open(world, &mut peers).await?;
    notes.0.lock().unwrap_or_else(PoisonError::into_inner).1 =
        lines.iter().map(|l| l.dir.clone()).collect();
    let listener = tokio::spawn(listen(world.rig.platform.clone(), notes.clone()));
    let host = world.host()?;
    let rss = || process(host).map(|p| p.rss_mb).context("the host's memory");
    let before = rss()?;
    let seconds = if report.quick { 10 } else { 60 * report.minutes };
    let mut tick = tokio::time::interval(Duration::from_secs(1) / u32::try_from(PER_SECOND)?);
    for _ in 0..seconds * PER_SECOND {
        tick.tick().await;
        let n = notes.said();
        say(world, &mut peers, &lines[n % lines.len()], &format!("echo load{n}x")).await?;
    }
    let answered = async {
        while notes.open() > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let done = tokio::time::timeout(PATIENCE, answered).await;
    ensure!(done.is_ok(), "{} messages have no answer\n{}", notes.open(), world.rig.log());
    listener.abort();
    let after = rss()?;
    let times = notes.0.lock().unwrap_or_else(PoisonError::into_inner).0.clone();
    let of_real = |n: usize| lines.get(n % lines.len()).is_some_and(|l| l.peer.is_some());
    for (who, real) in [("real adapters", true), ("fake channel", false)] {
        let mine = || times.iter().enumerate().filter(|(n, _)| of_real(*n) == real).map(|(_, t)| t);
        let mut inbound: Vec<_> = mine().filter_map(|t| between(t.said, t.inbound)).collect();
        let mut outbound: Vec<_> = mine().filter_map(|t| between(t.outbound, t.called)).collect();
        for (what, all) in [("said to inbox", &mut inbound), ("outbox to platform", &mut outbound)]
        {
            let name = |share: &str| format!("{what} {share}, {CHATS} chats, {who}");
            report.time(&name("p50"), percentile(all, 50), Target::None);
            report.time(&name("p99"), percentile(all, 99), Target::AtMost(25.0));
        }
    }
    report.value(&format!("host RSS, {CHATS} chats, before"), before, "MB", Target::None);
    report.value(
        &format!("host RSS, {CHATS} chats, after"),
        after,
        "MB",
        Target::AtMost(before * 1.2),
    );
    Ok(())
}

fn between(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<Duration> {
    // The file system's clock may be a tick behind.
    Some(to?.duration_since(from?).try_into().unwrap_or_default())
}

async fn say(
    world: &World,
    peers: &mut [Box<dyn Peer>],
    line: &Line,
    text: &str,
) -> anyhow::Result<()> {
    match line.peer {
        Some((peer, who)) => drop(peers[peer].say(Say::new(who, Place::Direct, text)).await?),
        None => drop(world.rig.platform.dm(&line.name, text)),
    }
    Ok(())
}

/// Starts the host and gives every chat a session with a box.
async fn open(world: &mut World, peers: &mut [Box<dyn Peer>]) -> anyhow::Result<Vec<Line>> {
    let mut chats = Vec::new();
    let real = peers.len() * PEOPLE.len();
    for n in real..CHATS {
        let name = format!("c{n}");
        chats.push((None, name.clone(), world.chat(&name, Wired::Answering)?));
    }
    world.rig.start().await?;
    world.rig.all_up().await?;
    for (n, peer) in peers.iter_mut().enumerate() {
        for who in PEOPLE {
            let chat = world.rig.meets(peer.as_mut(), who, Place::Direct).await?;
            world.rig.wire(&chat, &world.agent, |w| {
                (w.engage_mode, w.engage_pattern) = (Some(EngageMode::Pattern), Some(".".into()));
            })?;
            // One after the other between the others.
            let at = (n * PEOPLE.len() * 2 + chats.len() / 2) % chats.len();
            chats.insert(at, (Some((n, who)), chat.to_string(), chat));
        }
    }
    let mut lines = Vec::new();
    for (peer, name, chat) in chats {
        let mut line = Line { peer, name, dir: PathBuf::new() };
        say(world, peers, &line, "hello").await?;
        let until = tokio::time::Instant::now() + PATIENCE;
        let session = loop {
            let all = world.central.sessions(10_000, 0)?;
            if let Some(session) = all.into_iter().find(|s| s.chat.as_ref() == Some(&chat)) {
                break session.id;
            }
            ensure!(tokio::time::Instant::now() < until, "no session for {}", line.name);
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        line.dir = world.rig.dir(&world.agent, &session)?.inbound();
        line.dir.pop();
        lines.push(line);
    }
    // Every box is up.
    let until = tokio::time::Instant::now() + PATIENCE;
    while world.awake()?.len() < CHATS {
        ensure!(tokio::time::Instant::now() < until, "{} boxes are up", world.awake()?.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    Ok(lines)
}

/// Notes the answers on the fake platform.
async fn listen(platform: Platform, notes: Notes) {
    let mut seen = 0;
    let look = |p: &Platform| {
        for shown in p.shown_since(seen) {
            seen += 1;
            numbers(&shown.text).for_each(|n| notes.called(n));
        }
        false
    };
    platform.until(Duration::from_secs(3600), look).await;
}
