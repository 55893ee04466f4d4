//! The program `ncl`, the same for the operator and in a box.

use crate::parse::{Asked, parse};
use crate::wire::{Code, Failure, Request};
use crate::{client, help, print, table};
use serde_json::{Map, Value};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often `--watch` asks again.
const WATCH_EVERY: Duration = Duration::from_secs(2);
/// How often a command that is waited for shows what its build says.
const SHOW_EVERY: Duration = Duration::from_millis(500);
/// Clears a terminal.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seat {
    /// The operator of the install.
    Operator,
    /// An agent in its box: what it may ask for, the host knows.
    Box,
}

/// Where the answer goes.
pub struct Screen<'a> {
    /// The answer.
    pub out: &'a mut dyn Write,
    /// Why there is none.
    pub err: &'a mut dyn Write,
}

/// Asks what the words ask, at this socket; returns the exit code.
pub async fn run(words: &[String], socket: &Path, seat: Seat, screen: Screen<'_>) -> u8 {
    let (mut request, json) = match parse(words) {
        Ok(Asked::Do { request, json }) => (request, json),
        Ok(Asked::Text(text)) => return say(screen.out, &text),
        Ok(Asked::Help(resource)) => match seat {
            Seat::Operator => return say(screen.out, &help::help(resource.as_deref(), |_| true)),
            Seat::Box => (help_request(resource), false),
        },
        Err(failure) => {
            tell(screen.err, &failure);
            return 2;
        }
    };
    let verb = table::find_command(&request.command).map(|(verb, _)| verb);
    let watch = request.args.get("watch") == Some(&Value::Bool(true));
    loop {
        let this = request.clone();
        let mut asked = std::pin::pin!(client::ask(socket, &this));
        let build = (seat == Seat::Operator).then(|| build_log(socket, &request)).flatten();
        let mut shown = build.as_ref().and_then(|log| std::fs::read(log).ok()).unwrap_or_default();
        let answer = loop {
            match tokio::time::timeout(SHOW_EVERY, asked.as_mut()).await {
                Ok(answer) => break answer,
                Err(_) => build.iter().for_each(|log| progress(log, &mut shown, screen.err)),
            }
        };
        let data = match answer {
            Ok(data) => data,
            Err(failure) => {
                tell(screen.err, &failure);
                return if failure.code == Code::TransportError { 2 } else { 1 };
            }
        };
        let text = match json {
            true => serde_json::to_string_pretty(&data).unwrap_or_default(),
            false => print::render(verb, &data),
        };
        let clear = if watch && !json { CLEAR } else { "" };
        let next = follow(&request, &data);
        if next.is_none() || request.command == "chats-pair" {
            say(screen.out, &format!("{clear}{text}"));
        }
        if let Some(next) = next {
            request = next;
            continue;
        }
        if data.get("state").is_some_and(|state| state == "expired") {
            return 1;
        }
        if !watch {
            return 0;
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

/// Where the host writes what making packages ready says.
fn build_log(socket: &Path, request: &Request) -> Option<PathBuf> {
    let agent = request.args.get("id")?.as_str().filter(|id| !id.contains('/'))?;
    Some(socket.parent()?.join(format!("logs/build-{agent}.log")))
}

/// Shows the lines that were added. A build begins its log anew.
fn progress(log: &Path, shown: &mut Vec<u8>, err: &mut dyn Write) {
    let Ok(mut all) = std::fs::read(log) else { return };
    all.truncate(all.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
    let fresh = all.strip_prefix(shown.as_slice()).unwrap_or(&all);
    if !fresh.is_empty() {
        drop(writeln!(err, "{}", print::clean_lines(&String::from_utf8_lossy(fresh))));
    }
    *shown = all;
}

/// A code that was handed out is waited for.
fn follow(request: &Request, data: &Value) -> Option<Request> {
    let waits = match request.command.as_str() {
        "chats-pair" => true,
        "chats-pairing" => data.get("state")? == "waiting",
        _ => false,
    };
    if !waits || request.args.get("no_wait") == Some(&Value::Bool(true)) {
        return None;
    }
    let args = Map::from_iter([("id".to_owned(), data.get("id")?.clone())]);
    Some(Request { id: "1".into(), command: "chats-pairing".into(), args })
}

fn help_request(resource: Option<String>) -> Request {
    let mut args = Map::new();
    if let Some(resource) = resource {
        args.insert("resource".into(), resource.into());
    }
    Request { id: "1".into(), command: "help".into(), args }
}

/// A closed pipe is no reason to fail.
fn say(out: &mut dyn Write, text: &str) -> u8 {
    drop(writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush()));
    0
}

fn tell(err: &mut dyn Write, failure: &Failure) {
    drop(writeln!(err, "ncl: {}", print::clean_lines(&failure.message)));
}
