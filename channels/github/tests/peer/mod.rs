//! A strict GitHub: the REST API of issues, pull requests and their comments, and signed webhooks.
//!
//! Written from docs.github.com. A webhook is sent once, whatever becomes of it; lists are read with `since`,
//! pages and ETags; what GitHub would refuse is refused here.

mod rest;
mod world;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use nanoclaw_channel::ChannelDef;
use nanoclaw_conformance::{Fault, Forgery, Offer, Peer, Place, Profile, Reacted, Say, Seen};
use nanoclaw_kit::sign;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
pub(crate) use world::REPO;
use world::{SECRET, TOKEN, World, user};

pub(crate) struct Shared {
    world: Mutex<World>,
    pub(crate) bell: Arc<Notify>,
}

impl Shared {
    /// Hands one webhook over.
    pub(crate) async fn emit(&self, kind: &'static str, body: &Value) -> Result<()> {
        let body = body.to_string();
        let url = self.world().webhook.clone();
        let http = nanoclaw_kit::http::client().map_err(|e| anyhow::anyhow!("{e}"))?;
        let status = post(&http, &url, kind, &body, Some(signature(SECRET, &body))).await?;
        anyhow::ensure!(status == 200, "the webhook was answered with {status}");
        Ok(())
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }
}

/// GitHub, and the people there.
pub(crate) struct GitHub {
    pub(crate) shared: Arc<Shared>,
    base: String,
    bind: String,
    webhook: String,
    http: reqwest::Client,
    deliver: mpsc::UnboundedSender<(&'static str, Value)>,
    webhooks: bool,
    _servers: JoinSet<()>,
}

impl GitHub {
    /// A repository with a webhook.
    pub(crate) async fn new() -> Result<Self> {
        Self::start(true).await
    }

    /// A repository that can only be read.
    pub(crate) async fn without_webhooks() -> Result<Self> {
        Self::start(false).await
    }

    async fn start(webhooks: bool) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let base = format!("http://{}", listener.local_addr()?);
        let bind = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let webhook = format!("http://{bind}/webhook/github");
        let shared = Arc::new(Shared {
            world: Mutex::new(World::new(&base, &webhook)),
            bell: Arc::default(),
        });
        let http = nanoclaw_kit::http::client().map_err(|e| anyhow::anyhow!("{e}"))?;
        let (deliver, deliveries) = mpsc::unbounded_channel();
        let mut servers = JoinSet::new();
        servers.spawn(rest::serve(listener, Arc::clone(&shared)));
        servers.spawn(hand_over(deliveries, Arc::clone(&shared), http.clone(), webhook.clone()));
        Ok(Self { shared, base, bind, webhook, http, deliver, webhooks, _servers: servers })
    }

    /// Sends a webhook, once.
    pub(crate) fn emit(&self, kind: &'static str, body: Value) {
        if self.webhooks {
            self.deliver.send((kind, body)).unwrap();
        }
    }

    async fn post(&self, body: &str, signature: Option<String>) -> Result<u16> {
        post(&self.http, &self.webhook, "issue_comment", body, signature).await
    }
}

async fn post(
    http: &reqwest::Client,
    url: &str,
    kind: &str,
    body: &str,
    signature: Option<String>,
) -> Result<u16> {
    let mut request =
        http.post(url).header("content-type", "application/json").body(body.to_owned());
    request = request.header("x-github-event", kind).header("x-github-delivery", "72d3162e");
    if let Some(signature) = signature {
        request = request.header("x-hub-signature-256", signature);
    }
    Ok(request.send().await.context("no webhook")?.status().as_u16())
}

pub(crate) fn signature(secret: &str, body: &str) -> String {
    format!("sha256={}", sign::hex(&sign::hmac_sha256(secret.as_bytes(), &[body.as_bytes()])))
}

