//! Starts and stops the host, in order.

use crate::{
    Config, Egress, Host, HostError, admin, blocking, channels, due, inbound, lock, strain,
};
use nanoclaw_central::Central;
use nanoclaw_channel::{ChannelDef, Setting, Start};
use nanoclaw_contract::time::SharedClock;
use nanoclaw_driver::Driver;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use tokio::sync::Notify;

/// Rows of the trace that are kept.
const TRACE_ROWS_MAX: u32 = 200_000;
/// How long it is remembered what arrived. Older rows are settled in their session's inbox as well.
const KEPT: std::time::Duration = std::time::Duration::from_secs(30 * 86_400);
const TIDY_EVERY: std::time::Duration = std::time::Duration::from_secs(86_400);
const CLEAN_STOP: &str = "clean_stop";

/// What `install/` passes in.
pub struct HostOptions {
    /// Every setting.
    pub config: Config,
    /// The channels of this install.
    pub channels: &'static [&'static ChannelDef],
    /// The isolation driver.
    pub driver: Arc<dyn Driver>,
    /// The way out of a box.
    pub egress: Arc<dyn Egress>,
    /// The time.
    pub clock: SharedClock,
    /// Reads a channel's setting, such as a token.
    pub setting: Setting,
}

/// A running host.
pub struct Started {
    host: Arc<Host>,
    /// What the way out tells; after a stop that is for the next host.
    hears: tokio::task::JoinHandle<()>,
}

/// Starts everything; returns when messages are accepted and `ncl` is answered.
pub async fn start(options: HostOptions) -> Result<Started, HostError> {
    let HostOptions { config, channels, driver, egress, clock, setting } = options;
    prepare_folders(&config)?;
    open_more_files();
    let (path, now) = (config.data.join("v2.db"), clock.now());
    let (central, crashed) = blocking(move || {
        let central = Central::open(&path, now)?;
        let crashed = central.setting(CLEAN_STOP)?.is_none();
        central.put_setting(CLEAN_STOP, None)?;
        Ok((central, crashed))
    })
    .await?;
    let slots = crate::slots::Slots::new(config.boxes_max);
    let of_install = channels::Channels::new(channels, now)?;
    let host = Arc::new(Host {
        config,
        central,
        clock,
        driver,
        egress,
        channels: of_install,
        slots,
        watch: crate::watch::Watch::new().map_err(|e| HostError::Io("start inotify".into(), e))?,
        live: Mutex::default(),
        files: Mutex::default(),
        recent: Mutex::default(),
        adopted: Mutex::default(),
        evicting: Mutex::default(),
        traffic: Mutex::default(),
        closed: Mutex::default(),
        guesses: crate::pairing::Guesses::default(),
        post: crate::mail::Post::default(),
        approvals_changed: Notify::new(),
        changes: crate::boxes::Changes::default(),
        due_changed: Notify::new(),
        stop: AtomicBool::new(false),
    });
    adopt(&host).await?;
    let left = host.clone();
    blocking(move || crate::boxes::resume(&left)).await?;
    let watching = host.clone();
    tokio::spawn(async move { watching.watch.run().await });
    tokio::spawn(due::run(host.clone()));
    tokio::spawn(crate::mail::run(host.clone()));
    // Read before anybody can decide more.
    let h = host.clone();
    let decided = blocking(move || Ok(h.central.unsettled_approvals()?)).await?;
    tokio::spawn(crate::approvals::run(host.clone(), decided));
    let hears = tokio::spawn(crate::egress::run(host.clone()));
    tokio::spawn(strain::run(host.clone()));
    if crashed {
        tokio::spawn(due::recover(host.clone()));
    }
    let admin = admin::listen(&host)?;
    tokio::spawn(admin);
    for def in channels {
        let start = Start {
            ingress: Arc::new(inbound::Door(host.clone())),
            data: host.config.data.clone(),
            setting: setting.clone(),
            report: channels::report(&host, def.name),
        };
        tokio::spawn(channels::keep(host.clone(), def, start));
    }
    tokio::spawn(tidy(Arc::downgrade(&host)));
    Ok(Started { host, hears })
}

/// Whoever stands in line for a box has files open: many tasks may be due at once.
fn open_more_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let files = getrlimit(Resource::Nofile);
    if let Err(e) = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }) {
        tracing::warn!(error = %e, "no more files may be open than before");
    }
}

