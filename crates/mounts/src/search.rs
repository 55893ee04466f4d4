//! Looks through a folder before a box may see it: what must be hidden, and what must not be written.
//!
//! Never follows a link, and gives up, with a reason, on a folder that is too large to be looked through.
//! What the box may not write is safe only if the folders above it cannot be moved away, so these become
//! mounts of their own.

#[cfg(test)]
mod tests;

use crate::names;
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Error, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

const ENTRIES_MAX: usize = 500_000;
/// An engine and the kernel have to carry each of them.
const COVERS_MAX: usize = 120;

/// What was found, each as its path on the host.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Nothing of it may be seen; whether it is a folder.
    pub(crate) hidden: Vec<(PathBuf, bool)>,
    /// May be read only.
    pub(crate) frozen: BTreeSet<PathBuf>,
    /// Folders above what is frozen, which may not be moved.
    pub(crate) held: BTreeSet<PathBuf>,
}

struct Search<'a> {
    root: &'a Path,
    write: bool,
    more: &'a [String],
    found: Found,
    left: Vec<PathBuf>,
    entries: usize,
}

/// Looks through `root`. The reason, if it may not be mounted at all, is for the owner.
pub(crate) fn search(root: &Path, write: bool, more: &[String]) -> Result<Found, String> {
    if let Some(inner) = inner_mount(root)? {
        return Err(format!("another file system is mounted in it, at {}", inner.display()));
    }
    let (found, left) = (Found::default(), vec![root.to_owned()]);
    let mut search = Search { root, write, more, found, left, entries: 0 };
    while let Some(dir) = search.left.pop() {
        search.folder(&dir).map_err(|e| format!("{} cannot be looked at: {e}", dir.display()))?;
    }
    let found = search.found.settled();
    match found.hidden.len() + found.frozen.len() + found.held.len() {
        0..=COVERS_MAX => Ok(found),
        n => Err(format!(
            "{n} places in it would have to be hidden or protected, more than {COVERS_MAX}; list \
             the folders in it that matter"
        )),
    }
}

impl Found {
    /// What lies in something that is read-only needs no more.
    fn settled(mut self) -> Self {
        let above = |path: &PathBuf, all: &BTreeSet<PathBuf>| {
            path.ancestors().skip(1).any(|dir| all.contains(dir))
        };
        let all = self.frozen.clone();
        self.frozen.retain(|path| !above(path, &all));
        self.held.retain(|path| !all.contains(path) && !above(path, &all));
        self
    }
}

impl Search<'_> {
    fn folder(&mut self, dir: &Path) -> Result<(), Error> {
        let entries = match fs::read_dir(dir) {
            // Whoever cannot look at it cannot be betrayed by it: the box is nobody more than we are.
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
                return Ok(());
            }
            other => other?,
        };
        let of_git = is_git(dir);
        let parent = dir.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        for entry in entries {
            let entry = entry?;
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                let why = format!("it holds more than {ENTRIES_MAX} files; list less of it");
                return Err(Error::other(why));
            }
            let (path, kind) = (entry.path(), entry.file_type()?);
            let name = entry.file_name().to_string_lossy().into_owned();
            // A link leads, in the box, to what the box may see anyway.
            if kind.is_symlink() {
                continue;
            }
            let odd = !kind.is_dir() && !kind.is_file();
            if odd || names::secret(&path, self.more) {
                self.found.hidden.push((path, kind.is_dir()));
            } else if self.write && (names::runs(&name, parent) || is_pointer(&name, dir, of_git)) {
                self.freeze(path.clone());
                // What is secret is hidden there too.
                self.left.extend(kind.is_dir().then_some(path));
            } else if kind.is_dir() && !(of_git && name == "objects") {
                self.left.push(path);
            }
        }
        if self.write && of_git {
            self.git(dir)?;
        }
        Ok(())
    }

    /// What decides what git runs. A missing file would decide as well, as soon as the box made it.
    fn git(&mut self, dir: &Path) -> Result<(), Error> {
        if dir.join("objects").is_dir() {
            make(dir, "hooks", None)?;
            make(dir, "commondir", Some(b".\n"))?;
        }
        for name in ["config", "config.worktree", "hooks", "commondir"] {
            let path = dir.join(name);
            match path.symlink_metadata() {
                Ok(meta) if meta.is_symlink() => {
                    let why = format!("{} is a link, which a box could replace", path.display());
                    return Err(Error::other(why));
                }
                Ok(_) => self.freeze(path),
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn freeze(&mut self, path: PathBuf) {
        let above = path.ancestors().skip(1).take_while(|dir| *dir != self.root);
        self.found.held.extend(above.map(Path::to_owned));
        self.found.frozen.insert(path);
    }
}

/// A folder that git keeps a repository or a part of one in.
fn is_git(dir: &Path) -> bool {
    dir.join("HEAD").is_file() && (dir.join("objects").is_dir() || dir.join("commondir").is_file())
}

/// `.git` as a file, which names the folder: a box would name another.
fn is_pointer(name: &str, dir: &Path, of_git: bool) -> bool {
    !of_git && name == ".git" && dir.join(name).is_file()
}

/// Makes what git reads as if it were not there, owned like the folder. Follows no link.
fn make(dir: &Path, name: &str, content: Option<&[u8]>) -> Result<(), Error> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let links = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let there = rustix::fs::openat2(CWD, dir, flags, Mode::empty(), links)?;
    let made = match content {
        None => rustix::fs::mkdirat(&there, name, 0o755.into()),
        Some(content) => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&there, name, flags, 0o644.into());
            file.and_then(|file| fs::File::from(file).write_all(content).map_err(|_| Errno::IO))
        }
    };
    match made {
        Err(Errno::EXIST) => return Ok(()),
        other => other?,
    }
    let like = rustix::fs::fstat(&there)?;
    let (uid, gid) = (Uid::from_raw(like.st_uid), Gid::from_raw(like.st_gid));
    let owned = rustix::fs::chownat(&there, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
    match owned {
        Err(Errno::PERM) => Ok(()),
        other => Ok(other?),
    }
}

/// Something that is mounted inside: a driver would show what lies there, or what lies beneath.
fn inner_mount(root: &Path) -> Result<Option<PathBuf>, String> {
    let table = fs::read_to_string("/proc/self/mountinfo")
        .map_err(|e| format!("what is mounted in it cannot be read ({e})"))?;
    let places = table.lines().filter_map(|line| line.split(' ').nth(4));
    let plain = |place: &str| {
        let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
        PathBuf::from(escapes.iter().fold(place.to_owned(), |p, (from, to)| p.replace(from, to)))
    };
    Ok(places.map(plain).find(|place| place != root && place.starts_with(root)))
}
