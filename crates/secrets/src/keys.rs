//! Where the key comes from that opens the vault, and what each source protects.
//!
//! A source gives 32 bytes (the KEK) or says why not; nothing here falls back to another source, because then
//! whoever can break one could choose. Only a new vault chooses: the first source that works.

use crate::seal::{Key, random};
use crate::{Result, SecretsError, Value, refused};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use zeroize::Zeroizing;

/// The credential that systemd hands over (`LoadCredentialEncrypted=nanoclaw-vault-key:…`).
const CREDENTIAL: &str = "nanoclaw-vault-key";
const CREDENTIAL_MIN: usize = 16;
const KEY_BYTES_MAX: u64 = 4 << 10;
/// A keyring that is locked may ask a person; nobody waits longer.
const KEYRING_TIMEOUT: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };
const PASSPHRASE_MIN: usize = 8;

/// Which source opens the vault.
pub enum KeySource {
    /// For a new vault the first that works: systemd, keyring, file. For an old one what it was made with.
    Auto,
    /// A credential of the service manager.
    Systemd,
    /// The keyring of the desktop, through `secret-tool`.
    Keyring,
    /// A person.
    Passphrase(Value, Cost),
    /// A file beside the database.
    File,
}

/// What one guess of the passphrase costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Memory in KiB.
    pub memory: u32,
    /// Rounds.
    pub rounds: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for Cost {
    fn default() -> Self {
        Self { memory: 64 << 10, rounds: 3, lanes: 4 }
    }
}

impl Cost {
    /// More than this is no setting but an attack on whoever opens the file.
    const MEMORY_MAX: u32 = 1 << 20;
    const ROUNDS_MAX: u32 = 64;

    /// The key behind a passphrase.
    pub(crate) fn key(self, passphrase: &Value, salt: &[u8]) -> Result<Key> {
        if self.memory > Self::MEMORY_MAX || self.rounds > Self::ROUNDS_MAX {
            return Err(SecretsError::Integrity("the cost of the passphrase was changed".into()));
        }
        let bad = |e: argon2::Error| SecretsError::Integrity(format!("passphrase: {e}"));
        let params = Params::new(self.memory, self.rounds, self.lanes, Some(32)).map_err(bad)?;
        let mut key = Zeroizing::new([0; 32]);
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let text = passphrase.expose().as_bytes();
        argon.hash_password_into(text, salt, key.as_mut()).map_err(bad)?;
        Ok(Key::of(key.as_ref()))
    }
}

/// What the vault keeps about its source; it stands in clear and is authenticated with the wrapped DEK.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub(crate) enum Kept {
    Systemd,
    Keyring { entry: String },
    Passphrase { salt: [u8; 16], cost: Cost },
    File { name: String },
}

/// What a source protects, in lines for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protection {
    /// Its name.
    pub source: &'static str,
    /// What it protects, and what not.
    pub lines: Vec<&'static str>,
}

/// What the machine offers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Around {
    pub(crate) credentials: Option<PathBuf>,
    pub(crate) secret_tool: Option<PathBuf>,
}

impl Around {
    pub(crate) fn of_process() -> Self {
        let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let session = var("DBUS_SESSION_BUS_ADDRESS").and_then(|_| var("PATH"));
        let tool = session.and_then(|path| {
            std::env::split_paths(&path).map(|dir| dir.join("secret-tool")).find(|p| p.is_file())
        });
        Self { credentials: var("CREDENTIALS_DIRECTORY").map(PathBuf::from), secret_tool: tool }
    }

    fn credential(&self) -> Result<Key> {
        let Some(dir) = &self.credentials else {
            return refused(
                "the key is a systemd credential, and this process was not started by systemd with it; \
                 start the service, or run `nanoclaw vault rekey` there",
            );
        };
        let path = dir.join(CREDENTIAL);
        let bytes = read(&path, OpenOptions::new().read(true))?;
        if bytes.len() < CREDENTIAL_MIN {
            return refused(format!("{path:?} has fewer than {CREDENTIAL_MIN} bytes"));
        }
        Ok(Key::of(&bytes))
    }

