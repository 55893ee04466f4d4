//! A real Synapse, and people with another client, matrix-nio; all rooms encrypted.

mod proxy;
mod synapse;

use anyhow::{Context as _, Result, anyhow, bail};
use async_trait::async_trait;
use nanoclaw_channel::ChannelDef;
use nanoclaw_channel_matrix::ids::{Chat, thread_id};
use nanoclaw_conformance::{
    Fault, Offer, Peer, PeerFile, Place, Profile, Reacted, Say, Seen, target,
};
use proxy::Proxy;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
pub(crate) use synapse::Synapse;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{Notify, mpsc};

static RUNS: AtomicU32 = AtomicU32::new(0);

pub(crate) struct World {
    run: u32,
    proxy: Proxy,
    bell: Arc<Notify>,
    people: Child,
    say: ChildStdin,
    answers: mpsc::UnboundedReceiver<Value>,
    agent: String,
    password: String,
    program: String,
    _synapse: Arc<Synapse>,
}

impl World {
    /// Other people on the same homeserver.
    pub(crate) async fn open(synapse: Arc<Synapse>) -> Result<Self> {
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let bell = Arc::new(Notify::new());
        let proxy = Proxy::start(synapse.address.clone(), Arc::clone(&bell)).await?;
        let mut people = Command::new(&synapse.python)
            .args(["-c", include_str!("people.py")])
            .arg(format!("http://{}", synapse.address))
            .arg(run.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let say = people.stdin.take().context("stdin")?;
        let mut lines = BufReader::new(people.stdout.take().context("stdout")?).lines();
        let (put, answers) = mpsc::unbounded_channel();
        let ring = Arc::clone(&bell);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let line: Value = serde_json::from_str(&line).unwrap_or_default();
                if line.get("ring").is_some() {
                    ring.notify_waiters();
                } else if put.send(line).is_err() {
                    return;
                }
            }
        });
        let program = match std::env::var("NANOCLAW_MATRIX") {
            Ok(program) => program,
            Err(_) => target().join("matrix/debug/nanoclaw-matrix").display().to_string(),
        };
        let (agent, password) = (String::new(), String::new());
        let mut world = Self {
            run,
            proxy,
            bell,
            people,
            say,
            answers,
            agent,
            password,
            program,
            _synapse: synapse,
        };
        let opened = world.ask(json!({ "do": "open" })).await?;
        world.agent = opened["agent"].as_str().context("the agent's account")?.to_owned();
        world.password = opened["password"].as_str().context("its password")?.to_owned();
        Ok(world)
    }

    async fn ask(&mut self, command: Value) -> Result<Value> {
        self.say.write_all(format!("{command}\n").as_bytes()).await?;
        let answer = self
            .answers
            .recv()
            .await
            .with_context(|| format!("the people are gone: {:?}", self.people.try_wait()))?;
        match answer.get("error") {
            Some(error) => bail!("{}", error.as_str().unwrap_or_default()),
            None => Ok(answer["ok"].clone()),
        }
    }
}

