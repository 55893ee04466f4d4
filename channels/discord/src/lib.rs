//! Discord as a channel: the gateway in, the HTTP API out.
//!
//! ```text
//! gateway (WebSocket) ──▶ receive ──▶ Ingress      buttons, slash commands ──▶ interact
//! HTTP API            ◀── rest ◀──── send ◀──── Channel::send
//! ```
//!
//! Who addresses the agent in a server's channel is answered in a thread of that message; direct chats have
//! none. Ids are `discord:<server or @me>:<channel>` and, for threads, one more number; see [`ids`].

#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod ids;
mod interact;
mod receive;
mod rest;
mod send;
mod wire;

use async_trait::async_trait;
use ids::{Id, Place};
use nanoclaw_channel::split::Unit;
use nanoclaw_channel::time::{Clock as _, SystemClock, Timestamp};
use nanoclaw_channel::{
    Address, Capabilities, Channel, ChannelDef, Health, Inbound, Outgoing, PlatformId,
    PlatformMessageId, Receipt, SendError, SettingSpec, Start, StartError, StartFuture, Typing,
};
use nanoclaw_kit::store::Store;
use receive::{Receiver, Rooms};
use rest::Rest;
use send::Sender;
use serde_json::json;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;

/// The channel, for the list of an install.
pub const CHANNEL: ChannelDef = ChannelDef { name: NAME, settings: SETTINGS, start };

const NAME: &str = "discord";
const SETTINGS: &[SettingSpec] = &[
    SettingSpec {
        name: "DISCORD_BOT_TOKEN",
        what: "the bot's token: discord.com/developers, your application, Bot, Reset Token",
        required: true,
        secret: true,
    },
    SettingSpec {
        name: "DISCORD_API_URL",
        what: "another address of the HTTP API than https://discord.com/api/v10",
        required: false,
        secret: false,
    },
    SettingSpec {
        name: "DISCORD_GATEWAY_URL",
        what: "another address of the gateway than the one that Discord names",
        required: false,
        secret: false,
    },
];
/// How long the gateway may take to greet.
const UP_WITHIN: Duration = Duration::from_secs(30);

struct Discord {
    sender: Sender,
    receiver: Arc<Receiver>,
    reading: tokio::task::AbortHandle,
}

fn start(start: Start) -> StartFuture {
    Box::pin(async move { Ok(Arc::new(connect(start).await?) as Arc<dyn Channel>) })
}

async fn connect(start: Start) -> Result<Discord, StartError> {
    #[derive(serde::Deserialize)]
    struct Identified {
        id: Id,
    }
    let rest = Arc::new(Rest::new(&start.setting, start.report.clone())?);
    let store = Store::open(&start.data, NAME).await?;
    let unreachable = |e: rest::CallError| match e.next {
        SendError::Broken { why } => StartError::Broken(why),
        next => StartError::Unreachable(next.to_string()),
    };
    let me: Identified = rest.get("/users/@me").await.map_err(unreachable)?;
    let application: Identified = rest.get("/applications/@me").await.map_err(unreachable)?;
    let receiver = Arc::new(Receiver {
        rest: rest.clone(),
        store: store.clone(),
        ingress: start.ingress.clone(),
        report: start.report.clone(),
        me: me.id,
        application: application.id,
        gateway: (start.setting)("DISCORD_GATEWAY_URL"),
        rooms: Mutex::new(Rooms::default()),
        up: Notify::new(),
        ended: OnceLock::new(),
    });
    let up = receiver.up.notified();
    let reading = tokio::spawn(receiver.clone().run()).abort_handle();
    let channel =
        Discord { sender: Sender { rest, store, me: me.id }, receiver: receiver.clone(), reading };
    if tokio::time::timeout(UP_WITHIN, up).await.is_err() {
        return Err(StartError::Unreachable("Discord's gateway does not greet".into()));
    }
    if let Some(why) = channel.receiver.ended.get() {
        return Err(StartError::Broken(why.clone()));
    }
    channel.receiver.offer_commands().await;
    Ok(channel)
}

