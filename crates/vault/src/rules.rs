//! The owner's policy file, read again when it changes. A file that is wrong changes nothing, and says so.

use nanoclaw_policy::Policy;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Its name in the vault's folder.
pub(crate) const FILE: &str = "policy.toml";
const FILE_MAX: u64 = 1 << 20;

type Stamp = Option<(u64, i64, i64, u64)>;

/// The policy of now.
pub(crate) struct Rules {
    file: PathBuf,
    now: RwLock<(Arc<Policy>, u64)>,
    read: Mutex<Option<Stamp>>,
}

impl Rules {
    pub(crate) fn new(file: PathBuf) -> Self {
        let rules = Self { file, now: RwLock::default(), read: Mutex::default() };
        if let Some(wrong) = rules.refresh() {
            tracing::error!("{wrong}; until it is right only the model's API is open");
        }
        rules
    }

    pub(crate) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Another number for another text.
    pub(crate) fn epoch(&self) -> u64 {
        self.now.read().unwrap_or_else(PoisonError::into_inner).1
    }

    /// Reads the file if it is another one by now; tells what is wrong with it, once. Blocks.
    pub(crate) fn refresh(&self) -> Option<String> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let meta = fs::metadata(&self.file).ok();
        let stamp = meta.map(|m| (m.ino(), m.ctime(), m.ctime_nsec(), m.len()));
        if *read == Some(stamp) {
            return None;
        }
        *read = Some(stamp);
        let (policy, epoch) = match stamp {
            None => (Policy::default(), 0),
            Some((.., len)) if len > FILE_MAX => {
                return Some(format!("{}: larger than 1 MB", self.file.display()));
            }
            Some(_) => {
                let text = fs::read_to_string(&self.file).map_err(|e| e.to_string());
                match text.and_then(|text| {
                    let policy = Policy::parse(&text).map_err(|e| e.to_string())?;
                    Ok((policy, print(&text)))
                }) {
                    Ok(read) => read,
                    Err(e) => return Some(format!("{}: {e}", self.file.display())),
                }
            }
        };
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = (Arc::new(policy), epoch);
        None
    }
}

fn print(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).fold(0, |n, byte| n << 8 | u64::from(*byte))
}
