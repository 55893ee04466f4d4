//! Hands mails to the host, each once, however it came.

use crate::mail::{Mail, in_file};
use crate::threads::Threads;
use nanoclaw_channel::time::{Clock as _, SystemClock};
use nanoclaw_channel::{ChatKind, Inbound, Ingress, Mention, PlatformMessageId};
use nanoclaw_kit::backoff::Backoff;
use nanoclaw_kit::store::StoreError;
use std::sync::Arc;
use std::time::Duration;

/// How long a mail is known to have been handed over.
pub(crate) const SEEN_FOR: Duration = Duration::from_secs(60 * 24 * 3600);

/// Where mails are handed over.
pub(crate) struct Desk {
    pub(crate) threads: Threads,
    pub(crate) ingress: Arc<dyn Ingress>,
}

impl Desk {
    /// Hands over one mail, however often it takes. Of one that is too large, `large` says so and stands for
    /// its files.
    pub(crate) async fn take(
        &self,
        mail: Mail,
        large: Option<String>,
        backoff: &mut Backoff,
    ) -> Result<(), StoreError> {
        let seen = format!("seen:{}:{}", mail.from.as_str(), mail.id);
        if self.threads.store.get(&seen).await?.is_some() {
            return Ok(());
        }
        let place = self.threads.place(&mail).await?;
        let (Some(at), Ok(id)) =
            (place.address(self.threads.channel), PlatformMessageId::parse(&mail.id))
        else {
            return Ok(());
        };
        let now = SystemClock.now();
        // The subject of an answer was said before.
        let text = match mail.references.is_empty() && !mail.subject.is_empty() {
            true => format!("Subject: {}\n\n{}", mail.subject, mail.text).trim_end().to_owned(),
            false => mail.text,
        };
        let inbound = Inbound {
            at,
            reply: None,
            id,
            timestamp: mail.at.filter(|at| *at <= now).unwrap_or(now),
            sender: mail.sender,
            person: None,
            text,
            mention: Mention::Yes,
            chat: ChatKind::Direct,
            files: match large {
                Some(why) => vec![in_file("mail.eml", None, Err(why))],
                None => mail.files,
            },
            reply_to: None,
            only_for: None,
        };
        while let Err(error) = self.ingress.push(inbound.clone()).await {
            let channel = self.threads.channel;
            tracing::warn!(channel, %error, "a mail was not taken; it is tried again");
            tokio::time::sleep(backoff.next()).await;
        }
        self.threads.store.put_for(&seen, "", SEEN_FOR).await
    }
}
