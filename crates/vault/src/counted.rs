//! Rates that outlive the process: what passed is on disk before it passes, so a restart gives nothing back.

use crate::refusal::Refusal;
use crate::serve::Session;
use hyper::StatusCode;
use nanoclaw_policy::{Kept, Limit, Rates};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// With more than this, they are written now and then.
const FEW: usize = 256;
const EVERY: Duration = Duration::from_secs(5);

pub(crate) struct Counted {
    rates: Rates,
    file: PathBuf,
    began: Instant,
    /// Held while it is counted and written.
    written: Mutex<Option<Instant>>,
}

impl Counted {
    /// Blocks.
    pub(crate) fn open(dir: &Path) -> Arc<Self> {
        let file = dir.join("rates.json");
        let kept = fs::read(&file).ok().map(|bytes| serde_json::from_slice::<Vec<Kept>>(&bytes));
        let kept = kept.transpose().unwrap_or_else(|e| {
            tracing::error!("{}: {e}; limits begin anew", file.display());
            None
        });
        let rates = Rates::kept(kept.unwrap_or_default(), Duration::ZERO);
        Arc::new(Self { rates, file, began: Instant::now(), written: Mutex::default() })
    }

    /// Counts a request, or says when it may come again.
    pub(crate) async fn take(
        self: &Arc<Self>,
        limits: &[Limit],
        session: &Session,
    ) -> Result<(), Refusal> {
        if limits.is_empty() {
            return Ok(());
        }
        let (this, limits) = (Arc::clone(self), limits.to_vec());
        let (agent, session) = (session.agent.id.clone(), session.id.clone());
        let taken = tokio::task::spawn_blocking(move || this.now(&limits, &agent, &session)).await;
        taken.unwrap_or_else(|e| Err(failed(&e)))
    }

    fn now(&self, limits: &[Limit], agent: &str, session: &str) -> Result<(), Refusal> {
        let mut written = self.written.lock().map_err(|e| failed(&e))?;
        let now = self.began.elapsed();
        self.rates.take(limits, agent, session, now).map_err(|much| {
            let text = much.to_string();
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", text).after(much.after)
        })?;
        let kept = self.rates.keep(now);
        if kept.len() <= FEW || written.is_none_or(|at| at.elapsed() >= EVERY) {
            let bytes = serde_json::to_vec(&kept).map_err(|e| failed(&e))?;
            let new = self.file.with_extension("new");
            let done = fs::write(&new, bytes).and_then(|()| fs::rename(&new, &self.file));
            done.map_err(|e| failed(&e))?;
            *written = Some(Instant::now());
        }
        Ok(())
    }
}

fn failed(why: &dyn std::fmt::Display) -> Refusal {
    Refusal::unavailable("limits_unavailable", format!("what passed cannot be kept: {why}"))
}
