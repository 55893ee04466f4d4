//! Who may call: who has the token, which only this user can read.

#![expect(clippy::unwrap_used, reason = "helpers of a test fail as the test does")]

use anyhow::Result;
use async_trait::async_trait;
use nanoclaw_channel::{
    Answer, AnswerOutcome, Change, Inbound, Ingress, IngressError, Start, StartError,
};
use nanoclaw_channel_emacs::CHANNEL;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[derive(Default)]
struct Host(Mutex<Vec<Inbound>>);

#[async_trait]
impl Ingress for Host {
    async fn push(&self, message: Inbound) -> Result<(), IngressError> {
        self.0.lock().unwrap().push(message);
        Ok(())
    }
    async fn change(&self, _: Change) -> Result<(), IngressError> {
        Ok(())
    }
    async fn answer(&self, _: Answer) -> Result<AnswerOutcome, IngressError> {
        Ok(AnswerOutcome::Late)
    }
}

async fn call(port: u16, call: &str, headers: &str, body: &str) -> u16 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let length = body.len();
    let text = format!(
        "{call} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

fn start(data: &std::path::Path, host: &Arc<Host>, port: u16) -> Start {
    Start {
        ingress: host.clone(),
        data: data.to_path_buf(),
        setting: Arc::new(move |name| (name == "EMACS_CHANNEL_PORT").then(|| port.to_string())),
        report: Arc::new(|_| {}),
    }
}

#[tokio::test]
async fn only_the_token_opens_and_only_this_user_reads_it() {
    let (data, host) = (tempfile::tempdir().unwrap(), Arc::<Host>::default());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let channel = (CHANNEL.start)(start(data.path(), &host, port)).await.unwrap();
    let file = data.path().join("channels/emacs/token");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let token = std::fs::read_to_string(&file).unwrap();
    assert!(token.len() >= 32, "{token}");
    let good = format!("authorization: Bearer {token}\r\n");
    let body = r#"{"text":"hello","id":"m1"}"#;
    // A web page can reach the loopback, but has no token.
    for headers in [
        "",
        "origin: https://evil.example\r\n",
        "authorization: Bearer \r\n",
        "authorization: Bearer wrong\r\n",
        "authorization: Basic eDp4\r\n",
    ] {
        assert_eq!(call(port, "POST /api/message", headers, body).await, 401, "{headers}");
        assert_eq!(call(port, "GET /api/messages?since=0", headers, "").await, 401, "{headers}");
    }
    assert!(host.0.lock().unwrap().is_empty());
    assert_eq!(call(port, "POST /api/message", &good, body).await, 200);
    assert_eq!(host.0.lock().unwrap()[0].id.as_str(), "m1");
    for bad in ["", "[]", "{}", r#"{"text":" "}"#, r#"{"text":"x","id":""}"#, "\u{0}"] {
        assert_eq!(call(port, "POST /api/message", &good, bad).await, 400, "{bad}");
    }
    for odd in [r#"{"question":"q","option":0}"#, r#"{"question":"","option":1}"#] {
        assert_eq!(call(port, "POST /api/answer", &good, odd).await, 410, "{odd}");
    }
    assert_eq!(call(port, "GET /api/other", &good, "").await, 404);
    assert_eq!(call(port, "GET /api/messages?since=x&wait=-1", &good, "").await, 200);
    assert_eq!(host.0.lock().unwrap().len(), 1);

    // The same token after a restart; a second channel on the port does not start.
    let again = (CHANNEL.start)(start(data.path(), &host, port)).await;
    assert!(matches!(again, Err(StartError::Unreachable(_))));
    drop(channel);
    // The port is free a moment later; the host tries again, too.
    let channel = loop {
        match (CHANNEL.start)(start(data.path(), &host, port)).await {
            Ok(channel) => break channel,
            Err(StartError::Unreachable(_)) => tokio::task::yield_now().await,
            Err(e) => panic!("{e}"),
        }
    };
    assert_eq!(std::fs::read_to_string(&file).unwrap(), token);
    assert_eq!(call(port, "GET /api/messages", &good, "").await, 200);
    drop(channel);
}
