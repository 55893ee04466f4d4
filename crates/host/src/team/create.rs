//! Agents that agents make.
//!
//! At once only for a global agent that talks with its owner alone; for every other somebody is asked.
//! Everything in the database is one transaction, and its folder is there before: what is made is whole.

use crate::approvals::{Action, Ask};
use crate::{Host, HostError, blocking};
use nanoclaw_central::{Agent, ChatKind, CliScope, Session, destination_name};
use nanoclaw_contract::ids::{self, AgentId, OutId, SessionId};
use nanoclaw_contract::time::iso;
use serde_json::{Map, Value};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest name, and longest instructions.
const NAME_BYTES_MAX: usize = 64;
const INSTRUCTIONS_BYTES_MAX: usize = 32 << 10;
/// Most agents that one agent may have made.
const CREATIONS_MAX: u32 = 50;
/// Folders that are tried when the name is taken.
const FOLDERS_MAX: u32 = 100;
/// Room for a number behind a folder's name.
const FOLDER_CHARS: usize = 50;

/// What an agent's request to make another one comes to. Blocks.
pub(crate) fn asked(
    host: &Arc<Host>,
    session: &Session,
    id: &OutId,
    fields: &Map<String, Value>,
) -> Result<Result<(), String>, HostError> {
    let text = |key: &str| fields.get(key).and_then(Value::as_str).filter(|t| !t.is_empty());
    let name = text("name").unwrap_or_default().trim().to_owned();
    let instructions = text("instructions").map(str::to_owned);
    let key = format!("create-{}-{id}", session.id);
    let done = if let Err(why) = check(&name, instructions.as_deref()) {
        Err(why)
    } else if may_at_once(host, session)? {
        create(host, &session.agent, &name, instructions.as_deref())?
    } else {
        let by = session.agent.clone();
        let ask = Ask {
            action: Action::CreateAgent { by, name: name.clone(), instructions },
            session: Some(session.id.clone()),
            key: key.clone(),
        };
        match host.ask_approval(ask)? {
            Ok(_) => return Ok(Ok(())),
            Err(why) => Err(format!("somebody has to approve it, and {why}")),
        }
    };
    let text = done.unwrap_or_else(|why| format!("Cannot create agent \"{name}\": {why}."));
    host.tell_agent(&session.id, &key, &text, true)?;
    Ok(Ok(()))
}

/// Makes an agent on behalf of another one; again is the same agent.
pub(crate) async fn create_agent(
    host: &Arc<Host>,
    by: &AgentId,
    name: &str,
    instructions: Option<&str>,
    _session: Option<&SessionId>,
) -> Result<String, String> {
    let (host, by, name) = (host.clone(), by.clone(), name.to_owned());
    let instructions = instructions.map(str::to_owned);
    let done = blocking(move || create(&host, &by, &name, instructions.as_deref())).await;
    done.unwrap_or_else(|e| Err(e.to_string()))
}

/// Whether nobody has to be asked: it may run everything anyway, and nobody but its owner talks here.
fn may_at_once(host: &Host, session: &Session) -> Result<bool, HostError> {
    let central = &host.central;
    if central.config(&session.agent)?.is_none_or(|c| c.cli_scope != CliScope::Global) {
        return Ok(false);
    }
    let Some(chat) = session.chat.as_ref().map(|id| central.chat(id)).transpose()?.flatten() else {
        return Ok(false);
    };
    for owner in central.owners()? {
        let own = format!("{}:{}", chat.channel_type, chat.platform_id) == owner.as_str()
            || central.user_dm(&owner, &chat.channel_type)?.as_ref() == Some(&chat.id);
        if own && chat.kind == ChatKind::Direct {
            return Ok(true);
        }
    }
    Ok(false)
}

