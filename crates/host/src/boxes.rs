//! Changes of an agent's box: packages, servers of tools, and its boxes started anew.
//!
//! ```text
//!  asked ──▶ written down ──▶ made ready (minutes) ──▶ in effect ──▶ boxes anew ──▶ seen alive ──▶ over
//!                 │                  │ failed                            │ not alive
//!                 └──────────────────┴── nothing was changed             └── taken back, boxes anew
//! ```
//!
//! One change of an agent at a time, in the order asked; other agents are not waited for. What is being
//! made ready is written by the driver beside what is in use, so that nothing notices until it is in
//! effect. A host that dies on the way leaves the row in `builds`, and the next one goes on from it.

pub(crate) use crate::servers::McpServer;
use crate::{Host, HostError, blocking, fault, lock, servers};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use nanoclaw_central::{AgentConfig, AgentTools, BoxParts, Build};
use nanoclaw_contract::content::Chat;
use nanoclaw_contract::ids::{Address, AgentId, ChannelType, MessageId, PlatformId, SessionId};
use nanoclaw_contract::message::{AGENT_CHANNEL, InKind, NewIn, Trigger};
use nanoclaw_driver::provide::{Provided, Wanted};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// How long packages may take.
const BUILD_MAX: Duration = Duration::from_secs(20 * 60);
/// How long a new box may take to show a pulse, how often it is looked for, and how long it must keep up.
const ALIVE_WITHIN: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(250);
const ALIVE_FOR: Duration = Duration::from_secs(2);
/// How long a box may wait for its turn while others have theirs.
const LINE_MAX: Duration = Duration::from_secs(15 * 60);
/// One failed start may be an accident.
const FAILED_STARTS: u32 = 2;

/// Changes under way, by number, and whose turn it is: one of an agent at a time.
#[derive(Default)]
pub(crate) struct Changes {
    turns: Mutex<BTreeMap<AgentId, Arc<tokio::sync::Mutex<()>>>>,
    running: Mutex<BTreeMap<i64, Running>>,
}

/// A change under way. Who asks for the same once more gets the same outcome.
struct Running {
    build: Build,
    outcome: Outcome,
    /// Somebody waits for it.
    awaited: Arc<AtomicBool>,
}

type Outcome = Shared<BoxFuture<'static, Result<String, String>>>;

/// What changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub(crate) enum Change {
    /// These packages come in addition.
    Packages { apt: Vec<String>, npm: Vec<String> },
    /// This server comes in addition, or in place of one of its name.
    Server { name: String, entry: Value },
    /// These packages go, and this server.
    Gone { apt: Vec<String>, npm: Vec<String>, server: Option<String> },
    /// Nothing: what is configured is made ready.
    CatchUp,
    /// Nothing: what is configured is made ready anew, whatever is there. The new boxes are told this.
    Anew { message: Option<String> },
}

/// Goes on with what an earlier host left. Blocks.
pub(crate) fn resume(host: &Arc<Host>) -> Result<(), HostError> {
    for build in host.central.builds()? {
        let (host, agent, session) = (host.clone(), build.agent.clone(), build.session.clone());
        let id = build.id;
        let (outcome, awaited) = begin(&host, build);
        tokio::spawn(async move {
            let text = match outcome.await {
                Ok(done) => done,
                Err(_) if host.stopping() => return,
                Err(why) => format!("⚠️ {why}"),
            };
            // A request that was approved is taken up again by whoever approved it, and told there.
            if awaited.load(Ordering::Acquire) {
                return;
            }
            match session {
                Some(session) => note(&host, &session, &format!("build-{id}-end"), text).await,
                None => host.notify_owner(&format!("build:{id}"), &format!("{agent}: {text}")),
            }
        });
    }
    Ok(())
}

