//! `CONNECT` as programs use it: real curl through the relay's socket to a TLS server, and raw clients.

use crate::kit::*;
use crate::web::*;
use nanoclaw_secrets::{Binding, Grant as To, KeySource, Kind, NewSecret, Slot, Store, Value};

#[tokio::test]
async fn curl_reaches_what_the_policy_allows_and_nothing_else() {
    let web = Web::start().await;
    let (install, grant) = web.install("allow = [\"good.test:PORT\"]").await;
    let (status, text) = web.curl(&grant, &web.url("good.test", "/hello?a=1")).await;
    assert_eq!((status, text.as_str()), (200, "GET /hello?a=1"));
    let seen = web.upstream.last();
    assert_eq!(seen.header("host"), Some(format!("good.test:{}", web.port).as_str()));
    assert_eq!(seen.header("proxy-authorization"), None);
    let refused = web.curl(&grant, &web.url("evil.test", "/")).await;
    assert_eq!(refused.0, 0, "CONNECT is refused: {refused:?}");
    assert_eq!(web.upstream.seen().len(), 1);
    install.stop().await;
}

const REAL: &str = "ghp_CANARY0123456789abcdef";

/// A secret for one host, and what the agent holds in its place.
fn secret(install: &Install, host: &str, port: u16) -> (Store, String) {
    let store = Store::open(&install.data.join("vault"), &KeySource::Auto).unwrap();
    let binding = Binding { port, ..Binding::new(host.parse().unwrap(), Slot::bearer()) };
    let new = NewSecret {
        name: "github".to_owned(),
        kind: Kind::Bearer,
        value: Value::new(REAL.to_owned()),
        bindings: vec![binding],
        grants: vec![To { to: "agent-1".parse().unwrap(), until: None }],
        expires: None,
        settings: std::collections::BTreeMap::new(),
    };
    store.add(new).unwrap();
    let dummy = store.dummies(&agent("agent-1")).unwrap().remove(0).text;
    assert!(dummy.starts_with("ghp_") && dummy != REAL, "{dummy}");
    (store, dummy)
}

#[tokio::test]
async fn a_secret_goes_where_it_is_bound_and_its_placeholder_nowhere_else() {
    let web = Web::start().await;
    let (install, grant) = web.install("allow = [\"good.test:PORT\", \"other.test:PORT\"]").await;
    let (store, dummy) = secret(&install, "good.test", web.port);
    install.reload().await;
    let header = format!("Authorization: token {dummy}");
    let (good, other) = (web.url("good.test", "/r"), web.url("other.test", "/r"));
    let answer = web.curl_with(&grant, &good, &["-H", &header]).await;
    assert_eq!(answer, (200, "GET /r".to_owned()));
    assert_eq!(web.upstream.last().header("authorization"), Some(format!("token {REAL}").as_str()));
    // What it says back is the placeholder again.
    let (status, text) = web.curl_with(&grant, &good, &["-H", &header, "-d", REAL]).await;
    assert_eq!((status, text.as_str()), (200, &dummy[..REAL.len()]));
    assert_eq!(web.upstream.seen().len(), 2);
    let custom = format!("X-Mine: {dummy}");
    let body = format!("a={dummy}");
    for (url, args) in [
        (&other, vec!["-H", header.as_str()]),
        (&good, vec!["-H", custom.as_str()]),
        (&good, vec!["-d", body.as_str()]),
    ] {
        let (status, text) = web.curl_with(&grant, url, &args).await;
        assert!(status == 403 && text.contains("placeholder_leak"), "{args:?}: {status} {text}");
    }
    let whole = web.upstream.seen().iter().filter(|seen| seen.line.contains("/r")).count();
    assert!(
        web.upstream.seen().iter().all(|seen| !format!("{seen:?}").contains(&dummy)),
        "{whole}"
    );
    assert!(store.revoke("github", &"agent-1".parse().unwrap()).unwrap());
    let (status, text) = web.curl_with(&grant, &good, &["-H", &header]).await;
    assert!(status == 403 || !text.contains(REAL), "{status} {text}");
    assert_ne!(web.upstream.last().header("authorization"), Some(REAL));
    install.stop().await;
}

#[tokio::test]
async fn only_this_sessions_token_opens_a_tunnel() {
    let web = Web::start().await;
    let (install, grant) = web.install("allow = [\"good.test:PORT\"]").await;
    let other = install.open("s2").await;
    let place = format!("good.test:{}", web.port);
    let token = |grant: &nanoclaw_vault::Grant| {
        let url = &grant.env["HTTPS_PROXY"];
        url.split_once("box:").unwrap().1.split_once('@').unwrap().0.to_owned()
    };
    let connect = |auth: String| {
        format!("CONNECT {place} HTTP/1.1\r\nhost: {place}\r\n{auth}\r\n").into_bytes()
    };
    let bearer = |token: &str| format!("proxy-authorization: Bearer {token}\r\n");
    for (code, auth) in [
        ("auth_failed", String::new()),
        ("auth_failed", bearer("nv1_wrong")),
        ("auth_failed", format!("authorization: Bearer {}\r\n", token(&grant))),
        ("token_mismatch", bearer(&token(&other))),
    ] {
        let (status, answer) = raw(&grant.dir, &connect(auth)).await;
        assert!(status == 407 && answer.contains(code), "{code}: {answer}");
        assert!(answer.contains("proxy-authenticate: Basic"), "{answer}");
    }
    let mut open = send(&grant.dir, &connect(bearer(&token(&grant)))).await;
    read_until(&mut open, "200 Connection established\r\n\r\n").await;
    // Something else than TLS inside is not carried.
    tokio::io::AsyncWriteExt::write_all(&mut open, b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(rest(open).await, "");
    assert_eq!(web.upstream.seen().len(), 0);
    install.stop().await;
}

#[tokio::test]
async fn rules_and_names_are_judged_for_each_request_inside() {
    let web = Web::start().await;
    let rule = "allow = [\"good.test:PORT\"]\n[[rule]]\nname = \"no admin\"\naction = \"block\"\n\
                match = { host = \"good.test\", port = PORT, path = \"/admin/**\" }";
    let (install, grant) = web.install(rule).await;
    for (expected, path, args) in [
        (200, "/ok", &[][..]),
        (403, "/admin/x", &[]),
        (403, "/x%2f..%2Fadmin", &["--path-as-is"]),
        (421, "/ok", &["-H", "Host: other.test"]),
        (403, "/ok", &["-X", "TRACE"]),
        (200, "/ok", &["-d", "body"]),
        (200, "/ok", &["--http1.1", "-d", "body"]),
    ] {
        let (status, text) = web.curl_with(&grant, &web.url("good.test", path), args).await;
        let refused = expected == 400 || expected == 403;
        assert!(
            status == expected || (refused && status == 400),
            "{path} {args:?}: {status} {text}"
        );
    }
    assert_eq!(web.upstream.seen().len(), 3);
    let (status, text) = web.curl(&grant, "http://vault.internal/v1/whoami").await;
    assert!(status == 200 && text.contains("\"session\": \"s1\""), "{status} {text}");
    let explain = format!("http://vault.internal/v1/explain?url={}", web.url("evil.test", "/"));
    let (status, text) = web.curl(&grant, &explain).await;
    assert!(status == 200 && text.contains("\"verdict\": \"block\""), "{status} {text}");
    install.stop().await;
}
