//! The database: sealed records, and a sealed manifest that says which version of each is the valid one.
//!
//! Every change is one transaction that writes its records, the manifest and the head, so a process that is
//! killed leaves the state before or after it. `seen` beside the database holds the last generation: a
//! database that is older than it was put back. Other processes' changes are seen by `data_version`.

use crate::keys::{self, Around, At, Kept};
use crate::seal::{Key, Place, random};
use crate::secrets::Loaded;
use crate::{KeySource, Protection, Result, SecretsError, Value, refused};
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use zeroize::Zeroizing;

const FILE: &str = "vault.db";
const SEEN: &str = "seen";
const BUSY: Duration = Duration::from_secs(10);
const RECORD_MAX: usize = 8 << 20;
/// The pause after the first wrong passphrase in seconds; it doubles.
const PAUSE: i64 = 1;
const PAUSE_MAX: i64 = 60;

/// The vault's database. Calls block; keep them off async threads.
pub struct Store {
    dir: PathBuf,
    around: Around,
    clock: fn() -> i64,
    inner: Mutex<Inner>,
}

struct Inner {
    db: Connection,
    open: Option<Open>,
    wrong: u32,
    not_before: i64,
}

/// What an open vault knows.
pub(crate) struct Open {
    kek: Key,
    dek: Key,
    pub(crate) head: Head,
    pub(crate) manifest: Manifest,
    data_version: i64,
    pub(crate) dummies: Key,
    pub(crate) secrets: Vec<Loaded>,
    pub(crate) damaged: Vec<String>,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) install: String,
    kek: String,
    wrapped: Vec<u8>,
    epoch: i64,
    generation: i64,
}

/// Which records there are. What is not named here does not exist.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Changes of secrets, bindings and grants.
    pub(crate) secrets: u64,
    rows: BTreeMap<String, i64>,
}

impl Manifest {
    fn key(table: &str, id: &str, field: &str) -> String {
        format!("{table}/{id}/{field}")
    }

    /// Every record as table, id, field.
    pub(crate) fn places(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.rows.keys().filter_map(|key| {
            let (table, rest) = key.split_once('/')?;
            let (id, field) = rest.rsplit_once('/')?;
            Some((table, id, field))
        })
    }
}

impl Store {
    /// Opens the vault in `dir`, or makes it. It may be locked then: every call says so.
    pub fn open(dir: &Path, source: &KeySource) -> Result<Self> {
        Self::open_with(dir, source, Around::of_process(), now)
    }

    pub(crate) fn open_with(
        dir: &Path,
        source: &KeySource,
        around: Around,
        clock: fn() -> i64,
    ) -> Result<Self> {
        let db = connect(dir)?;
        let inner = Inner { db, open: None, wrong: 0, not_before: 0 };
        let store = Self { dir: dir.to_owned(), around, clock, inner: Mutex::new(inner) };
        match store.unlock_with(source) {
            Err(SecretsError::Locked) | Ok(()) => Ok(store),
            Err(e) => Err(e),
        }
    }

    /// Whether there is a vault in `dir`; nothing is made.
    #[must_use]
    pub fn exists(dir: &Path) -> bool {
        dir.join(FILE).exists()
    }

