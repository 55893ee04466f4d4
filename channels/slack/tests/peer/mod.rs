//! A strict Slack: the Web API, Socket Mode and the Events API with a memory of everything that was said.
//!
//! Written from docs.slack.dev: events that nobody acknowledges are repeated at once, after one and after five
//! minutes, and then never again; what Slack would refuse or cut is refused here.

mod api;
mod world;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use futures_util::{SinkExt as _, StreamExt as _};
use nanoclaw_channel::ChannelDef;
use nanoclaw_conformance::{Fault, Forgery, Offer, Peer, Place, Profile, Reacted, Say, Seen};
use nanoclaw_kit::sign;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
pub(crate) use world::GROUP;
use world::{BOT, BOT_TOKEN, SECRET, World, user};

/// Slack, its workspace, and its people.
pub(crate) struct Slack {
    pub(crate) shared: Arc<Shared>,
    base: String,
    pub(crate) webhook: String,
    bind: String,
    _servers: JoinSet<()>,
    http: reqwest::Client,
    /// How events are handed over.
    socket_mode: bool,
}

pub(crate) struct Shared {
    world: Mutex<World>,
    pub(crate) bell: Arc<Notify>,
}

impl Shared {
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }
}

impl Slack {
    /// An app in Socket Mode.
    pub(crate) async fn new() -> Result<Self> {
        Self::start(true).await
    }

    /// An app with the Events API.
    pub(crate) async fn with_events() -> Result<Self> {
        Self::start(false).await
    }

    async fn start(socket_mode: bool) -> Result<Self> {
        let http = TcpListener::bind("127.0.0.1:0").await?;
        let sockets = TcpListener::bind("127.0.0.1:0").await?;
        let base = format!("http://{}", http.local_addr()?);
        let bind = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let world = World::new(&base, &format!("ws://{}", sockets.local_addr()?));
        let shared = Arc::new(Shared { world: Mutex::new(world), bell: Arc::default() });
        let mut servers = JoinSet::new();
        servers.spawn(api::serve(http, Arc::clone(&shared)));
        servers.spawn(serve_sockets(sockets, Arc::clone(&shared)));
        let client = nanoclaw_kit::http::client().map_err(|e| anyhow::anyhow!("{e}"))?;
        Ok(Self {
            shared,
            base,
            webhook: format!("http://{bind}/webhook/slack"),
            bind,
            _servers: servers,
            http: client,
            socket_mode,
        })
    }

    /// Hands an event over until it is acknowledged, as often as Slack does.
    pub(crate) fn emit(&self, event: Value) {
        let id = self.shared.world().next_id("Ev");
        let payload = json!({ "type": "event_callback", "team_id": "T0TEAM", "api_app_id": "A0APP",
            "event_id": id, "event_time": 1, "event": event });
        self.emit_as("events_api", payload);
    }

