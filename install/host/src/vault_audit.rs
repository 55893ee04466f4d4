//! `nanoclaw vault audit` and `nanoclaw vault usage`: what went through the vault, and what models cost.

use crate::Process;
use crate::commands::{complain, print};
use crate::vault_policy::names;
use anyhow::Context as _;
use nanoclaw_ops::prompt;
use nanoclaw_secrets::{KeySource, Store, Value};
use nanoclaw_vault::Prices;
use nanoclaw_vault::audit::{self, Checked, Reader, Row, Spent};
use serde_json::json;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Rows that are read at once.
const PAGE: u32 = 1000;
/// How often a tail looks for more.
const POLL: Duration = Duration::from_millis(500);

#[derive(clap::Subcommand)]
pub(crate) enum AuditCommand {
    /// Show the last rows
    Tail {
        /// How many
        #[arg(short = 'n', default_value_t = 20)]
        count: u32,
        /// Go on with what happens from now
        #[arg(short, long)]
        follow: bool,
    },
    /// Check that no row was changed, added or removed
    Verify,
    /// Print every row as a line of JSON
    Export {
        /// Only rows after this number
        #[arg(long, default_value_t = 0)]
        after: i64,
    },
}

#[derive(clap::Args)]
pub(crate) struct UsageArgs {
    /// Only this agent: its folder, name or id
    #[arg(long)]
    agent: Option<String>,
    /// From this day on, as 2026-11-01; without it, this month
    #[arg(long)]
    since: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn audit(process: &Process, command: AuditCommand) -> anyhow::Result<ExitCode> {
    match command {
        AuditCommand::Verify => return verify(process),
        AuditCommand::Export { after } => {
            export(&reader(process)?, after)?;
        }
        AuditCommand::Tail { count, follow } => {
            let log = reader(process)?;
            let mut rows = log.last(count)?;
            loop {
                rows.iter().for_each(|row| print(&line(row)));
                if !follow {
                    break;
                }
                tokio::time::sleep(POLL).await;
                let seen = rows.last().map_or_else(|| last(&log), |row| Ok(row.seq))?;
                rows = log.after(seen, PAGE)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn last(log: &Reader) -> anyhow::Result<i64> {
    Ok(log.last(1)?.first().map_or(0, |row| row.seq))
}

fn folder(process: &Process) -> PathBuf {
    process.config.data.join("vault")
}

fn reader(process: &Process) -> anyhow::Result<Reader> {
    let file = folder(process).join(audit::FILE);
    let what = "there is no audit log yet; the vault makes it when it runs";
    anyhow::ensure!(file.exists(), what);
    Reader::open(&file).with_context(|| format!("open {}", file.display()))
}

fn verify(process: &Process) -> anyhow::Result<ExitCode> {
    let dir = folder(process);
    drop(reader(process)?);
    let store = Store::open(&dir, &KeySource::Auto)?;
    if store.is_locked() {
        let passphrase = prompt::secret("passphrase of the vault (not shown): ");
        store
            .unlock(Value::new(passphrase.context("the vault is locked; give its passphrase")?))?;
    }
    match audit::verify(&dir, &store)? {
        Checked::Whole(rows) => {
            print(&format!("{rows} rows, all as they were written"));
            Ok(ExitCode::SUCCESS)
        }
        Checked::Broken(seq, what) => {
            complain(&format!(
                "row {seq} {what}: somebody changed the log, or its file is damaged"
            ));
            Ok(ExitCode::FAILURE)
        }
    }
}

fn export(log: &Reader, mut after: i64) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    loop {
        let rows = log.after(after, PAGE)?;
        let Some(end) = rows.last().map(|row| row.seq) else { return Ok(()) };
        for Row { seq, at, entry, .. } in &rows {
            let rest = entry.strip_prefix('{').unwrap_or_default();
            writeln!(out, "{{\"seq\":{seq},\"at\":\"{at}\",{rest}")?;
        }
        after = end;
    }
}

/// A row for people: when, who, what, outcome. What a box wrote cannot act on the terminal: it is JSON.
fn line(row: &Row) -> String {
    let entry: serde_json::Value = serde_json::from_str(&row.entry).unwrap_or_default();
    let mut text = format!("{} {:.0}", row.seq, row.at);
    for (key, value) in entry.as_object().into_iter().flatten() {
        let plain = value.as_str().filter(|text| text.bytes().all(|b| b.is_ascii_graphic()));
        let shown = plain.map_or_else(|| value.to_string(), str::to_owned);
        text.push_str(&format!(" {key}={shown}"));
    }
    text
}

/// Says what models cost.
pub(crate) fn usage(process: &Process, args: &UsageArgs) -> anyhow::Result<ExitCode> {
    let month = || jiff::Timestamp::now().strftime("%Y-%m").to_string();
    let since = args.since.clone().unwrap_or_else(month);
    let agents = process.config.open_central()?.agents()?;
    let named = |spent: &Spent| {
        let found = agents.iter().find(|agent| agent.id.as_str() == spent.agent);
        found.map_or_else(|| spent.agent.clone(), |agent| agent.folder.clone())
    };
    let wanted = args.agent.as_deref().map(|name| names(process, name)).transpose()?;
    let mut rows = reader(process)?.spent_since(&since)?;
    rows.retain(|(_, spent)| wanted.as_ref().is_none_or(|agent| agent.id == spent.agent));
    if args.json {
        let rows: Vec<_> =
            rows.iter().map(|(day, spent)| as_json(day, &named(spent), spent)).collect();
        print(&serde_json::Value::from(rows).to_string());
        return Ok(ExitCode::SUCCESS);
    }
    let mut total = 0;
    for (day, spent) in &rows {
        total += spent.micro_usd;
        let (name, model, tokens) = (named(spent), &spent.model, spent.tokens());
        let usd = dollars(spent.micro_usd);
        print(&format!(
            "{day}  {name}  {model}  {} calls  {tokens} tokens  about {usd}",
            spent.calls
        ));
    }
    let as_of = Prices::of(&folder(process))?.as_of;
    print(&format!("about {} since {since}, by the prices of {as_of}", dollars(total)));
    Ok(ExitCode::SUCCESS)
}

fn as_json(day: &str, agent: &str, spent: &Spent) -> serde_json::Value {
    json!({
        "day": day, "agent": agent, "session": spent.session, "model": spent.model, "calls": spent.calls,
        "input": spent.input, "output": spent.output, "cache_write": spent.cache_write,
        "cache_read": spent.cache_read, "micro_usd": spent.micro_usd,
    })
}

fn dollars(micro: i64) -> String {
    format!("${}.{:02}", micro / 1_000_000, micro % 1_000_000 / 10_000)
}
