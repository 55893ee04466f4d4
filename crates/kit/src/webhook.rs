//! The listener for webhooks: one per process and address, on the loopback unless it is told otherwise.
//!
//! ```text
//! platform ─▶ tunnel or proxy ─▶ 127.0.0.1:3000 ─┬─ /webhook/<channel> ─▶ Handler ─▶ Reply
//!                                                └─ /healthz
//! ```
//!
//! Whoever connects here is a stranger. A connection has a time, a head and a body that end; a path has a rate.
//! Whether a call is genuine is for its [`Handler`] to find, before it reads anything into the body.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod serve;
#[cfg(test)]
mod tests;

use crate::lock;
use async_trait::async_trait;
use bytes::Bytes;
use nanoclaw_channel::{Start, StartError};
use reqwest::Method;
use reqwest::header::HeaderMap;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// Where to listen.
pub const BIND_SETTING: &str = "WEBHOOK_BIND";

/// What the world calls that place.
pub const URL_SETTING: &str = "WEBHOOK_URL";

const PORT: u16 = 3000;

/// How long the listener of a channel that was stopped may still be there.
const GOING_AWAY: Duration = Duration::from_millis(500);

/// What a path takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest body, in bytes.
    pub body_max: usize,
    /// Calls in a minute.
    pub per_minute: u32,
}

/// Takes the calls to a path.
#[async_trait]
pub trait Handler: Send + Sync {
    /// Answers one call. It is dropped when the caller gives up or a minute is over.
    async fn call(&self, request: Hook) -> Reply;
}

/// A call.
#[derive(Debug, Clone)]
pub struct Hook {
    /// How it was called.
    pub method: Method,
    /// The path, as it was mounted.
    pub path: String,
    /// What stood behind the question mark.
    pub query: Option<String>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Bytes,
    /// Who connected; behind a proxy, the proxy.
    pub from: IpAddr,
}

impl Hook {
    /// A header, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The media type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// Taken.
    pub fn ok() -> Self {
        Self { status: 200, content_type: "text/plain", body: b"ok".to_vec() }
    }

    /// A status alone.
    pub fn status(status: u16) -> Self {
        Self { status, content_type: "text/plain", body: Vec::new() }
    }

    /// An answer in JSON.
    pub fn json(value: &impl serde::Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self { status: 200, content_type: "application/json", body },
            Err(error) => {
                tracing::error!(%error, "an answer to a webhook is not JSON");
                Self::status(500)
            }
        }
    }
}

/// A path that is listened on, until this is dropped.
pub struct Mount {
    listener: Arc<Listener>,
    path: String,
    /// What people give to the platform.
    pub url: String,
}

impl Mount {
    /// Where it is listened on.
    pub fn address(&self) -> SocketAddr {
        self.listener.address
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        lock(&self.listener.routes).remove(&self.path);
    }
}

type Routes = Mutex<BTreeMap<String, Arc<serve::Route>>>;

/// One listener.
struct Listener {
    address: SocketAddr,
    routes: Arc<Routes>,
    task: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Every listener of this process: channels that know nothing of each other share one.
static LISTENERS: Mutex<BTreeMap<SocketAddr, Weak<Listener>>> = Mutex::new(BTreeMap::new());

/// Listens on a path.
pub async fn mount(
    start: &Start,
    path: &str,
    options: Limits,
    handler: Arc<dyn Handler>,
) -> Result<Mount, StartError> {
    let bind = (start.setting)(BIND_SETTING);
    let at = address(bind.as_deref())?;
    let until = Instant::now() + GOING_AWAY;
    let listener = loop {
        match listener(at) {
            // It may be ourselves: the listener of a channel that was just stopped goes away when its task ends.
            Err(StartError::Unreachable(_)) if Instant::now() < until => {
                sleep(Duration::from_millis(20)).await;
            }
            listener => break listener?,
        }
    };
    {
        let mut routes = lock(&listener.routes);
        if routes.contains_key(path) {
            // The channel that had it may still be going away.
            let why = format!("{path} is taken by another channel on {at}");
            return Err(StartError::Unreachable(why));
        }
        routes.insert(path.to_owned(), Arc::new(serve::Route::new(options, handler)));
    }
    let base =
        (start.setting)(URL_SETTING).unwrap_or_else(|| format!("http://{}", listener.address));
    let url = format!("{}{path}", base.trim_end_matches('/'));
    Ok(Mount { listener, path: path.to_owned(), url })
}

/// Reads where to listen: an address with a port, or a port.
fn address(text: Option<&str>) -> Result<SocketAddr, StartError> {
    let Some(text) = text.map(str::trim).filter(|t| !t.is_empty()) else {
        return Ok((Ipv4Addr::LOCALHOST, PORT).into());
    };
    if let Ok(port) = text.parse::<u16>() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    text.parse().map_err(|_| {
        let why = format!("{BIND_SETTING} is no address with a port, such as 127.0.0.1:{PORT}");
        StartError::Broken(why)
    })
}

/// The listener at an address. Port 0 is a new one each time.
fn listener(at: SocketAddr) -> Result<Arc<Listener>, StartError> {
    let mut all = lock(&LISTENERS);
    let known = all.get(&at).and_then(Weak::upgrade).filter(|known| !known.task.is_finished());
    if let Some(known) = known {
        return Ok(known);
    }
    let listener = Arc::new(open(at)?);
    if at.port() != 0 {
        all.insert(at, Arc::downgrade(&listener));
    }
    Ok(listener)
}

fn open(at: SocketAddr) -> Result<Listener, StartError> {
    let cannot = |e: std::io::Error| {
        let next = "stop the program that uses it, or set another address";
        let why = format!("cannot listen for webhooks on {at}: {e}; {next} in {BIND_SETTING}");
        match e.kind() {
            std::io::ErrorKind::PermissionDenied => StartError::Broken(why),
            // It may be ourselves, going away; or a network that is not up yet.
            _ => StartError::Unreachable(why),
        }
    };
    let socket = std::net::TcpListener::bind(at).map_err(cannot)?;
    socket.set_nonblocking(true).map_err(cannot)?;
    let socket = tokio::net::TcpListener::from_std(socket).map_err(cannot)?;
    let address = socket.local_addr().map_err(cannot)?;
    let routes = Arc::new(Routes::default());
    let task = tokio::spawn(serve::serve(socket, Arc::clone(&routes)));
    Ok(Listener { address, routes, task })
}
