//! The folder of one session, and who may write what in it.
//!
//! ```text
//! <data>/v2-sessions/<agent>/<session>/   /workspace          host only (read-only in the box)
//!   inbound.db                            the inbox
//!   inbox/<message id>/<file>             files for the agent
//!   agent/                                where the agent's own folder is mounted
//!   box/                                  /workspace/box      the box may write here, nowhere else
//!     outbound.db                         the outbox
//!     outbox/<outbound id>/<file>         files from the agent
//!     .heartbeat                          the pulse
//!     .preview                            what is being said
//!   outbound.db, outbox, .heartbeat       links into box/, where v2 looks for them
//! ```
//!
//! The split is what keeps a hostile box away from `inbound.db`: a writable folder would let it plant
//! a journal or WAL file beside the database, which SQLite would replay on the host. v2 kept all of it
//! in one writable folder; [`SessionDir::adopt`] moves such a folder into this shape once.
//!
//! Everything below `box/` is attacker-controlled. The host reads it through [`SessionDir::open_from_box`]
//! and [`crate::outbox::OutboxReader`] only: no links, regular files, size caps.

use crate::Error;
use crate::ids::{AgentId, MessageId, OutId, SessionId, is_safe_name};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Most bytes of one file that travels in or out.
pub const FILE_BYTES_MAX: u64 = 64 << 20;
/// Most files on one message.
pub const FILES_MAX: usize = 32;
/// Largest `outbound.db` the host will open.
pub const OUTBOUND_BYTES_MAX: u64 = 1 << 30;
/// What v2 looks for in the top folder.
const LINKS: [&str; 3] = ["outbound.db", "outbox", ".heartbeat"];

/// The folder of one session, seen from the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionDir {
    root: PathBuf,
}

impl SessionDir {
    /// The folder of `session` below the data folder. Refuses ids that are no folder names.
    pub fn new(data: &Path, agent: &AgentId, session: &SessionId) -> Result<Self, Error> {
        for id in [agent.as_str(), session.as_str()] {
            if !is_safe_name(id) {
                return Err(Error::Refused(format!("{id:?} cannot name a folder")));
            }
        }
        Ok(Self { root: data.join("v2-sessions").join(agent.as_str()).join(session.as_str()) })
    }

    /// A folder that is already known, such as a fixture.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The inbox database.
    pub fn inbound(&self) -> PathBuf {
        self.root.join("inbound.db")
    }

    /// Files for the agent.
    pub fn inbox(&self) -> PathBuf {
        self.root.join("inbox")
    }

    /// The part that the box may write.
    pub fn writable(&self) -> PathBuf {
        self.root.join("box")
    }

    /// The outbox database.
    pub fn outbound(&self) -> PathBuf {
        self.writable().join("outbound.db")
    }

    /// Creates the folder with both databases; finds it unharmed if it is there.
    #[cfg(feature = "sqlite")]
    pub fn create(&self) -> Result<(), Error> {
        for dir in [
            self.root.clone(),
            self.inbox(),
            self.root.join("agent"),
            self.writable(),
            self.writable().join("outbox"),
        ] {
            std::fs::create_dir_all(&dir)
                .map_err(|e| Error::io(format!("create {}", dir.display()), e))?;
        }
        self.adopt()?;
        crate::inbox::Inbox::open(&self.inbound())?;
        if !self.outbound().exists() {
            crate::outbox::create(&self.outbound())?;
        }
        Ok(())
    }

    /// Whether [`SessionDir::seal`] was done: nothing that a crash or a v2 host left is still to be moved.
    pub fn is_sealed(&self) -> bool {
        let link = self.root.join(LINKS[LINKS.len() - 1]).symlink_metadata();
        link.is_ok_and(|m| m.is_symlink()) && self.writable().exists()
    }

