//! Who asks, before the vault is open and after: one that opens with a passphrase listens, says that it is locked,
//! and does nothing else until somebody gives it.
//!
//! What the host asks to be opened meanwhile is remembered and opened then. Read next: `serve`.

use crate::VaultError;
use crate::serve::{Ask, Reply, ServeOptions, Vault, blocking};
use nanoclaw_secrets::{SecretsError, Store, Value};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;

/// More than a host has boxes.
const REMEMBERED_MAX: usize = 1_024;

/// A passphrase on its way; never printed.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Passphrase(String);

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[passphrase]")
    }
}

/// The vault, as soon as it is open.
pub(crate) struct Gate {
    options: ServeOptions,
    store: Arc<Store>,
    vault: OnceCell<Arc<Vault>>,
    /// Sessions that were asked for, by their names.
    late: Mutex<BTreeMap<String, Ask>>,
}

impl Gate {
    pub(crate) fn new(options: ServeOptions, store: Store) -> Self {
        let store = Arc::new(store);
        Self { options, store, vault: OnceCell::new(), late: Mutex::default() }
    }

    pub(crate) fn vault(&self) -> Option<&Arc<Vault>> {
        self.vault.get()
    }

    /// Opens the vault, unless a passphrase is missing.
    pub(crate) async fn open(&self) -> Result<(), VaultError> {
        if self.store.is_locked() {
            tracing::warn!("the vault is locked; run `nanoclaw vault unlock`");
            return Ok(());
        }
        let (options, store) = (self.options.clone(), Arc::clone(&self.store));
        let opening = || blocking(move || Vault::open(options, store));
        let vault = self.vault.get_or_try_init(opening).await?;
        let late = std::mem::take(&mut *self.late.lock().unwrap_or_else(PoisonError::into_inner));
        for ask in late.into_values() {
            if let Err(e) = vault.reply(ask).await {
                tracing::warn!("opening what was asked for while the vault was locked: {e}");
            }
        }
        Ok(())
    }

    pub(crate) async fn reply(&self, ask: Ask) -> Result<Reply, VaultError> {
        let ask = match ask {
            Ask::Unlock { passphrase } => {
                let store = Arc::clone(&self.store);
                blocking(move || Ok(store.unlock(Value::new(passphrase.0))?)).await?;
                self.open().await?;
                Ask::Status
            }
            ask => ask,
        };
        match self.vault() {
            Some(vault) => vault.reply(ask).await,
            None if matches!(ask, Ask::Status) => Ok(Reply::default()),
            None => match self.remember(ask) {
                Some((vault, ask)) => vault.reply(ask).await,
                None => Err(SecretsError::Locked.into()),
            },
        }
    }

    /// For later, unless it is open by now: looked at in the same moment, so that nothing is left behind.
    fn remember(&self, ask: Ask) -> Option<(&Arc<Vault>, Ask)> {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(vault) = self.vault() {
            return Some((vault, ask));
        }
        match &ask {
            Ask::Open { session, .. } if late.len() < REMEMBERED_MAX => {
                late.insert(session.clone(), ask);
            }
            Ask::Close { session } => drop(late.remove(session)),
            _ => {}
        }
        None
    }
}
