//! WhatsApp as the agent sees it: a server, and people whose devices really encrypt.
//!
//! ```text
//!  Ann, Bob, Cleo and the account's own phone: the client of `whatsapp-rust`, each with keys of its own
//!       │ Noise + Signal                                      ┌── cut, refuse, keep silent, log out
//!       ▼                                                     ▼
//!  Server (server.rs, wire.rs): carries, queues, stores ──WebSocket, HTTP──▶ the adapter
//! ```

pub(crate) mod server;
pub(crate) mod wire;

use anyhow::{Context as _, Result, anyhow, bail};
use async_trait::async_trait;
use nanoclaw_channel::{ChannelDef, Start, StartFuture};
use nanoclaw_channel_whatsapp::CHANNEL;
use nanoclaw_conformance::{Fault, Offer, Peer, PeerFile, Place, Profile, Reacted, Say, Seen};
use server::{Server, Trouble};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use whatsapp_rust::http::{HttpClient, HttpRequest, HttpResponse};
use whatsapp_rust::media::{self, DocumentOptions, ImageOptions};
use whatsapp_rust::prelude::{
    Bot, BotHandle, Client, Event, EventHandler, Jid, MessageBuilderExt as _, MessageExt as _,
    MessageField, wa,
};
use whatsapp_rust::send::RevokeType;
use whatsapp_rust::transport::TokioWebSocketTransportFactory;
use whatsapp_rust::wacore::download::{Downloadable, MediaType};
use whatsapp_rust::wacore::store::traits::DeviceStore as _;
use whatsapp_rust::wacore::store::{Device, InMemoryBackend};
use whatsapp_rust::waproto::whatsapp::message::protocol_message::Type;
use whatsapp_rust::{NodeBuilder, UploadOptions};

pub(crate) const AGENT: &str = "4915550000";
pub(crate) const GROUP: &str = "120363000000000001@g.us";
const PEOPLE: [(&str, &str, &str); 4] = [
    ("ann", "4915550001", "Ann"),
    ("bob", "4915550002", "Bob"),
    ("cleo", "4915550003", "Cleo"),
    // The phone of the agent's account.
    ("phone", AGENT, "Andy"),
];

/// A device that its account has linked.
fn device(phone: &str, id: u16, name: &str) -> Device {
    let mut device = Device::new();
    device.pn = Some(Jid::pn_device(phone, id));
    device.lid = Some(Jid::lid_device(lid(phone).as_str(), id));
    device.push_name = name.to_owned();
    device.account = Some(Arc::new(wa::ADVSignedDeviceIdentity {
        details: Some(vec![1]),
        account_signature_key: Some(vec![0; 32]),
        account_signature: Some(vec![0; 64]),
        device_signature: Some(vec![0; 64]),
    }));
    device
}

fn lid(phone: &str) -> String {
    format!("99{phone}")
}

/// The adapter, given a device that is linked already.
pub(crate) static LINKED: ChannelDef =
    ChannelDef { name: CHANNEL.name, settings: CHANNEL.settings, start: linked };

fn linked(start: Start) -> StartFuture {
    Box::pin(async move {
        link(&start.data);
        (CHANNEL.start)(start).await
    })
}

/// Writes what linking leaves behind.
fn link(data: &Path) {
    let folder = data.join("channels/whatsapp");
    if folder.join("device.db").exists() {
        return;
    }
    std::fs::create_dir_all(&folder).unwrap();
    let db = rusqlite::Connection::open(folder.join("device.db")).unwrap();
    db.execute_batch(
        "CREATE TABLE device (space TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, at INTEGER NOT NULL,
         PRIMARY KEY (space, key)) WITHOUT ROWID",
    )
    .unwrap();
    let device = serde_json::to_vec(&device(AGENT, 1, "Andy")).unwrap();
    db.execute("INSERT INTO device VALUES ('device', '', ?, 9223372036854775807)", [device])
        .unwrap();
}

/// A person's device.
pub(crate) struct Person {
    pub(crate) client: Arc<Client>,
    handle: BotHandle,
}

impl Drop for Person {
    fn drop(&mut self) {
        self.client.signal_shutdown_sync();
        self.handle.abort();
    }
}

/// The files and versions of the server, without the way there.
struct Web(Server);

#[async_trait]
impl HttpClient for Web {
    async fn execute(&self, request: HttpRequest) -> Result<HttpResponse> {
        let url = request.url.split_once("://").map_or("", |(_, rest)| rest);
        let target = url.find('/').map_or("/", |at| &url[at..]);
        let body = request.body.map(|b| b.to_vec()).unwrap_or_default();
        let (status_code, body) = self.0.world().web(&request.method, target, body);
        Ok(HttpResponse { status_code, body })
    }
}

