//! The process: it comes back, it dies with the host, and it shows nobody what it holds.

use crate::kit::*;
use bytes::Bytes;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;
use tokio::sync::mpsc;

fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[tokio::test]
async fn a_killed_vault_comes_back_with_every_socket() {
    let upstream = Upstream::start().await;
    let (install, grant) = Install::with(&upstream, KEY).await;
    let second = install.open("s2").await;
    assert_ne!(grant.dir, second.dir);
    let (tx, rx) = mpsc::channel(1);
    upstream.plays(Play::Stream(rx));
    let mut stream = send(&grant.dir, &message("", "{}")).await;
    tx.send(Bytes::from_static(b"data: 0\n\n")).await.unwrap();
    read_until(&mut stream, "data: 0").await;
    let killed = install.pid().await;
    kill(killed, Signal::KILL);
    assert!(!rest(stream).await.ends_with("0\r\n\r\n"), "the cut answer does not look complete");
    soon(tx.closed()).await;
    // Answers only once the new process has every session open again.
    while install.pid().await == killed {
        tokio::task::yield_now().await;
    }
    assert_eq!(post(&grant, "{}").await.0, 200);
    assert_eq!(post(&second, "{}").await.0, 200);
    let status = install.supervisor.status().await.unwrap();
    assert_eq!((status.restarts, status.sessions), (1, 2));
    install.stop().await;
}

#[tokio::test]
async fn a_vault_that_hangs_is_replaced() {
    let upstream = Upstream::start().await;
    let (install, _) = Install::with(&upstream, KEY).await;
    kill(install.pid().await, Signal::STOP);
    let grant = install.open("s2").await;
    assert_eq!(post(&grant, "{}").await.0, 200);
    install.stop().await;
}

#[tokio::test]
async fn a_cancelled_call_does_not_shift_the_answers() {
    let upstream = Upstream::start().await;
    let (install, _) = Install::with(&upstream, KEY).await;
    for n in 0..50 {
        let supervisor = std::sync::Arc::clone(&install.supervisor);
        let call =
            tokio::spawn(async move { supervisor.open(&format!("c{n}"), &agent("agent-1")).await });
        tokio::task::yield_now().await;
        call.abort();
        drop(call.await);
        let grant = install.open("s1").await;
        assert!(grant.env.contains_key("ANTHROPIC_API_KEY"), "{grant:?}");
    }
    install.stop().await;
}

#[tokio::test]
async fn a_change_of_the_credential_counts_from_the_next_request_on() {
    let upstream = Upstream::start().await;
    let install = Install::new();
    let grant = install.open("s1").await;
    assert!(
        !grant.env.contains_key("ANTHROPIC_BASE_URL"),
        "without a credential a box is told of none"
    );
    let (status, answer) = post(&grant, "{}").await;
    assert_eq!(status, 401);
    assert!(answer.contains("nanoclaw setup") && answer.contains("authentication_error"));
    assert!(answer.contains("x-should-retry: false"), "{answer}");
    install.set(KEY, &upstream.url);
    assert_eq!(post(&grant, "{}").await.0, 200);
    install.set(TOKEN, &upstream.url);
    assert_eq!(post(&grant, "{}").await.0, 200);
    assert_eq!(upstream.last().header("x-api-key"), None);
    assert_eq!(
        install.open("s1").await.env["CLAUDE_CODE_OAUTH_TOKEN"],
        "sk-ant-oat01-nanoclaw-dummy"
    );
    assert!(install.store().remove().unwrap());
    assert_eq!(post(&grant, "{}").await.0, 401);
    assert_eq!(upstream.seen().len(), 2);
    install.stop().await;
}

#[tokio::test]
async fn a_closed_session_has_no_socket_and_nothing_running() {
    let upstream = Upstream::start().await;
    let (install, grant) = Install::with(&upstream, KEY).await;
    let (tx, rx) = mpsc::channel(1);
    upstream.plays(Play::Hang(rx));
    let stream = send(&grant.dir, &message("", "{}")).await;
    upstream.running(1).await;
    install.supervisor.close("s1").await.unwrap();
    assert_eq!(rest(stream).await, "");
    soon(tx.closed()).await;
    connect(&grant.dir).await.unwrap_err();
    install.supervisor.close("s1").await.unwrap();
    assert_eq!(install.supervisor.status().await.unwrap().sessions, 0);
    let again = install.open("s1").await;
    assert_eq!(post(&again, "{}").await.0, 200);
    install.stop().await;
}

#[tokio::test]
async fn the_key_shows_nowhere() {
    let upstream = Upstream::start().await;
    let (install, grant) = Install::with(&upstream, KEY).await;
    assert_eq!(post(&grant, "{}").await.0, 200);
    let process = Path::new("/proc").join(install.pid().await.to_string());
    let cmdline = std::fs::read_to_string(process.join("cmdline")).unwrap();
    assert!(!cmdline.contains("sk-ant"), "{cmdline}");
    match std::fs::read_to_string(process.join("environ")) {
        // The host's environment may hold anything, so it is not handed on.
        Ok(text) if geteuid().is_root() => assert!(!text.contains("CARGO"), "{text}"),
        Ok(text) => panic!("the user's other processes can look into the vault: {text}"),
        Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::PermissionDenied),
    }
    let limits = std::fs::read_to_string(process.join("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let data = &install.data;
    assert_eq!(mode(&data.join("vault")), 0o700);
    assert_eq!(mode(&data.join("vault/vault.db")), 0o600);
    assert_eq!(mode(&data.join("run/vault.sock")), 0o600);
    assert_eq!(mode(&data.join("run/s")), 0o700);
    assert_eq!(mode(&grant.dir), 0o711);
    assert_eq!(mode(&grant.dir.join("proxy.sock")), 0o666);
    install.stop().await;
}

#[tokio::test]
async fn a_vault_ends_with_its_host_and_there_is_only_one() {
    let install = Install::new();
    let first = install.pid().await;
    let second = Command::new(VAULT).arg(&install.data).stdin(Stdio::null()).output();
    let second = soon(second).await.unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("another vault"), "{second:?}");
    assert_eq!(install.pid().await, first, "and the first is not disturbed");
    let data = install.data.clone();
    soon(install.supervisor.stop()).await;
    assert!(!Path::new("/proc").join(first.to_string()).exists());
    let mut child = Command::new(VAULT)
        .arg(&data)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    let out = child.stdout.as_mut().unwrap();
    soon(tokio::io::AsyncReadExt::read_exact(out, &mut ready)).await.unwrap();
    assert_eq!(&ready, b"ready\n");
    drop(child.stdin.take());
    assert!(soon(child.wait()).await.unwrap().success());
}
