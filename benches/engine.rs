//! The container engine, asked directly: what it takes by itself, and what an install has in it.

use anyhow::Context as _;
use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder, StartContainerOptions,
};
use std::collections::HashMap;
use std::time::{Duration, Instant};

fn connect() -> anyhow::Result<Docker> {
    Docker::connect_with_defaults().context("no container engine answers")
}

/// Creates and starts a container without network, the plainest there is; how long that took.
pub(crate) async fn create_and_start() -> anyhow::Result<Duration> {
    let engine = connect()?.negotiate_version().await?;
    let name = format!("nanoclaw-bench-{}", std::process::id());
    let took = start(&engine, &name).await;
    remove(&engine, &name).await?;
    took
}

/// The same for so many in one go, until the last one runs.
pub(crate) async fn create_and_start_all(count: usize) -> anyhow::Result<Duration> {
    let engine = connect()?.negotiate_version().await?;
    let begun = Instant::now();
    let mut starting = tokio::task::JoinSet::new();
    for n in 0..count {
        let (engine, name) = (engine.clone(), format!("nanoclaw-bench-{}-{n}", std::process::id()));
        starting.spawn(async move { (start(&engine, &name).await, name) });
    }
    let ended = starting.join_all().await;
    let took = begun.elapsed();
    for (_, name) in &ended {
        remove(&engine, name).await?;
    }
    ended.into_iter().try_for_each(|(started, _)| started.map(drop))?;
    Ok(took)
}

async fn start(engine: &Docker, name: &str) -> anyhow::Result<Duration> {
    let body = ContainerCreateBody {
        image: Some(nanoclaw_tests::compose::image()),
        entrypoint: Some(vec!["/bin/sleep".into(), "60".into()]),
        // As in a box: the engine does not prepare a network that there is none of.
        network_disabled: Some(true),
        host_config: Some(HostConfig {
            network_mode: Some("none".into()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let begun = Instant::now();
    let options = CreateContainerOptionsBuilder::new().name(name).build();
    engine.create_container(Some(options), body).await?;
    engine.start_container(name, None::<StartContainerOptions>).await?;
    Ok(begun.elapsed())
}

async fn remove(engine: &Docker, name: &str) -> anyhow::Result<()> {
    let force = RemoveContainerOptionsBuilder::new().force(true).build();
    Ok(engine.remove_container(name, Some(force)).await?)
}

async fn ids(engine: &Docker, install: &str) -> anyhow::Result<Vec<String>> {
    let filters = HashMap::from([("label", vec![format!("nanoclaw-install={install}")])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let found = engine.list_containers(Some(options)).await?;
    Ok(found.into_iter().filter_map(|c| c.id).collect())
}

/// The first process of every container of an install.
pub(crate) async fn processes(install: &str) -> anyhow::Result<Vec<i32>> {
    let engine = connect()?.negotiate_version().await?;
    let mut pids = Vec::new();
    for id in ids(&engine, install).await? {
        let seen = engine.inspect_container(&id, None::<InspectContainerOptions>).await?;
        let pid = seen.state.and_then(|s| s.pid).filter(|pid| *pid > 0);
        pids.extend(pid.map(i32::try_from).transpose()?);
    }
    Ok(pids)
}
