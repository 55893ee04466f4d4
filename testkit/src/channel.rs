//! The adapters of [`crate::platform`]: ordinary channels over an ordinary socket.

use crate::platform::{Changed, Click, Line, Platform, Refusal, Said, Shown};
use async_trait::async_trait;
use nanoclaw_channel::{
    Address, Answer, AnswerOutcome, Body, Capabilities, Change, Channel, ChannelDef, ChannelType,
    ChatKind, Health, InFile, Inbound, Ingress, Mention, Outgoing, PlatformId, PlatformMessageId,
    QuestionId, Receipt, Report, SendError, Sender, Start, StartError, ThreadId, Typing, What,
};
use nanoclaw_contract::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

/// The channel `fake`, a chat: its threads are conversations, questions have buttons.
pub const CHANNEL: ChannelDef =
    ChannelDef { name: "fake", settings: &[], start: |s| Box::pin(start(s, "fake", ALL)) };

/// The channel `fakemail`, like e-mail: its threads are conversations, nothing can be changed or pressed.
pub const MAIL: ChannelDef = ChannelDef {
    name: "fakemail",
    settings: &[],
    start: |s| Box::pin(start(s, "fakemail", LETTERS)),
};

/// The channel `fakehook`, like a webhook: plain text in and out.
pub const HOOK: ChannelDef = ChannelDef {
    name: "fakehook",
    settings: &[],
    start: |s| Box::pin(start(s, "fakehook", LINES)),
};

/// Every channel of the platform.
pub static CHANNELS: [&ChannelDef; 3] = [&CHANNEL, &MAIL, &HOOK];

const ALL: Capabilities = Capabilities {
    threads: true,
    edits: true,
    reactions: true,
    buttons: true,
    files: true,
    idempotent: true,
    typing: true,
    history: true,
    file_in_max: 64 << 20,
    file_out_max: 64 << 20,
    ..Capabilities::TEXT
};
const LETTERS: Capabilities =
    Capabilities { edits: false, reactions: false, buttons: false, history: false, ..ALL };
const LINES: Capabilities = Capabilities { threads: false, files: false, ..LETTERS };

type Waiting = Arc<Mutex<BTreeMap<u64, oneshot::Sender<Result<Receipt, SendError>>>>>;
type Asked = Arc<Mutex<BTreeMap<u64, oneshot::Sender<(Vec<Said>, Option<String>)>>>>;

struct Fake {
    name: &'static str,
    capabilities: Capabilities,
    out: mpsc::UnboundedSender<Line>,
    waiting: Waiting,
    asked: Asked,
    next: AtomicU64,
}

async fn start(
    start: Start,
    name: &'static str,
    capabilities: Capabilities,
) -> Result<Arc<dyn Channel>, StartError> {
    let stream = UnixStream::connect(Platform::socket(&start.data))
        .await
        .map_err(|e| StartError::Unreachable(format!("the fake platform is not there: {e}")))?;
    let (reader, mut writer) = stream.into_split();
    let (out, mut lines) = mpsc::unbounded_channel::<Line>();
    drop(out.send(Line::Hello(name.into())));
    tokio::spawn(async move {
        while let Some(line) = lines.recv().await {
            let Ok(mut text) = serde_json::to_string(&line) else { continue };
            text.push('\n');
            if writer.write_all(text.as_bytes()).await.is_err() {
                return;
            }
        }
    });
    let (waiting, asked) = (Waiting::default(), Asked::default());
    let ears = Ears { name, ingress: start.ingress, heard: out.clone(), report: start.report };
    tokio::spawn(listen(ears, reader, waiting.clone(), asked.clone()));
    Ok(Arc::new(Fake { name, capabilities, out, waiting, asked, next: AtomicU64::new(1) }))
}

/// What a connection hears with.
struct Ears {
    name: &'static str,
    ingress: Arc<dyn Ingress>,
    heard: mpsc::UnboundedSender<Line>,
    report: Report,
}

