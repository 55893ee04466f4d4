//! Whether the walls stand: each promise of [`profile::LINES`], measured from inside a real box.
//!
//! A box is started as the driver starts every box, and a script in it tries what must not work. What the
//! driver itself says is added where nothing can be tried. Nothing is changed, and the box is gone
//! afterwards.

#[cfg(test)]
mod tests;

use crate::{During as _, Error};
use nanoclaw_contract::ids::{AgentId, SessionId};
use nanoclaw_driver::profile::{self, Line};
use nanoclaw_driver::{Access, BoxSpec, BoxUser, Driver, Limits, Mount};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const OUT_BYTES_MAX: u64 = 64 << 10;
const SCRIPT: &str = include_str!("doctor.sh");
const CALLS: &str = include_str!("doctor.pl");
/// What some kernels put into every new network namespace: tunnels that are down and lead nowhere.
const FALLBACKS: [&str; 9] =
    ["erspan0", "gre0", "gretap0", "ip6_vti0", "ip6gre0", "ip6tnl0", "ip_vti0", "sit0", "tunl0"];
const NO_PERL: &str = "there is no perl in the box to try it with";

/// How one promise is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It holds.
    Ok,
    /// It does not.
    Missing,
    /// It could not be tried.
    Unknown,
}

/// One promise and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Names it for scripts.
    pub id: String,
    /// What should hold.
    pub what: String,
    /// Whether it does.
    pub state: State,
    /// Whether a box may run without it.
    pub required: bool,
    /// What was seen instead.
    pub why: Option<String>,
    /// What to do about it.
    pub next: Option<String>,
}

/// Everything that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The driver.
    pub driver: String,
    /// Its version.
    pub version: String,
    /// Why no box could be looked at.
    pub problem: Option<String>,
    /// Every promise.
    pub findings: Vec<Finding>,
}

/// Where the box of the doctor lives.
pub struct Ground {
    /// A folder of its own, removed afterwards.
    pub scratch: PathBuf,
    /// Who runs in boxes.
    pub user: BoxUser,
    /// What boxes may use.
    pub limits: Limits,
}

/// What was seen: several values of one key, one after the other.
type Seen = BTreeMap<String, Vec<String>>;

/// Looks at a driver and at a box that it makes.
pub async fn examine(driver: &dyn Driver, ground: &Ground) -> Report {
    let mut report = Report {
        driver: driver.name().to_owned(),
        version: String::new(),
        problem: None,
        findings: Vec::new(),
    };
    let missing = match driver.probe().await {
        Ok(probe) => {
            report.version = probe.version;
            probe.missing
        }
        Err(e) => {
            report.problem = Some(e.to_string());
            Vec::new()
        }
    };
    let mut seen = Seen::new();
    if report.problem.is_none() {
        let looked = look(driver, ground).await;
        drop(std::fs::remove_dir_all(&ground.scratch));
        match looked {
            Ok(all) => seen = all,
            Err(e) => report.problem = Some(e.to_string()),
        }
    }
    report.findings = profile::LINES.iter().map(|line| judge(line, &seen, &missing)).collect();
    report
}

async fn look(driver: &dyn Driver, ground: &Ground) -> Result<Seen, Error> {
    let dir = &ground.scratch;
    drop(std::fs::remove_dir_all(dir));
    let (workspace, vault) = (dir.join("workspace"), dir.join("vault"));
    for folder in [&workspace, &vault] {
        std::fs::create_dir_all(folder).during(format_args!("create {}", folder.display()))?;
    }
    let open = |path: &Path, mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path, permissions).during(format_args!("open {}", path.display()))
    };
    // Only for as long as the box lives, and below folders that are closed.
    open(&workspace, 0o777)?;
    let socket = vault.join("proxy.sock");
    let _vault = UnixListener::bind(&socket).during("listen as the vault does")?;
    open(&socket, 0o666)?;
    let host = TcpListener::bind("0.0.0.0:0").during("listen on a port")?;
    let port = host.local_addr().during("listen on a port")?.port();
    let arch = std::env::consts::ARCH;
    for (name, text) in [
        ("probe.sh", SCRIPT.to_owned()),
        ("probe.pl", CALLS.to_owned()),
        ("where", format!("{arch} {port} {}", addresses().join(" "))),
    ] {
        std::fs::write(workspace.join(name), text).during("write the probe")?;
        open(&workspace.join(name), 0o644)?;
    }
    let spec = spec(ground)?;
    driver.start(&spec).await.during("start a box")?;
    let ended = tokio::time::timeout(PATIENCE, driver.wait(&spec.name)).await;
    if ended.is_err() {
        driver.stop(&spec.name, Duration::ZERO).await.during("end the box")?;
    }
    let mut seen = read(&workspace.join("out"))?;
    for kind in ["pid", "net", "ipc", "uts", "cgroup", "mnt"] {
        let own = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap_or_default();
        seen.insert(format!("host-ns-{kind}"), vec![own.display().to_string()]);
    }
    Ok(seen)
}

