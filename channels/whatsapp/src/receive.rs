//! From WhatsApp to the host. WhatsApp is told "received" only after the host has a message: the client
//! calls [`Inbox`] before it acknowledges, and what is refused comes again.

use crate::ids;
use crate::line::{Line, channel_type};
use crate::read::{Event, File, Words, read};
use crate::store::Said;
use nanoclaw_channel::time::Timestamp;
use nanoclaw_channel::{
    Address, Change, ChatKind, InFile, Inbound, IngressError, Mention, PlatformMessageId, Quote,
    Sender, What,
};
use nanoclaw_kit::backoff::Backoff;
use nanoclaw_kit::files::{safe_name, size};
use std::sync::{Arc, Weak};
use std::time::Duration;
use whatsapp_rust::anyhow::{Result as Committed, bail};
use whatsapp_rust::prelude::{Client, InboundMessage, MessageInfo, wa};
use whatsapp_rust::wacore_binary::JidExt as _;
use whatsapp_rust::{InboundDurabilityHook, Jid};

/// Largest file that comes in.
pub(crate) const FILE_IN_MAX: u64 = 64 * 1024 * 1024;
/// How long one file may take.
const FILE_WAIT: Duration = Duration::from_secs(120);

/// Where the client brings messages, in the order of each chat.
pub(crate) struct Inbox(pub(crate) Weak<Line>);

#[whatsapp_rust::async_trait]
impl InboundDurabilityHook for Inbox {
    async fn on_messages(&self, client: Arc<Client>, batch: &[InboundMessage]) -> Committed<()> {
        let Some(line) = self.0.upgrade() else { bail!("the channel ends") };
        for message in batch {
            line.take(&client, &message.message, &message.info).await?;
        }
        Ok(())
    }
}

/// Where and by whom something was done, in the names of the host.
struct Place {
    at: Address,
    kind: ChatKind,
    by: Jid,
    sender: Sender,
    id: PlatformMessageId,
    when: Timestamp,
}

/// What the host is given.
enum Gift {
    Push(Box<Inbound>),
    Change(Box<Change>),
}

impl Line {
    /// Takes one message, however often the host has to be asked.
    pub(crate) async fn take(
        &self,
        client: &Client,
        message: &wa::Message,
        info: &MessageInfo,
    ) -> Result<(), IngressError> {
        let Some(event) = read(message) else { return Ok(()) };
        let Some(place) = self.place(client, info).await else { return Ok(()) };
        let gift = match event {
            Event::Said(words) => self.said(client, &words, place).await?,
            Event::Edited(key, text) => self.change(key, What::Edited(text), place).await,
            Event::Deleted(key) => self.change(key, What::Deleted, place).await,
            Event::Reacted(key, emoji) => {
                let what = self.reaction(&place, key, emoji).await;
                self.change(key, what, place).await
            }
        };
        let Some(gift) = gift else { return Ok(()) };
        let mut pause = Backoff::new(Duration::from_millis(200), Duration::from_secs(3));
        let connection = self.connection();
        loop {
            // A new connection brings it again.
            if self.connection() != connection {
                return Err(IngressError("the connection has ended".into()));
            }
            let given = match &gift {
                Gift::Push(said) => self.ingress.push((**said).clone()).await,
                Gift::Change(change) => self.ingress.change((**change).clone()).await,
            };
            let Err(e) = given else { break };
            // What comes later in this chat waits: order is kept.
            tracing::warn!("a WhatsApp message was not taken: {e}; it is offered again");
            tokio::time::sleep(pause.next()).await;
        }
        if self.own_number && matches!(gift, Gift::Push(_)) {
            let by = info.source.is_group.then_some(&info.source.sender);
            // Best effort: a mark that is missing is no loss.
            if let Err(e) = client.mark_as_read(&info.source.chat, by, &[&info.id]).await {
                tracing::debug!("a message was not marked as read: {e}");
            }
        }
        Ok(())
    }

    /// A change; `None` if it is not for who did it to do, or about nothing that has an id.
    async fn change(&self, key: &wa::MessageKey, what: What, place: Place) -> Option<Gift> {
        let message = PlatformMessageId::parse(key.id.as_deref()?).ok()?;
        // An edit or a deletion in the name of somebody else is none; only in a group an administrator may
        // delete, which WhatsApp itself checks.
        let authors = match what {
            What::Edited(_) => true,
            What::Deleted => place.kind == ChatKind::Direct,
            What::Reacted { .. } | What::Undelivered(_) => false,
        };
        if authors
            && let Some(said) =
                self.store.said(place.at.platform_id.as_str(), message.as_str()).await
            && (said.me || said.who != place.sender.handle)
        {
            return None;
        }
        let Place { at, id, when: timestamp, sender, .. } = place;
        Some(Gift::Change(Box::new(Change {
            at,
            id,
            message,
            timestamp,
            sender: Some(sender),
            what,
        })))
    }

    /// A reaction; WhatsApp does not say which one is taken back.
    async fn reaction(&self, place: &Place, key: &wa::MessageKey, emoji: &str) -> What {
        let was =
            self.store.reaction(key.id.as_deref().unwrap_or(""), &place.sender.handle, emoji).await;
        match emoji {
            "" => What::Reacted { emoji: was.unwrap_or_default(), removed: true },
            emoji => What::Reacted { emoji: emoji.to_owned(), removed: false },
        }
    }

