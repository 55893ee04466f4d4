//! A scripted Discord: one server with a channel and threads, direct chats, three people.
//!
//! Written from <https://discord.com/developers/docs>: opcodes and events of the gateway with resuming, the
//! HTTP API with its error codes, nonces, threads that have the id of the message they begin with.

mod gateway;
mod http;

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use nanoclaw_channel::ChannelDef;
use nanoclaw_channel::markdown::{PLAIN, render};
use nanoclaw_channel::time::{Clock as _, SystemClock};
use nanoclaw_conformance::{Fault, Offer, Peer, PeerFile, Place, Profile, Reacted, Say, Seen};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

pub(crate) const TOKEN: &str = "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs";
pub(crate) const ME: u64 = 1;
pub(crate) const APPLICATION: u64 = 2;
pub(crate) const GUILD: u64 = 100;
pub(crate) const GENERAL: u64 = 200;
const BOT_ROLE: u64 = 300;
/// People and their direct chats.
const PEOPLE: [(&str, u64, u64); 3] = [("ann", 11, 21), ("bob", 12, 22), ("cleo", 13, 23)];
/// When Discord's numbers begin.
const FIRST: u64 = 1_000_000;

/// Everything that Discord knows.
pub(crate) struct State {
    next: u64,
    seconds: i64,
    pub(crate) messages: Vec<Value>,
    pub(crate) threads: BTreeMap<u64, Value>,
    /// Which threads the numbers of the suite are.
    numbered: BTreeMap<u8, u64>,
    pub(crate) nonces: BTreeMap<String, u64>,
    pub(crate) files: BTreeMap<u64, Vec<u8>>,
    pub(crate) reactions: Vec<(u64, String)>,
    pub(crate) typing: usize,
    pub(crate) calls: usize,
    pub(crate) faults: Option<(Fault, u32)>,
    /// Events of the session, each with its number.
    pub(crate) events: Vec<Value>,
    pub(crate) session: u64,
    pub(crate) commands: Value,
    /// So many reads of messages fail.
    pub(crate) unreadable: u32,
    interactions: BTreeMap<String, u64>,
    pub(crate) base: String,
}

/// What the tasks of the platform share.
pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) bell: Arc<Notify>,
    pub(crate) news: Notify,
    pub(crate) cut: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell(&self, name: &str, content: Value) {
        self.lock().event(name, content);
        self.news.notify_waiters();
    }
}

/// The platform.
pub(crate) struct Discord {
    pub(crate) shared: Arc<Shared>,
    gateway: String,
}

impl Discord {
    pub(crate) async fn open() -> Result<Self> {
        let state = State {
            next: FIRST,
            seconds: SystemClock.now().as_second(),
            messages: Vec::new(),
            threads: BTreeMap::new(),
            numbered: BTreeMap::new(),
            nonces: BTreeMap::new(),
            files: BTreeMap::new(),
            reactions: Vec::new(),
            typing: 0,
            calls: 0,
            faults: None,
            events: Vec::new(),
            session: 1,
            commands: Value::Null,
            unreadable: 0,
            interactions: BTreeMap::new(),
            base: String::new(),
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            bell: Arc::new(Notify::new()),
            news: Notify::new(),
            cut: watch::Sender::new(false),
        });
        let base = http::open(shared.clone()).await?;
        shared.lock().base = base;
        let gateway = gateway::open(shared.clone()).await?;
        Ok(Self { shared, gateway })
    }

    fn place(&self, who: &str, place: Place) -> Result<u64> {
        let mut state = self.shared.lock();
        Ok(match place {
            Place::Direct => PEOPLE.iter().find(|p| p.0 == who).context("a person")?.2,
            Place::Group => GENERAL,
            Place::Thread(n) => {
                if let Some(id) = state.numbered.get(&n) {
                    return Ok(*id);
                }
                let id = state.number();
                state.begin_thread(id, &format!("thread {n}"));
                state.numbered.insert(n, id);
                let thread = state.threads[&id].clone();
                state.event("THREAD_CREATE", thread);
                drop(state);
                self.shared.news.notify_waiters();
                id
            }
        })
    }

    /// The message with this id.
    fn message(&self, id: &str) -> Result<Value> {
        let state = self.shared.lock();
        let found = state.messages.iter().find(|m| m["id"] == id);
        found.cloned().with_context(|| format!("no message {id}"))
    }

    fn tell(&self, name: &str, content: Value) {
        self.shared.tell(name, content);
    }
}

