//! Genuine and hostile callers, over real sockets.

use super::{Handler, Hook, Limits, Mount, Reply, address, mount};
use async_trait::async_trait;
use nanoclaw_channel::{
    Answer, AnswerOutcome, Change, Inbound, Ingress, IngressError, Start, StartError,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

struct Nobody;

#[async_trait]
impl Ingress for Nobody {
    async fn push(&self, _: Inbound) -> Result<(), IngressError> {
        Ok(())
    }
    async fn change(&self, _: Change) -> Result<(), IngressError> {
        Ok(())
    }
    async fn answer(&self, _: Answer) -> Result<AnswerOutcome, IngressError> {
        Ok(AnswerOutcome::Late)
    }
}

fn start(settings: &[(&str, &str)]) -> Start {
    let settings: BTreeMap<String, String> =
        settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Start {
        ingress: Arc::new(Nobody),
        data: std::path::PathBuf::new(),
        setting: Arc::new(move |name| settings.get(name).cloned()),
        report: Arc::new(|_| {}),
    }
}

#[derive(Default)]
struct Heard(Mutex<Vec<Hook>>);

#[async_trait]
impl Handler for Heard {
    async fn call(&self, request: Hook) -> Reply {
        self.0.lock().unwrap().push(request);
        Reply::ok()
    }
}

const LIMITS: Limits = Limits { body_max: 1000, per_minute: 5 };

async fn mounted(path: &str) -> (Mount, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let start = start(&[("WEBHOOK_BIND", "127.0.0.1:0"), ("WEBHOOK_URL", "https://x.example/")]);
    (mount(&start, path, LIMITS, Arc::clone(&heard) as _).await.unwrap(), heard)
}

/// Sends bytes as they are; returns all that comes back.
async fn raw(at: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    // Who is refused early need not read everything.
    stream.write_all(request).await.ok();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.ok();
    String::from_utf8_lossy(&all).into_owned()
}

fn post(path: &str, body: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .into()
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

#[tokio::test]
async fn a_call_reaches_its_handler_whole() {
    let (mount, heard) = mounted("/webhook/a").await;
    assert_eq!(mount.url, "https://x.example/webhook/a");
    let answer = raw(mount.address(), &post("/webhook/a?x=1", "{\"a\":1}")).await;
    assert_eq!(status(&answer), "200");
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    let hook = heard.0.lock().unwrap().pop().unwrap();
    assert_eq!((hook.path.as_str(), hook.query.as_deref()), ("/webhook/a", Some("x=1")));
    assert_eq!(hook.body, "{\"a\":1}");
    assert_eq!(hook.header("host"), Some("x"));
    assert!(hook.from.is_loopback());
}

#[tokio::test]
async fn paths_that_nobody_mounted_are_not_found() {
    let (mount, heard) = mounted("/webhook/a").await;
    for path in ["/", "/webhook", "/webhook/a/", "/webhook/a/b", "/webhook/%61", "/WEBHOOK/A"] {
        assert_eq!(status(&raw(mount.address(), &post(path, "")).await), "404", "{path}");
    }
    assert!(heard.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_health_page_lists_mounts_and_nothing_else() {
    let (mount, _heard) = mounted("/webhook/a").await;
    let answer = raw(mount.address(), b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.ends_with("{\"mounts\":[\"/webhook/a\"]}"), "{answer}");
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused_announced_or_not() {
    let (mount, heard) = mounted("/webhook/a").await;
    let at = mount.address();
    assert_eq!(status(&raw(at, &post("/webhook/a", &"x".repeat(1000))).await), "200");
    assert_eq!(status(&raw(at, &post("/webhook/a", &"x".repeat(1001))).await), "413");
    let announced = b"POST /webhook/a HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n";
    assert_eq!(status(&raw(at, announced).await), "413");
    let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400));
    let head = "POST /webhook/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunked = format!("{head}{chunk}{chunk}0\r\n\r\n");
    assert_eq!(status(&raw(at, chunked.as_bytes()).await), "413");
    assert_eq!(heard.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn nonsense_is_answered_or_cut_off_and_others_are_served() {
    let (mount, heard) = mounted("/webhook/a").await;
    let at = mount.address();
    let huge = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(100_000));
    let both =
        "POST /webhook/a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc";
    for bad in ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", &huge, both] {
        let answer = raw(at, bad.as_bytes()).await;
        assert!(!answer.starts_with("HTTP/1.1 2"), "{bad:.40}: {answer}");
    }
    assert!(heard.0.lock().unwrap().is_empty());
    assert_eq!(status(&raw(at, &post("/webhook/a", "")).await), "200");
}

#[tokio::test]
async fn more_calls_than_the_rate_are_told_when_to_come_again() {
    let (mount, heard) = mounted("/webhook/a").await;
    for _ in 0..5 {
        assert_eq!(status(&raw(mount.address(), &post("/webhook/a", "")).await), "200");
    }
    let answer = raw(mount.address(), &post("/webhook/a", "")).await;
    assert_eq!(status(&answer), "429");
    assert!(answer.to_lowercase().contains("retry-after: "), "{answer}");
    assert_eq!(heard.0.lock().unwrap().len(), 5);
}

/// Drips into a connection and returns what came back. The clock of the test is paused, so that only the
/// listener's own time limits can end it.
async fn dripped(at: SocketAddr, head: &[u8]) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(head).await.unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.ok();
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test(start_paused = true)]
async fn who_is_slow_with_the_head_or_the_body_is_cut_off() {
    let (mount, heard) = mounted("/webhook/a").await;
    let at = mount.address();
    let answer = dripped(at, b"POST /webhook/a HTTP/1.1\r\nHost").await;
    assert!(!answer.contains("200"), "{answer}");
    let head = b"POST /webhook/a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc";
    assert_eq!(status(&dripped(at, head).await), "408");
    assert!(heard.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn many_silent_connections_do_not_keep_others_out() {
    let (mount, _heard) = mounted("/webhook/a").await;
    let at = mount.address();
    let mut silent = Vec::new();
    for _ in 0..250 {
        silent.push(TcpStream::connect(at).await.unwrap());
    }
    assert_eq!(status(&raw(at, &post("/webhook/a", "")).await), "200");
    drop(silent);
    assert_eq!(status(&raw(at, &post("/webhook/a", "")).await), "200");
}

async fn free_port() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn two_channels_share_one_listener_and_leave_it_one_by_one() {
    let bind = free_port().await.to_string();
    let start = start(&[("WEBHOOK_BIND", &bind)]);
    let heard = Arc::new(Heard::default());
    let on = async |path| mount(&start, path, LIMITS, Arc::clone(&heard) as _).await;
    let (a, b) = (on("/webhook/a").await.unwrap(), on("/webhook/b").await.unwrap());
    assert_eq!(a.address(), b.address());
    assert_eq!(a.url, format!("http://127.0.0.1:{bind}/webhook/a"));
    let Err(StartError::Unreachable(why)) = on("/webhook/a").await else { panic!("taken twice") };
    assert!(why.contains("/webhook/a is taken"), "{why}");
    drop(a);
    assert_eq!(status(&raw(b.address(), &post("/webhook/a", "")).await), "404");
    assert_eq!(status(&raw(b.address(), &post("/webhook/b", "")).await), "200");
    let at = b.address();
    drop(b);
    // As a channel that is started again does: at once.
    assert_eq!(on("/webhook/a").await.unwrap().address(), at);
}

#[tokio::test]
async fn a_port_that_is_taken_says_what_to_do() {
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bind = other.local_addr().unwrap().to_string();
    let start = start(&[("WEBHOOK_BIND", &bind)]);
    let mounted = mount(&start, "/webhook/a", LIMITS, Arc::new(Heard::default())).await;
    let Err(StartError::Unreachable(why)) = mounted else { panic!("it listens") };
    assert!(why.contains(&bind) && why.contains("WEBHOOK_BIND"), "{why}");
}

#[test]
fn the_address_is_the_loopback_unless_it_is_told() {
    let read = |text: Option<&str>| address(text).map(|a| a.to_string()).map_err(|e| e.to_string());
    assert_eq!(read(None).unwrap(), "127.0.0.1:3000");
    assert_eq!(read(Some(" ")).unwrap(), "127.0.0.1:3000");
    assert_eq!(read(Some("8080")).unwrap(), "127.0.0.1:8080");
    assert_eq!(read(Some("0.0.0.0:80")).unwrap(), "0.0.0.0:80");
    assert_eq!(read(Some("[::1]:80")).unwrap(), "[::1]:80");
    assert!(read(Some("localhost")).unwrap_err().contains("WEBHOOK_BIND"));
}
