//! The file: rows that are only ever added, each tied to the one before by a keyed hash.
//!
//! `chain = HMAC(key, chain of the row before ‖ seq ‖ at ‖ entry)`. Whoever can write the file but does not have
//! the key cannot change, add, remove or reorder rows unseen; that the last ones are gone is seen by the anchor,
//! which is kept with the secrets. Old rows go from the front, and what they ended with is signed into `base`.

use super::{Note, Stamped};
use jiff::{SignedDuration, Timestamp};
use ring::hmac;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

const DAYS_MAX: i64 = 90;
const BYTES_MAX: i64 = 512 << 20;
/// The part of the rows that goes at once when the file is too large.
const PART: i64 = 10;
const BUSY: Duration = Duration::from_secs(1);
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS log (
        seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, entry TEXT NOT NULL, chain BLOB NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS base (
        only INTEGER PRIMARY KEY CHECK (only = 1), seq INTEGER NOT NULL, chain BLOB NOT NULL, mac BLOB NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS usage (
        day TEXT NOT NULL, agent TEXT NOT NULL, session TEXT NOT NULL, model TEXT NOT NULL, calls INTEGER NOT NULL,
        input INTEGER NOT NULL, output INTEGER NOT NULL, cache_write INTEGER NOT NULL, cache_read INTEGER NOT NULL,
        micro_usd INTEGER NOT NULL, PRIMARY KEY (agent, day, session, model)
    ) STRICT, WITHOUT ROWID;";

type Chain = [u8; 32];

/// The chain's head, as it is noted outside of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// The number of the last row.
    pub seq: i64,
    /// What it ended with.
    pub chain: Chain,
}

/// A row as people and programs see it.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its number; without a gap.
    pub seq: i64,
    /// When it began.
    pub at: Timestamp,
    /// JSON.
    pub entry: String,
    chain: Vec<u8>,
}

/// What [`Reader::verify`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Checked {
    /// So many rows, all as they were written.
    Whole(i64),
    /// The first row that is not as it was written, and what about it.
    Broken(i64, &'static str),
}

/// What calls to a model took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spent {
    pub agent: String,
    pub session: String,
    pub model: String,
    pub calls: i64,
    pub input: i64,
    pub output: i64,
    pub cache_write: i64,
    pub cache_read: i64,
    pub micro_usd: i64,
}

impl Spent {
    pub fn tokens(&self) -> i64 {
        self.input + self.output + self.cache_write + self.cache_read
    }
}

/// The file, open for writing.
pub struct Log {
    pub db: Connection,
    key: Chain,
    head: Anchor,
}

impl Log {
    pub fn open(file: &Path, key: Chain) -> rusqlite::Result<Self> {
        let db = Connection::open(file)?;
        db.busy_timeout(BUSY)?;
        db.pragma_update(None, "journal_mode", "wal")?;
        db.pragma_update(None, "synchronous", "full")?;
        db.execute_batch(SCHEMA)?;
        let head = head(&db)?;
        Ok(Self { db, key, head })
    }

    pub fn head(&self) -> Anchor {
        self.head.clone()
    }

    /// All of them or none; durable when it returns.
    pub(super) fn append(&mut self, notes: &[Stamped]) -> rusqlite::Result<()> {
        let mut head = self.head.clone();
        let tx = self.db.transaction()?;
        for (at, note) in notes {
            match note {
                Note::Entry(entry) => {
                    let text = serde_json::to_string(entry).unwrap_or_default();
                    let (seq, at) = (head.seq + 1, at.as_microsecond());
                    let chain = link(&self.key, &head.chain, seq, at, &text);
                    tx.prepare_cached(
                        "INSERT INTO log (seq, at, entry, chain) VALUES (?, ?, ?, ?)",
                    )?
                    .execute(params![seq, at, text, chain])?;
                    head = Anchor { seq, chain };
                }
                Note::Spent(spent) => add(&tx, *at, spent)?,
            }
        }
        tx.commit()?;
        self.head = head;
        Ok(())
    }

    /// Lets go of what is too old or too much.
    pub(super) fn trim(&mut self, now: Timestamp) -> rusqlite::Result<()> {
        let since = now - SignedDuration::from_hours(24 * DAYS_MAX);
        let last = "SELECT max(seq) FROM log WHERE at < ?";
        let old: Option<i64> = self.db.query_row(last, [since.as_microsecond()], |r| r.get(0))?;
        let number = |name: &str| self.db.pragma_query_value(None, name, |r| r.get::<_, i64>(0));
        let used = (number("page_count")? - number("freelist_count")?) * number("page_size")?;
        let first: Option<i64> = self.db.query_row("SELECT min(seq) FROM log", [], |r| r.get(0))?;
        let much = first.filter(|_| used > BYTES_MAX).map(|f| f + (self.head.seq - f) / PART);
        match old.max(much) {
            Some(until) => self.forget(until),
            None => Ok(()),
        }
    }

    /// Removes the rows up to this one; what follows is checked against what they ended with.
    pub(super) fn forget(&mut self, until: i64) -> rusqlite::Result<()> {
        let tx = self.db.transaction()?;
        let chain: Chain =
            tx.query_row("SELECT chain FROM log WHERE seq = ?", [until], |r| r.get(0))?;
        let mac = link(&self.key, &chain, until, 0, "base");
        let base = "INSERT OR REPLACE INTO base (only, seq, chain, mac) VALUES (1, ?, ?, ?)";
        tx.execute(base, params![until, chain, mac])?;
        tx.execute("DELETE FROM log WHERE seq <= ?", [until])?;
        tx.commit()
    }
}

