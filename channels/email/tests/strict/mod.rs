//! A strict Resend: its API, and webhooks as Svix sends them.
//!
//! Written from resend.com/docs and docs.svix.com. What Resend would refuse is refused here; a webhook is sent
//! again at once, after 5 seconds, 5 minutes, 30 minutes and 2 hours while nobody takes it. As at Resend, whoever
//! got a mail knows it by an id that the sender did not choose.

mod api;
mod world;

use crate::people::{AUTH_SERVER, BOT, BROKEN, echoes, person};
use anyhow::{Context as _, Result};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use nanoclaw_channel::ChannelDef;
use nanoclaw_channel::time::{Clock as _, SystemClock};
use nanoclaw_channel_email::RESEND;
use nanoclaw_conformance::{Fault, Forgery, Offer, Peer, Place, Profile, Say, Seen};
use nanoclaw_kit::sign;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use world::{KEY, World};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What all parts of it share.
pub(crate) struct Shared {
    world: Mutex<World>,
    pub(crate) bell: Arc<Notify>,
}

impl Shared {
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }
}

/// Resend, and people who write to the agent.
pub(crate) struct Resend {
    pub(crate) shared: Arc<Shared>,
    pub(crate) base: String,
    bind: String,
    http: reqwest::Client,
    pub(crate) webhooks: bool,
    _servers: JoinSet<()>,
}

impl Resend {
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let base = format!("http://{}", listener.local_addr()?);
        let bind = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let shared =
            Arc::new(Shared { world: Mutex::new(World::new(&base)), bell: Arc::default() });
        let mut servers = JoinSet::new();
        servers.spawn(api::serve(listener, Arc::clone(&shared)));
        let http = nanoclaw_kit::http::client()?;
        Ok(Self { shared, base, bind, http, webhooks: true, _servers: servers })
    }

    /// Resend gets a mail, and rings.
    pub(crate) fn deliver(&self, raw: Vec<u8>) -> String {
        let id = self.shared.world().arrives(raw);
        self.ring(&id);
        id
    }

    /// Sends the webhook about a mail, as often as Svix does.
    fn ring(&self, id: &str) {
        if !self.webhooks {
            return;
        }
        let body = self.shared.world().event(id).to_string();
        let (hook, shared, id) = (self.hook(), Arc::clone(&self.shared), format!("msg_{id}"));
        tokio::spawn(async move {
            for wait in [0, 5, 300, 1_800, 7_200] {
                tokio::time::sleep(Duration::from_secs(wait)).await;
                let cut = shared.world().cut;
                if !cut && hook.post(&id, &body).await.is_ok_and(|status| status == 200) {
                    break;
                }
            }
            shared.bell.notify_waiters();
        });
    }

    fn hook(&self) -> Hook {
        let url = format!("http://{}/webhook/resend", self.bind);
        Hook { http: self.http.clone(), url }
    }
}

/// Posts webhooks.
#[derive(Clone)]
struct Hook {
    http: reqwest::Client,
    url: String,
}

impl Hook {
    async fn post(&self, id: &str, body: &str) -> Result<u16> {
        let now = SystemClock.now().as_second();
        self.signed(id, now, body, &signature(SECRET, id, now, body)).await
    }

    async fn signed(&self, id: &str, at: i64, body: &str, signature: &str) -> Result<u16> {
        let request = self.http.post(&self.url).header("content-type", "application/json");
        let request = request.header("svix-id", id).header("svix-timestamp", at);
        // While a secret is changed, an old one signs too.
        let both = format!("v1,b2xk {signature} v1a,YXN5bW1ldHJpYw==");
        let request = request.header("svix-signature", both).body(body.to_owned());
        Ok(request.send().await.context("no webhook")?.status().as_u16())
    }
}

fn signature(secret: &str, id: &str, at: i64, body: &str) -> String {
    let key = BASE64.decode(secret.trim_start_matches("whsec_")).unwrap();
    let mac = sign::hmac_sha256(&key, &[format!("{id}.{at}.{body}").as_bytes()]);
    format!("v1,{}", BASE64.encode(mac))
}

