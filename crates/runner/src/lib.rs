//! The process inside a box: it hears the inbox, drives a harness, and writes the outbox.
//!
//! It is the only writer of `outbound.db` and never writes anything else of the session but files
//! for people and its pulse. It has no secrets and needs none. Read next: [`provider`] for the port
//! to a harness, `work` for the loop, [`tools`] for what an agent can do.

mod batch;
mod config;
mod draft;
mod init;
mod instructions;
mod log;
mod ncl;
mod notice;
mod prompt;
pub mod provider;
mod pulse;
pub mod relay;
mod reply;
mod script;
mod session;
pub mod tools;
mod turn;
mod watch;
mod work;

use crate::log::log;
use nanoclaw_contract::dir::Workspace;
use nanoclaw_contract::outbox::Commit;
use nanoclaw_contract::time::{SharedClock, SystemClock};
use provider::ProviderDef;
use session::{Session, say};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use work::{Place, Work};

/// What a runner can be told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// End the running turn.
    Interrupt,
    /// Finish and exit.
    Stop,
}

/// What a runner is started with.
#[derive(Clone)]
pub struct Options {
    /// The session's folder.
    pub workspace: PathBuf,
    /// The environment, also of the harness.
    pub env: BTreeMap<String, String>,
    /// The time.
    pub clock: SharedClock,
}

/// Runs the process: init, relay, signals and the loop, until told to stop.
pub fn run(providers: &[ProviderDef]) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            log!("no runtime: {e}");
            return ExitCode::FAILURE;
        }
    };
    if ncl::is_wanted() {
        return runtime.block_on(ncl::main());
    }
    if init::is_wanted() {
        return runtime.block_on(init::run()).unwrap_or_else(|e| {
            log!("the runner was not started below process 1: {e}");
            ExitCode::FAILURE
        });
    }
    let code = runtime.block_on(main(providers));
    // Nothing that still runs may hold up the end.
    runtime.shutdown_background();
    code
}

async fn main(providers: &[ProviderDef]) -> ExitCode {
    let mut env: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
        .filter(|(k, _)| k != init::CHILD)
        .collect();
    env.entry(ncl::SOCKET.into()).or_insert_with(|| ncl::SOCKET_DEFAULT.into());
    let path =
        |name: &str, default: &str| PathBuf::from(env.get(name).map_or(default, String::as_str));
    let vault = path("NANOCLAW_VAULT_SOCKET", relay::VAULT_SOCKET);
    if vault.exists() {
        tokio::spawn(async move {
            if let Err(e) = relay::listen(relay::PROXY, vault).await {
                log!("there is no way out of the box: {e}");
            }
        });
    }
    let workspace = path("NANOCLAW_WORKSPACE", "/workspace");
    let options = Options { workspace, env, clock: Arc::new(SystemClock) };
    let (tell, mut signals) = mpsc::channel(8);
    if let Err(e) = listen(tell) {
        log!("signals cannot be heard: {e}");
        return ExitCode::FAILURE;
    }
    serve(options, providers, &mut signals).await
}

fn listen(tell: mpsc::Sender<Signal>) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut user1 = signal(SignalKind::user_defined1())?;
    tokio::spawn(async move {
        loop {
            let heard = tokio::select! {
                _ = terminate.recv() => Signal::Stop,
                _ = interrupt.recv() => Signal::Stop,
                _ = user1.recv() => Signal::Interrupt,
            };
            if tell.send(heard).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// Serves one session until told to stop, or until `signals` is closed.
pub async fn serve(
    options: Options,
    providers: &[ProviderDef],
    signals: &mut mpsc::Receiver<Signal>,
) -> ExitCode {
    let workspace = Workspace::at(options.workspace);
    let zone = prompt::zone(options.env.get("TZ").map(String::as_str));
    let file = workspace.agent().join("container.json");
    let config = config::read(&file);
    let own = config.as_ref().map(|c| c.agent_id.clone()).unwrap_or_default();
    let session = match Session::open(workspace, options.clock, zone, own) {
        Ok(session) => Arc::new(session),
        Err(e) => {
            log!("the session cannot be opened: {e}");
            return ExitCode::FAILURE;
        }
    };
    if let Some(socket) = options.env.get(ncl::SOCKET) {
        tokio::spawn(ncl::serve(session.clone(), socket.into()));
    }
    let config = match config {
        Ok(config) => config,
        Err(e) => return refuse(&session, &file, &e.to_string()),
    };
    let Some(def) = providers.iter().find(|p| p.name == config.provider) else {
        let names: Vec<_> = providers.iter().map(|p| p.name).collect();
        let why = format!("Unknown provider: {}. Known: {}", config.provider, names.join(", "));
        return refuse(&session, &file, &why);
    };
    let place = Place {
        base_prompt: PathBuf::from("/app/CLAUDE.md"),
        skills: PathBuf::from("/app/skills"),
        extra: session.workspace.root().join("extra"),
        env: options.env,
    };
    match Work::new(session, config, def, place) {
        Ok(work) => {
            work.run(signals).await;
            ExitCode::SUCCESS
        }
        Err(e) => {
            log!("the session cannot be read: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Tells people why there is no agent, once per cause.
fn refuse(session: &Session, file: &Path, why: &str) -> ExitCode {
    log!("{why}");
    let text = format!(
        "I cannot start: {why}. The owner of this installation can fix my configuration with `ncl groups`."
    );
    let file = std::fs::read_to_string(file).unwrap_or_default();
    match session.people(&turn::Origin::default()) {
        Some(to) => {
            let row = say(&format!("refused/{why}/{file}"), Some(to), None, &text);
            if let Err(e) = session.commit(Commit { say: &[row], ..Commit::default() }) {
                log!("nobody was told: {e}");
            }
        }
        None => log!("nobody was told: the session belongs to no conversation"),
    }
    ExitCode::FAILURE
}
