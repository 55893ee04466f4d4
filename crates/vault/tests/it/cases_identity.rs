//! P1–P9, P44: who asks, for whom, and in which protocol.

use crate::cases_world::*;
use crate::kit::{agent, connect, raw, soon};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn p01_only_the_sessions_own_token() {
    let world = World::open().await;
    let other = soon(world.supervisor.open("s2", &agent("agent-2"))).await.unwrap();
    let token = World::token(&world.grant);
    let short = format!("proxy-authorization: Bearer {}\r\n", &token[..token.len() - 1]);
    for (headers, noted) in [
        (String::new(), "auth_failed"),
        ("proxy-authorization: Basic\r\n".to_owned(), "auth_failed"),
        ("proxy-authorization: Bearer nv1_wrong\r\n".to_owned(), "auth_failed"),
        (short, "auth_failed"),
        (World::login(&other), "token_mismatch"),
    ] {
        let (answer, _) = world.tunnel(&world.grant, &world.place(GOOD), &headers).await;
        assert_eq!(answer.status, 407, "{headers}: {}", answer.text);
        assert!(answer.text.contains("Basic realm="), "{}", answer.text);
        world.notes(noted).await;
    }
    // A token of a session that is over is nobody's.
    soon(world.supervisor.close("s2")).await.unwrap();
    let (answer, _) = world.tunnel(&world.grant, &world.place(GOOD), &World::login(&other)).await;
    assert_eq!(answer.status, 407);
    assert_eq!(world.server.connections(), 0);
    world.end().await;
}

