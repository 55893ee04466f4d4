//! The line to WhatsApp: linked, connected, lost, logged out, and back.
//!
//! ```text
//! unlinked ──scan or code──▶ linked ──▶ connected ◀──backoff── lost
//!    ▲                                     │
//!    └──────────── logged out ◀────────────┤
//!                   replaced, banned ◀─────┘  (a person decides)
//! ```
//! The client reconnects by itself while the account is good. What ends it is told to the owner with the
//! remedy, and where a new link is the remedy, the new code comes along.

#[cfg(test)]
mod tests;

use crate::receive::Inbox;
use crate::store::Store;
use crate::web::Web;
use nanoclaw_channel::{ChannelType, Health, Ingress, Report, SendError, Setting, StartError};
use nanoclaw_kit::backoff::Backoff;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use std::collections::HashMap;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use whatsapp_rust::pair_code::PairCodeOptions;
use whatsapp_rust::prelude::{Bot, Client, Event, EventHandler};
use whatsapp_rust::transport::TokioWebSocketTransportFactory;
use whatsapp_rust::wacore::store::DevicePropsOverride;

const AGAIN_FIRST: Duration = Duration::from_secs(3);
const AGAIN_MAX: Duration = Duration::from_secs(300);

/// What the channel knows while it runs.
pub(crate) struct Line {
    pub(crate) store: Store,
    pub(crate) ingress: Arc<dyn Ingress>,
    /// What the agent is called.
    pub(crate) name: String,
    /// Whether the account is the agent's alone rather than a person's.
    pub(crate) own_number: bool,
    phone: Option<String>,
    web: Web,
    health: watch::Sender<Option<Health>>,
    report: Report,
    client: Mutex<Option<Arc<Client>>>,
    end: Mutex<Option<End>>,
    stopped: AtomicBool,
    /// Changes with every connection that was made, was lost or is given up.
    connections: AtomicU64,
    /// Who waits for WhatsApp's word about a message; the word is the code of a refusal.
    acks: Mutex<HashMap<String, oneshot::Sender<Option<String>>>>,
}

/// Why a connection will not come back by itself.
#[derive(Debug, Clone)]
enum End {
    /// The account must be linked again.
    LoggedOut,
    /// Only a person can decide what is next.
    Stuck(Health),
}

