//! A plan in the words of the Docker API.

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount,
    MountBindOptions, MountBindOptionsPropagationEnum, MountType, ResourcesUlimits,
};
use nanoclaw_driver::process::ProcessId;
use nanoclaw_driver::profile::{MASKED, OOM_SCORE, READ_ONLY, RUN_BYTES, SHM_BYTES};
use nanoclaw_driver::seccomp::{self, Denied, Is};
use nanoclaw_driver::{Access, BoxSpec, cgroup};
use serde_json::{Value, json};
use std::collections::HashMap;

pub(crate) const INSTALL: &str = "nanoclaw-install";
pub(crate) const SESSION: &str = "nanoclaw-session";
pub(crate) const AGENT: &str = "nanoclaw-agent";
pub(crate) const LOG: &str = "nanoclaw-log";
pub(crate) const STARTER: &str = "nanoclaw-starter";

/// Everything about a container; `runtime` is the engine's own choice if there is none.
pub(crate) fn body(spec: &BoxSpec, image: &str, runtime: Option<String>) -> ContainerCreateBody {
    let starter = ProcessId::me().and_then(|me| serde_json::to_string(&me).ok());
    let labels = [
        (INSTALL, spec.install.clone()),
        (SESSION, spec.session.as_str().to_owned()),
        (AGENT, spec.agent.as_str().to_owned()),
        (LOG, spec.log.display().to_string()),
        (STARTER, starter.unwrap_or_default()),
    ];
    ContainerCreateBody {
        image: Some(image.to_owned()),
        hostname: Some("nanoclaw".into()),
        user: Some(format!("{}:{}", spec.user.uid, spec.user.gid)),
        env: Some(spec.env.iter().map(|(key, value)| format!("{key}={value}")).collect()),
        working_dir: Some(spec.cwd.display().to_string()),
        entrypoint: Some(spec.command.clone()),
        cmd: Some(Vec::new()),
        // A network namespace of its own, with nothing but the loopback; without this the engine prepares
        // the same with a process of its own and a third of all the time that a start takes.
        network_disabled: Some(true),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value)).into()),
        host_config: Some(HostConfig { runtime, ..profile(spec) }),
        ..Default::default()
    }
}

fn profile(spec: &BoxSpec) -> HostConfig {
    let limits = spec.limits;
    let memory = i64::try_from(limits.memory_bytes).unwrap_or(i64::MAX);
    let most = |name: &str, value: i64| ResourcesUlimits {
        name: Some(name.into()),
        soft: Some(value),
        hard: Some(value),
    };
    let tmp = format!("rw,nosuid,nodev,exec,mode=1777,size={}", limits.tmp_bytes);
    let run = format!("rw,nosuid,nodev,noexec,mode=1777,size={RUN_BYTES}");
    let all = |paths: &[&str]| Some(paths.iter().map(|path| (*path).to_owned()).collect());
    HostConfig {
        network_mode: Some("none".into()),
        readonly_rootfs: Some(true),
        tmpfs: Some(HashMap::from([("/tmp".into(), tmp), ("/run".into(), run)])),
        mounts: Some(spec.mounts.iter().map(bind).collect()),
        cap_drop: Some(vec!["ALL".into()]),
        privileged: Some(false),
        security_opt: Some(vec!["no-new-privileges:true".into(), format!("seccomp={}", filter())]),
        ipc_mode: Some("private".into()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        masked_paths: all(MASKED),
        readonly_paths: all(READ_ONLY),
        memory: Some(memory),
        memory_swap: Some(memory),
        pids_limit: Some(limits.pids.into()),
        cpu_shares: Some(cgroup::SHARES.into()),
        nano_cpus: Some(i64::from(limits.cpu_millis) * 1_000_000),
        ulimits: Some(vec![most("nofile", limits.open_files.into()), most("core", 0)]),
        shm_size: i64::try_from(SHM_BYTES).ok(),
        oom_score_adj: Some(OOM_SCORE.into()),
        init: Some(false),
        auto_remove: Some(false),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".into()),
            config: Some(HashMap::from([
                ("max-size".into(), "10m".into()),
                ("max-file".into(), "2".into()),
            ])),
        }),
        ..Default::default()
    }
}

/// A mount as an object: nothing in a path can be read as an option, and a source must exist.
fn bind(mount: &nanoclaw_driver::Mount) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(mount.source.display().to_string()),
        target: Some(mount.target.display().to_string()),
        read_only: Some(mount.access == Access::ReadOnly),
        bind_options: Some(MountBindOptions {
            propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
            non_recursive: Some(true),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The seccomp profile, as the engine reads it.
fn filter() -> Value {
    const ENOSYS: u32 = 38;
    let refuse = |denied: &Denied| {
        let condition = |(index, is): &(u8, Is)| {
            let (op, value, two) = match *is {
                Is::Equal(v) => ("SCMP_CMP_EQ", v, 0),
                Is::Other(v) => ("SCMP_CMP_NE", v, 0),
                Is::Above(v) => ("SCMP_CMP_GT", v, 0),
                Is::Bits(v) => ("SCMP_CMP_MASKED_EQ", v, v),
            };
            json!({ "index": index, "value": value, "valueTwo": two, "op": op })
        };
        let args: Vec<_> = denied.when.iter().map(condition).collect();
        json!({ "names": [denied.call], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "args": args })
    };
    let absent = json!({
        "names": [seccomp::ABSENT], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS, "args": [] });
    let calls: Vec<_> = seccomp::denied().iter().map(refuse).chain([absent]).collect();
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": calls })
}
