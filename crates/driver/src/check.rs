//! What every driver checks: the plan before a box starts, and the kernel's own view of it afterwards.
//!
//! [`plan`] refuses what no driver may carry out, [`sources`] pins what will be mounted, [`mounts`] and
//! [`privileges`] compare a first process with its plan as `/proc` tells it. An engine's own word is
//! never taken for it. The attacks that this has to withstand are in `testkit/src/driver_conformance.rs`.

#[cfg(test)]
mod tests;

use crate::{Access, BoxSpec, BoxUser, DriverError, Mount};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

const NAME_BYTES_MAX: usize = 128;
const MOUNTS_MAX: usize = 256;
const TAIL_BYTES_MAX: u64 = 2000;

/// Refuses a plan that is not fit for any driver.
pub fn plan(spec: &BoxSpec) -> Result<(), DriverError> {
    let refuse = |why: String| Err(DriverError::Start(why));
    if !is_name(&spec.name) {
        return refuse(format!("{:?} is not a name for a box", spec.name));
    }
    if spec.user.uid == 0 || spec.user.gid == 0 {
        return refuse("a box never runs as root; choose another user".into());
    }
    if !spec.command.first().is_some_and(|program| program.starts_with('/')) {
        return refuse("the command must be an absolute path in the box".into());
    }
    let bad_env = |key: &String| key.is_empty() || key.contains('=');
    let texts = spec.command.iter().chain(spec.env.keys()).chain(spec.env.values());
    if spec.env.keys().any(bad_env) || texts.into_iter().any(|text| text.contains('\0')) {
        return refuse("the command or an environment variable is malformed".into());
    }
    if spec.mounts.len() > MOUNTS_MAX || !is_plain(&spec.cwd) || !is_plain(&spec.log) {
        return refuse("too many mounts, or a path that is not plain and absolute".into());
    }
    let mut targets = BTreeSet::new();
    for mount in &spec.mounts {
        let shown = || format!("{} at {}", mount.source.display(), mount.target.display());
        let kernel = |path: &Path| {
            path.parent().is_none() || ["/proc", "/sys", "/dev"].iter().any(|p| path.starts_with(p))
        };
        if !is_plain(&mount.source) || !is_plain(&mount.target) {
            return refuse(format!("the mount {} is not plain and absolute", shown()));
        }
        if kernel(&mount.source) || kernel(&mount.target) || !targets.insert(&mount.target) {
            return refuse(format!("the mount {} is forbidden or doubled", shown()));
        }
        if mount.access == Access::ReadWrite && spec.log.starts_with(&mount.source) {
            return refuse(format!("the log lies in {}, where the box writes", shown()));
        }
    }
    Ok(())
}

/// Whether a driver accepts this as the name of a box: safe as a file name and in every engine.
pub fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn is_plain(path: &Path) -> bool {
    let mut parts = path.components();
    // Compared as text too: `components` forgives `//` and `/./`, an engine may not.
    parts.next() == Some(Component::RootDir)
        && parts.all(|part| matches!(part, Component::Normal(_)))
        && path.components().collect::<PathBuf>().as_os_str() == path.as_os_str()
        && !path.as_os_str().as_bytes().iter().any(u8::is_ascii_control)
}

/// Pins every mount source, in order. No source may be reached through a symbolic link, and no mount
/// may lie behind one that a box left in an outer mount.
pub fn sources(spec: &BoxSpec) -> Result<Vec<OwnedFd>, DriverError> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let refuse = |mount: &Mount, e: Errno| {
        let why = match e {
            Errno::NOENT | Errno::NOTDIR => "does not exist; create it first".into(),
            Errno::LOOP => "leads through a symbolic link; give the real path".into(),
            other => format!("cannot be opened: {other}"),
        };
        let (source, target) = (mount.source.display(), mount.target.display());
        DriverError::Start(format!("the mount source {source} for {target} {why}"))
    };
    let pin = |mount: &Mount| {
        let links = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        openat2(CWD, &mount.source, flags, Mode::empty(), links).map_err(|e| refuse(mount, e))
    };
    let pins = spec.mounts.iter().map(pin).collect::<Result<Vec<_>, _>>()?;
    for mount in &spec.mounts {
        for (outer, pin) in spec.mounts.iter().zip(&pins) {
            let inside = mount.target.strip_prefix(&outer.target).ok();
            let Some(inside) = inside.filter(|p| !p.as_os_str().is_empty()) else { continue };
            let links = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            match openat2(pin, inside, flags, Mode::empty(), links) {
                // What is missing is made by whoever mounts there, or lies in a mount between.
                Ok(_) | Err(Errno::NOENT) => {}
                Err(e) => return Err(refuse(mount, e)),
            }
        }
    }
    Ok(pins)
}

