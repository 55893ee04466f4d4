//! The other side of a channel: people and their platform, real or scripted.

use anyhow::{Result, bail};
use async_trait::async_trait;
use nanoclaw_channel::ChannelDef;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Whether a platform offers something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// It does, so it must work.
    Yes,
    /// It does not; the words say why and stand in the documentation.
    No(&'static str),
}

/// What a platform offers, and what the peer is.
#[derive(Debug, Clone)]
pub struct Profile {
    /// What people call the platform.
    pub title: &'static str,
    /// What the peer is, in words for the documentation.
    pub verified: &'static str,
    /// Chats of one person with the agent.
    pub direct: Offer,
    /// Chats of several people.
    pub group: Offer,
    /// Threads (topics, conversations) in a chat.
    pub threads: Offer,
    /// A chat with threads that can be written to outside of them.
    pub unthreaded: Offer,
    /// Bold, links, code and the like; without, text is shown as it is.
    pub markup: Offer,
    /// That the agent can be addressed by name in a group.
    pub mentions: Offer,
    /// That a message can answer another one.
    pub replies: Offer,
    /// Edits by people.
    pub edits_in: Offer,
    /// Messages taken back by people.
    pub deletes_in: Offer,
    /// Reactions by people.
    pub reactions_in: Offer,
    /// Edits by the agent.
    pub edits_out: Offer,
    /// Reactions by the agent.
    pub reactions_out: Offer,
    /// Buttons under a question.
    pub buttons: Offer,
    /// Files from people.
    pub files_in: Offer,
    /// Files from the agent.
    pub files_out: Offer,
    /// Text and a file in one message from people.
    pub captions_in: Offer,
    /// A sign that the agent types.
    pub typing: Offer,
    /// What was said in a thread before.
    pub history: Offer,
    /// A direct chat that the agent begins.
    pub open_dm: Offer,
    /// Names of chats.
    pub chat_names: Offer,
    /// What was said while the channel was away comes later.
    pub catch_up: Offer,
    /// A message that was sent twice with one key is shown once.
    pub idempotent: Offer,
    /// Webhooks, which must be signed.
    pub signed_webhook: Offer,
    /// Markup that the platform may refuse.
    pub markup_refused: Offer,
    /// A "busy, come back later" answer.
    pub busy: Offer,
    /// A token or login that can be taken back.
    pub revoked: Offer,
    /// A connection that the adapter keeps, and whose loss it notices.
    pub link: Offer,
    /// Requests of the adapter to a server, which can fail or hang ([`Fault::Down`], [`Fault::HalfOpen`]).
    pub requests: Offer,
    /// Longest text of one message by a person, in bytes of ASCII.
    pub text_in_max: usize,
    /// How many messages a burst has: fewer than a thousand only where a real server needs long for each.
    pub burst: usize,
    /// Whether the adapter's waits may pass at once: yes for a peer in this process, no for a real server,
    /// which needs its time.
    pub hurry: bool,
}

impl Profile {
    /// A platform that offers everything; say what it does not with `..Profile::all(…)`.
    pub const fn all(title: &'static str, verified: &'static str) -> Self {
        Self {
            title,
            verified,
            direct: Offer::Yes,
            group: Offer::Yes,
            threads: Offer::Yes,
            unthreaded: Offer::Yes,
            markup: Offer::Yes,
            mentions: Offer::Yes,
            replies: Offer::Yes,
            edits_in: Offer::Yes,
            deletes_in: Offer::Yes,
            reactions_in: Offer::Yes,
            edits_out: Offer::Yes,
            reactions_out: Offer::Yes,
            buttons: Offer::Yes,
            files_in: Offer::Yes,
            files_out: Offer::Yes,
            captions_in: Offer::Yes,
            typing: Offer::Yes,
            history: Offer::Yes,
            open_dm: Offer::Yes,
            chat_names: Offer::Yes,
            catch_up: Offer::Yes,
            idempotent: Offer::Yes,
            signed_webhook: Offer::Yes,
            markup_refused: Offer::Yes,
            busy: Offer::Yes,
            revoked: Offer::Yes,
            link: Offer::Yes,
            requests: Offer::Yes,
            text_in_max: 4 * 1024 * 1024,
            burst: 1_000,
            hurry: true,
        }
    }
}

/// Where something is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the direct chat of who says it.
    Direct,
    /// In the group, outside of threads.
    Group,
    /// In a thread of the group; each number is another thread.
    Thread(u8),
}

/// Something that a person says.
#[derive(Debug, Clone)]
pub struct Say {
    /// Who: `ann`, `bob` or `cleo`. Each has an id and a name of their own on the platform; `cleo` has not
    /// spoken before in any case that writes to her first.
    pub who: &'static str,
    /// Where.
    pub place: Place,
    /// The words.
    pub text: String,
    /// Files that come along.
    pub files: Vec<PeerFile>,
    /// Whether the agent is addressed, the way the platform does it.
    pub mention: bool,
    /// The message that it answers.
    pub reply_to: Option<String>,
}

impl Say {
    /// Plain words.
    pub fn new(who: &'static str, place: Place, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { who, place, text, files: Vec::new(), mention: false, reply_to: None }
    }

    /// The same, to the agent.
    pub fn mention(mut self) -> Self {
        self.mention = true;
        self
    }

    /// The same, as the answer to a message.
    pub fn reply_to(mut self, id: impl Into<String>) -> Self {
        self.reply_to = Some(id.into());
        self
    }

    /// The same, with a file.
    pub fn file(mut self, file: PeerFile) -> Self {
        self.files.push(file);
        self
    }
}

