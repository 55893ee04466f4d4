//! An install that is measured: seeded, run, asked, looked at from outside, and cleared away.

use crate::engine;
use anyhow::{Context as _, ensure};
use nanoclaw_central::{
    Central, Chat, ChatKind, EngageMode, IgnoredPolicy, SenderScope, SessionMode,
    UnknownSenderPolicy, Wiring,
};
use nanoclaw_contract::ids::{AgentId, ChannelType, ChatId, PlatformId, SessionId, WiringId};
use nanoclaw_contract::time::Timestamp;
use nanoclaw_testkit::platform::{Platform, Said};
use nanoclaw_tests::rig::Rig;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

/// Longer than anything takes on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// What the demo answers at once: with the same word.
pub(crate) const ECHO: [&str; 2] = ["echo ", ""];

/// The install.
pub(crate) struct World {
    pub(crate) rig: Rig,
    pub(crate) agent: AgentId,
    pub(crate) central: Central,
    asked: u64,
}

/// What an agent does in a chat.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wired {
    /// A direct chat: it answers everything.
    Answering,
    /// A group: it keeps what it hears, and answers to nobody.
    Listening,
}

/// A process that belongs to the install.
pub(crate) struct Process {
    pub(crate) name: String,
    /// Resident.
    pub(crate) rss_mb: f64,
    /// Resident, with what is shared counted in parts.
    pub(crate) pss_mb: f64,
}

impl World {
    /// An install whose agent has this harness.
    pub(crate) fn new(name: &str, driver: &str, provider: &str) -> anyhow::Result<Self> {
        let mut rig = Rig::new(&format!("bench{name}"))?;
        driver.clone_into(&mut rig.run.driver);
        let agent = rig.agent("bench", provider)?;
        let central = rig.central()?;
        Ok(Self { rig, agent, central, asked: 0 })
    }

    /// Makes so many direct chats: `c0`, `c1`, …
    pub(crate) fn chats(&self, n: usize) -> anyhow::Result<Vec<String>> {
        let names: Vec<_> = (0..n).map(|n| format!("c{n}")).collect();
        for name in &names {
            self.chat(name, Wired::Answering)?;
        }
        Ok(names)
    }

    /// Makes one chat.
    pub(crate) fn chat(&self, name: &str, wired: Wired) -> anyhow::Result<ChatId> {
        let created_at = nanoclaw_contract::time::iso(Timestamp::now());
        let id = ChatId::parse(format!("mg-{name}"))?;
        let (kind, engage_mode, engage_pattern) = match wired {
            Wired::Answering => (ChatKind::Direct, EngageMode::Pattern, Some(".".into())),
            Wired::Listening => (ChatKind::Group, EngageMode::Mention, None),
        };
        self.central.create_chat(&Chat {
            id: id.clone(),
            channel_type: ChannelType::parse("fake")?,
            platform_id: PlatformId::parse(name)?,
            name: Some(name.into()),
            kind,
            policy: UnknownSenderPolicy::Public,
            denied_at: None,
            created_at: created_at.clone(),
        })?;
        self.central.create_wiring(&Wiring {
            id: WiringId::parse(format!("mga-{name}"))?,
            chat: id.clone(),
            agent: self.agent.clone(),
            session_mode: SessionMode::Shared,
            priority: 0,
            engage_mode: Some(engage_mode),
            engage_pattern,
            sender_scope: SenderScope::All,
            ignored: IgnoredPolicy::Accumulate,
            previews: false,
            created_at,
        })?;
        Ok(id)
    }

    /// Rows in the inboxes of all sessions.
    pub(crate) fn rows_in_inboxes(&self) -> anyhow::Result<usize> {
        let mut rows = 0;
        for session in self.rig.sessions(&self.agent)? {
            let inbox = self.rig.dir(&self.agent, &session)?.inbound();
            let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
            let db = rusqlite::Connection::open_with_flags(inbox, flags)?;
            rows += db.query_row("SELECT count(*) FROM messages_in", [], |r| r.get::<_, i64>(0))?;
        }
        Ok(usize::try_from(rows)?)
    }

    /// Writes to a chat, and waits until its answer is shown. `words` stand around one that is new.
    pub(crate) async fn ask(&mut self, chat: &str, words: [&str; 2]) -> anyhow::Result<Duration> {
        self.asked += 1;
        let word = format!("word{}", self.asked);
        let (platform, seen) = (self.rig.platform.clone(), self.rig.platform.shown().len());
        let begun = Instant::now();
        platform.dm(chat, &format!("{}{word}{}", words[0], words[1]));
        let answered = |p: &Platform| {
            p.shown_since(seen).iter().any(|s| s.chat == chat && s.text.contains(&word))
        };
        ensure!(
            platform.until(PATIENCE, answered).await,
            "{word} was not answered\n{}",
            self.rig.log()
        );
        Ok(begun.elapsed())
    }

