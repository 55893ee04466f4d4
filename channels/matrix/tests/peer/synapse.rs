//! A real homeserver, on this machine, for as long as the tests run.

use anyhow::{Context as _, Result, bail};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Synapse; ends when this is dropped, or when this process ends in whatever way.
pub(crate) struct Synapse {
    /// Where it is, without a scheme.
    pub(crate) address: String,
    /// The Python that has Synapse and nio.
    pub(crate) python: PathBuf,
    child: Child,
    _data: TempDir,
}

fn python() -> Result<PathBuf> {
    let tools = match std::env::var_os("NANOCLAW_TOOLS") {
        Some(tools) => PathBuf::from(tools),
        None => nanoclaw_conformance::target().join("tools"),
    };
    let python = tools.join("matrix/bin/python");
    if !python.exists() {
        bail!("{} is missing; run: bash channels/matrix/tests/tools.sh", python.display());
    }
    Ok(python)
}

impl Synapse {
    pub(crate) fn start() -> Result<Self> {
        let python = python()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let data = TempDir::with_prefix("nanoclaw-synapse-")?;
        let config = data.path().join("homeserver.yaml");
        std::fs::write(&config, homeserver(data.path(), port))?;
        // An ed25519 seed that signs nothing outside of this test.
        let seed = "ed25519 a_test MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE\n";
        std::fs::write(data.path().join("signing.key"), seed)?;
        let log = std::fs::File::create(data.path().join("log"))?;
        // The shell ends it when its standard input does.
        let child = Command::new("sh")
            .args(["-c", "\"$@\" & pid=$!; read -r _; kill -9 $pid", "sh"])
            .arg(&python)
            .args(["-m", "synapse.app.homeserver", "-c"])
            .arg(&config)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start Synapse")?;
        let address = format!("127.0.0.1:{port}");
        let synapse = Self { address, python, child, _data: data };
        for _ in 0..1200 {
            if std::net::TcpStream::connect(&synapse.address).is_ok() {
                return Ok(synapse);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = std::fs::read_to_string(synapse._data.path().join("log")).unwrap_or_default();
        bail!("Synapse does not answer: {}", &log[log.len().saturating_sub(2000)..])
    }
}

impl Drop for Synapse {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

/// The smallest configuration without limits that a test would run into.
fn homeserver(data: &Path, port: u16) -> String {
    let data = data.display();
    let rates = "per_second: 100000, burst_count: 100000";
    format!(
        "server_name: localhost
pid_file: {data}/pid
listeners:
  - {{port: {port}, bind_addresses: ['127.0.0.1'], type: http, tls: false, resources: [{{names: [client, media]}}]}}
database: {{name: sqlite3, args: {{database: {data}/db}}}}
media_store_path: {data}/media
signing_key_path: {data}/signing.key
registration_shared_secret: for tests only
macaroon_secret_key: for tests only
form_secret: for tests only
report_stats: false
trusted_key_servers: []
presence: {{enabled: false}}
user_directory: {{enabled: false}}
bcrypt_rounds: 4
max_upload_size: 8M
rc_message: {{{rates}}}
rc_registration: {{{rates}}}
rc_login: {{address: {{{rates}}}, account: {{{rates}}}, failed_attempts: {{{rates}}}}}
rc_joins: {{local: {{{rates}}}, remote: {{{rates}}}}}
rc_joins_per_room: {{{rates}}}
rc_invites: {{per_room: {{{rates}}}, per_user: {{{rates}}}, per_issuer: {{{rates}}}}}
rc_room_creation: {{{rates}}}
"
    )
}
