//! The vault's store as setup sees it, and the `vault` commands. A value is read, never shown.

use crate::Process;
use crate::commands::{complain, print};
use anyhow::Context as _;
use nanoclaw_ops::config::Strings as _;
use nanoclaw_ops::prompt;
use nanoclaw_ops::setup::Credentials;
use nanoclaw_vault::{Credential, Kind, ServeOptions, Store};
use std::io::Read as _;
use std::process::ExitCode;

pub(crate) const API_KEY: &str = "ANTHROPIC_API_KEY";
pub(crate) const OAUTH_TOKEN: &str = "CLAUDE_CODE_OAUTH_TOKEN";
/// More than any credential.
const VALUE_BYTES_MAX: u64 = 64 << 10;

#[derive(clap::Subcommand)]
pub(crate) enum VaultCommand {
    /// Store the credential: typed in, or from the standard input
    Set {
        /// What kind it is; without it, the value tells
        #[arg(long, value_enum)]
        kind: Option<KindArg>,
        /// Another address of the API
        #[arg(long)]
        base_url: Option<String>,
    },
    /// Say what is stored, without the value
    Status,
    /// Forget the credential
    Remove,
    /// Say what would happen to a request of an agent, and why
    Explain(crate::vault_policy::ExplainArgs),
    /// The file that says what agents may reach
    #[command(subcommand)]
    Policy(crate::vault_policy::PolicyCommand),
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
pub(crate) struct VaultStore(pub(crate) Store);

impl Credentials for VaultStore {
    fn status(&self) -> Result<Option<String>, String> {
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
    VaultStore(Store::new(&process.config.data))
}

/// To which variable a typed value would have belonged.
pub(crate) fn variable_of(value: &str) -> &'static str {
    if value.trim().starts_with("sk-ant-oat") { OAUTH_TOKEN } else { API_KEY }
}

pub(crate) async fn vault(process: &Process, command: VaultCommand) -> anyhow::Result<ExitCode> {
    let store = store(process);
    match command {
        VaultCommand::Serve => {
            let data = process.config.data.clone();
            nanoclaw_vault::serve(ServeOptions { data, ..ServeOptions::default() }).await?;
        }
        VaultCommand::Explain(args) => return crate::vault_policy::explain(process, &args),
        VaultCommand::Policy(command) => return crate::vault_policy::policy(process, &command),
        VaultCommand::Audit(command) => return crate::vault_audit::audit(process, command).await,
        VaultCommand::Usage(args) => return crate::vault_audit::usage(process, &args),
        VaultCommand::Status => {
            let said = store.status().map_err(anyhow::Error::msg)?;
            print(said.as_deref().unwrap_or("no credential; set one: nanoclaw setup"));
        }
        VaultCommand::Remove => {
            let was_there = store.0.remove()?;
            print(if was_there { "removed" } else { "there was none" });
        }
        VaultCommand::Set { kind, base_url } => {
            let Some(value) = read_value()? else {
                complain("nothing was given, nothing was changed");
                return Ok(ExitCode::FAILURE);
            };
            let kind = kind.map(|kind| match kind {
                KindArg::ApiKey => Kind::ApiKey,
                KindArg::Oauth => Kind::Oauth,
            });
            let base_url = base_url.or_else(|| process.env.get(crate::CLAUDE_KEY.base_url));
            store.0.set(&Credential::parse(&value, kind, base_url.as_deref())?)?;
            print("stored; a running vault uses it from the next request on");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read_value() -> anyhow::Result<Option<String>> {
    if prompt::is_possible() {
        return Ok(prompt::secret("credential (not shown): "));
    }
    let mut value = String::new();
    std::io::stdin()
        .take(VALUE_BYTES_MAX)
        .read_to_string(&mut value)
        .context("read the credential from the standard input")?;
    Ok(Some(value.trim().to_owned()).filter(|value| !value.is_empty()))
}