    /// Writes to all chats in one go, and waits until each has its answer.
    pub(crate) async fn ask_all(&mut self, chats: &[String]) -> anyhow::Result<Duration> {
        self.asked += 1;
        let word = format!("word{}", self.asked);
        let (platform, mut seen) = (self.rig.platform.clone(), self.rig.platform.shown().len());
        let begun = Instant::now();
        for chat in chats {
            platform.dm(chat, &format!("echo {word}"));
        }
        let mut waiting: BTreeSet<_> = chats.iter().cloned().collect();
        let answered = |p: &Platform| {
            for shown in p.shown_since(seen) {
                seen += 1;
                if shown.text.contains(&word) {
                    waiting.remove(&shown.chat);
                }
            }
            waiting.is_empty()
        };
        ensure!(
            platform.until(PATIENCE, answered).await,
            "{word} was not answered\n{}",
            self.rig.log()
        );
        Ok(begun.elapsed())
    }

    /// Puts every session to sleep: the host stops its box, and the box is gone.
    pub(crate) async fn all_asleep(&self) -> anyhow::Result<()> {
        for session in self.central.boxes()? {
            self.rig.ncl(&format!("sessions stop {}", session.session)).await?;
        }
        let until = Instant::now() + PATIENCE;
        while !self.central.boxes()?.is_empty() {
            ensure!(Instant::now() < until, "the boxes do not stop\n{}", self.rig.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Sessions with a box, by the host's books.
    pub(crate) fn awake(&self) -> anyhow::Result<Vec<SessionId>> {
        Ok(self.central.boxes()?.into_iter().map(|b| b.session).collect())
    }

    /// The host's process.
    pub(crate) fn host(&self) -> anyhow::Result<i32> {
        Ok(self.rig.pid().context("the host does not run")?.cast_signed())
    }

    /// Every process of the install: the host, its vault, its boxes and what keeps them.
    pub(crate) async fn processes(&self) -> anyhow::Result<Vec<Process>> {
        let mut roots = vec![self.host()?];
        match self.rig.run.driver.as_str() {
            "docker" => roots.extend(engine::processes(&self.rig.run.install).await?),
            _ => roots.extend(recorded(&self.rig.data().join("boxes"))),
        }
        let parents = parents();
        // What keeps a box: its parent, where that is not one of everybody's.
        let keepers: Vec<_> =
            roots.iter().filter_map(|pid| parents.get(pid)).filter(|p| **p > 1).copied().collect();
        let me = i32::try_from(std::process::id())?;
        roots.extend(keepers.into_iter().filter(|p| *p != me));
        let mut all: BTreeSet<i32> = roots.into_iter().collect();
        loop {
            let more: Vec<_> = parents
                .iter()
                .filter(|(pid, up)| all.contains(up) && !all.contains(pid))
                .map(|(pid, _)| *pid)
                .collect();
            if more.is_empty() {
                break;
            }
            all.extend(more);
        }
        Ok(all.into_iter().filter_map(process).collect())
    }

    /// Stops the host and its boxes; whatever is left is ended with the rig.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        self.rig.stop().await
    }
}

/// The first process of every box that the bubblewrap driver has on record.
fn recorded(state: &Path) -> Vec<i32> {
    let entries = std::fs::read_dir(state).into_iter().flatten().flatten();
    let records = entries.filter_map(|e| std::fs::read_to_string(e.path()).ok());
    let pids = records.filter_map(|text| {
        let record: serde_json::Value = serde_json::from_str(&text).ok()?;
        i32::try_from(record.pointer("/first/pid")?.as_i64()?).ok()
    });
    pids.collect()
}

/// The parent of every process.
fn parents() -> BTreeMap<i32, i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may contain anything; what follows its last parenthesis may not.
        let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?;
        Some((pid, parent))
    })
    .collect()
}

pub(crate) fn process(pid: i32) -> Option<Process> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let kb = |what: &str| {
        let line = rollup.lines().find_map(|l| l.strip_prefix(what))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned();
    Some(Process { name, rss_mb: kb("Rss:")? / 1e3, pss_mb: kb("Pss:")? / 1e3 })
}

/// CPU time that a process has used.
pub(crate) fn cpu(pid: i32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |n: usize| -> anyhow::Result<u64> {
        Ok(fields.get(n).context("a short stat line")?.parse()?)
    };
    Ok(Duration::from_micros(
        (ticks(11)? + ticks(12)?) * 1_000_000 / rustix::param::clock_ticks_per_second(),
    ))
}

/// The vault of a host.
pub(crate) fn vault_of(host: i32) -> Option<i32> {
    parents().into_iter().find(|(_, up)| *up == host).map(|(pid, _)| pid)
}

/// A line in a group in which nobody is addressed.
pub(crate) fn chatter(chat: &str, id: String) -> Said {
    Said {
        id,
        chat: chat.into(),
        sender: "somebody".into(),
        text: "the weather is fine".into(),
        group: true,
        ..Said::default()
    }
}
