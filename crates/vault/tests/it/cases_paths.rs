//! P11–P19: heads, paths, methods and hosts in every spelling.

use crate::cases_world::*;
use nanoclaw_secrets::{Slot, Value};

const RULES: &str = "mode = \"open\"
[[rule]]
name = \"admin\"
match = { host = \"good.test\", path = \"/admin/**\" }
action = \"block\"
[[rule]]
name = \"no deletes\"
match = { host = \"good.test\", method = [\"DELETE\"], path = \"/things/**\" }
action = \"block\"";

#[tokio::test]
async fn p11_a_head_that_can_be_read_in_two_ways_is_refused() {
    let world = World::open().await;
    let host = format!("host: {}\r\n", world.place(GOOD));
    for head in [
        format!("GET / HTTP/1.1\n{host}\r\n"),
        format!("GET / HTTP/1.1\r\n{host}a: b\n\r\n"),
        format!("GET / HTTP/1.1\r\n{host}a: b\rc: d\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{host}a: b\0\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{host}a: b\r\n c\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{host}a : b\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n {host}\r\n"),
        format!("GET / HTTP/1.1\r\n{host}\u{e9}: b\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{host}: b\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{host}a\r\n\r\n"),
        format!("GET  / HTTP/1.1\r\n{host}\r\n"),
        format!("GET / HTTP/1.1 \r\n{host}\r\n"),
        format!("GET / HTTP/9.9\r\n{host}\r\n"),
        format!(
            "POST / HTTP/1.1\r\n{host}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
        format!("POST / HTTP/1.1\r\n{host}content-length: 4\r\ncontent-length: 5\r\n\r\nabcde"),
        format!("POST / HTTP/1.1\r\n{host}content-length: +4\r\n\r\nabcd"),
        format!("POST / HTTP/1.1\r\n{host}content-length: 4, 4\r\n\r\nabcd"),
        format!("POST / HTTP/1.1\r\n{host}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        format!("POST / HTTP/1.1\r\n{host}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n"),
        format!("TRACE / HTTP/1.1\r\n{host}content-length: 4\r\n\r\nabcd"),
    ] {
        let answer = world.raw(GOOD, head.as_bytes()).await;
        assert!((400..500).contains(&answer.status), "{head:?}\n{}", answer.text);
    }
    assert_eq!(world.server.seen().len(), 0);
    assert_eq!(world.get(GOOD, "/", "").await.status, 200);
    world.end().await;
}

#[tokio::test]
async fn p12_a_value_that_ends_a_header_is_never_stored() {
    let world = World::open().await;
    for (at, value) in ["a\r\nx: y", "a\nb", "a\rb", "a\0b"].into_iter().enumerate() {
        let new = nanoclaw_secrets::NewSecret {
            name: format!("bad-{at}"),
            kind: nanoclaw_secrets::Kind::Header,
            value: Value::new(value.to_owned()),
            bindings: vec![binding(GOOD, world.port)],
            grants: Vec::new(),
            expires: None,
            settings: std::collections::BTreeMap::new(),
        };
        assert!(world.store.add(new).is_err(), "{value:?}");
    }
    world.end().await;
}

#[tokio::test]
async fn p13_what_connection_names_goes_and_what_is_injected_stays() {
    let world = World::open().await;
    let mut place = always(binding("other.test", world.port));
    place.slot = Slot::header("x-key");
    add(&world.store, "second", "the-second-value", place, "agent-1");
    let headers = "connection: close, authorization, x-key, x-up\r\nx-up: 1\r\nx-key: mine\r\nx-stays: 1\r\n\
                   authorization: Bearer mine\r\nkeep-alive: 1\r\nproxy-connection: close\r\n";
    let answer = world.get("other.test", "/", headers).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let got = &world.server.seen()[0];
    assert_eq!(got.header("x-key").as_deref(), Some("the-second-value"));
    assert_eq!(got.header("x-stays").as_deref(), Some("1"));
    for gone in ["authorization", "x-up", "keep-alive", "proxy-connection"] {
        assert_eq!(got.header(gone), None, "{gone}");
    }
    assert!(!answer.text.contains("the-second-value"));
    world.end().await;
}

#[tokio::test]
async fn p14_no_spelling_of_admin_reaches_the_upstream() {
    let world = World::with(RULES).await;
    for path in [
        "/admin",
        "/admin/x",
        "/ADMIN/x",
        "/%61dmin/x",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/x/..%2fadmin",
        "/x/..%5cadmin",
        "/x\\..\\admin",
        "/%2561dmin",
        "/%252e%252e/admin",
        "/%2e%2e%2fadmin",
        "/admin%00",
        "/%c0%ae%c0%ae/admin",
        "/x/%ef%bc%8e%ef%bc%8e/admin",
        "/\u{ff0e}\u{ff0e}/admin",
        "//admin//x",
        "/admin/.",
        "/./admin",
        "/a/..;/admin",
        "/admin;x=y/z",
        "/admin%2fx",
        "/admin%3bx",
        "/;/admin",
        "/ad%0amin",
        "/admin%20",
        "/%2fadmin",
    ] {
        let answer = world.get(GOOD, path, "connection: close\r\n").await;
        assert!(matches!(answer.status, 400 | 403), "{path}: {}", answer.text);
    }
    assert_eq!(world.server.seen().len(), 0);
    world.end().await;
}

#[tokio::test]
async fn p16_what_is_legal_arrives_as_it_was_sent() {
    let world = World::open().await;
    let long = format!("/{}", "a".repeat(8100));
    for path in [
        "/projects/group%2Fproj",
        "/@scope%2Fname",
        "/a+b",
        "/a%20b",
        "/~me",
        "/a:b",
        "/x?",
        "/x?a=1&b=%2F",
        "/caf%C3%A9",
        "/a!$&'()*,=",
        &long,
    ] {
        let answer = world.get(GOOD, path, &world.bearer()).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        let got = world.server.seen().pop().unwrap();
        assert_eq!(got.target(), path);
        assert_eq!(got.header("authorization"), Some(format!("Bearer {CANARY}")));
    }
    world.end().await;
}

#[tokio::test]
async fn p17_what_is_too_much_is_refused_and_nobody_else_feels_it() {
    let world = World::open().await;
    let edge = format!("GET /{}é", "a".repeat(2046));
    let huge = format!("GET /{}", "a".repeat(16 << 20));
    let many = "a: b\r\n".repeat(10_000);
    let wide = format!("a: {}\r\n", "b".repeat(100 << 10));
    for (line, headers, statuses) in [
        ("GET /é", "", &[400][..]),
        (&edge, "", &[400]),
        (&huge, "", &[414, 431]),
        ("GET /", &many, &[431]),
        ("GET /", &wide, &[431]),
    ] {
        let answer = world.raw(GOOD, &world.head(GOOD, line, headers)).await;
        assert!(
            statuses.contains(&answer.status),
            "{line:.20} {headers:.20}: {:.300}",
            answer.text
        );
    }
    assert_eq!(world.server.seen().len(), 0);
    assert_eq!(world.get(GOOD, "/", "").await.status, 200);
    world.end().await;
}

#[tokio::test]
async fn p18_a_delete_is_a_delete_however_it_is_said() {
    let world = World::with(RULES).await;
    for (line, headers) in [
        ("DELETE /things/1", ""),
        ("delete /things/1", ""),
        ("POST /things/1", "x-http-method-override: DELETE\r\n"),
        ("POST /things/1", "X-Method-Override: delete\r\n"),
        ("POST /things/1", "x-http-method: PUT\r\nx-http-method: DELETE\r\n"),
        ("POST /things/1?_method=DELETE", ""),
        ("POST /things/1?a=b&%5Fmethod=delete", ""),
    ] {
        let headers = format!("content-length: 0\r\n{headers}");
        world.raw(GOOD, &world.head(GOOD, line, &headers)).await.is(403, "blocked_by_policy");
    }
    let long = format!("{} /things/1", "A".repeat(1024));
    let answer = world.raw(GOOD, &world.head(GOOD, &long, "")).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert_eq!(world.server.seen().len(), 0);
    assert_eq!(world.raw(GOOD, &world.head(GOOD, "PROPFIND /things/1", "")).await.status, 200);
    world.end().await;
}

#[tokio::test]
async fn p19_no_other_spelling_of_a_host_is_the_host() {
    let world = World::open().await;
    let login = World::login(&world.grant);
    for host in [
        "good.test.evil.test",
        "evil-good.test",
        "good.test@evil.test",
        "good.test%00.evil.test",
        "g\u{43e}od.test",
        "xn--god-sdd.test",
        "good.test..",
        "[::1]",
        "127.0.0.1",
        "0x7f000001",
        "2130706433",
        "127.1",
        "017700000001",
        "[::ffff:127.0.0.1]",
        "localhost.",
        "[::1%25lo]",
        "good.test\\evil",
        "good.test#",
        "",
    ] {
        let (answer, _) = world.tunnel(&world.grant, &world.place(host), &login).await;
        // localhost is declared by this world; without its dot it is the same name.
        let fine = if host == "localhost." { 200 } else { 400 };
        assert!(
            matches!(answer.status, 400 | 403 | 502) || answer.status == fine,
            "{host}: {}",
            answer.text
        );
    }
    assert_eq!(world.server.connections(), 0);
    world.end().await;
}
