//! Hears when a box has committed to its outbox.
//!
//! One inotify descriptor watches the writable folder of every live session. SQLite fills the journal, writes the
//! file, and ends a commit by changing the first bytes of the journal, or by deleting it: only what happens to
//! the journal after the file is heard, because whoever looks earlier keeps the writer waiting.
//! A box that floods its folder with events loses its watch and is looked at once a second instead.

use crate::live::Handle;
use crate::lock;
use rustix::fs::inotify;
use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// More events than this in one second are a flood.
const EVENTS_PER_SECOND_MAX: u32 = 5_000;
const FLOOD_WINDOW: Duration = Duration::from_secs(1);

pub(crate) struct Watch {
    inotify: AsyncFd<OwnedFd>,
    watched: Mutex<BTreeMap<i32, Watched>>,
}

struct Watched {
    who: Arc<Handle>,
    window: Instant,
    events: u32,
    /// Whether the file was written since a commit ended.
    written: bool,
}

impl Watch {
    pub(crate) fn new() -> std::io::Result<Self> {
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; this descriptor is owned and never leaves"
        )]
        let inotify = AsyncFd::new(fd)?;
        Ok(Self { inotify, watched: Mutex::default() })
    }

    /// Watches the folder; `false` means that it must be polled.
    pub(crate) fn add(&self, folder: &Path, who: &Arc<Handle>) -> bool {
        let flags = inotify::WatchFlags::DELETE
            | inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::ONLYDIR
            | inotify::WatchFlags::DONT_FOLLOW;
        let Ok(wd) = inotify::add_watch(self.inotify.get_ref(), folder, flags) else {
            return false;
        };
        let (who, window) = (who.clone(), Instant::now());
        lock(&self.watched).insert(wd, Watched { who, window, events: 0, written: true });
        true
    }

    pub(crate) fn remove(&self, who: &Handle) {
        lock(&self.watched).retain(|wd, w| {
            let keep = w.who.id != who.id;
            if !keep {
                self.forget(*wd);
            }
            keep
        });
    }

    fn forget(&self, wd: i32) {
        if let Err(e) = inotify::remove_watch(self.inotify.get_ref(), wd) {
            // The folder may be gone, and its watch with it.
            tracing::debug!(error = %e, "watch was gone");
        }
    }

    /// Passes events on until the host stops.
    pub(crate) async fn run(&self) {
        let mut buffer = vec![MaybeUninit::uninit(); 16 << 10];
        loop {
            let Ok(mut ready) = self.inotify.readable().await else { return };
            let mut reader = inotify::Reader::new(ready.get_inner(), &mut buffer);
            loop {
                match reader.next() {
                    Ok(event) => {
                        if event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW) {
                            lock(&self.watched).values().for_each(|w| w.who.dirty());
                            continue;
                        }
                        let name = event.file_name().map_or(&b""[..], |n| n.to_bytes());
                        self.heard(event.wd(), name);
                    }
                    Err(rustix::io::Errno::INTR) => {}
                    Err(_) => break,
                }
            }
            ready.clear_ready();
        }
    }

    fn heard(&self, wd: i32, name: &[u8]) {
        let mut watched = lock(&self.watched);
        let Some(w) = watched.get_mut(&wd) else { return };
        if w.window.elapsed() > FLOOD_WINDOW {
            (w.window, w.events) = (Instant::now(), 0);
        }
        w.events += 1;
        if w.events > EVENTS_PER_SECOND_MAX {
            tracing::warn!(session = %w.who.id, "its box floods its folder with events; it is polled from now on");
            self.forget(wd);
            w.who.poll_from_now_on();
            watched.remove(&wd);
            return;
        }
        match name {
            b"outbound.db" => w.written = true,
            b"outbound.db-journal" if std::mem::take(&mut w.written) => w.who.dirty(),
            _ => {}
        }
    }
}