/// Changes an agent's boxes; returns when they have it, or why they do not. What a session of the agent
/// asked for is proven by its own next box.
pub(crate) async fn carry_out(
    host: &Arc<Host>,
    agent: &AgentId,
    session: Option<&SessionId>,
    change: Change,
) -> Result<String, String> {
    let text = serde_json::to_string(&change).map_err(|e| e.to_string())?;
    let same = |running: &&Running| {
        let b = &running.build;
        b.agent == *agent && b.session.as_ref() == session && b.change == text
    };
    let known = lock(&host.changes.running).values().find(same).map(|running| {
        running.awaited.store(true, Ordering::Release);
        running.outcome.clone()
    });
    if let Some(outcome) = known {
        return outcome.await;
    }
    let (h, a, s) = (host.clone(), agent.clone(), session.cloned());
    let build = blocking(move || {
        let id = h.central.begin_build(&a, s.as_ref(), &text, h.clock.now())?;
        Ok(Build { id, agent: a, session: s, change: text, before: None })
    });
    let build = build.await.map_err(|e| e.to_string())?;
    fault::point("host.build.begun");
    begin(host, build).0.await
}

/// Starts a change as a task of its own: nobody who waits for it can cut it short.
fn begin(host: &Arc<Host>, build: Build) -> (Outcome, Arc<AtomicBool>) {
    // Held until it is known here: its own end takes it out again.
    let mut all = lock(&host.changes.running);
    let task = tokio::spawn(in_turn(host.clone(), build.clone()));
    let outcome = async move { task.await.unwrap_or_else(|e| Err(format!("it failed: {e}"))) };
    let (outcome, awaited) = (outcome.boxed().shared(), Arc::<AtomicBool>::default());
    let running = Running { build, outcome: outcome.clone(), awaited: awaited.clone() };
    all.insert(running.build.id, running);
    (outcome, awaited)
}

/// Waits for the agent's turn, does the change and ends it. A host that stops leaves it to the next.
async fn in_turn(host: Arc<Host>, build: Build) -> Result<String, String> {
    let host = &host;
    let turn = lock(&host.changes.turns).entry(build.agent.clone()).or_default().clone();
    let _turn = turn.lock().await;
    let (id, agent) = (build.id, build.agent.clone());
    host.trace("box changes", None, build.session.as_ref(), None, &build.change);
    let done = steps(host, build).await;
    if host.stopping() {
        return Err("NanoClaw is stopping; it goes on with this when it starts again".into());
    }
    let h = host.clone();
    let ended = blocking(move || Ok(h.central.end_build(id)?)).await;
    lock(&host.changes.running).remove(&id);
    fault::point("host.build.ended");
    let text = match &done {
        Ok(text) => text.clone(),
        Err(e) => e.to_string(),
    };
    tracing::info!(%agent, text, "box changed");
    ended.map_err(|e| e.to_string())?;
    done
}

async fn steps(host: &Arc<Host>, mut build: Build) -> Result<String, String> {
    let failed = |e: HostError| e.to_string();
    let change: Change = serde_json::from_str(&build.change).map_err(|e| e.to_string())?;
    let (h, agent) = (host.clone(), build.agent.clone());
    let now = blocking(move || {
        let config = h.central.config(&agent)?.unwrap_or_default();
        Ok((config, h.central.box_parts(&agent)?))
    });
    let (config, parts) = now.await.map_err(failed)?;
    if build.before.is_none() {
        let mut after = change.after(&parts)?;
        let mut wanted = wanted(host, &build.agent, &config, &after)?;
        let key = key_of(host, &wanted);
        let anew = matches!(change, Change::Anew { .. });
        if anew {
            wanted.key = format!("{}-{}", wanted.key, build.id);
        }
        let ready = parts.tools.as_ref().map_or(wanted.is_empty(), |tools| tools.key == key);
        let ready = ready && !anew;
        if after == parts && ready {
            return Ok(format!("Nothing had to be changed: {} already.", change.are()));
        }
        if !ready {
            after.tools = None;
        }
        if !ready && !wanted.is_empty() {
            let provided = provide(host, &build, &wanted).await?;
            let provided = serde_json::to_string(&provided).map_err(|e| e.to_string())?;
            after.tools = Some(AgentTools { key, provided });
        }
        fault::point("host.build.ready");
        let (h, id, agent) = (host.clone(), build.id, build.agent.clone());
        let applied = blocking(move || {
            h.central.apply_build(id, &agent, &after, h.clock.now())?;
            Ok(h.central.build(id)?)
        });
        build = applied.await.map_err(failed)?.ok_or("the change is gone")?;
        fault::point("host.build.applied");
    }
    match prove(host, &build, &change).await {
        Ok(()) => {
            tidy(host, &build.agent, &config).await;
            Ok(format!("Done: {}.", change.are()))
        }
        Err(why) if host.stopping() => Err(why),
        Err(why) => {
            let (h, back) = (host.clone(), build.clone());
            blocking(move || Ok(h.central.revert_build(&back, h.clock.now())?))
                .await
                .map_err(failed)?;
            host.trace("box changed back", None, build.session.as_ref(), None, &why);
            start_anew(host, &build, None).await.map_err(failed)?;
            Err(format!(
                "The new box did not come up ({why}). Everything is as it was before; nothing was installed."
            ))
        }
    }
}

