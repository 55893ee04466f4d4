//! Unix sockets under any path: the 108-byte limit of an address is avoided through `/proc/self/fd`.
//!
//! Never follows a symbolic link in the last step of a path. Used by `serve` and [`crate::supervisor`].

use rustix::fs::{AtFlags, Mode, OFlags};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use tokio::net::{UnixListener, UnixStream};

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

/// Makes a directory (and its parents) if it is missing, and gives it this mode.
pub(crate) fn make_dir(dir: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(dir)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode))
}
