//! The same protocol by another hand: Baileys, the library that most of WhatsApp's bots are made with.
//!
//! ```text
//!  baileys.mjs make ──theirs.json──▶ Ann's device ──server──▶ adapter ──▶ what the host is told
//!  baileys.mjs read ◀──bytes────────── Ann's device ◀──server── adapter ◀── what the host says
//! ```
//! `baileys/theirs.json` is checked in; it is made anew with
//! `(cd target/tools/baileys && node $OLDPWD/channels/whatsapp/tests/baileys/baileys.mjs make) >theirs.json` where
//! `bash channels/whatsapp/tests/tools.sh` has put Baileys.

#![expect(clippy::unwrap_used, reason = "helpers of a test fail as the test does")]

mod peer;

use anyhow::{Context as _, Result, ensure};
use expect_test::expect_file;
use nanoclaw_channel::{
    Address, Body, Channel, ChannelType, Inbound, OutFile, Outgoing, PlatformId, PlatformMessageId,
    Start, What,
};
use nanoclaw_conformance::Peer as _;
use nanoclaw_conformance::record::{Heard, Recorder};
use peer::server::Server;
use peer::{AGENT, GROUP, WhatsApp};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::Notify;
use whatsapp_rust::buffa::Message as _;
use whatsapp_rust::prelude::{Event, EventHandler, Jid, MessageExt as _, SendOptions, wa};
use whatsapp_rust::wacore::download::Downloadable;
use whatsapp_rust::wacore_binary::Node;
use whatsapp_rust::wacore_binary::marshal::{marshal, unmarshal_ref};
use whatsapp_rust::wacore_binary::node::{Attrs, NodeContent};

const ANN: &str = "4915550001@s.whatsapp.net";

fn theirs() -> Result<Value> {
    Ok(serde_json::from_str(include_str!("baileys/theirs.json"))?)
}

