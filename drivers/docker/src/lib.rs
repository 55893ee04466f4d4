//! Boxes made by a Docker Engine, or by Podman through the same API.
//!
//! The engine keeps what there is to know about a box: install, session and starter are labels. Its
//! word about mounts is not enough; where `/proc` can be read, the kernel is asked too. Never passes a
//! path as `source:target` text, never lets the engine create a missing source, and never a network.
//! Next: `create.rs` for what a box is, [`image`] for what it is made from.

mod create;
pub mod image;
mod provide;

use async_trait::async_trait;
use bollard::Docker as Engine;
use bollard::errors::Error;
use bollard::models::{
    ContainerInspectResponse, ContainerSummary, ContainerSummaryStateEnum, SystemInfo,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, KillContainerOptionsBuilder,
    ListContainersOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
    StartContainerOptions, WaitContainerOptions,
};
use create::{INSTALL, LOG, SESSION, STARTER};
use futures_util::StreamExt as _;
use nanoclaw_driver::cgroup::{self, Cpu};
use nanoclaw_driver::process::ProcessId;
use nanoclaw_driver::provide::{Progress, Provided, Wanted};
use nanoclaw_driver::{
    Access, BoxSpec, Driver, DriverContext, DriverDef, DriverError, Exit, Mount, Probe, Running,
    Signal, Strain, check,
};
use rustix::fd::OwnedFd;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;

/// The driver `docker`.
pub const DRIVER: DriverDef = DriverDef { name: "docker", make };

const NAME: &str = "docker";
/// What a box has that is not in the plan.
const OWN: &[&str] =
    &["/proc", "/dev", "/sys", "/tmp", "/run", "/etc/hostname", "/etc/resolv.conf"];
/// The engine makes none for a box that it gives no network.
const HOSTS: &str = "/etc/hosts";
const NAMES: &str = "127.0.0.1 localhost\n::1 localhost\n";
/// Runtimes whose boxes are processes of this machine's kernel.
const PLAIN: [&str; 2] = ["runc", "crun"];
const LOG_BYTES_MAX: usize = 1 << 20;
const LOG_LINES_MAX: &str = "20000";
const LOOKS_MAX: u32 = 200;
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const WAITS_MAX: u32 = 30;
const WAIT_AGAIN: Duration = Duration::from_secs(1);

struct Docker {
    engine: OnceCell<Engine>,
    image: String,
    state: PathBuf,
    hosts: OnceCell<PathBuf>,
    runtimes: BTreeMap<String, String>,
    fit: OnceCell<()>,
}

fn make(context: &DriverContext) -> Result<Arc<dyn Driver>, DriverError> {
    Ok(Arc::new(Docker {
        engine: OnceCell::new(),
        image: context.image.clone(),
        state: context.state.clone(),
        hosts: OnceCell::new(),
        runtimes: context.runtimes.clone(),
        fit: OnceCell::new(),
    }))
}

/// Connects to `DOCKER_HOST`, to Docker's socket, or to Podman's.
async fn connect() -> Result<Engine, DriverError> {
    let docker = std::env::var_os("DOCKER_HOST").is_some()
        || ["/var/run/docker.sock", "/run/docker.sock"].iter().any(|path| Path::new(path).exists());
    let engine = match docker {
        true => Engine::connect_with_defaults(),
        false => Engine::connect_with_podman_defaults(),
    };
    let unavailable = |e: Error| {
        DriverError::Unavailable(format!(
            "no container engine answers ({e}); start Docker or Podman, or let this user use it"
        ))
    };
    engine.map_err(unavailable)?.negotiate_version().await.map_err(unavailable)
}

#[async_trait]
impl Driver for Docker {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn probe(&self) -> Result<Probe, DriverError> {
        let engine = self.engine().await?;
        let version = engine.version().await.map_err(other)?;
        let info = engine.info().await.map_err(other)?;
        self.fits(&info)?;
        let mut missing = Vec::new();
        let mut lacks = |holds: Option<bool>, what: &str| {
            if holds == Some(false) {
                missing.push(format!("no limit on {what}: the engine's control groups lack it"));
            }
        };
        lacks(info.memory_limit, "memory");
        lacks(info.pids_limit, "pids");
        lacks(info.cpu_cfs_quota, "cpu");
        if !rustix::process::geteuid().is_root() {
            missing.push("mounts are checked by the engine's word only: /proc needs root".into());
            missing.push("a greedy box does not give way: its group needs root".into());
        }
        Ok(Probe { version: format!("Docker {}", version.version.unwrap_or_default()), missing })
    }