/// Forgets what is old, now and every day.
async fn tidy(host: Weak<Host>) {
    while let Some(host) = host.upgrade().filter(|h| !h.stopping()) {
        let done = blocking(move || {
            let (central, now) = (&host.central, host.clock.now());
            let before = now - KEPT;
            central.prune_deliveries(before)?;
            central.prune_mail(before)?;
            central.prune_approvals(before)?;
            central.prune_questions(before)?;
            central.prune_denials(now)?;
            central.prune_pairings(before)?;
            Ok(central.prune_trace(TRACE_ROWS_MAX)?)
        });
        if let Err(e) = done.await {
            tracing::error!(error = %e, "what is old was not forgotten");
        }
        tokio::time::sleep(TIDY_EVERY).await;
    }
}

fn prepare_folders(config: &Config) -> Result<(), HostError> {
    for dir in [
        &config.data,
        &config.groups,
        &config.data.join("v2-sessions"),
        &config.data.join("logs"),
        &config.data.join("run"),
    ] {
        std::fs::create_dir_all(dir)
            .map_err(|e| HostError::Io(format!("create {}", dir.display()), e))?;
    }
    // People's messages lie here; nobody else on the machine reads them.
    std::fs::set_permissions(&config.data, std::fs::Permissions::from_mode(0o700))
        .map_err(|e| HostError::Io(format!("close {}", config.data.display()), e))
}

/// Takes over the boxes that run, and gives sessions whose box is gone a last look.
async fn adopt(host: &Arc<Host>) -> Result<(), HostError> {
    let running = match host.driver.list(&host.config.install).await {
        Ok(running) => running,
        Err(e) => {
            tracing::error!(error = %e, "the driver does not list its boxes");
            Vec::new()
        }
    };
    let h = host.clone();
    let (recorded, previews) =
        blocking(move || Ok((h.central.boxes()?, h.central.sessions_with_previews()?))).await?;
    let recorded: BTreeMap<_, _> = recorded.into_iter().map(|b| (b.name, b.session)).collect();
    let mut to_wake: Vec<_> = recorded.values().cloned().chain(previews).collect();
    for found in running {
        let session = found.session.or_else(|| recorded.get(&found.name).cloned());
        let h = host.clone();
        let known = match session {
            Some(id) => blocking(move || Ok(h.central.session(&id)?)).await?,
            None => None,
        };
        let Some(session) = known else {
            tracing::warn!(name = found.name, "stopping a box of no session");
            stop_in_background(host, found.name);
            continue;
        };
        let double = lock(&host.adopted).insert(session.id.clone(), found.name);
        if let Some(double) = double {
            stop_in_background(host, double);
        }
        to_wake.push(session.id);
    }
    for id in to_wake {
        host.wake(&id);
    }
    Ok(())
}

fn stop_in_background(host: &Arc<Host>, name: String) {
    let host = host.clone();
    tokio::spawn(async move {
        if let Err(e) = host.driver.stop(&name, std::time::Duration::from_secs(5)).await {
            tracing::error!(name, error = %e, "a box does not stop");
        }
    });
}

impl Started {
    /// Stops in order: no more messages in, boxes told to finish, last words delivered.
    pub async fn stop(self, boxes: Boxes) {
        let host = self.host;
        host.stop.store(true, Ordering::Release);
        self.hears.abort();
        if boxes == Boxes::Stop {
            let handles: Vec<_> = lock(&host.live).values().cloned().collect();
            handles.iter().for_each(|h| h.stop());
            let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
            while host.slots.held() > 0 && tokio::time::Instant::now() < deadline {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
        host.channels.stop().await;
        let done = blocking(move || {
            // Who stands in line, or waits before another try, has no other note of its work.
            let (live, now) =
                (lock(&host.live).keys().cloned().collect::<Vec<_>>(), host.clock.now());
            live.iter().try_for_each(|id| host.central.set_due(id, Some(now)))?;
            Ok(host.central.put_setting(CLEAN_STOP, Some("yes"))?)
        });
        if let Err(e) = done.await {
            tracing::error!(error = %e, "the clean stop was not recorded");
        }
    }

    /// The host itself, for tests of its parts.
    #[cfg(test)]
    pub(crate) fn host(&self) -> Arc<Host> {
        self.host.clone()
    }

    /// The door of the host, for channels that tests bring.
    pub fn ingress(&self) -> Arc<dyn nanoclaw_channel::Ingress> {
        Arc::new(inbound::Door(self.host.clone()))
    }
}

/// What happens to running boxes when the host stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boxes {
    /// They are stopped.
    Stop,
    /// They go on; the next host adopts them.
    Leave,
}
