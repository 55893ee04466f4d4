//! The channels of this install: each connects by itself, delays nobody, and says how it is.
//!
//! One task looks after each: it connects, tries again, and starts it anew when somebody asks for that or
//! when the settings change of a channel that does not work. How a channel is goes into `status`, into the
//! log and, if people have to know, to the owners, on their other channels, once per change.

use crate::{Host, HostError, blocking, lock};
use nanoclaw_channel::{Channel, ChannelDef, Health, Report, Start, StartError};
use nanoclaw_contract::ids::{Address, ChannelType};
use nanoclaw_contract::time::{Timestamp, iso};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

const AGAIN_FIRST: Duration = Duration::from_secs(2);
const AGAIN_MAX: Duration = Duration::from_secs(300);
/// How often it is looked whether the settings of a channel that does not work changed.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How long a lost connection may take to come back before people are told.
const PATIENCE: Duration = Duration::from_secs(60);
const NAMING_MAX: usize = 4;
/// Changes that are told at once; of a channel that goes on changing, only what lasts, ever longer.
const AT_ONCE: u32 = 4;
const PATIENCE_MAX: Duration = Duration::from_secs(3600);
/// A channel that was as it is for so long does not go on changing.
const CALM: Duration = Duration::from_secs(6 * 3600);
/// How long a channel may take to stop.
const STOP_MAX: Duration = Duration::from_secs(10);

/// Every channel and how it is.
pub(crate) struct Channels {
    all: Mutex<BTreeMap<ChannelType, Entry>>,
    /// One change after the other is told.
    telling: tokio::sync::Mutex<()>,
    /// Platforms that are asked what a chat is called: each holds a thread.
    pub(crate) naming: Semaphore,
}

struct Entry {
    channel: Option<Arc<dyn Channel>>,
    state: State,
    why: Option<String>,
    since: Timestamp,
    /// Counts the changes.
    changes: u64,
    /// How often people were told without a calm between.
    told: u32,
    /// Only a send found it broken: one that goes through shows that it is not.
    by_send: bool,
    restart: Arc<Notify>,
}

/// How a channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Starting,
    /// It hears and can send.
    Up,
    /// It lost its connection and is getting it back.
    Reconnecting,
    /// A person must do something.
    Needs,
    /// It cannot go on as it is set up.
    Broken,
    /// The platform is not reached, and is tried again.
    Unreachable,
    /// Settings are missing.
    NotConfigured,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Reconnecting => "reconnecting",
            Self::Needs => "needs you",
            Self::Broken => "broken",
            Self::Unreachable => "unreachable",
            Self::NotConfigured => "not configured",
        }
    }
}

/// A channel for `status`.
#[derive(Debug, Serialize)]
pub struct ChannelStatus {
    /// Its name.
    pub name: String,
    /// How it is, in a word or two.
    pub state: &'static str,
    /// Since when.
    pub since: String,
    /// Why it is not up, or what somebody must do.
    pub why: Option<String>,
}

impl Channels {
    /// One entry for each name that will be there; a name that is no id, or is there twice, is refused.
    pub(crate) fn new(defs: &[&ChannelDef], now: Timestamp) -> Result<Self, HostError> {
        let mut all = BTreeMap::new();
        for def in defs {
            let entry = Entry {
                channel: None,
                state: State::Starting,
                why: None,
                since: now,
                changes: 0,
                told: 0,
                by_send: false,
                restart: Arc::default(),
            };
            if all.insert(ChannelType::parse(def.name)?, entry).is_some() {
                return Err(HostError::TwoChannels(def.name));
            }
        }
        Ok(Self {
            all: Mutex::new(all),
            telling: Default::default(),
            naming: Semaphore::new(NAMING_MAX),
        })
    }

    pub(crate) fn get(&self, name: &ChannelType) -> Option<Arc<dyn Channel>> {
        lock(&self.all).get(name)?.channel.clone()
    }

    pub(crate) fn is_up(&self, name: &ChannelType) -> bool {
        lock(&self.all).get(name).is_some_and(|e| e.state == State::Up)
    }

