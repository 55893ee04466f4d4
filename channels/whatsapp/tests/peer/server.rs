//! A server as WhatsApp's is seen from outside: it knows accounts, devices, keys and groups, carries what it
//! cannot read, keeps what was not acknowledged, and stores encrypted files.

use super::wire::{self, HANG_UP, Line};
use anyhow::{Context as _, Result};
use nanoclaw_channel::time::{Clock as _, SystemClock};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use whatsapp_rust::buffa::Message as _;
use whatsapp_rust::wacore::libsignal::protocol::KeyPair;
use whatsapp_rust::wacore_binary::{CompactString, JidExt, NodeContent};
use whatsapp_rust::waproto::whatsapp as wa;
use whatsapp_rust::{Jid, NodeBuilder, wacore_binary::Node};

/// What the server does with the next messages of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    Refuse(u16),
    Silence,
    HangUp,
}

#[derive(Default)]
pub(crate) struct World {
    /// The keys that each device has uploaded.
    keys: BTreeMap<String, Vec<Node>>,
    lines: BTreeMap<String, mpsc::UnboundedSender<Node>>,
    /// What each device has not acknowledged.
    pub queues: BTreeMap<String, VecDeque<Node>>,
    pub names: BTreeMap<String, String>,
    /// Phone number to privacy id.
    pub lids: BTreeMap<String, String>,
    /// Who is addressed by their privacy id.
    pub(crate) hidden: Vec<String>,
    /// Devices of an account.
    pub devices: BTreeMap<String, Vec<u16>>,
    pub groups: BTreeMap<String, (String, Vec<String>)>,
    pub files: BTreeMap<String, Vec<u8>>,
    pub trouble: Option<(Trouble, u32)>,
    /// Devices that may not log in.
    pub revoked: Vec<String>,
    pub cut: bool,
    pub typing: usize,
    pub calls: usize,
    pub read: Vec<String>,
    /// Everything that was handed to the agent, for handing it over again.
    pub handed: BTreeMap<String, Node>,
    pub agent: String,
    /// What a device that is not linked is given for its code.
    pub link_reference: Option<String>,
    /// How many devices signed that they were linked.
    pub signed: usize,
}

#[derive(Clone)]
pub(crate) struct Server {
    world: Arc<Mutex<World>>,
    pub bell: Arc<Notify>,
    /// Where people's devices connect, and where the agent's does: only the latter can be cut.
    pub people: String,
    pub base: String,
    _tasks: Arc<JoinSet<()>>,
}

fn now() -> String {
    SystemClock.now().as_second().to_string()
}

fn text(node: &Node, name: &str) -> Option<String> {
    node.attrs.get(name).map(|v| v.as_str().into_owned())
}

fn jid(node: &Node, name: &str) -> Option<Jid> {
    node.attrs.get(name)?.to_jid()
}

/// Which linked devices of an account are good: the first.
fn key_index() -> Vec<u8> {
    let details = wa::ADVKeyIndexList {
        raw_id: Some(7),
        timestamp: Some(1_790_000_000),
        current_index: Some(1),
        valid_indexes: vec![0, 1],
        ..Default::default()
    };
    let signed = wa::ADVSignedKeyIndexList {
        details: Some(details.encode_to_vec()),
        account_signature: Some(vec![0; 64]),
        ..Default::default()
    };
    signed.encode_to_vec()
}

fn kids(node: &Node) -> &[Node] {
    match &node.content {
        Some(NodeContent::Nodes(nodes)) => nodes,
        _ => &[],
    }
}

fn kid<'a>(node: &'a Node, tag: &str) -> Option<&'a Node> {
    kids(node).iter().find(|kid| kid.tag == tag)
}

fn node(tag: &'static str) -> NodeBuilder {
    NodeBuilder::new(tag)
}

impl Server {
    pub(crate) async fn start() -> Result<Self> {
        let (people, agent) =
            (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
        let mut tasks = JoinSet::new();
        let world = Arc::new(Mutex::new(World::default()));
        let bell = Arc::new(Notify::new());
        let identity = wire::key_pair();
        let addresses = [people.local_addr()?, agent.local_addr()?];
        for (listener, cuttable) in [(people, false), (agent, true)] {
            let (world, bell, identity) = (world.clone(), bell.clone(), identity.clone());
            tasks.spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (world, bell, identity) = (world.clone(), bell.clone(), identity.clone());
                    if cuttable && world.lock().unwrap().cut {
                        continue;
                    }
                    tokio::spawn(async move { drop(serve(stream, world, bell, identity).await) });
                }
            });
        }
        Ok(Self {
            world,
            bell,
            people: format!("ws://{}/ws/chat", addresses[0]),
            base: format!("http://{}", addresses[1]),
            _tasks: Arc::new(tasks),
        })
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Waits until a device can be written to.
    pub(crate) async fn known(&self, device: &str) {
        loop {
            let rung = self.bell.notified();
            if self.world().keys.contains_key(device) {
                return;
            }
            rung.await;
        }
    }

    /// Hands a node to a device, if it is connected.
    pub(crate) fn hand(&self, device: &str, node: Node) {
        self.world().hand(device, node);
    }
}

