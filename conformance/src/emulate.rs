//! emulate, the services that others wrote: what our own peers take for granted is not only our own idea.

use crate::record::{Heard, Recorder};
use anyhow::{Context as _, Result, ensure};
use nanoclaw_channel::Start;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

const SERVER: &str = "
    import('emulate').then(async ({ createEmulator }) => {
        const [service, seed] = process.argv.slice(1);
        const { url } = await createEmulator({ service, port: 0, seed: JSON.parse(seed) });
        process.stdin.on('end', () => process.exit()).resume();
        console.log('at ' + url);
    }).catch(e => { console.log(String(e)); process.exit(1); });
";

/// A service, until it is dropped.
pub struct Emulate {
    /// Where it is.
    pub url: String,
    _process: Child,
}

impl Emulate {
    /// Starts `slack`, `github` or `resend` with what is there at the beginning.
    pub async fn start(service: &str, seed: &Value) -> Result<Self> {
        let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools");
        let tools: PathBuf = std::env::var_os("NANOCLAW_TOOLS").map_or_else(beside, Into::into);
        let tools = std::path::absolute(tools.join("emulate"))?;
        let mut process = Command::new(tools.join("node_modules/.bin/node"))
            .args(["-e", SERVER, service, &seed.to_string()])
            .current_dir(&tools)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("emulate is not there; run: bash conformance/tools.sh")?;
        let out = process.stdout.take().context("its output")?;
        let line = BufReader::new(out).lines().next_line().await?.unwrap_or_default();
        let url = line.strip_prefix("at ").unwrap_or_default().to_owned();
        ensure!(!url.is_empty(), "emulate did not start: {line}");
        Ok(Self { url, _process: process })
    }
}

/// What a channel starts with.
pub fn start(host: &Arc<Recorder>, data: &Path, settings: &[(&str, &str)]) -> Start {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let settings: BTreeMap<String, String> = settings.iter().map(owned).collect();
    Start {
        ingress: host.clone(),
        data: data.to_path_buf(),
        setting: Arc::new(move |name| settings.get(name).cloned()),
        report: Arc::new(|_| {}),
    }
}

/// Waits until the host heard what is looked for.
pub async fn hears<T>(host: &Recorder, look: impl Fn(&Heard) -> Option<T>) -> Result<T> {
    let bell = host.bell();
    let found = async {
        loop {
            let rung = bell.notified();
            if let Some(found) = host.look(&look) {
                return found;
            }
            rung.await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(30), found).await;
    found.with_context(|| format!("heard was only {:?}", host.heard().texts()))
}
