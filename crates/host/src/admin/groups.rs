//! `ncl groups`: agents and how their boxes are set up.

use super::Caller;
use super::given::{self, Answer, No, change, need, number, on, page, parse, text};
use crate::boxes::{self, Change, McpServer};
use crate::{Host, HostError, blocking, fault, lock, plan};
use nanoclaw_admin::args::Args;
use nanoclaw_admin::table::{Flag, Verb};
use nanoclaw_admin::wire::Code;
use nanoclaw_central::{
    Agent, AgentConfig, CliScope, FOLDER_BYTES_MAX, Removed, SessionFilter, destination_name,
};
use nanoclaw_contract::ids::{self, AgentId, SessionId, is_safe_name};
use nanoclaw_contract::time::iso;
use nanoclaw_driver::provide::is_image;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long boxes may take to end before something is removed.
const ENDED_WITHIN: Duration = Duration::from_secs(20);
/// Most tool servers, packages or mounts of one agent.
const ITEMS_MAX: usize = 100;
/// When a change of the configuration takes effect.
const LATER: &str = "in force when its boxes start next; `ncl groups restart` does that now";

pub(crate) fn act(host: &Arc<Host>, verb: &Verb, args: &Args) -> Answer {
    match verb.verb {
        "list" => {
            let agents = host.central.agents()?;
            Ok(page(verb, args, agents.iter().map(|a| row(host, a)).collect()))
        }
        "create" => create(host, args),
        "config get" => config(host, &find(host, args)?.id),
        "config update" => update_config(host, verb, args),
        "config remove-mount" => remove_mount(host, args),
        "config add-mount" => add_mount(host, args),
        "update" => {
            let agent = find(host, args)?;
            host.central.rename_agent(&agent.id, &given::name(args, "name")?)?;
            Ok(row(host, &find(host, args)?))
        }
        _ => in_full(host, &find(host, args)?),
    }
}

fn find(host: &Host, args: &Args) -> Result<Agent, No> {
    let missing = || No::missing("group", text(args, "id").unwrap_or_default(), "groups");
    host.central.agent(&parse(args, "id")?)?.ok_or_else(missing)
}

/// The agent that is meant, looked up off the async threads.
async fn found(host: &Arc<Host>, args: &Args) -> Result<Agent, No> {
    let (host, args) = (host.clone(), args.clone());
    blocking(move || Ok(find(&host, &args))).await?
}

fn row(host: &Host, a: &Agent) -> Value {
    let config = host.central.config(&a.id).ok().flatten().unwrap_or_default();
    let provider = config.provider.or_else(|| a.provider.clone());
    json!({"id": a.id, "name": a.name, "folder": a.folder, "provider": provider, "created_at": a.created_at})
}

fn in_full(host: &Host, a: &Agent) -> Answer {
    let mut value = row(host, a);
    let only = SessionFilter { agent: Some(a.id.clone()), ..SessionFilter::default() };
    let sessions = host.central.sessions_where(&only, 100_000, 0)?.len();
    if let Value::Object(map) = &mut value {
        map.insert("sessions".into(), sessions.into());
        let path = host.config.groups.join(&a.folder);
        map.insert("path".into(), path.display().to_string().into());
    }
    Ok(value)
}

/// The row, the configuration and the folder: it can start.
fn create(host: &Arc<Host>, args: &Args) -> Answer {
    let name = given::name(args, "name")?;
    let provider = text(args, "provider").map(|p| plain("provider", p)).transpose()?;
    let now = host.clock.now();
    let id = match text(args, "id") {
        Some(id) => plain("id", id)?,
        None => ids::mint("ag", now),
    };
    let id = AgentId::parse(id).map_err(HostError::from)?;
    if host.central.agent(&id)?.is_some() {
        return Err(No::failed(format!("there is a group {id} already")));
    }
    let folder = match text(args, "folder") {
        Some(folder) => folder.to_owned(),
        None => free_folder(host, &name)?,
    };
    let agent = Agent { id, name, folder, provider: None, created_at: iso(now) };
    host.central.create_agent(&agent)?;
    host.central.edit_config(&agent.id, now, |c| -> Result<(), No> {
        c.provider = provider;
        Ok(())
    })?;
    plan::make_dirs(host, &[&host.config.groups.join(&agent.folder)])?;
    Ok(row(host, &agent))
}

/// A folder of that name that nobody has, also not as the rest of a removed agent.
fn free_folder(host: &Host, name: &str) -> Result<String, No> {
    let mut base = destination_name(name);
    base.truncate(FOLDER_BYTES_MAX - 4);
    let taken: Vec<String> =
        host.central.agents()?.into_iter().map(|a| a.folder.to_lowercase()).collect();
    let free = |f: &String| !taken.contains(f) && !host.config.groups.join(f).exists();
    let names = std::iter::once(base.clone()).chain((2..1000).map(|n| format!("{base}-{n}")));
    names.into_iter().find(free).ok_or_else(|| No::bad("say a --folder: too many are called so"))
}