async fn serve(
    stream: TcpStream,
    world: Arc<Mutex<World>>,
    bell: Arc<Notify>,
    identity: KeyPair,
) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut begin = [0; 8];
    loop {
        match stream.peek(&mut begin).await? {
            0 => return Ok(()),
            n if n == begin.len() => break,
            _ => tokio::task::yield_now().await,
        }
    }
    if &begin != b"GET /ws/" {
        return http(stream, &world, &bell).await;
    }
    let Line { who, out, mut incoming } = wire::accept(stream, &identity).await?;
    let me = who.to_string();
    {
        let mut world = world.lock().unwrap();
        world.calls += 1;
        if who.user.is_empty() {
            world.offer_link(&out);
        }
        if world.revoked.contains(&me) {
            drop(out.send(node("failure").attr("reason", "401").attr("location", "x").build()));
            bell.notify_waiters();
            return Ok(());
        }
        world.lines.insert(me.clone(), out.clone());
        if !who.user.is_empty() {
            drop(out.send(world.success(&who)));
        }
    }
    bell.notify_waiters();
    while let Some(node) = incoming.recv().await {
        {
            let mut world = world.lock().unwrap();
            world.calls += 1;
            world.take(&who, &me, &out, &node);
        }
        bell.notify_waiters();
    }
    let mut world = world.lock().unwrap();
    if world.lines.get(&me).is_some_and(|line| line.same_channel(&out)) {
        world.lines.remove(&me);
    }
    drop(world);
    bell.notify_waiters();
    Ok(())
}

impl World {
    fn success(&self, who: &Jid) -> Node {
        let success = node("success").attr("t", now()).attr("location", "x");
        match self.lids.get(&who.user.to_string()) {
            Some(lid) => {
                success.attr("lid", Jid::lid_device(lid.as_str(), who.device).to_string()).build()
            }
            None => success.build(),
        }
    }

    /// Gives a device that is not linked what its code is made of.
    fn offer_link(&self, out: &mpsc::UnboundedSender<Node>) {
        let Some(reference) = &self.link_reference else { return };
        let reference = node("ref").bytes(reference.clone().into_bytes()).build();
        let offer = node("iq")
            .attr("from", "s.whatsapp.net")
            .attr("type", "set")
            .attr("id", "link-1")
            .attr("xmlns", "md")
            .children([node("pair-device").children([reference]).build()]);
        drop(out.send(offer.build()));
    }

    fn take(&mut self, who: &Jid, me: &str, out: &mpsc::UnboundedSender<Node>, it: &Node) {
        match &*it.tag {
            "iq" => {
                if let Some(answer) = self.iq(who, me, it) {
                    drop(out.send(answer));
                }
                if kid(it, "active").is_some() {
                    self.drain(me, out);
                }
            }
            "message" => self.message(who, me, out, it),
            "receipt" | "ack" => self.receipt(who, me, out, it),
            "chatstate" if me == self.agent && kid(it, "composing").is_some() => self.typing += 1,
            _ => {}
        }
    }

    /// Everything that waits, as after every login.
    fn drain(&mut self, me: &str, out: &mpsc::UnboundedSender<Node>) {
        let waiting = self.queues.entry(me.to_owned()).or_default();
        let count = waiting.len().to_string();
        let preview = node("offline_preview")
            .attr("count", count.as_str())
            .attr("message", count.as_str())
            .attr("notification", "0")
            .attr("receipt", "0")
            .attr("appdata", "0")
            .build();
        drop(out.send(node("ib").attr("from", "s.whatsapp.net").children([preview]).build()));
        for late in waiting.iter() {
            let mut late = late.clone();
            late.attrs.insert("offline", "1");
            drop(out.send(late));
        }
        let end = node("offline").attr("count", count.as_str()).build();
        drop(out.send(node("ib").attr("from", "s.whatsapp.net").children([end]).build()));
    }

