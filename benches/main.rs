//! Measures what NanoClaw promises, one file per promise, against a whole install in a temporary folder.
//!
//! The host runs as a process of its own with the fake chat platform as its channel; boxes, runner, vault
//! and databases are the real ones. It prints values and ratios and asserts nothing unless told to
//! (`--check`). Read next: [`world`] for the install, [`report`] for what is printed; docs/performance.md says
//! what each line means.

mod channels;
mod cold;
mod crowd;
mod engine;
mod harness;
mod inbound;
mod report;
mod sleepers;
mod start;
mod tasks;
mod vault;
mod warm;
mod world;

use anyhow::bail;
use report::{Output, Report};
use std::pin::Pin;
use std::process::ExitCode;

/// How to measure, and what.
#[derive(clap::Parser, Debug, Clone)]
#[command(name = "cargo xtask bench", about = "measures what NanoClaw promises")]
struct Args {
    /// Fewer samples and a shorter watch: for development.
    #[arg(long)]
    quick: bool,
    /// How long the load on the channels lasts.
    #[arg(long, default_value_t = 1)]
    minutes: usize,
    /// Only benches whose name contains this; may be given again.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Only with this isolation driver.
    #[arg(long, value_name = "NAME")]
    driver: Option<String>,
    /// One JSON object in place of the table.
    #[arg(long)]
    json: bool,
    /// Fail when a line is over its target.
    #[arg(long)]
    check: bool,
    /// Keep the values as the baseline that later runs are compared with.
    #[arg(long)]
    save_baseline: bool,
    /// Be a vault for which every name is this machine.
    #[arg(long, hide = true)]
    vault: bool,
}

type Running<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

/// Something that is measured.
struct Bench {
    name: &'static str,
    /// Whether it is measured once per isolation driver.
    per_driver: bool,
    run: for<'a> fn(&'a mut Report, &'a str) -> Running<'a>,
}

/// What is measured, in this order.
const BENCHES: [Bench; 12] = [
    Bench { name: "start", per_driver: false, run: |r, _| Box::pin(start::run(r)) },
    Bench { name: "sleepers", per_driver: false, run: |r, _| Box::pin(sleepers::run(r)) },
    Bench { name: "inbound", per_driver: false, run: |r, _| Box::pin(inbound::run(r)) },
    Bench { name: "channels", per_driver: false, run: |r, d| Box::pin(channels::run(r, d)) },
    Bench { name: "vault", per_driver: false, run: |r, _| Box::pin(vault::run(r)) },
    Bench { name: "warm", per_driver: true, run: |r, d| Box::pin(warm::run(r, d)) },
    Bench { name: "tasks", per_driver: false, run: |r, d| Box::pin(tasks::run(r, d)) },
    Bench { name: "cold", per_driver: true, run: |r, d| Box::pin(cold::run(r, d)) },
    Bench { name: "crowd", per_driver: true, run: |r, d| Box::pin(crowd::at_once(r, d)) },
    Bench { name: "memory", per_driver: true, run: |r, d| Box::pin(crowd::memory(r, d)) },
    Bench { name: "claude-alone", per_driver: false, run: |r, _| Box::pin(harness::alone(r)) },
    Bench { name: "claude", per_driver: true, run: |r, d| Box::pin(harness::boxed(r, d)) },
];

const DRIVERS: [&str; 2] = ["bubblewrap", "docker"];

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<ExitCode> {
    let args: Args = clap::Parser::parse();
    if args.vault {
        vault::serve().await?;
        return Ok(ExitCode::SUCCESS);
    }
    let wanted =
        |name: &str| args.only.is_empty() || args.only.iter().any(|o| name.contains(o.as_str()));
    if !BENCHES.iter().any(|b| wanted(b.name)) {
        let names: Vec<_> = BENCHES.iter().map(|b| b.name).collect();
        bail!("nothing is called {:?}; there are: {}", args.only, names.join(", "));
    }
    let mut report = Report::new(args.quick, if args.json { Output::Json } else { Output::Table })?;
    report.minutes = args.minutes;
    let drivers: Vec<_> =
        DRIVERS.into_iter().filter(|d| args.driver.as_ref().is_none_or(|w| w == d)).collect();
    for bench in BENCHES.iter().filter(|b| wanted(b.name)) {
        // A bench without a driver of its own uses the one that needs no engine.
        let on = if bench.per_driver { drivers.as_slice() } else { &DRIVERS[..1] };
        for driver in on {
            // What one bench left for the disk is not for the next to wait for.
            rustix::fs::sync();
            if let Err(e) = (bench.run)(&mut report, driver).await {
                report.failed(&format!("{}, {driver}", bench.name), &e);
            }
        }
    }
    if args.save_baseline {
        report.save_baseline()?;
    }
    Ok(report.end(args.check))
}
