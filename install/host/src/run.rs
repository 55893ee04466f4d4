//! The host in the foreground: one lock, one vault beside it, and an orderly end.

use crate::{CHANNELS, Process, credentials, drivers};
use async_trait::async_trait;
use nanoclaw_contract::ids::{AgentId, SessionId};
use nanoclaw_contract::time::SystemClock;
use nanoclaw_driver::{BoxUser, Limits};
use nanoclaw_host::{Boxes, Egress, EgressDecision, EgressEvent, EgressGrant, HostOptions};
use nanoclaw_ops::config::{Config, Environment, Strings as _};
use nanoclaw_ops::{Error, drivers as choice, service, setup};
use nanoclaw_vault::{AgentNames, Decision, Events, Supervisor, SupervisorConfig};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Threads for what waits; what blocks has its own.
const WORKERS: usize = 2;
const BLOCKING_MAX: usize = 32;
const STACK_BYTES: usize = 1 << 20;
/// How long the terminal's channel may take to listen.
const LISTENS_WITHIN: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(crate) struct RunArgs {
    /// Leave the terminal; `nanoclaw start` does this
    #[arg(long, hide = true)]
    background: bool,
}

/// Sends the log to the standard error, where `nanoclaw start` put a file.
pub(crate) fn log_to_stderr(config: &Config) {
    let level = &config.log_level;
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(format!("warn,nanoclaw={level}")));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.with_ansi(rustix::termios::isatty(std::io::stderr())).init();
}

/// Runs the host until it is told to end.
pub(crate) fn run(process: &Process, args: &RunArgs) -> anyhow::Result<ExitCode> {
    if args.background {
        // So that the end of the terminal is not the end of the host.
        rustix::process::setsid()?;
    }
    let runner = &process.config.runner;
    if !runner.is_file() {
        return Err(Error::new(format!("the program for boxes, {}, is missing", runner.display()))
            .next("bash nanoclaw.sh, which builds it")
            .into());
    }
    let lock = service::Lock::take(&process.config.data, &SystemClock)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_MAX)
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()?;
    let data = &process.config.data;
    let wait = match args.background {
        true => Duration::ZERO,
        false => service::pace::begun(data, &SystemClock)?,
    };
    runtime.block_on(host(process, &lock, wait))?;
    service::pace::ended(data);
    Ok(ExitCode::SUCCESS)
}

async fn host(process: &Process, lock: &service::Lock, wait: Duration) -> anyhow::Result<()> {
    let config = &process.config;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    if !wait.is_zero() {
        tracing::warn!(
            ?wait,
            "the host ended badly several times; it waits, `nanoclaw start` does not"
        );
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
    }
    crate::onecli::settings(process)?;
    let context = setup::driver_context(config);
    let central = config.open_central()?;
    let chosen = choice::for_host(&drivers(), config.driver.as_deref(), &central, &context).await?;
    drop(central);
    tracing::info!(driver = chosen.driver.name(), why = chosen.why, "isolation");
    let vault = Supervisor::start(SupervisorConfig {
        exe: std::env::current_exe()?,
        args: vec!["vault".into(), "serve".into()],
        data: config.data.clone(),
    });
    let (root, settings) = (config.root.clone(), Environment::read(&config.root)?);
    let data = config.data.clone();
    let started = nanoclaw_host::start(HostOptions {
        config: host_config(config),
        channels: CHANNELS,
        driver: chosen.driver,
        egress: Arc::new(Vault(Arc::clone(&vault), Events::of(&config.data))),
        clock: Arc::new(SystemClock),
        // Read anew: a channel may be started with a token that was set a moment ago.
        setting: Arc::new(move |key| {
            let set = match Environment::read(&root) {
                Ok(now) => now.get(key),
                Err(_) => settings.get(key),
            };
            set.or_else(|| credentials::host_token(&data, key))
        }),
    })
    .await?;
    wait_for_terminal(config).await;
    lock.ready()?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    started.stop(Boxes::Stop).await;
    vault.stop().await;
    Ok(())
}

/// Ready means that the first `nanoclaw chat` is answered; a terminal that cannot listen does not stop others.
async fn wait_for_terminal(config: &Config) {
    let socket = nanoclaw_channel_cli::socket(&config.data);
    let listens = async {
        while tokio::net::UnixStream::connect(&socket).await.is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    if tokio::time::timeout(LISTENS_WITHIN, listens).await.is_err() {
        tracing::warn!(socket = %socket.display(), "the terminal's channel does not listen yet");
    }
}

fn host_config(config: &Config) -> nanoclaw_host::Config {
    let (uid, gid) = config.box_user;
    nanoclaw_host::Config {
        data: config.data.clone(),
        groups: config.groups.clone(),
        container: config.root.join("container"),
        runner: config.runner.clone(),
        tools: config.tools.clone(),
        home: config.home.clone(),
        install: config.install.clone(),
        boxes_max: config.boxes_max,
        idle_timeout: config.idle_timeout,
        timezone: config.timezone.clone(),
        box_user: BoxUser { uid, gid },
        limits: Limits::default(),
        box_env: config.box_env.clone(),
        default_provider: crate::PROVIDERS.first().map_or("", |p| p.name).to_owned(),
    }
}

/// The vault as the host's way out.
struct Vault(Arc<Supervisor>, Events);

#[async_trait]
impl Egress for Vault {
    async fn open(
        &self,
        session: &SessionId,
        agent: &AgentId,
        folder: &str,
    ) -> Result<EgressGrant, String> {
        let agent = AgentNames { id: agent.to_string(), folder: folder.to_owned() };
        let grant = self.0.open(session.as_str(), &agent).await;
        let grant = grant.map_err(|e| e.to_string())?;
        Ok(EgressGrant { dir: Some(grant.dir), env: grant.env, files: grant.files })
    }

    async fn close(&self, session: &SessionId) {
        if let Err(e) = self.0.close(session.as_str()).await {
            tracing::warn!(session = session.as_str(), error = %e, "the vault keeps a socket");
        }
    }

    async fn next(&self) -> EgressEvent {
        loop {
            match serde_json::from_value(self.1.next().await) {
                Ok(event) => return event,
                Err(e) => tracing::error!("the vault says what this host does not know: {e}"),
            }
        }
    }

    async fn decide(&self, d: &EgressDecision) -> Result<bool, String> {
        let EgressDecision { id, answer, by, why } = d.clone();
        self.1.decide(Decision { id, answer, by, why }).await.map_err(|e| e.to_string())
    }
}
