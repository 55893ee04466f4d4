//! Reads the mail that came to Resend.
//!
//! ```text
//! webhook ─┐
//!          ├─▶ todo (on disk, by Resend's time) ─▶ fetch ─▶ mail ─▶ desk ─▶ done
//! list ────┘
//! ```
//!
//! The list finds what no webhook brought. It is read down to what is surely known: to the newest mail of the
//! last full look, and some minutes more, because lists may be late.

use crate::desk::{Desk, SEEN_FOR};
use crate::ids::{self, Email, Place};
use crate::mail::{self, Own, in_file};
use crate::resend::NAME;
use crate::resend::api::{Api, Failed};
use crate::resend::hook::Named;
use crate::{FILE_IN_MAX, MAIL_MAX};
use nanoclaw_channel::time::{Clock as _, SystemClock};
use nanoclaw_channel::{Address, ThreadId};
use nanoclaw_channel::{ChannelType, Health, InFile, PlatformId, Report, SendError, StartError};
use nanoclaw_kit::backoff::Backoff;
use nanoclaw_kit::files::size;
use nanoclaw_kit::store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How much longer back a full look goes, in microseconds.
const LATE: i64 = 10 * 60 * 1_000_000;

/// Pages of a list, of a hundred mails each, and files of one mail; more are not read.
const PAGES_MAX: usize = 100;
const FILES_MAX: usize = 100;

/// How long, and how often, Resend is asked what a mail that was sent is called on its way.
pub(crate) const POSTED_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
const ASKED_MAX: u32 = 10;

/// How often the file of a mail is asked for before its parts are.
const TRIES: u32 = 4;

/// How long is waited while a person must do something.
const BROKEN_TIME: Duration = Duration::from_secs(60);

/// Keeps the name of a mail that is to be fetched, unless it was.
pub(crate) async fn queue(store: &Store, named: &Named) -> Result<bool, StoreError> {
    let new = store.get(&format!("done:{}", named.id)).await?.is_none();
    if new {
        store.put(&format!("todo:{:020}:{}", named.at, named.id), &named.id).await?;
    }
    Ok(new)
}

/// A mail that was sent, whose id on the way Resend makes only then.
#[derive(Serialize, Deserialize)]
pub(crate) struct Posted {
    chat: String,
    thread: Option<String>,
    id: String,
    /// How often Resend was asked.
    asked: u32,
}

impl Posted {
    pub(crate) fn new(to: &Place, id: &str) -> Self {
        let address = to.address(NAME);
        let thread = address.as_ref().and_then(|at| at.thread_id.as_ref()).map(ToString::to_string);
        let chat = address.map(|at| at.platform_id.to_string()).unwrap_or_default();
        Self { chat, thread, id: id.to_owned(), asked: 0 }
    }

    pub(crate) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    fn place(&self) -> Option<Place> {
        let address = Address {
            channel_type: ChannelType::parse(NAME).ok()?,
            platform_id: PlatformId::parse(&self.chat).ok()?,
            thread_id: self.thread.as_deref().map(ThreadId::parse).transpose().ok()?,
        };
        Place::parse(NAME, &address)
    }
}

