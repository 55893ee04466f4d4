//! The channels of this install: each connects by itself and delays nobody.

use crate::{Host, lock};
use nanoclaw_channel::{Channel, ChannelDef, Health, Report, Start, StartError};
use nanoclaw_contract::ids::ChannelType;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const AGAIN_FIRST: Duration = Duration::from_secs(2);
const AGAIN_MAX: Duration = Duration::from_secs(300);

/// Every channel and where it stands.
#[derive(Default)]
pub(crate) struct Channels {
    all: Mutex<BTreeMap<ChannelType, State>>,
}

enum State {
    Starting,
    Up(Arc<dyn Channel>),
    /// It is up, but its last send found it broken.
    Broken(Arc<dyn Channel>, String),
    Down(String),
}

/// A channel for `status`.
#[derive(Debug, Serialize)]
pub struct ChannelStatus {
    /// Its name.
    pub name: String,
    /// `up`, `starting`, `down`, `broken`.
    pub state: &'static str,
    /// Why it is not up.
    pub why: Option<String>,
}

impl Channels {
    pub(crate) fn get(&self, name: &ChannelType) -> Option<Arc<dyn Channel>> {
        match lock(&self.all).get(name)? {
            State::Up(channel) | State::Broken(channel, _) => Some(channel.clone()),
            State::Starting | State::Down(_) => None,
        }
    }

    pub(crate) fn broken(&self, name: &ChannelType, why: &str) {
        let mut all = lock(&self.all);
        if let Some(State::Up(channel)) = all.get(name) {
            tracing::error!(channel = %name, why, "channel broken");
            let broken = State::Broken(channel.clone(), why.to_owned());
            all.insert(name.clone(), broken);
        }
    }

    pub(crate) fn status(&self) -> Vec<ChannelStatus> {
        lock(&self.all)
            .iter()
            .map(|(name, state)| {
                let (state, why) = match state {
                    State::Starting => ("starting", None),
                    State::Up(_) => ("up", None),
                    State::Broken(_, why) => ("broken", Some(why.clone())),
                    State::Down(why) => ("down", Some(why.clone())),
                };
                ChannelStatus { name: name.to_string(), state, why }
            })
            .collect()
    }

    fn set(&self, name: &ChannelType, state: State) {
        lock(&self.all).insert(name.clone(), state);
    }

    pub(crate) async fn stop(&self) {
        let all = std::mem::take(&mut *lock(&self.all));
        for state in all.into_values() {
            if let State::Up(channel) | State::Broken(channel, _) = state {
                channel.stop().await;
            }
        }
    }
}

/// What the channel tells of itself while it runs.
pub(crate) fn report(host: &Arc<Host>, name: &'static str) -> Report {
    let host = Arc::downgrade(host);
    Arc::new(move |health| {
        if let (Some(host), Ok(name)) = (host.upgrade(), ChannelType::parse(name)) {
            host.channel_health(&name, health);
        }
    })
}

/// Connects a channel, again and again, until it is up or cannot be.
pub(crate) async fn connect(host: Arc<Host>, def: &'static ChannelDef, start: Start) {
    let Ok(name) = ChannelType::parse(def.name) else { return };
    let mut wait = AGAIN_FIRST;
    loop {
        host.channels.set(&name, State::Starting);
        match (def.start)(start.clone()).await {
            Ok(channel) => {
                tracing::info!(channel = %name, "channel up");
                host.channels.set(&name, State::Up(channel));
                host.wake_waiting_for(&name).await;
                return;
            }
            Err(StartError::NotConfigured(why)) => {
                tracing::info!(channel = %name, why, "channel not configured");
                return host.channels.set(&name, State::Down(why));
            }
            Err(StartError::Broken(why)) => {
                tracing::error!(channel = %name, why, "channel cannot start");
                host.notify_owner(
                    &format!("channel-{name}"),
                    &format!("⚠️ The channel {name} cannot start: {why}"),
                );
                return host.channels.set(&name, State::Down(why));
            }
            Err(StartError::Unreachable(why)) => {
                tracing::warn!(channel = %name, why, "channel unreachable, trying again");
                host.channels.set(&name, State::Down(why));
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(AGAIN_MAX);
            }
        }
    }
}

impl Host {
    fn channel_health(&self, name: &ChannelType, health: Health) {
        tracing::info!(channel = %name, ?health, "channel");
    }

    /// A channel is up: what waited for it goes out now, not at its next retry.
    async fn wake_waiting_for(self: &Arc<Self>, channel: &ChannelType) {
        let (host, channel) = (self.clone(), channel.clone());
        let waiting = crate::blocking(move || {
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
