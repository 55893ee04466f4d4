//! What a box sends inside a tunnel, as the guard lets it through and as the HTTP library reads it.

use super::RUNTIME;
use crate::exchange::headers::clean_request;
use crate::guard::{Guard, Judgement, REFUSED};
use crate::{full, head, tunnel};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderMap};
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use nanoclaw_policy::Target;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};

/// One request, as somebody reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Seen {
    method: String,
    target: String,
    /// By their names, those of one name in their order.
    headers: Vec<(String, Vec<u8>)>,
    /// Nothing if it ended too early.
    body: Option<Vec<u8>>,
}

/// The requests of a connection are what its bytes say, however they are cut; the first byte says how.
pub fn requests(data: &[u8]) {
    let [cut, bytes @ ..] = data else { return };
    let (seen, again) = (heard(bytes, bytes.len().max(1)), heard(bytes, usize::from(*cut).max(1)));
    assert_eq!(seen, again, "cut or not, it is the same");
    let said = said(bytes);
    assert!(seen.len() <= said.len(), "more than was said: {seen:?} of {said:?}");
    for (seen, said) in seen.iter().zip(&said) {
        let refused = seen.method == REFUSED;
        assert_eq!(refused, said.method == REFUSED, "{seen:?} is {said:?}");
        if refused {
            continue;
        }
        assert_eq!((&seen.method, &seen.headers), (&said.method, &said.headers));
        if said.target.starts_with('/') {
            assert_eq!(seen.target, said.target.split('#').next().unwrap_or_default());
        }
        assert!(seen.body.is_none() || seen.body == said.body, "{seen:?} is {said:?}");
        goes(&seen.target);
    }
}

/// What is judged is what is written.
fn goes(target: &str) {
    let Ok(target) = Target::parse(target) else { return };
    let Ok(uri) = target.wire().parse::<Uri>() else { return };
    let written = uri.path_and_query().map(hyper::http::uri::PathAndQuery::as_str);
    assert_eq!(written, Some(target.wire()));
}

/// What the service is given.
fn heard(bytes: &[u8], size: usize) -> Vec<Seen> {
    let seen = Mutex::new(Vec::new());
    let lock = || seen.lock().unwrap_or_else(PoisonError::into_inner);
    let service = |request: Request<Incoming>| {
        let (mut parts, body) = request.into_parts();
        let mut headers: Vec<_> = parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
            .collect();
        headers.sort_by(|a, b| a.0.cmp(&b.0));
        let at = {
            let mut seen = lock();
            let (method, target) = (parts.method.to_string(), parts.uri.to_string());
            seen.push(Seen { method, target, headers, body: None });
            seen.len() - 1
        };
        clean(&mut parts.headers);
        async move {
            let body = body.collect().await.ok().map(|body| body.to_bytes().to_vec());
            if let Some(seen) = lock().get_mut(at) {
                seen.body = body;
            }
            Ok::<_, Infallible>(Response::new(full(bytes::Bytes::new())))
        }
    };
    RUNTIME.block_on(async {
        let pieces = tokio::io::join(Pieces { left: bytes, size }, tokio::io::sink());
        let io = TokioIo::new(Guard::new(pieces, Arc::new(Judgement::default())));
        // However it ends.
        drop(tunnel::http1().serve_connection(io, service_fn(service)).await);
    });
    std::mem::take(&mut *lock())
}

/// Nothing about the connection goes on.
fn clean(headers: &mut HeaderMap) {
    let named = |headers: &HeaderMap| -> Vec<String> {
        let lists = headers.get_all(CONNECTION).iter().filter_map(|list| list.to_str().ok());
        lists
            .flat_map(|list| list.split(','))
            .map(|name| name.trim().to_ascii_lowercase())
            .collect()
    };
    let names = named(headers);
    clean_request(headers, false);
    for name in [
        "connection",
        "keep-alive",
        "proxy-authorization",
        "transfer-encoding",
        "upgrade",
        "expect",
        "via",
    ] {
        assert!(!headers.contains_key(name), "{name} goes on");
    }
    for name in names.iter().filter(|name| *name != "te") {
        assert!(!headers.contains_key(name.as_str()), "{name} goes on");
    }
    let once = headers.clone();
    clean_request(headers, false);
    assert_eq!(once, *headers, "clean is clean");
}

/// What the bytes say, read by a second reader that is as simple as can be; up to the first that is refused.
fn said(mut bytes: &[u8]) -> Vec<Seen> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let refused = Seen { method: REFUSED.to_owned(), ..Seen::default() };
        let end = bytes.windows(4).position(|window| window == head::END);
        let shape = head::complete(bytes, 0);
        let (Some(end), Ok(Some((_, shape)))) = (end, shape) else {
            all.push(refused);
            break;
        };
        let (text, rest) = (String::from_utf8_lossy(&bytes[..end]), &bytes[end + 4..]);
        let line = text.split("\r\n").next().unwrap_or_default();
        let mut words = line.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if method == "CONNECT" {
            all.push(refused);
            break;
        }
        let mut headers: Vec<(String, Vec<u8>)> = Vec::new();
        for line in bytes[..end].split(|byte| *byte == b'\n').skip(1) {
            let colon = line.iter().position(|byte| *byte == b':').unwrap_or_default();
            let name = String::from_utf8_lossy(&line[..colon]).to_lowercase();
            headers.push((name, line[colon + 1..].trim_ascii().to_vec()));
        }
        headers.sort_by(|a, b| a.0.cmp(&b.0));
        let body = if shape.chunked { chunks(rest) } else { counted(rest, shape.length) };
        let (body, rest) = body.map_or((None, None), |(body, rest)| (Some(body), Some(rest)));
        all.push(Seen { method, target, headers, body });
        let Some(rest) = rest else { break };
        bytes = rest;
    }
    all
}

fn counted(bytes: &[u8], length: u64) -> Option<(Vec<u8>, &[u8])> {
    let (body, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    Some((body.to_vec(), rest))
}

fn chunks(mut bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let line = |bytes: &[u8]| bytes.windows(2).position(|window| window == b"\r\n");
    let mut body = Vec::new();
    loop {
        let end = line(bytes)?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).ok()?, 16).ok()?;
        bytes = &bytes[end + 2..];
        if size == 0 {
            break;
        }
        body.extend_from_slice(bytes.get(..size)?);
        bytes = bytes.get(size..)?.strip_prefix(b"\r\n")?;
    }
    loop {
        let end = line(bytes)?;
        bytes = &bytes[end + 2..];
        if end == 0 {
            return Some((body, bytes));
        }
    }
}

/// Bytes that come so many at once.
struct Pieces<'a> {
    left: &'a [u8],
    size: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (piece, left) = self.left.split_at(self.size.min(self.left.len()).min(out.remaining()));
        out.put_slice(piece);
        self.left = left;
        Poll::Ready(Ok(()))
    }
}
