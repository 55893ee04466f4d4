//! Hears the host write the inbox.
//!
//! The file is watched for writes and its folder for the file's appearance. SQLite holds its lock
//! from before the first write until the commit, so that whoever is woken by a write and then reads
//! waits for the commit and sees it. Where notifications do not come through (network and VM file
//! systems), the caller polls every second instead.

use crate::log::log;
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// How often to look where nothing is heard.
const POLL: Duration = Duration::from_secs(1);
/// How often to look all the same.
const SAFETY_NET: Duration = Duration::from_secs(30);

/// An ear on one file.
pub(crate) struct Watch {
    path: PathBuf,
    ear: Option<AsyncFd<OwnedFd>>,
}

impl Watch {
    pub(crate) fn new(path: &Path) -> Self {
        let ear = if is_local(path) { listen(path) } else { None };
        if ear.is_none() {
            log!("{} cannot be listened to; looking every second", path.display());
        }
        Self { path: path.to_owned(), ear }
    }

    /// How long to wait at most before looking.
    pub(crate) fn patience(&self) -> Duration {
        if self.ear.is_some() { SAFETY_NET } else { POLL }
    }

    /// Returns when the file may have changed; never, if that cannot be heard.
    pub(crate) async fn changed(&self) {
        let Some(ear) = &self.ear else { return std::future::pending().await };
        loop {
            let Ok(mut ready) = ear.readable().await else { return std::future::pending().await };
            let heard = self.drain(ear.get_ref());
            ready.clear_ready();
            if heard {
                return;
            }
        }
    }

    fn drain(&self, ear: &OwnedFd) -> bool {
        let name = self.path.file_name().unwrap_or_default();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(ear, &mut buffer);
        let (mut heard, mut again) = (false, false);
        while let Ok(event) = reader.next() {
            // A name means the folder speaks; what else happens there is not ours.
            match event.file_name() {
                Some(file) if OsStr::from_bytes(file.to_bytes()) == name => {
                    (heard, again) = (true, true);
                }
                Some(_) => {}
                None => {
                    heard = true;
                    again |= !event.events().contains(ReadFlags::MODIFY);
                }
            }
        }
        if again {
            inotify::add_watch(ear, &self.path, WatchFlags::MODIFY).ok();
        }
        heard
    }
}

fn listen(path: &Path) -> Option<AsyncFd<OwnedFd>> {
    let ear = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
    let folder = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
    inotify::add_watch(&ear, path.parent()?, folder).ok()?;
    inotify::add_watch(&ear, path, WatchFlags::MODIFY).ok();
    watched(ear)
}

#[expect(
    deprecated,
    reason = "its successor is unsafe; an OwnedFd that nobody else holds is sound here"
)]
fn watched(ear: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    AsyncFd::new(ear).ok()
}

/// Whether what others write is announced on the file system of `path`.
fn is_local(path: &Path) -> bool {
    const FUSE: u64 = 0x6573_5546;
    const NFS: u64 = 0x6969;
    const NINE_P: u64 = 0x0102_1997;
    const SMB2: u64 = 0xfe53_4d42;
    let Ok(stat) = rustix::fs::statfs(path) else { return true };
    u64::try_from(stat.f_type).is_ok_and(|kind| ![FUSE, NFS, NINE_P, SMB2].contains(&kind))
}
