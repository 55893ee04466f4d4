//! `nanoclaw chat`: talks to an agent from a terminal or a script.
//!
//! With a text (or something piped in) it says that, prints exactly the answers to it and ends when the
//! agent's turn is over ([`once`]); without, it is a conversation ([`talk`]). It never writes what came from
//! an agent to the terminal but through the printers of [`nanoclaw_channel::markdown`].

mod link;
mod once;
mod show;
mod talk;

use crate::wire::{FILES_BYTES_MAX, FILES_MAX, Say, Upload};
use link::Link;
use nanoclaw_channel::ids::mint;
use nanoclaw_channel::time::{Clock as _, SystemClock};
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest text from a pipe.
const PIPED_MAX: u64 = 512 << 10;

/// What can be said on the command line.
#[derive(Debug, Clone, clap::Args)]
pub struct ChatArgs {
    /// The agent to talk to; the default one if not given.
    #[arg(long)]
    pub agent: Option<String>,
    /// Print one JSON object per line instead of text.
    #[arg(long)]
    pub json: bool,
    /// Send this file along; can be given several times.
    #[arg(long, value_name = "PATH")]
    pub file: Vec<PathBuf>,
    /// Give up waiting for an answer after this many seconds.
    #[arg(long, value_name = "SECS", default_value_t = 300)]
    pub timeout: u64,
    /// What to say; without it, and with nothing piped in, a conversation begins.
    pub text: Vec<String>,
}

/// How a chat ended, as the exit code says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The agent answered, or the conversation was left.
    Well = 0,
    /// What was asked for makes no sense.
    Usage = 1,
    /// The host was not reached.
    Unreachable = 2,
    /// No answer came in time.
    TimedOut = 3,
    /// The message was not taken.
    Refused = 4,
}

impl From<Ended> for std::process::ExitCode {
    fn from(ended: Ended) -> Self {
        Self::from(ended as u8)
    }
}

/// Runs `nanoclaw chat` on an install's data folder.
pub async fn chat(data: &Path, args: &ChatArgs) -> Ended {
    let files = match args.file.iter().map(|path| pack(path)).collect::<Result<Vec<_>, _>>() {
        Ok(files) => files,
        Err(why) => return complain(Ended::Usage, &why),
    };
    let text = match text(args) {
        Ok(text) => text,
        Err(why) => return complain(Ended::Usage, &why),
    };
    match text {
        None if args.json || !files.is_empty() => {
            complain(Ended::Usage, "say something: nanoclaw chat [--json] [--file PATH] TEXT")
        }
        None => talk::talk(data, args.agent.as_deref()).await,
        Some(text) if text.trim().is_empty() && files.is_empty() => {
            complain(Ended::Usage, "there is nothing to say: the text is empty")
        }
        Some(text) => {
            let say = match new_say(text, files) {
                Ok(say) => say,
                Err(why) => return complain(Ended::Usage, &why),
            };
            let once = once::Once {
                data,
                agent: args.agent.as_deref(),
                timeout: Duration::from_secs(args.timeout),
            };
            if args.json {
                once.run(say, &mut show::Json(std::io::stdout())).await
            } else {
                once.run(say, &mut show::Text::new(args.agent.as_deref())).await
            }
        }
    }
}

/// The text from the command line or the pipe; `None` when there is a person to talk to.
fn text(args: &ChatArgs) -> Result<Option<String>, String> {
    if !args.text.is_empty() {
        return Ok(Some(args.text.join(" ")));
    }
    if std::io::stdin().is_terminal() {
        return Ok(None);
    }
    let mut text = String::new();
    std::io::stdin()
        .take(PIPED_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|e| format!("what was piped in cannot be read as text: {e}"))?;
    if text.len() as u64 > PIPED_MAX {
        return Err(format!("more than {} KB of text; send it with --file", PIPED_MAX >> 10));
    }
    Ok(Some(text.trim_end().to_owned()))
}

fn new_say(text: String, files: Vec<Upload>) -> Result<Say, String> {
    let encoded: usize = files.iter().map(|f| f.base64.len()).sum();
    if files.len() > FILES_MAX || encoded > FILES_BYTES_MAX / 3 * 4 + 4 * FILES_MAX {
        let most = FILES_BYTES_MAX >> 20;
        return Err(format!("at most {FILES_MAX} files with {most} MB together can be sent"));
    }
    Ok(Say { id: Some(mint("chat", SystemClock.now())), text, files })
}

/// Reads a file to be sent.
fn pack(path: &Path) -> Result<Upload, String> {
    let cannot = |why: &str| format!("{} cannot be sent: {why}", path.display());
    let name = path.file_name().ok_or_else(|| cannot("it has no name"))?;
    let file = std::fs::File::open(path).map_err(|e| cannot(&e.to_string()))?;
    if !file.metadata().is_ok_and(|m| m.is_file()) {
        return Err(cannot("it is no regular file"));
    }
    let mut bytes = Vec::new();
    let most = FILES_BYTES_MAX as u64;
    file.take(most + 1).read_to_end(&mut bytes).map_err(|e| cannot(&e.to_string()))?;
    if bytes.len() > FILES_BYTES_MAX {
        return Err(cannot(&format!("it is larger than {} MB", most >> 20)));
    }
    Ok(Upload::new(name.to_string_lossy().into_owned(), &bytes))
}

fn complain(ended: Ended, why: &str) -> Ended {
    // Where nothing can be written, the exit code has to do.
    writeln!(std::io::stderr(), "{why}").ok();
    ended
}

fn unreachable(data: &Path, error: &std::io::Error) -> String {
    let socket = crate::socket(data);
    format!("NanoClaw does not answer on {}: {error}\nStart it: nanoclaw start", socket.display())
}
