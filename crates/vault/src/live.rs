//! Running exchanges that carry a secret, so that taking the secret back ends them.

use crate::inject::Uses;
use crate::serve::Session;
use crate::wallet::Wallet;
use nanoclaw_policy::{AgentNames, Authority};
use nanoclaw_secrets::SecretId;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::oneshot;

/// Comes when the secret of an exchange is taken back.
pub(crate) type Revoked = oneshot::Receiver<()>;

struct Running {
    agent: AgentNames,
    place: Authority,
    secrets: Vec<SecretId>,
    cut: oneshot::Sender<()>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Live {
    running: Mutex<(u64, HashMap<u64, Running>)>,
}

impl Live {
    /// Notes an exchange, unless it uses no secret.
    pub(crate) fn watch(
        &self,
        session: &Session,
        place: &Authority,
        uses: &Uses,
    ) -> Option<Revoked> {
        let secrets: Vec<_> = uses.bound().map(|bound| bound.secret.clone()).collect();
        if secrets.is_empty() {
            return None;
        }
        let (cut, revoked) = oneshot::channel();
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.0 += 1;
        let id = running.0;
        // Those that ended are told by their receivers, which are gone.
        if id.is_multiple_of(64) {
            running.1.retain(|_, one| !one.cut.is_closed());
        }
        let (agent, place) = (session.agent.clone(), place.clone());
        running.1.insert(id, Running { agent, place, secrets, cut });
        Some(revoked)
    }

    /// Ends those whose secret is not theirs any more; called when the store has changed.
    pub(crate) async fn judge(&self, wallet: &Wallet) {
        let taken =
            std::mem::take(&mut self.running.lock().unwrap_or_else(PoisonError::into_inner).1);
        for (id, one) in taken.into_iter().filter(|(_, one)| !one.cut.is_closed()) {
            let bound = wallet.bound(&one.agent, &one.place).await;
            let still = bound.is_ok_and(|bound| {
                one.secrets.iter().all(|id| bound.iter().any(|bound| bound.secret == *id))
            });
            if still {
                self.running.lock().unwrap_or_else(PoisonError::into_inner).1.insert(id, one);
            } else {
                // Nobody listens when it ended meanwhile.
                one.cut.send(()).ok();
            }
        }
    }
}