fn spec(ground: &Ground) -> Result<BoxSpec, Error> {
    let real = ground.scratch.canonicalize().during("find the scratch folder")?;
    let mount = |name: &str, target: &str, access| Mount {
        source: real.join(name),
        target: target.into(),
        access,
    };
    let name = format!("nanoclaw-doctor-{}", std::process::id());
    let texts = [("HOME", "/workspace"), ("PATH", "/usr/bin:/bin")];
    Ok(BoxSpec {
        install: name.clone(),
        agent: AgentId::parse("doctor").during("name the box")?,
        session: SessionId::parse("doctor").during("name the box")?,
        mounts: vec![
            mount("workspace", "/workspace", Access::ReadWrite),
            mount("vault", "/run/vault", Access::ReadOnly),
        ],
        env: texts.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        command: ["/bin/sh", "/workspace/probe.sh"].map(String::from).to_vec(),
        cwd: "/workspace".into(),
        user: ground.user,
        limits: ground.limits,
        image: None,
        log: real.join("log"),
        name,
    })
}

/// What the box wrote. It may be anything: only whole lines of a sane length count.
fn read(out: &Path) -> Result<Seen, Error> {
    use std::io::Read as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = std::fs::File::options()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(out)
        .during("read what the box found; it wrote nothing")?;
    let mut bytes = Vec::new();
    file.take(OUT_BYTES_MAX).read_to_end(&mut bytes).during("read what the box found")?;
    let mut seen = Seen::new();
    for line in String::from_utf8_lossy(&bytes).lines() {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        seen.entry(key.to_owned()).or_default().push(value.trim().chars().take(200).collect());
    }
    match seen.contains_key("end") {
        true => Ok(seen),
        false => Err(Error::new("the box did not finish looking at itself")),
    }
}

/// Every IPv4 address of this machine but the loopback's.
fn addresses() -> Vec<String> {
    let table = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let (mut found, mut last) = (Vec::new(), "");
    for line in table.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address;
        } else if line == "/32 host LOCAL" && !last.starts_with("127.") {
            found.push(last.to_owned());
        }
    }
    found.sort();
    found.dedup();
    found
}

/// What was seen of one promise: nothing wrong, something wrong, or nothing at all.
fn judge(line: &Line, seen: &Seen, missing: &[String]) -> Finding {
    let said = missing.iter().find(|lack| names(lack, line.id)).cloned();
    let found = match said {
        Some(why) => Err(Some(why)),
        None if seen.is_empty() => Err(None),
        None => measured(line.id, seen),
    };
    let (state, why) = match found {
        Ok(()) => (State::Ok, None),
        // The engine's word is no measurement, and no flaw either.
        Err(Some(why)) if why == NO_PERL || line.id == "mounts" => (State::Unknown, Some(why)),
        Err(Some(why)) => (State::Missing, Some(why)),
        Err(None) => (State::Unknown, Some("no box could be looked at".to_owned())),
    };
    Finding {
        id: line.id.to_owned(),
        what: line.what.to_owned(),
        state,
        required: line.required,
        why,
        next: (state == State::Missing).then(|| next(line.id).to_owned()),
    }
}

/// Whether a driver's own word is about this promise.
fn names(lack: &str, id: &str) -> bool {
    match id {
        "memory" | "pids" | "cpu" => lack.starts_with(&format!("no limit on {id}")),
        "yields" => lack.contains("give way"),
        "mounts" => lack.starts_with("mounts are checked by"),
        _ => false,
    }
}