impl Change {
    pub(crate) fn server(server: McpServer) -> Result<Self, String> {
        servers::judge(&server)?;
        Ok(Self::Server { entry: servers::entry(&server), name: server.name })
    }

    /// The set-up with this change.
    fn after(&self, before: &BoxParts) -> Result<BoxParts, String> {
        let mut after = before.clone();
        match self {
            Self::Packages { apt, npm } => {
                for (list, more) in [(&mut after.apt, apt), (&mut after.npm, npm)] {
                    let mut names = names_of(list);
                    names.extend(more.iter().filter(|n| !list_has(list, n)).cloned());
                    *list = names.into();
                }
            }
            Self::Server { name, entry } => {
                let servers = after.mcp_servers.as_object_mut();
                let servers = servers.ok_or("the agent's list of servers is malformed")?;
                servers.insert(name.clone(), entry.clone());
            }
            Self::Gone { apt, npm, server } => {
                for (list, gone) in [(&mut after.apt, apt), (&mut after.npm, npm)] {
                    let mut names = names_of(list);
                    names.retain(|name| !gone.contains(name));
                    *list = names.into();
                }
                if let (Some(name), Some(all)) = (server, after.mcp_servers.as_object_mut()) {
                    all.shift_remove(name);
                }
            }
            Self::CatchUp | Self::Anew { .. } => {}
        }
        Ok(after)
    }

    /// What it takes away that is not there.
    pub(crate) fn missing<'a>(&'a self, parts: &BoxParts) -> Option<&'a str> {
        let Self::Gone { apt, npm, server } = self else { return None };
        let of = |names: &'a [String], list: &Value| names.iter().find(|n| !list_has(list, n));
        let server = server.as_ref().filter(|n| parts.mcp_servers.get(n.as_str()).is_none());
        of(apt, &parts.apt).or(of(npm, &parts.npm)).or(server).map(String::as_str)
    }

    /// What is so when it is done.
    fn are(&self) -> String {
        let all = |apt: &[String], npm: &[String]| {
            let names = [apt, npm].concat();
            format!("{} {}", names.join(", "), if names.len() == 1 { "is" } else { "are" })
        };
        match self {
            Self::Packages { apt, npm } => format!("{} there", all(apt, npm)),
            Self::Server { name, .. } => format!("the tool server {name} is there"),
            Self::Gone { server: Some(name), .. } => format!("the tool server {name} is gone"),
            Self::Gone { apt, npm, .. } => format!("{} gone", all(apt, npm)),
            Self::CatchUp => "the configured packages are there".into(),
            Self::Anew { .. } => "its packages are made anew".into(),
        }
    }
}

fn names_of(list: &Value) -> Vec<String> {
    let names = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    names.map(str::to_owned).collect()
}

fn list_has(list: &Value, name: &str) -> bool {
    list.as_array().is_some_and(|all| all.iter().any(|one| one == name))
}

