//! Folders and files of the machine that an agent may see beside its own: only what the owner listed.
//!
//! The list is a file outside the install, in the owner's own hands, read anew for each box. What is
//! asked for is resolved to its real place first and judged there; the driver opens that place without
//! following a link and compares what it mounted, so that nothing can be put in its place in between.
//! Whatever is refused is told, never left out in silence. No list: nothing is mounted.

use crate::{Config, Host};
use nanoclaw_central::{Agent, Session};
use nanoclaw_driver::{Access, Mount};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Where they are in a box.
const PLACE: &str = "/workspace/extra";
const LIST_BYTES_MAX: u64 = 1 << 20;
const MOUNTS_MAX: usize = 64;
/// What lies behind a name that holds one of these is nobody's business.
const BLOCKED: [&str; 17] = [
    ".ssh",
    ".gnupg",
    ".gpg",
    ".aws",
    ".azure",
    ".gcloud",
    ".kube",
    ".docker",
    "credentials",
    ".env",
    ".netrc",
    ".npmrc",
    ".pypirc",
    "id_rsa",
    "id_ed25519",
    "private_key",
    ".secret",
];
/// The machine's own, with everything below.
const MACHINE: [&str; 6] = ["/proc", "/sys", "/dev", "/run", "/var/run", "/var/lib/docker"];

/// The owner's list.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    #[serde(default)]
    allowed_roots: Vec<Root>,
    #[serde(default)]
    blocked_patterns: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Root {
    path: String,
    #[serde(default)]
    allow_read_write: bool,
}

/// What an agent's configuration asks for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    host_path: String,
    #[serde(default)]
    container_path: Option<String>,
    #[serde(default)]
    readonly: Option<bool>,
}

/// Something that is not mounted, and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    what: String,
    why: String,
}

/// Everything that a box of this agent gets. Tells the owner what it does not get, once. Blocks.
pub(crate) fn of(host: &Arc<Host>, session: &Session, agent: &Agent, asked: &Value) -> Vec<Mount> {
    let (mounts, refused) = judge(&host.config, asked);
    for Refused { what, why } in refused {
        let text = format!("{what}: {why}");
        host.trace("mount refused", None, Some(&session.id), None, &text);
        tracing::warn!(agent = %agent.id, what, why, "mount refused");
        host.notify_owner(
            &format!("mount:{}:{text}", agent.id),
            &format!("⚠️ {} does not see {what}: {why}.", agent.name),
        );
    }
    mounts
}

fn judge(config: &Config, asked: &Value) -> (Vec<Mount>, Vec<Refused>) {
    let (mut mounts, mut refused) = (Vec::new(), Vec::new());
    let Some(all) = asked.as_array().filter(|all| !all.is_empty()) else {
        return (mounts, refused);
    };
    let list = read(&list_path(config));
    let mut places = BTreeSet::new();
    for one in all {
        let what = one.get("hostPath").and_then(Value::as_str).map_or_else(
            || one.to_string(),
            |path| path.chars().filter(|c| !c.is_control()).take(200).collect(),
        );
        let judged = list.as_ref().map_err(Clone::clone).and_then(|list| admit(config, list, one));
        match judged {
            Ok(_) if places.len() >= MOUNTS_MAX => {
                refused.push(Refused { what, why: format!("only {MOUNTS_MAX} are mounted") });
            }
            // One inside another would need a place made in somebody's folder.
            Ok(mount) if places.iter().any(|p: &PathBuf| overlap(p, &mount.target)) => {
                let why = format!("another one is at {} already", mount.target.display());
                refused.push(Refused { what, why });
            }
            Ok(mount) => {
                places.insert(mount.target.clone());
                mounts.push(mount);
            }
            Err(why) => refused.push(Refused { what, why }),
        }
    }
    (mounts, refused)
}

fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn list_path(config: &Config) -> PathBuf {
    config.home.join(".config/nanoclaw/mount-allowlist.json")
}

fn read(path: &Path) -> Result<List, String> {
    let named = |what: &str| format!("{} {what}", path.display());
    match path.metadata() {
        Err(_) => return Err(named("does not exist, so nothing of the machine may be mounted")),
        Ok(meta) if meta.len() > LIST_BYTES_MAX => return Err(named("is too large")),
        Ok(_) => {}
    }
    let text = std::fs::read_to_string(path).map_err(|e| named(&format!("cannot be read: {e}")))?;
    serde_json::from_str(&text).map_err(|e| named(&format!("is malformed ({e})")))
}

