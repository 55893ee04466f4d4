//! What is said on the socket: frames of one JSON line, followed by the bytes of files.
//!
//! A line is `[[length, …], frame]`; then come so many bytes per file, in the order of the files in the frame.
//! Everything is bounded. What does not fit ends the connection, and with it the program.

use nanoclaw_channel::{
    Address, Answer, AnswerOutcome, Body, Capabilities, Change, Health, Inbound, Outgoing,
    PlatformId, PlatformMessageId, Receipt, SendError, StartError, Typing,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

/// Longest line: a text of 4 MiB of which every character is escaped, twice over.
const LINE_MAX: u64 = 64 << 20;

/// Most bytes of files in one frame.
const FILES_MAX: usize = 512 << 20;

/// One thing said.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Frame {
    /// Something to be done; the number is that of the answer.
    Call(u64, Call),
    /// The answer.
    Reply(u64, Reply),
    /// How the adapter is.
    Health(Health),
}

/// What can be asked: by the host until `Stop`, by the program after it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Call {
    Start { data: PathBuf, settings: BTreeMap<String, String> },
    Send(Outgoing),
    Typing(Address, Typing),
    Subscribe(Address),
    OpenDm(String),
    History(Address, PlatformMessageId, usize),
    ChatName(PlatformId),
    Ping,
    Stop,
    Push(Box<Inbound>),
    Change(Change),
    Answer(Answer),
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Started(Result<Capabilities, StartError>),
    Sent(Result<Receipt, SendError>),
    Opened(Result<PlatformId, SendError>),
    History(Vec<Inbound>),
    Name(Option<String>),
    Taken(Result<(), String>),
    Answered(Result<AnswerOutcome, String>),
    Done,
}

impl Frame {
    /// The files in it.
    fn files(&mut self) -> Vec<&mut Vec<u8>> {
        match self {
            Self::Call(_, Call::Push(message)) => of(message).collect(),
            Self::Reply(_, Reply::History(said)) => said.iter_mut().flat_map(of).collect(),
            Self::Call(_, Call::Send(Outgoing { body: Body::Text { files, .. }, .. })) => {
                files.iter_mut().map(|file| &mut file.bytes).collect()
            }
            Self::Call(..) | Self::Reply(..) | Self::Health(_) => Vec::new(),
        }
    }

    /// The frame as it is sent.
    pub(super) fn encode(mut self) -> io::Result<Vec<u8>> {
        let files: Vec<Vec<u8>> = self.files().into_iter().map(std::mem::take).collect();
        let lengths: Vec<usize> = files.iter().map(Vec::len).collect();
        let mut bytes = serde_json::to_vec(&(lengths, &self))?;
        bytes.push(b'\n');
        if bytes.len() as u64 > LINE_MAX || files.iter().map(Vec::len).sum::<usize>() > FILES_MAX {
            return Err(wrong("larger than a frame may be"));
        }
        files.iter().for_each(|file| bytes.extend_from_slice(file));
        Ok(bytes)
    }

    /// Reads the next frame; `None` at the end.
    pub(super) async fn read(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Self>> {
        let mut line = Vec::new();
        from.take(LINE_MAX).read_until(b'\n', &mut line).await?;
        match line.last() {
            None => return Ok(None),
            Some(b'\n') => {}
            Some(_) => return Err(wrong("a line that does not end")),
        }
        let (lengths, mut frame): (Vec<usize>, Self) = serde_json::from_slice(&line)?;
        let files = frame.files();
        let all = lengths.iter().try_fold(0_usize, |all, n| all.checked_add(*n));
        if files.len() != lengths.len() || all.is_none_or(|all| all > FILES_MAX) {
            return Err(wrong("files that the frame does not have"));
        }
        for (file, length) in files.into_iter().zip(lengths) {
            // Grows as bytes come: a length alone takes no memory.
            from.take(length as u64).read_to_end(file).await?;
            if file.len() != length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Some(frame))
    }
}

fn of(message: &mut Inbound) -> impl Iterator<Item = &mut Vec<u8>> {
    message.files.iter_mut().map(|file| &mut file.bytes)
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
