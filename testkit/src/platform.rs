//! A chat platform in the test's process: it delivers until it hears "received", knows idempotency keys,
//! can go down, reject, lie and reorder, and keeps count of everything.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, mpsc, oneshot};

/// A line between platform and adapter.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// Adapter: this channel is here.
    Hello(String),
    /// Platform: somebody said something.
    In(Said),
    /// Adapter: it is on disk.
    Ack(String),
    /// Adapter: it was not taken; deliver it again.
    Nack(String, String),
    /// Adapter: show this.
    Send(Shown),
    /// Platform: it is shown, under this id.
    Sent(u64, String),
    /// Platform: it is not.
    Refused(u64, Refusal),
    /// Platform: somebody pressed a button.
    Click(u64, Click),
    /// Adapter: what became of it.
    Clicked(u64, String),
    /// Adapter: the agent types, or no longer.
    Typing(String, bool),
    /// Platform: something happened to a message. Answered like a click.
    Change(u64, Changed),
    /// Adapter: what was said in this chat and thread, and what is the chat called?
    Ask(u64, String, Option<String>),
    /// Platform: that.
    Told(u64, Vec<Said>, Option<String>),
    /// Platform: this is how the channel is.
    Health(String, String),
}

/// Something that happened to a message.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Changed {
    /// Chat.
    pub chat: String,
    /// Thread.
    pub thread: Option<String>,
    /// The event's id.
    pub id: String,
    /// The message.
    pub message: String,
    /// Who did it, if the platform says.
    pub sender: Option<String>,
    /// `edited`, `deleted`, `reacted`, `unreacted`.
    pub what: String,
    /// The new text, or the reaction.
    pub text: String,
}

/// The channel of messages that name none.
const CHAT: &str = "fake";

/// A pressed button.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Click {
    /// The question's id.
    pub question: String,
    /// The value of the option.
    pub value: String,
    /// Who pressed.
    pub sender: String,
}

/// A message from a person.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Said {
    /// The channel; empty is the chat `fake`.
    pub channel: String,
    /// The platform's id.
    pub id: String,
    /// Chat.
    pub chat: String,
    /// Thread.
    pub thread: Option<String>,
    /// The person's handle.
    pub sender: String,
    /// Text.
    pub text: String,
    /// Whether the agent was addressed.
    pub mention: bool,
    /// Whether it is a group.
    pub group: bool,
    /// Files that come along.
    pub files: Vec<SaidFile>,
}

/// A file from a person.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SaidFile {
    /// `image`, `file` …
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its media type.
    pub mime: String,
    /// Its content.
    pub bytes: Vec<u8>,
    /// Why its content did not come along.
    pub missing: Option<String>,
}

/// A message from an agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Shown {
    /// Tells this attempt from others.
    pub n: u64,
    /// Idempotency key.
    pub key: String,
    /// Channel.
    pub channel: String,
    /// Chat.
    pub chat: String,
    /// Thread.
    pub thread: Option<String>,
    /// What it is: `text`, `edit`, `react`, `ask`, `card`.
    pub kind: String,
    /// Its text.
    pub text: String,
    /// Names of its files, and how many bytes they have.
    pub files: Vec<(String, usize)>,
    /// What it answers.
    pub reply_to: Option<String>,
    /// The id of a question with buttons.
    pub question: Option<String>,
    /// Its buttons: label and value.
    pub options: Vec<(String, String)>,
}

/// Why the platform does not show a message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Refusal {
    /// Try again, after so many milliseconds.
    Retry(Option<u64>, String),
    /// Never.
    Reject(String),
    /// Not until somebody mends it.
    Broken(String),
}

/// How the platform behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// It works.
    Up,
    /// Every send fails for now.
    Down,
    /// Every send is refused for good.
    Reject,
    /// It shows the message, but the answer gets lost.
    Lie,
}

#[derive(Default)]
struct State {
    next: u64,
    unacked: BTreeMap<u64, Said>,
    acked: BTreeSet<String>,
    shown: Vec<Shown>,
    keys: BTreeMap<String, String>,
    attempts: u64,
    doubles: u64,
    typing: BTreeMap<String, bool>,
    mood: Option<Mood>,
    unwanted: Option<String>,
    down: Option<String>,
    out: BTreeMap<String, mpsc::UnboundedSender<Line>>,
    clicks: BTreeMap<u64, oneshot::Sender<String>>,
    past: Vec<Said>,
    names: BTreeMap<String, String>,
    is_mute: bool,
    asked: u64,
}

/// The platform.
#[derive(Clone)]
pub struct Platform {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

impl Platform {
    /// The socket that the adapter of an install connects to.
    pub fn socket(data: &Path) -> PathBuf {
        data.join("fake.sock")
    }