#[async_trait(?Send)]
impl Peer for Resend {
    fn channel(&self) -> &'static ChannelDef {
        static CHANNEL: ChannelDef = RESEND;
        &CHANNEL
    }

    fn settings(&self) -> BTreeMap<String, String> {
        let mut all = vec![
            ("RESEND_API_KEY", KEY),
            ("RESEND_FROM_ADDRESS", BOT),
            ("RESEND_FROM_NAME", "Nano \"the\" <Claw>"),
            ("RESEND_API_URL", &self.base),
            ("RESEND_AUTH_SERVER", AUTH_SERVER),
            ("WEBHOOK_BIND", &self.bind),
        ];
        if self.webhooks {
            all.push(("RESEND_WEBHOOK_SECRET", SECRET));
        }
        all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn profile(&self) -> Profile {
        const MAIL: &str = "a mail that was sent is sent";
        Profile {
            group: Offer::No("a mail is between its sender and the agent"),
            mentions: Offer::No("every mail to the agent is to the agent"),
            edits_in: Offer::No(MAIL),
            deletes_in: Offer::No(MAIL),
            edits_out: Offer::No(MAIL),
            reactions_in: Offer::No("mail has no reactions"),
            reactions_out: Offer::No("mail has no reactions"),
            buttons: Offer::No("mail has no buttons; questions are answered with a number"),
            typing: Offer::No("mail does not show it"),
            history: Offer::No("a mail quotes what it answers"),
            markup_refused: Offer::No("mail takes any HTML, and has a text part beside it"),
            text_in_max: 4 << 20,
            ..Profile::all(
                "E-mail with Resend",
                "our own strict Resend, written from resend.com/docs and docs.svix.com: API and signed webhooks; \
                 sending cross-checked with the third-party emulate",
            )
        }
    }

    fn bell(&self) -> Arc<Notify> {
        Arc::clone(&self.shared.bell)
    }

    fn person(&self, who: &str) -> (String, Option<String>) {
        person(who)
    }

    async fn say(&mut self, mut say: Say) -> Result<String> {
        let (id, raw) = {
            let mut world = self.shared.world();
            // People answer what they got, by the name that it has there.
            say.reply_to = say.reply_to.map(|id| world.known_as(&id));
            world.says(&say)
        };
        let email = self.deliver(raw);
        self.shared.world().mails.insert(id.clone(), email);
        Ok(id)
    }

    async fn echo(&mut self) -> Result<bool> {
        echoes().into_iter().for_each(|raw| drop(self.deliver(raw)));
        Ok(true)
    }

    async fn nonsense(&mut self) -> Result<bool> {
        BROKEN.into_iter().for_each(|raw| drop(self.deliver(raw.to_vec())));
        let hook = self.hook();
        for (n, body) in [
            r#"{"type":"email.brand_new","data":null}"#,
            r#"{"type":"email.delivered","data":{"email_id":"x","to":["a"]}}"#,
            r#"{"type":"email.received","data":{"email_id":"../../x","created_at":"2026-01-01T00:00:00Z"}}"#,
            r#"{"type":"email.received","data":{"email_id":"gone","created_at":"2026-01-01T00:00:00Z"}}"#,
            r#"{"type":"email.received","data":{"email_id":1,"created_at":"never"}}"#,
        ]
        .into_iter()
        .enumerate()
        {
            let status = hook.post(&format!("msg_odd_{n}"), body).await?;
            anyhow::ensure!(status < 500, "{body} was answered with {status}");
        }
        Ok(true)
    }

    async fn again(&mut self, id: &str) -> Result<()> {
        let email = self.shared.world().mails.get(id).cloned().context("nobody said that")?;
        // The same webhook, and the same mail as if it had come over another server.
        self.ring(&email);
        let raw = self.shared.world().raw_of(&email).context("no such mail")?;
        self.deliver(raw);
        Ok(())
    }

    async fn shown(&mut self) -> Result<Vec<Seen>> {
        Ok(self.shared.world().shown())
    }

    fn chat_name(&self, _place: Place) -> Option<String> {
        Some("ann@people.test".to_owned())
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
        let raw = b"From: ann@people.test\r\nMessage-ID: <forged@people.test>\r\n\r\nforged\r\n";
        let (email, body) = {
            let mut world = self.shared.world();
            let email = world.arrives(raw.to_vec());
            let event = world.event(&email);
            // It could be read, but no list names it: only the webhook would bring it in.
            world.unlisted.insert(email.clone());
            (email, event.to_string())
        };
        let (hook, id, now) = (self.hook(), format!("msg_{email}"), SystemClock.now().as_second());
        let right = |at: i64, body: &str| signature(SECRET, &id, at, body);
        match forgery {
            Forgery::Unsigned => hook.signed(&id, now, &body, "").await,
            Forgery::Wrong => {
                let wrong = signature("whsec_d3Jvbmc=", &id, now, &body);
                let other = right(now, &body.replace("email.received", "email.sent"));
                let status = hook.signed(&id, now, &body, &other).await?;
                anyhow::ensure!(status == 401, "another body's signature: {status}");
                hook.signed(&id, now, &body, &wrong).await
            }
            Forgery::Stale => hook.signed(&id, now - 301, &body, &right(now - 301, &body)).await,
            Forgery::TooLarge => {
                let body =
                    body.replace("\"bcc\":[]", &format!("\"bcc\":[\"{}\"]", "x".repeat(2 << 20)));
                hook.signed(&id, now, &body, &right(now, &body)).await
            }
            Forgery::Garbage => hook.post(&id, "{\"type\":").await,
            Forgery::Replayed => {
                let first = hook.signed(&id, now, &body, &right(now, &body)).await?;
                anyhow::ensure!(first == 200, "the first one was answered with {first}");
                hook.signed(&id, now, &body, &right(now, &body)).await
            }
        }
    }
}
