//! A TLS server under several names, a vault that trusts it, and curl.

use crate::kit::*;
use nanoclaw_vault::Grant;
use rustls::pki_types::PrivateKeyDer;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

pub(crate) const NAMES: [&str; 4] = ["good.test", "other.test", "evil.test", "localhost"];

/// The outside world.
pub(crate) struct Web {
    pub(crate) upstream: Upstream,
    pub(crate) port: u16,
    pub(crate) dir: TempDir,
}

impl Web {
    pub(crate) async fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(NAMES.map(str::to_owned).to_vec()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![made.cert.der().clone()],
                PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into()),
            )
            .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let upstream = Upstream::with(Some(Arc::new(config).into())).await;
        let port = upstream.url.rsplit(':').next().unwrap().parse().unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("roots.pem"), made.cert.pem()).unwrap();
        let names: String = NAMES.iter().map(|name| format!("{name} 127.0.0.1\n")).collect();
        std::fs::write(dir.path().join("names"), names).unwrap();
        Self { upstream, port, dir }
    }

    pub(crate) fn names(&self) -> PathBuf {
        self.dir.path().join("names")
    }

    pub(crate) fn url(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}{path}", self.port)
    }

    /// A vault with this `[egress]`; `PORT` is the server's, which every name may be dialled at.
    pub(crate) async fn install(&self, egress: &str) -> (Install, Grant) {
        let roots = self.dir.path().join("roots.pem");
        let install = Install::in_world(&self.names(), &roots);
        let private: String = NAMES
            .iter()
            .map(|name| {
                format!(
                    "[[allow_private]]\nhost = \"{name}\"\ncidr = \"127.0.0.1/32\"\nport = {}\n",
                    self.port
                )
            })
            .collect();
        let text = format!("[egress]\n{egress}\n{private}").replace("PORT", &self.port.to_string());
        std::fs::create_dir_all(install.data.join("vault")).unwrap();
        std::fs::write(install.data.join("vault/policy.toml"), text).unwrap();
        soon(install.supervisor.status()).await.unwrap();
        install.reload().await;
        let grant = install.open("s1").await;
        (install, grant)
    }

    /// Runs curl as a box would: only the variables of the grant, and a relay on the proxy's port.
    pub(crate) async fn curl(&self, grant: &Grant, url: &str) -> (u16, String) {
        self.curl_with(grant, url, &[]).await
    }

    pub(crate) async fn curl_with(&self, grant: &Grant, url: &str, args: &[&str]) -> (u16, String) {
        let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = relay.local_addr().unwrap().port();
        let dir = grant.dir.clone();
        let carrying = tokio::spawn(async move {
            loop {
                let (mut tcp, _): (TcpStream, _) = relay.accept().await.unwrap();
                let dir = dir.clone();
                tokio::spawn(async move {
                    let mut vault = connect(&dir).await.unwrap();
                    drop(tokio::io::copy_bidirectional(&mut tcp, &mut vault).await);
                });
            }
        });
        let here = |value: &str| {
            let there = value.replace("/run/vault", grant.dir.to_str().unwrap());
            there.replace("127.0.0.1:3128", &format!("127.0.0.1:{port}"))
        };
        let env = grant.env.iter().map(|(name, value)| (name, here(value)));
        let output = Command::new("curl")
            .args(["-sS", "-w", "\n%{http_code}", "--max-time", "20"])
            .args(args)
            .arg(url)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .envs(env)
            .stdin(Stdio::null())
            .output();
        let output = soon(output).await.unwrap();
        carrying.abort();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap_or_default();
        let told = String::from_utf8_lossy(&output.stderr);
        (status.parse().unwrap_or(0), format!("{body}{told}"))
    }
}
