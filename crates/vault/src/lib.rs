//! The vault: the only process that knows a secret, and the only way out of a box.
//!
//! ```text
//! box: anything ─▶ 127.0.0.1:3128 (runner's relay) ─▶ /run/vault/proxy.sock ─▶ vault ─TLS─▶ the world
//! host ─ control socket, one JSON line per call ───────────────────────────────┘
//! ```
//!
//! One socket per session: the socket is the identity. A request is parsed strictly, judged, stripped of
//! whatever credential it carries, given the real one, and streamed on. What is not understood is refused
//! with a reason. The vault never hands a secret to anyone but the upstream, not even to the host: no
//! call reads one back.
//!
//! ```text
//! front: head, identity ─▶ tunnel: TLS to the box ─▶ exchange, for each request:
//!   guard, decide (policy), resolve ─▶ approvals ─▶ wallet, dynamic, inject ─▶ upstream ─▶ scan, meter, audit
//! ```
//!
//! Read next: [`supervisor`] for what the host uses, [`serve()`] for sessions, `exchange` for one request,
//! [`outside`] for what else runs in this process.

pub mod approvals;
pub mod audit;
mod ca;
mod changes;
mod counted;
pub mod dynamic;
mod environment;
mod exchange;
mod flow;
mod front;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod guard;
mod head;
mod help;
mod identity;
mod inject;
mod live;
mod meter;
mod model;
pub mod outside;
mod refusal;
mod resolve;
mod rules;
pub mod scan;
pub mod serve;
mod socket;
pub mod store;
pub mod supervisor;
mod tunnel;
mod unlock;
mod upstream;
mod wallet;
pub mod ws;

pub use approvals::client::Events;
pub use approvals::{Decision, Remembered};
pub use meter::Prices;
pub use nanoclaw_policy::AgentNames;
pub use resolve::{Answer as Resolved, Resolve};
pub use serve::{ServeOptions, serve};
pub use store::{Credential, Kind, Secret, Status, Store};
pub use supervisor::{Grant, Supervisor, SupervisorConfig};
pub use upstream::BaseUrl;

/// Where a box finds the vault: the address of the runner's relay.
pub const BOX_URL: &str = "http://127.0.0.1:3128";
/// Name of a session's socket in its directory.
pub const SOCKET: &str = "proxy.sock";
/// Part of every credential that a box is given; worth nothing anywhere.
const DUMMY: &str = "nanoclaw-dummy";

type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A body of either direction.
type Body = http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, BoxError>;
type Answer = hyper::Response<Body>;

fn full(bytes: bytes::Bytes) -> Body {
    use http_body_util::BodyExt as _;
    http_body_util::Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn empty() -> Body {
    full(bytes::Bytes::new())
}

/// What went wrong, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The system said no.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// What was given cannot be used.
    #[error("{0}")]
    Refused(String),
    /// The vault does not answer now; the same call may work later.
    #[error("the vault does not answer ({0}); it is being restarted, try again")]
    Unavailable(String),
}

impl VaultError {
    fn io(what: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::Io { what: what.into(), source: source.into() }
    }
}
