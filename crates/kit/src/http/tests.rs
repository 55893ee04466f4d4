//! Answers of a scripted server, sorted; nothing tells a URL.

use super::{body, client, fetch, sort, unreachable, wait};
use nanoclaw_channel::SendError;
use nanoclaw_channel::time::Timestamp;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A server that gives one answer to whoever comes; returns its address.
async fn server(answer: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/bot-SECRET/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            if stream.read(&mut head).await.is_ok() {
                stream.write_all(answer.as_bytes()).await.ok();
            }
        }
    });
    url
}

async fn fetched(answer: &'static str, max: u64) -> Result<Vec<u8>, String> {
    let url = server(answer).await;
    fetch(client().unwrap().get(url), max).await
}

#[tokio::test]
async fn a_file_comes_whole_or_with_the_reason() {
    let whole = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(fetched(whole, 5).await.unwrap(), b"hello");
    assert_eq!(fetched(whole, 4).await.unwrap_err(), "it is larger than 4 bytes");
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nhello\r\n0\r\n\r\n";
    assert_eq!(fetched(chunked, 9).await.unwrap_err(), "it is larger than 9 bytes");
    let gone = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(fetched(gone, 9).await.unwrap_err(), "the platform answered 404");
    let moved = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(fetched(moved, 9).await.unwrap_err(), "the platform answered 302");
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello";
    let why = fetched(cut, 500).await.unwrap_err();
    assert!(why.starts_with("the connection to the platform was lost"), "{why}");
    assert!(!why.contains("SECRET"), "{why}");
}

#[tokio::test]
async fn who_is_not_reached_is_tried_again_and_the_url_is_not_told() {
    let error = client().unwrap().get("http://127.0.0.1:1/bot-SECRET/").send().await.unwrap_err();
    let SendError::Retry { after: None, why } = unreachable(error) else { panic!("not a retry") };
    assert!(why.starts_with("the platform was not reached: "), "{why}");
    assert!(!why.contains("SECRET") && !why.contains("http"), "{why}");
}

#[tokio::test]
async fn an_answer_over_the_limit_is_refused() {
    let url = server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
    let get = async || client().unwrap().get(&url).send().await.unwrap();
    assert_eq!(body(get().await, 5).await.unwrap(), "hello");
    assert!(matches!(body(get().await, 4).await, Err(SendError::Reject { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_large_file_may_take_its_time_to_go_out() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 4096];
        assert_ne!(stream.read(&mut head).await.unwrap(), 0);
        // As long as it takes to read fifty megabytes over a slow line.
        tokio::time::sleep(Duration::from_secs(400)).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
    });
    let send = client().unwrap().post(url).body("x").timeout(super::upload_time(50 << 20)).send();
    assert_eq!(body(send.await.unwrap(), 9).await.unwrap(), "ok");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stops_in_the_middle_ends() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 4096];
        assert_ne!(stream.read(&mut head).await.unwrap(), 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel").await.unwrap();
        ended.await.ok();
    });
    let response = client().unwrap().get(url).send().await.unwrap();
    assert!(matches!(body(response, 9).await, Err(SendError::Retry { after: None, .. })));
    drop(end);
}

#[test]
fn waits_are_read_in_both_forms_and_have_a_limit() {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let check = |text: &str, seconds: Option<f64>| {
        assert_eq!(wait(text, now), seconds.map(Duration::from_secs_f64), "{text}");
    };
    check("3", Some(3.0));
    check("0.25", Some(0.25));
    check("-1", Some(3600.0));
    check("1e300", Some(3600.0));
    check("NaN", Some(3600.0));
    check("Thu, 01 Jan 2026 00:00:30 GMT", Some(30.0));
    check("Wed, 31 Dec 2025 00:00:30 GMT", Some(0.0));
    check("Fri, 01 Jan 2027 00:00:30 GMT", Some(3600.0));
    check("soon", None);
}

#[test]
fn statuses_are_sorted_by_what_comes_next() {
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", "7".parse().unwrap());
    let sorted = |status: u16| sort(StatusCode::from_u16(status).unwrap(), &headers, "why");
    for status in [408, 425, 429, 500, 503, 599] {
        let after = Some(Duration::from_secs(7));
        assert_eq!(sorted(status), SendError::Retry { after, why: "why".into() }, "{status}");
    }
    for status in [401, 403] {
        assert_eq!(sorted(status), SendError::Broken { why: "why".into() }, "{status}");
    }
    for status in [302, 400, 404, 413] {
        assert_eq!(sorted(status), SendError::Reject { why: "why".into() }, "{status}");
    }
}
