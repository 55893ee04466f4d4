//! `ncl`: asks the host of this install and prints the answer.
//!
//! What can be asked is one table in `crates/admin`; nothing is decided here.

use nanoclaw_admin::parse::{Asked, parse};
use nanoclaw_admin::wire::Failure;
use nanoclaw_admin::{client, print, table};
use nanoclaw_ops::config::Config;
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (text, code) = match answer(&words) {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(why) => {
            drop(writeln!(std::io::stderr(), "ncl: {why}"));
            return ExitCode::FAILURE;
        }
    };
    drop(write!(std::io::stdout(), "{}", text.trim_end_matches('\n').to_owned() + "\n"));
    code
}

fn answer(words: &[String]) -> anyhow::Result<String> {
    let said = |failure: Failure| anyhow::Error::msg(failure.message);
    let (request, json) = match parse(words).map_err(said)? {
        Asked::Help(text) => return Ok(text),
        Asked::Do { request, json } => (request, json),
    };
    let (config, _) = Config::of_process()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let socket = config.data.join("ncl.sock");
    let data = runtime.block_on(client::ask(&socket, &request)).map_err(said)?;
    if json {
        return Ok(serde_json::to_string_pretty(&data)?);
    }
    let verb = table::find(words).map(|(verb, _)| verb);
    Ok(print::render(verb, &data))
}
