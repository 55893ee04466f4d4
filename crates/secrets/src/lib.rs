//! Secrets at rest: sealed, bound to places, granted to agents, never read back by a person.
//!
//! ```text
//! key source (keys) ─opens─▶ KEK ─wraps─▶ DEK ─HKDF─▶ one key per record (seal)
//! vault.db: head (wrapped DEK, manifest) and records; the manifest says which version of each is the valid one
//! ```
//!
//! What decides (bindings, grants, kinds) is sealed like the values, so that no row can be changed, swapped or
//! put back. A value leaves only as a [`Value`], which prints nothing, and only the vault process asks for
//! one; the host asks for its own channel tokens. Read next: [`Store`], then [`kind`] for what a secret is.

mod backup;
mod dummy;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod import;
mod keys;
pub mod kind;
mod seal;
mod secrets;
mod store;
mod value;

pub use backup::Restored;
pub use dummy::Dummy;
pub use keys::{Cost, KeySource, Protection};
pub use kind::{Binding, Inject, Kind, Slot};
pub use secrets::{AUTH, Bound, Grant, NewSecret, OAUTH, Rotation, SecretId, SecretInfo};
pub use store::Store;
pub use value::{VALUE_MAX, Value};

/// What went wrong, and what to do. Never holds a value.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The system said no.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database said no.
    #[error("vault.db: {0}")]
    Db(#[from] rusqlite::Error),
    /// The vault opens with a passphrase, and nobody gave it yet.
    #[error("the vault is locked; run `nanoclaw vault unlock`")]
    Locked,
    /// Not the passphrase.
    #[error("that is not the passphrase of this vault")]
    WrongPassphrase,
    /// Too many wrong ones.
    #[error("too many wrong passphrases; try again in {0} s")]
    Wait(i64),
    /// Something was changed from outside, or is damaged. It is never used.
    #[error("integrity: {0}")]
    Integrity(String),
    /// There is no such secret.
    #[error("there is no secret {0:?}; `nanoclaw vault list` shows all")]
    NoSuch(String),
    /// What was given cannot be used.
    #[error("{0}")]
    Refused(String),
}

impl SecretsError {
    fn io(what: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::Io { what: what.into(), source: source.into() }
    }
}

type Result<T> = std::result::Result<T, SecretsError>;

fn refused<T>(why: impl Into<String>) -> Result<T> {
    Err(SecretsError::Refused(why.into()))
}
