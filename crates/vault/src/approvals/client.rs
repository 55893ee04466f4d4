//! The host's end: what the vault tells, and what people decided.

use super::Decision;
use crate::serve::{Ask, CONTROL, Reply};
use crate::{VaultError, socket};
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::Mutex;

/// How long to wait before a vault that does not answer is asked again.
const PAUSE: Duration = Duration::from_millis(200);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Hears the vault of an install, whichever process that is.
pub struct Events {
    run: PathBuf,
    stream: Mutex<Option<BufReader<UnixStream>>>,
}

impl Events {
    /// Of the install with this data directory. Connects when it is first asked.
    pub fn of(data: &std::path::Path) -> Self {
        Self { run: data.join("run"), stream: Mutex::default() }
    }

    /// The next event, one JSON object; waits for a vault if there is none. Whatever is open is told again after
    /// a restart of either.
    pub async fn next(&self) -> serde_json::Value {
        let mut stream = self.stream.lock().await;
        loop {
            // Taken out, so that a call that is dropped in the middle of a line begins anew.
            let heard = match stream.take() {
                Some(open) => read(open).await,
                None => match self.call(&Ask::Watch).await {
                    Ok(open) => read(open).await,
                    Err(e) => Err(e),
                },
            };
            match heard {
                Ok((event, open)) => {
                    *stream = Some(open);
                    return event;
                }
                Err(e) => tracing::debug!("the vault is not heard: {e}"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Tells the vault what was decided; true if a connection of the box waits for it. Telling it twice is telling
    /// it once.
    pub async fn decide(&self, decision: Decision) -> Result<bool, VaultError> {
        let told = async {
            let open = self.call(&Ask::Decide(decision)).await?;
            let (answer, _) = read(open).await?;
            Ok(serde_json::from_value::<Reply>(answer)?)
        };
        let reply = match tokio::time::timeout(CALL_TIMEOUT, told).await {
            Ok(reply) => {
                reply.map_err(|e: std::io::Error| VaultError::Unavailable(e.to_string()))?
            }
            Err(_) => return Err(VaultError::Unavailable("it hangs".into())),
        };
        match reply.error {
            Some(why) => Err(VaultError::Refused(why)),
            None => Ok(reply.waiting),
        }
    }

    async fn call(&self, ask: &Ask) -> std::io::Result<BufReader<UnixStream>> {
        let mut open = BufReader::new(socket::connect(&self.run, CONTROL).await?);
        let line = serde_json::to_string(ask)?;
        open.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(open)
    }
}

async fn read(
    mut open: BufReader<UnixStream>,
) -> std::io::Result<(serde_json::Value, BufReader<UnixStream>)> {
    let mut line = Vec::new();
    socket::line(&mut open, &mut line).await?;
    Ok((serde_json::from_slice(&line)?, open))
}
