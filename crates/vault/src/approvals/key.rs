//! The key of `held.db`, in a file beside it that only this user reads.
//!
//! Who has the file has no secret, only what cards showed. Without it open requests are forgotten.

use super::random;
use crate::{VaultError, socket};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

const NAME: &str = "held.key";

/// Reads the key, or makes one.
pub(super) fn of(dir: &Path) -> Result<[u8; 32], VaultError> {
    let path = dir.join(NAME);
    let failed = |e| VaultError::io(format!("the key {path:?}"), e);
    match std::fs::read(&path) {
        Ok(bytes) => {
            let key = bytes.try_into();
            return key.map_err(|_| VaultError::Refused(format!("{path:?} is no key; remove it")));
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(failed(e)),
    }
    if !dir.is_dir() {
        socket::make_dir(dir, 0o700).map_err(failed)?;
    }
    let key = random::<32>().map_err(|e| VaultError::Refused(e.told().2))?;
    let temp = dir.join(format!("{NAME}.new"));
    let made = || {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temp)?;
        file.write_all(&key)?;
        file.sync_all()?;
        std::fs::rename(&temp, &path)
    };
    made().map_err(failed)?;
    Ok(key)
}