impl Receiver {
    /// Without them everything else works.
    async fn offer_commands(&self) {
        let path = format!("/applications/{}/commands", self.application);
        if let Err(e) = self.rest.put(&path, Some(&interact::commands())).await {
            tracing::warn!(error = %e.next, "slash commands are not offered");
        }
    }
}

#[async_trait]
impl Channel for Discord {
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
            file_in_max: receive::FILE_MAX,
            file_out_max: send::FILE_MAX,
            text_max: Some((send::TEXT_MAX, Unit::Utf16)),
        }
    }

    async fn send(&self, message: &Outgoing) -> Result<Receipt, SendError> {
        self.sender.send(message).await
    }

    async fn typing(&self, to: &Address, typing: Typing) {
        let (Some(place), Typing::On) = (Place::parse(to), typing) else { return };
        let path = format!("/channels/{}/typing", place.posts_in());
        if let Err(e) = self.sender.rest.post(&path, &json!({})).await {
            tracing::debug!(error = %e.next, "typing is not shown");
        }
    }

    async fn open_dm(&self, handle: &str) -> Result<PlatformId, SendError> {
        let reject = |why: String| SendError::Reject { why };
        let person =
            Id::parse(handle).ok_or_else(|| reject(format!("{handle} is nobody on Discord")))?;
        let whom = json!({ "recipient_id": person });
        let opened = self.sender.rest.post("/users/@me/channels", &whom).await?;
        let id = opened["id"].as_str().and_then(Id::parse);
        let id = id.ok_or_else(|| reject("Discord did not say which chat that is".into()))?;
        let place = Place { guild: None, channel: id, thread: None };
        Ok(place.address().map_err(|e| reject(e.to_string()))?.platform_id)
    }

    /// The thread's messages, and the one that it began with.
    async fn history(&self, at: &Address, before: &PlatformMessageId, max: usize) -> Vec<Inbound> {
        let (Some(place), Some(before)) = (Place::parse(at), Id::parse(before.as_str())) else {
            return Vec::new();
        };
        let Some(thread) = place.thread.filter(|t| *t != before) else { return Vec::new() };
        let rest = &self.sender.rest;
        let path =
            format!("/channels/{thread}/messages?before={before}&limit={}", max.clamp(1, 100));
        let mut all: Vec<wire::Message> = rest.get(&path).await.unwrap_or_default();
        if all.len() < max {
            let path = format!("/channels/{}/messages/{thread}", place.channel);
            all.extend(rest.get::<wire::Message>(&path).await.ok());
        }
        all.sort_unstable_by_key(|m| m.id);
        let mut said = Vec::new();
        for message in all.into_iter().filter(|m| m.is_said() && m.author.id != self.sender.me) {
            if let Ok(mut inbound) =
                self.receiver.inbound(message, place.guild, receive::Files::Name).await
            {
                inbound.at = at.clone();
                said.push(inbound);
            }
        }
        said
    }

    async fn chat_name(&self, chat: &PlatformId) -> Option<String> {
        let at = Address {
            channel_type: nanoclaw_channel::ChannelType::parse(NAME).ok()?,
            platform_id: chat.clone(),
            thread_id: None,
        };
        let path = format!("/channels/{}", Place::parse(&at)?.channel);
        let channel: wire::Channel = self.sender.rest.get(&path).await.ok()?;
        let person = || channel.recipients.first().map(|u| u.name().to_owned());
        channel.name.as_ref().map(|name| format!("#{name}")).or_else(person)
    }

    async fn stop(&self) {
        self.reading.abort();
        (self.receiver.report)(Health::Reconnecting { why: "stopped".into() });
    }
}

impl Drop for Discord {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

fn now() -> Timestamp {
    SystemClock.now()
}
