//! Files that come with messages: put where the agent sees them, or said to be missing, to the agent and to
//! who sent them.

use crate::approvals::card::visible;
use crate::session::Files;
use crate::{Host, HostError};
use nanoclaw_channel::{InFile, Inbound};
use nanoclaw_contract::content::Attachment;
use nanoclaw_contract::dir::{FILE_BYTES_MAX, FILES_MAX};
use nanoclaw_contract::ids::{self, MessageId};
use std::sync::Arc;

/// Longest text of one message.
pub(crate) const TEXT_BYTES_MAX: usize = 4 << 20;

/// Cuts a message to what a session takes, and says so: a text that is too long becomes a file, and files
/// beyond the limits are missing.
pub(crate) fn fit(message: &mut Inbound) {
    if message.text.len() > TEXT_BYTES_MAX {
        let note = "(This message is too long to be shown here. All of it is in message.txt.)";
        let bytes = std::mem::replace(&mut message.text, note.into()).into_bytes();
        let (kind, name) = ("file".into(), "message.txt".into());
        let mime = Some("text/plain".into());
        message.files.insert(0, InFile { kind, name, mime, bytes, missing: None });
    }
    if message.files.len() > FILES_MAX {
        let more = message.files.split_off(FILES_MAX - 1).len();
        message.files.push(InFile {
            kind: "file".into(),
            name: format!("{more} more files"),
            mime: None,
            bytes: Vec::new(),
            missing: Some(format!("a message can bring {FILES_MAX} files")),
        });
    }
    let mut left = FILE_BYTES_MAX;
    for file in message.files.iter_mut().filter(|f| f.missing.is_none()) {
        match left.checked_sub(file.bytes.len() as u64) {
            Some(rest) => left = rest,
            None => {
                file.bytes = Vec::new();
                let max = FILE_BYTES_MAX >> 20;
                file.missing =
                    Some(format!("the files of one message can have {max} MiB together"));
            }
        }
    }
}

/// Puts attachments where the agent sees them. Names are never trusted: what is no plain name is replaced.
pub(crate) fn stage(
    files: &Files,
    id: &MessageId,
    incoming: &[InFile],
) -> Result<Vec<Attachment>, HostError> {
    let mut staged: Vec<Attachment> = Vec::with_capacity(incoming.len());
    for (n, file) in incoming.iter().enumerate() {
        let mut name = file.name.clone();
        if !ids::is_safe_name(&name)
            || name.starts_with('.')
            || staged.iter().any(|a| a.name == name)
        {
            let ending = name.rsplit('.').next().unwrap_or_default();
            let plain = ending.chars().filter(char::is_ascii_alphanumeric).take(8);
            let ending: String = plain.collect();
            let dot = if ending.is_empty() { "" } else { "." };
            // No other file is called so already, whatever the others are called.
            let mut names = (n..).map(|n| format!("attachment-{n}{dot}{ending}"));
            let free = |name: &String| {
                !incoming.iter().any(|f| f.name == *name) && !staged.iter().any(|a| a.name == *name)
            };
            name = names.find(free).unwrap_or(name);
        }
        let local_path = match file.missing {
            None => Some(files.dir.write_inbox_file(id, &name, &file.bytes)?),
            Some(_) => None,
        };
        staged.push(Attachment {
            kind: file.kind.clone(),
            name,
            mime: file.mime.clone(),
            size: local_path.is_some().then_some(file.bytes.len() as u64),
            local_path,
            url: None,
            missing: file.missing.clone(),
        });
    }
    Ok(staged)
}

/// Tells who sent a message, once, which of its files the agent does not get. Blocks.
pub(crate) fn tell_missing(host: &Arc<Host>, message: &Inbound) -> Result<(), HostError> {
    let line = |f: &InFile| {
        let name = visible(&f.name).replace('`', "'").replace('\n', " ");
        Some(format!("- `{name}`: {}", visible(f.missing.as_ref()?)))
    };
    let lines: Vec<_> = message.files.iter().filter_map(line).collect();
    if lines.is_empty() {
        return Ok(());
    }
    let at = &message.at;
    let key = format!("missing:{}:{}:{}", at.channel_type, at.platform_id, message.id);
    let to = message.reply.as_ref().unwrap_or(at);
    host.say(&key, to, format!("⚠️ These files did not reach the agent:\n{}", lines.join("\n")))
}
