//! However a stream is cut, the library gets the same bytes: whole heads, bodies of their length, or the stand-in.

use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What comes out for these bytes, written in pieces of this size, and why it ended.
async fn through(bytes: &[u8], piece: usize) -> (String, Option<Refusal>) {
    let (mut from, to) = tokio::io::duplex(1 << 20);
    let told = Arc::new(Judgement::default());
    let mut guard = Guard::new(to, Arc::clone(&told));
    let reading = tokio::spawn(async move {
        let (mut out, mut buf) = (Vec::new(), [0; 4096]);
        while let Ok(n) = guard.read(&mut buf).await {
            out.extend_from_slice(&buf[..n]);
            if n == 0 || out.ends_with(STAND_IN) {
                break;
            }
        }
        out
    });
    for part in bytes.chunks(piece) {
        // The reader is gone when it has the stand-in.
        drop(from.write_all(part).await);
        tokio::task::yield_now().await;
    }
    drop(from.shutdown().await);
    let out = reading.await.unwrap();
    let refusal = told.refusal.lock().unwrap().take();
    (String::from_utf8_lossy(&out).into_owned(), refusal)
}

const GET: &str = "GET /a HTTP/1.1\r\nhost: a\r\n\r\n";
const POST: &str = "POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello";
const CHUNKS: &str = "POST /c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
                      5\r\nhello\r\nA\r\n0123456789\r\n0\r\nx-t: 1\r\n\r\n";

#[tokio::test]
async fn good_requests_come_through_as_they_are() {
    let all = [GET, POST, CHUNKS, GET, CHUNKS, POST].concat();
    for piece in [1, 2, 3, 7, 64, 4096] {
        let (out, refusal) = through(all.as_bytes(), piece).await;
        assert_eq!(out, all, "pieces of {piece}");
        assert!(refusal.is_none());
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_head_becomes_the_stand_in() {
    let stand_in = std::str::from_utf8(STAND_IN).unwrap();
    for bad in [
        "GET /a HTTP/1.1\nhost: a\n\n",
        "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nhost: a\r\n\r\n",
        "TRACE / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nxx",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET / HTTP/1.0\r\nhost: a\r\n\r\n",
    ] {
        for piece in [1, 5, 4096] {
            let (out, refusal) = through([POST, bad, GET].concat().as_bytes(), piece).await;
            assert_eq!(out, [POST, stand_in].concat(), "{bad:?}");
            assert_eq!(refusal.map(|r| r.status.as_u16()), Some(400), "{bad:?}");
        }
    }
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(HEAD_MAX));
    let (out, refusal) = through(long.as_bytes(), 4096).await;
    assert_eq!((out.as_str(), refusal.map(|r| r.status.as_u16())), (stand_in, Some(431)));
}

#[tokio::test]
async fn chunks_that_lie_end_the_stream_inside_the_body() {
    let head = "POST /c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    for bad in [
        "5;x=y\r\nhello\r\n",
        "5 \r\nhello\r\n",
        "+5\r\n",
        "\r\n",
        "fffffffff\r\n",
        "2\r\nhello\r\n",
    ] {
        let (out, refusal) = through([head, bad, "0\r\n\r\n", GET].concat().as_bytes(), 4096).await;
        assert!(
            out.starts_with(head) && !out.contains("GET") && !out.contains("\r\n0\r\n"),
            "{bad:?}: {out:?}"
        );
        assert!(refusal.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends_is_told_so_and_a_silent_connection_ends() {
    let (mut from, to) = tokio::io::duplex(1 << 10);
    let told = Arc::new(Judgement::default());
    let mut guard = Guard::new(to, Arc::clone(&told));
    from.write_all(b"GET / HT").await.unwrap();
    let mut out = vec![0; STAND_IN.len()];
    guard.read_exact(&mut out).await.unwrap();
    assert_eq!(out, STAND_IN);
    assert_eq!(told.refusal().status.as_u16(), 408);
    let (_from, to) = tokio::io::duplex(1 << 10);
    assert_eq!(Guard::new(to, Arc::default()).read(&mut out).await.unwrap(), 0);
}
