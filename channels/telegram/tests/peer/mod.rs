//! A Bot API server that is as strict as Telegram's is documented to be (core.telegram.org/bots/api): one
//! `getUpdates` at a time, offsets that confirm, HTML that is well formed, lengths in UTF-16, limits for
//! captions, buttons, albums, files and messages per minute.

mod form;
mod html;
mod methods;
pub(crate) mod world;

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use nanoclaw_channel::ChannelDef;
use nanoclaw_conformance::{Fault, Offer, Peer, Place, Profile, Reacted, Say, Seen};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use world::{GROUP, World};

pub(crate) const TOKEN: &str = "4711:AAF_secret-of-the-bot-0123456789abcdef";

/// The server's side of a fault.
pub(crate) enum Answer {
    Json(u16, Value),
    Bytes(Vec<u8>),
    /// What stands before a server that is down.
    Page,
    Never,
    /// The connection breaks.
    Lost,
}

pub(crate) struct Shared {
    world: Mutex<World>,
    /// Something happened that a case may wait for.
    pub(crate) bell: Arc<Notify>,
    /// There is something for `getUpdates`.
    pub(crate) news: Notify,
    cut: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell(&self, update: Value) {
        self.world().tell(update);
        self.news.notify_waiters();
    }
}

pub(crate) struct Telegram {
    shared: Arc<Shared>,
    url: String,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Telegram {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Telegram {
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared {
            world: Mutex::new(World::default()),
            bell: Arc::default(),
            news: Notify::new(),
            cut: watch::Sender::new(false),
        });
        let server = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self { shared, url, server })
    }

    fn tell(&self, update: Value) {
        self.shared.tell(update);
    }

    /// For tests that look behind the scenes.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (shared, mut cut) = (Arc::clone(&shared), shared.cut.subscribe());
        tokio::spawn(async move {
            let service = service_fn(|request| handle(Arc::clone(&shared), request));
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ = cut.wait_for(|cut| *cut) => {}
                _ = connection => {}
            }
        });
    }
}

/// An error breaks the connection.
async fn handle(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let path = request.uri().path().to_owned();
    let kind =
        request.headers().get("content-type").and_then(|v| v.to_str().ok()).map(str::to_owned);
    let body = request.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
    let fields = form::fields(kind.as_deref(), &body);
    shared.world().calls += 1;
    let answer = methods::answer(&shared, &path, fields).await;
    shared.bell.notify_waiters();
    let (status, kind, body) = match answer {
        Answer::Json(status, json) => (status, "application/json", json.to_string().into_bytes()),
        Answer::Bytes(bytes) => (200, "application/octet-stream", bytes),
        Answer::Page => (502, "text/html", b"<html><h1>502 Bad Gateway</h1></html>".to_vec()),
        Answer::Never => std::future::pending::<(u16, &str, Vec<u8>)>().await,
        Answer::Lost => return Err(std::io::Error::other("the connection breaks")),
    };
    let response = Response::builder().status(status).header("content-type", kind);
    response.body(Full::new(Bytes::from(body))).map_err(std::io::Error::other)
}