    pub(crate) fn status(&self) -> Vec<ChannelStatus> {
        let row = |(name, e): (&ChannelType, &Entry)| ChannelStatus {
            name: name.to_string(),
            state: e.state.word(),
            since: iso(e.since),
            why: e.why.clone(),
        };
        lock(&self.all).iter().map(row).collect()
    }

    /// Asks for a channel to be started anew; false if there is none of this name.
    pub(crate) fn restart(&self, name: &ChannelType) -> bool {
        lock(&self.all).get(name).map(|e| e.restart.notify_one()).is_some()
    }

    /// Puts a channel in its place, or takes it from there; the one that was there.
    fn put(&self, name: &ChannelType, new: Option<Arc<dyn Channel>>) -> Option<Arc<dyn Channel>> {
        std::mem::replace(&mut lock(&self.all).get_mut(name)?.channel, new)
    }

    pub(crate) async fn stop(&self) {
        let names: Vec<_> = lock(&self.all).keys().cloned().collect();
        for name in names {
            self.restart(&name);
            self.end(&name).await;
        }
    }

    /// Takes a channel out and stops it; one that does not end is let go of.
    async fn end(&self, name: &ChannelType) {
        if let Some(channel) = self.put(name, None)
            && tokio::time::timeout(STOP_MAX, channel.stop()).await.is_err()
        {
            tracing::warn!(channel = %name, "the channel did not stop in time");
        }
    }

    /// How long a state must last before people are told.
    fn patience(&self, name: &ChannelType, state: State) -> Duration {
        let told = lock(&self.all).get(name).map_or(0, |e| e.told);
        let lasting = match (state, told.saturating_sub(AT_ONCE)) {
            (State::Reconnecting | State::Unreachable, n) => n,
            (_, 0) => return Duration::ZERO,
            (_, n) => n,
        };
        (PATIENCE * 2u32.saturating_pow(lasting)).min(PATIENCE_MAX)
    }
}

/// What the channel tells of itself. It may tell from a thread of its own.
pub(crate) fn report(host: &Arc<Host>, name: &'static str) -> Report {
    let (host, runtime) = (Arc::downgrade(host), tokio::runtime::Handle::current());
    Arc::new(move |health| {
        let (Some(host), Ok(name)) = (host.upgrade(), ChannelType::parse(name)) else { return };
        let _entered = runtime.enter();
        match health {
            Health::Up => host.channel_is(&name, State::Up, None),
            Health::Reconnecting { why } => host.channel_is(&name, State::Reconnecting, Some(why)),
            Health::Needs { what } => host.channel_is(&name, State::Needs, Some(what)),
            Health::Broken { why } => host.channel_is(&name, State::Broken, Some(why)),
        }
    })
}

/// Looks after a channel until the host stops.
pub(crate) async fn keep(host: Arc<Host>, def: &'static ChannelDef, start: Start) {
    let Ok(name) = ChannelType::parse(def.name) else { return };
    let restart = lock(&host.channels.all).get(&name).map(|e| e.restart.clone());
    let Some(restart) = restart else { return };
    let mut wait = AGAIN_FIRST;
    while !host.stopping() {
        let set = settings(def, &start).await;
        let started = tokio::select! {
            started = (def.start)(start.clone()) => Some(started),
            () = restart.notified() => None,
        };
        if let Some(started) = started {
            if settle(&host, def, &start, &name, started).await {
                let again = tokio::time::timeout(wait, restart.notified()).await;
                wait = (wait * 2).min(AGAIN_MAX);
                if again.is_err() {
                    continue;
                }
            } else {
                changed(&host, def, &start, &name, &set, &restart).await;
            }
        }
        wait = AGAIN_FIRST;
        host.channels.end(&name).await;
        host.channel_is(&name, State::Starting, None);
    }
}

/// Notes how a start ended; true if it is to be tried again.
async fn settle(
    host: &Arc<Host>,
    def: &ChannelDef,
    start: &Start,
    name: &ChannelType,
    started: nanoclaw_channel::Started,
) -> bool {
    match started {
        Ok(channel) if host.stopping() => channel.stop().await,
        Ok(channel) => {
            host.channels.put(name, Some(channel));
            let said = lock(&host.channels.all).get(name).map(|e| e.state);
            // What it said of itself while it started still holds.
            if matches!(said, Some(State::Starting | State::Unreachable)) {
                host.channel_is(name, State::Up, None);
            } else {
                host.wake_waiting_for(name).await;
            }
        }
        Err(StartError::NotConfigured(why)) => {
            let missing = missing(def, start).await.unwrap_or(why);
            host.channel_is(name, State::NotConfigured, Some(missing));
        }
        Err(StartError::Broken(why)) => host.channel_is(name, State::Broken, Some(why)),
        Err(StartError::Unreachable(why)) => {
            host.channel_is(name, State::Unreachable, Some(why));
            return true;
        }
    }
    false
}

