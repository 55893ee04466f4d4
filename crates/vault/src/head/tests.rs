//! What is refused before a library sees it, and that splitting a head anywhere changes nothing.

use super::*;
use tokio::io::AsyncWriteExt as _;

const GOOD: &str =
    "POST /v1/messages?beta=true HTTP/1.1\r\nHost: 127.0.0.1:3128\r\ncontent-length: 2\r\n\r\n";

fn status(head: &str) -> u16 {
    check(head.as_bytes()).err().map_or(200, |refusal| refusal.status().as_u16())
}

#[test]
fn heads_that_can_be_read_in_two_ways_are_refused() {
    let line = "POST /v1/messages HTTP/1.1\r\nhost: a\r\n";
    let cases = [
        (400, "content-length: 2\r\ncontent-length: 2\r\n"),
        (400, "content-length: 2\r\ncontent-length: 3\r\n"),
        (400, "content-length: 2\r\ntransfer-encoding: chunked\r\n"),
        (400, "transfer-encoding: chunked\r\ncontent-length: 2\r\n"),
        (400, "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
        (400, "transfer-encoding: gzip, chunked\r\n"),
        (400, "transfer-encoding: xchunked\r\n"),
        (400, "content-length: +2\r\n"),
        (400, "content-length: 2, 2\r\n"),
        (400, "content-length: 0x2\r\n"),
        (400, "content-length:\r\n"),
        (400, "content-length: 99999999999999999999\r\n"),
        (413, "content-length: 1073741825\r\n"),
        (200, "content-length: 1073741824\r\n"),
        (400, "host: b\r\n"),
        (400, "host: a\r\n"),
        (400, "x : y\r\n"),
        (400, " x: y\r\n"),
        (400, "x: y\r\n z\r\n"),
        (400, "x\r\n"),
        (400, ": y\r\n"),
        (400, "x: \x01\r\n"),
        (400, "x: \x0c1\r\n"),
        (400, "content-length: 2\x0c\r\n"),
        (200, "x: a\tb\r\n"),
        (200, "x:\r\n"),
        (200, "transfer-encoding: Chunked\r\n"),
    ];
    for (expected, headers) in cases {
        assert_eq!(status(&format!("{line}{headers}\r\n")), expected, "{headers:?}");
    }
}

#[test]
fn request_lines_are_taken_literally() {
    let cases = [
        (200, "GET / HTTP/1.1"),
        (400, "GET / HTTP/1.0"),
        (400, "GET / HTTP/2.0"),
        (400, "GET  / HTTP/1.1"),
        (400, "GET / HTTP/1.1 "),
        (400, "GET /"),
        (400, "G@T / HTTP/1.1"),
        (400, "GET /\u{e9} HTTP/1.1"),
        (400, "GET /\t HTTP/1.1"),
        (400, ""),
    ];
    for (expected, line) in cases {
        assert_eq!(status(&format!("{line}\r\nhost: a\r\n\r\n")), expected, "{line:?}");
    }
    assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), 400, "a request without a host");
    // A tunnel is named by its target; Python up to 3.11 says nothing else.
    for (expected, head) in [
        (200, "CONNECT a:1 HTTP/1.0\r\n\r\n"),
        (200, "CONNECT a:1 HTTP/1.0\r\nhost: a:1\r\n\r\n"),
        (400, "CONNECT a:1 HTTP/1.0\r\nhost: a:1\r\nhost: a:1\r\n\r\n"),
        (400, "CONNECT a:1 HTTP/1.0\r\ncontent-length: 1\r\n\r\n"),
        (400, "CONNECT a:1 HTTP/1.1\r\n\r\n"),
        (400, "CONNECT a:1 HTTP/0.9\r\n\r\n"),
    ] {
        assert_eq!(status(head), expected, "{head:?}");
    }
    let many = "a: b\r\n".repeat(FIELDS_MAX);
    assert_eq!(status(&format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n")), 431);
}

/// Reads from a peer that sends these parts one by one and then goes away.
async fn read_parts(parts: &[&[u8]]) -> Result<Option<Vec<u8>>, u16> {
    let (mut ours, mut theirs) = tokio::io::duplex(1 << 20);
    let sending = async move {
        for part in parts {
            theirs.write_all(part).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let (read, ()) = tokio::join!(read(&mut ours), sending);
    read.map_err(|refusal| refusal.status().as_u16())
}

#[tokio::test]
async fn a_head_may_arrive_in_any_two_parts() {
    let whole = format!("{GOOD}{{}}");
    for at in 0..whole.len() {
        let (a, b) = whole.as_bytes().split_at(at);
        let read = read_parts(&[a, b]).await.unwrap().unwrap();
        assert!(whole.as_bytes().starts_with(&read) && read.len() >= GOOD.len(), "split at {at}");
    }
}

#[tokio::test]
async fn bare_line_ends_are_refused_wherever_the_parts_end() {
    for bad in [
        "GET / HTTP/1.1\nhost: a\n\n",
        "GET / HTTP/1.1\r\nhost: a\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\0\r\n\r\n",
    ] {
        for at in 0..bad.len() {
            let (a, b) = bad.as_bytes().split_at(at);
            assert_eq!(read_parts(&[a, b]).await, Err(400), "{bad:?} split at {at}");
        }
    }
}

#[tokio::test]
async fn a_head_has_an_end() {
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(HEAD_MAX));
    assert_eq!(read_parts(&[long.as_bytes()]).await, Err(431));
    assert_eq!(read_parts(&[b"GET / HTTP/1.1\r\n"]).await, Err(400), "cut off");
    assert_eq!(read_parts(&[]).await, Ok(None), "nothing at all");
}

#[tokio::test(start_paused = true)]
async fn a_head_must_arrive_in_time() {
    let (mut ours, mut theirs) = tokio::io::duplex(64);
    theirs.write_all(b"GET / HT").await.unwrap();
    assert_eq!(read(&mut ours).await.unwrap_err().status(), StatusCode::REQUEST_TIMEOUT);
}
