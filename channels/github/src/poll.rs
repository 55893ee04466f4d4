//! Reading what was said: the only way where GitHub cannot reach us, and after an outage the way to what was
//! missed, because GitHub sends a webhook once.
//!
//! A list is read from a little before the newest change that was taken (by GitHub's clock), the oldest change
//! first. Unchanged lists cost nothing. Nothing older than the first look at a repository is anybody's business.

use crate::api::Failed;
use crate::receive::{Event, Remark, last_number};
use crate::wire::{Comment, Issue};
use crate::{Hub, NAME};
use nanoclaw_channel::time::Timestamp;
use nanoclaw_channel::{Health, SendError};
use nanoclaw_kit::backoff::Backoff;
use nanoclaw_kit::store::StoreError;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often it is read: as the only way, and beside webhooks.
pub(crate) const EVERY: Duration = Duration::from_secs(30);
pub(crate) const SELDOM: Duration = Duration::from_secs(300);
/// How long to wait for somebody to mend what only people can.
const BROKEN: Duration = Duration::from_secs(600);
/// What changes may overtake each other by.
const OVERLAP: Duration = Duration::from_secs(60);
const PAGE: usize = 100;
const PAGES_MAX: usize = 30;

impl Hub {
    /// Something was not taken: it is tried again soon, and what comes waits behind it.
    pub(crate) fn fell_behind(&self) {
        self.is_behind.store(true, Ordering::SeqCst);
        self.behind.notify_one();
    }

    /// Reads now and then, and at once when something was not taken.
    pub(crate) async fn tend(self: Arc<Self>, every: Duration) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        loop {
            let wait = match self.round().await {
                Ok(()) => {
                    (self.report)(Health::Up);
                    backoff.reset();
                    every
                }
                Err(SendError::Broken { why }) => {
                    (self.report)(Health::Broken { why });
                    BROKEN
                }
                Err(SendError::Retry { after, why }) => {
                    (self.report)(Health::Reconnecting { why });
                    after.unwrap_or_default().max(backoff.next())
                }
                Err(SendError::Reject { why }) => {
                    tracing::warn!(channel = NAME, %why, "what was said is not read");
                    backoff.next()
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.behind.notified() => tokio::time::sleep(backoff.next()).await,
            }
        }
    }

    /// Reads everything, then takes what was kept meanwhile.
    async fn round(&self) -> Result<(), SendError> {
        let mut events = Vec::new();
        for (key, begin) in self.store.list("begin:").await? {
            let repo = &key["begin:".len()..];
            match self.look(repo, &begin).await {
                Ok(found) => events.extend(found),
                // One repository that is gone or closed to us keeps nobody from the others.
                Err(Failed { error: SendError::Reject { why }, .. }) => {
                    tracing::warn!(channel = NAME, repo, %why, "this repository is not read");
                }
                Err(failed) => {
                    self.is_behind.store(true, Ordering::SeqCst);
                    // What was read of the others was not taken.
                    self.api.forget();
                    return Err(failed.error);
                }
            }
        }
        let _turn = self.turn.lock().await;
        let taken = self.take_all(events).await;
        self.is_behind.store(taken.is_err(), Ordering::SeqCst);
        if taken.is_err() {
            self.api.forget();
        }
        // A host that is busy is no fault of the platform.
        taken.or_else(|why| {
            tracing::warn!(channel = NAME, why, "what was said was not taken; it is tried again");
            self.behind.notify_one();
            Ok(())
        })
    }

    async fn take_all(&self, mut events: Vec<(String, Remark)>) -> Result<(), String> {
        events.sort_by_key(|(_, remark)| (remark.created, remark.updated));
        let words = |e: &dyn std::fmt::Display| e.to_string();
        for (_, remark) in &events {
            self.take(&Event::Found(remark.clone())).await.map_err(|e| words(&e))?;
        }
        for (cursor, remark) in &events {
            let before = self.store.get(cursor).await.map_err(|e| words(&e))?;
            let newer = before
                .and_then(|at| at.parse::<Timestamp>().ok())
                .is_none_or(|at| at < remark.updated);
            if newer {
                self.store.put(cursor, &remark.updated.to_string()).await.map_err(|e| words(&e))?;
            }
        }
        self.drain().await
    }

    /// What is new in a repository, with the cursor that it moves.
    async fn look(&self, repo: &str, begin: &str) -> Result<Vec<(String, Remark)>, Failed> {
        let Ok(begin) = begin.parse::<Timestamp>() else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        let issues: Vec<Issue> = self.list(repo, "issues", "&state=all", begin).await?;
        all.extend(issues.into_iter().filter_map(|issue| {
            let pull = issue.pull_request.is_some();
            Some((format!("cursor:{repo}:issues"), Remark::opening(repo, issue, pull)?))
        }));
        let comments: Vec<Comment> = self.list(repo, "issues/comments", "", begin).await?;
        all.extend(comments.into_iter().filter_map(|comment| {
            let number = last_number(comment.issue_url.as_deref()?)?;
            let pull = comment.html_url.contains("/pull/");
            Some((
                format!("cursor:{repo}:issues/comments"),
                Remark::comment(repo, comment, number, pull)?,
            ))
        }));
        let reviews: Vec<Comment> = self.list(repo, "pulls/comments", "", begin).await?;
        all.extend(reviews.into_iter().filter_map(|comment| {
            Some((format!("cursor:{repo}:pulls/comments"), Remark::review(repo, comment)?))
        }));
        all.retain(|(_, remark)| remark.created >= begin);
        Ok(all)
    }

    async fn list<T: DeserializeOwned>(
        &self,
        repo: &str,
        kind: &str,
        more: &str,
        begin: Timestamp,
    ) -> Result<Vec<T>, Failed> {
        let kept = self.store.get(&format!("cursor:{repo}:{kind}")).await.ok().flatten();
        let since = kept.and_then(|at| at.parse::<Timestamp>().ok()).unwrap_or(begin);
        let since = since.checked_sub(OVERLAP).unwrap_or(since).strftime("%Y-%m-%dT%H:%M:%SZ");
        let mut all = Vec::new();
        let path = |page| {
            format!(
                "repos/{repo}/{kind}?since={since}&sort=updated&direction=asc&per_page={PAGE}&page={page}{more}"
            )
        };
        for page in 1..=PAGES_MAX {
            let more = match self.api.news::<Vec<T>>(&path(page)).await? {
                Some(list) => {
                    let full = list.len() == PAGE;
                    all.extend(list);
                    full
                }
                // A page that is as it was and was full; what is new is behind it.
                None => self.api.knows(&path(page + 1)),
            };
            if !more {
                break;
            }
        }
        Ok(all)
    }

    /// Notes a repository that is heard of for the first time, and from when on.
    pub(crate) async fn begin_of(&self, repo: &str, at: Timestamp) -> Result<(), StoreError> {
        let key = format!("begin:{repo}");
        if self.store.get(&key).await?.is_none() {
            self.store.put(&key, &at.to_string()).await?;
        }
        Ok(())
    }
}