    /// Runs `secret-tool`; what it prints is a secret.
    fn keyring(&self, args: &[&str], input: &str) -> Result<Zeroizing<Vec<u8>>> {
        let Some(tool) = &self.secret_tool else {
            return refused(
                "the key is in the keyring of the desktop, and there is no session with `secret-tool` here",
            );
        };
        let failed = |e: io::Error| SecretsError::io("asking the keyring", e);
        let mut child = Command::new(tool)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).map_err(failed)?;
        }
        let mut out = Zeroizing::new(Vec::new());
        let answered = child.stdout.take().is_some_and(|mut stdout| {
            let ready = poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&KEYRING_TIMEOUT));
            matches!(ready, Ok(1..))
                && stdout.by_ref().take(KEY_BYTES_MAX).read_to_end(&mut out).is_ok()
        });
        if !answered {
            drop(child.kill());
        }
        if !child.wait().map_err(failed)?.success() {
            return refused("the keyring does not answer; unlock it and try again");
        }
        Ok(out)
    }

    fn of_keyring(&self, install: &str, entry: &str) -> Result<Key> {
        let asked = ["lookup", "service", "nanoclaw-vault", "install", install, "entry", entry];
        decode(&self.keyring(&asked, "")?, "the entry of the keyring")
    }
}

fn decode(text: &[u8], what: &str) -> Result<Key> {
    let bytes = STANDARD.decode(text.trim_ascii()).map(Zeroizing::new);
    bytes
        .ok()
        .and_then(|bytes| Key::exact(&bytes))
        .ok_or_else(|| SecretsError::Integrity(format!("{what} is no key; put back the right one")))
}

