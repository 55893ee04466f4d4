//! Secrets come in: a name, a value, places and agents.

use super::{end_of, read_value};
use crate::commands::print;
use anyhow::{Context as _, bail};
use nanoclaw_secrets::kind::{anthropic, known, usual};
use nanoclaw_secrets::{
    Binding, Grant, Inject, Kind, NewSecret, Rotation, SecretInfo, Slot, Store, Value,
};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

pub(crate) const HELP: &str = "\
The value is asked for, or comes from --from-file or the standard input; never from an argument.

Examples:
  nanoclaw vault add github --grant 'dev-*'            # a ghp_… token: its prefix tells what it is
  nanoclaw vault add weather --host api.weather.example --header x-api-key --grant '*'
  nanoclaw vault add maps --kind query --query key --host maps.example --path '/v1/**' --method GET
  nanoclaw vault add wiki --kind basic --user bot --host wiki.example --always --grant notes
  nanoclaw vault add mail --kind oauth2 --host api.mail.example --from-file token.json \\
      --set token_url=https://login.mail.example/token --set client_id=abc
  nanoclaw vault add app --kind github-app --host api.github.com --from-file key.pem \\
      --set app_id=1 --set installation_id=2 --set repositories=site --set permissions=contents:read
  nanoclaw vault add TELEGRAM_BOT_TOKEN --host-only    # a token of a channel

An agent's box holds a placeholder; the value is put in on the way out, at these places and nowhere else.";

