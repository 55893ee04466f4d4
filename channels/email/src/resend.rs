//! An address at Resend: mail is sent through its API, and read there when its webhook rings or now and then.

mod api;
pub(crate) mod hook;
mod receive;
#[cfg(test)]
mod tests;

use crate::desk::Desk;
use crate::ids::{self, Email};
use crate::mail::Own;
use crate::outgoing::{self, Letter, Post};
use crate::threads::Threads;
use crate::trust::LOOP_HEADER;
use api::Api;
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use nanoclaw_channel::split::Unit;
use nanoclaw_channel::{
    Capabilities, Channel, Outgoing, PlatformId, Receipt, SendError, Start, StartError, Started,
};
use nanoclaw_kit::dialect::{Dialect, pieces, plain};
use nanoclaw_kit::files::mime_of;
use nanoclaw_kit::store::Store;
use nanoclaw_kit::webhook::{self, Mount};
use receive::{POSTED_FOR, Posted, Reader};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub(crate) const NAME: &str = "resend";

/// How often is looked for mail: where a webhook rings, and where none does.
const SELDOM: Duration = Duration::from_secs(60);
const OFTEN: Duration = Duration::from_secs(20);

/// Longest time for a mail, and for each megabyte of it.
const MAIL_TIME: Duration = Duration::from_secs(30);
const MEGABYTE_TIME: Duration = Duration::from_secs(15);

struct Resend {
    sender: Sender,
    threads: Threads,
    own: Email,
    reading: JoinHandle<()>,
    mount: Mutex<Option<Mount>>,
}

impl Drop for Resend {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

pub(crate) async fn start(start: Start) -> Started {
    let setting = |name: &str| (start.setting)(name).filter(|value| !value.trim().is_empty());
    let needed = |name: &str| {
        let why = || StartError::NotConfigured(format!("set {name}; see docs/channels/email.md"));
        setting(name).ok_or_else(why)
    };
    let broken = |why: &str| StartError::Broken(why.to_owned());
    let (key, address) = (needed("RESEND_API_KEY")?, needed("RESEND_FROM_ADDRESS")?);
    let own =
        Email::parse(&address).ok_or_else(|| broken("RESEND_FROM_ADDRESS is no e-mail address"))?;
    let to = setting("RESEND_TO").unwrap_or_default();
    let to: Option<Vec<Email>> =
        to.split(',').filter(|one| !one.trim().is_empty()).map(Email::parse).collect();
    let to = to.ok_or_else(|| broken("RESEND_TO must be e-mail addresses with commas between"))?;
    let secret = setting("RESEND_WEBHOOK_SECRET").map(|text| hook::secret(&text)).map(|secret| {
        secret.ok_or_else(|| broken("RESEND_WEBHOOK_SECRET must be whsec_… as Resend shows it"))
    });
    let secret = secret.transpose()?;
    let base = setting("RESEND_API_URL").unwrap_or_else(|| "https://api.resend.com".to_owned());
    let api = Api::new(&base, key)?;
    let store = Store::open(&start.data, NAME).await?;
    let threads = Threads { store, channel: NAME };
    let bell = Arc::new(Notify::new());
    let reader = Reader {
        api: api.clone(),
        desk: Desk { threads: threads.clone(), ingress: Arc::clone(&start.ingress) },
        own: Own { email: own.clone(), auth_server: setting("RESEND_AUTH_SERVER") },
        to: to.clone(),
        report: Arc::clone(&start.report),
        bell: Arc::clone(&bell),
        every: if secret.is_some() { SELDOM } else { OFTEN },
        failed: None,
    };
    // Before the channel is up: what comes from now on is new.
    reader.begin().await?;
    let mount = match secret {
        Some(secret) => {
            let handler = hook::Webhook { secret, store: threads.store.clone(), bell };
            let mount = webhook::mount(&start, hook::PATH, hook::LIMITS, Arc::new(handler)).await?;
            tracing::info!(channel = NAME, url = mount.url, "listens for Resend's webhooks");
            Some(mount)
        }
        None => None,
    };
    let sender = Sender {
        api,
        from: from(setting("RESEND_FROM_NAME").as_deref(), &own),
        reply_to: to.first().filter(|to| **to != own).cloned(),
        own: own.clone(),
        store: threads.store.clone(),
    };
    let reading = tokio::spawn(reader.run());
    Ok(Arc::new(Resend { sender, threads, own, reading, mount: Mutex::new(mount) }))
}

/// A mail as Resend read it, put together.
#[cfg(any(test, fuzzing))]
pub(crate) fn assembled(json: &[u8]) -> Option<Vec<u8>> {
    Some(receive::assembled(&serde_json::from_slice(json).ok()?))
}

#[async_trait]
impl Channel for Resend {
    fn capabilities(&self) -> Capabilities {
        Capabilities { idempotent: true, ..crate::CAPABILITIES }
    }