    /// Opens the platform for the install with this data folder.
    pub fn open(data: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(data)?;
        let listener = UnixListener::bind(Self::socket(data))?;
        let platform = Self { state: Arc::default(), changed: Arc::new(Notify::new()) };
        let its = platform.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let its = its.clone();
                tokio::spawn(async move { its.serve(stream).await });
            }
        });
        Ok(platform)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, stream: UnixStream) {
        let (reader, mut writer) = stream.into_split();
        let (tx, mut rx) = mpsc::unbounded_channel::<Line>();
        let write = tokio::spawn(async move {
            while let Some(line) = rx.recv().await {
                let Ok(mut text) = serde_json::to_string(&line) else { continue };
                text.push('\n');
                if writer.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        let mut lines = BufReader::new(reader).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Ok(line) = serde_json::from_str(&line) {
                self.heard(line, &tx);
            }
        }
        write.abort();
    }

    fn heard(&self, line: Line, answer: &mpsc::UnboundedSender<Line>) {
        let mut state = self.lock();
        match line {
            Line::Hello(channel) => {
                // Whatever was not received is delivered again, in order.
                for said in state.unacked.values().filter(|s| s.channel == channel) {
                    drop(answer.send(Line::In(said.clone())));
                }
                state.out.insert(channel, answer.clone());
            }
            Line::Clicked(n, outcome) => {
                if let Some(waits) = state.clicks.remove(&n) {
                    drop(waits.send(outcome));
                }
            }
            Line::Ack(id) => {
                state.unacked.retain(|_, s| s.id != id);
                state.acked.insert(id);
            }
            Line::Nack(id, _) => {
                if let Some(said) = state.unacked.values().find(|s| s.id == id) {
                    drop(answer.send(Line::In(said.clone())));
                }
            }
            Line::Typing(chat, on) => {
                state.typing.insert(chat, on);
            }
            Line::Send(shown) => {
                state.attempts += 1;
                let n = shown.n;
                let unwanted = state.unwanted.as_ref().is_some_and(|u| {
                    let is_one = ["echo", "**"].iter().any(|s| shown.text.starts_with(s));
                    shown.kind == "text" && is_one && shown.text.contains(u)
                });
                let down = state.down.as_ref() == Some(&shown.channel);
                let mood = if down {
                    Mood::Down
                } else if unwanted {
                    Mood::Reject
                } else {
                    state.mood.unwrap_or(Mood::Up)
                };
                let reply = match mood {
                    Mood::Down => {
                        Some(Line::Refused(n, Refusal::Retry(None, "the platform is down".into())))
                    }
                    Mood::Reject => {
                        Some(Line::Refused(n, Refusal::Reject("the platform refuses this".into())))
                    }
                    Mood::Up => Some(Line::Sent(n, Self::show(&mut state, shown))),
                    Mood::Lie => {
                        Self::show(&mut state, shown);
                        None
                    }
                };
                if let Some(reply) = reply {
                    drop(answer.send(reply));
                }
            }
            Line::Ask(n, chat, thread) => {
                state.asked += u64::from(thread.is_some());
                let of = |s: &&Said| s.chat == chat && s.thread == thread && thread.is_some();
                let past = state.past.iter().filter(of).cloned().collect();
                if !state.is_mute {
                    drop(answer.send(Line::Told(n, past, state.names.get(&chat).cloned())));
                }
            }
            Line::In(_)
            | Line::Sent(..)
            | Line::Refused(..)
            | Line::Click(..)
            | Line::Change(..)
            | Line::Told(..)
            | Line::Health(..) => {}
        }
        drop(state);
        self.changed.notify_waiters();
    }

    fn show(state: &mut State, shown: Shown) -> String {
        if let Some(id) = state.keys.get(&shown.key) {
            state.doubles += 1;
            return id.clone();
        }
        let id = format!("shown-{}", state.keys.len() + 1);
        state.keys.insert(shown.key.clone(), id.clone());
        state.shown.push(shown);
        id
    }

    /// Somebody says something; it is delivered until it is received.
    pub fn say(&self, mut said: Said) {
        if said.channel.is_empty() {
            said.channel = CHAT.into();
        }
        let mut state = self.lock();
        state.next += 1;
        let n = state.next;
        state.unacked.insert(n, said.clone());
        if let Some(out) = state.out.get(&said.channel) {
            drop(out.send(Line::In(said)));
        }
    }

    /// A person writes to a direct chat of their own; returns the message's id.
    pub fn dm(&self, chat: &str, text: &str) -> String {
        self.dm_with(chat, text, Vec::new())
    }

    /// The same with files.
    pub fn dm_with(&self, chat: &str, text: &str, files: Vec<SaidFile>) -> String {
        let id = format!("m{}", self.lock().next + 1);
        self.say(Said {
            id: id.clone(),
            chat: chat.into(),
            sender: format!("user-{chat}"),
            text: text.into(),
            mention: true,
            files,
            ..Said::default()
        });
        id
    }

    /// A person writes in their own direct chat, which is called like them; returns the message's id.
    pub fn writes(&self, person: &str, text: &str) -> String {
        let id = format!("m{}", self.lock().next + 1);
        self.say(Said {
            id: id.clone(),
            chat: person.into(),
            sender: person.into(),
            text: text.into(),
            mention: true,
            ..Said::default()
        });
        id
    }

    /// Somebody clicks a button, of a card that is shown or not; says what became of it: `taken: …`,
    /// `late`, `refused: …`, `failed: …`, or nothing when the adapter is gone.
    pub async fn click(&self, question: &str, value: &str, sender: &str) -> Option<String> {
        let click = Click { question: question.into(), value: value.into(), sender: sender.into() };
        self.ask(|n| Line::Click(n, click)).await
    }

    async fn ask(&self, line: impl FnOnce(u64) -> Line) -> Option<String> {
        let (tx, rx) = oneshot::channel();
        {
            let mut state = self.lock();
            state.next += 1;
            let n = state.next;
            state.out.get(CHAT)?.send(line(n)).ok()?;
            state.clicks.insert(n, tx);
        }
        rx.await.ok()
    }

    /// Something happens to a message; says `taken`, or why it was not.
    pub async fn change(&self, change: Changed) -> Option<String> {
        self.ask(|n| Line::Change(n, change)).await
    }

    /// A channel tells how it is: `up`, `reconnecting`, `needs`, `broken`.
    pub fn health(&self, channel: &str, health: &str, why: &str) {
        if let Some(out) = self.lock().out.get(channel) {
            drop(out.send(Line::Health(health.into(), why.into())));
        }
    }

    /// What was said in threads before anybody listened.
    pub fn past(&self, said: Vec<Said>) {
        self.lock().past = said;
    }

    /// Whether the platform answers what it is asked about chats.
    pub fn mute(&self, is_mute: bool) {
        self.lock().is_mute = is_mute;
    }

    /// How often it was asked what had been said in a thread.
    pub fn asked(&self) -> u64 {
        self.lock().asked
    }

    /// What people call a chat.
    pub fn name(&self, chat: &str, name: &str) {
        self.lock().names.insert(chat.into(), name.into());
    }

    /// The questions with buttons shown in a chat, in order.
    pub fn questions(&self, chat: &str) -> Vec<Shown> {
        let asked = |s: &&Shown| s.chat == chat && s.question.is_some();
        self.lock().shown.iter().filter(asked).cloned().collect()
    }

    /// How the platform behaves from now on.
    pub fn mood(&self, mood: Mood) {
        self.lock().mood = Some(mood);
    }

    /// One of its channels takes nothing for now.
    pub fn down(&self, channel: Option<&str>) {
        self.lock().down = channel.map(Into::into);
    }

    /// Answers that contain this are refused for good.
    pub fn reject_containing(&self, text: &str) {
        self.lock().unwanted = Some(text.into());
    }

    /// What is shown, in order.
    pub fn shown(&self) -> Vec<Shown> {
        self.lock().shown.clone()
    }

    /// What is shown beyond the first `seen`, in order.
    pub fn shown_since(&self, seen: usize) -> Vec<Shown> {
        self.lock().shown.get(seen..).unwrap_or_default().to_vec()
    }

    /// Texts shown in a chat, in order.
    pub fn texts(&self, chat: &str) -> Vec<String> {
        self.lock().shown.iter().filter(|s| s.chat == chat).map(|s| s.text.clone()).collect()
    }

    /// What people see in a chat now: its texts, in order, each as it was last edited.
    pub fn screen(&self, chat: &str) -> Vec<String> {
        let state = self.lock();
        let mut screen: Vec<(String, String)> = Vec::new();
        for (n, shown) in state.shown.iter().enumerate().filter(|(_, s)| s.chat == chat) {
            let edit = shown.text.split_once(": ").filter(|_| shown.kind == "edit");
            match edit {
                Some((id, text)) => {
                    screen.iter_mut().filter(|(i, _)| i == id).for_each(|(_, t)| *t = text.into());
                }
                None => screen.push((format!("shown-{}", n + 1), shown.text.clone())),
            }
        }
        screen.into_iter().map(|(_, text)| text).collect()
    }

    /// Sends that were tried, and those that repeated a key.
    pub fn attempts(&self) -> (u64, u64) {
        let state = self.lock();
        (state.attempts, state.doubles)
    }

    /// Messages that were not received yet.
    pub fn unreceived(&self) -> usize {
        self.lock().unacked.len()
    }

    /// Whether the agent types in this chat.
    pub fn is_typing(&self, chat: &str) -> bool {
        self.lock().typing.get(chat).copied().unwrap_or(false)
    }

    /// Waits until the condition holds.
    pub async fn until(&self, within: Duration, mut holds: impl FnMut(&Self) -> bool) -> bool {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if holds(self) {
                    return;
                }
                // The state may also change by a call of the test itself.
                drop(tokio::time::timeout(Duration::from_millis(100), changed).await);
            }
        };
        tokio::time::timeout(within, wait).await.is_ok()
    }
}
