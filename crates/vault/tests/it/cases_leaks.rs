//! P21–P28: placeholders where they do not belong, grants that end, limits.

use crate::cases_world::*;
use crate::kit::{agent, soon};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io::Write as _;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;

#[tokio::test]
async fn p21_a_placeholder_goes_nowhere_else() {
    let world = World::open().await;
    let dummy = world.dummy.clone();
    let basic = STANDARD.encode(format!("me:{dummy}"));
    let get = |path: String, headers: String| ("GET", path, headers, String::new());
    let post = |kind: &str, body: String| {
        ("POST", "/".to_owned(), format!("content-type: {kind}\r\n"), body)
    };
    let plain = "/".to_owned();
    for (method, path, headers, body) in [
        get(plain.clone(), world.bearer()),
        get(plain.clone(), format!("x-any: a{dummy}b\r\n")),
        get(plain.clone(), format!("cookie: a={dummy}\r\n")),
        get(plain.clone(), format!("authorization: Basic {basic}\r\n")),
        get(format!("/?key={dummy}"), String::new()),
        get(format!("/{dummy}/x"), String::new()),
        post("application/json", format!("{{\"key\":\"{dummy}\"}}")),
        post("application/x-www-form-urlencoded", format!("a=b&key={dummy}")),
        post(
            "multipart/form-data; boundary=x",
            format!("--x\r\ncontent-disposition: form-data; name=a\r\n\r\n{dummy}\r\n--x--\r\n"),
        ),
        post("application/octet-stream", format!("\u{1}{dummy}\u{2}")),
    ] {
        let headers = format!("content-length: {}\r\n{headers}", body.len());
        let head = world.head(EVIL, &format!("{method} {path}"), &headers);
        let answer = world.raw(EVIL, &[head, body.into_bytes()].concat()).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (403, "placeholder_leak"),
            "{path} {headers}"
        );
    }
    // Where it is bound, but not in its slot.
    world.get(GOOD, &format!("/?key={dummy}"), "").await.is(403, "placeholder_leak");
    let to = format!("{}.evil.test:443", dummy.to_ascii_lowercase());
    let (answer, _) = world.tunnel(&world.grant, &to, &World::login(&world.grant)).await;
    answer.is(403, "placeholder_leak");
    assert!(world.server.seen().iter().all(|got| find(&got.bytes, dummy.as_bytes()).is_none()));
    world.notes("placeholder_leak").await;
    world.end().await;
}

#[tokio::test]
async fn p22_a_placeholder_in_pieces_is_seen() {
    let world = World::open().await;
    let (one, two) = world.dummy.split_at(world.dummy.len() / 2);
    let chunked = format!("{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n", one.len(), two.len());
    for (headers, pieces) in [
        (
            format!("content-length: {}\r\n", world.dummy.len()),
            vec![one.to_owned(), two.to_owned()],
        ),
        ("transfer-encoding: chunked\r\n".to_owned(), vec![chunked.clone()]),
        (
            "transfer-encoding: chunked\r\n".to_owned(),
            chunked.chars().map(String::from).collect::<Vec<_>>(),
        ),
    ] {
        let mut tls = world.inside(EVIL).await;
        tls.write_all(&world.head(EVIL, "POST /", &headers)).await.unwrap();
        for piece in pieces {
            // It may be refused, and closed, before the end.
            drop(tls.write_all(piece.as_bytes()).await);
            drop(tls.flush().await);
            tokio::task::yield_now().await;
        }
        let answer = world.hear(&mut tls).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "placeholder_leak"), "{headers}");
    }
    assert!(
        world.server.seen().iter().all(|got| find(&got.bytes, world.dummy.as_bytes()).is_none())
    );
    let ext = format!("0;{}\r\n\r\n", world.dummy);
    let head = world.head(EVIL, "POST /", "transfer-encoding: chunked\r\n");
    let answer = world.raw(EVIL, &[head, ext.into_bytes()].concat()).await;
    assert!((400..404).contains(&answer.status), "{}", answer.text);
    world.end().await;
}

#[tokio::test]
async fn p23_a_packed_body_is_not_let_through_unread() {
    let world = World::with("mode = \"open\"\nscan = [\"evil.test\"]").await;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(world.dummy.as_bytes()).unwrap();
    let packed = gzip.finish().unwrap();
    for (coding, body) in [("gzip", packed.clone()), ("br", vec![1, 2, 3]), ("deflate", packed)] {
        let headers = format!("content-encoding: {coding}\r\n");
        let answer = world.post(EVIL, "/", &headers, &body).await;
        answer.is(403, "encoding_not_scannable");
    }
    world.end().await;
}

