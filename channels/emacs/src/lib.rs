//! The channel `emacs`: a chat in a buffer, on this machine.
//!
//! ```text
//!  nanoclaw.el ──POST /api/message, /api/answer──▶ serve ──▶ host
//!      ▲                                                      │
//!      └──GET /api/messages?since=…&wait=…── backlog ◀── send ┘
//! ```
//! The listener is the loopback's alone, and every call needs the token: a web page can reach the loopback
//! too. What the agent says is kept in [`backlog`] until Emacs has read it, however long that takes.

mod backlog;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod serve;
mod wire;

use async_trait::async_trait;
use backlog::Backlog;
use nanoclaw_channel::{
    Address, Body, Capabilities, Channel, ChannelDef, Health, OutFile, Outgoing, PlatformId,
    PlatformMessageId, Receipt, SendError, SettingSpec, Start, StartError, StartFuture, Started,
    Typing,
};
use nanoclaw_kit::dialect::plain;
use nanoclaw_kit::emoji::find;
use nanoclaw_kit::files::{safe_name, size};
use nanoclaw_kit::store::Store;
use nanoclaw_kit::webhook::{BIND_SETTING, Limits, Mount, mount};
use serve::Serve;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use wire::{Entry, Kind, Offered, Option_, ShownFile};

const PORT: &str = "8766";
/// Largest call: files are sent as text.
const BODY_MAX: usize = 48 * 1024 * 1024;
const CALLS_PER_MINUTE: u32 = 1_200;
/// Largest file that comes in: what fits in a call.
pub(crate) const FILE_IN_MAX: u64 = 32 * 1024 * 1024;
const FILE_OUT_MAX: u64 = 64 * 1024 * 1024;

/// Emacs.
pub const CHANNEL: ChannelDef = ChannelDef {
    name: "emacs",
    settings: &[
        setting("EMACS_CHANNEL_PORT", "The port on the loopback, 8766 if not set", false),
        setting(
            "EMACS_AUTH_TOKEN",
            "The token; if not set, one is made in data/channels/emacs/token",
            true,
        ),
        setting("EMACS_PLATFORM_ID", "What the chat is called, `default` if not set", false),
    ],
    start: |start| start_future(start),
};

const fn setting(name: &'static str, what: &'static str, secret: bool) -> SettingSpec {
    SettingSpec { name, what, required: false, secret }
}

fn start_future(start: Start) -> StartFuture {
    Box::pin(begin(start))
}

async fn begin(start: Start) -> Started {
    let store = Store::open(&start.data, CHANNEL.name).await?;
    let folder = start.data.join("channels").join(CHANNEL.name);
    let token = match (start.setting)("EMACS_AUTH_TOKEN").filter(|token| !token.trim().is_empty()) {
        Some(token) => token.trim().to_owned(),
        None => own_token(&folder).await?,
    };
    let chat = (start.setting)("EMACS_PLATFORM_ID").unwrap_or_else(|| "default".into());
    let chat = PlatformId::parse(chat)
        .map_err(|e| StartError::Broken(format!("EMACS_PLATFORM_ID is no name for a chat: {e}")))?;
    let backlog = Arc::new(Backlog::load(store, folder.join("files")).await?);
    let serve = Serve::new(Arc::clone(&start.ingress), Arc::clone(&backlog), chat.clone(), token);
    let mounts = listen(&start, &Arc::new(serve)).await?;
    (start.report)(Health::Up);
    Ok(Arc::new(Emacs { backlog, chat, _mounts: mounts }))
}

async fn listen(start: &Start, serve: &Arc<Serve>) -> Result<Vec<Mount>, StartError> {
    let port = (start.setting)("EMACS_CHANNEL_PORT").unwrap_or_else(|| PORT.into());
    if port.parse::<u16>().is_err() {
        return Err(StartError::Broken("EMACS_CHANNEL_PORT is no number of a port".into()));
    }
    // Never another address than the loopback, whatever the webhooks of other channels have.
    let setting = move |name: &str| (name == BIND_SETTING).then(|| port.clone());
    let local = Start { setting: Arc::new(setting), ..start.clone() };
    let limits = Limits { body_max: BODY_MAX, per_minute: CALLS_PER_MINUTE };
    let mut mounts = Vec::new();
    for path in [serve::MESSAGE, serve::MESSAGES, serve::ANSWER] {
        mounts.push(mount(&local, path, limits, Arc::<Serve>::clone(serve)).await?);
    }
    Ok(mounts)
}

