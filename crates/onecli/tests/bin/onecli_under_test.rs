//! A vault process for the tests: `onecli-under-test <data directory> <file with names>`.
//!
//! A line of the file is a name and its addresses. `settings` beside it has the variables of OneCLI, one on a line.

use nanoclaw_onecli::{API_KEY, Settings};
use nanoclaw_secrets::Value;
use nanoclaw_vault::{Resolve, Resolved, ServeOptions, VaultError, serve};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

struct Names(PathBuf);

impl Resolve for Names {
    fn resolve(&self, name: &str) -> Resolved {
        let (file, name) = (self.0.clone(), name.to_owned());
        Box::pin(async move {
            let text = std::fs::read_to_string(file)?;
            let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let line = lines.find(|line| line.first() == Some(&name.as_str()));
            let ips = line.ok_or(io::ErrorKind::NotFound)?.into_iter().skip(1);
            ips.map(|ip| ip.parse::<IpAddr>().map_err(io::Error::other)).collect()
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), VaultError> {
    let mut args = std::env::args_os().skip(1);
    let data: PathBuf = args.next().unwrap_or_default().into();
    let names: PathBuf = args.next().unwrap_or_default().into();
    let set = std::fs::read_to_string(names.with_file_name("settings")).unwrap_or_default();
    let set: BTreeMap<&str, &str> = set.lines().filter_map(|line| line.split_once('=')).collect();
    let get = |key: &str| set.get(key).map(|value| (*value).to_owned());
    let settings = Settings::parse(&get).map_err(VaultError::Refused)?;
    let outside = settings.outside(&data, || get(API_KEY).map(Value::new));
    let outside = outside.map_err(VaultError::Refused)?;
    serve(ServeOptions { data, resolver: Some(Arc::new(Names(names))), outside }).await
}