/// A word that ends up in a path, a file or a command.
fn plain(what: &str, word: &str) -> Result<String, No> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let starts = word.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !starts || word.len() > 100 || !word.chars().all(fits) {
        return Err(No::bad(format!(
            "--{} takes letters, digits, -, _ and ., and begins with a letter or digit",
            what.replace('_', "-")
        )));
    }
    Ok(word.to_owned())
}

fn config(host: &Host, id: &AgentId) -> Answer {
    let c = host.central.config(id)?.unwrap_or_default();
    let limits = host.central.agent_limits(id)?;
    Ok(json!({
        "agent_group_id": id,
        "provider": c.provider,
        "model": c.model,
        "effort": c.effort,
        "image_tag": c.image_tag,
        "assistant_name": c.assistant_name,
        "max_messages_per_prompt": c.max_messages_per_prompt,
        "skills": c.skills,
        "mcp_servers": c.mcp_servers,
        "packages_apt": c.packages_apt,
        "packages_npm": c.packages_npm,
        "additional_mounts": c.additional_mounts,
        "cli_scope": c.cli_scope.as_str(),
        "memory_mib": limits.memory_mib,
        "pids": limits.pids,
        "cpu_millis": limits.cpu_millis,
    }))
}

fn update_config(host: &Arc<Host>, verb: &Verb, args: &Args) -> Answer {
    let agent = find(host, args)?.id;
    if args.len() == 1 {
        let names: Vec<_> = verb.flags.iter().filter(|f| f.name != "id").map(Flag::spelt).collect();
        let text = format!("nothing to update; say at least one of {}", names.join(", "));
        return Err(No::bad(text));
    }
    // Everything is judged before anything changes.
    apply(&mut host.central.config(&agent)?.unwrap_or_default(), args)?;
    let mut limits = host.central.agent_limits(&agent)?;
    for (name, limit) in [
        ("memory_mib", &mut limits.memory_mib),
        ("pids", &mut limits.pids),
        ("cpu_millis", &mut limits.cpu_millis),
    ] {
        if args.contains_key(name) {
            let n = number(args, name).map(u32::try_from).transpose();
            *limit = n.map_err(|_| No::bad(format!("{name} takes a smaller number")))?;
        }
    }
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if limits.cpu_millis.is_some_and(|millis| millis as usize > 1000 * cpus) {
        return Err(No::bad(format!("this machine has {cpus} CPUs: --cpu-millis up to {cpus}000")));
    }
    host.central.put_agent_limits(&agent, limits)?;
    host.central.edit_config(&agent, host.clock.now(), |c| apply(c, args))?;
    noted(config(host, &agent)?)
}

/// Puts what was said into a configuration.
fn apply(c: &mut AgentConfig, args: &Args) -> Result<(), No> {
    for (name, field) in [("provider", &mut c.provider), ("effort", &mut c.effort)] {
        if let Some(word) = change(args, name) {
            *field = word.map(|w| plain(name, &w)).transpose()?;
        }
    }
    if let Some(image) = change(args, "image_tag") {
        if image.as_ref().is_some_and(|name| !is_image(name)) {
            return Err(No::bad("--image-tag takes the name of an image, such as agents:7"));
        }
        c.image_tag = image;
    }
    for (name, field) in [("model", &mut c.model), ("assistant_name", &mut c.assistant_name)] {
        if let Some(word) = change(args, name) {
            let odd = |w: &String| w.starts_with('-') || w.chars().any(char::is_control);
            if word.as_ref().is_some_and(odd) {
                let name = name.replace('_', "-");
                return Err(No::bad(format!("--{name} begins with no - and is one line")));
            }
            *field = word;
        }
    }
    if args.contains_key("max_messages_per_prompt") {
        c.max_messages_per_prompt = number(args, "max_messages_per_prompt").filter(|n| *n > 0);
    }
    if let Some(skills) = change(args, "skills") {
        c.skills = skills_of(skills.as_deref())?;
    }
    if let Some(scope) = text(args, "cli_scope").and_then(CliScope::parse) {
        c.cli_scope = scope;
    }
    Ok(())
}

/// Adds when it takes effect.
fn noted(mut value: Value) -> Answer {
    if let Value::Object(map) = &mut value {
        map.insert("note".into(), LATER.into());
    }
    Ok(value)
}

