//! A real TLS upstream: trusted through `SSL_CERT_FILE`, refused without. Also the control socket as bytes.

use crate::kit::*;
use nanoclaw_vault::{Credential, Store};
use rustls::pki_types::PrivateKeyDer;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

/// A vault without a supervisor, with this file as its trust.
async fn vault(data: &Path, trust: &Path) -> Child {
    let mut child = Command::new(VAULT)
        .arg(data)
        .env("SSL_CERT_FILE", trust)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    soon(child.stdout.as_mut().unwrap().read_exact(&mut ready)).await.unwrap();
    child
}

async fn ask(control: &mut BufReader<UnixStream>, line: &str) -> String {
    control.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(control.read_line(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn tls_is_verified_with_the_roots_of_the_machine() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![made.cert.der().clone()],
            PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into()),
        )
        .unwrap();
    let upstream = Upstream::with(Some(Arc::new(config).into())).await;
    let dir = tempfile::tempdir().unwrap();
    let (good, empty) = (dir.path().join("good.pem"), dir.path().join("empty.pem"));
    std::fs::write(&good, made.cert.pem()).unwrap();
    std::fs::write(&empty, "").unwrap();
    Store::new(dir.path())
        .set(&Credential::parse(KEY, None, Some(&upstream.url)).unwrap())
        .unwrap();
    for (trust, expected) in [(&empty, 502), (&good, 200)] {
        let mut child = vault(dir.path(), trust).await;
        let control = UnixStream::connect(dir.path().join("run/vault.sock")).await.unwrap();
        let mut control = BufReader::new(control);
        let open = serde_json::json!(
            { "op": "open", "session": "s", "agent": { "id": "a", "folder": "a" }, "dir": dir.path() });
        assert!(!ask(&mut control, &open.to_string()).await.contains("error"));
        let (status, answer) = raw(dir.path(), &message("", "{}")).await;
        assert_eq!(status, expected, "{answer}");
        let status = ask(&mut control, r#"{"op":"status"}"#).await;
        assert!(status.contains(r#""credential":"api_key","sessions":1,"requests":1"#), "{status}");
        for bad in ["nonsense", r#"{"op":"get"}"#, r#"{"op":"open","session":"x"}"#] {
            assert!(ask(&mut control, bad).await.contains("not understood"));
        }
        let nowhere = r#"{"op":"open","session":"x","agent":{"id":"a","folder":"a"},"dir":"/does/not/exist"}"#;
        assert!(ask(&mut control, nowhere).await.contains("No such file"));
        drop(child.stdin.take());
        assert!(soon(child.wait()).await.unwrap().success());
    }
    assert_eq!(upstream.seen().len(), 1, "the untrusted upstream got nothing");
    assert_eq!(upstream.last().header("x-api-key"), Some(KEY));
}
