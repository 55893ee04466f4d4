//! Wakes sessions when their time comes: one timer over one index.

use crate::{Host, blocking};
use nanoclaw_contract::inbox::Due;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The safety net: looked at this often even if no timer says so.
const AT_LEAST_EVERY: Duration = Duration::from_secs(60);
const BATCH: usize = 100;

pub(crate) async fn run(host: Arc<Host>) {
    while !host.stopping() {
        host.close_files();
        let next = match tick(&host).await {
            Ok(next) => next,
            Err(e) => {
                tracing::error!(error = %e, "due sessions were not looked up");
                None
            }
        };
        let until = next.unwrap_or_else(|| Instant::now() + AT_LEAST_EVERY);
        // Either way the next tick looks again.
        drop(
            tokio::time::timeout_at(
                until.min(Instant::now() + AT_LEAST_EVERY),
                host.due_changed.notified(),
            )
            .await,
        );
    }
}

/// Wakes what is due; says when the next is.
async fn tick(host: &Arc<Host>) -> Result<Option<Instant>, crate::HostError> {
    loop {
        let h = host.clone();
        let due = blocking(move || {
            let due = h.central.due_sessions(h.clock.now(), BATCH)?;
            // The entry is the task's from here on; it writes a new one before it sleeps.
            due.iter().try_for_each(|id| h.central.set_due(id, None))?;
            Ok(due)
        })
        .await?;
        for id in &due {
            host.wake(id);
        }
        if due.len() < BATCH {
            break;
        }
    }
    let h = host.clone();
    let next = blocking(move || Ok(h.central.next_due()?)).await?;
    Ok(next.map(|at| host.instant_of(at)))
}

/// After a crash: rows may lie in inboxes that no index knows of. Looks at every session once, slowly.
pub(crate) async fn recover(host: Arc<Host>) {
    let mut offset = 0;
    loop {
        let h = host.clone();
        let page = blocking(move || {
            let sessions = h.central.sessions(BATCH, offset)?;
            let mut waiting = Vec::new();
            for s in &sessions {
                let due = crate::tasks::recover(&h, s);
                // What cannot be read is looked at by the session's own task, which knows what to do.
                if let Err(e) = &due {
                    tracing::warn!(session = %s.id, error = %e, "it was not looked through");
                }
                if s.active && !matches!(due, Ok(Due::Never)) {
                    waiting.push(s.id.clone());
                }
            }
            Ok((sessions.len(), waiting))
        });
        let (seen, waiting) = match page.await {
            Ok(page) => page,
            Err(e) => {
                return tracing::error!(error = %e, "sessions were not looked through after the crash");
            }
        };
        for id in &waiting {
            host.wake(id);
        }
        if seen < BATCH || host.stopping() {
            return;
        }
        offset += seen;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
