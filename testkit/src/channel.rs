//! The adapter of [`crate::platform`]: an ordinary channel over an ordinary socket.

use crate::platform::{Click, Line, Platform, Refusal, Said, Shown};
use async_trait::async_trait;
use nanoclaw_channel::{
    Address, Answer, AnswerOutcome, Body, Capabilities, Channel, ChannelDef, ChannelType, ChatKind,
    InFile, Inbound, Ingress, Mention, Outgoing, PlatformId, PlatformMessageId, Receipt, SendError,
    Sender, Start, StartError, ThreadId, Typing,
};
use nanoclaw_contract::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

/// The channel `fake`, whose threads are conversations.
pub const CHANNEL: ChannelDef = ChannelDef { name: "fake", start: |s| Box::pin(start(s)) };

type Waiting = Arc<Mutex<BTreeMap<u64, oneshot::Sender<Result<Receipt, SendError>>>>>;

struct Fake {
    out: mpsc::UnboundedSender<Line>,
    waiting: Waiting,
    next: AtomicU64,
}

async fn start(start: Start) -> Result<Arc<dyn Channel>, StartError> {
    let stream = UnixStream::connect(Platform::socket(&start.data))
        .await
        .map_err(|e| StartError::Unreachable(format!("the fake platform is not there: {e}")))?;
    let (reader, mut writer) = stream.into_split();
    let (out, mut lines) = mpsc::unbounded_channel::<Line>();
    tokio::spawn(async move {
        while let Some(line) = lines.recv().await {
            let Ok(mut text) = serde_json::to_string(&line) else { continue };
            text.push('\n');
            if writer.write_all(text.as_bytes()).await.is_err() {
                return;
            }
        }
    });
    let waiting = Waiting::default();
    let (answers, heard) = (waiting.clone(), out.clone());
    tokio::spawn(async move {
        let (queue, mut inbox) = mpsc::channel::<Said>(256);
        let (ingress, acks) = (start.ingress.clone(), heard.clone());
        // Messages of one connection are pushed one after the other, as a real adapter would; chats side by side.
        tokio::spawn(async move {
            let mut chats: BTreeMap<String, mpsc::UnboundedSender<Said>> = BTreeMap::new();
            while let Some(said) = inbox.recv().await {
                let (ingress, acks) = (ingress.clone(), acks.clone());
                let chat = chats.entry(said.chat.clone()).or_insert_with(|| {
                    let (tx, mut rx) = mpsc::unbounded_channel::<Said>();
                    tokio::spawn(async move {
                        while let Some(said) = rx.recv().await {
                            push(&ingress, &acks, said).await;
                        }
                    });
                    tx
                });
                drop(chat.send(said));
            }
        });
        let mut lines = BufReader::new(reader).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            match serde_json::from_str(&line) {
                Ok(Line::In(said)) => drop(queue.send(said).await),
                Ok(Line::Sent(n, id)) => {
                    settle(&answers, n, Ok(Receipt { id: PlatformMessageId::parse(id).ok() }));
                }
                Ok(Line::Refused(n, refusal)) => settle(&answers, n, Err(refused(refusal))),
                Ok(Line::Click(click)) => {
                    tokio::spawn(clicked(start.ingress.clone(), heard.clone(), click));
                }
                _ => {}
            }
        }
    });
    Ok(Arc::new(Fake { out, waiting, next: AtomicU64::new(1) }))
}

async fn push(ingress: &Arc<dyn Ingress>, acks: &mpsc::UnboundedSender<Line>, said: Said) {
    let id = said.id.clone();
    let line = match inbound(said) {
        Ok(message) => match ingress.push(message).await {
            Ok(()) => Line::Ack(id),
            Err(e) => Line::Nack(id, e.to_string()),
        },
        Err(why) => Line::Nack(id, why),
    };
    drop(acks.send(line));
}

async fn clicked(ingress: Arc<dyn Ingress>, out: mpsc::UnboundedSender<Line>, click: Click) {
    let (Ok(question), Ok(channel)) = (click.question.parse(), ChannelType::parse("fake")) else {
        return;
    };
    let sender = Sender { name: Some(click.sender.clone()), handle: click.sender };
    let answer = Answer { question, value: click.value, channel, sender };
    let outcome = match ingress.answer(answer).await {
        Ok(AnswerOutcome::Taken { label }) => format!("taken: {label}"),
        Ok(AnswerOutcome::Late) => "late".into(),
        Ok(AnswerOutcome::Refused { why }) => format!("refused: {why}"),
        Err(e) => format!("failed: {e}"),
    };
    drop(out.send(Line::Clicked(click.n, outcome)));
}

fn inbound(said: Said) -> Result<Inbound, String> {
    let bad = |e: nanoclaw_contract::ids::BadId| e.to_string();
    Ok(Inbound {
        at: Address {
            channel_type: ChannelType::parse("fake").map_err(bad)?,
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
            .map(|f| InFile { kind: f.kind, name: f.name, mime: Some(f.mime), bytes: f.bytes })
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

#[async_trait]
impl Channel for Fake {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            threads: true,
            edits: true,
            reactions: true,
            buttons: true,
            files: true,
            idempotent: true,
        }
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
        let asked = match &message.body {
            Body::Ask(q) => Some(q),
            _ => None,
        };
        let (tx, rx) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(n, tx);
        let shown = Shown {
            n,
            key: message.key.clone(),
            chat: message.to.platform_id.to_string(),
            thread: message.to.thread_id.as_ref().map(ToString::to_string),
            kind: kind.into(),
            text,
            files,
            reply_to: message.reply_to.as_ref().map(ToString::to_string),
            question: asked.map(|q| q.question_id.to_string()),
            options: asked.map_or_else(Vec::new, |q| {
                q.options.iter().map(|o| (o.label.clone(), o.value.clone())).collect()
            }),
        };
        let lost = || SendError::Retry { after: None, why: "the fake platform hung up".into() };
        self.out.send(Line::Send(shown)).map_err(|_| lost())?;
        rx.await.map_err(|_| lost())?
    }

    async fn typing(&self, to: &Address, typing: Typing) {
        drop(self.out.send(Line::Typing(to.platform_id.to_string(), typing == Typing::On)));
    }
}
