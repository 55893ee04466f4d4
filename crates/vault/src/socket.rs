//! Unix sockets under any path: the 108-byte limit of an address is avoided through `/proc/self/fd`.
//!
//! Never follows a symbolic link in the last step of a path. Used by `serve` and [`crate::supervisor`].

use rustix::fs::{AtFlags, Mode, OFlags};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};
use tokio::net::{UnixListener, UnixStream};

/// Most bytes of one line.
const LINE_MAX: u64 = 64 << 10;

fn open_dir(dir: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(dir, flags, Mode::empty())?)
}

fn address(dir: &OwnedFd, name: &str) -> String {
    format!("/proc/self/fd/{}/{name}", dir.as_raw_fd())
}

/// Listens on `dir/name`, replacing what a dead process left there.
pub(crate) fn bind(dir: &Path, name: &str, mode: u32) -> io::Result<UnixListener> {
    let dir = open_dir(dir)?;
    match rustix::fs::unlinkat(&dir, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(e) => return Err(e.into()),
    }
    let listener = UnixListener::bind(address(&dir, name))?;
    rustix::fs::chmodat(&dir, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
    Ok(listener)
}

/// Connects to `dir/name`.
pub(crate) async fn connect(dir: &Path, name: &str) -> io::Result<UnixStream> {
    let dir = open_dir(dir)?;
    UnixStream::connect(address(&dir, name)).await
}

/// Reads one line with its end; an error when there is none, or it is too long.
pub(crate) async fn line(
    from: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> io::Result<()> {
    line.clear();
    from.take(LINE_MAX).read_until(b'\n', line).await?;
    if line.ends_with(b"\n") { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Makes a directory (and its parents) if it is missing, and gives it this mode.
pub(crate) fn make_dir(dir: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(dir)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode))
}

/// Writes `dir/name` so that whoever opens it sees the old bytes or the new ones.
pub(crate) fn replace(dir: &Path, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let next = dir.join(format!("{name}.{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(mode).open(&next)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&next, dir.join(name))
}

/// Makes `to` another name of the file `from`.
pub(crate) fn link(from: &Path, to: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let inode = |path: &Path| std::fs::symlink_metadata(path).map(|m| (m.dev(), m.ino()));
    if inode(to).is_ok_and(|there| inode(from).is_ok_and(|ours| ours == there)) {
        return Ok(());
    }
    match std::fs::remove_file(to) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    std::fs::hard_link(from, to)
}
