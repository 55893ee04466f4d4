//! What a box can do through its vault: real programs in real boxes, run by the real Claude Code, against servers of
//! the test's own. The servers take the real secret alone and say it back; no box ever reads it.

mod clients;
mod packages;
mod server;
mod story;
mod streams;

use crate::claude::{Api, KEY, equip, strings};
use anyhow::{Context as _, ensure};
use nanoclaw_contract::ids::AgentId;
use nanoclaw_secrets::{
    Binding, Grant, Inject, KeySource, Kind as Secret, NewSecret, Slot, Store as Secrets, Value,
};
use nanoclaw_tests::compose::NAMES;
use nanoclaw_tests::rig::Rig;
use nanoclaw_vault::{Credential, Kind, Store};
use serde_json::json;
use server::Server;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(180);
const CHAT: &str = "c1";
const OWNER: &str = "olga";
const BUBBLEWRAP: &str = "bubblewrap";
const DOCKER: &str = "docker";
/// What no box may ever see.
const CANARY: &str = "CANARY-5f1c2b7a9d8e4036b1a2c3d4e5f60718";

/// An agent with Claude Code and a shell, a vault with secrets, and the Internet.
struct World {
    rig: Rig,
    agent: AgentId,
    model: Api,
    server: Server,
    runs: AtomicUsize,
}

impl World {
    /// With these lines of `[egress]`; `PORT` is the server's.
    async fn new(name: &str, driver: &str, egress: &str) -> anyhow::Result<Self> {
        let mut rig = Rig::new(&format!("in{name}"))?;
        let model = Api::with(&rig.root.path().join("api"), KEY, &[]).await?;
        equip(&mut rig)?;
        rig.run.driver = driver.into();
        let agent = rig.agent("andy", "claude")?;
        rig.chat(CHAT, &agent)?;
        rig.chat(OWNER, &agent)?;
        rig.owner(OWNER)?;
        let server = Server::start(CANARY).await?;
        let credential = Credential::parse(KEY, Some(Kind::ApiKey), Some(&model.url))?;
        Store::new(&rig.data()).set(&credential)?;
        let roots = rig.root.path().join("roots.pem");
        std::fs::write(&roots, &server.roots)?;
        rig.host_env.push(("SSL_CERT_FILE".into(), roots.to_string_lossy().into_owned()));
        let names: String = server::NAMES.map(|name| format!("{name} 127.0.0.1\n")).concat();
        std::fs::write(rig.data().join(NAMES), names)?;
        let world = Self { rig, agent, model, server, runs: AtomicUsize::default() };
        world.policy(egress)?;
        std::fs::create_dir_all(world.folder())?;
        Ok(world)
    }

    async fn started(mut self) -> anyhow::Result<Self> {
        self.rig.start().await?;
        Ok(self)
    }

    fn policy(&self, egress: &str) -> anyhow::Result<()> {
        let private = server::NAMES.map(|host| {
            format!("[[allow_private]]\nhost = \"{host}\"\ncidr = \"127.0.0.1/32\"\nport = PORT\n")
        });
        let text = format!("[egress]\n{egress}\n{}", private.concat());
        let text = text.replace("PORT", &self.server.port.to_string());
        Ok(std::fs::write(self.rig.data().join("vault/policy.toml"), text)?)
    }

    /// A secret of the agent at this host; in every request, or where the placeholder stands.
    fn secret(&self, name: &str, host: &str, slot: Slot, mode: Inject) -> anyhow::Result<()> {
        let store = Secrets::open(&self.rig.data().join("vault"), &KeySource::Auto)?;
        let host = host.parse().map_err(|e| anyhow::anyhow!("{host}: {e}"))?;
        let kind = if matches!(slot, Slot::Basic { .. }) { Secret::Basic } else { Secret::Header };
        store.add(NewSecret {
            name: name.into(),
            kind,
            value: Value::new(CANARY.into()),
            bindings: vec![Binding { port: self.server.port, mode, ..Binding::new(host, slot) }],
            grants: vec![Grant {
                to: "andy".parse().map_err(|e| anyhow::anyhow!("{e}"))?,
                until: None,
            }],
            expires: None,
            settings: std::collections::BTreeMap::new(),
        })?;
        Ok(())
    }

