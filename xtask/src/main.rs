//! `cargo xtask`: the project's own checks, the same on a laptop and in CI.
//!
//! It reads the tree and runs cargo; it never writes outside `docs/contract.md`
//! and `docs/channels.md`. Read next: [`ci`] for the
//! order of things, [`tidy`] for what is checked beyond the compiler.

mod channels;
mod ci;
mod docs;
mod programs;
mod size;
mod tidy;
mod tree;

use anyhow::{Result, bail};
use std::io::Write as _;
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask <command>

  ci      format, lints, tidy, size, tests, documentation: everything that must hold
  tidy    layout, names, module docs, paths in the documentation, generated pages
  size    tokens of code per part against the limits in size.toml
  docs    writes docs/contract.md from the SQL
  channels  holds the channels (all, or those named) to the conformance cases and writes docs/channels.md
  bench   builds for release and runs the benchmarks; arguments are passed on
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    match run(&command, &rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            say(&format!("xtask {command}: {e:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: &str, rest: &[String]) -> Result<()> {
    let root = tree::root()?;
    match command {
        "ci" => ci::ci(&root),
        "tidy" => tidy::tidy(&root),
        "size" => size::size(&root),
        "channels" => channels::channels(&root, rest),
        "docs" => docs::write(&root),
        "bench" => ci::bench(&root, rest),
        "" | "help" | "-h" | "--help" => {
            say(HELP);
            Ok(())
        }
        other => bail!("no command {other:?}\n\n{HELP}"),
    }
}

/// Prints a line; a closed pipe is no reason to fail.
fn say(line: &str) {
    drop(writeln!(std::io::stdout(), "{line}"));
}
