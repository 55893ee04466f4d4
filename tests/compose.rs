//! The composition that `install/host` makes, with the fake channel in place of the real ones.

use async_trait::async_trait;
use nanoclaw_contract::ids::{AgentId, SessionId};
use nanoclaw_contract::time::SystemClock;
use nanoclaw_driver::{BoxUser, Driver, DriverContext, Limits};
use nanoclaw_host::{
    Boxes, Config, Egress, EgressDecision, EgressEvent, EgressGrant, HostOptions, Started,
};
use nanoclaw_vault::{
    AgentNames, Decision, Events, Resolve, Resolved, ServeOptions, Supervisor, SupervisorConfig,
};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// A host, or its vault.
#[derive(clap::Parser, Debug, Clone)]
pub enum Args {
    /// The host.
    Run(Run),
    /// Its vault.
    #[command(subcommand)]
    Vault(Vault),
}

/// The vault's own process.
#[derive(clap::Subcommand, Debug, Clone)]
pub enum Vault {
    /// Serves until its standard input ends.
    Serve,
}

/// Where and how the host runs.
#[derive(clap::Args, Debug, Clone)]
pub struct Run {
    /// The root of the install: `data`, `groups`, `container` lie in it.
    #[arg(long)]
    pub root: PathBuf,
    /// The runner's binary.
    #[arg(long)]
    pub runner: PathBuf,
    /// Harness programs.
    #[arg(long)]
    pub tools: Option<PathBuf>,
    /// The isolation driver.
    #[arg(long, default_value = "bubblewrap")]
    pub driver: String,
    /// Boxes at once.
    #[arg(long, default_value_t = 100)]
    pub boxes: usize,
    /// Idle timeout in milliseconds.
    #[arg(long, default_value_t = 600_000)]
    pub idle_ms: u64,
    /// Tells this install from others.
    #[arg(long, default_value = "test")]
    pub install: String,
    /// Variables for every box, `NAME=value`.
    #[arg(long)]
    pub box_env: Vec<String>,
    /// Memory of a box in MiB.
    #[arg(long, default_value_t = 2048)]
    pub memory_mib: u64,
    /// Real channels beside the fake one; their settings are variables with [`SETTING`] before the name.
    #[arg(long = "channel")]
    pub channels: Vec<String>,
}

/// What stands before the name of a setting in the host's environment.
pub const SETTING: &str = "SETTING_";

/// In the data folder: lines of a name and its address, for a vault of which a test says where names lead.
pub const NAMES: &str = "names";

struct Names(PathBuf);

impl Resolve for Names {
    fn resolve(&self, name: &str) -> Resolved {
        let (file, name) = (self.0.clone(), name.to_owned());
        Box::pin(async move {
            let text = std::fs::read_to_string(file)?;
            let mut lines = text.lines().filter_map(|line| line.split_once(' '));
            let found = lines.find(|(known, _)| *known == name);
            let (_, ip) = found.ok_or(std::io::ErrorKind::NotFound)?;
            Ok(vec![ip.parse().map_err(std::io::Error::other)?])
        })
    }
}

/// Runs what was asked for.
pub fn host(args: Args) -> anyhow::Result<ExitCode> {
    // A second call in one process finds the provider installed; that is the same one.
    drop(rustls::crypto::ring::default_provider().install_default());
    let filter =
        tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(32)
        .thread_stack_size(1 << 20)
        .enable_all()
        .build()?;
    match args {
        Args::Run(run) => runtime.block_on(serve(&run)),
        Args::Vault(Vault::Serve) => runtime.block_on(async {
            let data = PathBuf::from(std::env::var("NANOCLAW_DATA")?);
            let names = data.join(NAMES);
            let resolver = names.exists().then(|| Arc::new(Names(names)) as Arc<dyn Resolve>);
            nanoclaw_vault::serve(ServeOptions { data, resolver, outside: None }).await?;
            Ok(ExitCode::SUCCESS)
        }),
    }
}

async fn serve(run: &Run) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let (started, vault) = start(run).await?;
    std::io::Write::write_all(&mut std::io::stdout(), b"READY\n")?;
    terminate.recv().await;
    started.stop(Boxes::Stop).await;
    vault.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// The driver with this name.