    async fn start(&self, spec: &BoxSpec) -> Result<(), DriverError> {
        let mut spec = spec.clone();
        let hosts = self.hosts.get_or_try_init(async || hosts(&self.state)).await;
        let source = hosts.map_err(|e| DriverError::Start(format!("its /etc/hosts: {e}")))?.clone();
        spec.mounts.push(Mount { source, target: HOSTS.into(), access: Access::ReadOnly });
        let spec = &spec;
        check::plan(spec)?;
        let pins = check::sources(spec)?;
        let engine = self.engine().await?;
        let fits = async || self.fits(&engine.info().await.map_err(other)?);
        self.fit.get_or_try_init(fits).await?;
        let name = CreateContainerOptionsBuilder::new().name(&spec.name).build();
        let image = spec.image.as_ref().unwrap_or(&self.image);
        let body = create::body(spec, image, self.runtime(spec).cloned());
        let mut made = engine.create_container(Some(name.clone()), body.clone()).await;
        if made.as_ref().is_err_and(|e| status(e) == Some(409)) {
            self.remove_ended(&spec.name).await?;
            made = engine.create_container(Some(name), body).await;
        }
        made.map_err(|e| match status(&e) {
            Some(404) => DriverError::Unavailable(format!("{e}; build the image first")),
            _ => DriverError::Start(e.to_string()),
        })?;
        let begun = async {
            let started = engine.start_container(&spec.name, None::<StartContainerOptions>).await;
            started.map_err(|e| DriverError::Start(e.to_string()))?;
            self.verify(spec, &pins).await
        };
        let begun = begun.await;
        if begun.is_err() {
            self.remove(&spec.name).await;
        }
        begun
    }

    async fn signal(&self, name: &str, signal: Signal) -> Result<(), DriverError> {
        let signal = match signal {
            Signal::Interrupt => "SIGUSR1",
            Signal::Terminate => "SIGTERM",
            Signal::Kill => "SIGKILL",
        };
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        let sent = self.engine().await?.kill_container(named(name)?, Some(options)).await;
        sent.map_err(|e| match status(&e) {
            Some(404 | 409) => DriverError::Gone(name.to_owned()),
            _ => other(e),
        })
    }

    async fn wait(&self, name: &str) -> Result<Exit, DriverError> {
        let code = self.code(named(name)?).await?;
        // Another waiter may have removed it since; the code is known then and the rest is not.
        let seen = self.inspect(name).await.ok();
        let state = seen.as_ref().and_then(|seen| seen.state.as_ref());
        let out_of_memory = state.and_then(|state| state.oom_killed).unwrap_or(false) && code != 0;
        let log = self.log(name).await;
        let path = seen.and_then(|seen| seen.config?.labels?.remove(LOG));
        let mut tail = String::new();
        if let Some(path) = path.as_deref().map(Path::new) {
            if !log.is_empty()
                && let Err(e) = std::fs::write(path, &log)
            {
                tracing::warn!(name, path = %path.display(), "the log cannot be kept: {e}");
            }
            tail = check::tail(path);
        }
        self.remove(name).await;
        Ok(Exit { code: i32::try_from(code).ok(), out_of_memory, tail })
    }

    async fn strain(&self, name: &str) -> Result<Strain, DriverError> {
        let seen = self.inspect(named(name)?).await?;
        // The engine's own file, which only root can see.
        let turned = seen.log_path.as_deref().map(|path| format!("{path}.1")).unwrap_or_default();
        Ok(cgroup::strain(&groups(&seen), Path::new(&turned)))
    }

    async fn cpu(&self, name: &str) -> Option<Cpu> {
        let seen = self.inspect(named(name).ok()?).await.ok()?;
        let nanos = seen.host_config.as_ref()?.nano_cpus?;
        Some(Cpu::new(groups(&seen), u32::try_from(nanos / 1_000_000).ok()?))
    }

    async fn provide(
        &self,
        wanted: &Wanted,
        progress: Progress<'_>,
    ) -> Result<Provided, DriverError> {
        provide::provide(&self.image, wanted, progress).await
    }

    async fn tidy(&self, wanted: &Wanted, keep: &Provided) -> Result<(), DriverError> {
        provide::tidy(wanted, keep).await
    }