async fn hand_over(
    mut deliveries: mpsc::UnboundedReceiver<(&'static str, Value)>,
    shared: Arc<Shared>,
    http: reqwest::Client,
    url: String,
) {
    while let Some((kind, body)) = deliveries.recv().await {
        let cut = shared.world().cut;
        if cut {
            continue;
        }
        let body = body.to_string();
        let status = post(&http, &url, kind, &body, Some(signature(SECRET, &body))).await;
        shared.world().statuses.push(status.unwrap_or(0));
        shared.bell.notify_waiters();
    }
}

#[async_trait(?Send)]
impl Peer for GitHub {
    fn channel(&self) -> &'static ChannelDef {
        &nanoclaw_channel_github::CHANNEL
    }

    fn settings(&self) -> BTreeMap<String, String> {
        let mut all = vec![
            ("GITHUB_TOKEN", TOKEN.to_owned()),
            ("GITHUB_REPOS", self.shared.world().repos.clone()),
            ("GITHUB_API_URL", self.base.clone()),
            ("WEBHOOK_BIND", self.bind.clone()),
        ];
        if self.webhooks {
            all.push(("GITHUB_WEBHOOK_SECRET", SECRET.to_owned()));
        }
        all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn profile(&self) -> Profile {
        let none = "GitHub has no direct messages";
        let files = "GitHub takes files from browsers only; those of people are links in the text";
        Profile {
            direct: Offer::No(none),
            open_dm: Offer::No(none),
            replies: Offer::No(
                "an answer to a comment on lines is a thread; others are not answered one by one",
            ),
            reactions_in: Offer::No("GitHub tells nobody of reactions"),
            buttons: Offer::No("GitHub has no buttons; questions are answered by typing"),
            files_in: Offer::No(files),
            files_out: Offer::No(files),
            captions_in: Offer::No(files),
            typing: Offer::No("GitHub does not show who types"),
            markup_refused: Offer::No("GitHub takes any Markdown"),
            text_in_max: 65_536,
            ..Profile::all(
                "GitHub",
                "our own strict GitHub, written from docs.github.com: REST API and signed webhooks; \
                 cross-checked with the third-party emulate where that has the method",
            )
        }
    }

    fn bell(&self) -> Arc<Notify> {
        Arc::clone(&self.shared.bell)
    }

    fn person(&self, who: &str) -> (String, Option<String>) {
        let (id, login) = user(who);
        (id.to_string(), Some(login.to_owned()))
    }

    async fn say(&mut self, say: Say) -> Result<String> {
        let (id, kind, event) = self.shared.world().says(&say);
        self.emit(kind, event);
        Ok(id)
    }

    async fn echo(&mut self) -> Result<bool> {
        let events = self.shared.world().echoes();
        for event in events {
            self.emit("issue_comment", event);
        }
        Ok(true)
    }

    async fn nonsense(&mut self) -> Result<bool> {
        self.emit("brand_new", json!({ "action": "created" }));
        self.emit("issue_comment", json!([]));
        self.emit(
            "issue_comment",
            json!({ "action": "created", "repository": { "full_name": "../../etc" } }),
        );
        self.emit(
            "issue_comment",
            json!({ "action": "created", "repository": { "full_name": REPO },
            "issue": { "number": -1 }, "comment": { "id": "x" } }),
        );
        self.emit("issues", json!({ "action": "brand_new", "repository": { "full_name": REPO } }));
        Ok(true)
    }

    async fn edit(&mut self, id: &str, text: &str) -> Result<()> {
        let event = self.shared.world().edits(id, text)?;
        self.emit("issue_comment", event);
        Ok(())
    }

    async fn delete(&mut self, id: &str) -> Result<()> {
        let event = self.shared.world().deletes(id)?;
        self.emit("issue_comment", event);
        Ok(())
    }

    async fn again(&mut self, id: &str) -> Result<()> {
        let (kind, event) = self.shared.world().event_of(id)?;
        self.emit(kind, event);
        Ok(())
    }

    async fn shown(&mut self) -> Result<Vec<Seen>> {
        Ok(self.shared.world().shown())
    }

    async fn reacted(&mut self) -> Result<Vec<Reacted>> {
        Ok(self.shared.world().reactions.clone())
    }

    fn chat_name(&self, _place: Place) -> Option<String> {
        Some(REPO.to_owned())
    }

    fn calls(&self) -> usize {
        self.shared.world().calls
    }

    async fn fail(&mut self, fault: Fault, times: u32) -> Result<()> {
        self.shared.world().fault = (times > 0).then_some((fault, times));
        Ok(())
    }

    async fn cut(&mut self, cut: bool) -> Result<()> {
        self.shared.world().cut = cut;
        self.shared.bell.notify_waiters();
        Ok(())
    }

    async fn skew(&mut self, seconds: i64) -> Result<bool> {
        self.shared.world().skew = seconds;
        Ok(true)
    }

    async fn forge(&mut self, forgery: Forgery) -> Result<u16> {
        let event = self.shared.world().forged();
        let body = event.to_string();
        match forgery {
            // GitHub does not sign the time: an old delivery is a repeated one.
            Forgery::Unsigned | Forgery::Stale => self.post(&body, None).await,
            Forgery::Wrong => self.post(&body, Some(signature("wrong", &body))).await,
            Forgery::Replayed => {
                let first = self.post(&body, Some(signature(SECRET, &body))).await?;
                anyhow::ensure!(first == 200, "the first one was answered with {first}");
                self.post(&body, Some(signature(SECRET, &body))).await
            }
            Forgery::TooLarge => {
                let body = body.replace("forged", &"x".repeat(12 << 20));
                self.post(&body, Some(signature(SECRET, &body))).await
            }
            Forgery::Garbage => {
                self.post("{\"action\":", Some(signature(SECRET, "{\"action\":"))).await
            }
        }
    }
}