#[tokio::test]
async fn p24_the_placeholder_of_another_agent_is_stopped_at_its_own_host_too() {
    let world = World::open().await;
    add(
        &world.store,
        "theirs",
        "THEIRS-0123456789abcdef0123456789",
        binding(GOOD, world.port),
        "agent-2",
    );
    let theirs = dummy(&world.store, "agent-2", GOOD, world.port, "theirs");
    let _two = soon(world.supervisor.open("s2", &agent("agent-2"))).await.unwrap();
    for host in [GOOD, EVIL] {
        let headers = format!("authorization: Bearer {theirs}\r\n");
        world.get(host, "/", &headers).await.is(403, "placeholder_leak");
    }
    assert_eq!(world.server.seen().len(), 0);
    world.end().await;
}

#[tokio::test]
async fn p26_of_two_secrets_for_a_host_the_placeholder_tells_which() {
    let world = World::open().await;
    add(
        &world.store,
        "other",
        "OTHER-0123456789abcdef0123456789ab",
        binding(GOOD, world.port),
        "agent-1",
    );
    let other = dummy(&world.store, "agent-1", GOOD, world.port, "other");
    for (dummy, value) in [(&world.dummy, CANARY), (&other, "OTHER-0123456789abcdef0123456789ab")] {
        let answer = world.get(GOOD, "/", &format!("authorization: Bearer {dummy}\r\n")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let got = world.server.seen().pop().unwrap();
        assert_eq!(got.header("authorization"), Some(format!("Bearer {value}")));
        assert!(answer.text.contains(dummy.as_str()), "the answer shows the placeholder again");
    }
    for (name, value) in
        [("a", "AAAA-0123456789abcdef0123456789abc"), ("b", "BBBB-0123456789abcdef0123456789abc")]
    {
        add(&world.store, name, value, always(binding("other.test", world.port)), "agent-1");
    }
    let answer = world.get("other.test", "/", "").await;
    answer.is(409, "multiple_credentials");
    assert!(answer.text.contains("\"a\"") || answer.text.contains("a, b"), "{}", answer.text);
    world.end().await;
}

#[tokio::test]
async fn p27_what_is_revoked_ends_within_a_second() {
    let world = World::open().await;
    let mut tls = world.inside(GOOD).await;
    let head = world.head(GOOD, "GET /", &world.bearer());
    assert_eq!(world.say(&mut tls, &head).await.status, 200);
    assert!(world.store.revoke("canary", &"agent-1".parse().unwrap()).unwrap());
    let began = Instant::now();
    loop {
        let mut tls = world.inside(GOOD).await;
        let answer = world.say(&mut tls, &head).await;
        if answer.status == 403 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(1), "{}", answer.text);
    }
    let seen = world.server.seen().len();
    assert!(matches!(world.say(&mut tls, &head).await.status, 403 | 0));
    assert_eq!(world.server.seen().len(), seen);
    world.end().await;
}

const THREE: &str = "mode = \"open\"
[[rule]]
name = \"three\"
match = { host = \"good.test\" }
rate = { n = 3, per = \"minute\" }";

#[tokio::test]
async fn p28_of_fifty_at_once_exactly_three_pass() {
    let world = World::with(THREE).await;
    let head = world.head(GOOD, "GET /", "connection: close\r\n");
    let all = (0..50).map(|_| world.raw(GOOD, &head));
    let answers = futures_all(all).await;
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    let limited = answers.iter().filter(|answer| {
        answer.status == 429
            && answer.text.contains("retry-after: ")
            && answer.code() == "rate_limited"
    });
    assert_eq!((passed, limited.count(), world.server.seen().len()), (3, 47, 3));
    world.end().await;
}

async fn futures_all<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<_> = all.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|cx| {
        let mut open = false;
        for (future, done) in &mut running {
            if done.is_none() {
                match future.as_mut().poll(cx) {
                    std::task::Poll::Ready(value) => *done = Some(value),
                    std::task::Poll::Pending => open = true,
                }
            }
        }
        if open { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    running.into_iter().filter_map(|(_, done)| done).collect()
}

#[tokio::test]
async fn p28_a_restart_gives_nothing_back() {
    let world = World::with(THREE).await;
    for _ in 0..3 {
        assert_eq!(world.get(GOOD, "/", "").await.status, 200);
    }
    world.killed().await;
    world.get(GOOD, "/", "").await.is(429, "rate_limited");
    assert_eq!(world.server.seen().len(), 3);
    world.end().await;
}
