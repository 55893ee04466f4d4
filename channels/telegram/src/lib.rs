//! Telegram, as a bot: long polling, so that no public address is needed.
//!
//! ```text
//!  getUpdates ──▶ receive ──▶ Ingress::push ──▶ the next offset says "received"
//!                    │ getFile                       ▲ kept, so that a restart goes on
//!  sendMessage ◀── send ◀── Channel::send            │
//!                    └── store: parts that were sent, questions, groups that moved
//! ```
//!
//! A forum topic is a thread. A group that became a supergroup keeps the id by which the host knows it.
//! Nothing here decides who may talk to an agent. Read next: [`receive`], [`send`].

mod api;
mod entities;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod ids;
mod receive;
mod send;
mod wire;

use api::{Api, FILE_IN_MAX, FILE_OUT_MAX, Failure, NO_TOKEN};
use async_trait::async_trait;
use ids::Place;
use nanoclaw_channel::split::Unit;
use nanoclaw_channel::{
    Address, Capabilities, Channel, ChannelDef, Health, Outgoing, PlatformId, Receipt, Report,
    SendError, SettingSpec, Start, StartError, Started, Typing,
};
use nanoclaw_kit::pace::Pace;
use nanoclaw_kit::store::{Store, StoreError};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use wire::{Chat, User};

const NAME: &str = "telegram";

/// The channel.
pub const CHANNEL: ChannelDef = ChannelDef {
    name: NAME,
    settings: &[
        SettingSpec {
            name: "TELEGRAM_BOT_TOKEN",
            what: "the token of a bot; @BotFather on Telegram gives one (/newbot)",
            required: true,
            secret: true,
        },
        SettingSpec {
            name: "TELEGRAM_API_BASE_URL",
            what: "another Bot API server than https://api.telegram.org",
            required: false,
            secret: false,
        },
    ],
    start: |start| Box::pin(connect(start)),
};

/// Longest text of a message and of a caption.
const TEXT_MAX: usize = 4096;
const CAPTION_MAX: usize = 1024;

struct Telegram {
    bot: Arc<Bot>,
    poll: JoinHandle<()>,
}

impl Drop for Telegram {
    fn drop(&mut self) {
        self.poll.abort();
    }
}

/// What receiving and sending share.
struct Bot {
    api: Api,
    store: Store,
    me: User,
    report: Report,
    /// Whether the owner knows that the token is not good.
    broken: AtomicBool,
    direct: Pace<i64>,
    groups: Pace<i64>,
    all: Pace<()>,
    /// Groups that became supergroups: the id that the host knows, and the one that Telegram uses now.
    moved: Mutex<BTreeMap<i64, i64>>,
}

async fn connect(start: Start) -> Started {
    let token = (start.setting)("TELEGRAM_BOT_TOKEN").filter(|token| !token.trim().is_empty());
    let token = token.ok_or_else(|| {
        StartError::NotConfigured("set TELEGRAM_BOT_TOKEN; @BotFather on Telegram gives it".into())
    })?;
    let base = (start.setting)("TELEGRAM_API_BASE_URL");
    let api = Api::new(base.as_deref().unwrap_or("https://api.telegram.org"), token.trim())?;
    let me: User = api.call("getMe", json!({})).await?;
    let store = Store::open(&start.data, NAME).await?;
    let moved = store.list("moved:").await?.into_iter().filter_map(|(from, to)| {
        Some((from.strip_prefix("moved:")?.parse().ok()?, to.parse().ok()?))
    });
    let bot = Arc::new(Bot {
        api,
        me,
        moved: Mutex::new(moved.collect()),
        store,
        report: start.report,
        broken: AtomicBool::new(false),
        direct: Pace::new(5, Duration::from_secs(1)),
        groups: Pace::new(5, Duration::from_secs(4)),
        all: Pace::new(10, Duration::from_millis(50)),
    });
    (bot.report)(Health::Up);
    let poll = tokio::spawn(receive::Receiver::new(Arc::clone(&bot), start.ingress).run());
    Ok(Arc::new(Telegram { bot, poll }))
}

impl Bot {
    /// A call; a token that is not good any more is told once.
    async fn call<T: DeserializeOwned>(&self, method: &str, fields: Value) -> Result<T, Failure> {
        self.told(self.api.call(method, fields).await)
    }

    fn told<T>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        if let Err(Failure::Refused { code: 401 | 404, .. }) = &result
            && !self.broken.swap(true, Ordering::Relaxed)
        {
            (self.report)(Health::Broken { why: NO_TOKEN.into() });
        }
        result
    }

    /// Waits until one more message may go to a chat.
    async fn turn(&self, chat: i64) {
        self.pace(chat).wait(&chat).await;
        self.all.wait(&()).await;
    }

    /// Groups have negative ids, and a slower pace.
    fn pace(&self, chat: i64) -> &Pace<i64> {
        if chat < 0 { &self.groups } else { &self.direct }
    }

    fn moved(&self) -> MutexGuard<'_, BTreeMap<i64, i64>> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The chat as Telegram calls it now.
    fn current(&self, chat: i64) -> i64 {
        self.moved().get(&chat).copied().unwrap_or(chat)
    }

    /// The chat as the host knows it.
    fn known(&self, chat: i64) -> i64 {
        let moved = self.moved();
        moved.iter().find(|(_, to)| **to == chat).map_or(chat, |(from, _)| *from)
    }

    async fn moves(&self, from: i64, to: i64) -> Result<(), StoreError> {
        let known = self.known(from);
        self.store.put(&format!("moved:{known}"), &to.to_string()).await?;
        self.moved().insert(known, to);
        Ok(())
    }
}

#[async_trait]
impl Channel for Telegram {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            threads: true,
            edits: true,
            reactions: true,
            buttons: true,
            files: true,
            idempotent: false,
            typing: true,
            history: false,
            file_in_max: FILE_IN_MAX,
            file_out_max: FILE_OUT_MAX,
            text_max: Some((TEXT_MAX, Unit::Utf16)),
        }
    }

    async fn send(&self, message: &Outgoing) -> Result<Receipt, SendError> {
        send::send(&self.bot, message).await
    }

    async fn typing(&self, to: &Address, typing: Typing) {
        let (Typing::On, Ok(place)) = (typing, Place::parse(to)) else { return };
        let fields = json!({
            "chat_id": self.bot.current(place.chat),
            "message_thread_id": place.topic,
            "action": "typing",
        });
        if let Err(e) = self.bot.call::<bool>("sendChatAction", fields).await {
            tracing::debug!(error = ?e, "typing was not shown");
        }
    }

    async fn open_dm(&self, handle: &str) -> Result<PlatformId, SendError> {
        let user = handle.parse::<i64>().ok().filter(|id| *id > 0);
        user.and_then(ids::platform_id).ok_or_else(|| SendError::Reject {
            why: format!("{handle} is no user id of Telegram, which is a number"),
        })
    }

    async fn chat_name(&self, chat: &PlatformId) -> Option<String> {
        let chat: i64 = chat.as_str().strip_prefix("telegram:")?.parse().ok()?;
        let fields = json!({ "chat_id": self.bot.current(chat) });
        self.bot.call::<Chat>("getChat", fields).await.ok()?.name()
    }

    async fn stop(&self) {
        self.poll.abort();
    }
}
