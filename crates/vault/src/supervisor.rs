//! The host's side: a vault process that is always there, and a socket for every session that asks.
//!
//! ```text
//! spawn ─▶ "ready" ─▶ re-open every session ─▶ up ─▶ (dies) ─▶ pause, twice as long each time ─▶ spawn
//! ```
//!
//! The host never learns the credential: a [`Grant`] holds a directory to mount and placeholders. The vault
//! lives no longer than the host, because it watches a pipe from it. Read next: [`crate::serve`](mod@crate::serve).

use crate::ca::BUNDLE_PEM;
use crate::environment::SYSTEM_BUNDLE;
use crate::serve::{Ask, CONTROL, READY, Reply};
use crate::store::Kind;
use crate::{BOX_URL, DUMMY, VaultError, socket};
use nanoclaw_policy::AgentNames;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A vault that lived this long starts again without a pause to speak of.
const HEALTHY: Duration = Duration::from_secs(10);
const READY_TIMEOUT: Duration = Duration::from_secs(10);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// A session asks again once when the vault dies while it is asked.
const TRIES: u32 = 2;
/// All that the vault inherits; the host's environment may hold anything.
const INHERITED: [&str; 15] = [
    "PATH",
    "HOME",
    "TZ",
    "RUST_LOG",
    "LOG_LEVEL",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NANOCLAW_ROOT",
    "NANOCLAW_VAULT",
    "NANOCLAW_ONECLI_PORT",
    "ONECLI_URL",
    "ONECLI_GATEWAY_URL",
    // Where the vault's key may come from.
    "CREDENTIALS_DIRECTORY",
    "DBUS_SESSION_BUS_ADDRESS",
    "XDG_RUNTIME_DIR",
];
/// Tells the vault its data directory, for a command line that does not name it.
const DATA: &str = "NANOCLAW_DATA";

/// How the vault process is started.
#[derive(Debug, Clone)]
pub struct SupervisorConfig {
    /// The program, usually this one.
    pub exe: PathBuf,
    /// Arguments that make it call [`crate::serve()`] for `data`.
    pub args: Vec<OsString>,
    /// The install's data directory.
    pub data: PathBuf,
}

/// What a box is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Host directory to mount read-only at `/run/vault`; it holds `proxy.sock`.
    pub dir: PathBuf,
    /// For the environment of the box: where the proxy is, what it trusts, and a placeholder for each credential.
    pub env: BTreeMap<String, String>,
    /// Files to mount read-only over those of the box: here, and there.
    pub files: Vec<(PathBuf, PathBuf)>,
}

/// How the vault does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VaultStatus {
    /// Its process, while it runs.
    pub pid: Option<u32>,
    /// How often it had to be started again.
    pub restarts: u64,
    /// Sessions with a socket.
    pub sessions: usize,
    /// Requests since its process started.
    pub requests: u64,
    /// Kind of the credential, if a usable one is stored.
    pub credential: Option<Kind>,
}

struct Session {
    agent: AgentNames,
    dir: PathBuf,
}

/// Keeps a vault process running.
pub struct Supervisor {
    config: SupervisorConfig,
    sessions: Mutex<BTreeMap<String, Session>>,
    /// Kept open between calls; taken out during one, so that a cancelled call cannot leave half a line.
    control: Mutex<Option<BufReader<UnixStream>>>,
    /// Which start of the process is up; 0 while none is.
    up: watch::Sender<u64>,
    stopping: watch::Sender<bool>,
    stopped: watch::Sender<bool>,
    hung: Notify,
    pid: AtomicU32,
    restarts: AtomicU64,
}

impl Supervisor {
    /// Starts the vault in the background; [`Self::open`] waits for it. Needs a tokio runtime.
    pub fn start(mut config: SupervisorConfig) -> Arc<Self> {
        // A box's mounts need absolute paths; this fails only for an empty path or without a cwd.
        config.data = std::path::absolute(&config.data).unwrap_or(config.data);
        let supervisor = Arc::new(Self {
            config,
            sessions: Mutex::default(),
            control: Mutex::default(),
            up: watch::Sender::new(0),
            stopping: watch::Sender::new(false),
            stopped: watch::Sender::new(false),
            hung: Notify::new(),
            pid: AtomicU32::new(0),
            restarts: AtomicU64::new(0),
        });
        let running = Arc::clone(&supervisor);
        tokio::spawn(async move { running.keep_alive().await });
        supervisor
    }