    pub(crate) fn emit_as(&self, kind: &'static str, payload: Value) {
        if !self.socket_mode {
            return self.post_as(kind, &payload);
        }
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            for (attempt, wait) in [0, 0, 60, 300].into_iter().enumerate() {
                tokio::time::sleep(Duration::from_secs(wait)).await;
                let acknowledged = {
                    let mut world = shared.world();
                    let envelope = world.next_id("env-");
                    let frame = json!({ "type": kind, "envelope_id": envelope, "payload": payload,
                        "accepts_response_payload": false, "retry_attempt": attempt, "retry_reason": "" });
                    world.send(&envelope, frame.to_string())
                };
                let Some(acknowledged) = acknowledged else { continue };
                if tokio::time::timeout(Duration::from_secs(3), acknowledged)
                    .await
                    .is_ok_and(|a| a.is_ok())
                {
                    shared.bell.notify_waiters();
                    return;
                }
            }
        });
    }

    fn post_as(&self, kind: &'static str, payload: &Value) {
        let (shared, url, http) =
            (Arc::clone(&self.shared), self.webhook.clone(), self.http.clone());
        let (body, kind) = match kind {
            "interactive" => {
                let mut url = reqwest::Url::parse("slack:x").unwrap();
                url.query_pairs_mut().append_pair("payload", &payload.to_string());
                (url.query().unwrap().to_owned(), "application/x-www-form-urlencoded")
            }
            _ => (payload.to_string(), "application/json"),
        };
        tokio::spawn(async move {
            for wait in [0, 1, 60, 300] {
                tokio::time::sleep(Duration::from_secs(wait)).await;
                let stamp = shared.world().now().as_second();
                let request = http.post(&url).header("content-type", kind).body(body.clone());
                let request = request.header("x-slack-request-timestamp", stamp.to_string());
                let request = request.header("x-slack-signature", signature(SECRET, stamp, &body));
                let answer = tokio::time::timeout(Duration::from_secs(3), request.send()).await;
                let status = answer.ok().and_then(Result::ok).map(|r| r.status().as_u16());
                shared.world().statuses.push(status.unwrap_or(0));
                shared.bell.notify_waiters();
                if status == Some(200) {
                    return;
                }
            }
        });
    }

    /// Sends a frame as it is.
    pub(crate) fn frame(&self, text: &str) {
        drop(self.shared.world().send("none", text.to_owned()));
    }

    /// Posts a body to the webhook, signed as told.
    pub(crate) async fn post(
        &self,
        body: &str,
        kind: &str,
        stamp: i64,
        signature: Option<String>,
    ) -> Result<(u16, String)> {
        let mut request =
            self.http.post(&self.webhook).header("content-type", kind).body(body.to_owned());
        request = request.header("x-slack-request-timestamp", stamp.to_string());
        if let Some(signature) = signature {
            request = request.header("x-slack-signature", signature);
        }
        let response = request.send().await.context("no webhook")?;
        Ok((response.status().as_u16(), response.text().await?))
    }

    /// Posts a body with a good signature.
    pub(crate) async fn signed(&self, body: &str, kind: &str) -> Result<(u16, String)> {
        let stamp = self.shared.world().now().as_second();
        self.post(body, kind, stamp, Some(signature(SECRET, stamp, body))).await
    }
}

pub(crate) fn signature(secret: &str, stamp: i64, body: &str) -> String {
    let mac = sign::hmac_sha256(secret.as_bytes(), &[format!("v0:{stamp}:{body}").as_bytes()]);
    format!("v0={}", sign::hex(&mac))
}

async fn serve_sockets(listener: TcpListener, shared: Arc<Shared>) {
    let mut all = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        if shared.world().cut {
            continue;
        }
        all.spawn(one_socket(stream, Arc::clone(&shared)));
    }
}

async fn one_socket(stream: TcpStream, shared: Arc<Shared>) {
    let Ok(socket) = tokio_tungstenite::accept_async(stream).await else { return };
    let (mut out, mut frames) = socket.split();
    let hello = json!({ "type": "hello", "num_connections": 1, "connection_info": { "app_id": "A0APP" },
        "debug_info": { "host": "applink-1", "approximate_connection_time": 18060 } });
    drop(out.send(Message::text(hello.to_string())).await);
    let (send, mut to_send) = mpsc::unbounded_channel::<String>();
    let (end, mut ended) = oneshot::channel::<()>();
    let number = shared.world().joined(send, end);
    shared.bell.notify_waiters();
    loop {
        tokio::select! {
            frame = frames.next() => match frame {
                Some(Ok(Message::Text(text))) => {
                    let ack: Value = serde_json::from_str(&text).unwrap();
                    shared.world().acknowledged(ack["envelope_id"].as_str().unwrap());
                }
                Some(Ok(_)) => {
                    let half_open = shared.world().deaf;
                    if half_open {
                        // Nothing is read or written any more, and nobody is told.
                        shared.world().silent = true;
                        shared.bell.notify_waiters();
                        return drop(ended.await);
                    }
                    drop(out.flush().await);
                }
                Some(Err(_)) | None => break,
            },
            Some(text) = to_send.recv() => {
                if out.send(Message::text(text)).await.is_err() {
                    break;
                }
            }
            _ = &mut ended => return,
        }
    }
    shared.world().left(number);
}