/// Messages of one connection are pushed one after the other, as a real adapter would; chats side by side.
async fn listen(
    Ears { name, ingress, heard, report }: Ears,
    reader: tokio::net::unix::OwnedReadHalf,
    waiting: Waiting,
    asked: Asked,
) {
    let mut chats: BTreeMap<String, mpsc::UnboundedSender<Said>> = BTreeMap::new();
    let mut lines = BufReader::new(reader).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(Line::In(said)) => {
                let (ingress, acks) = (ingress.clone(), heard.clone());
                let chat = chats.entry(said.chat.clone()).or_insert_with(|| {
                    let (tx, mut rx) = mpsc::unbounded_channel::<Said>();
                    tokio::spawn(async move {
                        while let Some(said) = rx.recv().await {
                            push(name, &ingress, &acks, said).await;
                        }
                    });
                    tx
                });
                drop(chat.send(said));
            }
            Ok(Line::Click(n, click)) => {
                let (ingress, heard) = (ingress.clone(), heard.clone());
                tokio::spawn(async move {
                    drop(heard.send(Line::Clicked(n, press(name, &ingress, click).await)));
                });
            }
            Ok(Line::Sent(n, id)) => {
                settle(&waiting, n, Ok(Receipt { id: PlatformMessageId::parse(id).ok() }));
            }
            Ok(Line::Change(n, change)) => {
                let (ingress, heard) = (ingress.clone(), heard.clone());
                tokio::spawn(async move {
                    let said = match changed(name, change) {
                        Ok(change) => ingress.change(change).await.map_err(|e| e.to_string()),
                        Err(why) => Err(why),
                    };
                    let said =
                        said.map_or_else(|why| format!("failed: {why}"), |()| "taken".into());
                    drop(heard.send(Line::Clicked(n, said)));
                });
            }
            Ok(Line::Told(n, past, name)) => {
                let waiter = asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&n);
                drop(waiter.map(|waiter| waiter.send((past, name))));
            }
            Ok(Line::Health(health, why)) => report(match health.as_str() {
                "up" => Health::Up,
                "needs" => Health::Needs { what: why },
                "broken" => Health::Broken { why },
                _ => Health::Reconnecting { why },
            }),
            Ok(Line::Refused(n, refusal)) => settle(&waiting, n, Err(refused(refusal))),
            _ => {}
        }
    }
}

/// What becomes of a pressed button, in words.
async fn press(name: &str, ingress: &Arc<dyn Ingress>, click: Click) -> String {
    let (Ok(question), Ok(channel)) = (QuestionId::parse(click.question), ChannelType::parse(name))
    else {
        return "no such id".into();
    };
    let sender = Sender { name: Some(click.sender.clone()), handle: click.sender };
    match ingress.answer(Answer { question, value: click.value, channel, sender }).await {
        Ok(AnswerOutcome::Taken { label }) => format!("taken: {label}"),
        Ok(AnswerOutcome::Late) => "late".into(),
        Ok(AnswerOutcome::Refused { why }) => format!("refused: {why}"),
        Err(e) => format!("failed: {e}"),
    }
}

fn changed(channel: &str, change: Changed) -> Result<Change, String> {
    let bad = |e: nanoclaw_contract::ids::BadId| e.to_string();
    Ok(Change {
        at: Address {
            channel_type: ChannelType::parse(channel).map_err(bad)?,
            platform_id: PlatformId::parse(change.chat).map_err(bad)?,
            thread_id: change.thread.map(ThreadId::parse).transpose().map_err(bad)?,
        },
        id: PlatformMessageId::parse(change.id).map_err(bad)?,
        message: PlatformMessageId::parse(change.message).map_err(bad)?,
        timestamp: Timestamp::now(),
        sender: change.sender.map(|who| Sender { name: Some(who.clone()), handle: who }),
        what: match change.what.as_str() {
            "edited" => What::Edited(change.text),
            "deleted" => What::Deleted,
            "undelivered" => What::Undelivered(change.text),
            what => What::Reacted { emoji: change.text, removed: what == "unreacted" },
        },
    })
}

async fn push(
    name: &str,
    ingress: &Arc<dyn Ingress>,
    acks: &mpsc::UnboundedSender<Line>,
    said: Said,
) {
    let id = said.id.clone();
    let line = match inbound(name, said) {
        Ok(message) => match ingress.push(message).await {
            Ok(()) => Line::Ack(id),
            Err(e) => Line::Nack(id, e.to_string()),
        },
        Err(why) => Line::Nack(id, why),
    };
    drop(acks.send(line));
}

