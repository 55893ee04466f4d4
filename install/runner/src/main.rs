//! YOUR runner: the one place that names the providers it can drive.

use std::process::ExitCode;

fn main() -> ExitCode {
    nanoclaw_runner::run(&[nanoclaw_provider_demo::PROVIDER, nanoclaw_provider_claude::PROVIDER])
}