/// Waits until somebody asks for another start, or the settings changed of a channel that does not work.
async fn changed(
    host: &Arc<Host>,
    def: &'static ChannelDef,
    start: &Start,
    name: &ChannelType,
    set: &[Option<String>],
    restart: &Notify,
) {
    while tokio::time::timeout(LOOK_EVERY, restart.notified()).await.is_err() && !host.stopping() {
        let state = lock(&host.channels.all).get(name).map(|e| e.state);
        let works = matches!(state, Some(State::Up | State::Reconnecting));
        if !works && settings(def, start).await != set {
            return;
        }
    }
}

/// What is set for a channel now. Settings may be read from a file.
async fn settings(def: &'static ChannelDef, start: &Start) -> Vec<Option<String>> {
    let setting = start.setting.clone();
    let read = move || Ok(def.settings.iter().map(|s| setting(s.name)).collect());
    blocking(read).await.unwrap_or_default()
}

/// The settings that a channel cannot do without and that are not there.
async fn missing(def: &ChannelDef, start: &Start) -> Option<String> {
    let needed: Vec<_> = def.settings.iter().filter(|s| s.required).copied().collect();
    let setting = start.setting.clone();
    let absent = move || Ok(needed.into_iter().filter(|s| setting(s.name).is_none()).collect());
    let absent: Vec<_> = blocking(absent).await.ok()?;
    let names: Vec<_> = absent.iter().map(|s| format!("{} ({})", s.name, s.what)).collect();
    (!names.is_empty()).then(|| format!("set {} in .env", names.join(" and ")))
}

impl Host {
    /// Notes how a channel is, and has people told if they must know.
    pub(crate) fn channel_is(
        self: &Arc<Self>,
        name: &ChannelType,
        state: State,
        why: Option<String>,
    ) {
        let changes = {
            let mut all = lock(&self.channels.all);
            let Some(entry) = all.get_mut(name) else { return };
            if entry.state == state && entry.why == why {
                return;
            }
            let is_new = entry.state != state;
            (entry.state, entry.why, entry.by_send) = (state, why.clone(), false);
            if is_new {
                let now = self.clock.now();
                if now - CALM > entry.since {
                    entry.told = 0;
                }
                entry.since = now;
                entry.changes += 1;
            }
            is_new.then_some(entry.changes)
        };
        let why = why.unwrap_or_default();
        match state {
            State::Broken | State::Needs => {
                tracing::error!(channel = %name, state = state.word(), why, "channel");
            }
            State::Reconnecting | State::Unreachable => {
                tracing::warn!(channel = %name, state = state.word(), why, "channel");
            }
            _ => tracing::info!(channel = %name, state = state.word(), why, "channel"),
        }
        let Some(changes) = changes.filter(|_| !self.stopping()) else { return };
        let (host, name) = (self.clone(), name.clone());
        tokio::spawn(async move {
            if state == State::Up {
                host.wake_waiting_for(&name).await;
                host.tell_of_others(&name);
            }
            host.tell_of(&name, state, &why, changes).await;
        });
    }

    /// A send found the channel broken.
    pub(crate) fn found_broken(self: &Arc<Self>, name: &ChannelType, why: &str) {
        let said = |e: &Entry| e.state == State::Broken && !e.by_send;
        if lock(&self.channels.all).get(name).is_some_and(said) {
            return;
        }
        self.channel_is(name, State::Broken, Some(why.to_owned()));
        if let Some(entry) = lock(&self.channels.all).get_mut(name) {
            entry.by_send = entry.state == State::Broken;
        }
    }

    /// A send went through.
    pub(crate) fn found_well(self: &Arc<Self>, name: &ChannelType) {
        if lock(&self.channels.all).get(name).is_some_and(|e| e.by_send) {
            self.channel_is(name, State::Up, None);
        }
    }