    /// Whether somebody has to give the passphrase first.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.lock().open.is_none()
    }

    /// Opens a vault with its passphrase; after a wrong one the next try has to wait.
    pub fn unlock(&self, passphrase: Value) -> Result<()> {
        let now = (self.clock)();
        {
            let inner = self.lock();
            if now < inner.not_before {
                return Err(SecretsError::Wait(inner.not_before - now));
            }
        }
        let source = KeySource::Passphrase(passphrase, keys::Cost::default());
        let unlocked = self.unlock_with(&source);
        let mut inner = self.lock();
        if matches!(unlocked, Err(SecretsError::WrongPassphrase)) {
            inner.wrong = inner.wrong.saturating_add(1);
            let pause = PAUSE.checked_shl(inner.wrong - 1).unwrap_or(PAUSE_MAX);
            inner.not_before = now + pause.clamp(PAUSE, PAUSE_MAX);
        } else {
            inner.wrong = 0;
        }
        unlocked
    }

    /// Forgets the keys; only a vault with a passphrase stays closed.
    pub fn relock(&self) {
        self.lock().open = None;
    }

    fn unlock_with(&self, source: &KeySource) -> Result<()> {
        let mut inner = self.lock();
        let tx = inner.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let open = match read_head(&tx)? {
            Some((head, _)) => {
                let kek = self.kek(&head, source)?;
                self.load(&tx, head, kek, source)?
            }
            None => self.create(&tx, source)?,
        };
        tx.commit()?;
        self.anchor(open.head.generation);
        inner.open = Some(open);
        Ok(())
    }

    /// What the source of the key protects.
    pub fn protection(&self) -> Result<Protection> {
        let inner = self.lock();
        let Some((head, _)) = read_head(&inner.db)? else { return Err(SecretsError::Locked) };
        Ok(kept(&head)?.protection())
    }

    /// Changes whenever a secret, a binding or a grant does, by whatever process.
    pub fn generation(&self) -> Result<u64> {
        self.read(|_, open| Ok(open.manifest.secrets))
    }

    /// Opens the vault with another key from now on; the secrets stay as they are.
    pub fn rekey(&self, source: &KeySource) -> Result<()> {
        let mut old = None;
        self.write(|tx| {
            let before = kept(&tx.open.head)?;
            let at = At { dir: &self.dir, around: &self.around, install: &tx.open.head.install };
            let (after, kek) = keys::make(source, &at, Some(&before))?;
            tx.open.head.kek = text(&after)?;
            tx.open.head.wrapped = wrap(&tx.open.head, &kek, &tx.open.dek)?;
            tx.open.kek = kek;
            old = (before != after).then_some((before, at.install.to_owned()));
            Ok(())
        })?;
        if let Some((before, install)) = old {
            before.forget(&At { dir: &self.dir, around: &self.around, install: &install });
        }
        // So that the old wrapping is not left in the log.
        self.checkpoint();
        Ok(())
    }

    /// Seals everything with a new key; a copy of the old one opens nothing that is written from now on.
    pub fn rotate_dek(&self) -> Result<()> {
        self.write(|tx| {
            let records = tx.all()?;
            tx.renew()?;
            records
                .iter()
                .try_for_each(|(place, plain)| tx.put((&place.0, &place.1, &place.2), plain))
        })?;
        self.checkpoint();
        Ok(())
    }

    /// A sealed record of another part of the vault.
    pub fn record(&self, table: &str, id: &str) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let table = own(table)?;
        self.read(|db, open| open.get(db, (table, id, "data")))
    }

    /// Writes such a record; `None` removes it.
    pub fn set_record(&self, table: &str, id: &str, data: Option<&[u8]>) -> Result<()> {
        let table = own(table)?;
        self.write(|tx| match data {
            Some(data) => tx.put((table, id, "data"), data),
            None => tx.remove((table, id, "data")),
        })
    }

    /// The ids of such records.
    pub fn record_ids(&self, table: &str) -> Result<Vec<String>> {
        let table = own(table)?;
        let of = |open: &mut Open| {
            open.manifest.places().filter(|p| p.0 == table).map(|p| p.1.to_owned()).collect()
        };
        self.read(|_, open| Ok(of(open)))
    }

    /// A lock between processes until `seconds` have passed; false if another holder has it.
    pub fn try_lock(&self, name: &str, holder: &str, seconds: i64) -> Result<bool> {
        let now = (self.clock)();
        // A clock that went back must not leave a lock for ever.
        let taken = self.lock().db.execute(
            "INSERT INTO locks (name, holder, until) VALUES (?1, ?2, ?3 + ?4)
             ON CONFLICT (name) DO UPDATE SET holder = ?2, until = ?3 + ?4
             WHERE holder = ?2 OR until <= ?3 OR until > ?3 + 3600",
            params![name, holder, now, seconds],
        )?;
        Ok(taken == 1)
    }

    /// Gives such a lock back.
    pub fn unlock_name(&self, name: &str, holder: &str) -> Result<()> {
        let db = &self.lock().db;
        db.execute("DELETE FROM locks WHERE name = ?1 AND holder = ?2", params![name, holder])?;
        Ok(())
    }

    /// Seconds since 1970, as this store counts.
    #[must_use]
    pub fn now(&self) -> i64 {
        (self.clock)()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read<T>(&self, f: impl FnOnce(&Connection, &mut Open) -> Result<T>) -> Result<T> {
        let mut inner = self.lock();
        let Inner { db, open, .. } = &mut *inner;
        self.refresh(db, open)?;
        f(db, open.as_mut().ok_or(SecretsError::Locked)?)
    }

    /// One transaction; on disk when this returns.
    pub(crate) fn write<T>(&self, f: impl FnOnce(&mut Tx<'_>) -> Result<T>) -> Result<T> {
        let mut inner = self.lock();
        let Inner { db, open: slot, .. } = &mut *inner;
        let db = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        self.refresh(&db, slot)?;
        // Taken out: whatever goes wrong from here on, the state is read anew.
        let mut open = slot.take().ok_or(SecretsError::Locked)?;
        let (kek, before) = (open.kek.clone(), open.manifest.secrets);
        open.head.generation += 1;
        let mut tx = Tx { db: &db, open: &mut open };
        let done = f(&mut tx).and_then(|out| tx.finish().map(|()| out));
        let done = done.and_then(|out| db.commit().map(|()| out).map_err(SecretsError::from));
        match done {
            Ok(out) => {
                self.anchor(open.head.generation);
                if open.manifest.secrets == before {
                    *slot = Some(open);
                } else {
                    self.reopen(&inner.db, open.kek).map(|open| inner.open = open)?;
                }
                Ok(out)
            }
            Err(e) => {
                // The transaction rolled back with the drop of its handle.
                inner.open = self.reopen(&inner.db, kek)?;
                Err(e)
            }
        }
    }

    fn reopen(&self, db: &Connection, kek: Key) -> Result<Option<Open>> {
        let Some((head, _)) = read_head(db)? else { return Ok(None) };
        self.load(db, head, kek, &KeySource::Auto).map(Some)
    }

    /// Sees what other processes changed.
    fn refresh(&self, db: &Connection, slot: &mut Option<Open>) -> Result<()> {
        let Some(open) = slot.as_mut() else {
            // Somebody may have changed the passphrase for a key that needs nobody.
            let Some((head, _)) = read_head(db)? else { return Err(SecretsError::Locked) };
            let kek = self.kek(&head, &KeySource::Auto)?;
            *slot = Some(self.load(db, head, kek, &KeySource::Auto)?);
            return Ok(());
        };
        if data_version(db)? == open.data_version {
            return Ok(());
        }
        let known = open.head.generation;
        let kek = open.kek.clone();
        let fresh = self.reopen(db, kek);
        *slot = None;
        let Some(fresh) = fresh? else { return Err(SecretsError::Locked) };
        if fresh.head.generation < known {
            return Err(went_back(known, fresh.head.generation));
        }
        *slot = Some(fresh);
        Ok(())
    }

    fn kek(&self, head: &Head, source: &KeySource) -> Result<Key> {
        let at = At { dir: &self.dir, around: &self.around, install: &head.install };
        kept(head)?.fetch(&at, source)
    }

    fn load(&self, db: &Connection, head: Head, mut kek: Key, from: &KeySource) -> Result<Open> {
        let mut dek = unwrap(&head, &kek);
        if dek.is_none() {
            // Another process may have changed the key.
            kek = self.kek(&head, from)?;
            dek = unwrap(&head, &kek);
        }
        let Some(dek) = dek else {
            return Err(match from {
                KeySource::Passphrase(..) => SecretsError::WrongPassphrase,
                _ => SecretsError::Integrity(
                    "this key does not open this vault; put back the key that belongs to it".into(),
                ),
            });
        };
        let seen = fs::read_to_string(self.dir.join(SEEN)).unwrap_or_default();
        let seen = seen.trim().parse().unwrap_or(0);
        if head.generation < seen {
            return Err(went_back(seen, head.generation));
        }
        let (data_version, manifest) = (data_version(db)?, manifest(db, &head, &dek)?);
        let mut open = Open {
            kek,
            dek,
            head,
            manifest,
            data_version,
            dummies: Key::random(),
            secrets: Vec::new(),
            damaged: Vec::new(),
        };
        let dummies = open.get(db, ("meta", "dummies", "data"))?;
        open.dummies = dummies
            .and_then(|key| Key::exact(&key))
            .ok_or_else(|| SecretsError::Integrity("the key of the dummies is missing".into()))?;
        open.load_secrets(db);
        Ok(open)
    }

    fn create(&self, db: &Connection, source: &KeySource) -> Result<Open> {
        let install = format!("{:032x}", u128::from_be_bytes(random()));
        let at = At { dir: &self.dir, around: &self.around, install: &install };
        let (after, kek) = keys::make(source, &at, None)?;
        let head =
            Head { install, kek: text(&after)?, wrapped: Vec::new(), epoch: 1, generation: 1 };
        let mut open = Open {
            kek,
            dek: Key::random(),
            head,
            manifest: Manifest::default(),
            data_version: data_version(db)?,
            dummies: Key::random(),
            secrets: Vec::new(),
            damaged: Vec::new(),
        };
        open.head.wrapped = wrap(&open.head, &open.kek, &open.dek)?;
        let key = open.dummies.clone();
        let mut tx = Tx { db, open: &mut open };
        tx.put(("meta", "dummies", "data"), key.bytes())?;
        tx.finish()?;
        Ok(open)
    }

    /// Remembers how far the database was, beside it. Losing this loses nothing but that knowledge.
    fn anchor(&self, generation: i64) {
        let (next, path) = (self.dir.join("seen.new"), self.dir.join(SEEN));
        let written =
            fs::write(&next, generation.to_string()).and_then(|()| fs::rename(&next, &path));
        if let Err(e) = written {
            tracing::warn!("{path:?}: {e}");
        }
    }

    fn checkpoint(&self) {
        let done = self.lock().db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(e) = done {
            tracing::warn!("the log of vault.db stays as it is: {e}");
        }
    }
}

impl Open {
    fn place<'a>(&'a self, at: (&'a str, &'a str, &'a str), version: i64) -> Place<'a> {
        let (table, id, field) = at;
        Place { install: &self.head.install, table, id, field, epoch: self.head.epoch, version }
    }

    /// A record, if the manifest names it; one that is missing, old or changed is an error.
    pub(crate) fn get(
        &self,
        db: &Connection,
        at: (&str, &str, &str),
    ) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let key = Manifest::key(at.0, at.1, at.2);
        let Some(&version) = self.manifest.rows.get(&key) else { return Ok(None) };
        let mut select = db.prepare_cached(
            "SELECT sealed FROM records WHERE tbl = ?1 AND id = ?2 AND field = ?3",
        )?;
        let sealed: Option<Vec<u8>> = select.query_row(at, |row| row.get(0)).optional()?;
        let place = self.place(at, version);
        let opened = sealed.and_then(|sealed| self.dek.of_place(&place).open(&place, &sealed));
        opened.map(Some).ok_or_else(|| {
            SecretsError::Integrity(format!(
                "the record {key} was changed or put back from outside; restore a backup, or set it again"
            ))
        })
    }
}

/// A change that is being made.
pub(crate) struct Tx<'a> {
    pub(crate) db: &'a Connection,
    pub(crate) open: &'a mut Open,
}