impl State {
    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn time(&mut self) -> String {
        self.seconds += 1;
        jiff(self.seconds)
    }

    pub(crate) fn event(&mut self, name: &str, content: Value) {
        let n = self.events.len() as u64 + 3;
        self.events.push(json!({ "op": 0, "s": n, "t": name, "d": content }));
    }

    pub(crate) fn begin_thread(&mut self, id: u64, name: &str) {
        let thread = json!({
            "id": id.to_string(), "type": 11, "guild_id": GUILD.to_string(), "name": name,
            "parent_id": GENERAL.to_string(), "owner_id": ME.to_string(),
            "thread_metadata": { "archived": false, "auto_archive_duration": 1440 },
        });
        self.threads.insert(id, thread);
    }

    pub(crate) fn is_direct(&self, channel: u64) -> bool {
        PEOPLE.iter().any(|p| p.2 == channel)
    }

    pub(crate) fn channel(&self, id: u64) -> Option<Value> {
        let last = self.messages.iter().rev().find(|m| is(&m["channel_id"], id));
        let last = last.map(|m| m["id"].clone()).unwrap_or_default();
        let mut channel = if id == GENERAL {
            json!({ "id": id.to_string(), "type": 0, "guild_id": GUILD.to_string(), "name": "general",
                "parent_id": "900" })
        } else if let Some(thread) = self.threads.get(&id) {
            thread.clone()
        } else {
            let person = PEOPLE.iter().find(|p| p.2 == id)?;
            json!({ "id": id.to_string(), "type": 1, "recipients": [user(person.0)] })
        };
        channel["last_message_id"] = last;
        Some(channel)
    }

    pub(crate) fn guild(&self) -> Value {
        let threads: Vec<_> = self.threads.keys().filter_map(|id| self.channel(*id)).collect();
        json!({ "id": GUILD.to_string(), "name": "Home", "channels": [self.channel(GENERAL)],
            "threads": threads, "member_count": 4, "unavailable": false,
            "roles": [{ "id": BOT_ROLE.to_string(), "name": "Andy", "tags": { "bot_id": ME.to_string() } }] })
    }
}

fn jiff(seconds: i64) -> String {
    nanoclaw_channel::time::Timestamp::from_second(seconds)
        .unwrap_or_default()
        .to_string()
        .replace('Z', "+00:00")
}

pub(crate) fn user(who: &str) -> Value {
    match PEOPLE.iter().find(|p| p.0 == who) {
        Some((name, id, _)) => json!({ "id": id.to_string(), "username": name,
            "global_name": nice(name), "discriminator": "0" }),
        None => {
            json!({ "id": ME.to_string(), "username": "andy", "global_name": null, "bot": true })
        }
    }
}

fn nice(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |c| c.to_uppercase().chain(letters).collect())
}

/// Whether a value is this id, which Discord writes as text.
pub(crate) fn is(value: &Value, id: u64) -> bool {
    value.as_str().and_then(|text| text.parse().ok()) == Some(id)
}

pub(crate) fn direct_of(user: u64) -> Option<u64> {
    PEOPLE.iter().find(|p| p.1 == user).map(|p| p.2)
}

