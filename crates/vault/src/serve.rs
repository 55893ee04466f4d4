//! The vault process: a socket per session for the boxes, a control socket for the host.
//!
//! The control socket takes one JSON object per line and answers with one; nothing in it can ask for a
//! credential. A session's connections are served up to a cap, the rest wait in the socket's queue, so a
//! box can only hold up itself. Read next: `proxy` for one request, [`crate::supervisor`] for the caller.

use crate::approvals::{self, Approvals, Bus, Decided, Decision};
use crate::audit::{Audit, Entry, Reader};
use crate::ca::{self, Ca};
use crate::changes::{self, Changes};
use crate::counted::Counted;
use crate::help;
use crate::identity::{self, Failures, Print};
use crate::inject::Uses;
use crate::live::{Live, Revoked};
use crate::meter::{Meter, Prices};
use crate::outside::{Handle, Outside, Way};
use crate::refusal::Refusal;
use crate::resolve::{Resolve, Resolver};
use crate::rules::{self, Rules};
use crate::store::{Cached, Kind, Store};
use crate::unlock::{Gate, Passphrase};
use crate::upstream::{self, Dialer, Pool};
use crate::wallet::Wallet;
use crate::{SOCKET, VaultError, audit, dynamic, environment, front, socket};
use nanoclaw_policy::{AgentNames, Authority, Limit, Policy};
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

pub(crate) const CONTROL: &str = "vault.sock";
/// What the process says on its standard output once the control socket listens.
pub(crate) const READY: &str = "ready";
const CONNECTIONS_MAX: usize = 128;
const IN_FLIGHT_MAX: usize = 64;
/// Heads that wait are in memory.
const WAITING_MAX: usize = 256;
/// How often it is seen which secrets end soon.
const FORECAST: Duration = Duration::from_secs(300);
/// Table and name of the sealed record of the certificate authority.
const CA: &str = "ca";
/// New connections of one session within [`WINDOW`]; what comes faster waits, so that neither the
/// upstream nor the log is flooded, and no other session waits behind a hundred handshakes.
const ACCEPTS_MAX: u32 = 25;
const WINDOW: Duration = Duration::from_millis(250);
const OPEN_FILES_MAX: u64 = 65_536;
/// Pause after a failed accept: when files run out, others have to end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a vault runs.
#[derive(Clone, Default)]
pub struct ServeOptions {
    /// The install's data directory.
    pub data: PathBuf,
    /// Where names are looked up, instead of the system.
    pub resolver: Option<Arc<dyn Resolve>>,
    /// What runs beside the sessions.
    pub outside: Option<Arc<dyn Outside>>,
}

/// What the host asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum Ask {
    /// Listen on `dir/proxy.sock` for this session; repeating it is harmless.
    Open { session: String, agent: AgentNames, dir: PathBuf },
    /// Stop listening and cut what runs.
    Close { session: String },
    /// Tell how things stand.
    Status,
    /// See now what the owner changed.
    Reload,
    /// Open the store with its passphrase.
    Unlock { passphrase: Passphrase },
    /// From now on this connection tells what the host is to hear.
    Watch,
    /// What somebody decided about a request that waits.
    Decide(Decision),
    /// Tell which requests wait.
    Pending,
    /// Say what would be decided about a request, and why.
    Explain { agent: AgentNames, method: String, url: String },
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
    /// For the session that was opened: what its box is told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) env: BTreeMap<String, String>,
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
    /// How a decision came about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) why: Vec<String>,
}

/// Who a socket belongs to.
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) agent: AgentNames,
    pub(crate) token: Print,
    pub(crate) failures: Mutex<Failures>,
    pub(crate) refusals: Mutex<Failures>,
    pub(crate) pool: Pool,
    /// To what is on this machine, and to the model that is set here.
    pub(crate) near: Pool,
    /// One per request that is being answered.
    pub(crate) slots: Arc<Semaphore>,
    /// And per request that waits for one of those.
    pub(crate) waiting: Semaphore,
    /// Ends what runs on its own.
    pub(crate) closed: watch::Sender<bool>,
}

impl Session {
    /// What the log says of it, to be filled in.
    pub(crate) fn entry(&self, kind: &'static str) -> Entry {
        let (session, agent) = (self.id.clone(), self.agent.id.clone());
        Entry { kind, session, agent, ..Entry::default() }
    }
}

struct Open {
    session: Arc<Session>,
    dir: PathBuf,
    inode: u64,
    task: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.session.closed.send_replace(true);
        self.task.abort();
    }
}

