//! A vault process for the tests: `vault-under-test <data directory> [<file with names>]`.
//!
//! A line of the file is a name and its addresses; it is read at each question, so a test can change an answer.

use nanoclaw_vault::{Resolve, Resolved, ServeOptions, VaultError, serve};
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
            // `*.zone` answers for every name below it.
            let fits = |first: &str| {
                first == name || first.strip_prefix('*').is_some_and(|zone| name.ends_with(zone))
            };
            let line = lines.find(|line| line.first().is_some_and(|first| fits(first)));
            if let Some(["slow"]) = line.as_deref().map(|line| &line[1..]) {
                return std::future::pending().await;
            }
            let ips = line.ok_or(io::ErrorKind::NotFound)?.into_iter().skip(1);
            ips.map(|ip| ip.parse::<IpAddr>().map_err(io::Error::other)).collect()
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), VaultError> {
    let mut args = std::env::args_os().skip(1);
    let data: PathBuf = args.next().unwrap_or_default().into();
    let names = args.next().map(|file| Arc::new(Names(file.into())) as Arc<dyn Resolve>);
    serve(ServeOptions { data, resolver: names, ..ServeOptions::default() }).await
}