    pub(crate) fn hand(&mut self, device: &str, it: Node) {
        if let Some(line) = self.lines.get(device) {
            drop(line.send(it));
        }
    }

    pub(crate) fn is_connected(&self, device: &str) -> bool {
        self.lines.contains_key(device)
    }

    /// Ends the connection of a device.
    pub(crate) fn hang_up(&mut self, device: &str) {
        if let Some(line) = self.lines.remove(device) {
            drop(line.send(node(HANG_UP).build()));
        }
    }

    fn deliver(&mut self, device: &str, it: Node) {
        if device == self.agent
            && let Some(id) = text(&it, "id")
        {
            self.handed.insert(id, it.clone());
        }
        self.queues.entry(device.to_owned()).or_default().push_back(it.clone());
        self.hand(device, it);
    }

    fn iq(&mut self, who: &Jid, me: &str, it: &Node) -> Option<Node> {
        if matches!(text(it, "type").as_deref(), Some("result" | "error")) {
            self.signed += usize::from(kid(it, "pair-device-sign").is_some());
            return None;
        }
        let answer = node("iq")
            .attr("id", text(it, "id")?)
            .attr("type", "result")
            .attr("from", text(it, "to").unwrap_or_else(|| "s.whatsapp.net".into()));
        let content = match text(it, "xmlns").as_deref() {
            Some("encrypt") => self.keys(me, it),
            Some("usync") => self.usync(it),
            Some("w:m") => vec![
                node("media_conn")
                    .attr("auth", "auth")
                    .attr("ttl", "3600")
                    .attr("auth_ttl", "3600")
                    .attr("max_buckets", "12")
                    .children([node("host").attr("hostname", "files.test").build()])
                    .build(),
            ],
            Some("abt") => vec![node("props").build()],
            Some("privacy") => vec![node("privacy").build()],
            Some("w:g2") => self.group(&text(it, "to")?),
            _ => Vec::new(),
        };
        let _ = who;
        Some(answer.children(content).build())
    }

    fn keys(&mut self, me: &str, it: &Node) -> Vec<Node> {
        if let Some(wanted) = kid(it, "key") {
            let users = kids(wanted).iter().filter_map(|user| jid(user, "jid"));
            let bundles: Vec<Node> = users.map(|user| self.bundle(&user)).collect();
            return vec![node("list").children(bundles).build()];
        }
        if kid(it, "count").is_some() {
            let count = self.keys.get(me).and_then(|k| k.iter().find(|n| n.tag == "list"));
            let count = count.map_or(0, |list| kids(list).len());
            return vec![node("count").attr("value", count.to_string()).build()];
        }
        if kid(it, "identity").is_some() {
            self.keys.insert(me.to_owned(), kids(it).to_vec());
        }
        Vec::new()
    }

    /// What is needed to write to a device; each one-time key is given out once.
    fn bundle(&mut self, of: &Jid) -> Node {
        let device = self.phone(of).to_string();
        let user = node("user").attr("jid", of.to_string());
        let Some(keys) = self.keys.get_mut(&device) else {
            return user
                .children([node("error").attr("code", "404").attr("text", "none").build()])
                .build();
        };
        let mut parts: Vec<Node> = keys.iter().filter(|part| part.tag != "list").cloned().collect();
        if let Some(NodeContent::Nodes(list)) =
            keys.iter_mut().find(|part| part.tag == "list").and_then(|list| list.content.as_mut())
            && let Some(key) = list.pop()
        {
            parts.push(key);
        }
        user.children(parts).build()
    }

    /// The same device by its phone number.
    fn phone(&self, of: &Jid) -> Jid {
        let by_lid = self.lids.iter().find(|(_, lid)| of.is_lid() && **lid == of.user.as_str());
        by_lid.map_or_else(|| of.clone(), |(phone, _)| Jid::pn_device(phone.as_str(), of.device))
    }

