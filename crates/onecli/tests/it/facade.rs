//! This vault as OneCLI: the real SDK, containers' requests through the gateway, and what is refused.

use crate::kit::*;
use crate::web::Web;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// When the machine is so busy that one of its calls takes five seconds, the SDK comes back with its next poll.
const SDK_PATIENCE: Duration = Duration::from_secs(80);
pub(crate) const SECRET: &str = "the-real-value-of-it-0123456789";

/// A vault that answers OneCLI's REST.
pub(crate) struct Door {
    pub(crate) web: Web,
    pub(crate) install: Install,
    pub(crate) port: u16,
    pub(crate) key: String,
}

/// A port that nobody has now.
pub(crate) async fn free_port() -> u16 {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    taken.local_addr().unwrap().port()
}

impl Door {
    pub(crate) async fn open(egress: &str) -> Self {
        let (web, port) = (Web::start().await, free_port().await);
        let settings = format!("NANOCLAW_ONECLI_PORT={port}\n");
        std::fs::write(web.dir.path().join("settings"), settings).unwrap();
        let (install, _) = web.install(egress).await;
        let store = install.store().open().unwrap();
        let key = nanoclaw_onecli::facade::new_token(&store).unwrap();
        let door = Self { web, install, port, key };
        soon(async {
            while door.call("GET", "/api/health", "").await.0 != 200 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        door
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        ask(&self.url(), &format!("Bearer {}", self.key), (method, path), body).await
    }

    pub(crate) async fn json(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, text) = self.call(method, path, &body.to_string()).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// A secret for good.test, as OneCLI's setup would make one.
    pub(crate) async fn secret(&self) -> String {
        let body = json!({ "name": "My Key", "type": "generic", "value": SECRET, "hostPattern": "good.test",
            "pathPattern": "/v1/*", "injectionConfig": { "headerName": "X-Api-Key" } });
        let made = self.json("POST", "/api/secrets", body).await;
        assert!(!made.to_string().contains(SECRET), "{made}");
        made["id"].as_str().unwrap().to_owned()
    }

    /// The variables of an agent.
    pub(crate) async fn container(&self, agent: &str) -> Value {
        self.json("GET", &format!("/api/container-config?agent={agent}"), json!({})).await
    }

    /// Runs curl as a container would: with the variables and the certificate of its configuration.
    pub(crate) async fn curl(&self, config: &Value, url: &str, args: &[&str]) -> (u16, String) {
        let ca = self.web.dir.path().join("ca.pem");
        let pem = config["caCertificate"].as_str().unwrap();
        // Another curl may be reading it.
        if std::fs::read_to_string(&ca).ok().as_deref() != Some(pem) {
            std::fs::write(&ca, pem).unwrap();
        }
        let output = Command::new("curl")
            .args(["-sS", "-w", "\n%{http_code}", "--max-time", "90", "--cacert"])
            .arg(&ca)
            .args(args)
            .arg(url)
            .env("https_proxy", config["env"]["https_proxy"].as_str().unwrap())
            .env("http_proxy", config["env"]["http_proxy"].as_str().unwrap())
            .output();
        let output = output.await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap_or_default();
        let told = String::from_utf8_lossy(&output.stderr);
        (status.parse().unwrap_or(0), format!("{body}{told}"))
    }
}

/// Asks with curl, so that nothing of ours is on both sides.
pub(crate) async fn ask(
    url: &str,
    shown: &str,
    (method, path): (&str, &str),
    body: &str,
) -> (u16, String) {
    let output = Command::new("curl")
        .args(["-sS", "-w", "\n%{http_code}", "--max-time", "40", "-X", method, "-H"])
        .arg(format!("authorization: {shown}"))
        .args(["-H", "content-type: application/json", "-d", body])
        .arg(format!("{url}{path}"))
        .output();
    let output = output.await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap_or_default();
    (status.parse().unwrap_or(0), body.to_owned())
}

/// The SDK in a Node of its own.
struct Sdk {
    out: Lines<BufReader<ChildStdout>>,
    child: Child,
}

impl Sdk {
    fn start(door: &Door, package: &str) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let tools = std::env::var_os("NANOCLAW_TOOLS").map(PathBuf::from);
        let tools = tools.unwrap_or_else(|| here.join("../../target/tools"));
        let folder = tools.join("onecli/node_modules").join(package);
        assert!(folder.is_dir(), "{folder:?} is missing: bash crates/onecli/tests/tools.sh");
        let mut child = Command::new("node")
            .arg(here.join("tests/it/sdk.mjs"))
            .arg(folder)
            .args([door.url(), door.key.clone()])
            .env("TMPDIR", door.web.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { out, child }
    }

    async fn next(&mut self, what: &str) -> Value {
        let line = tokio::time::timeout(SDK_PATIENCE, self.out.next_line()).await;
        let line = line.expect("the SDK goes on").unwrap().expect("the SDK goes on");
        let told: Value = serde_json::from_str(&line).unwrap();
        assert!(told[what].is_object(), "{told}");
        told[what].clone()
    }

    async fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(soon(self.child.wait()).await.unwrap().success());
    }
}

/// What both SDKs do at first.
fn check_calls(told: &Value, first: bool) {
    assert_eq!(
        told["first"],
        json!({"name": "Gamma Group", "identifier": "gamma-1", "created": true})
    );
    assert_eq!(told["again"]["created"], false);
    assert_eq!(told["digit"], json!({"threw": "OneCLIRequestError", "status": 400}));
    assert_eq!(told["made"]["identifier"], "delta");
    assert_eq!(
        told["made"].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["id", "name", "identifier", "createdAt"]
    );
    assert_eq!(told["config"]["applied"], true);
    let args: Vec<&str> =
        told["config"]["args"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
    assert!(args.iter().any(|arg| arg.starts_with("HTTPS_PROXY=http://x:aoc_")), "{args:?}");
    assert!(args.contains(&"NODE_EXTRA_CA_CERTS=/tmp/onecli-gateway-ca.pem"), "{args:?}");
    assert!(args.contains(&"GIT_HTTP_PROXY_AUTHMETHOD=basic"), "{args:?}");
    assert!(
        args.iter().any(|arg| arg.ends_with("onecli-proxy-ca.pem:/tmp/onecli-gateway-ca.pem:ro")),
        "{args:?}"
    );
    assert_eq!(
        args.iter().filter(|arg| **arg == "-e").count(),
        if first { 10 } else { 14 },
        "{args:?}"
    );
    assert_eq!(told["skill"], "string");
    assert_eq!(told["wrongKey"], json!({"threw": "OneCLIRequestError", "status": 401}));
    assert_eq!(told["down"]["applied"], false);
    match first {
        true => {
            assert_eq!(told["nobody"]["applied"], false);
            assert_eq!(told["raw"], json!(["env", "caCertificate", "caCertificateContainerPath"]));
        }
        // The second one does not hide a mistake of the caller.
        false => {
            assert_eq!(
                told["nobody"]["applied"],
                json!({"threw": "OneCLIRequestError", "status": 404})
            );
            let raw = told["raw"].as_array().unwrap();
            assert!(raw.contains(&json!("credentialStubs")), "{raw:?}");
        }
    }
}

const ASKS: &str = "allow = [\"good.test:PORT\"]\n[[rule]]\nname = \"mail\"\nmatch = { host = \"good.test\", port = PORT }\n\
                    action = \"ask\"\n";

async fn drives(package: &str, first: bool) {
    let door = Door::open(ASKS).await;
    let mut sdk = Sdk::start(&door, package);
    check_calls(&sdk.next("ready").await, first);
    let config = door.container("gamma-1").await;

    let url = door.web.url("good.test", "/v1/yes?a=b");
    let body = "{\"to\": \"someone\"}";
    let args = ["-d", body, "-H", "content-type: application/json"];
    let (answer, asked) = tokio::join!(door.curl(&config, &url, &args), sdk.next("asked"));
    assert_eq!((answer.0, answer.1.as_str()), (200, body));
    let keys = [
        "id",
        "method",
        "url",
        "host",
        "path",
        "headers",
        "bodyPreview",
        "agent",
        "createdAt",
        "expiresAt",
        "timeoutSeconds",
    ];
    let mut got: Vec<&str> = asked.as_object().unwrap().keys().map(String::as_str).collect();
    let mut want = keys.to_vec();
    got.sort_unstable();
    want.sort_unstable();
    assert_eq!(got, want);
    assert_eq!(asked["method"], "POST");
    assert_eq!(asked["url"], format!("https://good.test:{}/v1/yes?a=b", door.web.port));
    assert_eq!(asked["host"], format!("good.test:{}", door.web.port));
    assert_eq!(asked["bodyPreview"], body);
    assert_eq!(asked["agent"]["externalId"], "gamma-1");
    assert_eq!(asked["agent"]["name"], "Gamma Group");
    assert_eq!(asked["timeoutSeconds"], 300);

    let url = door.web.url("good.test", "/no");
    let (answer, _) = tokio::join!(door.curl(&config, &url, &[]), sdk.next("asked"));
    assert_eq!(answer.0, 403);
    assert!(answer.1.contains("manual_approval_denied"), "{}", answer.1);

    // A callback that fails sends no decision: the next poll, which another request ends, asks again.
    let url = door.web.url("good.test", "/fails");
    let other = door.web.url("good.test", "/other");
    let twice = async {
        let one = sdk.next("asked").await;
        let (answer, _) = tokio::join!(door.curl(&config, &other, &[]), sdk.next("asked"));
        assert_eq!(answer.0, 200);
        (one, sdk.next("asked").await)
    };
    let (answer, (one, two)) = tokio::join!(door.curl(&config, &url, &[]), twice);
    assert_eq!(answer.0, 200);
    assert_eq!(one["id"], two["id"]);

    six_at_once(&door, &mut sdk, &config).await;
    sdk.end().await;
    door.install.stop().await;
}

/// All of them are asked about and answered.
async fn six_at_once(door: &Door, sdk: &mut Sdk, config: &Value) {
    let urls: Vec<String> =
        (0..6).map(|n| door.web.url("good.test", &format!("/many/{n}"))).collect();
    let all = async {
        let curls = urls.iter().map(|url| door.curl(config, url, &[]));
        let mut running: Vec<_> = curls.map(Box::pin).collect();
        let mut statuses = Vec::new();
        std::future::poll_fn(|cx| {
            running.retain_mut(|one| match one.as_mut().poll(cx) {
                std::task::Poll::Ready((status, _)) => {
                    statuses.push(status);
                    false
                }
                std::task::Poll::Pending => true,
            });
            if running.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        statuses
    };
    let asked = async {
        let mut paths = Vec::new();
        for _ in 0..6 {
            paths.push(sdk.next("asked").await["path"].as_str().unwrap().to_owned());
        }
        paths.sort();
        paths
    };
    let (statuses, paths) = tokio::join!(all, asked);
    assert_eq!(statuses, [200; 6]);
    assert_eq!(paths, (0..6).map(|n| format!("/many/{n}")).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_of_the_first_generation_runs_against_this_vault() {
    drives("@onecli-sh/sdk", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_of_the_second_generation_runs_against_this_vault() {
    drives("second", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_gets_what_its_agent_may_use_and_nothing_else() {
    let door = Door::open("mode = \"open\"\nports = [PORT]").await;
    let secret = door.secret().await;
    let made =
        door.json("POST", "/api/agents", json!({"name": "Alpha", "identifier": "alpha"})).await;
    let id = made["id"].as_str().unwrap();
    let config = door.container("alpha").await;
    // The port of a secret is the usual one here; this upstream has another.
    let bound = {
        let store = door.install.store().open().unwrap();
        let mut b = store.info("My-Key").unwrap().bindings;
        b[0].port = door.web.port;
        store.bind("My-Key", b).unwrap()
    };
    assert_eq!(bound.grants.len(), 0);

    let url = door.web.url("good.test", "/v1/x");
    assert_eq!(door.curl(&config, &url, &[]).await.0, 200);
    assert_eq!(door.web.upstream.last().header("x-api-key"), None, "a new agent may use nothing");

    door.json("PUT", &format!("/api/agents/{id}/secrets"), json!({"secretIds": [secret]})).await;
    let given = door.json("GET", &format!("/api/agents/{id}/secrets"), json!({})).await;
    assert_eq!(given, json!([secret]));
    soon(async {
        // What was granted counts as soon as the vault has seen it.
        while door.curl(&config, &url, &["-H", "x-api-key: placeholder"]).await.0 != 200
            || door.web.upstream.last().header("x-api-key") != Some(SECRET)
        {}
    })
    .await;
    // Not below the path that it is for.
    door.curl(&config, &door.web.url("good.test", "/v2/x"), &[]).await;
    assert_eq!(door.web.upstream.last().header("x-api-key"), None);

    door.json("PATCH", &format!("/api/agents/{id}/secret-mode"), json!({"mode": "selective"}))
        .await;
    let all = door.json("GET", "/api/agents", json!({})).await;
    let alpha = all.as_array().unwrap().iter().find(|a| a["identifier"] == "alpha").unwrap();
    assert_eq!(alpha["secretMode"], "selective");
    assert!(!all.to_string().contains("aoc_"), "tokens are told to nobody else: {all}");

    let new = door.json("POST", &format!("/api/agents/{id}/regenerate-token"), json!({})).await;
    assert!(new["accessToken"].as_str().unwrap().starts_with("aoc_"));
    let (status, told) = door.curl(&config, &url, &[]).await;
    assert_eq!(status, 0, "the old token opens nothing: {told}");
    assert!(told.contains("407"), "{told}");
    let config = door.container("alpha").await;
    assert_eq!(door.curl(&config, &url, &[]).await.0, 200);

    assert_eq!(
        door.json("DELETE", &format!("/api/agents/{id}"), json!({})).await,
        json!({"success": true})
    );
    assert!(door.curl(&config, &url, &[]).await.1.contains("407"));
    door.install.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_asks_without_a_token_and_no_value_comes_back() {
    let door = Door::open("").await;
    let secret = door.secret().await;
    for shown in ["", "Bearer ", "Bearer oc_0000", "Basic eDp5"] {
        for path in
            ["/api/agents", "/v1/secrets", "/api/container-config", "/api/approvals/pending"]
        {
            let (status, text) = ask(&door.url(), shown, ("GET", path), "").await;
            assert_eq!(
                (status, text.as_str()),
                (401, "{\"error\":\"Unauthorized\"}"),
                "{shown} {path}"
            );
        }
    }
    // A container's own token is no key for the REST.
    let config = door.container("default").await;
    let token = config["env"]["HTTPS_PROXY"].as_str().unwrap().split_once("x:").unwrap().1;
    let token = token.split_once('@').unwrap().0;
    assert_eq!(
        ask(&door.url(), &format!("Bearer {token}"), ("GET", "/api/agents"), "").await.0,
        401
    );
    // Without authorization there is only what everybody may know.
    assert_eq!(ask(&door.url(), "", ("GET", "/api/health"), "").await.0, 200);
    let (status, pem) = ask(&door.url(), "", ("GET", "/api/gateway/ca"), "").await;
    assert!(status == 200 && pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
    // A CONNECT without a token, or with another's, goes nowhere.
    for proxy in ["http://127.0.0.1", "http://x:aoc_00@127.0.0.1", "http://x:@127.0.0.1"] {
        let config = json!({"env": {"https_proxy": format!("{proxy}:{}", door.port), "http_proxy": ""}, "caCertificate": ""});
        let (status, told) = door.curl(&config, &door.web.url("good.test", "/"), &["-k"]).await;
        assert!(status == 0 && told.contains("407"), "{proxy}: {status} {told}");
    }
    assert!(door.web.upstream.seen().is_empty());

    let list = door.json("GET", "/api/secrets", json!({})).await;
    assert_eq!(list[0]["name"], "My Key");
    assert_eq!(list[0]["id"], json!(secret));
    assert!(!list.to_string().contains(SECRET) && !list.to_string().contains("the-real"), "{list}");
    for (method, path, body, status) in [
        (
            "POST",
            "/api/secrets",
            json!({"name": "x", "type": "generic", "value": "12345678", "hostPattern": "a.test:8443", "injectionConfig": {"headerName": "a"}}),
            400,
        ),
        (
            "POST",
            "/api/secrets",
            json!({"name": "x", "type": "generic", "value": "1", "hostPattern": "a.test", "injectionConfig": {"headerName": "a"}}),
            400,
        ),
        (
            "POST",
            "/api/secrets",
            json!({"name": "x", "type": "generic", "value": "12345678", "hostPattern": "*", "injectionConfig": {"headerName": "a"}}),
            400,
        ),
        (
            "POST",
            "/api/secrets",
            json!({"name": "x", "type": "nothing", "value": "12345678", "hostPattern": "a.test"}),
            400,
        ),
        ("DELETE", "/api/secrets/none", json!({}), 404),
        ("PATCH", "/api/agents/none", json!({"name": "x"}), 404),
        ("DELETE", "/api/nothing", json!({}), 404),
        ("POST", "/api/rules", json!({}), 501),
        ("POST", "/api/agents", json!({"name": "", "identifier": "a"}), 400),
        ("POST", "/api/approvals/none/decision", json!({"decision": "approve"}), 404),
        ("POST", "/api/approvals/none/decision", json!({"decision": "perhaps"}), 422),
    ] {
        let (got, text) = door.call(method, path, &body.to_string()).await;
        assert_eq!(got, status, "{method} {path} {body}: {text}");
        assert!(!text.contains("12345678"), "{text}");
    }
    let changed = door
        .json(
            "PATCH",
            &format!("/api/secrets/{secret}"),
            json!({"pathPattern": "/v3/*", "value": "another-value-of-it-012345"}),
        )
        .await;
    assert_eq!(changed["pathPattern"], "/v3/**");
    assert_eq!(changed["hostPattern"], "good.test");
    assert_eq!(door.call("DELETE", &format!("/api/secrets/{secret}"), "").await.0, 200);
    door.install.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_facade_knows_outlives_the_vault() {
    let door = Door::open("mode = \"open\"\nports = [PORT]").await;
    door.json("POST", "/api/agents", json!({"name": "Alpha", "identifier": "alpha"})).await;
    let config = door.container("alpha").await;
    let url = door.web.url("good.test", "/v1/x");
    assert_eq!(door.curl(&config, &url, &[]).await.0, 200);
    let pid = i32::try_from(door.install.pid().await).unwrap();
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().await.unwrap().success());
    soon(async { while door.call("GET", "/api/agents", "").await.0 != 200 {} }).await;
    assert_eq!(door.container("alpha").await, config, "the token is the same one");
    assert_eq!(door.curl(&config, &url, &[]).await.0, 200);
    door.install.stop().await;
}