    fn url(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}{path}", self.server.port)
    }

    /// The folder that the agent works in.
    fn folder(&self) -> PathBuf {
        self.rig.root.path().join("groups/andy")
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder().join(name)).unwrap_or_default()
    }

    /// Has the agent run this script in its box; what it printed, and whether it ended well.
    async fn run(&self, script: &str) -> anyhow::Result<(bool, String)> {
        let (number, before) = self.runs_it(script)?;
        let answered = self.rig.platform.until(SOON, |p| p.texts(CHAT).len() > before).await;
        let texts = self.rig.platform.texts(CHAT);
        let out = self.file(&format!("out-{number}"));
        ensure!(answered, "no answer to {script}\n{out}\n{}", self.rig.log());
        let last = texts.last().cloned().unwrap_or_default();
        ensure!(last.contains(&format!("run {number} ended")), "{last}\n{}", self.rig.log());
        ensure!(!out.contains(CANARY) && !last.contains(CANARY), "the box reads the secret: {out}");
        Ok((last.contains("with 0"), out))
    }

    /// Begins to run it; its number, and how much was said until then.
    fn runs_it(&self, script: &str) -> anyhow::Result<(usize, usize)> {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        std::fs::write(self.folder().join(format!("run-{number}.sh")), script)?;
        let command =
            format!("sh run-{number}.sh >out-{number} 2>&1; echo run {number} ended with $?");
        let before = self.rig.platform.texts(CHAT).len();
        let call = json!({ "command": command, "timeout": 170_000 });
        self.rig.platform.dm(CHAT, &format!("!tool Bash {call}"));
        Ok((number, before))
    }

    /// The same, where it must end well.
    async fn runs(&self, script: &str) -> anyhow::Result<String> {
        let (well, out) = self.run(script).await?;
        ensure!(
            well,
            "{script}\nprinted {out}\nthe server saw {:?}\n{}",
            self.server.lines(),
            self.rig.log()
        );
        Ok(out)
    }

    /// What stands for a secret, as the agent itself asks for it.
    async fn placeholder(&self, name: &str) -> anyhow::Result<String> {
        let told = self.runs("curl -sS http://vault.internal/v1/whoami").await?;
        let told: serde_json::Value = serde_json::from_str(&told).context(told)?;
        let all = told["secrets"].as_array().cloned().unwrap_or_default();
        let found = all.iter().find(|secret| secret["name"] == name);
        let found = found.and_then(|secret| secret["placeholder"].as_str());
        Ok(found.with_context(|| format!("{name} has no placeholder: {told:#}"))?.to_owned())
    }

    /// Whether anything that the model was told, or the box wrote into its folder, holds the secret.
    async fn stop(mut self) -> anyhow::Result<()> {
        for asked in self.model.requests() {
            ensure!(!strings(&asked).contains(CANARY), "the model was told the secret");
        }
        let found = std::process::Command::new("grep")
            .args(["-rlsaF", CANARY])
            .args([self.folder(), self.rig.data()])
            .output()?;
        ensure!(found.stdout.is_empty(), "in clear: {}", String::from_utf8_lossy(&found.stdout));
        self.rig.stop().await
    }
}

/// A program that `tests/tools.sh` gets.
fn tool(path: &str) -> String {
    format!("/opt/nanoclaw/tools/clients/{path}")
}

/// Opens a folder of this machine to the agent, as `/workspace/extra/NAME`.
fn mounts(world: &World, folder: &str, name: &str) -> anyhow::Result<()> {
    let home = world.rig.root.path();
    std::fs::create_dir_all(home.join(".config/nanoclaw"))?;
    let list = json!({"allowedRoots": [{"path": folder, "allowReadWrite": false}]});
    std::fs::write(home.join(".config/nanoclaw/mount-allowlist.json"), list.to_string())?;
    let central = world.rig.central()?;
    let mut config = central.config(&world.agent)?.unwrap_or_default();
    config.additional_mounts = json!([{"hostPath": folder, "containerPath": name}]);
    central.put_config(&world.agent, &config, nanoclaw_contract::time::Timestamp::now())?;
    central.config(&world.agent)?.context("no configuration")?;
    Ok(())
}
