//! The head of a request, read and checked byte by byte before any library sees it.
//!
//! Whatever two parsers could read in two ways is refused, so there is no second request to smuggle. A plain
//! connection carries one request; inside a tunnel `guard` brings every head here. Read next: `front`.

use crate::refusal::Refusal;
use hyper::StatusCode;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};

pub(crate) const HEAD_MAX: usize = 16 << 10;
pub(crate) const FIELDS_MAX: usize = 100;
/// The most that a request's body may have anywhere.
pub(crate) const BODY_MAX: u64 = 1 << 30;
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const METHOD_MAX: usize = 32;
pub(crate) const END: &[u8] = b"\r\n\r\n";

/// Reads until the head is complete and checked; what follows it comes along. `None`: nothing was sent.
pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<Vec<u8>>, Refusal> {
    match tokio::time::timeout(HEAD_TIMEOUT, read_now(from)).await {
        Ok(read) => read,
        Err(_) => Err(late()),
    }
}

pub(crate) fn late() -> Refusal {
    let text = "the head of the request did not arrive within 10 seconds";
    Refusal::new(StatusCode::REQUEST_TIMEOUT, "head_timeout", text)
}

async fn read_now(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<Vec<u8>>, Refusal> {
    let mut buf = Vec::with_capacity(4 << 10);
    loop {
        let seen = buf.len();
        match from.read_buf(&mut buf).await {
            Ok(0) | Err(_) if seen == 0 => return Ok(None),
            Ok(0) | Err(_) => return Err(bad("the connection ended inside the head")),
            Ok(_) => {}
        }
        if complete(&buf, seen)?.is_some() {
            return Ok(Some(buf));
        }
    }
}

/// The head at the front of these bytes, with its length, once it is complete; the first `seen` bytes were
/// looked at before.
pub(crate) fn complete(buf: &[u8], seen: usize) -> Result<Option<(usize, Shape)>, Refusal> {
    let start = seen.saturating_sub(END.len() - 1);
    let end = buf.windows(END.len()).skip(start).position(|w| w == END).map(|at| start + at);
    let head = &buf[..end.map_or(buf.len(), |at| at + END.len())];
    if head.len() > HEAD_MAX {
        return Err(too_large());
    }
    plain_lines(head, start)?;
    match end {
        Some(_) => Ok(Some((head.len(), check(head)?))),
        None => Ok(None),
    }
}

/// What a head says of what follows it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Bytes of the body, when the length is given.
    pub(crate) length: u64,
    /// The body comes in chunks.
    pub(crate) chunked: bool,
    /// Something else than HTTP may follow.
    pub(crate) upgrade: bool,
    pub(crate) connect: bool,
}

/// Refuses line ends other than CR LF, and NUL, as soon as they arrive.
fn plain_lines(head: &[u8], start: usize) -> Result<(), Refusal> {
    for (at, byte) in head.iter().enumerate().skip(start) {
        let wrong = match byte {
            b'\n' => at == 0 || head[at - 1] != b'\r',
            b'\r' => head.get(at + 1).is_some_and(|next| *next != b'\n'),
            0 => true,
            _ => false,
        };
        if wrong {
            return Err(bad("the head has a bare line end or a NUL in it"));
        }
    }
    Ok(())
}

/// Judges a complete head, including the empty line at its end.
pub(crate) fn check(head: &[u8]) -> Result<Shape, Refusal> {
    let head = head.strip_suffix(END).unwrap_or(head);
    let mut lines =
        head.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let first: Vec<&[u8]> = lines.next().unwrap_or_default().split(|b| *b == b' ').collect();
    let (method, target, is_old) = match first[..] {
        [method, target, b"HTTP/1.1"] => (method, target, false),
        // So Python up to 3.11 asks for a tunnel, and names the host in the target alone.
        [b"CONNECT", target, b"HTTP/1.0"] => (b"CONNECT".as_slice(), target, true),
        _ => return Err(bad("the request line is not `METHOD target HTTP/1.1`")),
    };
    if !token(method) || target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
        return Err(bad("the request line has a character that does not belong there"));
    }
    if method.len() > METHOD_MAX {
        return Err(bad("the method is longer than any that there is"));
    }
    let mut shape = Shape { connect: method == b"CONNECT", ..Shape::default() };
    let (mut hosts, mut lengths, mut codings, mut fields) = (0, 0, 0, 0);
    for line in lines {
        let (name, value) = field(line)?;
        fields += 1;
        match name.to_ascii_lowercase().as_slice() {
            b"host" => hosts += 1,
            b"content-length" => {
                lengths += 1;
                shape.length = length(value)?;
            }
            b"upgrade" => shape.upgrade = true,
            b"transfer-encoding" if value.eq_ignore_ascii_case(b"chunked") => {
                codings += 1;
                shape.chunked = true;
            }
            b"transfer-encoding" => return Err(bad("only `transfer-encoding: chunked` is known")),
            _ => {}
        }
    }
    if fields > FIELDS_MAX {
        return Err(too_large());
    }
    if hosts != 1 && !(is_old && hosts == 0) {
        return Err(bad("a request names exactly one host"));
    }
    if lengths + codings > 1 {
        return Err(bad("the length of the body is given more than once"));
    }
    let bodyless = shape.connect || method == b"TRACE";
    if bodyless && (shape.chunked || shape.length > 0) {
        return Err(bad("this method has no body"));
    }
    Ok(shape)
}

/// Name and value of one header line.
pub(crate) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let colon = line.iter().position(|b| *b == b':');
    let Some((name, value)) = colon.map(|at| (&line[..at], blank(&line[at + 1..]))) else {
        return Err(bad("a header line has no colon"));
    };
    if !token(name) || value.iter().any(|b| b.is_ascii_control() && *b != b'\t') {
        return Err(bad("a header has a character that does not belong there"));
    }
    Ok((name, value))
}

/// Without the blanks around it: of all white space only these two may stand there.
fn blank(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn length(value: &[u8]) -> Result<u64, Refusal> {
    let digits = !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).unwrap_or_default();
    match text.parse::<u64>() {
        Ok(n) if digits && n <= BODY_MAX => Ok(n),
        Ok(_) if digits => Err(Refusal::body_too_large(BODY_MAX)),
        _ => Err(bad("content-length is not a number")),
    }
}

fn token(bytes: &[u8]) -> bool {
    let fits = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    !bytes.is_empty() && bytes.iter().all(fits)
}

pub(crate) fn bad(why: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "bad_request", why)
}

pub(crate) fn too_large() -> Refusal {
    Refusal::new(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "head_too_large",
        format!("a request head has at most {HEAD_MAX} bytes and {FIELDS_MAX} headers"),
    )
}

#[cfg(test)]
mod tests;
