//! `nanoclaw`: your choice of channels, drivers and providers, and the command line of the install.
//!
//! Adding a channel or a driver is one dependency and one line in the lists below. Nothing here decides
//! anything about messages. Read next: [`run`] for the host, [`commands`] for everything else.

mod commands;
mod credentials;
mod doctor;
mod images;
mod onecli;
mod run;
mod vault_audit;
mod vault_policy;

use clap::{Parser, Subcommand};
use nanoclaw_channel::ChannelDef;
use nanoclaw_ops::config::{Config, Environment};
use nanoclaw_ops::drivers::DriverOption;
use nanoclaw_ops::setup::{FirstChat, Needs, ProviderOption};
use nanoclaw_ops::tools::ToolSpec;
use std::process::ExitCode;

/// Where people talk to the agents.
static CHANNELS: &[&ChannelDef] = &[
    &nanoclaw_channel_cli::CHANNEL,
    // The skill `add-<name>` has the line of each other channel.
];

/// What isolates the agents, the preferred one first.
fn drivers() -> Vec<DriverOption> {
    vec![
        DriverOption { def: nanoclaw_driver_docker::DRIVER, images: Some(&images::Docker) },
        DriverOption { def: nanoclaw_driver_bubblewrap::DRIVER, images: None },
    ]
}

/// What answers, the preferred one first; the same list is in `install/runner`.
const PROVIDERS: &[ProviderOption] = &[
    ProviderOption { name: "claude", needs: Some(CLAUDE_KEY), tool: Some(CLAUDE_CODE) },
    ProviderOption { name: "demo", needs: None, tool: None },
];

/// The chat that every install has.
const FIRST_CHAT: FirstChat =
    FirstChat { channel: "cli", platform_id: "local", owner: "cli:local" };

const CLAUDE_KEY: Needs = Needs {
    variables: &[credentials::API_KEY, credentials::OAUTH_TOKEN],
    base_url: "ANTHROPIC_BASE_URL",
    ask: "Anthropic API key or Claude token (not shown; Enter goes on without): ",
    guess: credentials::variable_of,
};

/// The program that the claude provider drives.
const CLAUDE_CODE: ToolSpec = ToolSpec {
    name: "claude",
    package: |arch| match arch {
        "x86_64" => Some("@anthropic-ai/claude-code-linux-x64"),
        "aarch64" => Some("@anthropic-ai/claude-code-linux-arm64"),
        _ => None,
    },
    version: "2.1.330",
    binary: "claude",
};

/// A home for a team of AI agents on this machine.
#[derive(Parser)]
#[command(name = "nanoclaw", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Talk to an agent in this terminal
    Chat(nanoclaw_channel_cli::client::ChatArgs),
    /// Make or repair the first agent; connect a model
    Setup(commands::SetupArgs),
    /// Start the host in the background
    Start,
    /// Stop the host and every box
    Stop,
    /// Show what runs and what is wrong
    Status(commands::StatusArgs),
    /// Try the walls of a box, one by one
    Doctor(doctor::DoctorArgs),
    /// Show the log of the host
    Logs(commands::LogsArgs),
    /// Run the host in the foreground
    Run(run::RunArgs),
    /// The image of the agents, for drivers that use one
    #[command(subcommand)]
    Image(commands::ImageCommand),
    /// The secrets that agents use without seeing them
    #[command(subcommand)]
    Vault(credentials::VaultCommand),
    /// Programs for the agents
    #[command(subcommand)]
    Tools(commands::ToolsCommand),
    /// Show the version
    Version,
}

/// One process of the install: what it is configured with.
struct Process {
    config: Config,
    env: Environment,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(cli.command) {
        Ok(code) => code,
        Err(error) => {
            commands::complain(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    let (config, env) = Config::of_process()?;
    let process = Process { config, env };
    run::log_to_stderr(&process.config);
    // An error means that it is installed already.
    drop(rustls::crypto::ring::default_provider().install_default());
    if let Command::Run(args) = &command {
        return run::run(&process, args);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::Chat(args) => commands::chat(&process, &args).await,
            Command::Setup(args) => commands::setup(&process, args).await,
            Command::Start => commands::start(&process),
            Command::Stop => commands::stop(&process),
            Command::Status(args) => commands::status(&process, &args).await,
            Command::Doctor(args) => doctor::doctor(&process, args).await,
            Command::Logs(args) => commands::logs(&process, &args),
            Command::Image(command) => commands::image(&process, &command).await,
            Command::Vault(command) => credentials::vault(&process, command).await,
            Command::Tools(command) => commands::tools(&process, &command),
            Command::Version => commands::version(),
            Command::Run(_) => Ok(ExitCode::SUCCESS),
        }
    })
}
