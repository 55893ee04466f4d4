//! What is stored, for people and as JSON; never a value.

use super::{VaultStore, day_of};
use crate::commands::print;
use nanoclaw_ops::setup::Credentials as _;
use nanoclaw_secrets::{Kind, SecretInfo, Slot, Store};
use serde_json::json;

#[derive(clap::Args)]
pub(crate) struct JsonArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn list(store: &Store, args: &JsonArgs) -> anyhow::Result<()> {
    let (all, damaged) = (store.list()?, store.damaged()?);
    if args.json {
        let text = serde_json::to_string_pretty(&json!({ "secrets": all, "damaged": damaged }))?;
        print(&text);
        return Ok(());
    }
    if all.is_empty() {
        print("no secrets; add one: nanoclaw vault add --help");
    }
    for secret in &all {
        print(&line(secret));
    }
    for id in damaged {
        print(&format!("{id}: damaged, not used; restore a backup or add it again"));
    }
    Ok(())
}

fn line(secret: &SecretInfo) -> String {
    let mut out = format!("{} ({})", secret.name, secret.kind.name());
    if secret.kind == Kind::HostOnly {
        return out + ": for the host alone";
    }
    for binding in &secret.bindings {
        let methods = match binding.methods.as_slice() {
            [] => String::new(),
            methods => format!("{} ", methods.join("|")),
        };
        let slot = match &binding.slot {
            Slot::Header { name, .. } => format!("header {name}"),
            Slot::Query { name } => format!("query {name}"),
            Slot::PathSegment => "path".to_owned(),
            Slot::Basic { .. } => "basic".to_owned(),
        };
        let (host, port, path) = (&binding.host, binding.port, &binding.path);
        out.push_str(&format!("\n  at {methods}{host}:{port}{path} as {slot}"));
    }
    for grant in &secret.grants {
        let until = grant.until.map(|until| format!(" until {}", day_of(until)));
        out.push_str(&format!("\n  for {}{}", grant.to, until.unwrap_or_default()));
    }
    if secret.grants.is_empty() {
        out.push_str("\n  for nobody yet");
    }
    if let Some(expires) = secret.expires {
        out.push_str(&format!("\n  ends on {}", day_of(expires)));
    }
    out
}

pub(crate) fn status(store: &VaultStore, args: &JsonArgs) -> anyhow::Result<()> {
    let dir = store.0.dir();
    let exists = Store::exists(dir);
    let opened = if exists { Some(store.0.open()?) } else { None };
    let protection = opened.as_ref().map(Store::protection).transpose()?;
    let locked = opened.as_ref().is_some_and(Store::is_locked);
    let count = match &opened {
        Some(store) if !locked => store.list()?.len(),
        _ => 0,
    };
    let credential = if locked { None } else { store.status().map_err(anyhow::Error::msg)? };
    if args.json {
        let (source, lines) = protection.map_or((None, Vec::new()), |p| (Some(p.source), p.lines));
        print(&serde_json::to_string_pretty(&json!({
            "credential": credential,
            "secrets": count,
            "locked": locked,
            "key": source,
            "protects": lines,
        }))?);
        return Ok(());
    }
    if locked {
        print("locked; open it: nanoclaw vault unlock");
    } else {
        print(credential.as_deref().unwrap_or("no credential; set one: nanoclaw setup"));
        print(&format!("secrets: {count}; see: nanoclaw vault list"));
    }
    if let Some(protection) = protection {
        print(&format!("key: {}", protection.source));
        for line in protection.lines {
            print(&format!("  {line}"));
        }
    }
    Ok(())
}