    /// Tells the owners, unless they know it already: what they were told last is on disk.
    async fn tell_of(self: &Arc<Self>, name: &ChannelType, state: State, why: &str, changes: u64) {
        if state == State::Starting {
            return;
        }
        tokio::time::sleep(self.channels.patience(name, state)).await;
        let _in_turn = self.channels.telling.lock().await;
        if lock(&self.channels.all).get(name).is_none_or(|e| e.changes != changes) {
            return;
        }
        let text = match state {
            State::Up => format!("✅ The channel {name} works again."),
            State::Needs => format!(
                "📱 The channel {name} needs you:\n{why}\n\n`ncl channels` shows what it needs now."
            ),
            State::Broken => format!(
                "⚠️ The channel {name} does not work: {why}\n\nMessages for it are kept. When it is mended: \
                 `ncl channels restart {name}`."
            ),
            _ => format!(
                "⚠️ The channel {name} is not connected: {why}\n\nIt is being tried; messages for it are kept."
            ),
        };
        let (host, name) = (self.clone(), name.clone());
        let told = blocking(move || {
            let key = format!("channel_told:{name}");
            let before = host.central.setting(&key)?;
            let now = (!matches!(state, State::Up | State::NotConfigured)).then_some(state.word());
            if before.as_deref() == now {
                return Ok(());
            }
            if state != State::NotConfigured {
                let chats = host.owner_chats(Some(&name))?;
                if chats.is_empty() {
                    tracing::warn!(channel = %name, "no owner can be told on another channel");
                    return Ok(());
                }
                let at = host.clock.now().as_millisecond();
                for to in chats {
                    host.say(
                        &format!("channel:{name}:{at}:{}", to.channel_type),
                        &to,
                        text.clone(),
                    )?;
                }
            }
            if let Some(entry) = lock(&host.channels.all).get_mut(&name) {
                entry.told = entry.told.saturating_add(1);
            }
            Ok(host.central.put_setting(&key, now)?)
        });
        if let Err(e) = told.await {
            tracing::error!(error = %e, "the owner was not told");
        }
    }

    /// A channel is up: what nobody could be told before can be told on it.
    fn tell_of_others(self: &Arc<Self>, up: &ChannelType) {
        for (name, e) in lock(&self.channels.all).iter().filter(|(name, _)| *name != up) {
            if matches!(e.state, State::Starting | State::Up | State::NotConfigured) {
                continue;
            }
            let (host, name, state, changes) = (self.clone(), name.clone(), e.state, e.changes);
            let why = e.why.clone().unwrap_or_default();
            tokio::spawn(async move { host.tell_of(&name, state, &why, changes).await });
        }
    }

    /// Where the owners are reached, under all of their identities, on channels that are up and are not this
    /// one. Blocks.
    fn owner_chats(self: &Arc<Self>, but: Option<&ChannelType>) -> Result<Vec<Address>, HostError> {
        let mut chats = Vec::new();
        for owner in self.central.owners()? {
            for user in self.central.identities_of(&owner)? {
                let channel =
                    user.as_str().split(':').next().and_then(|c| ChannelType::parse(c).ok());
                let good = |c: &ChannelType| Some(c) != but && self.channels.is_up(c);
                if channel.as_ref().is_some_and(good)
                    && let Some(to) = self.dm(&user)?.filter(|to| !chats.contains(to))
                {
                    chats.push(to);
                }
            }
        }
        Ok(chats)
    }

    /// A channel is up: what waited for it goes out now, not at its next retry.
    async fn wake_waiting_for(self: &Arc<Self>, channel: &ChannelType) {
        let (host, channel) = (self.clone(), channel.clone());
        let waiting = blocking(move || {
            host.central.retry_mail_now(&channel, host.clock.now())?;
            host.post.changed.notify_one();
            Ok(host.central.retry_now(&channel, host.clock.now())?)
        })
        .await;
        match waiting {
            Ok(sessions) => {
                for id in sessions {
                    self.wake(&id).dirty();
                }
            }
            Err(e) => tracing::error!(error = %e, "waiting messages were not looked up"),
        }
    }
}