    async fn list(&self, install: &str) -> Result<Vec<Running>, DriverError> {
        let filters = HashMap::from([("label", vec![format!("{INSTALL}={install}")])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let found = self.engine().await?.list_containers(Some(options)).await.map_err(other)?;
        let mut running = Vec::new();
        for summary in found {
            let Some((name, labels)) = label(&summary) else { continue };
            let session = labels.get(SESSION).and_then(|session| session.parse().ok());
            let starter =
                labels.get(STARTER).and_then(|starter| serde_json::from_str(starter).ok());
            match summary.state {
                Some(ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::PAUSED) => {
                    running.push(Running { name: name.to_owned(), session });
                }
                // It ended while no host lived that would have waited for it.
                _ if !starter.as_ref().is_some_and(ProcessId::lives) => self.remove(name).await,
                _ => {}
            }
        }
        Ok(running)
    }
}

impl Docker {
    async fn engine(&self) -> Result<&Engine, DriverError> {
        self.engine.get_or_try_init(connect).await
    }

    /// What runs the boxes of this agent, if it is not the engine's own choice.
    fn runtime(&self, spec: &BoxSpec) -> Option<&String> {
        self.runtimes.get(spec.agent.as_str()).or_else(|| self.runtimes.get(""))
    }

    /// Refuses an engine that cannot give what every box must have; nothing weaker takes its place.
    fn fits(&self, info: &SystemInfo) -> Result<(), DriverError> {
        let refuse = |why: String| Err(DriverError::Unavailable(why));
        let options = info.security_options.iter().flatten();
        if !options.into_iter().any(|option| option.contains("seccomp")) {
            return refuse("the engine has no seccomp; use one that was built with it".into());
        }
        let known = info.runtimes.clone().unwrap_or_default();
        for name in self.runtimes.values() {
            let Some(runtime) = known.get(name) else {
                return refuse(format!(
                    "the engine has no runtime {name:?}; install it and add it to daemon.json, or \
                     take it out of NANOCLAW_RUNTIME"
                ));
            };
            let program = runtime.path.as_deref().unwrap_or_default();
            let arguments = runtime.runtime_args.clone().unwrap_or_default();
            if program.ends_with("runsc") && !arguments.iter().any(|a| a.starts_with("--host-uds="))
            {
                return refuse(format!(
                    "boxes of the runtime {name:?} would not reach the vault; add \
                     \"--host-uds=open\" to its runtimeArgs in daemon.json"
                ));
            }
        }
        Ok(())
    }

    async fn inspect(&self, name: &str) -> Result<ContainerInspectResponse, DriverError> {
        let seen =
            self.engine().await?.inspect_container(name, None::<InspectContainerOptions>).await;
        seen.map_err(|e| match status(&e) {
            Some(404) => DriverError::Gone(name.to_owned()),
            _ => other(e),
        })
    }

    /// Compares the running box with its plan; one that has ended already is nobody's danger.
    async fn verify(&self, spec: &BoxSpec, pins: &[OwnedFd]) -> Result<(), DriverError> {
        let mut said = String::new();
        for _ in 0..LOOKS_MAX {
            let seen = self.inspect(&spec.name).await?;
            let pid = seen.state.as_ref().filter(|s| s.running == Some(true)).and_then(|s| s.pid);
            let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0)
            else {
                return Ok(());
            };
            let judged = told(spec, &seen).and_then(|()| {
                // What is no process of this kernel, or not of this machine, tells nothing here.
                let foreign =
                    self.runtime(spec).is_some_and(|name| !PLAIN.contains(&name.as_str()));
                if foreign || !rustix::process::geteuid().is_root() || !is_local(pid, &seen) {
                    return Ok(());
                }
                check::mounts(pid, spec, pins, OWN)?;
                check::privileges(pid, spec.user)
            });
            match judged {
                Ok(()) => return Ok(()),
                // The engine's own first step may not have become the command yet.
                Err(why) => said = why,
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Err(DriverError::NotAsPlanned(said))
    }

    /// The exit code, as soon as there is one. The engine may be restarted meanwhile.
    async fn code(&self, name: &str) -> Result<i64, DriverError> {
        let engine = self.engine().await?;
        let mut last = None;
        for _ in 0..WAITS_MAX {
            match engine.wait_container(name, None::<WaitContainerOptions>).next().await {
                Some(Ok(end)) => return Ok(end.status_code),
                Some(Err(Error::DockerContainerWaitError { code, .. })) => return Ok(code),
                Some(Err(e)) if status(&e) == Some(404) => {
                    return Err(DriverError::Gone(name.to_owned()));
                }
                Some(Err(e)) => last = Some(e),
                None => {}
            }
            tokio::time::sleep(WAIT_AGAIN).await;
        }
        let why = last.map_or_else(|| "the engine does not answer".into(), |e| e.to_string());
        Err(DriverError::Unavailable(format!("cannot wait for box {name}: {why}")))
    }

    /// The newest part of what the engine kept; it turns its own file over at 10 MB.
    async fn log(&self, name: &str) -> Vec<u8> {
        let options =
            LogsOptionsBuilder::new().stdout(true).stderr(true).tail(LOG_LINES_MAX).build();
        let mut log = Vec::new();
        let Ok(engine) = self.engine().await else { return log };
        let mut lines = engine.logs(name, Some(options));
        while let Some(Ok(line)) = lines.next().await {
            log.extend_from_slice(&line.into_bytes());
            if log.len() > 2 * LOG_BYTES_MAX {
                log.drain(..log.len() - LOG_BYTES_MAX);
            }
        }
        log.drain(..log.len().saturating_sub(LOG_BYTES_MAX));
        log
    }

    async fn remove_ended(&self, name: &str) -> Result<(), DriverError> {
        let seen = self.inspect(name).await?;
        if seen.state.is_some_and(|state| state.running == Some(true)) {
            return Err(DriverError::Start(format!("a box {name} runs already")));
        }
        self.remove(name).await;
        Ok(())
    }

    async fn remove(&self, name: &str) {
        let Ok(engine) = self.engine().await else { return };
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        match engine.remove_container(name, Some(options)).await {
            // 409: someone else removes it right now.
            Err(e) if !matches!(status(&e), Some(404 | 409)) => {
                tracing::warn!(name, "an ended box cannot be removed: {e}");
            }
            _ => {}
        }
    }
}

/// The file of the names that a box knows, made if it is not there. Boxes that run have it mounted: it
/// is replaced, never written to.
fn hosts(state: &Path) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(state)?;
    let file = state.canonicalize()?.join("hosts");
    if !std::fs::read(&file).is_ok_and(|there| there == NAMES.as_bytes()) {
        let new = file.with_extension("new");
        std::fs::write(&new, NAMES)?;
        std::fs::set_permissions(&new, Permissions::from_mode(0o644))?;
        std::fs::rename(&new, &file)?;
    }
    Ok(file)
}

fn named(name: &str) -> Result<&str, DriverError> {
    // It becomes part of an address.
    check::is_name(name).then_some(name).ok_or_else(|| DriverError::Gone(name.to_owned()))
}

fn label(summary: &ContainerSummary) -> Option<(&str, &HashMap<String, String>)> {
    let name = summary.names.as_ref()?.first()?.trim_start_matches('/');
    Some((name, summary.labels.as_ref()?))
}

/// Judges what the engine itself says was mounted.
fn told(spec: &BoxSpec, seen: &ContainerInspectResponse) -> Result<(), String> {
    let planned: BTreeSet<_> = spec
        .mounts
        .iter()
        .map(|m| (m.target.display().to_string(), m.access == Access::ReadWrite))
        .collect();
    let mounted = seen.mounts.iter().flatten();
    let mounted: BTreeSet<_> =
        mounted.map(|m| (m.destination.clone().unwrap_or_default(), m.rw == Some(true))).collect();
    match planned.symmetric_difference(&mounted).next() {
        None => Ok(()),
        Some((place, _)) => Err(format!("{place} is not mounted as planned")),
    }
}

/// The control groups of this container alone; none when it does not run, or elsewhere.
fn groups(seen: &ContainerInspectResponse) -> Vec<PathBuf> {
    let pid = seen.state.as_ref().and_then(|state| i32::try_from(state.pid?).ok());
    let Some((pid, id)) = pid.zip(seen.id.as_deref()) else { return Vec::new() };
    cgroup::own(pid, id)
}

/// Whether `pid` is, on this machine, the process of this container.
fn is_local(pid: i32, seen: &ContainerInspectResponse) -> bool {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    seen.id.as_ref().is_some_and(|id| groups.contains(id.as_str()))
}

fn status(e: &Error) -> Option<u16> {
    match e {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

fn other(e: Error) -> DriverError {
    DriverError::Other(format!("the container engine: {e}"))
}
