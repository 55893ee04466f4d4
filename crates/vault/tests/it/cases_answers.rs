//! P32–P43: what comes back, for how long, and over which connection.

use crate::cases_world::*;
use crate::kit::{agent, soon};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io::Write as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn p32_nobody_follows_a_redirect_and_it_shows_no_secret() {
    let world = World::open().await;
    for (status, headers) in [
        ("302 Found", format!("location: https://{}/?k={CANARY}\r\n", world.place(EVIL))),
        ("307 Temporary Redirect", format!("location: https://{}/\r\n", world.place(EVIL))),
        ("200 OK", format!("refresh: 0; url=https://evil.test/?k={CANARY}\r\n")),
    ] {
        world.server.says(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n{headers}\r\n"));
        let answer = world.get(GOOD, "/", &world.bearer()).await;
        let plain = !headers.contains(CANARY) || status.starts_with("200");
        if plain {
            assert_eq!(answer.status.to_string(), status[..3], "{}", answer.text);
        } else {
            assert!(matches!(answer.status, 302 | 502), "{}", answer.text);
        }
    }
    assert!(world.server.seen().iter().all(|got| got.sni == GOOD));
    world.end().await;
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(bytes).unwrap();
    zlib.finish().unwrap()
}

/// One block that is stored as it is.
fn brotli(bytes: &[u8]) -> Vec<u8> {
    let head = (bytes.len() as u32 - 1) << 4 | 1 << 20;
    [&head.to_le_bytes()[..3], bytes, &[3]].concat()
}

#[tokio::test]
async fn p33_an_echo_shows_the_placeholder_instead() {
    let world = World::open().await;
    let answer = world.get(GOOD, "/echo", &world.bearer()).await;
    assert!(answer.text.contains(&world.dummy) && !answer.text.contains(CANARY), "{}", answer.text);
    let url: String = CANARY.bytes().map(|b| format!("%{b:02X}")).collect();
    let hex: String = CANARY.bytes().map(|b| format!("{b:02x}")).collect();
    let mut bodies: Vec<(&str, Vec<u8>)> = vec![
        ("", CANARY.into()),
        ("", url.into_bytes()),
        ("", hex.clone().into_bytes()),
        ("", hex.to_ascii_uppercase().into_bytes()),
        (
            "content-type: application/json\r\n",
            format!("{{\"k\":\"\\\"{CANARY}\\\"\"}}").into_bytes(),
        ),
        ("content-type: text/event-stream\r\n", format!("data: {CANARY}\n\n").into_bytes()),
        ("content-encoding: gzip\r\n", gzip(CANARY.as_bytes())),
        ("content-encoding: br\r\n", brotli(CANARY.as_bytes())),
        ("content-encoding: deflate\r\n", deflate(CANARY.as_bytes())),
    ];
    bodies.extend(
        (0..3).map(|n| ("", STANDARD.encode(format!("{}{CANARY}", "x".repeat(n))).into_bytes())),
    );
    for (headers, body) in bodies {
        world.server.answers(headers, &body);
        let answer = world.get(GOOD, "/", &world.bearer()).await;
        assert_eq!(answer.status, 200, "{headers} {}", answer.text);
    }
    // In a header, in a reason, in a piece of a header's name, before the answer, after it.
    for text in [
        format!("HTTP/1.1 200 OK\r\nx-echo: a {CANARY}\r\ncontent-length: 0\r\n\r\n"),
        format!("HTTP/1.1 403 {CANARY}\r\ncontent-length: 0\r\n\r\n"),
        format!("HTTP/1.1 500 Oops\r\ncontent-length: {}\r\n\r\n<b>{CANARY}</b>", CANARY.len() + 7),
        format!(
            "HTTP/1.1 103 Early Hints\r\nlink: {CANARY}\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        ),
        format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x\r\n\r\n1\r\na\r\n0\r\nx: {CANARY}\r\n\r\n"
        ),
        format!("HTTP/1.1 200 OK\r\n{CANARY}: x\r\ncontent-length: 0\r\n\r\n"),
        format!(
            "HTTP/1.1 200 OK\r\nset-cookie: k={CANARY}\r\nwww-authenticate: {CANARY}\r\ncontent-length: 0\r\n\r\n"
        ),
    ] {
        world.server.says(text.clone());
        let answer = world.get(GOOD, "/", &world.bearer()).await;
        assert!(answer.status >= 200, "{text}{}", answer.text);
        assert!(!answer.text.to_ascii_uppercase().contains(CANARY.to_ascii_uppercase().as_str()));
    }
    // In pieces.
    let feed = world.server.feeds();
    let said = async {
        let (one, two) = CANARY.split_at(7);
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        for piece in [
            head.to_owned(),
            format!("7\r\n{one}\r\n"),
            format!("{:x}\r\n{two}\r\n", two.len()),
            "0\r\n\r\n".into(),
        ] {
            feed.send(piece.into_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        drop(feed);
    };
    let (_, answer) = {
        let bearer = world.bearer();
        let asked = world.get(GOOD, "/", &bearer);
        tokio::join!(said, asked)
    };
    assert_eq!(answer.status, 200);
    let head = world.head(GOOD, "TRACE /", &world.bearer());
    let answer = world.raw(GOOD, &head).await;
    assert!((400..500).contains(&answer.status), "{}", answer.text);
    world.end().await;
}

#[tokio::test]
async fn p34_what_cannot_be_searched_is_cut() {
    let world = World::open().await;
    // A bomb of 1,000 to 1, and a coding that nobody knows.
    let bomb = gzip(&vec![0; 64 << 20]);
    world.server.answers("content-encoding: gzip\r\n", &bomb);
    let mut tls = world.inside(GOOD).await;
    tls.write_all(&world.head(GOOD, "GET /", &world.bearer())).await.unwrap();
    let (mut total, mut buf) = (0, vec![0; 64 << 10]);
    loop {
        match soon(tls.read(&mut buf)).await {
            Ok(n) if n > 0 => total += n,
            _ => break,
        }
        assert!(total < 32 << 20, "the bomb went through");
    }
    world.server.answers("content-encoding: snappy\r\n", CANARY.as_bytes());
    let answer = world.get(GOOD, "/", &world.bearer()).await;
    assert!(answer.status == 502 || !answer.text.contains(CANARY), "{}", answer.text);
    // The upstream breaks in the middle of the secret.
    let feed = world.server.feeds();
    let half =
        format!("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{}", &CANARY[..CANARY.len() - 1]);
    feed.send(half.into_bytes()).await.unwrap();
    drop(feed);
    // The server ends the connection when it has said what it was to say.
    world.server.hangs_up();
    let answer = world.get(GOOD, "/", &world.bearer()).await;
    assert!(find(answer.text.as_bytes(), &CANARY.as_bytes()[..20]).is_none(), "{}", answer.text);
    world.end().await;
}

#[tokio::test]
async fn p37_a_websocket_is_a_request_like_any_other() {
    let blocked = "mode = \"open\"\n[[rule]]\nname = \"no sockets\"\n\
                   match = { host = \"good.test\", path = \"/socket\" }\naction = \"block\"";
    let world = World::with(blocked).await;
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   sec-websocket-extensions: permessage-deflate\r\n";
    world.get(GOOD, "/socket", upgrade).await.is(403, "blocked_by_policy");
    let leak = format!("{upgrade}{}", world.bearer());
    world.get(EVIL, "/", &leak).await.is(403, "placeholder_leak");
    let feed = world.server.feeds();
    let accept = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                  sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let mut frame = accept.as_bytes().to_vec();
    frame.extend([0x81, CANARY.len() as u8]);
    frame.extend(CANARY.as_bytes());
    feed.send(frame).await.unwrap();
    let mut tls = world.inside(GOOD).await;
    tls.write_all(&world.head(GOOD, "GET /ok", &format!("{upgrade}{}", world.bearer())))
        .await
        .unwrap();
    let mut got = Vec::new();
    while find(&got, &[0x81, CANARY.len() as u8]).is_none_or(|at| got.len() < at + 2 + CANARY.len())
    {
        let n = soon(tls.read_buf(&mut got)).await.unwrap();
        assert!(n > 0, "{}", String::from_utf8_lossy(&got));
    }
    assert_eq!(find(&got, CANARY.as_bytes()), None, "a frame showed the canary");
    assert!(find(&got, world.dummy.as_bytes()).is_some());
    let asked = world.server.seen().pop().unwrap();
    assert_eq!(asked.header("sec-websocket-extensions"), None);
    drop(feed);
    world.end().await;
}

#[tokio::test]
async fn p38_each_event_comes_before_the_next_is_sent() {
    let world = World::open().await;
    let feed = world.server.feeds();
    let mut tls = world.inside(GOOD).await;
    tls.write_all(&world.head(GOOD, "GET /", &world.bearer())).await.unwrap();
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    feed.send(head.into()).await.unwrap();
    for n in 0..200 {
        let event = format!("data: event {n}.\n\n");
        feed.send(format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()).await.unwrap();
        let mut got = Vec::new();
        while find(&got, format!("event {n}.").as_bytes()).is_none() {
            assert!(soon(tls.read_buf(&mut got)).await.unwrap() > 0);
        }
    }
    world.end().await;
}

#[tokio::test]
async fn p33_an_event_in_pieces_shows_nothing() {
    let world = World::open().await;
    let feed = world.server.feeds();
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut tls = world.inside(GOOD).await;
    tls.write_all(&world.head(GOOD, "GET /", &world.bearer())).await.unwrap();
    feed.send(head.into()).await.unwrap();
    let secret = format!("data: {CANARY} and {} end\n\n", STANDARD.encode(format!("x{CANARY}")));
    let saying = async {
        for byte in secret.bytes() {
            feed.send(format!("1\r\n{}\r\n", char::from(byte)).into_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let mut got = Vec::new();
    let hearing = async {
        while find(&got, b"d\r\n").is_none() || !got.ends_with(b"\n\r\n") {
            assert!(soon(tls.read_buf(&mut got)).await.unwrap() > 0);
        }
    };
    tokio::join!(saying, hearing);
    world.told(&got);
    let plain: Vec<u8> = got.split(|b| *b == b'\n').flat_map(<[u8]>::to_vec).collect();
    assert!(find(&plain, CANARY.as_bytes()).is_none());
    drop(feed);
    world.end().await;
}

/// A body without the lengths of its pieces.
fn unchunked(answer: &[u8]) -> Vec<u8> {
    let (mut at, mut body) = (find(answer, b"\r\n\r\n").unwrap() + 4, Vec::new());
    loop {
        let line = find(&answer[at..], b"\r\n").unwrap();
        let length = std::str::from_utf8(&answer[at..at + line]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            return body;
        }
        body.extend(&answer[at + line + 2..][..length]);
        at += line + 2 + length + 2;
    }
}

#[tokio::test]
async fn p38_twenty_thousand_events_come_in_their_order() {
    let world = World::open().await;
    let feed = world.server.feeds();
    let mut tls = world.inside(GOOD).await;
    tls.write_all(&world.head(GOOD, "GET /", &world.bearer())).await.unwrap();
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    feed.send(head.into()).await.unwrap();
    let saying = async {
        for n in 0..20_000 {
            let event = format!("data: {n}\n\n");
            feed.send(format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()).await.unwrap();
        }
        feed.send(b"0\r\n\r\n".to_vec()).await.unwrap();
    };
    let mut got = Vec::new();
    let hearing = async {
        while !got.ends_with(b"0\r\n\r\n") {
            assert!(soon(tls.read_buf(&mut got)).await.unwrap() > 0);
        }
    };
    tokio::join!(saying, hearing);
    let text = String::from_utf8(unchunked(&got)).unwrap();
    let events: Vec<u32> =
        text.lines().filter_map(|line| line.strip_prefix("data: ")?.parse().ok()).collect();
    assert!(events.iter().copied().eq(0..20_000), "{} events", events.len());
    drop(feed);
    world.end().await;
}

/// Frames as they come, until the other end is told to close; the code that it is told.
async fn closed(io: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<u16> {
    let mut got = Vec::new();
    drop(soon(io.read_to_end(&mut got)).await);
    let at = find(&got, &[0x88, 2])?;
    Some(u16::from_be_bytes([*got.get(at + 2)?, *got.get(at + 3)?]))
}

#[tokio::test]
async fn p37_what_breaks_a_rule_closes_both_ends() {
    let world = World::open().await;
    let (one, two) = world.dummy.as_bytes().split_at(11);
    for (what, code, bytes) in [
        ("the placeholder", 1008, ws_frame(true, 0x81, world.dummy.as_bytes())),
        ("it in binary", 1008, ws_frame(true, 0x82, world.dummy.as_bytes())),
        ("it in a ping", 1008, ws_frame(true, 0x89, world.dummy.as_bytes())),
        ("it in fragments", 1008, [ws_frame(true, 1, one), ws_frame(true, 0x80, two)].concat()),
        ("a text of 5 MiB", 1009, ws_frame(true, 0x81, &vec![b'a'; 5 << 20])),
        ("no mask", 1002, ws_frame(false, 0x81, b"hello")),
        ("a compressed frame", 1002, ws_frame(true, 0xc1, b"hello")),
        ("a ping of 126 bytes", 1002, ws_frame(true, 0x89, &[b'a'; 126])),
    ] {
        let mut tls = world.inside(GOOD).await;
        let feed = world.socket(&mut tls, "").await;
        drop(soon(async { tls.write_all(&bytes).await.and(tls.flush().await) }).await);
        assert_eq!(closed(&mut tls).await, Some(code), "{what}");
        drop(feed);
    }
    world.notes("placeholder_leak").await;
    world.notes("websocket").await;
    assert!(
        world.server.seen().iter().all(|got| find(&got.bytes, world.dummy.as_bytes()).is_none())
    );
    world.end().await;
}

#[tokio::test]
async fn p37_a_secret_in_frames_is_replaced_and_an_open_socket_counts() {
    let world = World::open().await;
    let mut tls = world.inside(GOOD).await;
    let bearer = world.bearer();
    let feed = world.socket(&mut tls, &bearer).await;
    let (one, two) = CANARY.as_bytes().split_at(13);
    let base64 = STANDARD.encode(format!("xx{CANARY}"));
    for frame in [
        ws_frame(false, 1, one),
        ws_frame(false, 0x80, two),
        ws_frame(false, 0x82, base64.as_bytes()),
        ws_frame(false, 0x88, &[&1000_u16.to_be_bytes()[..], CANARY.as_bytes()].concat()),
    ] {
        feed.send(frame).await.unwrap();
    }
    let mut got = Vec::new();
    while find(&got, &1000_u16.to_be_bytes()).is_none() {
        assert!(soon(tls.read_buf(&mut got)).await.unwrap() > 0);
    }
    world.told(&got);
    drop((tls, feed));
    // Those that stay open take the session's places, and no other session's.
    let (mut open, mut feeds) = (Vec::new(), Vec::new());
    for _ in 0..64 {
        let mut tls = world.inside(GOOD).await;
        feeds.push(world.socket(&mut tls, "").await);
        open.push(tls);
    }
    let mut more = world.inside(GOOD).await;
    more.write_all(&world.head(GOOD, "GET /waits", "")).await.unwrap();
    world.serves_others().await;
    assert!(world.server.seen().iter().all(|got| got.target() != "/waits"));
    drop((open, feeds));
    assert_eq!(world.hear(&mut more).await.status, 200);
    world.end().await;
}

#[tokio::test]
async fn p37_a_socket_waits_for_whoever_must_agree() {
    let rule = "mode = \"open\"\n[[rule]]\nname = \"seen\"\naction = \"ask\"\n\
                match = { host = \"good.test\", path = \"/ws\" }";
    let world = World::with(rule).await;
    let mut tls = world.inside(GOOD).await;
    tls.write_all(&world.head(GOOD, "GET /ws", UPGRADE)).await.unwrap();
    let asked = async {
        loop {
            let pending: serde_json::Value =
                serde_json::from_str(&world.control("{\"op\":\"pending\"}\n").await).unwrap();
            if let Some(id) = pending["pending"][0]["id"].as_str() {
                return id.to_owned();
            }
        }
    };
    let id = soon(asked).await;
    assert_eq!(world.server.connections(), 0);
    let feed = world.server.feeds();
    feed.send([SWITCHED.as_bytes(), b"\x81\x02hi"].concat()).await.unwrap();
    let yes =
        format!("{{\"op\":\"decide\",\"id\":\"{id}\",\"answer\":\"approve\",\"by\":\"me\"}}\n");
    world.control(&yes).await;
    let mut got = Vec::new();
    while find(&got, b"\x81\x02hi").is_none() {
        let n = soon(tls.read_buf(&mut got)).await.unwrap();
        assert!(n > 0, "{}", String::from_utf8_lossy(&got));
    }
    drop(feed);
    world.end().await;
}

#[tokio::test]
async fn a11_a_new_value_between_card_and_click_is_a_new_card() {
    let rule = "mode = \"open\"\n[[rule]]\nname = \"seen\"\naction = \"ask\"\n\
                match = { host = \"good.test\", method = [\"POST\"] }";
    let world = World::with(rule).await;
    let body = b"to=everybody";
    let headers = format!("content-length: {}\r\n{}", body.len(), world.bearer());
    let request = [world.head(GOOD, "POST /send", &headers), body.to_vec()].concat();
    let card = |not: Option<String>| {
        let world = &world;
        async move {
            loop {
                let text = world.control("{\"op\":\"pending\"}\n").await;
                let pending: serde_json::Value = serde_json::from_str(&text).unwrap();
                let ids = pending["pending"].as_array().cloned().unwrap_or_default();
                let mut ids = ids.iter().filter_map(|one| one["id"].as_str().map(str::to_owned));
                if let Some(id) = ids.find(|id| Some(id) != not.as_ref()) {
                    return id;
                }
            }
        }
    };
    let mut first = world.inside(GOOD).await;
    first.write_all(&request).await.unwrap();
    let one = soon(card(None)).await;
    // Whoever sees the first card hangs up, and the secret becomes another one.
    drop(first);
    let value = nanoclaw_secrets::Value::new("ANOTHER-0123456789abcdef0123456789abcd".to_owned());
    world.store.rotate("canary", nanoclaw_secrets::Rotation { value, expires: None }).unwrap();
    let yes = |id: &str| {
        format!("{{\"op\":\"decide\",\"id\":\"{id}\",\"answer\":\"approve\",\"by\":\"me\"}}\n")
    };
    world.control(&yes(&one)).await;
    let mut second = world.inside(GOOD).await;
    second.write_all(&request).await.unwrap();
    let two = soon(card(Some(one.clone()))).await;
    assert_ne!(one, two);
    assert_eq!(world.server.seen().len(), 0, "the yes was for what the first card said");
    world.control(&yes(&two)).await;
    let answer = world.hear(&mut second).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let got = world.server.seen();
    assert_eq!(got.len(), 1);
    assert!(got[0].text().contains("ANOTHER-") && got[0].text().ends_with("to=everybody"));
    world.end().await;
}

#[tokio::test]
async fn p39_bodies_have_an_end() {
    let world = World::open().await;
    let head = world.head(GOOD, "POST /", &format!("content-length: {}\r\n", (1_u64 << 30) + 1));
    assert_eq!(world.raw(GOOD, &head).await.status, 413);
    for length in ["99999999999999999999999", "-1", "0x10", "1 1"] {
        let head = world.head(GOOD, "POST /", &format!("content-length: {length}\r\n"));
        let answer = world.raw(GOOD, &head).await;
        assert!(matches!(answer.status, 400 | 413), "{length}: {}", answer.text);
    }
    assert_eq!(world.server.seen().len(), 0);
    let body = vec![b'x'; 4 << 20];
    let answer = world.post(GOOD, "/", "", &body).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text.len() > body.len());
    world.end().await;
}

#[tokio::test]
async fn p41_a_connection_with_something_left_over_is_not_used_again() {
    let world = World::open().await;
    world.server.says("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil");
    assert!(world.get(GOOD, "/1", "").await.text.ends_with("ok"));
    let answer = world.get(GOOD, "/2", "").await;
    assert!(answer.text.contains("GET /2"), "{}", answer.text);
    let seen = world.server.seen();
    assert_ne!(seen[0].connection, seen[1].connection);
    world.end().await;
}

#[tokio::test]
async fn p42_sessions_share_no_connection() {
    let world = World::open().await;
    let other = soon(world.supervisor.open("s2", &agent("agent-2"))).await.unwrap();
    for grant in [&world.grant, &other, &world.grant, &other] {
        let mut tls = world.inside_of(grant, GOOD).await;
        assert_eq!(world.say(&mut tls, &world.head(GOOD, "GET /", "")).await.status, 200);
    }
    let used: Vec<usize> = world.server.seen().iter().map(|got| got.connection).collect();
    assert!(
        used[0] != used[1] && used[2] != used[1] && used[3] != used[0] && used[2] != used[3],
        "{used:?}"
    );
    world.end().await;
}

#[tokio::test]
async fn p43_many_hosts_and_idle_tunnels_harm_nobody() {
    let world = World::open().await;
    let login = World::login(&world.grant);
    let names: String = (0..300).map(|i| format!("h{i}.test 127.0.0.1\n")).collect();
    let now = std::fs::read_to_string(world.names()).unwrap();
    std::fs::write(world.names(), format!("{now}{names}")).unwrap();
    for i in 0..300 {
        let (answer, _) = world.tunnel(&world.grant, &format!("h{i}.test:443"), &login).await;
        assert_eq!(answer.status, 403, "{}", answer.text);
    }
    let mut idle = Vec::new();
    for _ in 0..60 {
        idle.push(world.tunnel(&world.grant, &world.place(GOOD), &login).await.1);
    }
    assert_eq!(world.get(GOOD, "/", &world.bearer()).await.status, 200);
    let other = soon(world.supervisor.open("s2", &agent("agent-2"))).await.unwrap();
    let mut tls = world.inside_of(&other, GOOD).await;
    assert_eq!(world.say(&mut tls, &world.head(GOOD, "GET /", "")).await.status, 200);
    world.end().await;
}
