//! `ncl`: asks the host of this install and prints the answer.
//!
//! What can be asked is one table in `crates/admin`; nothing is decided here.

use nanoclaw_admin::program::{Screen, Seat, run};
use nanoclaw_ops::config::Config;
use std::io::{Write as _, stderr, stdout};
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|w| w.to_string_lossy().into_owned()).collect();
    ask(&words).unwrap_or_else(|why| {
        drop(writeln!(stderr(), "ncl: {why}"));
        ExitCode::from(2)
    })
}

fn ask(words: &[String]) -> anyhow::Result<ExitCode> {
    let (config, _) = Config::of_process()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let socket = config.data.join("ncl.sock");
    let screen = Screen { out: &mut stdout(), err: &mut stderr() };
    Ok(ExitCode::from(runtime.block_on(run(words, &socket, Seat::Operator, screen))))
}
