//! Each program that fetches something takes the proxy and the certificates that its box is told, and checks them.

use super::{BUBBLEWRAP, CANARY, DOCKER, World, tool};
use anyhow::ensure;
use nanoclaw_secrets::{Inject, Slot};

/// A program, and how it prints what is at `$U`.
type Client = (&'static str, String);

/// Java prints what it was started with, and sends no token to a proxy.
const JAVA: &str = "java -cp /workspace/agent Fetch \"$U\"";

fn python(code: &str) -> String {
    format!("PYTHONPATH={} /usr/bin/python3 -c '{code}'", tool("python"))
}

/// Every program of docs/vault.md that prints what it fetched.
fn clients() -> Vec<Client> {
    let new = "/opt/nanoclaw/tools/emulate/node_modules/node/bin/node";
    let bun = tool("node_modules/@oven/bun-linux-x64-baseline/bin/bun");
    let deno = tool("node_modules/@deno/linux-x64-glibc/deno");
    let fetch = "fetch(process.env.U).then(async r => console.log(await r.text()))";
    let https = r#"require("node:https").get(process.env.U, r => r.pipe(process.stdout))"#;
    vec![
        ("curl", "curl -sS \"$U\"".into()),
        ("curl-http1", "curl --http1.1 -sS \"$U\"".into()),
        ("wget", "wget -qO- \"$U\"".into()),
        (
            "python-urllib",
            python(
                "import os, urllib.request as r; print(r.urlopen(os.environ[\"U\"]).read().decode())",
            ),
        ),
        (
            "python-requests",
            python("import os, requests; print(requests.get(os.environ[\"U\"]).text)"),
        ),
        ("old-node-fetch", format!("/usr/bin/node -e '{fetch}'")),
        ("old-node-https", format!("/usr/bin/node -e '{https}'")),
        ("new-node-fetch", format!("{new} -e '{fetch}'")),
        ("new-node-https", format!("{new} -e '{https}'")),
        ("bun-fetch", format!("{bun} -e '{fetch}'")),
        ("bun-https", format!("{bun} -e '{https}'")),
        (
            "deno",
            format!("{deno} eval 'console.log(await (await fetch(Deno.env.get(\"U\"))).text())'"),
        ),
    ]
}

/// Runs all of them against this host; which ended well, and what each printed.
async fn fetch(world: &World, all: &[Client], host: &str) -> anyhow::Result<Vec<(bool, String)>> {
    let mut script = String::new();
    for (name, command) in all {
        std::fs::write(world.folder().join(format!("{name}.sh")), command)?;
        let url = world.url(host, &format!("/say/{name}"));
        script.push_str(&format!(
            "U='{url}' timeout 60 sh {name}.sh >said-{name} 2>&1 </dev/null; echo \"{name} $?\"\n"
        ));
    }
    let out = world.runs(&script).await?;
    let ended = |name: &str| out.lines().any(|line| line == format!("{name} 0"));
    Ok(all.iter().map(|(name, _)| (ended(name), world.file(&format!("said-{name}")))).collect())
}

/// Each reaches the host with the secret, and reads the placeholder where the server says the secret.
async fn all_reach(world: &World, all: &[Client]) -> anyhow::Result<()> {
    for ((name, _), (well, said)) in all.iter().zip(fetch(world, all, "api.test").await?) {
        ensure!(
            well && said.contains(&format!("hello from GET api.test/say/{name}")),
            "{name}: {said}"
        );
        let seen = world.server.asked(&format!("/say/{name}"))?;
        ensure!(seen.header("x-api-key") == CANARY, "{name}: {seen:?}");
        ensure!(!seen.headers.contains_key("proxy-authorization"), "{name}: {seen:?}");
        ensure!(said.contains("x-api-key: ") && !said.contains(CANARY), "{name}: {said}");
    }
    Ok(())
}

async fn world(name: &str, driver: &str, egress: &str) -> anyhow::Result<World> {
    let world = World::new(name, driver, egress).await?;
    world.secret("api", "api.test", Slot::header("x-api-key"), Inject::Always)?;
    let class = include_bytes!("Fetch.class");
    std::fs::write(world.folder().join("Fetch.class"), class)?;
    world.started().await
}

const CARRIED: &str = "tunnel = [\"plain.test:PORT\", \"wrong.test:PORT\"]";

#[tokio::test]
async fn every_client_trusts_the_vault_and_nobody_else() -> anyhow::Result<()> {
    let world = world("clients", BUBBLEWRAP, CARRIED).await?;
    let all = clients();
    all_reach(&world, &all).await?;
    // A connection that is carried unread shows the server's own certificate, so each has the roots of the machine
    // as well; and each looks at the name.
    for ((name, _), (well, said)) in all.iter().zip(fetch(&world, &all, "plain.test").await?) {
        ensure!(well && said.contains("hello from GET plain.test"), "{name}: {said}");
        ensure!(world.server.asked("plain.test")?.header("x-api-key").is_empty(), "{name}");
    }
    for ((name, _), (well, said)) in all.iter().zip(fetch(&world, &all, "wrong.test").await?) {
        ensure!(!well && !said.contains("hello"), "{name} takes any certificate: {said}");
    }
    ensure!(world.server.asked("wrong.test").is_err(), "{:?}", world.server.lines());
    world.stop().await
}

/// Java cannot say who it is to a proxy, so the owner lets the socket alone say it.
#[tokio::test]
async fn java_trusts_the_vault_where_the_socket_says_who_it_is() -> anyhow::Result<()> {
    let world = world("java", BUBBLEWRAP, CARRIED).await?;
    let java = [("java", JAVA.to_owned())];
    let said = fetch(&world, &java, "api.test").await?;
    ensure!(!said[0].0 && said[0].1.contains("407"), "{said:?}");
    world.policy(&format!("auth = \"socket\"\n{CARRIED}"))?;
    let policy = world.url("api.test", "/say/policy");
    // The vault looks at its policy within a second.
    world
        .runs(&format!("for n in $(seq 100); do curl -s --proxy http://127.0.0.1:3128 {policy} && exit; sleep 0.1; done; exit 1"))
        .await?;
    all_reach(&world, &java).await?;
    let carried = fetch(&world, &java, "plain.test").await?;
    ensure!(carried[0].0 && carried[0].1.contains("hello from"), "{carried:?}");
    let wrong = fetch(&world, &java, "wrong.test").await?;
    ensure!(!wrong[0].0 && wrong[0].1.contains("SSLHandshakeException"), "{wrong:?}");
    world.stop().await
}

/// What the image has.
#[tokio::test]
async fn the_clients_of_the_image_trust_the_vault() -> anyhow::Result<()> {
    let world = world("image", DOCKER, CARRIED).await?;
    let mut all = clients();
    all.retain(|(name, _)| ["curl", "curl-http1", "bun-fetch", "new-node-fetch"].contains(name));
    all_reach(&world, &all).await?;
    let wrong = fetch(&world, &all, "wrong.test").await?;
    ensure!(wrong.iter().all(|(well, _)| !well), "{wrong:?}");
    world.stop().await
}