type Owned = (String, String, String);

impl Tx<'_> {
    pub(crate) fn get(&self, at: (&str, &str, &str)) -> Result<Option<Zeroizing<Vec<u8>>>> {
        self.open.get(self.db, at)
    }

    pub(crate) fn put(&mut self, at: (&str, &str, &str), plain: &[u8]) -> Result<()> {
        if plain.len() > RECORD_MAX {
            return refused(format!("a record has at most {} MB", RECORD_MAX >> 20));
        }
        let (epoch, version) = (self.open.head.epoch, self.open.head.generation);
        let place = self.open.place(at, version);
        let sealed = self.open.dek.of_place(&place).seal(&place, plain)?;
        let mut insert = self.db.prepare_cached(
            "INSERT OR REPLACE INTO records (tbl, id, field, epoch, version, sealed)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        insert.execute(params![at.0, at.1, at.2, epoch, version, sealed])?;
        self.open.manifest.rows.insert(Manifest::key(at.0, at.1, at.2), version);
        Ok(())
    }

    pub(crate) fn remove(&mut self, at: (&str, &str, &str)) -> Result<()> {
        self.db.execute("DELETE FROM records WHERE tbl = ?1 AND id = ?2 AND field = ?3", at)?;
        self.open.manifest.rows.remove(&Manifest::key(at.0, at.1, at.2));
        Ok(())
    }

    /// Every record in clear.
    pub(crate) fn all(&self) -> Result<Vec<(Owned, Zeroizing<Vec<u8>>)>> {
        let places: Vec<Owned> = self
            .open
            .manifest
            .places()
            .map(|(table, id, field)| (table.into(), id.into(), field.into()))
            .collect();
        let mut all = Vec::new();
        for place in places {
            if let Some(plain) = self.get((&place.0, &place.1, &place.2))? {
                all.push((place, plain));
            }
        }
        Ok(all)
    }

    /// A new DEK and an empty database for it; the caller writes everything again.
    pub(crate) fn renew(&mut self) -> Result<()> {
        self.db.execute("DELETE FROM records", [])?;
        self.open.manifest.rows.clear();
        self.open.manifest.secrets += 1;
        self.open.head.epoch += 1;
        self.open.dek = Key::random();
        self.open.head.wrapped = wrap(&self.open.head, &self.open.kek, &self.open.dek)?;
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        let head = &self.open.head;
        let plain = serde_json::to_vec(&self.open.manifest).map_err(internal)?;
        let place = self.open.place(("manifest", "", ""), head.generation);
        let sealed = self.open.dek.of_place(&place).seal(&place, &plain)?;
        let Head { install, kek, wrapped, epoch, generation } = head;
        self.db.execute(
            "INSERT OR REPLACE INTO head (one, install, kek, wrapped, epoch, generation, manifest)
             VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)",
            params![install, kek, wrapped, epoch, generation, sealed],
        )?;
        Ok(())
    }
}

