//! A real Emacs with the package loaded, asked through `emacsclient`.

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nanoclaw_channel::ChannelDef;
use nanoclaw_channel_emacs::CHANNEL;
use nanoclaw_conformance::{
    Fault, Link, Offer, Peer, PeerFile, Place, Profile, Reacted, Say, Seen,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

const TOKEN: &str = "a-token-for-tests-0123456789";

pub(crate) struct Emacs {
    folder: TempDir,
    port: u16,
    /// Between Emacs and the host.
    link: Link,
    daemon: Child,
    bell: Arc<Notify>,
    clock: JoinHandle<()>,
}

impl Drop for Emacs {
    fn drop(&mut self) {
        self.clock.abort();
    }
}

/// A port that nobody has.
fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Emacs {
    pub(crate) async fn start() -> Result<Self> {
        let folder = TempDir::with_prefix("nanoclaw-emacs-")?;
        let port = free_port()?;
        let link = Link::to(port).await?;
        let programs = [
            ("nanoclaw.el", include_str!("../../nanoclaw.el")),
            ("driver.el", include_str!("driver.el")),
        ];
        for (name, text) in programs {
            std::fs::write(folder.path().join(name), text)?;
        }
        let url = format!("http://127.0.0.1:{}", link.port);
        let setup = format!(
            "(setq nanoclaw-url {url:?} nanoclaw-token {TOKEN:?} make-backup-files nil \
             nanoclaw-file-max 1000000)"
        );
        let daemon = Command::new("emacs")
            .args(["-Q", &format!("--fg-daemon={}", folder.path().join("socket").display())])
            .arg("-l")
            .arg(folder.path().join("nanoclaw.el"))
            .arg("-l")
            .arg(folder.path().join("driver.el"))
            .args(["--eval", &setup])
            .env("HOME", folder.path())
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("emacs does not start: install emacs-nox")?;
        // A buffer rings no bell.
        let bell = Arc::new(Notify::new());
        let rings = bell.clone();
        let clock = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(40)).await;
                rings.notify_waiters();
            }
        });
        let mut emacs = Self { folder, port, link, daemon, bell, clock };
        // The socket is there a moment before it is listened on.
        let mut tries = 0;
        while let Err(e) = emacs.ask("(progn (nanoclaw--chat-buffer) t)").await {
            tries += 1;
            if tries > 200 {
                return Err(e);
            }
            emacs.bell.notified().await;
        }
        Ok(emacs)
    }

    /// What Emacs makes of an expression.
    pub(crate) async fn ask(&mut self, expression: &str) -> Result<Value> {
        if let Some(status) = self.daemon.try_wait()? {
            bail!("emacs ended: {status}");
        }
        let (program, reply) =
            (self.folder.path().join("ask.el"), self.folder.path().join("reply.json"));
        let text = format!(
            ";;; -*- coding: utf-8; lexical-binding: t -*-\n(driver-reply {:?} {expression})\n",
            reply.to_string_lossy()
        );
        tokio::fs::write(&program, text).await?;
        let done = Command::new("emacsclient")
            .arg("-s")
            .arg(self.folder.path().join("socket"))
            .args(["--eval", &format!("(load {:?} nil t t)", program.to_string_lossy())])
            .output()
            .await?;
        if !done.status.success() {
            bail!("emacs: {}", String::from_utf8_lossy(&done.stderr));
        }
        Ok(serde_json::from_slice(&tokio::fs::read(&reply).await?)?)
    }

    /// Reads JSON within Emacs from a file, so that any text arrives as it is.
    async fn value(&mut self, value: &Value) -> Result<String> {
        let path = self.folder.path().join("value.json");
        tokio::fs::write(&path, value.to_string()).await?;
        Ok(format!(
            "(json-parse-string (with-temp-buffer (let ((coding-system-for-read 'utf-8-unix)) \
             (insert-file-contents {:?})) (buffer-string)) :object-type 'plist :array-type 'list :null-object nil)",
            path.to_string_lossy()
        ))
    }
}

