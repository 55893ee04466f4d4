//! A stream of HTTP/1.1 requests that passes only what was judged.
//!
//! It stands between the tunnel's TLS and the HTTP library: heads come through whole and checked by `head`,
//! bodies exactly as long as their head said. In place of what is wrong comes one request with the method
//! [`REFUSED`]; the service answers it with the reason, and the connection ends. Read next: `tunnel`.

use crate::head::{self, HEAD_MAX, HEAD_TIMEOUT};
use crate::refusal::Refusal;
use bytes::{Buf as _, Bytes, BytesMut};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Method of the request that stands for one that was refused.
pub(crate) const REFUSED: &str = "REFUSED";
const STAND_IN: &[u8] = b"REFUSED / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
const READ: usize = 16 << 10;
/// `fffffff\r\n`: no chunk is larger, and extensions of chunks carry nothing that anybody needs.
const CHUNK_LINE_MAX: usize = 9;
const IDLE: Duration = Duration::from_secs(90);

/// What the service and its connection's guard tell each other.
#[derive(Default)]
pub(crate) struct Judgement {
    refusal: Mutex<Option<Refusal>>,
    /// The service answered 101; what follows is not HTTP.
    upgraded: AtomicBool,
    /// Requests without a whole answer.
    open: AtomicUsize,
}

impl Judgement {
    pub(crate) fn refusal(&self) -> Refusal {
        let told = self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take();
        told.unwrap_or_else(|| head::bad("no such method"))
    }

    pub(crate) fn upgraded(&self) {
        self.upgraded.store(true, Ordering::Release);
    }

    /// An answer has left, or will not.
    pub(crate) fn answered(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before or inside a head; so many bytes were looked at.
    Head(usize),
    /// So many bytes of a body are to come.
    Body(u64),
    ChunkLine,
    Chunk(u64),
    ChunkEnd,
    /// So many bytes of trailers have passed.
    Trailers(usize),
    Raw,
    /// The library holds the stand-in; whatever else comes is not looked at.
    Refused,
    Ended,
}

pub(crate) struct Guard<S> {
    io: S,
    /// Read, not judged.
    raw: BytesMut,
    /// Judged, not handed on.
    good: Bytes,
    state: State,
    upgrade: bool,
    told: Arc<Judgement>,
    timer: Pin<Box<Sleep>>,
    timing: bool,
}

impl<S> Guard<S> {
    pub(crate) fn new(io: S, told: Arc<Judgement>) -> Self {
        let timer = Box::pin(tokio::time::sleep(IDLE));
        let (raw, good, state) = (BytesMut::new(), Bytes::new(), State::Head(0));
        Self { io, raw, good, state, upgrade: false, told, timer, timing: false }
    }

    fn refuse(&mut self, refusal: Refusal) {
        *self.told.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
        self.state = State::Refused;
        self.good = Bytes::from_static(STAND_IN);
    }

    fn pass(&mut self, n: usize) {
        self.good = self.raw.split_to(n).freeze();
    }

    /// Judges what was read; true when that got anywhere.
    fn judge(&mut self) -> bool {
        let before = self.state;
        match self.step() {
            Ok(()) => self.state != before || !self.good.is_empty(),
            // Inside a body the library is told by an end that comes too early.
            Err(refusal) if matches!(before, State::Head(_)) => {
                self.refuse(refusal);
                true
            }
            Err(_) => {
                self.state = State::Ended;
                true
            }
        }
    }

    fn step(&mut self) -> Result<(), Refusal> {
        match self.state {
            State::Raw => self.pass(self.raw.len()),
            State::Refused | State::Ended => self.raw.clear(),
            _ if self.raw.is_empty() => {}
            State::Head(_) if self.upgrade && self.told.upgraded.load(Ordering::Acquire) => {
                self.state = State::Raw;
            }
            State::Head(seen) => match head::complete(&self.raw, seen)? {
                None => self.state = State::Head(self.raw.len()),
                Some((_, shape)) if shape.connect => {
                    return Err(head::bad("there is no tunnel inside a tunnel"));
                }
                Some((n, shape)) => {
                    self.upgrade = shape.upgrade;
                    self.state = match (shape.chunked, shape.length) {
                        (true, _) => State::ChunkLine,
                        (_, 0) => State::Head(0),
                        (_, n) => State::Body(n),
                    };
                    self.told.open.fetch_add(1, Ordering::Relaxed);
                    self.pass(n);
                }
            },
            State::Body(n) => self.state = some(self.counted(n), State::Body, State::Head(0)),
            State::ChunkLine => self.chunk_line()?,
            State::Chunk(n) => self.state = some(self.counted(n), State::Chunk, State::ChunkEnd),
            State::ChunkEnd if self.raw.len() < 2 => {}
            State::ChunkEnd if self.raw.starts_with(b"\r\n") => {
                self.state = State::ChunkLine;
                self.pass(2);
            }
            State::ChunkEnd => return Err(head::bad("a chunk is longer than it said")),
            State::Trailers(seen) => self.trailer(seen)?,
        }
        Ok(())
    }

