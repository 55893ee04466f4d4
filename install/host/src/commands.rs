//! The commands that are not the host: each is one call into `ops` and what people read about it.

use crate::{CHANNELS, CLAUDE_CODE, FIRST_CHAT, PROVIDERS, Process, credentials, drivers};
use clap::{Args, Subcommand};
use nanoclaw_admin::client;
use nanoclaw_admin::wire::Request;
use nanoclaw_ops::drivers::Images;
use nanoclaw_ops::service::Started;
use nanoclaw_ops::setup::{Choices, Credentials as _, Wish};
use nanoclaw_ops::{
    Error, logs, service, setup as ops_setup, status as ops_status, tools as ops_tools,
};
use serde_json::Map;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args)]
pub(crate) struct SetupArgs {
    /// Who answers: claude or demo (default: claude if there is a credential)
    #[arg(long)]
    provider: Option<String>,
    /// What isolates agents: auto, docker or bubblewrap
    #[arg(long)]
    driver: Option<String>,
    /// Name of the first agent, if it has to be made
    #[arg(long)]
    name: Option<String>,
    /// Ask nothing
    #[arg(long)]
    yes: bool,
}

#[derive(Args)]
pub(crate) struct StatusArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct LogsArgs {
    /// How many lines
    #[arg(short = 'n', long, default_value_t = 50)]
    lines: usize,
    /// Go on with new lines
    #[arg(short, long)]
    follow: bool,
}

#[derive(Subcommand)]
pub(crate) enum ImageCommand {
    /// Make the base image with debootstrap, where no registry can be reached
    Base,
    /// Build the image of the agents
    Build,
    /// Say whether the image is there
    Status,
}

#[derive(Subcommand)]
pub(crate) enum ToolsCommand {
    /// Install the programs that the providers drive
    Install {
        /// Where to, instead of the data folder
        #[arg(long)]
        dir: Option<PathBuf>,
    },
}

/// Prints a line for people or pipes; a closed pipe is no reason to fail.
pub(crate) fn print(line: &str) {
    drop(writeln!(std::io::stdout(), "{line}"));
}

/// Prints a line to the standard error.
pub(crate) fn complain(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

pub(crate) async fn setup(process: &Process, args: SetupArgs) -> anyhow::Result<ExitCode> {
    let (drivers, store) = (drivers(), credentials::store(process));
    let choices =
        Choices { drivers: &drivers, providers: PROVIDERS, chat: FIRST_CHAT, credentials: &store };
    let SetupArgs { provider, driver, name, yes } = args;
    let wish = Wish { provider, driver, name, unattended: yes };
    let outcome = ops_setup::run(&process.config, &process.env, &choices, &wish, &print).await?;
    if outcome.restart && service::running(&process.config.data).is_some() {
        print("starting the host again, so that it follows");
        stop(process)?;
        start(process)?;
    }
    for channel in CHANNELS.iter().filter(|c| c.name != FIRST_CHAT.channel) {
        let name = channel.name;
        print(&format!("to talk to it on {name}: ncl chats pair --channel {name} --owner"));
    }
    if !outcome.is_connected {
        print(
            "this agent is a demo without a model; connect a real one: set ANTHROPIC_API_KEY or \
             CLAUDE_CODE_OAUTH_TOKEN and run `nanoclaw setup`, or run it and paste the value",
        );
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn start(process: &Process) -> anyhow::Result<ExitCode> {
    let config = &process.config;
    if !config.central().exists() {
        return Err(Error::new("nothing is set up here").next("nanoclaw setup").into());
    }
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(["run", "--background"]).current_dir(&config.root);
    command.env("NANOCLAW_ROOT", &config.root);
    match service::start(&config.data, &config.logs, command)? {
        Started::Now(host) => print(&format!("started, process {}", host.pid)),
        Started::Before(host) => print(&format!("runs already, process {}", host.pid)),
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn stop(process: &Process) -> anyhow::Result<ExitCode> {
    match service::stop(&process.config.data)? {
        Some(host) => print(&format!("stopped, process {}", host.pid)),
        None => print("it was not running"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Exit code 0 when the host takes messages, 1 otherwise.
pub(crate) async fn status(process: &Process, args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let mut status = ops_status::look(&process.config, credentials::store(process).status())?;
    if status.ready {
        match channels(process).await {
            Ok(channels) => status.channels = channels,
            Err(why) => {
                status.problems.push(format!("the host does not tell of its channels: {why}"));
            }
        }
    }
    if args.json {
        print(&serde_json::to_string_pretty(&status)?);
    } else {
        print(status.to_text().trim_end());
    }
    Ok(if status.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn channels(process: &Process) -> anyhow::Result<Vec<ops_status::ChannelLine>> {
    let request = Request { id: "1".into(), command: "channels-list".into(), args: Map::new() };
    let asked = client::ask(&process.config.data.join("ncl.sock"), &request).await;
    Ok(serde_json::from_value(asked.map_err(|e| anyhow::anyhow!(e.message))?)?)
}

pub(crate) fn logs(process: &Process, args: &LogsArgs) -> anyhow::Result<ExitCode> {
    logs::show(&process.config.logs, args.lines, args.follow, &mut std::io::stdout())?;
    Ok(ExitCode::SUCCESS)
}

/// For every driver that uses images; without one there is nothing to do.
pub(crate) async fn image(process: &Process, command: &ImageCommand) -> anyhow::Result<ExitCode> {
    let (root, name) = (&process.config.root, &process.config.image);
    for option in drivers() {
        let Some(images) = option.images else { continue };
        match command {
            ImageCommand::Base => images.base(&print).await.map_err(Error::new)?,
            ImageCommand::Build => build(images, root, name).await?,
            ImageCommand::Status => {
                let is_there = images.exists(name).await.map_err(Error::new)?;
                let driver = option.def.name;
                print(&format!(
                    "{driver}: {name} {}",
                    if is_there { "is there" } else { "is missing" }
                ));
                if !is_there {
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn build(images: &dyn Images, root: &std::path::Path, name: &str) -> anyhow::Result<()> {
    let built = images.build(root, name, &print).await;
    built.map_err(|why| {
        Error::new(format!("{name} was not built: {why}")).next(
            "where no registry can be reached: nanoclaw image base, then nanoclaw image build",
        )
    })?;
    print(&format!("built {name}"));
    Ok(())
}

pub(crate) fn tools(process: &Process, command: &ToolsCommand) -> anyhow::Result<ExitCode> {
    let ToolsCommand::Install { dir } = command;
    let folder = dir.as_ref().unwrap_or(&process.config.tools);
    let path = ops_tools::install(folder, &CLAUDE_CODE, &print)?;
    print(&path.display().to_string());
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn version() -> anyhow::Result<ExitCode> {
    print(&format!("nanoclaw {}", env!("CARGO_PKG_VERSION")));
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn chat(
    process: &Process,
    args: &nanoclaw_channel_cli::client::ChatArgs,
) -> anyhow::Result<ExitCode> {
    Ok(nanoclaw_channel_cli::client::chat(&process.config.data, args).await.into())
}
