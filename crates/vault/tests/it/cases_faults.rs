//! P27, P29, P36: what ends while it runs, what fails inside the vault, and token servers.

use crate::cases_world::*;
use crate::kit::{agent, soon};
use nanoclaw_secrets::{Grant as To, Kind, NewSecret, Value};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// From taking back to the end of what runs: the look at the store, and a machine that has other things to do.
const AT_ONCE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn p27_what_streams_is_cut_when_its_secret_is_taken_back() {
    let world = World::open().await;
    let feed = world.server.feeds();
    let mut stream = world.inside(GOOD).await;
    stream.write_all(&world.head(GOOD, "GET /events", &world.bearer())).await.unwrap();
    let events = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: first\n\n";
    feed.send(events.into()).await.unwrap();
    let mut got = Vec::new();
    while find(&got, b"first").is_none() {
        assert!(soon(stream.read_buf(&mut got)).await.unwrap() > 0);
    }
    let mut socket = world.inside(GOOD).await;
    let socket_feed = world.socket(&mut socket, &world.bearer()).await;
    // One without the secret goes on.
    let free = world.server.feeds();
    let mut other = world.inside(GOOD).await;
    other.write_all(&world.head(GOOD, "GET /free", "")).await.unwrap();
    free.send(events.into()).await.unwrap();
    let mut heard = Vec::new();
    while find(&heard, b"first").is_none() {
        assert!(soon(other.read_buf(&mut heard)).await.unwrap() > 0);
    }
    assert!(world.store.revoke("canary", &"agent-1".parse().unwrap()).unwrap());
    let began = Instant::now();
    for io in [&mut stream, &mut socket] {
        let mut rest = Vec::new();
        drop(soon(io.read_to_end(&mut rest)).await);
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
        assert!(find(&rest, b"0\r\n\r\n").is_none(), "it looks like a whole answer");
    }
    free.send(b"data: second\n\n".to_vec()).await.unwrap();
    while find(&heard, b"second").is_none() {
        assert!(soon(other.read_buf(&mut heard)).await.unwrap() > 0);
    }
    drop((feed, socket_feed, free));
    world.notes("revoked").await;
    world.end().await;
}

