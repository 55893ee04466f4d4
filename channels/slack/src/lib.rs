//! The channel `slack`: an app in a Slack workspace.
//!
//! ```text
//! Slack ──▶ socket (Socket Mode)    ┐
//!       ──▶ events (signed webhook) ├─▶ lanes, one per conversation ──▶ receive ──▶ Ingress
//!       ◀── catch_up, after outages ┘
//!       ◀── send ◀── Channel::send
//! ```
//!
//! Whichever way an event comes, Slack is told "received" only when it is on disk. Never believe what an event
//! says about buttons: a press names a question and a number, and what those stand for is looked up. Begin with
//! [`mod@receive`] and [`mod@send`].

mod api;
mod catch_up;
mod events;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod ids;
mod lanes;
mod names;
mod receive;
mod send;
mod socket;
mod text;
mod wire;

use api::{Api, start_error};
use async_trait::async_trait;
use ids::{Spot, channel_of, is_id};
use nanoclaw_channel::split::Unit;
use nanoclaw_channel::{
    Address, Capabilities, Channel, ChannelDef, ChannelType, Health, Inbound, Ingress, Outgoing,
    PlatformId, PlatformMessageId, Receipt, Report, SendError, SettingSpec, Start, StartError,
    Started, Typing,
};
use nanoclaw_kit::pace::Pace;
use nanoclaw_kit::store::Store;
use nanoclaw_kit::webhook::{self, Mount};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

const NAME: &str = "slack";

/// Slack.
pub const CHANNEL: ChannelDef = ChannelDef {
    name: NAME,
    settings: &[
        secret(
            "SLACK_BOT_TOKEN",
            true,
            "The bot token (xoxb-…) of your Slack app: OAuth & Permissions",
        ),
        secret(
            "SLACK_APP_TOKEN",
            false,
            "Socket Mode: an app-level token (xapp-…) with connections:write",
        ),
        secret(
            "SLACK_SIGNING_SECRET",
            false,
            "Instead of Socket Mode, with a public URL: the signing secret",
        ),
        SettingSpec {
            name: "SLACK_API_URL",
            what: "Where the Web API is, if not at https://slack.com/api",
            required: false,
            secret: false,
        },
    ],
    start: |start| Box::pin(begin(start)),
};

const fn secret(name: &'static str, required: bool, what: &'static str) -> SettingSpec {
    SettingSpec { name, what, required, secret: true }
}

/// What all parts of the adapter share.
struct Hub {
    api: Api,
    store: Store,
    ingress: Arc<dyn Ingress>,
    report: Report,
    me: wire::Me,
    channel_type: ChannelType,
    names: names::Names,
    lanes: Arc<lanes::Lanes>,
    /// One post a second in a conversation, as Slack wants it.
    pace: Pace<String>,
    /// Whether something is missing, and the bell for it.
    is_behind: AtomicBool,
    behind: Notify,
    stalled: Mutex<BTreeSet<String>>,
    /// After an outage, until every conversation is in line to be read.
    adrift: AtomicBool,
    /// The last message of each direct chat.
    last: Mutex<HashMap<String, String>>,
    /// The newest message that was taken, in microseconds of Slack's time.
    newest: AtomicI64,
    /// Held by whatever is on its way to the host: until it is there, [`Hub::newest`] says too much.
    on_its_way: Arc<()>,
    /// Whether this app may show that the agent types.
    types: AtomicBool,
}

/// A question as it was asked.
#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    /// What stands above the buttons.
    text: String,
    /// What each button stands for.
    values: Vec<String>,
}

async fn begin(start: Start) -> Started {
    let setting = |name: &str| (start.setting)(name).filter(|text| !text.trim().is_empty());
    let token = setting("SLACK_BOT_TOKEN")
        .ok_or_else(|| StartError::NotConfigured("SLACK_BOT_TOKEN is not set".into()))?;
    let (app, secret) = (setting("SLACK_APP_TOKEN"), setting("SLACK_SIGNING_SECRET"));
    if app.is_none() && secret.is_none() {
        let why = "set SLACK_APP_TOKEN (Socket Mode), or SLACK_SIGNING_SECRET if Slack can reach this machine";
        return Err(StartError::NotConfigured(why.into()));
    }
    let base = setting("SLACK_API_URL").unwrap_or_else(|| "https://slack.com/api".into());
    let api = Api::new(&base, token, Arc::clone(&start.report))?;
    let me: wire::Me = api.call("auth.test", &[]).await.map_err(start_error)?;
    let hub = Arc::new(Hub {
        api,
        store: Store::open(&start.data, NAME).await?,
        ingress: Arc::clone(&start.ingress),
        report: Arc::clone(&start.report),
        me,
        channel_type: ChannelType::parse(NAME).map_err(|e| StartError::Broken(e.to_string()))?,
        names: names::Names::default(),
        lanes: lanes::Lanes::new(),
        pace: Pace::new(5, Duration::from_secs(1)),
        is_behind: AtomicBool::new(false),
        behind: Notify::new(),
        stalled: Mutex::default(),
        adrift: AtomicBool::new(false),
        last: Mutex::default(),
        newest: AtomicI64::new(0),
        on_its_way: Arc::new(()),
        types: AtomicBool::new(true),
    });
    hub.find_mark().await?;
    // Slack sends over one of the two, as the app is set up; nothing is lost while that is changed.
    let mount = match secret {
        Some(secret) => {
            let events = Arc::new(events::Events { hub: Arc::clone(&hub), secret });
            let mount = webhook::mount(&start, events::PATH, events::LIMITS, events).await?;
            tracing::info!(
                channel = NAME,
                url = mount.url,
                "listens for Slack's events and clicks"
            );
            Some(mount)
        }
        None => None,
    };
    let task = match app {
        Some(app) => {
            let app = Api::new(&base, app, Arc::clone(&start.report))?;
            let first = socket::open(&app).await?;
            tokio::spawn(socket::listen(Arc::clone(&hub), app, first))
        }
        None => tokio::spawn(events::tend(Arc::clone(&hub))),
    };
    (start.report)(Health::Up);
    Ok(Arc::new(Slack { hub, task, mount: Mutex::new(mount) }))
}

