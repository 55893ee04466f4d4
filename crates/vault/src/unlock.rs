//! A vault that opens with a passphrase: until somebody gives it, the process listens, says that it is locked,
//! and does nothing else.
//!
//! What the host asks to be opened meanwhile is remembered and opened then. Read next: `serve`.

use crate::serve::{Ask, LINE_MAX, Reply};
use nanoclaw_secrets::{SecretsError, Store, Value};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

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

/// Tries a passphrase; slow on purpose.
pub(crate) async fn unlock(store: &Arc<Store>, passphrase: Passphrase) -> Result<(), SecretsError> {
    let store = Arc::clone(store);
    let tried = tokio::task::spawn_blocking(move || store.unlock(Value::new(passphrase.0))).await;
    tried.unwrap_or_else(|e| Err(SecretsError::Refused(e.to_string())))
}

type Remembered = Arc<Mutex<BTreeMap<String, Ask>>>;

/// Listens until the store is open; gives back what has to be opened then. `None` when the host is gone.
pub(crate) async fn wait(
    store: &Arc<Store>,
    control: &UnixListener,
    gone: impl Future<Output = ()>,
) -> Option<(Vec<Ask>, Vec<UnixStream>)> {
    let (opened, mut open) = watch::channel(!store.is_locked());
    let (opened, remembered) = (Arc::new(opened), Remembered::default());
    let mut callers = JoinSet::new();
    tokio::pin!(gone);
    tracing::warn!("the vault is locked; run `nanoclaw vault unlock`");
    while !*open.borrow_and_update() {
        tokio::select! {
            accepted = control.accept() => if let Ok((stream, _)) = accepted {
                let (store, opened) = (Arc::clone(store), Arc::clone(&opened));
                callers.spawn(answer(store, stream, Arc::clone(&remembered), opened));
            },
            Some(_) = callers.join_next() => {}
            _ = open.changed() => {}
            () = &mut gone => return None,
        }
    }
    // Who is still connected goes on with the open vault.
    let mut streams = Vec::new();
    while let Some(kept) = callers.join_next().await {
        streams.extend(kept.ok().flatten());
    }
    let mut remembered = remembered.lock().unwrap_or_else(PoisonError::into_inner);
    Some((std::mem::take(&mut *remembered).into_values().collect(), streams))
}

async fn answer(
    store: Arc<Store>,
    stream: UnixStream,
    remembered: Remembered,
    opened: Arc<watch::Sender<bool>>,
) -> Option<UnixStream> {
    let us = rustix::process::geteuid().as_raw();
    if !stream.peer_cred().is_ok_and(|peer| peer.uid() == us) {
        return None;
    }
    let mut open = opened.subscribe();
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = zeroize::Zeroizing::new(Vec::new());
    loop {
        line.clear();
        tokio::select! {
            n = async { (&mut read).take(LINE_MAX).read_until(b'\n', &mut line).await } => match n {
                Ok(n) if n > 0 && line.ends_with(b"\n") => {}
                _ => return None,
            },
            _ = open.wait_for(|open| *open) => break,
        }
        let said = match serde_json::from_slice::<Ask>(&line) {
            Ok(Ask::Unlock { passphrase }) => unlock(&store, passphrase).await,
            Ok(Ask::Status) => Ok(()),
            Ok(ask) => {
                remember(&remembered, ask);
                Err(SecretsError::Locked)
            }
            Err(_) => Err(SecretsError::Refused("not understood".into())),
        };
        let reply = Reply { error: said.err().map(|e| e.to_string()), ..Reply::default() };
        let Ok(mut text) = serde_json::to_vec(&reply) else { return None };
        text.push(b'\n');
        let written = write.write_all(&text).await;
        if !store.is_locked() {
            opened.send_replace(true);
            break;
        }
        if written.is_err() {
            return None;
        }
    }
    read.into_inner().reunite(write).ok()
}

fn remember(remembered: &Remembered, ask: Ask) {
    let mut remembered = remembered.lock().unwrap_or_else(PoisonError::into_inner);
    match &ask {
        Ask::Open { session, .. } if remembered.len() < REMEMBERED_MAX => {
            remembered.insert(session.clone(), ask);
        }
        Ask::Close { session } => drop(remembered.remove(session)),
        _ => {}
    }
}
