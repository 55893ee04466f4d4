//! The vault's store as setup sees it, and the `vault` commands. A value is read, never shown.
//!
//! Read next: `add` for what a secret can be, `import` for other programs' files, `keys` for what opens the
//! vault.

mod add;
mod import;
mod keys;
mod show;

use crate::Process;
use crate::commands::{complain, print};
use anyhow::{Context as _, bail};
use nanoclaw_ops::config::Strings as _;
use nanoclaw_ops::prompt;
use nanoclaw_ops::setup::Credentials;
use nanoclaw_secrets::{Grant, Value};
use nanoclaw_vault::{Credential, Kind, ServeOptions, Store};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(crate) const API_KEY: &str = "ANTHROPIC_API_KEY";
pub(crate) const OAUTH_TOKEN: &str = "CLAUDE_CODE_OAUTH_TOKEN";
/// More than any credential.
const VALUE_BYTES_MAX: u64 = 64 << 10;

#[derive(clap::Subcommand)]
pub(crate) enum VaultCommand {
    /// Store the credential of the model: typed in, or from the standard input
    Set {
        /// What kind it is; without it, the value tells
        #[arg(long, value_enum)]
        kind: Option<KindArg>,
        /// Another address of the API
        #[arg(long)]
        base_url: Option<String>,
    },
    /// Store a secret that agents use without seeing it, or a token of a channel
    #[command(after_help = add::HELP)]
    Add(Box<add::AddArgs>),
    /// Give a secret a new value; boxes that run go on
    Rotate(add::RotateArgs),
    /// List the secrets: names, places, grants; never a value
    List(show::JsonArgs),
    /// Let an agent use a secret
    #[command(after_help = "Example:\n  nanoclaw vault grant github 'dev-*' --until 2027-01-31")]
    Grant {
        /// The secret
        name: String,
        /// An agent's id, its folder, or folders with *
        agent: String,
        /// Until this day, such as 2027-01-31
        #[arg(long)]
        until: Option<jiff::civil::Date>,
    },
    /// Take a grant back; it ends within a second
    Revoke {
        /// The secret
        name: String,
        /// As it was granted; `nanoclaw vault list` shows it
        agent: String,
    },
    /// Forget a secret; without a name, the credential of the model
    Remove {
        /// The secret
        name: Option<String>,
    },
    /// Ask the place of a secret once and say what it answered
    Test(add::TestArgs),
    /// Open a vault that is locked with a passphrase
    Unlock,
    /// Say what is stored and what protects it, without a value
    Status(show::JsonArgs),
    /// Open the vault with another key from now on
    Rekey(keys::RekeyArgs),
    /// Seal everything with a new key, after a copy of the old one may have got away
    RotateDek,
    /// Write everything to a file that opens with a passphrase of its own
    Backup {
        /// The file; it must not exist
        #[arg(long)]
        to: PathBuf,
    },
    /// Replace everything by what a backup holds
    Restore {
        /// The file
        from: PathBuf,
        /// Also when there are secrets already
        #[arg(long)]
        yes: bool,
    },
    /// Take secrets over from somewhere else
    #[command(subcommand)]
    Import(import::ImportCommand),
    /// Make a new token for programs that speak to this vault as to OneCLI
    OnecliToken,
    /// Say what would happen to a request of an agent, and why
    Explain(crate::vault_policy::ExplainArgs),
    /// The file that says what agents may reach
    #[command(subcommand)]
    Policy(crate::vault_policy::PolicyCommand),
    /// What people answered about hosts
    #[command(subcommand)]
    Egress(crate::vault_policy::EgressCommand),
    /// What went through the vault
    #[command(subcommand)]
    Audit(crate::vault_audit::AuditCommand),
    /// What models cost
    Usage(crate::vault_audit::UsageArgs),
    /// Run the vault; the host does this
    #[command(hide = true)]
    Serve,
}

#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum KindArg {
    /// From the Anthropic console
    ApiKey,
    /// From `claude setup-token`
    Oauth,
}

/// The store of one install.
pub(crate) struct VaultStore(pub(crate) Store, Option<String>);

