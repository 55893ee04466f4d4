//! What the host is to hear, kept until it is over: whoever begins to watch hears all of it first.

use super::{Clock, lock};
use crate::outside::FOREIGN;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;

/// How long the same alarm, or the same word to the owner, is not told again.
const TOLD_FOR_MS: i64 = 24 * 3_600_000;
/// Most alarms and words to the owner that are kept for a host that is away.
const KEPT_MAX: usize = 64;

/// The fields of an event with `host:port`, and with the request as it will be sent.
pub const PLACE: &str = "place";
pub const REQUEST: &str = "request";

struct Kept {
    /// Later ones have higher numbers.
    n: u64,
    at_ms: i64,
    event: Value,
    /// Requests: until when. Others have no end.
    until_ms: Option<i64>,
}

/// Events by their keys.
pub struct Bus {
    kept: Mutex<BTreeMap<String, Kept>>,
    last: watch::Sender<u64>,
    clock: Clock,
}

impl Bus {
    /// With nothing to tell yet.
    pub fn new(clock: Clock) -> Self {
        Self { kept: Mutex::default(), last: watch::Sender::new(0), clock }
    }

    /// Tells this until it is over.
    pub fn put(&self, key: &str, event: Value, until_ms: Option<i64>) {
        let mut kept = lock(&self.kept);
        let n = *self.last.borrow() + 1;
        if until_ms.is_none() && kept.values().filter(|k| k.until_ms.is_none()).count() >= KEPT_MAX
        {
            let oldest = kept.iter().filter(|(_, k)| k.until_ms.is_none()).min_by_key(|(_, k)| k.n);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                kept.remove(&key);
            }
        }
        kept.insert(key.to_owned(), Kept { n, at_ms: (self.clock)(), event, until_ms });
        self.last.send_replace(n);
    }

    /// It is over.
    pub fn remove(&self, key: &str) {
        lock(&self.kept).remove(key);
    }

    /// Something that is wrong with what a session does; the owner hears of it once per code and agent.
    pub fn alarm(&self, code: &str, session: &str, agent: &str, text: &str) {
        let key = format!("alarm {code} {agent}");
        if self.was_told(&key) {
            return;
        }
        let event = json!({"event": "alarm", "code": code, "session": session, "agent": agent, "text": text});
        self.put(&key, event, None);
    }

    /// Something that the owner has to do; told once a day per key.
    pub fn owner(&self, key: &str, text: &str) {
        let kept = format!("owner {key}");
        if self.was_told(&kept) {
            return;
        }
        self.put(&kept, json!({"event": "owner", "key": key, "text": text}), None);
    }

    fn was_told(&self, key: &str) -> bool {
        let since = (self.clock)() - TOLD_FOR_MS;
        lock(&self.kept).get(key).is_some_and(|k| k.at_ms > since)
    }

    /// Requests that wait for a decision.
    pub fn pending(&self) -> Vec<Value> {
        let (kept, now) = (lock(&self.kept), (self.clock)());
        let open = kept.values().filter(|k| k.until_ms.is_some_and(|until| until > now));
        open.map(|k| k.event.clone()).collect()
    }

    /// Changes with everything that is new.
    pub fn last(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    fn since(&self, seen: u64) -> (Vec<Value>, u64) {
        let (kept, now) = (lock(&self.kept), (self.clock)());
        let mut new: Vec<_> = kept
            .values()
            .filter(|k| {
                k.n > seen && k.until_ms.is_none_or(|until| until > now && !foreign(&k.event))
            })
            .collect();
        new.sort_by_key(|k| k.n);
        (new.into_iter().map(|k| plain(k.event.clone())).collect(), *self.last.borrow())
    }

    /// Tells a watcher everything, one line each, as long as it listens.
    pub async fn stream(
        &self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> std::io::Result<()> {
        let (mut last, mut seen, mut ignored) = (self.last.subscribe(), 0, [0; 64]);
        loop {
            last.mark_unchanged();
            let (events, now) = self.since(seen);
            seen = now;
            for event in events {
                to.write_all(format!("{event}\n").as_bytes()).await?;
            }
            tokio::select! {
                changed = last.changed() => if changed.is_err() { return Ok(()) },
                read = from.read(&mut ignored) => if read? == 0 { return Ok(()) },
            }
        }
    }
}

/// Whether other programs decide.
fn foreign(event: &Value) -> bool {
    event["session"].as_str().is_some_and(|session| session.starts_with(FOREIGN))
}

/// What the host needs of an event.
fn plain(mut event: Value) -> Value {
    if let Some(fields) = event.as_object_mut() {
        fields.remove(PLACE);
        fields.remove(REQUEST);
    }
    event
}
