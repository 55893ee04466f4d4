//! A channel that is a program of its own: letters lie in a folder, answers are put into another one.
//!
//! What every such program does is in `main`. The platform here is `POSTBOX`: a file in `in/` is a message and
//! is removed once the host has it; what the agent says is put into `out/` under its key.

use async_trait::async_trait;
use nanoclaw_channel::time::{Clock as _, SystemClock};
use nanoclaw_channel::{
    Address, Body, Capabilities, Channel, ChannelDef, ChannelType, ChatKind, Health, InFile,
    Inbound, Mention, Outgoing, PlatformId, PlatformMessageId, Receipt, SendError, Sender,
    SettingSpec, Start, StartError, StartFuture,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const CHANNEL: ChannelDef = ChannelDef {
    name: "postbox",
    settings: &[SettingSpec { name: "POSTBOX", what: "a folder", required: true, secret: false }],
    start,
};

#[tokio::main]
async fn main() -> Result<(), nanoclaw_kit::remote::ServeError> {
    nanoclaw_kit::remote::serve(&CHANNEL).await
}

fn start(start: Start) -> StartFuture {
    Box::pin(async move {
        let folder = (start.setting)("POSTBOX")
            .ok_or_else(|| StartError::NotConfigured("set POSTBOX".to_owned()))?;
        let folder = PathBuf::from(folder);
        let broken = |e: std::io::Error| StartError::Broken(e.to_string());
        std::fs::write(folder.join("pid"), std::process::id().to_string()).map_err(broken)?;
        let open = folder.read_dir().map_err(broken)?.count();
        (start.report)(if open > 1 {
            Health::Up
        } else {
            Health::Needs { what: "letters".into() }
        });
        tokio::spawn(empty(folder.clone(), start));
        Ok(Arc::new(Postbox(folder)) as Arc<dyn Channel>)
    })
}

struct Postbox(PathBuf);

/// Hands over what lies in the box.
async fn empty(folder: PathBuf, start: Start) {
    loop {
        let mut letters: Vec<PathBuf> = folder
            .join("in")
            .read_dir()
            .map_or_else(|_| Vec::new(), |all| all.flatten().map(|entry| entry.path()).collect());
        letters.sort();
        for letter in letters {
            if let Some(message) = read(&letter)
                && start.ingress.push(message).await.is_ok()
            {
                drop(std::fs::remove_file(letter));
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn read(letter: &Path) -> Option<Inbound> {
    let bytes = std::fs::read(letter).ok()?;
    let name = letter.file_name()?.to_str()?.to_owned();
    Some(Inbound {
        at: Address {
            channel_type: ChannelType::parse("postbox").ok()?,
            platform_id: PlatformId::parse("postbox:1").ok()?,
            thread_id: None,
        },
        reply: None,
        id: PlatformMessageId::parse(name.clone()).ok()?,
        timestamp: SystemClock.now(),
        sender: Sender { handle: "ann".to_owned(), name: None },
        person: None,
        text: name.clone(),
        mention: Mention::Yes,
        chat: ChatKind::Direct,
        files: vec![InFile { kind: "file".into(), name, mime: None, bytes, missing: None }],
        reply_to: None,
        only_for: None,
    })
}

#[async_trait]
impl Channel for Postbox {
    fn capabilities(&self) -> Capabilities {
        Capabilities { files: true, idempotent: true, file_out_max: 1 << 20, ..Capabilities::TEXT }
    }

    async fn send(&self, message: &Outgoing) -> Result<Receipt, SendError> {
        let Body::Text { markdown, files } = &message.body else {
            return Err(SendError::Reject { why: "a postbox takes letters only".to_owned() });
        };
        let retry = |e: std::io::Error| SendError::Retry { after: None, why: e.to_string() };
        let mut text = markdown.clone().into_bytes();
        files.iter().for_each(|file| text.extend_from_slice(&file.bytes));
        std::fs::write(self.0.join("out").join(&message.key), text).map_err(retry)?;
        if markdown == "hang" && std::fs::remove_file(self.0.join("hang")).is_ok() {
            std::future::pending::<()>().await;
        }
        Ok(Receipt { id: PlatformMessageId::parse(message.key.clone()).ok() })
    }
}