    async fn said(
        &self,
        client: &Client,
        words: &Words<'_>,
        place: Place,
    ) -> Result<Option<Gift>, IngressError> {
        let chat = place.at.platform_id.as_str();
        let quoted = words.context.filter(|c| c.stanza_id.is_some());
        let answered = match quoted.and_then(|c| c.stanza_id.as_deref()) {
            Some(id) => self.store.said(chat, id).await,
            None => None,
        };
        let mine = |jid: &String| jid.parse().is_ok_and(|jid| is_me(client, &jid));
        let named = words.context.is_some_and(|c| c.mentioned_jid.iter().any(mine));
        let to_me = answered.as_ref().is_some_and(|said| said.me)
            || (self.own_number && quoted.and_then(|c| c.participant.as_ref()).is_some_and(mine));
        let addressed = place.kind == ChatKind::Direct || named || to_me;
        let text = self.readable(client, &words.text);
        let files = match &words.file {
            Some(file) => vec![fetch(client, file).await],
            None => Vec::new(),
        };
        let (by, who) = (place.by.to_non_ad_string(), place.sender.handle.clone());
        let said = Said { me: false, by, who, text: text.clone() };
        let kept = self.store.remember(chat, place.id.as_str(), &said).await;
        kept.map_err(|e| IngressError(e.to_string()))?;
        Ok(Some(Gift::Push(Box::new(Inbound {
            at: place.at,
            reply: None,
            id: place.id,
            timestamp: place.when,
            sender: place.sender,
            person: None,
            text,
            mention: if addressed { Mention::Yes } else { Mention::No },
            chat: place.kind,
            files,
            reply_to: quoted.map(|context| quote(context, answered)),
            only_for: None,
        }))))
    }

    /// The text, with the agent's name where WhatsApp wrote its number.
    fn readable(&self, client: &Client, text: &str) -> String {
        let me = [client.pn(), client.lid()].into_iter().flatten();
        me.fold(text.to_owned(), |text, me| {
            text.replace(&format!("@{}", me.user), &format!("@{}", self.name))
        })
    }

    /// Where it was done and by whom; `None` for what is not for the agent: its own messages, what its
    /// account wrote to others elsewhere, broadcasts and channels.
    async fn place(&self, client: &Client, info: &MessageInfo) -> Option<Place> {
        let source = &info.source;
        let other = if source.is_from_me { &source.recipient_alt } else { &source.sender_alt };
        let platform_id = ids::encode(&canonical(client, &source.chat, other.as_ref()).await)?;
        let kind = if source.chat.is_group() { ChatKind::Group } else { ChatKind::Direct };
        if source.is_from_me {
            let to_self = kind == ChatKind::Direct && is_me(client, &source.chat);
            if !to_self
                || self.store.said(platform_id.as_str(), &info.id).await.is_some_and(|s| s.me)
            {
                return None;
            }
        }
        let handle =
            canonical(client, &source.sender, source.sender_alt.as_ref()).await.to_non_ad_string();
        let name = Some(info.push_name.trim()).filter(|name| !name.is_empty());
        let name = self.store.name(&handle, name).await;
        Some(Place {
            at: Address { channel_type: channel_type(), platform_id, thread_id: None },
            kind,
            by: source.sender.clone(),
            sender: Sender { handle, name },
            id: PlatformMessageId::parse(info.id.as_str()).ok()?,
            when: Timestamp::from_second(info.timestamp.timestamp()).ok()?,
        })
    }
}

/// The one address of a person: the phone number, where WhatsApp tells it.
async fn canonical(client: &Client, jid: &Jid, other: Option<&Jid>) -> Jid {
    if !jid.is_lid() {
        return jid.to_non_ad();
    }
    if let Some(phone) = other.filter(|other| other.is_pn()) {
        return phone.to_non_ad();
    }
    match client.get_lid_pn_entry(jid).await {
        Ok(Some(entry)) => Jid::pn(&*entry.phone_number),
        _ => jid.to_non_ad(),
    }
}

/// Whether an address is this account's.
fn is_me(client: &Client, jid: &Jid) -> bool {
    let same = |me: &Jid| me.user == jid.user && me.server == jid.server;
    client.pn().as_ref().is_some_and(same) || client.lid().as_ref().is_some_and(same)
}

/// Fetches and decrypts a file; what could not be fetched says why.
async fn fetch(client: &Client, file: &File<'_>) -> InFile {
    let read = async {
        if file.media.file_length().is_some_and(|size| size > FILE_IN_MAX) {
            return Err(format!("it is larger than {}", size(FILE_IN_MAX)));
        }
        match tokio::time::timeout(FILE_WAIT, client.download(file.media)).await {
            Ok(Ok(bytes)) if bytes.len() as u64 <= FILE_IN_MAX => Ok(bytes),
            Ok(Ok(_)) => Err(format!("it is larger than {}", size(FILE_IN_MAX))),
            Ok(Err(e)) => {
                tracing::warn!("a file was not fetched: {e:#}");
                Err("WhatsApp's servers did not give it out; it can be sent again".to_owned())
            }
            Err(_) => Err("it took too long to fetch; it can be sent again".to_owned()),
        }
    };
    let (bytes, missing) = match read.await {
        Ok(bytes) => (bytes, None),
        Err(why) => (Vec::new(), Some(why)),
    };
    let name = safe_name(file.name, file.kind, file.mime);
    InFile { kind: file.kind.to_owned(), name, mime: file.mime.map(str::to_owned), bytes, missing }
}

/// What was answered, as far as it is known.
pub(crate) fn quote(context: &wa::ContextInfo, said: Option<Said>) -> Quote {
    let shown = || match read(context.quoted_message.as_option()?)? {
        Event::Said(words) => Some(words.text),
        _ => None,
    };
    let (who, text) = match said {
        Some(said) => (Some(said.who), Some(said.text)),
        None => (context.participant.clone(), shown()),
    };
    Quote { id: context.stanza_id.clone(), sender: who, text: text.filter(|text| !text.is_empty()) }
}
