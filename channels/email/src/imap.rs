//! Reads a mailbox over IMAP: every mail since the last one that was handed over, then whatever comes.
//!
//! How far it has read is kept behind each mail, so that a kill at any moment brings the same mail again, which
//! is then known by its id. When the server numbers its mails anew, those of the last days are looked at again.

use crate::MAIL_MAX;
use crate::bounce::{self, Bounce};
use crate::desk::Desk;
use crate::ids::{self, Email, Place, Thread};
use crate::mail::{self, Own};
use crate::outgoing;
use crate::smtp::{Server, Smtp, Way};
use crate::threads::Threads;
use async_imap::imap_proto::{MailboxDatum, Response};
use async_imap::types::UnsolicitedResponse;
use async_imap::{Client, Session, error::Error};
use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use nanoclaw_channel::time::{Clock as _, SystemClock};
use nanoclaw_channel::{
    Capabilities, Change, Channel, Health, Outgoing, PlatformId, PlatformMessageId, Receipt,
    Report, SendError, Start, StartError, Started, What,
};
use nanoclaw_kit::backoff::Backoff;
use nanoclaw_kit::files::size;
use nanoclaw_kit::store::{Store, StoreError};
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

#[cfg(test)]
mod tests;

const NAME: &str = "email";

/// Longest time for a command, for a mail, and for silence while nothing comes.
const COMMAND_TIME: Duration = Duration::from_secs(30);
const MAIL_TIME: Duration = Duration::from_secs(300);
const IDLE_TIME: Duration = Duration::from_secs(240);

/// How often is looked where the server cannot announce.
const POLL_TIME: Duration = Duration::from_secs(20);

/// How far back mail is looked at when the server numbers it anew.
const AGAIN_DAYS: i64 = 7;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug> Stream for T {}

type Imap = Session<Box<dyn Stream>>;

/// A folder that is open: its number, and the last mail that was read.
type Opened = (Imap, (u32, u32));

/// Why reading ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Lost(String),
    #[error("{0}")]
    Refused(String),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Lost(format!("the mailbox: {error}"))
    }
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Lost(error.to_string())
    }
}

impl From<Ended> for StartError {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Lost(why) => Self::Unreachable(why),
            Ended::Refused(why) => Self::Broken(why),
        }
    }
}