fn skills_of(text: Option<&str>) -> Result<Value, No> {
    let names: Vec<_> = match text {
        None | Some("all") => return Ok("all".into()),
        Some("none") => Vec::new(),
        Some(names) => names.split(',').map(str::trim).collect(),
    };
    if names.iter().any(|n| !is_safe_name(n)) || names.len() > ITEMS_MAX {
        return Err(No::bad("--skills takes all, none, or names with commas between"));
    }
    Ok(names.into())
}

/// The packages that were named, by kind.
fn packages(args: &Args) -> Result<(Vec<String>, Vec<String>), No> {
    let of = |kind| text(args, kind).map(str::to_owned).into_iter().collect::<Vec<_>>();
    let (apt, npm) = (of("apt"), of("npm"));
    if apt.is_empty() && npm.is_empty() {
        return Err(No::bad("which package? --apt NAME or --npm NAME"));
    }
    Ok((apt, npm))
}

/// Whether a command changes what boxes are made of, which goes on after a kill.
pub(crate) fn changes_box(command: &str, args: &Args) -> bool {
    match command {
        "groups-restart" => on(args, "rebuild"),
        "groups-config-add-mcp-server"
        | "groups-config-remove-mcp-server"
        | "groups-config-add-package"
        | "groups-config-remove-package" => true,
        _ => false,
    }
}

/// Changes what boxes are made of; answers when they have it, or why they do not.
pub(crate) async fn change_box(
    host: &Arc<Host>,
    caller: &Caller,
    verb: &Verb,
    args: &Args,
) -> Answer {
    let agent = found(host, args).await?.id;
    let change = match verb.verb {
        "restart" => Change::Anew { message: text(args, "message").map(str::to_owned) },
        "config add-package" => {
            let (apt, npm) = packages(args)?;
            Change::Packages { apt, npm }
        }
        "config add-mcp-server" => Change::server(server(args)?).map_err(No::failed)?,
        "config remove-package" => {
            let (apt, npm) = packages(args)?;
            Change::Gone { apt, npm, server: None }
        }
        _ => {
            let server = Some(need(args, "name")?.to_owned());
            Change::Gone { apt: Vec::new(), npm: Vec::new(), server }
        }
    };
    let session = match caller {
        Caller::Agent(_, asks, session) if *asks == agent => session.as_ref(),
        Caller::Agent(..) => None,
        Caller::Operator => {
            let (h, a) = (host.clone(), agent.clone());
            let parts = blocking(move || Ok(h.central.box_parts(&a)?)).await?;
            if let Some(name) = change.missing(&parts) {
                return Err(not_there(name, &agent));
            }
            None
        }
    };
    let note = boxes::carry_out(host, &agent, session, change).await.map_err(No::failed)?;
    Ok(json!({"agent_group_id": agent, "note": note}))
}

fn not_there(what: &str, agent: &AgentId) -> No {
    let text = format!("{what} is not there; see `ncl groups config get {agent}`");
    No::because(Code::NotFound, text)
}

fn server(args: &Args) -> Result<McpServer, No> {
    let list = args.get("args").cloned().map(serde_json::from_value);
    let map = args.get("env").cloned().map(serde_json::from_value);
    let bad = |e: serde_json::Error| No::bad(e.to_string());
    Ok(McpServer {
        name: need(args, "name")?.to_owned(),
        command: need(args, "command")?.to_owned(),
        args: list.transpose().map_err(bad)?.unwrap_or_default(),
        env: map.transpose().map_err(bad)?.unwrap_or_default(),
    })
}

fn add_mount(host: &Arc<Host>, args: &Args) -> Answer {
    let agent = find(host, args)?.id;
    let path = need(args, "path")?;
    let whole = |p: &Path| p.components().all(|c| !matches!(c, std::path::Component::ParentDir));
    if !(Path::new(path).is_absolute() || path.starts_with("~/")) || !whole(Path::new(path)) {
        return Err(No::bad("--path is absolute, or begins with ~/, and has no .."));
    }
    let own = Path::new(path).file_name().and_then(|n| n.to_str());
    let Some(target) = text(args, "target").or(own) else {
        return Err(No::bad("say a --target: the folder has no name of its own"));
    };
    if Path::new(target).is_absolute() || !whole(Path::new(target)) || target.contains(':') {
        return Err(No::bad("--target is relative, without .. and without :"));
    }
    let mount =
        json!({"hostPath": path, "containerPath": target, "readonly": !on(args, "writable")});
    host.central.edit_config(&agent, host.clock.now(), |c| {
        let mut mounts = c.additional_mounts.as_array().cloned().unwrap_or_default();
        mounts.retain(|m| m.get("hostPath").and_then(Value::as_str) != Some(path));
        if mounts.len() >= ITEMS_MAX {
            return Err(No::bad(format!("it has {ITEMS_MAX} mounts already")));
        }
        mounts.push(mount.clone());
        c.additional_mounts = mounts.into();
        Ok(())
    })?;
    Ok(json!({"added": mount, "note": LATER}))
}