#[async_trait(?Send)]
impl Peer for Discord {
    fn channel(&self) -> &'static ChannelDef {
        &nanoclaw_channel_discord::CHANNEL
    }

    fn settings(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("DISCORD_BOT_TOKEN".into(), TOKEN.into()),
            ("DISCORD_API_URL".into(), self.shared.lock().base.clone()),
            ("DISCORD_GATEWAY_URL".into(), self.gateway.clone()),
        ])
    }

    fn profile(&self) -> Profile {
        Profile {
            signed_webhook: Offer::No("Discord is heard through its gateway, not through webhooks"),
            markup_refused: Offer::No("Discord shows any text"),
            // With what Discord sells for it; without, it is 2,000.
            text_in_max: 4000,
            ..Profile::all(
                "Discord",
                "a scripted peer, written from Discord's documentation of the gateway and the HTTP API",
            )
        }
    }

    fn bell(&self) -> Arc<Notify> {
        self.shared.bell.clone()
    }

    fn person(&self, who: &str) -> (String, Option<String>) {
        let person = PEOPLE.iter().find(|p| p.0 == who).unwrap_or(&PEOPLE[0]);
        (person.1.to_string(), Some(nice(person.0)))
    }

    async fn say(&mut self, say: Say) -> Result<String> {
        let channel = self.place(say.who, say.place)?;
        let mut state = self.shared.lock();
        let id = state.number();
        let mut attachments = Vec::new();
        for file in &say.files {
            let file_id = state.number();
            let base = state.base.trim_end_matches("/api/v10").to_owned();
            let size = file.size.unwrap_or(file.bytes.len() as u64);
            attachments
                .push(json!({ "id": file_id.to_string(), "filename": file.name, "size": size,
                "content_type": file.mime, "url": format!("{base}/attachments/{file_id}/file") }));
            state.files.insert(file_id, file.bytes.clone());
        }
        let text = if say.mention && say.place != Place::Direct {
            format!("<@{ME}> {}", say.text)
        } else {
            say.text
        };
        let mut message = json!({
            "id": id.to_string(), "channel_id": channel.to_string(), "type": 0,
            "author": user(say.who), "content": text, "timestamp": state.time(),
            "edited_timestamp": null, "attachments": attachments, "mention_roles": [],
            "mentions": if say.mention { json!([user("andy")]) } else { json!([]) }, "embeds": [],
        });
        if !state.is_direct(channel) {
            message["guild_id"] = GUILD.to_string().into();
            message["member"] = json!({ "nick": null, "roles": [] });
        }
        if let Some(to) = say.reply_to {
            let quoted = state.messages.iter().find(|m| m["id"] == to.as_str()).cloned();
            let quoted = quoted.with_context(|| format!("no message {to}"))?;
            message["type"] = 19.into();
            message["message_reference"] = json!({ "message_id": to });
            // Who is answered is pinged, as Discord does it unless it is turned off.
            message["referenced_message"] = quoted;
        }
        state.messages.push(message.clone());
        state.event("MESSAGE_CREATE", message);
        drop(state);
        self.shared.news.notify_waiters();
        Ok(id.to_string())
    }

    async fn echo(&mut self) -> Result<bool> {
        let mut own = json!({ "id": self.shared.lock().number().to_string(), "type": 0,
            "channel_id": GENERAL.to_string(), "guild_id": GUILD.to_string(), "author": user("andy"),
            "content": "what I said myself", "timestamp": jiff(1_790_000_000), "mentions": [] });
        self.tell("MESSAGE_CREATE", own.clone());
        own["author"] = json!({ "id": "77", "username": "otherbot", "bot": true });
        own["id"] = self.shared.lock().number().to_string().into();
        own["mentions"] = json!([user("andy")]);
        self.tell("MESSAGE_CREATE", own.clone());
        own["author"] = json!({ "id": "78", "username": "hook" });
        own["webhook_id"] = "78".into();
        own["id"] = self.shared.lock().number().to_string().into();
        self.tell("MESSAGE_CREATE", own);
        Ok(true)
    }

    async fn nonsense(&mut self) -> Result<bool> {
        self.tell("A_NEW_EVENT", json!({ "anything": [1, 2, { "three": null }] }));
        self.tell("MESSAGE_CREATE", json!({ "id": 5, "content": ["not", "text"] }));
        self.tell("MESSAGE_UPDATE", json!({ "id": "abc" }));
        self.tell(
            "INTERACTION_CREATE",
            json!({ "id": "9", "token": "../../x", "type": 3,
            "data": { "custom_id": "ask:9999999:q" }, "user": user("ann") }),
        );
        self.tell("GUILD_CREATE", json!({ "id": "1", "unavailable": true }));
        Ok(true)
    }

    async fn edit(&mut self, id: &str, text: &str) -> Result<()> {
        let mut state = self.shared.lock();
        let time = state.time();
        let found = state.messages.iter_mut().find(|m| m["id"] == id);
        let message = found.with_context(|| format!("no message {id}"))?;
        message["content"] = text.into();
        message["edited_timestamp"] = time.into();
        let message = message.clone();
        state.event("MESSAGE_UPDATE", message);
        drop(state);
        self.shared.news.notify_waiters();
        Ok(())
    }

    async fn delete(&mut self, id: &str) -> Result<()> {
        let message = self.message(id)?;
        self.shared.lock().messages.retain(|m| m["id"] != id);
        self.tell(
            "MESSAGE_DELETE",
            json!({ "id": id, "channel_id": message["channel_id"],
            "guild_id": message["guild_id"] }),
        );
        Ok(())
    }

    async fn react(&mut self, id: &str, emoji: &str, removed: bool) -> Result<()> {
        let message = self.message(id)?;
        let name = if removed { "MESSAGE_REACTION_REMOVE" } else { "MESSAGE_REACTION_ADD" };
        self.tell(
            name,
            json!({ "user_id": "11", "message_id": id,
            "channel_id": message["channel_id"], "guild_id": message["guild_id"],
            "emoji": { "id": null, "name": emoji } }),
        );
        Ok(())
    }

    async fn again(&mut self, id: &str) -> Result<()> {
        let message = self.message(id)?;
        self.tell("MESSAGE_CREATE", message);
        Ok(())
    }

    async fn click(&mut self, message: &str, label: &str, who: &str) -> Result<()> {
        let shown = self.message(message)?;
        let rows = shown["components"].as_array().cloned().unwrap_or_default();
        let mut buttons =
            rows.iter().flat_map(|r| r["components"].as_array().into_iter().flatten());
        let button = buttons.find(|b| b["label"] == label);
        let Some(button) = button else { bail!("no button {label:?} on {message}") };
        let (id, token) = {
            let mut state = self.shared.lock();
            let id = state.number().to_string();
            let token = format!("token-{id}");
            state.interactions.insert(token.clone(), message.parse()?);
            (id, token)
        };
        let mut event = json!({ "id": id, "token": token, "type": 3, "message": shown,
            "channel_id": shown["channel_id"], "data": { "custom_id": button["custom_id"] } });
        if shown["guild_id"].is_string() {
            event["guild_id"] = shown["guild_id"].clone();
            event["member"] = json!({ "nick": null, "user": user(who) });
        } else {
            event["user"] = user(who);
        }
        self.tell("INTERACTION_CREATE", event);
        Ok(())
    }

    async fn shown(&mut self) -> Result<Vec<Seen>> {
        let state = self.shared.lock();
        let own = state.messages.iter().filter(|m| is(&m["author"]["id"], ME));
        Ok(own.map(|m| seen(&state, m)).collect())
    }

    async fn reacted(&mut self) -> Result<Vec<Reacted>> {
        let state = self.shared.lock();
        let all = state.reactions.iter();
        Ok(all.map(|(m, e)| Reacted { message: m.to_string(), emoji: e.clone() }).collect())
    }

    async fn typing(&mut self) -> Result<usize> {
        Ok(self.shared.lock().typing)
    }

    fn chat_name(&self, place: Place) -> Option<String> {
        (place == Place::Group).then(|| "#general".to_owned())
    }

    fn calls(&self) -> usize {
        self.shared.lock().calls
    }

    async fn fail(&mut self, fault: Fault, times: u32) -> Result<()> {
        self.shared.lock().faults = (times > 0).then_some((fault, times));
        Ok(())
    }

    async fn cut(&mut self, cut: bool) -> Result<()> {
        self.shared.cut.send_replace(cut);
        Ok(())
    }

    async fn skew(&mut self, seconds: i64) -> Result<bool> {
        self.shared.lock().seconds += seconds;
        Ok(true)
    }
}

