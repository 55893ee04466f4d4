//! This vault in front of an external OneCLI: peers of both generations, and our own facade as a real one.

use crate::facade::{Door, SECRET};
use crate::kit::*;
use crate::peer::{Peer, Plays};
use crate::web::Web;
use nanoclaw_secrets::kind::usual;
use nanoclaw_secrets::{Grant as Leave, Kind, NewSecret, Value as Secret};
use nanoclaw_vault::{Decision, Events, VaultError};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const OPEN: &str = "mode = \"open\"\nports = [PORT]";

/// A vault that leaves everything to this OneCLI.
async fn behind(settings: &str, egress: &str) -> (Web, Install, nanoclaw_vault::Grant) {
    let web = Web::start().await;
    std::fs::write(web.dir.path().join("settings"), settings).unwrap();
    let (install, grant) = web.install(egress).await;
    (web, install, grant)
}

async fn goes_through(plays: Plays) {
    let peer = Peer::start(plays).await;
    let (web, install, grant) = behind(&peer.settings(), OPEN).await;
    assert_eq!(grant.env["ANTHROPIC_API_KEY"], "placeholder");
    assert!(
        !grant.env.contains_key("LD_PRELOAD") && !grant.env.contains_key("ANTHROPIC_BASE_URL"),
        "{:?}",
        grant.env
    );
    assert!(grant.env.values().all(|value| !value.contains("aoc_")), "{:?}", grant.env);
    assert!(grant.env["HTTPS_PROXY"].ends_with("@127.0.0.1:3128"), "{:?}", grant.env);

    let url = web.url("good.test", "/v1/x?y=z");
    let (status, told) =
        web.curl_with(&grant, &url, &["-H", "x-api-key: placeholder", "-d", "hello"]).await;
    assert_eq!((status, told.as_str()), (200, "POST /v1/x?y=z key=placeholder pass=false hello"));
    let plain = format!("http://good.test:{}/plain", web.port);
    let (status, told) = web.curl(&grant, &plain).await;
    assert_eq!(status, 200, "{told}");
    assert!(told.contains(&format!("GET {plain} key= pass=true")), "{told}");
    assert!(web.upstream.seen().is_empty(), "nothing goes around the gateway");

    // A second session, and the agent is there already.
    soon(install.supervisor.open("s2", &agent("agent-1"))).await.unwrap();
    let log = peer.log();
    let at = |text: &str| log.iter().position(|line| line.contains(text));
    assert!(at("agents {\"name\":\"agent-1\",\"identifier\":\"agent-1\"}").is_some(), "{log:#?}");
    assert_eq!(
        at("secret-mode {\"mode\":\"selective\"}").is_some(),
        plays == Plays::First,
        "{log:#?}"
    );
    install.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_through_the_gateway_of_the_first_generation() {
    goes_through(Plays::First).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_through_the_gateway_of_the_second_generation() {
    goes_through(Plays::Second).await;
}

async fn decision(events: &Events, id: &str, answer: &str) -> Result<bool, VaultError> {
    let (id, answer) = (id.to_owned(), answer.to_owned());
    events.decide(Decision { id, answer, by: "owner".into(), why: None }).await
}

async fn asks_people(plays: Plays) {
    let peer = Peer::start(plays).await;
    let (_web, install, _grant) = behind(&peer.settings(), OPEN).await;
    let events = Events::of(&install.data);
    // Somebody else's agent on the same OneCLI is not asked about here.
    peer.asks("others-1", "of-another-install");
    peer.asks("id-1", "agent-1");
    let asked = soon(events.next()).await;
    assert_eq!(asked["id"], "oc-id-1");
    assert_eq!((&asked["session"], &asked["agent"]), (&json!("s1"), &json!("agent-1")));
    assert_eq!(asked["title"], "POST to api.test:443");
    let lines = asked["lines"].to_string();
    assert!(lines.contains("token=…") && !lines.contains("12345678"), "{lines}");
    assert!(lines.contains("one\\\\u{202e}two"), "what the agent wrote hides nothing: {lines}");
    let options: Vec<&str> =
        asked["options"].as_array().unwrap().iter().map(|o| o["value"].as_str().unwrap()).collect();
    assert_eq!(options, ["approve", "reject"]);
    // The same one is not told twice, and a poll leaves it out.
    peer.asks("id-2", "agent-1");
    assert_eq!(soon(events.next()).await["id"], "oc-id-2");
    peer.noted("exclude=id-1,id-2").await;

    assert!(soon(decision(&events, "oc-id-1", "approve")).await.unwrap());
    assert!(soon(decision(&events, "oc-id-2", "reject")).await.unwrap());
    assert_eq!(peer.decided(), [("id-1".into(), "approve".into()), ("id-2".into(), "deny".into())]);
    // Twice, unknown, or too late: 404 and 410 are an end, not an error.
    for id in ["oc-id-1", "oc-nothing", "oc-late-1"] {
        assert!(!soon(decision(&events, id, "approve")).await.unwrap(), "{id}");
    }
    let wrong = soon(decision(&events, "oc-a/b", "approve")).await;
    assert!(matches!(wrong, Err(VaultError::Refused(_))), "{wrong:?}");

    // A vault that comes back asks again, under the same id.
    peer.asks("id-3", "agent-1");
    assert_eq!(soon(events.next()).await["id"], "oc-id-3");
    let pid = install.pid().await.to_string();
    assert!(
        tokio::process::Command::new("kill").args(["-9", &pid]).status().await.unwrap().success()
    );
    loop {
        let again = soon(events.next()).await;
        if again["id"] == "oc-id-3" {
            break;
        }
    }
    assert!(soon(decision(&events, "oc-id-3", "approve")).await.unwrap());
    install.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_decide_for_the_first_generation() {
    asks_people(Plays::First).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_decide_for_the_second_generation() {
    asks_people(Plays::Second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn walls_of_this_vault_stand_before_the_gateway() {
    let peer = Peer::start(Plays::First).await;
    let egress = "mode = \"open\"\nports = [PORT]\nblock = [\"evil.test\"]";
    let (web, install, grant) = behind(&peer.settings(), egress).await;
    // A secret of this vault's own, for the same place: the gateway would see it.
    let store = install.store().open().unwrap();
    let place = format!("good.test:{}", web.port);
    let mut bindings = usual(Kind::Header, &place, SECRET).unwrap();
    bindings[0].mode = nanoclaw_secrets::Inject::Always;
    let new = NewSecret {
        name: "own".into(),
        kind: Kind::Header,
        value: Secret::new(SECRET.into()),
        bindings,
        grants: vec![Leave::to_all().unwrap()],
        expires: None,
        settings: BTreeMap::new(),
    };
    store.add(new).unwrap();
    install.set(KEY, "https://good.test");
    install.reload().await;
    let (status, told) = web.curl(&grant, &web.url("good.test", "/a")).await;
    assert_eq!((status, told.as_str()), (200, "GET /a key= pass=false "));
    // The model's API in clear is this vault's own, so it is shut.
    let (status, told) = post(&grant, "{}").await;
    assert_eq!(status, 401, "{told}");

    let (_, told) = web.curl(&grant, &web.url("evil.test", "/")).await;
    assert!(told.contains("403"), "{told}");
    let (_, told) = web.curl(&grant, "https://169.254.169.254/").await;
    assert!(told.contains("403"), "{told}");
    let log = peer.log();
    let connects: Vec<&String> = log.iter().filter(|line| line.starts_with("CONNECT")).collect();
    assert_eq!(connects, [&format!("CONNECT good.test:{}", web.port)]);
    assert!(!log.join("\n").contains(SECRET) && !log.join("\n").contains(KEY), "{log:#?}");
    install.stop().await;
}

async fn why_not(settings: &str) -> String {
    let web = Web::start().await;
    std::fs::write(web.dir.path().join("settings"), settings).unwrap();
    let install = Install::in_world(&web.names(), &web.dir.path().join("roots.pem"));
    let opened = soon(install.supervisor.open("s1", &agent("agent-1"))).await;
    let told = opened.unwrap_err().to_string();
    install.stop().await;
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn without_onecli_no_session_opens_and_the_reason_is_told() {
    let told = why_not("NANOCLAW_VAULT=onecli\nONECLI_URL=http://127.0.0.1:9\n").await;
    assert!(told.contains("cannot be reached"), "{told}");
    let peer = Peer::start(Plays::First).await;
    let told = why_not(&peer.settings().replace("oc_the-key", "oc_another")).await;
    assert!(told.contains("refuses the API key") && told.contains("ONECLI_API_KEY"), "{told}");
    assert!(!told.contains("oc_another"), "{told}");
    let page = Peer::start(Plays::WebPage).await;
    let told = why_not(&page.settings()).await;
    assert!(told.contains("10256"), "{told}");
    // A key goes to another machine with TLS only.
    let told = why_not("NANOCLAW_VAULT=onecli\nONECLI_URL=http://192.0.2.1:10254\n").await;
    assert!(told.contains("https://"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_facade_is_a_onecli_for_another_install() {
    let door = Door::open(&format!("{OPEN}\n[[rule]]\nname = \"r\"\nmatch = {{ host = \"good.test\", path = \"/v1/ask\", port = PORT }}\naction = \"ask\"\n")).await;
    door.secret().await;
    let store = door.install.store().open().unwrap();
    let mut bindings = store.info("My-Key").unwrap().bindings;
    bindings[0].port = door.web.port;
    store.bind("My-Key", bindings).unwrap();

    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(door.web.names(), dir.path().join("names")).unwrap();
    let settings =
        format!("NANOCLAW_VAULT=onecli\nONECLI_URL={}\nONECLI_API_KEY={}\n", door.url(), door.key);
    std::fs::write(dir.path().join("settings"), settings).unwrap();
    let install =
        Install::in_world(&dir.path().join("names"), &door.web.dir.path().join("roots.pem"));
    std::fs::create_dir_all(install.data.join("vault")).unwrap();
    let policy = std::fs::read_to_string(door.install.data.join("vault/policy.toml")).unwrap();
    let policy = policy.split("[[rule]]").next().unwrap().to_owned()
        + &policy[policy.find("[[allow_private]]").unwrap()..];
    std::fs::write(install.data.join("vault/policy.toml"), policy).unwrap();
    soon(install.supervisor.status()).await.unwrap();
    install.reload().await;
    let grant = install.open("s1").await;

    // The agent that was made there may use nothing yet; then it may.
    let url = door.web.url("good.test", "/v1/x");
    assert_eq!(door.web.curl(&grant, &url).await.0, 200);
    assert_eq!(door.web.upstream.last().header("x-api-key"), None);
    let agents = door.json("GET", "/api/agents", json!({})).await;
    let id =
        agents.as_array().unwrap().iter().find(|a| a["identifier"] == "agent-1").unwrap()["id"]
            .clone();
    door.json(
        "PATCH",
        &format!("/api/agents/{}/secret-mode", id.as_str().unwrap()),
        json!({"mode": "all"}),
    )
    .await;
    soon(async {
        while door.web.upstream.last().header("x-api-key") != Some(SECRET) {
            door.web.curl(&grant, &url).await;
        }
    })
    .await;

    // A rule there asks a person here.
    let events = Events::of(&install.data);
    let ask = door.web.url("good.test", "/v1/ask");
    let decide = async {
        let asked: Value = soon(events.next()).await;
        assert_eq!(asked["agent"], "agent-1");
        decision(&events, asked["id"].as_str().unwrap(), "approve").await.unwrap()
    };
    let (answer, waited) = tokio::join!(door.web.curl(&grant, &ask), decide);
    assert_eq!(answer.0, 200, "{}", answer.1);
    assert!(waited);
    install.stop().await;
    door.install.stop().await;
}