#[async_trait(?Send)]
impl Peer for Telegram {
    fn channel(&self) -> &'static ChannelDef {
        &nanoclaw_channel_telegram::CHANNEL
    }

    fn settings(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("TELEGRAM_BOT_TOKEN".into(), TOKEN.into()),
            ("TELEGRAM_API_BASE_URL".into(), self.url.clone()),
        ])
    }

    fn profile(&self) -> Profile {
        Profile {
            deletes_in: Offer::No("Telegram does not tell bots what people delete"),
            history: Offer::No("Telegram does not let bots read what was said before"),
            idempotent: Offer::No(
                "Telegram has no key that marks a second try at the same message",
            ),
            signed_webhook: Offer::No("long polling is used, no address is open"),
            text_in_max: 4096,
            ..Profile::all(
                "Telegram",
                "a strict Bot API of our own, written from the public documentation; \
                 cross-checked with the third-party telegram-test-api where that has the method",
            )
        }
    }

    fn bell(&self) -> Arc<Notify> {
        Arc::clone(&self.shared.bell)
    }

    fn person(&self, who: &str) -> (String, Option<String>) {
        let person = world::person(who);
        (person["id"].to_string(), Some(world::name(&person)))
    }

    async fn say(&mut self, say: Say) -> Result<String> {
        let id = self.shared.world().say(&say)?;
        self.shared.news.notify_waiters();
        Ok(id)
    }

    async fn echo(&mut self) -> Result<bool> {
        for bot in [world::me(), json!({ "id": 99, "is_bot": true, "first_name": "Other bot" })] {
            let message = self.shared.world().message(Place::Direct, "ann", bot);
            self.tell(json!({ "message": message }));
        }
        Ok(true)
    }

    async fn nonsense(&mut self) -> Result<bool> {
        let chat = world::chat(GROUP);
        for update in [
            json!({ "message": "not an object" }),
            json!({ "message": { "message_id": "x", "chat": {} } }),
            json!({ "something_new": { "id": 1 } }),
            json!({}),
            json!({ "message": { "message_id": 5, "date": 0, "chat": chat, "new_chat_title": "x" } }),
            json!({ "message": {
                "message_id": 6, "date": i64::MAX, "chat": chat, "from": world::person("ann"),
                "pinned_message": { "message_id": 1 },
            } }),
            json!({ "callback_query": { "id": "1", "from": world::person("ann"), "data": "::::" } }),
            json!({ "message_reaction": { "chat": chat, "message_id": 1, "old_reaction": [], "new_reaction": [] } }),
        ] {
            self.tell(update);
        }
        Ok(true)
    }

    async fn edit(&mut self, id: &str, text: &str) -> Result<()> {
        let mut world = self.shared.world();
        let message = world.said.get_mut(id).context("that was never said")?;
        message["text"] = text.into();
        message["edit_date"] = message["date"].clone();
        let update = json!({ "edited_message": message });
        drop(world);
        self.tell(update);
        Ok(())
    }

    async fn react(&mut self, id: &str, emoji: &str, removed: bool) -> Result<()> {
        let (chat, message) = world::split_id(id)?;
        let (with, without) = (json!([{ "type": "emoji", "emoji": emoji }]), json!([]));
        let (old, new) = if removed { (with, without) } else { (without, with) };
        self.tell(json!({ "message_reaction": {
            "chat": world::chat(chat), "message_id": message, "user": world::person("ann"),
            "date": world::now(), "old_reaction": old, "new_reaction": new,
        } }));
        Ok(())
    }

    async fn again(&mut self, id: &str) -> Result<()> {
        let message = self.shared.world().said.get(id).cloned().context("that was never said")?;
        self.tell(json!({ "message": message }));
        Ok(())
    }

    async fn click(&mut self, message: &str, label: &str, who: &str) -> Result<()> {
        let (chat, number) = world::split_id(message)?;
        let mut world = self.shared.world();
        let shown = world.shown.iter().find(|s| s.seen.id == message).context("no such message")?;
        let data = shown.buttons.iter().find(|(text, _)| text == label);
        let Some((_, data)) = data.cloned() else { bail!("no button {label:?}") };
        let id = world.next().to_string();
        drop(world);
        self.tell(json!({ "callback_query": {
            "id": id, "from": world::person(who), "chat_instance": "1", "data": data,
            "message": { "message_id": number, "date": world::now(), "chat": world::chat(chat) },
        } }));
        Ok(())
    }

    async fn shown(&mut self) -> Result<Vec<Seen>> {
        Ok(self.shared.world().shown.iter().map(|shown| shown.seen.clone()).collect())
    }

    async fn reacted(&mut self) -> Result<Vec<Reacted>> {
        Ok(self.shared.world().reactions.clone())
    }

    async fn typing(&mut self) -> Result<usize> {
        Ok(self.shared.world().typing)
    }

    fn chat_name(&self, place: Place) -> Option<String> {
        Some(match place {
            Place::Direct => world::name(&world::person("ann")),
            Place::Group | Place::Thread(_) => "The Team".into(),
        })
    }

    fn calls(&self) -> usize {
        self.shared.world().calls
    }

    async fn fail(&mut self, fault: Fault, times: u32) -> Result<()> {
        let mut world = self.shared.world();
        if fault == Fault::Revoked {
            world.revoked = times > 0;
        } else {
            world.fault = (times > 0).then_some((fault, times));
        }
        drop(world);
        self.shared.news.notify_waiters();
        Ok(())
    }

    async fn cut(&mut self, cut: bool) -> Result<()> {
        self.shared.cut.send_replace(cut);
        // The connections end before anything else happens.
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn skew(&mut self, seconds: i64) -> Result<bool> {
        self.shared.world().skew = seconds;
        Ok(true)
    }
}
