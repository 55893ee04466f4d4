//! What opens the vault: keys, passphrases, backups.

use super::asked;
use crate::Process;
use crate::commands::print;
use anyhow::{Context as _, bail};
use nanoclaw_secrets::{Cost, KeySource, Store, Value};
use serde_json::json;
use std::path::Path;

#[derive(clap::Args)]
pub(crate) struct RekeyArgs {
    /// Where the new key comes from; the same source as before, if it is not said
    #[arg(long, value_enum, default_value = "file")]
    to: SourceArg,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum SourceArg {
    /// A file beside the database
    File,
    /// The keyring of the desktop
    Keyring,
    /// A passphrase, asked for after each start
    Passphrase,
    /// The credential `nanoclaw-vault-key` of systemd
    Systemd,
}

/// A passphrase that was typed twice, or came on the standard input.
fn new_passphrase(of: &str) -> anyhow::Result<Value> {
    let Some(first) = asked(&format!("new passphrase of the {of} (not shown): ")) else {
        let given = super::read_value("passphrase", None)?;
        return given.context("nothing was given, nothing was changed");
    };
    let again = asked("the same again: ").context("nothing was given, nothing was changed")?;
    if first.expose() != again.expose() {
        bail!("these are two different passphrases; nothing was changed");
    }
    Ok(first)
}

pub(crate) fn rekey(store: &Store, args: &RekeyArgs) -> anyhow::Result<()> {
    let source = match args.to {
        SourceArg::File => KeySource::File,
        SourceArg::Keyring => KeySource::Keyring,
        SourceArg::Systemd => KeySource::Systemd,
        SourceArg::Passphrase => KeySource::Passphrase(new_passphrase("vault")?, Cost::default()),
    };
    store.rekey(&source)?;
    let protection = store.protection()?;
    print(&format!("the vault opens with a new key now: {}", protection.source));
    for line in protection.lines {
        print(&format!("  {line}"));
    }
    Ok(())
}

pub(crate) fn backup(store: &Store, to: &Path) -> anyhow::Result<()> {
    store.backup(to, &new_passphrase("backup")?, Cost::default())?;
    print(&format!("written to {}; without its passphrase it is worth nothing", to.display()));
    Ok(())
}

pub(crate) fn restore(store: &Store, from: &Path, yes: bool) -> anyhow::Result<()> {
    let here = store.list()?.len();
    if here > 0 && !yes {
        bail!(
            "there are {here} secrets here, and restoring replaces them\nnext: make a backup of them, then \
             restore with --yes"
        );
    }
    let passphrase = match asked("passphrase of the backup (not shown): ") {
        Some(passphrase) => passphrase,
        None => super::read_value("passphrase", None)?.context("nothing was given")?,
    };
    store.restore(from, &passphrase)?;
    print(&format!("restored {} secrets", store.list()?.len()));
    Ok(())
}

/// Tells the running vault the passphrase.
pub(crate) fn unlock(process: &Process) -> anyhow::Result<()> {
    if !super::store(process).0.open()?.is_locked() {
        print("it has no passphrase; it is open");
        return Ok(());
    }
    let passphrase = match asked("passphrase of the vault (not shown): ") {
        Some(passphrase) => passphrase,
        None => super::read_value("passphrase", None)?.context("nothing was given")?,
    };
    let ask = json!({ "op": "unlock", "passphrase": passphrase.expose() });
    if crate::vault_policy::ask_vault(&process.config.data, &ask)?.is_none() {
        bail!("the vault does not run\nnext: nanoclaw start, then nanoclaw vault unlock");
    }
    print("unlocked, until it is started again");
    Ok(())
}