fn read(path: &Path, how: &OpenOptions) -> Result<Zeroizing<Vec<u8>>> {
    let failed = |e| SecretsError::io(format!("reading {path:?}"), e);
    let file = how.open(path).map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(KEY_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The key in a file, if nobody else can read it.
fn of_file(path: &Path) -> Result<Key> {
    let mut how = OpenOptions::new();
    how.read(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    let meta = fs::symlink_metadata(path)
        .map_err(|e| SecretsError::io(format!("reading the vault's key {path:?}"), e))?;
    let us = rustix::process::geteuid().as_raw();
    if !meta.is_file() || meta.mode() & 0o077 != 0 || ![us, 0].contains(&meta.uid()) {
        return refused(format!(
            "{path:?} can be read by others; run `chmod 600` on it, then `nanoclaw vault rekey` and rotate \
             the secrets"
        ));
    }
    decode(&read(path, &how)?, &format!("{path:?}"))
}

/// Puts a key into a file, on disk before this returns.
fn to_file(path: &Path, key: &Key) -> Result<()> {
    let write = || -> io::Result<()> {
        let next = path.with_extension("new");
        drop(fs::remove_file(&next));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
        let text = Zeroizing::new(STANDARD.encode(key.bytes()));
        writeln!(file, "{}", *text)?;
        file.sync_all()?;
        fs::rename(&next, path)?;
        File::open(path.parent().unwrap_or(path))?.sync_all()
    };
    write().map_err(|e| SecretsError::io(format!("writing the vault's key {path:?}"), e))
}

/// Makes a key with this source, beside the one that is `used`; nothing depends on it yet.
pub(crate) fn make(source: &KeySource, at: &At<'_>, used: Option<&Kept>) -> Result<(Kept, Key)> {
    match source {
        KeySource::Auto => {
            let found = at.around.credentials.as_ref().is_some_and(|d| d.join(CREDENTIAL).exists());
            if found {
                return make(&KeySource::Systemd, at, used);
            }
            if at.around.secret_tool.is_some()
                && let Ok(made) = make(&KeySource::Keyring, at, used)
            {
                return Ok(made);
            }
            make(&KeySource::File, at, used)
        }
        KeySource::Systemd => Ok((Kept::Systemd, at.around.credential()?)),
        KeySource::Keyring => {
            let key = Key::random();
            let entry = format!("{:016x}", u64::from_be_bytes(random()));
            let text = Zeroizing::new(STANDARD.encode(key.bytes()));
            let label = "--label=NanoClaw vault";
            let (service, install) = ("nanoclaw-vault", at.install);
            let args = ["store", label, "service", service, "install", install, "entry", &entry];
            at.around.keyring(&args, &text)?;
            // A keyring that forgets would lock everybody out.
            at.around.of_keyring(at.install, &entry)?;
            Ok((Kept::Keyring { entry }, key))
        }
        KeySource::Passphrase(text, cost) => {
            if text.expose().chars().count() < PASSPHRASE_MIN {
                return refused(format!("a passphrase has at least {PASSPHRASE_MIN} characters"));
            }
            let salt = random();
            Ok((Kept::Passphrase { salt, cost: *cost }, cost.key(text, &salt)?))
        }
        KeySource::File => {
            let taken = matches!(used, Some(Kept::File { name }) if name == "key");
            let name = if taken { "key.b" } else { "key" };
            let path = at.dir.join(name);
            // A key whose database is missing may be all that is left to open a copy of it.
            let key = match used {
                None if path.exists() => of_file(&path)?,
                _ => {
                    let key = Key::random();
                    to_file(&path, &key)?;
                    key
                }
            };
            Ok((Kept::File { name: name.into() }, key))
        }
    }
}

/// Where a vault lies.
pub(crate) struct At<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) around: &'a Around,
    pub(crate) install: &'a str,
}

impl Kept {
    /// The key, from where it is kept.
    pub(crate) fn fetch(&self, at: &At<'_>, source: &KeySource) -> Result<Key> {
        match self {
            Self::Systemd => at.around.credential(),
            Self::Keyring { entry } => at.around.of_keyring(at.install, entry),
            Self::File { name } if ["key", "key.b"].contains(&name.as_str()) => {
                of_file(&at.dir.join(name))
            }
            Self::File { .. } => {
                Err(SecretsError::Integrity("the name of the key was changed".into()))
            }
            Self::Passphrase { salt, cost } => match source {
                KeySource::Passphrase(text, _) => cost.key(text, salt),
                KeySource::Auto | KeySource::Systemd | KeySource::Keyring | KeySource::File => {
                    Err(SecretsError::Locked)
                }
            },
        }
    }

    /// Removes a key that opens nothing any more.
    pub(crate) fn forget(&self, at: &At<'_>) {
        match self {
            Self::File { name } => {
                if let Err(e) = fs::remove_file(at.dir.join(name)) {
                    tracing::warn!("the old key file stays: {e}");
                }
            }
            Self::Keyring { entry } => {
                let args =
                    ["clear", "service", "nanoclaw-vault", "install", at.install, "entry", entry];
                if let Err(e) = at.around.keyring(&args, "") {
                    tracing::warn!("the old key stays in the keyring: {e}");
                }
            }
            Self::Systemd | Self::Passphrase { .. } => {}
        }
    }

    pub(crate) fn protection(&self) -> Protection {
        let (source, lines) = match self {
            Self::Systemd => (
                "systemd credential",
                vec![
                    "copies of the data folder are worth nothing without this machine's TPM or host key",
                    "whoever is root here, or runs code as the vault's user, can open it",
                ],
            ),
            Self::Keyring { .. } => (
                "keyring",
                vec![
                    "copies of the data folder are worth nothing without your login's keyring",
                    "programs of your own session can ask the keyring too; it is closed until you log in",
                ],
            ),
            Self::Passphrase { .. } => (
                "passphrase",
                vec![
                    "copies of the data folder, and the disk when the machine is off, are worth nothing \
                     without the passphrase",
                    "after each start somebody has to run `nanoclaw vault unlock`; while it is open, root \
                     can read the vault's memory",
                ],
            ),
            Self::File { .. } => (
                "key file",
                vec![
                    "copies of vault.db alone are worth nothing; a copy of the whole data folder holds the \
                     key too",
                    "it does not protect against whoever can read your files on this machine; \
                     `nanoclaw vault rekey --to passphrase` does, when the machine is off",
                ],
            ),
        };
        Protection { source, lines }
    }
}
