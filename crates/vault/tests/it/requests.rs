//! One request at a time, and many: injection, refusals, streaming, limits.

use crate::kit::*;
use bytes::Bytes;
use tokio::sync::{mpsc, watch};

#[tokio::test]
async fn the_key_is_put_in_and_the_placeholder_never_leaves() {
    let upstream = Upstream::start().await;
    let (install, grant) = Install::with(&upstream, KEY).await;
    assert_eq!(grant.env["ANTHROPIC_BASE_URL"], "http://127.0.0.1:3128");
    assert_eq!(grant.env["ANTHROPIC_API_KEY"], "sk-ant-api03-nanoclaw-dummy");
    let headers = "authorization: Bearer sk-ant-oat01-nanoclaw-dummy\r\nconnection: keep-alive, x-named\r\n\
                   x-named: 1\r\nproxy-authorization: Basic eDp5\r\naccept: text/event-stream\r\n";
    let (status, answer) = raw(&grant.dir, &message(headers, "{\"a\":1}")).await;
    assert_eq!(status, 200);
    assert!(answer.contains("request-id: req_1") && answer.ends_with("{\"a\":1}"), "{answer}");
    assert!(!answer.contains("set-cookie") && !answer.contains("x-named"), "{answer}");
    let seen = upstream.last();
    assert_eq!(seen.line, "POST /v1/messages?beta=true");
    assert_eq!(seen.body, "{\"a\":1}");
    assert_eq!(seen.header("x-api-key"), Some(KEY));
    assert_eq!(seen.header("accept"), Some("text/event-stream"));
    assert_eq!(seen.header("host"), upstream.url.strip_prefix("http://"));
    for gone in ["authorization", "x-named", "proxy-authorization", "connection"] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
    assert!(!format!("{seen:?}").contains("nanoclaw-dummy"), "{seen:?}");
    install.stop().await;
}

#[tokio::test]
async fn a_token_is_put_in_with_its_beta() {
    let upstream = Upstream::start().await;
    let (install, grant) = Install::with(&upstream, TOKEN).await;
    assert_eq!(grant.env["CLAUDE_CODE_OAUTH_TOKEN"], "sk-ant-oat01-nanoclaw-dummy");
    let (status, _) = raw(&grant.dir, &message("anthropic-beta: one,two\r\n", "{}")).await;
    assert_eq!(status, 200);
    let seen = upstream.last();
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    assert_eq!(seen.header("anthropic-beta"), Some("one,two,oauth-2025-04-20"));
    assert_eq!(seen.header("x-api-key"), None);
    install.stop().await;
}

