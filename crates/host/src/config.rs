//! What the host is told once, at its start.

use nanoclaw_driver::{BoxUser, Limits};
use std::path::PathBuf;
use std::time::Duration;

/// Everything that can be set. Parsed by `ops`; the host never reads the environment.
#[derive(Debug, Clone)]
pub struct Config {
    /// `data/`: databases, sockets, sessions.
    pub data: PathBuf,
    /// `groups/`: one folder per agent.
    pub groups: PathBuf,
    /// `container/`: the base instructions and skills that boxes see, if there.
    pub container: PathBuf,
    /// The runner's binary.
    pub runner: PathBuf,
    /// Tools that setup installed for the agents, such as harness programs.
    pub tools: PathBuf,
    /// Home of whoever runs the install; the list of what may be mounted lies below it.
    pub home: PathBuf,
    /// Tells this install from others on the machine.
    pub install: String,
    /// How many boxes may run at once.
    pub boxes_max: usize,
    /// How long an idle box stays warm.
    pub idle_timeout: Duration,
    /// The IANA zone of the install.
    pub timezone: String,
    /// Owner of what boxes write.
    pub box_user: BoxUser,
    /// Limits of a box.
    pub limits: Limits,
    /// Further variables for every box, such as a fault point of a test.
    pub box_env: std::collections::BTreeMap<String, String>,
    /// Harness of an agent that has none configured.
    pub default_provider: String,
}