/// What one device was shown.
#[derive(Default)]
struct View {
    seen: Vec<(Seen, Option<wa::Message>)>,
    reacted: Vec<Reacted>,
}

/// Keeps what a person is shown.
struct Eyes {
    who: &'static str,
    view: Arc<Mutex<View>>,
    bell: Arc<Notify>,
}

impl EventHandler for Eyes {
    fn handle_event(&self, event: Arc<Event>) {
        for message in event.messages() {
            let source = &message.info.source;
            // The agent is seen by whom it writes to; in the group, by Ann.
            let by = [AGENT.to_owned(), lid(AGENT)];
            if !by.iter().any(|me| source.sender.user == me.as_str())
                || source.is_from_me
                || (source.is_group && self.who != "ann")
            {
                continue;
            }
            let chat = if source.is_group { GROUP.to_owned() } else { handle(phone_of(self.who)) };
            self.view.lock().unwrap().see(&message.info.id, chat, &message.message);
        }
        self.bell.notify_waiters();
    }
}

fn handle(phone: &str) -> String {
    format!("{phone}@s.whatsapp.net")
}

fn phone_of(who: &str) -> &'static str {
    PEOPLE.iter().find(|(name, ..)| *name == who).map_or("", |(_, phone, _)| phone)
}

impl View {
    fn see(&mut self, id: &str, chat: String, message: &wa::Message) {
        let message = message.get_base_message();
        if let Some(change) = message.protocol_message.as_option() {
            let of = change.key.as_option().and_then(|key| key.id.clone()).unwrap_or_default();
            if change.r#type == Some(Type::MESSAGE_EDIT)
                && let Some((seen, _)) = self.seen.iter_mut().find(|(seen, _)| seen.id == of)
            {
                seen.text = shown(
                    change.edited_message.as_option().and_then(|m| m.text_content()).unwrap_or(""),
                );
                seen.edited = true;
            }
            if change.r#type == Some(Type::REVOKE) {
                self.seen.retain(|(seen, _)| seen.id != of);
            }
            return;
        }
        if let Some(reaction) = message.reaction_message.as_option() {
            let of = reaction.key.as_option().and_then(|key| key.id.clone()).unwrap_or_default();
            self.reacted.retain(|r| r.message != of);
            let emoji = reaction.text.clone().unwrap_or_default();
            if !emoji.is_empty() {
                self.reacted.push(Reacted { message: of, emoji });
            }
            return;
        }
        // A phone shows what comes twice with one id once.
        if self.seen.iter().any(|(seen, _)| seen.id == id) {
            return;
        }
        let text = message.text_content().or_else(|| message.get_caption()).unwrap_or("");
        let context = message
            .extended_text_message
            .as_option()
            .and_then(|t| t.context_info.as_option())
            .and_then(|c| c.stanza_id.clone());
        let seen = Seen {
            id: id.to_owned(),
            chat,
            text: shown(text),
            reply_to: context,
            ..Seen::default()
        };
        let file = (message.text_content().is_none()).then(|| message.clone());
        self.seen.push((seen, file));
    }
}

/// Text as WhatsApp shows it: marks that enclose words become what they mean.
fn shown(text: &str) -> String {
    let mut out = String::new();
    let mut code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
            let rest = line.trim_start().trim_start_matches("```");
            if let Some(inner) = rest.strip_suffix("```") {
                code = !code;
                out += inner;
            } else {
                out += rest;
            }
        } else if code {
            out += line.strip_suffix("```").inspect(|_| code = false).unwrap_or(line);
        } else {
            out += &unmarked(line.strip_prefix("> ").unwrap_or(line));
        }
        out.push('\n');
    }
    out.trim_end().to_owned()
}

/// A line without marks that stand in pairs around words.
fn unmarked(line: &str) -> String {
    let chars: Vec<char> = line.chars().collect();
    let (mut out, mut at) = (String::new(), 0);
    let outside = |c: Option<&char>| c.is_none_or(|c| !c.is_alphanumeric());
    while let Some(&c) = chars.get(at) {
        let opens = "*_~`".contains(c)
            && outside(at.checked_sub(1).and_then(|b| chars.get(b)))
            && chars.get(at + 1).is_some_and(|n| !n.is_whitespace() && *n != c);
        let close = opens
            .then(|| {
                (at + 2..chars.len()).find(|&e| {
                    chars[e] == c && !chars[e - 1].is_whitespace() && outside(chars.get(e + 1))
                })
            })
            .flatten();
        if let Some(end) = close {
            let inner: String = chars[at + 1..end].iter().collect();
            out += &if c == '`' { inner } else { unmarked(&inner) };
            at = end + 1;
        } else {
            out.push(c);
            at += 1;
        }
    }
    out
}

