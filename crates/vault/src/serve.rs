//! The vault process: a socket per session for the boxes, a control socket for the host.
//!
//! The control socket takes one JSON object per line and answers with one; nothing in it can ask for a
//! credential. A session's connections are served up to a cap, the rest wait in the socket's queue, so a
//! box can only hold up itself. Read next: `proxy` for one request, [`crate::supervisor`] for the caller.

use crate::approvals::{self, Approvals, Bus, Decided, Decision};
use crate::store::{Cached, Kind, Store};
use crate::upstream::{Dialer, Pool};
use crate::{SOCKET, VaultError, proxy, socket};
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

pub(crate) const CONTROL: &str = "vault.sock";
pub(crate) const LINE_MAX: u64 = 64 << 10;
/// What the process says on its standard output once the control socket listens.
pub(crate) const READY: &str = "ready";
const CONNECTIONS_MAX: usize = 64;
/// New connections of one session within [`WINDOW`]; what comes faster waits, so that neither the
/// upstream nor the log is flooded.
const ACCEPTS_MAX: u32 = 200;
const WINDOW: Duration = Duration::from_secs(2);
const OPEN_FILES_MAX: u64 = 65_536;
/// Pause after a failed accept: when files run out, others have to end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a vault runs.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The install's data directory.
    pub data: PathBuf,
}

/// What the host asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum Ask {
    /// Listen on `dir/proxy.sock` for this session; repeating it is harmless.
    Open { session: String, agent: String, dir: PathBuf },
    /// Stop listening and cut what runs.
    Close { session: String },
    /// Tell how things stand.
    Status,
    /// Read the credential again.
    Reload,
    /// From now on this connection tells what the host is to hear.
    Watch,
    /// What somebody decided about a request that waits.
    Decide(Decision),
    /// Tell which requests wait.
    Pending,
}

/// What the vault answers to every question.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Reply {
    /// What went wrong; then the rest means nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// Kind of the credential, if a usable one is stored.
    #[serde(default)]
    pub(crate) credential: Option<Kind>,
    /// Open sessions.
    #[serde(default)]
    pub(crate) sessions: usize,
    /// Requests since the process started.
    #[serde(default)]
    pub(crate) requests: u64,
    /// Whether a connection waits for what was decided.
    #[serde(default)]
    pub(crate) waiting: bool,
    /// Requests that wait for a decision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) pending: Vec<serde_json::Value>,
}

/// Who a socket belongs to.
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) agent: String,
    pub(crate) pool: Pool,
}

struct Open {
    agent: String,
    dir: PathBuf,
    inode: u64,
    task: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Everything that the connections share.
pub(crate) struct Vault {
    pub(crate) credential: Cached,
    pub(crate) dialer: Dialer,
    pub(crate) requests: AtomicU64,
    pub(crate) approvals: Arc<Approvals>,
    /// What the host is to hear.
    pub(crate) bus: Arc<Bus>,
    sessions: Mutex<BTreeMap<String, Open>>,
}

/// Runs the vault until its standard input, if that is a pipe, reaches its end.
pub async fn serve(options: ServeOptions) -> Result<(), VaultError> {
    harden().map_err(|e| VaultError::io("hardening the vault process", e))?;
    let run = options.data.join("run");
    let (_lock, control) = take_over(&run)?;
    let bus = Arc::new(Bus::new(approvals::system_clock()));
    let approvals = Approvals::prepare(&options.data.join("vault"), Arc::clone(&bus))?;
    let vault = Arc::new(Vault {
        credential: Cached::new(Store::new(&options.data)),
        dialer: Dialer::new()?,
        requests: AtomicU64::new(0),
        approvals,
        bus,
        sessions: Mutex::default(),
    });
    let mut lifeline = Lifeline::of_stdin().map_err(|e| VaultError::io("watching stdin", e))?;
    announce().map_err(|e| VaultError::io("announcing readiness", e))?;
    let mut callers = JoinSet::new();
    loop {
        tokio::select! {
            accepted = control.accept() => match accepted {
                Ok((stream, _)) => {
                    callers.spawn(converse(Arc::clone(&vault), stream));
                }
                Err(e) => {
                    tracing::warn!("control socket: {e}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = callers.join_next() => {}
            () = lifeline.ended() => return Ok(()),
        }
    }
}

/// No core dump and no debugger may see the credential, and many boxes need many files.
fn harden() -> io::Result<()> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none)?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let files = rustix::process::getrlimit(Resource::Nofile);
    let most = files.maximum.unwrap_or(OPEN_FILES_MAX).min(OPEN_FILES_MAX);
    let more = Rlimit { current: Some(most), maximum: files.maximum };
    Ok(rustix::process::setrlimit(Resource::Nofile, more)?)
}

/// Makes sure that no other vault serves this install, then takes the control socket.
fn take_over(run: &Path) -> Result<(File, UnixListener), VaultError> {
    let failed = |e: io::Error| VaultError::io(format!("preparing {run:?}"), e);
    if !run.is_dir() {
        socket::make_dir(run, 0o700).map_err(failed)?;
    }
    let lock = File::create(run.join("vault.lock")).map_err(failed)?;
    if let Err(e) = rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        let text = format!("another vault serves {run:?} ({e}); stop it with `nanoclaw stop`");
        return Err(VaultError::Refused(text));
    }
    let control = socket::bind(run, CONTROL, 0o600).map_err(failed)?;
    Ok((lock, control))
}

fn announce() -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{READY}")?;
    out.flush()
}