    fn usync(&self, it: &Node) -> Vec<Node> {
        let Some(usync) = kid(it, "usync") else { return Vec::new() };
        let users = kid(usync, "list").map(kids).unwrap_or_default();
        let wants_lid = kid(usync, "query").is_some_and(|query| kid(query, "lid").is_some());
        let users = users.iter().filter_map(|user| jid(user, "jid")).map(|user| {
            let phone = self.phone(&user).user.to_string();
            let devices = self.devices.get(&phone).cloned().unwrap_or_default();
            let devices = devices.into_iter().map(|id| {
                let device = node("device").attr("id", id.to_string());
                if id == 0 {
                    device.build()
                } else {
                    device.attr("key-index", id.to_string()).build()
                }
            });
            let list = node("device-list").attr("hash", "2:none").children(devices).build();
            let index = node("key-index-list").attr("ts", now()).bytes(key_index()).build();
            let mut parts = vec![node("devices").children([list, index]).build()];
            if wants_lid && let Some(lid) = self.lids.get(&phone) {
                parts.push(node("lid").attr("val", format!("{lid}@lid")).build());
            }
            node("user").attr("jid", user.to_non_ad_string()).children(parts).build()
        });
        let list = node("list").children(users.collect::<Vec<_>>()).build();
        let mut answer = node("usync").children([list]).build();
        for name in ["sid", "index", "last", "mode", "context"] {
            if let Some(value) = text(usync, name) {
                answer.attrs.insert(name, CompactString::from(value));
            }
        }
        vec![answer]
    }

    fn group(&self, of: &str) -> Vec<Node> {
        let Some((subject, members)) = self.groups.get(of) else {
            return vec![node("error").attr("code", "404").attr("text", "item-not-found").build()];
        };
        let members = members.iter().map(|phone| {
            let lid = self.lids.get(phone).cloned().unwrap_or_default();
            node("participant")
                .attr("jid", format!("{lid}@lid"))
                .attr("phone_number", format!("{phone}@s.whatsapp.net"))
                .build()
        });
        let id = of.split('@').next().unwrap_or_default();
        vec![
            node("group")
                .attr("id", id)
                .attr("subject", subject.as_str())
                .attr("creation", "1700000000")
                .attr("addressing_mode", "lid")
                .children(members.collect::<Vec<_>>())
                .build(),
        ]
    }

    fn message(&mut self, who: &Jid, me: &str, out: &mpsc::UnboundedSender<Node>, it: &Node) {
        let (Some(id), Some(to)) = (text(it, "id"), jid(it, "to")) else { return };
        let mut ack = node("ack")
            .attr("class", "message")
            .attr("id", id.as_str())
            .attr("from", to.to_string())
            .attr("t", now());
        let trouble = match &mut self.trouble {
            Some((trouble, times)) if me == self.agent && *times > 0 => {
                *times -= 1;
                Some(*trouble)
            }
            _ => None,
        };
        match trouble {
            Some(Trouble::Silence) => return,
            Some(Trouble::Refuse(code)) => {
                ack = ack.attr("error", code.to_string());
                drop(out.send(ack.build()));
                return;
            }
            Some(Trouble::HangUp) => {
                self.carry(who, &to, it);
                drop(out.send(node(HANG_UP).build()));
                return;
            }
            None => {}
        }
        self.carry(who, &to, it);
        drop(out.send(ack.build()));
    }

    /// Hands to each device what was encrypted for it.
    fn carry(&mut self, who: &Jid, to: &Jid, it: &Node) {
        let shared: Vec<Node> = kids(it).iter().filter(|kid| kid.tag == "enc").cloned().collect();
        let mut each: BTreeMap<String, Vec<Node>> = BTreeMap::new();
        for one in kid(it, "participants").map(kids).unwrap_or_default() {
            if let Some(device) = jid(one, "jid") {
                each.insert(self.phone(&device).to_string(), kids(one).to_vec());
            }
        }
        let accounts = match self.groups.get(&to.to_string()) {
            Some((_, members)) => members.clone(),
            None => vec![self.phone(to).user.to_string()],
        };
        for account in &accounts {
            let all = self.devices.get(account).cloned().unwrap_or_default();
            for device in all {
                let device = Jid::pn_device(account.as_str(), device);
                // A message to one device, as after it asked for it again.
                let meant = to.device == 0 || *to == device || to.is_group();
                if device != *who && meant {
                    each.entry(device.to_string()).or_default().extend(shared.iter().cloned());
                }
            }
        }
        for (device, encrypted) in each {
            if encrypted.is_empty() {
                continue;
            }
            let Ok(of) = device.parse::<Jid>() else { continue };
            let delivery = self.delivery(who, to, &of, it, encrypted);
            self.deliver(&device, delivery);
        }
    }