/// What the driver is asked for.
fn wanted(
    host: &Host,
    agent: &AgentId,
    config: &AgentConfig,
    parts: &BoxParts,
) -> Result<Wanted, String> {
    let sorted = |list: &Value| {
        let mut names = names_of(list);
        names.sort();
        names.dedup();
        names
    };
    let (apt, npm) = (sorted(&parts.apt), sorted(&parts.npm));
    Wanted::judge(&apt, &npm)?;
    let image = config.image_tag.clone();
    let all = serde_json::json!([host.driver.name(), agent, image, apt, npm]).to_string();
    let key = Sha256::digest(all).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Ok(Wanted {
        install: host.config.install.clone(),
        agent: agent.clone(),
        apt,
        npm,
        image,
        folder: folder(host, agent),
        user: host.config.box_user,
        key,
    })
}

/// The agent's own folder of the host; no box sees it as a whole.
fn folder(host: &Host, agent: &AgentId) -> PathBuf {
    host.config.data.join("agents").join(agent.as_str())
}

fn key_of(host: &Host, wanted: &Wanted) -> String {
    format!("{}:{}", host.driver.name(), wanted.key)
}

/// Where the words of a build go.
fn log_of(host: &Host, agent: &AgentId) -> PathBuf {
    host.config.data.join("logs").join(format!("build-{agent}.log"))
}

/// Makes packages ready, with every line in a log and a word in the chat that waits for them.
async fn provide(host: &Arc<Host>, build: &Build, wanted: &Wanted) -> Result<Provided, String> {
    if !wanted.agent.is_safe_name() {
        return Err(format!("{} cannot name a folder", wanted.agent));
    }
    let path = log_of(host, &build.agent);
    let (dir, log) = (wanted.folder.clone(), path.clone());
    let open = blocking(move || {
        let io = |e| HostError::Io(format!("write {}", log.display()), e);
        std::fs::create_dir_all(&dir).map_err(io)?;
        std::fs::File::create(&log).map_err(io)
    });
    let mut log = open.await.map_err(|e| e.to_string())?;
    let names = wanted.apt.iter().chain(&wanted.npm).map(String::as_str).collect::<Vec<_>>();
    tell_chat(
        host,
        build,
        &format!("Installing {}. I go on as before meanwhile.", names.join(", ")),
    )
    .await;
    // One line is a write into the page cache: no reason to change threads.
    let mut progress = |line: &str| drop(writeln!(log, "{line}"));
    let provided = host.driver.provide(wanted, &mut progress);
    match tokio::time::timeout(BUILD_MAX, provided).await {
        Ok(Ok(provided)) => Ok(provided),
        Ok(Err(e)) => Err(format!(
            "Installing failed: {e}. Nothing was changed. All of it: {}",
            path.display()
        )),
        Err(_) => Err(format!("Installing took more than {} minutes.", BUILD_MAX.as_secs() / 60)),
    }
}

async fn tell_chat(host: &Arc<Host>, build: &Build, text: &str) {
    let Some(id) = build.session.clone() else { return };
    let h = host.clone();
    if let Ok(Some(session)) = blocking(move || Ok(h.central.session(&id)?)).await {
        host.notify_chat(&session, &format!("build-{}", build.id), text).await;
    }
}

/// What is not used any more goes.
async fn tidy(host: &Arc<Host>, agent: &AgentId, config: &AgentConfig) {
    let (h, a) = (host.clone(), agent.clone());
    let Ok(parts) = blocking(move || Ok(h.central.box_parts(&a)?)).await else { return };
    let Ok(wanted) = wanted(host, agent, config, &parts) else { return };
    let keep = parts.tools.and_then(|tools| serde_json::from_str(&tools.provided).ok());
    if wanted.folder.exists()
        && let Err(e) = host.driver.tidy(&wanted, &keep.unwrap_or_default()).await
    {
        tracing::warn!(%agent, error = %e, "earlier packages were not removed");
    }
}

