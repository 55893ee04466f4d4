//! Dovecot and an SMTP server on the loopback, each behind a wire that can be cut and can lie.

mod wire;

use super::people::{AUTH_SERVER, BOT, BROKEN, People, echoes, person};
use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use mail_parser::{HeaderValue, MessageParser, MimeHeaders as _};
use nanoclaw_channel::ChannelDef;
use nanoclaw_channel::time::{Clock as _, SystemClock};
use nanoclaw_channel_email::CHANNEL;
use nanoclaw_conformance::{Fault, Offer, Peer, PeerFile, Place, Profile, Say, Seen};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use wire::Wire;

const PASSWORD: &str = "p4ss \"w\\ord\"";
const PEOPLE: [&str; 3] = ["ann", "bob", "cleo"];

/// Servers and people.
pub(crate) struct Mail {
    folder: tempfile::TempDir,
    dovecot: Child,
    _smtp: Child,
    lmtp: u16,
    imap_wire: Wire,
    smtp_wire: Wire,
    bell: Arc<Notify>,
    raw: BTreeMap<String, Vec<u8>>,
    people: People,
}

impl Drop for Mail {
    fn drop(&mut self) {
        // Asked to end, it ends its own processes too.
        if let Some(pid) =
            self.dovecot.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()))
        {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
        }
    }
}

async fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port())
}

fn tools() -> PathBuf {
    let own = || nanoclaw_conformance::target().join("tools");
    std::env::var_os("NANOCLAW_TOOLS").map_or_else(own, PathBuf::from)
}

/// Dovecot's settings: everything below one folder, every user has the one password.
fn settings(folder: &Path, imap: u16, lmtp: u16, (uid, gid): (u32, u32)) -> String {
    let dir = folder.display();
    let (internal, login) = match uid_of_self(folder) {
        0 => ("dovecot".to_owned(), "dovenull".to_owned()),
        _ => (own_name(), own_name()),
    };
    format!(
        "base_dir = {dir}/run\nlog_path = {dir}/log\nprotocols = imap lmtp\nlisten = 127.0.0.1\nssl = no\n\
         disable_plaintext_auth = no\nmail_location = maildir:{dir}/mail/%u\ndefault_internal_user = {internal}\n\
         default_login_user = {login}\n\
         passdb {{\n driver = passwd-file\n args = scheme=PLAIN username_format=%u {dir}/users\n}}\n\
         userdb {{\n driver = static\n args = uid={uid} gid={gid} home={dir}/mail/%u allow_all_users=yes\n}}\n\
         first_valid_uid = 1\n\
         service imap-login {{\n chroot =\n inet_listener imap {{\n port = {imap}\n }}\n inet_listener imaps {{\n port = 0\n }}\n}}\n\
         service lmtp {{\n inet_listener lmtp {{\n port = {lmtp}\n }}\n}}\nservice anvil {{\n chroot =\n}}\n"
    )
}

fn own_name() -> String {
    let name = std::process::Command::new("id").arg("-un").output();
    name.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()).unwrap_or_default()
}

fn uid_of_self(folder: &Path) -> u32 {
    std::fs::metadata(folder).map_or(0, |meta| meta.uid())
}