    fn delivery(&self, who: &Jid, to: &Jid, of: &Jid, it: &Node, encrypted: Vec<Node>) -> Node {
        let name = self.names.get(&who.user.to_string()).cloned().unwrap_or_default();
        let lid = self.lids.get(&who.user.to_string()).cloned().unwrap_or_default();
        let lid = Jid::lid_device(lid.as_str(), who.device);
        let mut delivery = node("message")
            .attr("id", text(it, "id").unwrap_or_default())
            .attr("t", now())
            .attr("notify", name)
            .attr("type", text(it, "type").unwrap_or_else(|| "text".into()));
        if let Some(edit) = text(it, "edit") {
            delivery = delivery.attr("edit", edit);
        }
        // Groups, and people who hide their number, are addressed by privacy ids.
        if to.is_group() {
            delivery = delivery
                .attr("from", to.to_string())
                .attr("participant", lid.to_string())
                .attr("participant_pn", who.to_non_ad_string())
                .attr("addressing_mode", "lid");
        } else if of.user == who.user {
            let to = to.to_non_ad_string();
            delivery = delivery.attr("from", who.to_string()).attr("recipient", to);
        } else if self.hidden.contains(&who.user.to_string()) {
            delivery =
                delivery.attr("from", lid.to_string()).attr("sender_pn", who.to_non_ad_string());
        } else {
            delivery =
                delivery.attr("from", who.to_string()).attr("sender_lid", lid.to_non_ad_string());
        }
        delivery.children(encrypted).build()
    }

    fn receipt(&mut self, who: &Jid, me: &str, out: &mpsc::UnboundedSender<Node>, it: &Node) {
        let Some(id) = text(it, "id") else { return };
        let kind = text(it, "type");
        if it.tag == "receipt" {
            let mut ack = node("ack").attr("class", "receipt").attr("id", id.as_str());
            if let Some(to) = text(it, "to") {
                ack = ack.attr("from", to);
            }
            drop(out.send(ack.build()));
        } else if text(it, "class").as_deref() != Some("message") {
            return;
        }
        if kind.as_deref() == Some("retry") {
            self.ask_again(who, it);
            return;
        }
        if kind.as_deref() == Some("read") {
            self.read.push(id.clone());
            return;
        }
        let waiting = self.queues.entry(me.to_owned()).or_default();
        waiting.retain(|late| text(late, "id").as_deref() != Some(&id));
    }

    /// Tells a device that another could not read its message.
    fn ask_again(&mut self, who: &Jid, it: &Node) {
        let Some(to) = jid(it, "participant").or_else(|| jid(it, "to")) else { return };
        let mut request = it.clone();
        request.attrs = Default::default();
        for name in ["id", "type", "t"] {
            if let Some(value) = text(it, name) {
                request.attrs.insert(name, CompactString::from(value));
            }
        }
        let chat = jid(it, "to").filter(JidExt::is_group);
        request.attrs.insert("from", CompactString::from(chat.as_ref().unwrap_or(who).to_string()));
        if chat.is_some() {
            request.attrs.insert("participant", CompactString::from(who.to_string()));
        }
        let to = self.phone(&to).to_string();
        self.hand(&to, request);
    }

    /// Keeps an encrypted file; returns where.
    pub(crate) fn keep(&mut self, bytes: Vec<u8>) -> String {
        let path = format!("/v/{}", self.files.len());
        self.files.insert(path.clone(), bytes);
        path
    }

    /// What the servers for files and versions answer.
    pub(crate) fn web(&mut self, method: &str, target: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
        let path = target.split('?').next().unwrap_or_default();
        if path == "/sw.js" {
            return (
                200,
                br#"self.x=JSON.parse("{\"client_revision\":1026131876,\"a\":1}");"#.to_vec(),
            );
        }
        if method == "POST" && target.contains("resume=1") {
            return (200, br#"{"resume":"0"}"#.to_vec());
        }
        if method == "POST" {
            let path = self.keep(body);
            return (
                200,
                format!(r#"{{"url":"https://files.test{path}","direct_path":"{path}"}}"#).into(),
            );
        }
        self.files.get(path).map_or_else(|| (404, Vec::new()), |file| (200, file.clone()))
    }
}

async fn http(mut stream: TcpStream, world: &Mutex<World>, bell: &Notify) -> Result<()> {
    let mut all = Vec::new();
    let head = loop {
        if let Some(at) = all.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut all).await? == 0 {
            return Ok(());
        }
    };
    let text = String::from_utf8_lossy(&all[..head]).into_owned();
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = all.split_off(head);
    while body.len() < length.unwrap_or(0) {
        if stream.read_buf(&mut body).await? == 0 {
            return Ok(());
        }
    }
    let mut words = text.split(' ');
    let (method, target) = (words.next().context("a method")?, words.next().context("a target")?);
    let (status, answer) = {
        let mut world = world.lock().unwrap();
        world.calls += 1;
        world.web(method, target, body)
    };
    bell.notify_waiters();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        answer.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&answer).await?;
    stream.shutdown().await?;
    Ok(())
}
