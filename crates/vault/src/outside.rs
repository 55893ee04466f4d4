//! What runs in this process beside the sessions: another protocol for this vault, or another vault behind it.
//!
//! ```text
//! other programs ─▶ outside ─ Handle ─▶ sessions, requests that wait
//! box ─▶ exchange (judged here) ─ Chain ─▶ the other vault's proxy, which has the secrets
//! ```
//!
//! With another vault behind it nothing of this one's secrets leaves: its proxy would see them.

use crate::approvals::{self, Bus, Decided, Decision};
use crate::serve::{Vault, blocking};
use crate::{SOCKET, VaultError, ca, identity, socket};
use hyper::header::HeaderValue;
use nanoclaw_policy::{AgentNames, Authority};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

/// Sessions with such a name belong to other programs: the host is not asked about their requests.
pub const FOREIGN: &str = "outside-";

/// What comes later.
pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Opened together with the vault.
pub trait Outside: Send + Sync + 'static {
    /// The vault is open. What is spawned here ends with the process.
    fn begin(self: Arc<Self>, vault: Handle);

    /// Whether the secrets are there and not here.
    fn has_secrets(&self) -> bool {
        false
    }

    /// How the sessions of an agent leave, if not straight to their places.
    fn way(self: Arc<Self>, _: AgentNames) -> Later<Result<Option<Way>, VaultError>> {
        Box::pin(async { Ok(None) })
    }

    /// Somebody decided; `None`: about something else.
    fn decide(
        self: Arc<Self>,
        _: Handle,
        _: &Decision,
    ) -> Option<Later<Result<Decided, VaultError>>> {
        None
    }
}

/// How sessions of an agent leave.
pub struct Way {
    /// What their boxes are told besides.
    pub env: BTreeMap<String, String>,
    /// What carries their requests.
    pub chain: Arc<dyn Chain>,
}

/// Bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A proxy between this vault and the world.
pub trait Chain: Send + Sync + 'static {
    /// Opens a connection for requests to a place; with `tls`, that is spoken already.
    fn connect(&self, to: &Authority, tls: bool) -> Later<io::Result<Box<dyn Stream>>>;

    /// What shows the proxy whose a request without TLS is.
    fn authorization(&self) -> Option<HeaderValue>;
}

/// The vault, for what runs beside it.
#[derive(Clone)]
pub struct Handle(pub(crate) Arc<Vault>);

impl Handle {
    /// The sealed store.
    pub fn store(&self) -> Arc<nanoclaw_secrets::Store> {
        Arc::clone(&self.0.wallet.store)
    }

    /// The certificate that sessions trust.
    pub fn ca(&self) -> PathBuf {
        self.0.public.join(ca::CA_PEM)
    }

    /// Connects a program that is no box of this install to a session of its own; tells the token that goes with
    /// it.
    pub async fn enter(
        &self,
        name: &str,
        agent: AgentNames,
        dir: &Path,
    ) -> Result<(UnixStream, String), VaultError> {
        let (vault, session, at) =
            (Arc::clone(&self.0), format!("{FOREIGN}{name}"), dir.to_owned());
        let token = identity::token(&vault.token_key, &session);
        let failed = move |e| VaultError::io("opening a session for another program", e);
        let open = move || {
            socket::make_dir(&at, 0o700).map_err(failed)?;
            vault.open_session(session, agent, at, None)
        };
        blocking(open).await?;
        Ok((socket::connect(dir, SOCKET).await.map_err(failed)?, token))
    }

    /// Ends such a session.
    pub fn close(&self, name: &str) {
        self.0.close(&format!("{FOREIGN}{name}"));
    }

    /// An open session of an agent.
    pub fn session_of(&self, agent: &str) -> Option<String> {
        self.0.session_with(|session| session.agent.id == agent)
    }

    /// What waits for people, and how to hear of more.
    pub fn bus(&self) -> &Arc<Bus> {
        &self.0.bus
    }

    /// Requests that this vault holds.
    pub fn approvals(&self) -> &Arc<approvals::Approvals> {
        &self.0.approvals
    }
}
