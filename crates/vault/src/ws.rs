//! A WebSocket once it is open: frames go on as they come, and what is in them is searched like any body.
//!
//! Messages keep their kind and their end; only how a message is cut into frames may change, because a few bytes
//! are held back where they may be the beginning of a find. Nothing of a peer that breaks the protocol goes on.
//!
//! Read next: [`crate::scan`] for the search.

use crate::scan::{Leak, Scrub, Tripwire, Watch, Window};
use bytes::Bytes;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

/// The largest text, however many frames it comes in.
const TEXT_MAX: u64 = 4 << 20;
/// So much of a frame is in memory at once.
const PIECE: u64 = 64 << 10;
const CONTROL_MAX: u64 = 125;
/// How long nothing may come, not even the answer to our ping after half of it.
const IDLE: Duration = Duration::from_secs(600);
/// A peer that takes nothing for so long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// After one side closed, the other has so long.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// How it ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// What both were told (RFC 6455, 7.4), if they did not end it themselves.
    pub code: Option<u16>,
    /// Why: a placeholder.
    pub leak: Option<Leak>,
    /// Bytes in messages, to and from the upstream.
    pub up: u64,
    pub down: u64,
}

/// Carries frames between a box and an upstream until one of them ends it or breaks a rule.
pub async fn relay<B, U>(client: B, upstream: U, tripwire: Arc<Tripwire>, scrub: Scrub) -> Ended
where
    B: AsyncRead + AsyncWrite,
    U: AsyncRead + AsyncWrite,
{
    let (from_box, to_box) = tokio::io::split(client);
    let (from_upstream, to_upstream) = tokio::io::split(upstream);
    let (stop, stopped) = watch::channel(false);
    let heard = Mutex::new(Instant::now());
    let up = Search::Out(Watch::new(Arc::clone(&tripwire)), tripwire);
    let down = Search::Back(scrub.window(), scrub);
    let mut up = Pump::new(from_box, to_upstream, up, &heard);
    let mut down = Pump::new(from_upstream, to_box, down, &heard);
    let (out, back) = {
        let mut out = pin!(up.run(stopped.clone()));
        let mut back = pin!(down.run(stopped));
        tokio::select! {
            end = &mut out => { let back = last(&end, back, &stop).await; (end, back) }
            end = &mut back => { let out = last(&end, out, &stop).await; (out, end) }
        }
    };
    let why = if matches!(out, End::Rule(..)) { out } else { back };
    let mut ended = Ended { up: up.bytes, down: down.bytes, ..Ended::default() };
    if let End::Rule(code, leak) = why {
        // Whoever is gone already is not told.
        drop(tokio::join!(up.close(code), down.close(code)));
        (ended.code, ended.leak) = (Some(code), leak);
    }
    ended
}

/// Lets the other direction end too: on its own after a close, else at its next frame.
async fn last(
    end: &End,
    mut other: impl Future<Output = End> + Unpin,
    stop: &watch::Sender<bool>,
) -> End {
    if matches!(end, End::Closed)
        && let Ok(end) = timeout(CLOSE_TIMEOUT, &mut other).await
    {
        return end;
    }
    stop.send_replace(true);
    other.await
}

/// Why a direction ended.
enum End {
    /// A close frame went through.
    Closed,
    /// The connection ended, or the other direction did.
    Gone,
    /// A rule was broken.
    Rule(u16, Option<Leak>),
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

const PROTOCOL: End = End::Rule(1002, None);

enum Search {
    Out(Watch, Arc<Tripwire>),
    Back(Window, Scrub),
}

impl Search {
    fn push(&mut self, data: Bytes) -> Result<Bytes, Leak> {
        match self {
            Self::Out(watch, _) => watch.push(data),
            Self::Back(window, scrub) => {
                let data = window.push(data);
                scrub.found(std::mem::take(&mut window.finds));
                Ok(data)
            }
        }
    }