/// The pipe from the host: it ends when the host does, however the host dies.
struct Lifeline(Option<tokio::net::unix::pipe::Receiver>);

impl Lifeline {
    fn of_stdin() -> io::Result<Self> {
        use std::os::fd::AsFd as _;
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        let mode = rustix::fs::fstat(&stdin)?.st_mode;
        if !rustix::fs::FileType::from_raw_mode(mode).is_fifo() {
            return Ok(Self(None));
        }
        tokio::net::unix::pipe::Receiver::from_owned_fd(stdin).map(|pipe| Self(Some(pipe)))
    }

    async fn ended(&mut self) {
        let Some(pipe) = &mut self.0 else { return std::future::pending().await };
        let mut ignored = [0; 64];
        while pipe.read(&mut ignored).await.is_ok_and(|n| n > 0) {}
    }
}

/// Answers one caller, line by line, in order.
async fn converse(vault: Arc<Vault>, stream: UnixStream) {
    let us = rustix::process::geteuid().as_raw();
    if !stream.peer_cred().is_ok_and(|peer| peer.uid() == us) {
        tracing::warn!("control socket: refused another user");
        return;
    }
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut read).take(LINE_MAX).read_until(b'\n', &mut line).await {
            Ok(n) if n > 0 && line.ends_with(b"\n") => {}
            _ => return,
        }
        let reply = match serde_json::from_slice::<Ask>(&line) {
            // Ends when the host listens no more.
            Ok(Ask::Watch) => return drop(vault.bus.stream(&mut read, &mut write).await),
            Ok(ask) => vault.reply(ask).unwrap_or_else(|e| {
                tracing::warn!("control: {e}");
                Reply { error: Some(e.to_string()), ..Reply::default() }
            }),
            Err(e) => Reply { error: Some(format!("not understood: {e}")), ..Reply::default() },
        };
        let Ok(mut text) = serde_json::to_vec(&reply) else { return };
        text.push(b'\n');
        if write.write_all(&text).await.is_err() {
            return;
        }
    }
}

impl Vault {
    fn reply(self: &Arc<Self>, ask: Ask) -> Result<Reply, VaultError> {
        let (mut waiting, mut pending) = (false, Vec::new());
        match ask {
            Ask::Open { session, agent, dir } => self.open(session, agent, dir)?,
            Ask::Close { session } => self.close(&session),
            Ask::Reload => self.credential.forget(),
            Ask::Status | Ask::Watch => {}
            Ask::Decide(decision) => {
                waiting = self.approvals.decide(&decision)? == Decided::Now { waiting: true };
            }
            Ask::Pending => pending = self.bus.pending(),
        }
        let credential = self.credential.get().unwrap_or_else(|e| {
            tracing::error!("the credential cannot be used: {e}");
            None
        });
        Ok(Reply {
            error: None,
            credential: credential.map(|c| c.kind),
            sessions: self.sessions().len(),
            requests: self.requests.load(Ordering::Relaxed),
            waiting,
            pending,
        })
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Open>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(self: &Arc<Self>, id: String, agent: String, dir: PathBuf) -> Result<(), VaultError> {
        let mut sessions = self.sessions();
        if let Some(open) = sessions.get(&id)
            && (&open.agent, &open.dir) == (&agent, &dir)
            && inode(&dir).is_ok_and(|now| now == open.inode)
        {
            return Ok(());
        }
        let failed =
            |e| VaultError::io(format!("opening the socket of session {id} in {dir:?}"), e);
        let listener = socket::bind(&dir, SOCKET, 0o666).map_err(failed)?;
        let inode = inode(&dir).map_err(failed)?;
        let session = Session { id: id.clone(), agent: agent.clone(), pool: Pool::default() };
        let task = tokio::spawn(accept(Arc::clone(self), Arc::new(session), listener));
        sessions.insert(id, Open { agent, dir, inode, task });
        Ok(())
    }

    fn close(&self, id: &str) {
        let Some(open) = self.sessions().remove(id) else { return };
        let ours = inode(&open.dir).is_ok_and(|now| now == open.inode);
        if ours && let Err(e) = std::fs::remove_file(open.dir.join(SOCKET)) {
            tracing::warn!(session = id, "removing the socket: {e}");
        }
    }
}

fn inode(dir: &Path) -> io::Result<u64> {
    std::fs::symlink_metadata(dir.join(SOCKET)).map(|m| m.ino())
}

/// Serves a session until it is closed; its connections end with it.
async fn accept(vault: Arc<Vault>, session: Arc<Session>, listener: UnixListener) {
    let mut running = JoinSet::new();
    let (mut since, mut accepts) = (Instant::now(), 0);
    loop {
        if since.elapsed() >= WINDOW {
            (since, accepts) = (Instant::now(), 0);
        } else if accepts == ACCEPTS_MAX {
            tokio::time::sleep_until(since + WINDOW).await;
        }
        tokio::select! {
            accepted = listener.accept(), if running.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    accepts += 1;
                    let (vault, session) = (Arc::clone(&vault), Arc::clone(&session));
                    running.spawn(async move { proxy::connection(&vault, &session, stream).await });
                }
                Err(e) => {
                    tracing::warn!(session = session.id, "accepting: {e}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = running.join_next() => {}
        }
    }
}
