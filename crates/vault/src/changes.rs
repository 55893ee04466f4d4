//! Tells when the owner changed something: files and secrets that other processes write have no other way to say so.

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::time::{sleep, timeout};

/// What belongs together comes together.
const TOGETHER: Duration = Duration::from_millis(50);
/// Where the system does not tell.
const LOOK: Duration = Duration::from_millis(250);
/// Grants end by the clock as well.
pub(crate) const EVERY: Duration = Duration::from_secs(10);

pub(crate) struct Changes(Option<AsyncFd<OwnedFd>>);

impl Changes {
    /// Of the vault's folder.
    pub(crate) fn of(dir: &Path) -> Self {
        let watch = || -> io::Result<_> {
            let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
            let ended = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::DELETE;
            inotify::add_watch(&fd, dir, ended)?;
            // A process that goes on after it wrote closes nothing.
            inotify::add_watch(&fd, dir.join("vault.db-wal"), WatchFlags::MODIFY)?;
            #[expect(
                deprecated,
                reason = "the descriptor is owned, which is all that its successor asks for"
            )]
            let fd = AsyncFd::new(fd)?;
            Ok(fd)
        };
        Self(watch().inspect_err(|e| tracing::warn!("changes are looked for: {e}")).ok())
    }

    /// Comes when something may have changed, and now and then.
    pub(crate) async fn next(&self) {
        let Some(fd) = &self.0 else { return sleep(LOOK).await };
        if let Ok(Ok(mut ready)) = timeout(EVERY, fd.readable()).await {
            sleep(TOGETHER).await;
            let mut told = [0; 4096];
            while rustix::io::read(fd, &mut told).is_ok_and(|n| n > 0) {}
            ready.clear_ready();
        }
    }
}