#[derive(clap::Args)]
pub(crate) struct AddArgs {
    /// What it is called
    name: String,
    /// What it is; without it, the value's prefix tells, then bearer
    #[arg(long, value_parser = kind)]
    kind: Option<Kind>,
    /// Where it may be used: host, host:port or an address; several are possible
    #[arg(long = "host")]
    hosts: Vec<String>,
    /// The header that it stands in
    #[arg(long)]
    header: Option<String>,
    /// What stands in the header, such as "token {value}"
    #[arg(long, requires = "header")]
    format: Option<String>,
    /// The user of Basic authentication
    #[arg(long)]
    user: Option<String>,
    /// The parameter of the query that it stands in
    #[arg(long)]
    query: Option<String>,
    /// Only these methods
    #[arg(long = "method")]
    methods: Vec<String>,
    /// Only these paths, such as /repos/**
    #[arg(long)]
    path: Option<String>,
    /// Put it into every request to the place, also without the placeholder
    #[arg(long)]
    always: bool,
    /// Who may use it: an agent's id, its folder, or folders with *
    #[arg(long = "grant")]
    grants: Vec<String>,
    /// The last day on which it works, such as 2027-01-31
    #[arg(long)]
    expires: Option<jiff::civil::Date>,
    /// What the kind needs besides, as KEY=VALUE
    #[arg(long = "set", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// For the host's own channels alone; no agent can use it
    #[arg(long, conflicts_with_all = ["kind", "hosts", "grants"])]
    host_only: bool,
    /// Read the value from this file
    #[arg(long)]
    from_file: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(crate) struct RotateArgs {
    /// The secret
    name: String,
    /// The last day on which the new value works
    #[arg(long)]
    expires: Option<jiff::civil::Date>,
    /// Read the value from this file
    #[arg(long)]
    from_file: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(crate) struct TestArgs {
    /// The secret
    name: String,
    /// The path to ask for, where the usual one is not right
    #[arg(long, default_value = "")]
    path: String,
}

fn kind(text: &str) -> Result<Kind, String> {
    let names = Kind::ALL.map(|(_, name)| name).join(", ");
    let found = Kind::ALL.into_iter().find(|(_, name)| *name == text);
    found.map(|(kind, _)| kind).ok_or_else(|| format!("write one of: {names}"))
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    if ["secret", "password", "token", "key"].iter().any(|word| key.ends_with(word)) {
        return Err(format!(
            "{key:?} is a value to keep secret; put it into the file of --from-file"
        ));
    }
    Ok((key.to_owned(), value.to_owned()))
}

fn given(name: &str, file: Option<&PathBuf>) -> anyhow::Result<Value> {
    let value = read_value(&format!("value of {name}"), file.map(PathBuf::as_path))?;
    value.context("nothing was given, nothing was changed")
}

pub(crate) fn add(store: &Store, args: AddArgs) -> anyhow::Result<()> {
    let value = given(&args.name, args.from_file.as_ref())?;
    let seen = known(value.expose());
    let claude = args
        .settings
        .iter()
        .any(|(key, value)| (key.as_str(), value.as_str()) == ("provider", "claude"));
    let kind = match args.kind {
        _ if args.host_only => Kind::HostOnly,
        Some(kind) => kind,
        None if args.user.is_some() => Kind::Basic,
        None if args.query.is_some() => Kind::Query,
        None if args.header.is_some() => Kind::Header,
        None => seen.map_or(Kind::Bearer, |known| known.kind),
    };
    let mut hosts = args.hosts.clone();
    if let Some(known) = seen.filter(|_| hosts.is_empty() && !args.host_only) {
        hosts.push(known.host.to_owned());
    }
    if hosts.is_empty() && kind != Kind::HostOnly {
        bail!("say where {:?} may be used: --host api.example.com", args.name);
    }
    let mut bindings = Vec::new();
    for host in &hosts {
        let usual = if claude { anthropic(host, true) } else { usual(kind, host, value.expose()) };
        for binding in usual? {
            bindings.push(shaped(binding, kind, &args)?);
        }
    }
    let grant = |to: &String| anyhow::Ok(Grant { to: to.parse()?, until: None });
    let grants = args.grants.iter().map(grant).collect::<Result<_, _>>()?;
    let expires = args.expires.map(end_of).transpose()?;
    let settings: BTreeMap<_, _> = args.settings.into_iter().collect();
    let info = store.add(NewSecret {
        name: args.name,
        kind,
        value,
        bindings,
        grants,
        expires,
        settings,
    })?;
    print(&said(&info));
    Ok(())
}

fn said(info: &SecretInfo) -> String {
    if info.kind == Kind::HostOnly {
        return format!("stored {}, for the host alone", info.name);
    }
    let hosts: Vec<String> = info.bindings.iter().map(|b| b.host.to_string()).collect();
    let mut hosts = hosts;
    hosts.dedup();
    let to = match info.grants.as_slice() {
        [] => format!("no agent may use it yet; next: nanoclaw vault grant {} AGENT", info.name),
        grants => {
            let names: Vec<String> = grants.iter().map(|grant| grant.to.to_string()).collect();
            format!("agents that may use it: {}", names.join(", "))
        }
    };
    format!("stored {} ({}) for {}; {to}", info.name, info.kind.name(), hosts.join(", "))
}

/// A usual binding, with what was said about it.
fn shaped(mut binding: Binding, kind: Kind, args: &AddArgs) -> anyhow::Result<Binding> {
    if let Some(name) = &args.header {
        let format = args.format.clone().unwrap_or_else(|| "{value}".into());
        binding.slot = Slot::Header { name: name.to_ascii_lowercase(), format };
    }
    if let Some(name) = &args.query {
        binding.slot = Slot::Query { name: name.clone() };
    }
    if let (Some(user), Kind::Basic) = (&args.user, kind) {
        binding.slot = Slot::Basic { user: user.clone() };
    }
    if let Some(path) = &args.path {
        binding.path = path.parse()?;
    }
    if args.always {
        binding.mode = Inject::Always;
    }
    binding.methods.clone_from(&args.methods);
    Ok(binding)
}

pub(crate) fn rotate(store: &Store, args: RotateArgs) -> anyhow::Result<()> {
    store.info(&args.name)?;
    let value = given(&args.name, args.from_file.as_ref())?;
    let expires = args.expires.map(end_of).transpose()?;
    let info = store.rotate(&args.name, Rotation { value, expires })?;
    print(&format!("{} has value {} now; the old one is gone", info.name, info.epoch));
    Ok(())
}

pub(crate) async fn test(store: Store, args: TestArgs) -> anyhow::Result<ExitCode> {
    let said = nanoclaw_vault::dynamic::probe(Arc::new(store), &args.name, &args.path).await?;
    print(&said.text);
    Ok(if said.is_accepted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