/// A message of the bot as people see it.
fn seen(state: &State, message: &Value) -> Seen {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let channel: u64 = text(&message["channel_id"]).parse().unwrap_or(0);
    let (chat, thread) = if state.is_direct(channel) {
        (format!("discord:@me:{channel}"), None)
    } else if state.threads.contains_key(&channel) {
        let chat = format!("discord:{GUILD}:{GENERAL}");
        (chat.clone(), Some(format!("{chat}:{channel}")))
    } else {
        (format!("discord:{GUILD}:{channel}"), None)
    };
    let rows = message["components"].as_array().cloned().unwrap_or_default();
    let buttons = rows.iter().flat_map(|r| r["components"].as_array().into_iter().flatten());
    let files = message["attachments"].as_array().cloned().unwrap_or_default();
    Seen {
        id: text(&message["id"]),
        chat,
        thread,
        text: render(&text(&message["content"]), &PLAIN),
        files: files
            .iter()
            .map(|f| PeerFile {
                name: text(&f["filename"]),
                bytes: text(&f["id"])
                    .parse()
                    .ok()
                    .and_then(|id| state.files.get(&id).cloned())
                    .unwrap_or_default(),
                ..PeerFile::default()
            })
            .collect(),
        buttons: buttons.map(|b| text(&b["label"])).collect(),
        reply_to: message["message_reference"]["message_id"].as_str().map(str::to_owned),
        edited: message["edited_timestamp"].is_string(),
    }
}
