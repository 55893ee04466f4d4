//! Packages for an agent without an image: a folder beside its boxes, mounted read-only into them.
//!
//! Everything that fetches or unpacks runs in a box of its own: as the user of the boxes, without
//! rights, with the system read-only, one folder to write to, and the only one of all boxes with a
//! network. No package's own script is run: not apt's, because packages are only unpacked, and not
//! npm's. The folder gets its name when it is complete, so that one cut short is never used.

#[cfg(test)]
mod tests;

use crate::arguments::setpriv;
use nanoclaw_driver::provide::{Progress, Provided, Wanted};
use nanoclaw_driver::{Access, DriverError, Mount};
use std::collections::BTreeMap;
use std::fs;
use std::io::Result;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

/// Where the packages are in a box.
const PLACE: &str = "/opt/agent";
/// Largest file that a package may bring, in blocks of 512 bytes, and all of them together.
const FILE_BLOCKS_MAX: &str = "4194304";
const BYTES_MAX: u64 = 8 << 30;
const LINE_CHARS_MAX: usize = 400;
/// Certificate authorities of the machine, for networks that inspect TLS.
const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";
/// What tells npm and apt the way to their registries; from the environment of the host.
const WAY: [&str; 7] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "npm_config_registry",
];
/// The names are arguments, never a part of this text.
const DEBIAN: &str = r#"
ulimit -f "$1"; shift
command -v apt-get >/dev/null || { echo 'this machine has no apt-get; Debian packages need one, or the driver docker'; exit 1; }
apt="apt-get -q -y -o Dir::State=/fetch/apt/state -o Dir::State::status=/var/lib/dpkg/status
  -o Dir::Cache=/fetch/apt/cache -o Debug::NoLocking=1 -o Acquire::Retries=1"