/// Judges one of them. The reason is for the owner.
fn admit(config: &Config, list: &List, asked: &Value) -> Result<Mount, String> {
    let asked: Asked =
        serde_json::from_value(asked.clone()).map_err(|e| format!("it is malformed ({e})"))?;
    let path = expand(config, &asked.host_path)
        .ok_or("it is neither absolute nor below ~; give its full path")?;
    let real = path.canonicalize().map_err(|e| format!("it cannot be found ({e})"))?;
    let place = match asked.container_path.as_deref().map(str::trim) {
        Some(place) => place.to_owned(),
        None => path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned(),
    };
    let target = Path::new(PLACE).join(inside(&place)?);
    reserved(config, &real)?;
    let name = blocked(&real, &list.blocked_patterns);
    if let Some(pattern) = name {
        return Err(format!("its path holds {pattern:?}, which is never mounted"));
    }
    let meta = real.symlink_metadata().map_err(|e| format!("it cannot be read ({e})"))?;
    if !meta.is_dir() && !meta.is_file() {
        let kind = if meta.file_type().is_socket() { "a socket" } else { "no folder or file" };
        return Err(format!("it is {kind}"));
    }
    let root = list.allowed_roots.iter().find(|root| {
        let real_root = expand(config, &root.path).and_then(|p| p.canonicalize().ok());
        real_root.is_some_and(|root| real.starts_with(root))
    });
    let root = root.ok_or_else(|| {
        format!("it is in none of the allowedRoots of {}", list_path(config).display())
    })?;
    let write = asked.readonly == Some(false) && root.allow_read_write;
    let access = if write { Access::ReadWrite } else { Access::ReadOnly };
    Ok(Mount { source: real, target, access })
}

fn expand(config: &Config, path: &str) -> Option<PathBuf> {
    let path = match path.strip_prefix('~') {
        Some("") => config.home.clone(),
        Some(rest) => config.home.join(rest.strip_prefix('/')?),
        None => PathBuf::from(path),
    };
    path.is_absolute().then_some(path)
}

/// A place in the box: relative, plain, and no option to anybody.
fn inside(place: &str) -> Result<&str, String> {
    let plain = |part| matches!(part, Component::Normal(_));
    let bad = place.is_empty()
        || place.len() > 255
        || place.contains([':', ','])
        || place.chars().any(char::is_control)
        || !Path::new(place).components().all(plain)
        || Path::new(place).components().collect::<PathBuf>().as_os_str() != place;
    match bad {
        true => Err("its containerPath must be a plain relative path without `..` and `:`".into()),
        false => Ok(place),
    }
}

/// Refuses the machine's own places and ours, and whatever holds them.
fn reserved(config: &Config, real: &Path) -> Result<(), String> {
    if real.as_os_str().as_bytes().iter().any(|b| b.is_ascii_control() || b":,".contains(b)) {
        return Err("its path holds a character that cannot be mounted".into());
    }
    if MACHINE.iter().any(|dir| real.starts_with(dir) || Path::new(dir).starts_with(real)) {
        return Err("it belongs to the machine itself".into());
    }
    let list = list_path(config);
    let list = list.parent().unwrap_or(&list);
    let own = [&config.data, &config.groups, &config.container, &config.tools, &config.runner];
    for own in own.into_iter().map(PathBuf::as_path).chain([list]) {
        let own = own.canonicalize().unwrap_or_else(|_| own.to_owned());
        if real.starts_with(&own) || own.starts_with(real) {
            return Err("it is, or holds, a part of this install".into());
        }
    }
    match config.home.canonicalize().is_ok_and(|home| home.starts_with(real)) {
        true => {
            Err("it is, or holds, a whole home folder; list the folders in it that matter".into())
        }
        false => Ok(()),
    }
}

/// The pattern that a part of this path holds.
fn blocked(real: &Path, more: &[String]) -> Option<String> {
    let whole = real.to_string_lossy().to_lowercase();
    let patterns = BLOCKED.iter().map(|p| (*p).to_owned());
    let mut patterns = patterns.chain(more.iter().map(|p| p.trim().to_lowercase()));
    patterns.find(|pattern| {
        // A pattern with a slash is about more than one part.
        !pattern.is_empty()
            && match pattern.contains('/') {
                true => whole.contains(pattern.as_str()),
                false => whole.split('/').any(|part| part.contains(pattern.as_str())),
            }
    })
}

#[cfg(test)]
mod tests;