/// The token that was made, or a new one: only this user can read it.
async fn own_token(folder: &Path) -> Result<String, StartError> {
    let file = folder.join("token");
    let read = move || -> std::io::Result<String> {
        match std::fs::read_to_string(&file) {
            Ok(token) if !token.trim().is_empty() => return Ok(token.trim().to_owned()),
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut random = [0; 24];
        std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut random)?;
        let token = nanoclaw_kit::sign::hex(&random);
        let mut new = std::fs::OpenOptions::new();
        new.write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&file)?
            .write_all(token.as_bytes())?;
        Ok(token)
    };
    let done =
        tokio::task::spawn_blocking(read).await.map_err(|e| StartError::Broken(e.to_string()))?;
    done.map_err(|e| StartError::Broken(format!("data/channels/emacs/token cannot be used: {e}")))
}

/// The running channel.
struct Emacs {
    backlog: Arc<Backlog>,
    chat: PlatformId,
    _mounts: Vec<Mount>,
}

impl Drop for Emacs {
    fn drop(&mut self) {
        self.backlog.end();
    }
}

#[async_trait]
impl Channel for Emacs {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            edits: true,
            reactions: true,
            buttons: true,
            files: true,
            idempotent: true,
            typing: true,
            file_in_max: FILE_IN_MAX,
            file_out_max: FILE_OUT_MAX,
            ..Capabilities::TEXT
        }
    }

    async fn send(&self, message: &Outgoing) -> Result<Receipt, SendError> {
        if message.to.platform_id != self.chat {
            return Err(SendError::Reject { why: format!("Emacs has one chat, {}", self.chat) });
        }
        let id = id_of(&message.key);
        let mut entry = Entry { id: id.clone(), ..Entry::default() };
        entry.reply_to = message.reply_to.as_ref().map(PlatformMessageId::to_string);
        match &message.body {
            Body::Text { markdown, files } => {
                entry.markdown.clone_from(markdown);
                self.keep(&id, files, &mut entry).await?;
            }
            Body::Card { title, markdown } => {
                let title =
                    title.as_ref().map(|title| format!("**{title}**\n\n")).unwrap_or_default();
                entry.markdown = title + markdown;
            }
            Body::Edit { message, markdown } => {
                entry = Entry {
                    kind: Kind::Edit,
                    id: message.to_string(),
                    markdown: markdown.clone(),
                    ..entry
                };
            }
            Body::React { message, emoji } => {
                entry = Entry {
                    kind: Kind::React,
                    id: message.to_string(),
                    text: find(emoji).map_or_else(|| emoji.clone(), |e| e.as_str().to_owned()),
                    ..entry
                };
            }
            Body::Ask(question) => {
                entry.markdown = format!("**{}**\n\n{}", question.title, question.question);
                let options = question.options.iter();
                entry.options = options
                    .map(|o| Option_ {
                        label: nanoclaw_channel::markdown::printable_line(&o.label),
                    })
                    .collect();
                entry.question = Some(question.question_id.to_string());
                let values = question.options.iter().map(|o| o.value.clone()).collect();
                let offered =
                    Offered { message: id.clone(), markdown: entry.markdown.clone(), values };
                self.backlog.offer(question.question_id.as_str(), &offered).await?;
            }
        }
        if entry.kind != Kind::React {
            entry.text = plain(&entry.markdown);
        }
        let shown = entry.id.clone();
        self.backlog.add(&message.key, entry).await?;
        Ok(Receipt { id: PlatformMessageId::parse(shown).ok() })
    }

    async fn typing(&self, _to: &Address, typing: Typing) {
        self.backlog.types(typing == Typing::On);
    }

    async fn open_dm(&self, _handle: &str) -> Result<PlatformId, SendError> {
        Ok(self.chat.clone())
    }

    async fn chat_name(&self, _chat: &PlatformId) -> Option<String> {
        Some("Emacs".into())
    }

    async fn stop(&self) {
        self.backlog.end();
    }
}

impl Emacs {
    /// Writes files where Emacs finds them; what is too large is said in the text.
    async fn keep(&self, id: &str, files: &[OutFile], entry: &mut Entry) -> Result<(), SendError> {
        for (n, file) in files.iter().enumerate() {
            let name = safe_name(&file.name, "file", None);
            let has = file.bytes.len() as u64;
            if has > FILE_OUT_MAX {
                let (has, max) = (size(has), size(FILE_OUT_MAX));
                entry.markdown +=
                    &format!("\n\n(`{name}` was not sent: it has {has}, and {max} is the most)");
                continue;
            }
            let path = self.backlog.file(id, n, &name, file.bytes.clone()).await?;
            entry.files.push(ShownFile { name, path: path.to_string_lossy().into_owned() });
        }
        Ok(())
    }
}

/// The id of a message: the same for the same key.
fn id_of(key: &str) -> String {
    let hash = nanoclaw_kit::sign::hmac_sha256(b"emacs", &[key.as_bytes()]);
    nanoclaw_kit::sign::hex(&hash[..12])
}
