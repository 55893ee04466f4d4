//! A token that the upstream refuses is made anew, and the same request goes out once more; never a third time.

use crate::cases_world::*;
use nanoclaw_secrets::{Grant as To, Kind, NewSecret, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const UNAUTHORIZED: &[u8] = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno";

/// A token server; gives back its address and how often it was asked.
async fn tokens() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            drop(stream.read(&mut [0; 4096]).await);
            let n = count.fetch_add(1, Ordering::SeqCst) + 1;
            let body = format!(r#"{{"access_token":"access-{n}-of-many","expires_in":3600}}"#);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            drop(stream.write_all(format!("{head}{body}").as_bytes()).await);
        }
    });
    (url, asked)
}

/// A login for `other.test`, with a token of an hour ago that would still be good.
async fn with_login() -> (World, Arc<AtomicUsize>) {
    let world = World::open().await;
    let (url, asked) = tokens().await;
    let settings = [("token_url", url.as_str()), ("client_id", "me")];
    let new = NewSecret {
        name: "login".into(),
        kind: Kind::Oauth2,
        value: Value::new(r#"{"refresh_token":"refresh-first"}"#.into()),
        bindings: vec![always(binding("other.test", world.port))],
        grants: vec![To { to: "agent-1".parse().unwrap(), until: None }],
        expires: None,
        settings: BTreeMap::from(settings.map(|(k, v)| (k.to_owned(), v.to_owned()))),
    };
    world.store.add(new).unwrap();
    let info = world.store.info("login").unwrap();
    let now = world.store.now();
    let state = format!(
        r#"{{"access":"access-0-of-many","refresh":"refresh-first","expires":{},"made":{}}}"#,
        now + 3600,
        now - 3600
    );
    world.store.set_state(&info.id, info.epoch, state.as_bytes()).unwrap();
    (world, asked)
}

fn sent(world: &World) -> Vec<String> {
    let seen = world.server.seen();
    seen.iter().map(|got| got.header("authorization").unwrap_or_default()).collect()
}

#[tokio::test]
async fn a_request_that_can_be_sent_again_is_sent_again_with_the_new_token() {
    let (world, asked) = with_login().await;
    world.server.says(UNAUTHORIZED);
    let answer = world.get("other.test", "/again?x=1", "").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(sent(&world), ["Bearer access-0-of-many", "Bearer access-1-of-many"]);
    assert!(world.server.seen().iter().all(|got| got.target() == "/again?x=1"));
    // What is refused with a token that was just made is refused: no more tokens, no third try.
    world.server.says(UNAUTHORIZED);
    let answer = world.get("other.test", "/again", "").await;
    assert_eq!((answer.status, sent(&world).len()), (401, 3));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert!(!answer.text.contains("of-many"), "{}", answer.text);
    world.end().await;
}

#[tokio::test]
async fn what_changes_something_is_not_sent_again() {
    let (world, asked) = with_login().await;
    world.server.says(UNAUTHORIZED);
    let answer = world.post("other.test", "/things", "", b"one").await;
    assert_eq!(answer.status, 401);
    // The box's next try has the new token.
    while asked.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let answer = world.post("other.test", "/things", "", b"one").await;
    assert_eq!(answer.status, 200);
    assert_eq!(sent(&world), ["Bearer access-0-of-many", "Bearer access-1-of-many"]);
    world.end().await;
}
