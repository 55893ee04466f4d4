//! Folders and files of the machine that an agent may see beside its own: only what the owner listed.
//!
//! The list is a file outside the install, in the owner's own hands, read anew for each box. What is
//! asked for is resolved to its real place first and judged there; the driver opens that place without
//! following a link and compares what it mounted, so that nothing can be put in its place in between.
//! Then it is looked through: what names say is secret is covered with nothing, and what people's own
//! programs would run is read-only. Whatever is refused or hidden is told, never left out in silence. No
//! list: nothing is mounted. Next: [`judge`].

mod names;
mod search;

use nanoclaw_driver::{Access, Mount};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

/// Where they are in a box.
const PLACE: &str = "/workspace/extra";
const LIST_BYTES_MAX: u64 = 1 << 20;
const MOUNTS_MAX: usize = 64;
/// All that one box has of these, with what covers them: a driver takes 256 mounts.
const ALL_MAX: usize = 200;
const NAMED_MAX: usize = 8;
/// The machine's own, with everything below.
const MACHINE: [&str; 8] = [
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/var/run",
    "/var/lib/docker",
    "/var/lib/containers",
    "/var/lib/containerd",
];

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

/// The install, whose own folders no agent sees.
#[derive(Debug, Clone)]
pub struct Install {
    /// The home of whoever runs the host; the list is in it.
    pub home: PathBuf,
    /// Everything that is the install's own.
    pub own: Vec<PathBuf>,
    /// A folder of the install's own, for what covers what must not be seen.
    pub empty: PathBuf,
}

/// Something that an agent does not see, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What was asked for.
    pub what: String,
    /// Why it, or a part of it, is not there.
    pub why: String,
    /// Whether all of it is missing, or only a part.
    pub refused: bool,
}

/// What a box gets.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// What was asked for and allowed.
    pub mounts: Vec<Mount>,
    /// What lies over parts of it, in mount order.
    pub covers: Vec<Mount>,
    /// What is for the owner to know.
    pub notes: Vec<Note>,
}

/// Judges everything that an agent's configuration asks for. Blocks: it looks through whole folders.
pub fn judge(install: &Install, asked: &Value) -> Judged {
    let mut judged = Judged::default();
    let Some(all) = asked.as_array().filter(|all| !all.is_empty()) else { return judged };
    let list = read(&install.list());
    let mut places = BTreeSet::new();
    for one in all {
        let what: String = one.get("hostPath").and_then(Value::as_str).map_or_else(
            || one.to_string(),
            |path| path.chars().filter(|c| !c.is_control()).take(200).collect(),
        );
        let taken = |place: &Path| places.iter().find(|p: &&PathBuf| overlap(p, place)).cloned();
        let admitted = list.as_ref().map_err(Clone::clone).and_then(|list| {
            let mount = admit(install, list, one)?;
            // One inside another would need a place made in somebody's folder.
            match taken(&mount.target) {
                _ if places.len() >= MOUNTS_MAX => Err(format!("only {MOUNTS_MAX} are mounted")),
                Some(place) => Err(format!("another one is at {} already", place.display())),
                None => cover(install, list, &mount).map(|(covers, why)| (mount, covers, why)),
            }
        });
        let count = judged.mounts.len() + judged.covers.len();
        match admitted {
            Ok((_, covers, _)) if count + covers.len() >= ALL_MAX => {
                let why = "too much in what is mounted has to be hidden or protected".into();
                judged.notes.push(Note { what, why, refused: true });
            }
            Ok((mount, covers, why)) => {
                places.insert(mount.target.clone());
                judged.mounts.push(mount);
                judged.covers.extend(covers);
                judged.notes.extend(why.map(|why| Note { what, why, refused: false }));
            }
            Err(why) => judged.notes.push(Note { what, why, refused: true }),
        }
    }
    judged
}

