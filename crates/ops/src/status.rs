//! What the install is doing and what is wrong with it, for people and as JSON.

use crate::config::Config;
use crate::{Error, drivers, service};
use nanoclaw_central::{Central, ContainerStatus};
use nanoclaw_contract::time::{Clock as _, SystemClock, Timestamp};
use serde::{Deserialize, Serialize};

/// Sessions that are named in a list of problems.
const NAMED_MAX: usize = 5;

/// The state of an install.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The version of this program.
    pub version: String,
    /// Whether a host runs.
    pub running: bool,
    /// Whether it takes messages.
    pub ready: bool,
    /// Its process.
    pub pid: Option<i32>,
    /// For how long.
    pub uptime_seconds: Option<i64>,
    /// Where the install keeps its data.
    pub data: String,
    /// What isolates agents.
    pub driver: Option<String>,
    /// Why that.
    pub driver_why: Option<String>,
    /// What the vault holds, in words.
    pub credential: Option<String>,
    /// Every agent.
    pub agents: Vec<AgentStatus>,
    /// Every channel, as the running host says.
    pub channels: Vec<ChannelLine>,
    /// How many sessions there are.
    pub sessions: i64,
    /// How many of them have a box.
    pub sessions_live: usize,
    /// What is wrong, each with what to do.
    pub problems: Vec<String>,
}

/// One agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentStatus {
    /// Its name.
    pub name: String,
    /// Its provider.
    pub provider: Option<String>,
}

/// One channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelLine {
    /// Its name.
    pub name: String,
    /// How it is, in a word or two.
    pub state: String,
    /// Since when.
    pub since: String,
    /// Why it is not up, or what somebody must do.
    pub why: Option<String>,
}

/// Looks at everything; `credential` is what the vault says about itself.
pub fn look(config: &Config, credential: Result<Option<String>, String>) -> Result<Status, Error> {
    let host = service::running(&config.data);
    let mut status = Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        running: host.is_some(),
        ready: service::is_ready(&config.data),
        pid: host.as_ref().map(|h| h.pid),
        uptime_seconds: host.map(|h| seconds_since(h.started_at)),
        data: config.data.display().to_string(),
        driver: None,
        driver_why: None,
        credential: None,
        agents: Vec::new(),
        channels: Vec::new(),
        sessions: 0,
        sessions_live: 0,
        problems: Vec::new(),
    };
    match credential {
        Ok(stored) => status.credential = stored,
        Err(why) => status.problems.push(format!("the vault: {why}")),
    }
    if !config.central().exists() {
        status.problems.push("not set up: run nanoclaw setup".into());
        return Ok(status);
    }
    if !status.running {
        status.problems.push("the host does not run: nanoclaw start".into());
    }
    let central = config.open_central()?;
    fill(&mut status, &central).map_err(|e| Error::new(format!("read the state: {e}")))?;
    if let Some((name, why)) = drivers::remembered(&central)? {
        status.driver = Some(config.driver.clone().unwrap_or(name));
        status.driver_why = Some(why);
    }
    Ok(status)
}

fn fill(status: &mut Status, central: &Central) -> Result<(), nanoclaw_central::Error> {
    for agent in central.agents()? {
        let provider = central.config(&agent.id)?.and_then(|c| c.provider).or(agent.provider);
        status.agents.push(AgentStatus { name: agent.name, provider });
    }
    status.sessions = central.count_sessions()?;
    let live = central.live_sessions()?;
    status.sessions_live = live.iter().filter(|s| s.container != ContainerStatus::Stopped).count();
    problems(status, central)
}

fn problems(status: &mut Status, central: &Central) -> Result<(), nanoclaw_central::Error> {
    let quarantined = central.all_quarantined()?;
    for (session, reason, _) in quarantined.iter().take(NAMED_MAX) {
        status.problems.push(format!("session {session} is in quarantine: {reason}"));
    }
    if quarantined.len() > NAMED_MAX {
        status.problems.push(format!("{} sessions are in quarantine", quarantined.len()));
    }
    let dead = central.dead_letters()?.len();
    if dead > 0 {
        status.problems.push(format!("{dead} message(s) could not be delivered"));
    }
    let broken = central.broken_rows()?;
    for row in broken.iter().take(NAMED_MAX) {
        status.problems.push(row.to_string());
    }
    Ok(())
}

fn seconds_since(then: Timestamp) -> i64 {
    (SystemClock.now().as_second() - then.as_second()).max(0)
}

impl Status {
    /// The state as lines for people.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        let mut line = |name: &str, value: &str| out.push_str(&format!("{name:<12}{value}\n"));
        let state = match (self.pid, self.ready) {
            (Some(pid), ready) => {
                let up = duration(self.uptime_seconds.unwrap_or(0));
                let state = if ready { "running" } else { "starting" };
                format!("{state}, process {pid}, for {up}")
            }
            (None, _) => "stopped".to_owned(),
        };
        line("NanoClaw", &format!("{} {state}", self.version));
        line("data", &self.data);
        if let Some(driver) = &self.driver {
            let why = self.driver_why.as_deref().unwrap_or_default();
            line("driver", &format!("{driver}: {why}"));
        }
        line("credential", self.credential.as_deref().unwrap_or("none"));
        for agent in &self.agents {
            let provider = agent.provider.as_deref().unwrap_or("default provider");
            line("agent", &format!("{} ({provider})", agent.name));
        }
        for ChannelLine { name, state, since, why } in &self.channels {
            let why = why.as_deref().map(|why| format!(", since {since}: {why}"));
            line("channel", &format!("{name}: {state}{}", why.unwrap_or_default()));
        }
        line("sessions", &format!("{}, {} with a box", self.sessions, self.sessions_live));
        for problem in &self.problems {
            line("problem", problem);
        }
        out
    }
}

/// A duration in its two largest units.
fn duration(seconds: i64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest} s"),
        (0, 0, _) => format!("{minutes} min {rest} s"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests;
