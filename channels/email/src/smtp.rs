//! Sends letters over SMTP.

use crate::ids::Email;
use crate::outgoing::{Letter, Post};
use crate::trust::LOOP_HEADER;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, Message, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::{AsyncSmtpTransport, Error};
use lettre::{AsyncTransport as _, Tokio1Executor};
use nanoclaw_channel::{SendError, StartError};
use nanoclaw_kit::files::mime_of;
use std::time::Duration;
use tokio::time::timeout;

/// Longest time for a mail, and for each megabyte of it. A server may look long at a mail before it takes it.
const MAIL_TIME: Duration = Duration::from_secs(30);
const MEGABYTE_TIME: Duration = Duration::from_secs(15);

/// A server that takes our mail.
pub(crate) struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    own: Email,
}

/// How to get to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) way: Way,
}

/// How a connection is kept secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// TLS from the first byte.
    Tls,
    /// TLS after the greeting, and nothing else.
    StartTls,
    /// Not at all: only to this machine itself.
    Plain,
}

impl Server {
    /// Reads `imaps://host:port` and the like; `ports` are those of TLS and of the other way.
    pub(crate) fn parse(url: &str, scheme: &str, ports: (u16, u16)) -> Option<Self> {
        let (own, rest) = url.trim().split_once("://")?;
        let secret = match own.strip_prefix(scheme)? {
            "s" => true,
            "" => false,
            _ => return None,
        };
        let rest = rest.trim_end_matches('/');
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') => (host, port.parse().ok()?),
            _ => (rest, if secret { ports.0 } else { ports.1 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || host.contains(['/', '@', ' ', '?']) {
            return None;
        }
        let local = host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let way = match (secret, local) {
            (true, _) => Way::Tls,
            (false, true) => Way::Plain,
            (false, false) => Way::StartTls,
        };
        Some(Self { host, port, way })
    }
}

impl Smtp {
    pub(crate) fn new(
        server: &Server,
        (user, password): (&str, &str),
        own: &Email,
        name: Option<String>,
    ) -> Result<Self, StartError> {
        let broken = |e: &dyn std::fmt::Display| StartError::Broken(format!("EMAIL_SMTP_URL: {e}"));
        let address = own.as_str().parse().map_err(|e| broken(&e))?;
        let tls = || TlsParameters::new(server.host.clone()).map_err(|e| broken(&e));
        let tls = match server.way {
            Way::Tls => Tls::Wrapper(tls()?),
            Way::StartTls => Tls::Required(tls()?),
            Way::Plain => Tls::None,
        };
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&server.host)
            .port(server.port)
            .tls(tls)
            .credentials(Credentials::new(user.to_owned(), password.to_owned()))
            .timeout(Some(MAIL_TIME))
            .build();
        Ok(Self { transport, from: Mailbox::new(name, address), own: own.clone() })
    }

    /// Whether the server takes us.
    pub(crate) async fn check(&self) -> Result<(), SendError> {
        match self.transport.test_connection().await {
            Ok(true) => Ok(()),
            Ok(false) => Err(SendError::Retry {
                after: None,
                why: "the mail server does not answer".to_owned(),
            }),
            Err(e) => Err(sort(&e)),
        }
    }

    fn message(&self, letter: &Letter) -> Result<Message, SendError> {
        let reject = |e: &dyn std::fmt::Display| SendError::Reject {
            why: format!("the mail cannot be made: {e}"),
        };
        let to = letter.to.email.as_str().parse().map_err(|e| reject(&e))?;
        let ids =
            |ids: &[String]| ids.iter().map(|id| format!("<{id}>")).collect::<Vec<_>>().join(" ");
        let mut message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(letter.subject.clone())
            .message_id(Some(format!("<{}>", letter.id)));
        if let Some(last) = letter.references.last() {
            message = message.in_reply_to(format!("<{last}>")).references(ids(&letter.references));
        }
        let marks = [
            (LOOP_HEADER, self.own.as_str()),
            ("Auto-Submitted", "auto-generated"),
            // Exchange goes by this one.
            ("X-Auto-Response-Suppress", "OOF, AutoReply"),
        ];
        for (name, value) in marks {
            let name = HeaderName::new_from_ascii(name.to_owned()).map_err(|e| reject(&e))?;
            message = message.raw_header(HeaderValue::new(name, value.to_owned()));
        }
        let body = MultiPart::alternative()
            .singlepart(SinglePart::plain(letter.text.clone()))
            .singlepart(SinglePart::html(letter.html.clone()));
        let made = if letter.files.is_empty() {
            message.multipart(body)
        } else {
            let mut mixed = MultiPart::mixed().multipart(body);
            for file in &letter.files {
                let mime = mime_of(&file.name).unwrap_or("application/octet-stream");
                let mime = ContentType::parse(mime).map_err(|e| reject(&e))?;
                let attached = Attachment::new(file.name.clone());
                mixed = mixed.singlepart(attached.body(file.bytes.clone(), mime));
            }
            message.multipart(mixed)
        };
        made.map_err(|e| reject(&e))
    }
}

impl Post for Smtp {
    async fn post(&self, letter: &Letter) -> Result<String, SendError> {
        let message = self.message(letter)?;
        let size = letter.text.len() + letter.files.iter().map(|f| f.bytes.len()).sum::<usize>();
        let time = MAIL_TIME + MEGABYTE_TIME * u32::try_from(size >> 20).unwrap_or(u32::MAX);
        match timeout(time, self.transport.send(message)).await {
            Ok(sent) => sent.map(|_| letter.id.clone()).map_err(|e| sort(&e)),
            Err(_) => {
                let why = "the mail server did not take the mail in time".to_owned();
                Err(SendError::Retry { after: None, why })
            }
        }
    }
}

/// What happens next after an error of the server.
fn sort(error: &Error) -> SendError {
    let why = format!("the mail server: {}", nested(error));
    let code = error.status().map(|code| code.to_string());
    match code.as_deref() {
        Some("530" | "534" | "535" | "538") => {
            let next =
                "check EMAIL_USER and EMAIL_PASSWORD; many providers want a password made for apps";
            SendError::Broken { why: format!("{why}; {next}") }
        }
        Some(_) if error.is_permanent() => SendError::Reject { why },
        _ => SendError::Retry { after: None, why },
    }
}

fn nested(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let deep = deeper.to_string();
        if !text.contains(&deep) {
            text = format!("{text}: {deep}");
        }
        cause = deeper.source();
    }
    text
}