    async fn send(&self, message: &Outgoing) -> Result<Receipt, SendError> {
        outgoing::send(&self.sender, &self.threads, &self.own, message).await
    }

    async fn open_dm(&self, handle: &str) -> Result<PlatformId, SendError> {
        ids::dm(NAME, handle)
    }

    async fn chat_name(&self, chat: &PlatformId) -> Option<String> {
        ids::name(NAME, chat)
    }

    async fn stop(&self) {
        self.reading.abort();
        drop(self.mount.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Who a mail is from, with the name that people see.
fn from(name: Option<&str>, own: &Email) -> String {
    let name = nanoclaw_channel::markdown::printable_line(name.unwrap_or_default());
    let name: String = name.chars().filter(|c| !"<>\"\\".contains(*c)).collect();
    match name.trim() {
        "" => own.as_str().to_owned(),
        name => format!("\"{name}\" <{}>", own.as_str()),
    }
}

/// Sends letters.
struct Sender {
    api: Api,
    from: String,
    reply_to: Option<Email>,
    own: Email,
    store: Store,
}

/// A mail as Resend takes it.
#[derive(Serialize)]
struct Mail<'a> {
    from: &'a str,
    to: [&'a str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<&'a str>,
    subject: &'a str,
    text: &'a str,
    html: &'a str,
    headers: BTreeMap<&'static str, String>,
    attachments: Vec<Attachment<'a>>,
}

#[derive(Serialize)]
struct Attachment<'a> {
    filename: &'a str,
    content: String,
    content_type: &'static str,
}

#[derive(Deserialize)]
struct Sent {
    id: String,
}

impl Sender {
    fn headers(&self, letter: &Letter) -> BTreeMap<&'static str, String> {
        let mut headers = BTreeMap::from([
            (LOOP_HEADER, self.own.as_str().to_owned()),
            ("Auto-Submitted", "auto-generated".to_owned()),
        ]);
        if let Some(last) = letter.references.last() {
            let all: Vec<String> = letter.references.iter().map(|id| format!("<{id}>")).collect();
            headers.insert("In-Reply-To", format!("<{last}>"));
            headers.insert("References", all.join(" "));
        }
        headers
    }
}

impl Post for Sender {
    async fn post(&self, letter: &Letter) -> Result<String, SendError> {
        // Resend takes neither empty files nor mails without words.
        let mut note = String::new();
        for file in letter.files.iter().filter(|file| file.bytes.is_empty()) {
            note += &format!("\n\n(The file `{}` is empty.)", file.name);
        }
        if letter.text.trim().is_empty() {
            let names = letter.files.iter().map(|file| format!("`{}`", file.name));
            note += &names.collect::<Vec<_>>().join(", ");
        }
        let html = pieces(&note, Dialect::Html, usize::MAX, Unit::Bytes).concat();
        let files = letter.files.iter().filter(|file| !file.bytes.is_empty());
        let mail = Mail {
            from: &self.from,
            to: [letter.to.email.as_str()],
            reply_to: self.reply_to.as_ref().map(Email::as_str),
            subject: &letter.subject,
            text: &format!("{}\n\n{}", letter.text, plain(&note)),
            html: &(letter.html.clone() + &html),
            headers: self.headers(letter),
            attachments: files
                .map(|file| Attachment {
                    filename: &file.name,
                    content: BASE64.encode(&file.bytes),
                    content_type: mime_of(&file.name).unwrap_or("application/octet-stream"),
                })
                .collect(),
        };
        // The part of the id that is the same for every attempt.
        let key = letter.id.split('@').next().unwrap_or_default();
        let size = letter.text.len() + letter.files.iter().map(|f| f.bytes.len()).sum::<usize>();
        let time = MAIL_TIME + MEGABYTE_TIME * u32::try_from(size >> 20).unwrap_or(u32::MAX);
        let request = self.api.post("/emails").header("idempotency-key", key).timeout(time);
        let sent: Sent = match self.api.answer(request.json(&mail)).await {
            Ok(sent) => sent,
            // It was taken before, when something in `.env` was other than now.
            Err(failed) if failed.name == "invalid_idempotent_request" => {
                return Ok(letter.id.clone());
            }
            Err(failed) => return Err(failed.error),
        };
        let posted = Posted::new(&letter.to, &letter.id);
        self.store.put_for(&format!("posted:{}", sent.id), &posted.text(), POSTED_FOR).await?;
        Ok(sent.id)
    }
}