fn inbound(channel: &str, said: Said) -> Result<Inbound, String> {
    let bad = |e: nanoclaw_contract::ids::BadId| e.to_string();
    Ok(Inbound {
        at: Address {
            channel_type: ChannelType::parse(channel).map_err(bad)?,
            platform_id: PlatformId::parse(said.chat).map_err(bad)?,
            thread_id: said.thread.map(ThreadId::parse).transpose().map_err(bad)?,
        },
        reply: None,
        id: PlatformMessageId::parse(said.id).map_err(bad)?,
        timestamp: Timestamp::now(),
        sender: Sender { name: Some(said.sender.clone()), handle: said.sender },
        person: None,
        text: said.text,
        mention: if said.mention { Mention::Yes } else { Mention::No },
        chat: if said.group { ChatKind::Group } else { ChatKind::Direct },
        files: said
            .files
            .into_iter()
            .map(|f| InFile {
                kind: f.kind,
                name: f.name,
                mime: Some(f.mime),
                bytes: f.bytes,
                missing: f.missing,
            })
            .collect(),
        reply_to: None,
        only_for: None,
    })
}

fn settle(waiting: &Waiting, n: u64, result: Result<Receipt, SendError>) {
    let waiter = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&n);
    if let Some(waiter) = waiter {
        // Nobody waits any more when the host gave up in the meantime.
        drop(waiter.send(result));
    }
}

fn refused(refusal: Refusal) -> SendError {
    match refusal {
        Refusal::Retry(after, why) => {
            SendError::Retry { after: after.map(std::time::Duration::from_millis), why }
        }
        Refusal::Reject(why) => SendError::Reject { why },
        Refusal::Broken(why) => SendError::Broken { why },
    }
}

impl Fake {
    async fn ask(&self, chat: String, thread: Option<String>) -> (Vec<Said>, Option<String>) {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let (tx, rx) = oneshot::channel();
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(n, tx);
        drop(self.out.send(Line::Ask(n, chat, thread)));
        rx.await.unwrap_or_default()
    }
}

#[async_trait]
impl Channel for Fake {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn send(&self, message: &Outgoing) -> Result<Receipt, SendError> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let (kind, text, files) = match &message.body {
            Body::Text { markdown, files } => (
                "text",
                markdown.clone(),
                files.iter().map(|f| (f.name.clone(), f.bytes.len())).collect(),
            ),
            Body::Edit { message, markdown } => {
                ("edit", format!("{message}: {markdown}"), Vec::new())
            }
            Body::React { message, emoji } => ("react", format!("{message}: {emoji}"), Vec::new()),
            Body::Ask(q) => ("ask", q.question.clone(), Vec::new()),
            Body::Card { markdown, .. } => ("card", markdown.clone(), Vec::new()),
        };
        let (tx, rx) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(n, tx);
        let (question, options) = match &message.body {
            Body::Ask(q) => (
                Some(q.question_id.to_string()),
                q.options.iter().map(|o| (o.label.clone(), o.value.clone())).collect(),
            ),
            _ => (None, Vec::new()),
        };
        let shown = Shown {
            n,
            channel: self.name.into(),
            question,
            options,
            key: message.key.clone(),
            chat: message.to.platform_id.to_string(),
            thread: message.to.thread_id.as_ref().map(ToString::to_string),
            kind: kind.into(),
            text,
            files,
            reply_to: message.reply_to.as_ref().map(ToString::to_string),
        };
        let lost = || SendError::Retry { after: None, why: "the fake platform hung up".into() };
        self.out.send(Line::Send(shown)).map_err(|_| lost())?;
        rx.await.map_err(|_| lost())?
    }

    async fn history(&self, at: &Address, _: &PlatformMessageId, max: usize) -> Vec<Inbound> {
        let thread = at.thread_id.as_ref().map(ToString::to_string);
        let (past, _) = self.ask(at.platform_id.to_string(), thread).await;
        let latest = past.len().saturating_sub(max);
        past.into_iter().skip(latest).filter_map(|said| inbound(self.name, said).ok()).collect()
    }

    async fn chat_name(&self, chat: &PlatformId) -> Option<String> {
        self.ask(chat.to_string(), None).await.1
    }

    async fn typing(&self, to: &Address, typing: Typing) {
        drop(self.out.send(Line::Typing(to.platform_id.to_string(), typing == Typing::On)));
    }
}
