//! The connections: who is there, what they say, and what they are told.
//!
//! Every client has a bounded queue of lines and a task of its own, so that one that does not read delays
//! nobody: when its queue is full it is closed, and gets the rest from the backlog when it comes back.

use crate::LOCAL;
use crate::log::{Log, Posted};
use crate::wire::{
    Answered, Choose, Event, HELLO, Hello, Inject, LINE_MAX, Message, Read, Request, Said, Say,
    TEXT_LINE_MAX, read_line, unpack,
};
use nanoclaw_channel::ids::{UserId, mint};
use nanoclaw_channel::markdown::printable_line;
use nanoclaw_channel::time::{Clock as _, SystemClock};
use nanoclaw_channel::{
    Address, Answer, AnswerOutcome, Body, ChannelType, ChatKind, Inbound, Ingress, Mention,
    Outgoing, PlatformId, PlatformMessageId, QuestionId, Receipt, SendError, Sender, Typing,
};
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::task::{JoinSet, spawn_blocking};

/// Most clients at once.
pub(crate) const CLIENTS_MAX: usize = 32;

/// Most lines that wait for one client: a full backlog and some conversation.
const QUEUE_MAX: usize = crate::log::UNSEEN_MAX + 512;

/// How long a client that ended may take to read what is left for it.
const GOODBYE: Duration = Duration::from_secs(2);

/// Longer lines are read on a thread of their own, since they carry files.
const SHORT_LINE: usize = 64 << 10;

pub(crate) struct Hub {
    ingress: Arc<dyn Ingress>,
    state: Arc<Mutex<State>>,
}

struct State {
    log: Log,
    clients: Vec<Client>,
    typing: HashSet<PlatformId>,
    clients_ever: u64,
}

/// A client that is in a chat.
struct Client {
    number: u64,
    chat: PlatformId,
    form: Form,
    mailbox: Mailbox,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// It said hello.
    Ours,
    /// It speaks the original's protocol.
    Original,
}

/// The way to a client.
#[derive(Clone)]
struct Mailbox {
    queue: mpsc::Sender<Outbound>,
    full: Arc<Notify>,
}

struct Outbound {
    line: String,
    /// The message that counts as seen when the line was written; our own clients say so themselves.
    shows: Option<String>,
}

impl Mailbox {
    /// Whether the client keeps up.
    fn put(&self, line: String, shows: Option<String>) -> bool {
        let kept = self.queue.try_send(Outbound { line, shows }).is_ok();
        if !kept {
            self.full.notify_one();
        }
        kept
    }

    fn tell(&self, event: &Event) -> bool {
        serde_json::to_string(event).is_ok_and(|line| self.put(line, None))
    }

    fn error(&self, why: impl Into<String>) {
        self.tell(&Event::Error { error: why.into() });
    }
}

impl State {
    /// Tells everybody in a chat, save one of them.
    fn tell(&mut self, chat: &PlatformId, event: &Event, but: Option<u64>) {
        self.clients.retain(|client| {
            client.form != Form::Ours
                || client.chat != *chat
                || Some(client.number) == but
                || client.mailbox.tell(event)
        });
    }

    fn show(&mut self, chat: &PlatformId, message: &Message) {
        self.tell(chat, &Event::Message { message: Box::new(message.clone()) }, None);
        let Some(line) = message.plain_line() else { return };
        self.clients.retain(|client| {
            client.form != Form::Original
                || client.chat != *chat
                || client.mailbox.put(line.clone(), Some(message.id.clone()))
        });
    }

    fn send(&mut self, out: &Outgoing) -> Result<Receipt, SendError> {
        let files = match &out.body {
            Body::Text { files, .. } => files.as_slice(),
            Body::Edit { .. } | Body::React { .. } | Body::Ask(_) | Body::Card { .. } => &[],
        };
        let message = Message::new(mint("cli", SystemClock.now()), out);
        let chat = &out.to.platform_id;
        let id = match self.log.post(chat.as_str(), &out.key, message, files) {
            Ok(Posted::New(message)) => {
                self.show(chat, &message);
                message.id
            }
            Ok(Posted::Known(id)) => id,
            Ok(Posted::Full) => {
                let why = format!("too much in {chat} waits to be read; read it: nanoclaw chat");
                return Err(SendError::Retry { after: Some(Duration::from_secs(300)), why });
            }
            Err(e) => {
                let why = format!("the terminal's log cannot be written: {e}");
                return Err(SendError::Retry { after: None, why });
            }
        };
        Ok(Receipt { id: PlatformMessageId::parse(id).ok() })
    }
}

