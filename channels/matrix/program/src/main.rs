//! `nanoclaw-matrix`: the Matrix adapter, started by the host with a socket as standard input.
//!
//! ```text
//! homeserver ── sync ──▶ receive ── Inbound ─▶ ┐
//!     ▲                    │ rooms, state      │ nanoclaw_kit::remote
//!     └──── send ◀─────────┴──── Outgoing ◀─── ┘
//! ```
//!
//! Keys, tokens and what was seen are in `data/channels/matrix`, encrypted with the key beside them. How far
//! was read is written down only after the host has everything before it.

mod files;
mod receive;
mod rooms;
mod send;
mod session;
mod state;
mod unread;

use async_trait::async_trait;
use matrix_sdk::Client;
use matrix_sdk::ruma::OwnedUserId;
use nanoclaw_channel::split::Unit;
use nanoclaw_channel::{
    Address, Capabilities, Channel, ChannelDef, Inbound, Outgoing, PlatformId, PlatformMessageId,
    Receipt, SendError, Start, StartError, StartFuture, Typing,
};
use nanoclaw_channel_matrix::ids::Chat;
use nanoclaw_channel_matrix::{NAME, SETTINGS, compose};
use state::State;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::task::AbortHandle;
use tracing_subscriber::EnvFilter;

static CHANNEL: ChannelDef = ChannelDef { name: NAME, settings: SETTINGS, start };

/// Largest file either way, if the homeserver allows it.
const FILE_MAX: u64 = 100 << 20;

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::new("error,nanoclaw_matrix=info,matrix_sdk::http_client=off");
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter);
    log.without_time().with_ansi(false).init();
    match nanoclaw_kit::remote::serve(&CHANNEL).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn start(start: Start) -> StartFuture {
    Box::pin(async move {
        let client = session::open(&start).await?;
        let me = client.user_id().ok_or_else(|| {
            StartError::Broken("the homeserver did not say who this account is".to_owned())
        })?;
        let upload_max = match client.load_or_fetch_max_upload_size().await {
            Ok(max) => u64::from(max).min(FILE_MAX),
            Err(_) => 10 << 20,
        };
        let matrix = Arc::new(Matrix {
            me: me.to_owned(),
            state: State(client.clone()),
            client,
            start,
            upload_max,
            synced: AtomicBool::new(false),
        });
        let reading = tokio::spawn(Arc::clone(&matrix).read()).abort_handle();
        Ok(Arc::new(Live { matrix, reading }) as Arc<dyn Channel>)
    })
}

/// An account that is signed in.
struct Matrix {
    client: Client,
    start: Start,
    me: OwnedUserId,
    state: State,
    upload_max: u64,
    /// Whether all rooms are known.
    synced: AtomicBool,
}

struct Live {
    matrix: Arc<Matrix>,
    reading: AbortHandle,
}

#[async_trait]
impl Channel for Live {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            threads: true,
            edits: true,
            reactions: true,
            buttons: false,
            files: true,
            idempotent: true,
            typing: true,
            history: true,
            file_in_max: FILE_MAX,
            file_out_max: self.matrix.upload_max,
            text_max: Some((compose::TEXT_MAX, Unit::Bytes)),
        }
    }

    async fn send(&self, message: &Outgoing) -> Result<Receipt, SendError> {
        self.matrix.send(message).await
    }

    async fn typing(&self, to: &Address, typing: Typing) {
        if let Ok(room) = self.matrix.room_of(&to.platform_id).await
            && let Err(e) = room.typing_notice(typing == Typing::On).await
        {
            tracing::debug!("not shown as typing: {e}");
        }
    }

    async fn open_dm(&self, handle: &str) -> Result<PlatformId, SendError> {
        let chat = Chat::Person(handle.trim_start_matches("matrix:").to_owned());
        let id = chat.platform_id().filter(|id| Chat::parse(id) == Some(chat));
        let id = id.ok_or_else(|| SendError::Reject {
            why: format!("{handle} is no Matrix account; it looks like @name:server"),
        })?;
        self.matrix.room_of(&id).await?;
        Ok(id)
    }

    async fn history(&self, at: &Address, before: &PlatformMessageId, max: usize) -> Vec<Inbound> {
        self.matrix.history(at, before, max).await
    }

    async fn chat_name(&self, chat: &PlatformId) -> Option<String> {
        self.matrix.name_of(chat).await
    }

    async fn stop(&self) {
        self.reading.abort();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.reading.abort();
    }
}
