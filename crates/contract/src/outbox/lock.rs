//! A box's database file, held still while the host looks at it.
//!
//! Takes the lock that a reading SQLite would take, on the bytes that SQLite has for it, so that the
//! writer in the box waits. SQLite itself is not asked to, because on its way to that lock it opens
//! whatever a box has put beside the file: a pipe as the journal hangs it, shared memory that shrinks
//! kills it. What lies beside the file is only looked at here.

use crate::Error;
use crate::dir::OUTBOUND_BYTES_MAX;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rustix::fs::{Mode, OFlags};
use std::fs::{File, FileType};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

// SQLite's file format, section "Locking": bytes that no database page ever covers.
const PENDING: (i64, i64) = (0x4000_0000, 1);
const RESERVED: (i64, i64) = (PENDING.0 + 1, 1);
const SHARED: (i64, i64) = (PENDING.0 + 2, 510);
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// How a writer is waited for: a commit that is under way ends within a millisecond as a rule.
const SOON: (u32, Duration) = (40, Duration::from_micros(250));
const LATER: (u32, Duration) = (95, Duration::from_millis(2));

/// The file, open.
#[derive(Debug)]
pub(super) struct BoxFile {
    file: File,
    path: PathBuf,
    journal: PathBuf,
    inode: (u64, u64),
}

/// Equal as long as nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    bytes: u64,
    /// SQLite raises it with every commit.
    counter: [u8; 4],
    modified: SystemTime,
}

/// While this lives, an honest writer does not touch the file.
#[derive(Debug)]
pub(super) struct Held<'a>(&'a BoxFile);

impl BoxFile {
    /// Opens a regular file; waits for nothing, whatever else it is.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        // The folder is the host's own; only what lies in it is not.
        let folder = path.parent().unwrap_or(Path::new("/"));
        let folder = folder.canonicalize().map_err(|e| Error::io("look at the box's folder", e))?;
        let path = folder.join(path.file_name().unwrap_or_default());
        let inode = regular(&path)?;
        let mut journal = path.clone().into_os_string();
        journal.push("-journal");
        Ok(Self { file: open(&path)?, path, journal: journal.into(), inode })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Fails when the file at the path is no longer the one that was opened.
    pub(super) fn check_in_place(&self) -> Result<(), Error> {
        let opened = self.file.metadata().map_err(|e| Error::io("look at outbound.db", e))?;
        let there = regular(&self.path)?;
        if there == self.inode && there == (opened.dev(), opened.ino()) {
            return Ok(());
        }
        Err(Error::Refused("outbound.db was replaced by another file".into()))
    }

    /// Keeps writers away, and finds out whether one was killed inside a commit.
    pub(super) fn hold(&self) -> Result<(Held<'_>, Stamp), Error> {
        self.check_in_place()?;
        let held = self.shared()?;
        self.check_journal()?;
        let meta = self.file.metadata().map_err(|e| Error::io("look at outbound.db", e))?;
        let mut head = [0; 28];
        self.file
            .read_exact_at(&mut head, 0)
            .map_err(|_| Error::Refused("outbound.db is not a database".into()))?;
        if head[..16] != *MAGIC {
            return Err(Error::Refused("outbound.db is not a database".into()));
        }
        if head[18..20] != [1, 1] {
            return Err(Error::Refused("outbound.db is in another journal mode".into()));
        }
        let modified = meta.modified().map_err(|e| Error::io("look at outbound.db", e))?;
        let counter = [head[24], head[25], head[26], head[27]];
        Ok((held, Stamp { bytes: meta.len(), counter, modified }))
    }

    fn shared(&self) -> Result<Held<'_>, Error> {
        for again in 0..SOON.0 + LATER.0 {
            // A writer that waits for readers to leave holds the first byte: it goes before us.
            if self.try_lock(PENDING)? {
                let got = self.try_lock(SHARED);
                self.unlock(PENDING);
                if got? {
                    return Ok(Held(self));
                }
            }
            std::thread::sleep(if again < SOON.0 { SOON.1 } else { LATER.1 });
        }
        Err(Error::Busy("outbound.db"))
    }

    /// A journal without a writer was left behind: the next box repairs the file with it.
    fn check_journal(&self) -> Result<(), Error> {
        let kind = match self.journal.symlink_metadata() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::io("look at the journal", e)),
            Ok(meta) if meta.is_file() && meta.len() == 0 => return Ok(()),
            Ok(meta) => meta.file_type(),
        };
        if !kind.is_file() {
            return Err(Error::Refused(format!(
                "outbound.db-journal is {}, not a file",
                name(kind)
            )));
        }
        if self.has_writer()? {
            return Ok(());
        }
        let mut first = [0];
        let hot = match open(&self.journal) {
            Ok(file) => file.read_exact_at(&mut first, 0).is_ok() && first[0] != 0,
            Err(_) => false,
        };
        // The writer may have come in between.
        if hot && !self.has_writer()? { Err(Error::Unrecovered) } else { Ok(()) }
    }

    fn try_lock(&self, bytes: (i64, i64)) -> Result<bool, Error> {
        match fcntl(&self.file, FcntlArg::F_OFD_SETLK(&range(libc::F_RDLCK, bytes))) {
            Ok(_) => Ok(true),
            Err(nix::Error::EAGAIN | nix::Error::EACCES | nix::Error::EINTR) => Ok(false),
            Err(e) => Err(Error::io("lock outbound.db", e)),
        }
    }

    fn unlock(&self, bytes: (i64, i64)) {
        // Unlocking what is ours cannot fail; were it to, the next look would find the file busy.
        fcntl(&self.file, FcntlArg::F_OFD_SETLK(&range(libc::F_UNLCK, bytes))).ok();
    }

    fn has_writer(&self) -> Result<bool, Error> {
        let mut asked = range(libc::F_WRLCK, RESERVED);
        fcntl(&self.file, FcntlArg::F_OFD_GETLK(&mut asked))
            .map_err(|e| Error::io("look at the lock", e))?;
        Ok(i32::from(asked.l_type) != libc::F_UNLCK)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.unlock(SHARED);
    }
}

fn range(kind: i32, (start, bytes): (i64, i64)) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: bytes,
        l_pid: 0,
    }
}

/// Never follows a link, never waits for the other end of a pipe.
fn open(path: &Path) -> Result<File, Error> {
    let flags =
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty());
    Ok(File::from(file.map_err(|e| Error::io("open outbound.db", e))?))
}

fn regular(path: &Path) -> Result<(u64, u64), Error> {
    let meta = path.symlink_metadata().map_err(|e| Error::io("look at outbound.db", e))?;
    if !meta.is_file() {
        return Err(Error::Refused(format!(
            "outbound.db is {}, not a file",
            name(meta.file_type())
        )));
    }
    if meta.len() > OUTBOUND_BYTES_MAX {
        return Err(Error::Refused(format!(
            "outbound.db has {} bytes, more than {OUTBOUND_BYTES_MAX}",
            meta.len(),
        )));
    }
    Ok((meta.dev(), meta.ino()))
}

fn name(kind: FileType) -> &'static str {
    if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_dir() {
        "a folder"
    } else {
        "a device or socket"
    }
}
