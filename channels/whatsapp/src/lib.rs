//! The channel `whatsapp`: a linked device of a WhatsApp account.
//!
//! ```text
//!  phone ──links──▶ account ◀──Noise, Signal──▶ client ──before it acknowledges──▶ receive ──▶ host
//!                                                 ▲ └── keys, sessions: store (device.db)
//!                                                 └───────────── send ◀───────────────────── host
//! ```
//! The protocol is that of the crate `whatsapp-rust`; here is what it means for the host. The device's
//! memory is in [`store`], the connection's life and the link to the account in [`mod@line`], what comes in in
//! [`receive`] and [`read`], what goes out in [`send`].

#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod ids;
mod line;
mod read;
mod receive;
mod send;
mod store;
mod web;

use async_trait::async_trait;
use line::Line;
use nanoclaw_channel::split::Unit;
use nanoclaw_channel::{
    Address, Capabilities, Channel, ChannelDef, Outgoing, PlatformId, Receipt, SendError,
    SettingSpec, Start, StartFuture, Started, Typing,
};
use std::sync::Arc;
use std::time::Duration;

/// How long the host waits for the line to come up; it is tried again.
const START_WAIT: Duration = Duration::from_secs(20);

/// WhatsApp.
pub const CHANNEL: ChannelDef = ChannelDef {
    name: "whatsapp",
    settings: &[
        setting(
            "WHATSAPP_PHONE",
            "The account's phone number, to link it by typing a code instead of scanning one",
        ),
        setting(
            "ASSISTANT_HAS_OWN_NUMBER",
            "true if the account is the agent's alone; else the agent signs with its name",
        ),
        setting("ASSISTANT_NAME", "What the agent is called"),
        setting("WHATSAPP_BASE_URL", "Stands in for WhatsApp's servers, for tests"),
    ],
    start: |start| -> StartFuture { Box::pin(begin(start)) },
};

const fn setting(name: &'static str, what: &'static str) -> SettingSpec {
    SettingSpec { name, what, required: false, secret: false }
}

async fn begin(start: Start) -> Started {
    let store = store::Store::open(&start.data).await?;
    let line = Line::new(store, start.ingress, start.report, &start.setting)?;
    let life = tokio::spawn(Arc::clone(&line).live());
    let whatsapp = WhatsApp { line, life };
    whatsapp.line.settled(START_WAIT).await?;
    Ok(Arc::new(whatsapp))
}

/// The running channel.
struct WhatsApp {
    line: Arc<Line>,
    life: tokio::task::JoinHandle<()>,
}

impl Drop for WhatsApp {
    fn drop(&mut self) {
        self.life.abort();
        self.line.abandon();
    }
}

#[async_trait]
impl Channel for WhatsApp {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            edits: true,
            reactions: true,
            files: true,
            idempotent: true,
            typing: true,
            file_in_max: receive::FILE_IN_MAX,
            file_out_max: send::FILE_OUT_MAX,
            text_max: Some((send::TEXT_MAX, Unit::Chars)),
            ..Capabilities::TEXT
        }
    }

    async fn send(&self, message: &Outgoing) -> Result<Receipt, SendError> {
        self.line.send(message).await
    }

    async fn typing(&self, to: &Address, typing: Typing) {
        let (Ok(client), Ok(chat)) = (self.line.client(), ids::parse(to.platform_id.as_str()))
        else {
            return;
        };
        // WhatsApp tells people that somebody types only while that somebody is online, and a phone is
        // silent while another device of its account is.
        let done = match typing {
            Typing::On => {
                let online = client.presence().set_available().await.map_err(|e| e.to_string());
                online
                    .and(client.chatstate().send_composing(&chat).await.map_err(|e| e.to_string()))
            }
            Typing::Off => {
                let paused = client.chatstate().send_paused(&chat).await.map_err(|e| e.to_string());
                paused.and(client.presence().set_unavailable().await.map_err(|e| e.to_string()))
            }
        };
        if let Err(e) = done {
            tracing::debug!("typing was not shown: {e}");
        }
    }

    async fn open_dm(&self, handle: &str) -> Result<PlatformId, SendError> {
        let chat = ids::person(handle).map_err(|why| SendError::Reject { why })?;
        let none = || SendError::Reject { why: format!("{handle} has no direct chat") };
        ids::encode(&chat).ok_or_else(none)
    }

    async fn chat_name(&self, chat: &PlatformId) -> Option<String> {
        let jid = ids::parse(chat.as_str()).ok()?;
        if jid.server != whatsapp_rust::Server::Group {
            return self.line.store.name(chat.as_str(), None).await;
        }
        let group = self.line.client().ok()?.groups().get_metadata(&jid).await.ok()?;
        Some(group.subject).filter(|subject| !subject.is_empty())
    }

    async fn stop(&self) {
        self.line.stop().await;
    }
}