/// A file on the platform.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerFile {
    /// Its name.
    pub name: String,
    /// Its media type, if the sender states one.
    pub mime: Option<String>,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// How large the platform says it is, where that is not the length of `bytes`: for files too large to
    /// be made for a test.
    pub size: Option<u64>,
}

/// A message of the agent as people see it now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// What the platform calls it, as in a receipt.
    pub id: String,
    /// Where it is (`platform_id`).
    pub chat: String,
    /// In which thread (`thread_id`).
    pub thread: Option<String>,
    /// What people read: markup is shown as what it means, not as marks.
    pub text: String,
    /// Files in it.
    pub files: Vec<PeerFile>,
    /// Labels of the buttons below it.
    pub buttons: Vec<String>,
    /// The message that it answers.
    pub reply_to: Option<String>,
    /// Whether it was changed.
    pub edited: bool,
}

/// A reaction of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reacted {
    /// To which message.
    pub message: String,
    /// The character.
    pub emoji: String,
}

/// How the platform misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Too many requests.
    Busy {
        /// When to come back, if it says.
        after: Option<Duration>,
    },
    /// A server error (5xx).
    Down,
    /// It takes the request and never answers.
    HalfOpen,
    /// The token is no longer good, for everything and until [`Peer::fail`] is called with `times` 0.
    Revoked,
    /// The markup is refused; plain text would be taken.
    MarkupRefused,
    /// The message is shown, and the connection breaks before the answer.
    AnswerLost,
}

/// A webhook that is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgery {
    /// Without a signature.
    Unsigned,
    /// With a wrong signature.
    Wrong,
    /// Signed, but long ago.
    Stale,
    /// Signed and sent a second time.
    Replayed,
    /// Signed, and larger than anything real.
    TooLarge,
    /// Signed, and not what the platform would send.
    Garbage,
}

/// People and their platform. What a platform does not offer need not be written.
#[async_trait(?Send)]
pub trait Peer {
    /// The channel under test.
    fn channel(&self) -> &'static ChannelDef;

    /// Its settings.
    fn settings(&self) -> BTreeMap<String, String>;

    /// What the platform offers.
    fn profile(&self) -> Profile;

    /// Rings whenever something happened on the platform: a request came, a message was shown.
    fn bell(&self) -> Arc<Notify>;

    /// What must never be seen in logs and errors: the secret settings, and more if there is more.
    fn secrets(&self) -> Vec<String> {
        let settings = self.settings();
        let secret = self.channel().settings.iter().filter(|s| s.secret);
        secret.filter_map(|s| settings.get(s.name).cloned()).collect()
    }

    /// The handle of a person, as in [`nanoclaw_channel::Sender`], and their name there.
    fn person(&self, who: &str) -> (String, Option<String>);

    /// Says something; returns what [`nanoclaw_channel::Inbound::id`] must be.
    async fn say(&mut self, say: Say) -> Result<String>;

    /// Says many things at once, as after an outage, in this order; the platform hands them over as it likes.
    async fn burst(&mut self, says: Vec<Say>) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        for say in says {
            ids.push(self.say(say).await?);
        }
        Ok(ids)
    }

    /// Something that the agent itself said comes back, or another bot speaks: must not come in. Returns
    /// whether the platform does such a thing.
    async fn echo(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// Something that the platform sends and no adapter has heard of, or that is broken: must do no harm.
    /// Returns whether the peer can do that.
    async fn nonsense(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// A person changes what they said. `id` is what [`Peer::say`] returned.
    async fn edit(&mut self, id: &str, text: &str) -> Result<()> {
        bail!("this peer cannot edit {id} to {text:?}")
    }

    /// A person takes back what they said.
    async fn delete(&mut self, id: &str) -> Result<()> {
        bail!("this peer cannot delete {id}")
    }

    /// A person (`ann`) reacts, or takes the reaction back.
    async fn react(&mut self, id: &str, emoji: &str, removed: bool) -> Result<()> {
        bail!("this peer cannot react to {id} with {emoji} ({removed})")
    }

    /// Delivers the same event once more.
    async fn again(&mut self, id: &str) -> Result<()> {
        bail!("this peer cannot deliver {id} again")
    }

    /// A person presses a button.
    async fn click(&mut self, message: &str, label: &str, who: &str) -> Result<()> {
        bail!("this peer has no button {label:?} for {who} on {message}")
    }

    /// Everything that the agent said, in order, as people see it now.
    async fn shown(&mut self) -> Result<Vec<Seen>>;

    /// The reactions of the agent that are there now.
    async fn reacted(&mut self) -> Result<Vec<Reacted>> {
        Ok(Vec::new())
    }

    /// How often people saw that the agent types.
    async fn typing(&mut self) -> Result<usize> {
        Ok(0)
    }

    /// What people call a place, if chats have names.
    fn chat_name(&self, place: Place) -> Option<String> {
        let _ = place;
        None
    }

    /// How many requests the adapter made until now, for telling a storm.
    fn calls(&self) -> usize {
        0
    }

    /// The next `times` messages that the agent sends meet this; 0 ends it.
    async fn fail(&mut self, fault: Fault, times: u32) -> Result<()> {
        bail!("this peer cannot fail with {fault:?} ({times})")
    }

    /// Cuts the network between adapter and platform, or mends it. People talk on meanwhile.
    async fn cut(&mut self, cut: bool) -> Result<()> {
        bail!("this peer cannot cut the network ({cut})")
    }

    /// The platform's clock is off by so many seconds from now on. Returns whether it has a say.
    async fn skew(&mut self, seconds: i64) -> Result<bool> {
        let _ = seconds;
        Ok(false)
    }

    /// Sends a forged webhook; returns the HTTP status that it got.
    async fn forge(&mut self, forgery: Forgery) -> Result<u16> {
        bail!("this peer has no webhook to forge ({forgery:?})")
    }
}