/// Starts the boxes anew and waits until the one that asked shows that it lives.
async fn prove(host: &Arc<Host>, build: &Build, change: &Change) -> Result<(), String> {
    let failed = |e: HostError| e.to_string();
    let message = match change {
        Change::Anew { message } => message.as_deref(),
        Change::Packages { .. } | Change::Server { .. } | Change::Gone { .. } | Change::CatchUp => {
            None
        }
    };
    let Some(session) = build.session.clone() else {
        return start_anew(host, build, message).await.map_err(failed);
    };
    let old = box_of(host, &session).await.map_err(failed)?;
    let text = format!(
        "Your box was started anew with an approved change: {} now. Check that it works and \
         say so. If you are told as well that it was taken back, it is not there.",
        change.are()
    );
    note(host, &session, &format!("build-{}", build.id), text).await;
    start_anew(host, build, message).await.map_err(failed)?;
    let (mut until, asked) = (Instant::now() + ALIVE_WITHIN, Instant::now());
    let mut alive: Option<(String, Instant)> = None;
    loop {
        match look(host, &session, old.as_deref()).await.map_err(failed)? {
            Look::Alive(name) => match &alive {
                Some((same, since)) if *same == name => {
                    if since.elapsed() >= ALIVE_FOR {
                        return Ok(());
                    }
                }
                _ => alive = Some((name, Instant::now())),
            },
            Look::Failed(why) => return Err(why),
            Look::NotYet => alive = None,
        }
        if host.stopping() {
            return Err("NanoClaw is stopping".into());
        }
        if host.slots.wanted() > 0 && asked.elapsed() < LINE_MAX {
            until = Instant::now() + ALIVE_WITHIN;
        }
        if Instant::now() > until {
            return Err(format!("it showed no sign of life for {} s", ALIVE_WITHIN.as_secs()));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What is seen of the box that asked.
enum Look {
    NotYet,
    Alive(String),
    Failed(String),
}

async fn look(host: &Arc<Host>, session: &SessionId, old: Option<&str>) -> Result<Look, HostError> {
    let (h, id, old) = (host.clone(), session.clone(), old.map(str::to_owned));
    blocking(move || {
        let Some(session) = h.central.session(&id)? else {
            return Ok(Look::Failed("its session is gone".into()));
        };
        if let Some((why, _)) = h.central.quarantined(&id)? {
            return Ok(Look::Failed(why));
        }
        if let Some(failure) = h.central.wake_failure(&id)?.filter(|f| f.count >= FAILED_STARTS) {
            return Ok(Look::Failed(failure.last_error));
        }
        let found = h.central.boxes()?.into_iter().find(|b| b.session == id);
        let Some(name) = found.map(|b| b.name).filter(|name| Some(name) != old.as_ref()) else {
            return Ok(Look::NotYet);
        };
        // It was removed before this box started.
        let pulse = h.files(&session)?.dir.writable().join(".heartbeat");
        Ok(if pulse.symlink_metadata().is_ok() { Look::Alive(name) } else { Look::NotYet })
    })
    .await
}

async fn box_of(host: &Arc<Host>, session: &SessionId) -> Result<Option<String>, HostError> {
    let (h, id) = (host.clone(), session.clone());
    blocking(move || Ok(h.central.boxes()?.into_iter().find(|b| b.session == id).map(|b| b.name)))
        .await
}

/// Every box of the agent, and the one that asked in any case, without a wait for an earlier failure.
async fn start_anew(
    host: &Arc<Host>,
    build: &Build,
    message: Option<&str>,
) -> Result<(), HostError> {
    if let Some(session) = build.session.clone() {
        let h = host.clone();
        blocking(move || Ok(h.central.wake_succeeded(&session)?)).await?;
    }
    restart_agent(host, &build.agent, message).await?;
    if let Some(session) = &build.session {
        host.wake(session);
    }
    Ok(())
}

/// Ends the boxes of an agent that run; returns how many. With a message each of their sessions starts
/// again at once and is told it; without, they start when there is work. Their unfinished turns begin anew.
pub(crate) async fn restart_agent(
    host: &Arc<Host>,
    agent: &AgentId,
    message: Option<&str>,
) -> Result<usize, HostError> {
    let (h, a) = (host.clone(), agent.clone());
    let running = blocking(move || {
        // One that is just starting was planned before and has no row yet.
        let mut running = h.slots.holders();
        running.extend(h.central.boxes()?.into_iter().map(|found| found.session));
        let mut its = Vec::new();
        for id in running {
            if h.central.session(&id)?.is_some_and(|s| s.agent == a && s.active) {
                its.push(id);
            }
        }
        Ok(its)
    })
    .await?;
    for session in &running {
        if let Some(text) = message {
            let key = format!("restart-{}", host.clock.now().as_millisecond());
            note(host, session, &key, text.to_owned()).await;
        }
        host.wake(session).stop();
    }
    Ok(running.len())
}

/// A note that only the next box reads, and that starts it. The same key again is the same note.
async fn note(host: &Arc<Host>, session: &SessionId, key: &str, text: String) {
    let (h, id, key) = (host.clone(), session.clone(), format!("note-{key}"));
    let written = blocking(move || {
        let Some(session) = h.central.session(&id)? else { return Ok(()) };
        let row = NewIn {
            id: MessageId::parse(key)?,
            kind: InKind::Chat,
            timestamp: h.clock.now(),
            process_after: None,
            recurrence: None,
            trigger: Trigger::Wake,
            reply: Some(Address {
                channel_type: ChannelType::parse(AGENT_CHANNEL)?,
                platform_id: PlatformId::parse(session.agent.as_str())?,
                thread_id: None,
            }),
            content: Chat {
                text,
                sender: "system".into(),
                sender_id: Some("system".into()),
                ..Chat::default()
            }
            .to_json(),
            source: None,
            on_wake: true,
        };
        h.files(&session)?.push(row).map(drop)
    });
    if let Err(e) = written.await {
        tracing::error!(%session, error = %e, "a note was not written");
    }
}

/// The packages that a box of this agent gets now. If others are configured, for instance because another
/// driver made these, they are made ready meanwhile and the boxes start anew then. Blocks.
pub(crate) fn tools(
    host: &Arc<Host>,
    agent: &AgentId,
    config: &AgentConfig,
) -> Result<Provided, HostError> {
    let parts = host.central.box_parts(agent)?;
    let wanted = wanted(host, agent, config, &parts);
    let key = wanted.as_ref().map(|wanted| key_of(host, wanted));
    let ours = parts.tools.filter(|t| t.key.split(':').next() == Some(host.driver.name()));
    let provided = ours.as_ref().and_then(|t| serde_json::from_str::<Provided>(&t.provided).ok());
    let whole = |p: &Provided| p.mounts.iter().all(|mount| mount.source.exists());
    let provided = provided.filter(whole);
    let current = match (&key, &ours) {
        (Ok(key), Some(tools)) => tools.key == *key && provided.is_some(),
        (Ok(_), None) => wanted.as_ref().is_ok_and(Wanted::is_empty),
        (Err(_), _) => false,
    };
    if !current {
        let (host, agent) = (host.clone(), agent.clone());
        tokio::spawn(async move {
            if let Err(why) = catch_up(&host, &agent).await {
                host.notify_owner(
                    &format!("packages:{agent}:{why}"),
                    &format!("⚠️ The packages of {agent} are not there. {why}"),
                );
            }
        });
    }
    Ok(provided.unwrap_or_default())
}

async fn catch_up(host: &Arc<Host>, agent: &AgentId) -> Result<(), String> {
    let (h, a) = (host.clone(), agent.clone());
    let under_way = blocking(move || Ok(h.central.builds()?.iter().any(|b| b.agent == a)));
    if under_way.await.map_err(|e| e.to_string())? {
        return Ok(());
    }
    carry_out(host, agent, None, Change::CatchUp).await.map(drop)
}

#[cfg(test)]
mod tests;
