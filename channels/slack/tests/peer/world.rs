//! What there is in the workspace.

use anyhow::{Context as _, Result};
use nanoclaw_channel::time::{Clock as _, SystemClock, Timestamp};
use nanoclaw_conformance::{Fault, PeerFile, Place, Reacted, Say, Seen};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::sync::{mpsc, oneshot};

pub(crate) const BOT: &str = "U0BOT";
pub(crate) const GROUP: &str = "C0TEAM";
pub(crate) const BOT_TOKEN: &str = "xoxb-bot-token-secret";
pub(crate) const APP_TOKEN: &str = "xapp-app-token-secret";
pub(crate) const SECRET: &str = "signing-secret-8f742231b10e8888";

/// The id and the name of a person.
pub(crate) fn user(who: &str) -> (&'static str, &'static str) {
    match who {
        "ann" => ("U0ANN", "Ann"),
        "bob" => ("U0BOB", "Bob"),
        _ => ("U0CLEO", "Cleo"),
    }
}

pub(crate) fn dm(user: &str) -> String {
    format!("D{}", &user[1..])
}

#[derive(Clone, Default)]
pub(crate) struct Post {
    pub(crate) channel: String,
    pub(crate) ts: String,
    pub(crate) thread: Option<String>,
    pub(crate) user: String,
    pub(crate) text: String,
    pub(crate) blocks: Value,
    pub(crate) metadata: Value,
    pub(crate) files: Vec<Value>,
    pub(crate) shown_files: Vec<PeerFile>,
    pub(crate) edited: bool,
    /// Who changed it, and when, in whole seconds as Slack writes it.
    pub(crate) changed: Value,
    pub(crate) reactions: Vec<String>,
}