/// What has to lie over parts of a mount, and what is told of it.
fn cover(
    install: &Install,
    list: &List,
    mount: &Mount,
) -> Result<(Vec<Mount>, Option<String>), String> {
    if !mount.source.is_dir() {
        return Ok((Vec::new(), None));
    }
    let found =
        search::search(&mount.source, mount.access == Access::ReadWrite, &list.blocked_patterns)?;
    let inside = |path: &Path| path.strip_prefix(&mount.source).unwrap_or(path).to_owned();
    let mut covers = Vec::new();
    let mut over = |source: &Path, path: &Path, access| {
        let target = mount.target.join(inside(path));
        covers.push(Mount { source: source.to_owned(), target, access });
    };
    for path in &found.held {
        over(path, path, Access::ReadWrite);
    }
    for path in &found.frozen {
        over(path, path, Access::ReadOnly);
    }
    if found.hidden.is_empty() {
        return Ok((covers, None));
    }
    let (folder, file) = empties(&install.empty)
        .map_err(|e| format!("what would hide its secrets cannot be made ({e})"))?;
    for (path, is_folder) in &found.hidden {
        over(if *is_folder { &folder } else { &file }, path, Access::ReadOnly);
    }
    let names = found.hidden.iter().take(NAMED_MAX);
    let names: Vec<_> = names.map(|(path, _)| inside(path).display().to_string()).collect();
    let more = found.hidden.len() - names.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Ok((covers, Some(format!("these are empty for it: {}{more}", names.join(", ")))))
}

/// An empty folder and an empty file that everybody may read.
fn empties(dir: &Path) -> std::io::Result<(PathBuf, PathBuf)> {
    std::fs::create_dir_all(dir.join("folder"))?;
    let (folder, file) = (dir.join("folder").canonicalize()?, dir.join("file"));
    std::fs::File::options().create(true).append(true).open(&file)?;
    for (path, mode) in [(&folder, 0o555), (&file, 0o444)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    Ok((folder, file.canonicalize()?))
}

fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

impl Install {
    fn list(&self) -> PathBuf {
        self.home.join(".config/nanoclaw/mount-allowlist.json")
    }
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
fn admit(install: &Install, list: &List, asked: &Value) -> Result<Mount, String> {
    let asked: Asked =
        serde_json::from_value(asked.clone()).map_err(|e| format!("it is malformed ({e})"))?;
    let path = expand(install, &asked.host_path)
        .ok_or("it is neither absolute nor below ~; give its full path")?;
    let real = path.canonicalize().map_err(|e| format!("it cannot be found ({e})"))?;
    let place = match asked.container_path.as_deref().map(str::trim) {
        Some(place) => place.to_owned(),
        None => path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned(),
    };
    let target = Path::new(PLACE).join(inside(&place)?);
    reserved(install, &real)?;
    let name = names::blocked(&real, &list.blocked_patterns);
    if let Some(pattern) = name {
        return Err(format!("its path holds {pattern:?}, which is never mounted"));
    }
    let meta = real.symlink_metadata().map_err(|e| format!("it cannot be read ({e})"))?;
    if !meta.is_dir() && !meta.is_file() {
        let kind = if meta.file_type().is_socket() { "a socket" } else { "no folder or file" };
        return Err(format!("it is {kind}"));
    }
    let root = list.allowed_roots.iter().find(|root| {
        let real_root = expand(install, &root.path).and_then(|p| p.canonicalize().ok());
        real_root.is_some_and(|root| real.starts_with(root))
    });
    let root = root.ok_or_else(|| {
        format!("it is in none of the allowedRoots of {}", install.list().display())
    })?;
    let write = asked.readonly == Some(false) && root.allow_read_write;
    let home = install.home.canonicalize().unwrap_or_else(|_| install.home.clone());
    if write && let Some(part) = names::of_home(&real, &home) {
        return Err(format!("a shell or desktop runs what is in ~/{part}; ask for it read-only"));
    }
    let access = if write { Access::ReadWrite } else { Access::ReadOnly };
    Ok(Mount { source: real, target, access })
}

fn expand(install: &Install, path: &str) -> Option<PathBuf> {
    let path = match path.strip_prefix('~') {
        Some("") => install.home.clone(),
        Some(rest) => install.home.join(rest.strip_prefix('/')?),
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
fn reserved(install: &Install, real: &Path) -> Result<(), String> {
    if real.as_os_str().as_bytes().iter().any(|b| b.is_ascii_control() || b":,".contains(b)) {
        return Err("its path holds a character that cannot be mounted".into());
    }
    if MACHINE.iter().any(|dir| real.starts_with(dir) || Path::new(dir).starts_with(real)) {
        return Err("it belongs to the machine itself".into());
    }
    let list = install.list();
    let list = list.parent().unwrap_or(&list);
    for own in install.own.iter().map(PathBuf::as_path).chain([list]) {
        let own = own.canonicalize().unwrap_or_else(|_| own.to_owned());
        if real.starts_with(&own) || own.starts_with(real) {
            return Err("it is, or holds, a part of this install".into());
        }
    }
    match install.home.canonicalize().is_ok_and(|home| home.starts_with(real)) {
        true => {
            Err("it is, or holds, a whole home folder; list the folders in it that matter".into())
        }
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