/// Compares what process `pid` sees mounted with the plan. `own` are the places that the driver fills
/// itself. The text says what differs.
pub fn mounts(pid: i32, spec: &BoxSpec, pins: &[OwnedFd], own: &[&str]) -> Result<(), String> {
    let info = fs::read_to_string(format!("/proc/{pid}/mountinfo"))
        .map_err(|e| format!("its mounts cannot be read: {e}"))?;
    table(&info, &spec.mounts, own)?;
    let root = openat(
        CWD,
        format!("/proc/{pid}/root"),
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|e| format!("its root cannot be opened: {e}"))?;
    for (mount, pin) in spec.mounts.iter().zip(pins) {
        let inside = mount.target.strip_prefix("/").unwrap_or(&mount.target);
        let flags = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        let same = openat2(&root, inside, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), flags)
            .and_then(|there| Ok(identity(&fstat(there)?) == identity(&fstat(pin)?)));
        match same {
            Ok(true) => {}
            Ok(false) => return Err(format!("{} is another file", mount.target.display())),
            Err(e) => return Err(format!("{} cannot be reached: {e}", mount.target.display())),
        }
    }
    Ok(())
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// Judges a `mountinfo`: the plan to the letter, a read-only root, and nothing else but `own`.
fn table(info: &str, plan: &[Mount], own: &[&str]) -> Result<(), String> {
    // A later line lies over an earlier one of the same place.
    let seen: BTreeMap<PathBuf, bool> = info
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(4);
            let place = PathBuf::from(unescape(fields.next()?));
            Some((place, fields.next()?.split(',').any(|option| option == "ro")))
        })
        .collect();
    if seen.get(Path::new("/")) != Some(&true) {
        return Err("the root is not read-only".into());
    }
    for mount in plan {
        let place = mount.target.display();
        match (seen.get(&mount.target), mount.access) {
            (None, _) => return Err(format!("{place} is not mounted")),
            (Some(true), Access::ReadOnly) | (Some(false), Access::ReadWrite) => {}
            (Some(false), Access::ReadOnly) => return Err(format!("{place} can be written")),
            (Some(true), Access::ReadWrite) => return Err(format!("{place} is read-only")),
        }
    }
    let planned = |place: &Path| plan.iter().any(|mount| mount.target == place);
    for (place, read_only) in seen.iter().filter(|(p, _)| p.as_path() != "/" && !planned(p)) {
        let ours = own.iter().any(|top| place.starts_with(top));
        let beneath = plan.iter().any(|mount| place.starts_with(&mount.target));
        let open = ["/tmp", "/run"].iter().any(|p| place.as_path() == *p)
            || ["/proc", "/dev", "/sys"].iter().any(|p| place.starts_with(p));
        if beneath || !ours || !(*read_only || open) {
            return Err(format!("{} is mounted and was not planned", place.display()));
        }
    }
    Ok(())
}

/// `mountinfo` writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Compares the rights of process `pid` with the profile. The text says what differs.
pub fn privileges(pid: i32, user: BoxUser) -> Result<(), String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .map_err(|e| format!("its rights cannot be read: {e}"))?;
    rights(&status, user)
}

fn rights(status: &str, user: BoxUser) -> Result<(), String> {
    let BoxUser { uid, gid } = user;
    let none = "0000000000000000".to_owned();
    let wanted = [
        ("Uid", format!("{uid}\t{uid}\t{uid}\t{uid}")),
        ("Gid", format!("{gid}\t{gid}\t{gid}\t{gid}")),
        ("CapInh", none.clone()),
        ("CapPrm", none.clone()),
        ("CapEff", none.clone()),
        ("CapBnd", none.clone()),
        ("CapAmb", none),
        ("NoNewPrivs", "1".into()),
        ("Seccomp", "2".into()),
    ];
    for (key, want) in wanted {
        let is = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(":\t"));
        if is != Some(want.as_str()) {
            return Err(format!("{key} is {:?}, not {want:?}", is.unwrap_or_default()));
        }
    }
    Ok(())
}

/// The last lines of a log.
pub fn tail(log: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let from = file.metadata()?.len().saturating_sub(TAIL_BYTES_MAX);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    // Each bad byte becomes three, so what is decoded is cut once more.
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let from = text.len().saturating_sub(usize::try_from(TAIL_BYTES_MAX).unwrap_or(0));
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text[from..].to_owned()
}
