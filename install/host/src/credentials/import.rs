//! Secrets of other files come in, once: what is there already is left alone.

use crate::commands::print;
use crate::{CHANNELS, Process};
use anyhow::Context as _;
use nanoclaw_ops::Error;
use nanoclaw_secrets::import::{Found, comment_out, parse, secrets};
use nanoclaw_secrets::kind::usual;
use nanoclaw_secrets::{Grant, Kind, NewSecret, Store, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

const FILE_MAX: u64 = 1 << 20;

#[derive(clap::Subcommand)]
pub(crate) enum ImportCommand {
    /// From an environment file: keys of models and services, tokens of this install's channels
    #[command(after_help = "Example:\n  nanoclaw vault import env --comment-out")]
    Env(EnvArgs),
    /// From a OneCLI: secrets, who may use them, and rules
    #[command(after_help = crate::onecli::HELP)]
    Onecli(crate::onecli::ImportArgs),
}

#[derive(clap::Args)]
pub(crate) struct EnvArgs {
    /// The file; `.env` of the install if it is not named
    file: Option<PathBuf>,
    /// Take what was imported out of the file; a copy stays beside it
    #[arg(long)]
    comment_out: bool,
    /// Who may use what is not the model's: an agent's id, its folder, or folders with *
    #[arg(long = "grant")]
    grants: Vec<String>,
}

pub(crate) fn import(process: &Process, store: &Store, args: EnvArgs) -> anyhow::Result<()> {
    let EnvArgs { file, comment_out, grants } = args;
    let file = file.unwrap_or_else(|| process.config.root.join(".env"));
    let mut text = String::new();
    File::open(&file)
        .and_then(|f| f.take(FILE_MAX).read_to_string(&mut text))
        .with_context(|| format!("read {}", file.display()))?;
    let tokens = CHANNELS.iter().flat_map(|channel| channel.settings);
    let tokens: BTreeSet<&str> = tokens.filter(|s| s.secret).map(|s| s.name).collect();
    let entries = parse(&text);
    let found = secrets(&entries, &tokens);
    let mut stored = BTreeSet::new();
    for one in &found {
        if take(store, one, &grants)? {
            stored.insert(one.secret.as_str());
        }
    }
    // Only what the vault holds goes out of the file, also when a former run brought it in.
    let held = |one: &&Found| same(store, one);
    let names: BTreeSet<&str> =
        found.iter().filter(held).map(|one| one.variable.as_str()).collect();
    if names.is_empty() {
        print(
            "nothing in this file is a secret that is known here; see: nanoclaw vault add --help",
        );
    } else if comment_out {
        let kept = replace(&file, &text, &self::comment_out(&text, &names))
            .with_context(|| format!("change {}", file.display()))?;
        print(&format!("taken out of {}; as it was: {}", file.display(), kept.display()));
        print("remove that copy once everything works: it holds the values");
    } else if !stored.is_empty() {
        let next = "nanoclaw vault import env --comment-out";
        print(&Error::new("the file still holds them").next(next).to_string());
    }
    Ok(())
}

/// Stores one; false if there is a secret of its name.
fn take(store: &Store, one: &Found, grants: &[String]) -> anyhow::Result<bool> {
    let name = &one.secret;
    if store.info(name).is_ok() {
        let same = same(store, one);
        let what = if same { "there already" } else { "another value is there; left alone" };
        print(&format!("{}: {name} is {what}", one.variable));
        return Ok(false);
    }
    let grants = match one.kind {
        Kind::HostOnly => Vec::new(),
        Kind::Anthropic => vec![Grant::to_all()?],
        _ => grants
            .iter()
            .map(|to| anyhow::Ok(Grant { to: to.parse()?, until: None }))
            .collect::<Result<_, _>>()?,
    };
    let mut settings = BTreeMap::new();
    if one.kind == Kind::Anthropic && one.host.contains("://") {
        settings.insert("base_url".to_owned(), one.host.clone());
    }
    store.add(NewSecret {
        name: name.clone(),
        kind: one.kind,
        value: Value::new(one.value.to_string()),
        bindings: usual(one.kind, &one.host, &one.value)?,
        grants,
        expires: None,
        settings,
    })?;
    print(&format!("{}: stored as {name}", one.variable));
    if let Some(note) = &one.note {
        print(&format!("  {note}"));
    }
    Ok(true)
}

/// Whether the vault holds this very value; said as yes or no, never shown.
fn same(store: &Store, one: &Found) -> bool {
    store
        .info(&one.secret)
        .is_ok_and(|info| store.holds(&info.id, one.value.trim()).unwrap_or(false))
}

/// Writes the file anew in one step, and keeps it as it was, for this user alone.
fn replace(file: &Path, before: &str, after: &str) -> io::Result<PathBuf> {
    let beside = |suffix: &str| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        file.with_file_name(format!("{name}.{suffix}"))
    };
    let put = |path: &Path, text: &str| -> io::Result<()> {
        let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        new.write_all(text.as_bytes())?;
        new.sync_all()
    };
    let mut copy = beside("before-vault");
    for n in 2.. {
        match put(&copy, before) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && n < 100 => {
                copy = beside(&format!("before-vault.{n}"));
            }
            done => {
                done?;
                break;
            }
        }
    }
    let next = beside("new");
    drop(fs::remove_file(&next));
    put(&next, after)?;
    fs::rename(&next, file)?;
    Ok(copy)
}