#[async_trait(?Send)]
impl Peer for World {
    fn channel(&self) -> &'static ChannelDef {
        &nanoclaw_channel_matrix::CHANNEL
    }

    fn settings(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("MATRIX_BASE_URL".to_owned(), format!("http://{}", self.proxy.address)),
            ("MATRIX_USERNAME".to_owned(), self.agent.clone()),
            ("MATRIX_PASSWORD".to_owned(), self.password.clone()),
            ("MATRIX_PROGRAM".to_owned(), self.program.clone()),
        ])
    }

    fn profile(&self) -> Profile {
        let verified = "a real homeserver (Synapse) and people with another client (matrix-nio), in \
            encrypted rooms";
        Profile {
            buttons: Offer::No("Matrix has no buttons; questions are answered by typing"),
            signed_webhook: Offer::No("the adapter asks; nobody calls it"),
            markup_refused: Offer::No("homeservers do not look at markup"),
            chat_names: Offer::Yes,
            text_in_max: 12_000,
            burst: 200,
            hurry: false,
            ..Profile::all("Matrix", verified)
        }
    }

    fn bell(&self) -> Arc<Notify> {
        Arc::clone(&self.bell)
    }

    fn person(&self, who: &str) -> (String, Option<String>) {
        let mut name = who.to_owned();
        name[..1].make_ascii_uppercase();
        (format!("@{who}{}:localhost", self.run), Some(name))
    }

    async fn say(&mut self, say: Say) -> Result<String> {
        let place = match say.place {
            Place::Direct => "direct".to_owned(),
            Place::Group => "group".to_owned(),
            Place::Thread(n) => format!("thread{n}"),
        };
        let files: Vec<Value> = say
            .files
            .iter()
            .map(
                |f| json!({ "name": f.name, "mime": f.mime, "size": f.size, "hex": hex(&f.bytes) }),
            )
            .collect();
        let id = self
            .ask(json!({ "do": "say", "who": say.who, "place": place, "text": say.text,
                "files": files, "mention": say.mention, "reply_to": say.reply_to }))
            .await?;
        id.as_str().map(str::to_owned).context("an event id")
    }

    async fn echo(&mut self) -> Result<bool> {
        self.ask(json!({ "do": "notice" })).await.map(|_| true)
    }

    async fn nonsense(&mut self) -> Result<bool> {
        self.ask(json!({ "do": "nonsense" })).await.map(|_| true)
    }

    async fn edit(&mut self, id: &str, text: &str) -> Result<()> {
        self.ask(json!({ "do": "edit", "id": id, "text": text })).await.map(drop)
    }

    async fn delete(&mut self, id: &str) -> Result<()> {
        self.ask(json!({ "do": "delete", "id": id })).await.map(drop)
    }

    async fn react(&mut self, id: &str, emoji: &str, removed: bool) -> Result<()> {
        let command = json!({ "do": "react", "id": id, "emoji": emoji, "removed": removed });
        self.ask(command).await.map(drop)
    }

    async fn again(&mut self, id: &str) -> Result<()> {
        self.proxy.again(id);
        Ok(())
    }

    async fn shown(&mut self) -> Result<Vec<Seen>> {
        let all = self.ask(json!({ "do": "shown" })).await?;
        all.as_array().context("a list")?.iter().map(seen).collect()
    }

    async fn reacted(&mut self) -> Result<Vec<Reacted>> {
        let all = self.ask(json!({ "do": "reacted" })).await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let one = |pair: &Value| Reacted { message: text(&pair[0]), emoji: text(&pair[1]) };
        Ok(all.as_array().context("a list")?.iter().map(one).collect())
    }

    async fn typing(&mut self) -> Result<usize> {
        let count = self.ask(json!({ "do": "typing" })).await?;
        Ok(usize::try_from(count.as_u64().context("a count")?)?)
    }

    fn chat_name(&self, place: Place) -> Option<String> {
        match place {
            Place::Direct => Some("Ann".to_owned()),
            Place::Group | Place::Thread(_) => Some("The group".to_owned()),
        }
    }

    fn calls(&self) -> usize {
        self.proxy.shared.calls.load(Ordering::Relaxed)
    }

    async fn fail(&mut self, fault: Fault, times: u32) -> Result<()> {
        *self.proxy.shared.fault.lock().map_err(|e| anyhow!("{e}"))? =
            (times > 0).then_some((fault, times));
        Ok(())
    }

    async fn cut(&mut self, cut: bool) -> Result<()> {
        self.proxy.shared.cut.send_replace(cut);
        Ok(())
    }
}

fn seen(value: &Value) -> Result<Seen> {
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    let room = text("room").context("a room")?;
    let chat = text("person").map_or_else(|| Chat::Room(room.clone()), Chat::Person);
    let thread = text("thread").and_then(|root| thread_id(&room, &root));
    let file = |file: &Value| PeerFile {
        name: file["name"].as_str().unwrap_or_default().to_owned(),
        bytes: unhex(file["hex"].as_str().unwrap_or_default()),
        ..PeerFile::default()
    };
    Ok(Seen {
        id: text("id").context("an id")?,
        chat: chat.encode(),
        thread: thread.map(|thread| thread.to_string()),
        text: text("text").context("a text")?,
        files: value["files"].as_array().context("files")?.iter().map(file).collect(),
        buttons: Vec::new(),
        reply_to: text("reply_to"),
        edited: value["edited"] == true,
    })
}

fn hex(bytes: &[u8]) -> String {
    nanoclaw_kit::sign::hex(bytes)
}

fn unhex(text: &str) -> Vec<u8> {
    nanoclaw_kit::sign::unhex(text).unwrap_or_default()
}