#[tokio::test]
async fn all_that_a_harness_needs_is_open_and_nothing_else() {
    let upstream = Upstream::start().await;
    let (install, grant) = Install::with(&upstream, KEY).await;
    let local = "127.0.0.1:3128";
    let cases = [
        (200, "POST /v1/messages", local),
        (200, "POST /v1/messages/count_tokens?beta=true", "LOCALHOST:3128"),
        (200, "GET /v1/models", "api.anthropic.com"),
        (200, "GET /v1/models/claude-x-1", local),
        (200, "POST http://api.anthropic.com/v1/messages", "api.anthropic.com"),
        (407, "POST http://example.com/v1/messages", "example.com"),
        (407, "POST http://api.anthropic.com.evil.com/v1/messages", "api.anthropic.com.evil.com"),
        (400, "POST http://api.anthropic.com@evil.com/v1/messages", "api.anthropic.com@evil.com"),
        (400, "POST https://api.anthropic.com/v1/messages", "api.anthropic.com"),
        (421, "POST http://api.anthropic.com/v1/messages", "example.com"),
        (404, "POST /v1/messages", "169.254.169.254"),
        (404, "POST /v1/messages", "127.0.0.1:22"),
        (407, "CONNECT api.anthropic.com:443", "api.anthropic.com:443"),
        (407, "CONNECT 127.0.0.1:3128", local),
        (403, "GET /v1/files", local),
        (403, "POST /v1/messages/batches", local),
        (403, "DELETE /v1/messages", local),
        (403, "GET /v1/models/../files", local),
        (403, "GET /v1/models/a%2f..", local),
        (403, "POST /v1//messages", local),
        (403, "POST /v1/messages/", local),
        (403, "GET /api/oauth/profile", local),
        (403, "OPTIONS *", local),
        (403, "TRACE /v1/messages", local),
    ];
    let mut passed = 0;
    for (expected, line, host) in cases {
        let request = format!("{line} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n");
        let (status, answer) = raw(&grant.dir, request.as_bytes()).await;
        assert_eq!(status, expected, "{line} at {host}: {answer}");
        passed += usize::from(expected == 200);
        if expected != 200 {
            assert!(answer.contains("x-should-retry: false"), "{answer}");
            assert!(answer.contains(r#""message":""#), "{answer}");
        }
    }
    assert_eq!(upstream.seen().len(), passed);
    install.stop().await;
}

#[tokio::test]
async fn smuggling_and_excess_are_refused_before_anything_goes_out() {
    let upstream = Upstream::start().await;
    let (install, grant) = Install::with(&upstream, KEY).await;
    let start = "POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1:3128\r\n";
    let cases = [
        (400, format!("{start}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}")),
        (400, format!("{start}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")),
        (400, format!("{start}transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n")),
        (400, format!("{start}transfer-encoding : chunked\r\n\r\n0\r\n\r\n")),
        (400, format!("{start}host: example.com\r\n\r\n")),
        (400, "POST /v1/messages HTTP/1.1\nhost: 127.0.0.1:3128\n\n".to_owned()),
        (400, "POST /v1/messages HTTP/1.0\r\nhost: 127.0.0.1:3128\r\n\r\n".to_owned()),
        (431, format!("{start}x: {}\r\n\r\n", "a".repeat(16 << 10))),
        (431, format!("{start}{}\r\n", "a: b\r\n".repeat(100))),
        (413, format!("{start}content-length: 67108865\r\n\r\n")),
        (403, String::from_utf8(message("x-mine: nanoclaw-dummy\r\n", "{}")).unwrap()),
    ];
    for (expected, request) in cases {
        let (status, answer) = raw(&grant.dir, request.as_bytes()).await;
        assert_eq!(status, expected, "{request:?}: {answer}");
    }
    assert_eq!(upstream.seen().len(), 0);
    // A second request on the same connection is never looked at, so it cannot slip past the checks.
    let mut two = message("", "{}");
    two.extend(b"GET /v1/files HTTP/1.1\r\nhost: 127.0.0.1:3128\r\n\r\n");
    let (status, answer) = raw(&grant.dir, &two).await;
    assert_eq!((status, answer.matches("HTTP/1.1 ").count()), (200, 1), "{answer}");
    assert_eq!(upstream.seen().len(), 1);
    install.stop().await;
}

#[tokio::test]
async fn a_body_without_a_length_is_cut_at_the_limit() {
    use tokio::io::AsyncWriteExt as _;
    let upstream = Upstream::start().await;
    let (install, grant) = Install::with(&upstream, KEY).await;
    let head =
        "POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1:3128\r\ntransfer-encoding: chunked\r\n\r\n";
    let (mut read, mut write) = send(&grant.dir, head.as_bytes()).await.into_split();
    let sending = tokio::spawn(async move {
        let chunk = [b"100000\r\n".as_slice(), &vec![b'x'; 1 << 20], b"\r\n"].concat();
        for _ in 0..66 {
            if write.write_all(&chunk).await.is_err() {
                break;
            }
        }
        write
    });
    let mut got = [0; 12];
    soon(tokio::io::AsyncReadExt::read_exact(&mut read, &mut got)).await.unwrap();
    assert_eq!(&got, b"HTTP/1.1 413");
    sending.abort();
    install.stop().await;
}

#[tokio::test]
async fn an_answer_flows_chunk_by_chunk() {
    let upstream = Upstream::start().await;
    let (install, grant) = Install::with(&upstream, KEY).await;
    let (tx, rx) = mpsc::channel(1);
    upstream.plays(Play::Stream(rx));
    let mut stream = send(&grant.dir, &message("", "{}")).await;
    for n in 0..5 {
        let text = format!("data: {n}\n\n");
        tx.send(Bytes::from(text.clone())).await.unwrap();
        // The next piece does not exist until this one has arrived.
        read_until(&mut stream, &text).await;
    }
    drop(tx);
    assert!(rest(stream).await.ends_with("0\r\n\r\n"));
    install.stop().await;
}

#[tokio::test]
async fn a_box_that_hangs_up_cancels_the_upstream() {
    let upstream = Upstream::start().await;
    let (install, grant) = Install::with(&upstream, KEY).await;
    let (waiting, rx) = mpsc::channel(1);
    upstream.plays(Play::Hang(rx));
    let stream = send(&grant.dir, &message("", "{}")).await;
    upstream.running(1).await;
    drop(stream);
    soon(waiting.closed()).await;
    let (streaming, rx) = mpsc::channel(1);
    upstream.plays(Play::Stream(rx));
    let mut stream = send(&grant.dir, &message("", "{}")).await;
    streaming.send(Bytes::from_static(b"data: 0\n\n")).await.unwrap();
    read_until(&mut stream, "data: 0").await;
    drop(stream);
    soon(streaming.closed()).await;
    assert_eq!(post(&grant, "{}").await.0, 200, "and the session goes on");
    install.stop().await;
}

#[tokio::test]
async fn an_upstream_that_breaks_is_not_mistaken_for_one_that_ended() {
    let upstream = Upstream::start().await;
    let (install, grant) = Install::with(&upstream, KEY).await;
    let (tx, rx) = mpsc::channel(1);
    upstream.plays(Play::Break(rx));
    let mut stream = send(&grant.dir, &message("", "{}")).await;
    tx.send(Bytes::from_static(b"data: 0\n\n")).await.unwrap();
    read_until(&mut stream, "data: 0").await;
    drop(tx);
    let answer = rest(stream).await;
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
    install.set(KEY, "http://127.0.0.1:1");
    let (status, answer) = post(&grant, "{}").await;
    assert_eq!(status, 502);
    assert!(answer.contains("could not be reached") && answer.contains("x-should-retry: true"));
    install.stop().await;
}

#[tokio::test]
async fn a_hundred_requests_at_once_are_served_sixty_four_at_a_time() {
    let upstream = Upstream::start().await;
    let (install, grant) = Install::with(&upstream, KEY).await;
    let other = install.open("s2").await;
    let (go, held) = watch::channel(false);
    (0..100).for_each(|_| upstream.plays(Play::Hold(held.clone())));
    let asked: Vec<_> = (0..100)
        .map(|n| {
            let grant = grant.clone();
            tokio::spawn(async move { post(&grant, &format!("{{\"n\":{n}}}")).await })
        })
        .collect();
    upstream.running(64).await;
    upstream.plays(Play::Hold(held));
    let other = tokio::spawn(async move { post(&other, "{\"other\":1}").await });
    upstream.running(65).await;
    go.send_replace(true);
    for (n, one) in asked.into_iter().enumerate() {
        let (status, answer) = one.await.unwrap();
        assert_eq!(status, 200, "{answer}");
        assert!(answer.ends_with(&format!("{{\"n\":{n}}}")), "answers are not mixed up: {answer}");
    }
    assert_eq!(other.await.unwrap().0, 200);
    assert_eq!(upstream.peak(), 65, "64 of one session, and another session does not wait");
    let status = install.supervisor.status().await.unwrap();
    assert_eq!((status.requests, status.sessions), (101, 2));
    install.stop().await;
}

#[tokio::test]
async fn a_flood_is_slowed_down_and_nothing_is_lost() {
    let upstream = Upstream::start().await;
    let (install, grant) = Install::with(&upstream, KEY).await;
    let since = tokio::time::Instant::now();
    for n in 0..401 {
        assert_eq!(post(&grant, "{}").await.0, 200, "request {n}");
    }
    assert!(since.elapsed() >= std::time::Duration::from_secs(2), "{:?}", since.elapsed());
    install.stop().await;
}