    /// Makes the links that v2 looks for: the last step, after [`SessionDir::create`].
    pub fn seal(&self) -> Result<(), Error> {
        for name in LINKS {
            let link = self.root.join(name);
            match std::os::unix::fs::symlink(Path::new("box").join(name), &link) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(Error::io(format!("link {}", link.display()), e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Moves what a v2 host left in the top folder into `box/`. Only while no box runs.
    #[cfg(feature = "sqlite")]
    fn adopt(&self) -> Result<(), Error> {
        for name in ["outbound.db-journal", "outbound.db", "outbox", ".heartbeat"] {
            let (old, new) = (self.root.join(name), self.writable().join(name));
            let Ok(meta) = old.symlink_metadata() else { continue };
            if meta.is_symlink() {
                continue;
            }
            if name == "outbox" && new.exists() && std::fs::remove_dir(&new).is_err() {
                return Err(Error::Refused(format!(
                    "{} and {} both hold files",
                    old.display(),
                    new.display()
                )));
            }
            std::fs::rename(&old, &new)
                .map_err(|e| Error::io(format!("move {}", old.display()), e))?;
        }
        Ok(())
    }

    /// Opens a file that the box wrote, `path` relative to `box/`: below it, no links, regular, capped.
    pub fn open_from_box(&self, path: &Path, bytes_max: u64) -> Result<File, Error> {
        let what = || format!("open {} from the box", path.display());
        let dir = rustix::fs::open(
            self.writable(),
            OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
        )
        .map_err(|e| Error::io(what(), e))?;
        let flags =
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = rustix::fs::openat2(&dir, path, flags, Mode::empty(), beneath())
            .map_err(|e| Error::io(what(), e))?;
        let file = File::from(file);
        let meta = file.metadata().map_err(|e| Error::io(what(), e))?;
        if !meta.is_file() {
            return Err(Error::Refused(format!("{} is not a regular file", path.display())));
        }
        if meta.len() > bytes_max {
            return Err(Error::Refused(format!(
                "{} has {} bytes, more than {bytes_max}",
                path.display(),
                meta.len()
            )));
        }
        Ok(file)
    }

    /// Opens a file of an outbound message.
    pub fn open_outbox_file(&self, id: &OutId, name: &str) -> Result<File, Error> {
        if !id.is_safe_name() || !is_safe_name(name) {
            return Err(Error::Refused(format!("{name:?} of {id} is not a plain file name")));
        }
        self.open_from_box(&Path::new("outbox").join(id.as_str()).join(name), FILE_BYTES_MAX)
    }

    /// Removes the files of an outbound message after its delivery. Never follows a link.
    pub fn clear_outbox(&self, id: &OutId) -> Result<(), Error> {
        if !id.is_safe_name() {
            return Ok(());
        }
        let what = || format!("clear the outbox of {id}");
        let open = |dir: &Path| -> rustix::io::Result<rustix::fd::OwnedFd> {
            let base = rustix::fs::open(
                self.writable(),
                OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
                Mode::empty(),
            )?;
            rustix::fs::openat2(
                &base,
                dir,
                OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
                Mode::empty(),
                beneath(),
            )
        };
        let outbox = match open(Path::new("outbox")) {
            Ok(dir) => dir,
            Err(e) => return Err(Error::io(what(), e)),
        };
        let dir = match rustix::fs::openat2(
            &outbox,
            id.as_str(),
            OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
            beneath(),
        ) {
            Ok(dir) => dir,
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            Err(e) => return Err(Error::io(what(), e)),
        };
        for entry in rustix::fs::Dir::read_from(&dir)
            .map_err(|e| Error::io(what(), e))?
            .take(FILES_MAX * 2)
            .flatten()
        {
            let name = entry.file_name();
            if name.to_bytes() != b"." && name.to_bytes() != b".." {
                rustix::fs::unlinkat(&dir, name, rustix::fs::AtFlags::empty())
                    .map_err(|e| Error::io(what(), e))?;
            }
        }
        rustix::fs::unlinkat(&outbox, id.as_str(), rustix::fs::AtFlags::REMOVEDIR)
            .map_err(|e| Error::io(what(), e))
    }

    /// Writes a file for the agent and returns its path relative to `/workspace`. The same file again
    /// is replaced: a redelivered message finds its attachments as they were.
    pub fn write_inbox_file(
        &self,
        id: &MessageId,
        name: &str,
        bytes: &[u8],
    ) -> Result<String, Error> {
        if !id.is_safe_name() || !is_safe_name(name) {
            return Err(Error::Refused(format!("{name:?} of {id} is not a plain file name")));
        }
        let dir = self.inbox().join(id.as_str());
        std::fs::create_dir_all(&dir)
            .map_err(|e| Error::io(format!("create {}", dir.display()), e))?;
        let (temp, path) = (dir.join(".part"), dir.join(name));
        let write = || {
            let mut file = File::create(&temp)?;
            file.write_all(bytes)?;
            file.sync_data()?;
            std::fs::rename(&temp, &path)
        };
        write().map_err(|e| Error::io(format!("write {}", path.display()), e))?;
        Ok(format!("inbox/{id}/{name}"))
    }
}

fn beneath() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS
}

/// The session folder as the runner sees it, `/workspace`.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The folder at `root`, in our shape or in v2's.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The inbox database.
    pub fn inbound(&self) -> PathBuf {
        self.root.join("inbound.db")
    }

    /// Whether our host made it, and not v2's.
    pub fn is_ours(&self) -> bool {
        self.root.join("box").is_dir()
    }

    fn writable(&self) -> PathBuf {
        if self.is_ours() { self.root.join("box") } else { self.root.clone() }
    }

    /// The outbox database, behind the link.
    pub fn outbound(&self) -> PathBuf {
        self.writable().join("outbound.db")
    }

    /// Files to people.
    pub fn outbox(&self, id: &OutId) -> PathBuf {
        self.writable().join("outbox").join(id.as_str())
    }

    /// The pulse.
    pub fn heartbeat(&self) -> PathBuf {
        self.writable().join(".heartbeat")
    }

    /// What is being said.
    pub fn preview(&self) -> PathBuf {
        self.writable().join(crate::preview::NAME)
    }

    /// The agent's own folder, where it works.
    pub fn agent(&self) -> PathBuf {
        self.root.join("agent")
    }
}
