//! The program as a process: its own group, one socket, a clean environment.

use rustix::process::{Pid, Signal, kill_process_group};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::Command;

/// What of the host's environment a program sees: where things are, and which proxies and authorities hold.
const PASSED: &[&str] = &[
    "PATH",
    "HOME",
    "LANG",
    "TZ",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "RUST_BACKTRACE",
];

/// Longest line of its log.
const LOG_LINE_MAX: u64 = 4096;

/// A process that is killed when this is dropped.
pub(super) struct Child(tokio::process::Child);

impl Child {
    /// Starts a program; its standard input is the other end of the socket.
    pub(super) fn spawn(path: &Path, channel: &'static str) -> io::Result<(Self, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        let theirs: OwnedFd = theirs.into_std()?.into();
        let passed = PASSED.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        let mut child = Command::new(path)
            .env_clear()
            .envs(passed)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        if let Some(log) = child.stderr.take() {
            tokio::spawn(pass_on(log, channel));
        }
        Ok((Self(child), ours))
    }

    /// Waits for its end and says how it ended.
    pub(super) async fn ended(&mut self) -> String {
        self.0.wait().await.map_or_else(|e| e.to_string(), |status| status.to_string())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Without an id it was waited for, and its number may be somebody else's.
        let group = self.0.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        if let Some(Err(e)) = group.map(|group| kill_process_group(group, Signal::KILL)) {
            tracing::debug!("nothing to kill: {e}");
        }
    }
}

/// Puts what the program logs into the host's log.
async fn pass_on(log: impl AsyncRead + Unpin, channel: &'static str) {
    let mut log = BufReader::new(log);
    let mut line = Vec::new();
    while matches!((&mut log).take(LOG_LINE_MAX).read_until(b'\n', &mut line).await, Ok(1..)) {
        let text = String::from_utf8_lossy(&line);
        let text = nanoclaw_channel::markdown::printable_line(text.trim());
        if text.starts_with("WARN") || text.starts_with("ERROR") {
            tracing::warn!(channel, "{text}");
        } else {
            tracing::info!(channel, "{text}");
        }
        line.clear();
    }
}