#[tokio::test]
async fn p02_who_guesses_tokens_waits_and_nobody_else_does() {
    let world = World::open().await;
    let other = soon(world.supervisor.open("s2", &agent("agent-2"))).await.unwrap();
    let wrong = "proxy-authorization: Bearer nv1_wrong\r\n";
    for _ in 0..5 {
        let (answer, _) = world.tunnel(&world.grant, &world.place(GOOD), wrong).await;
        assert_eq!(answer.status, 407);
    }
    let began = Instant::now();
    let slow = async {
        let (answer, _) = world.tunnel(&world.grant, &world.place(GOOD), wrong).await;
        assert_eq!(answer.status, 407);
        began.elapsed()
    };
    let good = async {
        let mut tls = world.inside_of(&other, GOOD).await;
        let answer = world.say(&mut tls, &world.head(GOOD, "GET /", "")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        began.elapsed()
    };
    let (slow, good) = tokio::join!(slow, good);
    assert!(slow >= Duration::from_secs(1) && good < slow, "{slow:?} {good:?}");
    world.end().await;
}

#[tokio::test]
async fn p03_a_token_counts_in_its_own_header_alone() {
    let world = World::open().await;
    let token = World::token(&world.grant);
    let pair = World::login(&world.grant).replace("proxy-authorization: ", "");
    for headers in [
        format!("authorization: {pair}"),
        format!("authorization: Bearer {token}\r\n"),
        format!("x-proxy-authorization: {pair}"),
        format!("cookie: proxy-authorization={token}\r\n"),
    ] {
        let (answer, _) = world.tunnel(&world.grant, &world.place(GOOD), &headers).await;
        assert_eq!(answer.status, 407, "{headers}");
    }
    let (status, _) = raw(
        &world.grant.dir,
        format!(
            "GET http://{}/?token={token} HTTP/1.1\r\nhost: {}\r\n\r\n",
            world.place(GOOD),
            world.place(GOOD)
        )
        .as_bytes(),
    )
    .await;
    assert_eq!(status, 407);
    // And it goes no further.
    let answer = world.get(GOOD, "/", &World::login(&world.grant)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(world.server.seen()[0].header("proxy-authorization"), None);
    world.end().await;
}

#[tokio::test]
async fn p04_nothing_secret_goes_in_clear() {
    let world = World::open().await;
    let login = World::login(&world.grant);
    let place = world.place(GOOD);
    let ask = |headers: String| {
        let text = format!("GET http://{place}/ HTTP/1.1\r\nhost: {place}\r\n{login}{headers}\r\n");
        let dir = world.grant.dir.clone();
        async move { raw(&dir, text.as_bytes()).await }
    };
    let (status, text) = ask(world.bearer()).await;
    assert_eq!(status, 403, "{text}");
    assert!(text.contains("plaintext_refused"), "{text}");
    // Without the placeholder it is an ordinary request, and the server of the test speaks TLS only.
    let (status, text) = ask(String::new()).await;
    assert!(status == 502 || status == 403, "{text}");
    world.end().await;
}

#[tokio::test]
async fn p06_a_bound_host_at_another_port_is_another_place() {
    let world = World::open().await;
    for port in [8443, 80, 22] {
        let (answer, _) = world
            .tunnel(&world.grant, &format!("{GOOD}:{port}"), &World::login(&world.grant))
            .await;
        assert_eq!(answer.status, 403, "{port}: {}", answer.text);
    }
    assert_eq!(world.server.connections(), 0);
    world.end().await;
}

#[tokio::test]
async fn p07_what_is_not_tls_ends_in_a_tunnel() {
    let world = World::open().await;
    for bytes in [&b"GET / HTTP/1.1\r\nhost: good.test\r\n\r\n"[..], b"SSH-2.0-x\r\n", b"\0\0\0\0"]
    {
        let (_, mut stream) =
            world.tunnel(&world.grant, &world.place(GOOD), &World::login(&world.grant)).await;
        drop(stream.write_all(bytes).await);
        let mut got = Vec::new();
        drop(soon(stream.read_to_end(&mut got)).await);
        assert!(!got.starts_with(b"HTTP/1.1 2"));
    }
    world.notes("not_tls").await;
    assert_eq!(world.server.connections(), 0);
    world.end().await;
}

#[tokio::test]
async fn p08_the_name_in_the_hello_is_the_name_of_the_tunnel() {
    let world = World::open().await;
    let login = World::login(&world.grant);
    for sni in [Some(EVIL), None] {
        let (_, stream) = world.tunnel(&world.grant, &world.place(GOOD), &login).await;
        assert!(world.tls(stream, sni).await.is_err(), "{sni:?}");
    }
    world.notes("sni_mismatch").await;
    for to in ["GOOD.test", "good.test."] {
        let (answer, stream) = world.tunnel(&world.grant, &world.place(to), &login).await;
        assert_eq!(answer.status, 200, "{to}: {}", answer.text);
        let mut tls = world.tls(stream, Some(GOOD)).await.unwrap();
        let answer = world.say(&mut tls, &world.head(GOOD, "GET /", "")).await;
        assert_eq!(answer.status, 200);
    }
    assert!(world.server.seen().iter().all(|got| got.sni == GOOD));
    world.end().await;
}

/// A ClientHello in which the name is spelled like this.
fn hello(name: &str) -> Vec<u8> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let host = rustls::pki_types::ServerName::try_from(GOOD).unwrap();
    let mut made = rustls::ClientConnection::new(std::sync::Arc::new(config), host).unwrap();
    let mut bytes = Vec::new();
    made.write_tls(&mut bytes).unwrap();
    let at = find(&bytes, GOOD.as_bytes()).unwrap();
    bytes[at..at + GOOD.len()].copy_from_slice(name.as_bytes());
    bytes
}

#[tokio::test]
async fn p08_a_name_that_can_be_read_in_two_ways_is_none() {
    let world = World::open().await;
    let login = World::login(&world.grant);
    for (name, answered) in [
        ("good.test", true),
        ("GOOD.TeSt", true),
        ("good\0test", false),
        ("good.tes\u{1}", false),
        ("evil.test", false),
        ("*ood.test", false),
        ("good test", false),
        ("127.0.0.1", false),
    ] {
        let (_, mut stream) = world.tunnel(&world.grant, &world.place(GOOD), &login).await;
        drop(stream.write_all(&hello(name)).await);
        let mut first = [0];
        let n = soon(stream.read(&mut first)).await.unwrap_or(0);
        // A handshake goes on, an alert or nothing ends it.
        assert_eq!(n == 1 && first[0] == 22, answered, "{name:?}");
    }
    // In as many pieces as it has bytes.
    let (_, mut stream) = world.tunnel(&world.grant, &world.place(GOOD), &login).await;
    for byte in hello("evil.test") {
        drop(stream.write_all(&[byte]).await);
        tokio::task::yield_now().await;
    }
    let mut rest = Vec::new();
    drop(soon(stream.read_to_end(&mut rest)).await);
    assert_ne!(rest.first(), Some(&22));
    assert_eq!(world.server.connections(), 0);
    world.end().await;
}

#[tokio::test]
async fn p04_in_clear_goes_only_what_the_owner_lets_go_so() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let private = format!(
        "mode = \"open\"\n[[allow_private]]\nhost = \"good.test\"\ncidr = \"127.0.0.1/32\"\nport = {port}"
    );
    let world = World::with(&private).await;
    let server = std::sync::Arc::new(Server::default());
    let shared = std::sync::Arc::clone(&server);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let server = std::sync::Arc::clone(&shared);
            tokio::spawn(async move { server.serve(tcp, "clear".to_owned()).await });
        }
    });
    add(&world.store, "sealed", "SEALED-0123456789abcdef", always(binding(GOOD, port)), "agent-1");
    let login = World::login(&world.grant);
    let ask = |headers: String| {
        let (world, login) = (&world, &login);
        async move {
            let to = format!("{GOOD}:{port}");
            world
                .plain(&format!("GET http://{to}/ HTTP/1.1\r\nhost: {to}\r\n{login}{headers}\r\n"))
                .await
        }
    };
    let answer = ask(String::new()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(server.seen()[0].header("authorization"), None);
    let sealed = dummy(&world.store, "agent-1", GOOD, port, "sealed");
    ask(format!("authorization: Bearer {sealed}\r\n")).await.is(403, "plaintext_refused");
    ask(world.bearer()).await.is(403, "placeholder_leak");
    assert_eq!(server.seen().len(), 1);
    let clear = nanoclaw_secrets::Binding { allow_plaintext: true, ..always(binding(GOOD, port)) };
    world.store.remove("sealed").unwrap();
    add(&world.store, "clear", "CLEAR-0123456789abcdef01", clear, "agent-1");
    let answer = ask(String::new()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let got = server.seen().pop().unwrap();
    assert_eq!(got.header("authorization").as_deref(), Some("Bearer CLEAR-0123456789abcdef01"));
    assert!(!answer.text.contains("CLEAR-0123"), "{}", answer.text);
    world.end().await;
}

#[tokio::test]
async fn p09_a_request_in_a_tunnel_is_for_its_host() {
    let world = World::open().await;
    let (good, evil) = (world.place(GOOD), world.place(EVIL));
    for (text, statuses) in [
        (format!("GET / HTTP/1.1\r\nhost: {evil}\r\n\r\n"), [421, 421]),
        (format!("GET / HTTP/1.1\r\nhost: {good}\r\nhost: {evil}\r\n\r\n"), [400, 400]),
        (format!("GET / HTTP/1.1\r\nhost: {good}\r\nhost: {good}\r\n\r\n"), [400, 400]),
        (format!("GET / HTTP/1.1\r\nhost: {good}@{evil}\r\n\r\n"), [400, 421]),
        (format!("GET / HTTP/1.1\r\nhost: user@{good}\r\n\r\n"), [400, 421]),
        (format!("GET / HTTP/1.1\r\nhost: {GOOD}:1\r\n\r\n"), [421, 421]),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), [400, 421]),
        (format!("GET https://{evil}/ HTTP/1.1\r\nhost: {good}\r\n\r\n"), [421, 400]),
        (format!("GET https://{evil}/ HTTP/1.1\r\nhost: {evil}\r\n\r\n"), [421, 400]),
    ] {
        let text = text.replace("\r\n\r\n", &format!("\r\n{}\r\n", world.bearer()));
        let answer = world.raw(GOOD, text.as_bytes()).await;
        assert!(statuses.contains(&answer.status), "{text}{}", answer.text);
    }
    assert_eq!(world.server.seen().len(), 0);
    world.end().await;
}

