//! Asks the host over its socket.

use crate::wire::{Code, Failure, Frame, LINE_BYTES_MAX, Request};
use serde_json::Value;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Packages are fetched and boxes started before the answer.
const BUILT_WITHIN: Duration = Duration::from_secs(25 * 60);

/// Sends one question and waits for its answer.
pub async fn ask(socket: &Path, request: &Request) -> Result<Value, Failure> {
    let lost = |what: &str, e: &dyn std::fmt::Display| {
        Failure::new(Code::TransportError, format!("{what}: {e}"))
    };
    let stream = UnixStream::connect(socket).await.map_err(|e| match e.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            let text = "the host does not run; start it with `nanoclaw start`";
            Failure::new(Code::TransportError, text)
        }
        _ => lost("the host is not reached", &e),
    })?;
    let (reader, mut writer) = stream.into_split();
    let mut line =
        serde_json::to_string(request).map_err(|e| lost("the question cannot be written", &e))?;
    line.push('\n');
    writer.write_all(line.as_bytes()).await.map_err(|e| lost("the host does not listen", &e))?;
    let builds = request.command.starts_with("groups-");
    let patience = if builds { BUILT_WITHIN } else { ANSWER_MAX };
    let mut answer = String::new();
    let mut reader = BufReader::new(reader).take(LINE_BYTES_MAX as u64);
    match tokio::time::timeout(patience, reader.read_line(&mut answer)).await {
        Ok(Ok(n)) if n > 0 => {}
        Ok(Ok(_)) => return Err(lost("the host hung up", &"no answer")),
        Ok(Err(e)) => return Err(lost("the host hung up", &e)),
        Err(_) => return Err(lost("the host does not answer", &format!("waited {patience:?}"))),
    }
    let frame: Frame =
        serde_json::from_str(&answer).map_err(|e| lost("the answer is not understood", &e))?;
    match frame.error {
        Some(failure) => Err(failure),
        None => Ok(frame.data.unwrap_or_default()),
    }
}