/// Runs Baileys.
async fn baileys(what: &str, input: &Value) -> Result<String> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR"));
    let beside = || crates.join("../../target/tools");
    let tools = std::env::var_os("NANOCLAW_TOOLS").map_or_else(beside, Into::into);
    let mut process = Command::new("node")
        .arg(crates.join("tests/baileys/baileys.mjs"))
        .arg(what)
        .current_dir(tools.join("baileys"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("Baileys is not there; run: bash channels/whatsapp/tests/tools.sh")?;
    let mut into = process.stdin.take().context("its input")?;
    let input = input.to_string();
    let (wrote, done) = tokio::join!(
        async { into.write_all(input.as_bytes()).await.map(|()| drop(into)) },
        async { process.wait_with_output().await }
    );
    let done = done?;
    ensure!(done.status.success(), "Baileys failed: {}", done.status);
    wrote?;
    Ok(String::from_utf8(done.stdout)?)
}

fn unhex(text: &Value) -> Vec<u8> {
    nanoclaw_kit::sign::unhex(text.as_str().unwrap()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    nanoclaw_kit::sign::hex(bytes)
}

/// What stands in `theirs.json` is what Baileys writes.
#[tokio::test]
async fn theirs_is_what_baileys_writes() -> Result<()> {
    let made: Value = serde_json::from_str(&baileys("make", &Value::Null).await?)?;
    assert_eq!(made, theirs()?, "make theirs.json anew");
    Ok(())
}

#[test]
fn addresses_mean_the_same() -> Result<()> {
    for one in theirs()?["jids"].as_array().context("addresses")? {
        let jid: Jid = one["jid"].as_str().context("text")?.parse()?;
        // An old client's name for the same people; the server says it no more.
        let ours = jid.to_non_ad_string().replace("@c.us", "@s.whatsapp.net");
        assert_eq!(one["is"], json!(ours), "{jid}");
    }
    Ok(())
}

/// The server itself, which is nobody's address, has two spellings.
const NOBODY: (&str, &str) = ("\"@s.whatsapp.net\"", "\"s.whatsapp.net\"");

/// A node as `baileys.mjs` shows it.
fn plain(node: &Node) -> Value {
    let attrs: Map<String, Value> =
        node.attrs.iter().map(|(name, value)| (name.to_string(), json!(value.as_str()))).collect();
    let mut plain = json!({ "tag": node.tag, "attrs": attrs });
    let content = match &node.content {
        None => return plain,
        Some(NodeContent::Bytes(bytes)) => json!({ "hex": hex(bytes) }),
        Some(NodeContent::String(text)) => json!({ "hex": hex(text.as_bytes()) }),
        Some(NodeContent::Nodes(nodes)) => nodes.iter().map(self::plain).collect(),
    };
    plain["content"] = content;
    plain
}

/// The other way round.
fn node(plain: &Value) -> Node {
    let mut attrs = Attrs::new();
    for (name, value) in plain["attrs"].as_object().unwrap() {
        attrs.push(name.clone(), value.as_str().unwrap());
    }
    let content = plain.get("content").map(|content| match content.as_array() {
        Some(nodes) => NodeContent::Nodes(nodes.iter().map(node).collect()),
        None => NodeContent::Bytes(unhex(&content["hex"])),
    });
    Node::new(plain["tag"].as_str().unwrap().to_owned(), attrs, content)
}

/// What Baileys puts on the wire is read here, and what is put on the wire here is read by Baileys.
#[tokio::test]
async fn nodes_on_the_wire_mean_the_same() -> Result<()> {
    let theirs = theirs()?;
    let same = |nodes: &Value| nodes.to_string().replace(NOBODY.0, NOBODY.1);
    let (mut plains, mut ours) = (Vec::new(), Vec::new());
    for one in theirs["nodes"].as_array().context("nodes")? {
        let mut wanted = one.clone();
        let bytes = unhex(&wanted.as_object_mut().context("a node")?.remove("hex").unwrap());
        let (flags, bytes) = bytes.split_first().context("no bytes")?;
        assert_eq!(*flags, 0, "it is not packed");
        assert_eq!(same(&plain(&unmarshal_ref(bytes)?.to_owned())), same(&wanted));
        ours.push(hex(&marshal(&node(&wanted))?));
        plains.push(wanted);
    }
    ensure!(plains.len() >= 6, "too few nodes were compared");
    let read = baileys("read", &json!({ "nodes": ours, "messages": [] })).await?;
    let read: Value = serde_json::from_str(&read)?;
    assert_eq!(same(&read["nodes"]), same(&Value::Array(plains)));
    Ok(())
}

struct Rig {
    peer: WhatsApp,
    host: Arc<Recorder>,
    channel: Arc<dyn Channel>,
    _data: tempfile::TempDir,
}

impl Rig {
    async fn start() -> Result<Self> {
        let peer = WhatsApp::start().await?;
        let (host, data) = (Arc::<Recorder>::default(), tempfile::tempdir()?);
        let (settings, told) = (peer.settings(), host.clone());
        let start = Start {
            ingress: host.clone(),
            data: data.path().to_path_buf(),
            setting: Arc::new(move |name| settings.get(name).cloned()),
            report: Arc::new(move |health| told.health(health)),
        };
        let channel = (peer::LINKED.start)(start).await?;
        // Nobody can write to a device whose keys the server does not have.
        peer.server.known(&Jid::pn_device(AGENT, 1).to_string()).await;
        Ok(Self { peer, host, channel, _data: data })
    }

    async fn says(&self, message: wa::Message, group: bool, id: &str) -> Result<()> {
        let to = if group { GROUP.parse()? } else { Jid::pn(AGENT) };
        let options = SendOptions::default().with_message_id(id);
        self.peer.someone("ann")?.client.send_message_with_options(to, message, options).await?;
        Ok(())
    }

    async fn heard<T>(&self, look: impl Fn(&Heard) -> Option<T>) -> T {
        let bell = self.host.bell();
        loop {
            let rung = bell.notified();
            if let Some(found) = self.host.look(&look) {
                return found;
            }
            rung.await;
        }
    }
}

/// What the host was told.
fn told(heard: &Heard, id: &str) -> Option<String> {
    if let Some(change) = heard.changes.iter().find(|change| change.id.as_str() == id) {
        let what = match &change.what {
            What::Edited(text) => format!("now says {text:?}"),
            What::Deleted => "is gone".to_owned(),
            What::Reacted { emoji, removed: false } => format!("has {emoji}"),
            What::Reacted { emoji, removed: true } => format!("has {emoji} no more"),
            What::Undelivered(why) => format!("did not arrive: {why}"),
        };
        return Some(format!("{} {what}", change.message));
    }
    let Inbound { text, mention, files, reply_to, .. } = heard.message(id)?;
    let mut told = format!("{text:?}, mention: {mention:?}");
    for file in files {
        let bytes = String::from_utf8_lossy(&file.bytes).into_owned();
        let bytes = if bytes.len() > 40 { format!("{} bytes", bytes.len()) } else { bytes };
        let mime = file.mime.as_deref().unwrap_or_default();
        write!(told, ", {} {:?} ({mime}): {bytes:?}", file.kind, file.name).unwrap();
        assert_eq!(file.missing, None, "{id}");
    }
    if let Some(quote) = reply_to {
        write!(told, ", answers {:?} of {:?}: {:?}", quote.id, quote.sender, quote.text).unwrap();
    }
    Some(told)
}

#[tokio::test]
async fn what_baileys_writes_is_heard() -> Result<()> {
    let theirs = theirs()?;
    let rig = Rig::start().await?;
    for (path, file) in theirs["files"].as_object().context("files")? {
        rig.peer.server.world().files.insert(path.clone(), unhex(file));
    }
    let mut all = String::new();
    for (n, one) in theirs["messages"].as_array().context("messages")?.iter().enumerate() {
        let id = one["id"].as_str().context("an id")?;
        let message = wa::Message::decode_from_slice(&unhex(&one["hex"]))?;
        rig.says(message, one["group"] == true, id).await?;
        // What comes behind it in the same chat tells that nothing else comes of it.
        let end = format!("END{n}");
        let mark = wa::Message { conversation: Some("end".into()), ..Default::default() };
        rig.says(mark, one["group"] == true, &end).await?;
        rig.heard(|heard| heard.message(&end).map(drop)).await;
        let told = rig.host.look(|heard| told(heard, id)).unwrap_or_else(|| "nothing".into());
        writeln!(all, "{id} {}: {told}", one["name"].as_str().unwrap_or_default())?;
    }
    rig.channel.stop().await;
    expect_file!["baileys/heard.txt"].assert_eq(&all);
    Ok(())
}

/// What a device was sent, as it was sent.
#[derive(Default)]
struct Tap {
    messages: Arc<Mutex<Vec<wa::Message>>>,
    bell: Arc<Notify>,
}

impl EventHandler for Tap {
    fn handle_event(&self, event: Arc<Event>) {
        for message in event.messages() {
            self.messages.lock().unwrap().push((*message.message).clone());
        }
        self.bell.notify_waiters();
    }
}

fn media(message: &wa::Message) -> Option<&dyn Downloadable> {
    let message = message.get_base_message();
    let image = message.image_message.as_option().map(|it| it as &dyn Downloadable);
    let video = message.video_message.as_option().map(|it| it as &dyn Downloadable);
    let audio = message.audio_message.as_option().map(|it| it as &dyn Downloadable);
    let document = message.document_message.as_option().map(|it| it as &dyn Downloadable);
    image.or(video).or(audio).or(document)
}

/// A message with the bytes that it is on the wire, and its file as the server has it.
fn wire(server: &Server, message: &wa::Message) -> Value {
    let mut wire = json!({ "hex": hex(&message.encode_to_vec()) });
    if let Some(path) = media(message).and_then(Downloadable::direct_path) {
        wire["file"] = json!(hex(&server.world().files[path]));
    }
    wire
}

#[tokio::test]
async fn what_the_agent_says_is_read_by_baileys() -> Result<()> {
    let rig = Rig::start().await?;
    let tap = Arc::new(Tap::default());
    let _tapped = rig.peer.someone("ann")?.client.subscribe_handler(tap.clone());
    let asked = wa::Message { conversation: Some("what is it?".into()), ..Default::default() };
    rig.says(asked, false, "ASKED").await?;
    rig.heard(|heard| heard.message("ASKED").map(drop)).await;

    let to = Address {
        channel_type: ChannelType::parse("whatsapp")?,
        platform_id: PlatformId::parse(ANN)?,
        thread_id: None,
    };
    let say = async |key: &str, body: Body, reply_to: Option<&str>| {
        let reply_to = reply_to.and_then(|id| PlatformMessageId::parse(id).ok());
        let message = Outgoing { key: key.to_owned(), to: to.clone(), body, reply_to };
        Ok::<_, anyhow::Error>(rig.channel.send(&message).await?.id)
    };
    let text = |markdown: &str| Body::Text { markdown: markdown.to_owned(), files: Vec::new() };
    let files = |markdown: &str, names: &[&str]| Body::Text {
        markdown: markdown.to_owned(),
        files: names
            .iter()
            .map(|name| OutFile { name: (*name).into(), bytes: format!("this is {name}").into() })
            .collect(),
    };
    let first = say("1", text("A **thing**, `x` ☕"), Some("ASKED")).await?.context("an id")?;
    say("2", Body::Edit { message: first.clone(), markdown: "Another *thing*".into() }, None)
        .await?;
    for (key, emoji) in [("3", "heart"), ("4", "👍")] {
        let message = PlatformMessageId::parse("ASKED")?;
        say(key, Body::React { message, emoji: emoji.into() }, None).await?;
    }
    say("5", files("look", &["a.png", "b.mp4"]), Some("ASKED")).await?;
    say("6", files("", &["c.ogg", "d.mp3", "e ü.pdf"]), None).await?;
    // A second part that an edit makes needless is taken back.
    let long = say("7", text(&"words ".repeat(10_001)), None).await?.context("an id")?;
    say("8", Body::Edit { message: long, markdown: "short".into() }, None).await?;
    // The last one is here.
    say("9", text("end"), None).await?;
    let end =
        |all: &[wa::Message]| all.last().is_some_and(|last| last.text_content() == Some("end"));
    loop {
        let rung = tap.bell.notified();
        if end(&tap.messages.lock().unwrap()) {
            break;
        }
        rung.await;
    }
    let sent: Vec<Value> =
        tap.messages.lock().unwrap().iter().map(|m| wire(&rig.peer.server, m)).collect();
    rig.channel.stop().await;
    let read = baileys("read", &json!({ "nodes": [], "messages": sent })).await?;
    let read: Value = serde_json::from_str(&read)?;
    let mut all = String::new();
    for one in read["said"].as_array().context("messages")? {
        let one = one.to_string().replace(&"words ".repeat(10), "");
        writeln!(all, "{one}")?;
    }
    expect_file!["baileys/read.txt"].assert_eq(&all);
    Ok(())
}
