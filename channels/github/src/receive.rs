//! From what was said in a repository to what an agent reads, whether a webhook brought it or it was read.

use crate::ids::{Post, Spot, Thread};
use crate::wire::{Account, Comment, Issue};
use crate::{Hub, NAME, text};
use nanoclaw_channel::time::Timestamp;
use nanoclaw_channel::{
    Change, ChatKind, Inbound, IngressError, Mention, PlatformMessageId, Sender, What,
};
use nanoclaw_kit::sign;
use nanoclaw_kit::store::StoreError;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long it is known that something was taken.
const SEEN: Duration = Duration::from_secs(180 * 24 * 3600);

/// Something that somebody said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Remark {
    pub(crate) repo: String,
    pub(crate) thread: Thread,
    pub(crate) post: Post,
    pub(crate) author: Account,
    pub(crate) text: String,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Event {
    Said(Remark),
    Edited {
        remark: Remark,
        by: Account,
    },
    Deleted {
        remark: Remark,
        by: Account,
    },
    /// Found in a list: new, changed, or neither.
    Found(Remark),
}

impl Event {
    pub(crate) fn remark(&self) -> &Remark {
        match self {
            Self::Said(remark) | Self::Found(remark) => remark,
            Self::Edited { remark, .. } | Self::Deleted { remark, .. } => remark,
        }
    }
}

impl Remark {
    /// The text of an issue or a pull request.
    pub(crate) fn opening(repo: &str, issue: Issue, pull: bool) -> Option<Self> {
        let number = Some(issue.number).filter(|n| *n > 0)?;
        let body = clean(issue.body);
        let text = if body.is_empty() { issue.title } else { format!("{}\n\n{body}", issue.title) };
        Some(Self {
            repo: repo.to_owned(),
            thread: if pull { Thread::Pull(number) } else { Thread::Issue(number) },
            post: Post::Opening(number),
            author: issue.user?,
            text,
            created: issue.created_at,
            updated: issue.updated_at,
        })
    }

    /// A comment on an issue or a pull request.
    pub(crate) fn comment(repo: &str, comment: Comment, number: u64, pull: bool) -> Option<Self> {
        let thread = if pull { Thread::Pull(number) } else { Thread::Issue(number) };
        Self::of(repo, comment, thread, Post::Comment, String::new())
    }

    /// A comment on lines; the first of its discussion shows which.
    pub(crate) fn review(repo: &str, comment: Comment) -> Option<Self> {
        let pull = last_number(comment.pull_request_url.as_deref()?)?;
        let root = comment.in_reply_to_id.unwrap_or(comment.id);
        let lines = match (&comment.path, &comment.diff_hunk, comment.in_reply_to_id) {
            (Some(path), hunk, None) => {
                let hunk = hunk.as_deref().unwrap_or_default().replace("```", "` ` `");
                format!("On `{path}`:\n```diff\n{hunk}\n```\n\n")
            }
            _ => String::new(),
        };
        Self::of(repo, comment, Thread::Review { pull, root }, Post::Review, lines)
    }

    fn of(
        repo: &str,
        comment: Comment,
        thread: Thread,
        post: fn(u64) -> Post,
        before: String,
    ) -> Option<Self> {
        // What has no number has no address.
        if thread.number() == 0 || comment.id == 0 {
            return None;
        }
        Some(Self {
            repo: repo.to_owned(),
            thread,
            post: post(comment.id),
            author: comment.user?,
            text: before + &clean(comment.body),
            created: comment.created_at,
            updated: comment.updated_at,
        })
    }

    fn seen(&self) -> String {
        format!("m:{}:{}", self.repo, self.post)
    }

    fn spot(&self) -> Spot {
        Spot { repo: self.repo.clone(), thread: Some(self.thread) }
    }
}

fn clean(body: Option<String>) -> String {
    body.unwrap_or_default().replace("\r\n", "\n").trim().to_owned()
}

/// The number at the end of a URL.
pub(crate) fn last_number(url: &str) -> Option<u64> {
    url.rsplit('/').next()?.parse().ok()
}

/// What tells one text from another.
fn hash(text: &str) -> String {
    sign::hex(&sign::hmac_sha256(b"text", &[text.as_bytes()])[..12])
}