impl Post {
    pub(crate) fn json(&self, metadata: bool) -> Value {
        let mut all =
            json!({ "type": "message", "user": self.user, "text": self.text, "ts": self.ts });
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
        if !self.changed.is_null() {
            all["edited"] = self.changed.clone();
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

pub(crate) struct World {
    pub(crate) base: String,
    pub(crate) sockets_at: String,
    pub(crate) posts: Vec<Post>,
    pub(crate) uploads: BTreeMap<String, PeerFile>,
    pub(crate) shared_files: BTreeMap<String, (String, String)>,
    pub(crate) ephemeral: Vec<(String, String)>,
    pub(crate) typing: usize,
    pub(crate) calls: usize,
    pub(crate) fault: Option<(Fault, u32)>,
    pub(crate) cut: bool,
    /// Conversations that cannot be read back, and what Slack says of them; without a name, their list.
    pub(crate) unreadable: BTreeMap<String, &'static str>,
    /// New connections stay, old ones fall silent.
    pub(crate) deaf: bool,
    pub(crate) silent: bool,
    pub(crate) skew: i64,
    /// What the webhook answered.
    pub(crate) statuses: Vec<u16>,
    links: Vec<Link>,
    waiting: BTreeMap<String, oneshot::Sender<()>>,
    threads: BTreeMap<u8, String>,
    events: BTreeMap<String, Value>,
    last: i64,
    joined: usize,
    ids: u64,
}

impl World {
    pub(crate) fn new(base: &str, sockets_at: &str) -> Self {
        Self {
            base: base.to_owned(),
            sockets_at: sockets_at.to_owned(),
            posts: Vec::new(),
            uploads: BTreeMap::new(),
            shared_files: BTreeMap::new(),
            ephemeral: Vec::new(),
            typing: 0,
            calls: 0,
            fault: None,
            cut: false,
            unreadable: BTreeMap::new(),
            deaf: false,
            silent: false,
            skew: 0,
            statuses: Vec::new(),
            links: Vec::new(),
            waiting: BTreeMap::new(),
            threads: BTreeMap::new(),
            events: BTreeMap::new(),
            last: 0,
            joined: 0,
            ids: 0,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_second(SystemClock.now().as_second() + self.skew).unwrap()
    }

    pub(crate) fn next_id(&mut self, prefix: &str) -> String {
        self.ids += 1;
        format!("{prefix}{}", self.ids)
    }

    pub(crate) fn next_ts(&mut self) -> String {
        self.last = (self.now().as_microsecond()).max(self.last + 100);
        format!("{}.{:06}", self.last / 1_000_000, self.last % 1_000_000)
    }

    pub(crate) fn joined(
        &mut self,
        send: mpsc::UnboundedSender<String>,
        end: oneshot::Sender<()>,
    ) -> u64 {
        self.ids += 1;
        self.joined += 1;
        self.links.push(Link { number: self.ids, send, _end: end });
        self.ids
    }

    pub(crate) fn left(&mut self, number: u64) {
        self.links.retain(|link| link.number != number);
    }

    /// How many connections there ever were and how many there are.
    pub(crate) fn links(&self) -> (usize, usize) {
        (self.joined, self.links.len())
    }

    /// Ends every connection.
    pub(crate) fn hang_up(&mut self) {
        self.links.clear();
    }

    /// Sends over the newest connection; tells when it is acknowledged.
    pub(crate) fn send(&mut self, envelope: &str, text: String) -> Option<oneshot::Receiver<()>> {
        self.links.last()?.send.send(text).ok()?;
        let (acknowledged, wait) = oneshot::channel();
        self.waiting.insert(envelope.to_owned(), acknowledged);
        Some(wait)
    }

    /// The same over the oldest one.
    pub(crate) fn send_first(
        &mut self,
        envelope: &str,
        text: String,
    ) -> Option<oneshot::Receiver<()>> {
        self.links.rotate_left(1);
        let waits = self.send(envelope, text);
        self.links.rotate_right(1);
        waits
    }

    pub(crate) fn acknowledged(&mut self, envelope: &str) {
        if let Some(waiting) = self.waiting.remove(envelope) {
            waiting.send(()).unwrap_or_default();
        }
    }

    pub(crate) fn says(&mut self, say: &Say) -> Value {
        let (user, _) = user(say.who);
        let (channel, kind) = match say.place {
            Place::Direct => (dm(user), "im"),
            Place::Group | Place::Thread(_) => (GROUP.to_owned(), "channel"),
        };
        let thread = match say.place {
            Place::Thread(n) => self.threads.get(&n).cloned(),
            Place::Direct | Place::Group => None,
        };
        let mut text = say.text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        if say.mention && kind != "im" {
            text = format!("<@{BOT}> {text}");
        }
        let ts = self.next_ts();
        let files: Vec<Value> = say.files.iter().map(|file| self.upload(file)).collect();
        let post = Post {
            channel: channel.clone(),
            ts: ts.clone(),
            thread: thread.clone(),
            user: user.into(),
            text,
            files,
            ..Post::default()
        };
        let mut event = post.json(false);
        event["channel"] = channel.into();
        event["channel_type"] = kind.into();
        event["event_ts"] = ts.as_str().into();
        if let Some(root) = thread.as_ref().and_then(|t| self.posts.iter().find(|p| p.ts == *t)) {
            event["parent_user_id"] = root.user.as_str().into();
        }
        self.posts.push(post);
        if let (Place::Thread(n), None) = (say.place, thread) {
            // The first message is the one that the others are a thread of.
            self.threads.insert(n, ts.clone());
        }
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

    pub(crate) fn edits(&mut self, ts: &str, text: &str) -> Result<Value> {
        let at = self.next_ts();
        let post = self.post(ts)?;
        let before = post.json(false);
        post.text = text.to_owned();
        let seconds = at.split('.').next().unwrap_or_default();
        post.changed = json!({ "user": post.user, "ts": format!("{seconds}.000000") });
        let now = post.json(false);
        Ok(
            json!({ "type": "message", "subtype": "message_changed", "hidden": true, "channel": post.channel,
            "ts": at, "event_ts": at, "message": now, "previous_message": before }),
        )
    }

    pub(crate) fn deletes(&mut self, ts: &str) -> Result<Value> {
        let at = self.next_ts();
        let post = self.post(ts)?;
        let event = json!({ "type": "message", "subtype": "message_deleted", "hidden": true, "channel": post.channel,
            "ts": at, "event_ts": at, "deleted_ts": ts, "previous_message": post.json(false) });
        self.posts.retain(|p| p.ts != ts);
        Ok(event)
    }

    pub(crate) fn reacts(&mut self, ts: &str, emoji: &str, removed: bool) -> Result<Value> {
        let at = self.next_ts();
        let name =
            emojis::get(emoji).and_then(emojis::Emoji::shortcode).unwrap_or(emoji).to_owned();
        let post = self.post(ts)?;
        Ok(
            json!({ "type": if removed { "reaction_removed" } else { "reaction_added" }, "user": "U0ANN",
            "reaction": name, "item_user": post.user, "event_ts": at,
            "item": { "type": "message", "channel": post.channel, "ts": ts } }),
        )
    }

    pub(crate) fn event_of(&self, ts: &str) -> Result<Value> {
        self.events.get(ts).cloned().with_context(|| format!("no event {ts}"))
    }

    pub(crate) fn clicks(&mut self, ts: &str, label: &str, who: &str) -> Result<Value> {
        let post = self.post(ts)?.clone();
        let buttons = buttons(&post.blocks);
        let (_, id) = buttons
            .iter()
            .find(|(l, _)| l == label)
            .with_context(|| format!("no button {label:?}"))?;
        Ok(
            json!({ "type": "block_actions", "user": { "id": user(who).0, "username": who }, "team": { "id": "T0TEAM" },
            "channel": { "id": post.channel, "name": "x" }, "message": post.json(false), "trigger_id": "1.2",
            "container": { "type": "message", "message_ts": ts, "channel_id": post.channel },
            "actions": [{ "type": "button", "block_id": "b", "action_id": id, "action_ts": "1.1" }] }),
        )
    }

    pub(crate) fn shown(&self) -> Vec<Seen> {
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

    pub(crate) fn reacted(&self) -> Vec<Reacted> {
        let all = self.posts.iter().flat_map(|p| p.reactions.iter().map(move |name| (p, name)));
        all.map(|(p, name)| Reacted {
            message: p.ts.clone(),
            emoji: emojis::get_by_shortcode(name).map_or(name.clone(), |e| e.as_str().to_owned()),
        })
        .collect()
    }
}

/// Label and id of every button.
pub(crate) fn buttons(blocks: &Value) -> Vec<(String, String)> {
    let rows = blocks.as_array().into_iter().flatten().filter(|b| b["type"] == "actions");
    let all = rows.flat_map(|row| row["elements"].as_array().into_iter().flatten());
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    all.map(|b| (text(&b["text"]["text"]), text(&b["action_id"]))).collect()
}

/// What people read.
pub(crate) fn readable(text: &str) -> String {
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
    shown.replace(['\u{200b}', '\u{2060}'], "")
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
    let is_word =
        |n: Option<usize>| n.and_then(|n| chars.get(n)).is_some_and(|c| c.is_alphanumeric());
    let mark =
        |n: usize| "*_~".contains(chars[n]) && (is_word(n.checked_sub(1)) != is_word(Some(n + 1)));
    (0..chars.len()).filter(|n| !mark(*n)).map(|n| chars[n]).collect()
}