struct Slack {
    hub: Arc<Hub>,
    task: JoinHandle<()>,
    mount: Mutex<Option<Mount>>,
}

impl Hub {
    /// Takes a press of a button, in a line of its own.
    fn enqueue_click(
        self: &Arc<Self>,
        click: wire::Interaction,
        bytes: usize,
        done: impl FnOnce(bool) + Send + 'static,
    ) {
        let line = format!("click:{}", click.user.id);
        let hub = Arc::clone(self);
        // Turned away or failed, it is not acknowledged, and Slack shows the person that it did not work.
        let _entered = self.lanes.enter(&line, bytes, async move {
            let taken = hub.clicked(click).await;
            if let Err(error) = &taken {
                tracing::warn!(channel = NAME, %error, "an answer was not taken");
            }
            done(taken.is_ok());
        });
    }
}

#[async_trait]
impl Channel for Slack {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            threads: true,
            edits: true,
            reactions: true,
            buttons: true,
            files: true,
            idempotent: true,
            typing: true,
            history: true,
            file_in_max: receive::FILE_IN_MAX,
            file_out_max: send::FILE_OUT_MAX,
            text_max: Some((send::TEXT_MAX, Unit::Utf16)),
        }
    }

    async fn send(&self, message: &Outgoing) -> Result<Receipt, SendError> {
        self.hub.deliver(message).await
    }

    /// Slack shows it below a message: of the thread, or the last one of a direct chat.
    async fn typing(&self, to: &Address, typing: Typing) {
        let Ok(Spot { channel, thread }) = Spot::parse(to) else { return };
        let last =
            || self.hub.last.lock().unwrap_or_else(PoisonError::into_inner).get(&channel).cloned();
        let Some(thread) = thread.or_else(last) else { return };
        if !self.hub.types.load(Ordering::Relaxed) {
            return;
        }
        let status = if typing == Typing::On { "is typing…" } else { "" };
        let arguments =
            [("channel_id", channel.as_str()), ("thread_ts", &thread), ("status", status)];
        let told = self.hub.api.tell_slack("assistant.threads.setStatus", &arguments).await;
        if told
            .is_err_and(|f| matches!(f.code.as_str(), "missing_scope" | "not_allowed_token_type"))
        {
            self.hub.types.store(false, Ordering::Relaxed);
        }
    }

    async fn open_dm(&self, handle: &str) -> Result<PlatformId, SendError> {
        let reject = |why: String| SendError::Reject { why };
        if !is_id(handle) {
            return Err(reject(format!(
                "{handle:?} is no member id of Slack; it looks like U0123ABCD"
            )));
        }
        let opened: wire::OneConversation =
            self.hub.api.call("conversations.open", &[("users", handle)]).await?;
        PlatformId::parse(format!("{NAME}:{}", opened.channel.id))
            .map_err(|e| reject(e.to_string()))
    }

    async fn history(&self, at: &Address, before: &PlatformMessageId, max: usize) -> Vec<Inbound> {
        let Ok(spot) = Spot::parse(at) else { return Vec::new() };
        self.hub.before(&spot, before.as_str(), max).await
    }

    async fn chat_name(&self, chat: &PlatformId) -> Option<String> {
        let channel = channel_of(chat.as_str())?;
        let asked = self.hub.api.call("conversations.info", &[("channel", channel)]).await;
        let wire::OneConversation { channel } = asked.ok()?;
        match (channel.name.filter(|n| !n.is_empty()), channel.user) {
            (Some(name), _) => Some(name),
            (None, Some(user)) => self.hub.names.of(&self.hub.api, &user).await,
            (None, None) => None,
        }
    }

    async fn stop(&self) {
        self.task.abort();
        drop(self.mount.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.hub.keep_mark().await;
    }
}

impl Drop for Slack {
    fn drop(&mut self) {
        self.task.abort();
        self.hub.lanes.close();
    }
}
