//! Answers `ncl`: to the operator on `data/ncl.sock`, to agents through their sessions.
//!
//! A request takes the same way whoever asks: its arguments are made one canonical map, the caller's reach
//! is checked on that map ([`scope`]), and only then something looks at it or acts. What an agent wants
//! changed waits for approval with exactly this map, and its reach is checked again before it is done.

mod approvals;
mod channels;
mod chats;
mod destinations;
mod given;
mod groups;
mod inside;
mod install;
mod people;
mod scope;
mod sessions;
mod tasks;
mod why;

pub(crate) use groups::changes_box;
pub(crate) use inside::{from_box, run_approved};

use crate::{Host, HostError, blocking};
use given::{Answer, No};
use nanoclaw_admin::args::{Args, canonical, complete};
use nanoclaw_admin::table::{self, Verb};
use nanoclaw_admin::wire::{Code, Failure, Frame, LINE_BYTES_MAX, Request};
use nanoclaw_central::CliScope;
use nanoclaw_contract::ids::{AgentId, SessionId};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// Whoever runs the machine.
    Operator,
    /// An agent whose reach goes this far now, from this session.
    Agent(CliScope, AgentId, Option<SessionId>),
}

/// Opens the socket; the returned task serves it.
pub(crate) fn listen(host: &Arc<Host>) -> Result<impl Future<Output = ()> + use<>, HostError> {
    let path = host.config.data.join("ncl.sock");
    let open = || {
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    let listener = open().map_err(|e| HostError::Io(format!("listen on {}", path.display()), e))?;
    let host = host.clone();
    Ok(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(serve(host.clone(), stream));
                }
                Err(e) => {
                    tracing::error!(error = %e, "ncl is not accepted");
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
            }
        }
    })
}

async fn serve(host: Arc<Host>, stream: UnixStream) {
    let me = rustix::process::geteuid().as_raw();
    if !stream.peer_cred().is_ok_and(|peer| peer.uid() == me || peer.uid() == 0) {
        return tracing::warn!("ncl from another user was refused");
    }
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = String::new();
        match (&mut reader).take(LINE_BYTES_MAX as u64).read_line(&mut line).await {
            Ok(n) if n > 0 => {}
            _ => return,
        }
        let frame = match serde_json::from_str::<Request>(&line) {
            Ok(request) => {
                let id = request.id.clone();
                Frame::of(id, answer(&host, &Caller::Operator, request).await)
            }
            Err(e) => {
                let why = format!("bad frame: {e}");
                Frame::of("unknown", Err(Failure::new(Code::TransportError, why)))
            }
        };
        let Ok(mut text) = serde_json::to_string(&frame) else { return };
        text.push('\n');
        if writer.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Reads a request, as far as that needs nothing but the table.
fn read(request: Request) -> Result<(&'static Verb, Args), Failure> {
    let mut named: Vec<_> = request.args.into_iter().collect();
    let command = request.command.as_str();
    // v2's `ncl groups help`.
    let of_resource = command.strip_suffix("-help").filter(|r| table::find_command(r).is_some());
    let (command, positional) = match of_resource {
        Some(resource) => ("help", Some(resource)),
        None => (command, None),
    };
    let Some((verb, rest)) = table::find_command(command) else {
        let name: String = command.chars().take(60).collect();
        let text = format!("there is no command {name:?}; see `ncl help`");
        return Err(Failure::new(Code::UnknownCommand, text));
    };
    if let Some((name, value)) = verb.positional.zip(rest.or(positional)) {
        named.push((name.to_owned(), value.into()));
    }
    Ok((verb, canonical(verb, named)?))
}

/// Answers the operator.
async fn answer(host: &Arc<Host>, caller: &Caller, request: Request) -> Result<Value, Failure> {
    let (verb, mut args) = read(request)?;
    complete(verb, &mut args)?;
    run(host, caller, verb, args).await.map_err(No::into_failure)
}

/// Does what was asked for. Everybody's right to it was checked.
async fn run(host: &Arc<Host>, caller: &Caller, verb: &'static Verb, args: Args) -> Answer {
    match (verb.resource, verb.verb) {
        ("top", _) => install::top(host).await,
        ("dead-letters", "replay") => install::replay(host, &args).await,
        ("groups", _) if changes_box(&verb.command(), &args) => {
            groups::change_box(host, caller, verb, &args).await
        }
        ("groups", "restart") => groups::restart(host, &args).await,
        ("groups", "delete") | ("messaging-groups", "delete") => {
            groups::delete(host, verb, &args).await
        }
        ("chats", "pairing") => channels::outcome(host, &args).await,
        ("sessions", "stop") => sessions::stop(host, &args).await,
        ("sessions", "clear") => sessions::clear(host, &args).await,
        _ => {
            let (host, caller) = (host.clone(), caller.clone());
            let done = blocking(move || Ok(quick(&host, &caller, verb, &args)));
            done.await.map_err(No::from)?
        }
    }
}

/// What is done in one go. Blocks.
fn quick(host: &Arc<Host>, caller: &Caller, verb: &'static Verb, args: &Args) -> Answer {
    match verb.resource {
        "help" => Ok(scope::help(caller, args)),
        "status" => install::status(host),
        "channels" => channels::act(host, verb, args),
        "chats" => channels::pair(host, args),
        "why" => why::why(host, given::text(args, "id").unwrap_or_default()),
        "groups" => groups::act(host, verb, args),
        "messaging-groups" | "wirings" => chats::act(host, verb, args),
        "users" | "roles" | "members" | "denied-senders" | "user-dms" => {
            people::act(host, verb, args)
        }
        "approvals" => approvals::act(host, caller, verb, args),
        "destinations" => destinations::act(host, verb, args),
        "sessions" => sessions::act(host, verb, args),
        "tasks" => tasks::act(host, caller, verb, args),
        "dropped-messages" | "dead-letters" => install::act(host, verb, args),
        _ => Err(No::because(Code::UnknownCommand, format!("{} is not there yet", verb.words()))),
    }
}