pub fn driver(name: &str, context: &DriverContext) -> anyhow::Result<Arc<dyn Driver>> {
    let all = [&nanoclaw_driver_bubblewrap::DRIVER, &nanoclaw_driver_docker::DRIVER];
    let def =
        all.iter().find(|d| d.name == name).ok_or_else(|| anyhow::anyhow!("no driver {name}"))?;
    Ok((def.make)(context)?)
}

/// Starts a host in this process.
pub async fn start(run: &Run) -> anyhow::Result<(Started, Arc<Supervisor>)> {
    let config = config(run);
    let context =
        DriverContext { state: config.data.join("boxes"), image: image(), ..Default::default() };
    let driver = driver(&run.driver, &context)?;
    let vault = Supervisor::start(SupervisorConfig {
        exe: vault_exe()?,
        args: vec!["vault".into(), "serve".into()],
        data: config.data.clone(),
    });
    let events = Events::of(&config.data);
    let started = nanoclaw_host::start(HostOptions {
        config,
        channels: crate::peers::with(&run.channels),
        driver,
        egress: Arc::new(Way(vault.clone(), events)),
        clock: Arc::new(SystemClock),
        setting: Arc::new(|name| std::env::var(format!("{SETTING}{name}")).ok()),
    })
    .await?;
    Ok((started, vault))
}

/// The image that `nanoclaw.sh test` builds.
pub fn image() -> String {
    std::env::var("NANOCLAW_TEST_IMAGE").unwrap_or_else(|_| "nanoclaw-agent:latest".into())
}

/// The binary whose `vault serve` is the vault: this one, or the one beside the test's own.
fn vault_exe() -> anyhow::Result<PathBuf> {
    let me = std::env::current_exe()?;
    if me.file_name().is_some_and(|n| n == "nanoclaw-fakehost") {
        return Ok(me);
    }
    let near =
        me.ancestors().take(3).map(|dir| dir.join("nanoclaw-fakehost")).find(|p| p.is_file());
    near.ok_or_else(|| {
        anyhow::anyhow!("nanoclaw-fakehost is not built; run `cargo build -p nanoclaw-tests`")
    })
}

fn config(run: &Run) -> Config {
    let (uid, gid) = if rustix::process::geteuid().is_root() {
        (64_000, 64_000)
    } else {
        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    };
    Config {
        data: run.root.join("data"),
        groups: run.root.join("groups"),
        container: run.root.join("container"),
        runner: run.runner.clone(),
        tools: run.tools.clone().unwrap_or_else(|| run.root.join("data/tools")),
        home: run.root.clone(),
        install: run.install.clone(),
        boxes_max: run.boxes,
        idle_timeout: Duration::from_millis(run.idle_ms),
        timezone: "UTC".into(),
        box_user: BoxUser { uid, gid },
        limits: Limits { memory_bytes: run.memory_mib << 20, ..Limits::default() },
        box_env: run
            .box_env
            .iter()
            .filter_map(|v| v.split_once('='))
            .map(|(k, v)| (k.into(), v.into()))
            .collect(),
        default_provider: "demo".into(),
    }
}

struct Way(Arc<Supervisor>, Events);

#[async_trait]
impl Egress for Way {
    async fn open(
        &self,
        session: &SessionId,
        agent: &AgentId,
        folder: &str,
    ) -> Result<EgressGrant, String> {
        let agent = AgentNames { id: agent.to_string(), folder: folder.to_owned() };
        let grant = self.0.open(session.as_str(), &agent).await.map_err(|e| e.to_string())?;
        Ok(EgressGrant { dir: Some(grant.dir), env: grant.env, files: grant.files })
    }

    async fn close(&self, session: &SessionId) {
        if let Err(e) = self.0.close(session.as_str()).await {
            tracing::warn!(%session, error = %e, "the way out was not closed");
        }
    }
    async fn next(&self) -> EgressEvent {
        loop {
            match serde_json::from_value(self.1.next().await) {
                Ok(event) => return event,
                Err(e) => tracing::error!("an event that the host does not know: {e}"),
            }
        }
    }

    async fn decide(&self, d: &EgressDecision) -> Result<bool, String> {
        let EgressDecision { id, answer, by, why } = d.clone();
        self.1.decide(Decision { id, answer, by, why }).await.map_err(|e| e.to_string())
    }
}