mkdir -p tools apt/state/lists/partial apt/cache/archives/partial
$apt update
$apt install --download-only --no-install-recommends -- "$@"
for deb in apt/cache/archives/*.deb; do
  [ -e "$deb" ] || continue
  echo "unpacking $deb"
  dpkg-deb -x "$deb" tools
done
"#;
const NPM: &str = r#"
ulimit -f "$1"; shift
command -v npm >/dev/null || { echo 'this machine has no npm; install it, or use the driver docker'; exit 1; }
mkdir -p tools/npm
npm install --global --prefix /fetch/tools/npm --ignore-scripts --no-audit --no-fund \
  --fetch-retries=1 -- "$@"
"#;
/// Folders to search first, by variable; `*` stands for one folder of any name.
const SEARCH: [(&str, &[&str]); 5] = [
    ("PATH", &["npm/bin", "usr/local/bin", "usr/bin", "usr/sbin", "usr/games", "bin", "sbin"]),
    (
        "LD_LIBRARY_PATH",
        &["usr/lib/*-linux-gnu", "usr/lib/*-linux-gnu/*", "lib/*-linux-gnu", "usr/lib", "lib"],
    ),
    ("NODE_PATH", &["npm/lib/node_modules"]),
    ("PERL5LIB", &["usr/share/perl5", "usr/lib/*-linux-gnu/perl5"]),
    ("PYTHONPATH", &["usr/lib/python3/dist-packages"]),
];

/// Makes the packages ready, or finds them.
pub(crate) async fn provide(
    bwrap: &Path,
    wanted: &Wanted,
    progress: Progress<'_>,
) -> std::result::Result<Provided, DriverError> {
    wanted.check()?;
    if wanted.is_empty() {
        return Ok(Provided::default());
    }
    let done = wanted.folder.join(format!("tools-{}", wanted.key));
    if !done.is_dir() {
        let work = wanted.folder.join(format!("work-{}", wanted.key));
        let made = make(bwrap, &work, wanted, progress).await;
        let placed = made.and_then(|()| place(&work, &done).map_err(other));
        // Whatever came of it: the cache of a build can be large.
        let swept = clear(&work);
        placed?;
        swept.map_err(other)?;
    }
    let source = done.canonicalize().map_err(other)?;
    Ok(Provided {
        image: None,
        search: search(&source).map_err(other)?,
        mounts: vec![Mount { source, target: PLACE.into(), access: Access::ReadOnly }],
    })
}

/// Removes the folders of earlier sets.
pub(crate) fn tidy(wanted: &Wanted, keep: &Provided) -> Result<()> {
    let kept: Vec<_> = keep.mounts.iter().filter_map(|m| m.source.file_name()).collect();
    for entry in fs::read_dir(&wanted.folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let ours = [b"tools-".as_slice(), b"work-"].iter().any(|p| name.as_bytes().starts_with(p));
        if ours && !kept.contains(&name.as_os_str()) {
            clear(&entry.path())?;
        }
    }
    Ok(())
}

async fn make(
    bwrap: &Path,
    work: &Path,
    wanted: &Wanted,
    progress: Progress<'_>,
) -> std::result::Result<(), DriverError> {
    clear(work).and_then(|()| fs::create_dir_all(work)).map_err(other)?;
    if rustix::process::geteuid().is_root() {
        let (uid, gid) = (wanted.user.uid, wanted.user.gid);
        std::os::unix::fs::chown(work, Some(uid), Some(gid)).map_err(other)?;
    }
    for (script, names) in [(DEBIAN, &wanted.apt), (NPM, &wanted.npm)] {
        if !names.is_empty() {
            let mut command = fetcher(bwrap, work, wanted)?;
            command.args(["/bin/sh", "-ec", script, "packages", FILE_BLOCKS_MAX]).args(names);
            run(command, progress).await?;
        }
    }
    match size(&work.join("tools")).map_err(other)? {
        0..=BYTES_MAX => Ok(()),
        _ => Err(DriverError::Other(format!("they take more than {} GiB", BYTES_MAX >> 30))),
    }
}

/// A box that may fetch: see the head of this file.
fn fetcher(
    bwrap: &Path,
    work: &Path,
    wanted: &Wanted,
) -> std::result::Result<Command, DriverError> {
    let root = rustix::process::geteuid().is_root();
    let mut command = Command::new(bwrap);
    command.args(["--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]);
    command.args(["--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]);
    command.args(["--ro-bind", "/usr", "/usr"]);
    for dir in ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"] {
        match fs::read_link(dir) {
            Ok(target) => command.arg("--symlink").arg(target).arg(dir),
            Err(_) => command.args(["--ro-bind-try", dir, dir]),
        };
    }
    for dir in ["/var", "/var/lib", "/run", "/run/systemd"] {
        command.args(["--perms", "0755", "--dir", dir]);
    }
    // What names the registries, the resolver and what is installed.
    for dir in ["/etc", "/var/lib/dpkg", "/run/systemd/resolve"] {
        command.args(["--ro-bind-try", dir, dir]);
    }
    command.args(["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--tmpfs", "/tmp"]);
    command.arg("--bind").arg(work).args(["/fetch", "--chdir", "/fetch"]);
    let way = WAY.iter().filter_map(|key| Some((*key, std::env::var(key).ok()?)));
    let ca = Path::new(SYSTEM_CA).exists().then(|| ("NODE_EXTRA_CA_CERTS", SYSTEM_CA.to_owned()));
    let fixed = [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/fetch/home"),
        ("LANG", "C.UTF-8"),
        ("DEBIAN_FRONTEND", "noninteractive"),
    ];
    let fixed = fixed.map(|(key, value)| (key, value.to_owned()));
    for (key, value) in fixed.into_iter().chain(ca).chain(way) {
        command.args(["--setenv", key, &value]);
    }
    if !root {
        command.args(["--unshare-user", "--"]);
        return Ok(command);
    }
    for right in ["CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"] {
        command.args(["--cap-add", right]);
    }
    let setpriv = setpriv()
        .ok_or_else(|| DriverError::Unavailable("setpriv is missing; install util-linux".into()))?;
    command.args(["--", setpriv]);
    command.arg(format!("--reuid={}", wanted.user.uid)).arg(format!("--regid={}", wanted.user.gid));
    command.args(["--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]);
    command.args(["--ambient-caps=-all", "--no-new-privs", "--"]);
    Ok(command)
}

/// Runs it to its end; one stream, because what is told is the last line before a failure.
async fn run(mut command: Command, progress: Progress<'_>) -> std::result::Result<(), DriverError> {
    let (output, there) = std::io::pipe().map_err(other)?;
    command.stdin(Stdio::null()).stdout(there.try_clone().map_err(other)?).stderr(there);
    let mut child = command.kill_on_drop(true).spawn().map_err(other)?;
    // The command holds the far end of the pipe; without this no end would ever be seen.
    drop(command);
    let output = tokio::net::unix::pipe::Receiver::from_owned_fd(output.into()).map_err(other)?;
    let mut lines = BufReader::new(output).split(b'\n');
    let mut last = String::new();
    while let Some(line) = lines.next_segment().await.map_err(other)? {
        let line = String::from_utf8_lossy(&line);
        let line: String = line.trim().chars().take(LINE_CHARS_MAX).collect();
        if !line.is_empty() {
            progress(&line);
            // apt's own words before npm's log of itself.
            if !line.contains("complete log of this run") {
                last = line;
            }
        }
    }
    match child.wait().await.map_err(other)?.success() {
        true => Ok(()),
        false => Err(DriverError::Other(last)),
    }
}

fn place(work: &Path, done: &Path) -> Result<()> {
    let tools = work.join("tools");
    fs::create_dir_all(&tools)?;
    // What was unpacked could have put a link there, and what it names would be mounted.
    match tools.symlink_metadata()?.is_dir() {
        true => fs::rename(tools, done),
        false => Err(std::io::Error::other("the packages put something in place of their folder")),
    }
}

/// The folders that exist, as a box sees them.
fn search(tools: &Path) -> Result<BTreeMap<String, Vec<String>>> {
    let mut found = BTreeMap::new();
    for (variable, patterns) in SEARCH {
        let mut dirs = Vec::new();
        for pattern in patterns {
            dirs.extend(matching(tools, pattern)?);
        }
        let libraries = variable == "LD_LIBRARY_PATH";
        dirs.retain(|dir| !libraries || has_library(&tools.join(dir)));
        let dirs: Vec<_> = dirs.iter().map(|dir| format!("{PLACE}/{dir}")).collect();
        if !dirs.is_empty() {
            found.insert(variable.to_owned(), dirs);
        }
    }
    Ok(found)
}

/// Directories below `root` that a pattern names; links are not followed.
fn matching(root: &Path, pattern: &str) -> Result<Vec<String>> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.split('/') {
        let mut next = Vec::new();
        for dir in found {
            let Some(end) = part.strip_prefix('*') else {
                next.push(dir.join(part));
                continue;
            };
            let Ok(entries) = fs::read_dir(root.join(&dir)) else { continue };
            for entry in entries {
                let name = entry?.file_name();
                let name = name.to_str().filter(|n| n.ends_with(end) && !n.contains(':'));
                next.extend(name.map(|n| dir.join(n)));
            }
        }
        next.retain(|dir| root.join(dir).symlink_metadata().is_ok_and(|m| m.is_dir()));
        next.sort();
        found = next;
    }
    Ok(found.iter().filter_map(|dir| dir.to_str().map(str::to_owned)).collect())
}

fn has_library(dir: &Path) -> bool {
    let mut entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.any(|entry| entry.file_name().as_bytes().windows(3).any(|part| part == b".so"))
}

/// Bytes of the regular files below; links are not followed.
fn size(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries {
            let entry = entry?;
            let meta = entry.metadata()?;
            match meta.is_dir() {
                true => left.push(entry.path()),
                false => sum += meta.len(),
            }
        }
    }
    Ok(sum)
}

fn clear(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn other(e: impl std::fmt::Display) -> DriverError {
    DriverError::Other(e.to_string())
}