#[async_trait(?Send)]
impl Peer for Slack {
    fn channel(&self) -> &'static ChannelDef {
        &nanoclaw_channel_slack::CHANNEL
    }

    fn settings(&self) -> BTreeMap<String, String> {
        [
            ("SLACK_BOT_TOKEN", BOT_TOKEN.to_owned()),
            ("SLACK_APP_TOKEN", world::APP_TOKEN.to_owned()),
            ("SLACK_SIGNING_SECRET", SECRET.to_owned()),
            ("SLACK_API_URL", format!("{}/api", self.base)),
            ("WEBHOOK_BIND", self.bind.clone()),
        ]
        .into_iter()
        .filter(|(name, _)| self.socket_mode || *name != "SLACK_APP_TOKEN")
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }

    fn profile(&self) -> Profile {
        Profile {
            replies: Offer::No("an answer to a message is a thread"),
            markup_refused: Offer::No("Slack shows markup that it does not understand as it is"),
            text_in_max: 40_000,
            ..Profile::all(
                "Slack",
                "our own strict Slack, written from docs.slack.dev: Web API, Socket Mode and signed events; \
                 cross-checked with the third-party emulate where that has the method",
            )
        }
    }

    fn bell(&self) -> Arc<Notify> {
        Arc::clone(&self.shared.bell)
    }

    fn person(&self, who: &str) -> (String, Option<String>) {
        let (id, name) = user(who);
        (id.to_owned(), Some(name.to_owned()))
    }

    async fn say(&mut self, say: Say) -> Result<String> {
        let event = self.shared.world().says(&say);
        let id = event["ts"].as_str().context("a ts")?.to_owned();
        if say.mention && event["channel_type"] != "im" {
            let mut named = event.clone();
            named["type"] = "app_mention".into();
            named.as_object_mut().unwrap().remove("channel_type");
            self.emit(named);
        }
        self.emit(event);
        Ok(id)
    }

    async fn echo(&mut self) -> Result<bool> {
        let (own, other) = {
            let mut world = self.shared.world();
            let ts = [world.next_ts(), world.next_ts()];
            let own = json!({ "type": "message", "channel": GROUP, "channel_type": "channel", "user": BOT,
                "bot_id": "B0BOT", "text": "hello", "ts": ts[0], "event_ts": ts[0] });
            let other = json!({ "type": "message", "subtype": "bot_message", "channel": GROUP,
                "channel_type": "channel", "bot_id": "B0OTHER", "username": "other", "ts": ts[1],
                "text": format!("<@{BOT}> hello"), "event_ts": ts[1] });
            (own, other)
        };
        self.emit(own);
        self.emit(other);
        Ok(true)
    }

    async fn nonsense(&mut self) -> Result<bool> {
        self.frame("{");
        self.frame("[]");
        self.frame(r#"{"type":"brand_new","envelope_id":"x"}"#);
        self.frame(r#"{"type":"events_api","envelope_id":"y"}"#);
        self.emit(json!({ "type": "brand_new", "user": 7 }));
        self.emit(json!({ "type": "message", "channel": "../../etc", "user": "U\u{0}", "ts": "now", "text": "x" }));
        self.emit(json!({ "type": "message", "subtype": "brand_new", "channel": GROUP, "user": "U1", "ts": "1.1", "text": "x" }));
        self.emit_as("interactive", json!({ "type": "view_submission", "user": { "id": "U1" } }));
        self.emit_as(
            "interactive",
            json!({ "type": "block_actions", "user": { "id": "U1" },
            "actions": [{ "action_id": "ncq:999999999999999999999:x" }] }),
        );
        Ok(true)
    }

    async fn edit(&mut self, id: &str, text: &str) -> Result<()> {
        let event = self.shared.world().edits(id, text)?;
        self.emit(event);
        Ok(())
    }

    async fn delete(&mut self, id: &str) -> Result<()> {
        let event = self.shared.world().deletes(id)?;
        self.emit(event);
        Ok(())
    }

    async fn react(&mut self, id: &str, emoji: &str, removed: bool) -> Result<()> {
        let event = self.shared.world().reacts(id, emoji, removed)?;
        self.emit(event);
        Ok(())
    }

    async fn again(&mut self, id: &str) -> Result<()> {
        let event = self.shared.world().event_of(id)?;
        self.emit(event);
        Ok(())
    }

    async fn click(&mut self, message: &str, label: &str, who: &str) -> Result<()> {
        let payload = self.shared.world().clicks(message, label, who)?;
        self.emit_as("interactive", payload);
        Ok(())
    }

    async fn shown(&mut self) -> Result<Vec<Seen>> {
        Ok(self.shared.world().shown())
    }

    async fn reacted(&mut self) -> Result<Vec<Reacted>> {
        Ok(self.shared.world().reacted())
    }

    async fn typing(&mut self) -> Result<usize> {
        Ok(self.shared.world().typing)
    }

    fn chat_name(&self, place: Place) -> Option<String> {
        match place {
            Place::Direct => Some(user("ann").1.to_owned()),
            Place::Group | Place::Thread(_) => Some("team".to_owned()),
        }
    }

    fn calls(&self) -> usize {
        self.shared.world().calls
    }

    async fn fail(&mut self, fault: Fault, times: u32) -> Result<()> {
        let mut world = self.shared.world();
        world.fault = (times > 0).then_some((fault, times));
        if matches!(fault, Fault::Revoked) && times > 0 {
            world.hang_up();
        }
        Ok(())
    }

    async fn cut(&mut self, cut: bool) -> Result<()> {
        let mut world = self.shared.world();
        world.cut = cut;
        if cut {
            world.hang_up();
        }
        drop(world);
        self.shared.bell.notify_waiters();
        Ok(())
    }

    async fn skew(&mut self, seconds: i64) -> Result<bool> {
        self.shared.world().skew = seconds;
        Ok(true)
    }

    async fn forge(&mut self, forgery: Forgery) -> Result<u16> {
        let (ts, now) = {
            let mut world = self.shared.world();
            (world.next_ts(), world.now().as_second())
        };
        let event = json!({ "type": "message", "channel": GROUP, "channel_type": "channel", "ts": ts,
            "user": user("ann").0, "text": "forged", "event_ts": ts });
        let body = json!({ "type": "event_callback", "event": event }).to_string();
        let json = "application/json";
        Ok(match forgery {
            Forgery::Unsigned => self.post(&body, json, now, None).await?.0,
            Forgery::Wrong => {
                self.post(&body, json, now, Some(signature("wrong", now, &body))).await?.0
            }
            Forgery::Stale => {
                let then = now - 600;
                self.post(&body, json, then, Some(signature(SECRET, then, &body))).await?.0
            }
            Forgery::Replayed => {
                let signature = Some(signature(SECRET, now, &body));
                let (first, _) = self.post(&body, json, now, signature.clone()).await?;
                anyhow::ensure!(first == 200, "the first one was answered with {first}");
                self.post(&body, json, now, signature).await?.0
            }
            Forgery::TooLarge => {
                let body = body.replace("forged", &"x".repeat(8 << 20));
                self.post(&body, json, now, Some(signature(SECRET, now, &body))).await?.0
            }
            Forgery::Garbage => self.signed("{\"type\":", json).await?.0,
        })
    }
}
