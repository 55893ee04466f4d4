//! What there is in the workspace.

use anyhow::{Context as _, Result};
use nanoclaw_channel::time::{Clock as _, SystemClock, Timestamp};
use nanoclaw_conformance::{Fault, PeerFile, Place, Reacted, Say, Seen};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::sync::{mpsc, oneshot};

pub const BOT: &str = "U0BOT";
pub const GROUP: &str = "C0TEAM";
pub const BOT_TOKEN: &str = "xoxb-bot-token-secret";
pub const APP_TOKEN: &str = "xapp-app-token-secret";
pub const SECRET: &str = "signing-secret-8f742231b10e8888";

/// The id and the name of a person.
pub fn user(who: &str) -> (&'static str, &'static str) {
    match who {
        "ann" => ("U0ANN", "Ann"),
        "bob" => ("U0BOB", "Bob"),
        _ => ("U0CLEO", "Cleo"),
    }
}

pub fn dm(user: &str) -> String {
    format!("D{}", &user[1..])
}

#[derive(Clone, Default)]
pub struct Post {
    pub channel: String,
    pub ts: String,
    pub thread: Option<String>,
    pub user: String,
    pub text: String,
    pub blocks: Value,
    pub metadata: Value,
    pub files: Vec<Value>,
    pub shown_files: Vec<PeerFile>,
    pub edited: bool,
    pub reactions: Vec<String>,
}

impl Post {
    pub fn json(&self, metadata: bool) -> Value {
        let mut all = json!({ "type": "message", "user": self.user, "text": self.text, "ts": self.ts });
        if self.user == BOT {
            all["bot_id"] = "B0BOT".into();
        }
        if !self.files.is_empty() {
            all["files"] = self.files.clone().into();
            all["subtype"] = "file_share".into();
        }
        if let Some(thread) = &self.thread {
            all["thread_ts"] = thread.as_str().into();
        }
        if metadata && !self.metadata.is_null() {
            all["metadata"] = self.metadata.clone();
        }
        all
    }
}

struct Link {
    number: u64,
    send: mpsc::UnboundedSender<String>,
    _end: oneshot::Sender<()>,
}

pub struct World {
    pub base: String,
    pub sockets_at: String,
    pub posts: Vec<Post>,
    pub uploads: BTreeMap<String, PeerFile>,
    pub shared_files: Vec<String>,
    pub ephemeral: Vec<(String, String)>,
    pub typing: usize,
    pub calls: usize,
    pub fault: Option<(Fault, u32)>,
    pub cut: bool,
    pub deaf: bool,
    pub skew: i64,
    links: Vec<Link>,
    waiting: BTreeMap<String, oneshot::Sender<()>>,
    threads: BTreeMap<u8, String>,
    events: BTreeMap<String, Value>,
    last: i64,
    ids: u64,
}

impl World {
    pub fn new(base: &str, sockets_at: &str) -> Self {
        Self {
            base: base.to_owned(),
            sockets_at: sockets_at.to_owned(),
            posts: Vec::new(),
            uploads: BTreeMap::new(),
            shared_files: Vec::new(),
            ephemeral: Vec::new(),
            typing: 0,
            calls: 0,
            fault: None,
            cut: false,
            deaf: false,
            skew: 0,
            links: Vec::new(),
            waiting: BTreeMap::new(),
            threads: BTreeMap::new(),
            events: BTreeMap::new(),
            last: 0,
            ids: 0,
        }
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_second(SystemClock.now().as_second() + self.skew).unwrap()
    }

    pub fn next_id(&mut self, prefix: &str) -> String {
        self.ids += 1;
        format!("{prefix}{}", self.ids)
    }

    pub fn next_ts(&mut self) -> String {
        self.last = (self.now().as_microsecond()).max(self.last + 100);
        format!("{}.{:06}", self.last / 1_000_000, self.last % 1_000_000)
    }

    pub fn joined(&mut self, send: mpsc::UnboundedSender<String>, end: oneshot::Sender<()>) -> u64 {
        self.ids += 1;
        self.links.push(Link { number: self.ids, send, _end: end });
        self.ids
    }