    fn finish(&mut self) -> Bytes {
        match self {
            Self::Out(watch, _) => watch.finish(),
            Self::Back(window, _) => window.finish(),
        }
    }

    /// A control frame's payload, which is never cut.
    fn whole(&self, data: Bytes) -> Result<Bytes, Leak> {
        match self {
            Self::Out(_, tripwire) => tripwire.look("control frame", &data).map(|()| data),
            Self::Back(_, scrub) => Ok(scrub.text(data)),
        }
    }

    /// A box masks what it sends, an upstream does not.
    fn masked(&self) -> bool {
        matches!(self, Self::Out(..))
    }
}

#[derive(Clone, Copy)]
struct Head {
    last: bool,
    kind: u8,
    length: u64,
    key: [u8; 4],
}

/// One direction.
struct Pump<'a, R, W> {
    read: BufReader<R>,
    write: W,
    search: Search,
    heard: &'a Mutex<Instant>,
    /// The message that is under way: its kind until something of it was sent, and its size.
    message: Option<(u8, u64)>,
    text: bool,
    closed: bool,
    bytes: u64,
}

impl<'a, R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Pump<'a, R, W> {
    fn new(read: R, write: W, search: Search, heard: &'a Mutex<Instant>) -> Self {
        let (read, message) = (BufReader::new(read), None);
        Self { read, write, search, heard, message, text: false, closed: false, bytes: 0 }
    }

    async fn run(&mut self, mut stopped: watch::Receiver<bool>) -> End {
        loop {
            if let Err(end) = self.frame(&mut stopped).await {
                return end;
            }
        }
    }

    async fn frame(&mut self, stopped: &mut watch::Receiver<bool>) -> Result<(), End> {
        let masked = self.search.masked();
        let head = self.wait(stopped, async |read| head(read, masked).await).await??;
        let (control, mut left) = (head.kind >= CLOSE, head.length);
        self.begin(head)?;
        loop {
            let size = left.min(PIECE);
            let piece = self.wait(stopped, async |read| piece(read, size).await).await?;
            left -= size;
            let data = unmask(piece?, head.key, (head.length - left - size) as usize);
            if control {
                return self.control(head, data).await;
            }
            self.data(head, data, left == 0).await?;
            if left == 0 {
                return Ok(());
            }
        }
    }

    /// Judges a frame by its head.
    fn begin(&mut self, head: Head) -> Result<(), End> {
        match (head.kind, self.message) {
            (TEXT | BINARY, None) => {
                self.text = head.kind == TEXT;
                self.message = Some((head.kind, head.length));
            }
            (CONTINUATION, Some((kind, size))) => {
                self.message = Some((kind, size.saturating_add(head.length)));
            }
            (CLOSE | PING | PONG, _) if head.last && head.length <= CONTROL_MAX => return Ok(()),
            _ => return Err(PROTOCOL),
        }
        let size = self.message.map_or(0, |(_, size)| size);
        if self.text && size > TEXT_MAX { Err(End::Rule(1009, None)) } else { Ok(()) }
    }

    async fn control(&mut self, head: Head, data: Bytes) -> Result<(), End> {
        let data = self.search.whole(data).map_err(leaked)?;
        self.send(Head { key: head.key, ..head }, data).await?;
        if head.kind == CLOSE {
            self.closed = true;
            return Err(End::Closed);
        }
        Ok(())
    }

    async fn data(&mut self, head: Head, data: Bytes, end: bool) -> Result<(), End> {
        self.bytes += data.len() as u64;
        let last = head.last && end;
        let mut data = self.search.push(data).map_err(leaked)?;
        if last {
            let rest = self.search.finish();
            if !rest.is_empty() {
                data = [data, rest].concat().into();
            }
        } else if data.is_empty() {
            return Ok(());
        }
        let Some((kind, size)) = self.message else { return Err(PROTOCOL) };
        self.message = (!last).then_some((CONTINUATION, size));
        self.send(Head { last, kind, length: 0, key: head.key }, data).await
    }

