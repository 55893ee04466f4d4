//! A copy for another day or another machine: one file, sealed with a passphrase of its own.
//!
//! It does not depend on the vault's key, so it opens when that is lost. Restoring replaces everything in one
//! transaction.

use crate::keys::Cost;
use crate::seal::{Key, Place, random};
use crate::store::{Store, internal};
use crate::{Result, SecretsError, Value, refused};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const MAGIC: &[u8] = b"nanoclaw vault backup 1\n";
const BYTES_MAX: u64 = 256 << 20;
const PASSPHRASE_MIN: usize = 8;
const PLACE: Place<'static> =
    Place { install: "", table: "backup", id: "", field: "", epoch: 0, version: 1 };

#[derive(Serialize, Deserialize)]
struct Front {
    salt: [u8; 16],
    cost: Cost,
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Record {
    table: String,
    id: String,
    field: String,
    data: Vec<u8>,
}

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// How many records.
    pub records: usize,
}

impl Store {
    /// Writes everything to a new file that only this user can read.
    pub fn backup(&self, to: &Path, passphrase: &Value, cost: Cost) -> Result<()> {
        if passphrase.expose().chars().count() < PASSPHRASE_MIN {
            return refused(format!("a passphrase has at least {PASSPHRASE_MIN} characters"));
        }
        let records = self.write(|tx| tx.all())?;
        let records: Vec<Record> = records
            .into_iter()
            .map(|((table, id, field), data)| Record { table, id, field, data: data.to_vec() })
            .collect();
        let plain = Zeroizing::new(serde_json::to_vec(&records).map_err(internal)?);
        let front = Front { salt: random(), cost };
        let key: Key = cost.key(passphrase, &front.salt)?;
        let sealed = key.seal(&PLACE, &plain)?;
        let front = serde_json::to_string(&front).map_err(internal)?;
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
            file.write_all(MAGIC)?;
            writeln!(file, "{front}")?;
            file.write_all(&sealed)?;
            file.sync_all()
        };
        write().map_err(|e| SecretsError::io(format!("writing the backup {to:?}"), e))
    }

    /// Replaces everything by what a backup holds.
    pub fn restore(&self, from: &Path, passphrase: &Value) -> Result<Restored> {
        let mut bytes = Vec::new();
        let read = File::open(from).and_then(|file| file.take(BYTES_MAX).read_to_end(&mut bytes));
        read.map_err(|e| SecretsError::io(format!("reading the backup {from:?}"), e))?;
        let parts = bytes.strip_prefix(MAGIC).and_then(|rest| {
            let end = rest.iter().position(|b| *b == b'\n')?;
            let front: Front = serde_json::from_slice(rest.get(..end)?).ok()?;
            Some((front, rest.get(end + 1..)?))
        });
        let Some((front, sealed)) = parts else {
            return refused(format!("{from:?} is no backup of a vault"));
        };
        let key = front.cost.key(passphrase, &front.salt)?;
        let Some(plain) = key.open(&PLACE, sealed) else {
            return refused("that is not the passphrase of this backup, or the file is damaged");
        };
        let records: Vec<Record> = serde_json::from_slice(&plain).map_err(internal)?;
        self.write(|tx| {
            tx.renew()?;
            records.iter().try_for_each(|r| tx.put((&r.table, &r.id, &r.field), &r.data))
        })?;
        Ok(Restored { records: records.len() })
    }
}
