//! The channel `github`: an account that takes part in issues and pull requests.
//!
//! ```text
//! GitHub ──▶ hook (signed webhook) ──▶ kept, while something before it was not taken ┐
//!        ◀── poll (lists, ETags) ────────────────────────────────────────────────────┴─▶ receive ──▶ Ingress
//!        ◀── send ◀── Channel::send
//! ```
//!
//! A repository is a chat, an issue or a pull request a thread in it. GitHub sends a webhook once, so everything is
//! read now and then too; with no public URL, reading is the only way. Begin with [`mod@receive`] and [`mod@send`].

mod api;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod hook;
mod ids;
mod poll;
mod receive;
mod send;
mod text;
mod wire;

use api::Api;
use async_trait::async_trait;
use ids::{Post, Spot, Thread, is_repo, repo_of};
use nanoclaw_channel::split::Unit;
use nanoclaw_channel::time::{Clock as _, SystemClock};
use nanoclaw_channel::{
    Address, Capabilities, Channel, ChannelDef, Health, Inbound, Ingress, Outgoing, PlatformId,
    PlatformMessageId, Receipt, Report, SendError, SettingSpec, Start, StartError, Started,
};
use nanoclaw_kit::pace::Pace;
use nanoclaw_kit::store::Store;
use nanoclaw_kit::webhook::{self, Mount};
use receive::Remark;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

const NAME: &str = "github";
/// Pages of a thread that are read for what was said before.
const HISTORY_PAGES: usize = 10;

/// GitHub.
pub const CHANNEL: ChannelDef = ChannelDef {
    name: NAME,
    settings: &[
        SettingSpec {
            required: true,
            secret: true,
            ..setting(
                "GITHUB_TOKEN",
                "A token of the agent's own account: issues and pull requests, read and write",
            )
        },
        setting(
            "GITHUB_REPOS",
            "Repositories to read, as owner/name, with commas; not needed with a webhook",
        ),
        SettingSpec {
            secret: true,
            ..setting(
                "GITHUB_WEBHOOK_SECRET",
                "The secret of the webhook, if GitHub can reach this machine",
            )
        },
        setting("GITHUB_API_URL", "Where the REST API is, if not at https://api.github.com"),
    ],
    start: |start| Box::pin(begin(start)),
};

const fn setting(name: &'static str, what: &'static str) -> SettingSpec {
    SettingSpec { name, what, required: false, secret: false }
}

/// What all parts of the adapter share.
struct Hub {
    api: Api,
    store: Store,
    ingress: Arc<dyn Ingress>,
    report: Report,
    me: wire::Account,
    /// One change a second, as GitHub wants it.
    pace: Pace<()>,
    /// Whether something was not taken yet, and the bell for it; what comes meanwhile waits its turn.
    is_behind: AtomicBool,
    behind: Notify,
    turn: tokio::sync::Mutex<()>,
}

async fn begin(start: Start) -> Started {
    let setting = |name: &str| (start.setting)(name).filter(|text| !text.trim().is_empty());
    let token = setting("GITHUB_TOKEN")
        .ok_or_else(|| StartError::NotConfigured("GITHUB_TOKEN is not set".into()))?;
    let (repos, secret) = (setting("GITHUB_REPOS"), setting("GITHUB_WEBHOOK_SECRET"));
    if repos.is_none() && secret.is_none() {
        let why = "set GITHUB_REPOS (owner/name), or GITHUB_WEBHOOK_SECRET if GitHub can reach this machine";
        return Err(StartError::NotConfigured(why.into()));
    }
    let base = setting("GITHUB_API_URL").unwrap_or_else(|| "https://api.github.com".into());
    let api = Api::new(&base, token)?;
    let me: wire::Account = api.get("user").await?;
    let hub = Arc::new(Hub {
        api,
        store: Store::open(&start.data, NAME).await?,
        ingress: Arc::clone(&start.ingress),
        report: Arc::clone(&start.report),
        me,
        pace: Pace::new(3, Duration::from_secs(1)),
        // Until everything was read once, what comes waits behind it.
        is_behind: AtomicBool::new(true),
        behind: Notify::new(),
        turn: tokio::sync::Mutex::default(),
    });
    let mut watched = Vec::new();
    for repo in repos.iter().flat_map(|all| all.split(',')).map(str::trim).filter(|r| !r.is_empty())
    {
        watched.push(format!("begin:{}", hub.watch(repo).await?));
    }
    // Webhooks bring repositories of their own; without them, the setting says which are read.
    for (begin, _) in hub.store.list("begin:").await? {
        if secret.is_none() && !watched.contains(&begin) {
            hub.store.delete(&begin).await?;
        }
    }
    let (mount, every) = match secret {
        Some(secret) => {
            let handler = Arc::new(hook::Webhook { hub: Arc::clone(&hub), secret });
            let mount = webhook::mount(&start, hook::PATH, hook::LIMITS, handler).await?;
            tracing::info!(channel = NAME, url = mount.url, "listens for GitHub's webhooks");
            (Some(mount), poll::SELDOM)
        }
        None => (None, poll::EVERY),
    };
    let task = tokio::spawn(Arc::clone(&hub).tend(every));
    (start.report)(Health::Up);
    Ok(Arc::new(GitHub { hub, task, mount: Mutex::new(mount) }))
}

