//! `ncl` in the box: the agent's own door to the host, with the operator's commands and tables.
//!
//! The runner's program called by the name `ncl` asks the runner over a socket in the box; the runner writes
//! the question into the outbox and waits for the answer in the inbox. Nothing is decided here: what an
//! agent may ask for, the host knows.

use crate::log::log;
use crate::session::{Session, out_id};
use nanoclaw_admin::program::{Screen, Seat, run};
use nanoclaw_admin::wire::{Code, Failure, Frame, Request};
use nanoclaw_contract::message::{NewOut, OutKind};
use nanoclaw_contract::outbox::Commit;
use serde_json::{Value, json};
use std::io::{stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// Variable that says where the socket is.
pub(crate) const SOCKET: &str = "NANOCLAW_NCL_SOCKET";
/// Where it is otherwise.
pub(crate) const SOCKET_DEFAULT: &str = "/tmp/.nanoclaw-ncl.sock";
const NAME: &str = "ncl";
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How long an answer that nobody here waits for is left to who asked by hand.
pub(crate) const BY_HAND: Duration = Duration::from_secs(60);
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Whether this process was called to ask.
pub(crate) fn is_wanted() -> bool {
    let called = std::env::args_os().next().unwrap_or_default();
    Path::new(&called).file_name().is_some_and(|name| name == NAME)
}

/// Asks what the command line says.
pub(crate) async fn main() -> ExitCode {
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|w| w.to_string_lossy().into_owned()).collect();
    let socket = std::env::var_os(SOCKET).unwrap_or_else(|| SOCKET_DEFAULT.into());
    let screen = Screen { out: &mut stdout(), err: &mut stderr() };
    ExitCode::from(run(&words, Path::new(&socket), Seat::Box, screen).await)
}

/// Answers whoever asks in this box.
pub(crate) async fn serve(session: Arc<Session>, socket: PathBuf) {
    // A container that is started again finds the old one.
    drop(std::fs::remove_file(&socket));
    let listener = match UnixListener::bind(&socket) {
        Ok(listener) => listener,
        Err(e) => return log!("ncl does not work in this box: {e}"),
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(answer(session.clone(), stream))),
            Err(e) => {
                log!("ncl: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(session: Arc<Session>, stream: UnixStream) {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let read = BufReader::new(reader).take(LINE_BYTES_MAX).read_line(&mut line).await;
    if !matches!(read, Ok(n) if n > 0) {
        return;
    }
    let frame = match serde_json::from_str::<Request>(&line) {
        Ok(request) => Frame::of(request.id.clone(), ask(&session, request).await),
        Err(e) => {
            let why = format!("bad frame: {e}");
            Frame::of("unknown", Err(Failure::new(Code::TransportError, why)))
        }
    };
    let mut text = serde_json::to_string(&frame).unwrap_or_default();
    text.push('\n');
    // Who hung up wants no answer.
    drop(writer.write_all(text.as_bytes()).await);
}

async fn ask(session: &Session, request: Request) -> Result<Value, Failure> {
    let lost = |text: String| Failure::new(Code::TransportError, text);
    let id = out_id("sys", &uuid::Uuid::new_v4().to_string());
    let key = key(id.as_str());
    let content = json!({ "action": "cli_request", "requestId": id, "command": request.command,
        "args": request.args });
    let content = content.to_string();
    let row = NewOut { id, in_reply_to: None, kind: OutKind::System, to: None, content };
    let answer = session.ask(&key);
    let written = session.commit(Commit { say: &[row], ..Commit::default() });
    let answer = match written {
        Ok(_) => tokio::time::timeout(ANSWER_MAX, answer).await,
        Err(e) => {
            session.unask(&key);
            return Err(lost(format!("the question cannot be written: {e}")));
        }
    };
    session.unask(&key);
    let Ok(Ok(text)) = answer else {
        let text =
            "command timed out after 30s; the host may still do it: look before you ask again";
        return Err(lost(text.into()));
    };
    let frame: Frame = serde_json::from_str(&text)
        .map_err(|e| lost(format!("the answer is not understood: {e}")))?;
    frame.error.map_or_else(|| Ok(frame.data.unwrap_or_default()), Err)
}

/// What the session knows a question to the host by.
pub(crate) fn key(request: &str) -> String {
    format!("ncl/{request}")
}
