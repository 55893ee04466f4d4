//! `nanoclaw vault explain`, `policy` and `egress`: what the owner's file says before anybody asks, and what was
//! answered since.

use crate::Process;
use crate::commands::{complain, print};
use anyhow::{Context as _, anyhow, bail};
use nanoclaw_policy::{AgentNames, Asking, Bound, Policy, Verdict};
use nanoclaw_vault::Remembered;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const FILE: &str = "vault/policy.toml";
const TIMEOUT: Duration = Duration::from_secs(5);
const LINE_MAX: u64 = 1 << 20;

#[derive(clap::Args)]
pub(crate) struct ExplainArgs {
    /// The agent: its folder, name or id
    agent: String,
    /// GET, POST …
    method: String,
    /// https://host/path
    url: String,
}

#[derive(clap::Subcommand)]
pub(crate) enum PolicyCommand {
    /// Say whether the file can be used, and if not, which line is wrong
    Check,
    /// Print the file
    Show,
    /// Say where the file is
    Path,
}

#[derive(clap::Subcommand)]
pub(crate) enum EgressCommand {
    /// List what people answered about hosts that an agent used for the first time, and about budgets
    List,
    /// Forget an answer of an agent, or all of them: somebody is asked again
    #[command(after_help = "Example:\n  nanoclaw vault egress forget andy api.example.com:443")]
    Forget {
        /// The agent: its folder, name or id
        agent: String,
        /// As the list shows it
        place: Option<String>,
    },
}

/// What was answered once and is kept.
pub(crate) fn egress(process: &Process, command: &EgressCommand) -> anyhow::Result<ExitCode> {
    let dir = process.config.data.join("vault");
    match command {
        EgressCommand::List => {
            let agents = process.config.open_central()?.agents()?;
            let all = Remembered::list(&dir)?;
            if all.is_empty() {
                print("nothing was answered yet");
            }
            for Remembered { agent, place, allowed, by, at_ms } in all {
                let known = agents.iter().find(|one| one.id.as_str() == agent);
                let name = known.map_or(agent.as_str(), |one| one.folder.as_str());
                let answer = if allowed { "allowed" } else { "blocked" };
                let day = super::credentials::day_of(at_ms / 1000);
                print(&format!("{name}  {place}  {answer} by {by} on {day}"));
            }
        }
        EgressCommand::Forget { agent, place } => {
            // An agent that is gone has answers too.
            let id = names(process, agent).map_or_else(|_| agent.clone(), |names| names.id);
            let count = Remembered::forget(&dir, &id, place.as_deref())?;
            if count == 0 {
                complain("there is no such answer; see: nanoclaw vault egress list");
                return Ok(ExitCode::FAILURE);
            }
            print(&format!("forgot {count}; a running vault asks again within a second"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what would happen to a request, and why.
pub(crate) fn explain(process: &Process, args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let agent = names(process, &args.agent)?;
    let ask = json!({ "op": "explain", "agent": agent, "method": args.method, "url": args.url });
    let why = match ask_vault(&process.config.data, &ask)? {
        Some(answer) => answer["why"].as_array().into_iter().flatten().map(said).collect(),
        None => {
            let mut why = alone(&file(process), &agent, args)?;
            why.push("The vault does not run: secrets and remembered answers are left out.".into());
            why
        }
    };
    why.iter().for_each(|sentence| print(sentence));
    Ok(ExitCode::SUCCESS)
}

fn said(sentence: &Value) -> String {
    sentence.as_str().unwrap_or_default().to_owned()
}

/// The agent that somebody means.
pub(crate) fn names(process: &Process, agent: &str) -> anyhow::Result<AgentNames> {
    let central = process.config.open_central()?;
    let found = match central.agent_by_name(agent)? {
        None => central.agents()?.into_iter().find(|one| one.id.as_str() == agent),
        found => found,
    };
    let found =
        found.ok_or_else(|| anyhow!("there is no agent {agent:?}; see `ncl groups list`"))?;
    Ok(AgentNames { id: found.id.to_string(), folder: found.folder })
}

/// What the file alone says.
fn alone(file: &Path, agent: &AgentNames, args: &ExplainArgs) -> anyhow::Result<Vec<String>> {
    let (tls, authority, target) = nanoclaw_policy::url(&args.url).map_err(anyhow::Error::msg)?;
    let asking = Asking {
        agent,
        authority: &authority,
        tls,
        method: Some(&args.method),
        other_methods: &[],
        target: Some(&target),
        bound: Bound::No,
        remembered: None,
    };
    let (decision, mut why) = read(file)?.explain(&asking);
    if let Verdict::Allow | Verdict::Ask { .. } = decision.verdict {
        why.extend(decision.limits.iter().map(|limit| format!("{:?} counts it.", limit.rule)));
    }
    Ok(why)
}

/// What the running vault answers; `None` if none runs.
pub(crate) fn ask_vault(data: &Path, ask: &Value) -> anyhow::Result<Option<Value>> {
    let mut stream = match UnixStream::connect(data.join("run/vault.sock")) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        other => other.context("ask the vault")?,
    };
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(format!("{ask}\n").as_bytes()).context("ask the vault")?;
    let mut line = String::new();
    BufReader::new(stream.take(LINE_MAX)).read_line(&mut line).context("hear the vault")?;
    let answer: Value = serde_json::from_str(&line).context("the vault answered nothing usable")?;
    match answer["error"].as_str() {
        Some(error) => bail!("{error}"),
        None => Ok(Some(answer)),
    }
}

pub(crate) fn policy(process: &Process, command: &PolicyCommand) -> anyhow::Result<ExitCode> {
    let file = file(process);
    match command {
        PolicyCommand::Path => print(&file.display().to_string()),
        PolicyCommand::Show => match text(&file)? {
            Some(text) => print(text.trim_end()),
            None => print("# there is no file: only what an agent has a secret for can be reached"),
        },
        PolicyCommand::Check => {
            if let Err(wrong) = read(&file) {
                complain(&format!("{wrong}"));
                complain("a running vault goes on with the last file that was right");
                return Ok(ExitCode::FAILURE);
            }
            print("the policy can be used; a running vault reads it within a second");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn file(process: &Process) -> PathBuf {
    process.config.data.join(FILE)
}

fn text(file: &Path) -> anyhow::Result<Option<String>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("read {}", file.display())),
    }
}

fn read(file: &Path) -> anyhow::Result<Policy> {
    let text = text(file)?.unwrap_or_default();
    Policy::parse(&text).map_err(|e| anyhow!("{}, {e}", file.display()))
}
