//! What is remembered of conversations: which mail is in which, and how to answer the last one.

use crate::ids::{Place, Thread};
use crate::mail::Mail;
use nanoclaw_kit::store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a conversation is known after its last mail.
const REMEMBERED: Duration = Duration::from_secs(400 * 24 * 3600);

/// Ids that an answer refers to; the first and the last ones.
const REFERENCES_MAX: usize = 20;

/// How to answer in a conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) subject: String,
    /// The mails of it, the oldest first.
    pub(crate) ids: Vec<String>,
}

impl Known {
    fn add(&mut self, id: &str) {
        if self.ids.iter().any(|known| known == id) {
            return;
        }
        self.ids.push(id.to_owned());
        if self.ids.len() > REFERENCES_MAX {
            self.ids.remove(1);
        }
    }
}

/// The memory of one mailbox.
#[derive(Clone)]
pub(crate) struct Threads {
    pub(crate) store: Store,
    pub(crate) channel: &'static str,
}

impl Threads {
    /// The conversation of a mail that came in, which now knows it.
    pub(crate) async fn place(&self, mail: &Mail) -> Result<Place, StoreError> {
        let who = mail.from.as_str();
        let mut thread = None;
        for id in mail.references.iter().rev() {
            if let Some(known) = self.store.get(&format!("mail:{who}:{id}")).await? {
                thread = Thread::parse(&known);
                break;
            }
        }
        let root = mail.references.first().unwrap_or(&mail.id);
        let thread = thread.unwrap_or_else(|| Thread::of(root));
        let place = Place { email: mail.from.clone(), thread: Some(thread) };
        let mut known = self.known(&place).await?.unwrap_or_default();
        if known.subject.is_empty() {
            known.subject.clone_from(&mail.subject);
        }
        mail.references.iter().chain([&mail.id]).for_each(|id| known.add(id));
        self.keep(&place, &known, &mail.id).await?;
        Ok(place)
    }

    /// What is known of a conversation.
    pub(crate) async fn known(&self, place: &Place) -> Result<Option<Known>, StoreError> {
        let Some(thread) = &place.thread else { return Ok(None) };
        let key = format!("thread:{}:{}", place.email.as_str(), thread.as_str());
        let text = self.store.get(&key).await?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Remembers a mail that goes out, in a conversation that may be new.
    pub(crate) async fn sent(
        &self,
        place: &Place,
        begun: Known,
        id: &str,
    ) -> Result<(), StoreError> {
        let mut known = self.known(place).await?.unwrap_or(begun);
        known.add(id);
        self.keep(place, &known, id).await
    }

    /// A mail that went out is called otherwise by those who got it.
    pub(crate) async fn renamed(
        &self,
        place: &Place,
        old: &str,
        new: &str,
    ) -> Result<(), StoreError> {
        let Some(mut known) = self.known(place).await? else { return Ok(()) };
        known.ids.iter_mut().filter(|id| *id == old).for_each(|id| new.clone_into(id));
        self.keep(place, &known, new).await
    }

    async fn keep(&self, place: &Place, known: &Known, id: &str) -> Result<(), StoreError> {
        let Some(thread) = &place.thread else { return Ok(()) };
        let who = place.email.as_str();
        let text = serde_json::to_string(known).unwrap_or_default();
        let key = format!("thread:{who}:{}", thread.as_str());
        self.store.put_for(&key, &text, REMEMBERED).await?;
        self.store.put_for(&format!("mail:{who}:{id}"), thread.as_str(), REMEMBERED).await
    }
}
