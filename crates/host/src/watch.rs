//! Hears when a box has committed to its outbox.
//!
//! One inotify descriptor watches the writable folder of every live session. SQLite fills the journal, writes the
//! file, and ends a commit by changing the first bytes of the journal, or by deleting it: only what happens to
//! the journal after the file is heard, because whoever looks earlier keeps the writer waiting.
//! A box that floods its folder with events is not heard for a moment; one that does nothing else goes to quarantine.

use crate::live::Handle;
use crate::lock;
use rustix::fs::inotify;
use std::collections::{BTreeMap, VecDeque};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// More events than this in one second are a flood.
const EVENTS_PER_SECOND_MAX: u32 = 5_000;
const FLOOD_WINDOW: Duration = Duration::from_secs(1);
/// How long a folder is not heard after a flood.
const DEAF: Duration = Duration::from_millis(300);
/// Floods without a calm second between them that are no accident: SQLite would have to write 60 MB.
const FLOODS: u32 = 3;

pub(crate) struct Watch {
    inotify: AsyncFd<OwnedFd>,
    watched: Mutex<BTreeMap<i32, Watched>>,
    /// Those that flooded, the first to be heard again first.
    deaf: Mutex<VecDeque<(Instant, Watched)>>,
}

struct Watched {
    who: Arc<Handle>,
    folder: PathBuf,
    window: Instant,
    events: u32,
    floods: u32,
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
        Ok(Self { inotify, watched: Mutex::default(), deaf: Mutex::default() })
    }

    /// Watches the folder; `false` means that it must be polled.
    pub(crate) fn add(&self, folder: &Path, who: &Arc<Handle>) -> bool {
        let (who, folder, window) = (who.clone(), folder.into(), Instant::now());
        self.hear(Watched { who, folder, window, events: 0, floods: 0, written: true })
    }

    fn hear(&self, w: Watched) -> bool {
        let flags = inotify::WatchFlags::DELETE
            | inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::ONLYDIR
            | inotify::WatchFlags::DONT_FOLLOW;
        let Ok(wd) = inotify::add_watch(self.inotify.get_ref(), &w.folder, flags) else {
            return false;
        };
        lock(&self.watched).insert(wd, w);
        true
    }

    pub(crate) fn remove(&self, who: &Handle) {
        lock(&self.deaf).retain(|(_, w)| w.who.id != who.id);
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
            let again = lock(&self.deaf).front().map(|(at, _)| *at);
            tokio::select! {
                ready = self.inotify.readable() => {
                    let Ok(mut ready) = ready else { return };
                    self.read(&mut buffer);
                    ready.clear_ready();
                }
                () = tokio::time::sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {
                    self.hear_again();
                }
            }
        }
    }

    fn read(&self, buffer: &mut [MaybeUninit<u8>]) {
        let mut reader = inotify::Reader::new(self.inotify.get_ref(), buffer);
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
                Err(_) => return,
            }
        }
    }

    fn heard(&self, wd: i32, name: &[u8]) {
        let mut watched = lock(&self.watched);
        let Some(w) = watched.get_mut(&wd) else { return };
        if w.window.elapsed() > FLOOD_WINDOW {
            (w.window, w.events, w.floods) = (Instant::now(), 0, 0);
        }
        w.events += 1;
        if w.events > EVENTS_PER_SECOND_MAX {
            self.forget(wd);
            let flooding = watched.remove(&wd);
            drop(watched);
            flooding.into_iter().for_each(|w| self.flooded(w));
            return;
        }
        match name {
            b"outbound.db" => w.written = true,
            b"outbound.db-journal" if std::mem::take(&mut w.written) => w.who.dirty(),
            _ => {}
        }
    }

    fn flooded(&self, w: Watched) {
        let floods = w.floods + 1;
        tracing::warn!(session = %w.who.id, floods, "its box floods its folder with events");
        if floods == FLOODS {
            return w.who.flooded();
        }
        lock(&self.deaf).push_back((Instant::now() + DEAF, Watched { floods, ..w }));
    }

    fn hear_again(&self) {
        let Some((now, w)) = lock(&self.deaf).pop_front() else { return };
        let who = w.who.clone();
        if !self.hear(Watched { window: now, events: 0, written: true, ..w }) {
            who.poll_from_now_on();
        }
        // What came meanwhile.
        who.dirty();
    }
}