impl Mail {
    /// Starts everything.
    pub(crate) async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let root = uid_of_self(folder.path()) == 0;
        let owner = if root {
            (65534, 65534)
        } else {
            (uid_of_self(folder.path()), folder.path().metadata()?.gid())
        };
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        let mail = folder.path().join("mail");
        std::fs::create_dir(&mail)?;
        if root {
            chown(&mail, Some(owner.0), Some(owner.1))?;
        }
        std::fs::write(folder.path().join("users"), format!("{BOT}:{{PLAIN}}{PASSWORD}:::::\n"))?;
        let (imap, lmtp, smtp) = (free_port().await?, free_port().await?, free_port().await?);
        let conf = folder.path().join("dovecot.conf");
        std::fs::write(&conf, settings(folder.path(), imap, lmtp, owner))?;
        let dovecot = Command::new("dovecot")
            .arg("-F")
            .arg("-c")
            .arg(&conf)
            .stderr(Stdio::null())
            .spawn()
            .context("dovecot; `bash nanoclaw.sh test` installs it")?;
        let mut server = Command::new(tools().join("mail/bin/python"))
            .args([
                "-c",
                include_str!("smtp.py"),
                &smtp.to_string(),
                &lmtp.to_string(),
                BOT,
                PASSWORD,
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("aiosmtpd; `bash nanoclaw.sh test` installs it")?;
        let out = server.stdout.take().context("no output")?;
        BufReader::new(out).lines().next_line().await?.context("the SMTP server did not start")?;
        answers(imap).await?;
        answers(lmtp).await?;
        let bell = Arc::new(Notify::new());
        Ok(Self {
            dovecot,
            _smtp: server,
            lmtp,
            imap_wire: Wire::new(imap, bell.clone()).await?,
            smtp_wire: Wire::new(smtp, bell.clone()).await?,
            bell,
            folder,
            raw: BTreeMap::new(),
            people: People::default(),
        })
    }

    /// Hands a mail to the bot's mailbox.
    async fn deliver(&self, raw: &[u8]) -> Result<()> {
        let stream = TcpStream::connect(("127.0.0.1", self.lmtp)).await?;
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        let mut data: Vec<u8> = Vec::new();
        for line in raw.split_inclusive(|b| *b == b'\n') {
            if line.starts_with(b".") {
                data.push(b'.');
            }
            data.extend_from_slice(line);
        }
        data.extend_from_slice(b"\r\n.\r\n");
        let steps: [&[u8]; 5] = [
            b"",
            b"LHLO test\r\n",
            b"MAIL FROM:<people@people.test>\r\n",
            b"RCPT TO:<bot@agents.test>\r\n",
            b"DATA\r\n",
        ];
        for step in steps.into_iter().chain([data.as_slice(), b"QUIT\r\n"]) {
            write.write_all(step).await?;
            loop {
                let mut line = String::new();
                read.read_line(&mut line).await?;
                ensure!(line.starts_with(['2', '3']), "LMTP: {line:?}");
                if line.as_bytes().get(3) != Some(&b'-') {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The mails in a person's mailbox.
    fn mailbox(&self, who: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let mut all = Vec::new();
        for folder in ["new", "cur"] {
            let folder = self.folder.path().join(format!("mail/{who}@people.test/{folder}"));
            let Ok(files) = std::fs::read_dir(folder) else { continue };
            for file in files {
                let file = file?;
                all.push((
                    file.file_name().to_string_lossy().into_owned(),
                    std::fs::read(file.path())?,
                ));
            }
        }
        Ok(all)
    }
}

/// Waits until somebody listens on a port.
async fn answers(port: u16) -> Result<()> {
    for _ in 0..1000 {
        if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return Ok(());
        }
        tokio::task::spawn_blocking(|| std::thread::sleep(std::time::Duration::from_millis(10)))
            .await?;
    }
    anyhow::bail!("nobody listens on {port}")
}

fn ids(value: &HeaderValue<'_>) -> Vec<String> {
    match value {
        HeaderValue::Text(id) => vec![id.to_string()],
        HeaderValue::TextList(all) => all.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    }
}

/// A mail as its reader sees it.
fn seen(who: &str, raw: &[u8]) -> Result<Seen> {
    let mail = MessageParser::default().parse(raw).context("no mail")?;
    let id = mail.message_id().context("a mail without an id")?.to_owned();
    ensure!(mail.html_body_count() == 1 && mail.text_body_count() == 1, "not text and HTML");
    let references = ids(mail.references());
    let root = references.first().unwrap_or(&id);
    let hash = nanoclaw_kit::sign::hex(&Sha256::digest(root.as_bytes()));
    let chat = format!("email:{who}@people.test");
    let file = |part: &mail_parser::MessagePart<'_>| PeerFile {
        name: part.attachment_name().unwrap_or_default().to_owned(),
        mime: None,
        bytes: part.contents().to_vec(),
        size: None,
    };
    Ok(Seen {
        thread: Some(format!("{chat}:{}", &hash[..16])),
        chat,
        text: mail.body_text(0).unwrap_or_default().replace("\r\n", "\n"),
        files: mail.attachments().map(file).collect(),
        reply_to: ids(mail.in_reply_to()).pop(),
        id,
        ..Seen::default()
    })
}

#[async_trait(?Send)]
impl Peer for Mail {
    fn channel(&self) -> &'static ChannelDef {
        &CHANNEL
    }

    fn settings(&self) -> BTreeMap<String, String> {
        let pairs = [
            ("EMAIL_ADDRESS", BOT.to_owned()),
            ("EMAIL_PASSWORD", PASSWORD.to_owned()),
            ("EMAIL_IMAP_URL", format!("imap://127.0.0.1:{}", self.imap_wire.port)),
            ("EMAIL_SMTP_URL", format!("smtp://127.0.0.1:{}", self.smtp_wire.port)),
            ("EMAIL_AUTH_SERVER", AUTH_SERVER.to_owned()),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn profile(&self) -> Profile {
        const MAIL: &str = "a mail that was sent is sent";
        Profile {
            group: Offer::No("a mail is between its sender and the agent"),
            mentions: Offer::No("every mail to the agent is to the agent"),
            edits_in: Offer::No(MAIL),
            deletes_in: Offer::No(MAIL),
            edits_out: Offer::No(MAIL),
            reactions_in: Offer::No("mail has no reactions"),
            reactions_out: Offer::No("mail has no reactions"),
            buttons: Offer::No("mail has no buttons; questions are answered with a number"),
            typing: Offer::No("mail does not show it"),
            history: Offer::No("a mail quotes what it answers"),
            idempotent: Offer::No("SMTP has no keys; every attempt has the same Message-ID"),
            busy: Offer::No("SMTP says that it is busy, but not for how long"),
            signed_webhook: Offer::No("mail is read over IMAP"),
            markup_refused: Offer::No("mail takes any HTML, and has a text part beside it"),
            text_in_max: 4 << 20,
            burst: 200,
            hurry: false,
            ..Profile::all(
                "E-mail",
                "real servers: Dovecot (IMAP, LMTP) and aiosmtpd (SMTP), on this machine",
            )
        }
    }

    fn bell(&self) -> Arc<Notify> {
        self.bell.clone()
    }

    fn person(&self, who: &str) -> (String, Option<String>) {
        person(who)
    }

    async fn say(&mut self, say: Say) -> Result<String> {
        let (id, raw) = self.people.compose(&say, SystemClock.now());
        self.deliver(&raw).await?;
        self.raw.insert(id.clone(), raw);
        Ok(id)
    }

    async fn echo(&mut self) -> Result<bool> {
        for raw in echoes() {
            self.deliver(&raw).await?;
        }
        Ok(true)
    }

    async fn nonsense(&mut self) -> Result<bool> {
        for raw in BROKEN {
            self.deliver(raw).await?;
        }
        Ok(true)
    }

    async fn again(&mut self, id: &str) -> Result<()> {
        let raw = self.raw.get(id).context("nobody said that")?;
        self.deliver(raw).await
    }

    async fn shown(&mut self) -> Result<Vec<Seen>> {
        let mut all = Vec::new();
        for who in PEOPLE {
            for (name, raw) in self.mailbox(who)? {
                all.push((name, seen(who, &raw)?));
            }
        }
        // The names begin with the second and the microsecond of the delivery.
        let order = |name: &str| {
            let (second, rest) = name.split_once('.').unwrap_or((name, ""));
            let micro = rest.strip_prefix('M').and_then(|r| r.split('P').next()).unwrap_or("0");
            (second.parse::<u64>().unwrap_or(0), micro.parse::<u64>().unwrap_or(0))
        };
        all.sort_by_key(|(name, _)| order(name));
        Ok(all.into_iter().map(|(_, seen)| seen).collect())
    }

    fn chat_name(&self, _place: Place) -> Option<String> {
        Some("ann@people.test".to_owned())
    }

    fn calls(&self) -> usize {
        self.imap_wire.calls() + self.smtp_wire.calls()
    }

    async fn fail(&mut self, fault: Fault, times: u32) -> Result<()> {
        self.smtp_wire.fail(fault, times);
        if fault == Fault::Revoked || times == 0 {
            self.imap_wire.fail(fault, times);
            if times > 0 {
                self.imap_wire.hang_up();
            }
        }
        Ok(())
    }

    async fn cut(&mut self, cut: bool) -> Result<()> {
        self.imap_wire.cut(cut);
        self.smtp_wire.cut(cut);
        Ok(())
    }
}