fn measured(id: &str, seen: &Seen) -> Result<(), Option<String>> {
    let first = |key: &str| seen.get(key).and_then(|all| all.first()).map_or("", String::as_str);
    let is = |good: bool, why: String| if good { Ok(()) } else { Err(Some(why)) };
    let none = |key: &str, what: &str| {
        let all = seen.get(key).map_or(&[][..], Vec::as_slice);
        is(all.is_empty(), format!("{what}: {}", all.join(", ")))
    };
    let tried = |key: &str| match first(key) {
        "tried" => Ok(()),
        _ => Err(Some(NO_PERL.to_owned())),
    };
    match id {
        "user" => is(!["", "0"].contains(&first("uid")), format!("its user is {:?}", first("uid"))),
        "capabilities" => {
            let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
            let bad: Vec<_> = sets.into_iter().filter(|s| first(s) != "0000000000000000").collect();
            is(bad.is_empty(), format!("not empty: {}", bad.join(", ")))
        }
        "privileges" => is(first("NoNewPrivs") == "1", "new privileges are possible".into()),
        "seccomp" => {
            is(first("Seccomp") == "2", format!("the filter's mode is {:?}", first("Seccomp")))?;
            tried("calls")?;
            none("call", "these calls are not refused")
        }
        "namespaces" => {
            let kinds = ["pid", "net", "ipc", "uts", "cgroup", "mnt"];
            let shared = |kind: &&str| {
                let own = first(&format!("ns-{kind}"));
                own.is_empty() || own == first(&format!("host-ns-{kind}"))
            };
            let shared: Vec<_> = kinds.into_iter().filter(shared).collect();
            is(shared.is_empty(), format!("shared with the host: {}", shared.join(", ")))
        }
        "root" => none("root", "it wrote"),
        "run" => none("run", "it executed"),
        "kernel" => none("kernel", "it could"),
        "masked" => none("masked", "it read"),
        "network" => {
            let mut all: Vec<_> = first("interfaces").split(' ').collect();
            all.retain(|name| !FALLBACKS.contains(name));
            is(all == ["lo"], format!("it has {}", all.join(", ")))
        }
        "host" => {
            tried("ports")?;
            none("host", "it reached a port of the host at")
        }
        "socket" => {
            tried("ports")?;
            none("vault-written", "it wrote")?;
            is(first("socket") == "open", format!("the socket: {}", first("socket")))
        }
        "files" => is(first("nofile").parse::<u64>().is_ok(), "it may open any number".into()),
        "core" => is(first("core") == "0", format!("up to {}", first("core"))),
        "tmp" => ["/tmp", "/dev/shm"].into_iter().try_for_each(|place| {
            let said = first(&format!("size-{place}"));
            let blocks: Vec<u64> = said.split(' ').filter_map(|n| n.parse().ok()).collect();
            let bytes = blocks.iter().product::<u64>();
            is(blocks.len() == 2 && bytes <= 1 << 30, format!("{place} has {bytes} bytes"))
        }),
        "label" => {
            let label = first("label");
            is(!["", "unconfined"].contains(&label), "the kernel enforces no profile".into())
        }
        // The driver compares the mounts before it says that a box runs, and speaks of the rest itself.
        _ => Ok(()),
    }
}

/// What to do about a promise that is not kept.
fn next(id: &str) -> &'static str {
    match id {
        "memory" | "pids" | "cpu" => {
            "give the host's service its control group (systemd: Delegate=yes), or choose the other driver"
        }
        "yields" => "it takes Linux 5.15 and a host that may write to its control groups",
        "label" => "nothing has to be done; where the system has AppArmor or SELinux, enable it",
        "socket" => "see whether the runtime passes unix sockets on (gVisor: --host-uds=open)",
        "namespaces" | "network" | "host" => {
            "stop the agents: the engine gives boxes more than they were planned with; look at its settings"
        }
        _ => "stop the agents, update the driver's engine, and look again",
    }
}

impl Report {
    /// Whether boxes may run: every required promise was kept, or could only not be tried.
    pub fn holds(&self) -> bool {
        let missing = |f: &Finding| f.required && f.state == State::Missing;
        self.problem.is_none() && !self.findings.iter().any(missing)
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let mut out = format!("driver   {} {}\n", self.driver, self.version);
        if let Some(problem) = &self.problem {
            out.push_str(&format!("problem  {problem}\n"));
        }
        for finding in &self.findings {
            let state = match finding.state {
                State::Ok => "ok",
                State::Missing if finding.required => "MISSING",
                State::Missing => "without",
                State::Unknown => "?",
            };
            let need = if finding.required { "" } else { " (if the machine can)" };
            out.push_str(&format!("{state:<9}{}: {}{need}\n", finding.id, finding.what));
            for more in finding.why.iter().chain(&finding.next) {
                out.push_str(&format!("{:<9}  {more}\n", ""));
            }
        }
        out
    }
}