    pub fn left(&mut self, number: u64) {
        self.links.retain(|link| link.number != number);
    }

    pub fn links(&self) -> usize {
        self.links.len()
    }

    /// Ends every connection.
    pub fn hang_up(&mut self) {
        self.links.clear();
    }

    /// Sends over the newest connection; tells when it is acknowledged.
    pub fn send(&mut self, envelope: &str, text: String) -> Option<oneshot::Receiver<()>> {
        self.links.last()?.send.send(text).ok()?;
        let (acknowledged, wait) = oneshot::channel();
        self.waiting.insert(envelope.to_owned(), acknowledged);
        Some(wait)
    }

    pub fn acknowledged(&mut self, envelope: &str) {
        if let Some(waiting) = self.waiting.remove(envelope) {
            drop(waiting.send(()));
        }
    }

    pub fn says(&mut self, say: &Say) -> Value {
        let (user, _) = user(say.who);
        let (channel, kind) = match say.place {
            Place::Direct => (dm(user), "im"),
            Place::Group | Place::Thread(_) => (GROUP.to_owned(), "channel"),
        };
        let thread = match say.place {
            Place::Thread(n) => Some(match self.threads.get(&n) {
                Some(root) => root.clone(),
                None => {
                    // Somebody began the thread before.
                    let ts = self.next_ts();
                    let root = Post { channel: GROUP.into(), ts: ts.clone(), thread: Some(ts.clone()),
                        user: "U0OLD".into(), text: format!("thread {n}"), ..Post::default() };
                    self.posts.push(root);
                    self.threads.insert(n, ts.clone());
                    ts
                }
            }),
            Place::Direct | Place::Group => None,
        };
        let mut text = say.text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        if say.mention && kind != "im" {
            text = format!("<@{BOT}> {text}");
        }
        let ts = self.next_ts();
        let files: Vec<Value> = say.files.iter().map(|file| self.upload(file)).collect();
        let post = Post { channel: channel.clone(), ts: ts.clone(), thread: thread.clone(), user: user.into(), text, files, ..Post::default() };
        let mut event = post.json(false);
        event["channel"] = channel.into();
        event["channel_type"] = kind.into();
        event["event_ts"] = ts.as_str().into();
        if let Some(root) = thread.and_then(|t| self.posts.iter().find(|p| p.ts == t)) {
            event["parent_user_id"] = root.user.as_str().into();
        }
        self.posts.push(post);
        self.events.insert(ts, event.clone());
        event
    }

    fn upload(&mut self, file: &PeerFile) -> Value {
        let id = self.next_id("F0");
        self.uploads.insert(id.clone(), file.clone());
        let url = format!("{}/files/{id}", self.base);
        let size = file.size.unwrap_or(file.bytes.len() as u64);
        json!({ "id": id, "name": file.name, "title": file.name, "mimetype": file.mime, "size": size,
            "mode": "hosted", "url_private": url, "url_private_download": url })
    }

    fn post(&mut self, ts: &str) -> Result<&mut Post> {
        self.posts.iter_mut().find(|p| p.ts == ts).with_context(|| format!("no message {ts}"))
    }

    pub fn edits(&mut self, ts: &str, text: &str) -> Result<Value> {
        let at = self.next_ts();
        let post = self.post(ts)?;
        let before = post.json(false);
        post.text = text.to_owned();
        let mut now = post.json(false);
        now["edited"] = json!({ "user": post.user, "ts": at });
        Ok(json!({ "type": "message", "subtype": "message_changed", "hidden": true, "channel": post.channel,
            "ts": at, "event_ts": at, "message": now, "previous_message": before }))
    }

    pub fn deletes(&mut self, ts: &str) -> Result<Value> {
        let at = self.next_ts();
        let post = self.post(ts)?;
        let event = json!({ "type": "message", "subtype": "message_deleted", "hidden": true, "channel": post.channel,
            "ts": at, "event_ts": at, "deleted_ts": ts, "previous_message": post.json(false) });
        self.posts.retain(|p| p.ts != ts);
        Ok(event)
    }

