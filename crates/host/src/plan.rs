//! Plans a box to the last mount before anything is started.

use crate::session::Files;
use crate::{EgressGrant, Host, HostError, boxes, mounts, servers};
use nanoclaw_central::{Agent, AgentConfig, Session};
use nanoclaw_contract::ids;
use nanoclaw_driver::{Access, BoxSpec, Limits, Mount, provide};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where things lie in a box.
const RUNNER: &str = "/opt/nanoclaw/nanoclaw-runner";
const NCL: &str = "/opt/nanoclaw/bin/ncl";
const HOME: &str = "/home/node";

/// Everything about the box of a session. Blocks: it projects what the agent may know into the inbox.
pub(crate) fn plan(
    host: &Arc<Host>,
    session: &Session,
    files: &Files,
    grant: &EgressGrant,
) -> Result<BoxSpec, HostError> {
    let agent = host
        .central
        .agent(&session.agent)?
        .ok_or_else(|| HostError::Unknown(format!("agent {}", session.agent)))?;
    if !ids::is_safe_name(&agent.folder) {
        return Err(HostError::Unknown(format!("{:?} as a folder name", agent.folder)));
    }
    let config = host.central.config(&agent.id)?.unwrap_or_default();
    let tools = boxes::tools(host, &agent.id, &config)?;
    let image = tools.image.or_else(|| config.image_tag.clone());
    if let Some(bad) = image.as_ref().filter(|image| !provide::is_image(image)) {
        return Err(HostError::Unknown(format!("{bad:?} as the name of an image")));
    }
    project(host, session, files)?;
    let root = files.dir.root();
    let folder = host.config.groups.join(&agent.folder);
    let home = root.join("home");
    make_dirs(host, &[&folder, &home])?;
    let container_json = root.join("container.json");
    write_new(&container_json, &container_json_of(host, session, &agent, &config)?)?;
    // The mount point of a file must exist; the agent cannot have made it a link while it is mounted.
    touch(&folder.join("container.json"));
    // A fresh box has no pulse yet. Never follows a link.
    drop(std::fs::remove_file(files.dir.writable().join(".heartbeat")));

    let mut mounts = vec![
        mount(root, "/workspace", Access::ReadOnly),
        mount(&files.dir.writable(), "/workspace/box", Access::ReadWrite),
        mount(&folder, "/workspace/agent", Access::ReadWrite),
        mount(&container_json, "/workspace/agent/container.json", Access::ReadOnly),
        mount(&home, HOME, Access::ReadWrite),
        mount(&host.config.runner, RUNNER, Access::ReadOnly),
        // The same program: called by this name, it is the agent's own `ncl`.
        mount(&host.config.runner, NCL, Access::ReadOnly),
    ];
    for (source, target) in [
        (host.config.tools.clone(), "/opt/nanoclaw/tools"),
        (host.config.container.join("CLAUDE.md"), "/app/CLAUDE.md"),
    ] {
        if source.exists() {
            mounts.push(mount(&source, target, Access::ReadOnly));
        }
    }
    mounts.extend(skills(host, session, &config.skills));
    mounts.extend(tools.mounts.into_iter().map(|m| Mount { source: real(&m.source), ..m }));
    let extra = mounts::of(host, session, &agent, &config.additional_mounts);
    extra.mounts.iter().try_for_each(|extra| mount_point(root, extra))?;
    mounts.extend(extra.mounts.into_iter().chain(extra.covers));
    if let Some(dir) = &grant.dir {
        mounts.push(mount(dir, "/run/vault", Access::ReadOnly));
    }
    let files = grant.files.iter().map(|(source, target)| Mount {
        source: real(source),
        target: target.clone(),
        access: Access::ReadOnly,
    });
    mounts.extend(files);
    Ok(BoxSpec {
        name: ids::mint(
            &format!("nanoclaw-{}-{}", host.config.install, plain(&agent.folder)),
            host.clock.now(),
        ),
        install: host.config.install.clone(),
        agent: session.agent.clone(),
        session: session.id.clone(),
        mounts,
        env: env(host, grant, &tools.search),
        command: vec![RUNNER.into()],
        cwd: PathBuf::from("/workspace/agent"),
        user: host.config.box_user,
        limits: limits(host, &session.agent)?,
        image,
        log: host.config.data.join("logs").join(format!("{}.log", session.id)),
    })
}

/// What the agent may know: where it is, and whom it may write to.
pub(crate) fn project(host: &Host, session: &Session, files: &Files) -> Result<(), HostError> {
    let destinations = host.central.destinations_of(&session.agent)?;
    let home = host.home(session)?;
    files.with(|inbox| {
        inbox.set_destinations(&destinations)?;
        inbox.set_routing(home.as_ref())
    })
}

/// What is the install's own, and no box can have made a link: somebody may have put it behind one.
fn mount(source: &Path, target: &str, access: Access) -> Mount {
    Mount { source: real(source), target: target.into(), access }
}

fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// The install's limits, where the agent has none of its own.
fn limits(host: &Host, agent: &ids::AgentId) -> Result<Limits, HostError> {
    let (own, install) = (host.central.agent_limits(agent)?, host.config.limits);
    Ok(Limits {
        memory_bytes: own.memory_mib.map_or(install.memory_bytes, |mib| u64::from(mib) << 20),
        pids: own.pids.unwrap_or(install.pids),
        cpu_millis: own.cpu_millis.unwrap_or(install.cpu_millis),
        ..install
    })
}