    /// Waits for what the peer sends; pings the other one when it has been quiet, and gives up in the end.
    async fn wait<T>(
        &mut self,
        stopped: &mut watch::Receiver<bool>,
        read: impl AsyncFnOnce(&mut BufReader<R>) -> T,
    ) -> Result<T, End> {
        let mut reading = pin!(read(&mut self.read));
        let mut pinged = None;
        loop {
            let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            let until = heard + if pinged == Some(heard) { IDLE } else { IDLE / 2 };
            tokio::select! {
                got = &mut reading => {
                    *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                    return Ok(got);
                }
                _ = stopped.wait_for(|stopped| *stopped) => return Err(End::Gone),
                () = sleep_until(until) => {}
            }
            let now = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            if now != heard {
                continue;
            }
            if pinged == Some(heard) {
                return Err(End::Rule(1001, None));
            }
            pinged = Some(heard);
            let ping = Head { last: true, kind: PING, length: 0, key: [0; 4] };
            send(&mut self.write, self.search.masked(), ping, Bytes::new()).await?;
        }
    }

    async fn send(&mut self, head: Head, data: Bytes) -> Result<(), End> {
        send(&mut self.write, self.search.masked(), head, data).await
    }

    async fn close(&mut self, code: u16) -> Result<(), End> {
        if self.closed {
            return Ok(());
        }
        let head = Head { last: true, kind: CLOSE, length: 0, key: [0; 4] };
        self.send(head, code.to_be_bytes().to_vec().into()).await?;
        Ok(timeout(CLOSE_TIMEOUT, self.write.shutdown()).await.map_err(|_| End::Gone)??)
    }
}

fn leaked(leak: Leak) -> End {
    End::Rule(1008, Some(leak))
}

async fn head(read: &mut (impl AsyncRead + Unpin), masked: bool) -> Result<Head, End> {
    let [first, second] = [read.read_u8().await?, read.read_u8().await?];
    // Reserved bits belong to extensions, and none was agreed on.
    if first & 0x70 != 0 || (second & 0x80 != 0) != masked {
        return Err(PROTOCOL);
    }
    let length = match second & 0x7f {
        126 => read.read_u16().await?.into(),
        127 => read.read_u64().await?,
        length => length.into(),
    };
    let mut key = [0; 4];
    if masked {
        read.read_exact(&mut key).await?;
    }
    Ok(Head { last: first & 0x80 != 0, kind: first & 0x0f, length, key })
}

async fn piece(read: &mut (impl AsyncRead + Unpin), size: u64) -> io::Result<Vec<u8>> {
    let mut piece = vec![0; size as usize];
    read.read_exact(&mut piece).await?;
    Ok(piece)
}

fn unmask(mut data: Vec<u8>, key: [u8; 4], at: usize) -> Bytes {
    for (n, byte) in data.iter_mut().enumerate() {
        *byte ^= key[(at + n) % 4];
    }
    data.into()
}

async fn send(
    to: &mut (impl AsyncWrite + Unpin),
    masked: bool,
    head: Head,
    data: Bytes,
) -> Result<(), End> {
    let mut frame = Vec::with_capacity(data.len() + 14);
    frame.push(u8::from(head.last) << 7 | head.kind);
    let mask = u8::from(masked) << 7;
    match data.len() {
        length @ 0..=125 => frame.push(mask | length as u8),
        length @ 126..=0xffff => {
            frame.push(mask | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(mask | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    if masked {
        frame.extend_from_slice(&head.key);
        frame.extend(data.iter().zip(head.key.iter().cycle()).map(|(byte, key)| byte ^ key));
    } else {
        frame.extend_from_slice(&data);
    }
    let written = async {
        to.write_all(&frame).await?;
        to.flush().await
    };
    Ok(timeout(WRITE_TIMEOUT, written).await.map_err(|_| End::Gone)??)
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;