/// The tables of other parts; those of this crate cannot be reached through them.
fn own(table: &str) -> Result<&str> {
    let word = table.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if table.is_empty() || !word || ["secret", "manifest", "dek"].contains(&table) {
        return refused(format!("{table:?} is no table of records"));
    }
    Ok(table)
}

pub(crate) fn internal(e: serde_json::Error) -> SecretsError {
    // The message of serde could quote a value.
    SecretsError::Integrity(format!("a record is not readable ({:?})", e.classify()))
}

fn went_back(seen: i64, now: i64) -> SecretsError {
    SecretsError::Integrity(format!(
        "vault.db is older than it was (state {now}, seen {seen}); if you put back a copy on purpose, remove \
         the file `seen` beside it"
    ))
}

fn wrap(head: &Head, kek: &Key, dek: &Key) -> Result<Vec<u8>> {
    kek.seal(&wrapping(head), dek.bytes())
}

fn unwrap(head: &Head, kek: &Key) -> Option<Key> {
    kek.open(&wrapping(head), &head.wrapped).and_then(|dek| Key::exact(&dek))
}

/// The source is part of the place, so that its cost or its name cannot be changed.
fn wrapping(head: &Head) -> Place<'_> {
    let (install, epoch) = (&head.install, head.epoch);
    Place { install, table: "dek", id: &head.kek, field: "", epoch, version: 0 }
}

