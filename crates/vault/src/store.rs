//! The credential for the model's API: one secret of the sealed store, as setup and the model's route see it.
//!
//! A value goes in and never comes out again: [`Status`] tells its kind and age, nothing more. What earlier
//! versions kept in `credential.json` is taken over once. Read next: `proxy`, which puts the value into
//! requests; the store itself is the crate `nanoclaw-secrets`.

use crate::{BaseUrl, VaultError};
use nanoclaw_secrets::{AUTH, Grant, KeySource, NewSecret, OAUTH, SecretsError, Value, kind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// What the secret is called.
pub const NAME: &str = "anthropic";
const BASE_URL: &str = "base_url";
const OLD: &str = "credential.json";
const OLD_MAX: u64 = 16 << 10;
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
        if kind::is_anthropic_oauth(&secret.0) {
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

    fn into_new(self) -> Result<NewSecret, SecretsError> {
        let (url, is_oauth) = (self.base_url.to_string(), self.kind == Kind::Oauth);
        Ok(NewSecret {
            name: NAME.into(),
            kind: nanoclaw_secrets::Kind::Anthropic,
            bindings: kind::anthropic(&url, is_oauth)?,
            value: Value::new(self.secret.0),
            grants: vec![Grant::to_all()?],
            expires: None,
            settings: BTreeMap::from([
                (BASE_URL.to_owned(), url),
                (AUTH.to_owned(), if is_oauth { OAUTH } else { "key" }.to_owned()),
            ]),
        })
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

#[derive(Deserialize)]
struct OnDisk {
    kind: Kind,
    value: String,
    base_url: Option<String>,
}

/// The credential of an install.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// The store below the install's data directory; nothing is created yet.
    pub fn new(data: &Path) -> Self {
        Self { dir: data.join("vault") }
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Opens the sealed store, or makes it; takes over what an earlier version left.
    pub fn open(&self) -> Result<nanoclaw_secrets::Store, VaultError> {
        let store = nanoclaw_secrets::Store::open(&self.dir, &KeySource::Auto)?;
        if let Some(old) = self.old()?
            && !store.is_locked()
        {
            if store.info(NAME).is_err() {
                store.add(old.into_new()?)?;
            }
            // Only now: a file that is removed twice is no loss, a value that is stored nowhere is.
            let path = self.dir.join(OLD);
            fs::remove_file(&path).map_err(|e| VaultError::io(format!("removing {path:?}"), e))?;
        }
        Ok(store)
    }

    /// The sealed store, if there is one.
    fn opened(&self) -> Result<Option<nanoclaw_secrets::Store>, VaultError> {
        let exists = nanoclaw_secrets::Store::exists(&self.dir) || self.dir.join(OLD).exists();
        exists.then(|| self.open()).transpose()
    }

    /// Replaces the credential; a running vault uses it from the next request on.
    pub fn set(&self, credential: &Credential) -> Result<(), VaultError> {
        self.open()?.put(credential.clone().into_new()?)?;
        Ok(())
    }

    /// Removes the credential; false if there was none. Every later request is refused.
    pub fn remove(&self) -> Result<bool, VaultError> {
        let Some(store) = self.opened()? else { return Ok(false) };
        match store.remove(NAME) {
            Ok(()) => Ok(true),
            Err(SecretsError::NoSuch(_)) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// What may be told about the credential, if there is one.
    pub fn status(&self) -> Result<Option<Status>, VaultError> {
        let Some(store) = self.opened()? else { return Ok(None) };
        let Some(info) = named(&store)? else { return Ok(None) };
        let since = Duration::from_secs(info.updated.try_into().unwrap_or(0));
        Ok(Some(Status {
            kind: if info.is_oauth { Kind::Oauth } else { Kind::ApiKey },
            base_url: base_url(&info)?.to_string(),
            set_at: SystemTime::UNIX_EPOCH + since,
        }))
    }

    /// What an earlier version kept in a file of its own.
    fn old(&self) -> Result<Option<Credential>, VaultError> {
        let path = self.dir.join(OLD);
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
        let read = file.take(OLD_MAX).read_to_string(&mut text);
        read.map_err(|e| VaultError::io(format!("reading {path:?}"), e))?;
        // serde's message could quote the value, so it is not passed on.
        let on_disk: OnDisk = serde_json::from_str(&text).map_err(|_| {
            VaultError::Refused(format!(
                "{path:?} is damaged; remove it and set the credential again"
            ))
        })?;
        Credential::parse(&on_disk.value, Some(on_disk.kind), on_disk.base_url.as_deref()).map(Some)
    }
}

fn named(
    store: &nanoclaw_secrets::Store,
) -> Result<Option<nanoclaw_secrets::SecretInfo>, VaultError> {
    match store.info(NAME) {
        Ok(info) => Ok(Some(info)),
        Err(SecretsError::NoSuch(_)) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn base_url(info: &nanoclaw_secrets::SecretInfo) -> Result<BaseUrl, VaultError> {
    info.settings.get(BASE_URL).map_or_else(|| Ok(BaseUrl::default()), |url| BaseUrl::parse(url))
}

impl From<SecretsError> for VaultError {
    fn from(e: SecretsError) -> Self {
        Self::Refused(e.to_string())
    }
}

/// The credential in memory, read again whenever the store has changed.
pub(crate) struct Cached {
    store: Arc<nanoclaw_secrets::Store>,
    /// Another vault has the secrets.
    elsewhere: bool,
    last: Mutex<Option<(u64, Option<Arc<Credential>>)>>,
}

impl Cached {
    pub(crate) fn new(store: Arc<nanoclaw_secrets::Store>, elsewhere: bool) -> Self {
        Self { store, elsewhere, last: Mutex::new(None) }
    }

    /// The credential now: one look at shared memory when nothing changed.
    pub(crate) fn get(&self) -> Result<Option<Arc<Credential>>, VaultError> {
        if self.elsewhere {
            return Ok(None);
        }
        let store = &*self.store;
        let generation = store.generation()?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, credential)) = &*last
            && *seen == generation
        {
            return Ok(credential.clone());
        }
        *last = None;
        let credential = named(store)?.map(|info| -> Result<_, VaultError> {
            let value = store.value(&info.id)?;
            let kind = if info.is_oauth { Kind::Oauth } else { Kind::ApiKey };
            let secret = Secret::parse(value.expose())?;
            Ok(Arc::new(Credential { kind, secret, base_url: base_url(&info)? }))
        });
        let credential = credential.transpose()?;
        *last = Some((generation, credential.clone()));
        Ok(credential)
    }
}

#[cfg(test)]
mod tests;
