//! Against a token server that is played here.

use super::*;
use http_body_util::{BodyExt as _, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use nanoclaw_secrets::{Binding, Grant, KeySource, NewSecret, Rotation, Slot};
use std::convert::Infallible;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use tokio::net::TcpListener;

const APP_KEY: &str = include_str!("tests/app-key.pem");

/// What was asked: method, path, authorization, body.
type Asked = (String, String, String, String);

struct Server {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Plays a token server; `answer` is given the number of the question.
    async fn start(answer: impl Fn(u32, &Asked) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (noted, answer, count) =
            (Arc::clone(&asked), Arc::new(answer), Arc::new(AtomicU32::new(0)));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (noted, answer, count) =
                    (Arc::clone(&noted), Arc::clone(&answer), Arc::clone(&count));
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let (noted, answer, count) =
                        (Arc::clone(&noted), Arc::clone(&answer), Arc::clone(&count));
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let proof = head.headers.get("authorization");
                        let asked = (
                            head.method.to_string(),
                            head.uri.path().to_owned(),
                            proof.map_or("", |p| p.to_str().unwrap()).to_owned(),
                            String::from_utf8(body.to_vec()).unwrap(),
                        );
                        let (status, text) = answer(count.fetch_add(1, Ordering::SeqCst), &asked);
                        noted.lock().unwrap().push(asked);
                        let mut answer = Response::new(Full::new(bytes::Bytes::from(text)));
                        *answer.status_mut() = hyper::StatusCode::from_u16(status).unwrap();
                        Ok::<_, Infallible>(answer)
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn token(n: u32) -> (u16, String) {
    let text = format!(
        r#"{{"access_token":"access-{n}","refresh_token":"refresh-{n}","expires_in":3600,"token_type":"Bearer"}}"#
    );
    (200, text)
}

struct Install {
    _dir: tempfile::TempDir,
    store: Arc<Store>,
}

fn install() -> Install {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path(), &KeySource::File).unwrap());
    Install { _dir: dir, store }
}

fn agent() -> AgentNames {
    AgentNames { id: "agent-1".into(), folder: "one".into() }
}

impl Install {
    fn add(&self, kind: Kind, host: &str, value: &str, settings: &[(&str, &str)]) -> Bound {
        let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let binding = Binding::new(host.parse().unwrap(), Slot::bearer());
        let new = NewSecret {
            name: "mail".into(),
            kind,
            value: Value::new(value.into()),
            bindings: vec![binding],
            grants: vec![Grant::to_all().unwrap()],
            expires: None,
            settings,
        };
        self.store.add(new).unwrap();
        self.bound(host)
    }

    fn bound(&self, host: &str) -> Bound {
        let at = Authority::parse(host, Some(443)).unwrap();
        self.store.bound(&agent(), &at).unwrap().remove(0)
    }

    fn oauth(&self, server: &Server) -> Bound {
        let url = format!("{}/token", server.url);
        let value = r#"{"refresh_token":"refresh-first","client_secret":"the secret"}"#;
        let settings = [("token_url", url.as_str()), ("client_id", "me"), ("scope", "a b")];
        self.add(Kind::Oauth2, "api.mail.example", value, &settings)
    }

    fn state(&self, bound: &Bound) -> State {
        serde_json::from_slice(&self.store.state(&bound.secret).unwrap().unwrap()).unwrap()
    }

    fn set_state(&self, bound: &Bound, state: &State) {
        let bytes = serde_json::to_vec(state).unwrap();
        self.store.set_state(&bound.secret, bound.epoch, &bytes).unwrap();
    }
}

fn text(value: Result<Value, Problem>) -> String {
    value.unwrap_or_else(|e| panic!("{e}")).expose().to_owned()
}

#[tokio::test]
async fn v9_a_storm_of_refused_requests_is_one_refresh() {
    let (install, server) = (install(), Server::start(|n, _| token(n)).await);
    let bound = install.oauth(&server);
    let one = Arc::new(Dynamic::new(Arc::clone(&install.store)));
    let first = one.value_for(&bound).await.unwrap();
    assert_eq!(first.expose(), "access-0");
    let body = &server.asked()[0].3;
    let expected = "grant_type=refresh_token&refresh_token=refresh-first&scope=a%20b&client_id=me&client_secret=the%20secret";
    assert_eq!(body, expected);
    // The token is from a while ago, and everybody is told 401.
    let mut state = install.state(&bound);
    state.made -= 600;
    install.set_state(&bound, &state);
    // Two processes share the vault.
    let all = [
        Arc::new(Dynamic::new(Arc::clone(&install.store))),
        Arc::new(Dynamic::new(Arc::clone(&install.store))),
    ];
    let mut storm = tokio::task::JoinSet::new();
    for n in 0..200 {
        let (dynamic, bound) = (Arc::clone(&all[n % 2]), bound.clone());
        storm.spawn(async move {
            text(dynamic.after_refusal(&bound, &Value::new("access-0".into())).await)
        });
    }
    while let Some(got) = storm.join_next().await {
        assert_eq!(got.unwrap(), "access-1");
    }
    assert_eq!(server.asked().len(), 2, "one refresh");
    assert!(server.asked()[1].3.contains("refresh_token=refresh-0&"), "with the rotated token");
}

#[tokio::test]
async fn v9_a_token_that_was_just_made_and_is_refused_is_no_loop() {
    let (install, server) = (install(), Server::start(|n, _| token(n)).await);
    let bound = install.oauth(&server);
    let dynamic = Dynamic::new(Arc::clone(&install.store));
    let first = dynamic.value_for(&bound).await.unwrap();
    for _ in 0..20 {
        let again = dynamic.after_refusal(&bound, &first).await;
        assert!(matches!(again, Err(Problem::Refused(_))));
    }
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn v9_a_token_is_renewed_five_minutes_before_its_end_and_kept_across_a_restart() {
    let (install, server) = (install(), Server::start(|n, _| token(n)).await);
    let bound = install.oauth(&server);
    let dynamic = || Dynamic::new(Arc::clone(&install.store));
    assert_eq!(text(dynamic().value_for(&bound).await), "access-0");
    assert_eq!(text(dynamic().value_for(&bound).await), "access-0", "from disk");
    let mut state = install.state(&bound);
    // As after a clock that went back ten minutes, and then one that is about to end.
    state.expires += 600;
    install.set_state(&bound, &state);
    assert_eq!(text(dynamic().value_for(&bound).await), "access-0");
    state.expires = install.store.now() + MARGIN - 1;
    install.set_state(&bound, &state);
    assert_eq!(text(dynamic().value_for(&bound).await), "access-1");
    assert_eq!(install.state(&bound).refresh.as_deref(), Some("refresh-1"));
}

#[tokio::test]
async fn v9_the_new_refresh_token_is_on_disk_before_the_access_token_is_used() {
    let (install, server) = (install(), Server::start(|n, _| token(n)).await);
    let bound = install.oauth(&server);
    // The vault cannot write what came back: it is not used either.
    let rotated = Arc::clone(&install.store);
    let blocked = Server::start(move |n, _| {
        let new = Value::new(r#"{"refresh_token":"refresh-new"}"#.into());
        if n == 0 {
            rotated.rotate("mail", Rotation { value: new, expires: None }).unwrap();
        }
        token(n)
    })
    .await;
    let mut elsewhere = bound.clone();
    let settings = [("token_url".to_owned(), format!("{}/token", blocked.url))];
    elsewhere.settings = Arc::new(settings.into());
    let dynamic = Dynamic::new(Arc::clone(&install.store));
    assert!(dynamic.value_for(&elsewhere).await.is_err(), "what is not kept is not used");
    assert!(install.store.state(&bound.secret).unwrap().is_none());
    let now = install.bound("api.mail.example");
    assert_eq!(text(dynamic.value_for(&now).await), "access-0");
    assert!(server.asked()[0].3.contains("refresh_token=refresh-new&"));
}

#[tokio::test]
async fn v9_a_login_that_is_over_is_told_once_and_not_asked_for_again() {
    let server = Server::start(|n, _| match n {
        0 => (503, "busy".into()),
        1 => (400, r#"{"error":"invalid_grant"}"#.into()),
        n => token(n),
    })
    .await;
    let install = install();
    let bound = install.oauth(&server);
    let dynamic = Dynamic::new(Arc::clone(&install.store));
    assert!(matches!(dynamic.value_for(&bound).await, Err(Problem::Unreachable(_))));
    assert!(notices(&install.store).unwrap().is_empty());
    for _ in 0..10 {
        let over = dynamic.value_for(&bound).await.err().unwrap();
        assert!(matches!(&over, Problem::NeedsLogin(name) if name == "mail"), "{over}");
    }
    assert_eq!(server.asked().len(), 2);
    let told = notices(&install.store).unwrap();
    assert_eq!(told.len(), 1);
    assert!(told[0].text.contains("nanoclaw vault rotate mail"), "{told:?}");
    let value = Value::new(r#"{"refresh_token":"refresh-again"}"#.into());
    install.store.rotate("mail", Rotation { value, expires: None }).unwrap();
    assert_eq!(text(dynamic.value_for(&install.bound("api.mail.example")).await), "access-2");
    assert!(notices(&install.store).unwrap().is_empty());
}

#[tokio::test]
async fn a_client_gets_tokens_with_its_own_secret() {
    let (install, server) = (install(), Server::start(|n, _| token(n)).await);
    let url = format!("{}/token", server.url);
    let settings = [("token_url", url.as_str()), ("client_id", "me"), ("client_auth", "basic")];
    let bound = install.add(Kind::Oauth2, "api.mail.example", "the-client-secret", &settings);
    let dynamic = Dynamic::new(Arc::clone(&install.store));
    assert_eq!(text(dynamic.value_for(&bound).await), "access-0");
    let (_, _, proof, body) = &server.asked()[0];
    assert_eq!(proof, "Basic bWU6dGhlLWNsaWVudC1zZWNyZXQ=");
    assert_eq!(body, "grant_type=client_credentials");
}

#[tokio::test]
async fn claudes_own_file_is_a_login() {
    let (install, server) = (install(), Server::start(|n, _| token(n)).await);
    let file = r#"{
        "claudeAiOauth": {"accessToken": "old", "refreshToken": "refresh-c", "expiresAt": 1}
    }"#;
    let url = format!("{}/v1/oauth/token", server.url);
    let settings = [("provider", "claude"), ("token_url", url.as_str())];
    let bound = install.add(Kind::Oauth2, "api.anthropic.com", file, &settings);
    let dynamic = Dynamic::new(Arc::clone(&install.store));
    assert_eq!(text(dynamic.value_for(&bound).await), "access-0");
    let body: serde_json::Value = serde_json::from_str(&server.asked()[0].3).unwrap();
    assert_eq!(body["grant_type"], "refresh_token");
    assert_eq!(body["refresh_token"], "refresh-c");
}

#[tokio::test]
async fn what_is_no_token_is_not_used() {
    let answers = [
        (200, "not json".to_owned()),
        (200, r#"{"access_token":"a\r\nb: c"}"#.to_owned()),
        (200, r#"{"access_token":""}"#.to_owned()),
        (302, String::new()),
        (200, "x".repeat(300 << 10)),
    ];
    let server = Server::start(move |n, _| answers[n as usize % 5].clone()).await;
    let install = install();
    let bound = install.oauth(&server);
    let dynamic = Dynamic::new(Arc::clone(&install.store));
    for n in 0..5 {
        assert!(dynamic.value_for(&bound).await.is_err(), "{n}");
        assert!(install.store.state(&bound.secret).unwrap().is_none(), "{n}");
    }
}

fn github(server: &Server, install: &Install, more: &[(&str, &str)]) -> Bound {
    let mut settings =
        vec![("api", server.url.as_str()), ("app_id", "17"), ("installation_id", "42")];
    settings.extend(more);
    install.add(Kind::GithubApp, "api.github.com", APP_KEY, &settings)
}

#[tokio::test]
async fn v10_a_token_of_an_app_is_narrowed_to_its_grant() {
    let server = Server::start(|_, asked| {
        let body: serde_json::Value = serde_json::from_str(&asked.3).unwrap();
        let names = body["repositories"].as_array().unwrap();
        if names.iter().any(|name| name != "site" && name != "docs") {
            return (422, "not in this installation".into());
        }
        let repositories: Vec<_> = names.iter().map(|n| serde_json::json!({ "name": n })).collect();
        let answer = serde_json::json!({
            "token": "ghs_made", "permissions": {"contents": "read", "metadata": "read"},
            "repositories": repositories,
        });
        (201, answer.to_string())
    })
    .await;
    let install = install();
    let more = [("repositories", "site, docs"), ("permissions", "contents:read")];
    let bound = github(&server, &install, &more);
    let dynamic = Dynamic::new(Arc::clone(&install.store));
    assert_eq!(text(dynamic.value_for(&bound).await), "ghs_made");
    let (method, path, proof, body) = server.asked().remove(0);
    assert_eq!((method.as_str(), path.as_str()), ("POST", "/app/installations/42/access_tokens"));
    let expected = r#"{"repositories":["site","docs"],"permissions":{"contents":"read"}}"#;
    assert_eq!(body, expected);
    is_signed(proof.strip_prefix("Bearer ").unwrap(), install.store.now());
    // A repository that the installation does not have is not asked around.
    install.store.remove("mail").unwrap();
    let outside = github(&server, &install, &[("repositories", "payroll")]);
    assert!(matches!(dynamic.value_for(&outside).await, Err(Problem::Refused(_))));
    install.store.remove("mail").unwrap();
    let unsaid = github(&server, &install, &[]);
    assert!(matches!(dynamic.value_for(&unsaid).await, Err(Problem::Refused(_))), "not everything");
}

fn is_signed(jwt: &str, now: i64) {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    let (text, signature) = jwt.rsplit_once('.').unwrap();
    let der: String = APP_KEY.lines().filter(|line| !line.starts_with("-----")).collect();
    let pair = ring::signature::RsaKeyPair::from_der(&STANDARD.decode(der).unwrap()).unwrap();
    let key = ring::signature::UnparsedPublicKey::new(
        &ring::signature::RSA_PKCS1_2048_8192_SHA256,
        pair.public().as_ref(),
    );
    key.verify(text.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    let claims = URL_SAFE_NO_PAD.decode(text.split_once('.').unwrap().1).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    let at = |name: &str| claims[name].as_i64().unwrap();
    assert_eq!(claims["iss"], "17");
    assert!(at("iat") < now && at("exp") > now && at("exp") - at("iat") <= 600);
}

#[tokio::test]
async fn v10_a_token_that_is_wider_than_asked_is_not_used() {
    let server = Server::start(|n, _| {
        let wide = match n {
            0 => serde_json::json!({ "token": "ghs_x", "repositories": [{"name": "site"}, {"name": "payroll"}] }),
            1 => serde_json::json!({ "token": "ghs_x" }),
            _ => serde_json::json!({
                "token": "ghs_x", "repositories": [{"name": "site"}], "permissions": {"contents": "write"},
            }),
        };
        (201, wide.to_string())
    })
    .await;
    let install = install();
    let more = [("repositories", "site"), ("permissions", "contents:read")];
    let bound = github(&server, &install, &more);
    let dynamic = Dynamic::new(Arc::clone(&install.store));
    for _ in 0..3 {
        assert!(matches!(dynamic.value_for(&bound).await, Err(Problem::Refused(_))));
    }
}

#[tokio::test]
async fn p36_a_token_server_that_a_box_asks_is_played_with_placeholders() {
    let (install, server) = (install(), Server::start(|n, _| token(n)).await);
    let bound = install.oauth(&server);
    let place = server.url.strip_prefix("http://").unwrap();
    let at = Authority::parse(place, None).unwrap();
    let answer = answers(&install.store, &agent(), &at, "/token").unwrap().unwrap();
    assert_eq!(answer["access_token"], bound.dummy);
    assert_eq!(answer["refresh_token"], bound.dummy);
    assert!(answers(&install.store, &agent(), &at, "/other").unwrap().is_none());
    install.store.revoke("mail", &"*".parse().unwrap()).unwrap();
    assert!(answers(&install.store, &agent(), &at, "/token").unwrap().is_none(), "not its login");
    install.store.remove("mail").unwrap();
    let app = github(&server, &install, &[("repositories", "site")]);
    let github = Authority::parse("api.github.com:443", None).unwrap();
    let path = "/app/installations/42/access_tokens";
    assert_eq!(
        answers(&install.store, &agent(), &github, path).unwrap().unwrap()["token"],
        app.dummy
    );
    assert!(server.asked().is_empty(), "the real one is never called");
}

#[tokio::test]
async fn the_owner_is_told_fourteen_seven_three_and_one_day_before_a_secret_ends() {
    let install = install();
    let now = install.store.now();
    let bound = install.add(Kind::Bearer, "api.mail.example", "0123456789", &[]);
    let seen = AtomicI64::new(0);
    let key = |left: i64| {
        let value = Value::new("0123456789".into());
        let rotation = Rotation { value, expires: Some(now + left) };
        install.store.rotate("mail", rotation).unwrap();
        seen.fetch_add(1, Ordering::SeqCst);
        let told = notices(&install.store).unwrap();
        told.first().map(|n| n.key.rsplit_once('/').unwrap().1.to_owned())
    };
    let day = 86_400;
    assert_eq!(key(20 * day), None);
    for (left, step) in [(14, "14"), (8, "14"), (7, "7"), (4, "7"), (3, "3"), (2, "3"), (1, "1")] {
        assert_eq!(key(left * day - 60).as_deref(), Some(step), "{left} days");
    }
    assert_eq!(key(-60).as_deref(), Some("0"));
    let told = notices(&install.store).unwrap().remove(0);
    assert!(
        told.text.contains("has ended") && told.key.contains(bound.secret.as_str()),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_secret_is_tried_once_and_what_came_back_is_a_status() {
    let server = Server::start(|n, asked| {
        assert_eq!((asked.1.as_str(), asked.2.as_str()), ("/v1/me", "Bearer 0123456789"));
        ([200, 401, 500][n as usize], "echo: 0123456789".into())
    })
    .await;
    let install = install();
    let place = server.url.strip_prefix("http://").unwrap().to_owned();
    let bindings = nanoclaw_secrets::kind::usual(Kind::Bearer, &server.url, "").unwrap();
    let (grants, value) = (Vec::new(), Value::new("0123456789".into()));
    let (expires, settings) = (None, BTreeMap::new());
    let (name, kind) = ("mine".to_owned(), Kind::Bearer);
    let new = NewSecret { name, kind, value, bindings, grants, expires, settings };
    install.store.add(new).unwrap();
    for (accepted, status) in [(true, "200"), (false, "401"), (false, "500")] {
        let probe = probe(Arc::clone(&install.store), "mine", "/v1/me").await.unwrap();
        assert_eq!(probe.is_accepted, accepted);
        assert!(
            probe.text.starts_with(&format!("{place}/v1/me answered {status}")),
            "{}",
            probe.text
        );
        assert!(!probe.text.contains("0123456789"));
    }
}