fn kept(head: &Head) -> Result<Kept> {
    serde_json::from_str(&head.kek).map_err(internal)
}

fn text(kept: &Kept) -> Result<String> {
    serde_json::to_string(kept).map_err(internal)
}

fn data_version(db: &Connection) -> Result<i64> {
    Ok(db.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?)
}

fn read_head(db: &Connection) -> Result<Option<(Head, Vec<u8>)>> {
    let sql = "SELECT install, kek, wrapped, epoch, generation, manifest FROM head WHERE one = 1";
    let head = db.prepare_cached(sql)?.query_row([], |row| {
        let head = Head {
            install: row.get(0)?,
            kek: row.get(1)?,
            wrapped: row.get(2)?,
            epoch: row.get(3)?,
            generation: row.get(4)?,
        };
        Ok((head, row.get(5)?))
    });
    Ok(head.optional()?)
}

fn manifest(db: &Connection, head: &Head, dek: &Key) -> Result<Manifest> {
    let damaged = || {
        SecretsError::Integrity(
            "the list of records was changed from outside; restore a backup".into(),
        )
    };
    let (_, sealed) = read_head(db)?.ok_or_else(damaged)?;
    let place = Place {
        install: &head.install,
        table: "manifest",
        id: "",
        field: "",
        epoch: head.epoch,
        version: head.generation,
    };
    let plain = dek.of_place(&place).open(&place, &sealed).ok_or_else(damaged)?;
    serde_json::from_slice(&plain).map_err(internal)
}

/// The database file and its folder belong to this user alone.
fn connect(dir: &Path) -> Result<Connection> {
    let prepare = || -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
        let mut file = fs::OpenOptions::new();
        file.append(true).create(true).mode(0o600).open(dir.join(FILE))?;
        fs::set_permissions(dir.join(FILE), fs::Permissions::from_mode(0o600))
    };
    prepare().map_err(|e| SecretsError::io(format!("opening {:?}", dir.join(FILE)), e))?;
    let mut db = Connection::open(dir.join(FILE))?;
    db.busy_timeout(BUSY)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "secure_delete", true)?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.pragma_update(None, "trusted_schema", false)?;
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = tx.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    match version {
        0 => {
            tx.execute_batch(include_str!("schema.sql"))?;
            tx.pragma_update(None, "user_version", 1)?;
        }
        1 => {}
        newer => {
            return refused(format!(
                "vault.db has version {newer}, which a newer NanoClaw wrote; update this one"
            ));
        }
    }
    tx.commit()?;
    Ok(db)
}

#[expect(clippy::disallowed_methods, reason = "the one door of time; tests pass another clock")]
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs().try_into().unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
