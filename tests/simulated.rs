//! Stories on a simulated clock: minutes and days pass in milliseconds, the host is the real one.

mod afterwards;
mod approvals;
mod attacks;
mod boxes;
mod changes;
mod channels;
mod cut;
mod limits;
mod ncl;
mod outage;
mod pairing;
pub(crate) mod peers;
mod previews;
mod questions;
mod requests;
mod routing;
mod sessions;
mod strangers;
mod tasks;
mod team;

use async_trait::async_trait;
use nanoclaw_channel::ChannelDef;
use nanoclaw_contract::ids::{AgentId, SessionId};
use nanoclaw_driver::{BoxUser, Limits};
use nanoclaw_host::{Boxes, Config, Egress, EgressGrant, HostOptions, Started};
use nanoclaw_testkit::clock::SimClock;
use nanoclaw_testkit::driver::FakeDriver;
use nanoclaw_tests::rig::Rig;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Long enough for anything, on the simulated clock.
const EVER: Duration = Duration::from_secs(3600);

struct NoWayOut;

#[async_trait]
impl Egress for NoWayOut {
    async fn open(&self, _: &SessionId, _: &AgentId, _: &str) -> Result<EgressGrant, String> {
        Ok(EgressGrant::default())
    }

    async fn close(&self, _: &SessionId) {}
}

/// A host in this process, on the clock of this runtime.
struct Sim {
    rig: Rig,
    driver: Arc<FakeDriver>,
    egress: Arc<dyn Egress>,
    clock: Arc<SimClock>,
    boxes_max: usize,
    idle: Duration,
    channels: &'static [&'static ChannelDef],
    /// What is set for channels.
    settings: Arc<Mutex<BTreeMap<String, String>>>,
    started: Option<Started>,
}

impl Sim {
    fn new(name: &str) -> anyhow::Result<Self> {
        let (driver, clock) = (Arc::<FakeDriver>::default(), Arc::new(SimClock::start()));
        *driver.clock.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock.clone());
        Ok(Self {
            rig: Rig::without_boxes(name)?,
            driver,
            egress: Arc::new(NoWayOut),
            clock,
            boxes_max: 100,
            idle: Duration::from_secs(600),
            channels: &nanoclaw_testkit::channel::CHANNELS,
            settings: Arc::default(),
            started: None,
        })
    }

    /// For platforms whose clocks nobody turns.
    fn real_time(&mut self) {
        self.clock = Arc::new(SimClock::real());
        *self.driver.clock.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(self.clock.clone());
    }

    async fn start(&mut self) -> anyhow::Result<()> {
        let (root, settings) = (self.rig.root.path(), self.settings.clone());
        let started = nanoclaw_host::start(HostOptions {
            config: Config {
                data: root.join("data"),
                groups: root.join("groups"),
                container: root.join("container"),
                runner: root.join("runner"),
                tools: root.join("tools"),
                home: root.to_owned(),
                install: "sim".into(),
                boxes_max: self.boxes_max,
                idle_timeout: self.idle,
                timezone: "UTC".into(),
                box_user: BoxUser { uid: 64_000, gid: 64_000 },
                limits: Limits::default(),
                box_env: BTreeMap::new(),
                default_provider: "demo".into(),
            },
            channels: self.channels,
            driver: self.driver.clone(),
            egress: self.egress.clone(),
            clock: self.clock.clone(),
            setting: Arc::new(move |name| {
                settings.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
            }),
        });
        self.started = Some(started.await?);
        Ok(())
    }

    async fn stop(&mut self) {
        if let Some(started) = self.started.take() {
            started.stop(Boxes::Stop).await;
        }
    }

    /// Waits until the host took everything that was said, and then until nobody has anything to do.
    async fn quiet(&self) {
        assert!(self.rig.platform.until(EVER, |p| p.unreceived() == 0).await, "not received");
        tokio::time::sleep(Duration::from_secs(120)).await;
    }

    /// A session's inbox, for a look.
    fn inbox(&self, agent: &AgentId, session: &SessionId) -> anyhow::Result<rusqlite::Connection> {
        Ok(rusqlite::Connection::open(self.rig.dir(agent, session)?.inbound())?)
    }

    /// Waits until the chat shows exactly these texts.
    async fn shows(&self, chat: &str, texts: &[&str]) {
        let shown = |p: &nanoclaw_testkit::platform::Platform| p.texts(chat).len() >= texts.len();
        self.rig.platform.until(EVER, shown).await;
        assert_eq!(self.rig.platform.texts(chat), texts);
    }

    /// What lies in a session's inbox, in order: whether it wakes, and its content.
    fn rows(
        &self,
        agent: &AgentId,
    ) -> anyhow::Result<Vec<(bool, nanoclaw_contract::content::Chat)>> {
        let mut all = Vec::new();
        for session in self.rig.sessions(agent)? {
            let inbox = self.inbox(agent, &session)?;
            let mut query =
                inbox.prepare("SELECT trigger, content FROM messages_in ORDER BY seq")?;
            let rows = query.query_map([], |r| Ok((r.get(0)?, r.get::<_, String>(1)?)))?;
            for row in rows {
                let (wakes, content) = row?;
                all.push((wakes, nanoclaw_contract::content::Chat::parse(&content)));
            }
        }
        Ok(all)
    }

    /// The texts among them that wake nobody.
    fn context(&self, agent: &AgentId) -> anyhow::Result<Vec<String>> {
        let rows = self.rows(agent)?.into_iter().filter(|(wakes, _)| !wakes);
        Ok(rows.map(|(_, chat)| chat.text).collect())
    }
}
