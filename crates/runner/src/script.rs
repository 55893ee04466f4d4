//! The program that a task may bring along to decide whether the agent is needed.
//!
//! Its last line says `{"wakeAgent": bool, "data": any}`. A program that fails does not decide
//! anything: the agent is woken and told, because a check that broke must not look like "nothing new".

use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

const TIMEOUT: Duration = Duration::from_secs(30);
const OUTPUT_BYTES_MAX: u64 = 1 << 20;

/// What the program decided.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// The agent is not needed.
    Skip,
    /// The agent is needed, and shall see this.
    Wake(Value),
}

/// Runs the program.
pub(crate) async fn run(script: &str, cwd: &Path) -> Verdict {
    let told = match tokio::time::timeout(TIMEOUT, output(script, cwd)).await {
        Ok(Ok(out)) => decide(&out),
        Ok(Err(e)) => Err(e),
        Err(_) => Err(format!("it took longer than {} s", TIMEOUT.as_secs())),
    };
    told.unwrap_or_else(|why| {
        Verdict::Wake(json!({ "error": format!("The task's script failed: {why}") }))
    })
}

/// Kills the program's whole group when it is dropped.
struct Group(Option<rustix::process::Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
        }
    }
}

async fn output(script: &str, cwd: &Path) -> Result<String, String> {
    let mut child = Command::new("bash")
        .args(["-c", script])
        .current_dir(cwd)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| format!("bash could not be started: {e}"))?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let group = Group(pid.and_then(rustix::process::Pid::from_raw));
    let mut out = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout
            .take(OUTPUT_BYTES_MAX + 1)
            .read_to_end(&mut out)
            .await
            .map_err(|e| format!("its output could not be read: {e}"))?;
    }
    if out.len() as u64 > OUTPUT_BYTES_MAX {
        return Err("it printed more than 1 MiB".into());
    }
    let status = child.wait().await.map_err(|e| e.to_string())?;
    drop(group);
    if !status.success() {
        return Err(status.to_string());
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn decide(out: &str) -> Result<Verdict, String> {
    let last = out.trim().lines().last().ok_or("it printed nothing")?;
    let value: Value =
        serde_json::from_str(last).map_err(|_| "its last line is no JSON".to_owned())?;
    match value.get("wakeAgent").and_then(Value::as_bool) {
        Some(true) => Ok(Verdict::Wake(value.get("data").cloned().unwrap_or_default())),
        Some(false) => Ok(Verdict::Skip),
        None => Err("its last line does not say \"wakeAgent\": true or false".into()),
    }
}

#[cfg(test)]
mod tests;
