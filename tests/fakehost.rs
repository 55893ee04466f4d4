//! A whole install like `install/host`, with the fake channel: the process that tests kill.

use nanoclaw_tests::compose::{Args, host};

fn main() -> anyhow::Result<std::process::ExitCode> {
    let args: Args = clap::Parser::parse();
    host(args)
}