#[async_trait(?Send)]
impl Peer for Emacs {
    fn channel(&self) -> &'static ChannelDef {
        &CHANNEL
    }

    fn settings(&self) -> BTreeMap<String, String> {
        [("EMACS_CHANNEL_PORT", self.port.to_string()), ("EMACS_AUTH_TOKEN", TOKEN.into())]
            .map(|(name, value)| (name.to_owned(), value))
            .into()
    }

    fn profile(&self) -> Profile {
        const ONE: Offer = Offer::No("there is one person and one chat");
        const BUFFER: Offer = Offer::No("what was sent from the buffer stays as it is");
        const LOCAL: Offer = Offer::No("the channel listens on this machine and calls nobody");
        Profile {
            group: ONE,
            threads: ONE,
            history: ONE,
            mentions: ONE,
            replies: BUFFER,
            edits_in: BUFFER,
            deletes_in: BUFFER,
            reactions_in: BUFFER,
            signed_webhook: Offer::No("calls have a token instead of a signature"),
            markup_refused: Offer::No("a buffer takes any text"),
            busy: LOCAL,
            requests: LOCAL,
            link: LOCAL,
            revoked: LOCAL,
            text_in_max: 1_000_000,
            hurry: false,
            ..Profile::all("Emacs", "a real Emacs with the package of this repository")
        }
    }

    fn bell(&self) -> Arc<Notify> {
        self.bell.clone()
    }

    fn person(&self, _who: &str) -> (String, Option<String>) {
        ("default".into(), Some("Emacs".into()))
    }

    async fn say(&mut self, say: Say) -> Result<String> {
        let files = say.files.iter().map(|file| {
            let mut it = json!({ "name": file.name });
            if let Some(mime) = &file.mime {
                it["mime"] = json!(mime);
            }
            if file.size.is_none() {
                it["data"] = json!(STANDARD.encode(&file.bytes));
            }
            it
        });
        let value =
            self.value(&json!({ "text": say.text, "files": files.collect::<Vec<_>>() })).await?;
        let expression = format!(
            "(let ((it {value})) (prog1 (list :id (nanoclaw--say (plist-get it :text) (plist-get it :files))) \
             (nanoclaw--go)))"
        );
        let id = self.ask(&expression).await?;
        Ok(id["id"].as_str().context("no id")?.to_owned())
    }

    async fn again(&mut self, id: &str) -> Result<()> {
        // The same call once more, as after an answer that was lost.
        let body = format!("`(:id {id:?} :text \"one\" :files [])");
        self.ask(&format!("(progn (nanoclaw--post \"/api/message\" {body}) t)")).await.map(drop)
    }

    async fn fail(&mut self, fault: Fault, _times: u32) -> Result<()> {
        match fault {
            // Emacs has shown it and has forgotten that: it reads everything once more.
            Fault::AnswerLost => {
                let again = "(progn (nanoclaw-stop) (setq nanoclaw--since 0) (nanoclaw--go) t)";
                self.ask(again).await.map(drop)
            }
            other => bail!("nothing is called that could {other:?}"),
        }
    }

    async fn click(&mut self, message: &str, label: &str, _who: &str) -> Result<()> {
        let value = self.value(&json!({ "label": label })).await?;
        self.ask(&format!("(driver-click {message:?} (plist-get {value} :label))")).await.map(drop)
    }

    async fn shown(&mut self) -> Result<Vec<Seen>> {
        let all =
            self.ask("(progn (unless nanoclaw--reading (nanoclaw--go)) (driver-shown))").await?;
        let mut seen = Vec::new();
        for it in all.as_array().context("no list")? {
            let words = |name: &str| -> Vec<String> {
                let all = it[name].as_array().into_iter().flatten();
                all.filter_map(|v| v.as_str().map(str::to_owned)).collect()
            };
            let mut files = Vec::new();
            for path in words("files") {
                let name = Path::new(&path).file_name().map(|n| n.to_string_lossy().into_owned());
                let bytes = tokio::fs::read(&path).await?;
                files.push(PeerFile {
                    name: name.unwrap_or_default(),
                    bytes,
                    ..PeerFile::default()
                });
            }
            let text = it["text"].as_str().unwrap_or_default();
            seen.push(Seen {
                id: it["id"].as_str().unwrap_or_default().to_owned(),
                chat: "default".into(),
                text: text.strip_prefix("Agent: ").unwrap_or(text).to_owned(),
                buttons: words("buttons"),
                files,
                ..Seen::default()
            });
        }
        Ok(seen)
    }

    async fn reacted(&mut self) -> Result<Vec<Reacted>> {
        let all = self.ask("(driver-reactions)").await?;
        let one = |it: &Value| {
            let text = it["text"].as_str()?;
            let emoji = text.strip_prefix("[the agent reacts with ")?.strip_suffix(']')?;
            Some(Reacted { message: it["id"].as_str()?.to_owned(), emoji: emoji.to_owned() })
        };
        Ok(all.as_array().into_iter().flatten().filter_map(one).collect())
    }

    async fn typing(&mut self) -> Result<usize> {
        Ok(usize::from(self.ask("(if nanoclaw--typing [1] [])").await? == json!([1])))
    }

    async fn cut(&mut self, cut: bool) -> Result<()> {
        self.link.cut(cut);
        Ok(())
    }

    fn chat_name(&self, place: Place) -> Option<String> {
        (place == Place::Direct).then(|| "Emacs".to_owned())
    }
}