#[tokio::test]
async fn p44_other_protocols_are_refused() {
    let world = World::open().await;
    let good = world.place(GOOD);
    for text in [
        format!("GET / HTTP/1.0\r\nhost: {good}\r\n\r\n"),
        format!("CONNECT {good} HTTP/1.1\r\nhost: {good}\r\n\r\n"),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nhost: {good}\r\nconnection: upgrade\r\nupgrade: tunnel\r\n\r\n"),
        format!(
            "GET / HTTP/1.1\r\nhost: {good}\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\n\
             http2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
        ),
    ] {
        let answer = world.raw(GOOD, text.as_bytes()).await;
        // A server may be asked without the upgrade, as if nobody had offered one.
        let asked = world.server.seen().last().is_some_and(|got| got.header("upgrade").is_some());
        assert!(!asked && answer.status != 101, "{text}{}", answer.text);
        assert!(answer.status >= 400 || text.contains("upgrade"), "{text}{}", answer.text);
    }
    let mut stream = soon(connect(&world.grant.dir)).await.unwrap();
    drop(stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await);
    let mut got = Vec::new();
    drop(soon(stream.read_to_end(&mut got)).await);
    assert_eq!(Answer::read(&got).status / 100, 4, "{}", String::from_utf8_lossy(&got));
    world.end().await;
}