impl Credentials for VaultStore {
    fn status(&self) -> Result<Option<String>, String> {
        if let Some(url) = &self.1 {
            return Ok(Some(format!("what OneCLI has, at {url}")));
        }
        let Some(status) = self.0.status().map_err(|e| e.to_string())? else { return Ok(None) };
        let kind = match status.kind {
            Kind::ApiKey => "Anthropic API key",
            Kind::Oauth => "Claude token",
        };
        let day = jiff::Timestamp::try_from(status.set_at).map_err(|e| e.to_string())?;
        let day = day.strftime("%Y-%m-%d");
        Ok(Some(format!("{kind} for {}, set on {day}", status.base_url)))
    }

    fn save(&self, variable: &str, value: &str, base_url: Option<&str>) -> Result<(), String> {
        let kind = if variable == OAUTH_TOKEN { Kind::Oauth } else { Kind::ApiKey };
        let credential =
            Credential::parse(value, Some(kind), base_url).map_err(|e| e.to_string())?;
        self.0.set(&credential).map_err(|e| e.to_string())
    }
}

/// The store of this process.
pub(crate) fn store(process: &Process) -> VaultStore {
    let url = match crate::onecli::settings(process) {
        Ok(nanoclaw_onecli::Settings::External { url, .. }) => Some(url),
        _ => None,
    };
    VaultStore(Store::new(&process.config.data), url)
}

/// To which variable a typed value would have belonged.
pub(crate) fn variable_of(value: &str) -> &'static str {
    if value.trim().starts_with("sk-ant-oat") { OAUTH_TOKEN } else { API_KEY }
}

/// A token of a channel, from the vault.
pub(crate) fn host_token(data: &Path, key: &str) -> Option<String> {
    if !nanoclaw_secrets::Store::exists(&data.join("vault")) {
        return None;
    }
    let found = Store::new(data).open().and_then(|store| Ok(store.host_value(key)?));
    match found {
        Ok(value) => value.map(|value| value.expose().to_owned()),
        Err(e) => {
            tracing::warn!(key, "the vault cannot be asked for a token: {e}");
            None
        }
    }
}

