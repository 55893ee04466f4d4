//! One adapter, started against one peer, and what a case does with them.

use crate::peer::{Offer, Peer, Place, Profile, Say, Seen};
use crate::record::{Heard, Recorder};
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use nanoclaw_channel::{
    Address, Body, Channel, Health, Inbound, OutFile, Outgoing, PlatformMessageId, Receipt,
    SendError, Start, StartError, StartFuture,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// How often a message is tried before a case takes it for lost.
const TRIES: u32 = 40;

/// A text that others may read.
#[derive(Clone, Default)]
pub struct Note(Arc<Mutex<String>>);

impl Note {
    /// What it says.
    pub fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, text: &str) {
        text.clone_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn add(&self, text: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push_str(text);
        all.push('\n');
    }
}

/// An adapter and its peer.
pub struct Rig {
    /// The platform and its people.
    pub peer: Box<dyn Peer>,
    /// The host.
    pub host: Arc<Recorder>,
    /// What the platform offers.
    pub profile: Profile,
    data: TempDir,
    channel: Option<Arc<dyn Channel>>,
    waiting: Note,
    said: Note,
    keys: u32,
    /// A setting that is taken away.
    unset: Option<String>,
}

impl Rig {
    /// An adapter that is not started.
    pub fn new(peer: Box<dyn Peer>) -> Result<Self> {
        Ok(Self {
            profile: peer.profile(),
            peer,
            host: Arc::default(),
            data: TempDir::with_prefix("nanoclaw-channel-").context("make a folder")?,
            channel: None,
            waiting: Note::default(),
            said: Note::default(),
            keys: 0,
            unset: None,
        })
    }

    /// What the case waits for now.
    pub fn waiting(&self) -> Note {
        self.waiting.clone()
    }

    /// Every error and every state that the adapter told.
    pub fn said(&self) -> Note {
        self.said.clone()
    }

    /// What `start` of the channel gives, not awaited.
    pub fn starting(&self) -> StartFuture {
        let (mut settings, host, said) =
            (self.peer.settings(), self.host.clone(), self.said.clone());
        if let Some(unset) = &self.unset {
            settings.remove(unset);
        }
        let start = Start {
            ingress: self.host.clone(),
            data: self.data.path().to_path_buf(),
            setting: Arc::new(move |name| settings.get(name).cloned()),
            report: Arc::new(move |health: Health| {
                said.add(&format!("{health:?}"));
                host.health(health);
            }),
        };
        (self.peer.channel().start)(start)
    }

    /// Starts the adapter.
    pub async fn start(&mut self) -> Result<()> {
        self.waiting.set("for the channel to start");
        match self.starting().await {
            Ok(channel) => {
                self.channel = Some(channel);
                Ok(())
            }
            Err(e) => Err(self.start_failed(&e)),
        }
    }

    fn start_failed(&self, e: &StartError) -> anyhow::Error {
        self.said.add(&format!("{e} {e:?}"));
        anyhow!("the channel did not start: {e}")
    }

    /// Takes a setting away from the next start.
    pub fn unset(&mut self, name: &str) {
        self.unset = Some(name.to_owned());
    }

    /// Starts the adapter, which must fail.
    pub async fn start_fails(&mut self) -> Result<StartError> {
        self.waiting.set("for the channel to say why it does not start");
        match self.starting().await {
            Ok(_) => bail!("the channel started"),
            Err(e) => {
                self.start_failed(&e);
                Ok(e)
            }
        }
    }

    /// The adapter.
    pub fn channel(&self) -> Result<Arc<dyn Channel>> {
        self.channel.clone().context("the channel is not started")
    }

    /// Ends the adapter as a kill does: without a word.
    pub async fn crash(&mut self) -> Result<()> {
        drop(self.channel.take());
        self.waiting.set("for the tasks of the dropped channel to end (dropping it must end them)");
        // The settings and the report are of the start; what it keeps of the host is what counts.
        while Arc::strong_count(&self.host) > 1 {
            tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(1))).await?;
        }
        Ok(())
    }

    /// Ends the adapter in order.
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(channel) = &self.channel {
            self.waiting.set("for the channel to stop");
            channel.stop().await;
        }
        self.crash().await
    }

    pub(crate) async fn end(&mut self) {
        if let Some(channel) = self.channel.take() {
            channel.stop().await;
        }
    }

    /// Waits until the host heard what is looked for.
    pub async fn hears<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&Heard) -> Option<T>,
    ) -> Result<T> {
        self.waiting.set(&format!("to hear {what}"));
        let bell = self.host.bell();
        loop {
            let rung = bell.notified();
            if let Some(found) = self.host.look(&mut look) {
                return Ok(found);
            }
            let heard = self.host.look(|h| {
                let texts: Vec<String> = h.texts().iter().rev().take(5).map(|t| short(t)).collect();
                let (changes, health) = (&h.changes, &h.health);
                format!(
                    "{} messages, the last {texts:?}, {changes:?}, {health:?}",
                    h.messages.len()
                )
            });
            self.waiting.set(&format!("to hear {what}; heard were {heard}"));
            rung.await;
        }
    }

    /// Waits until people see what is looked for.
    pub async fn sees<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&[Seen]) -> Option<T>,
    ) -> Result<T> {
        self.waiting.set(&format!("to see {what}"));
        let bell = self.peer.bell();
        loop {
            let rung = bell.notified();
            let shown = self.peer.shown().await?;
            if let Some(found) = look(&shown) {
                return Ok(found);
            }
            let last: Vec<String> =
                shown.iter().rev().take(3).map(|s| short(&format!("{s:?}"))).collect();
            self.waiting
                .set(&format!("to see {what}; {} are shown, the last {last:?}", shown.len()));
            rung.await;
        }
    }

    /// Waits until the peer's bell rang and `look` is content.
    pub async fn peers<T>(
        &mut self,
        what: &str,
        mut look: impl AsyncFnMut(&mut dyn Peer) -> Result<Option<T>>,
    ) -> Result<T> {
        self.waiting.set(&format!("for {what}"));
        let bell = self.peer.bell();
        loop {
            let rung = bell.notified();
            if let Some(found) = look(self.peer.as_mut()).await? {
                return Ok(found);
            }
            rung.await;
        }
    }

    /// A person says something, and the host hears it.
    pub async fn say(&mut self, say: Say) -> Result<Inbound> {
        let what = format!("{:?} from {}", short(&say.text), say.who);
        let id = self.peer.say(say).await?;
        self.hears(&format!("{what} as {id}"), |heard| heard.message(&id).cloned()).await
    }

    /// Where a conversation with the agent is: the direct chat with `ann`, or else a group.
    pub async fn chat(&mut self) -> Result<Address> {
        let place = self.place();
        Ok(self.say(Say::new("ann", place, "hello there").mention()).await?.at)
    }

    /// The place that this platform certainly has.
    pub fn place(&self) -> Place {
        match (self.profile.direct, self.profile.group) {
            (Offer::Yes, _) => Place::Direct,
            (_, Offer::Yes) => Place::Group,
            _ => Place::Thread(1),
        }
    }

    /// A message of the agent, with a key of its own.
    pub fn outgoing(&mut self, to: &Address, body: Body) -> Outgoing {
        self.keys += 1;
        Outgoing { to: to.clone(), body, key: format!("key-{}", self.keys), reply_to: None }
    }

    /// Text of the agent.
    pub fn text(&mut self, to: &Address, markdown: &str) -> Outgoing {
        self.files(to, markdown, Vec::new())
    }

    /// Text and files of the agent.
    pub fn files(&mut self, to: &Address, markdown: &str, files: Vec<OutFile>) -> Outgoing {
        self.outgoing(to, Body::Text { markdown: markdown.to_owned(), files })
    }

    /// Tries once to send.
    pub async fn try_send(&mut self, message: &Outgoing) -> Result<Result<Receipt, SendError>> {
        let channel = self.channel()?;
        let shown = short(&format!("{:?}", message.body));
        self.waiting.set(&format!("for the end of an attempt to send {shown}"));
        let result = channel.send(message).await;
        if let Err(e) = &result {
            self.said.add(&format!("{e} {e:?}"));
        }
        Ok(result)
    }

    /// Sends as the host does: again, when it should be tried again.
    pub async fn send(&mut self, message: &Outgoing) -> Result<Option<String>> {
        let mut last = String::new();
        for _ in 0..TRIES {
            match self.try_send(message).await? {
                Ok(receipt) => return Ok(receipt.id.map(|id| id.to_string())),
                Err(SendError::Retry { after, why }) => {
                    last = why;
                    let wait = after.unwrap_or(Duration::from_secs(1));
                    ensure!(wait <= Duration::from_secs(86_400), "asked to wait {wait:?}");
                    self.waiting.set(&format!("to try again, because {last}"));
                    tokio::time::sleep(wait).await;
                }
                Err(e) => bail!("not sent: {e:?}"),
            }
        }
        bail!("{TRIES} attempts to send failed, the last with: {last}")
    }

    /// Says text to a chat; returns its id, which every channel that can change messages must state.
    pub async fn send_text(&mut self, to: &Address, markdown: &str) -> Result<String> {
        let message = self.text(to, markdown);
        let id = self.send(&message).await?;
        id.context("the receipt has no id")
    }

    /// Lets the adapter's waits pass at once, as long as what this returns lives.
    pub fn hurry(&self) -> Option<Hurry> {
        self.profile.hurry.then(|| Hurry::new(&self.peer.bell(), &self.host.bell()))
    }
}

