//! A vault with a passphrase: it starts locked, says so, and works once somebody unlocked it.

use crate::kit::*;
use nanoclaw_secrets::{Cost, KeySource, Value};
use std::fs::File;
use std::os::fd::AsRawFd as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

const CHEAP: Cost = Cost { memory: 64, rounds: 1, lanes: 1 };

async fn ask(install: &Install, line: &str) -> String {
    let run = File::open(install.data.join("run")).unwrap();
    let control = UnixStream::connect(format!("/proc/self/fd/{}/vault.sock", run.as_raw_fd()));
    let mut control = control.await.unwrap();
    control.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    read_until(&mut control, "\n").await
}

#[tokio::test]
async fn v4_a_locked_vault_opens_no_session_until_it_is_unlocked() {
    let upstream = Upstream::start().await;
    let install = Install::new();
    install.set("sk-ant-api03-the-real-key", &upstream.url);
    let first = install.pid().await;
    let passphrase = KeySource::Passphrase(Value::new("long and good".into()), CHEAP);
    install.store().open().unwrap().rekey(&passphrase).unwrap();
    // The process that is killed is started again, and has no key.
    let pid = rustix::process::Pid::from_raw(first.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    while install.supervisor.status().await.ok().and_then(|s| s.pid).is_none_or(|now| now == first)
    {
        tokio::task::yield_now().await;
    }
    let refused = install.supervisor.open("s1", &agent("agent-1")).await.unwrap_err().to_string();
    assert!(refused.contains("vault is locked"), "{refused}");
    let answer = ask(&install, r#"{"op":"unlock","passphrase":"short and bad"}"#).await;
    assert!(answer.contains("not the passphrase"), "{answer}");
    let answer = ask(&install, r#"{"op":"unlock","passphrase":"long and good"}"#).await;
    assert!(answer.contains("try again in"), "{answer}");
    let answer = ask(&install, "garbage").await;
    assert!(answer.contains("not understood"), "{answer}");
    loop {
        let answer = ask(&install, r#"{"op":"unlock","passphrase":"long and good"}"#).await;
        if !answer.contains("error") {
            break;
        }
        assert!(answer.contains("try again in"), "{answer}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let grant = install.open("s1").await;
    assert_eq!(post(&grant, "{}").await.0, 200);
    assert_ne!(install.pid().await, first);
    install.stop().await;
}
