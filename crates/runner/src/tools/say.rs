//! Messages, files, edits and reactions.

use super::args::Args;
use crate::session::{Session, out_id, say};
use nanoclaw_contract::Error;
use nanoclaw_contract::dir::FILE_BYTES_MAX;
use nanoclaw_contract::ids::{Address, MessageId, is_safe_name};
use nanoclaw_contract::message::{NewOut, OutKind};
use nanoclaw_contract::outbox::Commit;
use serde_json::{Value, json};
use std::path::Path;

/// Turns a failure of the files into words for the model.
pub(super) fn failed(e: Error) -> String {
    format!("It could not be written ({e}). Try again.")
}

/// Writes one row behind everything that was said before; returns its number.
pub(super) fn write(session: &Session, row: NewOut) -> Result<i64, String> {
    session.flush().map_err(failed)?;
    let seqs = session
        .commit(Commit { say: std::slice::from_ref(&row), ..Commit::default() })
        .map_err(failed)?;
    Ok(seqs.first().copied().unwrap_or_default())
}

pub(super) struct Place {
    pub(super) name: String,
    pub(super) to: Address,
    pub(super) in_reply_to: Option<MessageId>,
}

pub(super) fn place(session: &Session, args: Args<'_>) -> Result<Place, String> {
    let inbox = session.inbox().map_err(failed)?;
    let known = inbox.destinations().map_err(failed)?;
    let names = || known.iter().map(|d| d.name.as_str()).collect::<Vec<_>>().join(", ");
    let wanted = match args.text("to") {
        Some(name) => known
            .iter()
            .find(|d| d.name == name)
            .ok_or_else(|| format!("Unknown destination \"{name}\". Known: {}", names()))?,
        None => match (session.here(&inbox).map_err(failed)?, &known[..]) {
            ((Some(to), in_reply_to), _) => {
                let name = "(current conversation)".to_owned();
                return Ok(Place { name, to, in_reply_to });
            }
            ((None, _), []) => return Err("No destinations configured.".into()),
            ((None, _), [only]) => only,
            ((None, _), _) => {
                return Err(format!("Say where to: \"to\" must be one of {}", names()));
            }
        },
    };
    let reply_to = args.number("replyTo");
    let (to, in_reply_to) = session.there(&inbox, wanted, reply_to).map_err(failed)?;
    Ok(Place { name: wanted.name.clone(), to, in_reply_to })
}

pub(super) fn message(session: &Session, args: Args<'_>, call: &str) -> Result<String, String> {
    let text = args.text("text").ok_or("text is required")?;
    let place = place(session, args)?;
    let row = say(&format!("tool/{call}"), Some(place.to), place.in_reply_to, text);
    let seq = write(session, row)?;
    session.turn().delivered();
    Ok(format!("Message sent to {} (id: {seq})", place.name))
}

pub(super) fn file(session: &Session, args: Args<'_>, call: &str) -> Result<String, String> {
    let path = args.text("path").ok_or("path is required")?;
    let source = session.workspace.agent().join(path);
    let meta = source.metadata().map_err(|_| format!("File not found: {path}"))?;
    if !meta.is_file() {
        return Err(format!("{path} is not a file; pack a folder into an archive first"));
    }
    if meta.len() > FILE_BYTES_MAX {
        return Err(format!("{path} is larger than {} MB", FILE_BYTES_MAX >> 20));
    }
    let place = place(session, args)?;
    let id = out_id("msg", &format!("tool/{call}"));
    let name = file_name(args.text("filename"), &source);
    let dir = session.workspace.outbox(&id);
    std::fs::create_dir_all(&dir)
        .and_then(|()| std::fs::copy(&source, dir.join(&name)))
        .map_err(|e| format!("{path} could not be copied: {e}"))?;
    let content = json!({ "text": args.given("text").unwrap_or(""), "files": [name] });
    let done = format!("File sent to {} (id: {id}, filename: {name})", place.name);
    write(
        session,
        NewOut {
            id,
            in_reply_to: place.in_reply_to,
            kind: OutKind::Chat,
            to: Some(place.to),
            content: content.to_string(),
        },
    )?;
    session.turn().delivered();
    Ok(done)
}

/// A plain name: the wanted one if it is one, or else what can be made of it.
fn file_name(wanted: Option<&str>, source: &Path) -> String {
    let own = source.file_name().and_then(|n| n.to_str()).unwrap_or("file");
    let name = wanted.unwrap_or(own);
    let last = name.rsplit(['/', '\\']).next().unwrap_or("");
    let name: String = last.chars().filter(|c| !c.is_control()).collect();
    if is_safe_name(&name) { name } else { "file".into() }
}

pub(super) fn edit(session: &Session, args: Args<'_>, call: &str) -> Result<String, String> {
    const WANTED: &str = "messageId and text are required";
    let seq = args.number("messageId").ok_or(WANTED)?;
    let text = args.text("text").ok_or(WANTED)?;
    change(session, seq, call, |id| json!({ "operation": "edit", "messageId": id, "text": text }))?;
    Ok(format!("Message edit queued for #{seq}"))
}

pub(super) fn react(session: &Session, args: Args<'_>, call: &str) -> Result<String, String> {
    const WANTED: &str = "messageId and emoji are required";
    let seq = args.number("messageId").ok_or(WANTED)?;
    let emoji = args.text("emoji").ok_or(WANTED)?;
    change(
        session,
        seq,
        call,
        |id| json!({ "operation": "reaction", "messageId": id, "emoji": emoji }),
    )?;
    Ok(format!("Reaction queued for #{seq}"))
}

fn change(
    session: &Session,
    seq: i64,
    call: &str,
    content: impl FnOnce(String) -> Value,
) -> Result<(), String> {
    let found = session.message(seq).map_err(failed)?;
    let (to, id) = found.ok_or_else(|| format!("Message #{seq} not found"))?;
    let to = to.ok_or_else(|| format!("Cannot determine destination for message #{seq}"))?;
    let row = NewOut {
        id: out_id("msg", &format!("tool/{call}")),
        in_reply_to: None,
        kind: OutKind::Chat,
        to: Some(to),
        content: content(id).to_string(),
    };
    write(session, row)?;
    session.turn().delivered();
    Ok(())
}
