//! The terminal as a channel: the host's end of `cli.sock`, and the chat client that talks to it.
//!
//! ```text
//! nanoclaw chat ─┐                      ┌─ Ingress (host)
//! another one ───┤ cli.sock ── hub ─────┤
//! a v2 script ───┘             │        └─ Channel::send ── log.jsonl, files/
//! ```
//!
//! What the agent says is on disk before the host is told that it was sent, and stays in the backlog until
//! a client confirmed that somebody saw it. Nobody but the operator and root is listened to, because who
//! writes here may speak as anybody. The lines on the socket are in [`wire`], the backlog in [`log`], the
//! connections in [`hub`], the client in [`client`].

pub mod client;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod hub;
mod log;
#[cfg(test)]
mod tests;
pub mod wire;

use async_trait::async_trait;
use hub::Hub;
use nanoclaw_channel::{
    Address, Capabilities, Channel, ChannelDef, Outgoing, PlatformId, Receipt, SendError, Start,
    StartError, StartFuture, Typing,
};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::{UnixListener, UnixStream};

/// The channel, for the list of an install.
pub const CHANNEL: ChannelDef = ChannelDef { name: NAME, settings: &[], start };

const NAME: &str = "cli";

/// The chat of the default agent.
const LOCAL: &str = "local";

/// Where the host listens, below the data folder.
pub fn socket(data: &Path) -> PathBuf {
    data.join("cli.sock")
}

/// Where the channel keeps its files, below the data folder.
fn folder(data: &Path) -> PathBuf {
    data.join("channels").join(NAME)
}

fn start(start: Start) -> StartFuture {
    Box::pin(async move { Ok(Arc::new(Terminal::open(&start).await?) as Arc<dyn Channel>) })
}

struct Terminal {
    hub: Arc<Hub>,
    listening: tokio::task::AbortHandle,
    socket: PathBuf,
}

impl Terminal {
    async fn open(start: &Start) -> Result<Self, StartError> {
        let folder = folder(&start.data);
        let hub = Hub::open(&folder, Arc::clone(&start.ingress)).map_err(|e| {
            StartError::Unreachable(format!("cannot use {}: {e}", folder.display()))
        })?;
        let socket = socket(&start.data);
        let listener = bind(&socket).await?;
        let listening = tokio::spawn(Arc::clone(&hub).listen(listener)).abort_handle();
        Ok(Self { hub, listening, socket })
    }
}

/// Listens on the socket; a socket that nobody listens on any more is replaced.
async fn bind(socket: &Path) -> Result<UnixListener, StartError> {
    let cannot = |e: std::io::Error| {
        StartError::Broken(format!("cannot listen on {}: {e}", socket.display()))
    };
    match std::fs::symlink_metadata(socket) {
        Ok(meta) if !meta.file_type().is_socket() => {
            let why = "exists and is no socket; move it away";
            return Err(StartError::Broken(format!("{} {why}", socket.display())));
        }
        Ok(_) if UnixStream::connect(socket).await.is_ok() => {
            let why = "another NanoClaw listens there; stop it first";
            return Err(StartError::Unreachable(format!("{}: {why}", socket.display())));
        }
        Ok(_) => std::fs::remove_file(socket).map_err(cannot)?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(socket).map_err(cannot)?;
    // Until here it may be open to others: they are turned away by their uid.
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600)).map_err(cannot)?;
    Ok(listener)
}

#[async_trait]
impl Channel for Terminal {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            edits: true,
            reactions: true,
            files: true,
            idempotent: true,
            typing: true,
            file_in_max: wire::FILES_BYTES_MAX as u64,
            file_out_max: wire::FILES_BYTES_MAX as u64,
            ..Capabilities::TEXT
        }
    }

    async fn send(&self, message: &Outgoing) -> Result<Receipt, SendError> {
        self.hub.send(message).await
    }

    async fn typing(&self, to: &Address, typing: Typing) {
        self.hub.typing(&to.platform_id, typing).await;
    }

    async fn open_dm(&self, _handle: &str) -> Result<PlatformId, SendError> {
        PlatformId::parse(LOCAL).map_err(|e| SendError::Reject { why: e.to_string() })
    }

    async fn chat_name(&self, chat: &PlatformId) -> Option<String> {
        Some(match chat.as_str().strip_prefix("agent:") {
            Some(agent) => format!("Terminal ({agent})"),
            None => "Terminal".to_owned(),
        })
    }

    async fn stop(&self) {
        self.listening.abort();
        if let Err(error) = std::fs::remove_file(&self.socket) {
            tracing::debug!(%error, socket = %self.socket.display(), "socket not removed");
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.listening.abort();
    }
}
