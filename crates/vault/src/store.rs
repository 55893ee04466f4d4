//! The credential on disk: one file, mode 0600 in a directory of mode 0700, replaced atomically.
//!
//! A value goes in and never comes out again: [`Status`] tells its kind and age, nothing more. A file that
//! others may read is refused, not used. Read next: `proxy`, which puts the value into requests.

use crate::{BaseUrl, VaultError, socket};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

const FILE: &str = "credential.json";
const FILE_MAX: u64 = 16 << 10;
const SECRET_MIN: usize = 8;
const SECRET_MAX: usize = 4 << 10;

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Accepts what can stand in a header; surrounding white space is dropped.
    pub fn parse(text: &str) -> Result<Self, VaultError> {
        let text = text.trim();
        let why = match text.len() {
            0 => "the credential is empty".to_owned(),
            n if !(SECRET_MIN..=SECRET_MAX).contains(&n) => {
                format!("a credential has {SECRET_MIN} to {SECRET_MAX} characters, this one has {n}")
            }
            _ if !text.bytes().all(|b| b.is_ascii_graphic()) => {
                "the credential has a space, a line break or a letter outside ASCII in it; copy it again"
                    .to_owned()
            }
            _ => return Ok(Self(text.to_owned())),
        };
        Err(VaultError::Refused(why))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// How a credential is presented to the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `x-api-key: …`, from the Anthropic console.
    ApiKey,
    /// `authorization: Bearer …`, from `claude setup-token`.
    Oauth,
}

impl Kind {
    /// What a value looks like, if its prefix tells.
    fn of(secret: &Secret) -> Option<Self> {
        if secret.0.starts_with("sk-ant-oat") {
            Some(Self::Oauth)
        } else if secret.0.starts_with("sk-ant-api") {
            Some(Self::ApiKey)
        } else {
            None
        }
    }
}

/// A credential and where it may be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// How it is presented.
    pub kind: Kind,
    /// Its value.
    pub secret: Secret,
    /// The only upstream it is sent to.
    pub base_url: BaseUrl,
}

impl Credential {
    /// Checks what a person gave; without a kind, the value's prefix decides, then [`Kind::ApiKey`].
    pub fn parse(
        value: &str,
        kind: Option<Kind>,
        base_url: Option<&str>,
    ) -> Result<Self, VaultError> {
        let secret = Secret::parse(value)?;
        let kind = match (kind, Kind::of(&secret)) {
            (Some(said), Some(seen)) if said != seen => {
                let text =
                    format!("this value looks like {seen:?}, not {said:?}; check which one it is");
                return Err(VaultError::Refused(text));
            }
            (said, seen) => said.or(seen).unwrap_or(Kind::ApiKey),
        };
        let base_url = base_url.map_or_else(|| Ok(BaseUrl::default()), BaseUrl::parse)?;
        Ok(Self { kind, secret, base_url })
    }
}

/// What may be told about the credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// How it is presented.
    pub kind: Kind,
    /// Where it is sent.
    pub base_url: String,
    /// When it was set.
    pub set_at: SystemTime,
}

#[derive(Serialize, Deserialize)]
struct OnDisk {
    kind: Kind,
    value: String,
    base_url: Option<String>,
}

/// The credential file of an install.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// The store below the install's data directory; nothing is created yet.
    pub fn new(data: &Path) -> Self {
        Self { dir: data.join("vault") }
    }

    fn file(&self) -> PathBuf {
        self.dir.join(FILE)
    }

    /// Replaces the credential; a running vault uses it from the next request on.
    pub fn set(&self, credential: &Credential) -> Result<(), VaultError> {
        let on_disk = OnDisk {
            kind: credential.kind,
            value: credential.secret.expose().to_owned(),
            base_url: Some(credential.base_url.to_string()),
        };
        let write = || -> io::Result<()> {
            socket::make_dir(&self.dir, 0o700)?;
            let next = self.dir.join(format!("{FILE}.{}", std::process::id()));
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&next)?;
            file.write_all(&serde_json::to_vec(&on_disk)?)?;
            file.sync_all()?;
            fs::rename(&next, self.file())?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|e| VaultError::io(format!("storing the credential in {:?}", self.dir), e))
    }

    /// Removes the credential; false if there was none. Every later request is refused.
    pub fn remove(&self) -> Result<bool, VaultError> {
        match fs::remove_file(self.file()) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(VaultError::io("removing the credential", e)),
        }
    }

    /// What may be told about the credential, if there is one.
    pub fn status(&self) -> Result<Option<Status>, VaultError> {
        let Some(credential) = self.load()? else { return Ok(None) };
        let set_at = fs::metadata(self.file()).and_then(|m| m.modified());
        let set_at = set_at.map_err(|e| VaultError::io("reading the credential's age", e))?;
        let base_url = credential.base_url.to_string();
        Ok(Some(Status { kind: credential.kind, base_url, set_at }))
    }

    fn load(&self) -> Result<Option<Credential>, VaultError> {
        let path = self.file();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(VaultError::io(format!("opening {path:?}"), e)),
        };
        let meta = file.metadata().map_err(|e| VaultError::io(format!("reading {path:?}"), e))?;
        if meta.mode() & 0o077 != 0 {
            let text = format!(
                "{path:?} can be read by others; run `chmod 600` on it, then rotate the key"
            );
            return Err(VaultError::Refused(text));
        }
        let mut text = String::new();
        let read = file.take(FILE_MAX).read_to_string(&mut text);
        read.map_err(|e| VaultError::io(format!("reading {path:?}"), e))?;
        // serde's message could quote the value, so it is not passed on.
        let on_disk: OnDisk = serde_json::from_str(&text).map_err(|_| {
            VaultError::Refused(format!("{path:?} is damaged; set the credential again"))
        })?;
        Credential::parse(&on_disk.value, Some(on_disk.kind), on_disk.base_url.as_deref()).map(Some)
    }
}

/// Tells one state of the file from another without reading it.
type Stamp = Option<(u64, i64, i64, u64)>;

/// The credential in memory, read again whenever the file has changed.
pub(crate) struct Cached {
    store: Store,
    last: Mutex<Option<(Stamp, Arc<Credential>)>>,
}

impl Cached {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, last: Mutex::new(None) }
    }

    /// The credential now: one `stat` when nothing changed.
    pub(crate) fn get(&self) -> Result<Option<Arc<Credential>>, VaultError> {
        let stamp: Stamp = fs::metadata(self.store.file())
            .ok()
            .map(|m| (m.ino(), m.ctime(), m.ctime_nsec(), m.len()));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, credential)) = &*last
            && stamp.is_some()
            && *seen == stamp
        {
            return Ok(Some(Arc::clone(credential)));
        }
        *last = None;
        let credential = self.store.load()?.map(Arc::new);
        *last = credential.clone().map(|c| (stamp, c));
        Ok(credential)
    }

    /// Forgets what was read.
    pub(crate) fn forget(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests;