#[derive(Deserialize)]
struct List<T> {
    data: Vec<T>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct Item {
    id: String,
    created_at: String,
}

#[derive(Deserialize)]
struct SentMail {
    message_id: Option<String>,
}

/// A mail as Resend read it.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Received {
    from: Option<String>,
    to: Option<Vec<String>>,
    cc: Option<Vec<String>>,
    bcc: Option<Vec<String>>,
    subject: Option<String>,
    message_id: Option<String>,
    text: Option<String>,
    html: Option<String>,
    headers: Option<BTreeMap<String, Value>>,
    raw: Option<Raw>,
    attachments: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct Raw {
    download_url: String,
}

#[derive(Deserialize)]
struct Attached {
    filename: Option<String>,
    content_type: Option<String>,
    #[serde(default)]
    size: u64,
    download_url: String,
}

/// The task that reads.
pub(crate) struct Reader {
    pub(crate) api: Api,
    pub(crate) desk: Desk,
    pub(crate) own: Own,
    /// The addresses whose mail is the agent's; every one, if there are none.
    pub(crate) to: Vec<Email>,
    pub(crate) report: Report,
    pub(crate) bell: Arc<Notify>,
    pub(crate) every: Duration,
    /// The mail whose file could not be had, and how often.
    pub(crate) failed: Option<(String, u32)>,
}

impl Reader {
    /// Where reading begins: what is there before the first start is not said to an agent that was not there.
    pub(crate) async fn begin(&self) -> Result<(), StartError> {
        let newest = self.api.get::<List<Item>>("/emails/receiving?limit=1").await;
        let newest = newest.map_err(|failed| match failed.error {
            SendError::Broken { why } => StartError::Broken(why),
            SendError::Retry { why, .. } | SendError::Reject { why } => {
                StartError::Unreachable(why)
            }
        })?;
        let newest = newest.data.first().and_then(|item| Named::parse(&item.id, &item.created_at));
        let newest = newest.map_or(0, |named| named.at).min(now());
        if self.desk.threads.store.get("begin").await?.is_none() {
            self.desk.threads.store.put("begin", &newest.to_string()).await?;
        }
        Ok(())
    }

    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(120));
        let mut full = Instant::now();
        loop {
            let all = Instant::now() >= full;
            match self.round(all, &mut backoff).await {
                Ok(()) => {
                    backoff.reset();
                    (self.report)(Health::Up);
                    if all {
                        full = Instant::now() + self.every;
                    }
                    tokio::select! {
                        () = self.bell.notified() => {}
                        () = tokio::time::sleep_until(full) => {}
                    }
                }
                // It asks for patience, which is no failure.
                Err(SendError::Retry { after: Some(after), .. }) => tokio::time::sleep(after).await,
                Err(SendError::Retry { why, .. } | SendError::Reject { why }) => {
                    (self.report)(Health::Reconnecting { why });
                    full = Instant::now();
                    tokio::time::sleep(backoff.next()).await;
                }
                Err(SendError::Broken { why }) => {
                    (self.report)(Health::Broken { why });
                    full = Instant::now();
                    tokio::time::sleep(backoff.next().max(BROKEN_TIME)).await;
                }
            }
        }
    }

    /// Hands over what came.
    async fn round(&mut self, all: bool, backoff: &mut Backoff) -> Result<(), SendError> {
        self.look(all).await?;
        let todo = self.desk.threads.store.list("todo:").await?;
        if all || !todo.is_empty() {
            self.name_posted().await?;
        }
        for (key, id) in todo {
            self.take(&id, backoff).await?;
            self.desk.threads.store.put_for(&format!("done:{id}"), "", SEEN_FOR).await?;
            self.desk.threads.store.delete(&key).await?;
        }
        Ok(())
    }

    /// Queues what the list has: all that is not surely known, or only down to a page that is.
    async fn look(&self, all: bool) -> Result<(), SendError> {
        let store = &self.desk.threads.store;
        let kept = async |key: &str| -> Result<i64, StoreError> {
            Ok(store.get(key).await?.and_then(|text| text.parse().ok()).unwrap_or(0))
        };
        let (begin, read) = (kept("begin").await?, kept("read").await?);
        let (mut found, mut after) = (Vec::new(), String::new());
        for _ in 0..PAGES_MAX {
            let path = format!("/emails/receiving?limit=100{after}");
            let page: List<Item> = self.api.get(&path).await?;
            let named: Vec<Named> =
                page.data.iter().filter_map(|i| Named::parse(&i.id, &i.created_at)).collect();
            let mut end = named.is_empty() || !page.has_more;
            let mut known = true;
            for named in named {
                if named.at <= begin.max(read - LATE) {
                    end = true;
                    continue;
                }
                let key = format!("todo:{:020}:{}", named.at, named.id);
                let done = store.get(&format!("done:{}", named.id)).await?.is_some();
                known &= done || store.get(&key).await?.is_some();
                after = format!("&after={}", named.id);
                found.push(named);
            }
            if end || (known && !all) {
                break;
            }
        }
        let newest = found.iter().map(|named| named.at).max();
        // The oldest first: what is known is known without gaps, even if this is killed.
        for named in found.iter().rev() {
            queue(store, named).await?;
        }
        if let Some(newest) = newest.filter(|_| all) {
            // Not what a wrong clock said: it would hide all that comes until then.
            store.put("read", &newest.max(read).min(now()).to_string()).await?;
        }
        Ok(())
    }

    /// Learns what those who got our mail call it, so that their answers find their conversation.
    async fn name_posted(&self) -> Result<(), SendError> {
        let threads = &self.desk.threads;
        for (key, text) in threads.store.list("posted:").await? {
            let id = key.trim_start_matches("posted:");
            let sent: SentMail = match self.api.get(&format!("/emails/{id}")).await {
                Ok(sent) => sent,
                Err(Failed { error: SendError::Reject { .. }, .. }) => {
                    SentMail { message_id: None }
                }
                Err(failed) => return Err(failed.error),
            };
            let posted: Option<Posted> = serde_json::from_str(&text).ok();
            if let Some((mut posted, place)) =
                posted.and_then(|p| p.place().map(|place| (p, place)))
            {
                if let Some(name) = sent.message_id {
                    threads.renamed(&place, &posted.id, &ids::message(&name)).await?;
                } else if posted.asked < ASKED_MAX {
                    // It has none yet.
                    posted.asked += 1;
                    threads.store.put_for(&key, &posted.text(), POSTED_FOR).await?;
                    continue;
                }
            }
            threads.store.delete(&key).await?;
        }
        Ok(())
    }

    /// Hands over one mail.
    async fn take(&mut self, id: &str, backoff: &mut Backoff) -> Result<(), SendError> {
        let received: Result<Value, Failed> =
            self.api.get(&format!("/emails/receiving/{id}")).await;
        let received = match received.map(serde_json::from_value::<Received>) {
            Ok(Ok(received)) => received,
            // One that makes no sense holds up no other.
            Ok(Err(error)) => {
                tracing::warn!(channel = NAME, id, %error, "a mail cannot be read");
                return Ok(());
            }
            Err(Failed { error: SendError::Reject { why }, .. }) => {
                tracing::warn!(channel = NAME, id, why, "a mail cannot be read");
                return Ok(());
            }
            Err(failed) => return Err(failed.error),
        };
        if !self.is_ours(&received) {
            return Ok(());
        }
        let raw = match &received.raw {
            Some(raw) => self.raw(id, &raw.download_url).await?,
            None => None,
        };
        let mail = match &raw {
            Some(raw) => mail::read(raw, &self.own),
            None => mail::read(&assembled(&received), &self.own),
        };
        match mail {
            Ok(mut mail) => {
                if raw.is_none() {
                    mail.files = self.files(id, &received).await?;
                }
                Ok(self.desk.take(mail, None, backoff).await?)
            }
            Err(why) => {
                tracing::info!(channel = NAME, id, why, "a mail did not come in");
                Ok(())
            }
        }
    }

    fn is_ours(&self, received: &Received) -> bool {
        let lists = [&received.to, &received.cc, &received.bcc];
        let mut all = lists.into_iter().flatten().flatten();
        self.to.is_empty() || all.any(|one| bare(one).is_some_and(|one| self.to.contains(&one)))
    }

    /// The mail as it came. `None` if it cannot be had, after some tries.
    async fn raw(&mut self, id: &str, url: &str) -> Result<Option<Vec<u8>>, SendError> {
        match self.api.file(url, MAIL_MAX).await {
            Ok(raw) => {
                self.failed = None;
                Ok(Some(raw))
            }
            Err(why) => {
                let before = self.failed.take().filter(|(of, _)| of == id).map_or(0, |(_, n)| n);
                self.failed = (before + 1 < TRIES).then(|| (id.to_owned(), before + 1));
                tracing::warn!(channel = NAME, id, why, "the file of a mail was not had");
                match &self.failed {
                    Some(_) => Err(SendError::Retry { after: None, why }),
                    None => Ok(None),
                }
            }
        }
    }

    /// The files of a mail, one by one.
    async fn files(&self, id: &str, received: &Received) -> Result<Vec<InFile>, SendError> {
        if received.attachments.as_ref().is_none_or(Vec::is_empty) {
            return Ok(Vec::new());
        }
        let path = format!("/emails/receiving/{id}/attachments?limit={FILES_MAX}");
        let list: List<Attached> = self.api.get(&path).await?;
        let mut files = Vec::new();
        for one in list.data.into_iter().take(FILES_MAX) {
            let bytes = match one.size > FILE_IN_MAX {
                true => Err(format!(
                    "it has {}, and {} is the most that comes in",
                    size(one.size),
                    size(FILE_IN_MAX)
                )),
                false => self.api.file(&one.download_url, FILE_IN_MAX).await,
            };
            files.push(in_file(&one.filename.unwrap_or_default(), one.content_type, bytes));
        }
        Ok(files)
    }
}