pub(crate) async fn vault(process: &Process, command: VaultCommand) -> anyhow::Result<ExitCode> {
    let store = store(process);
    match command {
        VaultCommand::Serve => {
            let data = process.config.data.clone();
            let outside = crate::onecli::outside(process)?;
            nanoclaw_vault::serve(ServeOptions { data, outside, ..ServeOptions::default() })
                .await?;
        }
        VaultCommand::Explain(args) => return crate::vault_policy::explain(process, &args),
        VaultCommand::Policy(command) => return crate::vault_policy::policy(process, &command),
        VaultCommand::Egress(command) => return crate::vault_policy::egress(process, &command),
        VaultCommand::Audit(command) => return crate::vault_audit::audit(process, command).await,
        VaultCommand::Usage(args) => return crate::vault_audit::usage(process, &args),
        VaultCommand::Status(args) => show::status(&store, &args)?,
        VaultCommand::List(args) => show::list(&open(process)?, &args)?,
        VaultCommand::Remove { name: Some(name) } => {
            open(process)?.remove(&name)?;
            print("removed");
        }
        VaultCommand::Remove { name: None } => {
            let was_there = store.0.remove()?;
            print(if was_there { "removed" } else { "there was none" });
        }
        VaultCommand::Set { kind, base_url } => {
            let Some(value) = read_value("credential", None)? else {
                complain("nothing was given, nothing was changed");
                return Ok(ExitCode::FAILURE);
            };
            let kind = kind.map(|kind| match kind {
                KindArg::ApiKey => Kind::ApiKey,
                KindArg::Oauth => Kind::Oauth,
            });
            let base_url = base_url.or_else(|| process.env.get(crate::CLAUDE_KEY.base_url));
            store.0.set(&Credential::parse(value.expose(), kind, base_url.as_deref())?)?;
            print("stored; a running vault uses it from the next request on");
        }
        VaultCommand::Add(args) => add::add(&open(process)?, *args)?,
        VaultCommand::Rotate(args) => add::rotate(&open(process)?, args)?,
        VaultCommand::Grant { name, agent, until } => {
            let until = until.map(end_of).transpose()?;
            let grant = Grant { to: agent.parse().map_err(anyhow::Error::new)?, until };
            open(process)?.grant(&name, grant)?;
            print(&format!(
                "{agent} may use {name}; a box that runs learns of it when it starts again"
            ));
        }
        VaultCommand::Revoke { name, agent } => {
            let had = open(process)?.revoke(&name, &agent.parse().map_err(anyhow::Error::new)?)?;
            print(if had {
                "revoked"
            } else {
                "there was no such grant; see: nanoclaw vault list"
            });
        }
        VaultCommand::Test(args) => return add::test(open(process)?, args).await,
        VaultCommand::Unlock => keys::unlock(process)?,
        VaultCommand::Rekey(args) => keys::rekey(&open(process)?, &args)?,
        VaultCommand::RotateDek => {
            open(process)?.rotate_dek()?;
            print("everything is sealed with a new key");
        }
        VaultCommand::Backup { to } => keys::backup(&open(process)?, &to)?,
        VaultCommand::Restore { from, yes } => keys::restore(&open(process)?, &from, yes)?,
        VaultCommand::Import(import::ImportCommand::Onecli(args)) => {
            crate::onecli::import(process, &open(process)?, args).await?;
        }
        VaultCommand::Import(import::ImportCommand::Env(args)) => {
            import::import(process, &open(process)?, args)?;
        }
        VaultCommand::OnecliToken => {
            let token = nanoclaw_onecli::facade::new_token(&open(process)?);
            print(&token.map_err(anyhow::Error::msg)?);
            complain("this is shown once; what was valid before is not any more");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The store, unlocked; asks for the passphrase where one is needed.
pub(crate) fn open(process: &Process) -> anyhow::Result<nanoclaw_secrets::Store> {
    let store = store(process).0.open()?;
    if store.is_locked() {
        let Some(passphrase) = asked("passphrase of the vault (not shown): ") else {
            bail!("the vault is locked with a passphrase\nnext: run this on a terminal");
        };
        store.unlock(passphrase)?;
    }
    Ok(store)
}

pub(crate) fn asked(label: &str) -> Option<Value> {
    if !prompt::is_possible() {
        return None;
    }
    prompt::secret(label).map(Value::new)
}

/// A value from a file, from a person or from the standard input; never from an argument.
fn read_value(what: &str, file: Option<&Path>) -> anyhow::Result<Option<Value>> {
    let mut text = String::new();
    match file {
        None if prompt::is_possible() => {
            return Ok(prompt::secret(&format!("{what} (not shown): ")).map(Value::new));
        }
        None => {
            let read = std::io::stdin().take(VALUE_BYTES_MAX).read_to_string(&mut text);
            read.context("read the value from the standard input")?;
        }
        Some(file) => {
            let read = std::fs::File::open(file)
                .and_then(|f| f.take(VALUE_BYTES_MAX).read_to_string(&mut text));
            read.with_context(|| format!("read {}", file.display()))?;
        }
    }
    // The line break that a shell or an editor adds is not part of it.
    let text = text.strip_suffix('\n').map(|t| t.strip_suffix('\r').unwrap_or(t)).unwrap_or(&text);
    Ok(Some(text).filter(|t| !t.trim().is_empty()).map(|t| Value::new(t.to_owned())))
}

/// The end of a day, in seconds since 1970.
fn end_of(day: jiff::civil::Date) -> anyhow::Result<i64> {
    let next = day.tomorrow()?.to_zoned(jiff::tz::TimeZone::UTC)?;
    Ok(next.timestamp().as_second())
}

pub(crate) fn day_of(seconds: i64) -> String {
    let day = jiff::Timestamp::from_second(seconds);
    day.map_or_else(|_| seconds.to_string(), |day| day.strftime("%Y-%m-%d").to_string())
}
