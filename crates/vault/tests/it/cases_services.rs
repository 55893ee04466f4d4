//! What is carried unread, and services of this machine.

use crate::cases_world::*;
use crate::kit::{agent, soon};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

#[tokio::test]
async fn a_tunnel_is_carried_unread_and_gets_no_secret() {
    let world = World::with("mode = \"open\"\ntunnel = [\"good.test:PORT\"]").await;
    let login = World::login(&world.grant);
    let (answer, stream) = world.tunnel(&world.grant, &world.place(GOOD), &login).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    // It is the server itself that answers.
    let mut tls = world.tls_with(stream, Some(GOOD), &world.roots(), &[]).await.unwrap();
    let answer = world.say(&mut tls, &world.head(GOOD, "GET /", &world.bearer())).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let got = world.server.seen().pop().unwrap();
    assert_eq!(got.header("authorization"), Some(format!("Bearer {}", world.dummy)));
    drop(tls);
    world.notes("tunnel").await;
    // Another name inside, none, no TLS: nothing gets through.
    let before = world.server.connections();
    for sni in [Some(EVIL), None] {
        let (_, stream) = world.tunnel(&world.grant, &world.place(GOOD), &login).await;
        assert!(world.tls_with(stream, sni, &world.roots(), &[]).await.is_err(), "{sni:?}");
    }
    let (_, mut stream) = world.tunnel(&world.grant, &world.place(GOOD), &login).await;
    drop(stream.write_all(b"GET / HTTP/1.1\r\nhost: good.test\r\n\r\n").await);
    let mut rest = Vec::new();
    drop(soon(stream.read_to_end(&mut rest)).await);
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(world.server.connections(), before);
    // Its address is judged like any other.
    world.name(&format!("{GOOD} 169.254.169.254"));
    let (there, _) = world.tunnel(&world.grant, "other.test:22", &login).await;
    assert_eq!(there.status, 403, "{}", there.text);
    world.end().await;
}

#[tokio::test]
async fn a_service_is_for_whom_and_what_the_owner_said() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let service = listener.local_addr().unwrap();
    let policy = format!(
        "mode = \"none\"\n[[host_service]]\nname = \"svc\"\nto = \"{service}\"\nagents = [\"agent-1\"]\n\
         methods = [\"GET\"]\npaths = [\"/api/**\"]"
    );
    let world = World::with(&policy).await;
    let server = Arc::new(Server::default());
    let shared = Arc::clone(&server);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let server = Arc::clone(&shared);
            tokio::spawn(async move { server.serve(tcp, "svc".to_owned()).await });
        }
    });
    let login = World::login(&world.grant);
    let ask = |line: &str, host: &str, headers: &str| {
        let text = format!("{line} HTTP/1.1\r\nhost: {host}\r\n{headers}\r\n");
        let world = &world;
        async move { world.plain(&text).await }
    };
    let svc = "svc.host.internal";
    let answer = ask(&format!("GET http://{svc}/api/x?a=1"), svc, &login).await;
    assert!(answer.status == 200 && answer.text.contains("GET /api/x?a=1"), "{}", answer.text);
    assert_eq!(server.seen().len(), 1);
    assert_eq!(server.seen()[0].header("proxy-authorization"), None);
    let bearer = format!("{login}{}", world.bearer());
    for (line, host, headers, status) in [
        (format!("GET http://{svc}/api/x"), svc, "", 407),
        (format!("POST http://{svc}/api/x"), svc, login.as_str(), 403),
        (format!("GET http://{svc}/other"), svc, &login, 403),
        (format!("GET http://{svc}/api/..%2fother"), svc, &login, 403),
        (format!("GET http://{svc}/api/../other"), svc, &login, 400),
        (format!("GET http://{svc}:81/api/x"), "svc.host.internal:81", &login, 403),
        (format!("GET http://{svc}/api/x"), "evil.test", &login, 421),
        (format!("GET http://{svc}/api/x"), svc, &bearer, 403),
        ("GET http://other.host.internal/api/x".to_owned(), "other.host.internal", &login, 403),
        (format!("GET http://{service}/api/x"), &service.to_string(), &login, 403),
    ] {
        let answer = ask(&line, host, headers).await;
        let right = answer.status == status || (status == 400 && answer.status == 403);
        assert!(right, "{line} {host}: {}", answer.text);
    }
    for to in ["svc.host.internal:80", "svc.host.internal:443"] {
        let (answer, _) = world.tunnel(&world.grant, to, &login).await;
        assert_eq!(answer.status, 403, "{to}: {}", answer.text);
    }
    let other = soon(world.supervisor.open("s2", &agent("agent-2"))).await.unwrap();
    let text =
        format!("GET http://{svc}/api/x HTTP/1.1\r\nhost: {svc}\r\n{}\r\n", World::login(&other));
    assert_eq!(crate::kit::raw(&other.dir, text.as_bytes()).await.0, 403);
    assert_eq!(server.seen().len(), 1);
    // A WebSocket to it is carried and searched.
    let feed = server.feeds();
    let mut socket = soon(crate::kit::connect(&world.grant.dir)).await.unwrap();
    let upgrade = format!(
        "GET http://{svc}/api/ws HTTP/1.1\r\nhost: {svc}\r\n{login}connection: upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(upgrade.as_bytes()).await.unwrap();
    feed.send([SWITCHED.as_bytes(), b"\x81\x02hi"].concat()).await.unwrap();
    let mut got = Vec::new();
    while find(&got, b"\x81\x02hi").is_none() {
        let n = soon(socket.read_buf(&mut got)).await.unwrap();
        assert!(n > 0, "{}", String::from_utf8_lossy(&got));
    }
    socket.write_all(&text_frame(true, 1, world.dummy.as_bytes())).await.unwrap();
    let mut rest = Vec::new();
    drop(soon(socket.read_to_end(&mut rest)).await);
    assert!(find(&rest, &[0x88, 2, 0x03, 0xf0]).is_some(), "closed with 1008: {rest:?}");
    drop(feed);
    world.notes("placeholder_leak").await;
    world.end().await;
}
