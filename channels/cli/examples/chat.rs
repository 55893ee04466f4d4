//! The chat client alone, for the tests of a real terminal: `chat <data folder> [arguments]`.

use clap::Parser;
use nanoclaw_channel_cli::client::{ChatArgs, chat};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
struct Args {
    data: PathBuf,
    #[command(flatten)]
    chat: ChatArgs,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    chat(&args.data, &args.chat).await.into()
}