pub(crate) struct WhatsApp {
    pub(crate) server: Server,
    people: BTreeMap<&'static str, Person>,
    views: BTreeMap<&'static str, Arc<Mutex<View>>>,
    /// Where each message is and who said it.
    said: BTreeMap<String, (&'static str, Place)>,
    files: BTreeMap<String, PeerFile>,
}

impl WhatsApp {
    pub(crate) async fn start() -> Result<Self> {
        let server = Server::start().await?;
        {
            let mut world = server.world();
            world.agent = Jid::pn_device(AGENT, 1).to_string();
            let mut members = vec![AGENT.to_owned()];
            world.devices.insert(AGENT.into(), vec![0, 1]);
            for (_, phone, name) in PEOPLE {
                world.names.insert(phone.into(), name.into());
                world.lids.insert(phone.into(), lid(phone));
                if phone != AGENT {
                    world.devices.insert(phone.into(), vec![0]);
                    members.push(phone.into());
                }
            }
            world.hidden.push(phone_of("cleo").into());
            world.groups.insert(GROUP.into(), ("Allotment".into(), members));
        }
        let mut all = Self {
            server,
            people: BTreeMap::new(),
            views: BTreeMap::new(),
            said: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        for (who, phone, name) in PEOPLE {
            all.connect(who, phone, name)
                .await
                .with_context(|| format!("{name} did not connect"))?;
        }
        Ok(all)
    }

    async fn connect(&mut self, who: &'static str, phone: &'static str, name: &str) -> Result<()> {
        let backend = InMemoryBackend::new();
        backend.save(&device(phone, 0, name)).await?;
        let view = Arc::<Mutex<View>>::default();
        self.views.insert(who, view.clone());
        let eyes = Eyes { who, view, bell: self.server.bell.clone() };
        let bot = Bot::builder()
            .with_backend(backend)
            .with_transport_factory(
                TokioWebSocketTransportFactory::new().with_url(&self.server.people),
            )
            .with_http_client(Web(self.server.clone()))
            .with_event_handler(eyes)
            .with_wanted_pre_key_count(8)
            .skip_history_sync()
            .build()
            .await?;
        let client = bot.client();
        let handle = bot.spawn();
        client.wait_for_connected(Duration::from_secs(20)).await?;
        self.server.known(&Jid::pn(phone).to_string()).await;
        self.people.insert(who, Person { client, handle });
        Ok(())
    }

    pub(crate) fn someone(&self, who: &str) -> Result<&Person> {
        self.people.get(who).with_context(|| format!("nobody is called {who}"))
    }

    fn to(&self, place: Place) -> Result<Jid> {
        match place {
            Place::Direct => Ok(Jid::pn(AGENT)),
            Place::Group => Ok(GROUP.parse()?),
            Place::Thread(_) => bail!("no threads"),
        }
    }

    fn context(&self, say: &Say) -> Option<Box<wa::ContextInfo>> {
        let mut context = wa::ContextInfo::default();
        if say.mention && say.place == Place::Group {
            context.mentioned_jid = vec![format!("{}@lid", lid(AGENT))];
        }
        if let Some(id) = &say.reply_to {
            let by = self.said.get(id).map_or(AGENT, |(who, _)| phone_of(who));
            context.stanza_id = Some(id.clone());
            context.participant = Some(match say.place {
                Place::Group => format!("{}@lid", lid(by)),
                _ => handle(by),
            });
            context.quoted_message = MessageField::some(wa::Message::text("what was said"));
        }
        (context != wa::ContextInfo::default()).then(|| Box::new(context))
    }

    async fn file(
        &self,
        say: &Say,
        file: &PeerFile,
        caption: Option<String>,
    ) -> Result<wa::Message> {
        let person = self.someone(say.who)?;
        let mime = file.mime.clone();
        let image = mime.as_deref().is_some_and(|m| m.starts_with("image/"));
        let kind = if image { MediaType::Image } else { MediaType::Document };
        let mut upload =
            person.client.upload(file.bytes.clone(), kind, UploadOptions::default()).await?;
        upload.file_length = file.size.unwrap_or(upload.file_length);
        let context_info = self.context(say);
        Ok(if image {
            media::image_message(
                upload,
                ImageOptions { caption, mimetype: mime, context_info, ..Default::default() },
            )
        } else {
            let file_name = Some(file.name.clone());
            media::document_message(
                upload,
                DocumentOptions {
                    caption,
                    mimetype: mime,
                    file_name,
                    context_info,
                    ..Default::default()
                },
            )
        })
    }

    async fn out(
        &mut self,
        who: &'static str,
        place: Place,
        message: wa::Message,
    ) -> Result<String> {
        // Nobody can write to a device whose keys the server does not have.
        self.server.known(&Jid::pn_device(AGENT, 1).to_string()).await;
        let to = self.to(place)?;
        let sent = self.someone(who)?.client.send_message(to, message).await?;
        self.said.insert(sent.message_id.clone(), (who, place));
        Ok(sent.message_id)
    }
}

#[async_trait(?Send)]
impl Peer for WhatsApp {
    fn channel(&self) -> &'static ChannelDef {
        &LINKED
    }

