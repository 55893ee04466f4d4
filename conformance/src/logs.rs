//! Everything that is logged, kept to be searched for secrets.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How many bytes are kept.
const KEPT: usize = 16 << 20;

/// What was logged.
#[derive(Clone, Default)]
pub(crate) struct Logs(Arc<Mutex<Vec<u8>>>);

/// Begins to keep what is logged, in this whole process.
pub(crate) fn capture() -> Logs {
    let logs = Logs::default();
    let filter = EnvFilter::new("debug,rustls=info");
    let all = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(logs.clone())
        .finish();
    // Of two runs in a process the first one keeps the logs.
    drop(tracing::subscriber::set_global_default(all));
    logs
}

impl Logs {
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// The last lines of the channel's own, for people who look for a failure.
    pub(crate) fn tail(&self) -> String {
        let text = self.text();
        let ours: Vec<&str> = text.lines().filter(|line| line.contains("nanoclaw")).collect();
        ours[ours.len().saturating_sub(12)..].join("\n")
    }
}

impl io::Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() + bytes.len() <= KEPT {
            kept.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Logs {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