/// Everything that the connections share.
pub(crate) struct Vault {
    pub(crate) credential: Cached,
    pub(crate) dialer: Dialer,
    pub(crate) resolver: Resolver,
    pub(crate) ca: Ca,
    pub(crate) wallet: Wallet,
    pub(crate) audit: Audit,
    pub(crate) requests: AtomicU64,
    pub(crate) approvals: Arc<Approvals>,
    pub(crate) meter: Arc<Meter>,
    /// What the host is to hear.
    pub(crate) bus: Arc<Bus>,
    outside: Option<Arc<dyn Outside>>,
    rules: Rules,
    counted: Arc<Counted>,
    live: Live,
    pub(crate) token_key: [u8; 32],
    pub(crate) public: PathBuf,
    ids: (u64, AtomicU64),
    sessions: Mutex<BTreeMap<String, Open>>,
}

/// Runs the vault until its standard input, if that is a pipe, reaches its end.
pub async fn serve(options: ServeOptions) -> Result<(), VaultError> {
    harden().map_err(|e| VaultError::io("hardening the vault process", e))?;
    let run = options.data.join("run");
    let (_lock, control) = take_over(&run)?;
    let mut lifeline = Lifeline::of_stdin().map_err(|e| VaultError::io("watching stdin", e))?;
    let secrets = Store::new(&options.data);
    let gate = Arc::new(Gate::new(options, blocking(move || secrets.open()).await?));
    gate.open().await?;
    announce().map_err(|e| VaultError::io("announcing readiness", e))?;
    let mut callers = JoinSet::new();
    loop {
        tokio::select! {
            accepted = control.accept() => match accepted {
                Ok((stream, _)) => {
                    callers.spawn(converse(Arc::clone(&gate), stream));
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

pub(crate) async fn blocking<T: Send + 'static>(
    f: impl FnOnce() -> Result<T, VaultError> + Send + 'static,
) -> Result<T, VaultError> {
    let done = tokio::task::spawn_blocking(f).await;
    done.map_err(|e| VaultError::Refused(e.to_string()))?
}

/// Sees within a moment what the owner changed.
async fn look_after(vault: Arc<Vault>, changes: Changes) {
    let (mut known, mut judged, mut forecasted) = (vault.wallet.generation(), Instant::now(), None);
    loop {
        if forecasted.is_none_or(|at: Instant| at.elapsed() >= FORECAST) {
            forecasted = Some(Instant::now());
            forecast(&vault).await;
        }
        changes.next().await;
        vault.approvals.look_again();
        let seen = Arc::clone(&vault);
        // It ends with the process.
        let wrong = tokio::task::spawn_blocking(move || seen.rules.refresh()).await;
        if let Ok(Some(wrong)) = wrong {
            vault.owner("policy", &wrong);
        }
        let now = vault.wallet.generation();
        if now != known || judged.elapsed() >= changes::EVERY {
            (known, judged) = (now, Instant::now());
            vault.sessions().values().for_each(|open| open.session.pool.tidy());
            let tied = Arc::clone(&vault);
            let tied = tokio::task::spawn_blocking(move || tied.wallet.retie()).await;
            if let Ok(Err(e)) = tied {
                tracing::warn!("placeholders: {e}");
            }
            vault.live.judge(&vault.wallet).await;
        }
    }
}

/// Tells the owner which secrets end soon and which logins are over; a key is told once.
async fn forecast(vault: &Arc<Vault>) {
    let store = Arc::clone(&vault.wallet.store);
    match blocking(move || Ok(dynamic::notices(&store)?)).await {
        Ok(notices) => notices.iter().for_each(|notice| vault.owner(&notice.key, &notice.text)),
        Err(e) => tracing::warn!("secrets that end soon: {e}"),
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

#[expect(
    clippy::disallowed_methods,
    reason = "certificates hold the time of the world, and nothing waits for it"
)]
pub(crate) fn clock() -> SystemTime {
    SystemTime::now()
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
async fn converse(gate: Arc<Gate>, stream: UnixStream) {
    let us = rustix::process::geteuid().as_raw();
    if !stream.peer_cred().is_ok_and(|peer| peer.uid() == us) {
        tracing::warn!("control socket: refused another user");
        return;
    }
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = zeroize::Zeroizing::new(Vec::new());
    while socket::line(&mut read, &mut line).await.is_ok() {
        let asked = serde_json::from_slice::<Ask>(&line);
        if let (Ok(Ask::Watch), Some(vault)) = (&asked, gate.vault()) {
            // Ends when the host listens no more.
            return drop(vault.bus.stream(&mut read, &mut write).await);
        }
        let reply = match asked {
            Ok(ask) => gate.reply(ask).await.unwrap_or_else(|e| {
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
    /// Opens everything that outlives a process. Blocks; needs a tokio runtime.
    pub(crate) fn open(
        options: ServeOptions,
        store: Arc<nanoclaw_secrets::Store>,
    ) -> Result<Arc<Self>, VaultError> {
        let dir = options.data.join("vault");
        socket::make_dir(&dir, 0o700)
            .map_err(|e| VaultError::io(format!("preparing {dir:?}"), e))?;
        let elsewhere = options.outside.as_ref().is_some_and(|o| o.has_secrets());
        let wallet = Wallet::new(Arc::clone(&store), elsewhere);
        let now = clock();
        let record = store.record(CA, CA)?;
        let (ca, made) = Ca::open(record.as_deref().map(Vec::as_slice), now)?;
        if let Some(made) = made {
            store.set_record(CA, CA, Some(&made))?;
        }
        let roots = upstream::machine_roots();
        let public = dir.join("boxes");
        socket::make_dir(&public, 0o755)
            .map_err(|e| VaultError::io(format!("preparing {public:?}"), e))?;
        ca.publish(&public, &roots)?;
        let anchor = Arc::clone(&store);
        let audit = Audit::start(
            &dir.join(audit::FILE),
            wallet.key("audit")?,
            jiff::Timestamp::now,
            move |head| {
                let bytes = serde_json::to_vec(head).unwrap_or_default();
                if let Err(e) = anchor.set_record("audit", "anchor", Some(&bytes)) {
                    tracing::warn!("the audit log's anchor: {e}");
                }
            },
        )?;
        let clock = approvals::system_clock();
        let bus = Arc::new(Bus::new(Arc::clone(&clock)));
        let log = Reader::open(&dir.join(audit::FILE))
            .map_err(|e| VaultError::Refused(format!("audit.db: {e}")))?;
        let prices = Prices::of(&dir).unwrap_or_else(|e| {
            bus.owner("prices", &format!("{e}; our own list is used"));
            Prices::ours()
        });
        let meter = Meter::open(&log, audit.clone(), prices);
        let meter = meter.map_err(|e| VaultError::Refused(format!("what was spent: {e}")))?;
        let base = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
        let changes = Changes::of(&dir);
        let vault = Arc::new(Self {
            credential: Cached::new(Arc::clone(&store), elsewhere),
            dialer: Dialer::new(roots)?,
            resolver: Resolver::new(options.resolver),
            ca,
            token_key: wallet.key("token")?,
            approvals: Approvals::open(&dir, wallet.key("held")?, Arc::clone(&bus), clock)?,
            wallet,
            bus,
            outside: options.outside,
            meter: Arc::new(meter),
            audit,
            requests: AtomicU64::new(0),
            rules: Rules::new(dir.join(rules::FILE)),
            counted: Counted::open(&dir),
            live: Live::default(),
            public,
            ids: (base, AtomicU64::new(0)),
            sessions: Mutex::default(),
        });
        tokio::spawn(look_after(Arc::clone(&vault), changes));
        if let Some(outside) = &vault.outside {
            Arc::clone(outside).begin(Handle(Arc::clone(&vault)));
        }
        Ok(vault)
    }

    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.rules.policy()
    }

    /// A name for one exchange.
    pub(crate) fn next_id(&self) -> String {
        let n = self.ids.1.fetch_add(1, Ordering::Relaxed);
        format!("req_{:016x}", self.ids.0.wrapping_add(n))
    }

    /// Counts a request, or says when it may come again.
    pub(crate) async fn take(&self, limits: &[Limit], session: &Session) -> Result<(), Refusal> {
        self.counted.take(limits, session).await
    }

    pub(crate) fn watch(&self, session: &Session, at: &Authority, uses: &Uses) -> Option<Revoked> {
        self.live.watch(session, at, uses)
    }

    /// What the owner said of this agent and this place, if anything.
    pub(crate) fn remembered(&self, agent: &AgentNames, at: &Authority) -> Option<bool> {
        self.approvals.remembered(&agent.id, &at.to_string())
    }

    /// Waits for a person's word.
    pub(crate) async fn hold(&self, asked: approvals::Asked) -> Result<(), Refusal> {
        self.approvals.hold(asked).await.map_err(|why| why.refusal())
    }

    /// Changes with the policy.
    pub(crate) fn epoch(&self) -> u64 {
        self.rules.epoch()
    }

    /// Something that only an attack or a mistake explains.
    pub(crate) fn alarm(&self, session: &Session, code: &'static str, text: &str) {
        tracing::warn!(session = session.id, agent = session.agent.id, code, "alarm: {text}");
        self.bus.alarm(code, &session.id, &session.agent.id, text);
        self.note(Entry {
            decision: code.to_owned(),
            error: Some(text.to_owned()),
            ..session.entry("alarm")
        });
    }

    /// Something that the owner should know, once.
    pub(crate) fn owner(&self, key: &str, text: &str) {
        tracing::warn!(key, "for the owner: {text}");
        self.bus.owner(key, text);
    }

    /// Notes what nobody waits for.
    pub(crate) fn note(&self, entry: Entry) {
        let audit = self.audit.clone();
        tokio::spawn(async move { audit.write(entry).await });
    }

    /// The id of an open session that is such.
    pub(crate) fn session_with(&self, such: impl Fn(&Session) -> bool) -> Option<String> {
        self.sessions()
            .values()
            .find(|open| such(&open.session))
            .map(|open| open.session.id.clone())
    }

    pub(crate) async fn reply(self: &Arc<Self>, ask: Ask) -> Result<Reply, VaultError> {
        let (mut reply, vault) = (Reply::default(), Arc::clone(self));
        match ask {
            Ask::Open { session, agent, dir } => {
                let way = match &self.outside {
                    Some(outside) => Arc::clone(outside).way(agent.clone()).await?,
                    None => None,
                };
                let open = move || vault.open_session(session, agent, dir, way);
                reply.env = blocking(open).await?;
            }
            Ask::Close { session } => self.close(&session),
            Ask::Reload => {
                let read = move || vault.wallet.retie().map(|()| vault.rules.refresh());
                if let Some(wrong) = blocking(read).await? {
                    return Err(VaultError::Refused(wrong));
                }
            }
            Ask::Status | Ask::Watch | Ask::Unlock { .. } => {}
            Ask::Decide(decision) => {
                let outside = self.outside.clone();
                let theirs = outside.and_then(|o| o.decide(Handle(Arc::clone(self)), &decision));
                let done = match theirs {
                    Some(done) => done.await?,
                    None => blocking(move || vault.approvals.decide(&decision)).await?,
                };
                reply.waiting = done == Decided::Now { waiting: true };
            }
            Ask::Pending => reply.pending = self.bus.pending(),
            Ask::Explain { agent, method, url } => {
                let told = help::explained(self, &agent, &method, &url).await;
                reply.why = told.map_err(VaultError::Refused)?.1;
            }
        }
        let credential = self.credential.get().unwrap_or_else(|e| {
            tracing::error!("the credential cannot be used: {e}");
            None
        });
        reply.credential = credential.map(|c| c.kind);
        reply.sessions = self.sessions().len();
        reply.requests = self.requests.load(Ordering::Relaxed);
        Ok(reply)
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Open>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens for a box and puts beside the socket what the box trusts; tells its variables. Blocks.
    pub(crate) fn open_session(
        self: &Arc<Self>,
        id: String,
        agent: AgentNames,
        dir: PathBuf,
        way: Option<Way>,
    ) -> Result<BTreeMap<String, String>, VaultError> {
        let token = identity::token(&self.token_key, &id);
        let (mut env, chain) = way.map_or_else(Default::default, |w| (w.env, Some(w.chain)));
        env.extend(environment::proxy(&token));
        self.wallet.meet(&agent)?;
        let failed =
            |e| VaultError::io(format!("opening the socket of session {id} in {dir:?}"), e);
        for name in ca::FILES {
            socket::link(&self.public.join(name), &dir.join(name)).map_err(failed)?;
        }
        let mut sessions = self.sessions();
        if let Some(open) = sessions.get(&id)
            && (&open.session.agent, &open.dir) == (&agent, &dir)
            && inode(&dir).is_ok_and(|now| now == open.inode)
        {
            return Ok(env);
        }
        let listener = socket::bind(&dir, SOCKET, 0o666).map_err(failed)?;
        let inode = inode(&dir).map_err(failed)?;
        let session = Arc::new(Session {
            id: id.clone(),
            agent,
            token: identity::print(&token),
            failures: Mutex::default(),
            refusals: Mutex::default(),
            pool: Pool::through(chain),
            near: Pool::default(),
            slots: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            waiting: Semaphore::new(WAITING_MAX),
            closed: watch::Sender::new(false),
        });
        let task = tokio::spawn(accept(Arc::clone(self), Arc::clone(&session), listener));
        sessions.insert(id, Open { session, dir, inode, task });
        Ok(env)
    }

    pub(crate) fn close(&self, id: &str) {
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
                    running.spawn(async move { front::connection(&vault, &session, stream).await });
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