impl Hub {
    pub(crate) fn open(folder: &Path, ingress: Arc<dyn Ingress>) -> io::Result<Arc<Self>> {
        let state = State {
            log: Log::open(folder)?,
            clients: Vec::new(),
            typing: HashSet::new(),
            clients_ever: 0,
        };
        Ok(Arc::new(Self { ingress, state: Arc::new(Mutex::new(state)) }))
    }

    /// Durable point: when this returns a receipt, the message is in the log.
    pub(crate) async fn send(&self, message: &Outgoing) -> Result<Receipt, SendError> {
        let mut state = Arc::clone(&self.state).lock_owned().await;
        let message = message.clone();
        spawn_blocking(move || state.send(&message)).await.unwrap_or_else(|e| {
            Err(SendError::Retry { after: None, why: format!("writing was interrupted: {e}") })
        })
    }

    pub(crate) async fn typing(&self, chat: &PlatformId, typing: Typing) {
        let mut state = self.state.lock().await;
        let changed = match typing {
            Typing::On => state.typing.insert(chat.clone()),
            Typing::Off => {
                state.typing.remove(chat);
                // Always told: the end of a turn that was too short to be seen typing is an end as well.
                true
            }
        };
        if changed {
            state.tell(chat, &Event::Typing { typing: typing == Typing::On }, None);
        }
    }

    /// Takes clients until it is aborted, and all of them with it.
    pub(crate) async fn listen(self: Arc<Self>, listener: UnixListener) {
        let mut clients = JoinSet::new();
        let own = rustix::process::geteuid().as_raw();
        loop {
            let stream = tokio::select! {
                stream = listener.accept() => stream,
                Some(_) = clients.join_next() => continue,
            };
            let stream = match stream {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "no client taken on the terminal's socket");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            match stream.peer_cred() {
                Ok(peer) if may_speak(peer.uid(), own) => {}
                peer => {
                    tracing::warn!(?peer, "a stranger on the terminal's socket was turned away");
                    continue;
                }
            }
            if clients.len() >= CLIENTS_MAX {
                tracing::warn!("more than {CLIENTS_MAX} clients on the terminal's socket");
                continue;
            }
            clients.spawn(Arc::clone(&self).serve(stream));
        }
    }

    async fn serve(self: Arc<Self>, stream: UnixStream) {
        let (read, write) = stream.into_split();
        let (queue, lines) = mpsc::channel(QUEUE_MAX);
        let full = Arc::new(Notify::new());
        let number = {
            let mut state = self.state.lock().await;
            state.clients_ever += 1;
            state.clients_ever
        };
        let mailbox = Mailbox { queue, full: Arc::clone(&full) };
        let visit = Visit { hub: &self, number, mailbox, place: None };
        let mut writing = pin!(self.write(lines, write));
        let ended = tokio::select! {
            () = visit.listen(BufReader::new(read)) => true,
            () = &mut writing => false,
            () = full.notified() => false,
        };
        self.state.lock().await.clients.retain(|c| c.number != number);
        if ended && tokio::time::timeout(GOODBYE, writing).await.is_err() {
            tracing::debug!(number, "a client left without reading");
        }
    }

    async fn write(&self, mut lines: mpsc::Receiver<Outbound>, mut to: OwnedWriteHalf) {
        while let Some(Outbound { mut line, shows }) = lines.recv().await {
            line.push('\n');
            if to.write_all(line.as_bytes()).await.is_err() {
                return;
            }
            if let Some(id) = shows {
                self.seen(&id).await;
            }
        }
    }

    async fn seen(&self, id: &str) {
        if let Err(error) = self.state.lock().await.log.seen(id) {
            tracing::warn!(%error, id, "what was seen could not be noted; it will be shown again");
        }
    }
}