/// The clock runs ahead while this lives.
pub struct Hurry(JoinHandle<()>);

impl Hurry {
    fn new(peer: &Arc<tokio::sync::Notify>, host: &Arc<tokio::sync::Notify>) -> Self {
        tokio::time::pause();
        let (peer, host) = (peer.clone(), host.clone());
        Self(tokio::spawn(async move {
            let (first, most) = (Duration::from_millis(50), Duration::from_secs(2));
            let mut step = first;
            loop {
                let busy = async {
                    tokio::select! { () = peer.notified() => {}, () = host.notified() => {} }
                };
                // A moment in which the network and the disk do their part.
                let moment = tokio::task::spawn_blocking(|| {
                    std::thread::sleep(Duration::from_millis(1));
                });
                tokio::select! {
                    biased;
                    () = busy => step = first,
                    _ = moment => {
                        tokio::time::advance(step).await;
                        step = (step * 2).min(most);
                    }
                }
            }
        }))
    }
}

impl Drop for Hurry {
    fn drop(&mut self) {
        self.0.abort();
        tokio::time::resume();
    }
}

/// An id of a message, as the port wants it.
pub fn message_id(id: &str) -> Result<PlatformMessageId> {
    PlatformMessageId::parse(id).context("a message id")
}

/// The beginning of a text, for people.
pub fn short(text: &str) -> String {
    let mut short: String = text.chars().take(160).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
