//! The port that a provider implements: how the runner talks to a harness.
//!
//! A provider is one task. It receives [`Command`]s and sends [`Event`]s until its command channel closes
//! or it sends [`Event::Exited`]. It owns the harness process; it never touches a database. The runner
//! decides what is said to whom, what is acknowledged and when.

use crate::tools::Tools;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use uuid::Uuid;

/// A provider that an install can have.
pub struct ProviderDef {
    /// Its name in an agent's configuration.
    pub name: &'static str,
    /// Who reads the agent's memory to it.
    pub memory: Memory,
    /// Makes one; it is asked for a new one after each [`Event::Exited`].
    pub make: fn(Setup) -> Box<dyn Provider>,
}

/// How `CLAUDE.md` and `CLAUDE.local.md` of the working directory reach the model, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// The harness reads them by itself.
    Harness,
    /// They stand in [`Setup::instructions`].
    Instructions,
}

/// What a provider gets when it is made.
#[derive(Clone)]
pub struct Setup {
    /// Where the agent works, `/workspace/agent`.
    pub cwd: PathBuf,
    /// The session folder, `/workspace`.
    pub workspace: PathBuf,
    /// Directories beside the working directory that the agent may use.
    pub extra_dirs: Vec<PathBuf>,
    /// Skills that the agent has: folders with a `SKILL.md`.
    pub skills: Vec<PathBuf>,
    /// What the agent is told about itself, its destinations and its tools, added to the harness's own prompt.
    pub instructions: String,
    /// The conversation to go on with.
    pub continuation: Option<String>,
    /// Model, if one was chosen.
    pub model: Option<String>,
    /// Effort, if one was chosen.
    pub effort: Option<String>,
    /// Whether [`Event::Delta`] is wanted.
    pub previews: bool,
    /// Servers of further tools: name → the entry as in `container.json`.
    pub mcp_servers: BTreeMap<String, serde_json::Value>,
    /// The environment of the harness.
    pub env: BTreeMap<String, String>,
    /// The runner's own tools, to be called in-process.
    pub tools: Arc<Tools>,
    /// Asks whether a turn that is about to end with this text must go on: `Some(why)` if so.
    pub check_reply: Arc<CheckReply>,
}

/// Judges the text that would end a turn.
pub type CheckReply = dyn Fn(&str) -> Option<String> + Send + Sync;

/// A harness.
#[async_trait]
pub trait Provider: Send {
    /// Runs until told to stop, or until the harness is gone.
    async fn run(self: Box<Self>, commands: mpsc::Receiver<Command>, events: mpsc::Sender<Event>);
}

/// What the runner tells a provider.
#[derive(Debug, Clone)]
pub enum Command {
    /// Start a turn with this, or push it into the running turn.
    Prompt(Prompt),
    /// End the running turn; the provider lives on.
    Interrupt,
    /// Finish within the grace period and exit.
    Stop {
        /// How long that may take.
        grace: Duration,
    },
}

/// Something said to the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Stable per batch of inbound rows, so that a harness that has seen it drops it.
    pub id: Uuid,
    /// The text, safe to pass as user text: no slash command, no `@path`.
    pub text: String,
    /// A slash command of the harness instead of text, such as `/compact`; sent alone and unaltered.
    pub command: Option<String>,
    /// Pictures that came along, as files.
    pub images: Vec<Image>,
    /// Whether the model must answer, or only know.
    pub wants_turn: bool,
}

/// A picture for the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its media type.
    pub mime: String,
    /// Where it lies.
    pub path: PathBuf,
}

/// What a provider tells the runner.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The conversation's id, to go on with after a restart.
    Session(String),
    /// The harness has taken this prompt into the conversation.
    Consumed(Uuid),
    /// A turn has begun, asked for or not.
    TurnStarted,
    /// Something happened in the harness.
    Activity,
    /// The model's API asked to wait; the harness tries again by itself.
    Waiting {
        /// For how long.
        retry_in: Option<Duration>,
        /// Why, for people.
        why: String,
    },
    /// The agent said something, whole block by whole block, main thread only.
    Text {
        /// Tells this block from every other of the conversation.
        key: String,
        /// The text.
        text: String,
    },
    /// More of a block of text that is still being said, main thread only. Left out where nobody wants it; a
    /// block that was heard so comes as [`Event::Text`] all the same.
    Delta {
        /// The block's.
        key: String,
        /// What was added.
        text: String,
    },
    /// A tool started.
    ToolStarted {
        /// The harness's id of the call.
        id: String,
        /// Its name.
        name: String,
        /// How long it said that it may take.
        timeout: Option<Duration>,
    },
    /// A tool ended.
    ToolEnded {
        /// The harness's id of the call.
        id: String,
    },
    /// The turn is over. Everything consumed until now is done.
    TurnEnded(Result<TurnEnd, ProviderError>),
    /// The harness is gone. A clean exit after [`Command::Stop`] has no error.
    Exited(Option<ProviderError>),
}

/// How a turn ended well.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TurnEnd {
    /// Text that came from the harness itself, such as the output of `/context`; for the user as it is.
    pub notice: Option<String>,
    /// Money spent in this turn, if the harness says.
    pub cost_usd: Option<f64>,
}

/// What went wrong, by what the user can do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct ProviderError {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// The harness's own words, for the log.
    pub detail: String,
}

/// Kinds of failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorKind {
    /// The key or token is missing, wrong or expired.
    Auth,
    /// A usage limit was reached.
    RateLimited {
        /// When it ends, seconds since 1970, if known.
        resets_at: Option<i64>,
    },
    /// The model's servers have too much to do.
    Overloaded,
    /// The API refused the request.
    BadRequest,
    /// Account or credit.
    Billing,
    /// The API or the way to it failed.
    Unreachable,
    /// The conversation to go on with is gone; start without it.
    LostConversation,
    /// The harness could not be started; the detail says why.
    Setup,
    /// The user or the host interrupted.
    Interrupted,
    /// Anything else.
    Other,
}