fn add(db: &Connection, at: Timestamp, s: &Spent) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO usage (day, agent, session, model, calls, input, output, cache_write, cache_read, micro_usd)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET calls = calls + excluded.calls, input = input + excluded.input,
             output = output + excluded.output, cache_write = cache_write + excluded.cache_write,
             cache_read = cache_read + excluded.cache_read, micro_usd = micro_usd + excluded.micro_usd",
    )?
    .execute(params![
        day(at), s.agent, s.session, s.model, s.calls, s.input, s.output, s.cache_write, s.cache_read, s.micro_usd
    ])
    .map(drop)
}

/// "2026-11-23"; the first seven letters are the month.
pub(crate) fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

fn head(db: &Connection) -> rusqlite::Result<Anchor> {
    let anchor = |r: &rusqlite::Row<'_>| Ok(Anchor { seq: r.get(0)?, chain: r.get(1)? });
    let last = "SELECT seq, chain FROM log ORDER BY seq DESC LIMIT 1";
    if let Some(last) = db.query_row(last, [], anchor).optional()? {
        return Ok(last);
    }
    db.query_row("SELECT seq, chain FROM base", [], anchor)
        .optional()
        .map(Option::unwrap_or_default)
}

fn link(key: &Chain, before: &[u8], seq: i64, at: i64, entry: &str) -> Chain {
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in [before, &seq.to_be_bytes(), &at.to_be_bytes(), entry.as_bytes()] {
        mac.update(part);
    }
    let mut chain = Chain::default();
    chain.copy_from_slice(mac.sign().as_ref());
    chain
}

/// The file, for people.
pub struct Reader(pub Connection);

impl Reader {
    /// Opens the log of an install; it may be written meanwhile.
    pub fn open(file: &Path) -> rusqlite::Result<Self> {
        let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.busy_timeout(BUSY)?;
        Ok(Self(db))
    }

    /// The last `count` rows.
    pub fn last(&self, count: u32) -> rusqlite::Result<Vec<Row>> {
        let first: i64 =
            self.0.query_row("SELECT coalesce(max(seq), 0) FROM log", [], |r| r.get(0))?;
        self.after(first - i64::from(count), count)
    }

    /// Up to `count` rows after this one.
    pub fn after(&self, seq: i64, count: u32) -> rusqlite::Result<Vec<Row>> {
        let text = "SELECT seq, at, entry, chain FROM log WHERE seq > ? ORDER BY seq LIMIT ?";
        let row = |r: &rusqlite::Row<'_>| {
            let at = Timestamp::from_microsecond(r.get(1)?).unwrap_or(Timestamp::MIN);
            Ok(Row { seq: r.get(0)?, at, entry: r.get(2)?, chain: r.get(3)? })
        };
        self.0.prepare_cached(text)?.query_map([seq, count.into()], row)?.collect()
    }

    /// What was spent since a day: the sums of each day, agent, session and model.
    pub fn spent_since(&self, day: &str) -> rusqlite::Result<Vec<(String, Spent)>> {
        let text = "SELECT day, agent, session, model, calls, input, output, cache_write, cache_read, micro_usd
                    FROM usage WHERE day >= ? ORDER BY agent, day, session, model";
        let spent = |r: &rusqlite::Row<'_>| {
            let spent = Spent {
                agent: r.get(1)?,
                session: r.get(2)?,
                model: r.get(3)?,
                calls: r.get(4)?,
                input: r.get(5)?,
                output: r.get(6)?,
                cache_write: r.get(7)?,
                cache_read: r.get(8)?,
                micro_usd: r.get(9)?,
            };
            Ok((r.get(0)?, spent))
        };
        self.0.prepare(text)?.query_map([day], spent)?.collect()
    }

    /// Walks the whole chain, from its base to the anchor and the end.
    pub fn verify(&self, key: &Chain, anchor: Option<&Anchor>) -> rusqlite::Result<Checked> {
        let base = |r: &rusqlite::Row<'_>| Ok((r.get(0)?, r.get(1)?, r.get(2)?));
        let base: Option<(i64, Chain, Chain)> =
            self.0.query_row("SELECT seq, chain, mac FROM base", [], base).optional()?;
        let mut at = Anchor::default();
        if let Some((seq, chain, mac)) = base {
            if mac != link(key, &chain, seq, 0, "base") {
                return Ok(Checked::Broken(
                    seq,
                    "is where older rows were let go, and that is not signed",
                ));
            }
            at = Anchor { seq, chain };
        }
        let (mut rows, mut met) = (0, anchor.is_none_or(|anchor| anchor.seq <= at.seq));
        loop {
            let next = self.after(at.seq, 1000)?;
            if next.is_empty() {
                let lost = "is missing: rows were removed at the end";
                return Ok(if met {
                    Checked::Whole(rows)
                } else {
                    Checked::Broken(at.seq + 1, lost)
                });
            }
            for row in next {
                if row.seq != at.seq + 1 {
                    return Ok(Checked::Broken(at.seq + 1, "is missing"));
                }
                let chain = link(key, &at.chain, row.seq, row.at.as_microsecond(), &row.entry);
                if row.chain != chain {
                    return Ok(Checked::Broken(row.seq, "was changed"));
                }
                at = Anchor { seq: row.seq, chain };
                rows += 1;
                if anchor.is_some_and(|anchor| anchor.seq == at.seq) {
                    met = anchor == Some(&at);
                    if !met {
                        return Ok(Checked::Broken(at.seq, "is not the one that was noted"));
                    }
                }
            }
        }
    }
}