fn now() -> i64 {
    SystemClock.now().as_microsecond()
}

/// The address in `Name <address>`.
fn bare(text: &str) -> Option<Email> {
    let inner = text.rsplit_once('<').map_or(text, |(_, rest)| rest.trim_end_matches(['>', ' ']));
    Email::parse(inner)
}

/// A mail without files, put together of what Resend read of it, so that it is judged as any other.
pub(crate) fn assembled(received: &Received) -> Vec<u8> {
    let mut head = String::new();
    let mut add = |name: &str, value: &str| {
        let good = |c: u8| c.is_ascii_graphic() && c != b':';
        // What says how the body is written is not of this one.
        let own = name.to_ascii_lowercase();
        if !name.is_empty() && name.bytes().all(good) && !own.starts_with("content-") {
            let value = value.replace(['\r', '\n'], " ");
            head += &format!("{name}: {value}\r\n");
        }
    };
    let headers = received.headers.iter().flatten();
    let mut there = Vec::new();
    for (name, value) in headers {
        there.push(name.to_ascii_lowercase());
        match value {
            Value::String(value) => add(name, value),
            Value::Array(all) => all.iter().filter_map(Value::as_str).for_each(|v| add(name, v)),
            _ => {}
        }
    }
    let known = [
        ("from", received.from.as_deref()),
        ("subject", received.subject.as_deref()),
        ("message-id", received.message_id.as_deref()),
    ];
    for (name, value) in known {
        if let Some(value) = value.filter(|_| !there.iter().any(|there| there == name)) {
            add(name, value);
        }
    }
    let text = received.text.as_deref().filter(|text| !text.trim().is_empty());
    let (kind, body) = match (text, &received.html) {
        (Some(text), _) => ("plain", text),
        (None, Some(html)) => ("html", html.as_str()),
        (None, None) => ("plain", ""),
    };
    format!("{head}Content-Type: text/{kind}; charset=utf-8\r\n\r\n{body}").into_bytes()
}