    /// Passes what is here of this many bytes; says how many are missing then.
    fn counted(&mut self, n: u64) -> u64 {
        let here = usize::try_from(n).unwrap_or(usize::MAX).min(self.raw.len());
        self.pass(here);
        n - here as u64
    }

    fn line(&self, most: usize) -> Result<Option<usize>, Refusal> {
        match self.raw.iter().take(most).position(|b| *b == b'\n') {
            Some(at) if at > 0 && self.raw[at - 1] == b'\r' => Ok(Some(at + 1)),
            None if self.raw.len() < most => Ok(None),
            _ => Err(head::bad("a line between chunks is not well formed")),
        }
    }

    fn chunk_line(&mut self) -> Result<(), Refusal> {
        let Some(n) = self.line(CHUNK_LINE_MAX)? else { return Ok(()) };
        let digits = &self.raw[..n - 2];
        let hex = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
        let size = std::str::from_utf8(digits).ok().filter(|_| hex);
        let size = size.and_then(|text| u64::from_str_radix(text, 16).ok());
        self.state = match size.ok_or_else(|| head::bad("a chunk has no plain length"))? {
            0 => State::Trailers(0),
            n => State::Chunk(n),
        };
        self.pass(n);
        Ok(())
    }

    fn trailer(&mut self, seen: usize) -> Result<(), Refusal> {
        let Some(n) = self.line(HEAD_MAX.saturating_sub(seen).max(2))? else { return Ok(()) };
        if n > 2 {
            head::field(&self.raw[..n - 2])?;
        }
        self.state = if n > 2 { State::Trailers(seen + n) } else { State::Head(0) };
        self.pass(n);
        Ok(())
    }

    /// Between requests a connection may be silent for a while, inside a head only shortly.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let busy = self.told.open.load(Ordering::Relaxed) > 0;
        if busy || !matches!(self.state, State::Head(_)) {
            self.timing = false;
            return Poll::Pending;
        }
        let started = !self.raw.is_empty();
        if !self.timing {
            let wait = if started { HEAD_TIMEOUT } else { IDLE };
            self.timer.as_mut().reset(Instant::now() + wait);
            self.timing = true;
        }
        ready!(self.timer.as_mut().poll(cx));
        self.timing = false;
        if started {
            self.refuse(head::late());
        } else {
            self.state = State::Ended;
        }
        Poll::Ready(())
    }
}

fn some(left: u64, more: impl Fn(u64) -> State, done: State) -> State {
    if left > 0 { more(left) } else { done }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.good.is_empty() {
                let n = this.good.len().min(out.remaining());
                out.put_slice(&this.good[..n]);
                this.good.advance(n);
                if this.good.is_empty() {
                    this.good = Bytes::new();
                }
                return Poll::Ready(Ok(()));
            }
            if this.state == State::Ended {
                return Poll::Ready(Ok(()));
            }
            if this.judge() {
                continue;
            }
            let first = this.raw.is_empty();
            let io = Pin::new(&mut this.io);
            match poll_some(io, cx, &mut this.raw) {
                // To the library an end would mean that nobody waits for its answer.
                Poll::Ready(Ok(0)) if this.state == State::Refused => return Poll::Pending,
                Poll::Ready(Ok(0)) => this.state = State::Ended,
                // A head that begins has its own, shorter time.
                Poll::Ready(Ok(_)) => this.timing &= !first,
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => ready!(this.poll_late(cx)),
            }
        }
    }
}

/// Reads what is there, at most [`READ`] bytes.
fn poll_some<S: AsyncRead>(
    io: Pin<&mut S>,
    cx: &mut Context<'_>,
    into: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    let len = into.len();
    into.resize(len + READ, 0);
    let mut buf = ReadBuf::new(&mut into[len..]);
    let polled = io.poll_read(cx, &mut buf);
    let n = buf.filled().len();
    into.truncate(len + n);
    polled.map_ok(|()| n)
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