    pub fn reacts(&mut self, ts: &str, emoji: &str, removed: bool) -> Result<Value> {
        let at = self.next_ts();
        let name = emojis::get(emoji).and_then(emojis::Emoji::shortcode).unwrap_or(emoji).to_owned();
        let post = self.post(ts)?;
        Ok(json!({ "type": if removed { "reaction_removed" } else { "reaction_added" }, "user": "U0ANN",
            "reaction": name, "item_user": post.user, "event_ts": at,
            "item": { "type": "message", "channel": post.channel, "ts": ts } }))
    }

    pub fn event_of(&self, ts: &str) -> Result<Value> {
        self.events.get(ts).cloned().with_context(|| format!("no event {ts}"))
    }

    pub fn clicks(&mut self, ts: &str, label: &str, who: &str) -> Result<Value> {
        let post = self.post(ts)?.clone();
        let buttons = buttons(&post.blocks);
        let (_, id) = buttons.iter().find(|(l, _)| l == label).with_context(|| format!("no button {label:?}"))?;
        Ok(json!({ "type": "block_actions", "user": { "id": user(who).0, "username": who }, "team": { "id": "T0TEAM" },
            "channel": { "id": post.channel, "name": "x" }, "message": post.json(false), "trigger_id": "1.2",
            "container": { "type": "message", "message_ts": ts, "channel_id": post.channel },
            "actions": [{ "type": "button", "block_id": "b", "action_id": id, "action_ts": "1.1" }] }))
    }

    pub fn shown(&self) -> Vec<Seen> {
        let ours = self.posts.iter().filter(|p| p.user == BOT);
        ours.map(|p| Seen {
            id: p.ts.clone(),
            chat: format!("slack:{}", p.channel),
            thread: p.thread.as_ref().map(|t| format!("slack:{}:{t}", p.channel)),
            text: readable(&p.text),
            files: p.shown_files.clone(),
            buttons: buttons(&p.blocks).into_iter().map(|(label, _)| label).collect(),
            reply_to: None,
            edited: p.edited,
        })
        .collect()
    }

    pub fn reacted(&self) -> Vec<Reacted> {
        let all = self.posts.iter().flat_map(|p| p.reactions.iter().map(move |name| (p, name)));
        all.map(|(p, name)| Reacted {
            message: p.ts.clone(),
            emoji: emojis::get_by_shortcode(name).map_or(name.clone(), |e| e.as_str().to_owned()),
        })
        .collect()
    }
}

/// Label and id of every button.
pub fn buttons(blocks: &Value) -> Vec<(String, String)> {
    let rows = blocks.as_array().into_iter().flatten().filter(|b| b["type"] == "actions");
    let all = rows.flat_map(|row| row["elements"].as_array().into_iter().flatten());
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    all.map(|b| (text(&b["text"]["text"]), text(&b["action_id"]))).collect()
}

/// What people read.
pub fn readable(text: &str) -> String {
    let mut shown = String::new();
    for (n, part) in text.split("```").enumerate() {
        if n % 2 == 1 {
            shown.push_str(part.trim_matches('\n'));
            continue;
        }
        for (n, part) in part.split('`').enumerate() {
            shown.push_str(&if n % 2 == 1 { part.to_owned() } else { words(part) });
        }
    }
    let shown = shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    shown.replace('\u{200b}', "").replace('\u{2060}', "")
}

/// Links by their labels, and marks at the edges of words taken off.
fn words(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        let (inside, after) = after.split_once('>').unwrap_or((after, ""));
        plain.push_str(before);
        plain.push_str(inside.split_once('|').map_or(inside, |(_, label)| label));
        rest = after;
    }
    plain.push_str(rest);
    let chars: Vec<char> = plain.chars().collect();
    let is_word = |n: Option<usize>| n.and_then(|n| chars.get(n)).is_some_and(|c| c.is_alphanumeric());
    let mark = |n: usize| {
        "*_~".contains(chars[n]) && (is_word(n.checked_sub(1)) != is_word(Some(n + 1)))
    };
    (0..chars.len()).filter(|n| !mark(*n)).map(|n| chars[n]).collect()
}