struct Mailbox {
    sender: Smtp,
    threads: Threads,
    own: Email,
    reading: JoinHandle<()>,
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

pub(crate) async fn start(start: Start) -> Started {
    let needed = |name: &str| {
        let value = (start.setting)(name).filter(|value| !value.trim().is_empty());
        value.ok_or_else(|| {
            StartError::NotConfigured(format!("set {name}; see docs/channels/email.md"))
        })
    };
    let (address, password) = (needed("EMAIL_ADDRESS")?, needed("EMAIL_PASSWORD")?);
    let (imap, smtp) = (needed("EMAIL_IMAP_URL")?, needed("EMAIL_SMTP_URL")?);
    let broken = |why: &str| StartError::Broken(why.to_owned());
    let own = Email::parse(&address).ok_or_else(|| broken("EMAIL_ADDRESS is no e-mail address"))?;
    let imap =
        Server::parse(&imap, "imap", (993, 143)).filter(|server| server.way != Way::StartTls);
    let imap =
        imap.ok_or_else(|| broken("EMAIL_IMAP_URL must be like imaps://imap.example.com"))?;
    let smtp = Server::parse(&smtp, "smtp", (465, 587));
    let smtp =
        smtp.ok_or_else(|| broken("EMAIL_SMTP_URL must be like smtps://smtp.example.com"))?;
    // An error means that it is installed already, by another channel.
    drop(rustls::crypto::ring::default_provider().install_default());
    let user = (start.setting)("EMAIL_USER").unwrap_or_else(|| own.as_str().to_owned());
    let sender = Smtp::new(&smtp, (&user, &password), &own, (start.setting)("EMAIL_NAME"))?;
    let store = Store::open(&start.data, NAME).await?;
    let reader = Reader {
        server: imap,
        user,
        password,
        folder: (start.setting)("EMAIL_FOLDER").unwrap_or_else(|| "INBOX".to_owned()),
        own: Own { email: own.clone(), auth_server: (start.setting)("EMAIL_AUTH_SERVER") },
        desk: Desk { threads: Threads { store, channel: NAME }, ingress: start.ingress },
        report: start.report,
    };
    let threads = reader.desk.threads.clone();
    // Before the channel is up: what comes from now on is new.
    let session = reader.connect().await?;
    sender.check().await.map_err(|e| match e {
        SendError::Broken { why } => StartError::Broken(why),
        SendError::Retry { why, .. } | SendError::Reject { why } => StartError::Unreachable(why),
    })?;
    let reading = tokio::spawn(reader.run(session));
    Ok(Arc::new(Mailbox { sender, threads, own, reading }))
}

#[async_trait]
impl Channel for Mailbox {
    fn capabilities(&self) -> Capabilities {
        crate::CAPABILITIES
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
    }
}

/// The task that reads.
struct Reader {
    server: Server,
    user: String,
    password: String,
    folder: String,
    own: Own,
    desk: Desk,
    report: Report,
}

impl Reader {
    async fn run(self, session: Opened) {
        let mut session = Some(session);
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(120));
        loop {
            let ended = match session.take() {
                Some(open) => self.read(open, &mut backoff).await,
                None => match self.connect().await {
                    Ok(open) => {
                        session = Some(open);
                        continue;
                    }
                    Err(ended) => Err(ended),
                },
            };
            match ended {
                Ok(()) => {}
                Err(Ended::Lost(why)) => (self.report)(Health::Reconnecting { why }),
                Err(Ended::Refused(why)) => (self.report)(Health::Broken { why }),
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    /// Connects and opens the folder.
    async fn connect(&self) -> Result<Opened, Ended> {
        let mut session = self.open().await?;
        let last = in_time(self.select(&mut session)).await?;
        Ok((session, last))
    }

    /// Connects and logs in.
    async fn open(&self) -> Result<Imap, Ended> {
        let connect = async {
            let lost = |e: &dyn std::fmt::Display| {
                Ended::Lost(format!(
                    "{}:{} was not reached: {e}",
                    self.server.host, self.server.port
                ))
            };
            let tcp = TcpStream::connect((self.server.host.as_str(), self.server.port));
            let tcp = tcp.await.map_err(|e| lost(&e))?;
            let stream: Box<dyn Stream> = match self.server.way {
                Way::Tls => {
                    let name =
                        ServerName::try_from(self.server.host.clone()).map_err(|e| lost(&e))?;
                    Box::new(tls()?.connect(name, tcp).await.map_err(|e| lost(&e))?)
                }
                Way::StartTls | Way::Plain => Box::new(tcp),
            };
            let mut client = Client::new(stream);
            client.read_response().await.map_err(|e| lost(&e))?;
            client.login(&self.user, &self.password).await.map_err(|(e, _)| match e {
                // A server that is busy says so (RFC 5530), and knows nothing bad of the password.
                Error::No(why) if is_busy(&why) => {
                    Ended::Lost(format!("the mail server takes no login now: {why}"))
                }
                Error::No(why) => {
                    let next = "check EMAIL_USER and EMAIL_PASSWORD; many providers want a password made for apps";
                    Ended::Refused(format!("the mail server refuses the login ({why}); {next}"))
                }
                e => e.into(),
            })
        };
        let slow = |_| Ended::Lost(format!("{} does not answer", self.server.host));
        timeout(COMMAND_TIME, connect).await.map_err(slow)?
    }

    /// Hands over what is there, then waits, again and again.
    async fn read(&self, opened: Opened, backoff: &mut Backoff) -> Result<(), Ended> {
        let (mut session, mut last) = opened;
        loop {
            announced(&session);
            for uid in in_time(self.behind(&mut session, last)).await? {
                self.take(&mut session, uid, backoff).await?;
                last = (last.0, uid);
                self.desk.threads.store.put("read", &format!("{} {uid}", last.0)).await?;
            }
            backoff.reset();
            (self.report)(Health::Up);
            // What was announced while the mails were fetched is not announced again.
            if !announced(&session) {
                idle(&mut session).await?;
            }
        }
    }

    /// Opens the folder; returns its number and the last mail that was read.
    async fn select(&self, session: &mut Imap) -> Result<(u32, u32), Ended> {
        let folder = session.select(&self.folder).await.map_err(|e| match e {
            Error::No(why) if is_busy(&why) => {
                Ended::Lost(format!("the mail server does not open the folder now: {why}"))
            }
            Error::No(why) => Ended::Refused(format!(
                "the folder {} cannot be read ({why}); set EMAIL_FOLDER",
                self.folder
            )),
            e => e.into(),
        })?;
        let epoch = folder.uid_validity.unwrap_or(0);
        let kept = self.desk.threads.store.get("read").await?;
        let kept = kept.and_then(|text| {
            let (epoch, uid) = text.split_once(' ')?;
            Some((epoch.parse::<u32>().ok()?, uid.parse::<u32>().ok()?))
        });
        let begin = match folder.uid_next {
            Some(next) => next.saturating_sub(1),
            // A server need not say it.
            None => session.uid_search("ALL").await?.into_iter().max().unwrap_or(0),
        };
        let last = match kept {
            Some((same, uid)) if same == epoch => uid,
            // Numbered anew: from before what may have come since.
            Some(_) => {
                let since =
                    SystemClock.now() - Duration::from_secs(86_400 * AGAIN_DAYS.unsigned_abs());
                let since = since.strftime("%d-%b-%Y");
                let found = session.uid_search(format!("SINCE {since}")).await?;
                found.into_iter().min().map_or(begin, |uid| uid.saturating_sub(1))
            }
            // The first time: what is old is not said to an agent that was not there.
            None => begin,
        };
        self.desk.threads.store.put("read", &format!("{epoch} {last}")).await?;
        Ok((epoch, last))
    }

    /// The mails behind the last one.
    async fn behind(&self, session: &mut Imap, (_, last): (u32, u32)) -> Result<Vec<u32>, Ended> {
        let range = format!("UID {}:*", last.saturating_add(1));
        let found = session.uid_search(range).await?;
        let mut new: Vec<u32> = found.into_iter().filter(|uid| *uid > last).collect();
        new.sort_unstable();
        Ok(new)
    }

    /// Hands over one mail, however often it takes.
    async fn take(&self, session: &mut Imap, uid: u32, backoff: &mut Backoff) -> Result<(), Ended> {
        let slow = |_| Ended::Lost("the mail server stopped in the middle of a mail".to_owned());
        let raw = timeout(MAIL_TIME, self.fetch(session, uid)).await.map_err(slow)??;
        // Deleted meanwhile.
        let Some((raw, large)) = raw else { return Ok(()) };
        let mail = match mail::read(&raw, &self.own) {
            Ok(mail) => mail,
            Err(why) => {
                tracing::info!(uid, why, "a mail did not come in");
                return self.bounced(&raw, backoff).await;
            }
        };
        let large = large.map(|bytes| {
            let (bytes, limit) = (size(bytes.into()), size(MAIL_MAX));
            format!("the mail has {bytes}, and {limit} is the most that is read")
        });
        Ok(self.desk.take(mail, large, backoff).await?)
    }

    /// Tells who wrote a mail that it did not arrive, if this is the report of that.
    async fn bounced(&self, raw: &[u8], backoff: &mut Backoff) -> Result<(), Ended> {
        let Some(Bounce { to, id, status }) = bounce::read(raw) else { return Ok(()) };
        let sent = self.desk.threads.store.get(&format!("mail:{}:{id}", to.as_str())).await?;
        let why = format!("the mail to {} came back (status {status})", to.as_str());
        let place = Place { email: to, thread: sent.as_deref().and_then(Thread::parse) };
        let event = PlatformMessageId::parse(format!("bounce {id}"));
        let (Some(_), Some(at), Ok(event), Ok(message)) =
            (sent, place.address(NAME), event, PlatformMessageId::parse(id))
        else {
            return Ok(());
        };
        let (timestamp, what) = (SystemClock.now(), What::Undelivered(why));
        let change = Change { at, id: event, message, timestamp, sender: None, what };
        while let Err(error) = self.desk.ingress.change(change.clone()).await {
            tracing::warn!(%error, "a bounce was not taken; it is tried again");
            tokio::time::sleep(backoff.next()).await;
        }
        Ok(())
    }

    /// A mail, or the head of one that is too large, with its size.
    async fn fetch(
        &self,
        session: &mut Imap,
        uid: u32,
    ) -> Result<Option<(Vec<u8>, Option<u32>)>, Ended> {
        let uid = uid.to_string();
        let size: Vec<_> =
            session.uid_fetch(&uid, "(UID RFC822.SIZE)").await?.try_collect().await?;
        let Some(size) = size.iter().find_map(|fetch| fetch.size) else { return Ok(None) };
        let large = u64::from(size) > MAIL_MAX;
        let what = if large { "(UID BODY.PEEK[HEADER])" } else { "(UID BODY.PEEK[])" };
        let mail: Vec<_> = session.uid_fetch(&uid, what).await?.try_collect().await?;
        let raw = mail.iter().find_map(|f| if large { f.header() } else { f.body() });
        Ok(raw.map(|raw| (raw.to_vec(), large.then_some(size))))
    }
}

/// Whether a refusal is for now only.
pub(crate) fn is_busy(why: &str) -> bool {
    let why = why.to_ascii_lowercase();
    let for_now =
        ["unavailable", "inuse", "serverbug", "[limit", "too many", "try again later", "temporar"];
    for_now.iter().any(|word| why.contains(word))
}

/// Whether new mail was announced beside what was asked for; forgets what was.
fn announced(session: &Imap) -> bool {
    let mut new = false;
    while let Ok(response) = session.unsolicited_responses.try_recv() {
        new |= matches!(response, UnsolicitedResponse::Exists(_));
    }
    new
}

/// Waits until the server announces mail, or for a while. The client's own way to wait loses what is announced
/// before the server says that it waits too.
async fn idle(session: &mut Imap) -> Result<(), Ended> {
    let closed = || Ended::Lost("the mail server closed the connection".to_owned());
    let lost = |e: std::io::Error| Ended::Lost(format!("the mailbox: {e}"));
    let ours = in_time(async { Ok(session.run_command("IDLE").await?) }).await?;
    let wait = async {
        loop {
            let response = session.read_response().await.map_err(lost)?.ok_or_else(closed)?;
            match response.parsed() {
                Response::MailboxData(MailboxDatum::Exists(_)) => return Ok(true),
                // It does not know how to wait.
                Response::Done { .. } => return Ok(false),
                _ => {}
            }
        }
    };
    match timeout(IDLE_TIME, wait).await {
        Ok(Ok(true)) | Err(_) => {}
        Ok(Ok(false)) => {
            tokio::time::sleep(POLL_TIME).await;
            return Ok(());
        }
        Ok(Err(ended)) => return Err(ended),
    }
    in_time(async {
        session.run_command_untagged("DONE").await?;
        loop {
            let response = session.read_response().await.map_err(lost)?.ok_or_else(closed)?;
            if matches!(response.parsed(), Response::Done { tag, .. } if *tag == ours) {
                return Ok(());
            }
        }
    })
    .await
}

async fn in_time<T>(work: impl Future<Output = Result<T, Ended>>) -> Result<T, Ended> {
    let slow = |_| Ended::Lost("the mail server does not answer".to_owned());
    timeout(COMMAND_TIME, work).await.map_err(slow)?
}

fn tls() -> Result<tokio_rustls::TlsConnector, Ended> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config =
        rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(tokio_rustls::TlsConnector::from(Arc::new(config)))
}
