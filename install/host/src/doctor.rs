//! `nanoclaw doctor`: whether the walls of this install stand, on the driver that it uses.
//!
//! Starts one box of its own and ends it. Reads nothing of any agent, and needs no host that runs.

use crate::{Process, commands, drivers};
use clap::Args;
use nanoclaw_driver::{BoxUser, Limits};
use nanoclaw_ops::doctor::{Ground, examine};
use nanoclaw_ops::{Error, drivers as choice, setup};
use std::process::ExitCode;

#[derive(Args)]
pub(crate) struct DoctorArgs {
    /// Which driver, instead of the one that this install uses
    #[arg(long)]
    driver: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Exit code 0 when every wall that is required stands, 1 otherwise.
pub(crate) async fn doctor(process: &Process, args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let config = &process.config;
    let context = setup::driver_context(config);
    let wish = args.driver.or_else(|| config.driver.clone());
    let remembered = match config.central().exists() {
        true => choice::remembered(&config.open_central()?)?.map(|(name, _)| name),
        false => None,
    };
    // Made anew, so that a driver that no longer works is told about, not passed over.
    let driver = match wish.or(remembered) {
        None => choice::choose(&drivers(), None, &context).await?.driver,
        Some(name) => {
            let option = drivers().into_iter().find(|option| option.def.name == name);
            let option =
                option.ok_or_else(|| Error::new(format!("there is no driver {name:?}")))?;
            (option.def.make)(&context).map_err(|e| Error::new(e.to_string()))?
        }
    };
    let (uid, gid) = config.box_user;
    let ground = Ground {
        scratch: config.data.join("run/doctor"),
        user: BoxUser { uid, gid },
        limits: Limits::default(),
    };
    let report = examine(driver.as_ref(), &ground).await;
    match args.json {
        true => commands::print(&serde_json::to_string_pretty(&report)?),
        false => commands::print(report.to_text().trim_end()),
    }
    Ok(if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