    /// Gives a session its socket; asking again is harmless and tells the credential's kind of now.
    pub async fn open(&self, session: &str, agent: &AgentNames) -> Result<Grant, VaultError> {
        let dir = self.session_dir(session);
        let parent = self.config.data.join("run/s");
        // A box sees only its own directory; other users of this machine see none.
        socket::make_dir(&parent, 0o700)
            .and_then(|()| socket::make_dir(&dir, 0o711))
            .map_err(|e| VaultError::io(format!("preparing {dir:?}"), e))?;
        let known = Session { agent: agent.clone(), dir: dir.clone() };
        self.sessions().insert(session.to_owned(), known);
        let ask = Ask::Open { session: session.to_owned(), agent: agent.clone(), dir: dir.clone() };
        let reply = self.ask_until_answered(&ask).await?;
        let mut env = reply.env;
        env.extend(environment(reply.credential));
        let files = vec![(dir.join(BUNDLE_PEM), SYSTEM_BUNDLE.into())];
        Ok(Grant { dir, env, files })
    }

    /// Takes the socket away and cuts what runs through it; closing twice is harmless.
    pub async fn close(&self, session: &str) -> Result<(), VaultError> {
        self.sessions().remove(session);
        let asked = self.ask_until_answered(&Ask::Close { session: session.to_owned() }).await;
        let dir = self.session_dir(session);
        match std::fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(VaultError::io(format!("removing {dir:?}"), e))
            }
            _ => asked.map(drop),
        }
    }

    /// How the vault does.
    pub async fn status(&self) -> Result<VaultStatus, VaultError> {
        let reply = self.ask_until_answered(&Ask::Status).await?;
        let pid = self.pid.load(Ordering::Relaxed);
        Ok(VaultStatus {
            pid: (pid != 0).then_some(pid),
            restarts: self.restarts.load(Ordering::Relaxed),
            sessions: reply.sessions,
            requests: reply.requests,
            credential: reply.credential,
        })
    }

    /// Ends the vault and returns when it is gone; the sockets of all sessions go with it.
    pub async fn stop(&self) {
        self.stopping.send_replace(true);
        let mut stopped = self.stopped.subscribe();
        // Fails only when the sender is gone, and `self` holds it.
        drop(stopped.wait_for(|gone| *gone).await);
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session_dir(&self, session: &str) -> PathBuf {
        let hash = Sha256::digest(session.as_bytes());
        let short: String = hash.iter().take(8).map(|b| format!("{b:02x}")).collect();
        self.config.data.join("run/s").join(short)
    }

    async fn ask_until_answered(&self, ask: &Ask) -> Result<Reply, VaultError> {
        let mut up = self.up.subscribe();
        let (mut tries, mut failed) = (0, 0);
        loop {
            tries += 1;
            // A process that did not answer is on its way out: only the next one is worth asking.
            let next = up.wait_for(|start| *start != 0 && *start != failed);
            failed = match timeout(READY_TIMEOUT, next).await {
                Ok(Ok(start)) => *start,
                _ => return Err(silent("it does not start")),
            };
            match self.ask(ask).await {
                Err(VaultError::Unavailable(_)) if tries < TRIES => {}
                answer => return answer,
            }
        }
    }

    /// One question, one answer. A vault that does not answer is killed, because nobody can use it.
    async fn ask(&self, ask: &Ask) -> Result<Reply, VaultError> {
        let reply = match timeout(CALL_TIMEOUT, self.exchange(ask)).await {
            Ok(reply) => reply.map_err(|e| silent(&e.to_string()))?,
            Err(_) => {
                self.hung.notify_one();
                return Err(silent("it hangs"));
            }
        };
        match reply.error {
            Some(why) => Err(VaultError::Refused(why)),
            None => Ok(reply),
        }
    }

    async fn exchange(&self, ask: &Ask) -> std::io::Result<Reply> {
        let kept = self.control.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut control = match kept {
            Some(control) => control,
            None => BufReader::new(socket::connect(&self.config.data.join("run"), CONTROL).await?),
        };
        let mut line = serde_json::to_vec(ask)?;
        line.push(b'\n');
        control.write_all(&line).await?;
        socket::line(&mut control, &mut line).await?;
        let reply = serde_json::from_slice(&line)?;
        *self.control.lock().unwrap_or_else(PoisonError::into_inner) = Some(control);
        Ok(reply)
    }

    async fn keep_alive(&self) {
        let mut stopping = self.stopping.subscribe();
        let mut pause = PAUSE_MIN;
        while !*stopping.borrow_and_update() {
            let since = Instant::now();
            if let Err(e) = self.live_once(&mut stopping).await {
                tracing::error!("the vault did not run: {e}");
            }
            if *stopping.borrow() {
                break;
            }
            self.restarts.fetch_add(1, Ordering::Relaxed);
            if since.elapsed() > HEALTHY {
                pause = PAUSE_MIN;
            }
            drop(timeout(pause, stopping.changed()).await);
            pause = (pause * 2).min(PAUSE_MAX);
        }
        self.stopped.send_replace(true);
    }

    /// From one start of the process to its end.
    async fn live_once(&self, stopping: &mut watch::Receiver<bool>) -> Result<(), VaultError> {
        let failed = |e| VaultError::io(format!("starting {:?}", self.config.exe), e);
        let mut child = self.spawn().map_err(failed)?;
        self.pid.store(child.id().unwrap_or(0), Ordering::Relaxed);
        // An old connection, and an old complaint, are not about this process.
        drop(self.control.lock().unwrap_or_else(PoisonError::into_inner).take());
        tokio::select! { biased; () = self.hung.notified() => {} () = std::future::ready(()) => {} }
        // Taken out because `wait` would close it, and the vault ends when this pipe does.
        let _lifeline = child.stdin.take();
        let life = async {
            ready(&mut child).await?;
            self.reopen().await;
            self.up.send_replace(self.restarts.load(Ordering::Relaxed) + 1);
            tokio::select! {
                ended = child.wait() => match ended {
                    Ok(status) => tracing::warn!("the vault ended: {status}"),
                    Err(e) => tracing::warn!("waiting for the vault: {e}"),
                },
                () = self.hung.notified() => tracing::error!("the vault hangs and is killed"),
            }
            Ok(())
        };
        let lived = tokio::select! {
            lived = life => lived,
            _ = stopping.wait_for(|stop| *stop) => Ok(()),
        };
        self.up.send_replace(0);
        self.pid.store(0, Ordering::Relaxed);
        // Fails when the process is gone already, which is all that is wanted.
        drop(child.kill().await);
        lived
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let inherited = INHERITED.iter().filter_map(|key| Some((key, std::env::var_os(key)?)));
        Command::new(&self.config.exe)
            .args(&self.config.args)
            .env_clear()
            .envs(inherited)
            .env(DATA, &self.config.data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    async fn reopen(&self) {
        let asks: Vec<Ask> = self
            .sessions()
            .iter()
            .map(|(session, known)| Ask::Open {
                session: session.clone(),
                agent: known.agent.clone(),
                dir: known.dir.clone(),
            })
            .collect();
        for ask in asks {
            if let Err(e) = self.ask(&ask).await {
                tracing::error!("opening {ask:?} again: {e}");
            }
        }
    }
}

/// Waits until the process says that its control socket listens.
async fn ready(child: &mut Child) -> Result<(), VaultError> {
    let Some(out) = child.stdout.take() else { return Err(silent("it has no output")) };
    let (mut line, mut out) = (Vec::new(), BufReader::new(out));
    match timeout(READY_TIMEOUT, socket::line(&mut out, &mut line)).await {
        Ok(Ok(())) if line.trim_ascii_end() == READY.as_bytes() => Ok(()),
        Ok(_) => Err(silent("it ended at once; its own message stands above")),
        Err(_) => Err(silent("it was not ready in time")),
    }
}

fn silent(why: &str) -> VaultError {
    VaultError::Unavailable(why.to_owned())
}

/// What makes a harness in the box talk to the vault. The placeholder has the shape of the real thing,
/// because the harness decides by it which protocol it speaks.
fn environment(credential: Option<Kind>) -> BTreeMap<String, String> {
    let (name, prefix) = match credential {
        None => return BTreeMap::new(),
        Some(Kind::ApiKey) => ("ANTHROPIC_API_KEY", "sk-ant-api03"),
        Some(Kind::Oauth) => ("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-oat01"),
    };
    let url = ("ANTHROPIC_BASE_URL".to_owned(), BOX_URL.to_owned());
    BTreeMap::from([url, (name.to_owned(), format!("{prefix}-{DUMMY}"))])
}