/// Only the operator and root: who writes here may speak as anybody.
pub(crate) fn may_speak(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

/// One client, from its first line to its last.
struct Visit<'a> {
    hub: &'a Hub,
    number: u64,
    mailbox: Mailbox,
    place: Option<Place>,
}

/// The chat that a client is in.
#[derive(Clone)]
struct Place {
    chat: PlatformId,
    agent: Option<String>,
    form: Form,
}

impl Visit<'_> {
    async fn listen<R: tokio::io::AsyncBufRead + Unpin>(mut self, mut from: R) {
        loop {
            let ours = self.place.as_ref().is_some_and(|p| p.form == Form::Ours);
            let max = if ours { LINE_MAX } else { TEXT_LINE_MAX };
            let line = match read_line(&mut from, max).await {
                Ok(Read::Line(line)) => line,
                Ok(Read::TooLong) => {
                    return self.mailbox.error(format!("a line longer than {max} bytes; closing"));
                }
                Ok(Read::End) | Err(_) => return,
            };
            let request = if line.len() > SHORT_LINE {
                let parsed = spawn_blocking(move || Request::parse(&line)).await;
                parsed.unwrap_or_else(|e| Err(format!("not read: {e}")))
            } else {
                Request::parse(&line)
            };
            match request {
                Ok(request) => self.take(request).await,
                Err(why) => self.mailbox.error(why),
            }
        }
    }

    async fn take(&mut self, request: Request) {
        match request {
            Request::Hello(hello) => self.hello(hello).await,
            Request::Say(say) => self.say(say).await,
            Request::Inject(inject) => self.inject(inject).await,
            Request::Answer { answer } => self.answer(answer).await,
            Request::Seen { seen } => self.hub.seen(&seen).await,
        }
    }

    async fn hello(&mut self, hello: Hello) {
        if self.place.is_some() {
            return self.mailbox.error("hello comes first, and once");
        }
        if hello.hello != HELLO {
            let why = format!("protocol {} is not spoken here, only {HELLO}", hello.hello);
            return self.mailbox.error(format!("{why}; use the client of the same release"));
        }
        let agent = hello.agent.filter(|name| !name.is_empty());
        let usual = agent.as_ref().map_or(LOCAL.to_owned(), |name| format!("agent:{name}"));
        match PlatformId::parse(hello.chat.unwrap_or(usual)) {
            Ok(chat) => self.enter(Place { chat, agent, form: Form::Ours }).await,
            Err(e) => self.mailbox.error(e.to_string()),
        }
    }

    /// Joins a chat; our own clients get what nobody was shown yet, the original's would take it for the
    /// answer to what they said.
    async fn enter(&mut self, place: Place) {
        let mut state = self.hub.state.lock().await;
        let chat = place.chat.clone();
        if place.form == Form::Ours {
            let mailbox = &self.mailbox;
            mailbox.tell(&Event::Hello { hello: HELLO, chat: chat.to_string() });
            for message in state.log.unseen(chat.as_str()) {
                mailbox.tell(&Event::Message { message: Box::new(message.clone()) });
            }
            if state.typing.contains(&chat) {
                mailbox.tell(&Event::Typing { typing: true });
            }
        }
        state.clients.push(Client {
            number: self.number,
            chat,
            form: place.form,
            mailbox: self.mailbox.clone(),
        });
        drop(state);
        self.place = Some(place);
    }

    async fn say(&mut self, say: Say) {
        if self.place.is_none() {
            match PlatformId::parse(LOCAL) {
                Ok(chat) => {
                    self.enter(Place { chat, agent: None, form: Form::Original }).await;
                }
                Err(e) => return self.mailbox.error(e.to_string()),
            }
        }
        let Some(place) = self.place.clone() else { return };
        let id = say.id.unwrap_or_else(|| mint("cli", SystemClock.now()));
        let said = Said {
            id: id.clone(),
            text: say.text.clone(),
            files: say.files.iter().map(|f| f.name.clone()).collect(),
        };
        match self.push(&place, say.text, say.files, &id).await {
            Ok(()) => {
                if place.form == Form::Ours {
                    self.mailbox.tell(&Event::Ack { ack: id });
                }
                let mut state = self.hub.state.lock().await;
                state.tell(&place.chat, &Event::Said { said }, Some(self.number));
            }
            Err(why) if place.form == Form::Ours => {
                self.mailbox.tell(&Event::Nack { nack: id, why });
            }
            Err(why) => self.mailbox.error(format!("not received: {why}")),
        }
    }

    async fn push(
        &self,
        place: &Place,
        text: String,
        files: Vec<crate::wire::Upload>,
        id: &str,
    ) -> Result<(), String> {
        let files = if files.is_empty() {
            Vec::new()
        } else {
            spawn_blocking(move || unpack(files)).await.map_err(|e| e.to_string())??
        };
        let message = Inbound {
            at: Address {
                channel_type: own_type()?,
                platform_id: place.chat.clone(),
                thread_id: None,
            },
            reply: None,
            id: PlatformMessageId::parse(id).map_err(|e| e.to_string())?,
            timestamp: SystemClock.now(),
            sender: operator(),
            person: None,
            text,
            mention: Mention::Yes,
            chat: ChatKind::Direct,
            files,
            reply_to: None,
            only_for: place.agent.clone(),
        };
        self.hub.ingress.push(message).await.map_err(|e| e.to_string())
    }

    /// As in the original: the operator says something in any chat, in any name.
    async fn inject(&self, inject: Inject) {
        let at = Address::from(inject.to);
        // As in the original, an id with a prefix is a whole person, whoever's platform it names: the socket
        // is the operator's, so this is the operator's word. Without one it is a handle of that chat's platform.
        let handle = inject.sender_id.unwrap_or_else(|| "cli:local".to_owned());
        let person = handle.contains(':').then(|| UserId::parse(handle.as_str()).ok()).flatten();
        let handle = match handle.strip_prefix(&format!("{}:", at.channel_type)) {
            Some(own) => own.to_owned(),
            None => handle,
        };
        let id = mint("cli", SystemClock.now());
        let pushed = match PlatformMessageId::parse(id) {
            Ok(id) => {
                let message = Inbound {
                    at,
                    reply: inject.reply_to.map(Address::from),
                    id,
                    timestamp: SystemClock.now(),
                    sender: Sender { handle, name: inject.sender.or_else(|| Some("cli".into())) },
                    person,
                    text: inject.text,
                    mention: Mention::No,
                    chat: ChatKind::Direct,
                    files: Vec::new(),
                    reply_to: None,
                    only_for: None,
                };
                self.hub.ingress.push(message).await.map_err(|e| e.to_string())
            }
            Err(e) => Err(e.to_string()),
        };
        if let Err(why) = pushed {
            self.mailbox.error(format!("not received: {why}"));
        }
    }

    async fn answer(&self, Choose { question, value }: Choose) {
        let refuse = |why: String| {
            self.mailbox.tell(&Event::Nack { nack: question.clone(), why });
        };
        let (id, channel) = match (QuestionId::parse(question.as_str()), own_type()) {
            (Ok(id), Ok(channel)) => (id, channel),
            (Err(e), _) => return refuse(e.to_string()),
            (_, Err(why)) => return refuse(why),
        };
        let answer = Answer { question: id, value, channel, sender: operator() };
        let label = match self.hub.ingress.answer(answer).await {
            Ok(AnswerOutcome::Taken { label }) => Some(printable_line(&label)),
            Ok(AnswerOutcome::Late) => None,
            Ok(AnswerOutcome::Refused { why }) => return refuse(why),
            Err(e) => return refuse(e.to_string()),
        };
        let mut state = self.hub.state.lock().await;
        if let Err(error) = state.log.answered(&question) {
            tracing::warn!(%error, question, "an answered question could not be noted");
        }
        if let Some(place) = &self.place {
            let answered = Answered { question, label };
            state.tell(&place.chat, &Event::Answered { answered }, None);
        }
    }
}

fn own_type() -> Result<ChannelType, String> {
    ChannelType::parse(crate::NAME).map_err(|e| e.to_string())
}

fn operator() -> Sender {
    Sender { handle: LOCAL.to_owned(), name: Some("cli".to_owned()) }
}
