//! OneCLI as this install is set to use it, and what moves here from one.

use crate::commands::print;
use crate::{Process, credentials};
use anyhow::{Context as _, bail};
use nanoclaw_onecli::import::{Key, Source, policy, take};
use nanoclaw_onecli::{API_KEY, Settings};
use nanoclaw_ops::config::Strings as _;
use nanoclaw_secrets::{Store, Value};
use nanoclaw_vault::outside::Outside;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DUMP_MAX: u64 = 256 << 20;
const KEY_MAX: u64 = 4 << 10;
pub(crate) const HELP: &str = "\
Examples:
  nanoclaw vault import onecli --dump onecli.sql --key-file key      values too
  nanoclaw vault import onecli --url http://127.0.0.1:10254          asks for each value

The dump: docker exec onecli-postgres-1 pg_dump -U onecli --data-only onecli > onecli.sql
The key: SECRET_ENCRYPTION_KEY of OneCLI. Remove both files when everything works.";

#[derive(clap::Args)]
pub(crate) struct ImportArgs {
    /// Where its REST is
    #[arg(long, conflicts_with = "dump", required_unless_present = "dump")]
    url: Option<String>,
    /// What `pg_dump --data-only` wrote of its database
    #[arg(long)]
    dump: Option<PathBuf>,
    /// A file with its SECRET_ENCRYPTION_KEY
    #[arg(long, requires = "dump")]
    key_file: Option<PathBuf>,
    /// Write its rules to this file as a policy, to be read and put into policy.toml
    #[arg(long)]
    rules: Option<PathBuf>,
}

/// What is set, or which key is wrong.
pub(crate) fn settings(process: &Process) -> anyhow::Result<Settings> {
    let settings = Settings::parse(&|key| process.env.get(key)).map_err(anyhow::Error::msg);
    settings.context("the vault cannot be set up")
}

/// What runs beside the sessions of the vault.
pub(crate) fn outside(process: &Process) -> anyhow::Result<Option<Arc<dyn Outside>>> {
    let outside = settings(process)?.outside(&process.config.data, || key(process));
    outside.map_err(anyhow::Error::msg)
}

/// The key of OneCLI's API, found where tokens of channels are.
fn key(process: &Process) -> Option<Value> {
    let set = process.env.get(API_KEY);
    set.or_else(|| credentials::host_token(&process.config.data, API_KEY)).map(Value::new)
}

pub(crate) async fn import(
    process: &Process,
    store: &Store,
    args: ImportArgs,
) -> anyhow::Result<()> {
    let ImportArgs { url, dump, key_file, rules } = args;
    let source = match (url, dump) {
        (Some(url), _) => Source::of_rest(&url, key(process)).await,
        (None, Some(dump)) => Source::of_dump(read(&dump, DUMP_MAX)?.expose()),
        (None, None) => bail!("say --url or --dump"),
    };
    let source = source.map_err(anyhow::Error::msg)?;
    let key = key_file.map(|file| read(&file, KEY_MAX)).transpose()?;
    let key = key.map(|key| Key::parse(key.expose())).transpose().map_err(anyhow::Error::msg)?;
    let ask = |name: &str| {
        let shown: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
        credentials::asked(&format!("value of {shown} (not shown; Enter leaves it out): "))
    };
    let told = take(store, &source, key.as_ref(), &ask).map_err(anyhow::Error::msg)?;
    told.iter().for_each(|line| print(line));
    let policy = policy(&source);
    match rules {
        Some(file) => {
            let mut new = File::options().write(true).create_new(true).open(&file)?;
            new.write_all(policy.as_bytes())
                .with_context(|| format!("write {}", file.display()))?;
            print(&format!("rules: {}; read them and put them into policy.toml", file.display()));
        }
        None if !policy.is_empty() => {
            print("its rules are not taken over; see them with --rules FILE");
        }
        None => {}
    }
    Ok(())
}

fn read(file: &Path, most: u64) -> anyhow::Result<Value> {
    let mut text = String::new();
    let read = File::open(file).and_then(|f| f.take(most).read_to_string(&mut text));
    read.with_context(|| format!("read {}", file.display()))?;
    Ok(Value::new(text))
}