fn check(name: &str, instructions: Option<&str>) -> Result<(), String> {
    let odd = |c: char| c.is_control() || matches!(c, '"' | '\'' | '<' | '>' | '&' | '/' | '\\');
    if name.len() > NAME_BYTES_MAX
        || name.contains(odd)
        || matches!(destination_name(name).as_str(), "unnamed" | "system")
    {
        return Err(format!(
            "a name has up to {NAME_BYTES_MAX} letters, digits, spaces and -, and at least one of a to z or 0 to 9"
        ));
    }
    if instructions.is_some_and(|i| i.len() > INSTRUCTIONS_BYTES_MAX) {
        return Err(format!("its instructions have more than {INSTRUCTIONS_BYTES_MAX} bytes"));
    }
    Ok(())
}

/// ● Makes it. Blocks. Inner error: why not.
fn create(
    host: &Arc<Host>,
    by: &AgentId,
    name: &str,
    instructions: Option<&str>,
) -> Result<Result<String, String>, HostError> {
    let central = &host.central;
    if let Err(why) = check(name, instructions) {
        return Ok(Err(why));
    }
    let Some(maker) = central.agent(by)? else { return Ok(Err("its maker is gone".into())) };
    let local = destination_name(name);
    let done = format!(
        "Agent \"{local}\" created. You can now message it with <message to=\"{local}\">...</message>."
    );
    if central.creation(by, &local)?.is_some() {
        return Ok(Ok(done));
    }
    if central.destinations_of(by)?.iter().any(|d| d.name == local) {
        return Ok(Err(format!("you already have a destination named \"{local}\"")));
    }
    if central.creations(by)? >= CREATIONS_MAX {
        return Ok(Err(format!(
            "you made {CREATIONS_MAX} agents already; the owner can remove some"
        )));
    }
    let (folder, path) = match make_folder(host, &local)? {
        Ok(made) => made,
        Err(why) => return Ok(Err(why)),
    };
    let now = host.clock.now();
    let config = central.config(by)?;
    let agent = Agent {
        id: AgentId::parse(ids::mint("ag", now))?,
        name: name.to_owned(),
        folder,
        // What its maker runs on works here.
        provider: config.and_then(|c| c.provider).or(maker.provider),
        created_at: iso(now),
    };
    let made =
        seed(host, &path, instructions).and_then(|()| Ok(central.create_agent_for(by, &agent)?));
    if let Err(e) = made {
        // Nobody else knows this folder: it was made here.
        drop(std::fs::remove_dir_all(&path));
        return match e {
            HostError::Central(nanoclaw_central::Error::Refused(why)) => Ok(Err(why)),
            e => Err(e),
        };
    }
    host.trace("agent created", None, None, None, &format!("{} by {by}", agent.id));
    host.reproject(by)?;
    Ok(Ok(done))
}

/// ● A folder that was not there before, so that nobody's memory is inherited.
fn make_folder(host: &Host, name: &str) -> Result<Result<(String, PathBuf), String>, HostError> {
    let base: String = name.chars().take(FOLDER_CHARS).collect();
    for n in 1..=FOLDERS_MAX {
        let folder = if n == 1 { base.clone() } else { format!("{base}-{n}") };
        if !nanoclaw_central::is_folder_name(&folder) {
            continue;
        }
        let path = host.config.groups.join(&folder);
        match std::fs::DirBuilder::new().mode(0o755).create(&path) {
            Ok(()) => return Ok(Ok((folder, path))),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(HostError::Io(format!("create {}", path.display()), e)),
        }
    }
    Ok(Err(format!("no folder like {base:?} is free; choose another name")))
}

/// Its instructions become its memory. No box has the folder yet.
fn seed(host: &Host, folder: &Path, instructions: Option<&str>) -> Result<(), HostError> {
    if let Some(text) = instructions {
        let path = folder.join("CLAUDE.local.md");
        let write = || {
            let mut file =
                std::fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path)?;
            writeln!(file, "{}", text.trim_end())?;
            file.sync_all()
        };
        write().map_err(|e| HostError::Io(format!("write {}", path.display()), e))?;
        host.own_by_box(&[&path])?;
    }
    host.own_by_box(&[folder])
}