impl Hub {
    /// Takes what happened. Durable when this returns: it is in the host's inbox, and known here. Killed between
    /// the two, it comes again and the host knows it.
    pub(crate) async fn take(&self, event: &Event) -> Result<(), IngressError> {
        let remark = event.remark();
        if self.is_not_from_people(&remark.author) {
            return Ok(());
        }
        let known = self.store.get(&remark.seen()).await?;
        // Comments, labels and the like bring an old issue up again, long after it was taken.
        let old = remark.updated.duration_since(remark.created).unsigned_abs() > SEEN / 2;
        let same = known.as_ref().is_some_and(|known| *known == hash(&remark.text));
        match event {
            Event::Said(_) if known.is_some() => Ok(()),
            Event::Found(_) if same => Ok(()),
            Event::Found(_) if known.is_some() => self.edited(remark, &remark.author).await,
            Event::Found(_) if old => Ok(self.remember(remark).await?),
            Event::Said(_) | Event::Found(_) => self.said(remark).await,
            Event::Edited { .. } if same => Ok(()),
            // That it was said was never heard: webhooks come once.
            Event::Edited { .. } if known.is_none() && !old && self.is_ours(remark).await? => {
                self.said(remark).await
            }
            Event::Edited { by, .. } => self.edited(remark, by).await,
            Event::Deleted { by, .. } => self.change(remark, "delete", by, What::Deleted).await,
        }
    }

    /// Our own, and those of programs: whoever answers those ends in a loop.
    fn is_not_from_people(&self, author: &Account) -> bool {
        author.id == self.me.id || author.kind == "Bot"
    }

    async fn said(&self, remark: &Remark) -> Result<(), IngressError> {
        let Some(mut inbound) = self.read(remark) else { return Ok(()) };
        let number = remark.thread.number();
        // An answer in what the agent began is an answer to the agent.
        if self.store.get(&began(&remark.repo, number)).await?.is_some() {
            inbound.mention = Mention::Yes;
        }
        self.ingress.push(inbound).await?;
        Ok(self.remember(remark).await?)
    }

    async fn remember(&self, remark: &Remark) -> Result<(), StoreError> {
        self.store.put_for(&remark.seen(), &hash(&remark.text), SEEN).await
    }

    /// Whether it was said after the repository was first heard of.
    async fn is_ours(&self, remark: &Remark) -> Result<bool, StoreError> {
        let begin = self.store.get(&format!("begin:{}", remark.repo)).await?;
        let begin = begin.and_then(|begin| begin.parse::<Timestamp>().ok());
        Ok(begin.is_some_and(|begin| remark.created >= begin))
    }

    async fn edited(&self, remark: &Remark, by: &Account) -> Result<(), IngressError> {
        self.change(remark, "edit", by, What::Edited(remark.text.clone())).await?;
        Ok(self.remember(remark).await?)
    }

    /// A remark as the host takes it.
    pub(crate) fn read(&self, remark: &Remark) -> Option<Inbound> {
        let named = text::names(&remark.text, &self.me.login);
        let read = (|| {
            Some(Inbound {
                at: remark.spot().address().ok()?,
                reply: None,
                id: remark.post.id().ok()?,
                timestamp: remark.created,
                sender: sender(&remark.author),
                person: None,
                text: remark.text.clone(),
                mention: if named { Mention::Yes } else { Mention::No },
                chat: ChatKind::Group,
                files: Vec::new(),
                reply_to: None,
                only_for: None,
            })
        })();
        if read.is_none() {
            tracing::warn!(channel = NAME, post = %remark.post, "a remark that has no usable address is left out");
        }
        read.filter(|inbound| !inbound.text.is_empty())
    }

    async fn change(
        &self,
        of: &Remark,
        kind: &str,
        by: &Account,
        what: What,
    ) -> Result<(), IngressError> {
        let id = format!("{kind}:{}:{}:{}", of.post, of.updated.as_second(), hash(&of.text));
        let (Ok(at), Ok(id), Ok(message)) =
            (of.spot().address(), PlatformMessageId::parse(id), of.post.id())
        else {
            return Ok(());
        };
        let sender = Some(sender(by));
        self.ingress.change(Change { at, id, message, timestamp: of.updated, sender, what }).await
    }
}

fn sender(account: &Account) -> Sender {
    Sender { handle: account.id.to_string(), name: Some(account.login.clone()) }
}

/// Under which key it is known that the agent opened an issue.
pub(crate) fn began(repo: &str, number: u64) -> String {
    format!("began:{repo}:{number}")
}