/// The skills that the agent may use: all, or those named.
fn skills(host: &Host, session: &Session, chosen: &Value) -> Vec<Mount> {
    const PLACE: &str = "/app/skills";
    let all = host.config.container.join("skills");
    let Some(names) = chosen.as_array() else {
        let there = all.is_dir() && chosen == "all";
        return there.then(|| mount(&all, PLACE, Access::ReadOnly)).into_iter().collect();
    };
    let mut mounts: Vec<Mount> = Vec::new();
    for name in names.iter().filter_map(Value::as_str) {
        let (source, target) = (all.join(name), format!("{PLACE}/{name}"));
        if !ids::is_safe_name(name) || !source.join("SKILL.md").is_file() {
            let why = format!("there is no skill {name:?}");
            host.trace("skill missing", None, Some(&session.id), None, &why);
            tracing::warn!(agent = %session.agent, "{why}");
        } else if !mounts.iter().any(|m| m.source == source) {
            mounts.push(mount(&source, &target, Access::ReadOnly));
        }
    }
    mounts
}

/// Makes the place of an additional mount in the session's own folder, which the box only reads.
fn mount_point(root: &Path, extra: &Mount) -> Result<(), HostError> {
    let Ok(inside) = extra.target.strip_prefix("/workspace") else { return Ok(()) };
    let (place, folder) = (root.join(inside), extra.source.is_dir());
    if place.symlink_metadata().is_ok_and(|m| m.is_dir() != folder) {
        // What was mounted here before was of another kind. Only ever empty, so nothing can be lost.
        drop(std::fs::remove_dir(&place).or_else(|_| std::fs::remove_file(&place)));
    }
    let made = match place.parent() {
        Some(parent) if !folder => std::fs::create_dir_all(parent).map(|()| touch(&place)),
        _ => std::fs::create_dir_all(&place),
    };
    made.map_err(|e| HostError::Io(format!("create {}", place.display()), e))
}

fn env(
    host: &Host,
    grant: &EgressGrant,
    search: &BTreeMap<String, Vec<String>>,
) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> = [
        ("HOME", HOME),
        (
            "PATH",
            "/opt/nanoclaw/tools/bin:/opt/nanoclaw/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
        ("LANG", "C.UTF-8"),
        ("TZ", &host.config.timezone),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .collect();
    env.extend(host.config.box_env.clone());
    env.extend(grant.env.clone());
    for (variable, dirs) in search {
        let before = env.get(variable).map(String::as_str).into_iter();
        let all: Vec<_> = dirs.iter().map(String::as_str).chain(before).collect();
        env.insert(variable.clone(), all.join(":"));
    }
    env
}

/// The file of v2's contract, from the agent's configuration.
fn container_json_of(
    host: &Host,
    session: &Session,
    agent: &Agent,
    config: &AgentConfig,
) -> Result<Vec<u8>, HostError> {
    let (servers, left_out) = servers::usable(&config.mcp_servers);
    for why in left_out {
        host.trace("server left out", None, Some(&session.id), None, &why);
        tracing::warn!(agent = %agent.id, "{why}");
    }
    let config = config.clone();
    let mut map = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value.filter(|v| !v.is_null()) {
            map.insert(key.into(), value);
        }
    };
    put("mcpServers", Some(servers.into()));
    put(
        "packages",
        Some(serde_json::json!({"apt": config.packages_apt, "npm": config.packages_npm})),
    );
    put("imageTag", config.image_tag.map(Value::from));
    put("additionalMounts", Some(config.additional_mounts));
    put("skills", Some(config.skills));
    let providers = [&session.provider, &config.provider, &agent.provider];
    let provider = providers.into_iter().flatten().find(|name| !name.trim().is_empty());
    let provider = provider.unwrap_or(&host.config.default_provider).to_lowercase();
    put("provider", Some(provider.into()));
    put("cliScope", Some(config.cli_scope.as_str().into()));
    put("groupName", Some(agent.name.clone().into()));
    put("assistantName", Some(config.assistant_name.unwrap_or_else(|| agent.name.clone()).into()));
    put("agentGroupId", Some(agent.id.as_str().into()));
    put("maxMessagesPerPrompt", config.max_messages_per_prompt.map(Value::from));
    put("model", config.model.map(Value::from));
    put("effort", config.effort.map(Value::from));
    put("streamPreviews", host.wants_previews(session)?.map(|_| true.into()));
    let mut text = serde_json::to_vec_pretty(&Value::Object(map))
        .map_err(|e| HostError::Unknown(e.to_string()))?;
    text.push(b'\n');
    Ok(text)
}

/// Folders that the box owns and nobody else on the machine reads.
pub(crate) fn make_dirs(host: &Host, dirs: &[&Path]) -> Result<(), HostError> {
    for dir in dirs {
        if !dir.exists() {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(dir)
                .map_err(|e| HostError::Io(format!("create {}", dir.display()), e))?;
        }
        host.own_by_box(&[dir])?;
    }
    Ok(())
}

/// Replaces a file in a folder that only the host writes, if its content changes.
fn write_new(path: &Path, content: &[u8]) -> Result<(), HostError> {
    if std::fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    let temp = path.with_extension("new");
    let write = || {
        std::fs::File::create(&temp)?.write_all(content)?;
        std::fs::rename(&temp, path)
    };
    write().map_err(|e| HostError::Io(format!("write {}", path.display()), e))
}

/// Makes an empty file if nothing is there. Never follows a link, never changes what is there.
fn touch(path: &Path) {
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
    if let Err(e) = made
        && e.kind() != std::io::ErrorKind::AlreadyExists
    {
        tracing::debug!(path = %path.display(), error = %e, "mount point not made");
    }
}

/// A folder name as part of a box's name.
fn plain(text: &str) -> String {
    text.chars()
        .take(32)
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect()
}