fn remove_mount(host: &Arc<Host>, args: &Args) -> Answer {
    let (agent, path) = (find(host, args)?.id, need(args, "path")?);
    host.central.edit_config(&agent, host.clock.now(), |c| {
        let mounts = c.additional_mounts.as_array_mut();
        let before = mounts.as_ref().map_or(0, |all| all.len());
        let left = mounts.map_or(0, |all| {
            all.retain(|m| m.get("hostPath").and_then(Value::as_str) != Some(path));
            all.len()
        });
        if left < before { Ok(()) } else { Err(not_there(path, &agent)) }
    })?;
    Ok(json!({"removed": path, "note": LATER}))
}

/// Stops the boxes of an agent; with a message, the new ones start at once and are told.
pub(crate) async fn restart(host: &Arc<Host>, args: &Args) -> Answer {
    let agent = found(host, args).await?.id;
    let stopped = boxes::restart_agent(host, &agent, text(args, "message")).await?;
    Ok(json!({"restarted": stopped}))
}

/// Removes an agent or a chat: nothing begins any more, boxes end, files go aside, rows go. Cut short at any
/// point, the same call does the rest.
pub(crate) async fn delete(host: &Arc<Host>, verb: &Verb, args: &Args) -> Answer {
    let (h, given, agents) = (host.clone(), args.clone(), verb.resource == "groups");
    let (what, folder, sessions) = blocking(move || Ok(going(&h, &given, agents))).await??;
    fault::point("host.removal.begun");
    for id in &sessions {
        host.wake(id).stop();
    }
    let until = Instant::now() + ENDED_WITHIN;
    while sessions.iter().any(|id| lock(&host.live).contains_key(id)) {
        if Instant::now() >= until {
            let text =
                "its boxes are still stopping; it takes no more messages: ask again in a moment";
            return Err(No::failed(text));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let h = host.clone();
    blocking(move || Ok(forget(&h, &what, folder.as_deref(), &sessions))).await?
}

type Going = (Removed, Option<String>, Vec<SessionId>);

/// What goes, its folder and its sessions; from here on nothing begins there.
fn going(host: &Arc<Host>, args: &Args, agents: bool) -> Result<Going, No> {
    let id = text(args, "id").unwrap_or_default();
    let (what, only, folder) = if agents {
        let agent = find(host, args)?;
        let only = SessionFilter { agent: Some(agent.id.clone()), ..SessionFilter::default() };
        (Removed::Agent(agent.id), only, Some(agent.folder))
    } else {
        let chat = super::chats::find(host, args)?.id;
        let only = SessionFilter { chat: Some(chat.clone()), ..SessionFilter::default() };
        (Removed::Chat(chat), only, None)
    };
    let count = host.central.sessions_where(&only, 100_000, 0)?.len();
    if count > 0 && !on(args, "force") {
        let text =
            format!("{id} has {count} session(s); --force ends them and puts their files aside");
        return Err(No::failed(text));
    }
    let sessions = host.central.retire(&what, host.clock.now())?;
    Ok((what, folder, sessions))
}

fn forget(
    host: &Arc<Host>,
    what: &Removed,
    folder: Option<&str>,
    sessions: &[SessionId],
) -> Answer {
    let mut aside = Map::new();
    let stamp = host.clock.now().as_millisecond();
    let mut put = |from: PathBuf| -> Result<(), HostError> {
        let Some(name) = from.file_name().and_then(|n| n.to_str()) else { return Ok(()) };
        // Beside where it was: never another file system, and no name that an agent can have.
        let to = from.with_file_name(format!(".removed-{name}-{stamp}"));
        match std::fs::rename(&from, &to) {
            Ok(()) => {
                aside.insert(from.display().to_string(), to.display().to_string().into());
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(HostError::Io(format!("put {} aside", from.display()), e)),
        }
        Ok(())
    };
    let all = host.config.data.join("v2-sessions");
    for id in sessions {
        if let Some(s) = host.central.session(id)?.filter(|s| s.agent.is_safe_name()) {
            put(all.join(s.agent.as_str()).join(s.id.as_str()))?;
        }
        lock(&host.files).remove(id);
    }
    if let Some(folder) = folder.filter(|f| is_safe_name(f)) {
        put(host.config.groups.join(folder))?;
    }
    host.close_files();
    fault::point("host.removal.aside");
    host.central.remove(what)?;
    let id = match what {
        Removed::Agent(id) => id.as_str(),
        Removed::Chat(id) => id.as_str(),
    };
    Ok(json!({"deleted": id, "put_aside": aside}))
}