const LIMITED: &str = "mode = \"open\"
[[rule]]
name = \"many\"
match = { host = \"good.test\" }
rate = { n = 1000, per = \"minute\" }
[[rule]]
name = \"seen\"
match = { host = \"other.test\" }
action = \"ask\"";

#[tokio::test]
async fn p29_what_cannot_be_counted_does_not_pass() {
    let world = World::with(LIMITED).await;
    assert_eq!(world.get(GOOD, "/", &world.bearer()).await.status, 200);
    // A folder where the file of what passed is written.
    let file = world.data.join("vault/rates.new");
    std::fs::create_dir(&file).unwrap();
    for _ in 0..3 {
        world.get(GOOD, "/", &world.bearer()).await.is(503, "limits_unavailable");
    }
    assert_eq!(world.server.seen().len(), 1);
    std::fs::remove_dir(&file).unwrap();
    assert_eq!(world.get(GOOD, "/", &world.bearer()).await.status, 200);
    world.end().await;
}

/// Somebody has the file for themselves, as a broken disk would.
fn seized(world: &World, name: &str) -> Connection {
    let db = Connection::open(world.data.join("vault").join(name)).unwrap();
    db.busy_timeout(Duration::from_secs(20)).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    db
}

#[tokio::test]
async fn p29_what_cannot_be_asked_does_not_pass() {
    let world = World::with(LIMITED).await;
    let book = seized(&world, "held.db");
    world.get("other.test", "/", "").await.is(503, "approvals_unavailable");
    // What needs nobody's leave goes on meanwhile.
    assert_eq!(world.get(GOOD, "/", &world.bearer()).await.status, 200);
    drop(book);
    assert!(world.server.seen().iter().all(|got| got.sni == GOOD));
    world.end().await;
}

#[tokio::test]
async fn p29_what_cannot_be_noted_gets_no_secret() {
    let world = World::open().await;
    assert_eq!(world.get(GOOD, "/", &world.bearer()).await.status, 200);
    let log = seized(&world, "audit.db");
    let refused = async {
        loop {
            let answer = world.get(GOOD, "/", &world.bearer()).await;
            if answer.status != 200 {
                return answer;
            }
        }
    };
    soon(refused).await.is(503, "audit_unavailable");
    let seen = world.server.seen().len();
    world.get(GOOD, "/", &world.bearer()).await.is(503, "audit_unavailable");
    assert_eq!(world.server.seen().len(), seen);
    drop(log);
    let passes = async { while world.get(GOOD, "/", &world.bearer()).await.status != 200 {} };
    soon(passes).await;
    world.end().await;
}

#[tokio::test]
async fn p29_a_secret_that_was_changed_on_the_disk_is_not_used() {
    let world = World::open().await;
    let db = Connection::open(world.data.join("vault/vault.db")).unwrap();
    let flipped = "UPDATE records SET sealed = CAST(sealed || x'00' AS BLOB) WHERE field = 'value'";
    assert!(db.execute(flipped, []).unwrap() > 0);
    let answer = world.get(GOOD, "/", &world.bearer()).await;
    answer.is(503, "vault_failed");
    assert_eq!(world.server.seen().len(), 0);
    world.end().await;
}

#[tokio::test]
async fn p29_a_policy_that_cannot_be_read_changes_nothing_and_opens_nothing() {
    let world = World::with("allow = [\"good.test:PORT\"]").await;
    let file = world.data.join("vault/policy.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, good.replace("[egress]", "[egress]\nmode = \"opne\"")).unwrap();
    let reloaded = world.control("{\"op\":\"reload\"}\n").await;
    assert!(reloaded.contains("policy.toml"), "{reloaded}");
    assert_eq!(world.get(GOOD, "/", &world.bearer()).await.status, 200);
    let evil = world.tunnel(&world.grant, &world.place(EVIL), &World::login(&world.grant)).await;
    evil.0.is(403, "blocked_by_policy");
    // A vault that starts with it has no policy at all: what has a secret is open, nothing beside it.
    world.killed().await;
    let evil = world.tunnel(&world.grant, &world.place(EVIL), &World::login(&world.grant)).await;
    assert_eq!(evil.0.status, 403, "{}", evil.0.text);
    let (good, _) =
        world.tunnel(&world.grant, &world.place(GOOD), &World::login(&world.grant)).await;
    assert_eq!(good.status, 403, "its address was declared in that file: {}", good.text);
    world.end().await;
}

/// A secret from which tokens are made somewhere.
fn login(world: &World, name: &str, kind: Kind, host: &str, settings: &[(&str, &str)]) {
    let value = match kind {
        Kind::Openai => "sk-proj-0123456789abcdef0123456789abcdef",
        Kind::Anthropic => "sk-ant-oat01-0123456789abcdef0123456789",
        Kind::GithubApp => include_str!("../../src/dynamic/tests/app-key.pem"),
        _ => "a-refresh-token-0123456789abcdef",
    };
    let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let new = NewSecret {
        name: name.to_owned(),
        kind,
        value: Value::new(value.to_owned()),
        bindings: vec![binding(host, 443)],
        grants: vec![To { to: "agent-1".parse().unwrap(), until: None }],
        expires: None,
        settings: settings.collect::<BTreeMap<_, _>>(),
    };
    world.store.add(new).unwrap();
}

#[tokio::test]
async fn p36_no_box_talks_to_a_token_server() {
    let world = World::open().await;
    let url = format!("https://{}/token", world.place("other.test"));
    let mine = [("token_url", url.as_str()), ("client_id", "me")];
    let google = [("token_url", "https://oauth2.googleapis.com/token"), ("client_id", "me")];
    let app = [("app_id", "1"), ("installation_id", "42"), ("repositories", "site")];
    login(&world, "mail", Kind::Oauth2, "api.mail.test", &mine);
    login(&world, "google", Kind::Oauth2, "www.googleapis.com", &google);
    login(&world, "openai", Kind::Openai, "api.openai.com", &[]);
    login(&world, "claude", Kind::Anthropic, "api.anthropic.com", &[]);
    login(&world, "app", Kind::GithubApp, "api.github.com", &app);
    for (host, port, path, name) in [
        ("other.test", world.port, "/token", "mail"),
        ("oauth2.googleapis.com", 443, "/token", "google"),
        ("auth.openai.com", 443, "/oauth/token", "openai"),
        ("console.anthropic.com", 443, "/v1/oauth/token", "claude"),
        ("platform.claude.com", 443, "/v1/oauth/token", "claude"),
        ("api.github.com", 443, "/app/installations/42/access_tokens", "app"),
    ] {
        if port == 443 {
            world.name(&format!("{host} 1.1.1.1"));
        }
        let dummies = world.store.dummies(&agent("agent-1")).unwrap();
        let dummy = dummies.into_iter().find(|dummy| dummy.name == name).unwrap().text;
        let to = format!("{host}:{port}");
        let (opened, stream) = world.tunnel(&world.grant, &to, &World::login(&world.grant)).await;
        assert_eq!(opened.status, 200, "{to}: {}", opened.text);
        let mut tls = world.tls(stream, Some(host)).await.unwrap();
        let body = format!("grant_type=refresh_token&refresh_token={dummy}");
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {to}\r\ncontent-length: {}\r\n\
             content-type: application/x-www-form-urlencoded\r\n\r\n{body}",
            body.len()
        );
        let answer = world.say(&mut tls, request.as_bytes()).await;
        assert_eq!(answer.status, 200, "{to}: {}", answer.text);
        let shown: serde_json::Value =
            serde_json::from_str(answer.text.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        let token = shown.get("access_token").or(shown.get("token")).unwrap();
        assert_eq!(token, dummy.as_str(), "{to}");
    }
    assert_eq!(world.server.connections(), 0);
    world.notes("answered_by_vault").await;
    world.end().await;
}