    fn settings(&self) -> BTreeMap<String, String> {
        [
            ("WHATSAPP_BASE_URL", self.server.base.as_str()),
            ("ASSISTANT_HAS_OWN_NUMBER", "true"),
            ("ASSISTANT_NAME", "Andy"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    fn profile(&self) -> Profile {
        const NO_THREADS: Offer = Offer::No("WhatsApp has no threads");
        Profile {
            threads: NO_THREADS,
            history: NO_THREADS,
            buttons: Offer::No("linked devices cannot send buttons; questions are numbered"),
            signed_webhook: Offer::No("there is no webhook"),
            markup_refused: Offer::No("WhatsApp takes any text"),
            text_in_max: 60_000,
            hurry: false,
            ..Profile::all(
                "WhatsApp",
                "a scripted server of our own (Noise, binary nodes, key and file servers), and people whose \
                 devices are the client of whatsapp-rust with real Signal sessions; WhatsApp itself has no test server",
            )
        }
    }

    fn bell(&self) -> Arc<Notify> {
        self.server.bell.clone()
    }

    fn person(&self, who: &str) -> (String, Option<String>) {
        let name = PEOPLE.iter().find(|(is, ..)| *is == who).map(|(.., name)| (*name).to_owned());
        (handle(phone_of(who)), name)
    }

    async fn say(&mut self, say: Say) -> Result<String> {
        if say.files.is_empty() {
            let message = match self.context(&say) {
                Some(context) => wa::Message::text_with_context(say.text.clone(), *context),
                None => wa::Message::text(say.text.clone()),
            };
            return self.out(say.who, say.place, message).await;
        }
        let mut first = None;
        for file in &say.files {
            let caption = first.is_none().then(|| say.text.clone()).filter(|text| !text.is_empty());
            let message = self.file(&say, file, caption).await?;
            let id = self.out(say.who, say.place, message).await?;
            first.get_or_insert(id);
        }
        first.context("no file")
    }

    async fn echo(&mut self) -> Result<bool> {
        // The account's phone writes to Ann: that is not said to the agent.
        let ann = Jid::pn(phone_of("ann"));
        self.someone("phone")?.client.send_text(ann, "from my other device").await?;
        Ok(true)
    }

    async fn nonsense(&mut self) -> Result<bool> {
        let agent = Jid::pn_device(AGENT, 1).to_string();
        let node = |tag: &'static str| {
            NodeBuilder::new(tag).attr("from", handle(phone_of("bob"))).attr("id", "X1")
        };
        let enc = NodeBuilder::new("enc")
            .attr("v", "2")
            .attr("type", "msg")
            .bytes(vec![0x33; 40])
            .build();
        for odd in [
            node("what").build(),
            node("message").build(),
            node("message")
                .attr("t", "x")
                .children([NodeBuilder::new("enc").bytes(vec![1]).build()])
                .build(),
            node("message").attr("t", "1790000000").attr("type", "text").children([enc]).build(),
            node("notification").attr("type", "weird").build(),
            node("receipt").attr("type", "weird").build(),
        ] {
            self.server.hand(&agent, odd);
        }
        Ok(true)
    }

    async fn edit(&mut self, id: &str, text: &str) -> Result<()> {
        let (who, place) = *self.said.get(id).context("said by nobody")?;
        let to = self.to(place)?;
        self.someone(who)?.client.edit_message(to, id, wa::Message::text(text)).await?;
        Ok(())
    }

    async fn delete(&mut self, id: &str) -> Result<()> {
        let (who, place) = *self.said.get(id).context("said by nobody")?;
        let to = self.to(place)?;
        self.someone(who)?.client.revoke_message(to, id, RevokeType::Sender).await?;
        Ok(())
    }

    async fn react(&mut self, id: &str, emoji: &str, removed: bool) -> Result<()> {
        let (chat, by) = match self.said.get(id) {
            Some((who, place)) => (self.to(*place)?, phone_of(who)),
            None => (Jid::pn(AGENT), AGENT),
        };
        let key = wa::MessageKey {
            remote_jid: Some(chat.to_string()),
            from_me: Some(by == phone_of("ann")),
            id: Some(id.to_owned()),
            participant: None,
        };
        let emoji = if removed { "" } else { emoji };
        self.someone("ann")?.client.send_reaction(chat, key, emoji).await?;
        Ok(())
    }

    async fn again(&mut self, id: &str) -> Result<()> {
        let agent = Jid::pn_device(AGENT, 1).to_string();
        let node = self.server.world().handed.get(id).cloned().context("never handed over")?;
        self.server.hand(&agent, node);
        Ok(())
    }

    async fn shown(&mut self) -> Result<Vec<Seen>> {
        let mut all = Vec::new();
        for (who, view) in &self.views {
            let now: Vec<_> = view.lock().unwrap().seen.clone();
            for (mut seen, file) in now {
                if let Some(message) = file {
                    if !self.files.contains_key(&seen.id) {
                        let file = fetch(&self.someone(who)?.client, &message).await?;
                        self.files.insert(seen.id.clone(), file);
                    }
                    seen.files.extend(self.files.get(&seen.id).cloned());
                }
                all.push(seen);
            }
        }
        Ok(all)
    }

    async fn reacted(&mut self) -> Result<Vec<Reacted>> {
        Ok(self.views.values().flat_map(|view| view.lock().unwrap().reacted.clone()).collect())
    }

    async fn typing(&mut self) -> Result<usize> {
        Ok(self.server.world().typing)
    }

    fn chat_name(&self, place: Place) -> Option<String> {
        (place == Place::Group).then(|| "Allotment".to_owned())
    }

    fn calls(&self) -> usize {
        self.server.world().calls
    }

    async fn fail(&mut self, fault: Fault, times: u32) -> Result<()> {
        let agent = Jid::pn_device(AGENT, 1).to_string();
        if fault == Fault::Revoked && times > 0 {
            let conflict = NodeBuilder::new("conflict").attr("type", "device_removed").build();
            let out =
                NodeBuilder::new("stream:error").attr("code", "401").children([conflict]).build();
            self.server.world().revoked.push(agent.clone());
            self.server.hand(&agent, out);
            // The adapter has read it when it hangs up.
            return self.gone().await;
        }
        let mut world = self.server.world();
        let trouble = match fault {
            Fault::Busy { .. } => Trouble::Refuse(429),
            Fault::Down => Trouble::Refuse(503),
            Fault::HalfOpen => Trouble::Silence,
            Fault::AnswerLost => Trouble::HangUp,
            Fault::Revoked => {
                world.revoked.clear();
                return Ok(());
            }
            Fault::MarkupRefused => bail!("no markup is refused"),
        };
        world.trouble = (times > 0).then_some((trouble, times));
        Ok(())
    }

    async fn cut(&mut self, cut: bool) -> Result<()> {
        let agent = Jid::pn_device(AGENT, 1).to_string();
        let mut world = self.server.world();
        world.cut = cut;
        if cut {
            world.hang_up(&agent);
        }
        Ok(())
    }
}

impl WhatsApp {
    /// Waits until the agent is not connected.
    async fn gone(&self) -> Result<()> {
        let agent = Jid::pn_device(AGENT, 1).to_string();
        loop {
            let rung = self.server.bell.notified();
            if !self.server.world().is_connected(&agent) {
                return Ok(());
            }
            rung.await;
        }
    }
}

/// The file in a message, decrypted.
async fn fetch(client: &Client, message: &wa::Message) -> Result<PeerFile> {
    let (media, name, mime): (&dyn Downloadable, _, _) =
        if let Some(it) = message.image_message.as_option() {
            (it, None, it.mimetype.clone())
        } else if let Some(it) = message.video_message.as_option() {
            (it, None, it.mimetype.clone())
        } else if let Some(it) = message.audio_message.as_option() {
            (it, None, it.mimetype.clone())
        } else if let Some(it) = message.document_message.as_option() {
            (it, it.file_name.clone(), it.mimetype.clone())
        } else {
            return Err(anyhow!("no file that is known"));
        };
    let bytes = client.download(media).await?;
    Ok(PeerFile { name: name.unwrap_or_default(), mime, bytes, size: None })
}