/// The name of this channel.
pub(crate) fn channel_type() -> ChannelType {
    #[expect(clippy::expect_used, reason = "a constant that a test parses")]
    ChannelType::parse(crate::CHANNEL.name).expect("the channel's name is a channel type")
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Line {
    pub(crate) fn new(
        store: Store,
        ingress: Arc<dyn Ingress>,
        report: Report,
        setting: &Setting,
    ) -> Result<Arc<Self>, StartError> {
        let yes =
            |name: &str| setting(name).is_some_and(|v| matches!(v.as_str(), "1" | "true" | "yes"));
        let phone = setting("WHATSAPP_PHONE").or_else(|| setting("WHATSAPP_PHONE_NUMBER"));
        let digits = |phone: String| phone.chars().filter(char::is_ascii_digit).collect::<String>();
        Ok(Arc::new(Self {
            store,
            ingress,
            name: setting("ASSISTANT_NAME").unwrap_or_else(|| "Andy".into()),
            own_number: yes("ASSISTANT_HAS_OWN_NUMBER"),
            phone: phone.map(digits).filter(|phone| !phone.is_empty()),
            web: Web::new(setting("WHATSAPP_BASE_URL"))?,
            health: watch::Sender::new(None),
            report,
            client: Mutex::new(None),
            end: Mutex::new(None),
            stopped: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            acks: Mutex::new(HashMap::new()),
        }))
    }

    /// Waits until the line is up or waits for a person; fails if neither comes to be within `wait`.
    pub(crate) async fn settled(&self, wait: Duration) -> Result<(), StartError> {
        let mut health = self.health.subscribe();
        let settled = health
            .wait_for(|h| h.as_ref().is_some_and(|h| !matches!(h, Health::Reconnecting { .. })));
        match tokio::time::timeout(wait, settled).await {
            Ok(Ok(health)) => match &*health {
                Some(Health::Broken { why }) => Err(StartError::Broken(why.clone())),
                _ => Ok(()),
            },
            _ => Err(StartError::Unreachable("WhatsApp was not reached".into())),
        }
    }

    /// Tells how the line is. While it waits for a person, every code ends with its connection: that is still
    /// waiting, not a loss.
    fn tell(&self, health: Health) {
        if let Health::Reconnecting { why } = &health
            && self.waits()
        {
            return tracing::info!("WhatsApp waits to be linked: {why}");
        }
        self.health.send_replace(Some(health.clone()));
        (self.report)(health);
    }

    /// Whether a person has to link the account.
    fn waits(&self) -> bool {
        matches!(&*self.health.borrow(), Some(Health::Needs { .. }))
    }

    /// Which connection this is.
    pub(crate) fn connection(&self) -> u64 {
        self.connections.load(SeqCst)
    }

    /// The client, if something can be sent.
    pub(crate) fn client(&self) -> Result<Arc<Client>, SendError> {
        match &*self.health.borrow() {
            Some(Health::Needs { what: why } | Health::Broken { why }) => {
                // The rest is a picture.
                let why = why.lines().next().unwrap_or_default().to_owned();
                return Err(SendError::Broken { why });
            }
            Some(Health::Up | Health::Reconnecting { .. }) | None => {}
        }
        let client = lock(&self.client).clone().filter(|client| client.is_logged_in());
        client.ok_or_else(|| SendError::Retry {
            after: None,
            why: "WhatsApp is not connected".into(),
        })
    }

    /// Hears WhatsApp's word about a message.
    pub(crate) fn await_ack(&self, id: &str) -> oneshot::Receiver<Option<String>> {
        let (tell, told) = oneshot::channel();
        lock(&self.acks).insert(id.to_owned(), tell);
        told
    }

    /// Waits no longer for it.
    pub(crate) fn forget_ack(&self, id: &str) {
        lock(&self.acks).remove(id);
    }

    /// Keeps the line up until it is stopped.
    pub(crate) async fn live(self: Arc<Self>) {
        let mut pause = Backoff::new(AGAIN_FIRST, AGAIN_MAX);
        while !self.stopped.load(SeqCst) {
            if let Err(why) = self.session().await {
                self.tell(Health::Reconnecting { why });
            }
            lock(&self.client).take();
            let end = lock(&self.end).take();
            match end {
                Some(End::LoggedOut) => {
                    // The keys open nothing any more; the next session makes new ones and shows a code.
                    if let Err(e) = self.store.forget_device().await {
                        self.tell(Health::Reconnecting {
                            why: format!("the device was not forgotten: {e}"),
                        });
                    }
                }
                Some(End::Stuck(health)) => return self.tell(health),
                None => {}
            }
            // The next code comes while somebody still looks.
            if self.waits() {
                pause.reset();
            }
            tokio::time::sleep(pause.next()).await;
        }
    }

    /// One life of the client; it ends when the client gives up.
    async fn session(self: &Arc<Self>) -> Result<(), String> {
        let mut transport = TokioWebSocketTransportFactory::new();
        if let Some(url) = self.web.socket() {
            transport = transport.with_url(url);
        }
        let mut bot = Bot::builder()
            .with_backend(self.store.clone())
            .with_transport_factory(transport)
            .with_http_client(self.web.clone())
            .with_inbound_durability_hook(Inbox(Arc::downgrade(self)))
            .with_event_handler(Ears(Arc::downgrade(self)))
            // What the phone lists under its linked devices.
            .with_device_props(DevicePropsOverride::new().with_os("NanoClaw"))
            .skip_history_sync();
        if let Some(phone) = &self.phone
            && !self.store.is_linked().await
        {
            let phone_number = phone.clone();
            bot =
                bot.with_pair_code(PairCodeOptions { phone_number, ..PairCodeOptions::default() });
        }
        let bot = bot.build().await.map_err(|e| format!("WhatsApp's client did not start: {e}"))?;
        *lock(&self.client) = Some(bot.client());
        if !self.stopped.load(SeqCst) {
            bot.run().await;
        }
        Ok(())
    }

    /// Hangs up.
    pub(crate) async fn stop(&self) {
        self.stopped.store(true, SeqCst);
        self.connections.fetch_add(1, SeqCst);
        let client = lock(&self.client).take();
        if let Some(client) = client {
            client.disconnect().await;
        }
    }

    /// Lets go of everything at once.
    pub(crate) fn abandon(&self) {
        self.stopped.store(true, SeqCst);
        self.connections.fetch_add(1, SeqCst);
        if let Some(client) = lock(&self.client).take() {
            client.signal_shutdown_sync();
        }
    }

    /// What the owner reads to link the account.
    fn ask(&self, how: &str) {
        let what = format!(
            "WhatsApp is not linked. On the phone: Settings > Linked devices > Link a device, {how}"
        );
        self.tell(Health::Needs { what });
    }

    fn ended(&self, end: End) {
        *lock(&self.end) = Some(end);
    }

    fn hear(self: &Arc<Self>, event: &Event) {
        let stuck = |why: String| End::Stuck(Health::Broken { why });
        match event {
            Event::ServerAck(ack) => {
                let waits = lock(&self.acks).remove(&ack.id);
                // Nobody may wait any more.
                waits.and_then(|waits| waits.send(ack.error.clone()).err());
            }
            Event::Connected(_) => {
                self.connections.fetch_add(1, SeqCst);
                self.tell(Health::Up);
                self.hide();
            }
            Event::Disconnected(lost) => {
                self.connections.fetch_add(1, SeqCst);
                self.tell(Health::Reconnecting {
                    why: format!("the connection was lost: {}", lost.reason),
                });
            }
            Event::PairingQrCode(qr) if self.phone.is_none() => match picture(&qr.code) {
                Some(picture) => self.ask(&format!(
                    "and scan this code (a new one comes every minute):\n\n{picture}"
                )),
                None => self.ask("but the code was too long to show; restart"),
            },
            Event::PairingCode(code) => {
                self.ask(&format!("Link with phone number instead, and type {}", code.code));
                self.renew(code.timeout);
            }
            Event::PairingCodeError(e) => {
                self.ask(&format!(
                    "but WhatsApp gave no code: {}; another one is asked for",
                    e.error
                ));
                self.renew(e.backoff.unwrap_or(AGAIN_MAX));
            }
            Event::LoggedOut(_) => {
                self.ended(End::LoggedOut);
                let what = "WhatsApp has logged this device out. To link it again, scan the new code on the phone \
                     under Settings > Linked devices > Link a device";
                self.tell(Health::Needs { what: what.into() });
            }
            Event::StreamReplaced(_) => self.ended(End::Stuck(Health::Needs {
                what:
                    "Another program took over this WhatsApp device. Stop it, then restart this one"
                        .into(),
            })),
            Event::TemporaryBan(ban) => self.ended(stuck(format!(
                "WhatsApp closed this account for {} minutes: {}",
                ban.expire.num_minutes(),
                ban.code
            ))),
            Event::ClientOutdated(_) => {
                self.ended(stuck(
                    "WhatsApp refuses this version of its protocol; install an update".into(),
                ));
            }
            Event::ConnectFailure(no) => {
                let why = format!("WhatsApp refused the connection: {:?}", no.reason);
                self.tell(Health::Reconnecting { why });
            }
            Event::Messages(batch) if !batch.hook_committed => {
                self.recovered(batch.iter().cloned().collect());
            }
            _ => {}
        }
    }

    /// Takes messages that the phone had to be asked for again: the client has acknowledged them already.
    fn recovered(self: &Arc<Self>, batch: Vec<whatsapp_rust::prelude::InboundMessage>) {
        let Some(client) = lock(&self.client).clone() else { return };
        let line = Arc::clone(self);
        tokio::spawn(async move {
            for message in batch {
                if let Err(e) = line.take(&client, &message.message, &message.info).await {
                    tracing::error!("a recovered message was not taken: {e}");
                }
            }
        });
    }

    /// A phone is silent while another device of its account is online.
    fn hide(&self) {
        let client = lock(&self.client).clone().filter(|_| !self.own_number);
        if let Some(client) = client {
            tokio::spawn(async move { client.presence().set_unavailable().await.ok() });
        }
    }

    /// Begins anew when a code has expired that nobody used.
    fn renew(self: &Arc<Self>, after: Duration) {
        let line = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let client = line.upgrade().and_then(|line| lock(&line.client).clone());
            if let Some(client) = client.filter(|client| !client.is_logged_in()) {
                client.disconnect().await;
            }
        });
    }
}

/// Hears what happens to the client.
struct Ears(Weak<Line>);

impl EventHandler for Ears {
    fn handle_event(&self, event: Arc<Event>) {
        if let Some(line) = self.0.upgrade() {
            line.hear(&event);
        }
    }
}

/// The code in half blocks, light on dark as terminals are.
pub(crate) fn picture(code: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(code, EcLevel::L).ok()?;
    let mut picture = code.render::<Dense1x2>();
    Some(picture.dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}