impl Hub {
    /// Begins to read a repository, under the name that GitHub itself writes.
    async fn watch(&self, repo: &str) -> Result<String, StartError> {
        let unusable =
            |why: &str| StartError::Broken(format!("GITHUB_REPOS names {repo:?}: {why}"));
        if !is_repo(repo) {
            return Err(unusable("it should look like owner/name"));
        }
        let found = self.api.get::<wire::Repository>(&format!("repos/{repo}")).await;
        let repo = found.map_err(|failed| match StartError::from(failed) {
            StartError::Broken(why) => unusable(&why),
            other => other,
        })?;
        let now = self.api.heard().unwrap_or_else(|| SystemClock.now());
        self.begin_of(&repo.full_name, now).await?;
        Ok(repo.full_name)
    }

    /// What was said in a thread before a post, the oldest first.
    async fn before(
        &self,
        spot: &Spot,
        before: Post,
        max: usize,
    ) -> Result<Vec<Inbound>, api::Failed> {
        let (repo, Some(thread)) = (&spot.repo, spot.thread) else { return Ok(Vec::new()) };
        let mut all: Vec<Remark> = Vec::new();
        let n = thread.number();
        let pull = matches!(thread, Thread::Pull(_));
        if !matches!(thread, Thread::Review { .. }) {
            let issue: wire::Issue = self.api.get(&format!("repos/{repo}/issues/{n}")).await?;
            all.extend(Remark::opening(repo, issue, pull));
        }
        let kind = if matches!(thread, Thread::Review { .. }) { "pulls" } else { "issues" };
        for page in 1..=HISTORY_PAGES {
            let path = format!("repos/{repo}/{kind}/{n}/comments?per_page=100&page={page}");
            let list: Vec<wire::Comment> = self.api.get(&path).await?;
            let full = list.len() == 100;
            all.extend(list.into_iter().filter_map(|comment| match thread {
                Thread::Review { .. } => Remark::review(repo, comment),
                Thread::Issue(_) | Thread::Pull(_) => Remark::comment(repo, comment, n, pull),
            }));
            if !full {
                break;
            }
        }
        let until = all.iter().position(|remark| remark.post == before).unwrap_or(all.len());
        let said = all[..until].iter().filter(|remark| remark.thread == thread);
        let said: Vec<Inbound> = said.filter_map(|remark| self.read(remark)).collect();
        Ok(said[said.len().saturating_sub(max)..].to_vec())
    }
}

struct GitHub {
    hub: Arc<Hub>,
    task: JoinHandle<()>,
    mount: Mutex<Option<Mount>>,
}

#[async_trait]
impl Channel for GitHub {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            threads: true,
            edits: true,
            reactions: true,
            idempotent: true,
            history: true,
            text_max: Some((send::TEXT_MAX, Unit::Utf16)),
            ..Capabilities::TEXT
        }
    }

    async fn send(&self, message: &Outgoing) -> Result<Receipt, SendError> {
        let sent = self.hub.deliver(message).await;
        if let Err(SendError::Broken { why }) = &sent {
            (self.hub.report)(Health::Broken { why: why.clone() });
        }
        sent
    }

    async fn open_dm(&self, handle: &str) -> Result<PlatformId, SendError> {
        Err(SendError::Reject { why: format!("GitHub has no direct messages to {handle}") })
    }

    async fn history(&self, at: &Address, before: &PlatformMessageId, max: usize) -> Vec<Inbound> {
        let (Ok(spot), Some(before)) = (Spot::parse(at), Post::parse(before.as_str())) else {
            return Vec::new();
        };
        self.hub.before(&spot, before, max).await.unwrap_or_else(|failed| {
            tracing::warn!(channel = NAME, error = %failed.error, "what was said before is not known");
            Vec::new()
        })
    }

    async fn chat_name(&self, chat: &PlatformId) -> Option<String> {
        repo_of(chat.as_str()).map(str::to_owned)
    }

    async fn stop(&self) {
        self.task.abort();
        drop(self.mount.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Drop for GitHub {
    fn drop(&mut self) {
        self.task.abort();
    }
}
